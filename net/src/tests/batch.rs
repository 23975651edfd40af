//! Batches: the program's side for the tests, and what is so of all operations.

mod datagrams;
pub mod echo;
mod receive;
mod send;

use super::world::*;
use abi::batch::{
    End, Event, HERE_MAX, NO_TIMEOUT, NOT_OF_THIS_CALL, OPERATIONS_MAX, Operation, Part, Send,
    Tell, area_min, padded,
};
use abi::ipc::LEASES_MAX;
use abi::socket::{Address, Answer, Handle, Request};
use abi::{Error, Pid};
use core::net::SocketAddr;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::vec;
use std::vec::Vec;

pub const PROGRAM: Pid = Pid(0x102);
pub const OTHER: Pid = Pid(0x103);
pub const AREA: usize = 64 << 10;

/// Operations, as a program puts them together.
#[derive(Clone, Default)]
pub struct Ops {
    pub bytes: Vec<u8>,
    pub count: u16,
}

impl Ops {
    pub fn new() -> Self {
        Ops::default()
    }

    pub fn with(mut self, operation: Operation) -> Self {
        self.push(operation, &[]);
        self
    }

    pub fn push(&mut self, operation: Operation, inline: &[u8]) {
        self.bytes.extend(operation.to_bytes());
        self.bytes.extend(inline);
        self.bytes.resize(padded(self.bytes.len()), 0);
        self.count += 1;
    }

    /// These, and those behind them.
    pub fn join(mut self, other: &Ops) -> Self {
        self.bytes.extend(&other.bytes);
        self.count += other.count;
        self
    }

    pub fn receive(self, socket: Handle) -> Self {
        self.with(Operation::Receive { socket, max: 4096 })
    }

    /// Sends bytes, and what `change` makes of it.
    pub fn send(mut self, socket: Handle, inline: &[u8], change: impl FnOnce(&mut Send)) -> Self {
        let mut send = Send {
            socket,
            inline: inline.len() as u32,
            part: Part::default(),
            receive: 0,
            end: End::Stays,
            tell: Tell::Later,
        };
        change(&mut send);
        self.push(Operation::Send(send), inline);
        self
    }

    pub fn send_to(mut self, socket: Handle, address: impl Into<Address>, inline: &[u8]) -> Self {
        let address = address.into();
        let operation = Operation::SendTo {
            socket,
            address,
            inline: inline.len() as u32,
        };
        self.push(operation, inline);
        self
    }
}

pub type Events = Vec<(Event, Vec<u8>)>;

/// The events in an area.
pub fn events(area: &[u8]) -> Events {
    let mut events = Vec::new();
    let mut rest = area;
    while let Some((head, behind)) = rest.split_first_chunk() {
        let event = Event::from_bytes(head).unwrap();
        let len = event.inline();
        events.push((event, behind[..len].to_vec()));
        rest = &behind[padded(len)..];
    }
    assert_eq!(rest, b"", "a piece of an event");
    events
}

impl World {
    /// Makes a batch; the token names its answer.
    pub fn batch_from(
        &mut self,
        client: Pid,
        ops: &Ops,
        (area, source): (usize, &[u8]),
        timeout_ms: u32,
    ) -> u64 {
        let request = Request::Batch {
            operations: ops.count,
            timeout_ms,
        };
        // As programs do.
        let here = match ops.bytes.len() <= HERE_MAX {
            true => &ops.bytes[..],
            false => &[],
        };
        self.batch_with(client, (request, here), ops, (area, source))
    }

    /// Makes a batch whose request has these octets behind it.
    pub fn batch_with(
        &mut self,
        client: Pid,
        (request, here): (Request, &[u8]),
        ops: &Ops,
        (area, source): (usize, &[u8]),
    ) -> u64 {
        let mut message = request.to_bytes().to_vec();
        message.extend_from_slice(here);
        // What lay there before is no answer.
        let area = vec![0xee; area];
        let leases = [&area[..], &ops.bytes, source];
        self.call_leases(client, &message, leases, 3, true)
    }

    pub fn batch(&mut self, client: Pid, ops: &Ops) -> u64 {
        self.batch_from(client, ops, (AREA, &[]), NO_TIMEOUT)
    }

