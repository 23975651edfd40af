//! What batches deliver, and to whom.

use super::*;
use std::collections::BTreeMap;

#[test]
fn a_connection_and_its_first_request_come_in_one_answer() {
    let mut world = World::new(120);
    let listener = world.listener(PROGRAM, 80, 8);
    let accept = Operation::Accept {
        socket: listener,
        count: 10,
        receive: 100,
    };
    let token = world.batch(PROGRAM, &Ops::new().with(accept));
    let peer = world.peer.connect(40000, 80);
    // The handshake and the request arrive together, as over a slow wire.
    world.peer.tcp(peer).send_slice(b"GET /").ok();
    let first = world.events_of(token);
    let Event::Accepted {
        socket, peer: from, ..
    } = first[0].0
    else {
        panic!("{first:?}")
    };
    assert_eq!(from.to_socket_addr(), SocketAddr::from((PEER_IP, 40000)));
    world.until(SECOND, "established", |world| {
        world.peer.tcp(peer).state() == State::Established
    });
    world.peer.tcp(peer).send_slice(b"GET / HTTP/1.1").unwrap();
    // It was armed with the listener.
    let second = world.events(PROGRAM, &Ops::new());
    let received = Event::Received { socket, len: 14 };
    assert_eq!(second, [(received, b"GET / HTTP/1.1".to_vec())]);
    // And is not any more, until armed again.
    world.peer.tcp(peer).send_slice(b"more").unwrap();
    world.pass(SECOND);
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    let third = world.look(PROGRAM, &Ops::new().receive(socket));
    assert_eq!(third[0].1, b"more");
}

#[test]
fn an_end_and_a_reset_are_told_once_each() {
    let mut world = World::new(121);
    let (listener, socket, peer) = connected(&mut world, PROGRAM);
    let (other, other_peer) = world.connection(PROGRAM, listener, 40001, 80);
    world.peer.tcp(peer).send_slice(b"last").unwrap();
    world.peer.tcp(peer).close();
    world.peer.tcp(other_peer).abort();
    world.pass(10 * MS);
    let ops = Ops::new().receive(socket).receive(other);
    let first = bare(&world.look(PROGRAM, &ops));
    let received = Event::Received { socket, len: 4 };
    assert_eq!(first, [received, broken(other, Error::ConnectionReset)]);
    let ended = Event::Ended { socket };
    let ops = Ops::new().receive(socket);
    assert_eq!(bare(&world.look(PROGRAM, &ops)), [ended]);
    world.pass(SECOND);
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    // After the failure there is only the end.
    let again = bare(&world.look(PROGRAM, &Ops::new().receive(other)));
    assert_eq!(again, [Event::Ended { socket: other }]);
}

#[test]
fn an_area_too_small_for_all_is_filled_again_and_again_and_fairly() {
    let mut world = World::new(122);
    let listener = world.listener(PROGRAM, 80, 64);
    let mut clients = BTreeMap::new();
    let mut ops = Ops::new();
    for n in 0..40 {
        let (socket, peer) = world.connection(PROGRAM, listener, 40000 + n, 80);
        let text = Chance(n.into()).octets(3000);
        world.peer.tcp(peer).send_slice(&text).unwrap();
        clients.insert(socket, (text, Vec::new()));
        ops = ops.receive(socket);
    }
    world.pass(SECOND);
    let mut rounds = 0;
    let mut firsts = Vec::new();
    while clients.values().any(|(text, got)| text != got) {
        let area = area_min(ops.count.into()) + 7000;
        let token = world.batch_from(PROGRAM, &ops, (area, &[]), NO_TIMEOUT);
        let heard = world.events_of(token);
        ops = Ops::new();
        assert!(!heard.is_empty());
        for (event, bytes) in heard {
            let Event::Received { socket, .. } = event else {
                panic!("{event:?}")
            };
            let (text, got) = clients.get_mut(&socket).unwrap();
            if got.is_empty() {
                firsts.push(rounds);
            }
            got.extend(bytes);
            if got.len() < text.len() {
                ops = ops.receive(socket);
            }
        }
        rounds += 1;
    }
    // 40 times 3000 octets through areas of about 7500: two or three at a time, and
    // nobody came a second time before everybody's first.
    assert!((16..=28).contains(&rounds), "{rounds}");
    assert!(firsts.last() <= Some(&20), "{firsts:?}");
}

