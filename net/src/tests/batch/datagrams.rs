//! Batches over datagram sockets.

use super::*;
use core::net::SocketAddr;
use smoltcp::wire::{IpAddress, IpEndpoint};

fn receive_from(socket: Handle, count: u16, max: u32) -> Ops {
    Ops::new().with(Operation::ReceiveFrom { socket, count, max })
}

fn server(port: u16) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(SERVER_IP.into()), port)
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from((PEER_IP, port))
}

fn datagram(socket: Handle, port: u16, len: u32) -> Event {
    let from = peer(port).into();
    Event::Datagram { socket, from, len }
}

/// Lets the peer and the server know each other's station addresses.
fn acquaint(world: &mut World, socket: Handle, from: SocketHandle) {
    let to = server(7);
    world.peer.udp(from).send_slice(b"hello", to).unwrap();
    let token = world.batch(PROGRAM, &receive_from(socket, 1, 100));
    assert_eq!(world.events_of(token)[0].1, b"hello");
}

#[test]
fn a_burst_comes_and_goes_in_one_call_each() {
    let mut world = World::new(150);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    acquaint(&mut world, socket, from);
    for round in 0..20u8 {
        for n in 0..32u8 {
            let octets = vec![n ^ round; usize::from(n)];
            world.peer.udp(from).send_slice(&octets, server(7)).unwrap();
        }
        let token = world.batch(PROGRAM, &receive_from(socket, 1000, 2000));
        let events = world.events_of(token);
        assert_eq!(events.len(), 32);
        let mut ops = Ops::new();
        for (n, (event, octets)) in events.iter().enumerate() {
            assert_eq!(*event, datagram(socket, 999, n as u32));
            ops = ops.send_to(socket, peer(999), octets);
        }
        // They leave without a word.
        assert_eq!(world.look(PROGRAM, &ops), []);
        world.pass(MS);
        for n in 0..32u8 {
            let (octets, _) = world.peer.udp(from).recv().unwrap();
            assert!(octets.len() == usize::from(n) && octets.iter().all(|o| *o == n ^ round));
        }
    }
    let counted = ["udp_received", "udp_sent"].map(|name| world.figure(name));
    assert_eq!(counted, [1 + 20 * 32, 20 * 32]);
}

#[test]
fn the_count_the_length_and_the_area_are_kept() {
    let mut world = World::new(151);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    for len in [100, 1400, 1300, 50] {
        let octets = vec![1; len];
        world.peer.udp(from).send_slice(&octets, server(7)).unwrap();
    }
    world.pass(SECOND);
    let first = world.look(PROGRAM, &receive_from(socket, 2, 1200));
    let expected = [datagram(socket, 999, 100), datagram(socket, 999, 1200)];
    assert_eq!(bare(&first), expected);
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    // The area is too small for the third: it is given what there is. The fourth waits.
    let ops = receive_from(socket, 9, 60_000);
    let token = world.batch_from(PROGRAM, &ops, (area_min(1), &[]), 0);
    world.act();
    let third = world.batch_answer(token).unwrap();
    assert_eq!(bare(&third), [datagram(socket, 999, 512)]);
    let fourth = world.look(PROGRAM, &Ops::new());
    assert_eq!(bare(&fourth), [datagram(socket, 999, 50)]);
    assert_eq!(world.look(PROGRAM, &receive_from(socket, 0, 0)), []);
}

#[test]
fn datagrams_without_room_wait_and_are_cut_when_the_call_returns() {
    let mut world = World::new(153);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    acquaint(&mut world, socket, from);
    // The card takes nothing any more.
    world.server.device_mut().room = 0;
    let mut ops = receive_from(socket, 9, 100);
    for n in 0..200u8 {
        ops = ops.send_to(socket, peer(999), &[n; 100]);
    }
    let token = world.batch_from(PROGRAM, &ops, (AREA, &[]), 50);
    let events = world.events_of(token);
    let cut = events.len();
    // What fits the stack's own queue is its own.
    assert!((100..140).contains(&cut), "{cut}");
    for (at, (event, _)) in events.iter().enumerate() {
        let operation = (201 - cut + at) as u16;
        let count = 0;
        let expected = Event::Cut {
            socket,
            operation,
            count,
        };
        assert_eq!(*event, expected, "the last ones, in order");
    }
    world.server.device_mut().room = 64;
    world.pass(SECOND);
    for n in 0..200 - cut as u8 {
        let (octets, _) = world.peer.udp(from).recv().unwrap();
        assert_eq!(octets, [n; 100]);
    }
    assert!(world.peer.udp(from).recv().is_err());
}

