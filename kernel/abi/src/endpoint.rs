//! Endpoints: what a process has of a card.
//!
//! [`crate::Syscall::NicAttach`] without filters takes a whole card, and the frames stay where the card
//! has put them. With filters it takes a part of one: the frames that a filter describes, which the
//! kernel copies into memory that is this endpoint's alone. No two endpoints of a card may have filters
//! that describe the same frame, nor the same address at different stations. What an endpoint sends must come from where its filters say that it is.
//!
//! Each process numbers its endpoints from 0, in the order in which it took them; with that number it
//! names them in system calls, and so do notifications ([`crate::ipc::wait::endpoint`]).

use crate::nic::MacAddress;
use crate::wire::{Reader, Writer};
use crate::{Error, Result};
use core::net::{IpAddr, Ipv6Addr};

/// The most endpoints of a process.
pub const ENDPOINTS_MAX: usize = 6;
/// The most filters of an endpoint.
pub const FILTERS_MAX: usize = 16;
/// The most groups of an endpoint that is a part of a card.
pub const GROUPS_MAX: usize = 32;

/// Which frames are for an endpoint: those that have all that is given here.
///
/// ARP packets, and messages of IPv6's neighbour discovery, are for whoever has the address that is asked
/// for or answered, whatever the protocol and the port; and frames to groups and to all stations are for
/// each whose other fields agree.
///
/// A filter with the unspecified address says that its owner has no address of that family yet (RFC 2131
/// §4.4.1). It describes no frame to a station, so that many may have it. Its owner gets what is for all
/// and for groups, and may send from the unspecified address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The station they are sent to; if it is not given, the card's own. A group is no station.
    pub station: Option<MacAddress>,
    /// The EtherType behind the VLAN tag, if there is one.
    pub ethertype: Option<u16>,
    /// The address they are sent to.
    pub address: Option<IpAddr>,
    /// The protocol above IPv4 or IPv6 (17 for UDP).
    pub protocol: Option<u8>,
    /// The port of TCP or UDP they are sent to.
    pub port: Option<u16>,
}

/// Which fields of a filter are given.
const STATION: u8 = 1 << 0;
const ETHERTYPE: u8 = 1 << 1;
const ADDRESS: u8 = 1 << 2;
const PROTOCOL: u8 = 1 << 3;
const PORT: u8 = 1 << 4;

impl Filter {
    /// Bytes on the wire.
    pub const SIZE: usize = 28;

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let given = [
            (self.station.is_some(), STATION),
            (self.ethertype.is_some(), ETHERTYPE),
            (self.address.is_some(), ADDRESS),
            (self.protocol.is_some(), PROTOCOL),
            (self.port.is_some(), PORT),
        ];
        let given = given.iter().filter(|(is_given, _)| *is_given);
        let address = self.address.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes)
            .u8(given.fold(0, |all, (_, bit)| all | bit))
            .u8(self.protocol.unwrap_or_default())
            .bytes(&self.station.unwrap_or_default())
            .u16(self.ethertype.unwrap_or_default())
            .u16(self.port.unwrap_or_default())
            .ip(address);
        bytes
    }

    /// The structure from bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are too few, or say that something unknown is given.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let given = reader.u8()?;
        if given & !(STATION | ETHERTYPE | ADDRESS | PROTOCOL | PORT) != 0 {
            return Err(Error::Malformed);
        }
        let is_given = |bit| given & bit != 0;
        let protocol = Some(reader.u8()?).filter(|_| is_given(PROTOCOL));
        let station = Some(reader.array()?).filter(|_| is_given(STATION));
        let ethertype = Some(reader.u16()?).filter(|_| is_given(ETHERTYPE));
        let port = Some(reader.u16()?).filter(|_| is_given(PORT));
        let address = reader.ip()?;
        Ok(Filter {
            station,
            ethertype,
            address: Some(address).filter(|_| is_given(ADDRESS)),
            protocol,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn filters_round_trip_with_each_field_given_or_not() {
        let addresses = [
            IpAddr::V4(Ipv4Addr::new(10, 0, 2, 16)),
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4)),
        ];
        for given in 0..64_u8 {
            let is_given = |bit: u8| given >> bit & 1 == 1;
            let filter = Filter {
                station: is_given(0).then_some([2, 0, 0, 0, 0, 7]),
                ethertype: is_given(1).then_some(0x0800),
                address: is_given(2).then_some(addresses[usize::from(is_given(5))]),
                protocol: is_given(3).then_some(17),
                port: is_given(4).then_some(0),
            };
            let mut bytes = filter.to_bytes();
            assert_eq!(Filter::from_bytes(&bytes), Ok(filter));
            assert_eq!(Filter::from_bytes(&bytes[1..]), Err(Error::Malformed));
            bytes[0] |= 1 << 5;
            assert_eq!(Filter::from_bytes(&bytes), Err(Error::Malformed));
        }
    }
}
