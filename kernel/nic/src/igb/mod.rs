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
//! place. Frames are copied into and out of them.
//!
//! **Transmit** (`transmit.rs`, `offload.rs`): `send` finds the headers of the frame, chooses the
//! queue by the flow, so that frames of a flow stay in order, and fills descriptors; `flush` is one
//! write of the tail for each queue that has new ones. What is done is read from memory. A full
//! ring is [`Error::WouldBlock`]; only then the transmit cause is armed.
//!
//! **Receive** (`receive.rs`): the card spreads flows over the queues by a hash and stores each
//! frame in one descriptor or several. `receive` goes round the queues, a batch from each, reading
//! from memory alone; only when all are empty it arms their causes and looks once more. So a busy
//! card costs no interrupts, and no register access but a tail for some dozens of frames.
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

mod chip;
mod config;
mod descriptor;
mod filters;
mod interrupts;
mod offload;
mod packet;
mod receive;
mod regs;
mod statistics;
mod transmit;

#[cfg(test)]
mod tests;

use self::chip::Chip;
use self::config::BUFFER;
use self::filters::FilterState;
use self::interrupts::{Causes, Interrupts};
use self::offload::{Frame, Limits};
use self::receive::Receive;
use self::statistics::Statistics;
use self::transmit::{Pool, Transmit};
use crate::{
    Bus, Error, Events, Features, Filters, Link, MacAddress, Nic, ReceiveInfo, SendOptions,
};
use alloc::vec::Vec;

pub use self::config::{Config, FRAME_JUMBO, InterruptMode, MICROSOFT_KEY, QUEUES};
pub use self::interrupts::VECTORS;

/// Bytes of registers that the driver uses.
pub const REGISTERS: usize = 0x1_0000;

/// Frames from a receive queue before the next one has its turn.
const TURN: usize = 16;
/// Ticks without progress of a busy transmit queue before the card is reset.
const STUCK_TICKS: u32 = 3;
/// Ticks between two harvests of the counters, of which the fastest overflows in 48 minutes.
const HARVEST_TICKS: u32 = 60;
/// Longest IP packet, with its Ethernet header and a VLAN tag.
const PACKET_MAX: usize = 65_535 + 18;
/// Bound of the wait for a link in the self-test, and of that for the frame.
const SELF_TEST_LINK_US: u32 = 3_000_000;
const SELF_TEST_FRAME_US: u32 = 100_000;
/// Length of a wait between two looks in it.
const SELF_TEST_POLL_US: u32 = 1_000;
/// EtherType for experiments (IEEE 802, local experimental 1).
const ETHERTYPE_EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// An 82576 on its bus: its physical function.
pub struct Igb<B: Bus> {
    chip: Chip<B>,
    config: Config,
    mac: MacAddress,
    link: Link,
    transmit: Vec<Transmit>,
    pool: Pool,
    receive: Vec<Receive>,
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
    /// What broke the card; `tick` tries to mend it.
    fault: Option<Error>,
    /// Frames completed at the last tick, per queue, and since how many ticks a busy one stands.
    last_completed: Vec<(u64, u32)>,
    ticks: u32,
    counters: Counters,
}

/// Room that a sender waits for.
#[derive(Clone, Copy)]
struct Wanted {
    queue: usize,
    descriptors: usize,
    buffers: usize,
}

