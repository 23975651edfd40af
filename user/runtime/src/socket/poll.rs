//! Waiting for several sockets at once.

use super::{POLL_MAX, Server, TcpListener, TcpStream, UdpSocket, count};
use crate::sys::Lent;
use crate::{Error, Result};
use abi::socket::{Handle, PollEntry, Request};
use alloc::vec::Vec;

/// What [`PollSet`] can wait for.
pub trait Pollable {
    /// The server and its number for the socket.
    fn poll_handle(&self) -> (Server, Handle);
}

impl Pollable for TcpListener {
    fn poll_handle(&self) -> (Server, Handle) {
        (self.socket.server, self.socket.handle)
    }
}

impl Pollable for TcpStream {
    fn poll_handle(&self) -> (Server, Handle) {
        (self.socket.server, self.socket.handle)
    }
}

impl Pollable for UdpSocket {
    fn poll_handle(&self) -> (Server, Handle) {
        (self.socket.server, self.socket.handle)
    }
}

/// Sockets of one server to wait for, all at once. Kept as the bytes that are lent to the
/// server, so a set can be waited for again and again without being built anew.
#[derive(Debug, Default)]
pub struct PollSet {
    server: Option<Server>,
    entries: Vec<u8>,
}

impl PollSet {
    /// An empty set.
    pub const fn new() -> Self {
        PollSet {
            server: None,
            entries: Vec::new(),
        }
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.server = None;
        self.entries.clear();
    }

    /// Adds a socket and the [`super::events`] wanted; returns its index.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it belongs to another server than the others,
    /// [`Error::TooLong`] beyond [`POLL_MAX`].
    pub fn push(&mut self, socket: &impl Pollable, wanted: u16) -> Result<usize> {
        let (server, handle) = socket.poll_handle();
        if *self.server.get_or_insert(server) != server {
            return Err(Error::InvalidArgument);
        }
        let index = self.entries.len() / PollEntry::SIZE;
        if index == POLL_MAX {
            return Err(Error::TooLong);
        }
        let entry = PollEntry {
            socket: handle,
            wanted,
            ready: 0,
        };
        self.entries.extend_from_slice(&entry.to_bytes());
        Ok(index)
    }

    /// Waits until a socket is ready or `timeout_ms` have passed ([`super::POLL_FOREVER`] never
    /// do); returns how many are ready.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the set is empty, [`Error::PeerDied`].
    pub fn wait(&mut self, timeout_ms: u32) -> Result<usize> {
        let server = self.server.ok_or(Error::InvalidArgument)?;
        let leases = &mut [Lent::Write(&mut self.entries)];
        count(server.request(Request::Poll { timeout_ms }, leases)?)
    }

    /// The [`super::events`] of the socket at `index` that were so when [`PollSet::wait`]
    /// returned.
    pub fn ready(&self, index: usize) -> u16 {
        let at = index * PollEntry::SIZE;
        self.entries
            .get(at..)
            .and_then(|entries| entries.first_chunk())
            .map_or(0, |entry| PollEntry::from_bytes(entry).ready)
    }
}
