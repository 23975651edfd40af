//! The kinds of socket: what each is to the stack, what can be done with it, how one is made, and what
//! becomes of it when it is closed.
//!
//! A new kind is a variant of [`Kind`] with its arms here, and the operation that makes it.

use crate::ipc::Ipc;
use crate::names::{Change, ConnectionId, DatagramId, Tuple};
use crate::phy::Device;
use crate::sockets::Sockets;
use abi::socket::{Address, Handle};
use abi::{Error, Pid, Result};

/// What a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It takes connections at this port.
    Listener(u16),
    /// A connection, perhaps not complete yet.
    Stream(ConnectionId),
    /// A datagram port.
    Datagrams(DatagramId),
}

impl Kind {
    /// What the stack calls it when it announces a change.
    pub fn subject(self) -> Change {
        match self {
            Kind::Listener(port) => Change::Listener(port),
            Kind::Stream(id) => Change::Stream(id),
            Kind::Datagrams(id) => Change::Datagrams(id),
        }
    }

    /// Whether its port is one for datagrams.
    pub fn is_datagram(self) -> bool {
        matches!(self, Kind::Datagrams(_))
    }

    /// Whether connections can be accepted.
    pub fn accepts(self) -> Result<()> {
        match self {
            Kind::Listener(_) => Ok(()),
            Kind::Stream(_) => Err(Error::InvalidArgument),
            Kind::Datagrams(_) => Err(Error::NotSupported),
        }
    }

    /// The connection, whose octets can be sent and received.
    pub fn connection(self) -> Result<ConnectionId> {
        match self {
            Kind::Stream(id) => Ok(id),
            Kind::Listener(_) => Err(Error::NotConnected),
            Kind::Datagrams(_) => Err(Error::NotSupported),
        }
    }

    /// The port of which datagrams can be sent and received.
    #[inline]
    pub fn datagrams(self) -> Result<DatagramId> {
        match self {
            Kind::Datagrams(id) => Ok(id),
            Kind::Listener(_) | Kind::Stream(_) => Err(Error::NotSupported),
        }
    }
}

/// A socket that was made, and its local address.
pub(crate) type Opened = (Handle, Address);

impl<D: Device> Sockets<D> {
    /// Makes a socket that takes connections.
    #[cold]
    pub fn listen(
        &mut self,
        client: Pid,
        (address, backlog): (Address, usize),
        ipc: &mut impl Ipc,
    ) -> Result<Opened> {
        let port = self.local_port(address, false)?;
        let socket = self.open(client, port, ipc, |sockets| {
            sockets.stack.listen(port, backlog);
            Ok(Kind::Listener(port))
        })?;
        Ok((socket, Address { port, ..address }))
    }

    /// Makes a datagram socket.
    #[cold]
    pub fn bind(&mut self, client: Pid, address: Address, ipc: &mut impl Ipc) -> Result<Opened> {
        let port = self.local_port(address, true)?;
        let socket = self.open(client, port, ipc, |sockets| {
            sockets.stack.open_datagrams(port).map(Kind::Datagrams)
        })?;
        Ok((socket, Address { port, ..address }))
    }

    /// Makes a stream socket and begins its connection.
    #[cold]
    pub fn connect(
        &mut self,
        client: Pid,
        address: Address,
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Opened> {
        let peer = address;
        if peer.port == 0 || peer.ip.is_unspecified() {
            return Err(Error::InvalidArgument);
        }
        let local = self.stack.source_for(peer.ip)?;
        let port = self.free_port(false, Some((local, peer, now)))?;
        let socket = self.open(client, port, ipc, |sockets| {
            let id = sockets.stack.connect(Tuple { port, local, peer }, now)?;
            Ok(Kind::Stream(id))
        })?;
        self.handles.get_mut(socket, client)?.armed.connecting = true;
        let ip = self.stack.address_of(local);
        Ok((socket, Address { ip, port }))
    }

    /// Makes a socket of what `make` makes, at this port, if its owner may have one.
    fn open(
        &mut self,
        client: Pid,
        port: u16,
        ipc: &mut impl Ipc,
        make: impl FnOnce(&mut Self) -> Result<Kind>,
    ) -> Result<Handle> {
        self.handles.make_room(client, ipc)?;
        match make(self) {
            Ok(kind) => self.handles.insert(client, kind, Some(port)),
            Err(error) => {
                self.handles.spare_room();
                Err(error)
            }
        }
    }

    /// Frees what a socket of this kind held that is not in the table any more.
    pub fn free(&mut self, kind: Kind, now: u64, abort: bool) {
        match (kind, abort) {
            (Kind::Listener(port), _) => self.stack.unlisten(port, now),
            (Kind::Stream(id), true) => self.stack.abort(id, now),
            (Kind::Stream(id), false) => self.stack.close(id, now),
            (Kind::Datagrams(id), true) => self.stack.drop_datagrams(id),
            (Kind::Datagrams(id), false) => self.stack.close_datagrams(id, now),
        }
    }
}
