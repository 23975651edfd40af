//! What is done with IPv6 below the stack. The frames are those of IPv4 tests with another header, and
//! smoltcp computes what the checksums must be.

use crate::link::checksum::fill;
use crate::link::ethernet::{ETHERNET, IPV6_HEADER};
use crate::link::joining::{FRAME_MAX, Run, is_followed_by};
use crate::link::segmentation::{HEADERS_V6, Segmenter, longest};
use crate::link::{Link, ethernet};
use crate::packet::{self, FIN, PSH};
use crate::phy::{ChecksumCapabilities, is_acceptable, is_tcp};
use crate::tests::frames::{Segment, udp};
use crate::tests::world::{Chance, PEER_IP, SERVER_MAC, nic};
use crate::{Config, ip::interface::Interface};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::num::NonZeroU16;
use smoltcp::phy::{PacketMeta, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{IpAddress, TcpControl, TcpPacket, UdpPacket};

const TCP: usize = ETHERNET + IPV6_HEADER;
const ENDS: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x606, 6, 6, 0x1111),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0xffff, 0xffff, 0, 0, 0x2222),
];

/// The frame of an IPv4 packet as one of IPv6, with its checksum filled in.
fn over_v6(frame: &[u8]) -> Vec<u8> {
    let body = &frame[34..];
    let mut v6 = frame[..12].to_vec();
    v6.extend([0x86, 0xdd, 0x60, 0x12, 0x34, 0x56]);
    v6.extend((body.len() as u16).to_be_bytes());
    v6.extend([frame[23], 64]);
    v6.extend(ENDS.iter().flat_map(|end| end.octets()));
    v6.extend(body);
    let [source, destination] = ENDS.map(IpAddress::Ipv6);
    let body = &mut v6[TCP..];
    match frame[23] {
        6 => TcpPacket::new_unchecked(body).fill_checksum(&source, &destination),
        _ => UdpPacket::new_unchecked(body).fill_checksum(&source, &destination),
    }
    v6
}

fn segment(seq: u32, control: TcpControl, data: &[u8]) -> Vec<u8> {
    over_v6(
        &Segment {
            peer: (PEER_IP, 5000),
            port: 80,
            control,
            seq,
            ack: Some(7),
            data: data.to_vec(),
        }
        .frame(),
    )
}

fn with(mut frame: Vec<u8>, at: usize, bits: u8) -> Vec<u8> {
    frame[at] ^= bits;
    frame
}

#[test]
fn what_is_filled_in_is_what_smoltcp_fills_in() {
    let mut chance = Chance(12);
    let all = ChecksumCapabilities::default();
    for round in 0..1000 {
        let data = chance.octets(round);
        let tcp = segment(chance.next() as u32, TcpControl::None, &data);
        let udp = over_v6(&udp((PEER_IP, 9), 7, &data));
        for (good, at) in [(tcp, TCP + 16), (udp, TCP + 6)] {
            let mut frame = good.clone();
            frame[at..at + 2].copy_from_slice(&[0xab, 0xcd]);
            let without = frame.clone();
            fill(&mut frame, &ChecksumCapabilities::ignored());
            assert_eq!(frame, without);
            // A fragment, and a segment behind another extension header.
            for next in [44, 60, 0] {
                frame[20] = next;
                let without = frame.clone();
                fill(&mut frame, &all);
                assert_eq!(frame, without);
            }
            frame[20] = good[20];
            fill(&mut frame, &all);
            assert_eq!(frame, good);
        }
    }
}

#[test]
fn a_datagram_without_a_checksum_is_never_sent() {
    let mut zero = over_v6(&udp((PEER_IP, 9), 7, &[0; 2]));
    let sum = UdpPacket::new_unchecked(&zero[TCP..]).checksum();
    zero[TCP + 8..].copy_from_slice(&sum.to_be_bytes());
    fill(&mut zero, &ChecksumCapabilities::default());
    assert_eq!(UdpPacket::new_unchecked(&zero[TCP..]).checksum(), 0xffff);
}

