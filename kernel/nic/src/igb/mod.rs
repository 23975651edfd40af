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
//! **Virtual functions** (`host/`): with [`Config::vfs`] the driver is also the host of so many: it answers
//! their mailboxes and tells the card which pool gets which frame, whether or not it is started.
//!
//! **Recovery**: a descriptor that cannot be, a head outside its ring, a transmit queue that stands
//! still, or a card that reads as all ones ends all work with a typed error, until `tick` has reset
//! the card. What was in the rings is lost.
//!
//! **Differences of QEMU honoured**: a restart of negotiation after each reset; bits that never
//! come (EEPROM loaded); causes at their old offsets; no transmit cause without vector; no masking
//! by messages; descriptors without address eat the ring; frames below 14 bytes and IPv4 packets
//! without header are dropped though reported as sent; segments without FIN; no legacy descriptors.

pub(crate) mod bits;
mod card;
pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod csr;
mod descriptor;
mod fast_path;
pub(crate) mod filters;
mod host;
pub(crate) mod interrupts;
pub(crate) mod mail;
mod offload;
mod packet;
pub(crate) mod queue;
pub(crate) mod receive;
pub(crate) mod receiver;
pub(crate) mod regs;
mod rss;
pub(crate) mod sender;
mod statistics;
pub(crate) mod transmit;

#[cfg(test)]
mod tests;

use self::config::BUFFER;
use self::csr::Csr;
use self::filters::FilterState;
use self::host::Host;
use self::interrupts::{Function, Interrupts};
use self::receiver::Receiver;
use self::sender::Sender;
use self::statistics::Statistics;
use self::transmit::Transmit;
use crate::chip::{self, Chip, Status};
use crate::driver::Driver;
use crate::pool::Buffers;
use crate::{Bus, Error, Events, Facts, Features, Filters, Link, Outgoing, Piece};

pub use self::card::I82576;
pub use self::config::{Config, FRAME_JUMBO, InterruptMode, QUEUES, VECTORS};
pub use self::host::vf_address;

/// Bytes of registers that the driver uses.
pub const REGISTERS: usize = 0x1_0000;

/// Ticks between two harvests of the counters, of which the fastest overflows in 48 minutes.
const HARVEST_TICKS: u32 = 60;
/// Bound of the wait for a link in loopback, and of one between two looks.
const LINK_US: u32 = 3_000_000;
const POLL_US: u32 = 1_000;

/// The driver of an 82576: of its physical function.
pub type Igb<B> = Driver<I82576<B>>;

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
        // Those of the pool behind the VFs', or all.
        let place = match config.vfs {
            0 => regs::QUEUES,
            vfs => regs::queues_of(vfs),
        };
        let sender = Sender::new(place, &config)?;
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
        let host = match config.vfs {
            0 => None,
            vfs => Some(Host::new(vfs, mac, (config.queues, config.frame_max))?),
        };
        let function = Function::Physical { vfs: config.vfs };
        let mut chip = I82576 {
            csr,
            mac,
            sender,
            receiver: Receiver::new(place, &config)?,
            interrupts: Interrupts::new(function, &config),
            filters: FilterState::default(),
            statistics: Statistics::default(),
            host,
            is_at_rest: true,
            ticks: 0,
            config,
        };
        chip.open_for_others()?;
        Driver::stopped(chip, facts, frames, Link::default())
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
        if self.host.is_some() {
            // It would cut the VFs off.
            return Err(Error::Unsupported);
        }
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
        (sent.sum(), self.receiver.waiting(&mut self.csr))
    }

    fn halt(&mut self, status: &mut Status) -> Result<(), Error> {
        status.link = Link::default();
        if !self.is_at_rest {
            status.counters.resets += 1;
            self.csr.reset()?;
            self.open_for_others()?;
            self.is_at_rest = true;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.receiver.forget();
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
        self.serve_others(true)?;
        self.ticks += 1;
        if self.ticks.is_multiple_of(HARVEST_TICKS) {
            self.harvest()?;
        }
        Ok(())
    }

    fn attend(&mut self, is_tick: bool) -> Result<(), Error> {
        if self.host.is_none() {
            return Ok(());
        }
        if is_tick {
            return self.serve_others(true);
        }
        let causes = self.csr.read(regs::ICR)?;
        self.serve_others_by(causes)
    }

    fn is_stuck(&mut self, has_link: bool) -> bool {
        self.sender.is_stuck(has_link)
    }

    fn on_interrupt(
        &mut self,
        message: Option<u16>,
        status: &mut Status,
    ) -> Result<Option<Events>, Error> {
        let (csr, interrupts) = (&mut self.csr, &mut self.interrupts);
        match self.receiver.caused(csr, interrupts, message)? {
            Some(causes) => self.serve(causes, status).map(Some),
            None => Ok(None),
        }
    }

    fn set_filters(&mut self, filters: &Filters<'_>, is_at_work: bool) -> Result<bool, Error> {
        let filters = FilterState::new(filters)?;
        if let Some(host) = &self.host {
            host.check(&filters)?;
        }
        self.filters = filters;
        if is_at_work {
            match &mut self.host {
                None => self.filters.apply(&mut self.csr, self.mac),
                Some(host) => host.apply(&mut self.csr, &self.filters, self.mac),
            }
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
        visit("rx_waiting", self.receiver.waiting(&mut self.csr));
        let rings = (&self.sender, &self.receiver);
        counters::visit(common, rings, &self.interrupts, visit);
        if let Some(host) = &self.host {
            host.visit(visit);
        }
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
