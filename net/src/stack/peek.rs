//! A look at a received frame before smoltcp gets it.
//!
//! smoltcp has no listener object and decides by scanning sockets, so whose a frame is is
//! decided here, and what must be decided per connection in [`super::tcp`]. Frames that
//! no host may send (RFC 1122 §3.2.1.3, §4.2.3.10) end here.

use super::ETHERNET;
use super::Tuple;
use super::checksum::Sum;
use crate::config::Config;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Packet, TcpOption, TcpPacket, TcpSeqNumber, UdpPacket,
};

/// What a frame is, as far as it matters before smoltcp sees it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame {
    /// Not for this host, or not from a possible sender, or cut short.
    Refused,
    /// A checksum is wrong.
    Damaged,
    /// Somebody said where he is.
    Arp(Ipv4Addr, EthernetAddress),
    /// A TCP segment to this host.
    Segment(Segment),
    /// Another IPv4 datagram.
    Ip(Ip),
    /// A part of a datagram.
    Fragment,
    /// Anything else.
    Other,
}

/// An IPv4 datagram that is not a TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip {
    /// It came to this host's own address: this neighbour lives.
    pub from: Option<(Ipv4Addr, EthernetAddress)>,
    /// What it carries, if it is UDP to this host or to all.
    pub datagram: Option<Datagram>,
}

/// A UDP datagram in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    /// The sender.
    pub from: SocketAddrV4,
    /// The port it is for.
    pub port: u16,
    /// Where its data is in the frame.
    pub start: usize,
    /// And where that ends.
    pub end: usize,
}

/// A TCP segment's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Who put it on the wire.
    pub mac: EthernetAddress,
    /// Which connection it belongs to.
    pub tuple: Tuple,
    /// SEG.SEQ.
    pub seq: TcpSeqNumber,
    /// SEG.ACK, if the ACK bit is set.
    pub ack: Option<TcpSeqNumber>,
    /// The SYN bit.
    pub syn: bool,
    /// The FIN bit.
    pub fin: bool,
    /// The RST bit.
    pub rst: bool,
    /// SEG.WND, as it stands there.
    pub window: u16,
    /// Where its data is in the frame, and octets of that.
    pub data: usize,
    pub len: usize,
    /// What a SYN says besides.
    pub options: SynOptions,
}

/// The options of a SYN that matter to the stack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SynOptions {
    /// The peer's MSS (RFC 9293 §3.7.1).
    pub mss: Option<u16>,
    /// How far its windows are shifted (RFC 7323 §2.2).
    pub shift: Option<u8>,
}

impl Segment {
    /// Whether it asks for a new connection.
    pub fn opens(&self) -> bool {
        self.syn && self.ack.is_none() && !self.rst && !self.fin
    }

    /// The sequence number after its last octet.
    pub fn end(&self) -> TcpSeqNumber {
        self.seq + self.len + usize::from(self.fin) + usize::from(self.syn)
    }
}

/// Looks at a frame, and verifies the checksums that are software's job.
pub(super) fn look(frame: &[u8], own: &Config, software: &ChecksumCapabilities) -> Frame {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
        return Frame::Refused;
    };
    let to_me = ethernet.dst_addr().0 == own.mac;
    if !to_me && !ethernet.dst_addr().is_multicast() && !ethernet.dst_addr().is_broadcast() {
        return Frame::Refused;
    }
    match ethernet.ethertype() {
        EthernetProtocol::Arp => arp(ethernet.payload(), own),
        EthernetProtocol::Ipv4 => {
            let from = (ethernet.src_addr(), to_me);
            ipv4(ethernet.payload(), from, own, software)
        }
        _ => Frame::Other,
    }
}

/// Takes what smoltcp will put into its neighbour cache, by its rules.
#[cold]
fn arp(payload: &[u8], own: &Config) -> Frame {
    let Ok(Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    })) = ArpPacket::new_checked(payload).map(|packet| ArpRepr::parse(&packet))
    else {
        return Frame::Refused;
    };
    let known = matches!(operation, ArpOperation::Request | ArpOperation::Reply);
    let heard = target_protocol_addr == own.address
        && known
        && source_hardware_addr.is_unicast()
        && own.contains(source_protocol_addr)
        && !impossible_source(source_protocol_addr, own);
    if heard {
        Frame::Arp(source_protocol_addr, source_hardware_addr)
    } else {
        Frame::Refused
    }
}

