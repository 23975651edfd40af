//! Segments that are joined before smoltcp sees them, against the same server without that.

use super::world::*;
use crate::tests::frames::{Segment, arp_reply, segments, udp};
use crate::{Config, Limits};
use abi::socket::Handle;
use abi::{Error, Pid};
use smoltcp::wire::{IpAddress, Ipv4Packet, TcpControl, TcpPacket};
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x105);
/// Ports of the peers' connections.
const PEERS: [u16; 3] = [5000, 5001, 5002];
/// All that can be seen at once of what has arrived: one frame is not joined with others.
const ALONE: usize = 1;
const TOGETHER: usize = 2;

/// A connection, and what the peer of it said.
struct Connection {
    socket: Handle,
    /// What a segment of the peer begins with.
    next: Segment,
    received: Vec<u8>,
    /// The acknowledgements that the server sent.
    acks: Vec<u32>,
    /// The end of the window that it offered.
    window: u32,
}

/// A server with connections whose numbers are known.
struct Server {
    world: World,
    connections: Vec<Connection>,
}

impl Server {
    fn new(seed: u64, sight: usize, limits: Option<Limits>) -> Self {
        let mut config = Config::new(SERVER_MAC, seed);
        config.limits = limits.unwrap_or(config.limits);
        let mut world = World::as_configured(config);
        world.server.device_mut().sight = sight;
        let listener = world.listener(PROGRAM, 80, 16);
        world.inject(&arp_reply(PEER_IP));
        let mut connections = Vec::new();
        for peer in PEERS {
            // So that numbers wrap.
            world.inject(&Segment::syn(peer, 80, u32::MAX - 20_000).frame());
            let answer = segments(&world.frames()).remove(0);
            let next = Segment::after(&answer, TcpControl::None);
            world.inject(&next.frame());
            let socket = world.accept(PROGRAM, listener);
            connections.push(Connection {
                socket,
                next,
                received: Vec::new(),
                acks: vec![answer.ack.unwrap()],
                window: answer.ack.unwrap().wrapping_add(60_000),
            });
        }
        // What waits for its turn has it.
        world.frames();
        Server { world, connections }
    }

    /// Delivers frames at once, and takes note of what the server says to that.
    fn deliver(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.world.inject(frame);
        }
        self.listen();
    }

    fn listen(&mut self) {
        for frame in self.world.frames() {
            let Some(sent) = Segment::read(&frame) else {
                continue;
            };
            let mut connections = self.connections.iter_mut();
            if let Some(connection) = connections.find(|c| c.next.peer == sent.peer) {
                assert_ne!(sent.control, TcpControl::Rst);
                let ack = sent.ack.unwrap();
                connection.acks.push(ack);
                let window = TcpPacket::new_unchecked(&frame[34..]).window_len();
                connection.window = ack.wrapping_add(window.into());
                // Each further one acknowledges what the server sent.
                connection.next.ack = Some(sent.end());
            }
        }
        self.world.server.sockets.stack.audit(self.world.now);
    }

    fn read(&mut self, which: usize, count: usize) {
        let connection = &mut self.connections[which];
        let socket = connection.socket;
        match self.world.recv(PROGRAM, socket, count) {
            Ok(octets) => connection.received.extend(octets),
            Err(error) => assert_eq!(error, Error::WouldBlock),
        }
        self.listen();
    }

    fn joined(&self) -> u64 {
        self.world.figure("frames_joined")
    }

    fn end(mut self) {
        self.world.die(PROGRAM);
        self.world.frames();
        self.world.pass(5 * SECOND);
        self.world.assert_empty();
    }
}

/// Changes headers of a frame and puts its checksums right.
fn with(frame: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = frame.to_vec();
    change(&mut frame);
    let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
    ip.fill_checksum();
    let (source, destination) = (ip.src_addr(), ip.dst_addr());
    let addresses = (IpAddress::Ipv4(source), IpAddress::Ipv4(destination));
    TcpPacket::new_unchecked(ip.payload_mut()).fill_checksum(&addresses.0, &addresses.1);
    frame
}

/// The same segment with an option of 12 octets, as time stamps have it.
fn with_option(frame: &[u8], stamp: u8) -> Vec<u8> {
    let mut long = frame[..54].to_vec();
    long.extend([1, 1, 8, 10, 0, 0, 0, stamp, 0, 0, 0, 0]);
    long.extend(&frame[54..]);
    with(&long, |frame| {
        let total_len = frame.len() - 14;
        frame[16..18].copy_from_slice(&(total_len as u16).to_be_bytes());
        frame[46] = 8 << 4;
    })
}

