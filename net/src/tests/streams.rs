//! Connections as programs and peers use them.

use super::world::*;
use crate::names::Tuple;
use crate::tests::batch::echo::Echo;
use crate::tests::batch::{Ops, bare, broken};
use crate::tests::frames::arp_reply;
use crate::{Config, Limits};
use abi::socket::{Direction, Handle};
use abi::{Error, Pid};
use core::net::{IpAddr, SocketAddrV4};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::vec;
use std::vec::Vec;

const SERVER: Pid = Pid(0x102);
const CLIENT: Pid = Pid(0x103);

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
    let mut echo = Echo::start(&mut world, 0);
    echo.run(&mut world);
    let mut ping = Ping::start(&mut world, 40000, len);
    world.until(4000 * SECOND, "the echo", |world| {
        echo.run(world);
        ping.run(world)
    });
    world.faults = Faults::default();
    world.until(100 * SECOND, "the end", |world| {
        echo.run(world);
        echo.connections == 0
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
    let mut echo = Echo::start(&mut world, 0);
    echo.run(&mut world);
    let mut pings: Vec<Ping> = (0..64)
        .map(|n| Ping::start(&mut world, 40000 + n, 10_000 + 100 * usize::from(n)))
        .collect();
    let mut done = vec![false; pings.len()];
    let mut most = 0;
    world.until(60 * SECOND, "64 echoes", |world| {
        echo.run(world);
        most = most.max(echo.connections);
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
    world.close(SERVER, listener).unwrap();
    (connection, peer)
}

#[test]
fn a_send_goes_on_until_all_is_queued_and_a_download_is_exact() {
    let mut world = World::new(5);
    let (socket, peer) = connected(&mut world, 80);
    let file = Chance(9).octets(10 << 20);
    let token = world.begin_send(SERVER, socket, &file);
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
    assert_eq!(world.is_sent(token), Some(Ok(())));
    // The server closes first: its TIME-WAIT is an entry, not a socket.
    world.close(SERVER, socket).unwrap();
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
        let request = world.recv_wait(SERVER, socket, 100).unwrap();
        assert_eq!(request.len(), 18);
        world.send(SERVER, socket, &[b'x'; 1000]).unwrap();
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
    assert_eq!(world.send(SERVER, socket, &data), Ok(30_000));
    world.close(SERVER, socket).unwrap();
    let again = world.close(SERVER, socket);
    assert_eq!(again, Err(Error::BadHandle));
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
    world.send(SERVER, socket, b"413").unwrap();
    world.close(SERVER, socket).unwrap();
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
    // Idle, found out by keep-alive; the program waits for octets.
    let start = world.now;
    let answer = world.recv_wait(SERVER, socket, 10);
    assert_eq!(answer, Err(Error::TimedOut));
    assert!(
        world.now - start <= 61 * SECOND,
        "{} ms",
        (world.now - start) / MS
    );
    assert_eq!(world.send(SERVER, socket, b""), Ok(0));
    assert_eq!(world.send(SERVER, socket, b"x"), Err(Error::BrokenPipe));
    assert_eq!(world.recv(SERVER, socket, 9), Ok(vec![]));
    world.close(SERVER, socket).unwrap();
    assert_eq!(world.figure("buffer_octets"), 0);
}

#[test]
fn an_idle_connection_whose_peer_lives_stays() {
    let mut world = World::new(10);
    let (socket, peer) = connected(&mut world, 80);
    world.pass(1000 * SECOND);
    world.peer.tcp(peer).send_slice(b"still here").unwrap();
    let words = world.recv_wait(SERVER, socket, 20).unwrap();
    assert_eq!(words, b"still here");
}

#[test]
fn an_orphan_without_progress_is_aborted() {
    let mut world = World::new(11);
    let (socket, peer) = connected(&mut world, 80);
    // The peer never reads, so its window closes and stays so, yet it answers probes.
    let token = world.begin_send(SERVER, socket, &vec![1; 90_000]);
    world.pass(5 * SECOND);
    assert_eq!(world.is_sent(token), Some(Ok(())));
    world.close(SERVER, socket).unwrap();
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
        world.close(SERVER, socket).unwrap();
    }
    world.pass(2 * SECOND);
    assert_eq!(world.figure("orphans"), 5);
    assert_eq!(world.figure("tcp_orphans_aborted"), 15);
}

#[test]
fn half_closed_connections_work_both_ways() {
    let mut world = World::new(13);
    let (socket, peer) = connected(&mut world, 80);
    world.peer.tcp(peer).send_slice(b"question").unwrap();
    world.peer.tcp(peer).close();
    world.pass(MS);
    let read = |world: &mut World| world.recv(SERVER, socket, 5).unwrap();
    assert_eq!(read(&mut world), b"quest");
    assert_eq!(read(&mut world), b"ion");
    assert_eq!(read(&mut world), b"");
    assert_eq!(
        read(&mut world),
        b"",
        "the end is told as often as one asks"
    );
    world.send(SERVER, socket, b"answer").unwrap();
    let direction = Direction::Send;
    world.shutdown(SERVER, socket, direction).unwrap();
    assert_eq!(world.send(SERVER, socket, b"x"), Err(Error::BrokenPipe));
    world.pass(SECOND);
    let mut got = [0; 20];
    assert_eq!(world.peer.tcp(peer).recv_slice(&mut got), Ok(6));
    world.close(SERVER, socket).unwrap();
    assert_eq!(world.figure("connections"), 0);
}

#[test]
fn a_slow_reader_loses_nothing_in_time_wait() {
    let mut world = World::new(14);
    let (socket, peer) = connected(&mut world, 80);
    let direction = Direction::Send;
    world.shutdown(SERVER, socket, direction).unwrap();
    world.pass(MS);
    world.peer.tcp(peer).send_slice(b"a long answer").unwrap();
    world.peer.tcp(peer).close();
    world.pass(60 * SECOND);
    assert_eq!(world.figure("time_wait"), 1);
    let answer = world.recv(SERVER, socket, 40).unwrap();
    assert_eq!(answer, b"a long answer");
    assert_eq!(world.recv(SERVER, socket, 40), Ok(vec![]));
    world.close(SERVER, socket).unwrap();
    assert_eq!(world.figure("buffer_octets"), 0);
}

#[test]
fn a_deaf_connection_discards() {
    let mut world = World::new(15);
    let (socket, peer) = connected(&mut world, 80);
    let direction = Direction::Receive;
    world.shutdown(SERVER, socket, direction).unwrap();
    assert_eq!(world.recv(SERVER, socket, 9), Ok(vec![]));
    let mut sent = 0;
    world.until(10 * SECOND, "much more than a buffer", |world| {
        sent += world.peer.tcp(peer).send_slice(&[5; 4096]).unwrap();
        sent > 1 << 20
    });
    assert_eq!(world.recv(SERVER, socket, 9), Ok(vec![]));
    world.send(SERVER, socket, b"heard").unwrap();
    world.pass(SECOND);
    assert_eq!(world.peer.tcp(peer).recv_slice(&mut [0; 20]), Ok(5));
}

#[test]
fn connecting_out_works_and_both_ends_know_each_other() {
    let mut world = World::new(16);
    let peer = world.peer.listen(9000);
    let (socket, local) = world.connect(CLIENT, (PEER_IP, 9000)).unwrap();
    assert_eq!(local.ip(), IpAddr::from(SERVER_IP));
    assert!(local.port() >= 49152);
    let remote = world.peer.tcp(peer).remote_endpoint().unwrap();
    assert_eq!(remote.port, local.port());
    world.send(CLIENT, socket, b"hello").unwrap();
    world.pass(10 * MS);
    assert_eq!(world.peer.tcp(peer).recv_slice(&mut [0; 20]), Ok(5));
}

/// Connects to the peer's port 9000; returns the port.
fn connect(world: &mut World) -> u16 {
    world.peer.listen(9000);
    world.connect(CLIENT, (PEER_IP, 9000)).unwrap().1.port()
}

/// The ends of a connection to the peer's port 9000.
fn ends(port: u16) -> Tuple {
    let peer = SocketAddrV4::new(PEER_IP.into(), 9000);
    Tuple::v4(port, peer)
}

#[test]
fn a_port_whose_connection_to_the_same_peer_has_just_ended_is_passed_over() {
    let mut world = World::new(58);
    let [first, second] = [(); 2].map(|()| connect(&mut world));
    // The same again, but now what would be the second port is in TIME-WAIT.
    let mut world = World::new(58);
    let peer = world.peer.listen(9000);
    let now = world.now;
    let stack = &mut world.server.sockets.stack;
    let id = stack.connect(ends(second), now).unwrap();
    world.pass(SECOND);
    world.server.sockets.stack.close(id, world.now);
    world.pass(SECOND);
    world.peer.tcp(peer).close();
    world.pass(SECOND);
    assert_eq!(world.figure("time_wait"), 1);
    assert_eq!(connect(&mut world), first);
    assert_ne!(connect(&mut world), second);
}

#[test]
fn the_same_two_ends_are_not_connected_twice() {
    let mut world = World::new(23);
    let peer = world.peer.listen(9000);
    let connect = |world: &mut World| {
        let now = world.now;
        let begun = world.server.sockets.stack.connect(ends(5555), now);
        world.pass(SECOND / 2);
        begun
    };
    let first = connect(&mut world).unwrap();
    assert_eq!(connect(&mut world), Err(Error::AddressInUse));
    world.server.sockets.stack.close(first, world.now);
    // While the old one is being closed, and while it is remembered.
    for state in [State::CloseWait, State::Closed] {
        world.until(SECOND, "the peer's part", |world| {
            world.peer.tcp(peer).state() == state
        });
        let refused = connect(&mut world);
        assert_eq!(refused, Err(Error::AddressInUse), "{state}");
        world.peer.tcp(peer).close();
    }
    world.peer.tcp(peer).listen(9000).unwrap();
    world.pass(61 * SECOND);
    assert!(connect(&mut world).is_ok());
}

#[test]
fn a_refused_connect_says_so_and_leaves_nothing() {
    let mut world = World::new(17);
    let address = (PEER_IP, 9000);
    let refused = Err(Error::ConnectionRefused);
    assert_eq!(world.connect(CLIENT, address), refused);
    assert_eq!(world.figure("buffer_octets"), 0);
    world.peer.listen(9000);
    assert!(world.connect(CLIENT, address).is_ok());
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
        let start = world.now;
        assert_eq!(world.connect(CLIENT, (ip, 9000)), Err(error));
        assert!(
            world.now - start <= most * SECOND,
            "{ip:?} {} ms",
            (world.now - start) / MS
        );
    }
    world.pass(3 * SECOND);
    world.assert_empty();
}

#[test]
fn how_a_connect_goes_is_told_once_whenever_the_program_asks() {
    let mut world = World::new(19);
    world.peer.listen(9000);
    for (port, outcome) in [(9000, Ok(())), (9001, Err(Error::ConnectionRefused))] {
        let (socket, _) = world.begin_connect(CLIENT, (PEER_IP, port)).unwrap();
        assert_eq!(world.is_connected(CLIENT, socket), None);
        let early = world.send(CLIENT, socket, b"x");
        assert_eq!(early, Err(Error::NotConnected));
        world.pass(10 * MS);
        assert_eq!(world.is_connected(CLIENT, socket), Some(outcome));
        assert_eq!(world.is_connected(CLIENT, socket), None);
        let sent = world.send(CLIENT, socket, b"x");
        assert_eq!(sent.is_ok(), outcome.is_ok());
        assert_eq!(world.close(CLIENT, socket), Ok(()));
    }
    // One that is closed before is not told of.
    let (socket, _) = world.begin_connect(CLIENT, (PEER_IP, 9001)).unwrap();
    world.pass(10 * MS);
    assert_eq!(world.close(CLIENT, socket), Ok(()));
    assert_eq!(world.is_connected(CLIENT, socket), None);
    world.pass(5 * SECOND);
    assert_eq!(world.figure("sockets"), 0);
}

#[test]
fn addresses_that_cannot_be_connected_to() {
    let mut world = World::new(20);
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
        let refused = world.begin_connect(CLIENT, (ip, port));
        assert_eq!(refused, Err(error), "{ip:?}");
    }
    world.pass(5 * SECOND);
    assert_eq!(world.frames_sent, 0);
    world.assert_empty();
}

