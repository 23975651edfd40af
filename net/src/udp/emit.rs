//! Datagrams that are sent, or wait to be sent.

use crate::ip::interface::{Interface, Local};
use crate::ip::neighbors::Neighbors;
use crate::ip::outbound::{HEAD, Outbound, Progress};
use crate::ip::protocol;
use crate::link::checksum::{Sum, of_udp};
use crate::link::ethernet::{Station, group};
use abi::socket::{Address, Ip};
use alloc::vec::Vec;

/// The datagram from a local port to a host, by way of a station. `sums`: whether UDP's checksum
/// is computed here; otherwise it is 0, and the card fills it in.
#[inline(always)]
pub(super) fn packet<'a>(
    (port, local): (u16, Local),
    to: Address,
    station: Station,
    octets: &'a [u8],
    own: &Interface,
    sums: bool,
) -> Outbound<'a> {
    let len = HEAD + octets.len();
    let mut head = [0; HEAD];
    head[..2].copy_from_slice(&port.to_be_bytes());
    head[2..4].copy_from_slice(&to.port.to_be_bytes());
    head[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    if sums {
        let sum = Sum::default().pseudo_ip(own.address_of(local), to.ip, protocol::UDP, len);
        let checksum = of_udp(sum.add(&head).add(octets));
        head[6..].copy_from_slice(&checksum.to_be_bytes());
    }
    Outbound {
        to: to.ip,
        local,
        station,
        protocol: protocol::UDP,
        head,
        octets,
    }
}

/// Where a datagram goes.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub to: Address,
    /// Which of our addresses it comes from.
    pub local: Local,
    /// The next hop; `None` if `to` is a multicast or broadcast address.
    pub hop: Option<Ip>,
}

/// A datagram that waits to be sent.
pub(super) struct Waiting {
    pub destination: Destination,
    pub octets: Vec<u8>,
    /// How much of it was sent, if it leaves in fragments.
    pub progress: Option<Progress>,
}

impl Waiting {
    /// The station that it can be sent to now, if that is known.
    pub fn station(&self, now: u64, neighbors: &Neighbors) -> Option<Station> {
        match self.destination.hop {
            Some(hop) => neighbors.station(hop, now),
            None => Some(group(self.destination.to.ip)),
        }
    }
}
