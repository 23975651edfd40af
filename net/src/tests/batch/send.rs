//! What batches send, and how they hear of it.

use super::*;
use abi::socket::Direction;

#[test]
fn what_is_queued_at_once_wakes_nobody_and_is_told_later() {
    let mut world = World::new(130);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    let ops = Ops::new().send(socket, b"answer", |send| send.receive = 100);
    let token = world.batch(PROGRAM, &ops);
    world.pass(10 * SECOND);
    assert_eq!(world.answer(token), None);
    assert_eq!(heard(&mut world, peer), b"answer");
    world.peer.tcp(peer).send_slice(b"question").unwrap();
    let received = Event::Received { socket, len: 8 };
    assert_eq!(
        bare(&world.events_of(token)),
        [sent(socket, false), received]
    );
    // Quietly: not even that.
    let ops = Ops::new().send(socket, b"answer", |send| send.tell = Tell::Never);
    assert_eq!(world.look(PROGRAM, &ops), []);
    // Or at once.
    let ops = Ops::new().send(socket, b"answer", |send| send.tell = Tell::Now);
    let token = world.batch(PROGRAM, &ops);
    world.act();
    let told = world.batch_answer(token).expect("it waits for nothing");
    assert_eq!(bare(&told), [sent(socket, false)]);
}

#[test]
fn a_large_send_goes_on_while_the_call_lasts() {
    // The peer's acknowledgements come in bursts, or one by one.
    for slow_card in [None, Some(2)] {
        let mut world = World::new(131);
        world.slow_card = slow_card;
        let (_, socket, peer) = connected(&mut world, PROGRAM);
        let source = Chance(1).octets(3 << 20);
        let part = Part {
            offset: 1000,
            len: (3 << 20) - 1000,
        };
        let ops = Ops::new().send(socket, b"head", |send| send.part = part);
        let token = world.batch_from(PROGRAM, &ops, (AREA, &source), NO_TIMEOUT);
        let mut got = Vec::new();
        world.until(100 * SECOND, "all", |world| {
            got.extend(heard(world, peer));
            got.len() == 4 + part.len as usize
        });
        assert!(got[..4] == *b"head" && got[4..] == source[1000..]);
        let answer = world.batch_answer(token).expect("it says when it is done");
        assert_eq!(bare(&answer), [sent(socket, true)]);
        // A quarter of the buffer at a time, in at most two pieces.
        let most = 2 * (got.len() / 8192) as u64 + 10;
        assert!(world.kernel.copies <= most, "{}", world.kernel.copies);
    }
}

#[test]
fn a_send_from_the_source_stands_from_call_to_call() {
    let mut world = World::new(132);
    let (listener, socket, peer) = connected(&mut world, PROGRAM);
    let (other, other_peer) = world.connection(PROGRAM, listener, 40001, 80);
    let source = Chance(2).octets(1 << 20);
    let mut ops = Ops::new()
        .receive(other)
        .send(socket, b"head", |send| send.part.len = 1 << 20);
    let mut got = Vec::new();
    let mut turns = 0;
    // The other connection interrupts it again and again.
    loop {
        world.peer.tcp(other_peer).send_slice(b"x").unwrap();
        let token = world.batch_from(PROGRAM, &ops, (AREA, &source), NO_TIMEOUT);
        let events = bare(&world.events_of(token));
        got.extend(heard(&mut world, peer));
        turns += 1;
        ops = Ops::new();
        if events.contains(&sent(socket, true)) {
            break;
        }
        let received = matches!(events[..], [Event::Received { socket, .. }] if socket == other);
        assert!(received, "{events:?}");
        ops = ops.receive(other);
        // Between calls nothing is lent, and nothing moves.
        world.pass(MS);
    }
    assert!(turns > 10, "{turns}");
    world.until(10 * SECOND, "all", |world| {
        got.extend(heard(world, peer));
        got.len() == 4 + (1 << 20)
    });
    assert!(got[4..] == source);
}

