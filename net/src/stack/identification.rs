//! IPv4's identification of datagrams that may be fragmented: a random number that none of the
//! last ones had.
//!
//! A receiver puts together what has the same source, destination, protocol and identification, so
//! it must not soon come again (RFC 6864 §4.3). If it were counted, whoever gets some datagrams
//! would know how many others get, and could send fragments that are taken for ours (RFC 7739 §3).

use crate::secret::{Key, Random};
use alloc::boxed::Box;

/// More than so many in succession all differ.
const APART: usize = 4096;

/// Draws the identifications of one protocol's datagrams.
pub(super) struct Identifications {
    random: Random,
    /// Four numbers' bits, of which so many numbers are left.
    drawn: (u64, u8),
    /// The last ones, of which the next takes the place of the oldest.
    last: Box<[u16; APART]>,
    oldest: usize,
    /// A bit for each number that is among them.
    used: Box<[u64; 1 << 10]>,
}

impl Identifications {
    #[cold]
    pub fn new(key: Key) -> Self {
        // As if the lowest numbers had been the last: all places have one of their own.
        let mut used = Box::new([0; 1 << 10]);
        used[..APART / 64].fill(u64::MAX);
        Identifications {
            random: Random::new(key),
            drawn: (0, 0),
            last: Box::new(core::array::from_fn(|place| place as u16)),
            oldest: 0,
            used,
        }
    }

    /// The next one.
    #[inline]
    pub fn next(&mut self) -> u16 {
        // Of 16 numbers 15 are free at the least.
        loop {
            let number = self.draw();
            let (word, bit) = place(number);
            if self.used[word] & bit == 0 {
                self.used[word] |= bit;
                let oldest = core::mem::replace(&mut self.last[self.oldest], number);
                self.oldest = (self.oldest + 1) % APART;
                let (word, bit) = place(oldest);
                self.used[word] &= !bit;
                return number;
            }
        }
    }

    #[inline]
    fn draw(&mut self) -> u16 {
        if self.drawn.1 == 0 {
            self.drawn = (self.random.next(), 4);
        }
        let (bits, left) = self.drawn;
        self.drawn = (bits >> 16, left - 1);
        bits as u16
    }
}

/// The word and the bit of a number.
fn place(number: u16) -> (usize, u64) {
    (usize::from(number >> 6), 1 << (number & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Purpose, Secret};
    use std::vec::Vec;

    fn numbers(seed: u64, count: usize) -> Vec<u16> {
        let key = Secret::from(seed).key(Purpose::UdpIdentification);
        let mut numbers = Identifications::new(key);
        (0..count).map(|_| numbers.next()).collect()
    }

    #[test]
    fn none_comes_again_soon_and_all_come() {
        let numbers = numbers(1, 1_000_000);
        let mut last = std::vec![None; 1 << 16];
        for (index, &number) in numbers.iter().enumerate() {
            let before = last[usize::from(number)].replace(index);
            assert!(before.is_none_or(|before| index - before > APART));
        }
        assert!(last.iter().all(Option::is_some));
    }

    #[test]
    fn steps_from_one_to_the_next_are_of_all_lengths() {
        let numbers = numbers(2, 100_000);
        let mut steps = [0; 64];
        for pair in numbers.windows(2) {
            steps[usize::from(pair[1].wrapping_sub(pair[0]) >> 10)] += 1;
        }
        // 1562 each, give or take five standard deviations.
        assert!(
            steps.iter().all(|step| (1362..1762).contains(step)),
            "{steps:?}"
        );
    }
}