#[test]
fn a_listener_stops_at_its_count_and_at_the_limit() {
    let mut world = World::new(123);
    world.kernel.quota = Some(6);
    let listener = world.listener(PROGRAM, 80, 16);
    for n in 0..8 {
        world.peer.connect(40000 + n, 80);
    }
    world.pass(SECOND);
    let accept = |count| {
        Ops::new().with(Operation::Accept {
            socket: listener,
            count,
            receive: 0,
        })
    };
    let accepted = |events: &Events| {
        let accepted = |event: &&(Event, Vec<u8>)| matches!(event.0, Event::Accepted { .. });
        events.iter().filter(accepted).count()
    };
    assert_eq!(accepted(&world.look(PROGRAM, &accept(2))), 2);
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    let third = world.look(PROGRAM, &accept(100));
    assert_eq!((accepted(&third), third.len()), (3, 4));
    assert_eq!(third[3].0, broken(listener, Error::QuotaExceeded));
    // Disarmed: it says so once.
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    let Event::Accepted { socket, .. } = third[0].0 else {
        panic!()
    };
    let mut ops = accept(1);
    ops.push(Operation::Close { socket }, &[]);
    assert_eq!(accepted(&world.look(PROGRAM, &ops)), 1);
    assert_eq!(accepted(&world.look(PROGRAM, &accept(0))), 0);
}

#[test]
fn silent_sockets_cost_nothing() {
    let mut world = World::new(124);
    let listener = world.listener(PROGRAM, 80, 64);
    let mut ops = Ops::new();
    let mut peers = Vec::new();
    for n in 0..200 {
        let (socket, peer) = world.connection(PROGRAM, listener, 40000 + n, 80);
        ops = ops.receive(socket);
        peers.push((socket, peer));
    }
    assert_eq!(world.look(PROGRAM, &ops), []);
    let (socket, peer) = peers[77];
    let (served, copies) = (world.figure("batch_sockets_served"), world.kernel.copies);
    let mut ops = Ops::new();
    for _ in 0..100 {
        world.peer.tcp(peer).send_slice(b"ping").unwrap();
        let events = world.events(PROGRAM, &ops);
        assert_eq!(events[0].1, b"ping");
        ops = Ops::new().send(socket, b"pong", |send| {
            send.receive = 100;
            send.tell = Tell::Never;
        });
    }
    // At each turn: it was armed, its data came, and perhaps the acknowledgement of ours.
    let served = world.figure("batch_sockets_served") - served;
    assert!(served <= 300, "{served} looks at sockets for 100 turns");
    // The operations come with the request, and the events go with the answer.
    assert_eq!(world.kernel.copies, copies);
}

#[test]
fn operations_are_read_where_they_are() {
    let mut world = World::new(140);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    let ops = Ops::new()
        .send(socket, b"one", |send| send.tell = Tell::Never)
        .send(socket, b"two", |send| send.tell = Tell::Now);
    let request = Request::Batch {
        operations: 2,
        timeout_ms: 0,
    };
    // Nothing of them, parts, all of them, and more than the lease has.
    let mut long = ops.bytes.clone();
    long.resize(112, 0xee);
    for len in [0, 1, 27, 28, 30, 32, 33, 62, 63, ops.bytes.len(), 112] {
        let copies = world.kernel.copies;
        let here = (request, &long[..len]);
        let token = world.batch_with(PROGRAM, here, &ops, (area_min(2), &[]));
        let events = world.events_of(token);
        let sent = Event::Sent {
            socket,
            waited: false,
        };
        assert_eq!(events, [(sent, vec![])], "{len}");
        // The padding behind the last is not looked at.
        assert_eq!(world.kernel.copies > copies, len < 63, "{len}");
        let mut got = Vec::new();
        world.until(SECOND, "both", |world| {
            let tcp = world.peer.tcp(peer);
            let _ = tcp.recv(|octets| (octets.len(), got.extend_from_slice(octets)));
            got.len() == 6
        });
        assert_eq!(got, b"onetwo", "{len}");
    }
}

