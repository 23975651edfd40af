//! What a card does for frames, told to the stack, and what it then leaves to us.
//!
//! A card with offloads verifies checksums, fills them in, and cuts long TCP segments. It
//! does not vouch for every frame it delivers, and must not be given a FIN to cut: the
//! 82576 as QEMU emulates it clears FIN on all segments.

use core::num::NonZeroUsize;
use smoltcp::phy::{Checksum, ChecksumCapabilities, DeviceCapabilities};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber,
};

/// Longest headers of a TCP segment: Ethernet, IPv4 and TCP with all options.
pub const HEADERS_MAX: usize = 14 + 60 + 60;

/// Tells smoltcp what it need not do for a card that does checksums and cuts frames of up
/// to `segment_max` bytes; 0: it cuts none.
///
/// IPv4 headers are cheap and fragments of UDP are nobody's job but ours, so both stay in
/// software on transmit; on receive, [`is_acceptable`] sees to what the card did not check.
pub fn announce(capabilities: &mut DeviceCapabilities, segment_max: usize) {
    let mut checksums = ChecksumCapabilities::default();
    checksums.ipv4 = Checksum::Tx;
    checksums.tcp = Checksum::None;
    capabilities.checksum = checksums;
    capabilities.segmentation.tcpv4 = NonZeroUsize::new(segment_max);
}

/// Whether the card must fill in the checksum of this frame: it is a whole TCP segment.
pub fn is_tcp(frame: &[u8]) -> bool {
    with_tcp(frame, |_, _| ()).is_some()
}

/// Whether a received frame for whose checksums the card did not vouch may be passed on.
/// A TCP segment in fragments may not: nobody would verify it as a whole.
pub fn is_acceptable(frame: &[u8]) -> bool {
    let Some(ip) = ipv4(frame) else {
        return true;
    };
    if !ip.verify_checksum() {
        return false;
    }
    if ip.next_header() != IpProtocol::Tcp {
        return true;
    }
    let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
    with_tcp(frame, |_, tcp| tcp.verify_checksum(&source, &destination)).unwrap_or(false)
}

/// Takes the FIN out of a segment that is to be cut, and returns the segment that must
/// follow it: the FIN alone, and its length. `None` if there was none.
pub fn split_fin(frame: &mut [u8]) -> Option<([u8; HEADERS_MAX], usize)> {
    let (header_len, payload_len) = with_tcp(frame, |headers, tcp| {
        let end = headers + usize::from(tcp.header_len());
        tcp.fin().then(|| (end, tcp.payload().len()))
    })??;
    let mut last = [0; HEADERS_MAX];
    last.get_mut(..header_len)?
        .copy_from_slice(frame.get(..header_len)?);

    let ip_len = header_len - 14;
    let mut ip = Ipv4Packet::new_unchecked(&mut last[14..header_len]);
    ip.set_total_len(ip_len as u16);
    ip.fill_checksum();
    let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
    let TcpSeqNumber(seq) = tcp.seq_number();
    tcp.set_seq_number(TcpSeqNumber(seq.wrapping_add(payload_len as i32)));
    tcp.set_psh(false);

    let tcp_at = 14 + usize::from(Ipv4Packet::new_unchecked(&frame[14..]).header_len());
    TcpPacket::new_unchecked(&mut frame[tcp_at..]).set_fin(false);
    Some((last, header_len))
}

fn ipv4(frame: &[u8]) -> Option<Ipv4Packet<&[u8]>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 15) * 4;
    (header >= 20 && packet.len() >= header).then_some(Ipv4Packet::new_unchecked(packet))
}

/// Looks at a whole TCP segment: the bytes before its header, and the segment itself.
fn with_tcp<R>(frame: &[u8], look: impl FnOnce(usize, &TcpPacket<&[u8]>) -> R) -> Option<R> {
    let ip = ipv4(frame)?;
    if ip.next_header() != IpProtocol::Tcp || ip.more_frags() || ip.frag_offset() != 0 {
        return None;
    }
    let headers = 14 + usize::from(ip.header_len());
    // The length in the IP header; a frame that is to be cut may say 0.
    let end = match usize::from(ip.total_len()) {
        0 => frame.len(),
        len => (14 + len).min(frame.len()),
    };
    let tcp = TcpPacket::new_checked(frame.get(headers..end)?).ok()?;
    Some(look(headers, &tcp))
}
