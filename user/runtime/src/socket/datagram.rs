//! UDP, as `std::net` has it.

use super::batch::Event;
use super::stream::copy;
use super::{Address, Handle, NOW, Server, Socket, Until};
use crate::{Error, Result, time};
use core::cell::Cell;
use core::net::SocketAddr;
use core::time::Duration;

/// How long a call tries to send a datagram that has found no room, before there is another, in nanoseconds.
const AGAIN_NS: u64 = 10_000_000;

/// A UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    /// The only one to whom and from whom.
    peer: Cell<Option<Address>>,
}

impl UdpSocket {
    pub(super) const fn of(socket: Socket) -> Self {
        UdpSocket {
            socket,
            peer: Cell::new(None),
        }
    }

    /// A socket at `address` of the program's own stack.
    ///
    /// # Errors
    /// As [`Server::ours`] and [`Server::datagram`].
    pub fn bind(address: SocketAddr) -> Result<UdpSocket> {
        Server::ours()?.datagram(address)
    }

    /// Its number at its network server, for [`super::batch`].
    pub fn handle(&self) -> Handle {
        self.socket.handle
    }

    /// Sets the peer of [`UdpSocket::send`]; datagrams of others are thrown away.
    pub fn connect(&self, address: SocketAddr) {
        self.peer.set(Some(address.into()));
    }

    /// Sends one datagram to the peer.
    ///
    /// # Errors
    /// [`Error::NotConnected`], and as [`UdpSocket::send_to`].
    pub fn send(&self, datagram: &[u8]) -> Result<usize> {
        let peer = self.peer.get().ok_or(Error::NotConnected)?;
        self.send_to(datagram, peer.to_socket_addr())
    }

    /// Takes one datagram of the peer; what does not fit is lost.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        self.recv_from(buffer).map(|(len, _)| len)
    }

    /// Sends one datagram to `address`.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], [`Error::TooLong`], [`Error::Unreachable`],
    /// [`Error::PeerDied`].
    pub fn send_to(&self, datagram: &[u8], address: SocketAddr) -> Result<usize> {
        // Nothing is told of one that has left: while there is room, nothing is waited for.
        let mut until = NOW;
        loop {
            let unsent = self.socket.server.perform(
                0,
                until,
                |operations| operations.send_to(self.socket.handle, datagram, address.into()),
                |event| matches!(event, Event::Unsent { .. }).then_some(()),
            )?;
            match unsent {
                None => return Ok(datagram.len()),
                Some(()) if self.socket.until_sent() == NOW => return Err(Error::WouldBlock),
                Some(()) => until = Until::Some(time::clock_ns() + AGAIN_NS),
            }
        }
    }

    /// Takes one datagram and its sender; what does not fit is lost.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if non-blocking and there is none, [`Error::TimedOut`],
    /// [`Error::PeerDied`].
    pub fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        let (handle, max) = (self.socket.handle, buffer.len());
        let until = self.socket.until_received();
        loop {
            let (len, from) = self.socket.receive(
                max,
                until,
                |operations| operations.receive_from(handle, 1, max),
                |event| match event {
                    Event::Datagram { from, bytes, .. } => Some((copy(bytes, buffer), from)),
                    _ => None,
                },
            )?;
            if self.peer.get().is_none_or(|peer| peer == from) {
                return Ok((len, from.to_socket_addr()));
            }
        }
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local
    }

    /// Whether calls answer [`Error::WouldBlock`] instead of waiting.
    pub fn set_nonblocking(&self, on: bool) {
        self.socket.non_blocking.set(on);
    }

    /// How long a call that receives waits before it says [`Error::TimedOut`]; with `None` for ever.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no time at all.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        self.socket.set_read_timeout(timeout)
    }
}
