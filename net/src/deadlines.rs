//! The deadlines of slots, in a binary heap. Every slot has at most one entry, and its place in the heap
//! is known, so that the entry can be changed.
//!
//! A deadline changes with nearly every segment and is seldom reached. A change allocates no memory, and
//! it leaves no old entry behind that would wake the server.

use alloc::vec::Vec;

/// The place in [`Deadlines::places`] of a slot without an entry.
const NOWHERE: usize = usize::MAX;

/// At most one deadline for each slot, in nanoseconds.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Deadlines with their slots. No entry is later than its children, which are at twice its index
    /// plus 1 and plus 2.
    heap: Vec<(u64, usize)>,
    /// The index in the heap of each slot.
    places: Vec<usize>,
}

impl Deadlines {
    /// How many slots have a deadline.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest deadline and its slot.
    pub fn first(&self) -> Option<(u64, usize)> {
        self.heap.first().copied()
    }

    /// The slot with the earliest deadline, if that has come.
    pub fn due(&self, now: u64) -> Option<usize> {
        self.first()
            .filter(|&(at, _)| at <= now)
            .map(|(_, slot)| slot)
    }

    /// Sets the deadline of a slot. It replaces an earlier or later one.
    pub fn set(&mut self, slot: usize, at: u64) {
        if self.places.len() <= slot {
            self.places.resize(slot + 1, NOWHERE);
        }
        let index = match self.places[slot] {
            NOWHERE => {
                self.heap.push((at, slot));
                self.heap.len() - 1
            }
            index => index,
        };
        self.heap[index].0 = at;
        self.settle(index);
    }

    /// Sets the deadline of a slot, unless it has an earlier one.
    #[inline(never)]
    pub fn hasten(&mut self, slot: usize, at: u64) {
        let index = self.places.get(slot).filter(|&&index| index != NOWHERE);
        let earlier = index.is_some_and(|&index| self.heap[index].0 <= at);
        if !earlier {
            self.set(slot, at);
        }
    }

    /// Removes the deadline of a slot.
    pub fn clear(&mut self, slot: usize) {
        let Some(place) = self.places.get_mut(slot) else {
            return;
        };
        let index = core::mem::replace(place, NOWHERE);
        if index == NOWHERE {
            return;
        }
        self.heap.swap_remove(index);
        if index < self.heap.len() {
            self.settle(index);
        }
    }

    /// All deadlines with their slots, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &(u64, usize)> {
        self.heap.iter()
    }

    #[cfg(test)]
    pub fn get(&self, slot: usize) -> Option<u64> {
        let entry = self.heap.iter().find(|(_, other)| *other == slot);
        entry.map(|&(at, _)| at)
    }

    /// Moves the entry at `index`, the only one that may be out of order, to its place.
    fn settle(&mut self, mut index: usize) {
        let entry = self.heap[index];
        while let Some(parent) = index.checked_sub(1).map(|index| index / 2)
            && entry < self.heap[parent]
        {
            self.put(index, self.heap[parent]);
            index = parent;
        }
        loop {
            let mut child = 2 * index + 1;
            let right = self.heap.get(child + 1);
            if right.is_some_and(|right| *right < self.heap[child]) {
                child += 1;
            }
            match self.heap.get(child) {
                Some(&next) if next < entry => self.put(index, next),
                _ => break,
            }
            index = child;
        }
        self.put(index, entry);
    }

    fn put(&mut self, index: usize, entry: (u64, usize)) {
        self.heap[index] = entry;
        self.places[entry.1] = index;
    }
}

/// The earlier of two times, of which each may be missing.
pub(crate) fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A duration in nanoseconds, `u64::MAX` at most.
pub(crate) fn nanoseconds(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::Chance;
    use alloc::collections::{BTreeMap, BTreeSet};

    #[test]
    fn it_agrees_with_a_sorted_set() {
        let mut chance = Chance(1);
        let mut deadlines = Deadlines::default();
        let mut all: BTreeMap<usize, u64> = BTreeMap::new();
        for _ in 0..100_000 {
            let slot = chance.below(40) as usize;
            match chance.below(3) {
                0 => {
                    deadlines.clear(slot);
                    all.remove(&slot);
                }
                _ => {
                    let at = chance.below(50);
                    deadlines.set(slot, at);
                    all.insert(slot, at);
                }
            }
            let sorted: BTreeSet<(u64, usize)> = all.iter().map(|(&s, &at)| (at, s)).collect();
            assert_eq!(deadlines.first(), sorted.first().copied());
            assert_eq!(deadlines.len(), all.len());
        }
    }

    #[test]
    fn only_what_has_come_is_due() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.due(u64::MAX), None);
        deadlines.set(7, 100);
        deadlines.clear(3);
        assert_eq!((deadlines.due(99), deadlines.due(100)), (None, Some(7)));
        deadlines.set(7, 200);
        assert_eq!((deadlines.due(199), deadlines.due(200)), (None, Some(7)));
    }

    #[test]
    fn what_hastens_puts_nothing_off() {
        let mut deadlines = Deadlines::default();
        for (at, first) in [(50, 50), (70, 50), (50, 50), (40, 40), (60, 40)] {
            deadlines.hasten(3, at);
            assert_eq!(
                (deadlines.get(3), deadlines.first()),
                (Some(first), Some((first, 3)))
            );
        }
    }
}
