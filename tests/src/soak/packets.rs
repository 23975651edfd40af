//! What attackers put on the wire: packets with any field as one likes, and the checksums that make
//! a wrong one look right.

use super::dice::Dice;
use crate::frames::{ICMP, IPV4, Ip, Segment, TCP, UDP, checksum, ethernet, ipv4};
use crate::wire::{OUR_MAC, Wire};
use nic::model::Rng;
use std::net::Ipv6Addr;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
pub const IPV6: u16 = 0x86dd;
/// The protocol of ICMPv6.
pub const ICMPV6: u8 = 58;
/// More TCP flags: an urgent pointer, and those of RFC 3168.
pub const URG: u8 = 0x20;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// A segment of which everything can be said.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    pub from: Ip,
    pub header: Segment,
    pub window: u16,
    pub urgent: u16,
    /// Filled up to whole words.
    pub options: &'a [u8],
    pub data: &'a [u8],
}

impl Tcp<'_> {
    /// Its frame to the guest.
    pub fn frame(&self, wire: &Wire) -> Vec<u8> {
        let mut message = Vec::new();
        let Segment {
            ports,
            seq,
            ack,
            flags,
        } = self.header;
        message.extend(ports.0.to_be_bytes());
        message.extend(ports.1.to_be_bytes());
        message.extend(seq.to_be_bytes());
        message.extend(ack.to_be_bytes());
        let words = self.options.len().div_ceil(4).min(10);
        message.extend([(5 + words as u8) << 4, flags]);
        message.extend(self.window.to_be_bytes());
        message.extend([0, 0]);
        message.extend(self.urgent.to_be_bytes());
        message.extend(&self.options[..self.options.len().min(40)]);
        message.resize(20 + 4 * words, 0);
        message.extend(self.data);
        to_guest(wire, &ipv4(self.from, wire.guest_ip, TCP, &message))
    }
}

/// An IPv4 packet as a frame to the guest, with right checksums as far as its lengths allow.
pub fn to_guest(wire: &Wire, packet: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(wire.guest_mac, OUR_MAC, IPV4, packet);
    fix(&mut frame);
    frame
}

/// Puts 16 bits to a place, if it is there.
pub fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Makes the checksums of an IP packet and of what it carries right, as far as its lengths allow.
pub fn fix(frame: &mut [u8]) {
    match frame.get(12..14) {
        Some([0x86, 0xdd]) => fix_v6(frame),
        _ => fix_v4(frame),
    }
}

/// Of IPv6 (RFC 8200 §8.1), whose header has none, also behind extension headers.
fn fix_v6(frame: &mut [u8]) {
    const HEADER: usize = 40;
    const OPTIONS: [u8; 3] = [0, 43, 60];
    let packet = frame.get_mut(ETHERNET..);
    let Some((header, rest)) = packet.and_then(|packet| packet.split_at_mut_checked(HEADER)) else {
        return;
    };
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let Some(mut rest) = rest.get_mut(..len) else {
        return;
    };
    let mut next = header[6];
    while OPTIONS.contains(&next) && rest.len() >= 8 {
        let len = 8 * (usize::from(rest[1]) + 1);
        next = rest[0];
        let Some(behind) = rest.get_mut(len..) else {
            return;
        };
        rest = behind;
    }
    let place = match next {
        TCP => 16,
        UDP => 6,
        ICMPV6 => 2,
        _ => return,
    };
    if rest.len() < place + 2 {
        return;
    }
    put(rest, place, 0);
    let len = (rest.len() as u16).to_be_bytes();
    let sum = checksum(&[&header[8..], &[0, next], &len, rest]);
    let sum = if sum == 0 { 0xffff } else { sum };
    put(rest, place, sum);
}

