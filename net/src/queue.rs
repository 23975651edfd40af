//! A queue of slots. Each slot is in it at most once, so that its length is bounded by their number.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Slots in the order in which they were put in, each at most once.
#[derive(Default)]
pub(crate) struct Queue {
    order: VecDeque<usize>,
    queued: Vec<bool>,
}

impl Queue {
    /// Puts a slot at the end, unless it is queued already.
    pub fn push(&mut self, slot: usize) {
        if self.enter(slot) {
            self.order.push_back(slot);
        }
    }

    /// Puts a slot at the front, unless it is queued already.
    pub fn push_front(&mut self, slot: usize) {
        if self.enter(slot) {
            self.order.push_front(slot);
        }
    }

    fn enter(&mut self, slot: usize) -> bool {
        if self.queued.len() <= slot {
            self.queued.resize(slot + 1, false);
        }
        !core::mem::replace(&mut self.queued[slot], true)
    }

    /// Takes the slot at the front.
    pub fn pop(&mut self) -> Option<usize> {
        let slot = self.order.pop_front()?;
        self.queued[slot] = false;
        Some(slot)
    }

    /// The slot at the front.
    pub fn first(&self) -> Option<usize> {
        self.order.front().copied()
    }

    /// How many are queued.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    #[cfg(test)]
    pub fn contains(&self, slot: usize) -> bool {
        self.queued.get(slot) == Some(&true)
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_it_at_most_once_and_they_leave_in_order() {
        let mut queue = Queue::default();
        for slot in [3, 1, 3, 2, 1] {
            queue.push(slot);
        }
        assert_eq!(queue.pop(), Some(3));
        queue.push(3);
        queue.push_front(4);
        queue.push_front(3);
        let rest: Vec<usize> = core::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [4, 1, 2, 3]);
        assert!(queue.is_empty() && queue.pop().is_none());
    }
}
