//! What a virtual function (VF) does apart from moving frames: it is brought up by its PF's leave, and looks
//! whether it still has that.

use super::filters::Wanted;
use super::mailbox::Mailbox;
use super::statistics::Statistics;
use crate::chip::Status;
use crate::igb::csr::Csr;
use crate::igb::interrupts::Function;
use crate::igb::rings::Rings;
use crate::igb::role::Role;
use crate::igb::{mail, regs};
use crate::{Bus, Error, Filters, Link, MacAddress, Outgoing};
use core::ops::Range;

/// The VF must be left alone so long after a reset (§4.2.1.6.1, as the card).
const RESET_US: u32 = 1_000;
/// Where a frame has its source address.
const SOURCE: Range<usize> = 6..12;
/// Frames that are longer than this must be asked for.
const FRAME_USUAL: usize = 1514;

/// A virtual function.
pub struct Virtual {
    mac: MacAddress,
    frame_max: usize,
    mailbox: Mailbox,
    wanted: Wanted,
    statistics: Statistics,
    /// VLANs that somebody else had after a reset.
    vlans_lost: u64,
}

impl Virtual {
    /// Resets the function, and asks its PF for its station address.
    ///
    /// # Errors
    /// [`Error::DeviceGone`], [`Error::HostSilent`], [`Error::HostReset`], [`Error::HostRefused`],
    /// [`Error::BadMacAddress`].
    pub fn new<B: Bus>(rings: &mut Rings<B>, frame_max: usize) -> Result<Self, Error> {
        let mut function = Virtual {
            mac: [0; 6],
            frame_max,
            mailbox: Mailbox::default(),
            wanted: Wanted::default(),
            statistics: Statistics::default(),
            vlans_lost: 0,
        };
        let found = function.reset(rings)?;
        if found == [0; 6] || found[0] & 1 != 0 {
            return Err(Error::BadMacAddress { found });
        }
        function.mac = found;
        Ok(function)
    }

    /// The station address.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// How many of these frames, from the first on, have the function's own source address. The card looks,
    /// too (§7.10.3.9), but QEMU's does not. A frame that ends before its source has none.
    pub fn own<B: Bus>(&self, csr: &mut Csr<B>, frames: &[Outgoing]) -> usize {
        let [a, b, c, d, e, f] = self.mac;
        let own = (u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f]));
        let is_own = |frame: &&Outgoing| match csr.frames.buffer(frame.buffer) {
            Some((offset, _)) if frame.len >= SOURCE.end => {
                let source = offset + SOURCE.start;
                (csr.bus.load16(source), csr.bus.load32(source + 2)) == own
            }
            // A buffer that there is not is refused where it is looked for.
            _ => frame.tail.is_none(),
        };
        frames.iter().take_while(is_own).count()
    }

    /// Resets the function, and has the PF let it work. Returns its station address.
    fn reset<B: Bus>(&mut self, rings: &mut Rings<B>) -> Result<MacAddress, Error> {
        silence(rings);
        let csr = &mut rings.csr;
        self.mailbox.begin(csr)?;
        let [_, low, high] = self.mailbox.ask(csr, &[mail::RESET])?;
        Ok(mail::address([low, high]))
    }
}

/// Resets the function alone: no DMA then, and no interrupt.
fn silence<B: Bus>(rings: &mut Rings<B>) {
    let csr = &mut rings.csr;
    csr.write(regs::EIMC, Function::Virtual.causes());
    csr.write(regs::CTRL, regs::CTRL_RST);
    csr.bus.delay_us(RESET_US);
}

impl<B: Bus> Role<B> for Virtual {
    fn bring_up(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        status.counters.resets += 1;
        let found = self.reset(rings)?;
        if found != self.mac {
            // It has another function's place now.
            return Err(Error::BadMacAddress { found });
        }
        let csr = &mut rings.csr;
        self.statistics.begin(csr)?;
        if self.frame_max > FRAME_USUAL {
            let longest = (self.frame_max + mail::LONG_EXTRA) as u32;
            self.mailbox.ask(csr, &[mail::LONG, longest])?;
        }
        self.vlans_lost += self.wanted.ask_again(csr, &mut self.mailbox)?;
        rings.interrupts.start(csr);
        rings.receiver.start(csr)?;
        rings.sender.start(csr)?;
        rings.interrupts.arm_receive(csr)?;
        for ring in &mut rings.receiver.rings {
            ring.tell(csr);
        }
        status.link = csr.link()?;
        Ok(())
    }

    fn quiesce(&mut self, rings: &mut Rings<B>) {
        // The counters of the last moments; without them the sums are still right so far.
        let _ = self.harvest(rings);
        // What was to be sent is; the reset that follows takes what is left.
        let _ = rings.drain();
    }

    fn halt(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        status.link = Link::default();
        silence(rings);
        rings.csr.status().map(drop)
    }

    fn look_after(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        self.serve(rings, status)?;
        self.harvest(rings)
    }

    /// Looks whether the function is still what it was made.
    fn serve(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        self.mailbox.check(&mut rings.csr)?;
        rings.each_queue(|csr, queue| match queue.is_enabled(csr)? {
            true => Ok(()),
            false => Err(Error::HostReset),
        })?;
        status.see_link(rings.csr.link()?);
        Ok(())
    }

    fn set_filters(
        &mut self,
        rings: &mut Rings<B>,
        filters: &Filters<'_>,
        is_at_work: bool,
    ) -> Result<bool, Error> {
        let wanted = Wanted::new(filters)?;
        let (csr, mailbox) = (&mut rings.csr, &mut self.mailbox);
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

    fn harvest(&mut self, rings: &mut Rings<B>) -> Result<(), Error> {
        self.statistics.harvest(&mut rings.csr)
    }

    fn visit_card(&self, visit: &mut dyn FnMut(&str, u64)) {
        self.statistics.visit(visit);
    }

    fn visit_own(&self, visit: &mut dyn FnMut(&str, u64)) {
        for (name, value) in [
            ("mailbox_answered", self.mailbox.answered),
            ("mailbox_refused", self.mailbox.refused),
            ("mailbox_notices", self.mailbox.notices),
            ("vlans_lost", self.vlans_lost),
        ] {
            visit(name, value);
        }
    }
}
