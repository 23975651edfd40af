//! All interleavings of programs, kernel and card, as far as it matters who hears of a frame.
//!
//! The states of a small world are gone through from the first one on, each once; what the real
//! [`Wake`] does to the world it does through [`Ring`]. Each property is looked at in each state, and for
//! each there are planted bugs, in the world or around the `Wake`, that the exploration must find.

use super::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Frames in the card's ring, and in a tenant's queue, at the most.
const RING: usize = 2;
const QUEUE: usize = 1;

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Does {
    /// It runs, or could.
    Awake,
    /// It sleeps, and expects frames with the wake-up.
    Expects,
    /// It sleeps, and does not.
    Sleeps,
}

/// An owner of the card, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    does: Does,
    /// It has asked for a notification, as who does not exchange with a wait.
    wants_notice: bool,
    /// Frames that are its own already. Only of a part of a card.
    queue: usize,
}

/// Who has the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Processor {
    Owner(usize),
    Another,
    /// The kernel, which looks all the time; interrupts wait.
    Watches,
    Halted,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    wake: Wake,
    processor: Processor,
    owners: Vec<Owner>,
    /// Whose the frames in the ring are.
    ring: Vec<usize>,
    /// The card interrupts for the next frame; its interrupt is under way.
    armed: bool,
    pending: bool,
    /// The timer will have the card armed.
    due: bool,
    /// Tenants that went to sleep with frames.
    owed: BTreeSet<usize>,
    /// The property that does not hold.
    broken: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The driver arms the card and does not look again.
    ArmsWithoutLook,
    /// The kernel halts and has not armed the card.
    HaltsUnarmed,
    /// An owner goes to sleep and the wake-up does not hear of it.
    SleepIsNotTold,
    /// The listener stays the card when the kernel silences it.
    SilenceLeavesListener,
    /// The listener stays the card after its interrupt.
    InterruptLeavesListener,
    /// A card is taken for armed though not all its frames were passed on.
    FloodIsForgotten,
    /// What a tenant has when it goes to sleep is nobody's concern.
    QueueIsForgotten,
    /// Frames are given to who is awake.
    GivesToAwake,
    /// The card is not silenced.
    SilenceDoesNothing,
}

/// What is not decided by the state: a frame that comes between two steps of the driver, and whether
/// the kernel has had enough of a flood.
#[derive(Clone, Copy)]
struct Chance {
    comes: Option<usize>,
    is_flood: bool,
}

/// The world while the kernel does something.
struct World<'a> {
    state: &'a mut State,
    bug: Option<Bug>,
    chance: Chance,
    /// It was a matter of chance.
    is_chance: bool,
    /// Owners to be told.
    told: BTreeSet<usize>,
}

impl World<'_> {
    fn is_shared(&self) -> bool {
        self.state.owners.len() > 1
    }

    /// Takes a frame out of the ring.
    fn pass_on(&mut self) -> Option<usize> {
        if self.state.ring.is_empty() {
            return None;
        }
        let of = self.state.ring.remove(0);
        if self.is_shared() {
            let owner = &mut self.state.owners[of];
            owner.queue = QUEUE.min(owner.queue + 1);
        }
        Some(of)
    }

    /// Frames come into the exchange area of an owner.
    fn put_into_area(&mut self, index: usize) {
        if self.state.owners[index].does == Does::Awake {
            self.state.broken = Some(2);
        }
    }
}

