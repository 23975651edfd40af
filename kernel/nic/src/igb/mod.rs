//! Intel 82576 ("igb").
//!
//! Manual: *Intel 82576EB Gigabit Ethernet Controller Datasheet*, revision 2.63 (cited by section).
//! Where QEMU 10's `igb` differs from it, the driver obeys both and says so at the line.
//!
//! # Theory of operation
//!
//! The card has up to sixteen receive and sixteen transmit queues, each a ring of 16-byte
//! descriptors in memory. A ring has a head, which is the card's, and a tail, which the driver
//! writes: the descriptors from head to before tail are the card's.
//!
//! ```text
//!  registers                     DMA arena
//!  TDBAL TDLEN TDT  16 times     transmit rings     receive rings      buffers of 2 KiB
//!  RDBAL RDLEN RDT  16 times     +--------------+   +--------------+   +---+---+---+- - -
//!  RETA  RSSRK MRQC  which ring  | context      |   | buffer, -    |   |   |   |   |
//!  IVAR  EITR  GPIE  which       | buffer, len  |   | status, len  |   +---+---+---+- - -
//!  EICR  EIMS        vector      | buffer, len  |   | buffer, -    |   for sending, then
//!  CTRL  STATUS MDIC  link       +--------------+   +--------------+   those of each ring
//! ```
//!
//! **Buffers** are numbered, and descriptors remember numbers: a ring may hold any buffer in any
//! place. Frames are built and read in them (`take_buffer`, `receive_piece`), or copied into and out
//! of them by the simple calls, which are made of those.
//!
//! **Transmit** (`transmit.rs`, `offload.rs`): `send` finds the headers of the frame, chooses the
//! queue by the flow, so that frames of a flow stay in order, and fills descriptors; most frames
//! need little of that (`usual.rs`). `flush` is one write of the tail for each queue that has new
//! ones. What is done is read from memory. A full ring is [`Error::WouldBlock`]; only then the
//! transmit cause is armed.
//!
//! **Receive** (`receive.rs`, `turns.rs`): the card spreads flows over the queues by a hash and
//! stores each frame in one descriptor or several. `receive` goes round the queues whose interrupt
//! is silent, a batch from each, reading from memory alone; only when all are empty it arms their
//! causes and looks once more. So a busy card costs no interrupts, and no register access but a
//! tail for some dozens of frames, and rings that nothing comes by are not looked at.
//!
//! **Interrupts** (`interrupts.rs`): messages for the parts of the card, one message, or the line.
//!
//! **Link** (`chip.rs`): negotiation starts with each reset and is never waited for; the card
//! interrupts when the link comes or goes, and `tick` looks too.
//!
//! **Recovery**: a descriptor that cannot be, a head outside its ring, a transmit queue that stands
//! still, or a card that reads as all ones ends all work with a typed error, until `tick` has reset
//! the card. What was in the rings is lost.
//!
//! **Differences of QEMU honoured**: a restart of negotiation after each reset; bits that never
//! come (EEPROM loaded); causes at their old offsets; no transmit cause without vector; no masking
//! by messages; descriptors without address eat the ring; frames below 14 bytes and IPv4 packets
//! without header are dropped though reported as sent; segments without FIN; no legacy descriptors.

mod buffers;
mod chip;
mod config;
mod counters;
mod descriptor;
mod filters;
mod interrupts;
mod offload;
mod packet;
mod receive;
mod regs;
mod room;
mod rss;
mod selftest;
mod statistics;
mod transmit;
mod turns;
mod usual;
mod watchdog;

#[cfg(test)]
mod tests;

use self::buffers::Buffers;
use self::chip::Chip;
use self::config::BUFFER;
use self::filters::FilterState;
use self::interrupts::{Causes, Interrupts};
use self::receive::Receive;
use self::room::Wanted;
use self::statistics::Statistics;
use self::transmit::Transmit;
use crate::refusals::Refusals;
use crate::{
    Bus, Error, Events, Features, Filters, FrameArea, FrameBuffers, Link, MacAddress, Nic,
    Outgoing, Piece, ReceiveInfo, SendOptions, reserve,
};
use alloc::vec::Vec;

