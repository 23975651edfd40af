//! The frames that the stack makes without smoltcp. The token fills in checksums, as in
//! smoltcp's frames.

use super::peek::Segment;
use super::tcp::arrives::Shape;
use super::time_wait::LastWord;
use super::{ETHERNET, Tuple};
use crate::config::Config;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use smoltcp::phy::{ChecksumCapabilities, TxToken};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IPV4_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber,
};

/// Sends the last acknowledgement of a connection that has no socket any more.
pub(super) fn acknowledge(
    token: impl TxToken,
    own: &Config,
    segment: &Segment,
    last_word: LastWord,
) {
    let LastWord { seq, ack } = last_word;
    answer(token, own, segment, TcpControl::None, (seq, Some(ack)));
}

/// Refuses a segment with a RST (RFC 9293 §3.10.7.1).
#[cold]
pub(super) fn reset(token: impl TxToken, own: &Config, segment: &Segment) {
    let numbers = match segment.ack {
        Some(ack) => (ack, None),
        None => (TcpSeqNumber(0), Some(segment.end())),
    };
    answer(token, own, segment, TcpControl::Rst, numbers);
}

/// Answers a segment with one without data, and these sequence and acknowledgement numbers.
fn answer(
    token: impl TxToken,
    own: &Config,
    segment: &Segment,
    control: TcpControl,
    (seq_number, ack_number): (TcpSeqNumber, Option<TcpSeqNumber>),
) {
    let tcp = TcpRepr {
        control,
        seq_number,
        ack_number,
        ..plain(segment.tuple.port, segment.tuple.peer.port())
    };
    let addresses = (own.address, *segment.tuple.peer.ip());
    let stations = (EthernetAddress(own.mac), segment.mac);
    let len = ETHERNET + IPV4_HEADER_LEN + tcp.buffer_len();
    token.consume(len, |buffer| put(buffer, &tcp, addresses, stations));
}

/// The frame in which a peer would have sent a segment of this shape, without checksums.
/// `None` without memory for it.
#[cold]
pub(super) fn from_peer(own: &Config, tuple: Tuple, shape: &Shape, data: &[u8]) -> Option<Vec<u8>> {
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
    let len = ETHERNET + IPV4_HEADER_LEN + tcp.buffer_len();
    let mut frame = Vec::new();
    frame.try_reserve_exact(len).ok()?;
    frame.resize(len, 0);
    // smoltcp looks at the station it is for, and that it is from one.
    let stations = (EthernetAddress(own.mac), EthernetAddress(own.mac));
    put(&mut frame, &tcp, (*tuple.peer.ip(), own.address), stations);
    Some(frame)
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
    (from, to): (Ipv4Addr, Ipv4Addr),
    (src_addr, dst_addr): (EthernetAddress, EthernetAddress),
) {
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr,
        dst_addr,
        ethertype: EthernetProtocol::Ipv4,
    };
    let checksums = ChecksumCapabilities::ignored();
    let mut frame = EthernetFrame::new_unchecked(buffer);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    let (source, destination) = (from.into(), IpAddress::Ipv4(to));
    tcp.emit(&mut segment, &source, &destination, &checksums);
}

/// Sends an ARP request.
pub(super) fn ask(token: impl TxToken, own: &Config, address: Ipv4Addr) {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(own.mac),
        source_protocol_addr: own.address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(own.mac),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let len = ethernet.buffer_len() + arp.buffer_len();
    token.consume(len, |buffer| {
        let mut frame = EthernetFrame::new_unchecked(buffer);
        ethernet.emit(&mut frame);
        arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    });
}
