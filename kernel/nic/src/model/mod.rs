//! Software devices, to run drivers against on a laptop.
//!
//! A fake that moves only when the driver rings a doorbell misses the likeliest bugs, so these act
//! at one of four [`Pace`]s: on doorbells alone, between any two accesses of the driver, in fits and
//! starts, or so that only a fence orders what the driver stores and loads. All of it follows from a seed, so that a failure can be repeated.
//!
//! A model is strict: what the manual forbids, it answers with a panic that names the rule, even
//! where other implementations shrug. Bus addresses start far from zero, and each access of the
//! device is checked against the arena.

pub mod e100;
pub mod igb;
mod memory;
pub mod traffic;

pub use memory::Memory;

use crate::Bus;
use alloc::vec::Vec;

/// A model of whichever card, for tests that are about all of them.
pub trait Model {
    /// A frame comes in from the wire.
    fn arrive(&self, frame: &[u8]);
    /// Lets the card do all that it has to do, and its link come up.
    fn settle(&self);
    /// The frames that the card has sent since the last call.
    fn take_sent(&self) -> Vec<Vec<u8>>;
    /// Frames that the card itself did not let through.
    fn dropped(&self) -> u64;
    /// Copies `bytes` into the arena.
    fn copy_in(&self, offset: usize, bytes: &[u8]);
    /// Fills `bytes` from the arena.
    fn copy_out(&self, offset: usize, bytes: &mut [u8]);
}

impl Model for e100::E100Model {
    fn arrive(&self, frame: &[u8]) {
        self.arrive(frame);
    }

    fn settle(&self) {
        self.settle();
    }

    fn take_sent(&self) -> Vec<Vec<u8>> {
        self.take_sent()
    }

    fn dropped(&self) -> u64 {
        self.dropped()
    }

    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        self.bus().copy_in(offset, bytes);
    }

    fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        self.bus().copy_out(offset, bytes);
    }
}

impl Model for igb::IgbModel {
    fn arrive(&self, frame: &[u8]) {
        self.arrive(frame);
    }

    fn settle(&self) {
        // Negotiation takes half a second.
        self.elapse(500_000);
        self.settle();
    }

    fn take_sent(&self) -> Vec<Vec<u8>> {
        let sent = self.take_sent().into_iter();
        sent.map(|sent| sent.bytes).collect()
    }

    fn dropped(&self) -> u64 {
        self.dropped()
    }

    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        self.bus().copy_in(offset, bytes);
    }

    fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        self.bus().copy_out(offset, bytes);
    }
}

/// When a model acts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The card acts at once when it is told to, and then to the end.
    Doorbell,
    /// The card takes a few steps, or none, between any two accesses of the driver.
    Anytime,
    /// The card acts as by [`Pace::Anytime`], but often does nothing for a long while, and takes its time with
    /// commands.
    Stalling,
    /// The card acts as by [`Pace::Anytime`], but it sees what the driver stores in any order and late, even
    /// later than registers that are written after, and the driver sees what the card stores in any
    /// order, unless a [`Bus::fence`] stands between.
    Reordering,
}

impl Pace {
    /// All of them.
    pub const ALL: [Pace; 4] = [
        Pace::Doorbell,
        Pace::Anytime,
        Pace::Stalling,
        Pace::Reordering,
    ];
}

/// A small generator of numbers that look random (xorshift64*, Marsaglia 2003 and Vigna 2016).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for this seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds shall not give neighbouring numbers, and zero would give only zeros.
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        rng.next();
        rng.next();
        rng
    }

    /// The next 64 bits.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless source, not an iterator"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 to below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
