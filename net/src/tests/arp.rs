//! RFC 826's reception algorithm and RFC 5227's defence of an address, by frames.

use super::world::*;
use crate::Config;
use crate::tests::frames::{Segment, arp_reply, segments, udp};
use abi::Pid;
use abi::socket::Handle;
use smoltcp::wire::{EthernetAddress, TcpControl};
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x102);
const ALL: [u8; 6] = [0xff; 6];
const NONE: [u8; 6] = [0; 6];
const ANY: [u8; 4] = [0; 4];
/// A neighbour, at two stations one after the other.
const HOST: [u8; 4] = [10, 0, 2, 7];
const HERE: [u8; 6] = [0x52, 0x54, 0, 0, 0, 7];
const THERE: [u8; 6] = [0x52, 0x54, 0, 0, 0, 8];
const OTHER: [u8; 4] = [10, 0, 2, 99];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An ARP packet: the frame's two ends, and what the packet says.
#[derive(Clone, Copy)]
pub struct Arp {
    pub to: [u8; 6],
    pub from: [u8; 6],
    pub format: [u8; 6],
    pub operation: u16,
    pub sender: ([u8; 6], [u8; 4]),
    pub target: ([u8; 6], [u8; 4]),
}

impl Arp {
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = [&self.to[..], &self.from, &[8, 6], &self.format].concat();
        frame.extend(self.operation.to_be_bytes());
        for (station, address) in [self.sender, self.target] {
            frame.extend(station);
            frame.extend(address);
        }
        frame
    }

    fn read(frame: &[u8]) -> Option<Self> {
        let part = |at: usize| frame[at..].first_chunk().copied().unwrap();
        let address = |at: usize| frame[at..].first_chunk().copied().unwrap();
        (frame.len() == 42 && frame[12..14] == [8, 6]).then(|| Arp {
            to: part(0),
            from: part(6),
            format: part(14),
            operation: u16::from_be_bytes([frame[20], frame[21]]),
            sender: (part(22), address(28)),
            target: (part(32), address(38)),
        })
    }
}

/// A packet of a station to all stations.
pub fn arp(operation: u16, sender: ([u8; 6], [u8; 4]), target: [u8; 4]) -> Arp {
    Arp {
        to: ALL,
        from: sender.0,
        format: [0, 1, 8, 0, 6, 4],
        operation,
        sender,
        target: (NONE, target),
    }
}

/// What the server sends for this packet.
fn answers(world: &mut World, packet: Arp) -> Vec<Arp> {
    world.inject(&packet.frame());
    let frames = world.frames();
    let read = |frame: &Vec<u8>| Arp::read(frame).expect("an ARP packet");
    frames.iter().map(read).collect()
}

/// Where a datagram of a program goes, and where smoltcp acknowledges an octet to that came from
/// [`PEER_MAC`]; `None`: the neighbour is asked for instead.
fn stations(world: &mut World, socket: Handle, host: [u8; 4]) -> [Option<[u8; 6]>; 2] {
    world.send_to(PROGRAM, socket, (host, 9), b"where").unwrap();
    let station = |frames: &[Vec<u8>]| {
        let mut known = frames.iter().filter(|frame| frame[12..14] == [8, 0]);
        known.next().map(|frame| *frame.first_chunk::<6>().unwrap())
    };
    let datagram = station(&world.frames());
    // A SYN is answered to where it came from. A RST takes the connection back.
    let port = 1024 + world.chance.below(60_000) as u16;
    world.inject(&Segment::syn(port, 80, 1).from(host).frame());
    let syn_ack = Segment::read(&world.frames()[0]).unwrap();
    let mut segment = Segment::after(&syn_ack, TcpControl::None).from(host);
    segment.data = b"x".to_vec();
    world.inject(&segment.frame());
    world.frames();
    world.now += 10 * MS;
    let answer = station(&world.frames());
    (segment.control, segment.seq) = (TcpControl::Rst, segment.end());
    segment.data.clear();
    world.inject(&segment.frame());
    world.frames();
    [datagram, answer]
}

/// What is not known before is learned from the segment.
const UNKNOWN: [Option<[u8; 6]>; 2] = [None, Some(PEER_MAC)];

fn world() -> (World, Handle) {
    let mut world = World::new(60);
    let socket = world.datagrams(PROGRAM, 7);
    world.listener(PROGRAM, 80, 8);
    (world, socket)
}

