//! Room to send: what a frame needs, who waits for it, and how that ends.
//!
//! Descriptors are each queue's own, buffers are for all queues. A frame that finds too few of
//! either is refused; its sender is told when a quarter of both is free again.

use super::Igb;
use super::config::BUFFER;
use super::offload::{Frame, Limits};
use crate::{Bus, Error, Events};

/// Longest IP packet, with its Ethernet header and a VLAN tag.
const PACKET_MAX: usize = 65_535 + 18;
/// Room that a sender waits for.
#[derive(Clone, Copy)]
pub struct Wanted {
    queue: usize,
    descriptors: usize,
    buffers: usize,
}

impl<B: Bus> Igb<B> {
    /// What the card can be asked for.
    pub(super) fn limits(&self) -> Limits {
        // A segmented frame may need two contexts, and a second frame for its last segment; and one
        // descriptor is kept back.
        let descriptors = self.config.transmit_ring.saturating_sub(5);
        let buffers = self.config.transmit_buffers.saturating_sub(1);
        let room = descriptors.min(buffers) * BUFFER;
        let segment_max = if room < self.config.frame_max {
            0
        } else {
            room.min(PACKET_MAX)
        };
        Limits {
            frame_max: self.config.frame_max,
            segment_max,
        }
    }

    /// Puts the frames that `plan` made of one into the queue, all or none.
    pub(super) fn enqueue(
        &mut self,
        queue: usize,
        first: &Frame<'_>,
        second: Option<&Frame<'_>>,
    ) -> Result<(), Error> {
        let both = || core::iter::once(first).chain(second);
        let wanted = Wanted {
            queue,
            descriptors: both().map(Frame::descriptors).sum(),
            buffers: both().map(Frame::buffers).sum(),
        };
        if !self.has_room(wanted) {
            self.reclaim();
            if !self.has_room(wanted) {
                return self.ring_full(wanted).and(Err(Error::WouldBlock));
            }
        }
        for frame in both() {
            self.transmit[queue].queue(&mut self.chip, &mut self.pool, frame);
        }
        Ok(())
    }

    fn has_room(&self, wanted: Wanted) -> bool {
        self.transmit[wanted.queue].free() >= wanted.descriptors
            && self.pool.len() >= wanted.buffers
    }

    /// Takes back what the card has reported.
    pub(super) fn reclaim(&mut self) {
        for queue in &mut self.transmit {
            if queue.is_busy() {
                queue.reclaim(&mut self.chip, &mut self.pool);
            }
        }
    }

    /// Has all queued frames sent.
    pub(super) fn kick(&mut self) {
        for queue in &mut self.transmit {
            queue.kick(&mut self.chip);
        }
    }

    /// There is no room: gets all that is queued on its way, and sees to the event.
    fn ring_full(&mut self, wanted: Wanted) -> Result<(), Error> {
        self.counters.tx_ring_full += 1;
        self.kick();
        // A waker is worth it for a quarter of the ring, and of the buffers.
        self.wanted = Some(Wanted {
            descriptors: wanted.descriptors.max(self.config.transmit_ring / 4),
            buffers: wanted.buffers.max(self.pool.capacity() / 4),
            ..wanted
        });
        if self.await_space()? {
            self.pending |= Events::TRANSMIT_SPACE;
        }
        Ok(())
    }

    /// Whether a sender waits and now has room; it waits no longer then.
    pub(super) fn has_space(&mut self) -> bool {
        let Some(wanted) = self.wanted else {
            return false;
        };
        self.reclaim();
        let room = self.has_room(wanted);
        if room {
            self.wanted = None;
        }
        room
    }

    /// The same; if there is none yet, the card will interrupt for more.
    pub(super) fn await_space(&mut self) -> Result<bool, Error> {
        if self.has_space() {
            return Ok(true);
        }
        if self.wanted.is_none() {
            return Ok(false);
        }
        self.interrupts.arm_transmit(&mut self.chip)?;
        Ok(self.has_space())
    }
}