#[test]
fn an_answer_is_where_it_fits() {
    let mut world = World::new(141);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    for len in [1, HERE_MAX - 32, HERE_MAX - 28, HERE_MAX - 27, 1000, 4000] {
        let data = world.chance.octets(len);
        world.peer.tcp(peer).send_slice(&data).unwrap();
        world.pass(SECOND);
        let copies = world.kernel.copies;
        let events = world.events(PROGRAM, &Ops::new().receive(socket));
        let received = Event::Received {
            socket,
            len: len as u32,
        };
        assert_eq!(events, [(received, data)]);
        let here = Event::SIZE + abi::batch::padded(len) <= HERE_MAX;
        assert_eq!(world.kernel.copies == copies, here, "{len}");
    }
}

#[test]
fn two_programs_hear_of_their_own_sockets_only() {
    let mut world = World::new(139);
    let (_, mine, my_peer) = connected(&mut world, PROGRAM);
    let listener = world.listener(OTHER, 81, 8);
    let (theirs, their_peer) = world.connection(OTHER, listener, 41000, 81);
    let my_token = world.batch(PROGRAM, &Ops::new().receive(mine));
    let their_token = world.batch(OTHER, &Ops::new().receive(theirs));
    world.peer.tcp(their_peer).send_slice(b"theirs").unwrap();
    assert_eq!(world.events_of(their_token)[0].1, b"theirs");
    assert_eq!(world.answer(my_token), None);
    world.die(OTHER);
    world.peer.tcp(my_peer).send_slice(b"mine").unwrap();
    assert_eq!(world.events_of(my_token)[0].1, b"mine");
}

#[test]
fn the_server_says_when_it_has_given_a_program_something_to_do() {
    let mut world = World::new(142);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    for _ in 0..2 {
        let token = world.batch(PROGRAM, &Ops::new().receive(socket));
        world.act();
        assert!(!world.server.has_answered());
        world.peer.tcp(peer).send_slice(b"x").unwrap();
        world.until(SECOND, "an answer", |world| world.server.has_answered());
        assert!(world.answer(token).is_some());
        world.act();
        assert!(!world.server.has_answered());
    }
}

#[test]
fn an_area_that_cannot_be_written_ends_the_call() {
    let mut world = World::new(140);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    world.peer.tcp(peer).send_slice(&[5; 3000]).unwrap();
    world.pass(MS);
    let token = world.batch(PROGRAM, &Ops::new().receive(socket));
    world.kernel.refuse_writes = true;
    world.act();
    let (answer, _) = world.answer(token).unwrap();
    assert_eq!(answer, Err(Error::BadAddress));
    world.kernel.refuse_writes = false;
    assert_eq!(world.figure("waiting_calls"), 0);
    assert_eq!(world.look(PROGRAM, &Ops::new().receive(socket)).len(), 1);
}

#[test]
fn all_whose_time_is_up_are_answered_at_once() {
    let mut world = World::new(143);
    let clients = [PROGRAM, OTHER, Pid(0x104)];
    let tokens = clients.map(|client| world.batch_from(client, &Ops::new(), (AREA, &[]), 0));
    world.server.poll(world.now, &mut world.kernel);
    for token in tokens {
        assert_eq!(world.batch_answer(token), Some(vec![]));
    }
}

#[test]
fn a_call_that_is_no_more_takes_nothing_away() {
    let mut world = World::new(145);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    world.peer.tcp(peer).send_slice(b"data").unwrap();
    world.pass(SECOND);
    // It was not served yet when the program makes another.
    world.batch(PROGRAM, &Ops::new().receive(socket));
    let token = world.batch(PROGRAM, &Ops::new());
    world.act();
    assert_eq!(world.batch_answer(token).unwrap()[0].1, b"data");
}

