//! What an owner is given for what it asks, and what one gets who writes anything anywhere.

use super::*;
use crate::endpoint::tests::frames::{OTHER, STATIONS};
use crate::endpoint::tests::{Ask, MAC, World};
use abi::endpoint::Filter;
use abi::exchange::{RECEIVED_MAX, RETURNS_MAX, SENDS_MAX, TAKEN_MAX, WORDS};
use abi::ipc::{Pid, wait};
use nic::model::{Pace, Rng};
use std::collections::BTreeSet;

const PEER: [u8; 6] = STATIONS[2];

/// A whole card of either kind, or a part of one.
fn all_kinds(pace: Pace, seed: u64) -> Vec<(&'static str, World, Vec<Filter>)> {
    vec![
        ("E100", World::e100(pace, seed), vec![]),
        ("igb", World::igb(pace, seed), vec![]),
        ("tenant", World::e100(pace, seed), vec![Filter::default()]),
        (
            "igb tenant",
            World::igb(pace, seed),
            vec![Filter::default()],
        ),
    ]
}

fn frame(to: [u8; 6], from: [u8; 6], number: u16, len: usize) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend(OTHER.to_be_bytes());
    frame.extend(number.to_be_bytes());
    frame.resize(len, number as u8);
    frame
}

fn incoming(number: u16) -> Vec<u8> {
    frame(MAC, PEER, number, 60 + usize::from(number % 500))
}

#[test]
fn honest_exchanges_are_answered_exactly() {
    for (kind, mut world, filters) in all_kinds(Pace::Doorbell, 1) {
        let pid = world.owner(&filters);
        let memory = world.map(pid, 0);
        // Buffers to send from, each once.
        let (result, done) = world.exchange(
            pid,
            &Ask {
                small: 6,
                ..Ask::default()
            },
        );
        assert_eq!((result, done.sent), (Ok(0), 0), "{kind}");
        assert_eq!(done.taken.iter().collect::<BTreeSet<_>>().len(), 6);
        let ask = Ask {
            large: 2,
            ..Ask::default()
        };
        let (_, large) = world.exchange(pid, &ask);
        assert_eq!(large.taken.len(), usize::from(memory.large.0.min(2)));
        assert!(large.taken.iter().all(|it| *it >= memory.small.0), "{kind}");
        // Frames go out in order; one that cannot be sent is dropped, and the others go.
        let frames: Vec<Vec<u8>> = (0..6)
            .map(|number| frame(PEER, MAC, number, 60 + 200 * usize::from(number)))
            .collect();
        let mut sends: Vec<Send> = done
            .taken
            .iter()
            .zip(&frames)
            .map(|(&buffer, frame)| world.build(pid, &memory, buffer, frame))
            .collect();
        sends[2].len = 9000;
        let ask = Ask {
            sends,
            ..Ask::default()
        };
        let (result, done) = world.exchange(pid, &ask);
        assert_eq!((result, done.sent), (Err(Error::BadFrame), 6), "{kind}");
        world.settle();
        let mut expected = frames.clone();
        expected.remove(2);
        assert_eq!(world.model.take_sent(), expected, "{kind}");
        // They are no longer the owner's.
        let (result, done) = world.exchange(pid, &ask);
        assert_eq!((result, done.sent), (Err(Error::BadHandle), 6), "{kind}");
        world.settle();
        assert_eq!(world.model.take_sent(), [[]; 0], "{kind}: from another's");
        // Frames come in order, as many as are wanted, and the rest later.
        for number in 0..5 {
            world.model.arrive(&incoming(number));
        }
        world.settle();
        let mut numbers = 0..5;
        for count in [3, 2, 0] {
            let ask = Ask {
                receive: 3,
                ..Ask::default()
            };
            let (result, done) = world.exchange(pid, &ask);
            assert_eq!(result, Ok(count), "{kind}");
            assert!(!done.woken);
            assert_eq!(done.received.len() as u64, count, "{kind}");
            for received in &done.received {
                let number = numbers.next().expect("no more than came");
                assert_eq!(world.frame(pid, received), incoming(number), "{kind}");
            }
            let returns = done.received.iter().map(|it| it.buffer).collect();
            let ask = Ask {
                returns,
                ..Ask::default()
            };
            assert_eq!(world.exchange(pid, &ask).0, Ok(0), "{kind}");
            // Twice is once too often.
            let again = world.exchange(pid, &ask).0;
            let expected = match count {
                0 => Ok(0),
                _ => Err(Error::BadHandle),
            };
            assert_eq!(again, expected, "{kind}");
        }
    }
}