#[test]
fn a_probe_for_our_address_is_answered_and_teaches_nothing() {
    let (mut world, socket) = world();
    for to in [ALL, SERVER_MAC] {
        let probe = Arp {
            to,
            ..arp(REQUEST, (HERE, ANY), SERVER_IP)
        };
        let answers = answers(&mut world, probe);
        assert_eq!(answers.len(), 1, "the address must not seem free");
        let answer = answers[0];
        assert_eq!((answer.to, answer.from), (HERE, SERVER_MAC));
        assert_eq!(answer.operation, REPLY);
        assert_eq!(answer.sender, (SERVER_MAC, SERVER_IP));
        assert_eq!(answer.target, (HERE, ANY));
    }
    assert!(answers(&mut world, arp(REQUEST, (HERE, ANY), OTHER)).is_empty());
    // Nobody replies for the host that has no address yet.
    assert!(answers(&mut world, arp(REPLY, (HERE, ANY), SERVER_IP)).is_empty());
    assert_eq!(stations(&mut world, socket, HOST), UNKNOWN);
    assert_eq!(world.figure("arp_answered"), 2);
    assert_eq!(world.figure("drop_arp_other"), 1);
    assert_eq!(world.figure("drop_arp_sender"), 1);
}

/// What an ARP packet does, by RFC 826, to who is known or is not.
#[test]
fn the_reception_algorithm_line_by_line() {
    let host = (HERE, HOST);
    // Packet, from a known sender, and then: answered, learned.
    let cases = [
        // "Am I the target protocol address? If Merge_flag is false, add"; "REQUEST: reply".
        (arp(REQUEST, host, SERVER_IP), false, (true, true)),
        (arp(REQUEST, host, SERVER_IP), true, (true, true)),
        (arp(REPLY, host, SERVER_IP), false, (false, true)),
        (arp(REPLY, host, SERVER_IP), true, (false, true)),
        // Another operation: "NOW look at the opcode", which is after the table.
        (arp(77, host, SERVER_IP), false, (false, true)),
        (arp(77, host, SERVER_IP), true, (false, true)),
        // Not the target: only who is known is updated.
        (arp(REQUEST, host, OTHER), false, (false, false)),
        (arp(REQUEST, host, OTHER), true, (false, true)),
        (arp(REPLY, host, OTHER), false, (false, false)),
        (arp(REPLY, host, OTHER), true, (false, true)),
        // An announcement (RFC 5227 §2.3), and a gratuitous reply.
        (arp(REQUEST, host, HOST), false, (false, false)),
        (arp(REQUEST, host, HOST), true, (false, true)),
        (arp(REPLY, host, HOST), false, (false, false)),
        (arp(REPLY, host, HOST), true, (false, true)),
    ];
    for (number, (packet, known, (answered, learned))) in cases.into_iter().enumerate() {
        for to in [ALL, SERVER_MAC] {
            let (mut world, socket) = world();
            if known {
                answers(&mut world, arp(REPLY, (THERE, HOST), SERVER_IP));
                let there = [Some(THERE); 2];
                assert_eq!(stations(&mut world, socket, HOST), there);
            }
            let packet = Arp { to, ..packet };
            let answers = answers(&mut world, packet);
            assert_eq!(answers.len(), usize::from(answered), "case {number}");
            for answer in answers {
                assert_eq!((answer.to, answer.operation), (HERE, REPLY));
                assert_eq!((answer.from, answer.format), (SERVER_MAC, packet.format));
                assert_eq!(answer.sender, (SERVER_MAC, SERVER_IP));
                assert_eq!(answer.target, (HERE, HOST));
            }
            let expected = match learned {
                true => [Some(HERE); 2],
                false => UNKNOWN,
            };
            let stations = stations(&mut world, socket, HOST);
            assert_eq!(stations, expected, "case {number}");
            let moved = world.figure("arp_moved");
            assert_eq!(moved, u64::from(known), "case {number}");
        }
    }
}

#[test]
fn a_moved_neighbour_gets_what_is_queued_at_its_new_station() {
    let (mut world, socket) = world();
    answers(&mut world, arp(REPLY, (HERE, HOST), SERVER_IP));
    // Nothing was heard of it for so long that it would be asked for; who it was is remembered.
    world.now += 70 * SECOND;
    answers(&mut world, arp(REQUEST, (THERE, HOST), OTHER));
    assert_eq!(stations(&mut world, socket, HOST), [Some(THERE); 2]);
    assert_eq!(world.figure("arp_moved"), 1);
}

