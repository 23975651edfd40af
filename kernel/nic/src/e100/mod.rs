//! Intel 82559ER ("E100").
//!
//! Manual: *Intel 8255x 10/100 Mbps Ethernet Controller Family Open Source Software Developer
//! Manual*, revision 1.3 ("OSDM", cited by section). Where QEMU 10's `i82559er` differs from it, the
//! driver obeys both and says so at the line.
//!
//! # Theory of operation
//!
//! The card has two units, each fed by a list in memory: the command unit (CU) executes command
//! blocks, the receive unit (RU) fills receive frame descriptors (RFDs). Both lists are rings here,
//! made once and never relinked, with one mark in each that stops the card before it runs into what
//! is the driver's. The control block of the registers starts and resumes the units.
//!
//! ```text
//!  registers          DMA arena
//!  STATUS ACK         transmit ring, 32 blocks          receive ring, 256 descriptors
//!  COMMAND MASK       +-------+------+------+---        +-----+------+------------------
//!  POINTER  CU ------>| C, S  | link | TBD ----> data   | C, EL | link | count | 1520 bytes
//!           RU --.    +-------+--|---+------+---        +-----+---|--+------------------
//!                 \              v                         ^      v
//!                  \          next block                  /    next descriptor
//!                   `------------------------------------'
//! ```
//!
//! **Transmit** (`transmit.rs`): a frame is built in a buffer of the pool (or copied there by `send`),
//! and may go on in a tail elsewhere. The next block points at both, or has a copy if the frame is
//! short: the card, QEMU's as well as the chip, then fetches it with the block, instead of a
//! descriptor and then the frame; and the buffer is free at once. `flush` marks the last of the new
//! ones S ("suspend after this"), and then takes S from the block before them: one RESUME for all
//! that is new. The card sets C when it is done, and the driver takes the block back when it needs
//! one. A full ring is [`Error::WouldBlock`]; only then the completion interrupts are unmasked,
//! until a quarter of the ring is free.
//!
//! **Receive** (`receive.rs`): the card stores a frame behind the next descriptor and sets C; FR
//! interrupts. That masks the interrupts of the receive ring until `receive` finds it empty, which
//! unmasks them and looks once more. So a busy card costs no interrupts, and one register read
//! per batch of frames. The end of list (EL) follows the reader round the ring.
//!
//! **Interrupts**: the line is shared and level triggered. The handler reads the causes, writes the
//! same byte back, and masks what the ring concerned will unmask by itself. It does not loop: a
//! cause that comes up meanwhile keeps the line asserted.
//!
//! **Errata and differences honoured**: no command before the last one is taken; bytes only into
//! the control block; START and not RESUME after "no resources"; no RESUME without new work; 16
//! blocks per RESUME; C before the data on QEMU; EOF not required; a reset that unmasks, and leaves
//! the line asserted; all set-up repeated after each reset, for QEMU keeps it and silicon does not.

mod csr;
mod eeprom;
mod layout;
mod mdi;
mod receive;
mod regs;
mod statistics;
mod transmit;

#[cfg(test)]
mod tests;

use self::csr::Csr;
use self::layout::{FRAMES, cb};
use self::receive::Receive;
use self::statistics::Statistics;
use self::transmit::Transmit;
use crate::chip::{self, Chip, Status, Watchdog};
use crate::driver::Driver;
use crate::pool::Buffers;
use crate::{Bus, Error, Events, Facts, Features, Filters, MacAddress, Outgoing, Piece, Tail};

pub use self::layout::{ARENA_SIZE, FRAME_MAX};