#[test]
fn a_send_of_inline_bytes_is_cut_when_the_call_returns() {
    let mut world = World::new(133);
    let (listener, socket, peer) = connected(&mut world, PROGRAM);
    let (other, other_peer) = world.connection(PROGRAM, listener, 40001, 80);
    let data = Chance(3).octets(400_000);
    let mut ops = Ops::new();
    ops.push(Operation::Progress { socket: other }, &[]);
    let ops = ops
        .send(socket, &data, |send| send.receive = 10)
        .receive(other);
    let token = world.batch(PROGRAM, &ops);
    // The peer reads nothing: its buffer and ours fill up.
    world.pass(SECOND);
    let answer = world.batch_answer(token);
    assert!(answer.is_some(), "the progress was asked for");
    let events = bare(&answer.unwrap());
    let Event::Cut {
        operation: 1,
        count,
        ..
    } = events[1]
    else {
        panic!("{events:?}")
    };
    // Its rest, which waits now until something happens.
    let rest = &data[count as usize..];
    let ops = Ops::new().send(socket, rest, |send| send.receive = 10);
    let token = world.batch(PROGRAM, &ops);
    world.pass(SECOND);
    world.peer.tcp(other_peer).send_slice(b"!").unwrap();
    let events = bare(&world.events_of(token));
    let Event::Cut {
        operation: 0,
        count: more,
        ..
    } = events[1]
    else {
        panic!("{events:?}")
    };
    assert!(
        (64 << 10..100 << 10).contains(&(count + more)),
        "{count} {more}"
    );
    assert_eq!(
        world.look(PROGRAM, &Ops::new()),
        [],
        "nothing until there is room"
    );
    let mut got = heard(&mut world, peer);
    assert_eq!(
        bare(&world.events(PROGRAM, &Ops::new())),
        [Event::Room { socket }]
    );
    assert_eq!(world.look(PROGRAM, &Ops::new()), [], "told once");
    let rest = &data[(count + more) as usize..];
    let ops = Ops::new().send(socket, rest, |send| send.receive = 10);
    let token = world.batch(PROGRAM, &ops);
    world.until(100 * SECOND, "all", |world| {
        got.extend(heard(world, peer));
        got.len() == data.len()
    });
    assert!(got == data);
    assert_eq!(bare(&world.events_of(token)), [sent(socket, true)]);
}

#[test]
fn nothing_is_delivered_on_a_socket_that_is_sending() {
    let mut world = World::new(134);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    let source = vec![1; 300_000];
    let ops = Ops::new()
        .receive(socket)
        .send(socket, b"", |send| {
            send.part.len = 300_000;
            send.receive = 50;
        })
        .send(socket, b"busy", |_| {});
    world.peer.tcp(peer).send_slice(b"pipelined").unwrap();
    let token = world.batch_from(PROGRAM, &ops, (AREA, &source), NO_TIMEOUT);
    world.pass(SECOND);
    let busy = Event::Failed {
        socket,
        operation: 2,
        error: Error::Busy,
    };
    assert_eq!(bare(&world.batch_answer(token).unwrap()), [busy]);
    let token = world.batch_from(PROGRAM, &Ops::new(), (AREA, &source), NO_TIMEOUT);
    let mut got = 0;
    world.until(100 * SECOND, "all", |world| {
        got += heard(world, peer).len();
        got == 300_000
    });
    let events = world.batch_answer(token).unwrap();
    let received = Event::Received { socket, len: 9 };
    assert_eq!(bare(&events), [sent(socket, true), received]);
    assert_eq!(events[1].1, b"pipelined");
}

#[test]
fn what_follows_a_send_follows_it() {
    let mut world = World::new(135);
    let (listener, socket, peer) = connected(&mut world, PROGRAM);
    let (other, other_peer) = world.connection(PROGRAM, listener, 40001, 80);
    let source = vec![9; 100_000];
    // One fits at once, one does not.
    let ops = Ops::new()
        .send(socket, b"all", |send| {
            (send.end, send.receive) = (End::Finish, 100);
        })
        .send(other, b"", |send| {
            (send.end, send.part.len) = (End::Close, 100_000);
        });
    let token = world.batch_from(PROGRAM, &ops, (AREA, &source), NO_TIMEOUT);
    let mut got = Vec::new();
    world.until(100 * SECOND, "both ends", |world| {
        got.extend(heard(world, other_peer));
        let ended = |world: &mut World, peer| world.peer.tcp(peer).state() == State::CloseWait;
        ended(world, peer) && ended(world, other_peer)
    });
    assert_eq!(
        (heard(&mut world, peer), got.len()),
        (b"all".to_vec(), 100_000)
    );
    let closed = Event::Closed { socket: other };
    let events = bare(&world.batch_answer(token).unwrap());
    assert_eq!(events, [sent(socket, false), closed]);
    // It was armed behind the FIN.
    world.peer.tcp(peer).send_slice(b"bye").unwrap();
    let received = world.events(PROGRAM, &Ops::new());
    assert_eq!(received[0].1, b"bye");
    assert_eq!(world.figure("sockets"), 2, "the closed one is gone");
    // One that closes at once says so without waking anybody.
    let (third, third_peer) = world.connection(PROGRAM, listener, 40002, 80);
    let ops = Ops::new()
        .receive(socket)
        .send(third, b"short", |send| send.end = End::Close);
    let token = world.batch(PROGRAM, &ops);
    world.pass(SECOND);
    assert_eq!(world.answer(token), None);
    assert_eq!(heard(&mut world, third_peer), b"short");
    world.peer.tcp(peer).close();
    let ops = bare(&world.events_of(token));
    assert_eq!(
        ops,
        [Event::Closed { socket: third }, Event::Ended { socket }]
    );
}

