//! Many stations on the link: all are served, at once, whoever else shouts.

use super::world::*;
use crate::Config;
use crate::tests::arp::arp;
use crate::tests::frames::{Segment, segments, udp};
use abi::Pid;
use abi::socket::Handle;
use smoltcp::wire::TcpControl;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x102);
const NONE: [u8; 6] = [0; 6];

fn host(number: u32) -> [u8; 4] {
    let [_, _, c, d] = (4096 + number).to_be_bytes();
    [10, 0, c, d]
}

fn station(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

/// A server in a network with room for many.
fn world(seed: u64) -> World {
    let mut config = Config::new(SERVER_MAC, seed);
    config.prefix_len = 16;
    World::with(config)
}

/// The frame as this station sends it.
fn by(station: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[6..12].copy_from_slice(&station);
    frame
}

/// What the server sends for this frame, at once.
fn answers(world: &mut World, frame: &[u8]) -> Vec<Vec<u8>> {
    world.inject(frame);
    world.frames()
}

/// The one segment that the server sends for this one of a station: to that station.
fn exchange(world: &mut World, number: u32, segment: &Segment) -> Segment {
    let sent = answers(world, &by(station(number), segment.frame()));
    assert_eq!(
        sent.len(),
        1,
        "{number}: {sent:x?} {}",
        world.server.status()
    );
    assert_eq!(sent[0][..6], station(number));
    segments(&sent).remove(0)
}

/// Opens a connection of a station; returns what the program has, and the last segment.
fn open(world: &mut World, listener: Handle, number: u32, port: u16) -> (Handle, Segment) {
    let syn = Segment::syn(port, 80, 1).from(host(number));
    let answer = exchange(world, number, &syn);
    assert_eq!(answer.control, TcpControl::Syn);
    let ack = Segment::after(&answer, TcpControl::None);
    assert!(answers(world, &by(station(number), ack.frame())).is_empty());
    (world.accept(PROGRAM, listener), ack)
}

/// What is sent when a program sends on a connection.
fn page(world: &mut World, socket: Handle) -> Vec<Vec<u8>> {
    assert_eq!(world.send(PROGRAM, socket, b"page"), Ok(4));
    world.frames()
}

/// No time passes while a station is served, so that nothing can wait for a timer.
#[test]
fn a_thousand_stations_are_served_at_once() {
    let mut world = world(1);
    let listener = world.listener(PROGRAM, 80, 8);
    for round in 0..4 {
        for number in 0..1000 {
            // Half of them ask for us first; the other half have not forgotten us.
            if number % 2 == 0 {
                let request = arp(1, (station(number), host(number)), SERVER_IP);
                let answer = answers(&mut world, &request.frame());
                assert_eq!((answer.len(), &answer[0][..6]), (1, &station(number)[..]));
            }
            let (socket, ack) = open(&mut world, listener, number, 5000 + round);
            let sent = page(&mut world, socket);
            assert_eq!((sent.len(), &sent[0][..6]), (1, &station(number)[..]));
            assert_eq!(segments(&sent)[0].data, b"page");
            let mut reset = ack;
            reset.control = TcpControl::Rst;
            assert!(answers(&mut world, &by(station(number), reset.frame())).is_empty());
            world.close(PROGRAM, socket).unwrap();
            world.frames();
            world.now += MS;
        }
        // In one round they are fresh, in the others stale or forgotten.
        world.now += u64::from(round) * 15 * SECOND;
    }
    assert_eq!(world.figure("neighbors"), 1000);
    assert_eq!(world.figure("arp_asked"), 0);
    assert_eq!(world.figure("tcp_accepted"), 4000);
    assert_eq!(world.figure("drop_arp_limited"), 0);
}

#[test]
fn a_flood_of_invented_senders_costs_established_connections_nothing() {
    let mut world = world(2);
    let listener = world.listener(PROGRAM, 80, 8);
    world.datagrams(PROGRAM, 7);
    let mut sockets = Vec::new();
    // As many as have buffers.
    for number in 0..150 {
        sockets.push((number, open(&mut world, listener, number, 5000).0));
    }
    for number in 1000..60_000 {
        let (from, ip) = (station(number), host(number));
        let frame = match number % 4 {
            0 => arp(1, (from, ip), SERVER_IP).frame(),
            1 => arp(2, (from, ip), SERVER_IP).frame(),
            2 => by(from, udp((ip, 9), 7, b"x")),
            // Under the names of those who are known.
            _ => by(from, udp((host(number % 150), 9), 7, b"x")),
        };
        answers(&mut world, &frame);
        world.now += 50_000;
    }
    assert!(world.figure("neighbors") <= 4096 / 4 + 150);
    for (number, socket) in sockets {
        let sent = page(&mut world, socket);
        assert_eq!((sent.len(), &sent[0][..6]), (1, &station(number)[..]));
        assert_eq!(segments(&sent)[0].data, b"page");
    }
}

/// 20,000 requests a second from 230 addresses, and what others get meanwhile.
#[test]
fn a_flood_of_requests_is_answered_within_bounds_and_others_all_the_same() {
    let mut world = world(3);
    let listener = world.listener(PROGRAM, 80, 8);
    open(&mut world, listener, 500, 5000);
    let (mut replies, mut others) = (0, 0);
    for number in 0..60_000 {
        world.now += 50_000;
        let noisy = number % 230;
        let request = arp(1, (station(noisy), host(noisy)), SERVER_IP);
        replies += answers(&mut world, &request.frame()).len();
        if number % 20_000 == 0 {
            // One that is known, one that is new, and one that looks whether our address is free.
            let new = 1000 + number;
            for (from, ip) in [
                (station(500), host(500)),
                (station(new), host(new % 60_000)),
                (station(new + 1), [0; 4]),
            ] {
                others += answers(&mut world, &arp(1, (from, ip), SERVER_IP).frame()).len();
            }
        }
    }
    assert_eq!(others, 9);
    // What all have together at once, and of each eight a second.
    assert!(
        (1024 + 2 * 230 * 8..=1024 + 3 * 2000).contains(&replies),
        "{replies}"
    );
    assert_eq!(world.figure("drop_arp_limited"), 60_000 - replies as u64);
    // From invented addresses, of which each asks once: all together have a share.
    world.now += SECOND;
    let mut replies = 0;
    for number in 1000..61_000 {
        world.now += 50_000;
        let request = arp(1, (station(number), host(number)), SERVER_IP);
        replies += answers(&mut world, &request.frame()).len();
    }
    assert!((6000..=7100).contains(&replies), "{replies}");
    let known = arp(1, (station(500), host(500)), SERVER_IP);
    assert_eq!(answers(&mut world, &known.frame()).len(), 1);
}

/// What smoltcp did was to send its question in the place of the segment, which then waited for
/// its own timer; and one question a second, for whomever.
#[test]
fn a_segment_leaves_as_soon_as_its_next_hop_answers() {
    let mut world = World::new(4);
    let connect = |world: &mut World, ip: [u8; 4]| {
        world.begin_connect(PROGRAM, (ip, 9)).unwrap();
        world.frames()
    };
    // To a host behind the gateway, which is not known.
    let asked = connect(&mut world, [192, 0, 2, 1]);
    assert_eq!((asked.len(), &asked[0][12..14]), (1, &[8, 6][..]));
    assert_eq!(asked[0][38..42], PEER_IP);
    let others: Vec<Vec<u8>> = (0..20)
        .flat_map(|last| connect(&mut world, [10, 0, 2, 100 + last]))
        .collect();
    assert_eq!(others.len(), 20, "each neighbour is asked for on its own");
    world.now += 300 * MS;
    assert!(world.frames().is_empty());
    let reply = arp(2, (PEER_MAC, PEER_IP), SERVER_IP).frame();
    let sent = answers(&mut world, &reply);
    assert_eq!((sent.len(), &sent[0][..6]), (1, &PEER_MAC[..]));
    assert_eq!(segments(&sent)[0].control, TcpControl::Syn);
    for last in 0..20 {
        let from = (station(last), [10, 0, 2, 100 + last as u8]);
        let sent = answers(&mut world, &arp(2, from, SERVER_IP).frame());
        assert_eq!((sent.len(), &sent[0][..6]), (1, &from.0[..]));
    }
    assert_eq!(world.figure("arp_asked"), 21);
}

#[test]
fn a_connection_whose_neighbour_is_silent_goes_on_when_that_answers() {
    let mut world = world(5);
    let listener = world.listener(PROGRAM, 80, 8);
    let (socket, mut ack) = open(&mut world, listener, 7, 5000);
    // It has been forgotten.
    world.now += 61 * SECOND;
    let asked = page(&mut world, socket);
    assert!(asked.iter().all(|frame| frame[12..14] == [8, 6]));
    let mut questions = asked.len();
    for _ in 0..100 {
        world.now += 100 * MS;
        let sent = world.frames();
        assert!(sent.iter().all(|frame| frame[12..14] == [8, 6]));
        questions += sent.len();
    }
    assert!((9..=12).contains(&questions), "{questions} in 10 s");
    let found = arp(2, (station(7), host(7)), SERVER_IP).frame();
    let sent = answers(&mut world, &found);
    assert_eq!(segments(&sent)[0].data, b"page");
    ack.ack = Some(segments(&sent)[0].end());
    assert!(answers(&mut world, &by(station(7), ack.frame())).is_empty());
    assert_eq!(page(&mut world, socket).len(), 1);
}

/// RFC 1122 §2.3.2.1: a way to flush out-of-date entries, though nobody announces anything.
#[test]
fn a_neighbour_that_moved_silently_is_found() {
    // It speaks from its new station, or says nothing.
    for speaks in [true, false] {
        let mut world = world(6);
        let listener = world.listener(PROGRAM, 80, 8);
        let (socket, ack) = open(&mut world, listener, 7, 5000);
        let new = station(8);
        let start = world.now;
        let mut probes = 0;
        let mut got = None;
        if speaks {
            // Anybody can send this: it is a reason to ask, and no more.
            let sent = answers(&mut world, &by(new, ack.frame()));
            assert_eq!((sent.len(), &sent[0][..6]), (1, &[0xff; 6][..]));
            let reply = arp(2, (new, host(7)), SERVER_IP).frame();
            assert!(answers(&mut world, &reply).is_empty());
            let sent = page(&mut world, socket);
            assert_eq!(sent[0][..6], new);
        } else {
            page(&mut world, socket);
            while got.is_none() && world.now < start + 58 * SECOND {
                world.now += 100 * MS;
                for frame in world.frames() {
                    let is_arp = frame[12..14] == [8, 6];
                    match frame[..6] == station(7) {
                        true if is_arp => probes += 1,
                        true => {}
                        // All are asked: it answers.
                        false if is_arp => {
                            let mut reply = arp(2, (new, host(7)), SERVER_IP);
                            reply.target.0 = NONE;
                            world.inject(&reply.frame());
                        }
                        false => got = Some(frame),
                    }
                }
            }
            let frame = got.expect("the segment, at its new station");
            assert_eq!((&frame[..6], probes), (&new[..], 3));
            assert_eq!(segments(&[frame])[0].data, b"page");
        }
    }
}

#[test]
fn what_cannot_be_a_neighbour_gets_no_entry() {
    let mut world = world(7);
    world.datagrams(PROGRAM, 7);
    let odd = [
        // The network's own address, and hosts of other networks.
        (station(1), [10, 0, 0, 0]),
        (station(1), [192, 0, 2, 1]),
        // No station, or ours.
        (NONE, host(1)),
        (SERVER_MAC, host(1)),
    ];
    for (from, ip) in odd {
        answers(&mut world, &by(from, udp((ip, 9), 7, b"x")));
        answers(
            &mut world,
            &by(from, Segment::syn(5000, 81, 1).from(ip).frame()),
        );
    }
    // To all, which says nothing of who can be spoken to; and a segment for nobody.
    let mut all = by(station(1), udp((host(1), 9), 7, b"x"));
    all[..6].fill(0xff);
    all[30..34].fill(0xff);
    all[40..42].fill(0);
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut all[14..]).fill_checksum();
    answers(&mut world, &all);
    answers(
        &mut world,
        &by(station(1), Segment::syn(5000, 81, 1).from(host(1)).frame()),
    );
    assert_eq!(world.figure("neighbors"), 0);
    answers(&mut world, &by(station(1), udp((host(1), 9), 7, b"x")));
    assert_eq!(world.figure("neighbors"), 1);
}