fn fix_v4(frame: &mut [u8]) {
    let Some(packet) = frame
        .get_mut(ETHERNET..)
        .filter(|packet| packet.len() >= 20)
    else {
        return;
    };
    let header = usize::from(packet[0] & 15) * 4;
    if header < 20 || header > packet.len() {
        return;
    }
    put(packet, 10, 0);
    let sum = checksum(&[&packet[..header]]);
    put(packet, 10, sum);
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let is_fragment = packet[6] & 0x3f != 0 || packet[7] != 0;
    if is_fragment || total < header || total > packet.len() {
        return;
    }
    let protocol = packet[9];
    let addresses: [u8; 8] = packet[12..20].try_into().unwrap_or_default();
    let message = &mut packet[header..total];
    let place = match protocol {
        TCP => 16,
        UDP => 6,
        ICMP => 2,
        _ => return,
    };
    if message.len() < place + 2 {
        return;
    }
    put(message, place, 0);
    let len = (message.len() as u16).to_be_bytes();
    let sum = match protocol {
        ICMP => checksum(&[message]),
        _ => checksum(&[&addresses, &[0, protocol], &len, message]),
    };
    put(message, place, sum);
}

/// An ICMP message to the guest: type, code, the second word, and what follows.
pub fn icmp(wire: &Wire, (kind, code): (u8, u8), word: u32, data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(data);
    to_guest(wire, &ipv4(wire.ip, wire.guest_ip, ICMP, &message))
}

/// An IPv6 packet as a frame to this station, with right checksums.
pub fn ipv6(station: [u8; 6], ends: [Ipv6Addr; 2], next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    // Neighbour discovery wants that no router has passed it on (RFC 4861 §7.1).
    packet.extend([next, 255]);
    packet.extend(ends.iter().flat_map(Ipv6Addr::octets));
    packet.extend(body);
    let mut frame = ethernet(station, OUR_MAC, IPV6, &packet);
    fix(&mut frame);
    frame
}

/// A packet as a fragment: its place in units of 8 octets, and whether more follow.
pub fn fragment(packet: &[u8], number: u16, place: u16, more: bool) -> Vec<u8> {
    let mut packet = packet.to_vec();
    put(&mut packet, 4, number);
    put(&mut packet, 6, place & 0x1fff | u16::from(more) << 13);
    put(&mut packet, 10, 0);
    let sum = checksum(&[&packet[..20]]);
    put(&mut packet, 10, sum);
    packet
}

/// The frame, changed in one to four ways behind its addresses; half of the time with checksums made
/// right, so that it gets further. `other` is what parts are taken from.
pub fn mutate(dice: &mut Rng, frame: &[u8], other: &[u8]) -> Vec<u8> {
    /// No frame is longer, with two tags; and without its addresses it is none.
    const LONGEST: usize = 1522;
    const LEAST: usize = ETHERNET;
    /// Headers end before that.
    const HEADERS: usize = 90;
    let mut frame = frame.to_vec();
    for _ in 0..dice.between(1, 5) {
        let len = frame.len();
        if len <= LEAST {
            break;
        }
        let anywhere = dice.between(12, len);
        let early = dice.between(12, len.min(HEADERS));
        match dice.below(10) {
            0 | 1 => frame[anywhere] ^= 1 << dice.below(8),
            2 | 3 => frame[early] ^= 1 << dice.below(8),
            4 => frame[early] = dice.edge() as u8,
            5 => put(&mut frame, early & !1, dice.edge()),
            6 => frame.truncate(anywhere.max(LEAST)),
            7 => {
                let more = dice.between(1, 64);
                frame.extend(dice.bytes(more));
            }
            8 => {
                let end = (early + dice.between(1, 32)).min(len);
                frame.drain(early..end);
            }
            _ => {
                let from = dice.below(other.len());
                let to = (from + dice.between(1, 64)).min(other.len());
                frame.splice(early..early, other[from..to].iter().copied());
            }
        }
        frame.truncate(LONGEST);
        frame.resize(frame.len().max(LEAST), 0);
    }
    if dice.one_in(2) {
        fix(&mut frame);
    }
    frame
}

