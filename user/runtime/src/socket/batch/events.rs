//! What has happened, read out of the area.

use super::Operations;
use crate::Error;
use abi::batch::{self, Operation, Send, padded};
use abi::socket::{Address, Handle};

/// What has happened. `'b` are the buffers of the batch, `'s` is its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "abi::batch::Event explains them under these names"
)]
pub enum Event<'b, 's> {
    Opened {
        socket: Handle,
        local: Address,
    },
    Connected {
        socket: Handle,
    },
    Accepted {
        listener: Handle,
        socket: Handle,
        peer: Address,
    },
    Received {
        socket: Handle,
        bytes: &'b [u8],
    },
    Ended {
        socket: Handle,
    },
    Datagram {
        socket: Handle,
        from: Address,
        bytes: &'b [u8],
    },
    Sent {
        socket: Handle,
        waited: bool,
    },
    /// `head` and `body` are what was not sent.
    Cut {
        socket: Handle,
        count: usize,
        head: &'b [u8],
        body: &'s [u8],
    },
    /// A datagram that was not sent.
    Unsent {
        socket: Handle,
        to: Address,
        bytes: &'b [u8],
    },
    Room {
        socket: Handle,
    },
    Closed {
        socket: Handle,
    },
    Progress {
        socket: Handle,
        count: usize,
        idle_ms: u32,
    },
    Failed {
        socket: Handle,
        error: Error,
    },
}

/// The events of one call, in order. It ends at what is no event.
#[derive(Clone, Debug)]
pub struct Events<'b, 's> {
    rest: &'b [u8],
    /// The operations of that call.
    done: &'b Operations<'s>,
}

impl<'b, 's> Events<'b, 's> {
    /// The events written to an area by a server that was given `done`.
    pub fn new(area: &'b [u8], done: &'b Operations<'s>) -> Self {
        Events { rest: area, done }
    }

    fn cut(&self, socket: Handle, operation: u16, count: u32) -> Event<'b, 's> {
        let count = count as usize;
        match self.done.get(operation) {
            Some((Operation::SendTo { address, .. }, bytes)) => Event::Unsent {
                socket,
                to: address,
                bytes,
            },
            Some((Operation::Send(Send { part, .. }), inline)) => {
                let body_sent = count.saturating_sub(inline.len());
                let start = part.offset as usize + body_sent;
                let end = part.offset as usize + part.len as usize;
                Event::Cut {
                    socket,
                    count,
                    head: inline.get(count..).unwrap_or(&[]),
                    body: self.done.source().get(start..end).unwrap_or(&[]),
                }
            }
            _ => Event::Cut {
                socket,
                count,
                head: &[],
                body: &[],
            },
        }
    }
}

impl<'b, 's> Iterator for Events<'b, 's> {
    type Item = Event<'b, 's>;

    fn next(&mut self) -> Option<Event<'b, 's>> {
        let (head, behind) = self.rest.split_first_chunk()?;
        let event = batch::Event::from_bytes(head).ok()?;
        let bytes = behind.get(..event.inline())?;
        self.rest = behind.get(padded(bytes.len())..)?;
        Some(match event {
            batch::Event::Opened { socket, local, .. } => Event::Opened { socket, local },
            batch::Event::Connected { socket } => Event::Connected { socket },
            batch::Event::Accepted {
                listener,
                socket,
                peer,
            } => Event::Accepted {
                listener,
                socket,
                peer,
            },
            batch::Event::Received { socket, .. } => Event::Received { socket, bytes },
            batch::Event::Ended { socket } => Event::Ended { socket },
            batch::Event::Datagram { socket, from, .. } => Event::Datagram {
                socket,
                from,
                bytes,
            },
            batch::Event::Sent { socket, waited } => Event::Sent { socket, waited },
            batch::Event::Cut {
                socket,
                operation,
                count,
            } => self.cut(socket, operation, count),
            batch::Event::Room { socket } => Event::Room { socket },
            batch::Event::Closed { socket } => Event::Closed { socket },
            batch::Event::Progress {
                socket,
                count,
                idle_ms,
            } => Event::Progress {
                socket,
                count: count as usize,
                idle_ms,
            },
            batch::Event::Failed { socket, error, .. } => Event::Failed { socket, error },
        })
    }
}
