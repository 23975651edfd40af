//! What the server needs of the system that brings it calls.

use abi::ipc::Message;
use abi::socket::Answer;
use abi::{Pid, Result};

/// The server's side of a call: memory lent by the caller, and the answer.
///
/// Leases of the call that `token` names can be used until it is answered or the caller
/// dies.
pub trait Ipc {
    /// Copies lease `lease` from `offset` on into `into`; returns how many bytes.
    ///
    /// # Errors
    /// [`abi::Error::BadAddress`] outside of the lease, [`abi::Error::PeerDied`] if the
    /// caller has ended.
    fn read(&mut self, token: u64, lease: u8, offset: usize, into: &mut [u8]) -> Result<usize>;

    /// Copies `from` into lease 0 from `offset` on; returns how many bytes.
    ///
    /// # Errors
    /// [`abi::Error::BadAddress`] outside of the lease, [`abi::Error::NotPermitted`] if the lease is not
    /// writable, [`abi::Error::PeerDied`] if the caller has ended.
    fn write(&mut self, token: u64, offset: usize, from: &[u8]) -> Result<usize>;

    /// Answers the call. The token means nothing afterwards.
    fn answer(&mut self, token: u64, answer: Result<Answer>);

    /// Answers a batch, with these events behind the answer ([`abi::batch::HERE`]), of which
    /// there are at most [`abi::batch::HERE_MAX`] octets.
    fn answer_here(&mut self, token: u64, answer: Answer, events: &[u8]);

    /// Asks to be told of the end of `client`, by [`crate::Server::client_died`]. Called
    /// once, when it makes its first batch.
    ///
    /// # Errors
    /// Any, if it has ended already: its call is then answered with that.
    fn watch(&mut self, client: Pid) -> Result<()>;

    /// Says how many sockets `client` has here, or is about to have.
    ///
    /// # Errors
    /// [`abi::Error::QuotaExceeded`] if it may not have so many: what was said before holds.
    fn charge(&mut self, client: Pid, sockets: usize) -> Result<()>;
}

/// Octets of a lease that are looked at: fewer than an answer can count.
const LENT_MAX: usize = i32::MAX as usize;

/// How many octets a call lends in this lease.
#[inline]
pub(crate) fn lent(message: &Message, lease: usize) -> usize {
    match lease < message.lease_count as usize {
        true => {
            usize::try_from(message.leases[lease].len).map_or(LENT_MAX, |len| len.min(LENT_MAX))
        }
        false => 0,
    }
}

/// Fills `into` from a lease, or fails.
pub(crate) fn read_exactly(
    ipc: &mut impl Ipc,
    token: u64,
    (lease, offset): (u8, usize),
    into: &mut [u8],
) -> Result<()> {
    match ipc.read(token, lease, offset, into)? {
        count if count == into.len() => Ok(()),
        _ => Err(abi::Error::BadAddress),
    }
}

/// Writes all of `from` to lease 0, or fails.
pub(crate) fn write_exactly(
    ipc: &mut impl Ipc,
    token: u64,
    offset: usize,
    from: &[u8],
) -> Result<()> {
    match ipc.write(token, offset, from)? {
        count if count == from.len() => Ok(()),
        _ => Err(abi::Error::BadAddress),
    }
}