/// Segments of these lengths, one behind the other.
fn train(first: &Segment, lens: &[usize], chance: &mut Chance) -> (Vec<Segment>, Vec<u8>) {
    let (mut next, mut all) = (first.clone(), Vec::new());
    let segments = lens.iter().map(|&len| {
        next.data = chance.octets(len);
        all.extend(&next.data);
        let segment = next.clone();
        next.seq = next.end();
        segment
    });
    (segments.collect(), all)
}

fn frames(segments: &[Segment]) -> Vec<Vec<u8>> {
    segments.iter().map(Segment::frame).collect()
}

/// What happens to a random course of segments.
#[derive(Clone, Copy)]
struct Trouble {
    lost: u64,
    twice: u64,
    swapped: u64,
    damaged: u64,
    odd: u64,
}

/// Does the same to a server that joins segments and to one that does not.
fn compare(seed: u64, trouble: Trouble) -> u64 {
    let mut servers = [ALONE, TOGETHER].map(|sight| Server::new(seed, sight, None));
    let mut chance = Chance(seed);
    // What each peer wants to say, and how much of it has been acknowledged.
    let texts = PEERS.map(|_| chance.octets(150_000));
    let firsts: Vec<u32> = servers[0].connections.iter().map(|c| c.next.seq).collect();
    let (mut said, mut most) = ([0; PEERS.len()], [0; PEERS.len()]);
    for _ in 0..2000 {
        // The peers' view is that of the server without joining; both must hear the same.
        let mut wave: Vec<Vec<u8>> = Vec::new();
        let mut again = [false; PEERS.len()];
        for _ in 0..1 + chance.below(4) {
            let which = chance.below(3) as usize;
            let connection = &servers[0].connections[which];
            let acked = connection.acks.last().unwrap().wrapping_sub(firsts[which]);
            if chance.percent(10 + trouble.lost) {
                said[which] = acked as usize;
            }
            for _ in 0..chance.below(20) {
                let len = match chance.below(10) {
                    0 => 1 + chance.below(1460) as usize,
                    1 => 536,
                    _ => 1460,
                };
                // Nobody goes further than the window.
                let from = said[which];
                let window = connection.window.wrapping_sub(firsts[which]) as usize;
                let end = (from + len).min(texts[which].len()).min(window);
                if from >= end {
                    break;
                }
                again[which] |= from < most[which];
                said[which] = end;
                most[which] = end.max(most[which]);
                let mut segment = connection.next.clone();
                segment.seq = firsts[which].wrapping_add(from as u32);
                segment.data = texts[which][from..end].to_vec();
                segment.control = match chance.percent(10) {
                    true => TcpControl::Psh,
                    false => TcpControl::None,
                };
                let mut frame = segment.frame();
                if chance.percent(trouble.odd) {
                    frame = odd(&frame, &mut chance);
                }
                wave.push(frame);
            }
        }
        let mut course = Vec::new();
        for frame in wave {
            if chance.percent(trouble.lost) {
                continue;
            }
            if chance.percent(trouble.twice) {
                course.push(frame.clone());
            }
            let at = course.len();
            course.push(frame);
            if at > 0 && chance.percent(trouble.swapped) {
                course.swap(at - 1, at);
            }
            if chance.percent(trouble.damaged) {
                let frame = &mut course[at];
                let bit = chance.below(frame.len() as u64 - 14) as usize + 14;
                frame[bit] ^= 1 << chance.below(8);
            }
        }
        let (which, count) = (chance.below(3) as usize, 1 + chance.below(40_000) as usize);
        let pause = chance.below(8 * MS);
        let talk = chance.percent(20);
        for server in &mut servers {
            server.deliver(&course);
            server.read(which, count);
            if talk {
                let socket = server.connections[which].socket;
                let _ = server.world.send(PROGRAM, socket, &[9; 700]);
                server.listen();
            }
            server.world.now += pause;
            server.listen();
        }
        let [alone, together] = &servers;
        let both = alone.connections.iter().zip(&together.connections);
        for (which, (one, other)) in both.enumerate() {
            assert!(one.received == other.received, "seed {seed}");
            assert_eq!(one.next.ack, other.next.ack, "seed {seed}");
            // A run may be acknowledged sooner, and once is enough for it. But behind a gap
            // each segment draws its own: three mean a loss.
            let [behind, ahead] = [one, other].map(|c| *c.acks.last().unwrap());
            assert!((ahead.wrapping_sub(behind) as i32) >= 0, "seed {seed}");
            let count = |acks: &[u32]| acks.iter().filter(|&&ack| ack == ahead).count();
            if !again[which] && count(&one.acks) > 1 {
                assert_eq!(count(&one.acks), count(&other.acks), "seed {seed}");
            }
        }
        // A window is told when something is acknowledged, so its edge may be another.
        let verdicts = [
            "frames_received",
            "drop_ip_checksum",
            "drop_tcp_checksum",
            "drop_tcp_header",
        ];
        for figure in verdicts {
            assert_eq!(alone.world.figure(figure), together.world.figure(figure));
        }
        // The books of acknowledgements were balanced; a new page is quicker to read.
        for server in &mut servers {
            for connection in &mut server.connections {
                connection
                    .acks
                    .drain(..connection.acks.len().saturating_sub(1));
            }
        }
    }
    for (which, connection) in servers[1].connections.iter().enumerate() {
        let heard = &connection.received;
        assert!(
            heard.len() > 20_000 && texts[which].starts_with(heard),
            "{}",
            heard.len()
        );
    }
    let joined = servers[1].joined();
    assert_eq!(servers[0].joined(), 0);
    for server in servers {
        server.end();
    }
    joined
}

