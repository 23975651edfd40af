//! What a network server answers.

use super::Handle;
use super::form::{Fields, Form};
use crate::{Error, Result};
use core::net::SocketAddr;

/// The payload of an answer without error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing more to say.
    Done,
    /// A new socket.
    Socket(Handle),
    /// A new connection and its peer.
    Accepted(Handle, SocketAddr),
    /// Bytes moved, or entries ready.
    Count(u32),
    /// Bytes of the datagram that were stored, and its sender.
    Datagram(u32, SocketAddr),
    /// An address.
    Address(SocketAddr),
}

crate::numbered! {
    #[repr(u8)]
    enum AnswerKind {
        Done = 0,
        Socket = 1,
        Accepted = 2,
        Count = 3,
        Datagram = 4,
        Address = 5,
    }
}

impl Answer {
    /// The answer as bytes.
    pub fn to_bytes(&self) -> Form {
        let new = |kind: AnswerKind, word| Form::new((kind as u8, 0), 0, word);
        let with_address =
            |kind: AnswerKind, word, address| Form::with_address(kind as u8, word, address);
        match *self {
            Answer::Done => new(AnswerKind::Done, 0),
            Answer::Socket(handle) => new(AnswerKind::Socket, handle.0),
            Answer::Accepted(handle, peer) => with_address(AnswerKind::Accepted, handle.0, peer),
            Answer::Count(count) => new(AnswerKind::Count, count),
            Answer::Datagram(count, sender) => with_address(AnswerKind::Datagram, count, sender),
            Answer::Address(address) => with_address(AnswerKind::Address, 0, address),
        }
    }

    /// The answer from bytes; what is behind them is not looked at.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are too few or of no known kind.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields::read(bytes)?;
        let word = fields.word;
        let kind = AnswerKind::from_number(fields.kind).ok_or(Error::Malformed)?;
        Ok(match kind {
            AnswerKind::Done => Answer::Done,
            AnswerKind::Socket => Answer::Socket(Handle(word)),
            AnswerKind::Accepted => Answer::Accepted(Handle(word), fields.address()?),
            AnswerKind::Count => Answer::Count(word),
            AnswerKind::Datagram => Answer::Datagram(word, fields.address()?),
            AnswerKind::Address => Answer::Address(fields.address()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::ADDRESSES;

    #[test]
    fn answers_round_trip() {
        let mut answers = std::vec![
            Answer::Done,
            Answer::Socket(Handle(7)),
            Answer::Count(u32::MAX),
        ];
        for address in ADDRESSES {
            answers.push(Answer::Accepted(Handle(8), address));
            answers.push(Answer::Datagram(9, address));
            answers.push(Answer::Address(address));
        }
        for answer in answers {
            let bytes = answer.to_bytes();
            assert_eq!(Answer::from_bytes(&bytes), Ok(answer));
            let short = &bytes[..bytes.len() - 1];
            assert_eq!(Answer::from_bytes(short), Err(Error::Malformed));
        }
        assert_eq!(Answer::from_bytes(&[6; 24]), Err(Error::Malformed));
    }
}
