//! Connections without buffers: nothing of them can be told from others, and no octet is lost
//! or changed, whenever they fall asleep and whatever wakes them. And who gives way when there
//! is no memory left.

use super::raw::*;
use super::world::*;
use crate::Config;
use crate::tests::batch::echo::Echo;
use crate::tests::batch::{Ops, bare};
use crate::tests::calls::any;
use crate::tests::frames::arp_reply;
use abi::batch::{Event, Operation, Tell};
use abi::socket::{Direction, Handle};
use abi::{Error, Pid};
use smoltcp::iface::SocketHandle;
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x102);
const OTHER: Pid = Pid(0x103);
const SYN_WINDOW: u16 = 60_000;

/// A connection between a program and a peer, dormant.
fn asleep() -> (World, Handle, SocketHandle) {
    let mut world = World::new(11);
    let listener = world.listener(PROGRAM, 80, 4);
    let peer = world.peer.connect(41000, 80);
    let socket = world.accept(PROGRAM, listener);
    world.pass(SECOND);
    sleep(&mut world);
    (world, socket, peer)
}

fn sleep(world: &mut World) {
    assert_eq!(world.server.sockets.stack.make_all_dormant(world.now), 1);
    let figures = ["dormant", "connections", "buffer_octets"].map(|name| world.figure(name));
    assert_eq!(figures, [1, 1, 0]);
}

