//! What a VF asks its PF for: groups, and VLANs.

use super::mailbox::Mailbox;
use crate::igb::csr::Csr;
use crate::igb::filters::FilterState;
use crate::igb::mail::{self, GROUPS, WORDS};
use crate::{Bus, Error, Filters};

/// VLANs that a VF can ask for: as many as the card has entries, but the PF gives it fewer.
const VLANS: usize = 31;

/// The filters, kept here since a reset of the card ends them.
#[derive(Clone, Copy)]
pub struct Wanted {
    groups: ([u16; GROUPS], usize),
    vlans: ([u16; VLANS], usize),
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted {
            groups: ([0; GROUPS], 0),
            vlans: ([0; VLANS], 0),
        }
    }
}

impl Wanted {
    /// What these filters ask for. A VF has one address, and gets nothing that is for others.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::TooMany`], [`Error::BadVlan`].
    pub fn new(filters: &Filters<'_>) -> Result<Self, Error> {
        if filters.promiscuous || filters.all_multicast {
            return Err(Error::Unsupported);
        }
        let count = filters.unicast.len();
        if count > 0 {
            return Err(Error::TooMany { count, max: 0 });
        }
        let state = FilterState::new(filters)?;
        Ok(Wanted {
            groups: collect(state.group_bits())?,
            // A tag that says a priority alone is no VLAN's.
            vlans: collect(state.vlans().filter(|&vlan| vlan != 0))?,
        })
    }

    fn vlans(&self) -> &[u16] {
        &self.vlans.0[..self.vlans.1]
    }

    /// Asks the PF for the groups.
    pub fn ask_groups<B: Bus>(&self, csr: &mut Csr<B>, mailbox: &mut Mailbox) -> Result<(), Error> {
        let (groups, count) = &self.groups;
        let mut words = [0; WORDS];
        words[0] = mail::MULTICAST | (*count as u32) << mail::INFO_SHIFT;
        for (word, pair) in words[1..].iter_mut().zip(groups[..*count].chunks(2)) {
            let high = pair.get(1).map_or(0, |&high| u32::from(high));
            *word = u32::from(pair[0]) | high << 16;
        }
        let len = 1 + count.div_ceil(2);
        mailbox.ask(csr, &words[..len]).map(drop)
    }

    /// Asks the PF for the VLANs that `before` has not, and leaves those that only `before` has.
    ///
    /// # Errors
    /// [`Error::BadVlan`] for one that the PF does not give; then nothing is changed.
    pub fn ask_vlans<B: Bus>(
        &self,
        before: &Wanted,
        csr: &mut Csr<B>,
        mailbox: &mut Mailbox,
    ) -> Result<(), Error> {
        let mut joined = self
            .vlans()
            .iter()
            .filter(|vlan| !before.vlans().contains(vlan));
        for (count, &vlan) in joined.clone().enumerate() {
            match ask_vlan(csr, mailbox, vlan, true) {
                Err(Error::HostRefused { .. }) => {
                    for &vlan in joined.by_ref().take(count) {
                        ask_vlan(csr, mailbox, vlan, false)?;
                    }
                    return Err(Error::BadVlan { vlan });
                }
                result => result?,
            }
        }
        let left = before
            .vlans()
            .iter()
            .filter(|vlan| !self.vlans().contains(vlan));
        for &vlan in left {
            ask_vlan(csr, mailbox, vlan, false)?;
        }
        Ok(())
    }

    /// Asks for all of it again, after a reset; how many VLANs somebody else has by now.
    pub fn ask_again<B: Bus>(&self, csr: &mut Csr<B>, mailbox: &mut Mailbox) -> Result<u64, Error> {
        let mut lost = 0;
        for &vlan in self.vlans() {
            match ask_vlan(csr, mailbox, vlan, true) {
                Err(Error::HostRefused { .. }) => lost += 1,
                result => result?,
            }
        }
        if self.groups.1 > 0 {
            self.ask_groups(csr, mailbox)?;
        }
        Ok(lost)
    }
}

fn ask_vlan<B: Bus>(
    csr: &mut Csr<B>,
    mailbox: &mut Mailbox,
    vlan: u16,
    joins: bool,
) -> Result<(), Error> {
    let first = mail::VLAN | u32::from(joins) << mail::INFO_SHIFT;
    mailbox.ask(csr, &[first, vlan.into()]).map(drop)
}

/// As many as there is room for.
fn collect<const N: usize>(numbers: impl Iterator<Item = u16>) -> Result<([u16; N], usize), Error> {
    let (mut all, mut count) = ([0; N], 0);
    for number in numbers {
        if let Some(place) = all.get_mut(count) {
            *place = number;
        }
        count += 1;
    }
    match count > N {
        true => Err(Error::TooMany { count, max: N }),
        false => Ok((all, count)),
    }
}