/// CONFIGURE (§6.4.2.3), all of the 22 bytes that this chip knows: QEMU reads that many regardless
/// of the count in the first byte.
const CONFIGURE: [u8; 22] = [
    22,   // 0: byte count
    0x08, // 1: receive FIFO limit 8, transmit limit 0
    0x00, // 2: adaptive interframe spacing off
    0x00, // 3: no memory write and invalidate
    0x00, // 4: receive DMA count: no limit
    0x00, // 5: transmit DMA count: no limit
    0x32, // 6: CNA interrupts (3=0), standard TCB (4), standard counters (5), bit 1 must be 1
    0x03, // 7: discard short frames (0), one retry after underrun (2:1)
    0x01, // 8: MII (0); bit 7 (CSMA off) would end all reception on QEMU
    0x00, // 9: no wake-up, no checksum offload
    0x2e, // 10: preamble of 7 bytes, source address from the frame, no loopback
    0x00, // 11: linear priority off
    0x60, // 12: interframe spacing 6 x 16 bit times
    0x00, // 13: ARP filter address, unused
    0xf2, // 14: the same
    0x48, // 15: broadcasts yes, promiscuous no (0), carrier sense from the transceiver (7)
    0x00, // 16: flow control delay
    0x40, // 17: the same
    // 18: pad short frames (1); no checksum in memory (2): QEMU has none; long frames (3), since one
    // with a VLAN tag is longer than the 1518 bytes at which a chip would end: the driver measures
    0xfa, 0x80, // 19: full duplex as the transceiver says
    0x3f, // 20: priority field at byte 31
    0x05, // 21: not all multicasts (3)
];

/// Bits of CONFIGURE that a choice of frames sets: in byte 15, all frames; in byte 21, those to groups.
const PROMISCUOUS: u8 = 1 << 0;
const MULTICAST_ALL: u8 = 1 << 3;

/// MULTICAST SETUP (§6.4.2.4): a list of no bytes, which clears the filter.
const NO_MULTICASTS: [u8; 2] = [0, 0];

/// Interrupt causes of the command ring. They are masked unless a sender waits.
const TRANSMIT: u8 = regs::CX | regs::CNA;

/// The driver of an 82559ER.
pub type E100<B> = Driver<I82559<B>>;

/// An 82559ER on its bus.
pub struct I82559<B: Bus> {
    csr: Csr<B>,
    mac: MacAddress,
    transmit: Transmit,
    receive: Receive,
    statistics: Statistics,
    /// CONFIGURE, as the frames are that it shall receive.
    configure: [u8; CONFIGURE.len()],
    watchdog: Watchdog,
    counters: Counters,
}

/// What is counted here, besides the rings.
#[derive(Default)]
struct Counters {
    tx_frames: u64,
    tx_octets: u64,
    interrupts: u64,
    mdi_timeouts: u64,
}

impl<B: Bus> E100<B> {
    /// Resets the card, reads its EEPROM and its link; leaves it stopped.
    ///
    /// `bus` must give an arena of at least [`ARENA_SIZE`] zeroed bytes below 4 GiB that starts on
    /// a page, and the card must be bus master.
    ///
    /// # Errors
    /// [`Error::ArenaTooSmall`], [`Error::ArenaUnreachable`], [`Error::DeviceGone`],
    /// [`Error::ResetTimeout`], [`Error::NoEeprom`], [`Error::EepromChecksum`],
    /// [`Error::BadMacAddress`], [`Error::MdiTimeout`], [`Error::NoMemory`].
    pub fn new(bus: B) -> Result<Self, Error> {
        let found = bus.arena_len();
        if found < ARENA_SIZE {
            let needed = ARENA_SIZE;
            return Err(Error::ArenaTooSmall { needed, found });
        }
        let start = bus.bus_addr(0);
        let end = bus.bus_addr(ARENA_SIZE - 1);
        if end.0 > u32::MAX.into() || !start.0.is_multiple_of(16) {
            return Err(Error::ArenaUnreachable { start });
        }
        let mut csr = Csr::new(bus);
        csr.reset()?;
        let mac = eeprom::mac_address(&mut csr.bus)?;
        let link = mdi::link(&mut csr)?;
        let chip = I82559 {
            csr,
            mac,
            transmit: Transmit::default(),
            receive: Receive::default(),
            statistics: Statistics::default(),
            configure: CONFIGURE,
            watchdog: Watchdog::default(),
            counters: Counters::default(),
        };
        let facts = Facts {
            name: "e100",
            mac,
            frame_max: FRAME_MAX,
            transmit_ring: transmit::CAPACITY,
            receive_ring: layout::RFDS,
            features: Features::default(),
        };
        Driver::stopped(chip, facts, FRAMES, link)
    }
}

