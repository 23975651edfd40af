//! The Internet checksum (RFC 1071), which software computes if the card does not.
//!
//! smoltcp adds 16-bit words, and the compiler turns that into vector instructions, which are slow
//! under QEMU's TCG. Adding 64-bit words into a sum of 128 bits takes a sixth of the time (130 ns for
//! 1480 octets). So smoltcp is told that the card computes the checksums of IPv4, TCP and UDP. They are
//! verified before smoltcp gets a packet, and filled in after it has made one.

use crate::ip::protocol;
use crate::link::ethernet;
use crate::phy::{ChecksumCapabilities, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket};
use abi::socket::Ip;
use core::net::{Ipv4Addr, Ipv6Addr};

/// A sum of 16-bit words, in the machine's byte order and not folded yet (RFC 1071 §2 (B) and (C)). It
/// cannot overflow.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum(u128);

impl Sum {
    /// Adds octets. Their number must be even, unless nothing is added after them.
    pub fn add(self, octets: &[u8]) -> Self {
        let mut sum = self.0;
        let (words, mut rest) = octets.as_chunks::<8>();
        for word in words {
            sum += u128::from(u64::from_ne_bytes(*word));
        }
        if let Some((word, behind)) = rest.split_first_chunk::<4>() {
            sum += u128::from(u32::from_ne_bytes(*word));
            rest = behind;
        }
        if let Some((word, behind)) = rest.split_first_chunk::<2>() {
            sum += u128::from(u16::from_ne_bytes(*word));
            rest = behind;
        }
        if let [last] = rest {
            sum += u128::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(sum)
    }

    /// Adds octets while it copies them. Both slices have the same length.
    pub fn copy(self, to: &mut [u8], from: &[u8]) -> Self {
        let mut sum = self.0;
        let (places, to) = to.as_chunks_mut::<64>();
        let (blocks, from) = from.as_chunks::<64>();
        for (place, block) in places.iter_mut().zip(blocks) {
            sum += copy_words::<8>(place.as_chunks_mut().0, block.as_chunks().0);
        }
        let (places, to) = to.as_chunks_mut::<16>();
        let (blocks, from) = from.as_chunks::<16>();
        for (place, block) in places.iter_mut().zip(blocks) {
            sum += copy_words::<2>(place.as_chunks_mut().0, block.as_chunks().0);
        }
        to.copy_from_slice(from);
        Sum(sum).add(from)
    }

    /// Adds a 16-bit number as it stands in network byte order.
    pub fn add_word(self, word: u16) -> Self {
        Sum(self.0 + u128::from(word.to_be()))
    }

    /// Adds a 32-bit number as it stands in network byte order.
    pub fn add_long(self, long: u32) -> Self {
        Sum(self.0 + u128::from(long.to_be()))
    }

    /// Adds the pseudo header of TCP (RFC 9293 §3.1) or UDP (RFC 768). `len`: octets of the segment or
    /// datagram with its header.
    pub fn pseudo(self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: usize) -> Self {
        let [high, low] = (len as u16).to_be_bytes();
        self.add(&source.octets())
            .add(&destination.octets())
            .add(&[0, protocol, high, low])
    }

    /// Adds the pseudo header of either family: what an IPv4 address has in front of it in this form is
    /// another zero.
    #[inline]
    pub fn pseudo_ip(self, source: Ip, destination: Ip, protocol: u8, len: usize) -> Self {
        let [high, low] = (len as u16).to_be_bytes();
        self.add(&source.0)
            .add(&destination.0)
            .add(&[0, protocol, high, low])
    }

    /// Adds the pseudo header of IPv6 (RFC 8200 §8.1). `len`: octets of what the IPv6 header and its
    /// extension headers carry, with its own header.
    pub fn pseudo_v6(
        self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        protocol: u8,
        len: usize,
    ) -> Self {
        self.add(&source.octets())
            .add(&destination.octets())
            .add_long(len as u32)
            .add_word(protocol.into())
    }

    /// The checksum for data with this sum, in which the checksum field is 0.
    pub fn checksum(self) -> u16 {
        let (sum, carry) = ((self.0 >> 64) as u64).overflowing_add(self.0 as u64);
        // If there was a carry, the sum is not the highest number, so that this does not overflow.
        let mut sum = sum + u64::from(carry);
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        !u16::from_be(sum as u16)
    }

    /// Whether this sum, over data with its checksum, is right.
    pub fn is_right(self) -> bool {
        self.checksum() == 0
    }
}

/// Copies `WORDS` words of 8 octets. Returns their sum.
///
/// All words are loaded before one is stored. Otherwise the compiler makes one loop that copies and
/// another one that adds, which take twice as long under TCG (620 ns for 1460 octets; adding alone takes
/// 280).
fn copy_words<const WORDS: usize>(to: &mut [[u8; 8]], from: &[[u8; 8]]) -> u128 {
    let mut sum = 0;
    if let (Some(to), Some(&words)) = (to.first_chunk_mut::<WORDS>(), from.first_chunk::<WORDS>()) {
        for (place, word) in to.iter_mut().zip(words) {
            *place = word;
            sum += u128::from(u64::from_ne_bytes(word));
        }
    }
    sum
}

/// The UDP checksum for data with this sum. 0 would mean that there is none, which IPv6 does not allow,
/// so that it becomes 0xffff (RFC 768, RFC 8200 §8.1).
pub(crate) fn of_udp(sum: Sum) -> u16 {
    match sum.checksum() {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Fills in the checksums that are software's job in a frame to be sent. In a fragment, that is only
/// the one of the IPv4 header: the other one covers the whole datagram, and its maker has filled it in.
pub(crate) fn fill(frame: &mut [u8], software: &ChecksumCapabilities) -> Option<()> {
    let ethernet::Frame {
        ethertype, packet, ..
    } = ethernet::parse(frame)?;
    if ethertype != ethernet::IPV4 {
        return fill_v6(frame, software);
    }
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    let (source, destination) = (ip.src_addr(), ip.dst_addr());
    let protocol = u8::from(ip.next_header());
    let is_whole = ip.frag_offset() == 0 && !ip.more_frags();
    let (start, end) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
    let (header, payload) = frame.get_mut(14..14 + end)?.split_at_mut(start);
    if software.ipv4.tx() {
        let mut ip = Ipv4Packet::new_unchecked(&mut header[..]);
        ip.set_checksum(0);
        let sum = Sum::default().add(header);
        Ipv4Packet::new_unchecked(header).set_checksum(sum.checksum());
    }
    let pseudo = Sum::default().pseudo(source, destination, protocol, payload.len());
    match is_whole {
        true => fill_transport(protocol, pseudo, payload, software),
        false => Some(()),
    }
}

/// The same for IPv6, whose header has no checksum. What comes behind extension headers is not filled
/// in: the stack sends TCP and UDP without any, or in fragments.
#[inline(never)]
fn fill_v6(frame: &mut [u8], software: &ChecksumCapabilities) -> Option<()> {
    let ethernet::Frame {
        ethertype, packet, ..
    } = ethernet::parse(frame)?;
    if ethertype != ethernet::IPV6 {
        return None;
    }
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    let (source, destination) = (ip.src_addr(), ip.dst_addr());
    let protocol = u8::from(ip.next_header());
    let end = ip.total_len();
    let payload = frame.get_mut(14 + ethernet::IPV6_HEADER..14 + end)?;
    let pseudo = Sum::default().pseudo_v6(source, destination, protocol, payload.len());
    fill_transport(protocol, pseudo, payload, software)
}

/// Fills in the checksum of TCP or UDP, which begins with this sum over its pseudo header.
#[inline(always)]
fn fill_transport(
    protocol: u8,
    pseudo: Sum,
    payload: &mut [u8],
    software: &ChecksumCapabilities,
) -> Option<()> {
    match protocol {
        protocol::TCP if software.tcp.tx() => {
            TcpPacket::new_checked(&mut payload[..])
                .ok()?
                .set_checksum(0);
            let checksum = pseudo.add(payload).checksum();
            TcpPacket::new_unchecked(payload).set_checksum(checksum);
        }
        protocol::UDP if software.udp.tx() => {
            UdpPacket::new_checked(&mut payload[..])
                .ok()?
                .set_checksum(0);
            let checksum = of_udp(pseudo.add(payload));
            UdpPacket::new_unchecked(payload).set_checksum(checksum);
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::ip::interface::Interface;
    use crate::packet::parse;
    use crate::tests::frames::{Segment, fragments, udp};
    use crate::tests::world::{Chance, PEER_IP, SERVER_MAC};
    use crate::verdict::DropReason;
    use alloc::vec;
    use alloc::vec::Vec;
    use smoltcp::wire::{IpAddress, IpProtocol, TcpControl};

    /// The definition: 16-bit words in network order, carries added at the low end.
    fn slow(octets: &[u8]) -> u16 {
        let words = octets.chunks(2);
        let word = |two: &[u8]| u16::from_be_bytes([two[0], *two.get(1).unwrap_or(&0)]);
        let add = |sum: u16, two| {
            let (sum, carry) = sum.overflowing_add(word(two));
            sum + u16::from(carry)
        };
        !words.fold(0, add)
    }

    fn segment(chance: &mut Chance, len: usize) -> Vec<u8> {
        Segment {
            peer: (PEER_IP, chance.next() as u16),
            port: 80,
            control: TcpControl::Psh,
            seq: chance.next() as u32,
            ack: Some(chance.next() as u32),
            data: chance.octets(len),
        }
        .frame()
    }

    #[test]
    fn it_is_the_sum_of_all_words_at_every_length_and_place() {
        let mut chance = Chance(1);
        for len in 0..300 {
            for octets in [
                chance.octets(len + 8),
                vec![0xff; len + 8],
                vec![0; len + 8],
            ] {
                for start in 0..8 {
                    let octets = &octets[start..start + len];
                    assert_eq!(Sum::default().add(octets).checksum(), slow(octets));
                    let (one, two) = octets.split_at(len / 4 * 2);
                    let parts = Sum::default().add(one).add(two);
                    assert_eq!(parts.checksum(), slow(octets));
                }
            }
        }
        for len in [0, 1, 7, 8, 15, 16, 63, 64, 65, 130, 1447, 1460] {
            let octets = chance.octets(len + 8);
            let (mut place, part) = (vec![0xee; len], &octets[3..3 + len]);
            let (word, long) = (chance.next() as u16, chance.next() as u32);
            let mut all = [&word.to_be_bytes()[..], &long.to_be_bytes()].concat();
            all.extend_from_slice(part);
            let sum = Sum::default().add_word(word).add_long(long);
            assert_eq!(sum.copy(&mut place, part).checksum(), slow(&all));
            assert_eq!(place, part);
        }
        let long = vec![0xff; 1 << 20];
        assert_eq!(Sum::default().add(&long).checksum(), slow(&long));
    }

    #[test]
    fn what_is_filled_in_is_what_smoltcp_fills_in() {
        let mut chance = Chance(2);
        let all = ChecksumCapabilities::default();
        for round in 0..2000 {
            let len = chance.below(1400) as usize;
            let good = match round % 2 {
                0 => segment(&mut chance, len),
                _ => udp((PEER_IP, chance.next() as u16), 7, &chance.octets(len)),
            };
            let mut frame = good.clone();
            frame[24..26].fill(0);
            let at = if round % 2 == 0 { 34 + 16 } else { 34 + 6 };
            frame[at..at + 2].fill(0);
            let without = frame.clone();
            fill(&mut frame, &ChecksumCapabilities::ignored());
            assert_eq!(frame, without);
            fill(&mut frame, &all);
            assert_eq!(frame, good);
        }
    }

    #[test]
    fn one_wrong_bit_is_seen_where_it_is_softwares_job() {
        let mut chance = Chance(3);
        let own = Interface::new(&Config::new(SERVER_MAC, 1));
        let (all, none) = (
            ChecksumCapabilities::default(),
            ChecksumCapabilities::ignored(),
        );
        let damaged = |frame: &[u8], software| {
            use DropReason::{IpChecksum, TcpChecksum, UdpChecksum};
            let refused = parse(frame, &own, software).err();
            matches!(refused, Some(IpChecksum | TcpChecksum | UdpChecksum))
        };
        for len in [0, 1, 2, 63, 64, 1001] {
            let tcp = segment(&mut chance, len);
            let datagram = udp((PEER_IP, 999), 7, &chance.octets(len));
            for good in [tcp, datagram] {
                assert!(!damaged(&good, &all));
                for at in 34..good.len() {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << chance.below(8);
                    let cut_short = parse(&bad, &own, &none).is_err();
                    let is_udp_len = good[23] == 17 && (38..40).contains(&at);
                    assert!(damaged(&bad, &all) || cut_short || is_udp_len, "octet {at}");
                    assert!(!damaged(&bad, &none));
                }
                let mut bad = good.clone();
                bad[22] ^= 1;
                assert!(damaged(&bad, &all) && !damaged(&bad, &none));
            }
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_is_not_damaged_and_none_is_sent() {
        let own = Interface::new(&Config::new(SERVER_MAC, 1));
        let all = ChecksumCapabilities::default();
        let mut without = udp((PEER_IP, 999), 7, b"no checksum");
        without[40..42].fill(0);
        assert!(parse(&without, &own, &all).is_ok());
        // The data make the sum right without a checksum: then it is sent as ones.
        let mut zero = udp((PEER_IP, 999), 7, &[0; 2]);
        let sum = UdpPacket::new_unchecked(&zero[34..]).checksum();
        zero[42..44].copy_from_slice(&sum.to_be_bytes());
        fill(&mut zero, &all);
        let filled = UdpPacket::new_unchecked(&zero[34..]);
        assert_eq!(filled.checksum(), 0xffff);
        let (from, to) = (IpAddress::Ipv4(PEER_IP.into()), own.ipv4().into());
        assert!(filled.verify_checksum(&from, &to));
    }

    #[test]
    fn a_carry_out_of_the_highest_word_counts() {
        let mut octets = [0xff; 24];
        octets[16..].copy_from_slice(&1u64.to_ne_bytes());
        let one = Sum::default().add(&octets[16..]);
        // Words of ones are another zero in this arithmetic.
        assert_eq!(Sum::default().add(&octets).checksum(), one.checksum());
    }

    #[test]
    fn of_fragments_only_the_header_is_summed_up() {
        let mut chance = Chance(4);
        let whole = udp((PEER_IP, 999), 7, &chance.octets(4000));
        let good = fragments(IpProtocol::Udp, &whole[34..], 1480);
        for good in good {
            for protocol in [17, 6] {
                let mut good = good.clone();
                good[23] = protocol;
                Ipv4Packet::new_unchecked(&mut good[14..]).fill_checksum();
                let mut frame = good.clone();
                frame[24..26].fill(0);
                fill(&mut frame, &ChecksumCapabilities::default());
                assert_eq!(frame, good);
            }
        }
    }

    #[test]
    fn damaged_frames_are_filled_without_harm() {
        let mut chance = Chance(5);
        let own = Interface::new(&Config::new(SERVER_MAC, 1));
        let all = ChecksumCapabilities::default();
        for _ in 0..20_000 {
            let len = chance.below(64) as usize;
            let mut frame = segment(&mut chance, len);
            for _ in 0..chance.below(5) {
                let at = 12 + chance.below(frame.len() as u64 - 12) as usize;
                frame[at] = chance.next() as u8;
            }
            frame.truncate(chance.below(frame.len() as u64 + 1) as usize);
            let _ = parse(&frame, &own, &all);
            fill(&mut frame, &all);
        }
    }
}
