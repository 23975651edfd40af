//! The receive ring.
//!
//! ```text
//!        oldest      head                                    tail
//!          v           v                                       v
//!    ... | C  | C  | C  | C  | C  | C  | C  |    |    |    | EL |  ...
//!         `- lent -' `- ready -'         ^
//!                     (known)            the card fills these in order, and stops after EL
//! ```
//!
//! A frame that is read in place is lent: its descriptor is the reader's until the reader returns it.
//! A descriptor that was returned, with all before it, becomes the new end of the list: it gets EL, and
//! only then does the old end lose its EL. So whoever keeps a frame keeps the ring from going round past
//! it, and the card never runs into frames that nobody has read, which it would overwrite: QEMU's never
//! looks at C, and the manual does not promise that any does (§6.4.3). When the card reaches EL it stops
//! ("no resources") and drops frames, until RU START gives it the first clean descriptor.
//!
//! This card knows nothing of VLAN tags. The driver takes them out of the frames as cards with that
//! feature do, so that a reader sees the same frame whichever card brought it.

use super::csr::Csr;
use super::layout::{self, FRAME_MAX, RFDS, cb, rfd};
use super::regs;
use crate::{Bus, Error, Piece, ReceiveInfo};

/// Where the EtherType is in a frame, and in its bytes 8 to 15, and a VLAN tag's, as it is loaded.
const ETHERTYPE: usize = 12;
const ETHERTYPE_SHIFT: u32 = 32;
const SEEN_VLAN: u16 = 0x8100_u16.swap_bytes();
/// Bytes of a VLAN tag (IEEE 802.1Q §9.5), and of the shortest frame with one.
const TAG: usize = 4;
const TAGGED_LEAST: usize = ETHERTYPE + TAG + 2;

/// Clean descriptors that are worth a restart while frames are still being read.
const RESTART: usize = RFDS / 4;
/// Microseconds from a descriptor that is seen complete to the next access of a register.
const SETTLE_US: u32 = 2;
/// Interrupt causes of this ring. They are masked from an interrupt on until the ring is found empty.
pub const CAUSES: u8 = regs::FR | regs::RNR;

/// Where the driver stands in the ring, and what became of the frames.
pub struct Receive {
    /// The next descriptor to read.
    head: usize,
    /// How many before it are lent, or were returned before an older one was.
    lent: usize,
    /// Which descriptors are lent and not returned.
    out: [bool; RFDS],
    /// How many from `head` on are complete, lengths and data included.
    ready: usize,
    /// The card was seen stopped.
    stopped: bool,
    /// Frames and octets handed over.
    pub frames: u64,
    pub octets: u64,
    /// Frames dropped: received with errors or empty, longer than a frame may be.
    pub dropped_errors: u64,
    pub dropped_long: u64,
    /// Batches, and restarts after "no resources".
    pub batches: u64,
    pub restarts: u64,
}

impl Default for Receive {
    fn default() -> Self {
        Receive {
            head: 0,
            lent: 0,
            out: [false; RFDS],
            ready: 0,
            stopped: false,
            frames: 0,
            octets: 0,
            dropped_errors: 0,
            dropped_long: 0,
            batches: 0,
            restarts: 0,
        }
    }
}

impl Receive {
    /// Forgets what is lent: whoever had it is gone.
    pub fn forget(&mut self) {
        (self.head, self.lent) = (0, 0);
        self.out = [false; RFDS];
    }

