//! TCP segments with any flags and options, made and read by hand.

use crate::tests::frames::ipv4;
use crate::tests::world::{PEER_IP, SERVER_IP};
use smoltcp::wire::{EthernetFrame, IpAddress, IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber};
use std::vec;
use std::vec::Vec;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;

/// A segment, with any flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub ports: (u16, u16),
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub data: Vec<u8>,
    /// Options, in whole words.
    pub options: Vec<u8>,
}

impl Raw {
    /// The frame that carries it to the server.
    pub fn frame(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut tcp = vec![0; 20];
        tcp.extend(&self.options);
        tcp.extend(&self.data);
        let mut packet = TcpPacket::new_unchecked(&mut tcp);
        packet.set_src_port(self.ports.0);
        packet.set_dst_port(self.ports.1);
        packet.set_seq_number(TcpSeqNumber(self.seq as i32));
        packet.set_ack_number(TcpSeqNumber(self.ack as i32));
        packet.set_header_len(header as u8);
        packet.set_window_len(self.window);
        let (from, to) = (
            IpAddress::Ipv4(PEER_IP.into()),
            IpAddress::Ipv4(SERVER_IP.into()),
        );
        tcp[13] = self.flags;
        TcpPacket::new_unchecked(&mut tcp).fill_checksum(&from, &to);
        ipv4(PEER_IP, SERVER_IP, IpProtocol::Tcp, &tcp)
    }

    /// A segment that the server sent; checked.
    pub fn read(frame: &[u8]) -> Option<Raw> {
        let ethernet = EthernetFrame::new_checked(frame).unwrap();
        if u16::from(ethernet.ethertype()) != 0x0800 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
        let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
        assert!(tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
        Some(Raw {
            ports: (tcp.src_port(), tcp.dst_port()),
            flags: ip.payload()[13],
            seq: tcp.seq_number().0 as u32,
            ack: tcp.ack_number().0 as u32,
            window: tcp.window_len(),
            data: tcp.payload().to_vec(),
            options: tcp.options().to_vec(),
        })
    }
}
