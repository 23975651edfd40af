//! As [`crate::stack::tcp`]'s: whether the books agree with the sockets.

use super::Udp;
use crate::stack::engine::{Engine, Next};
use crate::stack::neighbors::Neighbors;

impl Udp {
    pub fn audit(&mut self, engine: &mut Engine, neighbors: &Neighbors, now: u64) {
        assert_eq!(self.by_port.len(), self.slots.len());
        let mut lingering = 0;
        for (slot, port) in &mut self.slots {
            assert_eq!(self.by_port.get(&port.port), Some(&slot));
            assert_eq!(self.waiting.contains(&slot), !port.waiting.is_empty());
            let looks_at = self.agenda.looks_at(slot).unwrap_or(u64::MAX);
            if let Next::Turn = engine.wants(port.solo.set(), now) {
                assert!(looks_at <= now, "{slot}: {looks_at}, not now {now}");
            }
            if port.lingers {
                lingering += 1;
                let empty = port.solo.get().send_queue() == 0 && port.waiting.is_empty();
                assert!(!empty || looks_at == 0, "{slot} is over");
            }
        }
        assert_eq!(self.lingering.len(), lingering);
        assert!(self.agenda.waiting().all(|slot| self.slots.contains(slot)));
        if let Some(slot) = self.fragmenting {
            assert!(self.slots[slot].solo.get().send_queue() > 0);
        }
        if self.is_idle() {
            // Then all that could leave has left.
            assert_eq!(self.fragmenting, None);
            for (slot, port) in &self.slots {
                let could = port.waiting.iter().any(|o| o.could_leave(now, neighbors));
                assert!(!could, "{slot} has a datagram that could leave");
            }
        }
    }
}
