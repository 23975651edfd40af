//! Connections as programs and peers use them.

use super::world::*;
use crate::tests::frames::arp_reply;
use crate::{Config, Limits};
use abi::socket::{Answer, Direction, Handle, Kind, POLL_FOREVER, PollEntry, Request, poll};
use abi::{Error, Pid};
use core::net::{IpAddr, SocketAddr};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

const SERVER: Pid = Pid(0x102);
const CLIENT: Pid = Pid(0x103);

/// The echo server as a program: one process, non-blocking sockets, one `Poll`.
pub(super) struct Echo {
    listener: Handle,
    /// What each connection has still to send, and whether its end was seen.
    pub connections: BTreeMap<Handle, (Vec<u8>, bool)>,
    polling: Option<u64>,
    chunk: usize,
}

impl Echo {
    pub fn start(world: &mut World, backlog: u16) -> Self {
        let listener = world.listener(SERVER, 7, backlog);
        world.non_blocking(SERVER, listener);
        Echo {
            listener,
            connections: BTreeMap::new(),
            polling: None,
            chunk: 4096,
        }
    }

    /// Runs as long as it is not asleep.
    pub fn run(&mut self, world: &mut World) {
        loop {
            if let Some(token) = self.polling {
                let Some((answer, memory)) = world.answer(token) else {
                    return;
                };
                self.polling = None;
                assert!(matches!(answer, Ok(Answer::Count(1..))), "{answer:?}");
                for bytes in memory.as_chunks().0 {
                    let entry = PollEntry::from_bytes(bytes);
                    if entry.ready != 0 {
                        self.serve(world, entry.socket);
                    }
                }
            }
            let wanted = |pending: &(Vec<u8>, bool)| match pending.0.is_empty() {
                true => poll::READABLE,
                false => poll::WRITABLE,
            };
            let sockets = [(self.listener, poll::READABLE)].into_iter();
            let sockets = sockets.chain(self.connections.iter().map(|(&s, p)| (s, wanted(p))));
            let entries = sockets.flat_map(|(socket, wanted)| {
                PollEntry {
                    socket,
                    wanted,
                    ready: 0,
                }
                .to_bytes()
            });
            let entries: Vec<u8> = entries.collect();
            let timeout_ms = POLL_FOREVER;
            self.polling = Some(world.call(SERVER, Request::Poll { timeout_ms }, &entries));
        }
    }

    fn serve(&mut self, world: &mut World, socket: Handle) {
        if socket == self.listener {
            match world.ask(SERVER, Request::Accept { socket }) {
                Ok(Answer::Accepted(connection, _)) => {
                    world.non_blocking(SERVER, connection);
                    self.connections.insert(connection, (Vec::new(), false));
                }
                other => assert_eq!(other, Err(Error::WouldBlock)),
            }
            return;
        }
        let (pending, ended) = self.connections.get_mut(&socket).unwrap();
        if pending.is_empty() && !*ended {
            match world.now(SERVER, Request::Recv { socket }, &vec![0; self.chunk]) {
                (Ok(Answer::Count(0)), _) => *ended = true,
                (Ok(Answer::Count(count)), memory) => pending.extend(&memory[..count as usize]),
                (Err(Error::WouldBlock), _) => {}
                _ => *ended = true,
            }
        }
        if !pending.is_empty() {
            match world.now(SERVER, Request::Send { socket }, pending).0 {
                Ok(Answer::Count(count)) => drop(pending.drain(..count as usize)),
                Err(Error::WouldBlock) => {}
                _ => (*ended, *pending) = (true, Vec::new()),
            }
        }
        if *ended && pending.is_empty() {
            assert_eq!(
                world.ask(SERVER, Request::Close { socket }),
                Ok(Answer::Done)
            );
            self.connections.remove(&socket);
        }
    }
}

/// A peer's connection that sends `data` and wants it back.
struct Ping {
    socket: SocketHandle,
    data: Vec<u8>,
    sent: usize,
    back: Vec<u8>,
}

