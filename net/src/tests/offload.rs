//! What is left to us by a card that does checksums and cuts segments.

use super::world::*;
use crate::Config;
use crate::phy::{DeviceCapabilities, announce, is_acceptable, is_of_vlan, is_tcp};
use crate::tests::frames::{Segment, arp_reply, fragments, ipv4, ping, udp};
use abi::Pid;
use abi::nic::Segmentation;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, TcpControl, TcpPacket};
use std::vec::Vec;

/// What the driver of the 82576 says of it.
const IGB: Segmentation = Segmentation {
    frame_max: 65_536,
    segment_max: 1514,
    payload_min: 64,
    headers_max: 144,
};

fn segment(control: TcpControl, len: usize) -> Vec<u8> {
    Segment {
        peer: (PEER_IP, 5000),
        port: 80,
        control,
        seq: u32::MAX - 1000,
        ack: Some(77),
        data: Chance(1).octets(len),
    }
    .frame()
}

#[test]
fn only_whole_tcp_segments_have_a_tcp_checksum() {
    assert!(is_tcp(&segment(TcpControl::Psh, 10)));
    assert!(!is_tcp(&udp((PEER_IP, 5000), 7, b"hello")));
    assert!(!is_tcp(&arp_reply(PEER_IP)));
    let tcp = segment(TcpControl::Psh, 1000);
    for fragment in fragments(IpProtocol::Tcp, &tcp[34..], 400) {
        assert!(!is_tcp(&fragment));
        // Nobody can tell before all have come.
        assert!(is_acceptable(&fragment));
        let mut bad = fragment.clone();
        bad[22] ^= 1;
        assert!(!is_acceptable(&bad));
    }
}

#[test]
fn what_the_card_did_not_verify_is_verified() {
    let good = segment(TcpControl::Psh, 100);
    assert!(is_acceptable(&good));
    for at in 14..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(!is_acceptable(&bad), "byte {at}");
    }
    // These smoltcp verifies itself, but for the IPv4 header.
    let echo = ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"hello"));
    for other in [udp((PEER_IP, 5000), 7, b"hello"), echo] {
        let mut bad = other.clone();
        *bad.last_mut().expect("data") ^= 1;
        assert!(is_acceptable(&other) && is_acceptable(&bad));
        bad[22] ^= 1;
        assert!(!is_acceptable(&bad));
    }
    assert!(is_acceptable(&arp_reply(PEER_IP)));
}

#[test]
fn what_a_card_does_is_not_done_again() {
    let mut capabilities = DeviceCapabilities::default();
    announce(&mut capabilities);
    let left = capabilities.checksum;
    assert!(left.ipv4.tx() && !left.ipv4.rx());
    assert!(!left.tcp.tx() && !left.tcp.rx());
    assert!(left.udp.tx() && left.udp.rx());
}

#[test]
fn what_fills_a_short_frame_is_not_part_of_its_segment() {
    let mut frame = segment(TcpControl::None, 1);
    frame.resize(60, 0xee);
    assert!(is_acceptable(&frame) && is_tcp(&frame));
    frame[54] ^= 1;
    assert!(!is_acceptable(&frame));
}

#[test]
fn damaged_frames_are_looked_at_without_harm() {
    let mut chance = Chance(7);
    for _ in 0..20_000 {
        let mut frame = segment(TcpControl::Fin, chance.below(64) as usize);
        for _ in 0..chance.below(4) {
            let at = chance.below(frame.len() as u64) as usize;
            frame[at] = chance.next() as u8;
        }
        frame.truncate(chance.below(frame.len() as u64 + 1) as usize);
        is_tcp(&frame);
        is_acceptable(&frame);
    }
}

/// What a card puts on the wire of a frame that it is to cut into pieces of `size`, or to send whole
/// with the checksum of TCP.
pub fn sent(frame: Vec<u8>, size: Option<usize>, limits: Segmentation) -> Vec<Vec<u8>> {
    if !is_tcp(&frame) && size.is_none() {
        return [frame].into();
    }
    let ip = Ipv4Packet::new_unchecked(&frame[14..]);
    let (from, to) = (ip.src_addr(), ip.dst_addr());
    let tcp = 14 + usize::from(ip.header_len());
    let header = TcpPacket::new_unchecked(&frame[tcp..]);
    let (sequence, payload) = (header.seq_number(), tcp + usize::from(header.header_len()));
    if let Some(size) = size {
        assert!(limits.takes(payload, size), "segments of {size} octets");
    }
    let data = &frame[payload..];
    let size = size.unwrap_or(data.len().max(1));
    let mut at = 0;
    let mut frames = Vec::new();
    while at < data.len() || frames.is_empty() {
        let piece = &data[at..data.len().min(at + size)];
        let mut one = [&frame[..payload], piece].concat();
        let len = one.len() as u16 - 14;
        let mut ip = Ipv4Packet::new_unchecked(&mut one[14..]);
        ip.set_total_len(len);
        ip.fill_checksum();
        let mut header = TcpPacket::new_unchecked(&mut one[tcp..]);
        header.set_seq_number(sequence + at);
        header.fill_checksum(&IpAddress::Ipv4(from), &IpAddress::Ipv4(to));
        at += piece.len();
        frames.push(one);
    }
    frames
}

