//! The connections that have something to do, now or later, so that nobody looks at the others.
//!
//! A connection has something to do when a segment arrived for it, when its program used it, when a
//! time-out has come, or when the station of its next hop has become known. [`Schedule::touch`] tells
//! of the first two. After each turn of a connection, smoltcp says what the connection waits for next
//! ([`WaitsFor`]).

use crate::deadlines::Deadlines;
use crate::queue::Queue;
use abi::socket::Ip;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What a connection waits for after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A segment, or its program.
    Nothing,
    /// This time, in nanoseconds.
    Time(u64),
    /// Its next turn: it has more to send.
    Turn,
    /// Room at the card.
    Room,
    /// The station of its next hop. It tries again at this time at the latest.
    Neighbor(u64),
}

impl WaitsFor {
    /// The same, but no longer than until `at`.
    pub fn or_at(self, at: u64) -> Self {
        match self {
            WaitsFor::Nothing => WaitsFor::Time(at),
            WaitsFor::Time(later) => WaitsFor::Time(later.min(at)),
            next => next,
        }
    }
}

/// The connections that have something to do, each by its slot in the table of connections.
#[derive(Default)]
pub(crate) struct Schedule {
    /// Those that have something to do now, in the order of their turns.
    turns: Queue,
    /// Those that have something to do at a certain time.
    deadlines: Deadlines,
    /// Those that wait for the station of a neighbour, by neighbour and by slot.
    waiting: BTreeSet<(Ip, usize)>,
    neighbors: BTreeMap<usize, Ip>,
}

impl Schedule {
    /// A segment arrived for a connection, or its program used it.
    pub fn touch(&mut self, slot: usize) {
        self.turns.push(slot);
    }

    /// Gives a turn to the connections whose time has come.
    pub fn advance(&mut self, now: u64) {
        while let Some(slot) = self.deadlines.due(now) {
            self.deadlines.clear(slot);
            self.turns.push(slot);
        }
    }

    /// Gives a turn to the connections that wait for a neighbour, whose station is known now.
    pub fn neighbor_resolved(&mut self, neighbor: Ip) {
        let first = (neighbor, 0);
        while let Some(&(address, slot)) = self.waiting.range(first..).next()
            && address == neighbor
        {
            self.stop_waiting(slot);
            self.turns.push(slot);
        }
    }

    /// The connections that wait for a neighbour.
    #[cold]
    pub fn waiting_for(&self, neighbor: Ip) -> Vec<usize> {
        let all = (neighbor, 0)..=(neighbor, usize::MAX);
        self.waiting.range(all).map(|&(_, slot)| slot).collect()
    }

    /// Takes the connection whose turn it is. The slot may be vacant.
    pub fn next(&mut self) -> Option<usize> {
        self.turns.pop()
    }

    /// Notes what a connection waits for after its turn. `neighbor` is its next hop. A connection
    /// waits for a neighbour until that is resolved, whatever it waits for after later turns.
    pub fn turn_ended(&mut self, slot: usize, next: WaitsFor, neighbor: Option<Ip>) {
        match next {
            WaitsFor::Nothing => self.deadlines.clear(slot),
            WaitsFor::Time(at) => self.deadlines.set(slot, at),
            WaitsFor::Turn => self.turns.push(slot),
            WaitsFor::Room => self.turns.push_front(slot),
            WaitsFor::Neighbor(again) => {
                self.deadlines.set(slot, again);
                self.stop_waiting(slot);
                if let Some(neighbor) = neighbor {
                    self.waiting.insert((neighbor, slot));
                    self.neighbors.insert(slot, neighbor);
                }
            }
        }
    }

    /// Forgets a connection that is over.
    pub fn forget(&mut self, slot: usize) {
        self.deadlines.clear(slot);
        self.stop_waiting(slot);
    }

    fn stop_waiting(&mut self, slot: usize) {
        if !self.neighbors.is_empty()
            && let Some(neighbor) = self.neighbors.remove(&slot)
        {
            self.waiting.remove(&(neighbor, slot));
        }
    }

    /// The latest time at which a connection has its next turn; 0 if its turn comes as soon as there
    /// is room.
    #[cfg(test)]
    pub fn looks_at(&self, slot: usize) -> Option<u64> {
        match self.turns.contains(slot) {
            true => Some(0),
            false => self.deadlines.get(slot),
        }
    }

    /// Whether a connection waits for a neighbour.
    #[cfg(test)]
    pub fn waits(&self, slot: usize) -> bool {
        self.neighbors.contains_key(&slot)
    }

    /// The connections that wait for a time or a neighbour.
    #[cfg(test)]
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        let neighbors = self.neighbors.keys().copied();
        assert_eq!(self.waiting.len(), self.neighbors.len());
        self.deadlines
            .iter()
            .map(|&(_, slot)| slot)
            .chain(neighbors)
    }

    /// Whether no connection waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.turns.is_empty()
    }

    /// When the next connection has something to do.
    pub fn deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_waits_for_a_neighbor_is_woken_whatever_happened_meanwhile() {
        let [one, other] = [3, 4].map(|n| Ip::v4(core::net::Ipv4Addr::new(10, 0, 2, n)));
        let mut schedule = Schedule::default();
        schedule.turn_ended(1, WaitsFor::Neighbor(100), Some(one));
        schedule.turn_ended(2, WaitsFor::Neighbor(100), Some(other));
        schedule.touch(1);
        assert_eq!(schedule.next(), Some(1));
        schedule.turn_ended(1, WaitsFor::Time(100), None);
        schedule.neighbor_resolved(one);
        assert_eq!((schedule.next(), schedule.next()), (Some(1), None));
        schedule.neighbor_resolved(one);
        assert!(schedule.is_idle());
        schedule.forget(2);
        schedule.neighbor_resolved(other);
        assert!(schedule.is_idle() && schedule.deadline() == Some(100));
    }

    #[test]
    fn turns_go_round_and_the_card_resumes_where_it_was_full() {
        let mut schedule = Schedule::default();
        for slot in [1, 2, 3] {
            schedule.touch(slot);
        }
        assert_eq!(schedule.next(), Some(1));
        schedule.turn_ended(1, WaitsFor::Turn, None);
        assert_eq!(schedule.next(), Some(2));
        schedule.turn_ended(2, WaitsFor::Room, None);
        let rest: alloc::vec::Vec<usize> = core::iter::from_fn(|| schedule.next()).collect();
        assert_eq!(rest, [2, 3, 1]);
        schedule.turn_ended(3, WaitsFor::Time(50), None);
        schedule.advance(49);
        assert!(schedule.is_idle());
        schedule.advance(50);
        assert_eq!((schedule.next(), schedule.deadline()), (Some(3), None));
    }
}
