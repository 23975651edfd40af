//! Which frames the card takes: address registers, multicast table, VLAN table (§7.1.1).

use super::bits::bits;
use super::csr::Csr;
use super::regs;
use crate::{Bus, Error, Filters, MacAddress};

/// Addresses besides the station's.
const ADDRESSES: usize = regs::RECEIVE_ADDRESSES as usize - 1;
/// Words of the multicast table and of the VLAN table: a bit for each of 4096.
pub const TABLE: usize = 128;
/// The highest VLAN number.
const VLAN_MAX: u16 = 4094;

/// The filters, kept here since a reset clears those of the card.
#[derive(Clone, Copy)]
pub struct FilterState {
    unicast: [Option<MacAddress>; ADDRESSES],
    multicast: [u32; TABLE],
    vlans: [u32; TABLE],
    /// Their bits of RCTL.
    control: u32,
}

impl Default for FilterState {
    fn default() -> Self {
        FilterState {
            unicast: [None; ADDRESSES],
            multicast: [0; TABLE],
            vlans: [0; TABLE],
            control: 0,
        }
    }
}

impl FilterState {
    /// The filters that were asked for.
    ///
    /// # Errors
    /// [`Error::TooMany`], [`Error::BadVlan`].
    pub fn new(filters: &Filters<'_>) -> Result<Self, Error> {
        let mut state = FilterState::default();
        let count = filters.unicast.len();
        if count > ADDRESSES {
            let max = ADDRESSES;
            return Err(Error::TooMany { count, max });
        }
        for (place, address) in state.unicast.iter_mut().zip(filters.unicast) {
            *place = Some(*address);
        }
        for address in filters.multicast {
            // With RCTL.MO 0: bits 47:36 of the address, the first byte being the lowest (§7.1.1.3).
            let bit = usize::from(address[4] >> 4) | usize::from(address[5]) << 4;
            state.multicast[bit / 32] |= 1 << (bit % 32);
        }
        if filters.promiscuous {
            state.control |= regs::RCTL_UPE | regs::RCTL_MPE;
        }
        if filters.all_multicast {
            state.control |= regs::RCTL_MPE;
        }
        if let Some(vlans) = filters.vlans {
            state.control |= if filters.promiscuous {
                0
            } else {
                regs::RCTL_VFE
            };
            for &vlan in vlans {
                if vlan > VLAN_MAX {
                    return Err(Error::BadVlan { vlan });
                }
                state.vlans[usize::from(vlan / 32)] |= 1 << (vlan % 32);
            }
        }
        Ok(state)
    }

    /// Their bits of RCTL.
    pub fn control(&self) -> u32 {
        self.control
    }

    /// The multicast table.
    pub fn groups(&self) -> &[u32; TABLE] {
        &self.multicast
    }

    /// Which bits of the multicast table are set.
    pub fn group_bits(&self) -> impl Iterator<Item = u16> {
        ones(&self.multicast)
    }

    /// The VLANs that were asked for.
    pub fn vlans(&self) -> impl Iterator<Item = u16> {
        ones(&self.vlans)
    }

    /// Whether so many address registers fewer would do.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn check_addresses(&self, fewer: usize) -> Result<(), Error> {
        let (count, max) = (self.unicast.iter().flatten().count(), ADDRESSES - fewer);
        match count > max {
            true => Err(Error::TooMany { count, max }),
            false => Ok(()),
        }
    }

    /// Tells the card of all but the bits of RCTL, and of its station address.
    pub fn apply<B: Bus>(&self, csr: &mut Csr<B>, station: MacAddress) {
        self.apply_addresses(csr, station, regs::RECEIVE_ADDRESSES, 0);
        for (table, words) in [(regs::MTA, &self.multicast), (regs::VFTA, &self.vlans)] {
            for (address, word) in (table..).step_by(4).zip(words) {
                csr.write(address, *word);
            }
        }
    }

    /// Tells the card of its station address and the others, in the first `count` registers, with these
    /// bits of pools.
    pub fn apply_addresses<B: Bus>(
        &self,
        csr: &mut Csr<B>,
        station: MacAddress,
        count: u32,
        pools: u32,
    ) {
        let all = core::iter::once(Some(station)).chain(self.unicast);
        for (number, address) in (0..count).zip(all) {
            csr.set_address(number, address, pools);
        }
    }
}

/// The numbers of the bits that are set in a table.
fn ones(table: &[u32; TABLE]) -> impl Iterator<Item = u16> {
    let words = (0..).zip(table);
    words.flat_map(|(number, &word)| bits(word).map(move |bit| 32 * number + bit as u16))
}
