//! One verdict for each received frame: each reason alone, and their sum over anything.

use super::world::*;
use crate::Config;
use crate::tests::arp::arp;
use crate::tests::frames::{Segment, arp_reply, ethernet, fragments, ipv4, ping, segments, udp};
use crate::tests::{raw, v6};
use crate::verdict::DropReason;
use abi::Pid;
use smoltcp::wire::{EthernetProtocol, IpProtocol, Ipv4Packet, TcpControl};
use std::collections::BTreeMap;
use std::string::String;
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x102);
const HOST: ([u8; 6], [u8; 4]) = ([0x52, 0x54, 0, 0, 0, 7], [10, 0, 2, 7]);

/// All figures of the status by name.
fn figures(world: &World) -> BTreeMap<String, u64> {
    let text = world.server.status();
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.into(), value.parse().ok()?))
    };
    text.lines().filter_map(figure).collect()
}

/// The frame with some octets of its IPv4 header changed, and the checksum put right.
fn header(mut frame: Vec<u8>, octets: &[(usize, u8)]) -> Vec<u8> {
    for &(at, octet) in octets {
        frame[14 + at] = octet;
    }
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    frame
}

/// The frame with an octet changed.
fn flip(mut frame: Vec<u8>, at: usize) -> Vec<u8> {
    frame[at] ^= 0x55;
    frame
}

