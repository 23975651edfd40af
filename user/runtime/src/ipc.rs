//! Messages, leases, notifications: [`crate::sys`]'s calls with the types of [`abi::ipc`].

use crate::{Pid, Result, sys};
use alloc::vec::Vec;

pub use crate::sys::{
    Lent, call, call_until, lease_read, lease_write, lookup, notify, register, reply, wait,
};
pub use abi::ipc::{Event, FOREVER, LEASES_MAX, MESSAGE_MAX, Message, Received, wait as mask};

/// Calls without lending anything; returns the answer.
///
/// # Errors
/// As [`call`].
pub fn ask(target: Pid, request: &[u8]) -> Result<Vec<u8>> {
    let mut answer = [0; MESSAGE_MAX];
    let len = call(target, request, &mut answer, &mut [])?;
    Ok(answer[..len].to_vec())
}

/// Where a server's events come in: they are long, and it waits often.
pub struct Inbox {
    bytes: [u8; Received::SIZE],
    message: Message,
}

impl Default for Inbox {
    fn default() -> Self {
        Inbox {
            bytes: [0; Received::SIZE],
            message: Message::default(),
        }
    }
}

impl Inbox {
    /// As [`wait`]; returns also whether more events of the mask were there.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&mut self, mask: u32, deadline_ns: u64) -> Result<(Event, bool)> {
        let more = sys::wait_into(mask, deadline_ns, &mut self.bytes)?;
        Ok((Event::read(&self.bytes, &mut self.message)?, more))
    }

    /// As [`Inbox::wait`], after an exchange with a card: see [`sys::wait_exchanging`].
    pub(crate) fn wait_exchanging(
        &mut self,
        mask: u32,
        deadline_ns: u64,
        card: (u8, &mut [u32; abi::exchange::WORDS]),
    ) -> Result<(Event, bool)> {
        let more = sys::wait_exchanging(mask, deadline_ns, &mut self.bytes, card)?;
        Ok((Event::read(&self.bytes, &mut self.message)?, more))
    }

    /// The last message.
    pub const fn message(&self) -> &Message {
        &self.message
    }
}
