//! The physical function (PF) of an 82576, which is the card as a whole: how it is set up and disabled, and
//! what it does for its virtual functions, if it has any.

use super::config::Config;
use super::filters::FilterState;
use super::host::SharedHost;
use super::rings::Rings;
use super::role::Role;
use super::statistics::Statistics;
use super::{regs, rss};
use crate::chip::Status;
use crate::{Bus, Error, Filters, Link, MacAddress};

/// Ticks between two harvests of the counters, of which the fastest overflows in 48 minutes.
const HARVEST_TICKS: u32 = 60;
/// Bound of the wait for a link in loopback, and of one between two looks.
const LINK_US: u32 = 3_000_000;
const POLL_US: u32 = 1_000;

/// The physical function.
pub struct Physical<B: Bus + 'static> {
    config: Config,
    mac: MacAddress,
    filters: FilterState,
    statistics: Statistics,
    /// What serves the virtual functions, if there are any.
    host: Option<SharedHost<B>>,
    /// The card was reset and not touched since, or its queues are disabled and it has its link.
    is_at_rest: bool,
    ticks: u32,
}

impl<B: Bus> Physical<B> {
    /// That of a card that was just reset. It works for its virtual functions from now on.
    pub fn new(
        rings: &mut Rings<B>,
        config: Config,
        mac: MacAddress,
        host: Option<SharedHost<B>>,
    ) -> Result<Self, Error> {
        let mut physical = Physical {
            config,
            mac,
            filters: FilterState::default(),
            statistics: Statistics::default(),
            host,
            is_at_rest: true,
            ticks: 0,
        };
        physical.open_for_others(rings)?;
        Ok(physical)
    }

    /// Resets the card, unless it is at rest. Each reset costs half a second of link, and more on a wire.
    fn reset(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        if self.is_at_rest {
            return Ok(());
        }
        status.counters.resets += 1;
        rings.csr.reset()?;
        self.open_for_others(rings)
    }

    /// From any state to running, with empty rings, and these bits of RCTL set.
    fn set_up(
        &mut self,
        rings: &mut Rings<B>,
        status: &mut Status,
        loopback: u32,
    ) -> Result<(), Error> {
        self.reset(rings, status)?;
        self.is_at_rest = false;
        self.statistics.discard(&mut rings.csr)?;
        self.lay_out(rings)?;
        let csr = &mut rings.csr;
        rings.receiver.start(csr)?;
        rings.sender.start(csr)?;
        let control = csr.read(regs::TCTL)?;
        csr.write(regs::TCTL, control | regs::TCTL_EN | regs::TCTL_PSP);
        // Before the first frame can come: what comes is told.
        rings.interrupts.arm_receive(csr)?;
        if let Some(host) = self.host {
            host.lock().let_pf(true);
        }
        // It has no descriptor before it is told a tail.
        csr.write(regs::RCTL, self.receive_control() | loopback);
        for ring in &mut rings.receiver.rings {
            ring.tell(csr);
        }
        status.link = csr.link()?;
        Ok(())
    }

    /// Tells the card of the filters, all but RCTL.
    fn apply_filters(&mut self, rings: &mut Rings<B>) {
        match self.host {
            None => self.filters.apply(&mut rings.csr, self.mac),
            Some(host) => host.lock().apply(&self.filters),
        }
    }

    /// Tells a card that was reset, or is at rest, all but of the rings.
    fn lay_out(&mut self, rings: &mut Rings<B>) -> Result<(), Error> {
        self.apply_filters(rings);
        let csr = &mut rings.csr;
        let mode = if rings.interrupts.many() {
            regs::GPIE_MSIX | regs::GPIE_EIAME | regs::GPIE_PBA
        } else {
            0
        };
        csr.write(regs::GPIE, mode | regs::GPIE_NSICR);
        rings.interrupts.start(csr);
        csr.read(regs::ICR)?;
        csr.write(regs::IMS, regs::ICR_LSC);
        rss::spread(csr, self.config.queues, self.host.is_some());
        let control = csr.read(regs::CTRL)?;
        csr.write(regs::CTRL, control | regs::CTRL_VME);
        csr.write(regs::VET, 0x8100_8100);
        // With its checksum, and a VLAN tag.
        csr.write(regs::RLPML, self.config.frame_max as u32 + 8);
        match self.host {
            None => Ok(()),
            Some(host) => host.lock().serve(),
        }
    }

    /// Has a card that was just reset work for its virtual functions, whether or not the PF has rings.
    fn open_for_others(&mut self, rings: &mut Rings<B>) -> Result<(), Error> {
        let Some(host) = self.host else {
            return Ok(());
        };
        host.lock().start();
        self.lay_out(rings)?;
        let csr = &mut rings.csr;
        let control = csr.read(regs::TCTL)?;
        csr.write(regs::TCTL, control | regs::TCTL_EN | regs::TCTL_PSP);
        csr.write(regs::RCTL, self.receive_control());
        let control = csr.read(regs::CTRL_EXT)?;
        csr.write(regs::CTRL_EXT, control | regs::CTRL_EXT_PFRSTD);
        Ok(())
    }

