//! Messages, leases, notifications: [`crate::sys`]'s calls with the types of [`abi::ipc`].

use crate::{Pid, Result};
use alloc::vec::Vec;

pub use crate::sys::wait_more;
pub use crate::sys::{Lent, call, lease_read, lease_write, lookup, notify, register, reply, wait};
pub use abi::ipc::{FOREVER, LEASES_MAX, MESSAGE_MAX, Message, Received, wait as mask};

/// Calls without lending anything; returns the answer.
///
/// # Errors
/// As [`call`].
pub fn ask(target: Pid, request: &[u8]) -> Result<Vec<u8>> {
    let mut answer = [0; MESSAGE_MAX];
    let len = call(target, request, &mut answer, &mut [])?;
    Ok(answer[..len].to_vec())
}
