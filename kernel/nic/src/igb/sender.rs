//! All transmit rings of a function: which frame goes into which ring, and as what.

use super::bits::bits;
use super::config::{BUFFER, Config, FRAME_JUMBO, LARGE};
use super::csr::Csr;
use super::fast_path;
use super::offload::{self, Frame, HEAD, LastSegment, TAKEN, Whole};
use super::packet;
use super::queue::Queue;
use super::regs::Queues;
use super::transmit::Transmit;
use crate::pool::Buffers;
use crate::reserve;
use crate::{Bus, BusAddr, Error, Outgoing, Segmentation, SendOptions, Tail};
use alloc::vec::Vec;

/// Descriptors of a frame that is sent as it is, at the most: its context, and the frame.
const UNCUT: usize = 2;
/// Bytes that are copied at a time.
const CHUNK: usize = 256;

/// The transmit rings.
pub struct Sender {
    pub rings: Vec<Transmit>,
    /// Descriptors of each.
    descriptors: usize,
    /// Those with frames that the card was not told of, and those with frames that it was, one bit
    /// each.
    to_kick: u32,
    in_flight: u32,
    /// What the card cuts, and how long the frames are that it does not cut.
    pub segmentation: Segmentation,
    /// What the frame wanted that was refused last.
    refused: Wanted,
}

/// What a frame needs to be sent.
#[derive(Clone, Copy, Default)]
struct Wanted {
    /// So many descriptors of that ring.
    queue: usize,
    descriptors: usize,
    /// A buffer of that length besides its own, if not 0.
    buffer: usize,
}

