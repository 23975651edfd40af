//! All transmit rings of a card, and the buffers to send from.
//!
//! Descriptors are each ring's own, buffers are for all rings. A sender that finds too few of
//! either is refused, and told when a quarter of both is free again.

use super::bits::bits;
use super::buffers::Buffers;
use super::config::{BUFFER, Config, FRAME_JUMBO, LARGE, Layout};
use super::csr::Csr;
use super::fast_path;
use super::offload::{self, Frame, HEAD, Limits, TAKEN, Whole};
use super::packet;
use super::queue::Queue;
use super::regs;
use super::transmit::{Source, Transmit};
use crate::reserve;
use crate::{Bus, BusAddr, Error, Outgoing, Segmentation, Tail};
use alloc::vec::Vec;

/// Buffers that are out before it is worth a look which of them are free again.
const REUSED: usize = 64;

/// Room that a sender waits for.
#[derive(Clone, Copy, Default)]
struct Wanted {
    queue: usize,
    descriptors: usize,
    small: usize,
    large: usize,
}

/// The transmit rings, and the buffers.
pub struct Sender {
    rings: Vec<Transmit>,
    /// Descriptors of each.
    descriptors: usize,
    /// Those with frames that the card was not told of, and those with frames that it was, one bit
    /// each.
    to_kick: u32,
    in_flight: u32,
    buffers: Buffers,
    limits: Limits,
    /// What a sender waits for.
    wanted: Option<Wanted>,
}

