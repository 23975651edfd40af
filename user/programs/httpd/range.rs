//! The `Range` field: one range of bytes (RFC 9110 §14.1).

use super::syntax::{decimal, list};
use core::ops::Range;

/// What of a representation to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: there is no range that we serve.
    Whole,
    /// These bytes, not empty and within its length.
    Part(Range<usize>),
    /// None of the bytes asked for exist.
    Unsatisfiable,
}

/// Reads the field's value for a representation of `len` bytes. Another unit, a value that
/// is not valid, and several ranges that exist mean the whole, which a server may always
/// send instead (RFC 9110 §14.2).
pub fn parse(value: &[u8], len: usize) -> Wanted {
    let Some(ranges) = byte_ranges(value) else {
        return Wanted::Whole;
    };
    let mut wanted = Wanted::Unsatisfiable;
    for range in list(ranges) {
        wanted = match (range_of(range, len), wanted) {
            (None, _) => return Wanted::Whole,
            (Some(Wanted::Unsatisfiable), before) => before,
            (Some(first), Wanted::Unsatisfiable) => first,
            // A second one. That others could be invalid makes no difference.
            _ => return Wanted::Whole,
        };
    }
    wanted
}

/// What follows `bytes=`, if there is a range in it.
fn byte_ranges(value: &[u8]) -> Option<&[u8]> {
    let (unit, ranges) = value.split_at_checked(b"bytes=".len())?;
    let any = unit.eq_ignore_ascii_case(b"bytes=") && list(ranges).next().is_some();
    any.then_some(ranges)
}

/// `first-`, `first-last` or `-count` of `len` bytes; `None` if it is anything else.
fn range_of(range: &[u8], len: usize) -> Option<Wanted> {
    let dash = range.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (position(&range[..dash])?, position(&range[dash + 1..])?);
    let len = len as u64;
    let (start, end) = match (first, last) {
        (None, None) => return None,
        (Some(first), Some(last)) if last < first => return None,
        (Some(first), last) if first < len => (
            first,
            last.map_or(len, |last| last.saturating_add(1).min(len)),
        ),
        // Of nothing, any suffix is all of it.
        (None, Some(1..)) if len == 0 => return Some(Wanted::Whole),
        (None, Some(count @ 1..)) => (len.saturating_sub(count), len),
        _ => return Some(Wanted::Unsatisfiable),
    };
    // Both are at most `len`, which was a usize.
    Some(Wanted::Part(start as usize..end as usize))
}

/// A number if there is one; `None` if it is something else. What is too large for 64
/// bits is beyond any file.
fn position(digits: &[u8]) -> Option<Option<u64>> {
    match digits {
        [] => Some(None),
        _ => decimal(digits).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_thousand_bytes() {
        // RFC 9110 §14.1.2's examples and their edges.
        let cases = [
            ("bytes=0-499", Wanted::Part(0..500)),
            ("bytes=500-999", Wanted::Part(500..1000)),
            ("bytes=-500", Wanted::Part(9500..10_000)),
            ("bytes=9500-", Wanted::Part(9500..10_000)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=-1", Wanted::Part(9999..10_000)),
            ("bytes=0-", Wanted::Part(0..10_000)),
            ("bytes=9999-9999", Wanted::Part(9999..10_000)),
            ("bytes=0-99999", Wanted::Part(0..10_000)),
            ("bytes=-99999", Wanted::Part(0..10_000)),
            ("Bytes=1-2", Wanted::Part(1..3)),
            ("bytes= 1-2 ", Wanted::Part(1..3)),
            ("bytes=5-18446744073709551615", Wanted::Part(5..10_000)),
            ("bytes=5-99999999999999999999999", Wanted::Part(5..10_000)),
            ("bytes=10000-", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=0-0,", Wanted::Part(0..1)),
            ("bytes= ,10000-,0-0", Wanted::Part(0..1)),
            ("bytes=10000-,-0", Wanted::Unsatisfiable),
            ("bytes=10000-,5-4", Wanted::Whole),
            ("bytes=,", Wanted::Whole),
            ("bytes=0-0,-1", Wanted::Whole),
            ("bytes=0-0, 5-6", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1--2", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=1 -2", Wanted::Whole),
        ];
        for (value, wanted) in cases {
            assert_eq!(parse(value.as_bytes(), 10_000), wanted, "{value}");
        }
        assert_eq!(parse(b"bytes=\xff-", 10), Wanted::Whole);
    }

    #[test]
    fn an_empty_file_has_no_range() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-0"] {
            assert_eq!(parse(value.as_bytes(), 0), Wanted::Unsatisfiable, "{value}");
        }
        assert_eq!(parse(b"bytes=-1", 0), Wanted::Whole);
    }
}
