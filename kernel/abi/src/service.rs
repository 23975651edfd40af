//! Services that are found by name, and what `init` does on request.
//!
//! A network server registers as `net` and the number of its card: `net0` serves card 0.
//! `init` registers as `init` and starts a service the first time somebody asks for it,
//! so a run whose programs use no sockets never starts a network server.

use crate::wire::{Reader, Writer};
use crate::{Error, Result};

/// The name `init` registers under.
pub const INIT: &str = "init";

/// The name of the network server of a card.
pub fn network_server(card: u8) -> [u8; 4] {
    [b'n', b'e', b't', b'0' + card % 10]
}

/// A request to `init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Answer, with the server's [`crate::Pid`] as 4 bytes, once the network server of
    /// this card is registered; start it if it is not running.
    NetworkServer {
        /// The card's number.
        card: u8,
    },
}

impl Request {
    /// Bytes on the wire.
    pub const SIZE: usize = 2;

    /// The request as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        match self {
            Request::NetworkServer { card } => Writer::new(&mut bytes).u8(1).u8(*card),
        };
        bytes
    }

    /// The request from bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchCall`] for an unknown request, [`Error::Malformed`] for a short one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            1 => Ok(Request::NetworkServer { card: reader.u8()? }),
            _ => Err(Error::NoSuchCall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip() {
        let request = Request::NetworkServer { card: 3 };
        assert_eq!(Request::from_bytes(&request.to_bytes()), Ok(request));
        assert_eq!(Request::from_bytes(&[9, 0]), Err(Error::NoSuchCall));
        assert_eq!(Request::from_bytes(&[1]), Err(Error::Malformed));
        assert_eq!(&network_server(0), b"net0");
    }
}