impl Ping {
    fn start(world: &mut World, local: u16, len: usize) -> Self {
        let data = world.chance.octets(len);
        Ping {
            socket: world.peer.connect(local, 7),
            data,
            sent: 0,
            back: Vec::new(),
        }
    }

    fn run(&mut self, world: &mut World) -> bool {
        let socket = world.peer.tcp(self.socket);
        if socket.can_send() && self.sent < self.data.len() {
            self.sent += socket.send_slice(&self.data[self.sent..]).unwrap();
        }
        if self.sent == self.data.len() && socket.may_send() {
            socket.close();
        }
        while socket.can_recv() {
            let back = &mut self.back;
            socket
                .recv(|octets| (octets.len(), back.extend_from_slice(octets)))
                .unwrap();
        }
        let done = self.sent == self.data.len() && !socket.may_recv() && !socket.may_send();
        if done {
            assert!(
                self.back == self.data,
                "{} of {}: {}",
                self.back.len(),
                self.data.len(),
                world.server.status()
            );
        }
        done
    }
}

fn echo(seed: u64, len: usize, faults: Faults, slow_card: Option<usize>) -> World {
    let mut world = World::new(seed);
    world.faults = faults;
    world.slow_card = slow_card;
    if let Some(slow) = slow_card {
        world.server.device_mut().room = slow;
    }
    let mut echo = Echo::start(&mut world, 8);
    let mut ping = Ping::start(&mut world, 40000, len);
    world.until(4000 * SECOND, "the echo", |world| {
        echo.run(world);
        ping.run(world)
    });
    world.faults = Faults::default();
    world.until(100 * SECOND, "the end", |world| {
        echo.run(world);
        echo.connections.is_empty()
    });
    world.pass(70 * SECOND);
    echo.run(&mut world);
    assert_eq!(world.figure("connections"), 0);
    world.die(SERVER);
    world.pass(5 * SECOND);
    world.assert_empty();
    world
}

#[test]
fn a_megabyte_comes_back_on_a_clean_wire() {
    let world = echo(1, 1 << 20, Faults::default(), None);
    assert_eq!(world.figure("tcp_timeouts"), 0);
    assert_eq!(world.figure("frames_dropped"), 0);
}

#[test]
fn a_megabyte_comes_back_on_a_bad_wire() {
    let faults = Faults {
        loss: 5,
        duplication: 3,
        reordering: 5,
        corruption: 1,
    };
    echo(2, 1 << 20, faults, None);
}

#[test]
fn small_echoes_survive_terrible_wires() {
    for seed in 0..10 {
        let faults = Faults {
            loss: 20,
            duplication: 20,
            reordering: 50,
            corruption: 3,
        };
        echo(100 + seed, 5000, faults, None);
    }
}

#[test]
fn a_card_without_room_loses_nothing() {
    let world = echo(3, 200_000, Faults::default(), Some(2));
    // Nothing was ever sent twice: the stack held back what did not fit.
    assert_eq!(world.figure("tcp_timeouts"), 0);
    assert!(world.frames_sent < 1000, "{} frames", world.frames_sent);
}

#[test]
fn sixty_four_clients_are_served_at_once() {
    let mut world = World::new(4);
    let mut echo = Echo::start(&mut world, 64);
    let mut pings: Vec<Ping> = (0..64)
        .map(|n| Ping::start(&mut world, 40000 + n, 10_000 + 100 * usize::from(n)))
        .collect();
    let mut done = vec![false; pings.len()];
    let mut most = 0;
    world.until(60 * SECOND, "64 echoes", |world| {
        echo.run(world);
        most = most.max(echo.connections.len());
        for (ping, done) in pings.iter_mut().zip(&mut done) {
            *done = *done || ping.run(world);
        }
        done.iter().all(|&done| done)
    });
    assert_eq!(most, 64);
    assert_eq!(world.figure("tcp_syns_dropped"), 0);
    assert_eq!(world.figure("tcp_accepted"), 64);
    world.until(SECOND, "64 ends", |world| {
        echo.run(world);
        world.figure("connections") == 0
    });
    // The peer closed first: TIME-WAIT is his.
    assert_eq!(world.figure("time_wait"), 0);
}