#[test]
fn a_connection_that_breaks_under_a_send_fails_it() {
    let mut world = World::new(136);
    let (listener, socket, peer) = connected(&mut world, PROGRAM);
    let (other, other_peer) = world.connection(PROGRAM, listener, 40001, 80);
    let source = vec![1; 500_000];
    let ops = Ops::new()
        .send(socket, b"", |send| send.part.len = 500_000)
        .send(other, &source, |send| send.end = End::Close);
    let token = world.batch_from(PROGRAM, &ops, (AREA, &source), NO_TIMEOUT);
    world.pass(SECOND);
    world.peer.tcp(peer).abort();
    let failed = |socket, operation| Event::Failed {
        socket,
        operation,
        error: Error::ConnectionReset,
    };
    let events = bare(&world.events_of(token));
    assert_eq!(events[0], failed(socket, 0));
    assert!(matches!(events[1], Event::Cut { operation: 1, .. }));
    let ops = Ops::new().send(other, &source, |send| send.end = End::Close);
    let token = world.batch(PROGRAM, &ops);
    world.pass(SECOND);
    world.peer.tcp(other_peer).abort();
    assert_eq!(bare(&world.events_of(token)), [failed(other, 0)]);
    // Neither is armed or sending; the handles are still there to be closed.
    let ops = Ops::new()
        .with(Operation::Close { socket })
        .with(Operation::Close { socket: other });
    assert_eq!(world.look(PROGRAM, &ops), []);
}

#[test]
fn the_progress_of_a_send_can_be_asked_for_and_the_send_be_cancelled() {
    let mut world = World::new(137);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    let source = vec![1; 500_000];
    let send = Ops::new().send(socket, b"", |send| send.part.len = 500_000);
    let token = world.batch_from(PROGRAM, &send, (AREA, &source), 15_000);
    world.pass(15 * SECOND);
    assert_eq!(world.batch_answer(token), Some(vec![]));
    let ask = Ops::new().with(Operation::Progress { socket });
    let progress = |world: &mut World, source: &[u8]| {
        let token = world.batch_from(PROGRAM, &ask, (AREA, source), NO_TIMEOUT);
        world.act();
        match bare(&world.batch_answer(token).expect("an answer at once"))[..] {
            [Event::Progress { count, idle_ms, .. }] => (count, idle_ms),
            ref other => panic!("{other:?}"),
        }
    };
    let (count, idle_ms) = progress(&mut world, &source);
    // The peer's buffer and ours.
    assert!((80 << 10..110 << 10).contains(&count), "{count}");
    assert!((14_000..=15_000).contains(&idle_ms), "{idle_ms}");
    heard(&mut world, peer);
    let token = world.batch_from(PROGRAM, &Ops::new(), (AREA, &source), 2000);
    world.pass(2 * SECOND);
    assert_eq!(world.batch_answer(token), Some(vec![]));
    let (more, idle_ms) = progress(&mut world, &source);
    assert!(more > count + 50_000 && idle_ms < 2000, "{more} {idle_ms}");
    let cancel = Ops::new().with(Operation::Cancel { socket });
    let cut = Event::Cut {
        socket,
        operation: NOT_OF_THIS_CALL,
        count: more,
    };
    assert_eq!(bare(&world.look(PROGRAM, &cancel)), [cut]);
    assert_eq!(progress(&mut world, &source).0, 0);
    // The source is not what it was: that is the program's own fault.
    let token = world.batch_from(PROGRAM, &send, (AREA, &source), 0);
    world.act();
    assert_eq!(world.batch_answer(token), Some(vec![]));
    let token = world.batch_from(PROGRAM, &Ops::new(), (AREA, &[]), NO_TIMEOUT);
    world.until(SECOND, "room", |world| {
        heard(world, peer);
        world.kernel.copies > 0 && world.figure("waiting_calls") == 0
    });
    let events = bare(&world.batch_answer(token).unwrap());
    assert_eq!(events, [broken(socket, Error::BadAddress)]);
}

