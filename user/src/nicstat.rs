//! `nicstat`: what a card is and has counted.
//!
//! Only the process that attached to a card may ask the kernel about it, so the program asks
//! the card's network server ([`crate::socket::Server::card`]). The text in between is
//! written and read in [`report`]; [`mod@table`] lays it out for people. [`time`] does so
//! with the kernel's account of the processor's time.

pub mod report;
pub mod table;
pub mod time;
mod words;

pub use report::{BadLine, Report, describe, whole_lines};
pub use table::table;

use alloc::string::String;

/// How to call the program.
pub const USAGE: &str = "\
usage: nicstat[,CARD][,-a][,-r][,-t][,-w[,SECONDS]]
  CARD         which card, counted from 0; 0 if not said
  -a           also the counters that are zero
  -r           plain lines of `name value`, then `nicstat: end`
  -t           where time goes instead: cycles since the start or the last look
  -w[,SECONDS] again and again, with what changed; every second if not said";

/// The last line of a plain report.
pub const END: &str = "nicstat: end";

/// The longest interval: an hour.
const INTERVAL_MAX: u32 = 3600;

/// What the arguments ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The card's number.
    pub card: u8,
    /// Show counters that are zero.
    pub all: bool,
    /// Print the text as the server wrote it.
    pub raw: bool,
    /// Tell where time goes, and not of the card.
    pub time: bool,
    /// Seconds between reports; `None` for one report only.
    pub interval_s: Option<u32>,
}

/// Why arguments make no [`Options`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadArguments {
    /// `--help` was asked for.
    Help,
    /// This one makes no sense.
    Unknown(String),
    /// An interval that is no number of seconds from 1 to 3600.
    Interval(String),
}

impl core::fmt::Display for BadArguments {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BadArguments::Help => f.write_str("help"),
            BadArguments::Unknown(word) => write!(f, "`{word}` is no argument of nicstat"),
            BadArguments::Interval(word) => {
                write!(f, "`{word}` is no interval: 1 to {INTERVAL_MAX} seconds")
            }
        }
    }
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// [`BadArguments`]; the program then prints [`USAGE`].
    pub fn parse<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<Self, BadArguments> {
        let mut options = Options::default();
        let mut arguments = arguments.peekable();
        let mut first = true;
        while let Some(word) = arguments.next() {
            match word {
                "-a" => options.all = true,
                "-r" => options.raw = true,
                "-t" => options.time = true,
                "-w" => {
                    let seconds = arguments.next_if(|next| !next.starts_with('-'));
                    options.interval_s = Some(seconds.map_or(Ok(1), interval)?);
                }
                "-h" | "--help" => return Err(BadArguments::Help),
                _ => match word.parse() {
                    Ok(card) if first => options.card = card,
                    _ => return Err(BadArguments::Unknown(word.into())),
                },
            }
            first = false;
        }
        Ok(options)
    }
}

fn interval(word: &str) -> Result<u32, BadArguments> {
    match word.parse() {
        Ok(seconds @ 1..=INTERVAL_MAX) => Ok(seconds),
        _ => Err(BadArguments::Interval(word.into())),
    }
}

#[cfg(test)]
mod tests;