fn connected(world: &mut World, port: u16) -> (Handle, SocketHandle) {
    let listener = world.listener(SERVER, port, 4);
    let peer = world.peer.connect(41000, port);
    let connection = world.accept(SERVER, listener);
    world
        .ask(SERVER, Request::Close { socket: listener })
        .unwrap();
    (connection, peer)
}

#[test]
fn a_blocking_send_sends_all_and_a_download_is_exact() {
    let mut world = World::new(5);
    let (socket, peer) = connected(&mut world, 80);
    let file = Chance(9).octets(10 << 20);
    let token = world.call(SERVER, Request::Send { socket }, &file);
    let mut got = Vec::new();
    world.until(60 * SECOND, "10 MiB", |world| {
        let socket = world.peer.tcp(peer);
        while socket.can_recv() {
            socket
                .recv(|octets| (octets.len(), got.extend_from_slice(octets)))
                .unwrap();
        }
        got.len() == file.len()
    });
    assert!(got == file);
    assert_eq!(world.answer(token).unwrap().0, Ok(Answer::Count(10 << 20)));
    // The server closes first: its TIME-WAIT is an entry, not a socket.
    world.ask(SERVER, Request::Close { socket }).unwrap();
    world.until(SECOND, "the peer's end", |world| {
        let socket = world.peer.tcp(peer);
        if socket.state() == State::CloseWait {
            socket.close();
        }
        socket.state() == State::Closed
    });
    assert_eq!(world.figure("connections"), 0);
    assert_eq!(world.figure("time_wait"), 1);
    assert_eq!(world.figure("buffer_octets"), 0);
}

#[test]
fn a_request_and_its_answer_cost_two_frames() {
    let mut world = World::new(6);
    let (socket, peer) = connected(&mut world, 80);
    world.pass(SECOND);
    let before = world.frames_sent;
    for _ in 0..100 {
        world
            .peer
            .tcp(peer)
            .send_slice(b"GET / HTTP/1.1\r\n\r\n")
            .unwrap();
        let (answer, _) = world.wait(SERVER, Request::Recv { socket }, &[0; 100]);
        assert_eq!(answer, Ok(Answer::Count(18)));
        world
            .wait(SERVER, Request::Send { socket }, &[b'x'; 1000])
            .0
            .unwrap();
        world.until(SECOND, "the answer", |world| {
            let socket = world.peer.tcp(peer);
            socket.recv_slice(&mut [0; 2000]).unwrap() > 0
        });
    }
    // The acknowledgement travels with the answer.
    assert_eq!(world.frames_sent - before, 100);
}

#[test]
fn what_is_queued_at_close_arrives_and_then_the_end() {
    let mut world = World::new(7);
    let (socket, peer) = connected(&mut world, 80);
    let data = Chance(3).octets(30_000);
    assert_eq!(
        world.now(SERVER, Request::Send { socket }, &data).0,
        Ok(Answer::Count(30_000))
    );
    world.ask(SERVER, Request::Close { socket }).unwrap();
    assert_eq!(
        world.ask(SERVER, Request::Close { socket }),
        Err(Error::BadHandle)
    );
    let mut got = Vec::new();
    world.until(SECOND, "all of it", |world| {
        let socket = world.peer.tcp(peer);
        while socket.can_recv() {
            socket
                .recv(|octets| (octets.len(), got.extend_from_slice(octets)))
                .unwrap();
        }
        socket.state() == State::CloseWait && got.len() == data.len()
    });
    assert!(got == data);
    world.peer.tcp(peer).close();
    world.until(SECOND, "the end", |world| world.figure("connections") == 0);
}

