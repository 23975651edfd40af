//! The receive ring.
//!
//! ```text
//!          head                                    tail
//!            v                                       v
//!    ... |   | C  | C  | C  | C  |    |    |    | EL |  ...
//!             `- ready -'         ^
//!              (known)            the card fills these in order, and stops after EL
//! ```
//!
//! A descriptor that was read becomes the new end of the list: it gets EL, and only then loses the
//! old end its EL. So the card never runs into frames that nobody has read, which it would
//! overwrite: QEMU's never looks at C, and the manual does not promise that any does (§6.4.3).
//! When the card reaches EL it stops ("no resources") and drops frames, until RU START gives it the
//! first clean descriptor.

use super::chip::Chip;
use super::layout::{self, FRAME_MAX, NIL, RFDS, cb, rfd};
use super::regs;
use crate::{Bus, Error};

/// Clean descriptors that are worth a restart while frames are still being read.
const RESTART: usize = RFDS / 4;
/// Interrupt causes of this ring.
const CAUSES: u8 = regs::FR | regs::RNR;

/// Where the driver stands in the ring, and what became of the frames.
#[derive(Default)]
pub struct Receive {
    /// The next descriptor to read.
    head: usize,
    /// How many from `head` on are complete, lengths and data included.
    ready: usize,
    /// The card was seen stopped.
    stopped: bool,
    /// Frames and octets handed over.
    pub frames: u64,
    pub octets: u64,
    /// Frames dropped: received with errors or empty, longer than a frame may be, longer than the
    /// caller's buffer.
    pub dropped_errors: u64,
    pub dropped_long: u64,
    pub dropped_small_buffer: u64,
    /// Batches, and restarts after "no resources".
    pub batches: u64,
    pub restarts: u64,
}