pub use self::config::{Config, FRAME_JUMBO, InterruptMode, MICROSOFT_KEY, QUEUES, VECTORS};

/// Bytes of registers that the driver uses.
pub const REGISTERS: usize = 0x1_0000;

/// An 82576 on its bus: its physical function.
pub struct Igb<B: Bus> {
    chip: Chip<B>,
    config: Config,
    mac: MacAddress,
    link: Link,
    transmit: Vec<Transmit>,
    /// Transmit queues with frames that the card was not told of, and with such that it was, one bit
    /// each.
    untold: u32,
    busy: u32,
    buffers: Buffers,
    receive: Vec<Receive>,
    /// The receive queues with buffers that the card was not told of.
    owing: u32,
    /// The receive queue whose turn it is, and how many frames it gave in it.
    turn: (usize, usize),
    interrupts: Interrupts,
    filters: FilterState,
    statistics: Statistics,
    /// What a sender waits for.
    wanted: Option<Wanted>,
    /// Events not yet told.
    pending: Events,
    running: bool,
    /// The card was reset and not touched since: its link may be up already.
    fresh: bool,
    /// Its queues are disabled, and it has its link.
    quiet: bool,
    /// What broke the card; `tick` tries to mend it.
    fault: Option<Error>,
    /// What is lost in the rings was counted.
    lost_counted: bool,
    /// Frames completed at the last tick, per queue, and since how many ticks a busy one stands.
    last_completed: Vec<(u64, u32)>,
    ticks: u32,
    counters: Counters,
}

/// What the driver counts itself, besides the rings.
#[derive(Default)]
struct Counters {
    tx_ring_full: u64,
    tx_dropped: u64,
    tx_refused: Refusals,
    /// What was in the rings at resets.
    tx_lost: u64,
    rx_lost: u64,
    rx_arms: u64,
    rx_wakes_for_nothing: u64,
    link_changes: u64,
    resets: u64,
    bad_descriptors: u64,
    tx_hangs: u64,
}

impl<B: Bus> Igb<B> {
    /// Resets the card, starts its link, reads its EEPROM; leaves it stopped.
    ///
    /// `bus` must give an arena of at least [`Config::arena_size`] zeroed bytes that starts on a
    /// page, the card must be bus master, and its interrupts must be set up as `config` says.
    ///
    /// # Errors
    /// [`Error::BadConfig`], [`Error::ArenaTooSmall`], [`Error::ArenaUnreachable`],
    /// [`Error::DeviceGone`], [`Error::ResetTimeout`], [`Error::NoEeprom`],
    /// [`Error::EepromChecksum`], [`Error::MacMismatch`], [`Error::BadMacAddress`],
    /// [`Error::MdiTimeout`], [`Error::NoMemory`].
    pub fn new(bus: B, config: Config) -> Result<Self, Error> {
        let layout = config.layout()?;
        let (needed, found) = (layout.size(), bus.arena_len());
        if found < needed {
            return Err(Error::ArenaTooSmall { needed, found });
        }
        let start = bus.bus_addr(0);
        // Rings start on 128 bytes (§8.10.5); that buffers do not cross pages is for speed.
        if !start.0.is_multiple_of(BUFFER as u64) {
            return Err(Error::ArenaUnreachable { start });
        }
        let mut chip = Chip::new(bus, layout);
        chip.reset()?;
        let mac = chip.identify()?;
        let queues = config.queues;
        Ok(Igb {
            chip,
            mac,
            link: Link::default(),
            transmit: reserve::each(queues, |queue| {
                Transmit::new(queue, layout.tx_ring(queue), config.transmit_ring)
            })?,
            untold: 0,
            busy: 0,
            buffers: Buffers::new(&layout)?,
            receive: reserve::each(queues, |queue| {
                Receive::new(queue, &layout, config.frame_max)
            })?,
            owing: 0,
            turn: (0, 0),
            interrupts: Interrupts::new(&config),
            filters: FilterState::default(),
            statistics: Statistics::default(),
            wanted: None,
            pending: Events::empty(),
            running: false,
            fresh: true,
            quiet: false,
            fault: None,
            lost_counted: true,
            last_completed: reserve::filled((0, 0), queues)?,
            ticks: 0,
            counters: Counters::default(),
            config,
        })
    }