#[test]
fn a_closed_connection_whose_peer_goes_on_is_reset() {
    let mut world = World::new(8);
    let (socket, peer) = connected(&mut world, 80);
    world
        .now(SERVER, Request::Send { socket }, b"413")
        .0
        .unwrap();
    world.ask(SERVER, Request::Close { socket }).unwrap();
    let mut got = Vec::new();
    world.until(SECOND, "the reset", |world| {
        let socket = world.peer.tcp(peer);
        if socket.can_recv() {
            socket
                .recv(|octets| (octets.len(), got.extend_from_slice(octets)))
                .unwrap();
        }
        let _ = socket.send_slice(&[b'u'; 1000]);
        socket.state() == State::Closed
    });
    assert_eq!(got, b"413", "what was said before was heard");
    world.pass(2 * SECOND);
    assert_eq!(world.figure("connections"), 0);
}

#[test]
fn a_peer_that_vanishes_is_given_up() {
    let mut world = World::new(9);
    let (socket, peer) = connected(&mut world, 80);
    world.peer.sockets.remove(peer);
    world.faults.loss = 100;
    // Idle, found out by keep-alive; the program waits in recv.
    let start = world.now;
    let (answer, _) = world.wait(SERVER, Request::Recv { socket }, &[0; 10]);
    assert_eq!(answer, Err(Error::TimedOut));
    assert!(
        world.now - start <= 61 * SECOND,
        "{} ms",
        (world.now - start) / MS
    );
    assert_eq!(
        world.ask(SERVER, Request::Send { socket }),
        Ok(Answer::Count(0))
    );
    assert_eq!(
        world.now(SERVER, Request::Send { socket }, b"x").0,
        Err(Error::BrokenPipe)
    );
    assert_eq!(
        world.now(SERVER, Request::Recv { socket }, &[0; 9]).0,
        Ok(Answer::Count(0))
    );
    world.ask(SERVER, Request::Close { socket }).unwrap();
    assert_eq!(world.figure("buffer_octets"), 0);
}

#[test]
fn an_idle_connection_whose_peer_lives_stays() {
    let mut world = World::new(10);
    let (socket, peer) = connected(&mut world, 80);
    world.pass(1000 * SECOND);
    world.peer.tcp(peer).send_slice(b"still here").unwrap();
    let (answer, memory) = world.wait(SERVER, Request::Recv { socket }, &[0; 20]);
    assert_eq!(answer, Ok(Answer::Count(10)));
    assert_eq!(&memory[..10], b"still here");
}

#[test]
fn an_orphan_without_progress_is_aborted() {
    let mut world = World::new(11);
    let (socket, peer) = connected(&mut world, 80);
    // The peer never reads, so its window closes and stays so, yet it answers probes.
    let token = world.call(SERVER, Request::Send { socket }, &vec![1; 90_000]);
    world.pass(5 * SECOND);
    assert_eq!(world.answer(token).unwrap().0, Ok(Answer::Count(90_000)));
    world.ask(SERVER, Request::Close { socket }).unwrap();
    world.pass(29 * SECOND);
    assert_eq!(
        (world.figure("connections"), world.figure("orphans")),
        (1, 1)
    );
    world.pass(3 * SECOND);
    assert_eq!(world.figure("connections"), 0);
    assert_eq!(world.figure("tcp_orphans_aborted"), 1);
    assert_eq!(world.peer.tcp(peer).state(), State::Closed, "it was told");
}

#[test]
fn orphans_are_bounded_in_number() {
    let config = Config {
        limits: Limits {
            orphans: 5,
            ..Limits::default()
        },
        ..Config::new(SERVER_MAC, 12)
    };
    let mut world = World::with(config);
    let listener = world.listener(SERVER, 80, 64);
    for n in 0..20 {
        world.peer.connect(42000 + n, 80);
        let socket = world.accept(SERVER, listener);
        world.ask(SERVER, Request::Close { socket }).unwrap();
    }
    world.pass(2 * SECOND);
    assert_eq!(world.figure("orphans"), 5);
    assert_eq!(world.figure("tcp_orphans_aborted"), 15);
}

