//! Choices by the seed.

use nic::model::Rng;
use std::time::{SystemTime, UNIX_EPOCH};

/// A seed for who gave none; short, since it is to be typed.
pub fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |time| time.as_millis() as u64 % 1_000_000)
}

/// What a programmer forgets: the ends of the ranges of 8, 15 and 16 bits, and of frames.
const EDGES: [u16; 12] = [
    0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x5b4, 0x5dc, 0x7fff, 0x8000, 0xffff,
];

/// Choices that attacks have in common.
pub trait Dice {
    /// One of these.
    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T;
    /// A number from `from` to below `to`.
    fn between(&mut self, from: usize, to: usize) -> usize;
    /// 16 bits: one of the values at which mistakes are made, or any.
    fn edge(&mut self) -> u16;
    /// So many random bytes.
    fn bytes(&mut self, len: usize) -> Vec<u8>;
    /// Puts them into another order (Fisher and Yates).
    fn shuffle<T>(&mut self, all: &mut [T]);
}

impl Dice for Rng {
    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    fn edge(&mut self) -> u16 {
        match self.one_in(2) {
            true => self.one_of(&EDGES),
            false => (self.next() >> 32) as u16,
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_all_there_and_repeat_by_the_seed() {
        let roll = |seed| {
            let mut dice = Rng::new(seed);
            let mut all: Vec<u16> = (0..20).collect();
            dice.shuffle(&mut all);
            let one = dice.one_of(&all);
            (all, one, dice.between(5, 9), dice.edge(), dice.bytes(9))
        };
        assert_eq!(roll(3), roll(3));
        assert_ne!(roll(3).0, roll(4).0);
        let (mut all, _, between, _, bytes) = roll(5);
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<u16>>());
        assert!((5..9).contains(&between) && bytes.len() == 9);
    }
}