impl Ring for World<'_> {
    fn is_awaited(&self) -> bool {
        let awaits = |owner: &Owner| owner.does == Does::Expects;
        self.is_shared() || self.bug == Some(Bug::GivesToAwake) || awaits(&self.state.owners[0])
    }

    fn has_received(&mut self) -> bool {
        // What interrupts is not looked at.
        let is_seen = !self.state.armed && !self.state.pending && !self.state.ring.is_empty();
        is_seen || !self.state.owed.is_empty()
    }

    fn silence(&mut self) {
        if self.bug != Some(Bug::SilenceDoesNothing) {
            (self.state.armed, self.state.pending) = (false, false);
        }
    }

    fn give(&mut self, arm: bool) -> Given {
        self.is_chance = true;
        let mut reached = core::mem::take(&mut self.state.owed);
        let mut is_drained = true;
        while let Some(of) = self.pass_on() {
            reached.insert(of);
            if self.chance.is_flood && self.is_shared() && !self.state.ring.is_empty() {
                is_drained = false;
                break;
            }
        }
        // The owner of a whole card gets what there is, and asks again.
        if arm && is_drained && (self.is_shared() || reached.is_empty()) {
            self.state.ring.extend(self.chance.comes);
            self.state.armed = true;
            if self.bug != Some(Bug::ArmsWithoutLook) {
                while let Some(of) = self.pass_on() {
                    reached.insert(of);
                }
            }
        }
        for &index in &reached {
            let owner = &mut self.state.owners[index];
            let wants_notice = core::mem::take(&mut owner.wants_notice);
            let expects = owner.does == Does::Expects || self.bug == Some(Bug::GivesToAwake);
            if !self.is_shared() || expects {
                self.state.owners[index].queue = 0;
                self.put_into_area(index);
                self.told.insert(index);
            } else if wants_notice {
                self.told.insert(index);
            }
        }
        let is_any = !reached.is_empty();
        let is_armed = match self.is_shared() {
            true => arm && (is_drained || self.bug == Some(Bug::FloodIsForgotten)),
            false => arm && !is_any,
        };
        Given { is_any, is_armed }
    }

    fn tell(&mut self) -> bool {
        let mut told = core::mem::take(&mut self.told);
        if !self.is_shared() {
            told.insert(0);
        }
        let mut woke = false;
        for index in told {
            let owner = &mut self.state.owners[index];
            woke |= owner.does != Does::Awake;
            owner.does = Does::Awake;
            owner.wants_notice = false;
        }
        woke
    }
}

impl State {
    fn first(owners: usize) -> Self {
        let owner = Owner {
            does: Does::Awake,
            wants_notice: false,
            queue: 0,
        };
        State {
            wake: match owners {
                1 => Wake::whole(),
                _ => Wake::shared(),
            },
            processor: Processor::Owner(0),
            owners: vec![owner; owners],
            ring: Vec::new(),
            armed: false,
            pending: false,
            due: false,
            owed: BTreeSet::new(),
            broken: None,
        }
    }

    fn is_shared(&self) -> bool {
        self.owners.len() > 1
    }

    /// Whether an owner sleeps who is to be told of a frame that is there.
    fn is_owed_a_frame(&self) -> bool {
        let mut owners = self.owners.iter().enumerate();
        owners.any(|(index, owner)| {
            let is_there = self.ring.contains(&index);
            match owner.does {
                Does::Awake => false,
                Does::Expects => is_there || owner.queue > 0,
                Does::Sleeps => is_there && owner.wants_notice,
            }
        })
    }

    /// Looks at the properties.
    fn check(&mut self) {
        let is_noticed = self.pending
            || match self.processor {
                Processor::Halted => self.due,
                _ => self.wake.is_kernels(),
            };
        if self.broken.is_some() {
            return;
        }
        if self.is_owed_a_frame() && !is_noticed {
            self.broken = Some(1);
        } else if self.processor == Processor::Watches && (self.armed || self.pending) {
            self.broken = Some(3);
        }
    }
}

