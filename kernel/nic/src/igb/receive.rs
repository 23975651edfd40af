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
//! mean "empty" to the card. The buffer of a frame that was read goes into the descriptor at the
//! tail: both quadwords are written, since the card overwrote them, and QEMU's would run through
//! descriptors without address to the end of the ring. The card hears of a quarter of them at a
//! time: a write of the tail is the dearest access of all on QEMU.

use super::chip::Chip;
use super::config::BUFFER;
use super::descriptor::{SIZE, rx};
use super::regs;
use crate::{Bus, Error, ReceiveInfo};
use alloc::boxed::Box;
use alloc::vec;

/// Buffers that are worth telling the card of, at most.
const BATCH_MAX: usize = 64;
/// Bytes by which the card may exceed the longest frame: a VLAN tag that was not taken out.
const TAG: usize = 4;
/// Bound of the wait for a queue to be enabled.
const ENABLE_BOUND_US: u32 = 10_000;

/// Where the driver stands in a ring, and what became of its frames.
pub struct Receive {
    queue: usize,
    /// Descriptors of the ring, a power of two.
    ring: usize,
    /// Buffers before the card is told of them.
    batch: usize,
    frame_max: usize,
    /// The next descriptor to read, the next to give, and the tail that the card was told; all
    /// count on without end.
    head: usize,
    tail: usize,
    given: usize,
    /// The buffer in each descriptor.
    buffers: Box<[u16]>,
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
    pub dropped_checksum: u64,
    pub dropped_long: u64,
    pub dropped_small_buffer: u64,
}

/// A whole frame at the head of a ring.
struct Frame {
    descriptors: usize,
    len: usize,
    status: u32,
    info: ReceiveInfo,
}

impl Receive {
    pub fn new(queue: usize, ring: usize, receive_buffers: usize, frame_max: usize) -> Self {
        Receive {
            queue,
            ring,
            batch: (receive_buffers / 4).clamp(1, BATCH_MAX),
            frame_max,
            head: 0,
            tail: 0,
            given: 0,
            buffers: vec![0; ring].into_boxed_slice(),
            counters: Counters::default(),
        }
    }

    /// Lays out the ring and has the card fill it (§4.5.9). The card was reset before.
    pub fn start<B: Bus>(&mut self, chip: &mut Chip<B>, drop: bool) -> Result<(), Error> {
        let base = regs::rx(self.queue as u32);
        chip.write(base + regs::DCTL, 0);
        for slot in 0..self.ring {
            let descriptor = self.descriptor(chip, slot);
            chip.store_descriptor(descriptor, [0; 4]);
        }
        let [low, high] = chip.address(self.descriptor(chip, 0));
        chip.write(base + regs::DBAL, low);
        chip.write(base + regs::DBAH, high);
        chip.write(base + regs::DLEN, (self.ring * SIZE) as u32);
        chip.write(base + regs::DH, 0);
        chip.write(base + regs::DT, 0);
        // A full queue must not hold up the others.
        let drop = if drop { regs::SRRCTL_DROP_EN } else { 0 };
        let size = (BUFFER / 1024) as u32;
        chip.write(base + regs::SRRCTL, size | regs::SRRCTL_ADVANCED | drop);
        enable(chip, base, regs::RXDCTL_THRESHOLDS, self.queue)?;
        (self.head, self.tail, self.given) = (0, 0, 0);
        for buffer in chip.layout.rx_buffers(self.queue) {
            self.give(chip, buffer);
        }
        Ok(())
    }

    /// Tells the card of all buffers. To be called once reception is enabled (§4.5.9.1).
    pub fn tell<B: Bus>(&mut self, chip: &mut Chip<B>) {
        if self.given == self.tail {
            return;
        }
        // The descriptors must be there before the tail is.
        chip.bus.fence();
        let tail = self.tail % self.ring;
        chip.write(regs::rx(self.queue as u32) + regs::DT, tail as u32);
        self.given = self.tail;
        self.counters.tail_writes += 1;
    }

    /// Copies the next frame into `buffer`; `None` if there is none. Frames that do no good are
    /// skipped, at most a ring of them. With `all`, wrong checksums do not matter.
    pub fn take<B: Bus>(
        &mut self,
        chip: &mut Chip<B>,
        buffer: &mut [u8],
        all: bool,
    ) -> Result<Option<(usize, ReceiveInfo)>, Error> {
        for _ in 0..self.ring {
            let Some(frame) = self.look(chip)? else {
                return Ok(None);
            };
            let len = frame.len;
            let counters = &mut self.counters;
            let verdict = if frame.status & rx::RXE != 0 {
                counters.dropped_errors += 1;
                None
            } else if frame.status & (rx::IPE | rx::L4E) != 0 && !all {
                counters.dropped_checksum += 1;
                None
            } else if len > self.frame_max {
                counters.dropped_long += 1;
                None
            } else if let Some(buffer) = buffer.get_mut(..len) {
                counters.frames += 1;
                counters.octets += len as u64;
                self.copy(chip, buffer);
                Some(Ok(Some((len, frame.info))))
            } else {
                counters.dropped_small_buffer += 1;
                Some(Err(Error::BufferTooSmall { len }))
            };
            self.recycle(chip, frame.descriptors);
            if let Some(result) = verdict {
                return result;
            }
        }
        Ok(None)
    }

