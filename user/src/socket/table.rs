//! What a program keeps of each of its connections, by handle.

use abi::socket::Handle;
use alloc::vec::Vec;

/// A map from handles: an array by their slots, which are small and never shared.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<(Handle, T)>>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table::new()
    }
}

impl<T> Table<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Table {
            slots: Vec::new(),
            len: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps `value`; what was kept of that slot is forgotten.
    pub fn insert(&mut self, handle: Handle, value: T) {
        let slot = handle.slot();
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        if self.slots[slot].replace((handle, value)).is_none() {
            self.len += 1;
        }
    }

    /// What is kept of this very handle.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        match self.slots.get_mut(handle.slot())? {
            Some((kept, value)) if *kept == handle => Some(value),
            _ => None,
        }
    }

    /// Forgets it.
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let slot = self.slots.get_mut(handle.slot())?;
        let (_, value) = slot.take_if(|(kept, _)| *kept == handle)?;
        self.len -= 1;
        Some(value)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.len = 0;
    }

    /// All, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        let kept = self.slots.iter().flatten();
        kept.map(|(handle, value)| (*handle, value))
    }

    /// As [`Table::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        let kept = self.slots.iter_mut().flatten();
        kept.map(|(handle, value)| (*handle, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn handle(generation: u32, slot: u32) -> Handle {
        Handle(generation << Handle::SLOT_BITS | slot)
    }

    #[test]
    fn a_handle_is_found_by_itself_only() {
        let mut table = Table::new();
        let (old, new, other) = (handle(1, 5), handle(2, 5), handle(1, 6));
        table.insert(old, "old");
        assert_eq!(table.get_mut(old), Some(&mut "old"));
        assert!(table.get_mut(new).is_none() && table.remove(other).is_none());
        assert_eq!(table.remove(new), None);
        table.insert(new, "new");
        assert!(table.len() == 1 && table.get_mut(old).is_none());
        table.insert(other, "other");
        assert_eq!(table.iter().count(), 2);
        assert_eq!(table.remove(new), Some("new"));
        assert_eq!((table.remove(new), table.len()), (None, 1));
        table.clear();
        assert!(table.is_empty() && table.iter_mut().next().is_none());
    }
}
