//! Names of connections and datagram ports that all layers use.

use crate::ip::interface::Local;
use abi::socket::Address;

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

/// The ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    /// The local port.
    pub port: u16,
    /// The local address.
    pub local: Local,
    /// The address and port of the peer.
    pub peer: Address,
}

#[cfg(test)]
impl Tuple {
    /// A connection of our IPv4 address.
    pub fn v4(port: u16, peer: core::net::SocketAddrV4) -> Self {
        Tuple {
            port,
            local: Local::IPV4,
            peer: peer.into(),
        }
    }
}
