//! Listeners, half-open connections and TIME-WAIT, by hand-made segments.

use super::world::*;
use crate::tests::batch::Ops;
use crate::tests::frames::{Segment, arp_reply, segments};
use crate::{Config, Timers};
use abi::batch::Tell;
use abi::socket::Handle;
use abi::{Error, Pid};
use core::net::SocketAddr;
use core::time::Duration;
use smoltcp::wire::TcpControl;
use smoltcp::wire::TcpControl::{Fin, Rst, Syn};
use std::vec::Vec;

const SERVER: Pid = Pid(0x102);
const OTHER: Pid = Pid(0x103);

/// A server with a listener at port 80, and a peer that is known by address.
fn world(backlog: u32) -> (World, Handle) {
    let mut world = World::new(1);
    let listener = world.listener(SERVER, 80, backlog);
    world.inject(&arp_reply(PEER_IP));
    assert!(world.frames().is_empty());
    (world, listener)
}

/// Sends a segment; what comes back.
fn send(world: &mut World, segment: &Segment) -> Vec<Segment> {
    world.inject(&segment.frame());
    segments(&world.frames())
}

/// Opens a connection by hand; the server's SYN-ACK.
fn open(world: &mut World, peer: u16) -> Segment {
    let answers = send(world, &Segment::syn(peer, 80, 1000));
    let [answer] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!((answer.control, answer.ack), (Syn, Some(1001)));
    let answer = answer.clone();
    assert!(send(world, &Segment::after(&answer, TcpControl::None)).is_empty());
    answer
}

/// Lets time pass for the server alone; what it sent.
fn later(world: &mut World, duration: u64) -> Vec<Segment> {
    let until = world.now + duration;
    let mut sent = Vec::new();
    loop {
        sent.extend(segments(&world.frames()));
        if world.now == until {
            return sent;
        }
        world.now = world.server.deadline(world.now).clamp(world.now + 1, until);
    }
}

#[test]
fn listening_needs_no_memory_and_a_closed_port_resets() {
    let (mut world, _) = world(64);
    assert_eq!(world.figure("buffer_octets"), 0);
    let answers = send(&mut world, &Segment::syn(5000, 81, 7));
    assert_eq!((answers[0].control, answers[0].ack), (Rst, Some(8)));
    assert_eq!(world.figure("connections"), 0);
}

#[test]
fn buffers_are_long_for_few_connections_and_short_for_many() {
    let mut config = Config::new(SERVER_MAC, 1);
    let limits = &mut config.limits;
    (limits.tcp_receive_large, limits.tcp_transmit_large) = (65_535, 128 << 10);
    limits.memory = 4 << 20;
    let mut world = World::as_configured(config);
    world.listener(Pid(0x101), 80, 128);
    world.inject(&arp_reply(PEER_IP));
    world.act();
    const LONG: u64 = 65_535 + (128 << 10);
    const SHORT: u64 = 48 << 10;
    // A quarter of 4 MiB is five times the one.
    for (count, octets) in [
        (1, LONG),
        (5, 5 * LONG),
        (6, 5 * LONG + SHORT),
        (40, 5 * LONG + 35 * SHORT),
    ] {
        while world.figure("connections") < count {
            let peer = 2000 + world.figure("connections") as u16;
            open(&mut world, peer);
        }
        assert_eq!(world.figure("buffer_octets"), octets);
    }
}

#[test]
fn over_the_backlog_a_syn_is_dropped_and_later_served() {
    let (mut world, listener) = world(3);
    for peer in 5000..5003 {
        open(&mut world, peer);
    }
    // Nothing at all: neither SYN-ACK nor RST.
    assert_eq!(send(&mut world, &Segment::syn(5003, 80, 1000)), []);
    assert_eq!(world.figure("tcp_syns_dropped"), 1);
    world.try_accept(SERVER, listener).unwrap();
    open(&mut world, 5003);
    assert_eq!(world.figure("connections"), 4);
}

#[test]
fn connections_are_accepted_in_the_order_they_were_completed() {
    let (mut world, socket) = world(8);
    let first = send(&mut world, &Segment::syn(5000, 80, 1000));
    open(&mut world, 5001);
    send(&mut world, &Segment::after(&first[0], TcpControl::None));
    for port in [5001, 5000] {
        let (_, peer) = world.try_accept(SERVER, socket).unwrap();
        assert_eq!(peer, SocketAddr::from((PEER_IP, port)));
    }
}

