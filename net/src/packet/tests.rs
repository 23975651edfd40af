//! What is seen of a frame at its first look.

use super::*;
use crate::Config;
use crate::tests::frames::{Segment as Written, arp_reply, ethernet, fragments, ping, udp};
use crate::tests::world::{PEER_IP, PEER_MAC, SERVER_IP, SERVER_MAC};
use alloc::vec::Vec;
use smoltcp::wire::{EthernetProtocol, IpProtocol, Ipv4Packet};

fn parsed(frame: &[u8], software: &ChecksumCapabilities) -> Result<Headers, DropReason> {
    parse(
        frame,
        &Interface::new(&Config::new(SERVER_MAC, 1)),
        software,
    )
}

/// Why a frame is dropped, if it is.
fn dropped(frame: &[u8]) -> Option<DropReason> {
    parsed(frame, &ChecksumCapabilities::default()).err()
}

/// The IPv4 datagram in a frame, whose checksums do not matter.
fn datagram(frame: &[u8]) -> IpPacket {
    match parsed(frame, &ChecksumCapabilities::ignored())
        .unwrap()
        .content
    {
        Content::Ip(ip) => ip,
        other => panic!("{other:?}"),
    }
}

/// One of each kind.
fn frames() -> [(&'static str, Vec<u8>); 5] {
    let icmp = crate::tests::frames::ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"ping"));
    [
        ("arp", arp_reply(PEER_IP)),
        ("tcp", Written::syn(5000, 80, 1).frame()),
        ("udp", udp((PEER_IP, 5000), 7, b"datagram")),
        ("icmp", icmp),
        (
            "fragment",
            fragments(IpProtocol::Udp, &[1; 100], 48).remove(0),
        ),
    ]
}

/// The frame with octets of its IPv4 header changed, and the checksum put right.
fn header(mut frame: Vec<u8>, at: usize, octets: &[u8]) -> Vec<u8> {
    frame[14 + at..][..octets.len()].copy_from_slice(octets);
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    frame
}

#[test]
fn what_is_for_another_station_is_for_nobody_here_whatever_it_is() {
    for (kind, frame) in frames() {
        assert_eq!(dropped(&frame), None, "{kind}");
        for bit in 0..48 {
            let mut frame = frame.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            let expected = match (bit, kind) {
                // A group's: an address of this host in it is wrong.
                (0, "arp") => None,
                (0, _) => Some(DropReason::LinkBroadcast),
                _ => Some(DropReason::OtherStation),
            };
            assert_eq!(dropped(&frame), expected, "{kind}, bit {bit}");
        }
    }
}

#[test]
fn no_frame_comes_from_a_group_or_from_all() {
    let groups = [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]];
    for (kind, frame) in frames() {
        for group in groups {
            let mut frame = frame.clone();
            frame[6..12].copy_from_slice(&group);
            let expected = Some(DropReason::SourceStation);
            assert_eq!(dropped(&frame), expected, "{kind} from {group:x?}");
        }
    }
}

#[test]
fn no_datagram_comes_from_an_address_that_no_other_host_has() {
    for (kind, frame) in &frames()[1..] {
        for (source, is_possible) in [
            ([0, 0, 0, 0], false),
            ([0, 255, 255, 255], false),
            ([1, 0, 0, 0], true),
            ([126, 255, 255, 255], true),
            ([127, 0, 0, 1], false),
            ([128, 0, 0, 1], true),
            ([223, 255, 255, 255], true),
            ([224, 0, 0, 1], false),
            ([239, 255, 255, 255], false),
            ([240, 0, 0, 1], false),
            ([255; 4], false),
            (SERVER_IP, false),
            ([10, 0, 2, 255], false),
            ([10, 0, 2, 254], true),
        ] {
            let spoofed = header(frame.clone(), 12, &source);
            let refused = dropped(&spoofed) == Some(DropReason::IpSource);
            assert_eq!(!refused, is_possible, "{kind} from {source:?}");
        }
    }
}