#[test]
fn a_sleeper_gets_the_frames_with_its_wake_up() {
    for (kind, mut world, filters) in all_kinds(Pace::Doorbell, 2) {
        let pid = world.owner(&filters);
        for looks in [false, true] {
            let ask = Ask {
                receive: 4,
                arm: true,
                wake: 2,
                ..Ask::default()
            };
            world.ask(pid, &ask);
            assert_eq!(world.wait(pid, true), None, "{kind}");
            world.idle();
            assert_eq!(world.event(pid), None, "{kind}: for nothing");
            for number in 0..3 {
                world.model.arrive(&incoming(number));
            }
            match looks {
                true => world.idle(),
                false => world.settle(),
            }
            let bits = wait::NIC_RECEIVE | wait::endpoint(0);
            assert_eq!(world.bits(pid), wait::NIC_RECEIVE & bits, "{kind}");
            let done = world.done(pid);
            assert!(done.woken && !done.received.is_empty(), "{kind}");
            assert!(done.received.len() <= 2, "{kind}");
            assert_eq!(world.frame(pid, &done.received[0]), incoming(0));
            let mut returns: Vec<u16> = done.received.iter().map(|it| it.buffer).collect();
            let rest = Ask {
                receive: 9,
                ..Ask::default()
            };
            let (_, rest) = world.exchange(pid, &rest);
            assert!(!rest.woken, "{kind}: these came with the exchange");
            returns.extend(rest.received.iter().map(|it| it.buffer));
            assert_eq!(returns.len(), 3, "{kind}");
            let ask = Ask {
                returns,
                ..Ask::default()
            };
            assert_eq!(world.exchange(pid, &ask).0, Ok(0));
        }
    }
}

#[test]
fn who_wants_nothing_with_the_wake_up_is_told_all_the_same() {
    for (kind, mut world, filters) in all_kinds(Pace::Doorbell, 3) {
        let pid = world.owner(&filters);
        // After the first one a card is silent until it is armed.
        world.model.arrive(&incoming(9));
        world.idle();
        let all = Ask {
            receive: 4,
            ..Ask::default()
        };
        assert_eq!(world.exchange(pid, &all).0, Ok(1), "{kind}");
        assert_eq!(world.exchange(pid, &all).0, Ok(0), "{kind}");
        world.wait(pid, false);
        world.table.expire(u64::MAX);
        world.ask(
            pid,
            &Ask {
                receive: 4,
                arm: true,
                wake: 0,
                ..Ask::default()
            },
        );
        assert_eq!(world.wait(pid, true), None, "{kind}");
        world.idle();
        world.model.arrive(&incoming(0));
        world.idle();
        assert_eq!(world.bits(pid), wait::NIC_RECEIVE, "{kind}");
        // And who wants nothing before, but something with it, gets what is there already.
        world.model.arrive(&incoming(1));
        world.settle();
        world.idle();
        let (_, done) = world.exchange(
            pid,
            &Ask {
                receive: 1,
                ..Ask::default()
            },
        );
        assert_eq!(done.received.len(), 1, "{kind}");
        world.ask(
            pid,
            &Ask {
                receive: 0,
                arm: true,
                wake: 4,
                ..Ask::default()
            },
        );
        assert_eq!(world.wait(pid, true), None, "{kind}");
        world.idle();
        assert_eq!(world.bits(pid), wait::NIC_RECEIVE, "{kind}");
        let done = world.done(pid);
        assert_eq!(world.frame(pid, &done.received[0]), incoming(1), "{kind}");
    }
}

