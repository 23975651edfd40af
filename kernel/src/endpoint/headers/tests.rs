//! Headers of frames, right and wrong.

use super::*;
use crate::endpoint::tests::frames::{self, ICMP, Packet, STATIONS, v4, v6};
use nic::model::Rng;

fn read(frame: &[u8]) -> Headers {
    Headers::read(frame).expect("an Ethernet header")
}

#[test]
fn both_ends_are_read_of_either_family_whatever_lies_between() {
    for (addresses, ethertype) in [([v4(1), v4(2)], IPV4), ([v6(1), v6(2)], IPV6)] {
        for protocol in [TCP, UDP, ICMP] {
            for extension in [0, 4, 8, 40] {
                let mut packet = Packet::new(addresses, protocol, [53, 80]);
                packet.extension = extension;
                let headers = read(&packet.bytes());
                let has_ports = protocol != ICMP;
                let end = |at: usize, port| End {
                    station: STATIONS[at],
                    address: Some(addresses[at]),
                    port: has_ports.then_some(port),
                };
                let expected = Headers {
                    source: end(0, 53),
                    destination: end(1, 80),
                    ethertype,
                    protocol: Some(protocol),
                    part: Part::Whole,
                    ..Headers::default()
                };
                assert_eq!(headers, expected, "{packet:?}");
            }
        }
    }
}

#[test]
fn only_the_first_fragment_has_ports() {
    for (addresses, number) in [([v4(1), v4(2)], 0xfffe), ([v6(1), v6(2)], 0xdead_beef)] {
        let part = |offset, more| {
            let packet = Packet::new(addresses, UDP, [53, 80]);
            let headers = read(&packet.with_fragment(offset, more, number).bytes());
            assert_eq!(headers.protocol, Some(UDP));
            (headers.part, headers.destination.port)
        };
        assert_eq!(part(0, false), (Part::Whole, Some(80)));
        assert_eq!(part(0, true), (Part::First(number), Some(80)));
        assert_eq!(part(1, true), (Part::Later(number), None));
        assert_eq!(part(0x1fff, false), (Part::Later(number), None));
    }
}

#[test]
fn extension_headers_are_passed_but_not_for_ever() {
    let through = |chain: &[(u8, &[u8])], last: u8| {
        let mut frame = Packet::new([v6(1), v6(2)], 0, [0, 0]).bytes();
        frame.truncate(14 + 40);
        let mut names = chain.iter().map(|(kind, _)| *kind).chain([last]);
        frame[14 + 6] = names.next().expect("one at least");
        for (_, rest) in chain {
            frame.push(names.next().expect("one more than headers"));
            frame.extend(*rest);
        }
        frame.extend([0, 53, 0, 80]);
        let headers = read(&frame);
        (headers.protocol, headers.destination.port)
    };
    let options: &[u8] = &[0, 0, 0, 0, 0, 0, 0];
    // The authentication header counts in units of 4 bytes.
    let authentication: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for kind in [0, 43, 60] {
        assert_eq!(through(&[(kind, options)], UDP), (Some(UDP), Some(80)));
    }
    let both = [(51, authentication), (60, options)];
    assert_eq!(through(&both, TCP), (Some(TCP), Some(80)));
    let most = [(60, options); EXTENSIONS_MAX];
    assert_eq!(through(&most[1..], UDP), (Some(UDP), Some(80)));
    assert_eq!(through(&most, UDP), (None, None));
    // One that goes on behind the end of the frame.
    assert_eq!(through(&[(60, &[9, 0, 0, 0, 0, 0, 0])], UDP), (None, None));
    // Encrypted, and no next header: there is nothing to be read.
    assert_eq!(through(&[], 50), (Some(50), None));
    assert_eq!(through(&[], 59), (Some(59), None));
}

#[test]
fn what_makes_no_sense_is_not_there() {
    let whole = Packet::new([v4(1), v4(2)], UDP, [53, 80]).bytes();
    let changed = |at: usize, byte: u8| {
        let mut frame = whole.clone();
        frame[at] = byte;
        read(&frame)
    };
    // Another version, and a header shorter than the shortest.
    for byte in [0x65, 0x44, 0x40] {
        let headers = changed(14, byte);
        assert_eq!((headers.source.address, headers.protocol), (None, None));
    }
    // Options that are not there.
    let headers = changed(14, 0x4f);
    assert_eq!(headers.destination.address, Some(v4(2)));
    assert_eq!(headers.destination.port, None);
    // IPv6 packets from or to addresses that stand for IPv4.
    let mapped = match v4(1) {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => panic!("of IPv4"),
    };
    for addresses in [[mapped, v6(1)], [v6(1), mapped]] {
        let headers = read(&Packet::new(addresses, UDP, [53, 80]).bytes());
        assert_eq!(headers.ethertype, IPV6);
        assert_eq!((headers.source.address, headers.protocol), (None, None));
    }
    let arp = frames::arp([STATIONS[0], STATIONS[1]], v4(1), v4(2));
    let headers = read(&arp);
    let said = Resolution {
        claimed: Some(v4(1)),
        station: Some(STATIONS[0]),
        concerns: Some(v4(2)),
    };
    assert_eq!((headers.resolves, headers.resolution), (true, Some(said)));
    let addresses = [headers.source.address, headers.destination.address];
    assert_eq!(addresses, [Some(v4(1)), Some(v4(2))]);
    // Of another hardware, protocol, or length of addresses.
    for at in 14..20 {
        let mut frame = arp.clone();
        frame[at] ^= 7;
        let headers = read(&frame);
        assert_eq!((headers.resolution, headers.source.address), (None, None));
        assert!(headers.resolves);
    }
}

