//! What a driver's user needs for a card with offloads, which is one that verifies and fills in
//! checksums, takes out VLAN tags, and cuts long TCP segments. Such a card has not verified the
//! checksums of every frame that it delivers.

use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet;
use crate::phy::{
    Checksum, ChecksumCapabilities, DeviceCapabilities, Ipv4Packet, Ipv6Packet, TcpPacket,
};

/// EtherType of a frame with a VLAN tag (IEEE 802.1Q §9.4).
const VLAN: [u8; 2] = [0x81, 0x00];
/// Where the protocol field of the IPv4 header is in a frame, and the next header field of IPv6.
const PROTOCOL: usize = 23;
const NEXT_HEADER: usize = 20;

/// Notes in `capabilities` that the card computes checksums.
///
/// To send, software still fills in the checksum of the IPv4 header, which is cheap, and of UDP, since
/// no card can do it for fragments. Of received frames, [`is_acceptable`] verifies those that the card
/// has not verified.
pub fn announce(capabilities: &mut DeviceCapabilities) {
    let mut checksums = ChecksumCapabilities::default();
    checksums.ipv4 = Checksum::Tx;
    checksums.tcp = Checksum::None;
    capabilities.checksum = checksums;
}

/// Whether this frame holds a whole TCP segment, so that the card must fill in its checksum.
#[inline]
pub fn is_tcp(frame: &[u8]) -> bool {
    frame.get(PROTOCOL) == Some(&protocol::TCP) && tcp(frame).is_some()
        || frame.get(NEXT_HEADER) == Some(&protocol::TCP) && tcp_v6(frame).is_some()
}

/// Whether a received frame belongs to a VLAN; or to none, if `vlan` is `None`. `tag`: the tag (TCI)
/// that the card took out of the frame, if it had one. A tag with the number 0 only gives a priority,
/// and means no VLAN (IEEE 802.1Q §9.6). A frame with a second tag belongs to a network inside that
/// VLAN, and is not for a host of the VLAN itself.
#[cold]
pub fn is_of_vlan(vlan: Option<u16>, tag: Option<u16>, frame: &[u8]) -> bool {
    let number = tag.map(|tag| tag & 0xfff).filter(|&number| number != 0);
    let is_tagged = frame.get(12..14) == Some(&VLAN);
    number == vlan && !is_tagged
}

/// Whether a received frame, whose checksums the card has not verified, may be passed on: its IPv4
/// header is intact, and so is its TCP segment, if it holds a whole one. The stack verifies everything
/// else, and segments that are in fragments or behind extension headers of IPv6.
pub fn is_acceptable(frame: &[u8]) -> bool {
    let Some(ip) = ipv4(frame) else {
        return is_acceptable_v6(frame);
    };
    let header = frame.get(14..14 + usize::from(ip.header_len()));
    if !Sum::default().add(header.unwrap_or_default()).is_right() {
        return false;
    }
    let is_fragment = ip.more_frags() || ip.frag_offset() != 0;
    if u8::from(ip.next_header()) != protocol::TCP || is_fragment {
        return true;
    }
    let pseudo = |len| Sum::default().pseudo(ip.src_addr(), ip.dst_addr(), protocol::TCP, len);
    tcp(frame).is_some_and(|tcp| {
        let segment = tcp.into_inner();
        pseudo(segment.len()).add(segment).is_right()
    })
}

/// The same of a frame without an IPv4 packet. The header of IPv6 has no checksum.
fn is_acceptable_v6(frame: &[u8]) -> bool {
    let Some(ip) = ipv6(frame).filter(|ip| u8::from(ip.next_header()) == protocol::TCP) else {
        return true;
    };
    let pseudo = |len| Sum::default().pseudo_v6(ip.src_addr(), ip.dst_addr(), protocol::TCP, len);
    tcp_v6(frame).is_some_and(|tcp| {
        let segment = tcp.into_inner();
        pseudo(segment.len()).add(segment).is_right()
    })
}

fn ipv4(frame: &[u8]) -> Option<Ipv4Packet<&[u8]>> {
    let ethernet::Frame {
        ethertype, packet, ..
    } = ethernet::parse(frame)?;
    if ethertype != ethernet::IPV4 {
        return None;
    }
    let header = usize::from(packet.first()? & 15) * 4;
    (header >= 20 && packet.len() >= header).then_some(Ipv4Packet::new_unchecked(packet))
}

/// The TCP segment in a frame, if it is whole.
fn tcp(frame: &[u8]) -> Option<TcpPacket<&[u8]>> {
    let ip = ipv4(frame)?;
    if u8::from(ip.next_header()) != protocol::TCP || ip.more_frags() || ip.frag_offset() != 0 {
        return None;
    }
    let start = 14 + usize::from(ip.header_len());
    // The length in the IPv4 header may be 0 in a long frame that the card is to cut.
    let end = match usize::from(ip.total_len()) {
        0 => frame.len(),
        len => (14 + len).min(frame.len()),
    };
    TcpPacket::new_checked(frame.get(start..end)?).ok()
}

fn ipv6(frame: &[u8]) -> Option<Ipv6Packet<&[u8]>> {
    let ethernet::Frame {
        ethertype, packet, ..
    } = ethernet::parse(frame)?;
    let is_whole = packet.len() >= ethernet::IPV6_HEADER;
    (ethertype == ethernet::IPV6 && is_whole).then_some(Ipv6Packet::new_unchecked(packet))
}

/// The TCP segment in a frame with an IPv6 packet without extension headers, if it is whole.
fn tcp_v6(frame: &[u8]) -> Option<TcpPacket<&[u8]>> {
    let ip = ipv6(frame)?;
    if u8::from(ip.next_header()) != protocol::TCP {
        return None;
    }
    let start = 14 + ethernet::IPV6_HEADER;
    // As above, it may be 0.
    let end = match usize::from(ip.payload_len()) {
        0 => frame.len(),
        len => (start + len).min(frame.len()),
    };
    TcpPacket::new_checked(frame.get(start..end)?).ok()
}
