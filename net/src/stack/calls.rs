//! What the server's requests do with the stack: [`crate::tcp`] and [`crate::udp`] with
//! the parts of the stack that they work on.

use crate::ip::interface::Interface;
use crate::memory::Memory;
use crate::names::{ConnectionId, DatagramId, Tuple};
use crate::phy::Device;
use crate::stack::Stack;
use crate::tcp::{BEGAN_HERE, Context};
use crate::udp::{self, Destination};
use abi::socket::Address;
use abi::{Error, Result};

impl<D: Device> Stack<D> {
    // --- streams ----------------------------------------------------------------------

    pub fn listen(&mut self, port: u16, backlog: usize) {
        self.tcp.listen(port, backlog);
        self.early_syns.listener_added();
    }

    pub fn unlisten(&mut self, port: u16, now: u64) {
        self.tcp.unlisten(port, now, &mut self.memory);
    }

    /// Starts to connect.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::AddressInUse`] if these two ends are or were just
    /// connected, [`Error::NoMemory`].
    pub fn connect(&mut self, tuple: Tuple, now: u64) -> Result<ConnectionId> {
        if self.hop(tuple.peer.ip)?.is_none() {
            return Err(Error::Unreachable);
        }
        self.tcp
            .connect(tuple, &mut cx(&self.own, &mut self.memory, now))
    }

    /// Lets `fill` put octets into the transmit buffer; it says how many.
    pub fn send(
        &mut self,
        id: ConnectionId,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let mut cx = cx(&self.own, &mut self.memory, self.polled_at);
        self.tcp.send(id, &mut cx, fill)
    }

    pub fn finish(&mut self, id: ConnectionId) {
        let mut cx = cx(&self.own, &mut self.memory, self.polled_at);
        self.tcp.finish(id, &mut cx);
    }

    /// Lets go of a connection: what is queued is still sent, then FIN.
    pub fn close(&mut self, id: ConnectionId, now: u64) {
        self.tcp
            .close(id, &mut cx(&self.own, &mut self.memory, now));
    }

    /// Lets go of a connection with a RST.
    pub fn abort(&mut self, id: ConnectionId, now: u64) {
        self.tcp.drop_held(id, now, &mut self.memory);
    }

    // --- datagrams --------------------------------------------------------------------

    /// Opens a port. All of them leave what is the listeners' to these.
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
        to: Address,
        octets: &[u8],
        now: u64,
    ) -> Result<()> {
        if to.port == 0 {
            return Err(Error::InvalidArgument);
        }
        // A neighbour is its own next hop.
        let hop = match self.neighbors.is_latest(to.ip) {
            true => Some(to.ip),
            false => self.hop(to.ip)?,
        };
        let local = self.source_for(to.ip)?;
        let mut cx = udp::Context {
            own: &self.own,
            neighbors: &mut self.neighbors,
            link: &mut self.link,
            now,
        };
        self.udp
            .send(id, Destination { to, local, hop }, octets, &mut cx)
    }
}

/// What TCP needs of the stack for a call.
fn cx<'a>(own: &'a Interface, memory: &'a mut Memory, now: u64) -> Context<'a> {
    Context { own, memory, now }
}
