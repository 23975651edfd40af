//! The two frames that the stack sends without smoltcp. The token fills in checksums, as
//! in smoltcp's frames.

use super::peek::Segment;
use super::time_wait::LastWord;
use crate::config::Config;
use core::net::Ipv4Addr;
use smoltcp::phy::{ChecksumCapabilities, TxToken};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
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