#[test]
fn waiting_datagrams_leave_while_the_call_lasts() {
    let mut world = World::new(154);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    acquaint(&mut world, socket, from);
    world.slow_card = Some(2);
    world.server.device_mut().room = 4;
    let mut ops = receive_from(socket, 1, 100);
    for n in 0..200u8 {
        ops = ops.send_to(socket, peer(999), &vec![n; 1200]);
    }
    let token = world.batch(PROGRAM, &ops);
    // What arrives meanwhile is not delivered before they have left.
    world.peer.udp(from).send_slice(b"then", server(7)).unwrap();
    let mut got = 0u8;
    world.until(10 * SECOND, "all 200", |world| {
        while let Ok((octets, _)) = world.peer.udp(from).recv() {
            assert_eq!(octets[0], got);
            got += 1;
        }
        got == 200
    });
    assert_eq!(world.events_of(token)[0].1, b"then");
}

#[test]
fn what_cannot_be_sent_fails_by_its_number_and_the_rest_goes() {
    let mut world = World::new(155);
    let socket = world.datagrams(PROGRAM, 0);
    let from = world.peer.open_udp(999);
    let long = vec![0; 65_508];
    let nowhere = SocketAddr::from(([0; 4], 0));
    let unreachable = SocketAddr::from(([240, 0, 0, 1], 1));
    let ipv6 = SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 999));
    let ops = Ops::new()
        .send_to(socket, peer(999), b"one")
        .send_to(socket, peer(999), &long)
        .send_to(socket, nowhere, b"x")
        .send_to(socket, unreachable, b"x")
        .send_to(socket, ipv6, b"x")
        .send_to(socket, peer(999), &long[..9000]);
    let events = bare(&world.look(PROGRAM, &ops));
    let failed = |operation, error| failed(socket, operation, error);
    assert_eq!(
        events,
        [
            failed(1, Error::TooLong),
            failed(2, Error::InvalidArgument),
            failed(3, Error::Unreachable),
            failed(4, Error::Unreachable),
        ]
    );
    world.pass(SECOND);
    assert_eq!(world.peer.udp(from).recv().unwrap().0, b"one");
    world.close(PROGRAM, socket).unwrap();
    world.pass(5 * SECOND);
    world.assert_empty();
}

#[test]
fn two_sockets_do_not_hold_each_other_up() {
    let mut world = World::new(156);
    let socket = world.datagrams(PROGRAM, 7);
    let other = world.datagrams(PROGRAM, 8);
    let from = world.peer.open_udp(999);
    acquaint(&mut world, socket, from);
    // A flood for one of them: both are served in turns.
    for _ in 0..60 {
        world
            .peer
            .udp(from)
            .send_slice(&[1; 500], server(7))
            .unwrap();
    }
    world
        .peer
        .udp(from)
        .send_slice(b"other", server(8))
        .unwrap();
    world.pass(SECOND);
    let mut ops = receive_from(socket, 1000, 500);
    let operation = Operation::ReceiveFrom {
        socket: other,
        count: 1000,
        max: 500,
    };
    ops.push(operation, &[]);
    let events = bare(&world.look(PROGRAM, &ops));
    let place = events.iter().position(|e| *e == datagram(other, 999, 5));
    assert_eq!((place, events.len()), (Some(32), 61));
}