#[test]
fn one_who_does_not_read_holds_nobody_up() {
    let mut world = World::new(138);
    let listener = world.listener(PROGRAM, 80, 64);
    let source = vec![3; 1 << 20];
    let mut ops = Ops::new();
    for n in 0..30 {
        let (socket, _) = world.connection(PROGRAM, listener, 40000 + n, 80);
        ops = ops.send(socket, b"", |send| send.part.len = 1 << 20);
    }
    let (socket, peer) = world.connection(PROGRAM, listener, 41000, 80);
    ops = ops.receive(socket);
    let token = world.batch_from(PROGRAM, &ops, (AREA, &source), 2000);
    world.pass(2 * SECOND);
    assert_eq!(world.batch_answer(token), Some(vec![]));
    let served = world.figure("batch_sockets_served");
    let mut ops = Ops::new();
    for round in 0..50 {
        world.peer.tcp(peer).send_slice(b"ping").unwrap();
        let token = world.batch_from(PROGRAM, &ops, (AREA, &source), NO_TIMEOUT);
        let events = world.events_of(token);
        assert_eq!(events.last().unwrap().1, b"ping", "round {round}");
        ops = Ops::new().send(socket, b"pong", |send| send.receive = 100);
    }
    // The stalled ones are not even looked at.
    let served = world.figure("batch_sockets_served") - served;
    assert!((50..=150).contains(&served), "{served}");
}

#[test]
fn a_direction_can_be_ended() {
    let mut world = World::new(141);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    let direction = Direction::Send;
    let ops = Ops::new()
        .receive(socket)
        .with(Operation::Shutdown { socket, direction });
    assert_eq!(world.look(PROGRAM, &ops), []);
    world.pass(MS);
    assert_eq!(world.peer.tcp(peer).state(), State::CloseWait);
    world.peer.tcp(peer).send_slice(b"for the batch").unwrap();
    assert_eq!(world.events(PROGRAM, &Ops::new())[0].1, b"for the batch");
    let refused = Event::Failed {
        socket,
        operation: 0,
        error: Error::BrokenPipe,
    };
    let ops = Ops::new().send(socket, b"x", |_| {});
    assert_eq!(bare(&world.look(PROGRAM, &ops)), [refused]);
}

#[test]
fn a_send_reaches_to_the_end_of_what_was_lent_and_no_octet_further() {
    let mut world = World::new(138);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    let source = Chance(4).octets(1000);
    for (offset, len, fits) in [
        (0, 1000, true),
        (999, 1, true),
        (1000, 0, true),
        (0, 1001, false),
        (1, 1000, false),
        (1000, 1, false),
        (1001, 0, false),
        (u32::MAX, 1, false),
        (u32::MAX - 999, 1000, false),
        (1, u32::MAX, false),
    ] {
        let part = Part { offset, len };
        let ops = Ops::new().send(socket, b"head", |send| {
            (send.part, send.tell) = (part, Tell::Now);
        });
        let token = world.batch_from(PROGRAM, &ops, (AREA, &source), 0);
        let events = bare(&world.events_of(token));
        world.pass(SECOND);
        let heard = heard(&mut world, peer);
        if fits {
            assert_eq!(events, [sent(socket, false)], "{part:?}");
            let source = &source[offset as usize..][..len as usize];
            assert_eq!(heard, [b"head", source].concat(), "{part:?}");
        } else {
            // Not even what comes before it.
            assert_eq!(events, [failed(socket, 0, Error::BadAddress)], "{part:?}");
            assert_eq!(heard, b"", "{part:?}");
        }
    }
}