#[test]
fn a_repeated_syn_makes_no_second_connection() {
    let (mut world, _) = world(8);
    let syn = Segment::syn(5000, 80, 1000);
    let first = send(&mut world, &syn);
    let acknowledged = Segment::after(&first[0], TcpControl::None);
    for _ in 0..5 {
        // RFC 9293 §3.10.7.4, first: what is not acceptable is acknowledged.
        let answers = send(&mut world, &syn);
        assert_eq!(
            (answers[0].control, answers[0].ack),
            (TcpControl::None, Some(1001))
        );
        assert_eq!(Some(answers[0].seq), acknowledged.ack);
    }
    assert_eq!(
        (world.figure("connections"), world.figure("half_open")),
        (1, 1)
    );
    // The first SYN-ACK's connection is the one that lives.
    assert_eq!(send(&mut world, &acknowledged), []);
    assert_eq!(send(&mut world, &syn).len(), 1);
    assert_eq!(
        (world.figure("connections"), world.figure("half_open")),
        (1, 0)
    );
    let mut data = Segment::after(&first[0], TcpControl::None);
    data.data = b"hello".to_vec();
    send(&mut world, &data);
    let sent = later(&mut world, 100 * MS);
    assert_eq!(
        sent.last().map(|segment| segment.ack),
        Some(Some(data.end()))
    );
}

#[test]
fn a_flood_of_syns_is_forgotten_and_the_service_goes_on() {
    let (mut world, listener) = world(16);
    for n in 0..2000u16 {
        let syn = Segment::syn(1024 + n, 80, 1000).from([10, 0, 2, 50 + (n % 100) as u8]);
        world.inject(&syn.frame());
        for frame in world.frames() {
            if let Some(segment) = Segment::read(&frame) {
                assert_eq!(segment.control, Syn, "never a RST");
            }
        }
        assert!(world.figure("half_open") <= 16);
    }
    // All were answered, and those for which there was no room are remembered by nobody,
    assert_eq!(world.figure("tcp_cookies_sent"), 2000 - 16);
    assert_eq!(world.figure("buffer_octets"), 0);
    // so that whoever means it is served.
    open(&mut world, 60000);
    assert_eq!(
        (world.figure("half_open"), world.figure("connections")),
        (16, 17)
    );
    world.try_accept(SERVER, listener).unwrap();
    // After thirty seconds they are all gone, without a RST; they were answered four times more.
    let sent = later(&mut world, 31 * SECOND);
    assert!(sent.iter().all(|segment| segment.control != Rst));
    assert_eq!(world.figure("tcp_syn_acks_repeated"), 4 * 16);
    assert_eq!(
        (world.figure("half_open"), world.figure("connections")),
        (0, 1)
    );
}

#[test]
fn a_flood_takes_no_memory_from_clients_of_this_port_or_another() {
    let mut config = Config::new(SERVER_MAC, 1);
    config.limits.memory = 2 * (config.limits.tcp_receive + config.limits.tcp_transmit);
    let mut world = World::with(config);
    world.listener(SERVER, 80, 64);
    world.listener(SERVER, 81, 64);
    world.inject(&arp_reply(PEER_IP));
    for peer in 6000..6100 {
        send(&mut world, &Segment::syn(peer, 81, 1));
    }
    assert_eq!(world.figure("half_open"), 64);
    open(&mut world, 5000);
    let answer = send(&mut world, &Segment::syn(5000, 81, 1000)).remove(0);
    assert_eq!(
        send(&mut world, &Segment::after(&answer, TcpControl::None)),
        []
    );
    assert_eq!(world.figure("connections") - world.figure("half_open"), 2);
}

#[test]
fn senders_that_cannot_be_are_ignored() {
    let (mut world, _) = world(16);
    let before = world.figure("drop_ip_source");
    let impossible = [
        [0; 4],
        [0, 1, 2, 3],
        [255; 4],
        [224, 0, 0, 1],
        [239, 1, 2, 3],
        [240, 0, 0, 1],
        [127, 0, 0, 1],
        [10, 0, 2, 255],
        SERVER_IP,
    ];
    for ip in impossible {
        for port in [80, 81] {
            world.inject(&Segment::syn(5000, port, 1).from(ip).frame());
            assert!(world.frames().is_empty(), "{ip:?}");
        }
    }
    assert_eq!(
        world.figure("drop_ip_source") - before,
        2 * impossible.len() as u64
    );
    // Nor is a segment for everybody anybody's.
    for to in [[255; 4], [10, 0, 2, 255], [224, 0, 0, 1], [10, 0, 2, 16]] {
        for port in [80, 81] {
            world.inject(&Segment::syn(5000, port, 1).frame_to(to));
            assert!(world.frames().is_empty(), "{to:?}");
        }
    }
    let mut broadcast = Segment::syn(5000, 80, 1).frame();
    broadcast[..6].fill(0xff);
    world.inject(&broadcast);
    assert!(world.frames().is_empty());
    // Port 0 is nobody's.
    assert_eq!(send(&mut world, &Segment::syn(0, 80, 1)), []);
    assert_eq!(world.figure("connections"), 0);
    assert_eq!(world.figure("buffer_octets"), 0);
}

