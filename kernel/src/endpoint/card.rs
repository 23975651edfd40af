//! One card: who has it, what is said of it, and its ring for the one who has all of it.

use super::interrupts::Interrupts;
use super::memory::Shared;
use super::switch::Switch;
use super::wake::{Given, Ring, Wake};
use super::words::{DisplayLink, DisplayMac};
use super::{Endpoint, bits, exchange};
use crate::pci::Address;
use crate::process::{Machine, Table};
use nic::{Events, Nic};

/// Whichever driver. Models of cards stay in their thread.
#[cfg(not(test))]
pub type Driver = dyn Nic + Send;
#[cfg(test)]
pub type Driver = dyn Nic;

/// A card that a driver has taken.
pub struct Attached {
    /// The driver.
    pub nic: &'static mut Driver,
    /// The chip's name.
    pub chip: &'static str,
    /// Where it is on PCI.
    pub address: Address,
    /// Where its arena starts in physical memory.
    pub memory: u64,
    /// How it interrupts.
    pub interrupts: Interrupts,
}

/// One card.
pub struct Card<M> {
    pub attached: Attached,
    pub holder: Holder,
    /// Who notices its next frame.
    pub wake: Wake,
    /// What the owner of the whole card exchanges with it: set aside, so that a card can be taken when
    /// there is no memory. Its endpoint has it meanwhile.
    pub area: Option<M>,
    /// It was said that the card is broken, and not yet that it works again.
    pub broken: bool,
    /// Why it did not start, when that was last told.
    pub unstartable: Option<nic::Error>,
}

/// Who has a card.
#[expect(
    clippy::large_enum_variant,
    reason = "a box that cannot be had would end the kernel, and cards are few"
)]
pub enum Holder {
    Nobody,
    /// This endpoint has all of it.
    One(u8),
    /// Several have parts of it.
    Tenants(Switch),
}

impl<M> Card<M> {
    /// Tells of a new card, and tries it if asked to.
    pub fn introduce(&mut self, number: usize, self_test: bool) {
        let Attached {
            nic, interrupts, ..
        } = &mut self.attached;
        log::info!(
            "card {number}: {}, MAC {}, {}; rings of {} and {} frames; {interrupts}",
            nic.name(),
            DisplayMac(nic.mac()),
            DisplayLink(nic.link()),
            nic.transmit_ring(),
            nic.receive_ring(),
        );
        if self_test {
            match nic.self_test() {
                Ok(()) => log::info!("card {number}: self-test passed"),
                Err(error) => log::error!("card {number}: self-test: {error}"),
            }
        }
    }

    /// Says how the link is, or that the card broke or works again: once, however often it is tried to
    /// mend it meanwhile.
    pub fn log_state(&mut self, number: usize) {
        let nic = &self.attached.nic;
        let link = DisplayLink(nic.link());
        let was_broken = self.broken;
        let fault = nic.fault();
        self.broken = fault.is_some();
        match fault {
            Some(fault) if !was_broken => log::error!("card {number}: {fault}"),
            Some(_) => {}
            None if was_broken => log::info!("card {number}: works again, {link}"),
            None => log::info!("card {number}: {link}"),
        }
    }
}

/// A whole card and its owner, for the wake-up.
pub struct Whole<'a, M, T: Machine> {
    pub nic: &'a mut Driver,
    pub endpoint: &'a mut Endpoint<M>,
    pub table: &'a mut Table<T>,
}

impl<M: Shared, T: Machine> Ring for Whole<'_, M, T> {
    #[inline]
    fn is_awaited(&self) -> bool {
        self.endpoint.expects && self.table.is_waiting(self.endpoint.owner)
    }

    fn has_received(&mut self) -> bool {
        self.nic.has_received()
    }

    fn silence(&mut self) {
        self.nic.silence_receive();
    }

    fn give(&mut self, arm: bool) -> Given {
        let is_any = exchange::give_to_sleeper(&mut self.endpoint.area, self.nic, arm);
        Given {
            is_any,
            is_armed: arm && !is_any,
        }
    }

    fn tell(&mut self) -> bool {
        let bits = bits(Events::RECEIVE, self.endpoint.number);
        let woke = self.table.notify(self.endpoint.owner, bits, true);
        woke.unwrap_or(false)
    }
}

/// The longest frame that is handed over by copying, in bytes: perhaps one that the card cuts.
pub fn longest_frame(nic: &dyn Nic) -> usize {
    let cut = nic.features().segmentation.frame_max as usize;
    nic.frame_max().max(cut)
}
