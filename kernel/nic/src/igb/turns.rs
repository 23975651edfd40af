//! Receive queues have turns, so that a busy one does not starve the others.

use super::chip::Chip;
use super::receive::{Receive, Share};
use super::{Igb, bits};
use crate::{Bus, Error};

/// Frames from a receive queue, or pieces of them, before the next one has its turn.
const TURN: usize = 16;

impl<B: Bus> Igb<B> {
    /// What `read` takes of the queue whose turn it is, and then of the others of those in `rings`,
    /// until that is `max`; how much it was. `read` is told how much it may take, and how much of
    /// that if no frame is amid.
    pub(super) fn next_of(
        &mut self,
        rings: u32,
        max: usize,
        mut read: impl FnMut(&mut Receive, &mut Chip<B>, Share) -> Result<usize, Error>,
    ) -> Result<usize, Error> {
        let rings = rings & ((1 << self.receive.len()) - 1);
        let (mut queue, mut given) = self.turn;
        // Rings in a row that were found empty. All are looked at anew after one gave something,
        // but that one, unless its turn was over.
        let mut empty = 0;
        let mut taken = 0;
        loop {
            let ring = &mut self.receive[queue];
            // A frame that was begun is ended.
            let is_polled = rings & 1 << queue != 0;
            if ring.is_amid_frame() || is_polled && given < TURN && ring.is_done(&mut self.chip) {
                let share = Share {
                    most: max - taken,
                    turn: if is_polled {
                        TURN.saturating_sub(given)
                    } else {
                        0
                    },
                };
                let read = read(ring, &mut self.chip, share);
                self.owing |= u32::from(ring.owes()) << queue;
                let read = read?;
                given += read;
                taken += read;
                if taken == max {
                    self.turn = (queue, given);
                    return Ok(taken);
                }
                if read > 0 {
                    empty = 0;
                }
            }
            if is_polled && given < TURN {
                empty += 1;
            }
            if empty >= rings.count_ones() {
                break;
            }
            // The next of them, in a circle.
            let after = rings & !1 << queue;
            queue = if after == 0 { rings } else { after }.trailing_zeros() as usize;
            given = 0;
        }
        // What belongs to no flow comes by the first queue, as the answer to who has an address: so
        // it is the first to be looked at when something comes.
        self.turn = (0, 0);
        Ok(taken)
    }

    /// The same; if that is less than `max`, and with `arm`, sees to it that the card interrupts
    /// when there is more.
    pub(super) fn next_or_arm(
        &mut self,
        arm: bool,
        max: usize,
        mut read: impl FnMut(&mut Receive, &mut Chip<B>, Share) -> Result<usize, Error>,
    ) -> Result<usize, Error> {
        let polled = self.interrupts.polled_rings();
        let taken = self.next_of(polled, max, &mut read)?;
        if taken == max || !arm {
            return Ok(taken);
        }
        self.tell_where_low();
        if !self.interrupts.arm_receive(&mut self.chip)? {
            // Nothing since the interrupt was armed, or it is on its way.
            return Ok(taken);
        }
        self.counters.rx_arms += 1;
        Ok(taken + self.next_of(polled, max - taken, read)?)
    }

    /// Tells the card of returned buffers where it has few others, since the caller may sleep now.
    pub(super) fn tell_where_low(&mut self) {
        for queue in bits(core::mem::take(&mut self.owing)) {
            let ring = &mut self.receive[queue];
            ring.tell_if_low(&mut self.chip);
            self.owing |= u32::from(ring.owes()) << queue;
        }
    }
}
