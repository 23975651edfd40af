//! Frames without data that the stack sends without smoltcp: ARP packets, and the last
//! acknowledgement of a connection. The token fills in checksums, as in smoltcp's frames.

use super::ETHERNET;
use super::peek::Segment;
use super::time_wait::LastWord;
use crate::config::Config;
use core::net::Ipv4Addr;
use smoltcp::phy::{ChecksumCapabilities, TxToken};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol,
    Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
};

/// Sends the last acknowledgement of a connection that has no socket any more.
pub(super) fn acknowledge(
    token: impl TxToken,
    own: &Config,
    segment: &Segment,
    last_word: LastWord,
) {
    let peer = segment.tuple.peer;
    let tcp = TcpRepr {
        src_port: segment.tuple.port,
        dst_port: peer.port(),
        control: TcpControl::None,
        seq_number: last_word.seq,
        ack_number: Some(last_word.ack),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = Ipv4Repr {
        src_addr: own.address,
        dst_addr: *peer.ip(),
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(own.mac),
        dst_addr: segment.mac,
        ethertype: EthernetProtocol::Ipv4,
    };
    let checksums = ChecksumCapabilities::ignored();
    let len = ethernet.buffer_len() + ip.buffer_len() + tcp.buffer_len();
    token.consume(len, |buffer| {
        let mut frame = EthernetFrame::new_unchecked(buffer);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
        let (source, destination) = (own.address.into(), IpAddress::Ipv4(*peer.ip()));
        tcp.emit(&mut segment, &source, &destination, &checksums);
    });
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
    pub sender: (EthernetAddress, Ipv4Addr),
    pub target: (EthernetAddress, Ipv4Addr),
}

impl ArpPacket {
    /// Takes one apart. `None`: it is for another hardware or protocol.
    pub fn parse(octets: &[u8; ARP]) -> Option<Self> {
        let (format, octets) = octets.split_first_chunk()?;
        let (&operation, octets) = octets.split_first_chunk()?;
        let side = |octets: &[u8]| {
            let (&station, octets) = octets.split_first_chunk()?;
            let &address = octets.first_chunk::<4>()?;
            Some((EthernetAddress(station), Ipv4Addr::from(address)))
        };
        (*format == FORMAT).then_some(ArpPacket {
            operation: u16::from_be_bytes(operation),
            sender: side(octets)?,
            target: side(octets.get(10..)?)?,
        })
    }

    /// The frame that carries it from its sender to this station.
    pub fn frame(&self, to: EthernetAddress) -> [u8; ETHERNET + ARP] {
        let mut frame = [0; ETHERNET + ARP];
        let mut place = &mut frame[..];
        for piece in [
            &to.0[..],
            &self.sender.0.0,
            &u16::from(EthernetProtocol::Arp).to_be_bytes(),
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
pub(super) fn arp(token: impl TxToken, packet: &ArpPacket, to: EthernetAddress) {
    let frame = packet.frame(to);
    token.consume(frame.len(), |buffer| buffer.copy_from_slice(&frame));
}

/// Asks for a neighbour.
pub(super) fn ask(token: impl TxToken, own: &Config, address: Ipv4Addr) {
    let request = ArpPacket {
        operation: REQUEST,
        sender: (EthernetAddress(own.mac), own.address),
        target: (EthernetAddress([0; 6]), address),
    };
    arp(token, &request, EthernetAddress::BROADCAST);
}
