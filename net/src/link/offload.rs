//! What a card does for frames, told to the stack, and what it then leaves to us.
//!
//! A card with offloads verifies checksums, fills them in, takes VLAN tags out, and cuts long TCP
//! segments. It does not vouch for every frame it delivers.

use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet;
use crate::phy::{Checksum, ChecksumCapabilities, DeviceCapabilities, Ipv4Packet, TcpPacket};

/// EtherType of a frame with a VLAN tag (IEEE 802.1Q §9.4).
const VLAN: [u8; 2] = [0x81, 0x00];
/// Where an IPv4 header in a frame names the protocol of what it carries.
const PROTOCOL: usize = 23;

/// Tells smoltcp what it need not do for a card that does checksums.
///
/// IPv4 headers are cheap and fragments of UDP are nobody's job but ours, so both stay in
/// software on transmit; on receive, [`is_acceptable`] sees to what the card did not check.
pub fn announce(capabilities: &mut DeviceCapabilities) {
    let mut checksums = ChecksumCapabilities::default();
    checksums.ipv4 = Checksum::Tx;
    checksums.tcp = Checksum::None;
    capabilities.checksum = checksums;
}

/// Whether the card must fill in the checksum of this frame: it is a whole TCP segment.
#[inline]
pub fn is_tcp(frame: &[u8]) -> bool {
    frame.get(PROTOCOL) == Some(&protocol::TCP) && tcp(frame).is_some()
}

/// Whether a received frame, from which a tag (TCI) was taken if it had one, is of this VLAN; or of
/// none. A tag with number 0 says a priority, and means no VLAN (IEEE 802.1Q §9.6). A frame with
/// a second tag is of a network behind that VLAN, and not for a host in it.
#[cold]
pub fn is_of_vlan(vlan: Option<u16>, tag: Option<u16>, frame: &[u8]) -> bool {
    let number = tag.map(|tag| tag & 0xfff).filter(|&number| number != 0);
    let is_tagged = frame.get(12..14) == Some(&VLAN);
    number == vlan && !is_tagged
}

/// Whether a received frame for whose checksums the card did not vouch may be passed on: its
/// IPv4 header is right, and if it holds a whole TCP segment, so is that. Everything else is
/// verified by the stack, a segment in fragments once these are put together.
pub fn is_acceptable(frame: &[u8]) -> bool {
    let Some(ip) = ipv4(frame) else {
        return true;
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

fn ipv4(frame: &[u8]) -> Option<Ipv4Packet<&[u8]>> {
    let (_, _, kind, packet) = ethernet::parse(frame)?;
    if kind != ethernet::IPV4 {
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
    // The length in the IP header; a frame that is to be cut may say 0.
    let end = match usize::from(ip.total_len()) {
        0 => frame.len(),
        len => (14 + len).min(frame.len()),
    };
    TcpPacket::new_checked(frame.get(start..end)?).ok()
}
