//! What is to be done in the next call.

use crate::{Error, Result};
use abi::batch::{End, OPERATIONS_MAX, Operation, Part, Send, Tell, UNIT};
use abi::socket::{Address, Direction, Handle};
use alloc::vec::Vec;

/// What follows a send when all of it is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// At most so many bytes are wanted; 0: none.
    pub receive: usize,
    /// What becomes of the sending direction.
    pub end: End,
    /// Whether [`super::Event::Sent`] is wanted.
    pub tell: Tell,
}

impl Then {
    /// At most so many bytes are wanted.
    pub const fn receive(max: usize) -> Self {
        Then {
            receive: max,
            end: End::Stays,
            tell: Tell::Later,
        }
    }

    /// The connection closes.
    pub const fn close() -> Self {
        Then {
            receive: 0,
            end: End::Close,
            tell: Tell::Later,
        }
    }
}

/// Operations for the next call, as the bytes that are lent. `'s` is the source that bodies
/// are slices of.
#[derive(Debug)]
pub struct Operations<'s> {
    source: &'s [u8],
    pub(super) bytes: Vec<u8>,
    /// Where each begins.
    places: Vec<usize>,
}

impl<'s> Operations<'s> {
    /// None yet.
    pub const fn new(source: &'s [u8]) -> Self {
        Operations {
            source,
            bytes: Vec::new(),
            places: Vec::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What bodies are slices of.
    pub const fn source(&self) -> &'s [u8] {
        self.source
    }

    /// Makes a socket that takes connections at `address`: [`super::Event::Opened`] names it.
    ///
    /// # Errors
    /// Here and below, [`Error::TooLong`] if there are too many operations.
    pub fn listen(&mut self, address: Address, backlog: u32) -> Result<()> {
        self.push(Operation::Listen { address, backlog })
    }

    /// Makes a datagram socket at `address`: [`super::Event::Opened`] names it.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn bind(&mut self, address: Address) -> Result<()> {
        self.push(Operation::Bind { address })
    }

    /// Begins a connection to `address`: [`super::Event::Opened`] names it, and
    /// [`super::Event::Connected`] says that it stands.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn connect(&mut self, address: Address) -> Result<()> {
        self.push(Operation::Connect { address })
    }

    /// Takes `count` connections; each wants at most `receive` bytes then (0: none). This
    /// replaces what was said before; a count of 0 stops.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn accept(&mut self, listener: Handle, count: usize, receive: usize) -> Result<()> {
        self.push(Operation::Accept {
            socket: listener,
            count: u16::try_from(count).unwrap_or(u16::MAX),
            receive: short(receive),
        })
    }

    /// Wants at most `max` bytes; 0: none any more.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn receive(&mut self, socket: Handle, max: usize) -> Result<()> {
        let max = short(max);
        self.push(Operation::Receive { socket, max })
    }

    /// Wants `count` datagrams, at most `max` bytes of each.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn receive_from(&mut self, socket: Handle, count: usize, max: usize) -> Result<()> {
        self.push(Operation::ReceiveFrom {
            socket,
            count: u16::try_from(count).unwrap_or(u16::MAX),
            max: short(max),
        })
    }

    /// Sends `head`, which is copied, and `body`, which is a slice of the source and is not.
    ///
    /// # Errors
    /// As [`Operations::listen`]; [`Error::BadAddress`] if `body` is not of the source.
    pub fn send(&mut self, socket: Handle, head: &[u8], body: &'s [u8], then: Then) -> Result<()> {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(head);
            Some((body, then))
        };
        self.send_with(socket, write).map(|_| ())
    }

    /// As [`Operations::send`] of what `write` appends and returns. Nothing is sent if it
    /// returns `None`; returns whether something was.
    ///
    /// # Errors
    /// As there.
    pub fn send_with(
        &mut self,
        socket: Handle,
        write: impl FnOnce(&mut Vec<u8>) -> Option<(&'s [u8], Then)>,
    ) -> Result<bool> {
        self.check_room()?;
        let place = self.bytes.len();
        let start = place + Operation::SIZE;
        self.bytes.resize(start, 0);
        let written = write(&mut self.bytes);
        let part = written.map(|(body, then)| Ok((self.part(body)?, then)));
        let (part, then) = match part.transpose() {
            Ok(Some(part)) => part,
            other => {
                self.bytes.truncate(place);
                return other.map(|_| false);
            }
        };
        let operation = Operation::Send(Send {
            socket,
            inline: short(self.bytes.len().saturating_sub(start)),
            part,
            receive: short(then.receive),
            end: then.end,
            tell: then.tell,
        });
        if let Some(head) = self.bytes.get_mut(place..start) {
            head.copy_from_slice(&operation.to_bytes());
        }
        self.finish(place);
        Ok(true)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn send_to(&mut self, socket: Handle, bytes: &[u8], address: Address) -> Result<()> {
        self.check_room()?;
        let place = self.bytes.len();
        let operation = Operation::SendTo {
            socket,
            address,
            inline: short(bytes.len()),
        };
        self.bytes.extend_from_slice(&operation.to_bytes());
        self.bytes.extend_from_slice(bytes);
        self.finish(place);
        Ok(())
    }

    /// Gives a connection back: what is queued is still sent, then FIN.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn close(&mut self, socket: Handle) -> Result<()> {
        self.push(Operation::Close { socket })
    }

    /// Ends one or both directions of a stream.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn shutdown(&mut self, socket: Handle, direction: Direction) -> Result<()> {
        self.push(Operation::Shutdown { socket, direction })
    }

    /// Wants nothing any more of a socket, which stays open; a send that is not over is cut.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn cancel(&mut self, socket: Handle) -> Result<()> {
        self.push(Operation::Cancel { socket })
    }

    /// Asks for [`super::Event::Progress`] of a send.
    ///
    /// # Errors
    /// As [`Operations::listen`].
    pub fn progress(&mut self, socket: Handle) -> Result<()> {
        self.push(Operation::Progress { socket })
    }

    fn push(&mut self, operation: Operation) -> Result<()> {
        self.check_room()?;
        let place = self.bytes.len();
        self.bytes.extend_from_slice(&operation.to_bytes());
        self.finish(place);
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        match self.places.len() < OPERATIONS_MAX {
            true => Ok(()),
            false => Err(Error::TooLong),
        }
    }

    fn finish(&mut self, place: usize) {
        // They are few: this is cheaper than a call that clears memory.
        while !self.bytes.len().is_multiple_of(UNIT) {
            self.bytes.push(0);
        }
        self.places.push(place);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Which part of the source a slice of it is.
    fn part(&self, body: &[u8]) -> Result<Part> {
        if body.is_empty() {
            return Ok(Part::default());
        }
        let start = body.as_ptr().addr();
        let offset = start.checked_sub(self.source.as_ptr().addr());
        let offset = offset.filter(|offset| offset + body.len() <= self.source.len());
        let offset = offset.and_then(|offset| u32::try_from(offset).ok());
        let len = u32::try_from(body.len()).ok();
        match (offset, len) {
            (Some(offset), Some(len)) => Ok(Part { offset, len }),
            _ => Err(Error::BadAddress),
        }
    }

    /// The operation of this number, and the bytes behind it.
    pub fn get(&self, number: u16) -> Option<(Operation, &[u8])> {
        let place = *self.places.get(usize::from(number))?;
        let (head, behind) = self.bytes.get(place..)?.split_first_chunk()?;
        let inline = behind.get(..Operation::inline_of(head))?;
        Some((Operation::from_bytes(head).ok()?, inline))
    }
}

/// A length on the wire; no program has so much to say that it is shortened.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
