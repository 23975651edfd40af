//! A call that is being served, perhaps for some time.

use abi::ipc::Message;
use abi::socket::{Answer, PollEntry, Request};
use abi::{Error, Pid, Result};
use alloc::vec::Vec;

/// So that two leases together cannot be more than an answer can count.
pub(crate) const LENT_MAX: usize = i32::MAX as usize;

/// A call, with how far it has come. Each attempt at it goes on where the last ended, so
/// that to park a call is to keep it and try again.
pub(crate) struct Call {
    /// Names it to the kernel.
    pub token: u64,
    /// Who waits for the answer.
    pub client: Pid,
    pub request: Request,
    /// Octets of lease 0.
    pub lent: usize,
    /// Octets of lease 1.
    pub lent_behind: usize,
    /// Octets sent already.
    pub sent: usize,
    /// `connect` has begun the connection.
    pub begun: bool,
    /// The sockets that `poll` waits for.
    pub entries: Vec<PollEntry>,
    /// When `poll` stops waiting; `None`: never.
    pub deadline: Option<u64>,
}

impl Call {
    /// The call that a message makes.
    ///
    /// # Errors
    /// Those of [`Request::from_bytes`].
    pub fn new(message: &Message) -> Result<Self> {
        let lent = |lease: usize| match lease < message.lease_count as usize {
            // A program has less memory than half of all addresses.
            true => usize::try_from(message.leases[lease].len).map_or(0, |len| len.min(LENT_MAX)),
            false => 0,
        };
        Ok(Call {
            token: message.token,
            client: message.sender,
            request: Request::from_bytes(message.request())?,
            lent: lent(0),
            lent_behind: lent(1),
            sent: 0,
            begun: false,
            entries: Vec::new(),
            deadline: None,
        })
    }
}

/// What is said to a request that cannot be answered yet.
pub(crate) fn wait(non_blocking: bool) -> Result<Option<Answer>> {
    match non_blocking {
        true => Err(Error::WouldBlock),
        false => Ok(None),
    }
}