#[test]
fn what_is_to_all_is_seen_if_it_may_be_and_to_others_never() {
    for (kind, frame) in &frames()[1..] {
        for (destination, everyone) in [
            ([255; 4], true),
            ([10, 0, 2, 255], true),
            ([10, 0, 2, 16], false),
            ([10, 0, 2, 254], false),
            ([10, 0, 2, 0], false),
            ([224, 0, 0, 1], false),
            ([255, 255, 255, 254], false),
        ] {
            for to in [SERVER_MAC, [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
                let mut frame = header(frame.clone(), 16, &destination);
                frame[..6].copy_from_slice(&to);
                let reason = dropped(&frame);
                let expected = match (everyone, *kind) {
                    (false, _) => Some(DropReason::IpDestination),
                    (true, "tcp") => Some(DropReason::TcpBroadcast),
                    // The sum of the pseudo header is another's.
                    (true, "udp") => Some(DropReason::UdpChecksum),
                    (true, _) => None,
                };
                assert_eq!(reason, expected, "{kind} to {destination:?}");
                if reason.is_none() {
                    assert!(!datagram(&frame).is_unicast, "it may be forged");
                }
            }
        }
    }
}

#[test]
fn who_sends_to_this_host_is_a_neighbour_that_lives() {
    for (kind, frame) in frames() {
        let headers = &parsed(&frame, &ChecksumCapabilities::default()).unwrap();
        assert_eq!(headers.station.0, PEER_MAC, "{kind}");
        let frame = &frame[..];
        let packet = Packet { frame, headers };
        let Content::Ip(ip) = headers.content else {
            assert_eq!(kind, "arp");
            continue;
        };
        assert!(ip.is_unicast);
        let ends = [PEER_IP, SERVER_IP].map(|ip| Ip::v4(ip.into()));
        assert_eq!([ip.source, ip.destination], ends);
        assert_eq!(packet.datagram(&ip), &frame[14..]);
        assert_eq!(packet.payload(&ip), &frame[34..]);
        let seen = match ip.payload {
            Payload::Segment(segment) => {
                assert_eq!(segment.station.0, PEER_MAC);
                "tcp"
            }
            Payload::Datagram(_) => "udp",
            Payload::Fragment(_) => "fragment",
            Payload::Other => "icmp",
        };
        assert_eq!(seen, kind);
    }
}

#[test]
fn each_octet_of_a_header_and_of_the_data_is_summed_up_where_that_is_softwares_job() {
    let none = ChecksumCapabilities::ignored();
    for (kind, reason) in [
        ("tcp", DropReason::TcpChecksum),
        ("udp", DropReason::UdpChecksum),
    ] {
        let frames = frames();
        let (_, frame) = frames.iter().find(|(name, _)| *name == kind).unwrap();
        for at in 14..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x10;
            let found = dropped(&damaged);
            assert!(found.is_some(), "{kind}, octet {at}");
            // A header is judged before the sum where it cannot be summed up.
            let first = if kind == "udp" { 38..40 } else { 46..47 };
            if at >= 34 && !first.contains(&at) {
                assert_eq!(found, Some(reason), "{kind}, octet {at}");
                // Nor is one with options that are none.
                let is_dropped = parsed(&damaged, &none).is_err();
                assert_eq!(is_dropped, kind == "tcp" && at == 55, "{kind}, octet {at}");
            }
        }
        // A sum of a header that the card vouches for is not looked at.
        let mut damaged = frame.clone();
        damaged[24] ^= 1;
        assert_eq!(dropped(&damaged), Some(DropReason::IpChecksum));
        assert!(parsed(&damaged, &none).is_ok());
    }
    // A datagram without sum has none (RFC 768).
    let mut frame = udp((PEER_IP, 5000), 7, b"datagram");
    frame[40..42].fill(0);
    assert_eq!(dropped(&frame), None);
    frame[45] ^= 1;
    assert_eq!(dropped(&frame), None);
}

#[test]
fn a_datagram_is_where_its_header_says() {
    // Behind the datagram, and behind the IPv4 packet, there is padding.
    let mut frame = udp((PEER_IP, 5000), 7, b"datagram");
    let with_options = {
        let mut options = frame.clone();
        options.splice(34..34, [1, 1, 1, 0]);
        let len = (options.len() - 14) as u16;
        header(header(options, 2, &len.to_be_bytes()), 0, &[0x46])
    };
    frame.extend([0xee; 10]);
    for (frame, start) in [(frame, 42), (with_options, 46)] {
        assert_eq!(dropped(&frame), None);
        let Payload::Datagram(datagram) = datagram(&frame).payload else {
            panic!("{frame:?}");
        };
        assert_eq!((datagram.start, datagram.end), (start, start + 8));
        assert_eq!(&frame[datagram.start..datagram.end], b"datagram");
        assert_eq!((datagram.from.port, datagram.port), (5000, 7));
    }
}