/// Two stacks of one card may have its station, each with an address of its own.
#[test]
fn another_stack_at_our_station_is_a_neighbour_if_the_card_is_shared() {
    let mut config = Config::new(SERVER_MAC, 60);
    config.shares_station = true;
    let mut world = World::with(config);
    let answered = answers(&mut world, arp(REQUEST, (SERVER_MAC, HOST), SERVER_IP));
    assert_eq!((answered[0].operation, answered[0].to), (REPLY, SERVER_MAC));
    assert_eq!(world.figure("neighbors"), 1);
    world.datagrams(PROGRAM, 7);
    let mut datagram = udp((OTHER, 9), 7, b"x");
    datagram[6..12].copy_from_slice(&SERVER_MAC);
    world.inject(&datagram);
    world.frames();
    assert_eq!(world.figure("neighbors"), 2);
}

#[test]
fn senders_that_are_no_single_station_or_host_are_refused() {
    let (mut world, socket) = world();
    let group = [1, 0, 0x5e, 0, 0, 1];
    let stations_bad = [ALL, NONE, group, [0x33, 0x33, 0, 0, 0, 1], SERVER_MAC];
    let mut count = 0;
    for station in stations_bad {
        for operation in [REQUEST, REPLY] {
            let packet = Arp {
                from: HERE,
                ..arp(operation, (station, HOST), SERVER_IP)
            };
            assert!(answers(&mut world, packet).is_empty(), "{station:x?}");
            count += 1;
        }
    }
    assert_eq!(stations(&mut world, socket, HOST), UNKNOWN);
    let addresses = [
        [10, 0, 2, 255],
        [255; 4],
        [224, 0, 0, 1],
        [127, 0, 0, 1],
        [10, 0, 3, 1],
        [0, 0, 0, 9],
    ];
    for address in addresses {
        for operation in [REQUEST, REPLY] {
            let packet = arp(operation, (HERE, address), SERVER_IP);
            assert!(answers(&mut world, packet).is_empty(), "{address:?}");
            count += 1;
        }
    }
    assert_eq!(world.figure("drop_arp_sender"), count);
    assert_eq!(world.figure("arp_answered"), 0);
    // A frame from a group is refused before anybody looks what is in it.
    let packet = Arp {
        from: [1, 0, 0, 0, 0, 1],
        ..arp(REQUEST, (HERE, HOST), SERVER_IP)
    };
    assert!(answers(&mut world, packet).is_empty());
    assert_eq!(world.figure("drop_source_station"), 1);
}

#[test]
fn other_formats_and_pieces_are_refused() {
    let (mut world, _) = world();
    let good = arp(REQUEST, (HERE, HOST), SERVER_IP);
    for at in 0..6 {
        let mut bad = good;
        bad.format[at] ^= 2;
        assert!(answers(&mut world, bad).is_empty(), "octet {at}");
    }
    assert_eq!(world.figure("drop_arp_format"), 6);
    let whole = good.frame();
    for len in 14..42 {
        world.inject(&whole[..len]);
        assert!(world.frames().is_empty());
    }
    assert_eq!(world.figure("drop_truncated"), 42 - 14);
    // Padding to the least length of a frame is none of it.
    let mut padded = whole;
    padded.resize(60, 0xee);
    world.inject(&padded);
    assert_eq!(world.frames().len(), 1);
}

#[test]
fn a_sender_other_than_the_frames_is_believed_and_counted() {
    let (mut world, socket) = world();
    // A bridge or a standby router sends for others: RFC 826 knows no such check.
    let packet = Arp {
        from: THERE,
        ..arp(REQUEST, (HERE, HOST), SERVER_IP)
    };
    assert_eq!(answers(&mut world, packet)[0].to, HERE);
    assert_eq!(stations(&mut world, socket, HOST), [Some(HERE); 2]);
    assert_eq!(world.figure("arp_sender_differs"), 1);
}