impl Sender {
    /// The rings of these queues.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(queues: Queues, config: &Config) -> Result<Self, Error> {
        let ring = |index| {
            let queue = Queue::new(queues.transmit, queues.stride, index);
            Transmit::new(queue, config.tx_ring(index), config.transmit_ring)
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
            segmentation: offload::segmentation(longest, config.frame_max),
            refused: Wanted::default(),
        })
    }

    /// Lays out all rings: see [`Transmit::start`].
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        (self.to_kick, self.in_flight) = (0, 0);
        self.rings.iter_mut().try_for_each(|ring| ring.start(csr))
    }

    /// Once a second: whether a ring is stuck.
    pub fn is_stuck(&mut self, has_link: bool) -> bool {
        let stuck = |any, ring: &mut Transmit| ring.is_stuck(has_link) | any;
        self.rings.iter_mut().fold(false, stuck)
    }

    /// Puts frames into the rings, until one fails: how many there were, and why.
    #[inline]
    pub fn queue<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frames: &[Outgoing],
        buffers: &mut Buffers,
    ) -> (usize, Result<(), Error>) {
        for (sent, frame) in frames.iter().enumerate() {
            if !self.queue_fast(csr, frame, buffers)
                && let Err(error) = self.queue_any(csr, frame, buffers)
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
    fn queue_fast<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frame: &Outgoing,
        buffers: &mut Buffers,
    ) -> bool {
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
        let longest = self.segmentation.segment_max.into();
        let fits = (TAKEN..=BUFFER).contains(&len) && len + tail_len <= longest;
        if buffers.small.check_held(buffer).is_err() || !fits {
            return false;
        }
        let offset = csr.frames.transmit.start + usize::from(buffer) * BUFFER;
        let Some(flow) = fast_path::flow(csr, offset, len) else {
            return false;
        };
        let queue = self.ring_of(flow);
        let ring = &mut self.rings[queue];
        if ring.free() < UNCUT {
            return false;
        }
        let work = match options.checksums {
            true => match fast_path::prepare(csr, offset, len) {
                Some(work) => Some(work),
                None => return false,
            },
            false => None,
        };
        buffers.small.enter_ring(buffer);
        ring.queue_uncut(csr, (buffer, offset), len, tail, work);
        self.to_kick |= 1 << queue;
        true
    }

    /// Puts a frame into its ring, whatever it is.
    #[cold]
    fn queue_any<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frame: &Outgoing,
        buffers: &mut Buffers,
    ) -> Result<(), Error> {
        buffers.of(frame.buffer).check_held(frame.buffer)?;
        let (queue, first, last) = self.plan(csr, frame)?;
        let last_len = last.as_ref().map_or(0, |last| last.len);
        let wanted = Wanted {
            queue,
            descriptors: first.descriptors() + if last_len > 0 { UNCUT } else { 0 },
            buffer: last_len,
        };
        if !self.has_room_for(wanted, buffers) {
            self.reclaim(csr, buffers);
            if !self.has_room_for(wanted, buffers) {
                let Wanted { descriptors, .. } = wanted;
                self.refused = Wanted {
                    descriptors: descriptors.max(self.descriptors / 4),
                    ..wanted
                };
                return Err(Error::WouldBlock);
            }
        }
        let last = match last {
            Some(last) => Some(self.copy_last(csr, frame, &last, buffers)?),
            None => None,
        };
        self.enqueue(csr, frame, queue, &first, buffers);
        if let Some((last, planned)) = last {
            self.enqueue(csr, &last, queue, &planned, buffers);
        }
        Ok(())
    }

    /// By which ring to send a frame, as what, and what by itself after that.
    fn plan<B: Bus>(
        &self,
        csr: &mut Csr<B>,
        frame: &Outgoing,
    ) -> Result<(usize, Frame, Option<LastSegment>), Error> {
        let &Outgoing {
            buffer,
            len,
            ref options,
            tail,
        } = frame;
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
        let planned = offload::plan(whole, headers.as_ref(), options, &self.segmentation);
        planned.map(|(first, last)| (self.ring_of(flow), first, last))
    }

    /// Copies the last segment of a frame into a buffer of its own, for which there is room; and how it
    /// is to be sent.
    fn copy_last<B: Bus>(
        &self,
        csr: &mut Csr<B>,
        frame: &Outgoing,
        last: &LastSegment,
        buffers: &mut Buffers,
    ) -> Result<(Outgoing, Frame), Error> {
        let buffer = buffers.that_hold(last.len)?.take();
        let buffer = buffer.ok_or(Error::WouldBlock)?;
        let own = Outgoing {
            buffer,
            len: last.len,
            options: SendOptions {
                segment_size: 0,
                checksums: true,
                ..frame.options
            },
            tail: None,
        };
        let [from, to] = [frame.buffer, buffer].map(|buffer| csr.frames.buffer(buffer));
        let copied = from.zip(to).ok_or(Error::BadHeaders);
        let copied = copied.and_then(|((from, _), (to, _))| {
            let mut head = [0; HEAD];
            csr.bus.copy_out(from, &mut head);
            last.renumber(&mut head)?;
            csr.bus.copy_in(to, &head[..last.payload]);
            let mut chunk = [0; CHUNK];
            for at in (last.payload..last.len).step_by(CHUNK) {
                let chunk = &mut chunk[..CHUNK.min(last.len - at)];
                csr.bus
                    .copy_out(from + last.from - last.payload + at, chunk);
                csr.bus.copy_in(to + at, chunk);
            }
            self.plan(csr, &own)
        });
        match copied {
            Ok((_, planned, _)) => Ok((own, planned)),
            // Its sender changes it meanwhile.
            Err(error) => {
                buffers.of(buffer).put_back(buffer)?;
                Err(error)
            }
        }
    }

    /// Puts a frame that was planned into its ring, where there is room.
    fn enqueue<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frame: &Outgoing,
        queue: usize,
        planned: &Frame,
        buffers: &mut Buffers,
    ) {
        let buffer = frame.buffer;
        buffers.of(buffer).enter_ring(buffer);
        self.to_kick |= 1 << queue;
        let offset = csr.frames.buffer(buffer).map_or(0, |(offset, _)| offset);
        let tail = frame.tail.map_or(BusAddr(0), |tail| tail.address);
        self.rings[queue].queue(csr, planned, (buffer, offset), tail);
    }

    fn has_room_for(&self, wanted: Wanted, buffers: &mut Buffers) -> bool {
        let Wanted {
            queue,
            descriptors,
            buffer,
        } = wanted;
        let pool = buffers.that_hold(buffer);
        self.rings[queue].free() >= descriptors
            && (buffer == 0 || pool.is_ok_and(|pool| pool.free_count() > 0))
    }

    /// Whether a quarter of the ring that refused a frame last is free, and what else that wanted.
    pub fn has_room(&self, buffers: &mut Buffers) -> bool {
        self.has_room_for(self.refused, buffers)
    }

    /// Whether no frame is in a ring.
    pub fn is_idle(&self) -> bool {
        self.in_flight | self.to_kick == 0
    }

    /// Takes back what the card has reported.
    pub fn reclaim<B: Bus>(&mut self, csr: &mut Csr<B>, buffers: &mut Buffers) {
        for queue in bits(self.in_flight) {
            let ring = &mut self.rings[queue];
            ring.reclaim(csr, buffers);
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
}
