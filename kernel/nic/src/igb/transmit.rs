//! A transmit queue.
//!
//! ```text
//!          clean          report           told           next
//!            v               v               v              v
//!   ...  |   | D | D | C | D RS |  | D | D RS | D | D | D   |   free  ...
//!            `--------- the card's ----------' `- not told -'
//! ```
//!
//! A frame is one or more data descriptors (D), after a context (C) if it has work for the card of a
//! kind that is not among the last two. The last of them that lies in a buffer carries its number,
//! so that the buffer is free when that is done. The card says when it is
//! done with a descriptor only where RS asks for it: at the last of each batch, and each eighth of
//! the ring. One write of the tail starts a batch.

use super::csr::Csr;
use super::descriptor::{SIZE, tx};
use super::offload::{self, Frame};
use super::queue::Queue;
use super::regs;
use crate::chip::Watchdog;
use crate::pool::Buffers;
use crate::reserve;
use crate::{Bus, BusAddr, Error, Tail};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A descriptor without buffer.
const NONE: u16 = u16::MAX;
/// Contexts that the card remembers for a queue.
const CONTEXTS: usize = 2;

/// A descriptor at which the card reports.
struct Report {
    /// Its number, counted without end.
    at: usize,
    /// Frames that are done then.
    frames: u64,
}

/// Where the driver stands in a ring.
pub struct Transmit {
    pub queue: Queue,
    /// Where the ring is in the arena, and its descriptors, a power of two.
    base: usize,
    ring: usize,
    /// The next descriptor to fill, the oldest that is not free, and the tail that the card was
    /// told; all count on without end.
    next: usize,
    clean: usize,
    told: usize,
    /// Where the card will report, oldest first.
    reports: VecDeque<Report>,
    /// Behind the last of them, and frames since.
    reported: usize,
    unreported: u64,
    /// Command of the newest descriptor.
    last_command: u32,
    /// The buffer that is free when a descriptor is done.
    buffers: Vec<u16>,
    contexts: [Option<[u32; 4]>; CONTEXTS],
    /// Which of them is the older one.
    older: usize,
    watchdog: Watchdog,
    pub counters: Counters,
    /// Frames that were to be reported, and descriptors before the ring was last laid out.
    counted_frames: u64,
    counted_descriptors: u64,
}

/// What became of the frames of a ring.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    pub octets: u64,
    pub completed: u64,
    pub contexts: u64,
    pub segmented: u64,
    pub doorbells: u64,
}