    /// From any state to running, with empty rings.
    fn bring_up(&mut self, loopback: bool) -> Result<(), Error> {
        let chip = &mut self.chip;
        if !self.fresh && !self.quiet {
            // Each reset costs half a second of link, and more on a wire.
            chip.reset()?;
            self.counters.resets += 1;
        }
        (self.fresh, self.quiet) = (false, false);
        self.statistics.discard(chip)?;
        self.filters.apply(chip, self.mac);
        self.interrupts.start(chip)?;
        rss::spread(chip, &self.config);
        let control = chip.read(regs::CTRL)?;
        let strip = if self.config.vlan_strip {
            regs::CTRL_VME
        } else {
            0
        };
        chip.write(regs::CTRL, control & !regs::CTRL_VME | strip);
        chip.write(regs::VET, 0x8100_8100);
        // With its checksum, and a VLAN tag.
        chip.write(regs::RLPML, self.config.frame_max as u32 + 8);
        let many = self.receive.len() > 1;
        for queue in &mut self.receive {
            queue.start(chip, many)?;
        }
        self.turn = (0, 0);
        (self.untold, self.busy, self.owing) = (0, 0, 0);
        self.buffers.empty_rings();
        self.wanted = None;
        for queue in &mut self.transmit {
            queue.start(chip)?;
        }
        let control = chip.read(regs::TCTL)?;
        chip.write(regs::TCTL, control | regs::TCTL_EN | regs::TCTL_PSP);
        // Before the first frame can come: what comes is told.
        self.interrupts.arm_receive(&mut self.chip)?;
        let receive = self.receive_control();
        let loopback = if loopback { regs::RCTL_LBM_MAC } else { 0 };
        // It has no descriptor before it is told a tail.
        self.chip.write(regs::RCTL, receive | loopback);
        for queue in &mut self.receive {
            queue.tell(&mut self.chip);
        }
        for (last, queue) in self.last_completed.iter_mut().zip(&self.transmit) {
            *last = (queue.counters.completed, 0);
        }
        self.link = self.chip.link()?;
        self.lost_counted = false;
        Ok(())
    }

    /// Stops: there is no DMA then, and no interrupt. A card that is sound keeps its link, so that
    /// the next owner need not wait for it; any other is reset.
    fn halt(&mut self) -> Result<(), Error> {
        if self.running && self.fault.is_none() {
            // The counters of the last moments; without them the sums are still right so far.
            let _ = self.statistics.harvest(&mut self.chip);
            self.quiet = self.quiesce().is_ok();
        }
        self.count_lost();
        self.running = false;
        self.pending = Events::empty();
        self.link = Link::default();
        if !self.fresh && !self.quiet {
            self.counters.resets += 1;
            self.chip.reset()?;
            self.fresh = true;
        }
        Ok(())
    }

    /// Ends reception and transmission and disables all queues, without a reset (§4.5.9,
    /// §4.5.10): there is no DMA then, and no interrupt.
    fn quiesce(&mut self) -> Result<(), Error> {
        let chip = &mut self.chip;
        chip.mask_all();
        chip.write(regs::RCTL, 0);
        for queue in &mut self.transmit {
            queue.drain(chip)?;
        }
        chip.write(regs::TCTL, regs::TCTL_PSP);
        for queue in 0..self.config.queues as u32 {
            receive::disable(chip, regs::rx(queue), queue)?;
            receive::disable(chip, regs::tx(queue), queue)?;
        }
        Ok(())
    }

    /// Counts the frames in the rings, which a reset follows: once, however often that is tried.
    fn count_lost(&mut self) {
        if core::mem::replace(&mut self.lost_counted, true) {
            return;
        }
        self.reclaim();
        for queue in &mut self.transmit {
            self.counters.tx_lost += queue.in_flight();
        }
        for queue in &mut self.receive {
            self.counters.rx_lost += queue.waiting(&mut self.chip) as u64;
        }
    }