/// A frame for this reason, after what it needs to be one.
fn frame_for(reason: DropReason, world: &mut World) -> Vec<u8> {
    use DropReason::*;
    use smoltcp::wire::IpProtocol as Protocol;
    let datagram = udp((PEER_IP, 5000), 7, b"datagram");
    let segment = Segment::syn(5000, 81, 1);
    let echo = ipv4(PEER_IP, SERVER_IP, Protocol::Icmp, &ping(b"ping"));
    let long = fragments(
        Protocol::Udp,
        &udp((PEER_IP, 5000), 7, &[1; 4000])[34..],
        1480,
    );
    let open = |world: &mut World, port: u16| {
        let listener = world.listener(PROGRAM, port, 1);
        world.inject(&Segment::syn(5000, port, 1).frame());
        let answer = segments(&world.frames()).remove(0);
        world.inject(&Segment::after(&answer, TcpControl::None).frame());
        world.frames();
        (world.accept(PROGRAM, listener), answer)
    };
    match reason {
        Truncated => datagram[..40].to_vec(),
        OtherStation => flip(datagram, 5),
        SourceStation => flip(datagram, 6),
        EtherType => ethernet(EthernetProtocol::Unknown(0x88cc), &[0x60; 60]),
        IpExtension => v6::source_route(),
        NdpInvalid => v6::from_too_far(),
        NdpOther => v6::for_another(),
        NdpConflict => v6::claim(),
        ArpFormat => flip(arp_reply(PEER_IP), 15),
        ArpSender => arp_reply([10, 0, 2, 255]),
        ArpOther => arp(1, HOST, [10, 0, 2, 99]).frame(),
        ArpOwn => arp(1, (SERVER_MAC, SERVER_IP), SERVER_IP).frame(),
        ArpConflict => arp(1, (HOST.0, SERVER_IP), SERVER_IP).frame(),
        ArpLimited => {
            let request = arp(1, HOST, SERVER_IP).frame();
            for _ in 0..64 {
                world.inject(&request);
            }
            world.frames();
            request
        }
        IpHeader => header(datagram, &[(0, 0x65)]),
        IpChecksum => flip(datagram, 22),
        IpSource => header(datagram, &[(12, 127)]),
        IpDestination => header(datagram, &[(19, 16)]),
        LinkBroadcast => {
            let mut frame = datagram;
            frame[..6].fill(0xff);
            frame
        }
        IpProtocol => header(datagram, &[(9, 132)]),
        // More follows, but it is no multiple of 8 octets.
        FragmentInvalid => header(udp((PEER_IP, 5000), 7, b"odd"), &[(6, 0x20)]),
        FragmentOverlap => {
            world.inject(&long[0]);
            world.frames();
            header(long[1].clone(), &[(7, 3)])
        }
        FragmentNoRoom => {
            // Pieces of 8 octets, each of which takes much more than that.
            let piece = |n: u16| {
                let [high, low] = (0x2000 | n).to_be_bytes();
                let frame = udp((PEER_IP, 5000), 7, b"");
                header(frame, &[(6, high), (7, low)])
            };
            let most = ((192_usize << 10) / 72) as u16;
            for n in 0..most {
                world.inject(&piece(n));
                world.frames();
            }
            piece(most)
        }
        UdpLength => {
            let mut frame = datagram;
            frame[39] += 1;
            frame
        }
        UdpChecksum => flip(datagram, 45),
        UdpNoPort => udp((PEER_IP, 5000), 8, b"nobody"),
        UdpNoRoom => {
            world.datagrams(PROGRAM, 7);
            for _ in 0..64 {
                world.inject(&datagram);
            }
            world.frames();
            datagram
        }
        IcmpLength => ipv4(PEER_IP, SERVER_IP, Protocol::Icmp, &[8, 0, 0]),
        IcmpChecksum => flip(echo, 40),
        IcmpBroadcast => header(echo, &[(16, 255), (17, 255), (18, 255), (19, 255)]),
        // The sums of type and code, and of the checksum, are the same.
        IcmpError => ipv4(
            PEER_IP,
            SERVER_IP,
            Protocol::Icmp,
            &[3, 3, 252, 252, 0, 0, 0, 0],
        ),
        IcmpType => ipv4(
            PEER_IP,
            SERVER_IP,
            Protocol::Icmp,
            &[13, 0, 242, 255, 0, 0, 0, 0],
        ),
        NoRoomForReply => {
            // Answers in fragments wait, and the card sends one frame in a poll.
            let request =
                ipv4(PEER_IP, SERVER_IP, Protocol::Icmp, &ping(&[1; 2000]))[34..].to_vec();
            let pieces = |number: u8| {
                let pieces = fragments(Protocol::Icmp, &request, 1480);
                pieces
                    .into_iter()
                    .map(move |piece| header(piece, &[(5, number)]))
            };
            world.server.device_mut().room = 1;
            for piece in (0..16).flat_map(pieces) {
                world.inject(&piece);
            }
            let mut more: Vec<Vec<u8>> = pieces(16).collect();
            world.inject(&more.remove(0));
            world.frames();
            more.remove(0)
        }
        TcpBroadcast => segment.frame_to([255; 4]),
        TcpHeader => flip(segment.frame(), 46),
        TcpPort => Segment::syn(0, 81, 1).frame(),
        TcpOptions => {
            let (options, data) = (std::vec![2, 0, 5, 180], Vec::new());
            let (flags, ports) = (raw::SYN, (5000, 81));
            let segment = raw::Raw {
                ports,
                flags,
                options,
                data,
                seq: 1,
                ack: 0,
                window: 9,
            };
            segment.frame()
        }
        TcpChecksum => flip(segment.frame(), 50),
        TcpNoConnection => segment.frame(),
        TcpNoRoom => {
            world.listener(PROGRAM, 80, 1);
            world.inject(&Segment::syn(5000, 80, 1).frame());
            let answer = Segment::read(&world.frames()[0]).unwrap();
            world.inject(&Segment::after(&answer, TcpControl::None).frame());
            world.frames();
            Segment::syn(5001, 80, 1).frame()
        }
        TcpTimeWait => {
            let (socket, answer) = open(world, 80);
            world.close(PROGRAM, socket).unwrap();
            let fin = segments(&world.frames()).remove(0);
            let mut end = Segment::after(&answer, TcpControl::Fin);
            end.ack = Some(fin.end());
            world.inject(&end.frame());
            world.frames();
            assert_eq!(world.figure("time_wait"), 1);
            end.control = TcpControl::Rst;
            end.frame()
        }
        TcpStrayReset => {
            let mut reset = Segment::syn(5000, 81, 1);
            reset.control = TcpControl::Rst;
            reset.frame()
        }
        TcpOutOfWindow | TcpInexactReset | TcpSyn | TcpNoAck | TcpBadAck | NoMemory => {
            let (_, answer) = open(world, 80);
            let mut segment = Segment::after(&answer, TcpControl::None);
            match reason {
                TcpOutOfWindow => segment.seq -= 1,
                TcpInexactReset => {
                    (segment.seq, segment.control) = (segment.seq + 1, TcpControl::Rst)
                }
                TcpSyn => segment.control = TcpControl::Syn,
                TcpNoAck => segment.ack = None,
                TcpBadAck => segment.ack = segment.ack.map(|ack| ack.wrapping_add(1)),
                _ => {
                    // It reaches over the window's end, and nothing is left to cut it in.
                    segment.data = vec![1; 1000];
                    for _ in 0..16 {
                        world.inject(&segment.frame());
                        segment.seq = segment.end();
                    }
                    world.frames();
                    world.datagrams(PROGRAM, 7);
                    world.listener(PROGRAM, 81, 32);
                    for peer in 6000..6020 {
                        world.inject(&Segment::syn(peer, 81, 1).frame());
                        let answers = segments(&world.frames());
                        let Some(answer) = answers.first().filter(|s| s.peer.1 == peer) else {
                            continue;
                        };
                        // One that holds nothing would give way.
                        let mut segment = Segment::after(answer, TcpControl::None);
                        segment.data = vec![1; 10];
                        world.inject(&segment.frame());
                        world.frames();
                    }
                }
            }
            segment.frame()
        }
        TcpAborted => {
            let (_, answer) = open(world, 80);
            world.server.device_mut().room = 0;
            world.die(PROGRAM);
            world.frames();
            assert_eq!(world.figure("orphans"), 1);
            // A frame is received when there is room for the answer, before the reset leaves.
            world.server.device_mut().room = 1;
            Segment::after(&answer, TcpControl::None).frame()
        }
    }
}