/// The SYN of a peer that takes segments of so many octets (RFC 9293 §3.7.1).
fn syn(mss: u16) -> Vec<u8> {
    let mut frame = Segment::syn(5000, 80, 7).frame();
    assert_eq!(frame[54..58], [2, 4, 0x05, 0xb4]);
    frame[56..58].copy_from_slice(&mss.to_be_bytes());
    let (from, to) = (PEER_IP.into(), SERVER_IP.into());
    let mut tcp = TcpPacket::new_unchecked(&mut frame[34..]);
    tcp.fill_checksum(&IpAddress::Ipv4(from), &IpAddress::Ipv4(to));
    frame
}

/// All that a program sends reaches a peer with this MSS, byte by byte; returns the longest segment.
fn reaches(limits: Segmentation, mss: u16) -> usize {
    const PROGRAM: Pid = Pid(3);
    let mut world = World::as_configured(Config::new(SERVER_MAC, u64::from(mss)));
    world.server = {
        let mut nic = nic(64);
        nic.segmentation = limits;
        crate::Server::new(Config::new(SERVER_MAC, u64::from(mss)), nic, world.now).unwrap()
    };
    let listener = world.listener(PROGRAM, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    world.inject(&syn(mss));
    let frames = world.frames();
    let answer = frames.iter().find_map(|frame| Segment::read(frame));
    let first = Segment::after(&answer.expect("a SYN-ACK"), TcpControl::None);
    world.inject(&first.frame());
    world.frames();
    let socket = world.accept(PROGRAM, listener);
    let file = Chance(mss.into()).octets(30_000);
    let token = world.begin_send(PROGRAM, socket, &file);
    let (mut got, mut longest) = (Vec::new(), 0);
    let mut rounds = 0;
    while got.len() < file.len() {
        rounds += 1;
        assert!(
            rounds < 5_000,
            "MSS {mss}: {} of {} octets",
            got.len(),
            file.len()
        );
        let mut came = false;
        for frame in world.frames() {
            let Some(segment) = Segment::read(&frame) else {
                continue;
            };
            let expected = first.ack.unwrap().wrapping_add(got.len() as u32);
            assert_eq!(segment.seq, expected, "MSS {mss}: a segment is lost");
            longest = longest.max(segment.data.len());
            got.extend(segment.data);
            came = true;
        }
        if came {
            let ack = Segment {
                ack: Some(first.ack.unwrap().wrapping_add(got.len() as u32)),
                ..first.clone()
            };
            world.inject(&ack.frame());
        }
        world.now += MS;
    }
    assert!(got == file, "MSS {mss}");
    world.frames();
    assert!(world.answer(token).is_some());
    longest
}

#[test]
fn no_card_keeps_a_peer_with_a_small_mss_from_its_data() {
    // One that cuts nothing, and one that cuts even the smallest.
    let plain = Segmentation::default();
    let all = Segmentation {
        payload_min: 1,
        ..IGB
    };
    for mss in (1..=70).chain([100, 536, 1459, 1460, 1461, 9000, 65_535]) {
        for limits in [plain, IGB, all] {
            let longest = reaches(limits, mss);
            // smoltcp sends no shorter ones than of 48 octets.
            assert_eq!(longest, usize::from(mss).clamp(48, 1460), "{limits:?}");
        }
    }
}

#[test]
fn headers_longer_than_a_card_takes_are_no_matter_either() {
    for limits in [
        Segmentation {
            headers_max: 53,
            ..IGB
        },
        Segmentation {
            segment_max: 1000,
            ..IGB
        },
        Segmentation {
            frame_max: 3000,
            ..IGB
        },
    ] {
        assert_eq!(reaches(limits, 1460), 1460);
    }
}

#[test]
fn a_frame_is_of_one_vlan_or_of_none() {
    let frame = udp((PEER_IP, 5000), 7, b"hello");
    let mut tagged = frame.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    for (vlan, tag, frame, expected) in [
        (None, None, &frame, true),
        (None, Some(0), &frame, true),
        (None, Some(0xe000), &frame, true),
        (None, Some(7), &frame, false),
        (None, Some(0), &tagged, false),
        (None, None, &tagged, false),
        (Some(7), None, &frame, false),
        (Some(7), Some(0), &frame, false),
        (Some(7), Some(0xa007), &frame, true),
        (Some(7), Some(8), &frame, false),
        (Some(7), Some(7), &tagged, false),
    ] {
        assert_eq!(is_of_vlan(vlan, tag, frame), expected, "{vlan:?} {tag:?}");
    }
    assert!(is_of_vlan(None, None, &[]));
}
