//! The physical function of an 82576 as a whole: how it is set up, disabled, and served, with its virtual
//! functions or without any.

use super::config::Config;
use super::csr::Csr;
use super::filters::FilterState;
use super::host::Host;
use super::interrupts::{Causes, Interrupts};
use super::receiver::Receiver;
use super::sender::Sender;
use super::statistics::Statistics;
use super::{regs, rss};
use crate::chip::Status;
use crate::{Bus, Error, Events, MacAddress};

/// An 82576 on its bus.
pub struct I82576<B: Bus> {
    pub(super) csr: Csr<B>,
    pub(super) config: Config,
    pub(super) mac: MacAddress,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) interrupts: Interrupts,
    pub(super) filters: FilterState,
    pub(super) statistics: Statistics,
    /// What serves the virtual functions, if there are any.
    pub(super) host: Option<Host>,
    /// The card was reset and not touched since, or its queues are disabled and it has its link.
    pub(super) is_at_rest: bool,
    pub(super) ticks: u32,
}

impl<B: Bus> I82576<B> {
    /// From any state to running, with empty rings, and these bits of RCTL set.
    pub(super) fn set_up(&mut self, status: &mut Status, loopback: u32) -> Result<(), Error> {
        if !core::mem::replace(&mut self.is_at_rest, false) {
            // Each reset costs half a second of link, and more on a wire.
            status.counters.resets += 1;
            self.csr.reset()?;
            self.open_for_others()?;
        }
        self.statistics.discard(&mut self.csr)?;
        self.lay_out()?;
        let csr = &mut self.csr;
        self.receiver.start(csr)?;
        self.sender.start(csr)?;
        let control = csr.read(regs::TCTL)?;
        csr.write(regs::TCTL, control | regs::TCTL_EN | regs::TCTL_PSP);
        // Before the first frame can come: what comes is told.
        self.interrupts.arm_receive(csr)?;
        if let Some(host) = &mut self.host {
            host.let_pf(csr, true);
        }
        // It has no descriptor before it is told a tail.
        let receive = self.receive_control();
        self.csr.write(regs::RCTL, receive | loopback);
        for ring in &mut self.receiver.rings {
            ring.tell(&mut self.csr);
        }
        status.link = self.csr.link()?;
        Ok(())
    }

    /// Tells a card that was reset, or is at rest, all but of the rings.
    pub(super) fn lay_out(&mut self) -> Result<(), Error> {
        let csr = &mut self.csr;
        match &mut self.host {
            None => self.filters.apply(csr, self.mac),
            Some(host) => host.apply(csr, &self.filters, self.mac),
        }
        let mode = if self.interrupts.many() {
            regs::GPIE_MSIX | regs::GPIE_EIAME | regs::GPIE_PBA
        } else {
            0
        };
        csr.write(regs::GPIE, mode | regs::GPIE_NSICR);
        self.interrupts.start(csr);
        csr.read(regs::ICR)?;
        csr.write(regs::IMS, regs::ICR_LSC);
        rss::spread(csr, self.config.queues, self.host.is_some());
        let control = csr.read(regs::CTRL)?;
        csr.write(regs::CTRL, control | regs::CTRL_VME);
        csr.write(regs::VET, 0x8100_8100);
        // With its checksum, and a VLAN tag.
        csr.write(regs::RLPML, self.config.frame_max as u32 + 8);
        self.serve_others(false)
    }

    /// Has a card that was just reset work for its virtual functions, whether or not the PF has rings.
    pub(super) fn open_for_others(&mut self) -> Result<(), Error> {
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        host.start(&mut self.csr);
        self.lay_out()?;
        let receive = self.receive_control();
        let csr = &mut self.csr;
        let control = csr.read(regs::TCTL)?;
        csr.write(regs::TCTL, control | regs::TCTL_EN | regs::TCTL_PSP);
        csr.write(regs::RCTL, receive);
        let control = csr.read(regs::CTRL_EXT)?;
        csr.write(regs::CTRL_EXT, control | regs::CTRL_EXT_PFRSTD);
        Ok(())
    }

    /// Serves the virtual functions, if what belongs to no ring is about them.
    pub(super) fn serve_others_by(&mut self, causes: u32) -> Result<(), Error> {
        if let Some(host) = &mut self.host
            && causes & regs::ICR_LSC != 0
        {
            host.see_link(&mut self.csr)?;
        }
        match causes & (regs::ICR_VMMB | regs::ICR_LSC) {
            0 => Ok(()),
            _ => self.serve_others(false),
        }
    }

    /// Serves the virtual functions; once a second, as a `tick`.
    pub(super) fn serve_others(&mut self, is_tick: bool) -> Result<(), Error> {
        match &mut self.host {
            None => Ok(()),
            Some(host) if is_tick => host.tick(&mut self.csr, &self.filters),
            Some(host) => host.serve(&mut self.csr, &self.filters),
        }
    }

    /// Ends reception and transmission and disables all queues, without a reset (§4.5.9,
    /// §4.5.10): there is no DMA then, and no interrupt. What belongs to virtual functions goes on.
    pub(super) fn disable(&mut self) -> Result<(), Error> {
        let csr = &mut self.csr;
        match &self.host {
            None => {
                csr.mask_all();
                csr.write(regs::RCTL, 0);
            }
            Some(_) => self.interrupts.silence_rings(csr),
        }
        let (sending, receiving) = (&self.sender.rings, &self.receiver.rings);
        sending.iter().try_for_each(|ring| ring.drain(csr))?;
        match &mut self.host {
            None => csr.write(regs::TCTL, regs::TCTL_PSP),
            Some(host) => host.let_pf(csr, false),
        }
        let sending = sending.iter().map(|ring| ring.queue);
        let mut queues = receiving.iter().map(|ring| ring.queue).chain(sending);
        queues.try_for_each(|queue| queue.disable(csr))
    }

    /// RCTL of a running card.
    pub(super) fn receive_control(&self) -> u32 {
        let long = if self.config.frame_max > 1514 {
            regs::RCTL_LPE
        } else {
            0
        };
        let filters = match self.host {
            None => self.filters.control(),
            // Each pool has its own; a tag must be one of theirs.
            Some(_) => regs::RCTL_VFE,
        };
        regs::RCTL_EN | regs::RCTL_BAM | regs::RCTL_SECRC | long | filters
    }

    pub(super) fn serve(&mut self, causes: Causes, status: &mut Status) -> Result<Events, Error> {
        if causes.other {
            // With messages for the parts of the card, the one of what belongs to no ring does not say
            // what it is about.
            let about = match self.interrupts.many() {
                true => self.csr.read(regs::ICR)?,
                false => regs::ICR_LSC,
            };
            if about & regs::ICR_LSC != 0 {
                status.see_link(self.csr.link()?);
            }
            self.serve_others_by(about)?;
        }
        Ok(causes.events())
    }
}