    /// Lays out the ring, but for what is lent, and has the card fill it.
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let clean = RFDS - self.lent;
        for ahead in 0..clean {
            let index = (self.head + ahead) % RFDS;
            let descriptor = layout::rfd(index);
            let link = csr.address(layout::rfd((index + 1) % RFDS));
            let command = if ahead + 1 == clean { rfd::EL } else { 0 };
            let bus = &mut csr.bus;
            bus.store32(status(index), u32::from(command) << 16);
            bus.store32(descriptor + rfd::LINK, link);
            bus.store_quads(descriptor + rfd::RBD_AND_COUNT, [rfd::EMPTY]);
        }
        self.ready = 0;
        self.start_unit(csr)
    }

    /// Lends the next frames, up to `max`, each of which `take` is told; returns how many. If they
    /// are fewer, with `arm`, the card interrupts when there are more.
    pub fn lend<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        let mut lent = 0;
        // Bad frames are skipped, at most a ring of them.
        let mut bad = 0;
        while lent < max && bad < RFDS {
            if self.ready == 0 && !self.look(csr, arm)? {
                break;
            }
            let index = self.head;
            let descriptor = layout::rfd(index);
            // The descriptor, and the first bytes of the frame, its EtherType among them.
            let [first, second, _, head] = csr.bus.load_quads(status(index));
            // EOF and F are not asked for: QEMU never sets them.
            let len = (second >> rfd::COUNT_SHIFT) as usize & rfd::COUNT_MASK;
            let is_tagged = (head >> ETHERTYPE_SHIFT) as u16 == SEEN_VLAN && len >= TAGGED_LEAST;
            let longest = if is_tagged {
                FRAME_MAX + TAG
            } else {
                FRAME_MAX
            };
            self.out[index] = true;
            self.lent += 1;
            self.head = (index + 1) % RFDS;
            self.ready -= 1;
            if first as u16 & cb::OK == 0 || len == 0 {
                self.dropped_errors += 1;
            } else if len > longest {
                self.dropped_long += 1;
            } else {
                let mut piece = Piece {
                    buffer: index as u16,
                    offset: descriptor + rfd::DATA - layout::FRAMES.receive.start,
                    len,
                    more: false,
                    continues: false,
                    info: ReceiveInfo::default(),
                };
                if is_tagged {
                    take_tag_out(csr, &mut piece);
                }
                self.frames += 1;
                self.octets += piece.len as u64;
                lent += 1;
                take(&piece);
                continue;
            }
            bad += 1;
            self.give_back(csr, &[index as u16], true)?;
        }
        Ok(lent)
    }

    /// Takes lent frames back, and gives the card the descriptors that can be given; a number that
    /// is not lent ends it. Restarts a card that `is_at_work` and has stopped, if that is worth it by now.
    pub fn give_back<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        buffers: &[u16],
        is_at_work: bool,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for &buffer in buffers {
            match self.out.get_mut(usize::from(buffer)) {
                Some(out) if *out => *out = false,
                _ => {
                    result = Err(Error::BadBuffer { buffer });
                    break;
                }
            }
        }
        let returned = (0..self.lent).take_while(|ahead| !self.out[(self.oldest() + ahead) % RFDS]);
        let count = returned.count();
        if count > 0 {
            self.recycle(csr, count);
        }
        if self.stopped && is_at_work {
            let complete = self.complete(csr, self.ready);
            // With nothing left to read, nobody may come to look.
            if complete == 0 || self.beyond() - complete >= RESTART {
                self.restart(csr)?;
            }
        }
        result
    }

    /// The oldest descriptor that is lent, perhaps a ring ahead: it is less than twice [`RFDS`].
    fn oldest(&self) -> usize {
        self.head + RFDS - self.lent
    }

    /// Descriptors from `head` to the end of the list.
    fn beyond(&self) -> usize {
        RFDS - self.lent
    }

    /// Gives the oldest descriptors back to the card, the last of them as the new end of the list.
    fn recycle<B: Bus>(&mut self, csr: &mut Csr<B>, count: usize) {
        let oldest = self.oldest();
        let bus = &mut csr.bus;
        for ahead in 1..=count {
            let index = (oldest + ahead - 1) % RFDS;
            let command = if ahead == count { rfd::EL } else { 0 };
            bus.store_quads(layout::rfd(index) + rfd::RBD_AND_COUNT, [rfd::EMPTY]);
            bus.store32(status(index), u32::from(command) << 16);
        }
        // Unless the old end of the list is the new one.
        if count < RFDS {
            bus.fence();
            let old_tail = layout::rfd((oldest + RFDS - 1) % RFDS);
            // 16 bits only: the card may be writing the status beside it.
            bus.store16(old_tail + rfd::COMMAND, 0);
        }
        self.lent -= count;
    }

    /// Looks for complete frames. If there are none, with `arm`, has the card interrupt when there
    /// are.
    fn look<B: Bus>(&mut self, csr: &mut Csr<B>, arm: bool) -> Result<bool, Error> {
        if self.scan(csr)? {
            return Ok(true);
        }
        if self.stopped {
            self.restart(csr)?;
        }
        if !arm || csr.mask() & CAUSES == 0 {
            // Nothing since the interrupt was enabled, or it is on its way.
            return Ok(false);
        }
        // Causes of the past go first, so that none of them interrupts for nothing.
        let unmasked = csr.mask() & !CAUSES;
        csr.acknowledge_and_mask(CAUSES, unmasked);
        // Frames whose cause was just acknowledged are visible after this read, and a stop is in
        // its value: no wake-up is lost.
        self.look_at_unit(csr)?;
        if self.scan(csr)? {
            return Ok(true);
        }
        if self.stopped {
            self.restart(csr)?;
        }
        Ok(false)
    }

    /// Counts the complete descriptors from `head` on; true if there are any.
    fn scan<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<bool, Error> {
        let complete = self.complete(csr, 0);
        if complete > 0 {
            // QEMU sets C before it writes the count and the data, on another thread: of 4144
            // frames read right after C, 4020 were stale. A register read waits until it is done.
            // One read serves all descriptors that were seen complete before it.
            self.look_at_unit(csr)?;
            self.batches += 1;
        }
        self.ready = complete;
        Ok(complete > 0)
    }

    /// Descriptors that the card has filled and nobody has read.
    pub fn waiting<B: Bus>(&self, csr: &mut Csr<B>) -> usize {
        self.complete(csr, self.ready)
    }

    /// How many descriptors from `head` on are complete, of which `known` need no look.
    fn complete<B: Bus>(&self, csr: &mut Csr<B>, known: usize) -> usize {
        (known..self.beyond())
            .find(|ahead| {
                let index = (self.head + ahead) % RFDS;
                csr.bus.load16(status(index)) & cb::C == 0
            })
            .unwrap_or(self.beyond())
    }

    /// Reads the state of the receive unit, which also is the fence.
    pub fn look_at_unit<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.stopped = csr.status()? & regs::RUS_MASK != regs::RUS_READY;
        Ok(())
    }

    /// Restarts a card that has stopped: by START and not by RESUME, which is for a suspended
    /// unit (§6.3.2.2; QEMU would accept either), at the first clean descriptor.
    fn restart<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.start_unit(csr)?;
        self.restarts += u64::from(!self.stopped);
        Ok(())
    }

    fn start_unit<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let complete = self.complete(csr, self.ready);
        if complete == self.beyond() {
            // Nothing to fill: what is given back starts it.
            self.stopped = true;
            return Ok(());
        }
        let clean = (self.head + complete) % RFDS;
        let pointer = csr.address(layout::rfd(clean));
        csr.bus.fence();
        csr.command_with(regs::RUC_START, pointer)?;
        self.stopped = false;
        Ok(())
    }

    /// Whether a descriptor is complete, by its status only, a while after it became so.
    pub fn has_come<B: Bus>(&self, csr: &mut Csr<B>) -> bool {
        let has_come = self.lent < RFDS && csr.bus.load16(status(self.head)) & cb::C != 0;
        if has_come {
            // QEMU sets C first and holds its lock until it has written the rest. The register
            // read that follows would have to wait for the lock, and so put the processor's
            // thread to sleep: 30 us that these few spare.
            csr.bus.delay_us(SETTLE_US);
        }
        has_come
    }

    /// Whether there is work that an interrupt should have announced; it counts as announced then.
    pub fn overlooked<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<bool, Error> {
        if csr.mask() & CAUSES != 0 {
            return Ok(false);
        }
        self.look_at_unit(csr)?;
        if !self.stopped && self.complete(csr, self.ready) == 0 {
            return Ok(false);
        }
        csr.mask_more(CAUSES);
        Ok(true)
    }
}

/// Where the status of a descriptor is in the arena.
fn status(index: usize) -> usize {
    layout::rfd(index) + rfd::STATUS
}

/// Moves both addresses of a frame over its VLAN tag, so that it starts behind where it did, and notes
/// the tag (TCI).
#[cold]
fn take_tag_out<B: Bus>(csr: &mut Csr<B>, piece: &mut Piece) {
    let data = layout::FRAMES.receive.start + piece.offset;
    let mut addresses = [0; ETHERTYPE];
    csr.bus.copy_out(data, &mut addresses);
    let tag = csr.bus.load16(data + ETHERTYPE + 2).swap_bytes();
    csr.bus.copy_in(data + TAG, &addresses);
    piece.info.vlan = Some(tag);
    (piece.offset, piece.len) = (piece.offset + TAG, piece.len - TAG);
}