/// What was explored.
#[derive(Default)]
struct Explored {
    states: usize,
    /// By what the listener changed, on a whole card.
    edges: BTreeSet<(&'static str, Listener, Listener)>,
    /// For a property that is broken, the shortest way there.
    broken: BTreeMap<u8, Vec<&'static str>>,
}

struct Explorer {
    bug: Option<Bug>,
    explored: Explored,
}

impl Explorer {
    /// Has the wake-up of a state do something, whatever chance does meanwhile.
    fn act<R>(
        &mut self,
        state: &State,
        name: &'static str,
        act: impl Fn(&mut Wake, &mut World) -> R,
    ) -> Vec<(R, State)> {
        let mut all = Vec::new();
        let comes = [None].into_iter().chain((0..state.owners.len()).map(Some));
        for (comes, is_flood) in comes.flat_map(|comes| [(comes, false), (comes, true)]) {
            let mut next = state.clone();
            let mut wake = next.wake;
            let mut world = World {
                state: &mut next,
                bug: self.bug,
                chance: Chance { comes, is_flood },
                is_chance: false,
                told: BTreeSet::new(),
            };
            let result = act(&mut wake, &mut world);
            let is_chance = world.is_chance;
            if self.bug.is_none() && wake != state.wake {
                let edge = (name, state.wake.listener, wake.listener);
                self.explored.edges.insert(edge);
            }
            next.wake = wake;
            all.push((result, next));
            if !is_chance {
                break;
            }
        }
        all
    }

    /// Goes on with whoever can run, or halts.
    fn resume(&mut self, state: State) -> Vec<State> {
        let awake = state.owners.iter().enumerate();
        let awake = awake.filter(|(_, owner)| owner.does == Does::Awake);
        let mut all: Vec<State> = awake
            .map(|(index, _)| State {
                processor: Processor::Owner(index),
                due: false,
                ..state.clone()
            })
            .collect();
        let is_idle = all.is_empty();
        all.push(State {
            processor: Processor::Another,
            due: false,
            ..state.clone()
        });
        if !is_idle {
            return all;
        }
        // It looks for a while, or does not.
        all.extend(self.halt(state.clone()));
        let silenced = self.act(&state, "silence", |wake, world| {
            let before = *wake;
            let is_awaited = wake.silence(world);
            if world.bug == Some(Bug::SilenceLeavesListener) && before.listener == Listener::Card {
                *wake = before;
            }
            is_awaited
        });
        for (is_awaited, mut next) in silenced {
            match is_awaited {
                true => {
                    next.processor = Processor::Watches;
                    all.push(next);
                }
                false => all.extend(self.halt(next)),
            }
        }
        all
    }

    /// Nobody can run: the kernel halts, if nothing more comes of it.
    fn halt(&mut self, state: State) -> Vec<State> {
        let armed = match self.bug {
            Some(Bug::HaltsUnarmed) => vec![state],
            _ => {
                let armed = self.act(&state, "arm", |wake, world| wake.arm(world));
                armed.into_iter().map(|(_, next)| next).collect()
            }
        };
        let mut all = Vec::new();
        for mut next in armed {
            let mut owners = next.owners.iter();
            if owners.any(|owner| owner.does == Does::Awake) {
                all.extend(self.resume(next));
            } else {
                next.processor = Processor::Halted;
                next.due = next.wake.is_kernels() && self.bug != Some(Bug::HaltsUnarmed);
                all.push(next);
            }
        }
        all
    }

    /// An owner looks for frames and takes them, if it `wants` some. Returns whether it got some.
    fn exchange(
        &mut self,
        state: &State,
        index: usize,
        wants: bool,
        arm: bool,
    ) -> Vec<(bool, State)> {
        let mut looked = vec![state.clone()];
        if state.is_shared() {
            let polled = self.act(state, "poll", |wake, world| wake.poll(world));
            looked = polled.into_iter().map(|(_, next)| next).collect();
        }
        for next in &mut looked {
            next.owners[index].wants_notice = false;
        }
        let mut all = Vec::new();
        for mut next in looked {
            if !wants {
                all.push((false, next));
                continue;
            }
            let got = match owners_frames(&mut next, index) {
                0 if arm => {
                    next.owners[index].wants_notice = true;
                    next.armed |= !next.is_shared();
                    false
                }
                got => got > 0,
            };
            all.push((got, next));
        }
        all
    }

