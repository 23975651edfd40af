//! What programs ask of a network server: sockets, as messages.
//!
//! A request is a [`Request`] in the message. What a program does with sockets is one of them, a batch
//! of operations and their outcomes ([`crate::batch`]). Bulk data is in lent memory. The answer's status is
//! 0 or an [`crate::Error`]; its payload is an [`Answer`]. Handles belong to the process that made them.
//!
//! Addresses are of IPv4 or of IPv6. Where a local one is given, the unspecified address of either family
//! is "any", and that of IPv6 takes what comes by IPv4, too. Their flow label and scope do not travel: a
//! stack has one link.

mod address;
mod ip;
mod request;

pub use address::Address;
pub use ip::Ip;
pub use request::{Answer, Request};

use crate::{Error, Result};

/// A socket, as the server numbers it: slot and generation, so that a number kept after
/// the socket was closed never means another socket. No socket has number 0.
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

/// Which direction [`crate::batch::Operation::Shutdown`] ends.
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// What comes back as it went.
    pub(crate) const ADDRESSES: [Address; 4] = [
        Address::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), 80),
        Address::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        Address::any(65535),
        Address::new(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4)), 513),
    ];
}
