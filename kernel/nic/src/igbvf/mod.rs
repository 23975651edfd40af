//! A virtual function of Intel's 82576 ("igbvf"). Wharf's kernel does not attach any yet.
//!
//! Manual: as [`crate::igb`], with whose rings it works.
//!
//! # Theory of operation
//!
//! A VF has one queue pair here, at other addresses than the card's, and three vectors: for what belongs to
//! no ring, for sending, and for receiving. It has no EEPROM, no transceiver, and no filters: for those it
//! asks the physical function (PF), by the mailbox (`mailbox.rs`, `filters.rs`).
//!
//! ```text
//!   reset --RSTI over--> lock, RESET, REQ --answer: station address--> rings --tail--> works
//!     ^                                                                                  |
//!     `------- tick: the PF was reset (RSTI, RSTD), does not listen (no CTS), -----------'
//!              or somebody has reset this function (the queues are off)
//! ```
//!
//! **Waits**: each answer is waited for in [`Bus::delay_us`], for 20 ms at the most. If one processor runs
//! both functions' drivers, that is where it must let the PF's serve its interrupt.
//!
//! **Differences of QEMU honoured**: its mailbox interrupts go to the wrong vector or nowhere, so `tick`
//! looks; no cause is masked by messages; a broadcast of its own comes back to its sender, who drops it by
//! its source as any stack does.

mod filters;
mod mailbox;
mod statistics;

#[cfg(test)]
pub(crate) mod tests;

use self::filters::Wanted;
use self::mailbox::Mailbox;
use self::statistics::Statistics;
use crate::chip::{self, Chip, Status};
use crate::driver::Driver;
use crate::igb::config::BUFFER;
use crate::igb::csr::Csr;
use crate::igb::interrupts::{Causes, Function, Interrupts};
use crate::igb::receiver::Receiver;
use crate::igb::sender::Sender;
use crate::igb::transmit::Transmit;
use crate::igb::{counters, mail, regs};
use crate::pool::Buffers;
use crate::{Bus, Error, Events, Facts, Features, Filters, Link, MacAddress, Outgoing, Piece};

pub use crate::igb::{Config, InterruptMode};

/// Entries in a VF's MSI-X table.
pub const VECTORS: u16 = crate::igb::config::VF_VECTORS;
/// Bytes of registers.
pub const REGISTERS: usize = 0x4000;

/// The VF must be left alone so long after a reset (§4.2.1.6.1, as the card).
const RESET_US: u32 = 1_000;
/// Frames that are longer than this must be asked for.
const FRAME_USUAL: usize = 1514;

/// The driver of a virtual function of an 82576.
pub type Igbvf<B> = Driver<I82576Vf<B>>;

/// A virtual function of an 82576 on its bus.
pub struct I82576Vf<B: Bus> {
    csr: Csr<B>,
    mac: MacAddress,
    frame_max: usize,
    sender: Sender,
    receiver: Receiver,
    interrupts: Interrupts,
    mailbox: Mailbox,
    wanted: Wanted,
    statistics: Statistics,
    /// VLANs that somebody else had after a reset.
    vlans_lost: u64,
}

impl<B: Bus> Igbvf<B> {
    /// Resets the function and asks its PF for its station address; leaves it stopped.
    ///
    /// `bus` must give an arena of at least [`Config::arena_size`] zeroed bytes that starts on a page, the
    /// function must be bus master, and the three messages of its table must be set up. `config` has one
    /// queue, and no VFs.
    ///
    /// # Errors
    /// [`Error::BadConfig`], [`Error::ArenaTooSmall`], [`Error::ArenaUnreachable`],
    /// [`Error::DeviceGone`], [`Error::HostSilent`], [`Error::HostReset`], [`Error::HostRefused`],
    /// [`Error::BadMacAddress`], [`Error::NoMemory`].
    pub fn new(bus: B, config: Config) -> Result<Self, Error> {
        let (needed, found) = (config.arena_size()?, bus.arena_len());
        for (sound, what) in [
            (config.queues == 1, "queues"),
            (config.vfs == 0, "vfs"),
            (config.vectors() == VECTORS, "interrupts"),
        ] {
            if !sound {
                return Err(Error::BadConfig { what });
            }
        }
        if found < needed {
            return Err(Error::ArenaTooSmall { needed, found });
        }
        let start = bus.bus_addr(0);
        if !start.0.is_multiple_of(BUFFER as u64) {
            return Err(Error::ArenaUnreachable { start });
        }
        let frames = config.frames();
        let sender = Sender::new(regs::VF_QUEUES, &config)?;
        let segmentation = sender.segmentation;
        let mut chip = I82576Vf {
            csr: Csr {
                bus,
                frames: frames.clone(),
            },
            mac: [0; 6],
            frame_max: config.frame_max,
            sender,
            receiver: Receiver::new(regs::VF_QUEUES, &config)?,
            interrupts: Interrupts::new(Function::Virtual, &config),
            mailbox: Mailbox::default(),
            wanted: Wanted::default(),
            statistics: Statistics::default(),
            vlans_lost: 0,
        };
        chip.mac = chip.reset()?;
        if chip.mac == [0; 6] || chip.mac[0] & 1 != 0 {
            return Err(Error::BadMacAddress { found: chip.mac });
        }
        let facts = Facts {
            name: "igbvf",
            mac: chip.mac,
            frame_max: config.frame_max,
            transmit_ring: (config.transmit_ring - 1).min(config.transmit_buffers),
            receive_ring: config.receive_buffers,
            features: Features {
                checksums: true,
                segmentation,
                vlan: true,
                filters: true,
                receive_queues: 1,
                transmit_queues: 1,
                vectors: VECTORS,
            },
        };
        Driver::stopped(chip, facts, frames, Link::default())
    }
}