    /// The events a batch was answered with, if it was.
    pub fn batch_answer(&mut self, token: u64) -> Option<Events> {
        let (answer, area) = self.answer(token)?;
        match answer {
            Ok(Answer(count)) => Some(events(&area[..count as usize])),
            other => panic!("{other:?}"),
        }
    }

    /// Makes a batch and lets time pass until it is answered.
    pub fn events(&mut self, client: Pid, ops: &Ops) -> Events {
        let token = self.batch(client, ops);
        self.events_of(token)
    }

    pub fn events_of(&mut self, token: u64) -> Events {
        let mut events = None;
        self.until(200 * SECOND, "an answer", |world| {
            events = world.batch_answer(token);
            events.is_some()
        });
        events.unwrap()
    }

    /// Makes a batch that only looks.
    pub fn look(&mut self, client: Pid, ops: &Ops) -> Events {
        let token = self.batch_from(client, ops, (AREA, &[]), 0);
        self.act();
        self.batch_answer(token).expect("it does not wait")
    }

    /// A connection of `client`, accepted and not armed, and its peer.
    pub fn connection(
        &mut self,
        client: Pid,
        listener: Handle,
        local: u16,
        port: u16,
    ) -> (Handle, SocketHandle) {
        let peer = self.peer.connect(local, port);
        (self.accept(client, listener), peer)
    }
}

/// Events without the bytes behind them.
pub fn bare(events: &Events) -> Vec<Event> {
    events.iter().map(|(event, _)| *event).collect()
}

fn failed(socket: Handle, operation: u16, error: Error) -> Event {
    Event::Failed {
        socket,
        operation,
        error,
    }
}

/// A listener and one connection that was accepted.
pub fn connected(world: &mut World, client: Pid) -> (Handle, Handle, SocketHandle) {
    let listener = world.listener(client, 80, 32);
    let (socket, peer) = world.connection(client, listener, 40000, 80);
    (listener, socket, peer)
}

/// What the peer has received.
pub fn heard(world: &mut World, peer: SocketHandle) -> Vec<u8> {
    let mut heard = Vec::new();
    let socket = world.peer.tcp(peer);
    while socket.can_recv() {
        let taken = socket.recv(|octets| {
            heard.extend_from_slice(octets);
            (octets.len(), ())
        });
        taken.unwrap();
    }
    heard
}

pub fn sent(socket: Handle, waited: bool) -> Event {
    Event::Sent { socket, waited }
}

// --- the call ---------------------------------------------------------------------------

#[test]
fn a_batch_with_nothing_to_say_waits_for_its_timeout() {
    let mut world = World::new(100);
    let socket = world.datagrams(PROGRAM, 7);
    for timeout_ms in [0, 1, 250] {
        let start = world.now;
        let token = world.batch_from(PROGRAM, &Ops::new(), (AREA, &[]), timeout_ms);
        assert_eq!(world.answer(token), None, "it is answered by poll");
        assert_eq!(world.events_of(token), []);
        let waited = world.now - start;
        assert_eq!(waited, u64::from(timeout_ms) * MS);
    }
    let token = world.batch(PROGRAM, &Ops::new());
    world.pass(1000 * SECOND);
    assert_eq!(world.answer(token), None);
    assert_eq!(world.figure("waiting_calls"), 1);
    // A process has one call at a time: this one ends without an answer.
    world.close(PROGRAM, socket).unwrap();
    assert_eq!(world.answer(token), None);
    assert_eq!(world.figure("waiting_calls"), 0);
}

#[test]
fn each_call_waits_for_its_own_timeout() {
    let mut world = World::new(108);
    let socket = world.datagrams(PROGRAM, 7);
    // It is answered at once, and its timeout is not that of the next.
    let ops = Ops::new().with(Operation::Progress { socket });
    let token = world.batch_from(PROGRAM, &ops, (AREA, &[]), 10);
    world.act();
    assert_eq!(
        world.batch_answer(token).map(|events| events.len()),
        Some(1)
    );
    let start = world.now;
    let token = world.batch_from(PROGRAM, &Ops::new(), (AREA, &[]), 50);
    assert_eq!(world.events_of(token), []);
    assert_eq!(world.now - start, 50 * MS);
}