    /// Whether the card still works for its virtual functions: nobody else has reset it.
    fn check(&self, rings: &mut Rings<B>) -> Result<(), Error> {
        match self.host.is_some() && rings.csr.read(regs::RCTL)? & regs::RCTL_EN == 0 {
            true => Err(Error::HostReset),
            false => Ok(()),
        }
    }

    /// Serves the virtual functions, if these causes of what belongs to no ring are about them.
    fn serve_others(&mut self, causes: u32) -> Result<(), Error> {
        let Some(host) = self.host else {
            return Ok(());
        };
        let mut host = host.lock();
        if causes & regs::ICR_LSC != 0 {
            host.see_link()?;
        }
        match causes & (regs::ICR_VMMB | regs::ICR_LSC) {
            0 => Ok(()),
            _ => host.serve(),
        }
    }

    /// Ends reception and transmission and disables all queues, without a reset (§4.5.9,
    /// §4.5.10): there is no DMA then, and no interrupt. What belongs to virtual functions goes on.
    fn disable(&mut self, rings: &mut Rings<B>) -> Result<(), Error> {
        let csr = &mut rings.csr;
        match self.host {
            None => {
                csr.mask_all();
                csr.write(regs::RCTL, 0);
            }
            Some(_) => rings.interrupts.silence_rings(csr),
        }
        rings.drain()?;
        match self.host {
            None => rings.csr.write(regs::TCTL, regs::TCTL_PSP),
            Some(host) => host.lock().let_pf(false),
        }
        rings.each_queue(|csr, queue| queue.disable(csr))
    }

    /// RCTL of a running card.
    fn receive_control(&self) -> u32 {
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
}

impl<B: Bus> Role<B> for Physical<B> {
    fn bring_up(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        self.set_up(rings, status, 0)
    }

    /// Past the wire, by the MAC (§3.5.6.2).
    fn loop_back(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        if self.host.is_some() {
            // It would cut the VFs off.
            return Err(Error::Unsupported);
        }
        self.set_up(rings, status, regs::RCTL_LBM_MAC)?;
        let csr = &mut rings.csr;
        let mut waited_us = 0;
        while !csr.link()?.up && waited_us < LINK_US {
            csr.bus.delay_us(POLL_US);
            waited_us += POLL_US;
        }
        if waited_us >= LINK_US {
            // No cable: the loopback does not need one, but a link (§3.5.6.3).
            let control = csr.read(regs::CTRL)? | regs::CTRL_SLU;
            let forced = regs::CTRL_FORCE | regs::CTRL_FD | 2 << 8;
            csr.write(regs::CTRL, control | forced);
        }
        Ok(())
    }

    /// A card that can be stopped so keeps its link, so that the next owner need not wait for it.
    fn quiesce(&mut self, rings: &mut Rings<B>) {
        // The counters of the last moments; without them the sums are still right so far.
        let _ = self.harvest(rings);
        self.is_at_rest = self.disable(rings).is_ok();
    }

    fn halt(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        status.link = Link::default();
        self.reset(rings, status)?;
        self.is_at_rest = true;
        Ok(())
    }

    fn look_after(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        self.check(rings)?;
        status.see_link(rings.csr.link()?);
        self.attend(rings, true)?;
        self.ticks += 1;
        if self.ticks.is_multiple_of(HARVEST_TICKS) {
            self.harvest(rings)?;
        }
        Ok(())
    }

    fn serve(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        // With messages for the parts of the card, the one of what belongs to no ring does not say
        // what it is about.
        let about = match rings.interrupts.many() {
            true => rings.csr.read(regs::ICR)?,
            false => regs::ICR_LSC,
        };
        if about & regs::ICR_LSC != 0 {
            status.see_link(rings.csr.link()?);
        }
        self.serve_others(about)
    }

    fn attend(&mut self, rings: &mut Rings<B>, is_tick: bool) -> Result<(), Error> {
        match self.host {
            None => Ok(()),
            Some(host) if is_tick => {
                if self.check(rings) == Err(Error::HostReset) {
                    // Nobody has the PF, who would have it mended.
                    rings.csr.reset()?;
                    self.is_at_rest = true;
                    self.open_for_others(rings)?;
                }
                host.lock().tick()
            }
            Some(_) => {
                let causes = rings.csr.read(regs::ICR)?;
                self.serve_others(causes)
            }
        }
    }

    fn set_filters(
        &mut self,
        rings: &mut Rings<B>,
        filters: &Filters<'_>,
        is_at_work: bool,
    ) -> Result<bool, Error> {
        let filters = FilterState::new(filters)?;
        if let Some(host) = self.host {
            host.lock().check(&filters)?;
        }
        self.filters = filters;
        if is_at_work {
            self.apply_filters(rings);
            rings.csr.write(regs::RCTL, self.receive_control());
        }
        Ok(false)
    }

    fn harvest(&mut self, rings: &mut Rings<B>) -> Result<(), Error> {
        self.statistics.harvest(&mut rings.csr)
    }

    fn visit_card(&self, visit: &mut dyn FnMut(&str, u64)) {
        self.statistics.visit(visit);
    }

    fn visit_own(&self, visit: &mut dyn FnMut(&str, u64)) {
        if let Some(host) = self.host {
            host.lock().visit(visit);
        }
    }
}
