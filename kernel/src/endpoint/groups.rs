//! The groups that the endpoints of a shared card have joined: the card receives those of all.

use super::card::Holder;
use super::cards::Cards;
use super::headers::is_group;
use super::memory::Shared;
use super::switch::{TELLINGS, each};
use super::tenant::{CHANGES, Groups, Tenant};
use super::to_abi;
use abi::nic::{Filters, MacAddress};
use abi::{Error, Result};

/// Groups that a card is told of for all its endpoints, at the most: more than a virtual function takes.
const ALL_GROUPS_MAX: usize = 64;

impl<M: Shared> Cards<M> {
    /// A second is over: all may change their groups again.
    pub(super) fn allow_groups(&mut self) {
        let tenants = self.endpoints.iter_mut().flatten();
        for tenant in tenants.filter_map(|endpoint| endpoint.tenant.as_mut()) {
            tenant.changes = CHANGES;
        }
        for card in &mut self.cards {
            if let Holder::Tenants(switch) = &mut card.holder {
                switch.tellings = TELLINGS;
            }
        }
    }

    /// An endpoint is no more, and its groups are wanted no longer.
    pub(super) fn leave_groups(&mut self, card: u8, tenant: Option<&Tenant<M>>) {
        if tenant.is_some_and(|tenant| !tenant.groups.is_empty()) {
            // Fewer groups than before have room; if the card was told too often, it is told next time.
            let _ = self.tell_groups(card.into());
        }
    }

    /// Has a card that several have receive the groups that any of them has joined. One that receives all
    /// frames need not be told.
    ///
    /// # Errors
    /// [`Error::TooLong`] if they are more than it has room for, [`Error::Busy`] if it was told too often.
    pub(super) fn tell_groups(&mut self, index: usize) -> Result<()> {
        let Some(card) = self.cards.get_mut(index) else {
            return Ok(());
        };
        let Holder::Tenants(switch) = &mut card.holder else {
            return Ok(());
        };
        if switch.takes_others {
            return Ok(());
        }
        switch.tellings = switch.tellings.checked_sub(1).ok_or(Error::Busy)?;
        let mut all = heapless::Vec::<MacAddress, ALL_GROUPS_MAX>::new();
        for endpoint in each(switch.tenants) {
            let endpoint = self.endpoints.get(endpoint).and_then(Option::as_ref);
            let tenant = endpoint.and_then(|endpoint| endpoint.tenant.as_ref());
            for group in tenant.map_or(&[][..], |tenant| &tenant.groups) {
                if !all.contains(group) {
                    all.push(*group).map_err(|_| Error::TooLong)?;
                }
            }
        }
        let filters = Filters {
            multicast: &all,
            ..Filters::default()
        };
        card.attached.nic.set_filters(&filters).map_err(to_abi)
    }
}

/// The groups of filters that ask for nothing else.
///
/// # Errors
/// [`Error::NotSupported`] if they do, [`Error::InvalidArgument`] for one that is no group,
/// [`Error::TooLong`].
pub fn groups_alone(filters: &Filters<'_>) -> Result<Groups> {
    let &Filters {
        promiscuous,
        all_multicast,
        unicast,
        multicast,
        vlans,
    } = filters;
    if promiscuous || all_multicast || !unicast.is_empty() || vlans.is_some() {
        return Err(Error::NotSupported);
    }
    if !multicast.iter().all(is_group) {
        return Err(Error::InvalidArgument);
    }
    Groups::from_slice(multicast).map_err(|_| Error::TooLong)
}
