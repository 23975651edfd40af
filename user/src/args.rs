//! A program's arguments: what follows its name on the kernel command line, separated by
//! commas, as in `run=testoutput,100`.

use alloc::string::String;
use core::str::FromStr;

/// All arguments, in order.
pub fn all() -> impl Iterator<Item = &'static str> {
    split(crate::start::raw_args())
}

/// Takes an argument string apart. An empty string has no arguments.
pub fn split(raw: &str) -> impl Iterator<Item = &str> {
    raw.split(',')
        .take(if raw.is_empty() { 0 } else { usize::MAX })
}

/// Argument number `index`, from 0, as a `T`; `default` if there is none.
///
/// # Errors
/// In words, if it is there but is no `what`.
pub fn parsed<T: FromStr>(index: usize, what: &str, default: T) -> Result<T, String> {
    parse_in(crate::start::raw_args(), index, what, default)
}

fn parse_in<T: FromStr>(raw: &str, index: usize, what: &str, default: T) -> Result<T, String> {
    match split(raw).nth(index) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| alloc::format!("argument {}: `{text}` is no {what}", index + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_apart_at_commas() {
        assert_eq!(split("").count(), 0);
        assert_eq!(split("100").collect::<Vec<_>>(), ["100"]);
        assert_eq!(
            split("10.0.2.2,,7").collect::<Vec<_>>(),
            ["10.0.2.2", "", "7"]
        );
    }

    #[test]
    fn a_missing_argument_is_the_default_and_a_wrong_one_is_named() {
        assert_eq!(parse_in("", 0, "count", 10), Ok(10));
        assert_eq!(parse_in("5,6", 1, "count", 10), Ok(6));
        assert_eq!(
            parse_in("5,six", 1, "count", 10),
            Err("argument 2: `six` is no count".into())
        );
    }
}
