//! A function of the card, physical or virtual, as a [`Chip`]: the rings are the same, and the rest is its
//! role's.

use super::physical::Physical;
use super::rings::Rings;
use super::role::Role;
use crate::chip::{Chip, Counters, Status};
use crate::igbvf::function::Virtual;
use crate::pool::Buffers;
use crate::{Bus, Error, Events, Filters, Outgoing, Piece};

/// What a function is on its card.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each card, and a box has no way to say that there is no memory"
)]
pub(crate) enum Kind<B: Bus + 'static> {
    Physical(Physical<B>),
    Virtual(Virtual),
}

/// A function of an 82576 on its bus.
pub struct I82576<B: Bus + 'static> {
    rings: Rings<B>,
    kind: Kind<B>,
}

impl<B: Bus> I82576<B> {
    pub(crate) fn new(rings: Rings<B>, kind: Kind<B>) -> Self {
        I82576 { rings, kind }
    }

    /// Its role, and what it needs to play it.
    fn role(&mut self) -> (&mut dyn Role<B>, &mut Rings<B>) {
        let role: &mut dyn Role<B> = match &mut self.kind {
            Kind::Physical(physical) => physical,
            Kind::Virtual(own) => own,
        };
        (role, &mut self.rings)
    }
}

impl<B: Bus> Chip for I82576<B> {
    type Bus = B;

    fn bus(&mut self) -> &mut B {
        &mut self.rings.csr.bus
    }

    fn bring_up(&mut self, status: &mut Status) -> Result<(), Error> {
        let (role, rings) = self.role();
        role.bring_up(rings, status)
    }

    fn loop_back(&mut self, status: &mut Status) -> Result<(), Error> {
        let (role, rings) = self.role();
        role.loop_back(rings, status)
    }

    fn quiesce(&mut self) {
        let (role, rings) = self.role();
        role.quiesce(rings);
    }

    fn in_rings(&mut self) -> (u64, u64) {
        self.rings.frames()
    }

    fn halt(&mut self, status: &mut Status) -> Result<(), Error> {
        let (role, rings) = self.role();
        role.halt(rings, status)
    }

    fn forget(&mut self) {
        self.rings.receiver.forget();
    }

    fn look_after(&mut self, status: &mut Status) -> Result<(), Error> {
        let (role, rings) = self.role();
        role.look_after(rings, status)?;
        if rings.overlooked()? {
            status.pending |= Events::RECEIVE;
        }
        Ok(())
    }

    fn attend(&mut self, is_tick: bool) -> Result<(), Error> {
        let (role, rings) = self.role();
        role.attend(rings, is_tick)
    }

    fn is_stuck(&mut self, has_link: bool) -> bool {
        self.rings.sender.is_stuck(has_link)
    }

    fn on_interrupt(
        &mut self,
        message: Option<u16>,
        status: &mut Status,
    ) -> Result<Option<Events>, Error> {
        let Rings {
            csr,
            receiver,
            interrupts,
            ..
        } = &mut self.rings;
        let Some(causes) = receiver.caused(csr, interrupts, message)? else {
            return Ok(None);
        };
        if causes.other {
            let (role, rings) = self.role();
            role.serve(rings, status)?;
        }
        Ok(Some(causes.events()))
    }

    fn set_filters(&mut self, filters: &Filters<'_>, is_at_work: bool) -> Result<bool, Error> {
        let (role, rings) = self.role();
        role.set_filters(rings, filters, is_at_work)
    }

    fn harvest(&mut self) -> Result<(), Error> {
        let (role, rings) = self.role();
        role.harvest(rings)
    }

    fn visit(&mut self, common: &Counters, visit: &mut dyn FnMut(&str, u64)) {
        let (role, rings) = self.role();
        role.visit_card(visit);
        rings.visit(common, visit);
        role.visit_own(visit);
    }

    fn queue(&mut self, frames: &[Outgoing], buffers: &mut Buffers) -> (usize, Result<(), Error>) {
        let Rings { csr, sender, .. } = &mut self.rings;
        let own = match &self.kind {
            Kind::Physical(_) => frames.len(),
            Kind::Virtual(function) => function.own(csr, frames),
        };
        match sender.queue(csr, &frames[..own], buffers) {
            (sent, Ok(())) if sent < frames.len() => (sent, Err(Error::BadSource)),
            outcome => outcome,
        }
    }

    fn kick(&mut self) -> Result<(), Error> {
        self.rings.sender.kick(&mut self.rings.csr);
        Ok(())
    }

    fn reclaim(&mut self, buffers: &mut Buffers) {
        self.rings.sender.reclaim(&mut self.rings.csr, buffers);
    }

    fn is_idle(&self) -> bool {
        self.rings.sender.is_idle()
    }

    fn has_room(&self, buffers: &mut Buffers) -> bool {
        self.rings.sender.has_room(buffers)
    }

    fn arm_transmit(&mut self) -> Result<(), Error> {
        self.rings.interrupts.arm_transmit(&mut self.rings.csr)
    }

    fn will_interrupt(&mut self) -> bool {
        let will_interrupt = self.rings.interrupts.are_all_armed();
        if will_interrupt {
            self.rings.receiver.tell_where_low(&mut self.rings.csr);
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
        let Rings {
            csr,
            receiver,
            interrupts,
            ..
        } = &mut self.rings;
        receiver.lend(csr, interrupts, (arm, max), take)
    }

    fn give_back(&mut self, buffers: &[u16], _: bool) -> Result<(), Error> {
        self.rings.receiver.give_back(&mut self.rings.csr, buffers)
    }

    fn has_received(&mut self) -> bool {
        let Rings {
            csr,
            receiver,
            interrupts,
            ..
        } = &mut self.rings;
        receiver.has_received(csr, interrupts)
    }

    fn silence_receive(&mut self) {
        self.rings.interrupts.silence_receive(&mut self.rings.csr);
    }
}