    /// An owner goes to sleep.
    fn sleep(&mut self, mut state: State, index: usize, expects: bool) -> Vec<State> {
        let is_shared = state.is_shared();
        let owner = &mut state.owners[index];
        owner.does = match expects {
            true => Does::Expects,
            false => Does::Sleeps,
        };
        let has_some = owner.queue > 0;
        let name = match expects {
            true => "sleeps, expects",
            false => "sleeps",
        };
        if is_shared && !(expects && has_some) || self.bug == Some(Bug::SleepIsNotTold) {
            return self.resume(state);
        }
        if is_shared && self.bug != Some(Bug::QueueIsForgotten) {
            state.owed.insert(index);
        }
        let told = self.act(&state, name, |wake, _| wake.sleeps(expects));
        told.into_iter()
            .flat_map(|(_, next)| self.resume(next))
            .collect()
    }

    /// What can follow a state, and by what.
    fn next(&mut self, state: &State) -> Vec<(&'static str, State)> {
        let mut all = Vec::new();
        if state.ring.len() < RING {
            for of in 0..state.owners.len() {
                let mut next = state.clone();
                next.ring.push(of);
                if core::mem::take(&mut next.armed) {
                    next.pending = true;
                }
                all.push(("a frame comes", next));
            }
        }
        if state.pending && state.processor != Processor::Watches {
            let mut next = state.clone();
            (next.armed, next.pending) = (false, false);
            let interrupted = self.act(&next, "interrupt", |wake, world| {
                let before = *wake;
                wake.interrupt(world);
                if world.bug == Some(Bug::InterruptLeavesListener) {
                    *wake = before;
                }
            });
            for (_, next) in interrupted {
                all.extend(
                    self.after_trap(next)
                        .into_iter()
                        .map(|it| ("interrupt", it)),
                );
            }
        }
        for index in 0..state.owners.len() {
            if state.owners[index].does != Does::Awake && state.processor != Processor::Watches {
                let mut next = state.clone();
                next.owners[index].does = Does::Awake;
                all.extend(
                    self.after_trap(next)
                        .into_iter()
                        .map(|it| ("something else wakes", it)),
                );
            }
        }
        if state.processor != Processor::Watches && state.wake.is_kernels() {
            let armed = self.act(state, "arm", |wake, world| wake.arm(world));
            for (_, next) in armed {
                all.extend(
                    self.after_trap(next)
                        .into_iter()
                        .map(|it| ("the timer arms", it)),
                );
            }
        }
        match state.processor {
            Processor::Owner(index) => {
                all.extend(self.owner_does(state, index));
                let mut next = state.clone();
                next.processor = Processor::Another;
                all.push(("another runs", next));
            }
            Processor::Another => {
                let next = self.resume(state.clone());
                all.extend(next.into_iter().map(|next| ("the other sleeps", next)));
            }
            Processor::Watches => {
                for (woke, next) in self.act(state, "poll", |wake, world| wake.poll(world)) {
                    if woke {
                        all.extend(self.resume(next).into_iter().map(|it| ("poll", it)));
                    } else {
                        all.push(("poll", next));
                    }
                }
                let next = self.halt(state.clone());
                all.extend(
                    next.into_iter()
                        .map(|next| ("the kernel looks no more", next)),
                );
            }
            Processor::Halted => {
                let mut next = state.clone();
                (next.processor, next.due) = (Processor::Another, false);
                all.push(("another wakes", next));
            }
        }
        all
    }

    /// Who was interrupted goes on, if somebody was.
    fn after_trap(&mut self, state: State) -> Vec<State> {
        match state.processor {
            Processor::Halted => self.resume(state),
            _ => vec![state],
        }
    }