#[test]
fn a_full_ring_is_no_loss_and_is_told_when_there_is_room() {
    for (kind, mut world, filters) in all_kinds(Pace::Stalling, 4) {
        let pid = world.owner(&filters);
        let memory = world.map(pid, 0);
        let (mut next, mut sent) = (0, Vec::new());
        let mut waiting: Vec<Send> = Vec::new();
        let mut waits = 0;
        for _ in 0..400 {
            let ask = Ask {
                small: (SENDS_MAX - waiting.len()) as u32,
                ..Ask::default()
            };
            let (_, done) = world.exchange(pid, &ask);
            for buffer in done.taken {
                let outgoing = frame(PEER, MAC, next, 1000);
                waiting.push(world.build(pid, &memory, buffer, &outgoing));
                sent.push(outgoing);
                next += 1;
            }
            let ask = Ask {
                sends: waiting.clone(),
                ..Ask::default()
            };
            let (result, done) = world.exchange(pid, &ask);
            assert_eq!(result, Ok(0), "{kind}");
            waiting.drain(..done.sent as usize);
            if !waiting.is_empty() {
                waits += 1;
                if world.wait(pid, false).is_none() {
                    world.settle();
                }
                assert_eq!(world.bits(pid), wait::NIC_TRANSMIT, "{kind}");
            }
        }
        world.settle();
        sent.truncate(sent.len() - waiting.len());
        assert_eq!(world.model.take_sent(), sent, "{kind}");
        // The 82576 has a place in the ring for each buffer.
        assert!(waits > 10 || kind.starts_with("igb"), "{kind}: {waits}");
        assert!(next > 300, "{kind}: {next}");
    }
}

/// What a hostile owner has by the rules, whatever it writes.
#[derive(Default)]
struct Holds {
    transmit: BTreeSet<u16>,
    receive: BTreeSet<u16>,
}

impl Holds {
    /// What an exchange that was asked for by these words has taken away, and what it has given.
    fn exchanged(&mut self, asked: &[u32], done: &[u32]) {
        let returns = (asked[exchange::RETURN_COUNT] as usize).min(RETURNS_MAX);
        let words = asked[exchange::return_at(0)..].iter().take(returns);
        for word in words {
            if !self.receive.remove(&(*word as u16)) {
                break;
            }
        }
        for index in 0..done[exchange::SENT] as usize {
            assert!(index < SENDS_MAX);
            self.transmit
                .remove(&(asked[exchange::send_at(index)] as u16));
        }
        let taken = done[exchange::TAKEN] as usize;
        assert!(taken <= TAKEN_MAX);
        for index in 0..taken {
            let number = done[exchange::taken_at(index)] as u16;
            assert!(self.transmit.insert(number), "{number} has two holders");
        }
        self.given(done);
    }

    /// Pieces received.
    fn given(&mut self, done: &[u32]) {
        let received = done[exchange::RECEIVED] as usize;
        assert!(received <= RECEIVED_MAX);
        for index in 0..received {
            let number = done[exchange::received_at(index)] as u16;
            assert!(self.receive.insert(number), "{number} has two holders");
        }
    }
}

fn random_words(world: &World, pid: Pid, holds: &Holds, rng: &mut Rng) {
    for _ in 0..1 + rng.below(80) {
        let small = [1, 3, 20, 100, 300][rng.below(5)];
        let word = match rng.below(4) {
            0 => rng.next() as u32,
            _ => rng.below(small) as u32 | (rng.below(16) as u32) << (12 + rng.below(8)),
        };
        world.set_words(pid, rng.below(WORDS), &[word]);
    }
    for (at, max) in [
        (exchange::SEND_COUNT, SENDS_MAX),
        (exchange::RETURN_COUNT, RETURNS_MAX),
        (exchange::SMALL_WANTED, 8),
        (exchange::RECEIVE_WANTED, 8),
        (exchange::ARM, 2),
        (exchange::WAKE_WANTED, 4),
    ] {
        if !rng.one_in(4) {
            world.set_words(pid, at, &[rng.below(max + 1) as u32]);
        }
    }
    // Often enough it says what makes sense.
    if !rng.one_in(4) {
        let held: Vec<u32> = holds.receive.iter().map(|&it| it.into()).collect();
        let count = held.len().min(RETURNS_MAX) * rng.below(2);
        world.set_words(pid, exchange::return_at(0), &held[..count]);
        world.set_words(pid, exchange::RETURN_COUNT, &[count as u32]);
    }
    if !rng.one_in(4) {
        let count = holds.transmit.len().min(SENDS_MAX) * rng.below(2);
        for (index, &buffer) in holds.transmit.iter().take(count).enumerate() {
            let len = 14 + rng.below(1500) as u32;
            world.set_words(pid, exchange::send_at(index), &[buffer.into(), len]);
        }
        world.set_words(pid, exchange::SEND_COUNT, &[count as u32]);
    }
}