impl<B: Bus> I82559<B> {
    /// Puts a frame of any kind into the ring; how long it is.
    fn queue_any(&mut self, frame: &Outgoing, buffers: &mut Buffers) -> Result<usize, Error> {
        let &Outgoing {
            buffer,
            len,
            options,
            tail,
        } = frame;
        buffers.small.check_held(buffer)?;
        if !options.is_none() {
            return Err(Error::Unsupported);
        }
        let whole = len.saturating_add(tail.map_or(0, |tail| tail.len));
        // A frame of no bytes would wedge QEMU's network backend for good.
        if len == 0 || whole > FRAME_MAX || tail.is_some_and(|tail| tail.len == 0) {
            return Err(Error::BadLength { len: whole });
        }
        if let Some(Tail {
            address: start,
            len,
        }) = tail
            && start.0.saturating_add(len as u64) > 1 << 32
        {
            return Err(Error::ArenaUnreachable { start });
        }
        match self.transmit.queue(&mut self.csr, frame, buffers) {
            true => Ok(whole),
            false => Err(Error::WouldBlock),
        }
    }
}

impl<B: Bus> Chip for I82559<B> {
    type Bus = B;

    fn bus(&mut self) -> &mut B {
        &mut self.csr.bus
    }

    fn bring_up(&mut self, status: &mut Status) -> Result<(), Error> {
        let csr = &mut self.csr;
        status.counters.resets += 1;
        csr.reset()?;
        status.link = mdi::link(csr)?;
        // Both bases survive a software reset on QEMU: all addresses are absolute (§6.3.2.2).
        csr.command_with(regs::CUC_LOAD_BASE, 0)?;
        csr.command_with(regs::RUC_LOAD_BASE, 0)?;
        self.statistics.start(csr)?;
        let commands: [(u16, &[u8]); 3] = [
            (cb::CONFIGURE, &self.configure),
            (cb::IA_SETUP, &self.mac),
            (cb::MULTICAST_SETUP, &NO_MULTICASTS),
        ];
        self.transmit.start(csr, &commands)?;
        self.receive.start(csr)?;
        self.watchdog = Watchdog::new(self.transmit.completed);
        csr.set_mask(TRANSMIT);
        Ok(())
    }

    fn quiesce(&mut self) {
        // The counters of the last moments; without them the sums are still right so far.
        let _ = self.harvest();
    }

    fn in_rings(&mut self) -> (u64, u64) {
        let received = self.receive.waiting(&mut self.csr);
        (self.transmit.in_flight() as u64, received as u64)
    }

    /// After the reset both units are idle, so there is no DMA, and no interrupt since it is masked.
    fn halt(&mut self, _: &mut Status) -> Result<(), Error> {
        self.csr.reset()
    }

    fn forget(&mut self) {
        self.receive.forget();
    }

    fn look_after(&mut self, status: &mut Status) -> Result<(), Error> {
        match mdi::link(&mut self.csr) {
            Ok(link) => status.see_link(link),
            Err(Error::MdiTimeout) => self.counters.mdi_timeouts += 1,
            Err(error) => return Err(error),
        }
        self.harvest()?;
        if self.receive.overlooked(&mut self.csr)? {
            status.pending |= Events::RECEIVE;
        }
        Ok(())
    }

    /// Without a link the card may rightly hold its frames back.
    fn is_stuck(&mut self, has_link: bool) -> bool {
        let should_move = !self.is_idle() && has_link;
        self.watchdog.is_stuck(should_move, self.transmit.completed)
    }

    fn on_interrupt(&mut self, _: Option<u16>, _: &mut Status) -> Result<Option<Events>, Error> {
        let (ours, all) = self.csr.causes()?;
        if ours == 0 {
            return Ok(None);
        }
        self.counters.interrupts += 1;
        let mut events = Events::empty();
        let mut mask = self.csr.mask();
        for (causes, event) in [
            (receive::CAUSES, Events::RECEIVE),
            (TRANSMIT, Events::TRANSMIT_SPACE),
        ] {
            if ours & causes != 0 {
                mask |= causes;
                events |= event;
            }
        }
        // All that was read and no more: what comes up from here on interrupts again.
        self.csr.acknowledge_and_mask(all, mask);
        Ok(Some(events))
    }