/// Whether this frame may be sent. QEMU 10.0.2's 82576 walks the extension headers of IPv6 (RFC 8200
/// §4) without regard to the frame's end, and its process dies by a segmentation fault: no guest can
/// help that, so such a frame is nothing to try a guest with.
pub fn is_safe_for_qemu(frame: &[u8]) -> bool {
    const TAGS: [[u8; 2]; 2] = [[0x81, 0], [0x88, 0xa8]];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    /// Hop-by-hop and destination options, routing, fragment, ESP, authentication, mobility.
    const EXTENSIONS: [u8; 7] = [0, 60, 43, 44, 50, 51, 135];
    let mut rest = &frame[12..];
    while rest.len() >= 4 && TAGS.iter().any(|tag| rest.starts_with(tag)) {
        rest = &rest[4..];
    }
    if !rest.starts_with(&IPV6) {
        return true;
    }
    let packet = &rest[2..];
    let (mut next, mut at) = (packet.get(6).copied().unwrap_or(0), 40);
    while EXTENSIONS.contains(&next) {
        match packet.get(at..at + 8) {
            Some(header) => {
                next = header[0];
                at += 8 * (usize::from(header[1]) + 1);
            }
            None => return false,
        }
    }
    at <= packet.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_whose_extension_headers_end_behind_the_frame_is_not_sent() {
        let frame = |packet: &[u8]| [&[2; 12][..], &[0x86, 0xdd], packet].concat();
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 43, 64];
        packet.extend([9; 32]);
        packet.extend([17, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 8, 0, 0]);
        assert!(is_safe_for_qemu(&frame(&packet)));
        assert!(!is_safe_for_qemu(&frame(&packet[..47])));
        packet[41] = 2;
        assert!(!is_safe_for_qemu(&frame(&packet)));
        packet[6] = 17;
        assert!(is_safe_for_qemu(&frame(&packet)));
        let tagged = [&[2; 12][..], &[0x81, 0, 0, 7, 0x86, 0xdd, 0x60]].concat();
        assert!(!is_safe_for_qemu(&tagged));
        assert!(is_safe_for_qemu(&[2; 14]));
    }
    use crate::frames::{Packet, echo_request, flag, parse};
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn segments_are_what_they_say_and_right() {
        let wire = Wire::new(UnixDatagram::pair().unwrap().0).unwrap();
        let header = Segment {
            ports: (1, 80),
            seq: 5,
            ack: 6,
            flags: flag::ACK | URG,
        };
        let frame = Tcp {
            from: wire.ip,
            header,
            window: 3,
            urgent: 9,
            options: &[2, 4, 5],
            data: b"xyz",
        }
        .frame(&wire);
        let data = b"xyz".to_vec();
        let ips = (wire.ip, wire.guest_ip);
        let segment = header;
        assert_eq!(parse(&frame), Some(Packet::Segment { ips, segment, data }));
    }

    #[test]
    fn sums_of_ipv6_are_fixed_behind_extension_headers() {
        // An echo request (RFC 4443 §4.1), summed up by hand.
        let ends = [Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1); 2];
        let message = [128, 0, 0xab, 0xcd, 0, 7, 0, 1];
        let frame = ipv6([2; 6], ends, ICMPV6, &message);
        assert_eq!(frame[56..58], [0x82, 0xb1]);
        let behind = [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
        let other = ipv6([2; 6], ends, 60, &behind);
        assert_eq!(other[64..66], [0x82, 0xb1]);
    }

    #[test]
    fn what_is_fixed_is_right_and_what_is_changed_repeats_by_the_seed() {
        let packet = echo_request(([1; 4], [2; 4]), (1, 2), &[7; 90]);
        let good = ethernet([2; 6], [4; 6], IPV4, &packet);
        let mut frame = good.clone();
        frame[60] ^= 1;
        frame[24] ^= 1;
        assert_eq!(parse(&frame), None);
        frame[60] ^= 3;
        fix(&mut frame);
        assert!(parse(&frame).is_some());
        let mut right = 0;
        for seed in 0..2000 {
            let changed = mutate(&mut Rng::new(seed), &good, &[9; 100]);
            assert_eq!(changed, mutate(&mut Rng::new(seed), &good, &[9; 100]));
            assert!((ETHERNET..=1522).contains(&changed.len()));
            assert_eq!(changed[..12], good[..12]);
            right += usize::from(parse(&changed).is_some() && changed != good);
        }
        assert!(right > 200, "only {right} get as far as ICMP");
    }
}
