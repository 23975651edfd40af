//! Room to send: what a frame needs, who waits for it, and how that ends.
//!
//! Descriptors are each queue's own, buffers are for all queues. A sender that finds too few of
//! either is refused, and told when a quarter of both is free again.

use super::config::LARGE;
use super::offload::{self, Frame, HEAD, Limits, Whole};
use super::transmit::Source;
use super::{Igb, bits, packet};
use crate::{Bus, BusAddr, Error, Events, Outgoing, SendOptions, Tail};

/// Buffers that are out before it is worth a look which of them are free again.
const REUSED: usize = 64;

/// Room that a sender waits for.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    queue: usize,
    descriptors: usize,
    small: usize,
    large: usize,
}

impl<B: Bus> Igb<B> {
    /// What the card can be asked for.
    pub(super) fn limits(&self) -> Limits {
        let cuts = self.config.large_buffers > 0;
        let longest = if cuts { LARGE } else { 0 };
        let frame_max = self.config.frame_max;
        Limits {
            frame_max,
            segmentation: offload::segmentation(longest, frame_max),
        }
    }

    /// Buffers for frames of `len` bytes: how many there were.
    pub(super) fn take(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        let longest = match self.config.large_buffers {
            0 => super::BUFFER,
            _ => LARGE,
        };
        if len == 0 || len > longest {
            return Err(Error::BadLength { len });
        }
        let pool = self.buffers.that_hold(len);
        // Those that were in use a moment ago are at hand in the processor's caches.
        if pool.free_count() < into.len() || pool.free_count() + REUSED < pool.capacity() {
            self.reclaim();
        }
        let taken = self.buffers.that_hold(len).take_all(into);
        if taken < into.len() {
            let mut wanted = Wanted::default();
            match len <= super::BUFFER {
                true => wanted.small = 1,
                false => wanted.large = 1,
            }
            self.full(wanted)?;
        }
        Ok(taken)
    }

    /// The transmit queue of a flow.
    #[inline]
    pub(super) fn queue_of(&self, flow: u32) -> usize {
        ((u64::from(flow) * self.transmit.len() as u64) >> 32) as usize
    }

    /// Sends a frame, whatever it is.
    #[cold]
    pub(super) fn send_any(&mut self, frame: &Outgoing) -> Result<(), Error> {
        let Outgoing {
            buffer,
            len,
            options,
            tail,
        } = frame;
        let result = self.send_from(*buffer, *len, *tail, options);
        let result = self.note(result);
        if let Err(error) = &result {
            self.counters.tx_refused.note(error);
        }
        result
    }

    /// Sends what is in a buffer that was taken, and the tail.
    pub(super) fn send_from(
        &mut self,
        buffer: u16,
        len: usize,
        tail: Option<Tail>,
        options: &SendOptions,
    ) -> Result<(), Error> {
        self.buffers.of(buffer).check_held(buffer)?;
        let found = self.chip.frames.buffer(buffer);
        let (offset, _) = found
            .filter(|(_, room)| len <= *room)
            .ok_or(Error::BadLength { len })?;
        let mut head = [0; HEAD];
        let head = &mut head[..len.min(HEAD)];
        self.chip.bus.copy_out(offset, head);
        let tail_len = tail.map_or(0, |tail| tail.len);
        let whole = Whole {
            head,
            len: len.saturating_add(tail_len),
            tail: tail_len,
        };
        if len == 0 || tail.is_some_and(|tail| tail.len == 0) {
            return Err(Error::BadLength { len: whole.len });
        }
        let headers = packet::parse(head)?;
        let flow = headers.map_or(0, |headers| headers.flow(head));
        let queue = self.queue_of(flow);
        let (first, second) = offload::plan(whole, headers.as_ref(), options, &self.limits())?;
        let source = Source {
            buffer,
            offset,
            header: None,
            tail: tail.map_or(BusAddr(0), |tail| tail.address),
            last: second.is_none(),
        };
        self.enqueue(queue, &first, second.as_ref(), source)
    }

    /// Puts the frames that `plan` made of one into the queue, all or none.
    fn enqueue(
        &mut self,
        queue: usize,
        first: &Frame,
        second: Option<&Frame>,
        source: Source,
    ) -> Result<(), Error> {
        let both = || core::iter::once(first).chain(second);
        let wanted = Wanted {
            queue,
            descriptors: both().map(Frame::descriptors).sum(),
            // For the headers of the second.
            small: second.map_or(0, |_| 1),
            large: 0,
        };
        if !self.has_room(wanted) {
            self.reclaim();
            if !self.has_room(wanted) {
                return self.full(wanted).and(Err(Error::WouldBlock));
            }
        }
        self.buffers.of(source.buffer).enter_ring(source.buffer);
        self.untold |= 1 << queue;
        let ring = &mut self.transmit[queue];
        if let Some(second) = second {
            let Some(own) = self.buffers.small.take() else {
                // There was one above.
                return Err(Error::WouldBlock);
            };
            self.buffers.small.enter_ring(own);
            let bus = &mut self.chip.bus;
            let at = self.chip.frames.buffer(own).map_or(0, |(at, _)| at);
            let mut headers = [0; HEAD];
            let headers = &mut headers[..second.header.min(HEAD)];
            bus.copy_out(source.offset, headers);
            bus.copy_in(at, headers);
            ring.queue(&mut self.chip, first, source);
            let source = Source {
                header: Some((own, at)),
                last: true,
                ..source
            };
            ring.queue(&mut self.chip, second, source);
        } else {
            ring.queue(&mut self.chip, first, source);
        }
        Ok(())
    }

    fn has_room(&self, wanted: Wanted) -> bool {
        self.transmit[wanted.queue].free() >= wanted.descriptors
            && self.buffers.small.free_count() >= wanted.small
            && self.buffers.large.free_count() >= wanted.large
    }

    /// Takes back what the card has reported.
    pub(super) fn reclaim(&mut self) {
        for queue in bits(self.busy) {
            let ring = &mut self.transmit[queue];
            ring.reclaim(&mut self.chip, &mut self.buffers);
            if !ring.is_busy() {
                self.busy &= !(1 << queue);
            }
        }
    }

    /// Has all queued frames sent.
    pub(super) fn kick(&mut self) {
        for queue in bits(core::mem::take(&mut self.untold)) {
            self.transmit[queue].kick(&mut self.chip);
            self.busy |= 1 << queue;
        }
    }

    /// There is no room: gets all that is queued on its way, and sees to the event.
    fn full(&mut self, wanted: Wanted) -> Result<(), Error> {
        self.counters.tx_ring_full += 1;
        self.kick();
        // A waker is worth it for a quarter of what there is.
        let (small, large) = (&self.buffers.small, &self.buffers.large);
        let quarter = |wanted: usize, of: usize| if wanted > 0 { wanted.max(of / 4) } else { 0 };
        self.wanted = Some(Wanted {
            queue: wanted.queue,
            descriptors: quarter(wanted.descriptors, self.config.transmit_ring),
            small: quarter(wanted.small, small.capacity()),
            large: quarter(wanted.large, large.capacity()),
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
        // With nothing in flight no more comes free but what the sender has himself.
        let room = self.has_room(wanted) || self.busy | self.untold == 0;
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