#[test]
fn a_syn_with_a_wrong_checksum_leaves_nothing_behind() {
    let (mut world, _) = world(1);
    let mut frame = Segment::syn(5000, 80, 1000).frame();
    *frame.last_mut().unwrap() ^= 1;
    world.inject(&frame);
    assert!(world.frames().is_empty());
    assert_eq!(
        (world.figure("half_open"), world.figure("buffer_octets")),
        (0, 0)
    );
    open(&mut world, 5000);
}

#[test]
fn a_reset_takes_a_half_open_connection_back() {
    let (mut world, _) = world(1);
    let answer = send(&mut world, &Segment::syn(5000, 80, 1000)).remove(0);
    let mut reset = Segment::after(&answer, Rst);
    reset.ack = None;
    assert_eq!(send(&mut world, &reset), []);
    assert_eq!(
        (world.figure("half_open"), world.figure("buffer_octets")),
        (0, 0)
    );
    open(&mut world, 5001);
}

#[test]
fn nobody_gives_way_to_a_half_open_connection_that_is_taken_back() {
    let mut config = Config::new(SERVER_MAC, 1);
    // For one connection, whose buffers are short then.
    config.limits.memory = config.limits.tcp_receive + (4 << 10);
    let mut world = World::with(config);
    world.listener(SERVER, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    open(&mut world, 5000);
    let answer = send(&mut world, &Segment::syn(5001, 80, 1000)).remove(0);
    let mut reset = Segment::after(&answer, Rst);
    reset.ack = None;
    assert_eq!(send(&mut world, &reset), []);
    let figures = ["connections", "half_open", "dormant"].map(|name| world.figure(name));
    assert_eq!(figures, [1, 0, 0]);
}

#[test]
fn buffers_are_short_when_three_quarters_of_the_memory_are_taken() {
    let mut config = Config::new(SERVER_MAC, 1);
    let receive = config.limits.tcp_receive;
    let usual = receive + config.limits.tcp_transmit;
    config.limits.memory = 16 * usual;
    let mut world = World::with(config);
    world.listener(SERVER, 80, 32);
    world.inject(&arp_reply(PEER_IP));
    let mut used = 0;
    for number in 0..14 {
        open(&mut world, 5000 + number);
        // The answer to its SYN has promised the peer the usual window.
        used += match number < 12 {
            true => usual,
            false => receive + (4 << 10),
        };
        assert_eq!(world.figure("buffer_octets"), used as u64);
    }
}

#[test]
fn a_connection_reset_before_accept_is_not_accepted() {
    let (mut world, socket) = world(2);
    let answer = open(&mut world, 5000);
    open(&mut world, 5001);
    let mut reset = Segment::after(&answer, Rst);
    reset.ack = None;
    send(&mut world, &reset);
    let (_, peer) = world.try_accept(SERVER, socket).unwrap();
    assert_eq!(peer.port(), 5001);
    let empty = world.try_accept(SERVER, socket);
    assert_eq!(empty, Err(Error::WouldBlock));
}

#[test]
fn a_listener_that_closes_resets_who_waits() {
    let (mut world, socket) = world(8);
    let other = world.listener(OTHER, 81, 8);
    let theirs = send(&mut world, &Segment::syn(5001, 81, 1000)).remove(0);
    let complete = open(&mut world, 5000);
    let half = send(&mut world, &Segment::syn(5001, 80, 1000)).remove(0);
    world.close(SERVER, socket).unwrap();
    let mut sent = segments(&world.frames());
    sent.sort_by_key(|segment| segment.peer);
    // Each has the number that its peer expects.
    let expected = [complete.end(), half.end()].map(|seq| (Rst, seq));
    let resets = sent.iter().map(|segment| (segment.control, segment.seq));
    assert!(resets.eq(expected), "{sent:?}");
    assert_eq!(
        world.figure("tcp_resets_sent"),
        1,
        "smoltcp sends the other"
    );
    // Who waits for another listener goes on.
    assert!(send(&mut world, &Segment::after(&theirs, TcpControl::None)).is_empty());
    world.try_accept(OTHER, other).unwrap();
    world.die(OTHER);
    world.frames();
    world.assert_empty();
    let answers = send(&mut world, &Segment::syn(5002, 80, 1000));
    assert_eq!(answers[0].control, Rst);
    // And the port can be listened at again at once.
    world.listener(SERVER, 80, 8);
    open(&mut world, 5003);
}

/// A connection that the server closed and that came to its end. The peer's last segment.
fn ended(world: &mut World, listener: Handle, peer: u16) -> Segment {
    let answer = open(world, peer);
    let (socket, _) = world.try_accept(SERVER, listener).unwrap();
    world.close(SERVER, socket).unwrap();
    let sent = segments(&world.frames());
    assert_eq!((sent.len(), sent[0].control), (1, Fin));
    let mut fin = Segment::after(&answer, Fin);
    fin.ack = Some(sent[0].end());
    let sent = send(world, &fin);
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].control, sent[0].ack),
        (TcpControl::None, Some(fin.end()))
    );
    assert_eq!(Some(sent[0].seq), fin.ack);
    fin
}