#[test]
fn no_octet_is_read_of_a_datagram_that_is_too_long() {
    let mut world = World::new(157);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    acquaint(&mut world, socket, from);
    for (len, fits) in [(65_507, true), (65_508, false), (65_509, false)] {
        let ops = Ops::new().send_to(socket, peer(999), &vec![1; len]);
        let copies = world.kernel.copies;
        let events = bare(&world.look(PROGRAM, &ops));
        // The operation is read, and then the octets behind it.
        let copies = world.kernel.copies - copies;
        if fits {
            assert_eq!((events, copies), (vec![], 2));
        } else {
            let refused = failed(socket, 0, Error::TooLong);
            assert_eq!((events, copies), (vec![refused], 1), "{len}");
        }
    }
}

#[test]
fn a_short_datagram_does_not_overtake_a_long_one_that_waits() {
    let mut world = World::new(158);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    acquaint(&mut world, socket, from);
    world.server.device_mut().room = 0;
    // The queue has 64 KiB, into which the short ones would fit.
    let lens = [1400; 60]
        .into_iter()
        .chain([1; 20])
        .collect::<Vec<usize>>();
    let mut ops = Ops::new();
    for (n, &len) in lens.iter().enumerate() {
        ops = ops.send_to(socket, peer(999), &vec![n as u8; len]);
    }
    let token = world.batch(PROGRAM, &ops);
    assert!(world.frames().is_empty());
    // What the first to leave make room for leaves in the same moment.
    world.server.device_mut().room = 1000;
    let frames = world.frames();
    assert_eq!(frames.len(), lens.len());
    for (n, (frame, &len)) in frames.iter().zip(&lens).enumerate() {
        let length = (8 + len as u16).to_be_bytes();
        assert!(frame[38..40] == length && frame[42] == n as u8);
    }
    assert_eq!(world.answer(token), None, "nothing is said of them");
}

#[test]
fn datagrams_of_two_sockets_wait_and_leave_in_their_orders() {
    let mut world = World::new(159);
    let sockets = [7, 8].map(|port| world.datagrams(PROGRAM, port));
    let from = world.peer.open_udp(999);
    acquaint(&mut world, sockets[0], from);
    world.server.device_mut().room = 0;
    let mut ops = Ops::new();
    for n in 0..100u8 {
        for socket in sockets {
            ops = ops.send_to(socket, peer(999), &[n]);
        }
    }
    let token = world.batch(PROGRAM, &ops);
    assert!(world.frames().is_empty());
    world.server.device_mut().room = 1000;
    let mut left = [0; 2];
    for frame in world.frames() {
        let socket = usize::from(frame[35] - 7);
        assert_eq!(frame[42], left[socket], "in their order");
        left[socket] += 1;
    }
    assert_eq!((left, world.answer(token)), ([100, 100], None));
}

#[test]
fn an_area_is_filled_to_its_end() {
    let mut world = World::new(160);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    for len in [200, 284, 1] {
        let octets = vec![1; len];
        world.peer.udp(from).send_slice(&octets, server(7)).unwrap();
    }
    world.pass(SECOND);
    let ops = receive_from(socket, 9, 1000);
    let area = area_min(ops.count.into());
    assert_eq!(
        area,
        2 * Event::SIZE + 200 + 284,
        "the test wants the exact length"
    );
    let token = world.batch_from(PROGRAM, &ops, (area, &[]), 0);
    world.act();
    let events = bare(&world.batch_answer(token).unwrap());
    assert_eq!(events, [200, 284].map(|len| datagram(socket, 999, len)));
}

#[test]
fn the_next_leave_in_the_moment_in_which_those_before_them_have_left() {
    let mut world = World::new(161);
    let socket = world.datagrams(PROGRAM, 7);
    let from = world.peer.open_udp(999);
    acquaint(&mut world, socket, from);
    world.server.device_mut().room = 0;
    // The queue has room for two of them.
    let ops = (0..4).fold(Ops::new(), |ops, n| {
        ops.send_to(socket, peer(999), &[n; 30_000])
    });
    let token = world.batch(PROGRAM, &ops);
    assert!(world.frames().is_empty());
    world.server.device_mut().room = 1000;
    // Each in fragments of 1480 octets.
    assert_eq!(world.frames().len(), 4 * 30_008usize.div_ceil(1480));
    assert_eq!(world.answer(token), None);
}
