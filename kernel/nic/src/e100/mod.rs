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

mod chip;
mod counters;
mod eeprom;
mod layout;
mod mdi;
mod receive;
mod regs;
mod statistics;
mod transmit;

#[cfg(test)]
mod tests;

use self::chip::Chip;
use self::counters::Counters;
use self::layout::{FRAMES, cb};
use self::receive::Receive;
use self::statistics::Statistics;
use self::transmit::Transmit;
use crate::{
    Bus, Error, Events, Filters, FrameArea, FrameBuffers, Link, MacAddress, Nic, Outgoing, Piece,
    ReceiveInfo, SendOptions, Tail,
};

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

/// Interrupt causes that are let through when no sender waits.
const QUIET: u8 = regs::CX | regs::CNA;

/// Ticks without progress of a busy transmit ring before the card is reset.
const STUCK_TICKS: u32 = 3;

/// An 82559ER on its bus.
pub struct E100<B: Bus> {
    chip: Chip<B>,
    mac: MacAddress,
    link: Link,
    transmit: Transmit,
    receive: Receive,
    statistics: Statistics,
    /// CONFIGURE, as the frames are that it shall receive.
    configure: [u8; CONFIGURE.len()],
    /// Events not yet told.
    pending: Events,
    running: bool,
    /// What broke the card; `tick` tries to mend it.
    fault: Option<Error>,
    /// What is lost in the rings was counted.
    lost_counted: bool,
    /// Blocks completed at the last tick, and since how many ticks that has not changed.
    last_completed: u64,
    stuck_ticks: u32,
    counters: Counters,
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
        let mut chip = Chip::new(bus);
        chip.reset()?;
        let mac = eeprom::mac_address(&mut chip.bus)?;
        let link = mdi::link(&mut chip)?;
        Ok(E100 {
            chip,
            mac,
            link,
            transmit: Transmit::new()?,
            receive: Receive::default(),
            statistics: Statistics::default(),
            configure: CONFIGURE,
            pending: Events::empty(),
            running: false,
            fault: None,
            lost_counted: true,
            last_completed: 0,
            stuck_ticks: 0,
            counters: Counters::default(),
        })
    }

    /// From any state to running, with empty rings.
    fn bring_up(&mut self) -> Result<(), Error> {
        let chip = &mut self.chip;
        self.counters.resets += 1;
        chip.reset()?;
        self.link = mdi::link(chip)?;
        // Both bases survive a software reset on QEMU: all addresses are absolute (§6.3.2.2).
        chip.command_with(regs::CUC_LOAD_BASE, 0)?;
        chip.command_with(regs::RUC_LOAD_BASE, 0)?;
        self.statistics.start(chip)?;
        let commands: [(u16, &[u8]); 3] = [
            (cb::CONFIGURE, &self.configure),
            (cb::IA_SETUP, &self.mac),
            (cb::MULTICAST_SETUP, &NO_MULTICASTS),
        ];
        self.transmit.start(chip, &commands)?;
        self.receive.start(chip)?;
        self.last_completed = self.transmit.completed;
        self.stuck_ticks = 0;
        chip.set_mask(QUIET);
        self.lost_counted = false;
        Ok(())
    }

    /// Stops: after the reset both units are idle, so there is no DMA, and no interrupt since it is
    /// masked.
    fn halt(&mut self) -> Result<(), Error> {
        if self.running && self.fault.is_none() {
            // The counters of the last moments; without them the sums are still right so far.
            let _ = self.statistics.harvest(&mut self.chip);
        }
        self.count_lost();
        self.running = false;
        self.pending = Events::empty();
        self.chip.reset()
    }

    /// Counts the frames in the rings, which a reset follows: once, however often that is tried.
    fn count_lost(&mut self) {
        if core::mem::replace(&mut self.lost_counted, true) {
            return;
        }
        self.transmit.reclaim(&mut self.chip);
        self.counters.tx_lost += self.transmit.in_flight() as u64;
        self.counters.rx_lost += self.receive.waiting(&mut self.chip) as u64;
    }

    /// Refuses work while stopped or broken.
    fn ready(&self) -> Result<(), Error> {
        match self.fault {
            _ if !self.running => Err(Error::Stopped),
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Remembers a breakdown, so that the next call fails at once instead of waiting again.
    fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ (Error::DeviceGone | Error::CommandTimeout { .. })) = result {
            self.break_down(error);
        }
        result
    }

    fn break_down(&mut self, error: Error) {
        self.count_lost();
        if self.fault.replace(error).is_none() {
            self.link = Link::default();
            // Whoever waits for this card shall hear of it.
            self.pending |= Events::all();
        }
    }

    /// Puts a frame of any kind into the ring; how long it is.
    fn queue(&mut self, frame: &Outgoing) -> Result<usize, Error> {
        let &Outgoing {
            buffer,
            len,
            options,
            tail,
        } = frame;
        self.transmit.pool.check_held(buffer)?;
        if !options.is_none() {
            return Err(Error::Unsupported);
        }
        let whole = len.saturating_add(tail.map_or(0, |tail| tail.len));
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
        self.ready()?;
        if !self.transmit.queue(&mut self.chip, frame) {
            let result = self.ring_full();
            self.note(result)?;
            return Err(Error::WouldBlock);
        }
        Ok(whole)
    }

    /// The ring is full: gets all that is queued on its way, and sees to the event.
    fn ring_full(&mut self) -> Result<(), Error> {
        self.counters.tx_ring_full += 1;
        self.transmit.kick(&mut self.chip)?;
        if self.transmit.want(&mut self.chip)? {
            self.pending |= Events::TRANSMIT_SPACE;
        }
        Ok(())
    }

    fn serve_interrupt(&mut self) -> Result<Option<Events>, Error> {
        let (ours, all) = self.chip.causes()?;
        if ours == 0 {
            return Ok(None);
        }
        self.counters.interrupts += 1;
        let mut events = Events::empty();
        let mut mask = self.chip.mask();
        if let Some(causes) = Receive::interrupted(ours) {
            mask |= causes;
            events |= Events::RECEIVE;
        }
        // All that was read and no more: what comes up from here on interrupts again.
        self.chip.acknowledge_and_mask(all, mask);
        if self.transmit.has_space(&mut self.chip) {
            events |= Events::TRANSMIT_SPACE;
        }
        Ok(Some(events))
    }

    fn look_after(&mut self) -> Result<(), Error> {
        match mdi::link(&mut self.chip) {
            Ok(link) if link != self.link => {
                self.link = link;
                self.pending |= Events::LINK;
            }
            Ok(_) => {}
            Err(Error::MdiTimeout) => self.counters.mdi_timeouts += 1,
            Err(error) => return Err(error),
        }
        self.statistics.harvest(&mut self.chip)?;
        if self.receive.overlooked(&mut self.chip)? {
            self.pending |= Events::RECEIVE;
        }
        self.transmit.kick(&mut self.chip)?;
        self.transmit.reclaim(&mut self.chip);
        if self.transmit.has_space(&mut self.chip) {
            self.pending |= Events::TRANSMIT_SPACE;
        }
        // Without a link the card may rightly hold its frames back.
        let completed = self.transmit.completed;
        if self.transmit.is_busy() && self.link.up && completed == self.last_completed {
            self.stuck_ticks += 1;
        } else {
            self.stuck_ticks = 0;
        }
        self.last_completed = completed;
        if self.stuck_ticks >= STUCK_TICKS {
            self.counters.tx_hangs += 1;
            self.mend();
        }
        Ok(())
    }

    /// Resets a running card that does not work; what was in the rings is lost.
    fn mend(&mut self) {
        self.count_lost();
        match self.bring_up() {
            Ok(()) => {
                self.fault = None;
                self.pending |= Events::all();
            }
            Err(error) => self.break_down(error),
        }
    }
}