#[test]
fn the_octets_of_an_operation_reach_to_the_end_of_what_was_lent_and_no_further() {
    let mut world = World::new(139);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    for len in [9, 10_000] {
        let data = Chance(5).octets(len);
        let whole = Ops::new().send(socket, &data, |send| send.tell = Tell::Now);
        let end = Operation::SIZE + len;
        for lent in [end - 1, end, end + 1] {
            let mut ops = whole.clone();
            ops.bytes.resize(lent, 0);
            // Whether they come with the call, and more of them than is lent, or not.
            for here in [&[][..], &whole.bytes[..end.min(HERE_MAX)]] {
                let request = Request::Batch {
                    operations: 1,
                    timeout_ms: 0,
                };
                let token = world.batch_with(PROGRAM, (request, here), &ops, (AREA, &[]));
                let events = bare(&world.events_of(token));
                world.pass(SECOND);
                let heard = heard(&mut world, peer);
                if lent < end {
                    assert_eq!(events, [failed(socket, 0, Error::Malformed)], "{lent}");
                    assert_eq!(heard, b"", "{lent}");
                } else {
                    assert_eq!(events, [sent(socket, false)], "{lent}");
                    assert_eq!(heard, data, "{lent}");
                }
            }
        }
    }
}

#[test]
fn what_comes_with_the_call_and_is_not_lent_is_no_operation() {
    let mut world = World::new(140);
    let (_, socket, _) = connected(&mut world, PROGRAM);
    let whole = Ops::new().with(Operation::Progress { socket });
    for (lent, is_whole) in [
        (0, false),
        (Operation::SIZE - 1, false),
        (Operation::SIZE, true),
    ] {
        let mut ops = whole.clone();
        ops.bytes.truncate(lent);
        let request = Request::Batch {
            operations: 1,
            timeout_ms: 0,
        };
        let here = (request, &whole.bytes[..]);
        let token = world.batch_with(PROGRAM, here, &ops, (AREA, &[]));
        let events = bare(&world.events_of(token));
        let malformed = events == [failed(Handle(0), 0, Error::Malformed)];
        assert_eq!(malformed, !is_whole, "{lent}: {events:?}");
    }
}

#[test]
fn a_stream_cannot_be_ended_under_a_send() {
    let mut world = World::new(142);
    let (_, socket, peer) = connected(&mut world, PROGRAM);
    let source = Chance(6).octets(200_000);
    let shutdown = |direction| Operation::Shutdown { socket, direction };
    let ops = Ops::new()
        .send(socket, b"", |send| send.part.len = 200_000)
        .with(shutdown(Direction::Send))
        .with(shutdown(Direction::Both))
        .with(shutdown(Direction::Receive));
    let token = world.batch_from(PROGRAM, &ops, (AREA, &source), 0);
    let busy = |operation| failed(socket, operation, Error::Busy);
    assert_eq!(bare(&world.events_of(token)), [busy(1), busy(2)]);
    // All of it arrives, and then it can be.
    let token = world.batch_from(PROGRAM, &Ops::new(), (AREA, &source), NO_TIMEOUT);
    let mut got = Vec::new();
    world.until(100 * SECOND, "all", |world| {
        got.extend(heard(world, peer));
        got.len() == source.len()
    });
    assert!(got == source);
    assert_eq!(bare(&world.events_of(token)), [sent(socket, true)]);
    let ops = Ops::new().with(shutdown(Direction::Send));
    assert_eq!(world.look(PROGRAM, &ops), []);
    world.pass(SECOND);
    assert_eq!(world.peer.tcp(peer).state(), State::CloseWait);
}

/// What the peer sends when it is given these frames.
fn peer_says(world: &mut World, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let stamp = smoltcp::time::Instant::from_micros((world.now / 1000) as i64);
    let peer = &mut world.peer;
    peer.nic.arrived.extend(frames);
    peer.interface.poll(stamp, &mut peer.nic, &mut peer.sockets);
    peer.nic.sent.drain(..).collect()
}

