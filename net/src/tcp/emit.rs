//! The segments that the stack makes without smoltcp. The token fills in checksums, as in
//! smoltcp's.

use crate::ip::interface::Interface;
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::names::Tuple;
use crate::packet::Segment;
use crate::tcp::arrives::Shape;
use crate::tcp::handshake::{Handshake, SynAck};
use crate::tcp::time_wait::LastWord;
use core::net::Ipv4Addr;
use smoltcp::phy::{ChecksumCapabilities, TxToken};
use smoltcp::wire::{
    IPV4_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TCP_HEADER_LEN, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber,
};

/// Sends the acknowledgement of a connection that has no socket, offering this window.
pub(crate) fn acknowledge(
    token: impl TxToken,
    own: &Interface,
    segment: &Segment,
    (last_word, window_len): (LastWord, u16),
) {
    let tcp = TcpRepr {
        seq_number: last_word.seq,
        ack_number: Some(last_word.ack),
        window_len,
        ..plain(segment.tuple.port, segment.tuple.peer.port())
    };
    send(
        token,
        own,
        &tcp,
        (*segment.tuple.peer.ip(), segment.station),
    );
}

/// Refuses a segment with a RST (RFC 9293 §3.10.7.1).
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
        ..plain(segment.tuple.port, segment.tuple.peer.port())
    };
    send(
        token,
        own,
        &tcp,
        (*segment.tuple.peer.ip(), segment.station),
    );
}

/// Answers a SYN.
pub(crate) fn syn_ack(token: impl TxToken, own: &Interface, answer: &SynAck) {
    let (tuple, offer) = (&answer.tuple, &answer.offer);
    let plain = TcpRepr {
        control: TcpControl::Rst,
        seq_number: answer.seq,
        ack_number: Some(answer.ack),
        ..plain(tuple.port, tuple.peer.port())
    };
    let tcp = match answer.refuses {
        true => plain,
        false => TcpRepr {
            control: TcpControl::Syn,
            window_len: offer.window,
            window_scale: offer.shift,
            max_seg_size: offer.mss,
            sack_permitted: offer.sack_permitted,
            ..plain
        },
    };
    send(token, own, &tcp, (*tuple.peer.ip(), answer.station));
}

/// Sends a segment without data to a host, by way of this station.
fn send(
    token: impl TxToken,
    own: &Interface,
    tcp: &TcpRepr<'_>,
    (to, station): (Ipv4Addr, Station),
) {
    let len = ETHERNET + IPV4_HEADER_LEN + tcp.buffer_len();
    token.consume(len, |frame| {
        let (header, datagram) = frame.split_at_mut(ETHERNET);
        header.copy_from_slice(&own.station.header(station, ethernet::IPV4));
        put(datagram, tcp, (own.address(), to));
    });
}

/// Octets of the headers of what [`from_peer`] makes.
pub(crate) const FROM_PEER: usize = IPV4_HEADER_LEN + TCP_HEADER_LEN;

/// Makes the IPv4 datagram in which a peer would have sent a segment of this shape, without
/// checksums. `place` has room for [`FROM_PEER`] octets and the data.
#[cold]
pub(crate) fn from_peer<'a>(
    place: &'a mut [u8],
    own: &Interface,
    tuple: Tuple,
    shape: &Shape,
    data: &[u8],
) -> &'a [u8] {
    let tcp = TcpRepr {
        control: match (shape.rst, shape.fin) {
            (true, _) => TcpControl::Rst,
            (false, true) => TcpControl::Fin,
            _ => TcpControl::None,
        },
        seq_number: shape.seq,
        ack_number: Some(shape.ack),
        window_len: shape.window,
        payload: data,
        ..plain(tuple.peer.port(), tuple.port)
    };
    let datagram = &mut place[..FROM_PEER + data.len()];
    put(datagram, &tcp, (*tuple.peer.ip(), own.address()));
    datagram
}

/// Octets of the longest SYN there is, with its IPv4 header: all options of TCP's.
pub(crate) const SYN_MAX: usize = IPV4_HEADER_LEN + 60;

/// Makes the IPv4 datagram in which a peer would have begun these ones' connection, without
/// checksums.
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
        ..plain(tuple.peer.port(), tuple.port)
    };
    let datagram = &mut place[..IPV4_HEADER_LEN + tcp.buffer_len()];
    put(datagram, &tcp, (*tuple.peer.ip(), own.address()));
    datagram
}

/// A segment that says nothing.
fn plain(src_port: u16, dst_port: u16) -> TcpRepr<'static> {
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

/// Puts a segment into an IPv4 datagram of its length.
fn put(buffer: &mut [u8], tcp: &TcpRepr<'_>, (from, to): (Ipv4Addr, Ipv4Addr)) {
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let checksums = ChecksumCapabilities::ignored();
    let mut packet = Ipv4Packet::new_unchecked(buffer);
    ip.emit(&mut packet, &checksums);
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    let (source, destination) = (from.into(), IpAddress::Ipv4(to));
    tcp.emit(&mut segment, &source, &destination, &checksums);
}