#[test]
fn no_segment_has_port_zero_at_either_end() {
    for (peer, port, reason) in [
        (0, 80, Some(DropReason::TcpPort)),
        (5000, 0, Some(DropReason::TcpPort)),
        (0, 0, Some(DropReason::TcpPort)),
        (1, 1, None),
    ] {
        assert_eq!(dropped(&Written::syn(peer, port, 1).frame()), reason);
    }
}

#[test]
fn a_header_that_cannot_be_is_told_from_one_that_was_cut_off() {
    let (_, frame) = frames()[2].clone();
    for len in 0..frame.len() {
        assert_eq!(dropped(&frame[..len]), Some(DropReason::Truncated), "{len}");
    }
    let ip_header = Some(DropReason::IpHeader);
    for (at, octets, expected) in [
        // Another version; headers shorter than the least, and longer than the packet.
        (0, &[0x65][..], ip_header),
        (0, &[0x05], ip_header),
        (0, &[0x44], ip_header),
        (0, &[0x40], ip_header),
        (2, &[0, 19], ip_header),
        (2, &[0, 0], ip_header),
        (2, &[0xff, 0xff], Some(DropReason::Truncated)),
    ] {
        let mut frame = frame.clone();
        frame[14 + at..][..octets.len()].copy_from_slice(octets);
        assert_eq!(dropped(&frame), expected, "{at}: {octets:x?}");
    }
    let other = ethernet(EthernetProtocol::Unknown(0x88cc), &[0x60; 60]);
    assert_eq!(dropped(&other), Some(DropReason::EtherType));
}

#[test]
fn an_ipv6_packet_for_nobody_is_dropped() {
    let mut packet = [0; 40 + 20];
    (packet[0], packet[5]) = (0x60, 20);
    packet[8] = 0x20;
    let dropped = |packet: &[u8]| dropped(&ethernet(EthernetProtocol::Ipv6, packet));
    assert_eq!(dropped(&packet), Some(DropReason::IpDestination));
    for len in 0..packet.len() {
        assert_eq!(
            dropped(&packet[..len]),
            Some(DropReason::Truncated),
            "{len}"
        );
    }
    packet[5] = 21;
    assert_eq!(dropped(&packet), Some(DropReason::Truncated));
    packet[0] = 0x40;
    assert_eq!(dropped(&packet), Some(DropReason::IpHeader));
}

#[test]
fn a_syn_alone_opens_and_only_a_syn_has_options_that_matter() {
    let frame = Written::syn(5000, 80, 1).frame();
    let (fin, syn, rst, ack) = (1, 2, 4, 16);
    for flags in 0..32u8 {
        let mut frame = frame.clone();
        frame[47] = flags;
        let options = [
            [2, 4, 5, 180],
            [3, 3, 7, 1],
            [1, 3, 3, 7],
            [0, 3, 3, 7],
            [4, 2, 0, 0],
        ];
        let options = options.map(|option| {
            frame[54..58].copy_from_slice(&option);
            let Payload::Segment(segment) = datagram(&frame).payload else {
                panic!("{flags:#x}");
            };
            assert_eq!(segment.opens(), flags & (fin | syn | rst | ack) == syn);
            let numbers = u8::from(segment.syn) + u8::from(segment.fin);
            assert_eq!(segment.end(), segment.seq + usize::from(numbers));
            let SynOptions {
                mss,
                shift,
                sack_permitted,
            } = segment.options;
            (mss, shift, sack_permitted)
        });
        let (none, shift) = ((None, None, false), (None, Some(7), false));
        let (mss, sack) = ((Some(1460), None, false), (None, None, true));
        let expected = match flags & syn != 0 {
            true => [mss, shift, shift, none, sack],
            false => [none; 5],
        };
        assert_eq!(options, expected, "{flags:#x}");
    }
}
