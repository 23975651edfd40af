//! The `Range` field: one range of bytes (RFC 9110 §14.1).

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
/// is not valid, and several ranges at once mean the whole, which a server may always
/// send instead (RFC 9110 §14.2).
pub fn parse(value: &[u8], len: usize) -> Wanted {
    let Some(range) = single(value) else {
        return Wanted::Whole;
    };
    let len = len as u64;
    let (start, end) = match range {
        (Some(first), last) if first < len => (
            first,
            last.map_or(len, |last| last.saturating_add(1).min(len)),
        ),
        (None, Some(count)) if count > 0 && len > 0 => (len.saturating_sub(count), len),
        _ => return Wanted::Unsatisfiable,
    };
    // Both are at most `len`, which was a usize.
    Wanted::Part(start as usize..end as usize)
}

/// `bytes=first-`, `bytes=first-last` or `bytes=-count`; `None` if it is anything else.
fn single(value: &[u8]) -> Option<(Option<u64>, Option<u64>)> {
    let text = core::str::from_utf8(value).ok()?.trim_ascii();
    let (unit, ranges) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = ranges.trim_ascii().split_once('-')?;
    let (first, last) = (position(first)?, position(last)?);
    match (first, last) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        range => Some(range),
    }
}

/// A number if there is one; `None` if it is something else. What is too large for 64
/// bits is beyond any file.
fn position(digits: &str) -> Option<Option<u64>> {
    match digits {
        "" => Some(None),
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
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
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(parse(value.as_bytes(), 0), Wanted::Unsatisfiable, "{value}");
        }
    }
}