impl Sender {
    /// The rings and buffers of this layout.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(config: &Config, layout: &Layout) -> Result<Self, Error> {
        let ring = |index| {
            let queue = Queue {
                registers: regs::tx(index as u32),
                number: index as u8,
            };
            Transmit::new(queue, layout.tx_ring(index), config.transmit_ring)
        };
        let longest = match config.large_buffers {
            0 => 0,
            _ => LARGE,
        };
        Ok(Sender {
            rings: reserve::each(config.queues, ring)?,
            descriptors: config.transmit_ring,
            to_kick: 0,
            in_flight: 0,
            buffers: Buffers::new(layout)?,
            limits: Limits {
                frame_max: config.frame_max,
                segmentation: offload::segmentation(longest, config.frame_max),
            },
            wanted: None,
        })
    }

    /// Frames that fit in.
    pub fn capacity(&self) -> usize {
        (self.descriptors - 1).min(self.buffers.capacity())
    }

    /// What the card cuts into segments.
    pub fn segmentation(&self) -> Segmentation {
        self.limits.segmentation
    }

    /// Lays out all rings: see [`Transmit::start`].
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        (self.to_kick, self.in_flight, self.wanted) = (0, 0, None);
        self.buffers.empty_rings();
        self.rings.iter_mut().try_for_each(|ring| ring.start(csr))
    }

    /// Waits until the card has sent what it was told of.
    pub fn drain<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.rings.iter().try_for_each(|ring| ring.drain(csr))
    }

    /// Disables all queues.
    pub fn disable<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.rings
            .iter()
            .try_for_each(|ring| ring.queue.disable(csr))
    }

    /// Takes all buffers back, whoever has them.
    pub fn forget(&mut self) {
        self.buffers.refill();
    }

    /// Gives buffers for frames of `len` bytes away: how many there were. A sender that gets fewer than
    /// `into` has room for waits.
    pub fn take<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        len: usize,
        into: &mut [u16],
    ) -> Result<usize, Error> {
        let longest = match self.buffers.large.capacity() {
            0 => BUFFER,
            _ => LARGE,
        };
        if len == 0 || len > longest {
            return Err(Error::BadLength { len });
        }
        let pool = self.buffers.that_hold(len);
        // Those that were in use a moment ago are at hand in the processor's caches.
        if pool.free_count() < into.len() || pool.free_count() + REUSED < pool.capacity() {
            self.reclaim(csr);
        }
        let taken = self.buffers.that_hold(len).take_all(into);
        if taken < into.len() {
            let is_small = len <= BUFFER;
            self.want(Wanted {
                small: is_small.into(),
                large: (!is_small).into(),
                ..Wanted::default()
            });
        }
        Ok(taken)
    }

    /// Takes a buffer back that was given away.
    pub fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.buffers.put_back(buffer)
    }

    /// Puts frames into the rings, until one fails: how many there were, and why.
    #[inline]
    pub fn queue<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frames: &[Outgoing],
    ) -> (usize, Result<(), Error>) {
        for (sent, frame) in frames.iter().enumerate() {
            if !self.queue_fast(csr, frame)
                && let Err(error) = self.queue_any(csr, frame)
            {
                return (sent, Err(error));
            }
        }
        (frames.len(), Ok(()))
    }

    /// The ring of a flow.
    #[inline]
    fn ring_of(&self, flow: u32) -> usize {
        ((u64::from(flow) * self.rings.len() as u64) >> 32) as usize
    }

    /// Puts a frame into its ring, if that is no trouble and there is room at once. Otherwise does
    /// nothing.
    #[inline]
    fn queue_fast<B: Bus>(&mut self, csr: &mut Csr<B>, frame: &Outgoing) -> bool {
        let &Outgoing {
            buffer,
            len,
            options,
            tail,
        } = frame;
        if options.segment_size != 0 || options.vlan.is_some() {
            return false;
        }
        let tail_len = match tail {
            // None of it, or more than all that the card takes.
            Some(Tail { len, .. }) if options.checksums || len == 0 || len > FRAME_JUMBO => {
                return false;
            }
            Some(tail) => tail.len,
            None => 0,
        };
        let small = &mut self.buffers.small;
        let fits = (TAKEN..=BUFFER).contains(&len) && len + tail_len <= self.limits.frame_max;
        if small.check_held(buffer).is_err() || !fits {
            return false;
        }
        let offset = csr.frames.transmit.start + usize::from(buffer) * BUFFER;
        let Some(flow) = fast_path::flow(csr, offset, len) else {
            return false;
        };
        let queue = self.ring_of(flow);
        let ring = &mut self.rings[queue];
        // A frame and its context, or its tail.
        if ring.free() < 2 {
            return false;
        }
        let work = match options.checksums {
            true => match fast_path::prepare(csr, offset, len) {
                Some(work) => Some(work),
                None => return false,
            },
            false => None,
        };
        self.buffers.small.enter_ring(buffer);
        ring.queue_uncut(csr, (buffer, offset), len, tail, work);
        self.to_kick |= 1 << queue;
        true
    }

    /// Puts a frame into its ring, whatever it is.
    #[cold]
    fn queue_any<B: Bus>(&mut self, csr: &mut Csr<B>, frame: &Outgoing) -> Result<(), Error> {
        let &Outgoing {
            buffer,
            len,
            ref options,
            tail,
        } = frame;
        self.buffers.of(buffer).check_held(buffer)?;
        let found = csr.frames.buffer(buffer);
        let (offset, _) = found
            .filter(|(_, room)| len <= *room)
            .ok_or(Error::BadLength { len })?;
        let mut head = [0; HEAD];
        let head = &mut head[..len.min(HEAD)];
        csr.bus.copy_out(offset, head);
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
        let queue = self.ring_of(flow);
        let (first, second) = offload::plan(whole, headers.as_ref(), options, &self.limits)?;
        let source = Source {
            buffer,
            offset,
            header: None,
            tail: tail.map_or(BusAddr(0), |tail| tail.address),
            last: second.is_none(),
        };
        self.enqueue(csr, queue, &first, second.as_ref(), source)
    }

    /// Puts the frames that `plan` made of one into the queue, all or none.
    fn enqueue<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
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
            self.reclaim(csr);
            if !self.has_room(wanted) {
                self.want(wanted);
                return Err(Error::WouldBlock);
            }
        }
        self.buffers.of(source.buffer).enter_ring(source.buffer);
        self.to_kick |= 1 << queue;
        let ring = &mut self.rings[queue];
        if let Some(second) = second {
            let Some(own) = self.buffers.small.take() else {
                // There was one above.
                return Err(Error::WouldBlock);
            };
            self.buffers.small.enter_ring(own);
            let bus = &mut csr.bus;
            let at = csr.frames.buffer(own).map_or(0, |(at, _)| at);
            let mut headers = [0; HEAD];
            let headers = &mut headers[..second.header.min(HEAD)];
            bus.copy_out(source.offset, headers);
            bus.copy_in(at, headers);
            ring.queue(csr, first, source);
            let source = Source {
                header: Some((own, at)),
                last: true,
                ..source
            };
            ring.queue(csr, second, source);
        } else {
            ring.queue(csr, first, source);
        }
        Ok(())
    }

    fn has_room(&self, wanted: Wanted) -> bool {
        self.rings[wanted.queue].free() >= wanted.descriptors
            && self.buffers.small.free_count() >= wanted.small
            && self.buffers.large.free_count() >= wanted.large
    }

    /// Takes back what the card has reported.
    pub fn reclaim<B: Bus>(&mut self, csr: &mut Csr<B>) {
        for queue in bits(self.in_flight) {
            let ring = &mut self.rings[queue];
            ring.reclaim(csr, &mut self.buffers);
            if !ring.is_busy() {
                self.in_flight &= !(1 << queue);
            }
        }
    }

    /// Has all queued frames sent.
    #[inline]
    pub fn kick<B: Bus>(&mut self, csr: &mut Csr<B>) {
        for queue in bits(core::mem::take(&mut self.to_kick)) {
            self.rings[queue].kick(csr);
            self.in_flight |= 1 << queue;
        }
    }

    /// Remembers that a sender waits, for a quarter of what there is: a waker is worth it for that.
    fn want(&mut self, wanted: Wanted) {
        let (small, large) = (&self.buffers.small, &self.buffers.large);
        let quarter = |wanted: usize, of: usize| if wanted > 0 { wanted.max(of / 4) } else { 0 };
        self.wanted = Some(Wanted {
            queue: wanted.queue,
            descriptors: quarter(wanted.descriptors, self.descriptors),
            small: quarter(wanted.small, small.capacity()),
            large: quarter(wanted.large, large.capacity()),
        });
    }

    /// Whether a sender waits.
    pub fn is_awaited(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether a sender waits and now has room; it waits no longer then.
    pub fn has_space<B: Bus>(&mut self, csr: &mut Csr<B>) -> bool {
        let Some(wanted) = self.wanted else {
            return false;
        };
        self.reclaim(csr);
        // With nothing in flight no more comes free but what the sender has himself.
        let room = self.has_room(wanted) || self.in_flight | self.to_kick == 0;
        if room {
            self.wanted = None;
        }
        room
    }

    /// Frames that the card has not reported.
    pub fn unreported(&self) -> u64 {
        self.rings.iter().map(Transmit::in_flight).sum()
    }

    /// Whether the card's places in the rings are such.
    pub fn check<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.rings.iter().try_for_each(|ring| ring.check(csr))
    }

    /// Once a second: whether a ring is stuck.
    pub fn is_stuck(&mut self, has_link: bool) -> bool {
        let stuck = |any, ring: &mut Transmit| ring.is_stuck(has_link) | any;
        self.rings.iter_mut().fold(false, stuck)
    }

    /// The rings, to be counted up.
    pub fn rings(&self) -> &[Transmit] {
        &self.rings
    }
}
