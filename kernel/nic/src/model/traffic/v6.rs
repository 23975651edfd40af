//! IPv6 packets (RFC 8200), to an address that is not the host's: nobody answers them.

use super::packets::{put, sum};
use super::{Answer, IPV6, Maker, TCP, UDP};
use alloc::vec;
use alloc::vec::Vec;

/// Extension headers, and the protocol of ICMPv6.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;
const ICMPV6: u8 = 58;

impl Maker<'_> {
    /// The frames of a packet, one or two.
    pub fn ipv6(&mut self) -> Vec<Vec<u8>> {
        self.only(Answer::No);
        let (protocol, body) = self.ipv6_body();
        let len = body.len() / 16 * 8;
        if len == 0 || !self.rng.one_in(4) {
            let (next, extensions) = self.extensions(protocol);
            return vec![self.ipv6_packet(next, &[extensions, body].concat())];
        }
        // Whatever is in front of the header of a fragment is in each (RFC 8200 §4.5).
        let (next, extensions) = self.extensions(FRAGMENT);
        self.says(format_args!("in two fragments"));
        let number = u32::from(self.number);
        let fragment = |at: usize, more: u16, part: &[u8]| {
            let mut fragment = extensions.clone();
            fragment.extend([protocol, 0]);
            fragment.extend((at as u16 | more).to_be_bytes());
            fragment.extend(number.to_be_bytes());
            fragment.extend(part);
            self.ipv6_packet(next, &fragment)
        };
        let (first, second) = body.split_at(len);
        vec![fragment(0, 1, first), fragment(len, 0, second)]
    }

    fn ipv6_addresses(&self) -> [[u8; 16]; 2] {
        let [high, low] = self.number.to_be_bytes();
        let peer = [
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0, high, low,
        ];
        let nobody = [
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x77, 0x77, 0, 0xff, 0xfe, 0, high, low,
        ];
        [peer, nobody]
    }

    fn ipv6_packet(&self, next: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((body.len() as u16).to_be_bytes());
        packet.extend([next, 64]);
        packet.extend(self.ipv6_addresses().as_flattened());
        packet.extend(body);
        self.ethernet(IPV6, &packet)
    }

    /// What it carries, and the protocol of that.
    fn ipv6_body(&mut self) -> (u8, Vec<u8>) {
        let data = self.data(1200);
        let (protocol, mut body, at) = match self.rng.below(4) {
            0 => {
                self.says(format_args!("UDP over IPv6"));
                let len = 8 + data.len() as u16;
                (UDP, [4444, 7, len, 0].map(u16::to_be_bytes).concat(), 6)
            }
            1 => {
                self.says(format_args!("TCP over IPv6"));
                let mut header = [4444_u16, 7].map(u16::to_be_bytes).concat();
                header.extend([0, 0, 0, 1, 0, 0, 0, 2, 5 << 4, 0x10, 0x20, 0, 0, 0, 0, 0]);
                (TCP, header, 16)
            }
            2 => {
                self.says(format_args!("ICMPv6 echo request"));
                (ICMPV6, vec![128, 0, 0, 0, 0x57, 0x48, 0, 1], 2)
            }
            _ => {
                // RFC 4861 §4.3, with the option that names the sender's station.
                self.says(format_args!("neighbour solicitation"));
                let [_, nobody] = self.ipv6_addresses();
                let mut header = vec![135, 0, 0, 0, 0, 0, 0, 0];
                header.extend(nobody);
                header.extend([1, 1]);
                header.extend(self.ends.peer_mac);
                (ICMPV6, header, 2)
            }
        };
        if !matches!(body[0], 135) {
            body.extend(data);
        }
        let rest = u32::from(protocol) + body.len() as u32;
        let pseudo = sum(self.ipv6_addresses().as_flattened(), rest);
        let checksum = match !sum(&body, u32::from(pseudo)) {
            0 => 0xffff,
            checksum => checksum,
        };
        match self.rng.below(6) {
            0 => self.says(format_args!("without checksum")),
            1 => {
                self.says(format_args!("wrong checksum"));
                put(&mut body, at, checksum ^ 0x100);
            }
            _ => put(&mut body, at, checksum),
        }
        (protocol, body)
    }

    /// Extension headers in front of a protocol, and what the first of them is.
    fn extensions(&mut self, protocol: u8) -> (u8, Vec<u8>) {
        let kinds: &[u8] = match self.rng.below(10) {
            0 => &[HOP_BY_HOP],
            1 => &[OPTIONS],
            2 => &[ROUTING],
            // A fragment that is the whole packet (RFC 6946).
            3 => &[FRAGMENT],
            4 => &[HOP_BY_HOP, OPTIONS, ROUTING, OPTIONS],
            5 => &[OPTIONS; 12],
            _ => &[],
        };
        if !kinds.is_empty() {
            self.says(format_args!("behind headers {kinds:?}"));
        }
        let (mut next, mut all) = (protocol, Vec::new());
        for &kind in kinds.iter().rev() {
            let header = match kind {
                ROUTING | FRAGMENT => [next, 0, 0, 0, 0, 0, 0, 0],
                // An option that only fills up (RFC 8200 §4.2).
                _ => [next, 0, 1, 4, 0, 0, 0, 0],
            };
            all.splice(0..0, header);
            next = kind;
        }
        (next, all)
    }
}