/// The same segment in an unusual frame.
fn odd(frame: &[u8], chance: &mut Chance) -> Vec<u8> {
    let value = chance.next() as u8;
    match chance.below(8) {
        0 => with(frame, |frame| frame[15] = value & 0xfc),
        1 => with(frame, |frame| frame[22] = value | 1),
        2 => with(frame, |frame| frame[48] = 100 + (value & 31)),
        3 => with(frame, |frame| frame[47] |= 0x20),
        4 => with(frame, |frame| frame[47] |= value & 0xc0),
        5 => with(frame, |frame| frame[18] = value),
        6 => with_option(frame, value & 1),
        // Padding.
        _ => [frame, &[value; 6]].concat(),
    }
}

#[test]
fn on_a_clean_wire_the_same_arrives() {
    let quiet = Trouble {
        lost: 0,
        twice: 0,
        swapped: 0,
        damaged: 0,
        odd: 0,
    };
    for seed in 0..15 {
        assert!(compare(seed, quiet) > 100);
    }
}

#[test]
fn whatever_happens_to_frames_the_same_arrives() {
    for seed in 100..140 {
        let mut chance = Chance(seed);
        let trouble = Trouble {
            lost: chance.below(10),
            twice: chance.below(10),
            swapped: chance.below(10),
            damaged: chance.below(5),
            odd: chance.below(30),
        };
        assert!(compare(seed, trouble) > 20);
    }
}

#[test]
fn a_run_is_one_look_at_its_socket_and_is_acknowledged_at_once() {
    let mut server = Server::new(1, TOGETHER, None);
    let mut chance = Chance(1);
    let (segments, text) = train(&server.connections[0].next, &[1460; 11], &mut chance);
    let looks = server.world.figure("socket_looks");
    server.deliver(&frames(&segments));
    // One look for the run, and one for the turn in which it is acknowledged.
    assert_eq!(server.world.figure("socket_looks") - looks, 2);
    assert_eq!(server.joined(), 11);
    assert_eq!(server.connections[0].acks[1..], [segments[10].end()]);
    server.read(0, 20_000);
    assert!(server.connections[0].received == text);
    // Little is acknowledged when there is something to say, or in a while; as ever.
    let mut next = server.connections[0].next.clone();
    next.seq = segments[10].end();
    let (small, _) = train(&next, &[100, 200, 300], &mut chance);
    server.deliver(&frames(&small));
    assert_eq!(server.joined(), 14);
    server.world.now += 3 * MS;
    server.listen();
    assert_eq!(server.connections[0].acks.len(), 2);
    server.world.now += 2 * MS;
    server.listen();
    assert_eq!(server.connections[0].acks[2..], [small[2].end()]);
    server.end();
}