#[test]
fn segments_that_no_card_vouches_for_are_verified() {
    let good = segment(1, TcpControl::None, b"some data");
    assert!(is_tcp(&good) && is_acceptable(&good));
    for at in (TCP..good.len()).chain(22..TCP) {
        assert!(!is_acceptable(&with(good.clone(), at, 1)), "octet {at}");
    }
    assert!(!is_acceptable(&good[..TCP + 19]) && !is_tcp(&good[..TCP + 19]));
    // Another protocol, an extension header and a fragment are for the stack.
    for next in [17, 58, 60, 44] {
        let mut other = with(good.clone(), TCP + 20, 1);
        other[20] = next;
        assert!(is_acceptable(&other) && !is_tcp(&other));
    }
    // A long segment whose length no header can say.
    let mut long = good;
    long[18..20].fill(0);
    assert!(is_tcp(&long));
}

#[test]
fn long_segments_are_cut_into_those_that_fit() {
    let (all, none) = (
        ChecksumCapabilities::default(),
        ChecksumCapabilities::ignored(),
    );
    let mut chance = Chance(13);
    let mut segmenter = Segmenter::default();
    for round in 0..1000 {
        let size = 1 + chance.below(1440) as usize;
        let len = 1 + chance.below(8 * size as u64) as usize;
        let seq = (chance.next() as u32) | 0xffff_0000;
        let controls = [TcpControl::None, TcpControl::Psh, TcpControl::Fin];
        let (control, data) = (controls[round % 3], chance.octets(len));
        let whole = segment(seq, control, &data);
        segmenter.room(whole.len()).copy_from_slice(&whole);
        let software = if round % 2 == 0 { &all } else { &none };
        segmenter.begin(size, software).unwrap();
        let count = len.div_ceil(size);
        for (index, piece) in data.chunks(size).enumerate() {
            let is_last = index + 1 == count;
            let control = if is_last { control } else { TcpControl::None };
            let seq = seq.wrapping_add((index * size) as u32);
            let mut expected = segment(seq, control, piece);
            if !software.tcp.tx() {
                expected[TCP + 16..TCP + 18].fill(0);
            }
            let mut frame = vec![0xee; segmenter.next_len().unwrap()];
            segmenter.next(&mut frame);
            assert_eq!(frame, expected);
        }
        assert!(segmenter.next_len().is_none());
    }
}

#[test]
fn what_only_looks_like_a_segment_is_not_cut() {
    let all = ChecksumCapabilities::default();
    let mut chance = Chance(14);
    let mut segmenter = Segmenter::default();
    let good = segment(1, TcpControl::None, &[1; 100]);
    for (at, octet) in [(14, 0x50), (20, 17), (20, 44), (TCP + 12, 0x40)] {
        let mut frame = good.clone();
        frame[at] = octet;
        segmenter.room(frame.len()).copy_from_slice(&frame);
        assert!(segmenter.begin(10, &all).is_none() && segmenter.next_len().is_none());
    }
    for _ in 0..20_000 {
        let mut frame = good.clone();
        for _ in 0..chance.below(5) {
            let at = 14 + chance.below(frame.len() as u64 - 14) as usize;
            frame[at] = chance.next() as u8;
        }
        frame.truncate(chance.below(frame.len() as u64 + 1) as usize);
        segmenter.room(frame.len()).copy_from_slice(&frame);
        let begun = segmenter.begin(1 + chance.below(50) as usize, &all);
        assert_eq!(begun.is_some(), segmenter.next_len().is_some());
        while let Some(len) = segmenter.next_len() {
            segmenter.next(&mut vec![0; len]);
        }
    }
}

#[test]
fn smoltcp_is_told_of_segments_that_fill_whole_frames() {
    let mut link = Link::new(nic(64));
    let most = link.capabilities().segmentation.tcpv6.unwrap().get() + ETHERNET;
    assert_eq!(most, longest(HEADERS_V6, 1514, usize::MAX));
    assert_eq!((most - HEADERS_V6) % 1440, 0);
    // What fits the longest frame is not cut, and one octet more is.
    for (len, lens) in [(1440, &[1514][..]), (1441, &[1514, 75])] {
        let frame = segment(1, TcpControl::None, &vec![1; len]);
        let token = link.transmit(Instant::ZERO, None).unwrap();
        let mut header = [0; ETHERNET];
        header[12..].copy_from_slice(&ethernet::IPV6);
        let mut token = token.behind(&header);
        let mut meta = PacketMeta::default();
        if len > 1440 {
            meta.segmentation_offload_size = NonZeroU16::new(1440);
        }
        token.set_meta(meta);
        token.consume(frame.len(), |room| room.copy_from_slice(&frame));
        assert!(link.finish(Instant::ZERO));
        let sent: Vec<usize> = link
            .device
            .sent
            .drain(..)
            .map(|frame| frame.len())
            .collect();
        assert_eq!(sent, lens);
    }
}

