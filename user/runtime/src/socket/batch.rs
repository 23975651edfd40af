//! Many sockets in one call a turn ([`abi::batch`]): a program says what it wants done,
//! waits, and hears what has happened.
//!
//! ```ignore
//! let mut batch = Batch::new(server, AREA, source);
//! batch.operations().accept(listener.handle(), 32, 4096)?;
//! loop {
//!     let (events, next) = batch.wait(NO_TIMEOUT)?;
//!     for event in events {
//!         if let Event::Received { socket, bytes } = event {
//!             next.send(socket, bytes, &[], Then::receive(4096))?;
//!         }
//!     }
//! }
//! ```
//!
//! A connection is named by its [`abi::socket::Handle`]; it is not closed when forgotten, but by
//! [`Operations::close`], a send that ends with it, or the end of the program.

mod events;
mod operations;

pub use abi::batch::{End, NO_TIMEOUT, Tell, area_min};
pub use events::{Event, Events};
pub use operations::{Operations, Then};

use super::Server;
use crate::sys::Lent;
use crate::{Error, Result};
use abi::batch::{HERE, OPERATIONS_MAX};
use abi::ipc::MESSAGE_MAX;
use abi::socket::{Answer, Request};
use alloc::vec::Vec;

/// The buffers of such a program.
#[derive(Debug)]
pub struct Batch<'s> {
    server: Server,
    area: Vec<u8>,
    next: Operations<'s>,
    /// Those of the last call, of which something may have been cut.
    done: Operations<'s>,
}

impl<'s> Batch<'s> {
    /// A batch on sockets of `server`. `area` is how many bytes can be heard at once;
    /// bodies are slices of `source`.
    pub fn new(server: Server, area: usize, source: &'s [u8]) -> Self {
        Batch::with_area(server, area.max(area_min(OPERATIONS_MAX)), source)
    }

    /// One that has this area, and no more operations than go with it.
    pub(super) fn with_area(server: Server, area: usize, source: &'s [u8]) -> Self {
        Batch {
            server,
            area: alloc::vec![0; area],
            next: Operations::new(source),
            done: Operations::new(source),
        }
    }

    /// The operations of the next call.
    pub fn operations(&mut self) -> &mut Operations<'s> {
        &mut self.next
    }

    /// Has the operations done and waits until there is something to hear, or `timeout_ms`
    /// have passed ([`NO_TIMEOUT`] never do). Returns what there is, and the
    /// operations of the next call.
    ///
    /// # Errors
    /// [`Error::PeerDied`], with which all its sockets are gone.
    pub fn wait(&mut self, timeout_ms: u32) -> Result<(Events<'_, 's>, &mut Operations<'s>)> {
        core::mem::swap(&mut self.next, &mut self.done);
        self.next.clear();
        let request = Request::Batch {
            operations: self.done.len() as u16,
            timeout_ms,
        };
        let mut message = [0; MESSAGE_MAX];
        let mut len = HERE;
        message[..len].copy_from_slice(&request.to_bytes());
        if let Some(here) = message[HERE..].get_mut(..self.done.bytes.len()) {
            here.copy_from_slice(&self.done.bytes);
            len = HERE + here.len();
        }
        let mut answer = [0; MESSAGE_MAX];
        let answered = self.server.call(
            &message[..len],
            &mut answer,
            &mut [
                Lent::Write(&mut self.area),
                Lent::Read(&self.done.bytes),
                Lent::Read(self.done.source()),
            ],
        )?;
        let Answer(count) = Answer::from_bytes(&answer)?;
        let filled = self.area.get_mut(..count as usize);
        let filled = filled.ok_or(Error::Malformed)?;
        if let Some(events) = answer[..answered].get(HERE..) {
            let place = filled.get_mut(..events.len()).ok_or(Error::Malformed)?;
            place.copy_from_slice(events);
        }
        Ok((Events::new(filled, &self.done), &mut self.next))
    }
}

/// From `now` to the deadline, rounded up, in milliseconds: for [`Batch::wait`].
pub fn timeout_ms(deadline: Option<u64>, now: u64) -> u32 {
    let Some(deadline) = deadline else {
        return NO_TIMEOUT;
    };
    let left = deadline.saturating_sub(now).div_ceil(1_000_000);
    u32::try_from(left).unwrap_or(NO_TIMEOUT - 1)
}

#[cfg(test)]
mod tests;