    /// RCTL of a running card.
    fn receive_control(&self) -> u32 {
        let long = if self.config.frame_max > 1514 {
            regs::RCTL_LPE
        } else {
            0
        };
        regs::RCTL_EN | regs::RCTL_BAM | regs::RCTL_SECRC | long | self.filters.control()
    }

    /// Refuses work while stopped or broken.
    fn ready(&self) -> Result<(), Error> {
        match self.fault {
            _ if !self.running => Err(Error::Stopped),
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn serve(&mut self, causes: Causes) -> Result<Events, Error> {
        let mut events = Events::empty();
        if causes.receive {
            events |= Events::RECEIVE;
        }
        if causes.transmit && self.await_space()? {
            events |= Events::TRANSMIT_SPACE;
        }
        if causes.other && self.interrupts.link_changed(&mut self.chip)? {
            self.look_at_link()?;
        }
        Ok(events)
    }

    fn serve_line(&mut self) -> Result<Option<Events>, Error> {
        match self.interrupts.asked(&mut self.chip)? {
            Some(causes) => self.serve(causes).map(Some),
            None => Ok(None),
        }
    }

    fn serve_message(&mut self, vector: u16) -> Result<Option<Events>, Error> {
        let Some(mut causes) = self.interrupts.message(&mut self.chip, vector) else {
            return Ok(None);
        };
        if causes.receive && !self.has_frame(vector) {
            // About frames that were read already.
            self.counters.rx_wakes_for_nothing += 1;
            self.interrupts.arm_vector(&mut self.chip, vector)?;
            causes.receive = false;
        }
        self.serve(causes).map(Some)
    }

    /// Whether a frame waits in a ring of this vector.
    fn has_frame(&mut self, vector: u16) -> bool {
        let mut rings = self.interrupts.rings_of(vector);
        rings.any(|ring| self.receive[ring].has_frame(&mut self.chip))
    }

    /// What an interrupt brought, with what was found before; `None` if the card did not ask.
    fn interrupted(&mut self, result: Result<Option<Events>, Error>) -> Option<Events> {
        match self.note(result) {
            Ok(events) => events.map(|events| events | self.take_events()),
            Err(_) => Some(self.take_events()),
        }
    }

    fn look_at_link(&mut self) -> Result<(), Error> {
        let link = self.chip.link()?;
        if link != self.link {
            self.link = link;
            self.counters.link_changes += 1;
            self.pending |= Events::LINK;
        }
        Ok(())
    }
}

/// The numbers of the bits that are set.
fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (lowest < u32::BITS).then_some(lowest as usize)
    })
}

impl<B: Bus> FrameBuffers for Igb<B> {
    fn flush(&mut self) -> Result<(), Error> {
        self.ready()?;
        self.kick();
        Ok(())
    }

    fn frame_area(&self) -> FrameArea {
        self.chip.frames.clone()
    }

    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        self.ready()?;
        let result = self.take(len, into);
        let result = self.note(result);
        if let Err(error) = &result {
            self.counters.tx_refused.note(error);
        }
        result
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.buffers.put_back(buffer)
    }

    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.put_back(buffer)?;
        self.counters.tx_dropped += 1;
        Ok(())
    }

    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>) {
        if let Err(error) = self.ready() {
            self.counters.tx_refused.note(&error);
            return (0, Err(error));
        }
        for (sent, frame) in frames.iter().enumerate() {
            if !self.send_usual(frame)
                && let Err(error) = self.send_any(frame)
            {
                return (sent, Err(error));
            }
        }
        (frames.len(), Ok(()))
    }

    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        self.ready()?;
        if arm && self.interrupts.are_all_armed() {
            // Whatever has come interrupts, or has already. To look for it would touch all rings,
            // and leave an interrupt that is about nothing.
            self.tell_where_low();
            return Ok(0);
        }
        let result = self.next_or_arm(arm, max, |ring, chip, share| ring.lend(chip, share, take));
        self.note(result)
    }

    fn return_buffers(&mut self, mut buffers: &[u16]) -> Result<(), Error> {
        while let Some(&buffer) = buffers.first() {
            let queue = self.chip.layout.queue_of(buffer);
            let queue = queue.ok_or(Error::BadBuffer { buffer })?;
            self.owing |= 1 << queue;
            // The first is of this ring, and mostly all are.
            let count = self.receive[queue].give_back_all(&mut self.chip, buffers)?;
            buffers = &buffers[count..];
        }
        Ok(())
    }

    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]) {
        if let Some((offset, room)) = self.chip.frames.buffer(buffer) {
            let len = bytes.len().min(room);
            self.chip.bus.copy_in(offset, &bytes[..len]);
        }
    }

    fn read_received(&mut self, offset: usize, into: &mut [u8]) {
        let start = self.chip.frames.receive.start + offset;
        self.chip.bus.copy_out(start, into);
    }
}