#[test]
fn a_reset_reaches_a_waiting_program_once() {
    let mut world = World::new(21);
    let (socket, peer) = connected(&mut world, 80);
    let token = world.batch(SERVER, &Ops::new().receive(socket));
    world.peer.tcp(peer).abort();
    world.pass(10 * MS);
    let told = bare(&world.batch_answer(token).unwrap());
    assert_eq!(told, [broken(socket, Error::ConnectionReset)]);
    assert_eq!(world.recv(SERVER, socket, 9), Ok(vec![]));
    assert_eq!(world.send(SERVER, socket, b"x"), Err(Error::BrokenPipe));
    assert_eq!(world.figure("tcp_resets_received"), 1);
}

#[test]
fn a_sender_cut_short_hears_of_it() {
    let mut world = World::new(22);
    let (socket, peer) = connected(&mut world, 80);
    let token = world.begin_send(SERVER, socket, &vec![7; 1 << 20]);
    world.pass(SECOND);
    assert_eq!(world.is_sent(token), None, "the peer does not read");
    world.peer.tcp(peer).abort();
    world.pass(SECOND);
    assert_eq!(world.is_sent(token), Some(Err(Error::ConnectionReset)));
    let again = world.send(SERVER, socket, b"x");
    assert_eq!(again, Err(Error::BrokenPipe));
}
