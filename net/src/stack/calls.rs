//! What the server's requests do with the stack: [`crate::tcp`] and [`crate::udp`] with
//! the parts of the stack that they work on.

use crate::memory::Memory;
use crate::names::{ConnectionId, DatagramId, Tuple};
use crate::phy::Device;
use crate::stack::Stack;
use crate::tcp::{BEGAN_HERE, Stage};
use abi::{Error, Result};
use core::net::SocketAddrV4;

impl<D: Device> Stack<D> {
    // --- streams ----------------------------------------------------------------------

    /// Whether a connection or its remains use this local link.
    pub fn uses_port(&self, port: u16) -> bool {
        self.tcp.uses_port(port)
    }

    /// Whether these ends are neither connected nor were just now.
    pub fn may_connect(&self, tuple: Tuple, now: u64) -> bool {
        self.tcp.may_connect(&tuple, now)
    }

    pub fn listen(&mut self, port: u16, backlog: usize) {
        self.tcp.listen(port, backlog);
        self.early.heard();
    }

    pub fn unlisten(&mut self, port: u16, now: u64) {
        self.tcp.unlisten(port, now, &mut self.memory);
    }

    pub fn can_accept(&self, port: u16) -> bool {
        self.tcp.can_accept(port)
    }

    pub fn accept(&mut self, port: u16) -> Option<(ConnectionId, SocketAddrV4)> {
        self.tcp.accept(port)
    }

    /// Starts to connect.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::AddressInUse`] if these two ends are or were just
    /// connected, [`Error::NoMemory`].
    pub fn connect(&mut self, tuple: Tuple, now: u64) -> Result<ConnectionId> {
        if self.hop(*tuple.peer.ip())?.is_none() {
            return Err(Error::Unreachable);
        }
        self.tcp.connect(tuple, now, &self.own, &mut self.memory)
    }

    pub fn stage(&self, id: ConnectionId) -> Stage {
        self.tcp.stage(id)
    }

    pub fn tuple(&self, id: ConnectionId) -> Option<Tuple> {
        self.tcp.tuple(id)
    }

    pub fn has_error(&self, id: ConnectionId) -> bool {
        self.tcp.has_error(id)
    }

    pub fn take_error(&mut self, id: ConnectionId) -> Option<Error> {
        self.tcp.take_error(id)
    }

    /// Whether there is something to hear: octets, their end, or an error.
    pub fn has_news(&self, id: ConnectionId) -> bool {
        self.tcp.has_news(id)
    }

    /// Octets that wait to be read.
    pub fn received(&self, id: ConnectionId) -> usize {
        self.tcp.received(id)
    }

    /// Whether nothing more will arrive than waits to be read.
    pub fn at_end(&self, id: ConnectionId) -> bool {
        self.tcp.at_end(id)
    }

    /// Free octets of the transmit buffer; `None` if nothing can be sent any more.
    pub fn room(&self, id: ConnectionId) -> Option<usize> {
        self.tcp.room(id)
    }

    /// How much room is worth a call of its program.
    pub fn worthwhile(&self, id: ConnectionId) -> usize {
        self.tcp.worthwhile(id)
    }

    /// Whether both directions have ended.
    pub fn hung_up(&self, id: ConnectionId) -> bool {
        self.tcp.hung_up(id)
    }

    /// Lets `fill` put octets into the transmit buffer; it says how many.
    pub fn send(
        &mut self,
        id: ConnectionId,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let around = (&self.own, self.polled_at, &mut self.memory);
        self.tcp.send(id, around, fill)
    }

    /// Lets `drain` look at received octets; it says how many it took.
    pub fn receive_from(
        &mut self,
        id: ConnectionId,
        drain: impl FnOnce(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        self.tcp.receive(id, drain)
    }

    pub fn finish(&mut self, id: ConnectionId) {
        let around = (&self.own, self.polled_at, &mut self.memory);
        self.tcp.finish(id, around);
    }

    pub fn deafen(&mut self, id: ConnectionId) {
        self.tcp.deafen(id);
    }

    /// Lets go of a connection: what is queued is still sent, then FIN.
    pub fn close(&mut self, id: ConnectionId, now: u64) {
        self.tcp.close(id, &self.own, now, &mut self.memory);
    }

    /// Lets go of a connection with a RST.
    pub fn abort(&mut self, id: ConnectionId, now: u64) {
        self.tcp.drop_held(id, now, &mut self.memory);
    }

    // --- datagrams --------------------------------------------------------------------

    /// Opens a link. All of them leave what is the listeners' to these.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::InvalidArgument`] for port 0.
    pub fn open_datagrams(&mut self, port: u16) -> Result<DatagramId> {
        let (tcp, now) = (&mut self.tcp, self.polled_at);
        let make_room =
            |octets, memory: &mut Memory| tcp.make_room(BEGAN_HERE, octets, now, memory);
        self.udp.open(port, &mut self.memory, make_room)
    }

    /// Closes a port; what is queued is still sent.
    pub fn close_datagrams(&mut self, id: DatagramId, now: u64) {
        self.udp.close(id, Some(now), &mut self.memory);
    }

    /// Closes a port at once.
    pub fn drop_datagrams(&mut self, id: DatagramId) {
        self.udp.close(id, None, &mut self.memory);
    }

    /// Queues a datagram.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] without room, [`Error::TooLong`], [`Error::Unreachable`],
    /// [`Error::InvalidArgument`] for no address.
    pub fn send_datagram(
        &mut self,
        id: DatagramId,
        to: SocketAddrV4,
        octets: &[u8],
        now: u64,
    ) -> Result<()> {
        if to.port() == 0 {
            return Err(Error::InvalidArgument);
        }
        // A neighbour is its own next hop.
        let hop = match self.neighbors.is_latest(*to.ip()) {
            true => Some(*to.ip()),
            false => self.hop(*to.ip())?,
        };
        let around = (&self.own, &mut self.neighbors, &mut self.link);
        self.udp.send(id, (to, hop), octets, now, around)
    }

    pub fn can_send_datagram(&self, id: DatagramId) -> bool {
        self.udp.can_send(id)
    }

    /// The sender of the next datagram that waits.
    pub fn datagram_sender(&mut self, id: DatagramId) -> Option<SocketAddrV4> {
        self.udp.sender(id)
    }

    /// Lets `take` look at the next datagram; it is gone if that succeeds.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is none; those of `take`.
    pub fn receive_datagram<R>(
        &mut self,
        id: DatagramId,
        take: impl FnOnce(&[u8], SocketAddrV4) -> Result<R>,
    ) -> Result<R> {
        self.udp.receive(id, take)
    }

    /// Throws the next datagram away.
    pub fn skip_datagram(&mut self, id: DatagramId) {
        self.udp.skip(id);
    }
}
