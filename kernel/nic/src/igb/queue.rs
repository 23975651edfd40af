//! The registers of a queue, of either direction: where its ring is, and whether it runs.
//!
//! Where they are is data: a virtual function has its queue elsewhere than the card its sixteen.

use super::csr::Csr;
use super::descriptor::SIZE;
use super::regs;
use crate::{Bus, Error};

/// Bound of the wait for a queue to be enabled or disabled.
const ENABLE_BOUND_US: u32 = 10_000;
/// Bound of the wait for the frames of a ring to be sent: more than they take at 1 Gb/s.
const DRAIN_BOUND_US: u32 = 5_000;

/// A queue of the card.
#[derive(Clone, Copy)]
pub struct Queue {
    /// Where its registers start.
    registers: u32,
    /// Its number among those of its function.
    pub number: u8,
}

impl Queue {
    /// The queue of this number, whose function has the registers of its first queue at `first`.
    pub fn new(first: u32, stride: u32, number: usize) -> Self {
        Queue {
            registers: first + stride * number as u32,
            number: number as u8,
        }
    }

    /// Tells the card where the ring of a disabled queue is in the arena, and that it is empty.
    pub fn place<B: Bus>(self, csr: &mut Csr<B>, at: usize, descriptors: usize) {
        let [low, high] = csr.address(at);
        for (register, value) in [
            (regs::DCTL, 0),
            (regs::DBAL, low),
            (regs::DBAH, high),
            (regs::DLEN, (descriptors * SIZE) as u32),
            (regs::DH, 0),
            (regs::DT, 0),
        ] {
            self.write(csr, register, value);
        }
    }

    /// Enables the queue, and waits until it is.
    pub fn enable<B: Bus>(self, csr: &mut Csr<B>, thresholds: u32) -> Result<(), Error> {
        self.write(csr, regs::DCTL, thresholds | regs::DCTL_ENABLE);
        self.wait(csr, regs::DCTL, ENABLE_BOUND_US, |control| {
            control & regs::DCTL_ENABLE != 0
        })
    }

    /// Waits until the card has sent what is before `tail`: only then may a transmit queue be disabled
    /// (§4.5.10).
    pub fn drain<B: Bus>(self, csr: &mut Csr<B>, tail: usize) -> Result<(), Error> {
        self.wait(csr, regs::DH, DRAIN_BOUND_US, |head| head as usize == tail)
    }

    /// Disables the queue, and waits until the card has nothing to do with its memory any more.
    pub fn disable<B: Bus>(self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.write(csr, regs::DCTL, 0);
        self.wait(csr, regs::DCTL, ENABLE_BOUND_US, |control| {
            control & regs::DCTL_ENABLE == 0
        })
    }

    /// Whether the queue is enabled.
    pub fn is_enabled<B: Bus>(self, csr: &mut Csr<B>) -> Result<bool, Error> {
        Ok(csr.read(self.registers + regs::DCTL)? & regs::DCTL_ENABLE != 0)
    }

    fn wait<B: Bus>(
        self,
        csr: &mut Csr<B>,
        register: u32,
        bound_us: u32,
        done: impl Fn(u32) -> bool,
    ) -> Result<(), Error> {
        let value = csr.poll(self.registers + register, bound_us, done)?;
        let queue = self.number;
        value.map(drop).ok_or(Error::QueueTimeout { queue })
    }

    /// Whether the card's place in the ring is one.
    pub fn check_head<B: Bus>(self, csr: &mut Csr<B>, descriptors: usize) -> Result<(), Error> {
        let head = csr.read(self.registers + regs::DH)?;
        if head as usize >= descriptors {
            let queue = self.number;
            return Err(Error::BadHead { queue, head });
        }
        Ok(())
    }

    /// Gives the card the descriptors before `tail`, which are written.
    #[inline]
    pub fn tell<B: Bus>(self, csr: &mut Csr<B>, tail: usize) {
        // They must be there before the tail is.
        csr.bus.fence();
        self.write(csr, regs::DT, tail as u32);
    }

    /// Writes one of its registers.
    #[inline]
    pub fn write<B: Bus>(self, csr: &mut Csr<B>, register: u32, value: u32) {
        csr.write(self.registers + register, value);
    }
}