impl<B: Bus> FrameBuffers for E100<B> {
    fn flush(&mut self) -> Result<(), Error> {
        self.ready()?;
        let result = self.transmit.kick(&mut self.chip);
        self.note(result)
    }

    fn frame_area(&self) -> FrameArea {
        FRAMES
    }

    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        if len == 0 || len > layout::BUFFER {
            return Err(Error::BadLength { len });
        }
        self.ready()?;
        if self.transmit.pool.free_count() < into.len() {
            self.transmit.reclaim(&mut self.chip);
        }
        let taken = self.transmit.pool.take_all(into);
        if taken < into.len() {
            let result = self.ring_full();
            self.note(result)?;
        }
        Ok(taken)
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.transmit.pool.put_back(buffer)
    }

    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.put_back(buffer)?;
        self.counters.tx_dropped += 1;
        Ok(())
    }

    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>) {
        let mut sent = 0;
        let mut octets = 0;
        let mut result = Ok(());
        let is_ready = self.ready().is_ok();
        for frame in frames {
            let is_plain = is_ready && frame.options.is_none();
            if is_plain && self.transmit.queue_short(&mut self.chip, frame) {
                (sent, octets) = (sent + 1, octets + frame.len);
                continue;
            }
            match self.queue(frame) {
                Ok(len) => octets += len,
                Err(error) => {
                    self.counters.tx_refused.note(&error);
                    result = Err(error);
                    break;
                }
            }
            sent += 1;
        }
        self.counters.tx_frames += sent as u64;
        self.counters.tx_octets += octets as u64;
        (sent, result)
    }

    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        self.ready()?;
        let result = self.receive.lend(&mut self.chip, arm, max, take);
        self.note(result)
    }

    fn return_buffers(&mut self, buffers: &[u16]) -> Result<(), Error> {
        let returned = self.receive.give_back(&mut self.chip, buffers);
        if self.ready().is_err() {
            return returned;
        }
        let result = self.receive.go_on(&mut self.chip);
        self.note(result).and(returned)
    }

    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]) {
        if let Some((offset, room)) = FRAMES.buffer(buffer) {
            let len = bytes.len().min(room);
            self.chip.bus.copy_in(offset, &bytes[..len]);
        }
    }

    fn read_received(&mut self, offset: usize, into: &mut [u8]) {
        let start = FRAMES.receive.start + offset;
        self.chip.bus.copy_out(start, into);
    }
}