impl<B: Bus> I82576Vf<B> {
    /// Resets the function, and has the PF let it work. Returns its station address.
    fn reset(&mut self) -> Result<MacAddress, Error> {
        self.silence();
        self.mailbox.begin(&mut self.csr)?;
        let [_, low, high] = self.mailbox.ask(&mut self.csr, &[mail::RESET])?;
        Ok(mail::address([low, high]))
    }

    /// Resets the function alone: no DMA then, and no interrupt.
    fn silence(&mut self) {
        let csr = &mut self.csr;
        csr.write(regs::EIMC, Function::Virtual.causes());
        csr.write(regs::CTRL, regs::CTRL_RST);
        csr.bus.delay_us(RESET_US);
    }

    /// Whether the function is still what it was made.
    fn check(&mut self, status: &mut Status) -> Result<(), Error> {
        let csr = &mut self.csr;
        self.mailbox.check(csr)?;
        let (sending, receiving) = (&self.sender.rings, &self.receiver.rings);
        let sending = sending.iter().map(|ring| ring.queue);
        let mut queues = receiving.iter().map(|ring| ring.queue).chain(sending);
        let is_on = queues.try_fold(true, |all, queue| Ok(all & queue.is_enabled(csr)?))?;
        if !is_on {
            return Err(Error::HostReset);
        }
        status.see_link(csr.link()?);
        Ok(())
    }

    fn serve(&mut self, causes: Causes, status: &mut Status) -> Result<Events, Error> {
        if causes.other {
            self.check(status)?;
        }
        Ok(causes.events())
    }
}

impl<B: Bus> Chip for I82576Vf<B> {
    type Bus = B;

    fn bus(&mut self) -> &mut B {
        &mut self.csr.bus
    }

    fn bring_up(&mut self, status: &mut Status) -> Result<(), Error> {
        status.counters.resets += 1;
        let found = self.reset()?;
        if found != self.mac {
            // It has another function's place now.
            return Err(Error::BadMacAddress { found });
        }
        let csr = &mut self.csr;
        self.statistics.begin(csr)?;
        if self.frame_max > FRAME_USUAL {
            let longest = (self.frame_max + mail::LONG_EXTRA) as u32;
            self.mailbox.ask(csr, &[mail::LONG, longest])?;
        }
        self.vlans_lost += self.wanted.ask_again(csr, &mut self.mailbox)?;
        self.interrupts.start(csr);
        self.receiver.start(csr)?;
        self.sender.start(csr)?;
        self.interrupts.arm_receive(csr)?;
        for ring in &mut self.receiver.rings {
            ring.tell(csr);
        }
        status.link = csr.link()?;
        Ok(())
    }

    fn quiesce(&mut self) {
        // The counters of the last moments; without them the sums are still right so far.
        let _ = self.harvest();
        // What was to be sent is; the reset that follows takes what is left.
        for ring in &self.sender.rings {
            let _ = ring.drain(&mut self.csr);
        }
    }

    fn in_rings(&mut self) -> (u64, u64) {
        let sent = self.sender.rings.iter().map(Transmit::in_flight);
        (sent.sum(), self.receiver.waiting(&mut self.csr))
    }

    fn halt(&mut self, status: &mut Status) -> Result<(), Error> {
        status.link = Link::default();
        self.silence();
        self.csr.status().map(drop)
    }

    fn forget(&mut self) {
        self.receiver.forget();
    }

    fn look_after(&mut self, status: &mut Status) -> Result<(), Error> {
        self.check(status)?;
        let csr = &mut self.csr;
        self.receiver
            .rings
            .iter()
            .try_for_each(|ring| ring.check(csr))?;
        self.sender
            .rings
            .iter()
            .try_for_each(|ring| ring.check(csr))?;
        if self.receiver.overlooked(csr, &mut self.interrupts) {
            status.pending |= Events::RECEIVE;
        }
        self.harvest()
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
        let wanted = Wanted::new(filters)?;
        let (csr, mailbox) = (&mut self.csr, &mut self.mailbox);
        let asked = match is_at_work {
            true => wanted
                .ask_vlans(&self.wanted, csr, mailbox)
                .and_then(|()| wanted.ask_groups(csr, mailbox)),
            false => Ok(()),
        };
        if let Err(error @ Error::BadVlan { .. }) = asked {
            return Err(error);
        }
        self.wanted = wanted;
        // A PF that does not answer is asked again as the function is brought up.
        Ok(asked.is_err())
    }

    fn harvest(&mut self) -> Result<(), Error> {
        self.statistics.harvest(&mut self.csr)
    }

    fn visit(&mut self, common: &chip::Counters, visit: &mut dyn FnMut(&str, u64)) {
        self.statistics.visit(visit);
        visit("rx_waiting", self.receiver.waiting(&mut self.csr));
        let rings = (&self.sender, &self.receiver);
        counters::visit(common, rings, &self.interrupts, visit);
        for (name, value) in [
            ("mailbox_answered", self.mailbox.answered),
            ("mailbox_refused", self.mailbox.refused),
            ("mailbox_notices", self.mailbox.notices),
            ("vlans_lost", self.vlans_lost),
        ] {
            visit(name, value);
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