#[test]
fn a_run_ends_where_segments_say_something_else() {
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 14] = [
        ("FIN", |frame| frame[47] |= 0x01),
        ("RST", |frame| frame[47] |= 0x04),
        ("SYN", |frame| frame[47] |= 0x02),
        ("URG", |frame| frame[47] |= 0x20),
        ("ECE", |frame| frame[47] |= 0x40),
        ("CWR", |frame| frame[47] |= 0x80),
        ("no ACK", |frame| frame[47] &= !0x10),
        ("reserved", |frame| frame[46] |= 0x01),
        ("fragment", |frame| frame[20] |= 0x20),
        ("service", |frame| frame[15] ^= 0x10),
        ("time to live", |frame| frame[22] ^= 1),
        ("window", |frame| frame[49] ^= 1),
        ("acknowledgement", |frame| frame[45] ^= 1),
        ("station", |frame| frame[11] ^= 1),
    ];
    for (what, change) in changes {
        for at in 0..4 {
            let mut server = Server::new(2, TOGETHER, None);
            let first = server.connections[0].next.clone();
            let (segments, _) = train(&first, &[1000; 4], &mut Chance(2));
            let mut frames = frames(&segments);
            frames[at] = with(&frames[at], change);
            for frame in &frames {
                server.world.inject(frame);
            }
            server.world.frames();
            // Those before it and those behind it are runs if they are two; but behind a
            // segment that was refused or ended the connection nothing is expected.
            let goes_on = matches!(what, "service" | "time to live" | "window" | "URG")
                || matches!(what, "ECE" | "CWR" | "reserved" | "station")
                // One less: an old acknowledgement.
                || what == "acknowledgement";
            let expected = match at {
                0 if goes_on => 3,
                1 if goes_on => 2,
                2 => 2,
                3 => 3,
                _ => 0,
            };
            assert_eq!(server.joined(), expected, "{what} at {at}");
        }
    }
}

#[test]
fn a_segment_without_data_is_not_joined() {
    let mut server = Server::new(10, TOGETHER, None);
    let first = server.connections[0].next.clone();
    let (segments, text) = train(&first, &[900, 900, 0, 900, 900, 0], &mut Chance(10));
    let looks = server.world.figure("socket_looks");
    server.deliver(&frames(&segments));
    assert_eq!(server.joined(), 4);
    // Two runs, two others, and a turn.
    assert_eq!(server.world.figure("socket_looks") - looks, 5);
    server.read(0, 20_000);
    assert!(server.connections[0].received == text);
    server.end();
}

#[test]
fn segments_with_options_are_joined_if_those_are_equal() {
    for (stamps, joined) in [
        ([Some(7), Some(7), Some(7), Some(7)], 4),
        ([Some(7), Some(7), Some(8), Some(8)], 4),
        ([Some(7), Some(8), Some(9), Some(9)], 2),
        ([Some(7), None, None, Some(7)], 2),
    ] {
        let mut server = Server::new(9, TOGETHER, None);
        let first = server.connections[0].next.clone();
        let (segments, text) = train(&first, &[1000; 4], &mut Chance(9));
        let all = frames(&segments).into_iter().zip(stamps);
        let all = all.map(|(frame, stamp)| match stamp {
            Some(stamp) => with_option(&frame, stamp),
            None => frame,
        });
        server.deliver(&all.collect::<Vec<_>>());
        assert_eq!(server.joined(), joined);
        server.read(0, 20_000);
        assert!(server.connections[0].received == text);
        server.end();
    }
}

#[test]
fn a_gap_is_told_by_every_segment_behind_it() {
    let mut server = Server::new(3, TOGETHER, None);
    let (segments, text) = train(&server.connections[0].next, &[1460; 9], &mut Chance(3));
    let mut frames = frames(&segments);
    let lost = frames.remove(3);
    server.deliver(&frames);
    assert_eq!(server.joined(), 3);
    let gap = segments[3].seq;
    let acks = &server.connections[0].acks[1..];
    assert_eq!(acks, [gap; 5], "five segments behind it");
    server.deliver(&[lost]);
    assert_eq!(server.connections[0].acks.last(), Some(&segments[8].end()));
    server.read(0, 20_000);
    assert!(server.connections[0].received == text);
    server.end();
}

#[test]
fn a_wrong_checksum_ends_a_run_and_is_counted() {
    for (at, octet) in [(0, 60), (2, 60), (5, 1000), (3, 51), (4, 38)] {
        let mut server = Server::new(4, TOGETHER, None);
        let (segments, text) = train(&server.connections[0].next, &[1200; 6], &mut Chance(4));
        let mut damaged = frames(&segments);
        damaged[at][octet] ^= 1;
        server.deliver(&damaged);
        assert_eq!(server.world.figure("drop_tcp_checksum"), 1, "{at}");
        let ack = server.connections[0].acks.last().copied();
        assert!(ack.is_none_or(|ack| ack == segments[at].seq));
        server.deliver(&frames(&segments[at..]));
        server.read(0, 20_000);
        assert!(server.connections[0].received == text);
        server.end();
    }
}