#[test]
fn leases_that_do_not_do_are_refused() {
    let mut world = World::new(101);
    let batch = |operations| {
        let timeout_ms = NO_TIMEOUT;
        Request::Batch {
            operations,
            timeout_ms,
        }
        .to_bytes()
    };
    let area = vec![0; AREA];
    let small = vec![0; area_min(3) - 1];
    let none: &[u8] = &[];
    let refused = Err(Error::InvalidArgument);
    type Case<'a> = (u16, [&'a [u8]; LEASES_MAX], u32, bool);
    let cases: [Case<'_>; 6] = [
        (0, [none; 3], 0, false),
        (0, [&area, none, none], 0, true),
        (0, [&area, none, none], 1, false),
        (0, [none; 3], 3, true),
        (3, [&small, none, none], 3, true),
        (OPERATIONS_MAX as u16 + 1, [&area, none, none], 3, true),
    ];
    for (number, (operations, leases, count, writable)) in cases.into_iter().enumerate() {
        let token = world.call_leases(PROGRAM, &batch(operations), leases, count, writable);
        let answer = world.answer(token).map(|(answer, _)| answer);
        assert_eq!(answer, Some(refused), "case {number}");
    }
    // Just enough; there are no operations to read.
    let enough = vec![0; area_min(3)];
    let leases = [&enough[..], none, none];
    let token = world.call_leases(PROGRAM, &batch(3), leases, 1, true);
    let event = failed(Handle(0), 0, Error::Malformed);
    assert_eq!(bare(&world.events_of(token)), [event]);
    // As many as there may be.
    let enough = vec![0; area_min(OPERATIONS_MAX)];
    let leases = [&enough[..], none, none];
    let token = world.call_leases(PROGRAM, &batch(OPERATIONS_MAX as u16), leases, 1, true);
    assert_eq!(bare(&world.events_of(token)), [event]);
    world.die(PROGRAM);
    world.assert_empty();
}

#[test]
fn every_operation_on_what_is_not_ones_own_fails() {
    let mut world = World::new(102);
    let listener = world.listener(OTHER, 80, 8);
    let (stream, _) = world.connection(OTHER, listener, 40000, 80);
    let datagrams = world.datagrams(OTHER, 7);
    let old = world.listener(PROGRAM, 81, 8);
    assert_eq!(world.close(PROGRAM, old), Ok(()));
    let newer = world.listener(OTHER, 81, 8);
    assert!(newer != old && newer.slot() == old.slot());
    let mut wrong = vec![listener, stream, datagrams, old, newer, Handle(0)];
    wrong.push(Handle(u32::MAX));
    wrong.extend((0..200).map(|_| Handle(world.chance.next() as u32)));
    for socket in wrong {
        for ops in all_operations(socket, b"bytes") {
            let events = world.look(PROGRAM, &ops);
            assert_eq!(bare(&events), [failed(socket, 0, Error::BadHandle)]);
        }
    }
    assert_eq!(world.figure("connections"), 1);
    assert_eq!(world.figure("sockets"), 4);
}

/// One of each kind that is about a socket; some have these bytes behind them.
pub fn all_operations(socket: Handle, bytes: &[u8]) -> [Ops; 9] {
    let (count, max) = (5, 100);
    let address = SocketAddr::from((PEER_IP, 9));
    let one = |operation| Ops::new().with(operation);
    [
        one(Operation::Accept {
            socket,
            count,
            receive: max,
        }),
        one(Operation::Receive { socket, max }),
        one(Operation::ReceiveFrom { socket, count, max }),
        Ops::new().send(socket, bytes, |_| {}),
        Ops::new().send_to(socket, address, bytes),
        one(Operation::Shutdown {
            socket,
            direction: abi::socket::Direction::Receive,
        }),
        one(Operation::Cancel { socket }),
        one(Operation::Progress { socket }),
        one(Operation::Close { socket }),
    ]
}

