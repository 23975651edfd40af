//! Who is connected, and names.

use super::RECEIVE;
use super::line::Decoder;
use super::log::Place;
use super::pace::Pace;
use super::{AT_ONCE, LINE_NS};
use alloc::string::String;
use alloc::vec::Vec;

/// The most characters of a name.
pub const NAME_MAX: usize = 16;

/// What is asked of a connection's receiving direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// Nothing: its next octets are to be asked for.
    Quiet,
    /// Its next octets are asked for.
    Asked,
    /// Octets are there that are not looked at yet, so no more are wanted.
    Waits,
    /// The same, and they are the last.
    Ended,
}

/// What its sending direction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It takes more.
    Free,
    /// It has taken less than was there, and not said that it has room again.
    Stalled,
    /// It was given its last octets, and will be closed behind them.
    Closing,
    /// It is to be closed at once.
    Lost,
}

/// Somebody who is connected.
#[derive(Debug)]
pub struct Person {
    /// Empty: not in the room any more, or never.
    pub name: String,
    pub decoder: Decoder,
    /// Octets that the decoder has not had.
    pub pending: Vec<u8>,
    pub pace: Pace,
    /// When the last line came.
    pub spoke: u64,
    pub hearing: Hearing,
    pub sending: Sending,
    /// How much of the log was sent, and how much was before the last turn.
    pub sent: Place,
    pub before: Place,
    /// The connection is closed before this record.
    pub until: Option<u64>,
}

impl Person {
    /// Somebody who is to read the log from a place on.
    pub fn new(name: String, place: Place, now: u64) -> Self {
        Person {
            name,
            decoder: Decoder::default(),
            pending: Vec::new(),
            pace: Pace::new(LINE_NS, AT_ONCE),
            spoke: now,
            hearing: Hearing::Asked,
            sending: Sending::Free,
            sent: place,
            before: place,
            until: None,
        }
    }

    /// Whether others see it in the room.
    pub fn is_here(&self) -> bool {
        !self.name.is_empty()
    }

    /// How many octets are wanted of it.
    pub fn wants(&self) -> usize {
        match self.hearing {
            Hearing::Quiet | Hearing::Asked if self.until.is_none() => RECEIVE,
            _ => 0,
        }
    }
}

/// Why nobody can have a name.
pub fn refusal(name: &str) -> Option<String> {
    let is_fit = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    let is_name = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_fit);
    let words = || alloc::format!("* a name has 1 to {NAME_MAX} letters, digits, - and _\n");
    (!is_name).then(words)
}