/// What the driver counts itself, besides the rings.
#[derive(Default)]
struct Counters {
    tx_ring_full: u64,
    tx_refused: u64,
    rx_wakes: u64,
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
    /// [`Error::MdiTimeout`].
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
        let mut chip = Chip { bus, layout };
        chip.reset()?;
        let mac = chip.identify()?;
        let queues = 0..config.queues;
        Ok(Igb {
            chip,
            mac,
            link: Link::default(),
            transmit: queues
                .clone()
                .map(|queue| Transmit::new(queue, config.transmit_ring))
                .collect(),
            pool: Pool::new(layout.tx_buffers()),
            receive: queues
                .clone()
                .map(|queue| {
                    let (ring, buffers) = (config.receive_ring, config.receive_buffers);
                    Receive::new(queue, ring, buffers, config.frame_max)
                })
                .collect(),
            turn: (0, 0),
            interrupts: Interrupts::new(&config),
            filters: FilterState::default(),
            statistics: Statistics::default(),
            wanted: None,
            pending: Events::empty(),
            running: false,
            fresh: true,
            fault: None,
            last_completed: queues.map(|_| (0, 0)).collect(),
            ticks: 0,
            counters: Counters::default(),
            config,
        })
    }

    /// From any state to running, with empty rings.
    fn bring_up(&mut self, loopback: bool) -> Result<(), Error> {
        let chip = &mut self.chip;
        if !self.fresh {
            // Each reset costs half a second of link, and more on a wire.
            chip.reset()?;
            self.counters.resets += 1;
        }
        self.fresh = false;
        self.statistics.discard(chip)?;
        self.filters.apply(chip, self.mac);
        self.interrupts.start(chip)?;
        spread(chip, &self.config);
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
        self.pool.refill();
        self.wanted = None;
        for queue in &mut self.transmit {
            queue.start(chip)?;
        }
        let control = chip.read(regs::TCTL)?;
        chip.write(regs::TCTL, control | regs::TCTL_EN | regs::TCTL_PSP);
        let receive = self.receive_control();
        let loopback = if loopback { regs::RCTL_LBM_MAC } else { 0 };
        chip_enable(&mut self.chip, receive | loopback);
        for queue in &mut self.receive {
            queue.tell(&mut self.chip);
        }
        for (last, queue) in self.last_completed.iter_mut().zip(&self.transmit) {
            *last = (queue.counters.completed, 0);
        }
        self.link = self.chip.link()?;
        self.interrupts.arm_receive(&mut self.chip)?;
        Ok(())
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

    /// Remembers a breakdown, so that all work ends until the card is reset.
    fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(
            error @ (Error::DeviceGone | Error::BadDescriptor { .. } | Error::BadHead { .. }),
        ) = result
        {
            self.break_down(error);
        }
        result
    }

    fn break_down(&mut self, error: Error) {
        if self.fault.replace(error).is_none() {
            let lies = matches!(error, Error::BadDescriptor { .. } | Error::BadHead { .. });
            self.counters.bad_descriptors += u64::from(lies);
            self.link = Link::default();
            // Whoever waits for this card shall hear of it.
            self.pending |= Events::all();
        }
    }

    /// Resets a running card that does not work; what was in the rings is lost.
    fn mend(&mut self) {
        match self.bring_up(false) {
            Ok(()) => {
                self.fault = None;
                self.pending |= Events::all();
            }
            Err(error) => self.break_down(error),
        }
    }

    fn limits(&self) -> Limits {
        // A segmented frame may need two contexts, and a second frame for its last segment; and one
        // descriptor is kept back.
        let descriptors = self.config.transmit_ring.saturating_sub(5);
        let buffers = self.config.transmit_buffers.saturating_sub(1);
        let room = descriptors.min(buffers) * BUFFER;
        let segment_max = if room < self.config.frame_max {
            0
        } else {
            room.min(PACKET_MAX)
        };
        Limits {
            frame_max: self.config.frame_max,
            segment_max,
        }
    }

    /// Puts the frames that `plan` made of one into the queue, all or none.
    fn enqueue(
        &mut self,
        queue: usize,
        first: &Frame<'_>,
        second: Option<&Frame<'_>>,
    ) -> Result<(), Error> {
        let both = || core::iter::once(first).chain(second);
        let wanted = Wanted {
            queue,
            descriptors: both().map(Frame::descriptors).sum(),
            buffers: both().map(Frame::buffers).sum(),
        };
        if !self.has_room(wanted) {
            self.reclaim();
            if !self.has_room(wanted) {
                return self.ring_full(wanted).and(Err(Error::WouldBlock));
            }
        }
        for frame in both() {
            self.transmit[queue].queue(&mut self.chip, &mut self.pool, frame);
        }
        Ok(())
    }

    fn has_room(&self, wanted: Wanted) -> bool {
        self.transmit[wanted.queue].free() >= wanted.descriptors
            && self.pool.len() >= wanted.buffers
    }

    fn reclaim(&mut self) {
        for queue in &mut self.transmit {
            if queue.is_busy() {
                queue.reclaim(&mut self.chip, &mut self.pool);
            }
        }
    }

    fn kick(&mut self) {
        for queue in &mut self.transmit {
            queue.kick(&mut self.chip);
        }
    }

    /// There is no room: gets all that is queued on its way, and sees to the event.
    fn ring_full(&mut self, wanted: Wanted) -> Result<(), Error> {
        self.counters.tx_ring_full += 1;
        self.kick();
        // A waker is worth it for a quarter of the ring, and of the buffers.
        self.wanted = Some(Wanted {
            descriptors: wanted.descriptors.max(self.config.transmit_ring / 4),
            buffers: wanted.buffers.max(self.pool.capacity() / 4),
            ..wanted
        });
        if self.await_space()? {
            self.pending |= Events::TRANSMIT_SPACE;
        }
        Ok(())
    }

    /// Whether a sender waits and now has room; it waits no longer then.
    fn has_space(&mut self) -> bool {
        let Some(wanted) = self.wanted else {
            return false;
        };
        self.reclaim();
        let room = self.has_room(wanted);
        if room {
            self.wanted = None;
        }
        room
    }

    /// The same; if there is none yet, the card will interrupt for more.
    fn await_space(&mut self) -> Result<bool, Error> {
        if self.has_space() {
            return Ok(true);
        }
        if self.wanted.is_none() {
            return Ok(false);
        }
        self.interrupts.arm_transmit(&mut self.chip)?;
        Ok(self.has_space())
    }

    /// The next frame of the queue whose turn it is, or of the others.
    fn next_frame(&mut self, buffer: &mut [u8]) -> Result<Option<(usize, ReceiveInfo)>, Error> {
        let all = self.filters.is_promiscuous();
        // Once more than there are queues: the turn of the first may be over.
        for _ in 0..=self.receive.len() {
            let (queue, given) = self.turn;
            if given < TURN {
                let taken = self.receive[queue].take(&mut self.chip, buffer, all)?;
                if taken.is_some() {
                    self.turn = (queue, given + 1);
                    return Ok(taken);
                }
            }
            self.turn = ((queue + 1) % self.receive.len(), 0);
        }
        Ok(None)
    }

    fn take_frame(&mut self, buffer: &mut [u8]) -> Result<(usize, ReceiveInfo), Error> {
        if let Some(taken) = self.next_frame(buffer)? {
            return Ok(taken);
        }
        if !self.interrupts.arm_receive(&mut self.chip)? {
            // Nothing since the interrupt was armed, or it is on its way.
            return Err(Error::WouldBlock);
        }
        self.counters.rx_wakes += 1;
        self.next_frame(buffer)?.ok_or(Error::WouldBlock)
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
        match self.interrupts.message(vector) {
            Some(causes) => self.serve(causes).map(Some),
            None => Ok(None),
        }
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

    fn look_after(&mut self) -> Result<(), Error> {
        self.look_at_link()?;
        for queue in &self.receive {
            queue.check(&mut self.chip)?;
        }
        for queue in &self.transmit {
            queue.check(&mut self.chip)?;
        }
        for (number, queue) in self.receive.iter().enumerate() {
            if self.interrupts.is_armed(number) && queue.has_frame(&mut self.chip) {
                self.interrupts.forget(number);
                self.pending |= Events::RECEIVE;
            }
        }
        self.kick();
        self.reclaim();
        if self.has_space() {
            self.pending |= Events::TRANSMIT_SPACE;
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(HARVEST_TICKS) {
            self.statistics.harvest(&mut self.chip)?;
        }
        if self.is_hung() {
            self.counters.tx_hangs += 1;
            self.mend();
        }
        Ok(())
    }

    /// Whether a transmit queue has work and does none. Without a link the card may rightly hold
    /// its frames back.
    fn is_hung(&mut self) -> bool {
        let mut hung = false;
        for ((last, ticks), queue) in self.last_completed.iter_mut().zip(&self.transmit) {
            let completed = queue.counters.completed;
            let stands = queue.is_busy() && self.link.up && completed == *last;
            *ticks = if stands { *ticks + 1 } else { 0 };
            *last = completed;
            hung |= *ticks >= STUCK_TICKS;
        }
        hung
    }

    /// Sends the card a frame by itself and waits for it, in loopback.
    fn loop_back(&mut self, len: usize) -> Result<(), Error> {
        let mut frame = alloc::vec![0; len];
        for (index, byte) in frame.iter_mut().enumerate() {
            *byte = (index * 7 + index / 256) as u8;
        }
        frame[..6].copy_from_slice(&self.mac);
        frame[6..12].copy_from_slice(&self.mac);
        frame[12..14].copy_from_slice(&ETHERTYPE_EXPERIMENT);
        self.enqueue(0, &Frame::plain(&frame), None)?;
        self.kick();
        let mut received = alloc::vec![0; self.config.frame_max];
        for _ in 0..SELF_TEST_FRAME_US / SELF_TEST_POLL_US {
            match self.next_frame(&mut received)? {
                Some((len, _)) if received[..len] == frame[..] => return Ok(()),
                // Somebody else's, or its own but spoilt.
                Some(_) => {}
                None => self.chip.bus.delay_us(SELF_TEST_POLL_US),
            }
        }
        Err(Error::SelfTest)
    }

    fn test_loopback(&mut self) -> Result<(), Error> {
        self.bring_up(true)?;
        let mut waited_us = 0;
        while !self.chip.link()?.up && waited_us < SELF_TEST_LINK_US {
            self.chip.bus.delay_us(SELF_TEST_POLL_US);
            waited_us += SELF_TEST_POLL_US;
        }
        if waited_us >= SELF_TEST_LINK_US {
            // No cable: the loopback does not need one, but a link (§3.5.6.3).
            let control = self.chip.read(regs::CTRL)? | regs::CTRL_SLU;
            let forced = regs::CTRL_FORCE | regs::CTRL_FD | 2 << 8;
            self.chip.write(regs::CTRL, control | forced);
        }
        self.loop_back(60)?;
        self.loop_back(self.config.frame_max)
    }
}

/// Has the card verify checksums, and spread flows over the queues (§7.1.2.8).
fn spread<B: Bus>(chip: &mut Chip<B>, config: &Config) {
    let checksums = regs::RXCSUM_IPOFLD | regs::RXCSUM_TUOFLD;
    chip.write(regs::RXCSUM, checksums | regs::RXCSUM_PCSD);
    for (register, word) in (regs::RSSRK..)
        .step_by(4)
        .zip(config.hash_key.as_chunks().0)
    {
        chip.write(register, u32::from_le_bytes(*word));
    }
    for word in 0..32usize {
        let queue = |byte| ((4 * word + byte) % config.queues) as u8;
        let entries = u32::from_le_bytes([0, 1, 2, 3].map(queue));
        chip.write(regs::RETA + 4 * word as u32, entries);
    }
    chip.write(regs::MRQC, regs::MRQC_RSS | regs::MRQC_FIELDS);
}

/// Starts reception; the tails follow.
fn chip_enable<B: Bus>(chip: &mut Chip<B>, control: u32) {
    chip.bus.fence();
    chip.write(regs::RCTL, control);
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

    fn frame_max(&self) -> usize {
        self.config.frame_max
    }

    fn transmit_ring(&self) -> usize {
        (self.config.transmit_ring - 1).min(self.pool.capacity())
    }

    fn receive_ring(&self) -> usize {
        self.receive.len() * self.config.receive_buffers
    }

    fn start(&mut self) -> Result<(), Error> {
        self.stop();
        self.fault = None;
        if let Err(error) = self.bring_up(false) {
            self.stop();
            return Err(error);
        }
        self.running = true;
        Ok(())
    }

    fn stop(&mut self) {
        if self.running && self.fault.is_none() {
            // The counters of the last moments; without them the sums are still right so far.
            let _ = self.statistics.harvest(&mut self.chip);
        }
        self.running = false;
        self.pending = Events::empty();
        self.link = Link::default();
        if !self.fresh {
            // After the reset there is no DMA, and no interrupt since all are masked. A card that
            // does not come out of it cannot be helped here; `start` reports it.
            self.counters.resets += 1;
            self.fresh = self.chip.reset().is_ok();
        }
    }

    fn send(&mut self, frame: &[u8], more: bool) -> Result<(), Error> {
        self.send_with(frame, &SendOptions::default(), more)
    }

    fn send_with(&mut self, frame: &[u8], options: &SendOptions, more: bool) -> Result<(), Error> {
        let limits = self.limits();
        let planned = packet::parse(frame).and_then(|headers| {
            let flow = headers.map_or(0, |headers| headers.flow(frame));
            let (first, second) = offload::plan(frame, headers.as_ref(), options, &limits)?;
            Ok((flow as usize % self.transmit.len(), first, second))
        });
        let (queue, first, second) = planned.inspect_err(|_| self.counters.tx_refused += 1)?;
        self.ready()?;
        let result = self.enqueue(queue, &first, second.as_ref());
        self.note(result)?;
        if more { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.ready()?;
        self.kick();
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.receive_with(buffer).map(|(len, _)| len)
    }

    fn receive_with(&mut self, buffer: &mut [u8]) -> Result<(usize, ReceiveInfo), Error> {
        self.ready()?;
        let result = self.take_frame(buffer);
        self.note(result)
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
            segment_max: self.limits().segment_max,
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

impl<B: Bus> Igb<B> {
    fn visit_own(&self, visit: &mut dyn FnMut(&str, u64)) {
        let tx = |count: fn(&transmit::Counters) -> u64| -> u64 {
            self.transmit
                .iter()
                .map(|queue| count(&queue.counters))
                .sum()
        };
        let rx = |count: fn(&receive::Counters) -> u64| -> u64 {
            self.receive
                .iter()
                .map(|queue| count(&queue.counters))
                .sum()
        };
        let counters = &self.counters;
        for (name, value) in [
            ("tx_frames", tx(|queue| queue.frames)),
            ("tx_octets", tx(|queue| queue.octets)),
            ("tx_completed", tx(|queue| queue.completed)),
            ("tx_segmented", tx(|queue| queue.segmented)),
            ("tx_descriptors", tx(|queue| queue.descriptors)),
            ("tx_contexts", tx(|queue| queue.contexts)),
            ("tx_doorbells", tx(|queue| queue.doorbells)),
            ("tx_ring_full", counters.tx_ring_full),
            ("tx_refused", counters.tx_refused),
            ("tx_hangs", counters.tx_hangs),
            ("rx_frames", rx(|queue| queue.frames)),
            ("rx_octets", rx(|queue| queue.octets)),
            ("rx_descriptors", rx(|queue| queue.descriptors)),
            ("rx_doorbells", rx(|queue| queue.tail_writes)),
            ("rx_wakes", counters.rx_wakes),
            ("rx_dropped_errors", rx(|queue| queue.dropped_errors)),
            ("rx_dropped_checksum", rx(|queue| queue.dropped_checksum)),
            ("rx_dropped_long", rx(|queue| queue.dropped_long)),
            (
                "rx_dropped_small_buffer",
                rx(|queue| queue.dropped_small_buffer),
            ),
            ("link_changes", counters.link_changes),
            ("resets", counters.resets),
            ("bad_descriptors", counters.bad_descriptors),
            ("interrupts", self.interrupts.counts.iter().sum()),
        ] {
            visit(name, value);
        }
        let vectors = usize::from(self.interrupts.vectors());
        for (name, &count) in VECTOR_NAMES
            .iter()
            .zip(&self.interrupts.counts)
            .take(vectors)
        {
            visit(name, count);
        }
        for (name, queue) in RECEIVE_NAMES.iter().zip(&self.receive) {
            visit(name, queue.counters.frames);
        }
        for (name, queue) in TRANSMIT_NAMES.iter().zip(&self.transmit) {
            visit(name, queue.counters.frames);
        }
    }
}

const VECTOR_NAMES: [&str; interrupts::VECTORS as usize] = [
    "vector_0", "vector_1", "vector_2", "vector_3", "vector_4", "vector_5", "vector_6", "vector_7",
    "vector_8", "vector_9",
];
const RECEIVE_NAMES: [&str; QUEUES] = [
    "rx_queue_0",
    "rx_queue_1",
    "rx_queue_2",
    "rx_queue_3",
    "rx_queue_4",
    "rx_queue_5",
    "rx_queue_6",
    "rx_queue_7",
    "rx_queue_8",
    "rx_queue_9",
    "rx_queue_10",
    "rx_queue_11",
    "rx_queue_12",
    "rx_queue_13",
    "rx_queue_14",
    "rx_queue_15",
];
const TRANSMIT_NAMES: [&str; QUEUES] = [
    "tx_queue_0",
    "tx_queue_1",
    "tx_queue_2",
    "tx_queue_3",
    "tx_queue_4",
    "tx_queue_5",
    "tx_queue_6",
    "tx_queue_7",
    "tx_queue_8",
    "tx_queue_9",
    "tx_queue_10",
    "tx_queue_11",
    "tx_queue_12",
    "tx_queue_13",
    "tx_queue_14",
    "tx_queue_15",
];
