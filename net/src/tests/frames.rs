//! Frames made and read by hand.

use crate::tests::world::{PEER_IP, PEER_MAC, SERVER_IP, SERVER_MAC};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv4Repr, IpAddress, IpProtocol, Ipv4Address, Ipv4Packet,
    Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};
use std::vec;
use std::vec::Vec;

/// An Ethernet frame from the peer to the server.
pub fn ethernet(kind: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let header = EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: kind,
    };
    let mut frame = vec![0; 14 + payload.len()];
    header.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    frame[14..].copy_from_slice(payload);
    frame
}

/// An IPv4 datagram in a frame.
pub fn ipv4(from: [u8; 4], to: [u8; 4], protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: from.into(),
        dst_addr: to.into(),
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut datagram = vec![0; 20 + payload.len()];
    let checksums = ChecksumCapabilities::default();
    header.emit(&mut Ipv4Packet::new_unchecked(&mut datagram), &checksums);
    datagram[20..].copy_from_slice(payload);
    ethernet(EthernetProtocol::Ipv4, &datagram)
}

/// The peer's ARP reply that tells the server where it is.
pub fn arp_reply(ip: [u8; 4]) -> Vec<u8> {
    arp(ArpOperation::Reply, ip, SERVER_IP)
}

pub fn arp(operation: ArpOperation, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(PEER_MAC),
        source_protocol_addr: from.into(),
        target_hardware_addr: EthernetAddress(SERVER_MAC),
        target_protocol_addr: to.into(),
    };
    let mut payload = vec![0; arp.buffer_len()];
    arp.emit(&mut ArpPacket::new_unchecked(&mut payload));
    ethernet(EthernetProtocol::Arp, &payload)
}

/// A TCP segment, written by hand or read from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub peer: ([u8; 4], u16),
    pub port: u16,
    pub control: TcpControl,
    pub seq: u32,
    pub ack: Option<u32>,
    pub data: Vec<u8>,
}

impl Segment {
    pub fn syn(peer: u16, port: u16, seq: u32) -> Self {
        Segment {
            peer: (PEER_IP, peer),
            port,
            control: TcpControl::Syn,
            seq,
            ack: None,
            data: Vec::new(),
        }
    }

    pub fn from(mut self, ip: [u8; 4]) -> Self {
        self.peer.0 = ip;
        self
    }

    /// What follows a SYN-ACK.
    pub fn after(answer: &Segment, control: TcpControl) -> Self {
        Segment {
            peer: answer.peer,
            port: answer.port,
            control,
            seq: answer.ack.unwrap(),
            ack: Some(answer.end()),
            data: Vec::new(),
        }
    }

    /// The sequence number after it.
    pub fn end(&self) -> u32 {
        let flags = matches!(self.control, TcpControl::Syn | TcpControl::Fin);
        self.seq
            .wrapping_add(self.data.len() as u32 + u32::from(flags))
    }

    /// The frame that carries it to the server.
    pub fn frame(&self) -> Vec<u8> {
        self.frame_to(SERVER_IP)
    }

    pub fn frame_to(&self, to: [u8; 4]) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: self.peer.1,
            dst_port: self.port,
            control: self.control,
            seq_number: TcpSeqNumber(self.seq as i32),
            ack_number: self.ack.map(|ack| TcpSeqNumber(ack as i32)),
            window_len: 60000,
            window_scale: None,
            max_seg_size: (self.control == TcpControl::Syn).then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &self.data,
        };
        let mut payload = vec![0; tcp.buffer_len()];
        let (from, to_ip) = (Ipv4Address::from(self.peer.0), Ipv4Address::from(to));
        tcp.emit(
            &mut TcpPacket::new_unchecked(&mut payload),
            &IpAddress::Ipv4(from),
            &IpAddress::Ipv4(to_ip),
            &ChecksumCapabilities::default(),
        );
        ipv4(self.peer.0, to, IpProtocol::Tcp, &payload)
    }

    /// A segment that the server sent, checked.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).unwrap();
        if ethernet.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        assert_eq!(ethernet.src_addr().0, SERVER_MAC);
        let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
        let checksums = ChecksumCapabilities::default();
        let header = Ipv4Repr::parse(&ip, &checksums).unwrap();
        if header.next_header != IpProtocol::Tcp {
            return None;
        }
        assert_eq!(header.src_addr.octets(), SERVER_IP);
        let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
        let (source, destination) = (header.src_addr.into(), header.dst_addr.into());
        let tcp = TcpRepr::parse(&tcp, &source, &destination, &checksums).unwrap();
        Some(Segment {
            peer: (header.dst_addr.octets(), tcp.dst_port),
            port: tcp.src_port,
            control: match tcp.control {
                TcpControl::Psh => TcpControl::None,
                control => control,
            },
            seq: tcp.seq_number.0 as u32,
            ack: tcp.ack_number.map(|ack| ack.0 as u32),
            data: tcp.payload.to_vec(),
        })
    }
}

/// The TCP segments among frames.
pub fn segments(frames: &[Vec<u8>]) -> Vec<Segment> {
    frames
        .iter()
        .filter_map(|frame| Segment::read(frame))
        .collect()
}

/// A UDP datagram to the server.
pub fn udp(from: ([u8; 4], u16), port: u16, data: &[u8]) -> Vec<u8> {
    let header = UdpRepr {
        src_port: from.1,
        dst_port: port,
    };
    let mut payload = vec![0; 8 + data.len()];
    header.emit(
        &mut UdpPacket::new_unchecked(&mut payload),
        &IpAddress::Ipv4(from.0.into()),
        &IpAddress::Ipv4(SERVER_IP.into()),
        data.len(),
        |buffer| buffer.copy_from_slice(data),
        &ChecksumCapabilities::default(),
    );
    ipv4(from.0, SERVER_IP, IpProtocol::Udp, &payload)
}

/// An ICMP echo request's IPv4 payload.
pub fn ping(data: &[u8]) -> Vec<u8> {
    let ping = Icmpv4Repr::EchoRequest {
        ident: 7,
        seq_no: 9,
        data,
    };
    let mut payload = vec![0; ping.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    ping.emit(&mut Icmpv4Packet::new_unchecked(&mut payload), &checksums);
    payload
}

/// An IPv4 payload cut into fragments.
pub fn fragments(protocol: IpProtocol, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = payload.chunks(size).collect();
    let frame = |(index, piece): (usize, &&[u8])| {
        let mut frame = ipv4(PEER_IP, SERVER_IP, protocol, piece);
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
        packet.set_ident(0x1234);
        packet.set_dont_frag(false);
        packet.set_more_frags(index + 1 < pieces.len());
        packet.set_frag_offset((index * size) as u16);
        packet.fill_checksum();
        frame
    };
    pieces.iter().enumerate().map(frame).collect()
}
