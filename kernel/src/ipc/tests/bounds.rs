//! Bounds of calls and answers, what a wait takes and tells of, and who wants the processor.

use super::*;
use crate::process::{ControlWords, FpuState};
use abi::ipc::LEASES_MAX;
use abi::limits::Activity;

#[test]
fn a_request_and_an_answer_may_be_as_long_as_a_message_and_no_longer() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    let most = MESSAGE_MAX as u64;
    let mut call = call_to(server, most);
    // There is room for more than a message.
    call.answer = (ANSWER, u64::MAX);
    for (len, refused) in [(most, false), (most + 1, true), (u64::MAX, true)] {
        world.wait(server, wait::MESSAGE);
        world.table.call(client, &call, 0).unwrap();
        let message = world.message(server);
        assert_eq!(message.request().len(), MESSAGE_MAX);
        let answered = world.table.reply(server, message.token, 0, (ANSWER, len));
        if refused {
            assert_eq!(answered, Err(Error::TooLong));
            assert_eq!(world.result(client), Err(Error::TooLong));
        } else {
            assert_eq!(answered, Ok(()));
            assert_eq!(world.result(client), Ok(most));
        }
    }
}

#[test]
fn a_call_lends_three_times_at_the_most() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    for (count, refused) in [
        (0, false),
        (LEASES_MAX, false),
        (LEASES_MAX + 1, true),
        (LEASES_MAX + 2, true),
        (u32::MAX as usize, true),
    ] {
        let mut call = call_to(server, 0);
        call.lease_count = count as u32;
        call.leases = [call.leases[0]; LEASES_MAX];
        let called = world.table.call(client, &call, 0);
        if refused {
            assert_eq!(called, Err(Error::InvalidArgument), "{count}");
            continue;
        }
        assert_eq!(called, Ok(()), "{count}");
        let Some(Received::Message(message)) = world.wait(server, wait::MESSAGE) else {
            panic!("a call came");
        };
        for lease in 0..LEASES_MAX + 1 {
            let range = (LENT, 1);
            let copied = world
                .table
                .lease_copy(server, message.token, (lease, 0), range, false);
            let expected = if lease < count {
                Ok(1)
            } else {
                Err(Error::InvalidArgument)
            };
            assert_eq!(copied, expected, "lease {lease} of {count}");
        }
        world.answer(server, message.token, b"").unwrap();
    }
}

#[test]
fn a_caller_that_has_ended_and_is_not_forgotten_is_dead() {
    let mut world = World::new();
    let (server, parent) = (world.add(None), world.add(None));
    let client = world.add(Some(parent));
    world.wait(server, wait::MESSAGE);
    world.call(client, server, b"").unwrap();
    let token = world.message(server).token;
    world.table.end(client, Exit::Killed).unwrap();
    assert!(world.table.get(client).is_some(), "its parent was not told");
    assert_eq!(world.answer(server, token, b""), Err(Error::PeerDied));
}

/// What is there for a process, or what it waits for: a death, a notification, a message.
type Kinds = [bool; 3];

fn mask([death, notification, message]: Kinds) -> u32 {
    let bit = |is_there, bit| if is_there { bit } else { 0 };
    bit(death, wait::DEATH) | bit(notification, wait::NIC_RECEIVE) | bit(message, wait::MESSAGE)
}

fn all_kinds() -> impl Iterator<Item = Kinds> {
    (0..8).map(|bits| [0, 1, 2].map(|bit| bits >> bit & 1 == 1))
}