#[test]
fn our_address_is_defended_once_in_ten_seconds() {
    let (mut world, socket) = world();
    let claims = [
        arp(REQUEST, (HERE, SERVER_IP), SERVER_IP),
        arp(REPLY, (HERE, SERVER_IP), SERVER_IP),
        arp(REQUEST, (HERE, SERVER_IP), OTHER),
        arp(REPLY, (HERE, SERVER_IP), OTHER),
    ];
    let mut told = Vec::new();
    for (round, claim) in claims.into_iter().enumerate() {
        let defence = answers(&mut world, claim);
        assert_eq!(defence.len(), 1, "round {round}");
        let defence = defence[0];
        assert_eq!((defence.to, defence.from), (ALL, SERVER_MAC));
        assert_eq!(defence.operation, REQUEST);
        assert_eq!(defence.sender, (SERVER_MAC, SERVER_IP));
        assert_eq!(defence.target, (NONE, SERVER_IP));
        told.extend(world.server.take_claimant());
        // RFC 5227 §2.4 (c): none if another claim was seen within the interval.
        for _ in 0..3 {
            world.now += 9 * SECOND;
            assert!(answers(&mut world, claim).is_empty());
            assert_eq!(world.server.take_claimant(), None);
        }
        world.now += 10 * SECOND;
    }
    assert_eq!(told, vec![HERE; 4], "people are told, once each");
    assert_eq!(world.figure("arp_conflicts"), 16);
    assert_eq!(world.figure("drop_arp_conflict"), 16);
    assert_eq!(world.figure("arp_defended"), 4);
    // We are still who we were.
    assert_eq!(
        answers(&mut world, arp(REQUEST, (HERE, HOST), SERVER_IP)).len(),
        1
    );
    assert_eq!(stations(&mut world, socket, HOST), [Some(HERE); 2]);
}

#[test]
fn our_own_packets_are_no_conflict() {
    let (mut world, _) = world();
    for target in [SERVER_IP, OTHER] {
        let own = arp(REQUEST, (SERVER_MAC, SERVER_IP), target);
        assert!(answers(&mut world, own).is_empty());
    }
    assert_eq!(world.figure("arp_conflicts"), 0);
    assert_eq!(world.figure("drop_arp_own"), 2);
}

#[test]
fn what_we_ask_is_as_the_rfc_says() {
    let (mut world, socket) = world();
    world.send_to(PROGRAM, socket, (HOST, 9), b"where").unwrap();
    let frames = world.frames();
    let [ask] = &frames[..] else {
        panic!("{frames:?}")
    };
    let ask = Arp::read(ask).unwrap();
    assert_eq!(
        (ask.to, ask.from, ask.operation),
        (ALL, SERVER_MAC, REQUEST)
    );
    assert_eq!(ask.sender, (SERVER_MAC, SERVER_IP));
    assert_eq!(ask.target, (NONE, HOST));
    // The answer to it sends what waited, whoever else is told of it.
    let answer = Arp {
        to: SERVER_MAC,
        target: (SERVER_MAC, SERVER_IP),
        ..arp(REPLY, (HERE, HOST), SERVER_IP)
    };
    world.inject(&answer.frame());
    let frames = world.frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(
        EthernetAddress(*frames[0].first_chunk().unwrap()),
        EthernetAddress(HERE)
    );
}

#[test]
fn who_waits_for_a_station_has_its_turn_when_it_is_told() {
    let mut world = World::new(31);
    world.begin_connect(PROGRAM, (PEER_IP, 80)).unwrap();
    assert!(segments(&world.frames()).is_empty());
    world.inject(&arp_reply(PEER_IP));
    assert_eq!(segments(&world.frames()).len(), 1, "the SYN");
}

/// Strangers share a pace at which they are answered: at its end it shows who is one.
#[test]
fn who_is_asked_and_answers_us_is_no_stranger() {
    let host = (HERE, HOST);
    let cases = [
        (arp(REPLY, host, SERVER_IP), true),
        (arp(REQUEST, host, SERVER_IP), false),
        (arp(REPLY, host, OTHER), false),
        (arp(REQUEST, host, OTHER), false),
    ];
    for (number, (packet, is_known)) in cases.into_iter().enumerate() {
        let (mut world, socket) = world();
        world.send_to(PROGRAM, socket, (HOST, 9), b"where").unwrap();
        assert_eq!(world.frames().len(), 1, "it is asked for");
        world.inject(&packet.frame());
        world.frames();
        for stranger in 100..120 {
            let sender = ([0x52, 0x54, 0, 0, 1, stranger], [10, 0, 2, stranger]);
            for _ in 0..64 {
                answers(&mut world, arp(REQUEST, sender, SERVER_IP));
            }
        }
        let answers = answers(&mut world, arp(REQUEST, host, SERVER_IP));
        assert_eq!(answers.len(), usize::from(is_known), "case {number}");
    }
}
