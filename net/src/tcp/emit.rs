//! The segments that the stack makes without smoltcp: those that it sends, whose checksums the token
//! fills in, and those that smoltcp gets in the place of received ones.

use crate::ip::interface::Interface;
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::names::Tuple;
use crate::packet::Segment;
use crate::tcp::arrives::Substitute;
use crate::tcp::handshake::{Acknowledgment, Handshake, SynAck};
use abi::socket::Ip;
use core::net::Ipv6Addr;
use smoltcp::phy::{ChecksumCapabilities, TxToken};
use smoltcp::wire::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet,
    Ipv6Repr, TCP_HEADER_LEN, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

/// Sends an acknowledgment to the sender of a segment.
pub(crate) fn acknowledge(
    token: impl TxToken,
    own: &Interface,
    segment: &Segment,
    acknowledgment: &Acknowledgment,
) {
    let tcp = TcpRepr {
        seq_number: acknowledgment.seq,
        ack_number: Some(acknowledgment.ack),
        window_len: acknowledgment.window,
        ..to_peer(&segment.tuple)
    };
    send(token, own, &tcp, &segment.tuple, segment.station);
}

/// Answers a segment with a RST (RFC 9293 §3.10.7.1).
#[cold]
pub(crate) fn reset(token: impl TxToken, own: &Interface, segment: &Segment) {
    let (seq_number, ack_number) = match segment.ack {
        Some(ack) => (ack, None),
        None => (TcpSeqNumber(0), Some(segment.end())),
    };
    let tcp = TcpRepr {
        control: TcpControl::Rst,
        seq_number,
        ack_number,
        ..to_peer(&segment.tuple)
    };
    send(token, own, &tcp, &segment.tuple, segment.station);
}

/// Answers a SYN.
pub(crate) fn syn_ack(token: impl TxToken, own: &Interface, answer: &SynAck) {
    let (tuple, offer) = (&answer.tuple, &answer.offer);
    let reset = TcpRepr {
        control: TcpControl::Rst,
        seq_number: answer.seq,
        ack_number: Some(answer.ack),
        ..to_peer(tuple)
    };
    let tcp = match answer.is_reset {
        true => reset,
        false => TcpRepr {
            control: TcpControl::Syn,
            window_len: offer.window,
            window_scale: offer.shift,
            max_seg_size: offer.mss,
            sack_permitted: offer.sack_permitted,
            ..reset
        },
    };
    send(token, own, &tcp, tuple, answer.station);
}

/// Sends a segment without data to the peer of a connection, by way of a station.
fn send(token: impl TxToken, own: &Interface, tcp: &TcpRepr<'_>, tuple: &Tuple, station: Station) {
    let len = ETHERNET + ip_header_len(&tuple.peer.ip) + tcp.buffer_len();
    token.consume(len, |frame| {
        let (header, datagram) = frame.split_at_mut(ETHERNET);
        header.copy_from_slice(
            &own.station
                .header(station, ethernet::ethertype(&tuple.peer.ip)),
        );
        write(datagram, tcp, own.address_of(tuple.local), tuple.peer.ip);
    });
}

/// Octets of the longest IP and TCP headers that [`from_peer`] makes.
pub(crate) const FROM_PEER: usize = IPV6_HEADER_LEN + TCP_HEADER_LEN;

/// Octets of the IP header to or from this address.
fn ip_header_len(address: &Ip) -> usize {
    match address.is_v4() {
        true => IPV4_HEADER_LEN,
        false => IPV6_HEADER_LEN,
    }
}

/// Makes an IP datagram with a substitute for a received segment, without checksums. `place` has
/// room for [`FROM_PEER`] octets and the data.
#[cold]
pub(crate) fn from_peer<'a>(
    place: &'a mut [u8],
    own: &Interface,
    tuple: Tuple,
    substitute: &Substitute,
    data: &[u8],
) -> &'a [u8] {
    let tcp = TcpRepr {
        control: match (substitute.rst, substitute.fin) {
            (true, _) => TcpControl::Rst,
            (false, true) => TcpControl::Fin,
            _ => TcpControl::None,
        },
        seq_number: substitute.seq,
        ack_number: Some(substitute.ack),
        window_len: substitute.window,
        payload: data,
        ..empty(tuple.peer.port, tuple.port)
    };
    let len = ip_header_len(&tuple.peer.ip) + TCP_HEADER_LEN + data.len();
    let datagram = &mut place[..len];
    write(datagram, &tcp, tuple.peer.ip, own.address_of(tuple.local));
    datagram
}

/// Octets of the longest SYN, with an IPv6 header: a TCP header has at most 60.
pub(crate) const SYN_MAX: usize = IPV6_HEADER_LEN + 60;

/// Makes an IP datagram with the peer's SYN of a handshake, without checksums.
pub(crate) fn syn_from_peer<'a>(
    place: &'a mut [u8; SYN_MAX],
    own: &Interface,
    handshake: &Handshake,
) -> &'a [u8] {
    let Handshake { tuple, offer, .. } = handshake;
    let tcp = TcpRepr {
        control: TcpControl::Syn,
        seq_number: handshake.irs,
        window_len: offer.window,
        window_scale: offer.shift,
        max_seg_size: offer.mss,
        sack_permitted: offer.sack_permitted,
        ..empty(tuple.peer.port, tuple.port)
    };
    let datagram = &mut place[..ip_header_len(&tuple.peer.ip) + tcp.buffer_len()];
    write(datagram, &tcp, tuple.peer.ip, own.address_of(tuple.local));
    datagram
}

/// A segment of ours to the peer of a connection, without any flag, number or option.
fn to_peer(tuple: &Tuple) -> TcpRepr<'static> {
    empty(tuple.port, tuple.peer.port)
}

/// A segment between two ports, without any flag, number or option.
fn empty(src_port: u16, dst_port: u16) -> TcpRepr<'static> {
    TcpRepr {
        src_port,
        dst_port,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: None,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

/// Writes an IP datagram with a segment into a buffer of just its length.
fn write(buffer: &mut [u8], tcp: &TcpRepr<'_>, from: Ip, to: Ip) {
    let checksums = ChecksumCapabilities::ignored();
    let (Some(source), Some(destination)) = (from.as_v4(), to.as_v4()) else {
        return write_v6(buffer, tcp, from, to);
    };
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let mut packet = Ipv4Packet::new_unchecked(buffer);
    ip.emit(&mut packet, &checksums);
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    let (source, destination) = (source.into(), IpAddress::Ipv4(destination));
    tcp.emit(&mut segment, &source, &destination, &checksums);
}

#[inline(never)]
fn write_v6(buffer: &mut [u8], tcp: &TcpRepr<'_>, from: Ip, to: Ip) {
    let (source, destination) = (Ipv6Addr::from(from.0), Ipv6Addr::from(to.0));
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let mut packet = Ipv6Packet::new_unchecked(buffer);
    ip.emit(&mut packet);
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    let (source, destination) = (source.into(), IpAddress::Ipv6(destination));
    tcp.emit(
        &mut segment,
        &source,
        &destination,
        &ChecksumCapabilities::ignored(),
    );
}
