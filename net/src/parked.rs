//! A call that is being served, perhaps for some time.

use abi::ipc::Message;
use abi::socket::{PollEntry, Request};
use abi::{Pid, Result};
use alloc::vec::Vec;

/// A call, with how far it has come. Each attempt at it goes on where the last ended, so
/// that to park a call is to keep it and try again.
pub(crate) struct Call {
    /// Names it to the kernel.
    pub token: u64,
    /// Who waits for the answer.
    pub client: Pid,
    pub request: Request,
    /// Octets lent.
    pub lent: usize,
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
        let lent = match message.lease_count {
            0 => 0,
            _ => usize::try_from(message.leases[0].len).unwrap_or(usize::MAX),
        };
        Ok(Call {
            token: message.token,
            client: message.sender,
            request: Request::from_bytes(message.request())?,
            lent,
            sent: 0,
            begun: false,
            entries: Vec::new(),
            deadline: None,
        })
    }
}