#[test]
fn time_wait_costs_no_socket_and_answers_a_repeated_fin() {
    let (mut world, listener) = world(8);
    let fin = ended(&mut world, listener, 5000);
    assert_eq!(
        (world.figure("connections"), world.figure("buffer_octets")),
        (0, 0)
    );
    assert_eq!(world.figure("time_wait"), 1);
    for _ in 0..3 {
        world.now += 10 * SECOND;
        let sent = send(&mut world, &fin);
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].ack, Some(sent[0].seq)), (Some(fin.end()), fin.ack));
    }
    // One that was damaged on its way is not answered.
    let mut damaged = fin.frame();
    *damaged.last_mut().unwrap() ^= 4;
    world.inject(&damaged);
    assert!(world.frames().is_empty());
    // Once it is over, nobody remembers.
    world.now += 61 * SECOND;
    world.inject(&arp_reply(PEER_IP));
    assert_eq!(send(&mut world, &fin)[0].control, Rst);
}

#[test]
fn a_new_syn_reuses_the_ports_of_a_connection_in_time_wait() {
    let (mut world, listener) = world(8);
    let fin = ended(&mut world, listener, 5000);
    let old = Segment::syn(5000, 80, fin.end().wrapping_sub(1));
    assert_eq!(send(&mut world, &old)[0].ack, Some(fin.end()));
    // Its numbers are not behind those of the last one, but of the clock, which nobody can tell.
    world.now += SECOND;
    let new = Segment::syn(5000, 80, fin.end().wrapping_add(1));
    let answer = send(&mut world, &new).remove(0);
    assert_eq!(answer.control, Syn);
    let above = answer.seq.wrapping_sub(fin.ack.unwrap());
    assert!((200_000..300_000).contains(&above), "{above}");
    assert_eq!(world.figure("time_wait"), 0);
}

#[test]
fn a_hundred_connections_per_second_leave_a_bounded_trace() {
    let (mut world, listener) = world(8);
    for n in 0..3000 {
        ended(&mut world, listener, 5000 + n);
        world.now += 10 * MS;
        if n % 1000 == 0 {
            world.inject(&arp_reply(PEER_IP));
        }
    }
    assert_eq!(world.figure("time_wait"), 2048);
    assert_eq!(
        (world.figure("connections"), world.figure("buffer_octets")),
        (0, 0)
    );
}

#[test]
fn fins_that_cross_end_in_time_wait_too() {
    let (mut world, listener) = world(8);
    let answer = open(&mut world, 5000);
    let (socket, _) = world.try_accept(SERVER, listener).unwrap();
    world.close(SERVER, socket).unwrap();
    let our_fin = segments(&world.frames()).remove(0);
    // The peer's FIN does not know ours yet.
    let fin = Segment::after(&answer, Fin);
    let sent = send(&mut world, &fin);
    assert_eq!(sent[0].ack, Some(fin.end()));
    assert_eq!(
        (world.figure("connections"), world.figure("time_wait")),
        (1, 0)
    );
    let mut ack = Segment::after(&answer, TcpControl::None);
    (ack.seq, ack.ack) = (fin.end(), Some(our_fin.end()));
    send(&mut world, &ack);
    assert_eq!(
        (world.figure("connections"), world.figure("time_wait")),
        (0, 1)
    );
    let again = send(&mut world, &fin);
    assert_eq!(
        (again[0].seq, again[0].ack),
        (our_fin.end(), Some(fin.end()))
    );
}

