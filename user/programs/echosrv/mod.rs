//! The echo service (RFC 862): every byte comes back, in order, and when the client ends
//! its direction, ours ends after the last byte.
//!
//! Buffers are bounded: a client that does not take its bytes is not heard, so TCP's
//! window closes and it cannot send more. Only such a client's bytes are kept here; those
//! of the others go back from where they arrived.

pub mod program;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use runtime::Result;
use runtime::socket::batch::{End, Event, Operations, Tell, Then};
use runtime::socket::{Handle, Table};

/// Most bytes held for one TCP client: what the network server holds for it, so that a long
/// message goes back in one long segment.
pub const BUFFER: usize = 64 * 1024;
/// The longest UDP datagram (RFC 768: a 16-bit length, 8 of them its header).
pub const DATAGRAM_MAX: usize = 65_527;
/// The most clients at a time; the network server may have room for fewer.
const CLIENTS_MAX: usize = 16_384;
/// The most bytes that found no room and are kept here, of all clients together.
const HELD_MAX: usize = 4 << 20;
/// How long a client may say nothing, in nanoseconds.
const IDLE_NS: u64 = 600_000_000_000;
/// The same where others wait for its place.
const SCARCE_NS: u64 = 10_000_000_000;
/// How long no client is taken after there was no place, in nanoseconds.
const PAUSE_NS: u64 = 100_000_000;
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
    /// When each was heard of last.
    clients: Table<u64>,
    /// Them, with a time at which each was heard of: who was not since comes first.
    order: VecDeque<(Handle, u64)>,
    places: usize,
    /// What found no room on its way back.
    rests: Table<Vec<u8>>,
    /// Bytes in those.
    held: usize,
    /// Connections and datagrams that the network may still give us.
    granted: usize,
    /// None is taken before.
    paused_until: u64,
    /// When to look after the above, at the latest: there may be nothing to do yet.
    look_at: u64,
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
            clients: Table::new(),
            order: VecDeque::new(),
            places: CLIENTS_MAX,
            rests: Table::new(),
            held: 0,
            granted: 0,
            paused_until: 0,
            look_at: u64::MAX,
            granted_datagrams: 0,
            dropped: 0,
        }
    }

    /// Before each wait: ends the clients that have been silent for too long, and says how many
    /// connections and datagrams are welcome.
    ///
    /// # Errors
    /// [`runtime::Error::TooLong`], which the bounds of this service do not let happen.
    pub fn prepare(&mut self, operations: &mut Operations<'_>, now: u64) -> Result<()> {
        if self.look_at <= now {
            self.look_after(operations, now)?;
        }
        let room = match self.places.saturating_sub(self.clients.len()) {
            _ if self.paused_until > 0 => 0,
            0 => usize::from(self.has_silent(SCARCE_NS, now)),
            free => free.min(ACCEPTS),
        };
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

    /// Ends those who have said nothing for too long, and a pause that is over.
    #[cold]
    fn look_after(&mut self, operations: &mut Operations<'_>, now: u64) -> Result<()> {
        for _ in 0..ACCEPTS {
            if !self.end_silent(IDLE_NS, operations, now)? {
                break;
            }
        }
        if self.paused_until <= now {
            self.paused_until = 0;
        }
        self.look_at = u64::MAX;
        if self.paused_until > 0 {
            self.look_by(self.paused_until);
        }
        if let Some((_, heard)) = self.order.front() {
            self.look_by(heard + IDLE_NS);
        }
        Ok(())
    }

    fn look_by(&mut self, at: u64) {
        self.look_at = self.look_at.min(at);
    }

    /// Does what follows from what has happened.
    ///
    /// # Errors
    /// As [`Echo::prepare`].
    pub fn hear(
        &mut self,
        event: Event<'_, '_>,
        operations: &mut Operations<'_>,
        now: u64,
    ) -> Result<()> {
        match event {
            Event::Accepted { socket, .. } => {
                self.granted = self.granted.saturating_sub(1);
                let is_full = self.clients.len() >= self.places;
                if is_full && !self.end_silent(SCARCE_NS, operations, now)? {
                    return operations.close(socket);
                }
                self.clients.insert(socket, now);
                self.order.push_back((socket, now));
                self.look_by(now + IDLE_NS);
            }
            Event::Received { socket, bytes } => {
                if let Some(heard) = self.clients.get_mut(socket) {
                    *heard = now;
                }
                operations.send(socket, bytes, &[], AGAIN)?;
            }
            Event::Cut { socket, head, .. } => {
                self.take_rest(socket);
                self.held += head.len();
                self.rests.insert(socket, head.to_vec());
                while self.held > HELD_MAX {
                    self.end_stalled(operations)?;
                }
            }
            Event::Room { socket } => {
                if let Some(rest) = self.take_rest(socket) {
                    operations.send(socket, &rest, &[], AGAIN)?;
                }
            }
            // It takes no more until it is asked to: there was no room.
            Event::Failed { socket, .. } if socket == self.listener => {
                self.granted = 0;
                if !self.end_silent(SCARCE_NS, operations, now)? {
                    self.paused_until = now + PAUSE_NS;
                    self.look_by(self.paused_until);
                }
            }
            Event::Failed { socket, .. } if socket == self.datagrams => self.dropped += 1,
            Event::Ended { socket } | Event::Failed { socket, .. } => {
                self.forget(socket);
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
            Event::Sent { .. }
            | Event::Closed { .. }
            | Event::Progress { .. }
            | Event::Opened { .. }
            | Event::Connected { .. } => {}
        }
        Ok(())
    }

    /// When to [`Echo::prepare`] though nothing happens.
    pub fn deadline(&self) -> Option<u64> {
        (self.look_at < u64::MAX).then_some(self.look_at)
    }

    fn take_rest(&mut self, socket: Handle) -> Option<Vec<u8>> {
        let rest = self.rests.remove(socket)?;
        self.held -= rest.len();
        Some(rest)
    }

    /// Ends the client that was heard of longest ago of those that do not take their bytes.
    fn end_stalled(&mut self, operations: &mut Operations<'_>) -> Result<()> {
        let clients = &mut self.clients;
        let heard = |(socket, _): (Handle, &Vec<u8>)| {
            let heard = clients.get_mut(socket).map_or(0, |heard| *heard);
            (heard, socket)
        };
        if let Some((_, socket)) = self.rests.iter().map(heard).min() {
            self.forget(socket);
            operations.close(socket)?;
        }
        Ok(())
    }

    fn forget(&mut self, socket: Handle) {
        self.take_rest(socket);
        self.clients.remove(socket);
        // Else those who are gone would outnumber those who are there.
        if self.order.len() > 2 * self.clients.len() + ACCEPTS {
            let clients = &mut self.clients;
            self.order
                .retain(|(socket, _)| clients.get_mut(*socket).is_some());
        }
    }

    /// Whether a client, the first in the order, has said nothing for so long.
    fn has_silent(&mut self, silence: u64, now: u64) -> bool {
        // At most once for each: who has spoken since goes to the end.
        for _ in 0..self.order.len() {
            let Some(&(socket, then)) = self.order.front() else {
                break;
            };
            if then + silence > now {
                return false;
            }
            match self.clients.get_mut(socket) {
                Some(heard) if *heard == then => return true,
                Some(heard) => self.order.push_back((socket, *heard)),
                None => {}
            }
            self.order.pop_front();
        }
        false
    }

    /// Ends the client that has said nothing for longest, if that is so long.
    fn end_silent(
        &mut self,
        silence: u64,
        operations: &mut Operations<'_>,
        now: u64,
    ) -> Result<bool> {
        let is_there = self.has_silent(silence, now);
        if is_there && let Some((socket, _)) = self.order.pop_front() {
            self.forget(socket);
            operations.close(socket)?;
        }
        Ok(is_there)
    }

    /// Datagrams that were not answered.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests;
