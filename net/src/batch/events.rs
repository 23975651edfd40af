//! The answer to a batch while it is being filled: events, one behind the other, in the
//! area that the program lent.

use crate::ipc::{Ipc, write_exactly};
use abi::Result;
use abi::batch::{Event, HERE_MAX, UNIT, padded};
use abi::socket::Answer;
use alloc::vec::Vec;

/// Octets fewer than these are collected, and written together; so many are written from
/// where they are. A copy within the server costs less than a call of the kernel up to
/// about here.
const DIRECT_MIN: usize = 1024;
/// No more is collected.
const STAGED_MAX: usize = 16 * 1024;

/// The events of one answer, as many as fit into the lent area.
#[derive(Default)]
pub(super) struct Events {
    token: u64,
    /// Octets of the area.
    area: usize,
    /// Octets written to it.
    written: usize,
    /// What goes behind those.
    staged: Vec<u8>,
    /// Octets kept free for the outcomes of operations.
    reserved: usize,
    /// Something was said that the program waits for.
    news: bool,
}

impl Events {
    /// Begins an answer, in the buffer of the last.
    pub fn begin(&mut self, token: u64, area: usize, operations: usize) {
        self.token = token;
        self.area = area;
        self.written = 0;
        self.staged.clear();
        self.reserved = operations * Event::SIZE;
        self.news = false;
    }

    /// Whether the program is to be woken.
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// Octets that may lie behind one more event; `None` if it does not fit itself.
    pub fn room(&self) -> Option<usize> {
        let used = self.written + self.staged.len() + self.reserved + Event::SIZE;
        // Whole units, so that the padding fits, too.
        let room = self.area.checked_sub(used)?;
        Some(room - room % UNIT)
    }

    /// Says what came of an operation, for which room was kept. It wakes nobody.
    pub fn outcome(&mut self, event: &Event) {
        self.settle();
        self.staged.extend_from_slice(&event.to_bytes());
    }

    /// An operation has no outcome any more.
    pub fn settle(&mut self) {
        self.reserved = self.reserved.saturating_sub(Event::SIZE);
    }

    /// The program is to be woken.
    pub fn wake(&mut self) {
        self.news = true;
    }

    /// Says what the program waits for. `false` if it does not fit.
    // So that an event of a kind that is known costs no jump by its kind.
    #[inline(always)]
    pub fn tell(&mut self, event: &Event) -> bool {
        self.tell_octets(&event.to_bytes())
    }

    fn tell_octets(&mut self, event: &[u8; Event::SIZE]) -> bool {
        let fits = self.room().is_some();
        if fits {
            self.staged.extend_from_slice(event);
            self.news = true;
        }
        fits
    }

    /// Says that octets have come, which `tell` has found room for: `pieces` of them
    /// follow, by [`Events::octets`], and then [`Events::pad`].
    pub fn octets(&mut self, octets: &[u8], ipc: &mut impl Ipc) -> Result<()> {
        if octets.len() < DIRECT_MIN {
            self.staged.extend_from_slice(octets);
            if self.staged.len() > STAGED_MAX {
                self.flush(ipc)?;
            }
        } else {
            self.flush(ipc)?;
            write_exactly(ipc, self.token, self.written, octets)?;
            self.written += octets.len();
        }
        Ok(())
    }

    /// Ends an event's octets.
    pub fn pad(&mut self) {
        if self.staged.is_empty() {
            // What lies there does not matter.
            self.written = padded(self.written);
        }
        while !(self.written + self.staged.len()).is_multiple_of(UNIT) {
            self.staged.push(0);
        }
    }

    fn flush(&mut self, ipc: &mut impl Ipc) -> Result<()> {
        if !self.staged.is_empty() {
            write_exactly(ipc, self.token, self.written, &self.staged)?;
            self.written += self.staged.len();
            self.staged.clear();
        }
        Ok(())
    }

    /// Answers the call, with what was said.
    pub fn answer(&mut self, ipc: &mut impl Ipc) {
        if self.written == 0 && self.staged.len() <= HERE_MAX {
            let count = Answer(self.staged.len() as u32);
            return ipc.answer_here(self.token, count, &self.staged);
        }
        let flushed = self.flush(ipc);
        let count = flushed.map(|()| Answer(self.written as u32));
        ipc.answer(self.token, count);
    }
}