#[test]
fn operations_that_do_not_fit_the_kind_of_socket_fail() {
    let mut world = World::new(103);
    let listener = world.listener(PROGRAM, 80, 8);
    let (stream, _) = world.connection(PROGRAM, listener, 40000, 80);
    let (connecting, _) = world.begin_connect(PROGRAM, (PEER_IP, 9)).unwrap();
    let datagrams = world.datagrams(PROGRAM, 7);
    let (accept, receive, receive_from, send, send_to, shutdown) = (0, 1, 2, 3, 4, 5);
    for (socket, refused) in [
        (
            connecting,
            vec![
                (accept, Error::InvalidArgument),
                (receive, Error::NotConnected),
                (receive_from, Error::NotSupported),
                (send, Error::NotConnected),
                (send_to, Error::NotSupported),
                (shutdown, Error::NotConnected),
            ],
        ),
        (
            listener,
            vec![
                (receive, Error::NotConnected),
                (receive_from, Error::NotSupported),
                (send, Error::NotConnected),
                (send_to, Error::NotSupported),
                (shutdown, Error::NotConnected),
            ],
        ),
        (
            stream,
            vec![
                (accept, Error::InvalidArgument),
                (receive_from, Error::NotSupported),
                (send_to, Error::NotSupported),
            ],
        ),
        (
            datagrams,
            vec![
                (accept, Error::NotSupported),
                (receive, Error::NotSupported),
                (send, Error::NotSupported),
                (shutdown, Error::NotSupported),
            ],
        ),
    ] {
        let all = all_operations(socket, b"bytes");
        let all = all.iter().fold(Ops::new(), Ops::join);
        let events = bare(&world.now(PROGRAM, &all));
        let refusals: Vec<Event> = refused
            .into_iter()
            .map(|(number, error)| failed(socket, number, error))
            .collect();
        let failures = events.iter().filter(|e| matches!(e, Event::Failed { .. }));
        assert!(failures.eq(&refusals), "{events:?}");
        let told = |wanted: fn(&Event) -> bool| events.iter().filter(|e| wanted(e)).count();
        assert_eq!(told(|e| matches!(e, Event::Progress { .. })), 1);
    }
    assert_eq!(world.figure("sockets"), 0, "each was closed by the last");
}

#[test]
fn nonsense_harms_nobody() {
    let mut world = World::new(104);
    let listener = world.listener(PROGRAM, 80, 32);
    let mut sockets = vec![
        listener,
        world.datagrams(PROGRAM, 7),
        world.begin_connect(PROGRAM, ([10, 0, 2, 99], 9)).unwrap().0,
    ];
    let theirs = world.listener(OTHER, 81, 8);
    let (theirs, their_peer) = world.connection(OTHER, theirs, 41000, 81);
    for n in 0..8 {
        sockets.push(world.connection(PROGRAM, listener, 40000 + n, 80).0);
    }
    let mut chance = Chance(8);
    let source = chance.octets(100_000);
    for round in 0..3000 {
        let mut ops = Ops::new();
        for _ in 0..chance.below(12) {
            let socket = match chance.below(20) {
                0 => theirs,
                1 => Handle(chance.next() as u32),
                _ => sockets[chance.below(sockets.len() as u64) as usize],
            };
            let len = [0, 1, 100, 5000, 20_000][chance.below(5) as usize];
            let inline = chance.octets(len);
            let part = Part {
                offset: chance.below(120_000) as u32,
                len: chance.below(50_000) as u32,
            };
            let operation = match chance.below(9) {
                0..3 => Operation::Send(Send {
                    socket,
                    inline: len as u32,
                    part: [Part::default(), part][chance.below(2) as usize],
                    receive: chance.below(2) as u32 * 3000,
                    // Closing is rare, or nothing is left to try.
                    end: [End::Stays, End::Finish][usize::from(chance.percent(2))],
                    tell: [Tell::Later, Tell::Now, Tell::Never][chance.below(3) as usize],
                }),
                3 => Operation::SendTo {
                    socket,
                    address: SocketAddr::from((
                        [PEER_IP, [0; 4], [10, 0, 2, 77]][chance.below(3) as usize],
                        chance.below(3) as u16,
                    ))
                    .into(),
                    inline: len as u32,
                },
                4 => Operation::Accept {
                    socket,
                    count: chance.below(3) as u16,
                    receive: chance.below(100) as u32,
                },
                5 => Operation::ReceiveFrom {
                    socket,
                    count: chance.next() as u16,
                    max: chance.next() as u32,
                },
                6 => Operation::Cancel { socket },
                7 => Operation::Progress { socket },
                _ => Operation::Receive {
                    socket,
                    max: chance.below(10_000) as u32,
                },
            };
            ops.push(operation, &inline);
        }
        // A few bits change on the way.
        if chance.percent(50) && !ops.bytes.is_empty() {
            let at = chance.below(ops.bytes.len() as u64) as usize;
            ops.bytes[at] ^= 1 << chance.below(8);
        }
        if chance.percent(10) {
            let len = chance.below(ops.bytes.len() as u64 + 1) as usize;
            ops.bytes.truncate(len);
        }
        let source = &source[..chance.below(100_001) as usize];
        let area = area_min(ops.count.into()) + chance.below(4000) as usize;
        let token = world.batch_from(PROGRAM, &ops, (area, source), 5);
        world.pass(6 * MS);
        let (answer, area) = world.answer(token).expect("its time is up");
        match answer {
            Ok(Answer(count)) => drop(events(&area[..count as usize])),
            other => assert_eq!(other, Err(Error::BadAddress), "round {round}"),
        }
    }
    // The other program's connection never noticed.
    world.peer.tcp(their_peer).send_slice(b"hello").unwrap();
    let heard = world.events(OTHER, &Ops::new().receive(theirs));
    assert_eq!(heard[0].1, b"hello");
    world.die(PROGRAM);
    world.die(OTHER);
    world.pass(3 * SECOND);
    world.assert_empty();
}

