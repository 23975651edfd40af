//! TCP, as `std::net` has it.

use super::batch::{Event, Tell, Then};
use super::{Direction, Handle, NOW, Server, Socket};
use crate::{Error, Result};
use core::net::SocketAddr;
use core::time::Duration;

/// Connections that may wait for [`TcpListener::accept`], if the caller does not say.
pub(super) const DEFAULT_BACKLOG: u32 = 128;
/// Bytes that are handed over at once.
const WRITE_MAX: usize = 64 * 1024;

/// A TCP socket that waits for connections.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
}

impl TcpListener {
    pub(super) const fn of(socket: Socket) -> Self {
        TcpListener { socket }
    }

    /// Listens at `address` of the program's own stack.
    ///
    /// # Errors
    /// As [`Server::ours`] and [`Server::listen`].
    pub fn bind(address: SocketAddr) -> Result<TcpListener> {
        Server::ours()?.listen(address, DEFAULT_BACKLOG)
    }

    /// Takes the next connection. The stream blocks, whatever the listener does.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if the listener is non-blocking and none waits;
    /// [`Error::QuotaExceeded`] and [`Error::NoMemory`] if there is no room for one.
    pub fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        let Socket { server, handle, .. } = self.socket;
        let until = self.socket.until_received();
        let (handle, peer) = self.socket.receive(
            0,
            until,
            |operations| operations.accept(handle, 1, 0),
            |event| match event {
                Event::Accepted { socket, peer, .. } => Some((socket, peer.to_socket_addr())),
                _ => None,
            },
        )?;
        let socket = server.socket(handle, self.socket.local);
        Ok((TcpStream::of(socket, peer), peer))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local
    }

    /// The network server it belongs to.
    pub fn server(&self) -> Server {
        self.socket.server
    }

    /// Its number there, for [`super::batch`].
    pub fn handle(&self) -> Handle {
        self.socket.handle
    }

    /// Whether [`TcpListener::accept`] answers [`Error::WouldBlock`] instead of waiting.
    pub fn set_nonblocking(&self, on: bool) {
        self.socket.non_blocking.set(on);
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket,
    peer: SocketAddr,
}

impl TcpStream {
    pub(super) const fn of(socket: Socket, peer: SocketAddr) -> Self {
        TcpStream { socket, peer }
    }

    /// Connects from the program's own stack.
    ///
    /// # Errors
    /// As [`Server::ours`] and [`Server::connect`].
    pub fn connect(address: SocketAddr) -> Result<TcpStream> {
        Server::ours()?.connect(address)
    }

    /// Takes what has arrived, at most the buffer's length; 0 is the end of the stream.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if non-blocking and there is nothing, [`Error::TimedOut`],
    /// [`Error::ConnectionReset`], [`Error::PeerDied`].
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        let (handle, max) = (self.socket.handle, buffer.len());
        if max == 0 {
            return Ok(0);
        }
        self.socket.receive(
            max,
            self.socket.until_received(),
            |operations| operations.receive(handle, max),
            |event| match event {
                Event::Received { bytes, .. } => Some(copy(bytes, buffer)),
                Event::Ended { .. } => Some(0),
                _ => None,
            },
        )
    }

    /// Queues bytes for sending; returns how many were taken.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if non-blocking and there is no room, [`Error::BrokenPipe`],
    /// [`Error::ConnectionReset`], [`Error::PeerDied`].
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        let some = &bytes[..bytes.len().min(WRITE_MAX)];
        let then = Then {
            tell: Tell::Now,
            ..Then::default()
        };
        let until = self.socket.until_sent();
        loop {
            let taken = self.socket.server.perform(
                0,
                until,
                |operations| operations.send(self.socket.handle, some, &[], then),
                |event| match event {
                    Event::Sent { .. } => Some(some.len()),
                    Event::Cut { count, .. } => Some(count),
                    _ => None,
                },
            )?;
            match taken {
                Some(0) if until == NOW && !some.is_empty() => return Err(Error::WouldBlock),
                // The call ended for another reason than ours.
                Some(0) if !some.is_empty() => {}
                Some(count) if count <= some.len() => return Ok(count),
                _ => return Err(Error::Malformed),
            }
        }
    }

    /// Queues all bytes of a blocking stream.
    ///
    /// # Errors
    /// As [`TcpStream::write`].
    pub fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[self.write(bytes)?..];
        }
        Ok(())
    }

    /// Ends one or both directions.
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn shutdown(&self, direction: Direction) -> Result<()> {
        let handle = self.socket.handle;
        self.socket
            .at_once(|operations| operations.shutdown(handle, direction))
    }

    /// This end's address: of a connection that was accepted, its listener's.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Whether calls answer [`Error::WouldBlock`] instead of waiting.
    pub fn set_nonblocking(&self, on: bool) {
        self.socket.non_blocking.set(on);
    }

    /// How long [`TcpStream::read`] waits before it says [`Error::TimedOut`]; with `None` for ever.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no time at all.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        self.socket.set_read_timeout(timeout)
    }
}

/// Copies what fits; returns how many bytes that is.
pub(super) fn copy(bytes: &[u8], buffer: &mut [u8]) -> usize {
    let count = bytes.len().min(buffer.len());
    buffer[..count].copy_from_slice(&bytes[..count]);
    count
}