    /// All frames, or all that go to groups. The chip compares no other station, and tells groups apart
    /// by a hash only. A card at work is reset for it, and loses what is in its rings.
    fn set_filters(&mut self, filters: &Filters<'_>, _: bool) -> Result<bool, Error> {
        if !filters.unicast.is_empty() || filters.vlans.is_some() {
            return Err(Error::Unsupported);
        }
        let mut configure = CONFIGURE;
        if filters.promiscuous {
            configure[15] |= PROMISCUOUS;
        }
        if filters.all_multicast || !filters.multicast.is_empty() {
            configure[21] |= MULTICAST_ALL;
        }
        Ok(core::mem::replace(&mut self.configure, configure) != configure)
    }

    fn harvest(&mut self) -> Result<(), Error> {
        self.statistics.harvest(&mut self.csr)
    }

    fn visit(&mut self, common: &chip::Counters, visit: &mut dyn FnMut(&str, u64)) {
        self.statistics.visit(visit);
        let waiting = self.receive.waiting(&mut self.csr);
        let (own, transmit, receive) = (&self.counters, &self.transmit, &self.receive);
        for (name, value) in [
            ("tx_frames", own.tx_frames),
            ("tx_octets", own.tx_octets),
            ("tx_completed", transmit.completed),
            ("tx_doorbells", transmit.kicks),
            ("rx_waiting", waiting as u64),
            ("rx_frames", receive.frames - common.rx_unread),
            ("rx_octets", receive.octets - common.rx_unread_octets),
            ("rx_batches", receive.batches),
            ("rx_restarts", receive.restarts),
            ("rx_dropped_errors", receive.dropped_errors),
            ("rx_dropped_long", receive.dropped_long),
            ("interrupts", own.interrupts),
            ("mdi_timeouts", own.mdi_timeouts),
            ("statistics_timeouts", self.statistics.timeouts),
        ] {
            visit(name, value);
        }
    }

    fn queue(&mut self, frames: &[Outgoing], buffers: &mut Buffers) -> (usize, Result<(), Error>) {
        let mut sent = 0;
        let mut octets = 0;
        let mut result = Ok(());
        for frame in frames {
            let is_plain = frame.options.is_none();
            if is_plain && self.transmit.queue_short(&mut self.csr, frame, buffers) {
                octets += frame.len;
            } else {
                match self.queue_any(frame, buffers) {
                    Ok(len) => octets += len,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            sent += 1;
        }
        self.counters.tx_frames += sent as u64;
        self.counters.tx_octets += octets as u64;
        (sent, result)
    }

    fn kick(&mut self) -> Result<(), Error> {
        self.transmit.kick(&mut self.csr)
    }

    fn reclaim(&mut self, buffers: &mut Buffers) {
        self.transmit.reclaim(&mut self.csr, buffers);
    }

    fn is_idle(&self) -> bool {
        self.transmit.in_flight() == 0
    }

    fn has_room(&self, _: &mut Buffers) -> bool {
        self.transmit.has_room()
    }

    fn arm_transmit(&mut self) -> Result<(), Error> {
        // Causes of the past go first, so that none of them interrupts for nothing. What completed
        // before the acknowledgement is visible after the register read: no wake-up is lost.
        let unmasked = self.csr.mask() & !TRANSMIT;
        self.csr.acknowledge_and_mask(TRANSMIT, unmasked);
        self.csr.status().map(drop)
    }

    fn silence_transmit(&mut self) {
        self.csr.mask_more(TRANSMIT);
    }

    fn lend(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        self.receive.lend(&mut self.csr, arm, max, take)
    }

    fn give_back(&mut self, buffers: &[u16], is_at_work: bool) -> Result<(), Error> {
        self.receive.give_back(&mut self.csr, buffers, is_at_work)
    }

    fn has_received(&mut self) -> bool {
        self.receive.has_come(&mut self.csr)
    }

    fn silence_receive(&mut self) {
        self.csr.mask_more(receive::CAUSES);
    }
}
