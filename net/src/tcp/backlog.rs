//! The table of peers that have not acknowledged our SYN yet.

use crate::deadlines::Deadlines;
use crate::link::ethernet::Station;
use crate::tcp::handshake::Handshake;
use crate::tcp::tcb::Challenges;
use slab::Slab;

/// A peer that has not acknowledged our SYN yet.
pub(super) struct HalfOpen {
    pub handshake: Handshake,
    pub station: Station,
    /// When its SYN came.
    pub since: u64,
    /// How often it was answered.
    pub sent: u8,
    /// Its listener is gone.
    pub is_refused: bool,
    pub challenges: Challenges,
}

/// All of them.
#[derive(Default)]
pub(super) struct HalfOpens {
    pub slots: Slab<HalfOpen>,
    /// When they are answered again, or forgotten.
    pub due: Deadlines,
    /// A cookie that was sent may come back until then.
    pub cookies_until: u64,
}

impl HalfOpens {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| at)
    }

    /// The ends of those that somebody listens for.
    #[cfg(test)]
    pub fn audit(&self) -> impl Iterator<Item = (usize, crate::names::Tuple, bool)> {
        assert_eq!(self.slots.len(), self.due.len());
        let entries = self.slots.iter();
        entries.map(|(slot, half)| (slot, half.handshake.tuple, !half.is_refused))
    }
}