#[test]
fn one_that_is_closed_takes_nobody_elses_news_away() {
    let mut world = World::new(146);
    let (listener, first, first_peer) = connected(&mut world, PROGRAM);
    let (second, second_peer) = world.connection(PROGRAM, listener, 40001, 80);
    for peer in [first_peer, second_peer] {
        world.peer.tcp(peer).send_slice(b"data").unwrap();
    }
    world.pass(SECOND);
    let ops = Ops::new().receive(first).receive(second);
    let ops = ops.with(Operation::Close { socket: first });
    let received = Event::Received {
        socket: second,
        len: 4,
    };
    assert_eq!(bare(&world.look(PROGRAM, &ops)), [received]);
}

#[test]
fn no_area_is_filled_with_nothing_or_with_slivers() {
    for extra in (0..2400).step_by(8) {
        let mut world = World::new(147);
        let (listener, first, first_peer) = connected(&mut world, PROGRAM);
        let (second, second_peer) = world.connection(PROGRAM, listener, 40001, 80);
        for peer in [first_peer, second_peer] {
            world.peer.tcp(peer).send_slice(&[7; 1000]).unwrap();
        }
        world.pass(SECOND);
        let ops = Ops::new().receive(first).receive(second);
        let area = area_min(ops.count.into()) + extra;
        let token = world.batch_from(PROGRAM, &ops, (area, &[]), 0);
        let mut left = 1000;
        for (number, (event, bytes)) in world.events_of(token).into_iter().enumerate() {
            let Event::Received { len, .. } = event else {
                panic!("{event:?}")
            };
            assert!(len > 0 && bytes == vec![7; len as usize]);
            if number == 0 {
                left -= len;
            } else {
                // What is little is left for an area of its own.
                assert!(left == 0 && len >= 512, "{extra}: {len}");
            }
        }
        assert!(left < 1000, "{extra}: nothing");
    }
}

#[test]
fn who_asks_for_no_octets_hears_of_none_and_of_no_end() {
    let mut world = World::new(148);
    let listener = world.listener(PROGRAM, 80, 8);
    let peer = world.peer.connect(40000, 80);
    let accept = Operation::Accept {
        socket: listener,
        count: 1,
        receive: 0,
    };
    let accepted = world.events(PROGRAM, &Ops::new().with(accept));
    let [(Event::Accepted { socket, .. }, _)] = accepted[..] else {
        panic!("{accepted:?}")
    };
    world.peer.tcp(peer).close();
    world.pass(SECOND);
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    let nothing = Operation::Receive { socket, max: 0 };
    assert_eq!(world.look(PROGRAM, &Ops::new().with(nothing)), []);
    // Nor does a send that nothing is to follow.
    let ops = Ops::new().send(socket, b"answer", |send| send.tell = Tell::Never);
    assert_eq!(world.look(PROGRAM, &ops), []);
    world.pass(SECOND);
    assert_eq!(world.look(PROGRAM, &Ops::new()), []);
    assert_eq!(heard(&mut world, peer), b"answer");
    let asked = world.look(PROGRAM, &Ops::new().receive(socket));
    assert_eq!(bare(&asked), [Event::Ended { socket }]);
}

#[test]
fn who_did_not_fit_comes_first_in_the_next_answer() {
    let mut world = World::new(149);
    let listener = world.listener(PROGRAM, 80, 8);
    let mut ops = Ops::new();
    let mut expected = Vec::new();
    for n in 0..4 {
        let (socket, peer) = world.connection(PROGRAM, listener, 40000 + n, 80);
        world.peer.tcp(peer).send_slice(&[7; 400]).unwrap();
        ops = ops.receive(socket);
        expected.push(Event::Received { socket, len: 400 });
    }
    world.pass(SECOND);
    for event in expected {
        let area = area_min(ops.count.into());
        let token = world.batch_from(PROGRAM, &ops, (area, &[]), 0);
        assert_eq!(bare(&world.events_of(token)), [event]);
        ops = Ops::new();
    }
}
