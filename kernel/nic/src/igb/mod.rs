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
//! **Transmit** (`transmit.rs`, `sender.rs`, `offload.rs`): `send` finds the headers of the frame, chooses the
//! queue by the flow, so that frames of a flow stay in order, and fills descriptors; most frames
//! need little of that (`fast_path.rs`). `flush` is one write of the tail for each queue that has new
//! ones. What is done is read from memory. A full ring is [`Error::WouldBlock`]; only then the
//! transmit cause is armed.
//!
//! **Receive** (`receive.rs`, `receiver.rs`): the card spreads flows over the queues by a hash and
//! stores each frame in one descriptor or several. `receive` goes round the queues whose interrupt
//! is silent, a batch from each, reading from memory alone; only when all are empty it arms their
//! causes and looks once more. So a busy card costs no interrupts, and no register access but a
//! tail for some dozens of frames, and rings that nothing comes by are not looked at.
//!
//! **Interrupts** (`interrupts.rs`): messages for the parts of the card, one message, or the line.
//!
//! **Link** (`csr.rs`): negotiation starts with each reset and is never waited for; the card
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

mod bits;
mod config;
mod counters;
mod csr;
mod descriptor;
mod fast_path;
mod filters;
mod interrupts;
mod offload;
mod packet;
mod queue;
mod receive;
mod receiver;
mod regs;
mod rss;
mod sender;
mod statistics;
mod transmit;

#[cfg(test)]
mod tests;

use self::config::BUFFER;
use self::csr::Csr;
use self::filters::FilterState;
use self::interrupts::{Causes, Interrupts};
use self::receive::Receive;
use self::receiver::Receiver;
use self::sender::Sender;
use self::statistics::Statistics;
use self::transmit::Transmit;
use crate::chip::{self, Chip, Status};
use crate::driver::Driver;
use crate::pool::Buffers;
use crate::{Bus, Error, Events, Facts, Features, Filters, Link, MacAddress, Outgoing, Piece};

pub use self::config::{Config, FRAME_JUMBO, InterruptMode, QUEUES, VECTORS};

/// Bytes of registers that the driver uses.
pub const REGISTERS: usize = 0x1_0000;

/// Ticks between two harvests of the counters, of which the fastest overflows in 48 minutes.
const HARVEST_TICKS: u32 = 60;
/// Bound of the wait for a link in loopback, and of one between two looks.
const LINK_US: u32 = 3_000_000;
const POLL_US: u32 = 1_000;

/// The driver of an 82576: of its physical function.
pub type Igb<B> = Driver<I82576<B>>;

/// An 82576 on its bus.
pub struct I82576<B: Bus> {
    csr: Csr<B>,
    config: Config,
    mac: MacAddress,
    sender: Sender,
    receiver: Receiver,
    interrupts: Interrupts,
    filters: FilterState,
    statistics: Statistics,
    /// The card was reset and not touched since, or its queues are disabled and it has its link.
    is_at_rest: bool,
    ticks: u32,
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
        let (needed, found) = (config.arena_size()?, bus.arena_len());
        if found < needed {
            return Err(Error::ArenaTooSmall { needed, found });
        }
        let start = bus.bus_addr(0);
        // Rings start on 128 bytes (§8.10.5); that buffers do not cross pages is for speed.
        if !start.0.is_multiple_of(BUFFER as u64) {
            return Err(Error::ArenaUnreachable { start });
        }
        let frames = config.frames();
        let mut csr = Csr {
            bus,
            frames: frames.clone(),
        };
        csr.reset()?;
        let mac = csr.identify()?;
        let sender = Sender::new(regs::QUEUES, &config)?;
        let queues = config.queues as u16;
        let facts = Facts {
            name: "igb",
            mac,
            frame_max: config.frame_max,
            transmit_ring: (config.transmit_ring - 1).min(config.transmit_buffers),
            receive_ring: config.queues * config.receive_buffers,
            features: Features {
                checksums: true,
                segmentation: sender.segmentation,
                vlan: true,
                filters: true,
                receive_queues: queues,
                transmit_queues: queues,
                vectors: config.vectors(),
            },
        };
        let chip = I82576 {
            csr,
            mac,
            sender,
            receiver: Receiver::new(regs::QUEUES, &config)?,
            interrupts: Interrupts::new(&config),
            filters: FilterState::default(),
            statistics: Statistics::default(),
            is_at_rest: true,
            ticks: 0,
            config,
        };
        Driver::stopped(chip, facts, frames, Link::default())
    }
}