    fn owner_does(&mut self, state: &State, index: usize) -> Vec<(&'static str, State)> {
        let mut all = Vec::new();
        for arm in [false, true] {
            for (_, next) in self.exchange(state, index, true, arm) {
                all.push(("an owner exchanges", next));
            }
        }
        for (wants, expects) in [(true, true), (true, false), (false, true)] {
            for (got, next) in self.exchange(state, index, wants, false) {
                match got {
                    true => all.push(("an owner exchanges", next)),
                    false => {
                        let next = self.sleep(next, index, expects);
                        all.extend(
                            next.into_iter()
                                .map(|it| ("an owner exchanges and sleeps", it)),
                        );
                    }
                }
            }
        }
        let next = self.sleep(state.clone(), index, false);
        all.extend(next.into_iter().map(|next| ("an owner sleeps", next)));
        all
    }
}

/// Takes all frames that an owner can take; how many.
fn owners_frames(state: &mut State, index: usize) -> usize {
    match state.is_shared() {
        true => core::mem::take(&mut state.owners[index].queue),
        false => core::mem::take(&mut state.ring).len(),
    }
}

/// Goes through all states that so many owners of a card can come to.
fn explore(owners: usize, bug: Option<Bug>) -> Explored {
    let mut explorer = Explorer {
        bug,
        explored: Explored::default(),
    };
    let first = State::first(owners);
    let mut known: BTreeMap<State, Option<(State, &'static str)>> = BTreeMap::new();
    known.insert(first.clone(), None);
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        for (name, mut next) in explorer.next(&state) {
            next.check();
            if known.contains_key(&next) {
                continue;
            }
            known.insert(next.clone(), Some((state.clone(), name)));
            let Some(property) = next.broken else {
                open.push_back(next);
                continue;
            };
            let mut way = vec![name];
            let mut at = &state;
            while let Some((before, name)) = &known[at] {
                way.insert(0, name);
                at = before;
            }
            explorer.explored.broken.entry(property).or_insert(way);
        }
    }
    explorer.explored.states = known.len();
    explorer.explored
}

#[test]
fn nobody_sleeps_through_a_frame_and_nothing_is_written_or_interrupts_at_the_wrong_time() {
    for owners in [1, 2] {
        let explored = explore(owners, None);
        assert_eq!(explored.broken, BTreeMap::new(), "{owners} owners");
        assert!(explored.states > 50, "{}", explored.states);
    }
}

#[test]
fn the_exploration_finds_each_planted_bug() {
    let bugs = [
        (Bug::ArmsWithoutLook, 1, &[1, 2][..]),
        (Bug::HaltsUnarmed, 1, &[1, 2]),
        (Bug::SleepIsNotTold, 1, &[1, 2]),
        (Bug::SilenceLeavesListener, 1, &[1, 2]),
        (Bug::InterruptLeavesListener, 1, &[2]),
        (Bug::FloodIsForgotten, 1, &[2]),
        (Bug::QueueIsForgotten, 1, &[2]),
        (Bug::GivesToAwake, 2, &[1, 2]),
        (Bug::SilenceDoesNothing, 3, &[1, 2]),
    ];
    for (bug, property, owners) in bugs {
        for owners in owners {
            let broken = explore(*owners, Some(bug)).broken;
            let way = broken.get(&property);
            assert!(way.is_some(), "{bug:?} with {owners} owners: {broken:?}");
        }
    }
}

/// The picture at the head of `wake.rs`.
#[test]
fn the_listener_changes_as_it_is_drawn() {
    use Listener::{Card, Kernel, Owner};
    let whole = [
        ("arm", Kernel, Owner),
        ("arm", Kernel, Card),
        ("interrupt", Kernel, Owner),
        ("interrupt", Card, Owner),
        ("poll", Kernel, Owner),
        ("silence", Card, Kernel),
        ("sleeps", Kernel, Owner),
        ("sleeps", Card, Owner),
        ("sleeps, expects", Owner, Kernel),
        ("sleeps, expects", Card, Kernel),
    ];
    assert_eq!(explore(1, None).edges, BTreeSet::from(whole));
    let shared = [
        ("arm", Kernel, Card),
        ("interrupt", Card, Kernel),
        ("silence", Card, Kernel),
        ("sleeps, expects", Card, Kernel),
    ];
    assert_eq!(explore(2, None).edges, BTreeSet::from(shared));
}
