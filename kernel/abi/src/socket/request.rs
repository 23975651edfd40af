//! What a program asks for, and what it is answered.

use crate::wire::{Reader, Writer};
use crate::{Error, Result};

/// A request to a network server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Does the operations in lease 1 and waits for outcomes, which it writes into lease 0
    /// (writable): see [`crate::batch`].
    Batch {
        /// How many operations.
        operations: u16,
        /// In milliseconds; [`crate::batch::NO_TIMEOUT`] waits without end, 0 only looks.
        timeout_ms: u32,
    },
    /// Writes the server's state as lines of text, "name value", into lease 0.
    Status,
    /// Writes the card's description and counters as lines of text, "name value", into
    /// lease 0, as many whole lines as fit.
    Card,
}

crate::numbered! {
    #[repr(u8)]
    enum RequestKind {
        Batch = 1,
        Status = 2,
        Card = 3,
    }
}

impl Request {
    /// Bytes on the wire.
    pub const SIZE: usize = 8;

    /// The request as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let (kind, operations, timeout_ms) = match *self {
            Request::Batch {
                operations,
                timeout_ms,
            } => (RequestKind::Batch, operations, timeout_ms),
            Request::Status => (RequestKind::Status, 0, 0),
            Request::Card => (RequestKind::Card, 0, 0),
        };
        let mut bytes = [0; Self::SIZE];
        let mut writer = Writer::new(&mut bytes);
        writer.u16(kind as u16).u16(operations).u32(timeout_ms);
        bytes
    }

    /// Whether these bytes are [`Request::Card`]; of another request it is told by the first.
    pub fn is_card(bytes: &[u8]) -> bool {
        bytes.first() == Some(&(RequestKind::Card as u8))
            && Self::from_bytes(bytes) == Ok(Request::Card)
    }

    /// The request from bytes; what is behind them is not looked at.
    ///
    /// # Errors
    /// [`Error::NoSuchCall`] for an unknown request, [`Error::Malformed`] for a short
    /// message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (kind, operations, timeout_ms) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let kind = u8::try_from(kind).ok().and_then(RequestKind::from_number);
        Ok(match kind.ok_or(Error::NoSuchCall)? {
            RequestKind::Batch => Request::Batch {
                operations,
                timeout_ms,
            },
            RequestKind::Status => Request::Status,
            RequestKind::Card => Request::Card,
        })
    }
}

/// The payload of an answer without error: how many bytes lease 0 has now. Those of a batch may follow
/// the answer instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer(pub u32);

impl Answer {
    /// Bytes on the wire: as many as of a request.
    pub const SIZE: usize = Request::SIZE;

    /// The answer as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        u64::from(self.0).to_le_bytes()
    }

    /// The answer from bytes; what is behind them is not looked at.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are too few, or too many bytes were written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let count = Reader::new(bytes).u64()?;
        u32::try_from(count)
            .map(Answer)
            .map_err(|_| Error::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::NO_TIMEOUT;

    #[test]
    fn requests_and_answers_round_trip() {
        for request in [
            Request::Batch {
                operations: 513,
                timeout_ms: NO_TIMEOUT,
            },
            Request::Status,
            Request::Card,
        ] {
            let bytes = request.to_bytes();
            assert_eq!(Request::from_bytes(&bytes), Ok(request));
            assert_eq!(Request::from_bytes(&bytes[..7]), Err(Error::Malformed));
            assert_eq!(Request::is_card(&bytes), request == Request::Card);
        }
        for answer in [0, 513, u32::MAX].map(Answer) {
            let bytes = answer.to_bytes();
            assert_eq!(Answer::from_bytes(&bytes), Ok(answer));
            assert_eq!(Answer::from_bytes(&bytes[..7]), Err(Error::Malformed));
        }
    }

    #[test]
    fn hostile_requests_and_answers_are_refused() {
        for (at, value) in [(0, 0), (0, 4), (0, 255), (1, 1)] {
            let mut bytes = Request::Status.to_bytes();
            bytes[at] = value;
            assert_eq!(Request::from_bytes(&bytes), Err(Error::NoSuchCall));
        }
        assert_eq!(Request::from_bytes(&[]), Err(Error::Malformed));
        assert_eq!(Answer::from_bytes(&[255; 8]), Err(Error::Malformed));
    }
}