impl<B: Bus> I82576<B> {
    /// From any state to running, with empty rings, and these bits of RCTL set.
    fn set_up(&mut self, status: &mut Status, loopback: u32) -> Result<(), Error> {
        let csr = &mut self.csr;
        if !core::mem::replace(&mut self.is_at_rest, false) {
            // Each reset costs half a second of link, and more on a wire.
            csr.reset()?;
            status.counters.resets += 1;
        }
        self.statistics.discard(csr)?;
        self.filters.apply(csr, self.mac);
        let mode = if self.interrupts.many() {
            regs::GPIE_MSIX | regs::GPIE_EIAME | regs::GPIE_PBA
        } else {
            0
        };
        csr.write(regs::GPIE, mode | regs::GPIE_NSICR);
        self.interrupts.start(csr);
        csr.read(regs::ICR)?;
        csr.write(regs::IMS, regs::ICR_LSC);
        rss::spread(csr, self.config.queues);
        let control = csr.read(regs::CTRL)?;
        csr.write(regs::CTRL, control | regs::CTRL_VME);
        csr.write(regs::VET, 0x8100_8100);
        // With its checksum, and a VLAN tag.
        csr.write(regs::RLPML, self.config.frame_max as u32 + 8);
        self.receiver.start(csr)?;
        self.sender.start(csr)?;
        let control = csr.read(regs::TCTL)?;
        csr.write(regs::TCTL, control | regs::TCTL_EN | regs::TCTL_PSP);
        // Before the first frame can come: what comes is told.
        self.interrupts.arm_receive(csr)?;
        // It has no descriptor before it is told a tail.
        let receive = self.receive_control();
        self.csr.write(regs::RCTL, receive | loopback);
        for ring in &mut self.receiver.rings {
            ring.tell(&mut self.csr);
        }
        status.link = self.csr.link()?;
        Ok(())
    }

    /// Ends reception and transmission and disables all queues, without a reset (§4.5.9,
    /// §4.5.10): there is no DMA then, and no interrupt.
    fn disable(&mut self) -> Result<(), Error> {
        let csr = &mut self.csr;
        csr.mask_all();
        csr.write(regs::RCTL, 0);
        let (sending, receiving) = (&self.sender.rings, &self.receiver.rings);
        sending.iter().try_for_each(|ring| ring.drain(csr))?;
        csr.write(regs::TCTL, regs::TCTL_PSP);
        let sending = sending.iter().map(|ring| ring.queue);
        let mut queues = receiving.iter().map(|ring| ring.queue).chain(sending);
        queues.try_for_each(|queue| queue.disable(csr))
    }

    /// Received frames that nobody has read, in descriptors.
    fn waiting(&mut self) -> u64 {
        let csr = &mut self.csr;
        let rings = self.receiver.rings.iter();
        rings.map(|ring| ring.waiting(csr) as u64).sum()
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

    fn serve(&mut self, causes: Causes, status: &mut Status) -> Result<Events, Error> {
        let mut events = Events::empty();
        if causes.receive {
            events |= Events::RECEIVE;
        }
        if causes.transmit {
            events |= Events::TRANSMIT_SPACE;
        }
        if causes.other {
            // With messages for the parts of the card, the one of what belongs to no ring does not say
            // what it is about.
            let csr = &mut self.csr;
            if !self.interrupts.many() || csr.read(regs::ICR)? & regs::ICR_LSC != 0 {
                status.see_link(csr.link()?);
            }
        }
        Ok(events)
    }
}

impl<B: Bus> Chip for I82576<B> {
    type Bus = B;

    fn bus(&mut self) -> &mut B {
        &mut self.csr.bus
    }

    fn bring_up(&mut self, status: &mut Status) -> Result<(), Error> {
        self.set_up(status, 0)
    }

    /// Past the wire, by the MAC (§3.5.6.2).
    fn loop_back(&mut self, status: &mut Status) -> Result<(), Error> {
        self.set_up(status, regs::RCTL_LBM_MAC)?;
        let mut waited_us = 0;
        while !self.csr.link()?.up && waited_us < LINK_US {
            self.csr.bus.delay_us(POLL_US);
            waited_us += POLL_US;
        }
        if waited_us >= LINK_US {
            // No cable: the loopback does not need one, but a link (§3.5.6.3).
            let control = self.csr.read(regs::CTRL)? | regs::CTRL_SLU;
            let forced = regs::CTRL_FORCE | regs::CTRL_FD | 2 << 8;
            self.csr.write(regs::CTRL, control | forced);
        }
        Ok(())
    }

    /// A card that can be stopped so keeps its link, so that the next owner need not wait for it.
    fn quiesce(&mut self) {
        // The counters of the last moments; without them the sums are still right so far.
        let _ = self.harvest();
        self.is_at_rest = self.disable().is_ok();
    }

