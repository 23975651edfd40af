//! Ethernet headers (IEEE 802.3 §3.1.1), with an EtherType (§3.2.6). smoltcp does not see them: it gets
//! and sends IP packets.

use abi::nic::MacAddress;
use abi::socket::Ip;

/// Octets of a header.
pub(crate) const ETHERNET: usize = 14;
/// EtherTypes (RFC 826, RFC 894, RFC 2464), in network byte order.
pub(crate) const ARP: [u8; 2] = [0x08, 0x06];
pub(crate) const IPV4: [u8; 2] = [0x08, 0x00];
pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];

/// Octets of an IPv4 header without options (RFC 791 §3.1), and of an IPv6 header (RFC 8200 §3).
pub(crate) const IPV4_HEADER: usize = 20;
pub(crate) const IPV6_HEADER: usize = 40;

/// The EtherType of packets to or from this address.
#[inline]
pub(crate) fn ethertype(address: &Ip) -> [u8; 2] {
    match address.is_v4() {
        true => IPV4,
        false => IPV6,
    }
}

/// The octets of a header.
pub(crate) type Header = [u8; ETHERNET];

/// The MAC address of a station, or of a group of stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station(pub MacAddress);

impl Station {
    /// All stations.
    pub const BROADCAST: Station = Station([0xff; 6]);

    /// Whether this is a multicast or broadcast address: its first bit on the wire is 1 (IEEE 802.3
    /// §3.2.3).
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a station can have this address.
    pub fn is_single(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }

    /// The header of a frame that this station sends to another.
    #[inline]
    pub fn header(self, to: Station, kind: [u8; 2]) -> Header {
        let mut header = [0; ETHERNET];
        header[..6].copy_from_slice(&to.0);
        header[6..12].copy_from_slice(&self.0);
        header[12..].copy_from_slice(&kind);
        header
    }
}

/// A frame, parsed.
pub(crate) struct Frame<'f> {
    pub destination: Station,
    pub source: Station,
    pub ethertype: [u8; 2],
    /// The octets after the header, padding included.
    pub packet: &'f [u8],
}

/// Parses a frame. `None` if it is shorter than the header.
#[inline]
pub(crate) fn parse(frame: &[u8]) -> Option<Frame<'_>> {
    let (header, packet) = frame.split_first_chunk::<ETHERNET>()?;
    let (destination, rest) = header.split_first_chunk()?;
    let (source, rest) = rest.split_first_chunk()?;
    Some(Frame {
        destination: Station(*destination),
        source: Station(*source),
        ethertype: *rest.first_chunk()?,
        packet,
    })
}

/// The station address of a multicast address (RFC 1112 §6.4, RFC 2464 §7) or a broadcast address.
pub(crate) fn group(address: Ip) -> Station {
    let [.., a, b, c, d] = address.0;
    match address.as_v4() {
        Some(v4) if v4.is_multicast() => Station([0x01, 0x00, 0x5e, b & 0x7f, c, d]),
        Some(_) => Station::BROADCAST,
        None => Station([0x33, 0x33, a, b, c, d]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn groups_have_station_addresses() {
        let group = |a, b, c, d| group(Ip::v4(Ipv4Addr::new(a, b, c, d))).0;
        assert_eq!(group(224, 128, 2, 3), [1, 0, 0x5e, 0, 2, 3]);
        assert_eq!(group(255, 255, 255, 255), [0xff; 6]);
        assert_eq!(group(10, 0, 2, 255), [0xff; 6]);
    }
}