#[test]
fn ends_of_sends_have_their_room_whatever_comes_before_them() {
    let ports = [40000u16, 40001, 40002];
    let source = Chance(7).octets(100_000);
    for (is_stale, tell) in [
        (false, Tell::Later),
        (false, Tell::Never),
        (true, Tell::Later),
        (true, Tell::Never),
    ] {
        // In which order the octets of the first come, and the room of the others.
        for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
            let mut world = World::new(143);
            let listener = world.listener(PROGRAM, 80, 8);
            let [
                (first, first_peer),
                (second, second_peer),
                (third, third_peer),
            ] = ports.map(|port| world.connection(PROGRAM, listener, port, 80));
            let sends = |ops: Ops, socket, tell| {
                ops.send(socket, b"", |send| {
                    (send.part.len, send.tell) = (100_000, tell);
                })
            };
            let mut ops = Ops::new();
            if is_stale {
                let token =
                    world.batch_from(PROGRAM, &sends(ops, second, tell), (AREA, &source), 0);
                assert_eq!(world.events_of(token), []);
                ops = Ops::new();
            } else {
                ops = sends(ops, second, tell);
            }
            ops = sends(ops.receive(first), third, Tell::Later);
            let area = area_min(ops.count.into()) + 64;
            let token = world.batch_from(PROGRAM, &ops, (area, &source), NO_TIMEOUT);
            // All but the last octets of both are queued or sent. Then the peer reads.
            world.pass(SECOND);
            assert_eq!(world.answer(token), None);
            for peer in [second_peer, third_peer] {
                heard(&mut world, peer);
            }
            for frame in peer_says(&mut world, Vec::new()) {
                world.inject(&frame);
            }
            let frames = world.frames();
            assert_eq!(world.answer(token), None);
            world.peer.tcp(first_peer).send_slice(&[7; 4000]).unwrap();
            let said = peer_says(&mut world, frames);
            for from in order {
                let port = ports[from].to_be_bytes();
                for frame in said.iter().filter(|frame| frame[34..36] == port) {
                    world.inject(frame);
                }
            }
            world.frames();
            let answer = world.batch_answer(token).expect("there is news");
            let octets = answer
                .iter()
                .map(|(event, _)| Event::SIZE + padded(event.inline()));
            // What is kept for an outcome is nobody else's while there may be one.
            let is_kept = order[0] == 0 && (is_stale || tell == Tell::Never);
            let kept = usize::from(is_kept) * Event::SIZE;
            let case = (is_stale, tell, order);
            assert_eq!(octets.sum::<usize>() + kept, area, "{case:?}");
            let mut events = bare(&answer);
            let token = world.batch_from(PROGRAM, &Ops::new(), (AREA, &source), 0);
            events.extend(bare(&world.events_of(token)));
            // Each is told, and once.
            events.retain(
                |event| !matches!(event, Event::Received { socket, .. } if *socket == first),
            );
            let mut expected = vec![sent(third, true)];
            if tell == Tell::Later {
                expected.push(sent(second, true));
            }
            assert_eq!(events.len(), expected.len(), "{case:?} {events:?}");
            assert!(
                expected.iter().all(|event| events.contains(event)),
                "{case:?} {events:?}"
            );
        }
    }
}

#[test]
fn what_came_before_a_send_is_told_with_it() {
    type Case = (
        fn(&mut World, Handle, SocketHandle),
        Option<fn(Handle) -> Event>,
    );
    let cases: [Case; 4] = [
        (|_, _, _| {}, None),
        (
            |world, _, peer| {
                world.peer.tcp(peer).send_slice(b"more").unwrap();
            },
            Some(|socket| Event::Received { socket, len: 4 }),
        ),
        (
            |world, _, peer| world.peer.tcp(peer).close(),
            Some(|socket| Event::Ended { socket }),
        ),
        (
            |world, socket, _| {
                let direction = Direction::Receive;
                let ops = Ops::new().with(Operation::Shutdown { socket, direction });
                assert_eq!(world.look(PROGRAM, &ops), []);
            },
            Some(|socket| Event::Ended { socket }),
        ),
    ];
    for (number, (happens, event)) in cases.into_iter().enumerate() {
        let mut world = World::new(144);
        let (_, socket, peer) = connected(&mut world, PROGRAM);
        happens(&mut world, socket, peer);
        world.pass(SECOND);
        let looked = world.figure("batch_sockets_served");
        let ops = Ops::new().send(socket, b"answer", |send| send.receive = 100);
        let token = world.batch(PROGRAM, &ops);
        // Nothing has been heard of the peer since.
        world.frames();
        let told = world.batch_answer(token).map(|events| bare(&events));
        let expected = event.map(|event| vec![sent(socket, false), event(socket)]);
        assert_eq!(told, expected, "case {number}");
        let looked = world.figure("batch_sockets_served") - looked;
        assert_eq!(looked, event.is_some().into(), "case {number}");
    }
}
