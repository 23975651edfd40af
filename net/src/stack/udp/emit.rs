//! Datagrams as frames.

use crate::config::Config;
use crate::stack::ETHERNET;
use crate::stack::checksum::{Sum, of_udp};
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::phy::{ChecksumCapabilities, TxToken};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, UdpPacket,
};

const IPV4: usize = 20;
const UDP: usize = 8;

/// A datagram, where it comes from, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub port: u16,
    pub to: SocketAddrV4,
    /// The station that has or passes it on.
    pub station: EthernetAddress,
    pub octets: &'a [u8],
}

/// What is sent of a datagram that is too long for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Tells its fragments from others'.
    pub identification: u16,
    /// The checksum of the whole.
    pub checksum: u16,
    /// Octets behind the IPv4 header that were sent.
    pub sent: usize,
}

impl Datagram<'_> {
    fn len(&self) -> usize {
        UDP + self.octets.len()
    }

    fn udp(&self, checksum: u16) -> [u8; UDP] {
        let mut header = [0; UDP];
        let mut udp = UdpPacket::new_unchecked(&mut header);
        udp.set_src_port(self.port);
        udp.set_dst_port(self.to.port());
        udp.set_len(self.len() as u16);
        udp.set_checksum(checksum);
        header
    }

    /// UDP's checksum (RFC 768).
    pub fn checksum(&self, own: &Config) -> u16 {
        let sum = Sum::default()
            .pseudo(own.address, *self.to.ip(), IpProtocol::Udp, self.len())
            .add(&self.udp(0))
            .add(self.octets);
        of_udp(sum)
    }

    /// The headers before UDP's, for `len` octets behind them at `offset` of the datagram.
    fn headers(
        &self,
        own: &Config,
        software: &ChecksumCapabilities,
        len: usize,
        fragment: Option<(u16, usize)>,
    ) -> [u8; ETHERNET + IPV4] {
        let mut headers = [0; ETHERNET + IPV4];
        let (ethernet, ipv4) = headers.split_at_mut(ETHERNET);
        let mut frame = EthernetFrame::new_unchecked(ethernet);
        frame.set_dst_addr(self.station);
        frame.set_src_addr(EthernetAddress(own.mac));
        frame.set_ethertype(EthernetProtocol::Ipv4);
        let mut ip = Ipv4Packet::new_unchecked(&mut *ipv4);
        ip.set_version(4);
        ip.set_header_len(IPV4 as u8);
        ip.set_total_len((IPV4 + len) as u16);
        ip.set_dont_frag(fragment.is_none());
        if let Some((identification, offset)) = fragment {
            ip.set_ident(identification);
            ip.set_frag_offset(offset as u16);
            ip.set_more_frags(offset + len < self.len());
        }
        ip.set_hop_limit(64);
        ip.set_next_header(IpProtocol::Udp);
        ip.set_src_addr(own.address);
        ip.set_dst_addr(*self.to.ip());
        if software.ipv4.tx() {
            let checksum = Sum::default().add(ipv4).checksum();
            Ipv4Packet::new_unchecked(ipv4).set_checksum(checksum);
        }
        headers
    }

    /// Sends it in one frame.
    pub fn send(&self, token: impl TxToken, own: &Config, software: &ChecksumCapabilities) {
        let headers = self.headers(own, software, self.len(), None);
        let checksum = match software.udp.tx() {
            true => self.checksum(own),
            false => 0,
        };
        let udp = self.udp(checksum);
        token.consume(ETHERNET + IPV4 + self.len(), |frame| {
            fill(frame, [&headers, &udp, self.octets]);
        });
    }

    /// Sends the next fragment, of at most `max` octets behind the IPv4 header. Returns
    /// whether it was the last.
    pub fn send_fragment(
        &self,
        token: impl TxToken,
        own: &Config,
        software: &ChecksumCapabilities,
        fragment: &mut Fragment,
        max: usize,
    ) -> bool {
        let offset = fragment.sent;
        let left = self.len().saturating_sub(offset);
        // All but the last are of a multiple of 8 octets (RFC 791 §3.1).
        let len = if left <= max { left } else { max & !7 };
        let place = Some((fragment.identification, offset));
        let headers = self.headers(own, software, len, place);
        let udp = self.udp(fragment.checksum);
        let udp = if offset == 0 { &udp[..] } else { &[] };
        let start = offset.saturating_sub(UDP);
        let octets = self.octets.get(start..start + len - udp.len());
        token.consume(ETHERNET + IPV4 + len, |frame| {
            fill(frame, [&headers, udp, octets.unwrap_or_default()]);
        });
        fragment.sent = offset + len;
        len == left
    }
}

/// Fills a frame with these pieces, one behind the other.
fn fill(mut frame: &mut [u8], pieces: [&[u8]; 3]) {
    for piece in pieces {
        // A card without a buffer of that length gives a shorter one, and loses the frame.
        let Some((place, behind)) = frame.split_at_mut_checked(piece.len()) else {
            return;
        };
        place.copy_from_slice(piece);
        frame = behind;
    }
}

/// The station address of a group of hosts: everybody, or those of RFC 1112 §6.4.
pub(super) fn group(address: Ipv4Addr) -> EthernetAddress {
    let [_, b, c, d] = address.octets();
    match address.is_multicast() {
        true => EthernetAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d]),
        false => EthernetAddress::BROADCAST,
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