#[test]
fn sockets_of_short_lived_half_open_connections_are_freed_in_time() {
    let timers = Timers {
        half_open: core::time::Duration::from_secs(5),
        ..Timers::default()
    };
    let config = Config {
        timers,
        ..Config::new(SERVER_MAC, 1)
    };
    let mut world = World::with(config);
    world.listener(SERVER, 80, 8);
    world.inject(&arp_reply(PEER_IP));
    send(&mut world, &Segment::syn(5000, 80, 1000));
    later(&mut world, 5 * SECOND - MS);
    assert_eq!(world.figure("half_open"), 1);
    later(&mut world, 2 * MS);
    assert_eq!(
        (world.figure("half_open"), world.figure("buffer_octets")),
        (0, 0)
    );
}

#[test]
fn a_waiting_send_goes_on_in_the_poll_that_makes_room() {
    let (mut world, listener) = world(8);
    let answer = open(&mut world, 5000);
    let (socket, _) = world.try_accept(SERVER, listener).unwrap();
    let data = Chance(1).octets(300_000);
    // An answer would let the last of it wait for what the program sends next.
    let ops = Ops::new().send(socket, &data, |send| send.tell = Tell::Never);
    world.batch(SERVER, &ops);
    let mut got = Vec::new();
    let mut ack = Segment::after(&answer, TcpControl::None);
    let mut rounds = 0;
    while got.len() < data.len() {
        rounds += 1;
        world.server.poll(world.now, &mut world.kernel);
        let sent: Vec<_> = world.server.device_mut().sent.drain(..).collect();
        let sent = segments(&sent);
        assert!(!sent.is_empty(), "after {} octets", got.len());
        for segment in sent {
            assert_eq!(Some(segment.seq), ack.ack, "in order, and once");
            ack.ack = Some(segment.end());
            got.extend(segment.data);
            world.inject(&ack.frame());
        }
    }
    // Once the congestion window allows it, each is a full buffer.
    assert!(rounds < 16, "{rounds} rounds");
    world.frames();
    assert!(got == data);
}

/// A server that was just started: programs are about to open their sockets.
fn opening() -> World {
    let mut config = Config::new(SERVER_MAC, 1);
    config.timers.opening = Duration::from_secs(1);
    let mut world = World::with(config);
    world.inject(&arp_reply(PEER_IP));
    assert!(world.frames().is_empty());
    world
}

#[test]
fn a_syn_that_comes_before_the_listener_waits_for_it() {
    let mut world = opening();
    for _ in 0..3 {
        assert!(send(&mut world, &Segment::syn(5000, 80, 1000)).is_empty());
    }
    assert!(send(&mut world, &Segment::syn(5000, 81, 7)).is_empty());
    assert_eq!(world.figure("frames_kept"), 4);
    world.listener(SERVER, 80, 8);
    // Repeated SYNs are one, and the other port is still without a listener.
    let answers = segments(&world.frames());
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].control, answers[0].ack), (Syn, Some(1001)));
    assert!(send(&mut world, &Segment::after(&answers[0], TcpControl::None)).is_empty());
    // It is refused when the time is over, and later ones are at once.
    let refused = later(&mut world, SECOND);
    assert_eq!((refused[0].port, refused[0].control), (81, Rst));
    assert_eq!(refused.len(), 1, "{refused:?}");
    let answers = send(&mut world, &Segment::syn(5001, 81, 7));
    assert_eq!((answers[0].control, answers[0].ack), (Rst, Some(8)));
}

