//! Many connections: places, deadlines, counters.

use super::super::connection::limits::{HEAD_NS, IDLE_NS, SCARCE_NS};
use super::*;
use crate::network::{LISTENER, Network};
use fake::tar;
use runtime::ramdisk::Ramdisk;
use runtime::socket::batch::Events;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct World {
    network: Network,
    server: Server<'static>,
    operations: Operations<'static>,
    parked: Option<Operations<'static>>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let source: &'static [u8] = tar(&[("www/index.html", b"home", 1)]).leak();
        let disk: &'static Ramdisk<'static> = Box::leak(Box::new(Ramdisk::new(source).unwrap()));
        World {
            network: Network::new(),
            server: Server::new(Site::new(disk, "www/"), String::new),
            operations: Operations::new(source),
            parked: None,
            now: 0,
        }
    }

    fn turn(&mut self, timeout: bool) -> bool {
        if self.parked.is_none() {
            let operations = &mut self.operations;
            let prepared = self.server.prepare(LISTENER, operations, self.now);
            prepared.unwrap();
        }
        let late = self.server.deadline().is_some_and(|at| at <= self.now);
        self.network.now = self.now;
        let (parked, operations) = (&mut self.parked, &mut self.operations);
        let call = self.network.call(parked, operations, timeout || late);
        let Some((area, done)) = call else {
            return false;
        };
        for event in Events::new(&area, &done) {
            self.server.hear(event, &mut self.operations, self.now);
        }
        true
    }

    /// Turns until the program sleeps.
    fn run(&mut self) {
        for _ in 0..10_000 {
            if !self.turn(false) {
                return;
            }
        }
        panic!("never rests");
    }

    /// As when other news end the call, or its time is up.
    fn wake(&mut self) {
        self.turn(true);
        self.run();
    }

    fn client(&mut self) -> Handle {
        let client = self.network.connect();
        self.run();
        client
    }

    fn say(&mut self, client: Handle, words: &[u8]) -> Vec<u8> {
        self.network.line(client).send(words);
        self.run();
        self.network.line(client).received()
    }
}

#[test]
fn a_request_that_came_with_the_connection_is_answered_at_once() {
    let mut world = World::new();
    let client = world.network.connect();
    world.network.line(client).send(GET);
    world.run();
    assert!(world.network.line(client).received().ends_with(b"home"));
    assert!(world.network.line(client).armed() > 0);
    // One that said all it had to is not kept.
    let client = world.network.connect();
    let line = world.network.line(client);
    line.send(b"GET / HTTP/1.0\r\n\r\n");
    world.run();
    let line = world.network.line(client);
    assert!(line.received().ends_with(b"home") && line.closed);
    world.wake();
    assert_eq!(
        (world.server.open(), world.server.counters().accepted),
        (1, 2)
    );
}

#[test]
fn a_request_costs_one_call() {
    let mut world = World::new();
    let clients: Vec<Handle> = (0..16).map(|_| world.client()).collect();
    for client in &clients {
        world.network.line(*client).send(GET);
    }
    // All that are ready, and their answers with the next call.
    assert!(world.turn(false));
    assert_eq!(world.operations.len(), 16);
    assert!(!world.turn(false));
    for client in clients {
        assert!(world.network.line(client).received().ends_with(b"home"));
    }
}

#[test]
fn a_full_house_gives_the_place_of_the_idlest() {
    const PLACES: usize = 256;
    let mut world = World::new();
    world.server.places = PLACES;
    let mut clients = Vec::new();
    for at in 0..PLACES as u64 {
        world.now = at * 1000;
        let client = world.client();
        world.say(client, GET);
        clients.push(client);
    }
    assert_eq!(world.network.accepting(), 1);
    // The first is busy again, so the second has been idle the longest.
    world.now = 300_000;
    world.say(clients[0], b"GET /");
    world.now = 300_001;
    clients.push(world.client());
    assert!(world.network.line(clients[1]).closed);
    clients.remove(1);
    let state = |world: &World| (world.server.open(), world.server.counters().evicted);
    assert_eq!(state(&world), (PLACES, 1));
    // All busy: nobody is thrown out in the middle of a request, and nobody comes.
    for client in &clients {
        world.say(*client, b"GET / HT");
    }
    assert_eq!(world.network.accepting(), 0);
    let late = world.client();
    assert_eq!(state(&world), (PLACES, 1));
    // One that ends makes room for the one that waits.
    world.network.line(clients[5]).end();
    world.run();
    assert!(world.say(late, GET).ends_with(b"home"));
    assert_eq!(state(&world), (PLACES, 1));
    // Those who are slow give way when they have had their time.
    world.now = SCARCE_NS + 300_001;
    world.wake();
    assert_eq!(world.network.accepting(), 1);
    world.client();
    assert_eq!(state(&world), (PLACES, 2));
}

#[test]
fn those_whose_time_is_up_are_ended() {
    let mut world = World::new();
    assert_eq!(world.server.deadline(), None);
    let (idle, slow) = (world.client(), world.client());
    world.say(idle, GET);
    world.say(slow, b"GET /");
    assert!(world.server.deadline().is_some_and(|at| at <= IDLE_NS));
    world.now = IDLE_NS - 1;
    world.wake();
    assert_eq!(world.server.open(), 2);
    world.now = IDLE_NS + 2 * LOOK_NS;
    world.run();
    let line = world.network.line(idle);
    assert!(line.received().is_empty() && line.closed);
    assert_eq!(world.server.open(), 1);
    world.now = HEAD_NS - 1;
    world.wake();
    assert_eq!(world.network.line(slow).received(), b"");
    world.now = HEAD_NS + 2 * LOOK_NS;
    world.run();
    let said = world.network.line(slow).received();
    assert!(said.starts_with(b"HTTP/1.1 408 "));
    world.network.line(slow).end();
    world.run();
    assert_eq!(
        (world.server.open(), world.server.counters().timed_out),
        (0, 2)
    );
}

#[test]
fn clearing_forgets_everybody() {
    let mut world = World::new();
    world.client();
    world.server.clear();
    assert_eq!(
        (world.server.open(), world.server.counters().accepted),
        (0, 1)
    );
    assert_eq!(world.server.deadline(), None);
    // The next network is asked for connections, too.
    world.network = Network::new();
    world.parked = None;
    world.client();
    assert_eq!(world.server.open(), 1);
}

#[test]
fn what_is_kept_of_requests_is_bounded_whoever_sends_it() {
    let mut world = World::new();
    let begin = b"GET / HTTP/1.1\r\nHost: a\r\nX: ";
    let mut clients = Vec::new();
    let count = HELD_MAX / 15_000 + 20;
    for at in 0..count as u64 {
        world.now = at;
        let client = world.client();
        world.say(client, begin);
        for _ in 0..4 {
            world.say(client, &[b'x'; 3700]);
        }
        assert!(world.server.held <= HELD_MAX);
        clients.push(client);
    }
    let closed = |world: &mut World, n: usize| world.network.line(clients[n]).closed;
    assert!(closed(&mut world, 0) && !closed(&mut world, count - 1));
    assert!(world.server.counters().evicted > 0);
    // The others go on, and nothing is kept of them then.
    for client in &clients {
        world.say(*client, b"\r\n\r\n");
    }
    assert_eq!(world.server.held, 0);
}
