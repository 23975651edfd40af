//! Who has which buffer: one side at a time.

use crate::error::Error;
use crate::reserve;
use abi::nic::FrameMemory;
use alloc::vec::Vec;
use core::ops::Range;

/// Some buffers: which are free, and who has the others.
pub struct Pool {
    first: u16,
    free: Vec<u16>,
    places: Vec<Place>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Held,
    InRing,
}

impl Pool {
    /// The buffers with these numbers.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(numbers: Range<u16>) -> Result<Self, Error> {
        let count = numbers.len();
        let mut pool = Pool {
            first: numbers.start,
            free: reserve::with_room(count)?,
            places: reserve::filled(Place::Free, count)?,
        };
        pool.refill();
        Ok(pool)
    }

    /// Takes all buffers back, whoever has them.
    pub fn refill(&mut self) {
        self.places.fill(Place::Free);
        self.collect();
    }

    /// Takes the buffers back that were in rings, which are no more.
    pub fn empty_rings(&mut self) {
        for place in &mut self.places {
            if *place == Place::InRing {
                *place = Place::Free;
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        self.free.clear();
        let numbered = (self.first..).zip(&self.places);
        let free = numbered.filter(|(_, place)| **place == Place::Free);
        self.free.extend(free.map(|(number, _)| number));
    }

    /// Free buffers.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// All buffers.
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// Gives buffers away, as many as there is room for in `into` or else all; returns how many.
    pub fn take_all(&mut self, into: &mut [u16]) -> usize {
        let left = self.free.len().saturating_sub(into.len());
        let taken = self.free.len() - left;
        for (room, number) in into.iter_mut().zip(self.free.drain(left..)) {
            *room = number;
            if let Some(place) = self.places.get_mut(index(self.first, number)) {
                *place = Place::Held;
            }
        }
        taken
    }

    /// Gives a buffer away.
    pub fn take(&mut self) -> Option<u16> {
        let number = self.free.pop()?;
        *self.place(number)? = Place::Held;
        Some(number)
    }

    /// Whether somebody has this buffer.
    ///
    /// # Errors
    /// [`Error::BadBuffer`].
    pub fn check_held(&mut self, buffer: u16) -> Result<(), Error> {
        match self.place(buffer) {
            Some(Place::Held) => Ok(()),
            _ => Err(Error::BadBuffer { buffer }),
        }
    }

    /// Takes a buffer back from who has it.
    ///
    /// # Errors
    /// [`Error::BadBuffer`].
    pub fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.check_held(buffer)?;
        self.free(buffer);
        Ok(())
    }

    /// Notes that a buffer that somebody had is in a ring now.
    pub fn enter_ring(&mut self, buffer: u16) {
        if let Some(place) = self.place(buffer) {
            *place = Place::InRing;
        }
    }

    /// Gives a buffer that is in a ring to somebody.
    pub fn hand_out(&mut self, buffer: u16) {
        if let Some(place @ Place::InRing) = self.place(buffer) {
            *place = Place::Held;
        }
    }

    /// Takes a buffer out of a ring.
    pub fn leave_ring(&mut self, buffer: u16) {
        if self
            .place(buffer)
            .is_some_and(|place| *place == Place::InRing)
        {
            self.free(buffer);
        }
    }

    fn free(&mut self, buffer: u16) {
        if let Some(place) = self.place(buffer) {
            *place = Place::Free;
            self.free.push(buffer);
        }
    }

    fn place(&mut self, buffer: u16) -> Option<&mut Place> {
        self.places.get_mut(index(self.first, buffer))
    }
}

/// The buffers to send from, small and large ones.
pub struct Buffers {
    pub small: Pool,
    pub large: Pool,
    memory: FrameMemory,
}

impl Buffers {
    /// All buffers of this memory, free.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(memory: FrameMemory) -> Result<Self, Error> {
        let ((small, _), (large, _)) = (memory.small, memory.large);
        Ok(Buffers {
            small: Pool::new(0..small)?,
            large: Pool::new(small..small + large)?,
            memory,
        })
    }

    /// Takes all buffers back, whoever has them.
    pub fn refill(&mut self) {
        self.small.refill();
        self.large.refill();
    }

    /// Takes the buffers back that were in rings, which are no more.
    pub fn empty_rings(&mut self) {
        self.small.empty_rings();
        self.large.empty_rings();
    }

    /// The pool that the buffer of this number belongs to.
    pub fn of(&mut self, buffer: u16) -> &mut Pool {
        match buffer < self.memory.small.0 {
            true => &mut self.small,
            false => &mut self.large,
        }
    }

    /// The pool of the buffers for frames of `len` bytes.
    ///
    /// # Errors
    /// [`Error::BadLength`] if no buffer is that long.
    pub fn that_hold(&mut self, len: usize) -> Result<&mut Pool, Error> {
        let FrameMemory { small, large, .. } = self.memory;
        match len {
            0 => Err(Error::BadLength { len }),
            _ if len <= small.1 as usize => Ok(&mut self.small),
            _ if len <= large.1 as usize && large.0 > 0 => Ok(&mut self.large),
            _ => Err(Error::BadLength { len }),
        }
    }
}

/// Which of a pool's places is a buffer's; a number below the first is behind the last.
fn index(first: u16, buffer: u16) -> usize {
    buffer.wrapping_sub(first).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_one_holder_at_a_time() {
        let mut pool = Pool::new(10..13).unwrap();
        let held: Vec<u16> = core::iter::from_fn(|| pool.take()).collect();
        assert_eq!((held.len(), pool.free_count(), pool.capacity()), (3, 0, 3));
        assert!(held.iter().all(|number| (10..13).contains(number)));
        pool.put_back(10).unwrap();
        for bad in [10, 9, 13, u16::MAX] {
            let refused = Err(Error::BadBuffer { buffer: bad });
            assert_eq!(pool.put_back(bad), refused);
            assert_eq!(pool.check_held(bad), refused);
        }
        pool.enter_ring(11);
        assert_eq!(pool.put_back(11), Err(Error::BadBuffer { buffer: 11 }));
        pool.leave_ring(11);
        // What is not in a ring cannot leave one.
        pool.leave_ring(11);
        pool.leave_ring(12);
        assert_eq!(pool.free_count(), 2);
        pool.check_held(12).unwrap();
        // What waits in a ring is handed out, and nothing else.
        pool.hand_out(10);
        assert_eq!(pool.check_held(10), Err(Error::BadBuffer { buffer: 10 }));
        pool.enter_ring(12);
        pool.hand_out(12);
        pool.check_held(12).unwrap();
    }

    #[test]
    fn a_reset_takes_what_was_in_the_rings_and_a_new_owner_everything() {
        let mut pool = Pool::new(0..3).unwrap();
        let held = pool.take().unwrap();
        let sent = pool.take().unwrap();
        pool.enter_ring(sent);
        pool.empty_rings();
        assert_eq!(pool.free_count(), 2);
        pool.check_held(held).unwrap();
        pool.refill();
        assert_eq!(pool.free_count(), 3);
        assert!(pool.check_held(held).is_err());
    }
}
