//! Services that are found by name, and what `init` does on request.
//!
//! A stack is one network server with its own address: it has the number of the card that it has to
//! itself, or the name that `stack=` gives it. Its server registers as `net` and that: `net0`, `netweb`.
//! `init` registers as `init` and starts a service the first time somebody asks for it, so a run whose
//! programs use no sockets never starts a network server.

use crate::wire::{Name, Reader, Wire, Writer};
use crate::{Error, Result};
use core::fmt::{self, Write};
use core::str::FromStr;

/// The name `init` registers under.
pub const INIT: &str = "init";

/// What a stack is called: a card's number, or a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stack(Name<{ Stack::MAX }>);

impl Stack {
    /// The longest name, in bytes.
    pub const MAX: usize = 12;

    /// The stack of the server that has card 0 to itself.
    pub const FIRST: Self = Stack(Name::new("0"));

    /// The name, or the number in digits.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The card's number, if it has that one to itself.
    pub fn card(&self) -> Option<u8> {
        self.as_str().parse().ok()
    }

    /// What its server is registered as.
    pub fn service(&self) -> Name<{ 3 + Stack::MAX }> {
        let mut name = Name::new("net");
        // Writing to a name does not fail.
        let _ = name.write_str(self.as_str());
        name
    }
}

impl FromStr for Stack {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidArgument`] for what is neither a number of a card without leading zeros nor a
    /// name: a lower-case letter, and up to eleven letters, digits and hyphens.
    fn from_str(text: &str) -> Result<Self> {
        let is_number = text
            .parse::<u8>()
            .is_ok_and(|_| text == "0" || !text.starts_with(['0', '+']));
        let is_inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(is_inner)
            && text.len() <= Self::MAX;
        if !is_number && !is_name {
            return Err(Error::InvalidArgument);
        }
        Ok(Stack(Name::new(text)))
    }
}

impl From<u8> for Stack {
    /// The stack of the server that has this card to itself.
    fn from(card: u8) -> Self {
        let mut name = Name::new("");
        // Writing to a name does not fail.
        let _ = write!(name, "{card}");
        Stack(name)
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request to `init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Answer, with the server's [`crate::Pid`] as 4 bytes, once the network server of this stack is
    /// registered; start it if it is not running.
    NetworkServer {
        /// The stack.
        stack: Stack,
    },
}

impl Request {
    /// Bytes on the wire.
    pub const SIZE: usize = 1 + Stack::MAX;

    /// The request as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let Request::NetworkServer { stack } = self;
        (1u8, stack.0).write(&mut Writer::new(&mut bytes));
        bytes
    }

    /// The request from bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchCall`] for an unknown request, [`Error::Malformed`] for a short one,
    /// [`Error::InvalidArgument`] for a name that no stack can have.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            1 => {
                let name = Name::<{ Stack::MAX }>::read(&mut reader)?;
                let stack = name.as_str().parse()?;
                Ok(Request::NetworkServer { stack })
            }
            _ => Err(Error::NoSuchCall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn requests_round_trip() {
        for name in ["3", "web", "255"] {
            let stack = name.parse().unwrap();
            let request = Request::NetworkServer { stack };
            let bytes = request.to_bytes();
            assert_eq!(Request::from_bytes(&bytes), Ok(request));
            assert_eq!(Request::from_bytes(&bytes[..12]), Err(Error::Malformed));
        }
        assert_eq!(Request::from_bytes(&[9, 0]), Err(Error::NoSuchCall));
        assert_eq!(Request::from_bytes(&[1]), Err(Error::Malformed));
        let nameless = [[1].as_slice(), &[0; Stack::MAX]].concat();
        assert_eq!(Request::from_bytes(&nameless), Err(Error::InvalidArgument));
    }

    #[test]
    fn a_stack_is_a_cards_number_or_a_name_and_no_two_servers_are_called_the_same() {
        for card in 0..=u8::MAX {
            let stack = Stack::from(card);
            assert_eq!(stack.to_string(), card.to_string());
            assert_eq!(card.to_string().parse(), Ok(stack));
            assert_eq!(stack.card(), Some(card));
        }
        assert_eq!(Stack::from(0), Stack::FIRST);
        let web: Stack = "web".parse().unwrap();
        assert_eq!((web.card(), web.service().as_str()), (None, "netweb"));
        assert_eq!(Stack::from(10).service().as_str(), "net10");
        for wrong in [
            "",
            "00",
            "07",
            "+7",
            "256",
            "-1",
            "Web",
            "7up",
            "a b",
            "a_",
            "abcdefghijklm",
        ] {
            let refused = wrong.parse::<Stack>();
            assert_eq!(refused, Err(Error::InvalidArgument), "{wrong}");
        }
        assert!("abcdefghi-12".parse::<Stack>().is_ok());
    }
}