/// Random words anywhere in the area, between any two calls and while its owner sleeps.
#[test]
fn whatever_is_written_no_buffer_is_held_twice_and_none_is_lost() {
    for seed in 0..8 {
        for (kind, mut world, filters) in all_kinds(Pace::ALL[seed as usize % 4], seed) {
            let mut rng = Rng::new(seed);
            let mut pid = world.owner(&filters);
            let mut holds = Holds::default();
            let mut counts = [0_u32; 3];
            for round in 0..2500_u16 {
                random_words(&world, pid, &holds, &mut rng);
                if rng.one_in(3) {
                    world.model.arrive(&incoming(round));
                }
                if rng.one_in(3) {
                    world.settle();
                }
                let sleeps = rng.one_in(3);
                if sleeps && rng.one_in(2) {
                    world.set_words(pid, exchange::ARM, &[7, 5]);
                }
                let asked = world.words(pid);
                if sleeps {
                    let slept = world.wait(pid, true).is_none() && world.event(pid).is_none();
                    holds.exchanged(&asked, &world.words(pid));
                    if slept {
                        random_words(&world, pid, &holds, &mut rng);
                        world.set_words(pid, exchange::RECEIVED, &[0]);
                        world.model.arrive(&incoming(round));
                        world.idle();
                        holds.given(&world.words(pid));
                        // Whoever slept on is woken by something else.
                        world.table.expire(u64::MAX);
                        counts[0] += 1;
                    }
                } else {
                    let result = world.exchange_as_it_stands(pid);
                    holds.exchanged(&asked, &world.words(pid));
                    counts[1 + usize::from(result.is_err())] += 1;
                }
                world.model.take_sent();
                if rng.one_in(600) {
                    world.end(pid);
                    world.settle();
                    pid = world.owner(&filters);
                    holds = Holds::default();
                }
            }
            assert!(counts.iter().all(|count| *count > 10), "{kind}: {counts:?}");
            // All that it does not hold it can have, and the next owner all.
            for is_next in [false, true] {
                if is_next {
                    world.end(pid);
                    pid = world.owner(&filters);
                    holds = Holds::default();
                }
                let memory = world.map(pid, 0);
                let all = usize::from(memory.small.0 + memory.large.0);
                for _ in 0..all {
                    world.settle();
                    let ask = Ask {
                        small: 40,
                        large: 40,
                        ..Ask::default()
                    };
                    world.ask(pid, &ask);
                    let asked = world.words(pid);
                    assert_eq!(world.exchange_as_it_stands(pid), Ok(0), "{kind}");
                    holds.exchanged(&asked, &world.words(pid));
                }
                assert_eq!(holds.transmit.len(), all, "{kind} {is_next}");
            }
        }
    }
}

#[test]
fn no_two_statistics_of_an_endpoint_have_one_name_and_there_is_room_for_all() {
    for (kind, mut world, filters) in all_kinds(Pace::Doorbell, 1) {
        let pid = world.owner(&filters);
        let count = world.cards.statistics(
            0,
            pid,
            &world.table,
            (crate::endpoint::tests::HERE, u64::MAX),
        );
        let count = count.expect("attached");
        assert!(
            count < abi::nic::Counter::COUNT_MAX as u64,
            "{kind}: {count}"
        );
        let names: std::collections::BTreeSet<String> = (0..count)
            .map(|at| {
                let mut bytes = [0; abi::nic::Counter::SIZE];
                let from = crate::endpoint::tests::HERE + at * abi::nic::Counter::SIZE as u64;
                world.table.read(pid, from, &mut bytes).expect("its own");
                abi::nic::Counter::from_bytes(&bytes)
                    .expect("well formed")
                    .name
                    .to_string()
            })
            .collect();
        assert_eq!(names.len() as u64, count, "{kind}: {names:?}");
    }
}
