//! One card: its driver, who has it, and what is said of it.

use super::Driver;
use super::interrupts::Interrupts;
use super::switch::Switch;
use super::wake::Wake;
use super::words::{DisplayLink, DisplayMac};
use crate::pci::Address;
use abi::nic::NicInfo;
use abi::wire::Name;
use nic::Nic;

/// A card that a driver has taken.
pub struct Attached<M> {
    /// The driver.
    pub nic: &'static mut Driver,
    /// The chip's name.
    pub chip: &'static str,
    /// Where it is on PCI.
    pub address: Address,
    /// Its arena, in which its frames are.
    pub memory: M,
    /// How it interrupts.
    pub interrupts: Interrupts,
}

impl<M> Attached<M> {
    /// What programs are told of the card as a whole.
    pub fn info(&self) -> NicInfo {
        let facts = self.nic.facts();
        NicInfo {
            driver: Name::new(facts.name),
            chip: Name::new(self.chip),
            pci_address: self.address.routing_id(),
            mac: facts.mac,
            link: self.nic.state().unwrap_or_default(),
            frame_max: facts.frame_max as u16,
            transmit_ring: facts.transmit_ring as u16,
            receive_ring: facts.receive_ring as u16,
            features: facts.features,
        }
    }
}

/// One card.
pub struct Card<M> {
    pub attached: Attached<M>,
    pub holder: Holder,
    /// Who notices its next frame.
    pub wake: Wake,
    /// What the owner of the whole card exchanges with it: set aside, so that a card can be taken when
    /// there is no memory. Its endpoint has it meanwhile.
    pub area: Option<M>,
    /// It was said that the card is broken, and not yet that it works again.
    pub broken: bool,
    /// How often the IOMMU has stopped its DMA, as far as it has recorded that.
    pub dma_faults: u64,
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

/// The longest frame that is handed over by copying, in bytes: perhaps one that the card cuts.
pub fn longest_frame(nic: &dyn Nic) -> usize {
    let cut = nic.facts().features.segmentation.frame_max as usize;
    nic.facts().frame_max.max(cut)
}

impl<M> Card<M> {
    /// Tells of a new card, and tries it if asked to.
    pub fn introduce(&mut self, number: usize, self_test: bool) {
        let Attached {
            nic, interrupts, ..
        } = &mut self.attached;
        log::info!(
            "card {number}: {}, MAC {}, {}; rings of {} and {} frames; {interrupts}",
            nic.facts().name,
            DisplayMac(nic.facts().mac),
            DisplayLink(nic.state().unwrap_or_default()),
            nic.facts().transmit_ring,
            nic.facts().receive_ring,
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
        let was_broken = self.broken;
        let state = nic.state();
        self.broken = state.is_err();
        match state.map(DisplayLink) {
            Err(fault) if !was_broken => log::error!("card {number}: {fault}"),
            Err(_) => {}
            Ok(link) if was_broken => log::info!("card {number}: works again, {link}"),
            Ok(link) => log::info!("card {number}: {link}"),
        }
    }
}