impl Receive {
    /// Lays out the ring and has the card fill it.
    pub fn start<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        for index in 0..RFDS {
            let descriptor = layout::rfd(index);
            let link = chip.address(layout::rfd((index + 1) % RFDS));
            let command = if index + 1 == RFDS { rfd::EL } else { 0 };
            let bus = &mut chip.bus;
            bus.store32(descriptor + rfd::STATUS, u32::from(command) << 16);
            bus.store32(descriptor + rfd::LINK, link);
            bus.store32(descriptor + rfd::RBD, NIL);
            bus.store32(descriptor + rfd::COUNT_AND_SIZE, rfd::EMPTY);
        }
        self.head = 0;
        self.ready = 0;
        self.start_unit(chip)
    }

    /// Reads the next frame into `buffer`.
    pub fn take<B: Bus>(&mut self, chip: &mut Chip<B>, buffer: &mut [u8]) -> Result<usize, Error> {
        // Bad frames are skipped, at most a ring of them.
        for _ in 0..RFDS {
            if self.ready == 0 && !self.look(chip)? {
                return Err(Error::WouldBlock);
            }
            let descriptor = layout::rfd(self.head);
            let status = chip.bus.load16(descriptor + rfd::STATUS);
            // EOF and F are not asked for: QEMU never sets them.
            let count = chip.bus.load32(descriptor + rfd::COUNT_AND_SIZE) & rfd::COUNT_MASK;
            let len = count as usize;
            let verdict = if status & cb::OK == 0 || len == 0 {
                self.dropped_errors += 1;
                None
            } else if len > FRAME_MAX {
                self.dropped_long += 1;
                None
            } else if let Some(buffer) = buffer.get_mut(..len) {
                chip.bus.copy_out(descriptor + rfd::DATA, buffer);
                self.frames += 1;
                self.octets += u64::from(count);
                Some(Ok(len))
            } else {
                self.dropped_small_buffer += 1;
                Some(Err(Error::BufferTooSmall { len }))
            };
            self.recycle(chip)?;
            if let Some(result) = verdict {
                return result;
            }
        }
        Err(Error::WouldBlock)
    }

    /// Gives the descriptor at `head` back to the card, as the new end of the list.
    fn recycle<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        let descriptor = layout::rfd(self.head);
        let old_tail = layout::rfd((self.head + RFDS - 1) % RFDS);
        let bus = &mut chip.bus;
        bus.store32(descriptor + rfd::COUNT_AND_SIZE, rfd::EMPTY);
        bus.store32(descriptor + rfd::STATUS, u32::from(rfd::EL) << 16);
        bus.fence();
        // 16 bits only: the card may be writing the status beside it.
        bus.store16(old_tail + rfd::COMMAND, 0);
        self.head = (self.head + 1) % RFDS;
        self.ready -= 1;
        if self.stopped && RFDS - self.complete(chip, self.ready) >= RESTART {
            self.restart(chip)?;
        }
        Ok(())
    }

    /// Looks for complete frames. If there are none, has the card interrupt when there are.
    fn look<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<bool, Error> {
        if self.scan(chip)? {
            return Ok(true);
        }
        if self.stopped {
            self.restart(chip)?;
        }
        if chip.mask() & CAUSES == 0 {
            // Nothing since the interrupt was enabled, or it is on its way.
            return Ok(false);
        }
        // Causes of the past go first, so that none of them interrupts for nothing.
        let unmasked = chip.mask() & !CAUSES;
        chip.acknowledge_and_mask(CAUSES, unmasked);
        // Frames whose cause was just acknowledged are visible after this read, and a stop is in
        // its value: no wake-up is lost.
        self.look_at_unit(chip)?;
        if self.scan(chip)? {
            return Ok(true);
        }
        if self.stopped {
            self.restart(chip)?;
        }
        Ok(false)
    }

    /// Counts the complete descriptors from `head` on; true if there are any.
    fn scan<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<bool, Error> {
        let complete = self.complete(chip, 0);
        if complete > 0 {
            // QEMU sets C before it writes the count and the data, on another thread: of 4144
            // frames read right after C, 4020 were stale. A register read waits until it is done.
            // One read serves all descriptors that were seen complete before it.
            self.look_at_unit(chip)?;
            self.batches += 1;
        }
        self.ready = complete;
        Ok(complete > 0)
    }

    /// Descriptors that the card has filled and nobody has read.
    pub fn waiting<B: Bus>(&self, chip: &mut Chip<B>) -> usize {
        self.complete(chip, self.ready)
    }

    /// How many descriptors from `head` on are complete, of which `known` need no look.
    fn complete<B: Bus>(&self, chip: &mut Chip<B>, known: usize) -> usize {
        (known..RFDS)
            .find(|ahead| {
                let descriptor = layout::rfd((self.head + ahead) % RFDS);
                chip.bus.load16(descriptor + rfd::STATUS) & cb::C == 0
            })
            .unwrap_or(RFDS)
    }

    /// Reads the state of the receive unit, which also is the fence.
    pub fn look_at_unit<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        self.stopped = chip.status()? & regs::RUS_MASK != regs::RUS_READY;
        Ok(())
    }

    /// Restarts a card that has stopped: by START and not by RESUME, which is for a suspended
    /// unit (§6.3.2.2; QEMU would accept either), at the first clean descriptor.
    fn restart<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        self.restarts += 1;
        self.start_unit(chip)
    }

    fn start_unit<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        let clean = (self.head + self.complete(chip, self.ready)) % RFDS;
        let pointer = chip.address(layout::rfd(clean));
        chip.bus.fence();
        chip.command_with(regs::RUC_START, pointer)?;
        self.stopped = false;
        Ok(())
    }

    /// To be called for an interrupt of this ring: it is masked until the ring is found empty.
    pub fn interrupted(causes: u8) -> Option<u8> {
        (causes & CAUSES != 0).then_some(CAUSES)
    }

    /// Whether there is work that an interrupt should have announced; it counts as announced then.
    pub fn overlooked<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<bool, Error> {
        if chip.mask() & CAUSES != 0 {
            return Ok(false);
        }
        self.look_at_unit(chip)?;
        if !self.stopped && self.complete(chip, self.ready) == 0 {
            return Ok(false);
        }
        chip.set_mask(chip.mask() | CAUSES);
        Ok(true)
    }
}
