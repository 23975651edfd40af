//! Datagrams that are sent, or wait to be sent.

use crate::ip::interface::Interface;
use crate::ip::neighbors::Neighbors;
use crate::ip::outbound::{HEAD, Outbound, Progress};
use crate::ip::protocol;
use crate::link::checksum::{Sum, of_udp};
use crate::link::ethernet::Station;
use crate::phy::UdpPacket;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

/// A datagram from a local port to a host.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub port: u16,
    pub to: SocketAddrV4,
    /// The station of the next hop.
    pub station: Station,
    pub octets: &'a [u8],
}

impl<'a> Datagram<'a> {
    fn len(&self) -> usize {
        HEAD + self.octets.len()
    }

    fn header(&self, checksum: u16) -> [u8; HEAD] {
        let mut header = [0; HEAD];
        let mut udp = UdpPacket::new_unchecked(&mut header);
        udp.set_src_port(self.port);
        udp.set_dst_port(self.to.port());
        udp.set_len(self.len() as u16);
        udp.set_checksum(checksum);
        header
    }

    /// UDP's checksum (RFC 768).
    fn checksum(&self, own: &Interface) -> u16 {
        let sum = Sum::default()
            .pseudo(own.address(), *self.to.ip(), protocol::UDP, self.len())
            .add(&self.header(0))
            .add(self.octets);
        of_udp(sum)
    }

    /// The IPv4 datagram. `sums`: whether UDP's checksum is computed here; otherwise it is 0, and the
    /// card fills it in.
    #[inline]
    pub fn packet(&self, own: &Interface, sums: bool) -> Outbound<'a> {
        let checksum = match sums {
            true => self.checksum(own),
            false => 0,
        };
        Outbound {
            to: *self.to.ip(),
            station: self.station,
            protocol: protocol::UDP,
            head: self.header(checksum),
            octets: self.octets,
        }
    }
}

/// Where a datagram goes.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub to: SocketAddrV4,
    /// The next hop; `None` if `to` is a multicast or broadcast address.
    pub hop: Option<Ipv4Addr>,
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
            None => Some(group(*self.destination.to.ip())),
        }
    }
}

/// The station address of a multicast address (RFC 1112 §6.4) or a broadcast address.
pub(super) fn group(address: Ipv4Addr) -> Station {
    let [_, b, c, d] = address.octets();
    match address.is_multicast() {
        true => Station([0x01, 0x00, 0x5e, b & 0x7f, c, d]),
        false => Station::BROADCAST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_station_addresses() {
        let group = |a, b, c, d| group(Ipv4Addr::new(a, b, c, d)).0;
        assert_eq!(group(224, 128, 2, 3), [1, 0, 0x5e, 0, 2, 3]);
        assert_eq!(group(255, 255, 255, 255), [0xff; 6]);
        assert_eq!(group(10, 0, 2, 255), [0xff; 6]);
    }
}