fn ipv4(
    payload: &[u8],
    (mac, to_me): (EthernetAddress, bool),
    own: &Config,
    software: &ChecksumCapabilities,
) -> Frame {
    let Ok(packet) = Ipv4Packet::new_checked(payload) else {
        return Frame::Refused;
    };
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    if packet.version() != 4 || impossible_source(source, own) || !mac.is_unicast() {
        return Frame::Refused;
    }
    let header = &payload[..usize::from(packet.header_len())];
    if software.ipv4.rx() && !Sum::default().add(header).is_right() {
        return Frame::Damaged;
    }
    let unicast = to_me && destination == own.address;
    let everyone = destination.is_broadcast() || destination == own.broadcast();
    let to_us = destination == own.address || everyone;
    if packet.more_frags() || packet.frag_offset() != 0 {
        return match unicast || everyone {
            true => Frame::Fragment,
            false => Frame::Refused,
        };
    }
    let protocol = packet.next_header();
    if protocol != IpProtocol::Tcp {
        let udp = UdpPacket::new_checked(packet.payload());
        let udp = udp.ok().filter(|_| protocol == IpProtocol::Udp);
        if let Some(udp) = &udp
            && software.udp.rx()
            && !udp_is_right(&packet, udp)
        {
            return Frame::Damaged;
        }
        return Frame::Ip(Ip {
            from: unicast.then_some((source, mac)),
            datagram: udp.filter(|_| to_us).map(|udp| {
                let start = ETHERNET + header.len();
                Datagram {
                    from: SocketAddrV4::new(source, udp.src_port()),
                    port: udp.dst_port(),
                    start: start + 8,
                    end: start + usize::from(udp.len()),
                }
            }),
        });
    }
    if !unicast {
        return Frame::Refused;
    }
    let Ok(tcp) = TcpPacket::new_checked(packet.payload()) else {
        return Frame::Refused;
    };
    if software.tcp.rx() && !transport_sum(&packet, packet.payload()).is_right() {
        return Frame::Damaged;
    }
    // RFC 9293 §3.1: ports are not 0. MUST-7: options may have lengths that cannot be.
    let has_ports = tcp.src_port() != 0 && tcp.dst_port() != 0;
    let Some(options) = options(tcp.options(), tcp.syn()).filter(|_| has_ports) else {
        return Frame::Refused;
    };
    Frame::Segment(Segment {
        mac,
        tuple: Tuple {
            port: tcp.dst_port(),
            peer: SocketAddrV4::new(source, tcp.src_port()),
        },
        seq: tcp.seq_number(),
        ack: tcp.ack().then(|| tcp.ack_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        window: tcp.window_len(),
        data: ETHERNET + header.len() + usize::from(tcp.header_len()),
        len: tcp.payload().len(),
        options,
    })
}

/// Goes through TCP's options. `None` if they are malformed.
#[inline]
fn options(octets: &[u8], syn: bool) -> Option<SynOptions> {
    match octets.is_empty() {
        true => Some(SynOptions::default()),
        false => some_options(octets, syn),
    }
}

#[cold]
fn some_options(mut octets: &[u8], syn: bool) -> Option<SynOptions> {
    let mut found = SynOptions::default();
    while !octets.is_empty() {
        let (rest, option) = TcpOption::parse(octets).ok()?;
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(mss) if syn => found.mss = Some(mss),
            TcpOption::WindowScale(shift) if syn => found.shift = Some(shift),
            _ => {}
        }
        octets = rest;
    }
    Some(found)
}

/// Whether UDP's checksum is right, or there is none (RFC 768).
fn udp_is_right(ip: &Ipv4Packet<&[u8]>, udp: &UdpPacket<&[u8]>) -> bool {
    let datagram = ip.payload().get(..udp.len().into());
    let right = |datagram| transport_sum(ip, datagram).is_right();
    udp.checksum() == 0 || datagram.is_some_and(right)
}

/// The sum over a segment or datagram, with its pseudo header.
fn transport_sum(ip: &Ipv4Packet<&[u8]>, octets: &[u8]) -> Sum {
    Sum::default()
        .pseudo(ip.src_addr(), ip.dst_addr(), ip.next_header(), octets.len())
        .add(octets)
}

/// Whether no other host can have this address.
pub(super) fn impossible_source(address: Ipv4Addr, own: &Config) -> bool {
    let first = address.octets()[0];
    first == 0
        || first >= 224
        || address.is_loopback()
        || address == own.address
        || address == own.broadcast()
}
