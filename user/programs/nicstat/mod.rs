//! `nicstat`: what a card is and has counted.
//!
//! Only the process that attached to a card may ask the kernel about it, so the program asks
//! the card's network server ([`runtime::socket::Server::card`]). The text in between is
//! written and read in [`report`]; [`mod@table`] lays it out for people. [`time`] does so
//! with the kernel's account of the processor's time.

pub mod report;
pub mod table;
pub mod time;
mod words;

pub use report::{BadLine, Report, describe, whole_lines};
pub use table::table;

use abi::service::Stack;
use alloc::string::String;
use runtime::args::Args;

/// How to call the program.
pub const USAGE: &str = "\
usage: nicstat[,STACK][,-a][,-r][,-s][,-t][,-w[,SECONDS]]
  prints what a card is and has counted, or where time goes
  STACK        of which stack: the number of the card that it has to itself, or
               its name; if not said, the one this program was started for
  -a           also the counters that are zero
  -r           plain lines of `name value`, then `nicstat: end`
  -s           also what the network server counts: a verdict for each frame
  -t           where time goes instead: cycles since the start or the last look
  -w[,SECONDS] again and again, with what changed; every second if not said";

/// The last line of a plain report.
pub const END: &str = "nicstat: end";

/// The longest interval: an hour.
const INTERVAL_MAX: u32 = 3600;

/// What the arguments ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Of which stack; `None` for the one that the program was started for.
    pub stack: Option<Stack>,
    /// Show counters that are zero.
    pub all: bool,
    /// Print the text as the server wrote it.
    pub plain: bool,
    /// Tell also what the network server has counted, each with its verdict.
    pub server: bool,
    /// Tell where time goes, and not of the card.
    pub time: bool,
    /// Seconds between reports; `None` for one report only.
    pub interval_s: Option<u32>,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// In words.
    pub fn parse(args: &mut Args<'_>) -> Result<Self, String> {
        let mut options = Options::default();
        let mut first = true;
        while let Some(word) = args.next() {
            match word {
                "-a" => options.all = true,
                "-r" => options.plain = true,
                "-s" => options.server = true,
                "-t" => options.time = true,
                "-w" => {
                    let follows = args.clone().next();
                    options.interval_s = match follows {
                        Some(seconds) if !seconds.starts_with('-') => {
                            args.next();
                            Some(interval(seconds)?)
                        }
                        _ => Some(1),
                    };
                }
                _ => match word.parse() {
                    Ok(stack) if first => options.stack = Some(stack),
                    _ => return Err(args.unknown(word)),
                },
            }
            first = false;
        }
        Ok(options)
    }
}

fn interval(word: &str) -> Result<u32, String> {
    match word.parse() {
        Ok(seconds @ 1..=INTERVAL_MAX) => Ok(seconds),
        _ => Err(alloc::format!(
            "`{word}` is no interval: 1 to {INTERVAL_MAX} seconds"
        )),
    }
}

#[cfg(test)]
mod tests;