#[test]
fn half_closed_connections_work_both_ways() {
    let mut world = World::new(13);
    let (socket, peer) = connected(&mut world, 80);
    let both = poll::READABLE | poll::WRITABLE;
    assert_eq!(world.ready(SERVER, socket, both), poll::WRITABLE);
    world.peer.tcp(peer).send_slice(b"question").unwrap();
    world.peer.tcp(peer).close();
    world.pass(MS);
    assert_eq!(world.ready(SERVER, socket, both), both);
    let read = |world: &mut World| world.now(SERVER, Request::Recv { socket }, &[0; 5]).0;
    assert_eq!(read(&mut world), Ok(Answer::Count(5)));
    assert_eq!(read(&mut world), Ok(Answer::Count(3)));
    assert_eq!(read(&mut world), Ok(Answer::Count(0)));
    world
        .now(SERVER, Request::Send { socket }, b"answer")
        .0
        .unwrap();
    let direction = Direction::Send;
    world
        .ask(SERVER, Request::Shutdown { socket, direction })
        .unwrap();
    assert_eq!(
        world.now(SERVER, Request::Send { socket }, b"x").0,
        Err(Error::BrokenPipe)
    );
    world.pass(SECOND);
    let mut got = [0; 20];
    assert_eq!(world.peer.tcp(peer).recv_slice(&mut got), Ok(6));
    assert_eq!(world.ready(SERVER, socket, 0), poll::HANG_UP);
    world.ask(SERVER, Request::Close { socket }).unwrap();
    assert_eq!(world.figure("connections"), 0);
}

#[test]
fn a_slow_reader_loses_nothing_in_time_wait() {
    let mut world = World::new(14);
    let (socket, peer) = connected(&mut world, 80);
    let direction = Direction::Send;
    world
        .ask(SERVER, Request::Shutdown { socket, direction })
        .unwrap();
    world.pass(MS);
    world.peer.tcp(peer).send_slice(b"a long answer").unwrap();
    world.peer.tcp(peer).close();
    world.pass(60 * SECOND);
    assert_eq!(world.figure("time_wait"), 1);
    let (answer, memory) = world.now(SERVER, Request::Recv { socket }, &[0; 40]);
    assert_eq!(answer, Ok(Answer::Count(13)));
    assert_eq!(&memory[..13], b"a long answer");
    assert_eq!(
        world.now(SERVER, Request::Recv { socket }, &[0; 40]).0,
        Ok(Answer::Count(0))
    );
    world.ask(SERVER, Request::Close { socket }).unwrap();
    assert_eq!(world.figure("buffer_octets"), 0);
}

#[test]
fn a_deaf_connection_discards() {
    let mut world = World::new(15);
    let (socket, peer) = connected(&mut world, 80);
    let direction = Direction::Receive;
    world
        .ask(SERVER, Request::Shutdown { socket, direction })
        .unwrap();
    assert_eq!(
        world.now(SERVER, Request::Recv { socket }, &[0; 9]).0,
        Ok(Answer::Count(0))
    );
    let mut sent = 0;
    world.until(10 * SECOND, "much more than a buffer", |world| {
        sent += world.peer.tcp(peer).send_slice(&[5; 4096]).unwrap();
        sent > 1 << 20
    });
    assert_eq!(
        world.now(SERVER, Request::Recv { socket }, &[0; 9]).0,
        Ok(Answer::Count(0))
    );
    world
        .now(SERVER, Request::Send { socket }, b"heard")
        .0
        .unwrap();
    world.pass(SECOND);
    assert_eq!(world.peer.tcp(peer).recv_slice(&mut [0; 20]), Ok(5));
}