/// A segment as the parser describes it, with its headers.
fn parsed(frame: &[u8]) -> packet::Segment {
    let own = Interface::new(&Config::new(SERVER_MAC, 1));
    let data = frame.len() - TCP - 20;
    let v4 = Segment {
        control: TcpControl::None,
        ack: Some(7),
        data: vec![0; data],
        ..Segment::syn(
            5000,
            80,
            u32::from_be_bytes(*frame[TCP + 4..].first_chunk().unwrap()),
        )
    };
    let headers = packet::parse(&v4.frame(), &own, &ChecksumCapabilities::ignored()).unwrap();
    match headers.content {
        packet::Content::Ip(packet::IpPacket {
            payload: packet::Payload::Segment(segment),
            ..
        }) => packet::Segment {
            data: TCP + 20,
            ..segment
        },
        _ => panic!("a segment"),
    }
}

#[test]
fn a_frame_goes_on_that_says_the_same_in_all_that_matters() {
    let one = segment(1000, TcpControl::None, &[1; 100]);
    let next = segment(1100, TcpControl::None, &[2; 100]);
    let first = parsed(&one);
    assert!(is_followed_by(&one, &first, &next));
    for at in (0..TCP + 20).filter(|at| !(18..20).contains(at)) {
        for bit in (0..8).map(|bit| 1 << bit) {
            // The checksum, the urgent pointer, and PSH may differ.
            let may_differ = (TCP + 16..TCP + 20).contains(&at) || at == TCP + 13 && bit == PSH;
            let is_followed = is_followed_by(&one, &first, &with(next.clone(), at, bit));
            assert_eq!(is_followed, may_differ, "{at}: {bit:#x}");
        }
    }
    let fin = with(next.clone(), TCP + 13, FIN);
    assert!(!is_followed_by(&one, &first, &fin));
    for other in [
        segment(1101, TcpControl::None, &[1; 100]),
        segment(1100, TcpControl::None, &[]),
        next[..next.len() - 1].to_vec(),
        next[..TCP + 19].to_vec(),
    ] {
        assert!(!is_followed_by(&one, &first, &other));
    }
    // Neither family goes on with the other.
    let v4 = Segment {
        control: TcpControl::None,
        ack: Some(7),
        data: vec![1; 100],
        ..Segment::syn(5000, 80, 1100)
    }
    .frame();
    assert!(!is_followed_by(&one, &first, &v4));
    // Padding is no data.
    let short = [&segment(1100, TcpControl::None, &[3; 2])[..], &[0xee; 9]].concat();
    let mut run = Run::new(vec![0; FRAME_MAX], &one, &first, 1000);
    assert!(run.join(&short, &ChecksumCapabilities::default()));
    assert_eq!(run.octets(), 102);
}

#[test]
fn a_run_is_one_packet_with_all_data_and_takes_nothing_damaged() {
    let software = ChecksumCapabilities::default();
    let one = segment(1000, TcpControl::None, &[1; 100]);
    let mut run = Run::new(vec![0; FRAME_MAX], &one, &parsed(&one), 400);
    let next = segment(1100, TcpControl::Psh, &[2; 200]);
    assert!(!run.join(&with(next.clone(), TCP + 40, 1), &software));
    assert!(run.join(&next, &software));
    assert!(!run.join(&segment(1300, TcpControl::None, &[3; 101]), &software));
    let bad = with(segment(1300, TcpControl::None, &[3; 50]), TCP + 40, 1);
    assert!(run.join(&bad, &ChecksumCapabilities::ignored()));
    assert_eq!(run.octets(), 350);
    let packet = run.datagram();
    assert_eq!(packet.len(), 40 + 20 + 350);
    assert_eq!(packet[4..6], (20 + 350_u16).to_be_bytes());
    assert_eq!(packet[..4], one[14..18]);
    assert_eq!(packet[60..160], [1; 100]);
    assert_eq!(packet[160..360], [2; 200]);
}
