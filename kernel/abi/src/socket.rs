//! What programs ask of a network server: sockets, as messages.
//!
//! A request is a [`Request`] in the message, bulk data in lease 0. The answer's status
//! is 0 or an [`Error`]; its payload, if any, is an [`Answer`]. A blocking request that
//! cannot be answered yet is parked by the server; a socket made non-blocking answers
//! [`Error::WouldBlock`] instead. Handles belong to the process that made them.
//!
//! Addresses are of IPv4 or of IPv6. Where a local one is given, the unspecified address of either family
//! is "any", and that of IPv6 takes what comes by IPv4, too. Their flow label and scope do not travel: a
//! stack has one link.

mod address;
mod answer;
mod form;
mod request;

pub use address::Address;
pub use answer::Answer;
pub use form::Form;
pub use request::{POLL_FOREVER, Request};

use crate::wire::Writer;
use crate::{Error, Result};

/// A socket, as the server numbers it: slot and generation, so that a number kept after
/// `close` never means another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

impl Handle {
    /// Bits of the number that are the slot.
    pub const SLOT_BITS: u32 = 15;

    /// Index into the server's table of sockets: of two sockets that are open at a time,
    /// never the same.
    pub const fn slot(self) -> usize {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as usize
    }
}

/// The kinds of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// TCP (RFC 9293).
    Stream = 1,
    /// UDP (RFC 768).
    Datagram = 2,
}

/// Which direction [`Request::Shutdown`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// No more receiving: what arrives is discarded.
    Receive = 0,
    /// No more sending: FIN after what is queued.
    Send = 1,
    /// Both.
    Both = 2,
}

impl Direction {
    /// The direction with this number.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is none.
    pub const fn from_number(number: u8) -> Result<Self> {
        match number {
            0 => Ok(Direction::Receive),
            1 => Ok(Direction::Send),
            2 => Ok(Direction::Both),
            _ => Err(Error::InvalidArgument),
        }
    }
}

/// Bits of [`PollEntry::wanted`] and [`PollEntry::ready`].
pub mod poll {
    /// `recv`, `recvfrom` or `accept` would not block (data, a connection, or the end).
    pub const READABLE: u16 = 1 << 0;
    /// `send` or `sendto` would not block, or `connect` has finished.
    pub const WRITABLE: u16 = 1 << 2;
    /// The connection failed; always reported, wanted or not.
    pub const ERROR: u16 = 1 << 3;
    /// The peer is gone in both directions; always reported.
    pub const HANG_UP: u16 = 1 << 4;
    /// No such socket of yours; always reported.
    pub const INVALID: u16 = 1 << 5;
}

/// One socket of a [`Request::Poll`]: 8 bytes each, an array of them in lease 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollEntry {
    /// The socket.
    pub socket: Handle,
    /// What to wait for.
    pub wanted: u16,
    /// Which of these conditions hold; the server writes it.
    pub ready: u16,
}

impl PollEntry {
    /// Bytes on the wire.
    pub const SIZE: usize = 8;

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes)
            .u32(self.socket.0)
            .u16(self.wanted)
            .u16(self.ready);
        bytes
    }

    /// The structure from bytes.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        PollEntry {
            socket: Handle(u32::from_le_bytes([a, b, c, d])),
            wanted: u16::from_le_bytes([e, f]),
            ready: u16::from_le_bytes([g, h]),
        }
    }
}

/// The most sockets in one [`Request::Poll`].
pub const POLL_MAX: usize = 1024;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    /// What comes back as it went.
    pub(crate) const ADDRESSES: [SocketAddr; 4] = [
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), 80),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 65535),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4)), 513),
    ];

    #[test]
    fn poll_entries_round_trip() {
        let entry = PollEntry {
            socket: Handle(1),
            wanted: poll::READABLE,
            ready: poll::HANG_UP,
        };
        assert_eq!(PollEntry::from_bytes(&entry.to_bytes()), entry);
    }
}