#[test]
fn what_is_of_an_unknown_connection_is_refused_even_then_and_what_waits_is_bounded() {
    let mut world = opening();
    let mut segment = Segment::syn(5000, 80, 1000);
    (segment.control, segment.ack) = (TcpControl::None, Some(7000));
    let answers = send(&mut world, &segment);
    assert_eq!((answers[0].control, answers[0].seq), (Rst, 7000));
    for peer in 0..64 {
        assert!(send(&mut world, &Segment::syn(5000 + peer, 80, 1)).is_empty());
    }
    // Without room it is told what it would be told otherwise.
    let answers = send(&mut world, &Segment::syn(6000, 80, 1));
    assert_eq!(answers[0].control, Rst);
    world.listener(SERVER, 80, 128);
    let answers = segments(&world.frames());
    assert_eq!(answers.len(), 64);
    assert!(answers.iter().all(|answer| answer.control == Syn));
}

#[test]
fn no_datagram_is_called_unreachable_while_programs_open_their_ports() {
    let mut world = opening();
    let datagram = super::frames::udp((PEER_IP, 5000), 7, b"datagram");
    world.inject(&datagram);
    assert!(world.frames().is_empty());
    world.now += SECOND;
    world.inject(&datagram);
    assert_eq!(world.frames().len(), 1);
}

#[test]
fn what_completes_a_connection_and_does_not_fit_is_cut() {
    let mut config = Config::new(SERVER_MAC, 1);
    config.limits.tcp_receive = 1000;
    let mut world = World::with(config);
    let listener = world.listener(SERVER, 80, 8);
    world.inject(&arp_reply(PEER_IP));
    let answer = send(&mut world, &Segment::syn(5000, 80, 1000)).remove(0);
    let mut request = Segment::after(&answer, Fin);
    request.data = (0..1400u32).map(|n| n as u8).collect();
    world.inject(&request.frame());
    world.frames();
    let (socket, _) = world.try_accept(SERVER, listener).unwrap();
    let kept = world.recv(SERVER, socket, 2000).unwrap();
    assert!(kept.len() < 1400, "the test wants a small window");
    assert!(request.data.starts_with(&kept));
    // The FIN was behind what was cut off.
    let end = world.recv(SERVER, socket, 10);
    assert_eq!(end, Err(Error::WouldBlock));
}

#[test]
fn all_who_have_something_to_send_send_it_in_one_poll_after_another() {
    let (mut world, listener) = world(128);
    assert!(!world.server.sockets.stack.tcp.uses_port(80));
    // More than one poll sends.
    world.server.device_mut().room = 1000;
    for port in 0..100 {
        open(&mut world, 5000 + port);
    }
    for _ in 0..100 {
        let (socket, _) = world.try_accept(SERVER, listener).unwrap();
        assert_eq!(world.send(SERVER, socket, b"hello"), Ok(5));
    }
    assert!(world.server.sockets.stack.tcp.uses_port(80));
    assert_eq!(world.frames().len(), 100);
}

#[test]
fn the_oldest_of_too_many_that_were_let_go_is_reset_at_once() {
    let mut config = Config::new(SERVER_MAC, 1);
    config.limits.orphans = 1;
    let mut world = World::with(config);
    let listener = world.listener(SERVER, 80, 8);
    world.inject(&arp_reply(PEER_IP));
    world.frames();
    for (port, controls) in [(5000, &[Fin][..]), (5001, &[Fin, Rst])] {
        open(&mut world, port);
        let (socket, _) = world.try_accept(SERVER, listener).unwrap();
        world.close(SERVER, socket).unwrap();
        let sent = segments(&world.frames());
        let sent = sent.iter().map(|s| (s.control, s.peer.1));
        let expected = controls
            .iter()
            .zip([port, 5000])
            .map(|(&c, port)| (c, port));
        assert!(sent.eq(expected), "{port}");
    }
    assert_eq!(world.figure("tcp_orphans_aborted"), 1);
}

#[test]
fn what_waits_for_the_card_is_tried_again_soon() {
    let (mut world, listener) = world(8);
    open(&mut world, 5000);
    let (socket, _) = world.try_accept(SERVER, listener).unwrap();
    let datagrams = world.datagrams(SERVER, 7);
    for is_datagram in [true, false] {
        world.server.device_mut().room = 0;
        let sent = match is_datagram {
            true => world.send_to(SERVER, datagrams, (PEER_IP, 9), b"octets"),
            false => world.send(SERVER, socket, b"octets").map(|_| ()),
        };
        assert_eq!(sent, Ok(()));
        assert!(world.frames().is_empty());
        let soon = world.server.deadline(world.now) - world.now;
        assert!((1..=50 * MS).contains(&soon), "{soon}");
        world.now += soon;
        world.server.device_mut().room = 64;
        assert_eq!(world.frames().len(), 1);
    }
}