#[test]
fn what_neighbour_discovery_says_is_read() {
    let nodes: IpAddr = "ff02::1".parse().expect("an address");
    let nobody: IpAddr = "::".parse().expect("an address");
    let own = [STATIONS[0], STATIONS[1]];
    let said = |kind, source, destination, options: &[(u8, MacAddress)]| {
        let frame = frames::neighbour(kind, own, [source, destination], v6(3), options);
        let headers = read(&frame);
        assert_eq!(headers.protocol, Some(ICMPV6));
        assert!(headers.resolves);
        let said = headers.resolution.expect("whole");
        (said.claimed, said.station, said.concerns)
    };
    let source = [(1, STATIONS[0])];
    let target = [(2, STATIONS[2])];
    let is_mine = (Some(v6(1)), Some(STATIONS[0]), None);
    assert_eq!(said(ROUTER_SOLICITATION, v6(1), nodes, &source), is_mine);
    let asks = (Some(v6(1)), Some(STATIONS[0]), Some(v6(3)));
    assert_eq!(said(NEIGHBOUR_SOLICITATION, v6(1), nodes, &source), asks);
    let wants = (Some(v6(3)), None, Some(v6(3)));
    assert_eq!(said(NEIGHBOUR_SOLICITATION, nobody, nodes, &[]), wants);
    let announces = (Some(v6(3)), Some(STATIONS[2]), None);
    assert_eq!(
        said(NEIGHBOUR_ADVERTISEMENT, v6(1), nodes, &target),
        announces
    );
    let answers = (Some(v6(3)), Some(STATIONS[2]), Some(v6(2)));
    assert_eq!(
        said(NEIGHBOUR_ADVERTISEMENT, v6(1), v6(2), &target),
        answers
    );
    for of_routers in [ROUTER_SOLICITATION + 1, REDIRECT] {
        assert_eq!(said(of_routers, v6(1), nodes, &[]).0, None);
    }
    // Options of other kinds are passed; all that name a station name the same.
    let both = [(14, STATIONS[1]), (1, STATIONS[0]), (2, STATIONS[0])];
    assert_eq!(said(ROUTER_SOLICITATION, v6(1), nodes, &both), is_mine);
    let differ = [(1, STATIONS[0]), (1, STATIONS[1])];
    assert_eq!(said(ROUTER_SOLICITATION, v6(1), nodes, &differ).0, None);
    // Other messages are as all packets.
    let echo = read(&frames::neighbour(128, own, [v6(1), v6(2)], v6(3), &[]));
    assert_eq!((echo.resolves, echo.resolution), (false, None));
}

#[test]
fn neighbour_discovery_that_is_not_whole_claims_nothing() {
    let addresses = [v6(1), v6(2)];
    let options = [(1, STATIONS[0])];
    let frame = frames::neighbour(
        NEIGHBOUR_SOLICITATION,
        [STATIONS[0], STATIONS[1]],
        addresses,
        v6(3),
        &options,
    );
    let claimed = |frame: &[u8]| read(frame).resolution.and_then(|said| said.claimed);
    assert_eq!(claimed(&frame), Some(v6(1)));
    for len in 54..frame.len() {
        let cut = read(&frame[..len]);
        assert!(cut.resolves, "{len}");
        assert_eq!(claimed(&frame[..len]), None, "{len}");
    }
    // What is behind the packet in its frame is not its.
    let padded = [&frame[..], &[1, 1, 9, 9, 9, 9, 9, 9]].concat();
    assert_eq!(read(&padded), read(&frame));
    let changed = |at: usize, byte: u8| {
        let mut frame = frame.clone();
        frame[at] = byte;
        claimed(&frame)
    };
    // The packet's length, and that of the option.
    for (at, byte) in [(19, 31), (19, 33), (79, 0), (79, 2)] {
        assert_eq!(changed(at, byte), None, "{at}");
    }
    // In fragments there is none (RFC 6980), but there may be what looks like it.
    let fragment = |offset, more, kind: u8| {
        let packet = Packet::new(addresses, ICMPV6, [0, 0]).with_fragment(offset, more, 1);
        let mut frame = packet.bytes();
        frame[14 + 40 + 8] = kind;
        let headers = read(&frame);
        (headers.resolves, headers.resolution)
    };
    assert_eq!(fragment(0, true, NEIGHBOUR_SOLICITATION), (true, None));
    assert_eq!(fragment(0, true, 128), (false, None));
    assert_eq!(fragment(5, true, NEIGHBOUR_SOLICITATION), (false, None));
}

/// Whatever is cut off or overwritten, what is read is in the bytes that are there.
#[test]
fn frames_that_are_cut_or_spoiled_are_read_as_far_as_they_go() {
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let mut frame = frames::any(&mut rng);
        let headers = read(&frame);
        let len = rng.below(frame.len() + 1);
        match Headers::read(&frame[..len]) {
            None => assert!(len < ETHERNET),
            Some(cut) => {
                let pairs = [
                    (cut.source, headers.source),
                    (cut.destination, headers.destination),
                ];
                for (cut, whole) in pairs {
                    assert_eq!(cut.station, whole.station);
                    assert!(cut.address.is_none() || cut.address == whole.address);
                    assert!(cut.port.is_none() || cut.port == whole.port);
                }
                assert!(cut.protocol.is_none() || cut.protocol == headers.protocol);
            }
        }
        for _ in 0..1 + rng.below(8) {
            let at = rng.below(frame.len());
            frame[at] = rng.next() as u8;
        }
        let _ = Headers::read(&frame[..len]);
    }
}
