//! Names of connections and datagram ports that all layers use.

use core::net::SocketAddrV4;

/// A connection: its slot in the table, which stays the same until its holder closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) usize);

/// A datagram port: its slot in the table, which stays the same until its holder closes the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatagramId(pub(crate) usize);

/// A socket whose readiness may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// It has data, their end, an error, or room to send, or it was established.
    Stream(ConnectionId),
    /// The listener at this port has a connection to accept, or none any more.
    Listener(u16),
    /// It has a datagram, or room to send one.
    Datagrams(DatagramId),
}

/// The ends of a connection. Our address is not part of it, since there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    /// The local port.
    pub port: u16,
    /// The address and port of the peer.
    pub peer: SocketAddrV4,
}