#[test]
fn operations_behind_a_malformed_one_are_still_done() {
    let mut world = World::new(105);
    let socket = world.datagrams(PROGRAM, 7);
    let mut ops = Ops::new();
    ops.push(Operation::Progress { socket }, &[]);
    ops.push(Operation::Progress { socket }, &[]);
    ops.bytes[0] = 99;
    let events = bare(&world.look(PROGRAM, &ops));
    assert_eq!(events[0], failed(socket, 0, Error::NoSuchCall));
    assert!(matches!(events[1], Event::Progress { .. }));
    // But not if where they begin cannot be known.
    let mut ops = Ops::new().send_to(socket, SocketAddr::from(([0; 4], 0)), b"x");
    ops.push(Operation::Progress { socket }, &[]);
    ops.bytes[8..12].copy_from_slice(&1000u32.to_le_bytes());
    let events = bare(&world.look(PROGRAM, &ops));
    assert_eq!(events, [failed(socket, 0, Error::Malformed)]);
}

#[test]
fn a_program_that_ends_leaves_nothing_behind() {
    let mut world = World::new(106);
    let listener = world.listener(PROGRAM, 80, 8);
    let (socket, peer) = world.connection(PROGRAM, listener, 40000, 80);
    let source = vec![7; 1 << 20];
    let ops = Ops::new()
        .with(Operation::Accept {
            socket: listener,
            count: 9,
            receive: 9,
        })
        .send(socket, b"head", |send| {
            send.part.len = source.len() as u32;
        });
    let token = world.batch_from(PROGRAM, &ops, (AREA, &source), NO_TIMEOUT);
    world.pass(SECOND);
    assert_eq!(world.figure("waiting_calls"), 1);
    world.die(PROGRAM);
    world.pass(SECOND);
    assert_eq!(world.answer(token), None);
    world.assert_empty();
    assert_eq!(world.peer.tcp(peer).state(), State::Closed);
}

#[test]
fn a_socket_closed_by_itself_is_forgotten_by_its_batches() {
    let mut world = World::new(107);
    let listener = world.listener(PROGRAM, 80, 8);
    let (socket, peer) = world.connection(PROGRAM, listener, 40000, 80);
    assert_eq!(world.look(PROGRAM, &Ops::new().receive(socket)), []);
    world.peer.tcp(peer).send_slice(b"late").unwrap();
    world.pass(MS);
    assert_eq!(world.close(PROGRAM, socket), Ok(()));
    let (second, _) = world.connection(PROGRAM, listener, 40001, 80);
    assert_eq!(second.slot(), socket.slot(), "the test wants the same slot");
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    let gone = failed(socket, 0, Error::BadHandle);
    let ops = Ops::new().receive(socket);
    assert_eq!(bare(&world.look(PROGRAM, &ops)), [gone]);
}

/// What a batch says of an error of a connection.
pub fn broken(socket: Handle, error: Error) -> Event {
    failed(socket, NOT_OF_THIS_CALL, error)
}
