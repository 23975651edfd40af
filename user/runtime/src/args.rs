//! A program's arguments: what follows its name on the kernel command line, separated by
//! commas, as in `run=testoutput,100`.
//!
//! [`crate::entry!`] names a program's usage text and, if it takes arguments, a function that
//! reads them from an [`Args`]. What no program needs to do itself is done here: `-h` prints
//! the usage, and arguments that make no sense, or that nobody has read, end the program with
//! a line that says which, and the usage.

use crate::{println, start};
use abi::exit;
use alloc::format;
use alloc::string::String;
use core::str::{FromStr, Split};

/// Arguments, read one after the other.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    words: core::iter::Take<Split<'a, char>>,
    read: usize,
}

impl<'a> Args<'a> {
    /// Takes an argument string apart. An empty string has no arguments.
    pub fn new(raw: &'a str) -> Self {
        let most = if raw.is_empty() { 0 } else { usize::MAX };
        Args {
            words: raw.split(',').take(most),
            read: 0,
        }
    }

    /// The next argument as a `T`; `default` if there is none.
    ///
    /// # Errors
    /// In words, if it is there but is no `what`.
    pub fn parsed<T: FromStr>(&mut self, what: &str, default: T) -> Result<T, String> {
        match self.next() {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("argument {}: `{text}` is no {what}", self.read)),
        }
    }

    /// Whether the next argument, if there is one, is the word `known`.
    ///
    /// # Errors
    /// In words, if it is another.
    pub fn word(&mut self, known: &str) -> Result<bool, String> {
        match self.next() {
            None => Ok(false),
            Some(word) if word == known => Ok(true),
            Some(other) => Err(self.unknown(other)),
        }
    }

    /// What is to be said of the argument `word`, which was read last, if it is not known.
    pub fn unknown(&self, word: &str) -> String {
        format!("argument {}: `{word}` is unknown", self.read)
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.next()?;
        self.read += 1;
        Some(word)
    }
}

/// Why a program does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// Its usage was asked for.
    Help,
    /// An argument makes no sense.
    Wrong(String),
}

fn parse<'a, T>(
    raw: &'a str,
    options: impl FnOnce(&mut Args<'a>) -> Result<T, String>,
) -> Result<T, Refusal> {
    let mut args = Args::new(raw);
    if args.clone().any(|word| matches!(word, "-h" | "--help")) {
        return Err(Refusal::Help);
    }
    let options = options(&mut args).map_err(Refusal::Wrong)?;
    match args.next() {
        None => Ok(options),
        Some(word) => Err(Refusal::Wrong(args.unknown(word))),
    }
}

/// Reads this program's arguments with `options`, all of them; for [`crate::entry!`].
///
/// # Errors
/// The exit code, after the usage was printed and, unless it was asked for, what is wrong.
#[cold]
pub fn read<T>(
    usage: &str,
    options: impl FnOnce(&mut Args<'static>) -> Result<T, String>,
) -> Result<T, u32> {
    parse(start::raw_args(), options).map_err(|refusal| match refusal {
        Refusal::Help => {
            println!("{usage}");
            exit::DONE
        }
        Refusal::Wrong(why) => {
            println!("{}: {why}\n{usage}", start::name());
            exit::BAD_USAGE
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_apart_at_commas() {
        let words = |raw| Args::new(raw).collect::<Vec<_>>();
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words("100"), ["100"]);
        assert_eq!(words("10.0.2.2,,7"), ["10.0.2.2", "", "7"]);
    }

    fn count_and_burst(args: &mut Args<'_>) -> Result<(u32, bool), String> {
        Ok((args.parsed("count", 10)?, args.word("burst")?))
    }

    #[test]
    fn a_missing_argument_is_the_default_and_a_wrong_one_is_named() {
        let parse = |raw| parse(raw, count_and_burst);
        let wrong = |words: &str| Err(Refusal::Wrong(words.into()));
        assert_eq!(parse(""), Ok((10, false)));
        assert_eq!(parse("6,burst"), Ok((6, true)));
        assert_eq!(parse("six"), wrong("argument 1: `six` is no count"));
        assert_eq!(parse("6,bust"), wrong("argument 2: `bust` is unknown"));
    }

    #[test]
    fn what_the_program_does_not_read_is_told() {
        let wrong = |words: &str| Refusal::Wrong(words.into());
        assert_eq!(
            parse("6,burst,7,8", count_and_burst),
            Err(wrong("argument 3: `7` is unknown"))
        );
        assert_eq!(
            parse("x", |_| Ok(())),
            Err(wrong("argument 1: `x` is unknown"))
        );
    }

    #[test]
    fn help_comes_before_all_else() {
        for raw in ["-h", "--help", "six,-h", "6,burst,7,--help"] {
            assert_eq!(parse(raw, count_and_burst), Err(Refusal::Help), "{raw}");
        }
    }
}