#[test]
fn each_reason_is_counted_by_one_frame_and_by_no_other() {
    for &reason in DropReason::ALL {
        let mut config = Config::new(SERVER_MAC, 90);
        if reason == DropReason::NoMemory {
            config.limits.memory = 256 << 10;
        }
        config.ipv6 = true;
        let mut world = World::with(config);
        world.inject(&arp_reply(PEER_IP));
        world.frames();
        world.pass(5 * SECOND);
        let frame = frame_for(reason, &mut world);
        let before = figures(&world);
        world.inject(&frame);
        world.frames();
        let after = figures(&world);
        let name = std::format!("drop_{}", reason.name());
        let changed: Vec<(&str, u64)> = after
            .iter()
            .map(|(name, value)| (name.as_str(), value - before[name].min(*value)))
            .filter(|(name, more)| {
                *more > 0 && (name.starts_with("frames_") || name.starts_with("drop_"))
            })
            .collect();
        let expected = [
            (name.as_str(), 1),
            ("frames_dropped", 1),
            ("frames_received", 1),
        ];
        assert_eq!(changed, expected);
    }
}

#[test]
fn the_verdicts_are_as_many_as_the_frames() {
    for seed in 0..60 {
        let mut world = World::new(900 + seed);
        let client = PROGRAM;
        let listener = world.listener(client, 80, 4);
        let socket = world.datagrams(client, 7);
        world.inject(&arp_reply(PEER_IP));
        world.inject(&Segment::syn(5000, 80, 1000).frame());
        let answer = segments(&world.frames()).remove(0);
        world.inject(&Segment::after(&answer, TcpControl::None).frame());
        world.accept(client, listener);
        let mut data = Segment::after(&answer, TcpControl::None);
        data.data = vec![1; 500];
        let mut samples = vec![
            arp_reply(PEER_IP),
            arp(1, HOST, SERVER_IP).frame(),
            arp(1, HOST, [10, 0, 2, 99]).frame(),
            udp((PEER_IP, 5000), 7, b"hello"),
            udp((PEER_IP, 5000), 9, b"nobody"),
            ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"abcdefgh")),
            ipv4(PEER_IP, SERVER_IP, IpProtocol::Igmp, b"abcdefgh"),
            ipv4(PEER_IP, [255; 4], IpProtocol::Icmp, &ping(b"abcdefgh")),
            ethernet(EthernetProtocol::Ipv6, b"abcdefgh"),
            Segment::syn(6000, 80, 5).frame(),
            Segment::syn(6000, 81, 5).frame(),
            Segment::after(&answer, TcpControl::Rst)
                .from([10, 0, 2, 9])
                .frame(),
        ];
        samples.extend(fragments(IpProtocol::Icmp, &ping(&[7; 3000]), 1480));
        let mut sent = 3;
        for _ in 0..300 {
            for _ in 0..1 + world.chance.below(8) {
                let which = world.chance.below(samples.len() as u64 + 4) as usize;
                let mut frame = match samples.get(which) {
                    Some(frame) => frame.clone(),
                    // A stream, so that segments are joined.
                    None => {
                        let frame = data.frame();
                        data.seq = data.end();
                        frame
                    }
                };
                let is_stream = which >= samples.len();
                if !is_stream && world.chance.percent(30) {
                    let at = world.chance.below(frame.len() as u64) as usize;
                    frame[at] ^= 1 << world.chance.below(8);
                }
                if !is_stream && world.chance.percent(10) {
                    let len = world.chance.below(frame.len() as u64 + 1) as usize;
                    frame.truncate(len);
                }
                world.inject(&frame);
                sent += 1;
            }
            world.frames();
            world.now += world.chance.below(20 * MS);
            if world.chance.percent(30) {
                drop(world.recv_from(client, socket, 100));
            }
        }
        let all = figures(&world);
        assert_eq!(all["frames_received"], sent);
        let dropped: u64 = all
            .iter()
            .filter(|(name, _)| name.starts_with("drop_"))
            .map(|(_, count)| count)
            .sum();
        assert_eq!(all["frames_dropped"], dropped);
        let verdicts = all["frames_delivered"] + all["frames_kept"] + dropped;
        assert_eq!(verdicts, sent, "seed {seed}");
        assert!(all["frames_delivered"] > 100 && all["frames_kept"] > 10 && dropped > 100);
        assert!(all["frames_joined"] > 2, "seed {seed}");
    }
}

#[test]
fn names_are_different_and_have_no_spaces() {
    let names: std::collections::BTreeSet<&str> =
        DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), DropReason::ALL.len());
    let sound = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    assert!(names.iter().all(sound));
    let order = |(number, reason): (usize, &DropReason)| *reason as usize == number;
    assert!(DropReason::ALL.iter().enumerate().all(order));
}

/// What programs leave behind is counted by UDP itself.
#[test]
fn datagrams_that_no_program_will_have_are_counted() {
    let mut world = World::new(91);
    let socket = world.datagrams(PROGRAM, 7);
    for _ in 0..2 {
        world.inject(&udp((PEER_IP, 5000), 7, b"x"));
    }
    world.frames();
    world.recv_from(PROGRAM, socket, 9).unwrap();
    // One was not read, one waits for the card.
    world.server.device_mut().room = 0;
    world
        .send_to(PROGRAM, socket, (PEER_IP, 5000), b"wait")
        .unwrap();
    world.die(PROGRAM);
    assert_eq!(world.figure("udp_dropped_closed"), 2);
}