#[test]
fn a_run_is_no_longer_than_a_datagram_nor_than_the_room_for_it() {
    let mut server = Server::new(5, TOGETHER, None);
    // The window is told in full behind the first octets.
    let (first, begin) = train(&server.connections[0].next, &[1000], &mut Chance(5));
    server.deliver(&frames(&first));
    server.connections[0].next.seq = first[0].end();
    server.world.now += 10 * MS;
    server.read(0, 1000);
    let (segments, text) = train(&server.connections[0].next, &[1460; 60], &mut Chance(5));
    let text = [begin, text].concat();
    let looks = server.world.figure("socket_looks");
    server.deliver(&frames(&segments));
    // 64 KiB are 44.9 segments. What is behind the window is on its own, and answered.
    assert_eq!(server.joined(), 44);
    assert!(server.world.figure("socket_looks") - looks > 15);
    server.read(0, 100_000);
    let received = &server.connections[0].received;
    assert!(received.len() > 65_000 && text.starts_with(received));
    let (limit, looks) = (8 << 10, server.world.figure("socket_looks"));
    server.end();
    assert!(looks > 0);
    let mut limits = Config::new(SERVER_MAC, 5).limits;
    (limits.tcp_receive, limits.tcp_receive_large) = (limit, limit);
    let mut server = Server::new(5, TOGETHER, Some(limits));
    let (segments, text) = train(&server.connections[0].next, &[1460; 7], &mut Chance(5));
    server.deliver(&frames(&segments));
    assert_eq!(server.joined(), 5);
    server.read(0, 100_000);
    assert!(server.connections[0].received == text[..limit]);
    server.end();
}

#[test]
fn without_memory_for_it_segments_go_one_by_one() {
    let mut limits = Config::new(SERVER_MAC, 6).limits;
    (limits.tcp_receive_large, limits.tcp_transmit_large) = (16 << 10, 32 << 10);
    // Three connections and not quite what a run takes.
    limits.memory = 3 * (48 << 10) + (64 << 10);
    for (more, joined) in [(0, 0), (16, 10)] {
        limits.memory += more;
        let mut server = Server::new(6, TOGETHER, Some(limits));
        let (segments, text) = train(&server.connections[0].next, &[1460; 10], &mut Chance(6));
        server.deliver(&frames(&segments));
        assert_eq!(server.joined(), joined);
        server.read(0, 20_000);
        assert!(server.connections[0].received == text);
        assert_eq!(server.world.figure("buffer_octets"), 3 * (48 << 10));
        server.end();
    }
}

#[test]
fn others_between_them_are_served_in_their_order() {
    let mut server = Server::new(7, TOGETHER, None);
    let datagrams = server.world.datagrams(PROGRAM, 7);
    let mut chance = Chance(7);
    let [(one, text), (other, other_text)] =
        [0, 1].map(|n| train(&server.connections[n].next, &[1460; 6], &mut chance));
    let mut all = Vec::new();
    for (one, other) in one.chunks(2).zip(other.chunks(3).cycle()) {
        all.extend(frames(one));
        all.push(udp((PEER_IP, 9), 7, b"between"));
        all.extend(frames(other).into_iter().take(all.len() % 2 * 3));
    }
    all.extend(frames(&other));
    server.deliver(&all);
    assert!(server.joined() >= 12);
    for (which, text) in [(0, text), (1, other_text)] {
        server.read(which, 20_000);
        assert!(server.connections[which].received == text);
    }
    let socket = datagrams;
    for _ in 0..3 {
        let (octets, _) = server.world.recv_from(PROGRAM, socket, 7).unwrap();
        assert_eq!(octets, b"between");
    }
    server.end();
}

#[test]
fn of_a_card_without_room_nothing_is_taken() {
    let mut server = Server::new(8, TOGETHER, None);
    let (segments, text) = train(&server.connections[0].next, &[1460; 10], &mut Chance(8));
    server.world.server.device_mut().room = 0;
    server.deliver(&frames(&segments));
    assert_eq!(
        (
            server.joined(),
            server.world.server.device_mut().arrived.len()
        ),
        (0, 10)
    );
    server.world.server.device_mut().room = 1;
    server.listen();
    assert_eq!(server.joined(), 10);
    server.read(0, 20_000);
    assert!(server.connections[0].received == text);
    server.end();
}

#[test]
fn a_poll_receives_its_share_and_says_that_more_is_left() {
    let Server {
        mut world,
        connections,
    } = Server::new(41, TOGETHER, None);
    let mut next = connections[0].next.clone();
    for _ in 0..140 {
        next.data = vec![7; 10];
        world.inject(&next.frame());
        next.seq = next.end();
    }
    assert!(world.server.poll(world.now, &mut world.kernel));
    assert_eq!(world.server.device_mut().arrived.len(), 12);
    assert!(!world.server.poll(world.now, &mut world.kernel));
    assert!(world.server.device_mut().arrived.is_empty());
}