impl<B: Bus> Nic for E100<B> {
    fn name(&self) -> &'static str {
        "e100"
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn link(&self) -> Link {
        self.link
    }

    fn fault(&self) -> Option<Error> {
        self.fault
    }

    fn frame_max(&self) -> usize {
        FRAME_MAX
    }

    fn transmit_ring(&self) -> usize {
        transmit::CAPACITY
    }

    fn receive_ring(&self) -> usize {
        layout::RFDS
    }

    fn start(&mut self) -> Result<(), Error> {
        let stopped = self.halt();
        self.fault = None;
        self.pending = Events::empty();
        // Whoever has buffers is gone, and what is in them was theirs.
        self.receive.forget();
        self.transmit.pool.refill();
        let cleared = stopped.map(|()| FRAMES.clear(&mut self.chip.bus));
        if let Err(error) = cleared.and_then(|()| self.bring_up()) {
            self.stop();
            return Err(error);
        }
        self.running = true;
        Ok(())
    }

    fn stop(&mut self) {
        // A card that does not come out of reset cannot be helped here; `start` reports it.
        let _ = self.halt();
    }

    fn send(&mut self, frame: &[u8], more: bool) -> Result<(), Error> {
        // A frame of no bytes would wedge QEMU's network backend for good.
        if frame.is_empty() || frame.len() > FRAME_MAX {
            let error = Error::BadLength { len: frame.len() };
            self.counters.tx_refused.note(&error);
            return Err(error);
        }
        let buffer = self.take_buffer(frame.len())?;
        self.fill_buffer(buffer, frame);
        let options = SendOptions::default();
        if let Err(error) = self.send_buffer(buffer, frame.len(), None, &options) {
            // The caller still has the frame, and is told.
            self.put_back(buffer)?;
            return Err(error);
        }
        if more { Ok(()) } else { self.flush() }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.receive_with(buffer).map(|(len, _)| len)
    }

    fn receive_with(&mut self, buffer: &mut [u8]) -> Result<(usize, ReceiveInfo), Error> {
        self.ready()?;
        let result = self.receive.take(&mut self.chip, buffer);
        self.note(result)
    }

    fn has_received(&mut self) -> bool {
        self.ready().is_ok() && self.receive.has_come(&mut self.chip)
    }

    fn silence_receive(&mut self) {
        if self.ready().is_ok() {
            self.receive.silence(&mut self.chip);
        }
    }

    /// All frames, or all that go to groups. The chip compares no other station, and tells groups apart
    /// by a hash only. A running card is reset for it, and loses what is in its rings.
    fn set_filters(&mut self, filters: &Filters) -> Result<(), Error> {
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
        let is_new = core::mem::replace(&mut self.configure, configure) != configure;
        if is_new && self.ready().is_ok() {
            self.mend();
        }
        Ok(())
    }

    fn on_interrupt(&mut self) -> Option<Events> {
        // A stopped card is masked: it does not ask, and no register needs to be read.
        self.ready().ok()?;
        let result = self.serve_interrupt();
        match self.note(result) {
            Ok(events) => events.map(|events| events | self.take_events()),
            Err(_) => Some(self.take_events()),
        }
    }

    fn tick(&mut self) -> Events {
        if self.running {
            if self.fault.is_some() {
                self.mend();
            } else {
                let result = self.look_after();
                // Kept in `fault`, told by the next call, and mended at the next tick.
                let _ = self.note(result);
            }
        }
        self.take_events()
    }

    fn take_events(&mut self) -> Events {
        core::mem::take(&mut self.pending)
    }

    fn statistics(&mut self, visit: &mut dyn FnMut(&str, u64)) {
        if self.ready().is_ok() {
            let result = self.statistics.harvest(&mut self.chip);
            // The sums so far are still worth telling.
            let _ = self.note(result);
        }
        self.statistics.visit(visit);
        self.visit_own(visit);
    }
}
