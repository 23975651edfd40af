//! A receive queue.
//!
//! ```text
//!        head                        given         tail
//!          v                           v             v
//!   ...  | DD | DD | DD EOP |   |   |  |   |   |  |  | no buffer | ...
//!         `- a frame -------' ^            `- not told yet
//!                             the card fills these in order, up to the tail it was told
//! ```
//!
//! A ring has fewer buffers than descriptors, so that the tail never meets the head, which would
//! mean "empty" to the card. A frame that is read in place is lent: its buffers are the reader's until
//! the reader returns them, in any order. A buffer that was returned goes into the descriptor at the
//! tail: both quadwords are written, since the card overwrote them, and QEMU's would run through
//! descriptors without address to the end of the ring. The card hears of a quarter of them at a
//! time: a write of the tail is the dearest access of all on QEMU.
//!
//! A frame in which the card found a checksum wrong is lent like any other, and counted: the word of a
//! card about a frame that it may not have understood is no reason to drop it. Whoever reads it is
//! told that nobody vouches for it, and verifies it as with a card that never does.

use super::config::{BUFFER, Config};
use super::csr::Csr;
use super::descriptor::{SIZE, rx};
use super::queue::Queue;
use super::regs;
use crate::reserve;
use crate::{Bus, BusAddr, Error, Piece, ReceiveInfo};
use alloc::vec::Vec;

/// Buffers that are worth telling the card of, at most.
const BATCH_MAX: usize = 64;
/// Bytes by which the card may exceed the longest frame: a VLAN tag that was not taken out.
const TAG: usize = 4;
/// Descriptors that are looked at ahead, for one fence.
const AHEAD: usize = 16;

/// Where the driver stands in a ring, and what became of its frames.
pub struct Receive {
    pub queue: Queue,
    /// Where the ring is in the arena, and its descriptors, a power of two.
    base: usize,
    ring: usize,
    /// Buffers before the card is told of them.
    batch: usize,
    frame_max: usize,
    /// The next descriptor to read, the next to give, and the tail that the card was told; all
    /// count on without end.
    head: usize,
    tail: usize,
    given: usize,
    /// How many from the head on the card is done with, as was seen before a fence.
    ready: usize,
    /// The buffer in each descriptor.
    buffers: Vec<u16>,
    /// The first buffer of this ring, and which are lent, from that on.
    first: u16,
    lent: Vec<bool>,
    /// What is left of a frame that is being lent.
    rest: Option<Rest>,
    pub counters: Counters,
}

/// What became of the frames of a ring.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    pub frames: u64,
    pub octets: u64,
    pub descriptors: u64,
    pub tail_writes: u64,
    pub dropped_errors: u64,
    /// Frames in which the card found a checksum wrong; they are among `frames`.
    pub checksum_errors: u64,
    pub dropped_long: u64,
}

/// What is not lent yet of the frame at the head of a ring.
#[derive(Clone, Copy)]
struct Rest {
    descriptors: usize,
    len: usize,
    /// Some of it is lent.
    is_begun: bool,
    /// The status in its last descriptor.
    status: u32,
    info: ReceiveInfo,
}

