//! All receive rings of a card. They have turns, so that a busy one does not starve the others.

use super::bits::bits;
use super::config::{Config, Layout};
use super::csr::Csr;
use super::interrupts::Interrupts;
use super::queue::Queue;
use super::receive::{Receive, Share};
use super::regs;
use crate::reserve;
use crate::{Bus, Error, Piece};
use alloc::vec::Vec;

/// Frames from a receive queue, or pieces of them, before the next one has its turn.
const TURN: usize = 16;

/// The receive rings.
pub struct Receiver {
    rings: Vec<Receive>,
    /// Those with buffers that the card was not told of, one bit each.
    owing: u32,
    /// The ring whose turn it is, and how many frames it gave in it.
    turn: (usize, usize),
    /// How often the interrupt was armed since all rings were empty.
    pub arms: u64,
}

impl Receiver {
    /// The rings of this layout.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(config: &Config, layout: &Layout) -> Result<Self, Error> {
        let ring = |index| {
            let queue = Queue {
                registers: regs::rx(index as u32),
                number: index as u8,
            };
            Receive::new(queue, index, layout, config.frame_max)
        };
        Ok(Receiver {
            rings: reserve::each(config.queues, ring)?,
            owing: 0,
            turn: (0, 0),
            arms: 0,
        })
    }

    /// Lays out all rings: see [`Receive::start`].
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        (self.turn, self.owing) = ((0, 0), 0);
        let many = self.rings.len() > 1;
        let mut rings = self.rings.iter_mut();
        rings.try_for_each(|ring| ring.start(csr, many))
    }

    /// Gives the card all buffers: see [`Receive::tell`].
    pub fn tell<B: Bus>(&mut self, csr: &mut Csr<B>) {
        self.rings.iter_mut().for_each(|ring| ring.tell(csr));
    }

    /// Disables all queues.
    pub fn disable<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.rings
            .iter()
            .try_for_each(|ring| ring.queue.disable(csr))
    }

    /// Forgets which buffers are lent: whoever had them is gone.
    pub fn forget(&mut self) {
        self.rings.iter_mut().for_each(Receive::forget);
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
        let (mut queue, mut given) = self.turn;
        // Rings in a row that were found empty. All are looked at anew after one gave something,
        // but that one, unless its turn was over.
        let mut empty = 0;
        let mut taken = 0;
        loop {
            let ring = &mut self.rings[queue];
            // A frame that was begun is ended.
            let is_polled = polled & 1 << queue != 0;
            if ring.is_amid_frame() || is_polled && given < TURN && ring.is_done(csr) {
                let share = Share {
                    most: max - taken,
                    turn: if is_polled {
                        TURN.saturating_sub(given)
                    } else {
                        0
                    },
                };
                let lent = ring.lend(csr, share, take);
                self.owing |= u32::from(ring.owes()) << queue;
                let lent = lent?;
                given += lent;
                taken += lent;
                if taken == max {
                    self.turn = (queue, given);
                    return Ok(taken);
                }
                if lent > 0 {
                    empty = 0;
                }
            }
            if is_polled && given < TURN {
                empty += 1;
            }
            if empty >= polled.count_ones() {
                break;
            }
            // The next of them, in a circle.
            let after = polled & !1 << queue;
            queue = if after == 0 { polled } else { after }.trailing_zeros() as usize;
            given = 0;
        }
        // What belongs to no flow comes by the first queue, as the answer to who has an address: so
        // it is the first to be looked at when something comes.
        self.turn = (0, 0);
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
            let queue = csr.layout.queue_of(buffer);
            let queue = queue.ok_or(Error::BadBuffer { buffer })?;
            self.owing |= 1 << queue;
            // The first is of this ring, and mostly all are.
            let count = self.rings[queue].give_back(csr, buffers)?;
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

    /// Descriptors that the card has filled and nobody has read.
    pub fn waiting<B: Bus>(&self, csr: &mut Csr<B>) -> u64 {
        let waiting = self.rings.iter().map(|ring| ring.waiting(csr) as u64);
        waiting.sum()
    }

    /// Whether the card's places in the rings are such.
    pub fn check<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.rings.iter().try_for_each(|ring| ring.check(csr))
    }

    /// A frame of `len` bytes was lent by a ring, but too long for its reader.
    pub fn count_unread(&mut self, ring: usize, len: usize) {
        self.rings[ring].count_unread(len);
    }

    /// The rings, to be counted up.
    pub fn rings(&self) -> &[Receive] {
        &self.rings
    }
}