#[test]
fn a_wait_takes_what_is_asked_for_and_tells_of_nothing_else() {
    for there in all_kinds() {
        for wanted in all_kinds() {
            let mut world = World::new();
            let (pid, client) = (world.add(None), world.add(None));
            let child = world.add(Some(pid));
            if there[0] {
                world.table.end(child, Exit::Killed).unwrap();
            }
            if there[1] {
                world.table.notify(pid, wait::NIC_RECEIVE, false).unwrap();
            }
            if there[2] {
                world.call(client, pid, b"").unwrap();
            }
            // It is never told of this one.
            world.table.notify(pid, wait::NIC_LINK, false).unwrap();
            let mut left = [0, 1, 2].map(|kind| there[kind] && wanted[kind]);
            while left != [false; 3] {
                let more = world.table.wait(pid, mask(wanted), 0, EVENT, 0);
                let kind = match world.event(pid) {
                    Received::Death(dead, _) => {
                        assert_eq!(dead, child);
                        0
                    }
                    Received::Notification(bits) => {
                        assert_eq!(bits, wait::NIC_RECEIVE);
                        1
                    }
                    Received::Message(message) => {
                        assert_eq!(message.sender, client);
                        2
                    }
                    other => panic!("{other:?}"),
                };
                assert!(left[kind], "{there:?}, {wanted:?}: {kind}");
                // Deaths come first.
                assert!(kind == 0 || !left[0]);
                left[kind] = false;
                let is_more = left != [false; 3];
                assert_eq!(more, Ok(Some(is_more)), "{there:?}, {wanted:?}");
            }
            let nothing = world.table.wait(pid, mask(wanted), 0, EVENT, 0);
            assert_eq!(nothing, Ok(Some(false)));
            assert_eq!(world.event(pid), Received::TimedOut);
            // What was not asked for is still there.
            let rest = [0, 1, 2].map(|kind| there[kind] && !wanted[kind]);
            for _ in rest.iter().filter(|&&is_there| is_there) {
                world.table.wait(pid, mask(rest), 0, EVENT, 0).unwrap();
                assert_ne!(
                    world.event(pid),
                    Received::TimedOut,
                    "{there:?}, {wanted:?}"
                );
            }
        }
    }
}

#[test]
fn a_wait_says_whether_more_have_died() {
    let mut world = World::new();
    let (parent, watcher) = (world.add(None), world.add(None));
    for _ in 0..3 {
        let child = world.add(Some(parent));
        world.table.watch(watcher, child).unwrap();
        world.table.end(child, Exit::Killed).unwrap();
    }
    for pid in [parent, watcher] {
        for is_more in [true, true, false] {
            let more = world.table.wait(pid, wait::DEATH, 0, EVENT, 0);
            assert_eq!(more, Ok(Some(is_more)));
        }
    }
}

#[test]
fn who_has_slept_for_a_while_comes_before_who_computes() {
    for (slept, is_urgent) in [(MILLISECOND / 2, false), (2 * MILLISECOND, true)] {
        let mut world = World::new();
        let parent = world.add(None);
        assert_eq!(world.wait(parent, wait::USER), None);
        let (sleeps, computes) = (world.add(Some(parent)), world.add(Some(parent)));
        while world.table.schedule(true) != Some(sleeps) {}
        assert_eq!(world.wait(sleeps, wait::USER), None);
        while world.table.schedule(true) != Some(computes) {}
        world.table.set_now(slept);
        world.table.notify(sleeps, 1 << 8, false).unwrap();
        let next = world.table.schedule(false);
        assert_eq!(next == Some(sleeps), is_urgent);
        // Nobody has waited for so long that it has a turn all the same, which would be short.
        assert_eq!(world.table.slice_ms(10), 10);
    }
}

