//! A look at a received frame before smoltcp gets it.
//!
//! smoltcp has no listener object and decides by scanning sockets, so whose a frame is is
//! decided here, and what must be decided per connection in [`super::tcp`]. Frames that
//! no host may send (RFC 1122 §3.2.1.3, §4.2.3.10) end here.

use super::ETHERNET;
use super::Tuple;
use super::checksum::Sum;
use super::ethernet::{self, Station};
use super::handshake::Offer;
use super::verdict::DropReason;
use crate::config::Config;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpOption, TcpPacket, TcpSeqNumber, UdpPacket};

/// What a frame is, as far as it matters before smoltcp sees it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame {
    /// For nobody here, or damaged.
    Dropped(DropReason),
    /// An ARP packet, at which nobody has looked.
    Arp,
    /// A TCP segment to this host.
    Segment(Segment),
    /// Another IPv4 datagram to this host, or to all.
    Ip(Ip),
    /// A part of a datagram to this host, or to all.
    Fragment,
}

/// An IPv4 datagram that is not a TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip {
    /// It came to this host's own address: this neighbour lives.
    pub from: Option<(Ipv4Addr, Station)>,
    /// What it carries, if that is UDP.
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
    pub mac: Station,
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
    /// SACK may be sent to it (RFC 2018 §2).
    pub sack_permitted: bool,
}

impl Segment {
    /// Whether it asks for a new connection.
    pub fn opens(&self) -> bool {
        self.syn && self.ack.is_none() && !self.rst && !self.fin
    }

    /// What a SYN offers.
    pub fn offer(&self) -> Offer {
        Offer {
            window: self.window,
            mss: self.options.mss,
            shift: self.options.shift,
            sack_permitted: self.options.sack_permitted,
        }
    }

    /// The sequence number after its last octet.
    pub fn end(&self) -> TcpSeqNumber {
        self.seq + self.len + usize::from(self.fin) + usize::from(self.syn)
    }
}

/// Looks at a frame, and verifies the checksums that are software's job.
pub(super) fn look(frame: &[u8], own: &Config, software: &ChecksumCapabilities) -> Frame {
    let Some((to, from, kind, packet)) = ethernet::parse(frame) else {
        return Frame::Dropped(DropReason::Truncated);
    };
    let to_me = to.0 == own.mac;
    if !to_me && !to.is_group() {
        return Frame::Dropped(DropReason::OtherStation);
    }
    if from.is_group() {
        return Frame::Dropped(DropReason::SourceStation);
    }
    match kind {
        ethernet::ARP => Frame::Arp,
        ethernet::IPV4 => ipv4(packet, (from, to_me), own, software),
        _ => Frame::Dropped(DropReason::EtherType),
    }
}

fn ipv4(
    payload: &[u8],
    (mac, to_me): (Station, bool),
    own: &Config,
    software: &ChecksumCapabilities,
) -> Frame {
    let Ok(packet) = Ipv4Packet::new_checked(payload) else {
        return Frame::Dropped(ip_fault(payload));
    };
    if packet.version() != 4 {
        return Frame::Dropped(DropReason::IpHeader);
    }
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    if impossible_source(source, own) {
        return Frame::Dropped(DropReason::IpSource);
    }
    let header = &payload[..usize::from(packet.header_len())];
    if software.ipv4.rx() && !Sum::default().add(header).is_right() {
        return Frame::Dropped(DropReason::IpChecksum);
    }
    let to_us = destination == own.address;
    let unicast = to_me && to_us;
    if !unicast {
        let everyone = destination.is_broadcast() || destination == own.broadcast();
        if to_us {
            return Frame::Dropped(DropReason::LinkBroadcast);
        } else if !everyone {
            return Frame::Dropped(DropReason::IpDestination);
        }
    }
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Frame::Fragment;
    }
    let protocol = packet.next_header();
    if protocol != IpProtocol::Tcp {
        let from = unicast.then_some((source, mac));
        if protocol != IpProtocol::Udp {
            let datagram = None;
            return Frame::Ip(Ip { from, datagram });
        }
        let Ok(udp) = UdpPacket::new_checked(packet.payload()) else {
            return Frame::Dropped(DropReason::UdpLength);
        };
        if software.udp.rx() && !udp_is_right(&packet, &udp) {
            return Frame::Dropped(DropReason::UdpChecksum);
        }
        let start = ETHERNET + header.len();
        let datagram = Some(Datagram {
            from: SocketAddrV4::new(source, udp.src_port()),
            port: udp.dst_port(),
            start: start + 8,
            end: start + usize::from(udp.len()),
        });
        return Frame::Ip(Ip { from, datagram });
    }
    if !unicast {
        return Frame::Dropped(DropReason::TcpBroadcast);
    }
    let Ok(tcp) = TcpPacket::new_checked(packet.payload()) else {
        return Frame::Dropped(DropReason::TcpHeader);
    };
    if software.tcp.rx() && !transport_sum(&packet, packet.payload()).is_right() {
        return Frame::Dropped(DropReason::TcpChecksum);
    }
    if tcp.src_port() == 0 || tcp.dst_port() == 0 {
        return Frame::Dropped(DropReason::TcpPort);
    }
    let options = match tcp.header_len() {
        20 => Some(SynOptions::default()),
        _ => options(tcp.options(), tcp.syn()),
    };
    let Some(options) = options else {
        return Frame::Dropped(DropReason::TcpOptions);
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
#[cold]
fn options(mut octets: &[u8], syn: bool) -> Option<SynOptions> {
    let mut found = SynOptions::default();
    while !octets.is_empty() {
        let (rest, option) = TcpOption::parse(octets).ok()?;
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(mss) if syn => found.mss = Some(mss),
            TcpOption::WindowScale(shift) if syn => found.shift = Some(shift),
            TcpOption::SackPermitted if syn => found.sack_permitted = true,
            _ => {}
        }
        octets = rest;
    }
    Some(found)
}

/// What is wrong with an IPv4 header that does not fit its frame.
#[cold]
fn ip_fault(payload: &[u8]) -> DropReason {
    let Some(&[first, _, high, low, ..]) = payload.first_chunk::<20>() else {
        return DropReason::Truncated;
    };
    let len = u16::from(first & 15) * 4;
    let is_sound = first >> 4 == 4 && len >= 20 && u16::from_be_bytes([high, low]) >= len;
    match is_sound {
        true => DropReason::Truncated,
        false => DropReason::IpHeader,
    }
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

/// Whether a host of our network can have this address.
pub(super) fn can_be_neighbor(address: Ipv4Addr, own: &Config) -> bool {
    own.is_other_host(address) && !impossible_source(address, own)
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

#[cfg(test)]
mod tests;
