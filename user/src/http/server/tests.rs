//! Many connections: places, deadlines, counters.

use super::super::connection::limits::{HEAD_NS, IDLE_NS};
use super::*;
use crate::ramdisk::Ramdisk;
use crate::ramdisk::tests::tar;
use crate::socket::events;
use crate::stream::tests::Pipe;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn server() -> Server<'static, &'static Pipe> {
    let tar: &'static [u8] = tar(&[("www/index.html", b"home", 1)]).leak();
    let disk: &'static Ramdisk<'static> = Box::leak(Box::new(Ramdisk::new(tar).unwrap()));
    Server::new(Site::new(disk, "www/"), String::new)
}

/// A client that stays reachable for the test.
fn client() -> &'static Pipe {
    Box::leak(Box::new(Pipe::new()))
}

#[test]
fn a_request_that_came_with_the_connection_is_answered_at_once() {
    let mut server = server();
    let pipe = client();
    pipe.send(GET);
    server.accept(pipe, 0);
    assert!(pipe.received().ends_with(b"home"));
    let wanted: Vec<_> = server.wanted().map(|(_, wanted)| wanted).collect();
    assert_eq!(wanted, [events::READABLE]);
    // One that said all it had to is not even kept.
    let pipe = client();
    pipe.send(b"GET / HTTP/1.0\r\n\r\n");
    server.accept(pipe, 0);
    assert!(pipe.received().ends_with(b"home"));
    assert_eq!((server.open(), server.counters().accepted), (1, 2));
}

#[test]
fn only_the_ready_are_served() {
    let mut server = server();
    let pipes: Vec<_> = (0..5).map(|_| client()).collect();
    for pipe in &pipes {
        server.accept(pipe, 0);
        pipe.send(GET);
    }
    server.pump(|place| place == 1 || place == 3, 1);
    let served: Vec<_> = pipes
        .iter()
        .map(|pipe| !pipe.received().is_empty())
        .collect();
    assert_eq!(served, [false, true, false, true, false]);
}

#[test]
fn a_full_house_gives_the_place_of_the_idlest() {
    let mut server = server();
    let pipes: Vec<_> = (0..CLIENTS_MAX).map(|_| client()).collect();
    for (at, pipe) in pipes.iter().enumerate() {
        pipe.send(GET);
        server.accept(pipe, at as u64 * 1000);
    }
    assert!(server.has_room());
    // The first is busy again, so the second has been idle the longest.
    pipes[0].send(b"GET /");
    server.pump(|place| place == 0, 300_000);
    let newcomer = client();
    server.accept(newcomer, 300_001);
    assert_eq!((server.open(), server.counters().evicted), (CLIENTS_MAX, 1));
    assert!(
        server
            .wanted()
            .all(|(pipe, _)| !std::ptr::eq(*pipe, pipes[1]))
    );
    // All busy: nobody is thrown out in the middle of a request.
    for (pipe, _) in server.wanted() {
        pipe.send(b"GET / HT");
    }
    server.pump(|_| true, 300_002);
    assert!(!server.has_room());
    server.accept(client(), 300_003);
    assert_eq!((server.open(), server.counters().evicted), (CLIENTS_MAX, 1));
}

#[test]
fn those_whose_time_is_up_are_ended() {
    let mut server = server();
    assert_eq!(server.deadline(), None);
    let (idle, slow) = (client(), client());
    idle.send(GET);
    server.accept(idle, 0);
    slow.send(b"GET /");
    server.accept(slow, 0);
    idle.received();
    assert_eq!(server.deadline(), Some(HEAD_NS));
    server.pump(|_| false, HEAD_NS - 1);
    assert_eq!(server.open(), 2);
    server.pump(|_| false, HEAD_NS);
    assert!(slow.received().starts_with(b"HTTP/1.1 408 "));
    slow.end();
    server.pump(|place| place == 1, HEAD_NS + 1);
    assert_eq!((server.open(), server.deadline()), (1, Some(IDLE_NS)));
    server.pump(|_| false, IDLE_NS);
    assert!(idle.received().is_empty());
    assert_eq!((server.open(), server.counters().timed_out), (0, 2));
}

#[test]
fn clearing_forgets_everybody() {
    let mut server = server();
    server.accept(client(), 0);
    server.clear();
    assert_eq!((server.open(), server.counters().accepted), (0, 1));
}
