//! What a program keeps of each of its connections, by handle.

use abi::socket::Handle;
use alloc::vec::Vec;

/// In [`Table::places`]: none.
const NOWHERE: u16 = u16::MAX;

/// A map from handles. Their slots are never shared, but a program may have few of many: so what is
/// kept lies close together, and only its place is found by the slot.
#[derive(Debug)]
pub struct Table<T> {
    /// By slot, where in `kept` it is.
    places: Vec<u16>,
    kept: Vec<(Handle, T)>,
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
            places: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Keeps `value`; what was kept of that slot is forgotten.
    pub fn insert(&mut self, handle: Handle, value: T) {
        let slot = handle.slot();
        if self.places.len() <= slot {
            self.places.resize(slot + 1, NOWHERE);
        }
        match self.kept.get_mut(usize::from(self.places[slot])) {
            Some(old) => *old = (handle, value),
            None => {
                // There are fewer than slots.
                self.places[slot] = self.kept.len() as u16;
                self.kept.push((handle, value));
            }
        }
    }

    /// What is kept of this very handle.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let place = *self.places.get(handle.slot())?;
        let (kept, value) = self.kept.get_mut(usize::from(place))?;
        (*kept == handle).then_some(value)
    }

    /// Forgets it.
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let place = *self.places.get(handle.slot())?;
        let kept = self.kept.get(usize::from(place));
        kept.filter(|(kept, _)| *kept == handle)?;
        let (_, value) = self.kept.swap_remove(place.into());
        if let Some((moved, _)) = self.kept.get(usize::from(place)) {
            self.places[moved.slot()] = place;
        }
        self.places[handle.slot()] = NOWHERE;
        Some(value)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.places.clear();
        self.kept.clear();
    }

    /// All, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.kept.iter().map(|(handle, value)| (*handle, value))
    }

    /// As [`Table::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        self.kept.iter_mut().map(|(handle, value)| (*handle, value))
    }
}

/// A slot's place is a `u16`.
const _: () = assert!(1 << Handle::SLOT_BITS < NOWHERE as usize);

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

    #[test]
    fn what_is_kept_of_few_high_slots_takes_little_room() {
        let mut table = Table::new();
        for slot in [30_000, 7, 20_000, 8] {
            table.insert(handle(1, slot), slot);
        }
        assert!(table.kept.capacity() < 10);
        for (removed, left) in [(7, 3), (30_000, 2), (8, 1)] {
            assert_eq!(table.remove(handle(1, removed)), Some(removed));
            assert_eq!(table.len(), left);
            let found: Vec<u32> = [30_000, 7, 20_000, 8]
                .into_iter()
                .filter_map(|slot| table.get_mut(handle(1, slot)).copied())
                .collect();
            assert_eq!(found.len(), left);
        }
        assert_eq!(table.get_mut(handle(1, 20_000)), Some(&mut 20_000));
    }
}
