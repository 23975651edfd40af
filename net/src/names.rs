//! What the layers call connections, datagram ports and their changes when they speak of them.

use core::net::SocketAddrV4;

/// A connection: an index that its holder keeps until it closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) usize);

/// A datagram port, held likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatagramId(pub(crate) usize);

/// Something whose readiness may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Data, its end, an error, room to send, or it was established.
    Stream(ConnectionId),
    /// Something to accept at this port, or not any more.
    Listener(u16),
    /// A datagram, or room to send one.
    Datagrams(DatagramId),
}

/// What tells connections of one address apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    /// The local port.
    pub port: u16,
    /// The other end.
    pub peer: SocketAddrV4,
}
