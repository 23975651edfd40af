//! The echo service (RFC 862): every byte comes back, in order, and when the client ends
//! its direction, ours ends after the last byte.
//!
//! Buffers are bounded: a client that does not take its bytes is not heard, so TCP's
//! window closes and it cannot send more. Only such a client's bytes are kept here; those
//! of the others go back from where they arrived.

pub mod program;

use crate::Result;
use crate::socket::batch::{End, Event, Operations, Tell, Then};
use crate::socket::{Handle, Table};
use alloc::vec::Vec;

/// Most bytes held for one TCP client: what the network server holds for it, so that a long
/// message goes back in one long segment.
pub const BUFFER: usize = 64 * 1024;
/// The longest UDP datagram (RFC 768: a 16-bit length, 8 of them its header).
pub const DATAGRAM_MAX: usize = 65_527;
/// More clients wait in the backlog until one is done.
const CLIENTS_MAX: usize = 256;
/// Connections taken in one turn, so that the other clients have theirs.
const ACCEPTS: usize = 32;
/// Datagrams taken likewise.
const DATAGRAMS: usize = 256;

/// The service on both protocols.
#[derive(Debug)]
pub struct Echo {
    listener: Handle,
    datagrams: Handle,
    port: u16,
    clients: usize,
    /// What found no room on its way back.
    rests: Table<Vec<u8>>,
    /// Connections and datagrams that the network may still give us.
    granted: usize,
    granted_datagrams: usize,
    dropped: u64,
}

const AGAIN: Then = Then {
    receive: BUFFER,
    end: End::Stays,
    tell: Tell::Never,
};

impl Echo {
    /// The service on these sockets. `port` is their own: a datagram from that port comes
    /// from another echo service, and answering it would never end.
    pub const fn new(listener: Handle, datagrams: Handle, port: u16) -> Self {
        Echo {
            listener,
            datagrams,
            port,
            clients: 0,
            rests: Table::new(),
            granted: 0,
            granted_datagrams: 0,
            dropped: 0,
        }
    }

    /// Before each wait: says how many connections and datagrams are welcome.
    ///
    /// # Errors
    /// [`crate::Error::TooLong`], which the bounds of this service do not let happen.
    pub fn prepare(&mut self, operations: &mut Operations<'_>) -> Result<()> {
        let room = CLIENTS_MAX.saturating_sub(self.clients).min(ACCEPTS);
        // Not for each that comes: half is enough to go on with.
        if self.granted > room || self.granted * 2 < room {
            operations.accept(self.listener, room, BUFFER)?;
            self.granted = room;
        }
        if self.granted_datagrams * 2 < DATAGRAMS {
            operations.receive_from(self.datagrams, DATAGRAMS, DATAGRAM_MAX)?;
            self.granted_datagrams = DATAGRAMS;
        }
        Ok(())
    }

    /// Does what follows from what has happened.
    ///
    /// # Errors
    /// As [`Echo::prepare`].
    pub fn hear(&mut self, event: Event<'_, '_>, operations: &mut Operations<'_>) -> Result<()> {
        match event {
            Event::Accepted { .. } => {
                self.clients += 1;
                self.granted = self.granted.saturating_sub(1);
            }
            Event::Received { socket, bytes } => operations.send(socket, bytes, &[], AGAIN)?,
            Event::Cut { socket, head, .. } => self.rests.insert(socket, head.to_vec()),
            Event::Room { socket } => {
                if let Some(rest) = self.rests.remove(socket) {
                    operations.send(socket, &rest, &[], AGAIN)?;
                }
            }
            // It takes no more until it is asked to.
            Event::Failed { socket, .. } if socket == self.listener => self.granted = 0,
            Event::Failed { socket, .. } if socket == self.datagrams => self.dropped += 1,
            Event::Ended { socket } | Event::Failed { socket, .. } => {
                self.rests.remove(socket);
                self.clients = self.clients.saturating_sub(1);
                operations.close(socket)?;
            }
            Event::Datagram {
                socket,
                from,
                bytes,
            } => {
                self.granted_datagrams = self.granted_datagrams.saturating_sub(1);
                if from.port == self.port {
                    self.dropped += 1;
                } else {
                    operations.send_to(socket, bytes, from)?;
                }
            }
            Event::Unsent { socket, to, bytes } => operations.send_to(socket, bytes, to)?,
            // They are quiet, do not close, and are not asked for.
            Event::Sent { .. } | Event::Closed { .. } | Event::Progress { .. } => {}
        }
        Ok(())
    }

    /// Datagrams that were not answered.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests;
