//! All receive rings of a function. They have turns, so that a busy one does not starve the others.

use super::bits::bits;
use super::config::Config;
use super::csr::Csr;
use super::interrupts::{Causes, Interrupts};
use super::queue::Queue;
use super::receive::Receive;
use super::regs::Queues;
use crate::reserve;
use crate::{Bus, Error, Piece};
use alloc::vec::Vec;

/// Frames from a receive queue, or pieces of them, before the next one has its turn.
const TURN: usize = 16;

/// The receive rings.
pub struct Receiver {
    pub rings: Vec<Receive>,
    /// Those with buffers that the card was not told of, one bit each.
    owing: u32,
    /// The ring whose turn it is.
    turn: usize,
    /// Which ring has a buffer: see [`reciprocal`].
    per_ring: u64,
    /// How often the interrupt was armed since all rings were empty.
    pub arms: u64,
}

impl Receiver {
    /// The rings of these queues.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(queues: Queues, config: &Config) -> Result<Self, Error> {
        let ring = |index| {
            let queue = Queue::new(queues.receive, queues.stride, index);
            Receive::new(queue, index, config)
        };
        Ok(Receiver {
            rings: reserve::each(config.queues, ring)?,
            owing: 0,
            turn: 0,
            per_ring: reciprocal(config.receive_buffers),
            arms: 0,
        })
    }

    /// Lays out all rings: see [`Receive::start`].
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        (self.turn, self.owing) = (0, 0);
        let many = self.rings.len() > 1;
        let mut rings = self.rings.iter_mut();
        rings.try_for_each(|ring| ring.start(csr, many))
    }

    /// What an interrupt, by this message or by the line, is about. `None` if it is not this function's.
    pub fn caused<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        interrupts: &mut Interrupts,
        message: Option<u16>,
    ) -> Result<Option<Causes>, Error> {
        let Some(vector) = message.filter(|_| interrupts.many()) else {
            return interrupts.asked(csr);
        };
        let Some(mut causes) = interrupts.message(csr, vector) else {
            return Ok(None);
        };
        let rings = interrupts.rings_of(vector);
        if causes.receive && !self.has_frame(csr, rings) {
            // About frames that were read already.
            interrupts.wakes_for_nothing += 1;
            interrupts.arm_vector(csr, vector)?;
            causes.receive = false;
        }
        Ok(Some(causes))
    }

    /// Forgets which buffers are lent: whoever had them is gone.
    pub fn forget(&mut self) {
        self.rings.iter_mut().for_each(Receive::forget);
    }

    /// Received frames that nobody has read, in descriptors.
    pub fn waiting<B: Bus>(&self, csr: &mut Csr<B>) -> u64 {
        let waiting = self.rings.iter().map(|ring| ring.waiting(csr) as u64);
        waiting.sum()
    }

    /// Lends up to `max` pieces of frames, each of which `take` is told; how many there were. If they
    /// are fewer, with `arm`, the card interrupts when there are more.
    #[inline(always)]
    pub fn lend<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        interrupts: &mut Interrupts,
        (arm, max): (bool, usize),
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        let polled = interrupts.polled_rings();
        let taken = self.lend_in_turns(csr, polled, max, take)?;
        if taken == max || !arm {
            return Ok(taken);
        }
        self.tell_where_low(csr);
        if !interrupts.arm_receive(csr)? {
            // Nothing since the interrupt was armed, or it is on its way.
            return Ok(taken);
        }
        self.arms += 1;
        Ok(taken + self.lend_in_turns(csr, polled, max - taken, take)?)
    }

    /// Lends pieces of the ring whose turn it is, and then of the others of those in `polled`, until
    /// there are `max`; how many there were.
    #[inline(always)]
    fn lend_in_turns<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        polled: u32,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        let polled = polled & ((1 << self.rings.len()) - 1);
        let before = (1 << self.turn) - 1;
        let mut taken = 0;
        let mut has_more = true;
        while has_more {
            has_more = false;
            for queue in bits(polled & !before).chain(bits(polled & before)) {
                let ring = &mut self.rings[queue];
                if !ring.is_amid_frame() && !ring.is_done(csr) {
                    continue;
                }
                let lent = ring.lend(csr, max - taken, TURN, take);
                self.owing |= u32::from(ring.owes()) << queue;
                let lent = lent?;
                has_more |= lent >= TURN;
                taken += lent;
                if taken == max {
                    // A frame that was begun is ended before another one has its turn.
                    self.turn = match self.rings[queue].is_amid_frame() {
                        true => queue,
                        false => (queue + 1) % self.rings.len(),
                    };
                    return Ok(taken);
                }
            }
        }
        // What belongs to no flow comes by the first queue, as the answer to who has an address: so
        // it is the first to be looked at when something comes.
        self.turn = 0;
        Ok(taken)
    }

    /// Tells the card of returned buffers where it has few others, since the caller may sleep now.
    pub fn tell_where_low<B: Bus>(&mut self, csr: &mut Csr<B>) {
        for queue in bits(core::mem::take(&mut self.owing)) {
            let ring = &mut self.rings[queue];
            ring.tell_if_low(csr);
            self.owing |= u32::from(ring.owes()) << queue;
        }
    }

    /// Takes lent buffers back, up to the first that is not lent, and gives them to the card.
    #[inline]
    pub fn give_back<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        mut buffers: &[u16],
    ) -> Result<(), Error> {
        while let Some(&buffer) = buffers.first() {
            let queue = ring_of(buffer, self.per_ring);
            let ring = self.rings.get_mut(queue);
            let ring = ring.ok_or(Error::BadBuffer { buffer })?;
            self.owing |= 1 << queue;
            // The first is of this ring, and mostly all are.
            let count = ring.give_back(csr, buffers)?;
            buffers = &buffers[count..];
        }
        Ok(())
    }

    /// Whether something is in a ring whose interrupt is silent, by a look at memory alone.
    #[inline]
    pub fn has_received<B: Bus>(&mut self, csr: &mut Csr<B>, interrupts: &Interrupts) -> bool {
        // If not all are armed, the polled ones are rings that there are.
        !interrupts.are_all_armed()
            && bits(interrupts.polled_rings()).any(|queue| self.rings[queue].is_done(csr))
    }

    /// Whether a frame waits in one of these rings.
    pub fn has_frame<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        mut rings: impl Iterator<Item = usize>,
    ) -> bool {
        rings.any(|ring| self.rings[ring].has_frame(csr))
    }

    /// Silences the rings with a frame that an interrupt should have announced; whether there are any.
    pub fn overlooked<B: Bus>(&mut self, csr: &mut Csr<B>, interrupts: &mut Interrupts) -> bool {
        let mut overlooked = false;
        for (number, ring) in self.rings.iter_mut().enumerate() {
            if interrupts.is_armed(number) && ring.has_frame(csr) {
                interrupts.silence(csr, number);
                overlooked = true;
            }
        }
        overlooked
    }
}

/// 1 / `buffers`, in units of 2^-32, rounded up: an emulator divides slowly. Nothing is divided by it but
/// numbers of 16 bits, for which it is exact.
fn reciprocal(buffers: usize) -> u64 {
    (1 << 32) / buffers as u64 + 1
}

/// The receive ring of a buffer, where each ring has as many; perhaps one that there is not.
fn ring_of(buffer: u16, per_ring: u64) -> usize {
    ((u64::from(buffer) * per_ring) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_of_a_buffer_is_found_without_dividing() {
        for buffers in (1..64).chain([100, 112, 255, 1000, 4095]) {
            let per_ring = reciprocal(buffers);
            for buffer in 0..=u16::MAX {
                let expected = usize::from(buffer) / buffers;
                assert_eq!(ring_of(buffer, per_ring), expected);
            }
        }
    }
}
