//! The frames that the stack makes without smoltcp. The token fills in checksums, as in
//! smoltcp's frames.

use super::ethernet::{self, Station};
use super::handshake::{Handshake, SynAck};
use super::peek::Segment;
use super::tcp::arrives::Shape;
use super::time_wait::LastWord;
use super::{ETHERNET, Tuple};
use crate::config::Config;
use core::net::Ipv4Addr;
use smoltcp::phy::{ChecksumCapabilities, TxToken};
use smoltcp::wire::{
    IPV4_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TCP_HEADER_LEN, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber,
};

/// Sends the acknowledgement of a connection that has no socket, offering this window.
pub(super) fn acknowledge(
    token: impl TxToken,
    own: &Config,
    segment: &Segment,
    (last_word, window_len): (LastWord, u16),
) {
    let tcp = TcpRepr {
        seq_number: last_word.seq,
        ack_number: Some(last_word.ack),
        window_len,
        ..plain(segment.tuple.port, segment.tuple.peer.port())
    };
    send(token, own, &tcp, (*segment.tuple.peer.ip(), segment.mac));
}

/// Refuses a segment with a RST (RFC 9293 §3.10.7.1).
#[cold]
pub(super) fn reset(token: impl TxToken, own: &Config, segment: &Segment) {
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
    send(token, own, &tcp, (*segment.tuple.peer.ip(), segment.mac));
}

/// Answers a SYN.
pub(super) fn syn_ack(token: impl TxToken, own: &Config, answer: &SynAck) {
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
fn send(token: impl TxToken, own: &Config, tcp: &TcpRepr<'_>, (to, station): (Ipv4Addr, Station)) {
    let stations = (Station(own.mac), station);
    let len = ETHERNET + IPV4_HEADER_LEN + tcp.buffer_len();
    token.consume(len, |buffer| put(buffer, tcp, (own.address, to), stations));
}

/// Octets of the headers of what [`from_peer`] makes.
pub(super) const FROM_PEER: usize = ETHERNET + IPV4_HEADER_LEN + TCP_HEADER_LEN;

/// Makes the frame in which a station would have passed on a peer's segment of this shape,
/// without checksums. `place` has room for [`FROM_PEER`] octets and the data.
#[cold]
pub(super) fn from_peer<'a>(
    place: &'a mut [u8],
    own: &Config,
    (tuple, station): (Tuple, Station),
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
    let frame = &mut place[..FROM_PEER + data.len()];
    let stations = (station, Station(own.mac));
    put(frame, &tcp, (*tuple.peer.ip(), own.address), stations);
    frame
}

/// Octets of the longest SYN there is, with its IPv4 header: all options of TCP's.
pub(super) const SYN_MAX: usize = IPV4_HEADER_LEN + 60;

/// Makes the IPv4 datagram in which a peer would have begun these ones' connection, without
/// checksums.
pub(super) fn syn_from_peer<'a>(
    place: &'a mut [u8; SYN_MAX],
    own: &Config,
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
    put_ipv4(datagram, &tcp, (*tuple.peer.ip(), own.address));
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

/// Puts a segment into a frame of its length; from and to these hosts and stations.
fn put(
    buffer: &mut [u8],
    tcp: &TcpRepr<'_>,
    hosts: (Ipv4Addr, Ipv4Addr),
    (source, destination): (Station, Station),
) {
    let (header, datagram) = buffer.split_at_mut(ETHERNET);
    header.copy_from_slice(&source.header(destination, ethernet::IPV4));
    put_ipv4(datagram, tcp, hosts);
}

/// Puts a segment into an IPv4 datagram of its length.
fn put_ipv4(buffer: &mut [u8], tcp: &TcpRepr<'_>, (from, to): (Ipv4Addr, Ipv4Addr)) {
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

/// Octets of an ARP packet for IPv4 over Ethernet.
pub(super) const ARP: usize = 28;
/// ARP's operations (RFC 826).
pub(super) const REQUEST: u16 = 1;
pub(super) const REPLY: u16 = 2;
/// Hardware type Ethernet, protocol IPv4, and the lengths of their addresses.
const FORMAT: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// An ARP packet for IPv4 over Ethernet: a station and its address for each side.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArpPacket {
    pub operation: u16,
    pub sender: (Station, Ipv4Addr),
    pub target: (Station, Ipv4Addr),
}

impl ArpPacket {
    /// Takes one apart. `None`: it is for another hardware or protocol.
    pub fn parse(octets: &[u8; ARP]) -> Option<Self> {
        let (format, octets) = octets.split_first_chunk()?;
        let (&operation, octets) = octets.split_first_chunk()?;
        let side = |octets: &[u8]| {
            let (&station, octets) = octets.split_first_chunk()?;
            let &address = octets.first_chunk::<4>()?;
            Some((Station(station), Ipv4Addr::from(address)))
        };
        (*format == FORMAT).then_some(ArpPacket {
            operation: u16::from_be_bytes(operation),
            sender: side(octets)?,
            target: side(octets.get(10..)?)?,
        })
    }

    /// The frame that carries it from its sender to this station.
    pub fn frame(&self, to: Station) -> [u8; ETHERNET + ARP] {
        let mut frame = [0; ETHERNET + ARP];
        let mut place = &mut frame[..];
        for piece in [
            &self.sender.0.header(to, ethernet::ARP)[..],
            &FORMAT,
            &self.operation.to_be_bytes(),
            &self.sender.0.0,
            &self.sender.1.octets(),
            &self.target.0.0,
            &self.target.1.octets(),
        ] {
            let (here, behind) = place.split_at_mut(piece.len());
            here.copy_from_slice(piece);
            place = behind;
        }
        frame
    }
}

/// Sends an ARP packet to a station, or to all.
pub(super) fn arp(token: impl TxToken, packet: &ArpPacket, to: Station) {
    let frame = packet.frame(to);
    token.consume(frame.len(), |buffer| buffer.copy_from_slice(&frame));
}

/// Asks all stations for a neighbour, or the one where it was.
pub(super) fn ask(token: impl TxToken, own: &Config, (address, to): (Ipv4Addr, Station)) {
    let request = ArpPacket {
        operation: REQUEST,
        sender: (Station(own.mac), own.address),
        target: (Station([0; 6]), address),
    };
    arp(token, &request, to);
}
