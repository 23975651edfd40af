//! The buffers to send from, of both sizes, which all queues share.

use super::config::{BUFFER, Layout};
use crate::Error;
use crate::pool::Pool;

/// The buffers to send from.
pub struct Buffers {
    pub small: Pool,
    pub large: Pool,
}

impl Buffers {
    /// All of them, free.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(layout: &Layout) -> Result<Self, Error> {
        Ok(Buffers {
            small: Pool::new(layout.small_buffers())?,
            large: Pool::new(layout.large_buffers())?,
        })
    }

    /// Takes all back, whoever has them.
    pub fn refill(&mut self) {
        self.small.refill();
        self.large.refill();
    }

    /// Takes back those that were in rings, which are no more.
    pub fn empty_rings(&mut self) {
        self.small.empty_rings();
        self.large.empty_rings();
    }

    pub fn capacity(&self) -> usize {
        self.small.capacity()
    }

    /// The buffers among which the one of this number is.
    pub fn of(&mut self, buffer: u16) -> &mut Pool {
        match usize::from(buffer) < self.small.capacity() {
            true => &mut self.small,
            false => &mut self.large,
        }
    }

    /// Those that hold `len` bytes.
    pub fn that_hold(&mut self, len: usize) -> &mut Pool {
        match len <= BUFFER {
            true => &mut self.small,
            false => &mut self.large,
        }
    }

    pub fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.of(buffer).put_back(buffer)
    }

    pub fn leave_ring(&mut self, buffer: u16) {
        self.of(buffer).leave_ring(buffer);
    }
}
