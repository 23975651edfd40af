//! Buffers, counted.

use alloc::vec::Vec;

/// How many octets of buffers exist, and may.
pub(super) struct Memory {
    used: usize,
    limit: usize,
}

impl Memory {
    pub fn new(limit: usize) -> Self {
        Memory { used: 0, limit }
    }

    /// Octets in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Whether that much more may be used.
    pub fn has(&self, len: usize) -> bool {
        self.limit - self.used >= len
    }

    /// A zeroed buffer; `None` if the limit or the heap is reached.
    pub fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        if !self.has(len) {
            return None;
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len).ok()?;
        buffer.resize(len, 0);
        self.used += len;
        Some(buffer)
    }

    /// Counts a buffer as freed.
    pub fn give_back(&mut self, len: usize) {
        debug_assert!(len <= self.used);
        self.used = self.used.saturating_sub(len);
    }
}