impl Transmit {
    /// The ring of a queue, which starts at `base` in the arena.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(queue: Queue, base: usize, ring: usize) -> Result<Self, Error> {
        Ok(Transmit {
            queue,
            base,
            ring,
            next: 0,
            clean: 0,
            told: 0,
            reports: reserve::with_room(ring)?.into(),
            reported: 0,
            unreported: 0,
            last_command: 0,
            buffers: reserve::filled(NONE, ring)?,
            contexts: [None; CONTEXTS],
            older: 0,
            watchdog: Watchdog::default(),
            counters: Counters::default(),
            counted_frames: 0,
            counted_descriptors: 0,
        })
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.counted_frames + self.unreported
    }

    /// Frames that the card has not reported.
    pub fn in_flight(&self) -> u64 {
        let reported: u64 = self.reports.iter().map(|report| report.frames).sum();
        self.unreported + reported
    }

    /// Descriptors so far.
    pub fn descriptors(&self) -> u64 {
        self.counted_descriptors + self.next as u64
    }

    /// Lays out the ring (§4.5.10). The card was reset before, and the buffers are in the pool.
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        for slot in 0..self.ring {
            csr.bus.store_quads(self.descriptor(slot), [0; 2]);
        }
        self.queue.place(csr, self.base, self.ring);
        self.counted_frames = self.frames();
        self.counted_descriptors = self.descriptors();
        (self.next, self.clean, self.told) = (0, 0, 0);
        self.reports.clear();
        (self.reported, self.unreported) = (0, 0);
        self.buffers.fill(NONE);
        self.contexts = [None; CONTEXTS];
        self.watchdog = Watchdog::new(self.counters.completed);
        self.queue.enable(csr, regs::TXDCTL_THRESHOLDS)
    }

    /// Waits until the card has sent what it was told of.
    pub fn drain<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.queue.drain(csr, self.told & (self.ring - 1))
    }

    /// Descriptors that are free. One is kept back: a tail that meets the head means "empty".
    pub fn free(&self) -> usize {
        self.ring - 1 - (self.next - self.clean)
    }

    /// Whether descriptors are in flight.
    pub fn is_busy(&self) -> bool {
        self.next != self.clean
    }

    /// Puts a frame into the ring, without telling the card. It was built in `buffer`, which is at
    /// `offset` in the arena; its tail is at `tail` on the bus. The caller has seen to it that there are
    /// enough descriptors: see [`Frame::descriptors`].
    pub fn queue<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frame: &Frame,
        (buffer, offset): (u16, usize),
        BusAddr(tail): BusAddr,
    ) {
        let mut options = frame.options;
        if let Some(context) = frame.context {
            options |= self.context(csr, context) << tx::INDEX_SHIFT;
        }
        frame.patch(&mut csr.bus, offset);
        let BusAddr(own) = csr.bus.bus_addr(offset);
        let own = offload::pieces(frame.own).map(|run| (own + run.start as u64, run.len()));
        let tail = offload::pieces(frame.tail).map(|run| (tail + run.start as u64, run.len()));
        let mut left = frame.len();
        for (at, len) in own.chain(tail) {
            left -= len;
            let (last, buffer) = match left {
                0 => (tx::EOP, buffer),
                _ => (0, NONE),
            };
            let command = frame.command | last | len as u32;
            self.push(csr, BusAddr(at), command, options, buffer);
        }
        self.counters.segmented += u64::from(frame.command & tx::TSE != 0);
        self.queued(csr, frame.len());
    }

    /// The same of a frame that is not cut: `len` bytes at `offset` in the arena, and a tail. It takes
    /// two descriptors at most, but not with both a tail and work.
    #[inline]
    pub fn queue_uncut<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        (buffer, offset): (u16, usize),
        len: usize,
        tail: Option<Tail>,
        work: Option<(u32, [u32; 4])>,
    ) {
        let whole = len + tail.map_or(0, |tail| tail.len);
        let mut options = (whole as u32) << tx::LENGTH_SHIFT;
        if let Some((checksums, context)) = work {
            options |= checksums | self.context(csr, context) << tx::INDEX_SHIFT;
        }
        let at = csr.bus.bus_addr(offset);
        let command = tx::DATA | len as u32;
        match tail {
            None => self.push(csr, at, command | tx::EOP, options, buffer),
            Some(tail) => {
                self.push(csr, at, command, options, NONE);
                let command = tx::DATA | tx::EOP | tail.len as u32;
                self.push(csr, tail.address, command, options, buffer);
            }
        }
        self.queued(csr, whole);
    }

    /// Counts a frame whose descriptors are in the ring.
    #[inline]
    fn queued<B: Bus>(&mut self, csr: &mut Csr<B>, len: usize) {
        self.unreported += 1;
        self.counters.octets += len as u64;
        if self.next - self.reported >= self.ring / 8 {
            self.report(csr);
        }
    }

    /// The number of this context in the card; tells it the context if need be.
    fn context<B: Bus>(&mut self, csr: &mut Csr<B>, context: [u32; 4]) -> u32 {
        let known = self
            .contexts
            .iter()
            .position(|&known| known == Some(context));
        let index = known.unwrap_or(self.older);
        if known.is_none() {
            self.contexts[index] = Some(context);
            let [lengths, launch, kind, segment] = context;
            let segment = segment | (index as u32) << tx::INDEX_SHIFT;
            let first = u64::from(lengths) | u64::from(launch) << 32;
            self.push(csr, BusAddr(first), kind, segment, NONE);
            self.counters.contexts += 1;
        }
        self.older = (index + 1) % CONTEXTS;
        index as u32
    }

    /// Fills the next descriptor: both quadwords.
    #[inline]
    fn push<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        BusAddr(first): BusAddr,
        command: u32,
        options: u32,
        buffer: u16,
    ) {
        let slot = self.next & (self.ring - 1);
        let second = u64::from(command) | u64::from(options) << 32;
        let descriptor = self.base + slot * SIZE;
        csr.bus.store_quads(descriptor, [first, second]);
        self.last_command = command;
        self.buffers[slot] = buffer;
        self.next += 1;
    }

    /// Has the card report at the newest descriptor, which it was not told of yet.
    fn report<B: Bus>(&mut self, csr: &mut Csr<B>) {
        if self.unreported == 0 {
            return;
        }
        let at = self.next - 1;
        let command = self.descriptor(at) + tx::COMMAND;
        csr.bus.store32(command, self.last_command | tx::RS);
        let frames = core::mem::take(&mut self.unreported);
        self.counted_frames += frames;
        self.reports.push_back(Report { at, frames });
        self.reported = self.next;
    }

    /// Tells the card of the new frames: one write.
    pub fn kick<B: Bus>(&mut self, csr: &mut Csr<B>) {
        if self.told == self.next {
            return;
        }
        self.report(csr);
        self.queue.tell(csr, self.next & (self.ring - 1));
        self.told = self.next;
        self.counters.doorbells += 1;
    }

    /// Takes back what the card has reported.
    pub fn reclaim<B: Bus>(&mut self, csr: &mut Csr<B>, buffers: &mut Buffers) {
        while let Some(report) = self.reports.front() {
            let descriptor = self.descriptor(report.at);
            if csr.bus.load32(descriptor + tx::STATUS) & tx::DD == 0 {
                return;
            }
            self.counters.completed += report.frames;
            let end = report.at + 1;
            self.reports.pop_front();
            for slot in self.clean..end {
                // NONE is no buffer's number, and leaves nothing.
                let buffer = self.buffers[slot & (self.ring - 1)];
                buffers.of(buffer).leave_ring(buffer);
            }
            self.clean = end;
        }
    }

    /// Whether the card's place in the ring is one.
    pub fn check<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.queue.check_head(csr, self.ring)
    }

    /// Once a second: whether frames are in flight and none moves. Without a link the card may rightly
    /// hold them back.
    pub fn is_stuck(&mut self, has_link: bool) -> bool {
        let should_move = self.is_busy() && has_link;
        self.watchdog.is_stuck(should_move, self.counters.completed)
    }

    fn descriptor(&self, slot: usize) -> usize {
        self.base + (slot & (self.ring - 1)) * SIZE
    }
}
