//! The service with a network that the test plays.

use super::*;
use crate::network::{DATAGRAMS as SOCKET, LISTENER, Network, PEER};
use runtime::socket::Address;
use runtime::socket::batch::Events;

struct World {
    network: Network,
    echo: Echo,
    operations: Operations<'static>,
    parked: Option<Operations<'static>>,
    turns: usize,
    now: u64,
}

impl World {
    fn new() -> Self {
        World {
            network: Network::new(),
            echo: Echo::new(LISTENER, SOCKET, 7),
            operations: Operations::new(&[]),
            parked: None,
            turns: 0,
            now: 0,
        }
    }

    /// One turn; whether the call returned.
    fn turn(&mut self) -> bool {
        if self.parked.is_none() {
            self.echo.prepare(&mut self.operations, self.now).unwrap();
        }
        let (parked, operations) = (&mut self.parked, &mut self.operations);
        let Some((area, done)) = self.network.call(parked, operations, false) else {
            return false;
        };
        self.turns += 1;
        for event in Events::new(&area, &done) {
            self.echo
                .hear(event, &mut self.operations, self.now)
                .unwrap();
        }
        true
    }

    /// Turns until the program sleeps.
    fn run(&mut self) {
        for _ in 0..100_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("never rests");
    }

    fn client(&mut self) -> Handle {
        let client = self.network.connect();
        self.run();
        client
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

#[test]
fn everything_comes_back_and_then_the_end() {
    for busy in [false, true] {
        let mut world = World::new();
        let client = world.client();
        let sent = pattern(100_000);
        let line = world.network.line(client);
        line.trickle(1000);
        line.send(&sent);
        line.end();
        world.network.busy = busy;
        let mut got = Vec::new();
        for _ in 0..1000 {
            world.turn();
            got.extend(world.network.line(client).received());
        }
        assert!(got == sent && world.network.line(client).closed);
        assert_eq!((world.echo.clients.len(), world.echo.rests.len()), (0, 0));
    }
}

#[test]
fn a_busy_client_costs_one_turn_for_each_piece() {
    let mut world = World::new();
    let client = world.client();
    let turns = world.turns;
    world.network.line(client).send(pattern(10 * BUFFER));
    world.run();
    assert_eq!(world.turns - turns, 10);
    assert_eq!(world.network.line(client).received(), pattern(10 * BUFFER));
}

#[test]
fn a_client_that_does_not_take_is_not_heard() {
    let mut world = World::new();
    let (client, other) = (world.client(), world.client());
    let sent = pattern(10 * BUFFER);
    let line = world.network.line(client);
    line.take(5);
    line.send(&sent);
    // The other's words interrupt the call, so that the rest comes back to us.
    for _ in 0..20 {
        world.network.line(other).send(b"x");
        world.run();
    }
    assert_eq!(world.network.line(other).received(), b"x".repeat(20));
    let line = world.network.line(client);
    assert_eq!((line.unread(), line.armed()), (sent.len() - BUFFER, 0));
    assert_eq!(world.echo.rests.get_mut(client).unwrap().len(), BUFFER - 5);
    line.take(usize::MAX);
    line.end();
    world.run();
    assert!(world.network.line(client).received() == sent);
    assert!(world.echo.rests.is_empty());
}

#[test]
fn a_reset_ends_it() {
    let mut world = World::new();
    let (client, stuck) = (world.client(), world.client());
    world.network.line(client).reset();
    let line = world.network.line(stuck);
    line.take(0);
    line.send(b"stuck");
    world.network.busy = true;
    world.turn();
    world.turn();
    world.network.busy = false;
    world.network.line(stuck).reset();
    world.run();
    assert!(world.network.line(client).closed && world.network.line(stuck).closed);
    assert_eq!((world.echo.clients.len(), world.echo.rests.len()), (0, 0));
}

#[test]
fn the_number_of_clients_is_bounded() {
    const PLACES: usize = 256;
    let mut world = World::new();
    world.echo.places = PLACES;
    let clients: Vec<Handle> = (0..PLACES + 50).map(|_| world.network.connect()).collect();
    world.run();
    assert_eq!(
        (world.echo.clients.len(), world.network.accepting()),
        (PLACES, 0)
    );
    for client in &clients[..60] {
        world.network.line(*client).end();
    }
    world.run();
    assert_eq!(world.echo.clients.len(), PLACES - 10);
    assert!((1..=10).contains(&world.network.accepting()));
}

#[test]
fn who_says_nothing_is_ended_sooner_when_others_wait() {
    let mut world = World::new();
    world.echo.places = 4;
    let clients: Vec<Handle> = (0..4).map(|_| world.client()).collect();
    world.now = SCARCE_NS - 1;
    world.run();
    // All places are taken, and nobody has been silent for long.
    assert_eq!(world.network.accepting(), 0);
    world.network.line(clients[0]).send(b"words");
    world.run();
    assert_eq!(world.network.line(clients[0]).received(), b"words");
    world.now = SCARCE_NS;
    world.network.line(clients[0]).send(b"more");
    world.run();
    assert_eq!(world.network.accepting(), 1);
    let late = world.client();
    assert!(world.network.line(clients[1]).closed && !world.network.line(late).closed);
    assert_eq!(world.echo.clients.len(), 4);
    // Without anybody who waits there is more time.
    world.echo.places = 100;
    assert_eq!(world.echo.deadline(), Some(IDLE_NS));
    world.now = IDLE_NS - 1;
    world.network.line(clients[2]).send(b"words");
    world.run();
    world.now = SCARCE_NS + IDLE_NS;
    world.network.line(clients[2]).send(b"words");
    world.run();
    let closed = [0, 1, 2, 3].map(|n| world.network.line(clients[n]).closed);
    assert_eq!(closed, [true, true, false, true]);
}

#[test]
fn datagrams_come_back_but_not_to_another_echo_service() {
    let mut world = World::new();
    let other = Address { port: 7, ..PEER };
    for (bytes, from) in [(&b"one"[..], PEER), (b"loop", other), (b"", PEER)] {
        world.network.inward.push_back((bytes.to_vec(), from));
    }
    world.run();
    let expected = [(b"one".to_vec(), PEER), (b"".to_vec(), PEER)];
    assert_eq!(world.network.outward, expected);
    assert_eq!(world.echo.dropped(), 1);
    assert_eq!(world.turns, 1);
}

#[test]
fn a_datagram_waits_for_room_and_is_dropped_when_it_cannot_go() {
    let mut world = World::new();
    world.network.datagram_room = 1;
    for n in 0..3u8 {
        world.network.inward.push_back((vec![n], PEER));
    }
    world.network.busy = true;
    for _ in 0..5 {
        world.turn();
    }
    assert_eq!(world.network.outward.len(), 1);
    world.network.datagram_room = usize::MAX;
    world.network.busy = false;
    world.run();
    let order: Vec<u8> = world.network.outward.iter().map(|(b, _)| b[0]).collect();
    assert_eq!(order, [0, 1, 2]);

    let nobody = Address { port: 0, ..PEER };
    world.network.inward.push_back((b"b".to_vec(), nobody));
    world.run();
    assert_eq!((world.echo.dropped(), world.network.outward.len()), (1, 3));
    // More than were welcome at once.
    for n in 0..1000u16 {
        world
            .network
            .inward
            .push_back((n.to_le_bytes().to_vec(), PEER));
    }
    world.run();
    assert_eq!(world.network.outward.len(), 1003);
}

#[test]
fn what_is_kept_for_clients_that_take_nothing_is_bounded() {
    let mut world = World::new();
    let mut clients = Vec::new();
    for at in 0..(HELD_MAX / 60_000 + 20) as u64 {
        world.now = at;
        let client = world.network.connect();
        let line = world.network.line(client);
        line.take(0);
        line.send(pattern(60_000));
        // Other news end the call, and with it the send.
        world.network.busy = true;
        for _ in 0..4 {
            world.turn();
            assert!(world.echo.held <= HELD_MAX);
        }
        world.network.busy = false;
        clients.push(client);
    }
    assert!(world.echo.held > HELD_MAX / 2, "{}", world.echo.held);
    let closed = |world: &mut World, n: usize| world.network.line(clients[n]).closed;
    assert!(closed(&mut world, 0) && !closed(&mut world, clients.len() - 1));
}