/// The same, with a peer that is played by hand; returns its next segment.
fn asleep_by_hand() -> (World, Handle, Raw) {
    let mut world = World::new(12);
    let listener = world.listener(PROGRAM, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    let (socket, next) = open(&mut world, PROGRAM, listener, (6000, 80));
    sleep(&mut world);
    (world, socket, next)
}

/// Opens a connection by hand; returns also the next segment of the peer.
fn open(world: &mut World, program: Pid, listener: Handle, ports: (u16, u16)) -> (Handle, Raw) {
    let (next, opened) = shake(world, ports);
    assert!(opened);
    let socket = world.accept(program, listener);
    (socket, next)
}

/// A handshake by hand: the peer's next segment, and whether there was room for the connection.
fn shake(world: &mut World, ports: (u16, u16)) -> (Raw, bool) {
    let syn = Raw {
        ports,
        flags: SYN,
        seq: u32::MAX - 5,
        ack: 0,
        window: SYN_WINDOW,
        data: Vec::new(),
        options: vec![2, 4, 5, 0xb4],
    };
    world.inject(&syn.frame());
    let sent = sent(world);
    let answer = sent
        .iter()
        .find(|s| s.ports == (ports.1, ports.0))
        .expect("a SYN-ACK");
    let next = Raw {
        flags: ACK,
        seq: syn.seq.wrapping_add(1),
        ack: answer.seq.wrapping_add(1),
        options: Vec::new(),
        ..syn
    };
    world.inject(&next.frame());
    self::sent(world);
    let opened = world.server.sockets.stack.tcp.can_accept(ports.1);
    (next, opened)
}

fn sent(world: &mut World) -> Vec<Raw> {
    let frames = world.frames();
    frames.iter().filter_map(|frame| Raw::read(frame)).collect()
}

/// What comes within so much time.
fn within(world: &mut World, duration: u64) -> Vec<(u64, Raw)> {
    let until = world.now + duration;
    let mut all = Vec::new();
    loop {
        let now = world.now;
        all.extend(sent(world).into_iter().map(|segment| (now, segment)));
        world.server.sockets.stack.audit(now);
        if now == until {
            return all;
        }
        world.now = world.server.deadline(now).clamp(now + 1, until);
    }
}

fn read(world: &mut World, socket: Handle) -> Result<Vec<u8>, Error> {
    world.recv(PROGRAM, socket, 5000)
}

#[test]
fn data_wakes_it_from_either_side() {
    let (mut world, socket, peer) = asleep();
    let words = Chance(1).octets(5000);
    world.peer.tcp(peer).send_slice(&words).unwrap();
    world.pass(SECOND / 10);
    assert_eq!(world.figure("dormant"), 0);
    assert_eq!(read(&mut world, socket), Ok(words.clone()));
    world.pass(SECOND / 10);
    sleep(&mut world);
    let sent = world.send(PROGRAM, socket, &words);
    assert_eq!(sent, Ok(5000));
    world.pass(SECOND / 10);
    let mut back = vec![0; 5000];
    assert_eq!(world.peer.tcp(peer).recv_slice(&mut back), Ok(5000));
    assert_eq!(back, words);
    world.pass(SECOND / 10);
    sleep(&mut world);
}

#[test]
fn a_connection_that_began_here_sleeps_and_wakes_as_well() {
    let mut world = World::new(14);
    let peer = world.peer.listen(80);
    let (socket, _) = world.connect(PROGRAM, (PEER_IP, 80)).unwrap();
    world.pass(SECOND);
    sleep(&mut world);
    let words = Chance(2).octets(2000);
    world.peer.tcp(peer).send_slice(&words).unwrap();
    world.pass(SECOND / 10);
    assert_eq!(read(&mut world, socket), Ok(words));
}

#[test]
fn a_peer_whose_station_is_not_known_any_more_is_asked_as_soon_as_it_is() {
    let mut config = Config::new(SERVER_MAC, 15);
    // A station of which nothing is heard for so long is known no more.
    config.timers.keep_alive = core::time::Duration::from_secs(100);
    config.timers.silence = core::time::Duration::from_secs(300);
    let mut world = World::with(config);
    let listener = world.listener(PROGRAM, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    let (_, next) = open(&mut world, PROGRAM, listener, (6000, 80));
    sleep(&mut world);
    assert_eq!(within(&mut world, 100 * SECOND), []);
    world.now += SECOND / 2;
    world.inject(&arp_reply(PEER_IP));
    let question = sent(&mut world);
    assert_eq!(question.len(), 1);
    assert_eq!(question[0].seq, next.ack.wrapping_sub(1));
}

#[test]
fn an_end_wakes_it_from_either_side() {
    let (mut world, socket, peer) = asleep();
    world.peer.tcp(peer).close();
    world.pass(SECOND / 10);
    assert_eq!(read(&mut world, socket), Ok(Vec::new()));
    world.close(PROGRAM, socket).unwrap();
    world.pass(SECOND);
    assert_eq!(
        (world.figure("connections"), world.figure("time_wait")),
        (0, 0)
    );

    let (mut world, socket, peer) = asleep();
    world.close(PROGRAM, socket).unwrap();
    world.until(SECOND, "the peer's end", |world| {
        let peer = world.peer.tcp(peer);
        if !peer.may_recv() {
            peer.close();
        }
        !peer.is_open()
    });
    assert_eq!(
        (world.figure("connections"), world.figure("time_wait")),
        (0, 1)
    );
    assert_eq!(world.figure("buffer_octets"), 0);
}

#[test]
fn a_reset_ends_it_if_it_is_exact_and_is_challenged_otherwise() {
    let (mut world, socket, next) = asleep_by_hand();
    let mut reset = Raw {
        flags: RST,
        ..next.clone()
    };
    reset.seq = next.seq.wrapping_add(1);
    world.inject(&reset.frame());
    let challenge = sent(&mut world).remove(0);
    assert_eq!((challenge.flags, challenge.ack), (ACK, next.seq));
    assert_eq!(world.figure("dormant"), 1);
    reset.seq = next.seq;
    world.inject(&reset.frame());
    assert_eq!(sent(&mut world), []);
    assert_eq!(read(&mut world, socket), Err(Error::ConnectionReset));
}

#[test]
fn questions_of_the_peer_are_answered_without_a_socket() {
    let (mut world, socket, next) = asleep_by_hand();
    for len in [0, 1] {
        let question = Raw {
            seq: next.seq.wrapping_sub(1),
            data: vec![0; len],
            ..next.clone()
        };
        world.inject(&question.frame());
        let answer = sent(&mut world).remove(0);
        let numbers = (answer.flags, answer.seq, answer.ack, answer.window);
        // The window is the one that was promised.
        assert_eq!(numbers, (ACK, next.ack, next.seq, 16 << 10));
    }
    // A SYN, as of a peer that has started again (RFC 9293 §3.5.1).
    let syn = Raw {
        flags: SYN,
        ..next.clone()
    };
    world.inject(&syn.frame());
    assert_eq!(sent(&mut world).remove(0).flags, ACK);
    // What was never sent is not acknowledged.
    let early = Raw {
        ack: next.ack.wrapping_add(1),
        ..next.clone()
    };
    world.inject(&early.frame());
    assert_eq!(sent(&mut world).remove(0).ack, next.seq);
    assert_eq!(world.figure("dormant"), 1);
    assert_eq!(read(&mut world, socket), Err(Error::WouldBlock));
}

#[test]
fn the_window_that_the_peer_tells_meanwhile_counts() {
    let (mut world, socket, mut next) = asleep_by_hand();
    next.window = 100;
    world.inject(&next.frame());
    assert_eq!(sent(&mut world), []);
    assert_eq!(world.figure("dormant"), 1);
    assert_eq!(world.send(PROGRAM, socket, &[1; 1000]), Ok(1000));
    // So little is not sent at once (RFC 9293 §3.8.6.2.1), and never more.
    let all = within(&mut world, SECOND / 2);
    let lens: Vec<usize> = all.iter().map(|(_, segment)| segment.data.len()).collect();
    assert_eq!(lens, [100]);
    next.window = 5000;
    next.ack = next.ack.wrapping_add(100);
    world.inject(&next.frame());
    let rest = sent(&mut world);
    assert_eq!(
        rest.iter().map(|segment| segment.data.len()).sum::<usize>(),
        900
    );
}

#[test]
fn a_peer_that_is_silent_is_asked_and_given_up() {
    let (mut world, socket, next) = asleep_by_hand();
    let start = world.now;
    let mut all = within(&mut world, 29 * SECOND);
    // Its station is still there, or else that would be asked for instead.
    world.inject(&arp_reply(PEER_IP));
    all.extend(within(&mut world, 41 * SECOND));
    let questions: Vec<_> = (all.iter())
        .map(|(at, s)| ((at - start) / SECOND, s.seq, s.ack, s.window))
        .collect();
    // RFC 9293 §3.8.4: the number before, so that it is answered.
    let before = next.ack.wrapping_sub(1);
    let question = |at| (at, before, next.seq, 16 << 10);
    assert_eq!(questions, [question(25), question(50)]);
    assert_eq!(read(&mut world, socket), Err(Error::TimedOut));
    assert_eq!(world.figure("tcp_timeouts"), 1);
    world.close(PROGRAM, socket).unwrap();
    world.die(PROGRAM);
    world.frames();
    world.assert_empty();
}

#[test]
fn a_peer_that_answers_is_kept_for_as_long_as_it_does() {
    let (mut world, socket, peer) = asleep();
    for _ in 0..60 {
        world.pass(60 * SECOND);
        assert_eq!(
            (world.figure("dormant"), world.figure("buffer_octets")),
            (1, 0)
        );
    }
    world.peer.tcp(peer).send_slice(b"words").unwrap();
    world.pass(SECOND / 10);
    assert_eq!(read(&mut world, socket), Ok(b"words".to_vec()));
}

#[test]
fn its_program_may_drop_it_and_die() {
    let (mut world, _, next) = asleep_by_hand();
    world.die(PROGRAM);
    let reset = sent(&mut world).remove(0);
    assert_eq!((reset.flags & RST, reset.seq), (RST, next.ack));
    world.assert_empty();
}

#[test]
fn segments_stay_as_short_as_the_path_needs_them() {
    let (mut world, socket, mut next) = asleep_by_hand();
    world.send(PROGRAM, socket, &[1; 1460]).unwrap();
    let segment = sent(&mut world).remove(0);
    assert_eq!(segment.data.len(), 1460);
    world.inject(&super::path::too_big(&segment, 1500, 1000));
    world.frames();
    assert_eq!(world.figure("tcp_paths_narrowed"), 1);
    next.ack = next.ack.wrapping_add(1460);
    world.inject(&next.frame());
    sent(&mut world);
    sleep(&mut world);
    world.send(PROGRAM, socket, &[1; 2000]).unwrap();
    let lens = sent(&mut world)
        .into_iter()
        .map(|segment| segment.data.len());
    assert_eq!(lens.collect::<Vec<_>>(), [960, 960, 80]);
}

/// A peer says something, hears it back, and pauses; connections fall asleep at any moment.
fn talk(seed: u64, faults: Faults) {
    let mut world = World::new(seed);
    (world.faults, world.lull) = (faults, 50);
    let mut echo = Echo::start(&mut world, 0);
    let peer = world.peer.connect(40000, 7);
    let mut woken = 0;
    for _ in 0..40 {
        let len = 1 + world.chance.below(6000) as usize;
        let words = world.chance.octets(len);
        let (mut said, mut back) = (0, Vec::new());
        world.until(2000 * SECOND, "the echo", |world| {
            echo.run(world);
            let socket = world.peer.tcp(peer);
            if socket.can_send() && said < words.len() {
                said += socket.send_slice(&words[said..]).unwrap();
            }
            while socket.can_recv() {
                let take = |octets: &mut [u8]| (octets.len(), back.extend_from_slice(octets));
                socket.recv(take).unwrap();
            }
            back.len() >= words.len()
        });
        assert!(back == words);
        let pause = world.chance.below(40 * SECOND);
        world.pass(pause);
        woken += world.figure("dormant");
    }
    assert!(woken > 20, "it slept in {woken} of 40 pauses");
    world.faults = Faults::default();
    world.peer.tcp(peer).close();
    world.until(100 * SECOND, "the end", |world| {
        echo.run(world);
        echo.connections == 0
    });
    world.pass(70 * SECOND);
    world.die(PROGRAM);
    world.pass(5 * SECOND);
    world.assert_empty();
}

#[test]
fn what_is_said_between_naps_comes_back() {
    for seed in 0..10 {
        talk(seed, Faults::default());
    }
}

#[test]
fn what_is_said_between_naps_comes_back_on_terrible_wires() {
    for seed in 100..110 {
        talk(
            seed,
            Faults {
                loss: 10,
                duplication: 10,
                reordering: 30,
                corruption: 2,
            },
        );
    }
}

// --- who gives way --------------------------------------------------------------------

/// A world with so much memory, and two listeners.
fn crowd(memory: usize) -> (World, Handle, Handle) {
    let mut config = Config::new(SERVER_MAC, 1);
    config.limits.memory = memory;
    let mut world = World::with(config);
    let web = world.listener(PROGRAM, 80, 128);
    let echo = world.listener(OTHER, 7, 128);
    world.inject(&arp_reply(PEER_IP));
    (world, web, echo)
}

#[test]
fn thousands_of_idle_connections_need_no_memory() {
    let (mut world, _, echo) = crowd(1 << 20);
    let mut peers = Vec::new();
    for port in 0..400 {
        world.now += 10 * MS;
        peers.push(open(&mut world, OTHER, echo, (1024 + port, 7)));
        assert!(world.figure("buffer_octets") <= 1 << 20);
    }
    assert_eq!(world.figure("connections"), 400);
    assert!(world.figure("dormant") > 300);
    // Each speaks again, and is heard.
    for (socket, next) in &mut peers {
        next.data = vec![7; 100];
        world.inject(&next.frame());
        sent(&mut world);
        assert_eq!(world.recv(OTHER, *socket, 200), Ok(vec![7; 100]));
        within(&mut world, 10 * MS);
    }
    let refused = ["tcp_gave_way", "tcp_wakes_refused", "tcp_syns_dropped"];
    assert_eq!(refused.map(|name| world.figure(name)), [0; 3]);
    world.die(OTHER);
    within(&mut world, 2 * SECOND);
    assert_eq!(
        (world.figure("connections"), world.figure("buffer_octets")),
        (0, 0)
    );
}

/// Opens connections whose peers take nothing, so that each holds its buffers, until there is no
/// memory for one more.
fn fill(world: &mut World, port: u16, (program, listener): (Pid, Handle)) -> u64 {
    for count in 0..400 {
        let (mut next, opened) = shake(world, (2000 + count as u16, port));
        if !opened {
            return count;
        }
        let socket = world.accept(program, listener);
        next.window = 0;
        world.inject(&next.frame());
        assert_eq!(world.send(program, socket, &[1; 100]), Ok(100));
        sent(world);
    }
    panic!("all have found memory");
}

/// As many connections as hold their buffers in a quarter of 1 MiB: each has promised a window of
/// 16 KiB by its SYN, and sends from 4 KiB.
const IN_A_QUARTER: u64 = (256 << 10) / (20 << 10);

#[test]
fn those_of_one_listener_leave_the_share_of_another() {
    let (mut world, web, echo) = crowd(1 << 20);
    fill(&mut world, 7, (OTHER, echo));
    assert_eq!(fill(&mut world, 80, (PROGRAM, web)), IN_A_QUARTER);
    assert_eq!(world.figure("tcp_gave_way"), 0);
}

#[test]
fn a_listener_that_comes_late_gets_its_share_from_those_that_have_it() {
    let (mut world, web, echo) = crowd(1 << 20);
    world.close(PROGRAM, web).unwrap();
    let before = fill(&mut world, 7, (OTHER, echo));
    let web = world.listener(PROGRAM, 80, 128);
    assert_eq!(fill(&mut world, 80, (PROGRAM, web)), IN_A_QUARTER);
    // The other keeps its own.
    let left = before - world.figure("tcp_gave_way");
    assert!((IN_A_QUARTER..before).contains(&left), "{left} of {before}");
}

/// Opens ports for datagrams until there is no memory for one more.
fn fill_with_ports(world: &mut World) -> u16 {
    for count in 0..100 {
        let address = any(9000 + count);
        match world.open(OTHER, Operation::Bind { address }) {
            Ok(_) => {}
            Err(Error::NoMemory) => return count,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("all have found memory");
}

#[test]
fn datagram_ports_leave_the_shares_of_listeners() {
    // With listeners there, and before any is.
    for late in [false, true] {
        let (mut world, mut web, echo) = crowd(1 << 20);
        if late {
            world.close(PROGRAM, web).unwrap();
            world.close(OTHER, echo).unwrap();
        }
        // Half of the memory, at 128 KiB for each.
        assert_eq!(fill_with_ports(&mut world), 4);
        if late {
            web = world.listener(PROGRAM, 80, 128);
            world.listener(OTHER, 7, 128);
        }
        let ports = world.figure("buffer_octets");
        fill(&mut world, 80, (PROGRAM, web));
        let octets = world.figure("buffer_octets") - ports;
        // Less than one connection more would take.
        assert!(octets > (256 - 20) << 10, "{octets}");
        assert_eq!(world.figure("tcp_gave_way"), 0);
    }
}

#[test]
fn who_opens_ports_ends_nothing_that_a_listener_is_still_sending() {
    let (mut world, web, _) = crowd(1 << 20);
    let (socket, next) = open(&mut world, PROGRAM, web, (1024, 80));
    assert_eq!(world.send(PROGRAM, socket, &[1; 1000]), Ok(1000));
    world.close(PROGRAM, socket).unwrap();
    fill_with_ports(&mut world);
    assert!(sent(&mut world).iter().any(|s| s.seq == next.ack));
    assert_eq!(
        (world.figure("orphans"), world.figure("tcp_orphans_aborted")),
        (1, 0)
    );
}

#[test]
fn idle_connections_leave_the_common_memory_to_datagram_ports() {
    let (mut world, _, echo) = crowd(1 << 20);
    for port in 0..200 {
        open(&mut world, OTHER, echo, (1024 + port, 7));
    }
    assert_eq!(fill_with_ports(&mut world), 4);
    assert_eq!(
        (world.figure("connections"), world.figure("tcp_gave_way")),
        (200, 0)
    );
}

/// Opens connections to the echo port, each with data under way that its peer does not take, until one
/// finds no room: all that were opened, and that one's SYN.
fn full(world: &mut World, echo: Handle) -> (Vec<(Handle, Raw)>, Raw) {
    let mut all = Vec::new();
    let late = loop {
        let ports = (2000 + all.len() as u16, 7);
        let (mut next, opened) = shake(world, ports);
        if !opened {
            break next;
        }
        let socket = world.accept(OTHER, echo);
        next.window = 0;
        world.inject(&next.frame());
        world.send(OTHER, socket, &[1; 200]).unwrap();
        sent(world);
        world.now += MS;
        all.push((socket, next));
    };
    (all, late)
}

#[test]
fn who_goes_on_sending_is_not_reset_before_others_who_say_nothing() {
    let (mut world, _, echo) = crowd(256 << 10);
    let (mut all, late) = full(&mut world, echo);
    within(&mut world, 3 * SECOND);
    let (_, first) = &mut all[0];
    first.data = b"still here".to_vec();
    world.inject(&first.frame());
    sent(&mut world);
    world.inject(&late.frame());
    let answers = sent(&mut world);
    let reset = answers.iter().find(|s| s.flags & RST != 0).expect("a RST");
    assert_eq!(reset.ports.1, 2001);
}

#[test]
fn who_has_moved_nothing_for_longest_is_reset_when_memory_is_short() {
    let (mut world, _, echo) = crowd(256 << 10);
    let (mut all, late) = full(&mut world, echo);
    let count = all.len();
    assert!(count >= 4 && world.figure("tcp_gave_way") == 0, "{count}");
    // The first takes something at last: it is not the oldest any more.
    within(&mut world, 3 * SECOND);
    let (_, first) = &mut all[0];
    first.window = 100;
    world.inject(&first.frame());
    let got = within(&mut world, 300 * MS);
    assert_eq!(got.iter().map(|(_, s)| s.data.len()).sum::<usize>(), 100);
    all[0].1.ack = all[0].1.ack.wrapping_add(100);
    world.inject(&all[0].1.frame());
    sent(&mut world);
    // Who found no room asks again, and the second gives way to it: it is told by number.
    world.inject(&late.frame());
    let answers = sent(&mut world);
    let reset = answers.iter().find(|s| s.flags & RST != 0).expect("a RST");
    assert_eq!((reset.ports.1, reset.seq), (2001, all[1].1.ack));
    assert!(world.server.sockets.stack.tcp.can_accept(7));
    assert_eq!(world.figure("tcp_gave_way"), 1);
    let socket = all[1].0;
    let told = world.recv(OTHER, socket, 10);
    assert_eq!(told, Err(Error::ConnectionReset));
    world.close(OTHER, socket).unwrap();
    world.die(OTHER);
    within(&mut world, 2 * SECOND);
    assert_eq!(
        (world.figure("connections"), world.figure("buffer_octets")),
        (0, 0)
    );
}

/// Connections whose peers take nothing, so that they hold their buffers, until there is no
/// memory for another.
fn exhaust(world: &mut World, program: Pid, listener: Handle, port: u16) {
    for peer in 2000.. {
        let ports = (peer, port);
        let (mut next, opened) = shake(world, ports);
        if !opened {
            return;
        }
        let (socket, _) = world.try_accept(program, listener).unwrap();
        next.window = 0;
        world.inject(&next.frame());
        assert_eq!(world.send(program, socket, &[1; 100]), Ok(100));
        sent(world);
    }
}

#[test]
fn who_cannot_wake_for_want_of_memory_waits_or_is_reset() {
    let (mut world, web, echo) = crowd(256 << 10);
    let [sender, closer, finisher] =
        [1024, 1025, 1026].map(|port| open(&mut world, OTHER, echo, (port, 7)));
    assert_eq!(world.server.sockets.stack.make_all_dormant(world.now), 3);
    exhaust(&mut world, OTHER, echo, 7);
    exhaust(&mut world, PROGRAM, web, 80);
    assert_eq!(world.figure("dormant"), 3);
    assert_eq!(world.figure("tcp_gave_way"), 0);
    // An end has to be told at once.
    let (socket, next) = closer;
    assert_eq!(world.close(OTHER, socket), Ok(()));
    let reset = sent(&mut world).remove(0);
    assert_eq!(
        (reset.ports.1, reset.flags & RST, reset.seq),
        (1025, RST, next.ack)
    );
    let (socket, next) = finisher;
    let direction = Direction::Send;
    let shutdown = world.shutdown(OTHER, socket, direction);
    assert_eq!(shutdown, Ok(()));
    let reset = sent(&mut world).remove(0);
    assert_eq!(
        (reset.ports.1, reset.flags & RST, reset.seq),
        (1026, RST, next.ack)
    );
    let told = world.recv(OTHER, socket, 10);
    assert_eq!(told, Err(Error::ConnectionReset));
    assert_eq!(world.figure("tcp_gave_way"), 2);
    // Octets can wait.
    let (socket, next) = sender;
    let ops = Ops::new().send(socket, b"at last", |send| send.tell = Tell::Now);
    let token = world.batch(OTHER, &ops);
    assert_eq!(
        (sent(&mut world), world.batch_answer(token)),
        (vec![], None)
    );
    // What frees memory tells nobody, and the peer says nothing.
    world.die(PROGRAM);
    let heard = within(&mut world, SECOND);
    let mut heard = (heard.iter().map(|(_, s)| s)).filter(|s| s.ports.1 == 1024);
    let first = heard.next().map(|s| (s.seq, &s.data[..]));
    assert_eq!(first, Some((next.ack, &b"at last"[..])));
    let told = world.batch_answer(token).map(|events| bare(&events));
    let waited = true;
    assert_eq!(told, Some(vec![Event::Sent { socket, waited }]));
}
