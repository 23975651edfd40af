//! The packets that samples are made of, right ones.

use super::{ARP, ETHERNET, ICMP, IP_CHECKSUM, Maker, TCP, UDP};
use alloc::vec;
use alloc::vec::Vec;

impl Maker<'_> {
    pub fn ethernet(&self, kind: u16, payload: &[u8]) -> Vec<u8> {
        let (to, from) = (self.ends.mac, self.ends.peer_mac);
        [&to[..], &from, &kind.to_be_bytes(), payload].concat()
    }

    pub fn arp(&self, target: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
        packet.extend(self.ends.peer_mac);
        packet.extend(self.ends.peer_ip);
        packet.extend([0; 6]);
        packet.extend(target);
        self.ethernet(ARP, &packet)
    }

    pub fn ipv4(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend((20 + body.len() as u16).to_be_bytes());
        packet.extend(self.number.to_be_bytes());
        packet.extend([0, 0, 64, protocol, 0, 0]);
        packet.extend(self.ends.peer_ip);
        packet.extend(self.ends.ip);
        let sum = !sum(&packet, 0);
        put(&mut packet, 10, sum);
        packet.extend(body);
        packet
    }

    pub fn echo_request(&mut self, most: usize) -> Vec<u8> {
        let mut message = vec![8, 0, 0, 0, 0x57, 0x48];
        message.extend(self.number.to_be_bytes());
        message.extend(self.data(most));
        let sum = !sum(&message, 0);
        put(&mut message, 2, sum);
        self.says(format_args!("echo request of {} octets", message.len()));
        self.ipv4(ICMP, &message)
    }

    pub fn datagram(&mut self, (from, to): (u16, u16), summed: bool) -> Vec<u8> {
        let data = self.data(1466);
        let mut message = [from, to, 8 + data.len() as u16, 0]
            .map(u16::to_be_bytes)
            .concat();
        message.extend(data);
        if summed {
            let sum = match !self.transport_sum(UDP, &message) {
                0 => 0xffff,
                sum => sum,
            };
            put(&mut message, 6, sum);
        }
        let how = if summed { "with" } else { "without" };
        self.says(format_args!(
            "UDP to {to} {how} checksum, {} octets",
            message.len()
        ));
        self.ipv4(UDP, &message)
    }

    pub fn segment(&mut self, (from, to): (u16, u16), flags: u8, most: usize) -> Vec<u8> {
        let mut message = [from, to].map(u16::to_be_bytes).concat();
        message.extend((self.rng.next() as u32).to_be_bytes());
        message.extend((self.rng.next() as u32).to_be_bytes());
        message.extend([5 << 4, flags, 0x20, 0, 0, 0, 0, 0]);
        message.extend(self.data(most));
        let sum = !self.transport_sum(TCP, &message);
        put(&mut message, 16, sum);
        self.says(format_args!(
            "TCP flags {flags:#x}, {} octets",
            message.len()
        ));
        self.ipv4(TCP, &message)
    }

    fn transport_sum(&self, protocol: u8, message: &[u8]) -> u16 {
        let addresses = [self.ends.peer_ip, self.ends.ip].concat();
        let rest = u32::from(protocol) + message.len() as u32;
        sum(message, u32::from(sum(&addresses, rest)))
    }
}

/// Puts the right checksum into the IPv4 header of a frame that has all of it.
pub fn finish_header(frame: &mut [u8]) {
    let end = ETHERNET + usize::from(frame[ETHERNET] & 15) * 4;
    put(frame, IP_CHECKSUM, 0);
    let sum = !sum(&frame[ETHERNET..end.min(frame.len())], 0);
    put(frame, IP_CHECKSUM, sum);
}

/// Sum of words in ones' complement (RFC 1071).
pub fn sum(bytes: &[u8], start: u32) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let words = pairs
        .iter()
        .map(|&pair| u32::from(u16::from_be_bytes(pair)));
    let odd = odd.first().map_or(0, |&byte| u32::from(byte) << 8);
    let mut sum = start + odd + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
