//! IPv4's identification of datagrams that may be fragmented: a random number that none of the last
//! datagrams had.
//!
//! A receiver puts fragments together that have the same source, destination, protocol and
//! identification, so a number must not soon come again (RFC 6864 §4.3). If the numbers were counted, a
//! host that gets some of our datagrams would know how many others get, and could send fragments that
//! are taken for ours (RFC 7739 §3).

use crate::ip::outbound::Progress;
use crate::secret::{Key, Random};
use alloc::boxed::Box;

/// Any two equal numbers are further apart than this.
const APART: usize = 4096;
/// How many numbers are drawn together.
const TOGETHER: usize = 64;
const _: () = assert!(APART.is_multiple_of(TOGETHER));

/// A set of numbers: a bit for each.
type Numbers = [u64; 1 << 10];

/// Draws the identifications for the datagrams of one protocol.
pub(crate) struct Identifications {
    random: Random,
    /// Numbers that were drawn: the first `left` of them are not used yet.
    ready: [u16; TOGETHER],
    left: usize,
    /// The numbers that were drawn since the two sets were exchanged, and those before. They are
    /// exchanged after each [`APART`] numbers.
    lately: Box<Numbers>,
    before: Box<Numbers>,
    /// How many numbers were drawn since then.
    drawn: usize,
}

impl Identifications {
    #[cold]
    pub fn new(key: Key) -> Self {
        Identifications {
            random: Random::new(key),
            ready: [0; TOGETHER],
            left: 0,
            lately: Box::new([0; 1 << 10]),
            before: Box::new([0; 1 << 10]),
            drawn: 0,
        }
    }

    /// The identification for the next datagram.
    #[inline]
    pub fn next(&mut self) -> u16 {
        if self.left == 0 {
            self.draw();
        }
        self.left -= 1;
        self.ready[self.left % TOGETHER]
    }

    /// The beginning of a datagram that is sent in fragments.
    pub fn begin(&mut self) -> Progress {
        let identification = self.next();
        Progress {
            identification,
            sent: 0,
        }
    }

    #[cold]
    fn draw(&mut self) {
        if self.drawn == APART {
            core::mem::swap(&mut self.lately, &mut self.before);
            self.lately.fill(0);
            self.drawn = 0;
        }
        // At least 14 of 16 numbers are in neither set.
        while self.left < TOGETHER {
            let bits = self.random.next();
            for number in [bits, bits >> 16, bits >> 32, bits >> 48].map(|bits| bits as u16) {
                let (word, bit) = place(number);
                let is_free = (self.lately[word] | self.before[word]) & bit == 0;
                if is_free && self.left < TOGETHER {
                    self.lately[word] |= bit;
                    self.ready[self.left] = number;
                    self.left += 1;
                }
            }
        }
        self.drawn += TOGETHER;
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