    fn in_rings(&mut self) -> (u64, u64) {
        let sent = self.sender.rings.iter().map(Transmit::in_flight);
        (sent.sum(), self.waiting())
    }

    fn halt(&mut self, status: &mut Status) -> Result<(), Error> {
        status.link = Link::default();
        if !self.is_at_rest {
            status.counters.resets += 1;
            self.csr.reset()?;
            self.is_at_rest = true;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.receiver.rings.iter_mut().for_each(Receive::forget);
    }

    fn look_after(&mut self, status: &mut Status) -> Result<(), Error> {
        let csr = &mut self.csr;
        status.see_link(csr.link()?);
        let (sending, receiving) = (&self.sender.rings, &self.receiver.rings);
        receiving.iter().try_for_each(|ring| ring.check(csr))?;
        sending.iter().try_for_each(|ring| ring.check(csr))?;
        if self.receiver.overlooked(csr, &mut self.interrupts) {
            status.pending |= Events::RECEIVE;
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(HARVEST_TICKS) {
            self.harvest()?;
        }
        Ok(())
    }

    fn is_stuck(&mut self, has_link: bool) -> bool {
        let stuck = |any, ring: &mut Transmit| ring.is_stuck(has_link) | any;
        self.sender.rings.iter_mut().fold(false, stuck)
    }

    fn on_interrupt(
        &mut self,
        message: Option<u16>,
        status: &mut Status,
    ) -> Result<Option<Events>, Error> {
        let (csr, interrupts) = (&mut self.csr, &mut self.interrupts);
        let Some(vector) = message.filter(|_| interrupts.many()) else {
            return match interrupts.asked(csr)? {
                Some(causes) => self.serve(causes, status).map(Some),
                None => Ok(None),
            };
        };
        let Some(mut causes) = interrupts.message(csr, vector) else {
            return Ok(None);
        };
        let rings = interrupts.rings_of(vector);
        if causes.receive && !self.receiver.has_frame(csr, rings) {
            // About frames that were read already.
            interrupts.wakes_for_nothing += 1;
            interrupts.arm_vector(csr, vector)?;
            causes.receive = false;
        }
        self.serve(causes, status).map(Some)
    }

    fn set_filters(&mut self, filters: &Filters<'_>, is_at_work: bool) -> Result<bool, Error> {
        self.filters = FilterState::new(filters)?;
        if is_at_work {
            self.filters.apply(&mut self.csr, self.mac);
            let control = self.receive_control();
            self.csr.write(regs::RCTL, control);
        }
        Ok(false)
    }

    fn harvest(&mut self) -> Result<(), Error> {
        self.statistics.harvest(&mut self.csr)
    }

    fn visit(&mut self, common: &chip::Counters, visit: &mut dyn FnMut(&str, u64)) {
        self.statistics.visit(visit);
        visit("rx_waiting", self.waiting());
        let rings = (&self.sender, &self.receiver);
        counters::visit(common, rings, &self.interrupts, visit);
    }

    fn queue(&mut self, frames: &[Outgoing], buffers: &mut Buffers) -> (usize, Result<(), Error>) {
        self.sender.queue(&mut self.csr, frames, buffers)
    }

    fn kick(&mut self) -> Result<(), Error> {
        self.sender.kick(&mut self.csr);
        Ok(())
    }

    fn reclaim(&mut self, buffers: &mut Buffers) {
        self.sender.reclaim(&mut self.csr, buffers);
    }

    fn is_idle(&self) -> bool {
        self.sender.is_idle()
    }

    fn has_room(&self, buffers: &mut Buffers) -> bool {
        self.sender.has_room(buffers)
    }

    fn arm_transmit(&mut self) -> Result<(), Error> {
        self.interrupts.arm_transmit(&mut self.csr)
    }

    fn will_interrupt(&mut self) -> bool {
        let will_interrupt = self.interrupts.are_all_armed();
        if will_interrupt {
            self.receiver.tell_where_low(&mut self.csr);
        }
        will_interrupt
    }

    #[inline(always)]
    fn lend(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        let (csr, interrupts) = (&mut self.csr, &mut self.interrupts);
        self.receiver.lend(csr, interrupts, (arm, max), take)
    }

    fn give_back(&mut self, buffers: &[u16], _: bool) -> Result<(), Error> {
        self.receiver.give_back(&mut self.csr, buffers)
    }

    fn has_received(&mut self) -> bool {
        self.receiver.has_received(&mut self.csr, &self.interrupts)
    }

    fn silence_receive(&mut self) {
        self.interrupts.silence_receive(&mut self.csr);
    }
}
