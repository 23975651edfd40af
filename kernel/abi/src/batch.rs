//! Many socket operations and their outcomes in one call, [`crate::socket::Request::Batch`].
//!
//! ```text
//!   lease 1 (read)       operation | bytes to send, padded | operation | operation | ...
//!   lease 2 (read)       anything, e.g. all files: a send may go on with a part of it
//!   lease 0 (writable)   event | bytes received, padded | event | event | ...
//! ```
//!
//! A program makes one such call per turn: it hands in what it wants done, sleeps, and gets
//! what has happened. A call that only looks, with a timeout of 0, is what elsewhere is called
//! non-blocking, and one that waits for whatever comes first a poll. What a program wants to hear of a socket
//! stays armed at the server from call to call until it is heard, so a socket that is silent costs nothing. Records are of
//! [`Operation::SIZE`] and [`Event::SIZE`] bytes; the bytes behind one are padded to a
//! multiple of [`UNIT`].
//!
//! **Sockets** are made by [`Operation::Listen`], [`Operation::Bind`] and [`Operation::Connect`], each of which
//! is answered by [`Event::Opened`] or [`Event::Failed`] in the same call. Whether a connection came to be is
//! told later, by [`Event::Connected`] or [`Event::Failed`]. A program owns its sockets whether it reads
//! these events or not; they are closed when it ends.
//!
//! **Sends.** Every [`Operation::Send`] has one outcome: [`Event::Sent`] when all of it
//! is in the socket's buffer (when that is told, [`Tell`] decides), [`Event::Closed`]
//! instead if it also closes the socket, [`Event::Failed`], or [`Event::Cut`]. While the
//! call lasts the server goes on as room appears. A send of which only bytes of lease 2
//! are left goes on in the next calls, too, so lease 2 must stay the same until then. One
//! with bytes of lease 1 left is cut when the call returns; when there is room again,
//! [`Event::Room`] says so. Until a send is over, nothing that arrives on its socket is
//! delivered, and no other is taken.
//!
//! **Datagrams** leave in order and without an event. One that finds no room waits as long
//! as the call lasts, and is then cut. Meanwhile none is delivered on that socket.
//!
//! **Little travels with the messages**, which saves a copy by the kernel each: where
//! [`HERE`] octets of the request are followed by more, those are what lease 1 begins with;
//! and if all events have no more than [`HERE_MAX`] octets, they follow in the same way in the
//! answer, and lease 0 is not written. The caller has room for the longest answer.
//!
//! The call returns when there is something to say, with as much as fits; the rest keeps for
//! the next call. Lease 0 must have [`area_min`] bytes.

mod event;
mod operation;

use crate::ipc::MESSAGE_MAX;
use crate::socket::{Answer, Request};

pub use event::{Event, NOT_OF_THIS_CALL};
pub use operation::{End, Operation, Part, Send, Tell};

/// The most operations in one call.
pub const OPERATIONS_MAX: usize = 1024;

/// Where a message goes on with records, behind the request or the answer.
pub const HERE: usize = Request::SIZE;
const _: () = assert!(HERE == Answer::SIZE);
/// How many octets of them it can hold.
pub const HERE_MAX: usize = MESSAGE_MAX - HERE;

/// A timeout that never ends.
pub const NO_TIMEOUT: u32 = u32::MAX;

/// The lease that events are written to.
pub const AREA: u8 = 0;
/// The lease that operations are read from.
pub const OPERATIONS: u8 = 1;
/// The lease that a [`Part`] is of.
pub const SOURCE: u8 = 2;

/// The least length of lease 0 for so many operations: each may have an outcome at once,
/// and there must be room for news.
pub const fn area_min(operations: usize) -> usize {
    operations * Event::SIZE + 512
}

/// Records begin at multiples of this.
pub const UNIT: usize = 4;
const _: () = assert!(Operation::SIZE.is_multiple_of(UNIT) && Event::SIZE.is_multiple_of(UNIT));

/// The length with the padding behind it.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_every_outcome() {
        assert_eq!((padded(0), padded(1), padded(4)), (0, 4, 4));
        assert!(area_min(OPERATIONS_MAX) >= OPERATIONS_MAX * Event::SIZE + 512);
    }
}