    /// Whether a whole frame, or one that cannot be, waits at the head.
    pub fn has_frame<B: Bus>(&self, chip: &mut Chip<B>) -> bool {
        !matches!(self.look(chip), Ok(None))
    }

    /// Descriptors that the card has filled and nobody has read.
    pub fn waiting<B: Bus>(&self, chip: &mut Chip<B>) -> usize {
        (self.head..self.tail)
            .take_while(|&slot| {
                let descriptor = self.descriptor(chip, slot);
                chip.bus.load32(descriptor + rx::STATUS) & rx::DD != 0
            })
            .count()
    }

    /// The frame at the head, if all of it is there. Believes nothing.
    fn look<B: Bus>(&self, chip: &mut Chip<B>) -> Result<Option<Frame>, Error> {
        let longest = self.frame_max + TAG;
        let mut len = 0;
        for count in 0..self.tail - self.head {
            let descriptor = self.descriptor(chip, self.head + count);
            let status = chip.bus.load32(descriptor + rx::STATUS);
            if status & rx::DD == 0 {
                return Ok(None);
            }
            // DD was the last to be written: the rest is there if it is read after.
            chip.bus.fence();
            let word = chip.bus.load32(descriptor + rx::LENGTH);
            let piece = (word & 0xffff) as usize;
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
                let descriptors = count + 1;
                let info = self.info(chip, descriptor, status, word);
                return Ok(Some(Frame {
                    descriptors,
                    len,
                    status,
                    info,
                }));
            }
        }
        if self.tail - self.head == 0 {
            return Ok(None);
        }
        Err(self.bad(len))
    }

    fn bad(&self, len: usize) -> Error {
        let queue = self.queue as u8;
        Error::BadDescriptor { queue, len }
    }

    fn info<B: Bus>(
        &self,
        chip: &mut Chip<B>,
        descriptor: usize,
        status: u32,
        length: u32,
    ) -> ReceiveInfo {
        let good = |verified, error| status & (verified | error) == verified;
        let hashed = chip.bus.load32(descriptor + rx::INFO) & rx::HASH_TYPE != 0;
        ReceiveInfo {
            ipv4_checksum: good(rx::IPCS, rx::IPE),
            transport_checksum: good(rx::L4CS, rx::L4E),
            vlan: (status & rx::VP != 0).then_some((length >> 16) as u16),
            queue: self.queue as u16,
            hash: hashed.then(|| chip.bus.load32(descriptor + rx::HASH)),
        }
    }

    fn copy<B: Bus>(&self, chip: &mut Chip<B>, buffer: &mut [u8]) {
        for (count, piece) in buffer.chunks_mut(BUFFER).enumerate() {
            let index = self.buffers[(self.head + count) % self.ring];
            let offset = chip.layout.buffer(index);
            chip.bus.copy_out(offset, piece);
        }
    }

    /// Gives the buffers of the frame at the head back.
    fn recycle<B: Bus>(&mut self, chip: &mut Chip<B>, descriptors: usize) {
        self.counters.descriptors += descriptors as u64;
        for _ in 0..descriptors {
            let buffer = self.buffers[self.head % self.ring];
            self.head += 1;
            self.give(chip, buffer);
        }
        if self.tail - self.given >= self.batch {
            self.tell(chip);
        }
    }

    /// Puts a buffer into the descriptor at the tail, without telling the card.
    fn give<B: Bus>(&mut self, chip: &mut Chip<B>, buffer: u16) {
        let address = chip.buffer_address(buffer);
        let descriptor = self.descriptor(chip, self.tail);
        chip.store_descriptor(descriptor, rx::empty(address));
        self.buffers[self.tail % self.ring] = buffer;
        self.tail += 1;
    }

    /// Whether the card's place in the ring is one.
    pub fn check<B: Bus>(&self, chip: &mut Chip<B>) -> Result<(), Error> {
        check_head(chip, regs::rx(self.queue as u32), self.queue, self.ring)
    }

    fn descriptor<B: Bus>(&self, chip: &Chip<B>, slot: usize) -> usize {
        chip.layout.rx_ring(self.queue) + slot % self.ring * SIZE
    }
}

/// Enables a queue, and waits until it is.
pub fn enable<B: Bus>(
    chip: &mut Chip<B>,
    base: u32,
    thresholds: u32,
    queue: usize,
) -> Result<(), Error> {
    chip.write(base + regs::DCTL, thresholds | regs::DCTL_ENABLE);
    let enabled = chip.poll(base + regs::DCTL, ENABLE_BOUND_US, |control| {
        control & regs::DCTL_ENABLE != 0
    })?;
    let queue = queue as u8;
    enabled.map(drop).ok_or(Error::QueueTimeout { queue })
}

/// Whether the card's place in a ring is one.
pub fn check_head<B: Bus>(
    chip: &mut Chip<B>,
    base: u32,
    queue: usize,
    ring: usize,
) -> Result<(), Error> {
    let head = chip.read(base + regs::DH)?;
    if head as usize >= ring {
        let queue = queue as u8;
        return Err(Error::BadHead { queue, head });
    }
    Ok(())
}