fn address(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

#[test]
fn connecting_out_works_and_both_ends_know_each_other() {
    let mut world = World::new(16);
    let peer = world.peer.listen(9000);
    let socket = world.socket(CLIENT, Kind::Stream);
    let address = address(PEER_IP, 9000);
    assert_eq!(
        world.ask(CLIENT, Request::PeerAddress { socket }),
        Err(Error::NotConnected)
    );
    let connect = Request::Connect { socket, address };
    assert_eq!(world.wait(CLIENT, connect, &[]).0, Ok(Answer::Done));
    assert_eq!(world.ask(CLIENT, connect), Err(Error::AlreadyConnected));
    assert_eq!(
        world.ask(CLIENT, Request::PeerAddress { socket }),
        Ok(Answer::Address(address))
    );
    let local = world.ask(CLIENT, Request::LocalAddress { socket });
    let Ok(Answer::Address(local)) = local else {
        panic!("{local:?}")
    };
    assert_eq!(local.ip(), IpAddr::from(SERVER_IP));
    assert!(local.port() >= 49152);
    let remote = world.peer.tcp(peer).remote_endpoint().unwrap();
    assert_eq!(remote.port, local.port());
    world
        .now(CLIENT, Request::Send { socket }, b"hello")
        .0
        .unwrap();
    world.pass(10 * MS);
    assert_eq!(world.peer.tcp(peer).recv_slice(&mut [0; 20]), Ok(5));
}

/// Connects to the peer's port 9000, from this port or from any; returns the socket and its port.
fn connect_from(world: &mut World, port: Option<u16>) -> (Handle, u16) {
    world.peer.listen(9000);
    let socket = match port {
        Some(port) => world.bound(CLIENT, Kind::Stream, port),
        None => world.socket(CLIENT, Kind::Stream),
    };
    let address = address(PEER_IP, 9000);
    let connect = Request::Connect { socket, address };
    assert_eq!(world.wait(CLIENT, connect, &[]).0, Ok(Answer::Done));
    match world.ask(CLIENT, Request::LocalAddress { socket }) {
        Ok(Answer::Address(local)) => (socket, local.port()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_port_whose_connection_to_the_same_peer_has_just_ended_is_passed_over() {
    let mut world = World::new(58);
    let [first, second] = [(); 2].map(|()| connect_from(&mut world, None).1);
    // The same again, but now what would be the second port is in TIME-WAIT.
    let mut world = World::new(58);
    let (socket, _) = connect_from(&mut world, Some(second));
    world.ask(CLIENT, Request::Close { socket }).unwrap();
    world.pass(SECOND);
    let ending = world.peer.sockets.iter_mut().map(|(handle, _)| handle);
    let ending: Vec<_> = ending.collect();
    for handle in ending {
        world.peer.tcp(handle).close();
    }
    world.pass(SECOND);
    assert_eq!(world.figure("time_wait"), 1);
    assert_eq!(connect_from(&mut world, None).1, first);
    assert_ne!(connect_from(&mut world, None).1, second);
}

#[test]
fn a_refused_connect_says_so_and_can_be_repeated() {
    let mut world = World::new(17);
    let socket = world.socket(CLIENT, Kind::Stream);
    let address = address(PEER_IP, 9000);
    let connect = Request::Connect { socket, address };
    assert_eq!(
        world.wait(CLIENT, connect, &[]).0,
        Err(Error::ConnectionRefused)
    );
    assert_eq!(world.figure("buffer_octets"), 0);
    world.peer.listen(9000);
    assert_eq!(world.wait(CLIENT, connect, &[]).0, Ok(Answer::Done));
}

#[test]
fn a_connect_without_an_answer_times_out() {
    let mut world = World::new(18);
    // Known or not, a neighbour or a host behind one.
    for (ip, known, error, most) in [
        (PEER_IP, true, Error::TimedOut, 22),
        ([8, 8, 8, 8], true, Error::TimedOut, 22),
        (PEER_IP, false, Error::Unreachable, 3),
        ([10, 0, 2, 99], false, Error::Unreachable, 3),
        ([8, 8, 8, 8], false, Error::Unreachable, 3),
    ] {
        world.faults.loss = 0;
        // What was known is too old now.
        world.pass(70 * SECOND);
        if known {
            world.inject(&arp_reply(PEER_IP));
            world.act();
        }
        world.faults.loss = 100;
        let socket = world.socket(CLIENT, Kind::Stream);
        let address = address(ip, 9000);
        let start = world.now;
        let connect = Request::Connect { socket, address };
        assert_eq!(world.wait(CLIENT, connect, &[]).0, Err(error));
        assert!(
            world.now - start <= most * SECOND,
            "{ip:?} {} ms",
            (world.now - start) / MS
        );
        world.ask(CLIENT, Request::Close { socket }).unwrap();
    }
    world.pass(3 * SECOND);
    world.assert_empty();
}

#[test]
fn a_non_blocking_connect_tells_by_poll() {
    let mut world = World::new(19);
    for (port, outcome) in [
        (9000, Ok(Answer::Done)),
        (9001, Err(Error::ConnectionRefused)),
    ] {
        world.peer.listen(9000);
        let socket = world.socket(CLIENT, Kind::Stream);
        world.non_blocking(CLIENT, socket);
        let address = address(PEER_IP, port);
        let connect = Request::Connect { socket, address };
        assert_eq!(world.ask(CLIENT, connect), Err(Error::WouldBlock));
        assert_eq!(world.ask(CLIENT, connect), Err(Error::AlreadyConnected));
        assert_eq!(
            world.now(CLIENT, Request::Send { socket }, b"x").0,
            Err(Error::NotConnected)
        );
        assert_eq!(world.ready(CLIENT, socket, poll::WRITABLE), 0);
        world.pass(10 * MS);
        let ready = world.ready(CLIENT, socket, poll::WRITABLE);
        assert_eq!(ready & poll::WRITABLE, poll::WRITABLE);
        assert_eq!(ready & poll::ERROR != 0, outcome.is_err());
        match outcome {
            Ok(_) => assert_eq!(world.ask(CLIENT, connect), Err(Error::AlreadyConnected)),
            Err(error) => assert_eq!(world.ask(CLIENT, connect), Err(error)),
        }
    }
}

#[test]
fn addresses_that_cannot_be_connected_to() {
    let mut world = World::new(20);
    let socket = world.socket(CLIENT, Kind::Stream);
    for (ip, port, error) in [
        ([0; 4], 80, Error::InvalidArgument),
        (PEER_IP, 0, Error::InvalidArgument),
        ([255; 4], 80, Error::Unreachable),
        ([10, 0, 2, 255], 80, Error::Unreachable),
        ([224, 0, 0, 1], 80, Error::Unreachable),
        ([240, 0, 0, 1], 80, Error::Unreachable),
        ([127, 0, 0, 1], 80, Error::Unreachable),
        (SERVER_IP, 80, Error::Unreachable),
    ] {
        let address = address(ip, port);
        assert_eq!(
            world.ask(CLIENT, Request::Connect { socket, address }),
            Err(error),
            "{ip:?}"
        );
    }
    world.pass(5 * SECOND);
    assert_eq!(world.frames_sent, 0);
}

#[test]
fn a_reset_reaches_a_waiting_program_once() {
    let mut world = World::new(21);
    let (socket, peer) = connected(&mut world, 80);
    let token = world.call(SERVER, Request::Recv { socket }, &[0; 9]);
    world.peer.tcp(peer).abort();
    world.pass(10 * MS);
    assert_eq!(world.answer(token).unwrap().0, Err(Error::ConnectionReset));
    assert_eq!(
        world.now(SERVER, Request::Recv { socket }, &[0; 9]).0,
        Ok(Answer::Count(0))
    );
    assert_eq!(
        world.now(SERVER, Request::Send { socket }, b"x").0,
        Err(Error::BrokenPipe)
    );
    assert_eq!(world.figure("tcp_resets_received"), 1);
}

#[test]
fn a_sender_cut_short_hears_how_far_it_came() {
    let mut world = World::new(22);
    let (socket, peer) = connected(&mut world, 80);
    let token = world.call(SERVER, Request::Send { socket }, &vec![7; 1 << 20]);
    world.pass(SECOND);
    assert!(world.answer(token).is_none(), "the peer does not read");
    world.peer.tcp(peer).abort();
    world.pass(SECOND);
    let (answer, _) = world.answer(token).unwrap();
    let Ok(Answer::Count(count)) = answer else {
        panic!("{answer:?}")
    };
    assert!((32 << 10..1 << 20).contains(&count), "{count}");
    assert_eq!(
        world.now(SERVER, Request::Send { socket }, b"x").0,
        Err(Error::ConnectionReset)
    );
    assert_eq!(
        world.now(SERVER, Request::Send { socket }, b"x").0,
        Err(Error::BrokenPipe)
    );
}

#[test]
fn the_same_two_ends_are_not_connected_twice() {
    let mut world = World::new(23);
    let address = address(PEER_IP, 9000);
    let connect = |world: &mut World| {
        let socket = world.bound(CLIENT, Kind::Stream, 5555);
        let connect = Request::Connect { socket, address };
        (socket, world.wait(CLIENT, connect, &[]).0)
    };
    let peer = world.peer.listen(9000);
    let (first, connected) = connect(&mut world);
    assert_eq!(connected, Ok(Answer::Done));
    let close = |world: &mut World, socket| {
        world.ask(CLIENT, Request::Close { socket }).unwrap();
    };
    close(&mut world, first);
    // While the old one is being closed, and while it is remembered.
    for state in [State::CloseWait, State::Closed] {
        world.until(SECOND, "the peer's part", |world| {
            world.peer.tcp(peer).state() == state
        });
        let (second, refused) = connect(&mut world);
        assert_eq!(refused, Err(Error::AddressInUse), "{state}");
        close(&mut world, second);
        world.peer.tcp(peer).close();
    }
    world.peer.tcp(peer).listen(9000).unwrap();
    world.pass(61 * SECOND);
    assert_eq!(connect(&mut world).1, Ok(Answer::Done));
}

#[test]
fn a_head_and_a_body_travel_in_one_request_and_one_frame() {
    let mut world = World::new(24);
    let (socket, peer) = connected(&mut world, 80);
    world.pass(SECOND);
    let receive = |world: &mut World, wanted: &[u8]| {
        let mut got = Vec::new();
        world.until(SECOND, "both", |world| {
            let socket = world.peer.tcp(peer);
            while socket.can_recv() {
                let got = &mut got;
                socket
                    .recv(|octets| (octets.len(), got.extend_from_slice(octets)))
                    .unwrap();
            }
            got.len() >= wanted.len()
        });
        assert!(got == wanted);
    };
    let before = world.frames_sent;
    let send = Request::Send { socket };
    let token = world.call_with(SERVER, send, b"head", b"body");
    assert_eq!(world.answer(token).unwrap().0, Ok(Answer::Count(8)));
    receive(&mut world, b"headbody");
    assert_eq!(world.frames_sent - before, 1);
    // Across parking, too, with the border inside of what fits or not.
    let data = Chance(5).octets(300_000);
    for border in [0, 1, 10_000, 32 << 10, 100_000, 299_999] {
        let (head, body) = data.split_at(border);
        let token = world.call_with(SERVER, send, head, body);
        receive(&mut world, &data);
        assert_eq!(world.answer(token).unwrap().0, Ok(Answer::Count(300_000)));
    }
    world.pass(SECOND);
    world.non_blocking(SERVER, socket);
    let token = world.call_with(SERVER, send, &data[..1000], &data[1000..]);
    assert_eq!(world.answer(token).unwrap().0, Ok(Answer::Count(32 << 10)));
}