impl Receive {
    /// The ring of a queue, which has the place and the buffers of this `index` in the arena.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(queue: Queue, index: usize, config: &Config) -> Result<Self, Error> {
        let buffers = config.receive_buffers;
        Ok(Receive {
            queue,
            base: config.rx_ring(index),
            ring: config.receive_ring,
            batch: (buffers / 4).clamp(1, BATCH_MAX),
            frame_max: config.frame_max,
            head: 0,
            tail: 0,
            given: 0,
            ready: 0,
            buffers: reserve::filled(0, config.receive_ring)?,
            first: (index * buffers) as u16,
            lent: reserve::filled(false, buffers)?,
            rest: None,
            counters: Counters::default(),
        })
    }

    /// Forgets which buffers are lent: whoever had them is gone.
    pub fn forget(&mut self) {
        self.lent.fill(false);
    }

    /// Lays out the ring and has the card fill it (§4.5.9), with what is not lent. The card was
    /// reset before.
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>, drop: bool) -> Result<(), Error> {
        for slot in 0..self.ring {
            csr.bus.store_quads(self.descriptor(slot), [0; 2]);
        }
        self.queue.place(csr, self.base, self.ring);
        // A full queue must not hold up the others.
        let drop = if drop { regs::SRRCTL_DROP_EN } else { 0 };
        let size = (BUFFER / 1024) as u32;
        let control = size | regs::SRRCTL_ADVANCED | drop;
        self.queue.write(csr, regs::SRRCTL, control);
        self.queue.enable(csr, regs::RXDCTL_THRESHOLDS)?;
        (self.head, self.tail, self.given) = (0, 0, 0);
        self.ready = 0;
        self.rest = None;
        for index in 0..self.lent.len() {
            if !self.lent[index] {
                self.give(csr, self.first + index as u16);
            }
        }
        Ok(())
    }

    /// Tells the card of all buffers. To be called once reception is enabled (§4.5.9.1).
    pub fn tell<B: Bus>(&mut self, csr: &mut Csr<B>) {
        if self.given == self.tail {
            return;
        }
        self.queue.tell(csr, self.tail & (self.ring - 1));
        self.given = self.tail;
        self.counters.tail_writes += 1;
    }

    /// Lends pieces of frames, each of which `take` is told: `most` at the most, and no other frame after
    /// `turn` of them. Returns how many. Apart, so that a look at empty rings, which is more frequent, is
    /// short.
    #[inline(never)]
    pub fn lend<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        most: usize,
        turn: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        let usual = most.min(turn);
        let mut lent = 0;
        while lent < most {
            if self.rest.is_none() {
                lent += self.lend_usual(csr, usual.saturating_sub(lent), take);
                if lent >= usual || !self.is_known_or_done(csr) {
                    break;
                }
                self.next(csr)?;
            }
            let Some(piece) = self.lend_rest() else {
                break;
            };
            take(&piece);
            lent += 1;
        }
        Ok(lent)
    }

    /// Lends usual frames, `most` at the most, up to the first that is none: each in one
    /// descriptor, and without fault.
    #[inline]
    fn lend_usual<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        most: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> usize {
        let longest = self.frame_max.min(BUFFER);
        let (mut lent, mut octets) = (0, 0);
        while lent < most && self.is_known_or_done(csr) {
            let slot = self.head & (self.ring - 1);
            let written: [u64; 2] = csr.bus.load_quads(self.descriptor(slot));
            let status = written[1] as u32;
            let len = (written[1] >> rx::LENGTH_SHIFT & 0xffff) as usize;
            let is_whole = status & (rx::EOP | rx::RXE | rx::IPE | rx::L4E) == rx::EOP;
            if !is_whole || len == 0 || len > longest {
                break;
            }
            take(&self.lend_at(slot, len, (false, false), self.info(written)));
            octets += len as u64;
            lent += 1;
        }
        self.counters.descriptors += lent as u64;
        self.counters.frames += lent as u64;
        self.counters.octets += octets;
        lent
    }

    /// Finds the next frame that is good, and counts it. Frames that do no good are skipped, at most
    /// a ring of them.
    #[cold]
    fn next<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        for _ in 0..self.ring {
            let Some(frame) = self.look(csr)? else {
                break;
            };
            self.rest = Some(frame);
            let counters = &mut self.counters;
            counters.descriptors += frame.descriptors as u64;
            if frame.status & rx::RXE != 0 {
                counters.dropped_errors += 1;
            } else if frame.len > self.frame_max {
                counters.dropped_long += 1;
            } else {
                let is_wrong = frame.status & (rx::IPE | rx::L4E) != 0;
                counters.checksum_errors += u64::from(is_wrong);
                counters.frames += 1;
                counters.octets += frame.len as u64;
                break;
            }
            while let Some(piece) = self.lend_rest() {
                self.give_back(csr, &[piece.buffer])?;
            }
        }
        Ok(())
    }

    /// The next piece of the frame at the head.
    fn lend_rest(&mut self) -> Option<Piece> {
        let rest = self.rest?;
        let len = rest.len.min(BUFFER);
        let more = rest.descriptors > 1;
        self.rest = more.then_some(Rest {
            descriptors: rest.descriptors - 1,
            len: rest.len - len,
            is_begun: true,
            ..rest
        });
        let slot = self.head & (self.ring - 1);
        Some(self.lend_at(slot, len, (more, rest.is_begun), rest.info))
    }

    /// Lends the buffer at the head.
    #[inline]
    fn lend_at(
        &mut self,
        slot: usize,
        len: usize,
        (more, continues): (bool, bool),
        info: ReceiveInfo,
    ) -> Piece {
        let buffer = self.buffers[slot];
        self.lent[usize::from(buffer - self.first)] = true;
        self.head += 1;
        self.ready -= 1;
        Piece {
            buffer,
            offset: usize::from(buffer) * BUFFER,
            len,
            more,
            continues,
            info,
        }
    }

    /// Takes lent buffers back, up to the first that is not of this ring, and gives them to the
    /// card; returns how many. The first is of this ring.
    #[inline]
    pub fn give_back<B: Bus>(&mut self, csr: &mut Csr<B>, buffers: &[u16]) -> Result<usize, Error> {
        let mut count = 0;
        for &buffer in buffers {
            let index = usize::from(buffer.wrapping_sub(self.first));
            match self.lent.get_mut(index) {
                Some(lent) if *lent => *lent = false,
                None => break,
                _ => return Err(Error::BadBuffer { buffer }),
            }
            self.give(csr, buffer);
            if self.tail - self.given >= self.batch {
                self.tell(csr);
            }
            count += 1;
        }
        Ok(count)
    }

    /// Whether some pieces of a frame are lent and others not yet.
    pub fn is_amid_frame(&self) -> bool {
        self.rest.is_some()
    }

    /// Tells the card of buffers that it would hear of with others, if it has few others.
    pub fn tell_if_low<B: Bus>(&mut self, csr: &mut Csr<B>) {
        if self.given - self.head < self.batch {
            self.tell(csr);
        }
    }

    /// Whether there are buffers that the card was not told of.
    pub fn owes(&self) -> bool {
        self.given != self.tail
    }

    /// Whether the card is done with the descriptor at the head, so that a look is worth it. All
    /// rings are asked this for every batch, so it is one load.
    #[inline]
    pub fn is_done<B: Bus>(&self, csr: &mut Csr<B>) -> bool {
        self.ready > 0 || self.is_done_at(csr, self.head)
    }

    #[inline]
    fn is_done_at<B: Bus>(&self, csr: &mut Csr<B>, slot: usize) -> bool {
        // Without a buffer in it, the descriptor says what was.
        let status = self.descriptor(slot) + rx::STATUS;
        slot != self.tail && csr.bus.load32(status) & rx::DD != 0
    }

    /// The same, so that the rest of the descriptor is there, too.
    #[inline]
    fn is_known_or_done<B: Bus>(&mut self, csr: &mut Csr<B>) -> bool {
        self.ready > 0 || self.look_ahead(csr)
    }

    /// Looks which descriptors the card is done with, some ahead. False if there are none that were
    /// not known.
    fn look_ahead<B: Bus>(&mut self, csr: &mut Csr<B>) -> bool {
        let known = self.ready;
        while self.ready < known + AHEAD && self.is_done_at(csr, self.head + self.ready) {
            self.ready += 1;
        }
        if self.ready == known {
            return false;
        }
        // DD was the last to be written: the rest is there if it is read after.
        csr.bus.fence();
        true
    }

    /// Whether a whole frame, or one that cannot be, waits at the head.
    pub fn has_frame<B: Bus>(&mut self, csr: &mut Csr<B>) -> bool {
        !matches!(self.look(csr), Ok(None))
    }

    /// Descriptors that the card has filled and nobody has read.
    pub fn waiting<B: Bus>(&self, csr: &mut Csr<B>) -> usize {
        (self.head..self.tail)
            .take_while(|&slot| self.is_done_at(csr, slot))
            .count()
    }

    /// The frame at the head, if all of it is there. Believes nothing.
    fn look<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<Option<Rest>, Error> {
        let longest = self.frame_max + TAG;
        let mut len = 0;
        for count in 0..self.tail - self.head {
            if count == self.ready && !self.look_ahead(csr) {
                return Ok(None);
            }
            let descriptor = self.descriptor(self.head + count);
            let written: [u64; 2] = csr.bus.load_quads(descriptor);
            let status = written[1] as u32;
            let piece = (written[1] >> rx::LENGTH_SHIFT & 0xffff) as usize;
            let last = status & rx::EOP != 0;
            // All pieces but the last fill their buffers; the last is not empty, unless a frame's
            // checksum alone was to be in it.
            let possible = if last {
                piece <= BUFFER && len + piece > 0
            } else {
                piece == BUFFER && len <= longest
            };
            if !possible {
                return Err(self.bad(len + piece));
            }
            len += piece;
            if last {
                return Ok(Some(Rest {
                    descriptors: count + 1,
                    len,
                    is_begun: false,
                    status,
                    info: self.info(written),
                }));
            }
        }
        if self.tail - self.head == 0 {
            return Ok(None);
        }
        Err(self.bad(len))
    }

    #[cold]
    fn bad(&self, len: usize) -> Error {
        let queue = self.queue.number;
        Error::BadDescriptor { queue, len }
    }

    /// What a frame's last descriptor says.
    #[inline]
    fn info(&self, [first, second]: [u64; 2]) -> ReceiveInfo {
        let status = second as u32;
        let good = |verified, error| status & (verified | error) == verified;
        // Of an IPv6 packet there is no header checksum to verify.
        let is_v6 = || first & rx::IPV6 != 0 && first & rx::IPV4 == 0;
        ReceiveInfo {
            header_checksum: good(rx::IPCS, rx::IPE) || is_v6(),
            transport_checksum: good(rx::L4CS, rx::L4E),
            vlan: (status & rx::VP != 0).then_some((second >> rx::TAG_SHIFT) as u16),
            queue: self.queue.number.into(),
        }
    }

    /// Puts a buffer into the descriptor at the tail, without telling the card.
    #[inline]
    fn give<B: Bus>(&mut self, csr: &mut Csr<B>, buffer: u16) {
        let offset = csr.frames.receive.start + usize::from(buffer) * BUFFER;
        let BusAddr(address) = csr.bus.bus_addr(offset);
        let slot = self.tail & (self.ring - 1);
        csr.bus
            .store_quads(self.base + slot * SIZE, rx::empty(address));
        self.buffers[slot] = buffer;
        self.tail += 1;
    }

    /// Whether the card's place in the ring is one.
    pub fn check<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.queue.check_head(csr, self.ring)
    }

    #[inline]
    fn descriptor(&self, slot: usize) -> usize {
        self.base + (slot & (self.ring - 1)) * SIZE
    }
}