#[test]
fn who_wants_the_processor_is_known() {
    let mut world = World::new();
    let state = |world: &World| {
        let table = &world.table;
        (table.current(), table.has_ready(), table.has_others_ready())
    };
    assert_eq!(state(&world), (None, false, false));
    let (a, b) = (world.add(None), world.add(None));
    assert_eq!(state(&world), (None, true, true));
    world.table.schedule(false);
    assert_eq!(state(&world), (Some(a), true, true));
    world.table.schedule(true);
    assert_eq!(state(&world), (Some(b), true, true));
    world.table.end(a, Exit::Killed).unwrap();
    assert_eq!(state(&world), (Some(b), true, false));
    let is_waiting = |world: &World| world.table.get(b).unwrap().is_waiting();
    assert!(!is_waiting(&world));
    assert_eq!(world.wait(b, wait::USER), None);
    assert!(is_waiting(&world));
    assert_eq!(state(&world), (Some(b), false, false));
    // Woken before another was chosen, it goes on, and does not wait for itself.
    world.table.notify(b, 1 << 8, false).unwrap();
    assert_eq!(state(&world), (Some(b), true, false));
    assert_eq!(world.wait(b, wait::USER), None);
    world.table.schedule(false);
    assert_eq!(state(&world), (None, false, false));
    world.table.notify(b, 1 << 8, false).unwrap();
    assert_eq!(state(&world), (None, true, true));
}

#[test]
fn what_each_process_does_can_be_asked() {
    let mut world = World::new();
    let parent = world.add(None);
    let [calls, ends, is_ready] = [(); 3].map(|()| world.add(Some(parent)));
    let server = world.add(None);
    assert_eq!(world.wait(server, wait::USER), None);
    world.call(calls, server, b"").unwrap();
    world.table.end(ends, Exit::Killed).unwrap();
    while world.table.schedule(true) != Some(parent) {}
    let infos: Vec<_> = world.table.infos(|pid| pid.slot() as u64).collect();
    let said = infos
        .iter()
        .map(|info| (info.pid, info.parent, info.activity));
    let expected = [
        (parent, parent, Activity::Running),
        (calls, parent, Activity::Calling),
        (ends, parent, Activity::Ended),
        (is_ready, parent, Activity::Ready),
        (server, server, Activity::Waiting),
    ];
    assert!(said.eq(expected), "{infos:?}");
    for (slot, info) in infos.into_iter().enumerate() {
        assert_eq!((info.cpu_ns, info.name.as_str()), (slot as u64, "test"));
        assert_eq!(info.used, world.table.used(info.pid));
        let left = info.limits.minus(&info.given).minus(&info.used);
        assert_eq!(left, world.table.left(info.pid));
    }
}

#[test]
fn vectors_are_all_kept_by_an_interrupt_and_their_control_words_by_a_call() {
    let mut world = World::new();
    let pid = world.add(None);
    let vectors = &mut world.table.get_mut(pid).unwrap().vectors;
    let new = vectors.state().map(FpuState::control_words);
    assert_eq!(new, Ok(ControlWords::NEW));
    let words = ControlWords {
        x87: 0x1234,
        mxcsr: 0x0567_89ab,
    };
    let mut state = FpuState::CLEAR;
    state.set_control_words(words);
    assert_eq!(state.control_words(), words);
    vectors.clear(words);
    assert_eq!(vectors.state().map(drop), Err(words));
    vectors.keep(&state);
    vectors.keep(&state);
    assert_eq!(vectors.state().map(FpuState::control_words), Ok(words));
}

#[test]
fn who_was_told_of_one_death_is_not_told_of_others() {
    let mut world = World::new();
    let (watcher, other) = (world.add(None), world.add(None));
    let child = world.add(Some(watcher));
    world.table.end(child, Exit::Killed).unwrap();
    let told = world.wait(watcher, wait::DEATH);
    assert_eq!(told, Some(Received::Death(child, Exit::Killed)));
    world.table.end(other, Exit::Killed).unwrap();
    assert_eq!(world.wait(watcher, wait::DEATH), None);
}

#[test]
fn a_number_that_is_free_again_has_the_next_generation_and_nobody_runs_under_it() {
    let mut world = World::new();
    let mut generations = Vec::new();
    for _ in 0..4 {
        let pid = world.add(None);
        generations.push(pid.generation());
        assert_eq!(world.table.schedule(false), Some(pid));
        world.table.end(pid, Exit::Killed).unwrap();
        assert_eq!(world.table.current(), None);
        assert!(world.table.get(pid).is_none());
    }
    let first = generations[0];
    assert_eq!(generations, [first, first + 1, first + 2, first + 3]);
}