impl<B: Bus> Nic for Igb<B> {
    fn name(&self) -> &'static str {
        "igb"
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
        self.config.frame_max
    }

    fn transmit_ring(&self) -> usize {
        (self.config.transmit_ring - 1).min(self.buffers.capacity())
    }

    fn receive_ring(&self) -> usize {
        self.receive.len() * self.config.receive_buffers
    }

    fn start(&mut self) -> Result<(), Error> {
        let stopped = self.halt();
        self.fault = None;
        // Whoever has buffers is gone, and what is in them was theirs.
        self.buffers.refill();
        self.receive.iter_mut().for_each(Receive::forget);
        let Chip { bus, frames, .. } = &mut self.chip;
        let cleared = stopped.map(|()| frames.clear(bus));
        if let Err(error) = cleared.and_then(|()| self.bring_up(false)) {
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
        self.send_with(frame, &SendOptions::default(), more)
    }

    fn send_with(&mut self, frame: &[u8], options: &SendOptions, more: bool) -> Result<(), Error> {
        let buffer = self.take_buffer(frame.len())?;
        if let Some((offset, _)) = self.chip.frames.buffer(buffer) {
            self.chip.bus.copy_in(offset, frame);
        }
        if let Err(error) = self.send_buffer(buffer, frame.len(), None, options) {
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
        let mut taken = None;
        let result = self.next_or_arm(true, 1, |ring, chip, _| {
            taken = ring.take(chip, buffer)?;
            Ok(usize::from(taken.is_some()))
        });
        self.note(result)?;
        taken.ok_or(Error::WouldBlock)
    }

    fn has_received(&mut self) -> bool {
        if self.ready().is_err() || self.interrupts.are_all_armed() {
            return false;
        }
        let chip = &mut self.chip;
        // Not all are armed, so these are rings that there are.
        bits(self.interrupts.polled_rings()).any(|queue| self.receive[queue].is_done(chip))
    }

    fn silence_receive(&mut self) {
        if self.ready().is_ok() {
            self.interrupts.silence_receive(&mut self.chip);
        }
    }

    fn on_interrupt(&mut self) -> Option<Events> {
        // A stopped card is masked: it does not ask, and no register needs to be read.
        self.ready().ok()?;
        let result = self.serve_line();
        self.interrupted(result)
    }

    fn on_vector(&mut self, vector: u16) -> Option<Events> {
        if !self.interrupts.many() {
            return self.on_interrupt();
        }
        self.ready().ok()?;
        let result = self.serve_message(vector);
        self.interrupted(result)
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

    fn features(&self) -> Features {
        let queues = self.config.queues as u16;
        Features {
            checksums: true,
            segmentation: self.limits().segmentation,
            vlan: true,
            filters: true,
            receive_queues: queues,
            transmit_queues: queues,
            vectors: self.interrupts.vectors(),
        }
    }

    fn set_filters(&mut self, filters: &Filters<'_>) -> Result<(), Error> {
        self.filters = FilterState::new(filters)?;
        if self.ready().is_ok() {
            self.filters.apply(&mut self.chip, self.mac);
            let control = self.receive_control();
            self.chip.write(regs::RCTL, control);
        }
        Ok(())
    }

    fn self_test(&mut self) -> Result<(), Error> {
        self.stop();
        self.fault = None;
        let result = self.test_loopback();
        // The driver has counted its frames too. Without the card's, the sums are right so far.
        let _ = self.statistics.harvest(&mut self.chip);
        self.stop();
        result
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
