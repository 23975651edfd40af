//! Which sockets smoltcp has to be asked about, so that nobody looks at the others.
//!
//! A socket has something to do when a frame arrived for it, when its program did
//! something with it, when its time has come, and when the neighbour answered that it
//! waited for. The first two are told by [`Agenda::touch`]; after every turn of a socket
//! smoltcp says what it waits for next, see [`Next`].

use crate::deadlines::Deadlines;
use crate::queue::Queue;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// What a socket waits for after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame, or its program.
    Nothing,
    /// Then.
    Time(u64),
    /// It has more to send.
    Turn,
    /// The card is full.
    Room,
    /// The station of its next hop; it tries again then.
    Neighbor(u64),
}

impl Next {
    /// It, or sooner if there is something to do at that time.
    pub fn or_at(self, at: u64) -> Self {
        match self {
            Next::Nothing => Next::Time(at),
            Next::Time(later) => Next::Time(later.min(at)),
            next => next,
        }
    }
}

/// The sockets that have something to do, now or at some time. Sockets are named by the slots of whoever has them.
#[derive(Default)]
pub(crate) struct Agenda {
    /// In the order of their turns.
    work: Queue,
    /// When smoltcp wants to be asked again.
    deadlines: Deadlines,
    /// Slots by the neighbour they wait for, and the other way round.
    waiting: BTreeSet<(Ipv4Addr, usize)>,
    neighbors: BTreeMap<usize, Ipv4Addr>,
}

impl Agenda {
    /// Something was done with a socket.
    pub fn touch(&mut self, slot: usize) {
        self.work.push(slot);
    }

    /// The time has come for some.
    pub fn advance(&mut self, now: u64) {
        while let Some(slot) = self.deadlines.due(now) {
            self.deadlines.clear(slot);
            self.work.push(slot);
        }
    }

    /// A neighbour was heard of.
    pub fn heard(&mut self, neighbor: Ipv4Addr) {
        let first = (neighbor, 0);
        while let Some(&(address, slot)) = self.waiting.range(first..).next()
            && address == neighbor
        {
            self.wait_no_more(slot);
            self.work.push(slot);
        }
    }

    /// The sockets that wait for a neighbour.
    #[cold]
    pub fn waiting_for(&self, neighbor: Ipv4Addr) -> Vec<usize> {
        let all = (neighbor, 0)..=(neighbor, usize::MAX);
        self.waiting.range(all).map(|&(_, slot)| slot).collect()
    }

    /// Whose turn it is. The slot may be vacant.
    pub fn next(&mut self) -> Option<usize> {
        self.work.pop()
    }

    /// Takes note of what a socket waits for after its turn. `neighbor` is whom it sends
    /// to. The socket waits for that one until it is heard of: other turns meanwhile do not tell.
    pub fn note(&mut self, slot: usize, next: Next, neighbor: Option<Ipv4Addr>) {
        match next {
            Next::Nothing => self.deadlines.clear(slot),
            Next::Time(at) => self.deadlines.set(slot, at),
            Next::Turn => self.work.push(slot),
            Next::Room => self.work.push_front(slot),
            Next::Neighbor(again) => {
                self.deadlines.set(slot, again);
                self.wait_no_more(slot);
                if let Some(neighbor) = neighbor {
                    self.waiting.insert((neighbor, slot));
                    self.neighbors.insert(slot, neighbor);
                }
            }
        }
    }

    /// A socket is gone, or over.
    pub fn forget(&mut self, slot: usize) {
        self.deadlines.clear(slot);
        self.wait_no_more(slot);
    }

    fn wait_no_more(&mut self, slot: usize) {
        if !self.neighbors.is_empty()
            && let Some(neighbor) = self.neighbors.remove(&slot)
        {
            self.waiting.remove(&(neighbor, slot));
        }
    }

    /// When a socket is looked at, at the latest; 0: as soon as there is room.
    #[cfg(test)]
    pub fn looks_at(&self, slot: usize) -> Option<u64> {
        match self.work.contains(slot) {
            true => Some(0),
            false => self.deadlines.get(slot),
        }
    }

    /// Whether a socket waits for a neighbour.
    #[cfg(test)]
    pub fn waits(&self, slot: usize) -> bool {
        self.neighbors.contains_key(&slot)
    }

    /// The sockets that wait for a time or a neighbour.
    #[cfg(test)]
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        let neighbors = self.neighbors.keys().copied();
        assert_eq!(self.waiting.len(), self.neighbors.len());
        self.deadlines
            .iter()
            .map(|&(_, slot)| slot)
            .chain(neighbors)
    }

    /// Whether no socket waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.work.is_empty()
    }

    /// When the time of the next one comes.
    pub fn deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_waits_for_a_neighbor_is_woken_whatever_happened_meanwhile() {
        let (one, other) = (Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(10, 0, 2, 4));
        let mut agenda = Agenda::default();
        agenda.note(1, Next::Neighbor(100), Some(one));
        agenda.note(2, Next::Neighbor(100), Some(other));
        agenda.touch(1);
        assert_eq!(agenda.next(), Some(1));
        agenda.note(1, Next::Time(100), None);
        agenda.heard(one);
        assert_eq!((agenda.next(), agenda.next()), (Some(1), None));
        agenda.heard(one);
        assert!(agenda.is_idle());
        agenda.forget(2);
        agenda.heard(other);
        assert!(agenda.is_idle() && agenda.deadline() == Some(100));
    }

    #[test]
    fn turns_go_round_and_the_card_resumes_where_it_was_full() {
        let mut agenda = Agenda::default();
        for slot in [1, 2, 3] {
            agenda.touch(slot);
        }
        assert_eq!(agenda.next(), Some(1));
        agenda.note(1, Next::Turn, None);
        assert_eq!(agenda.next(), Some(2));
        agenda.note(2, Next::Room, None);
        let rest: alloc::vec::Vec<usize> = core::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(rest, [2, 3, 1]);
        agenda.note(3, Next::Time(50), None);
        agenda.advance(49);
        assert!(agenda.is_idle());
        agenda.advance(50);
        assert_eq!((agenda.next(), agenda.deadline()), (Some(3), None));
    }
}
