//! The elements that HTTP's grammar is made of (RFC 9110 §5.5, §5.6). Each reader takes one
//! element from the start of some bytes and returns what follows it.

/// Whether a byte may be in a token, such as a field's name (RFC 9110 §5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a byte may be in a field's value: a visible character, a space or tab, or an
/// opaque one above ASCII (RFC 9110 §5.5).
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// What follows spaces and tabs (RFC 9110 §5.6.3).
pub fn after_whitespace(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| !b" \t".contains(byte));
    &bytes[end.unwrap_or(bytes.len())..]
}

/// What follows a token; `None` if there is none.
pub fn after_token(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|&byte| !is_token_byte(byte));
    let end = end.unwrap_or(bytes.len());
    (end > 0).then(|| &bytes[end..])
}

/// What follows a quoted string (RFC 9110 §5.6.4); `None` if there is none.
pub fn after_quoted_string(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] if is_value_byte(*byte) => rest,
            _ => return None,
        };
    }
}

/// The elements of a comma-separated list; empty ones do not count (RFC 9110 §5.6.1.2).
/// None of the lists it is used for may have a quoted string in an element that is valid.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let elements = value.split(|&byte| byte == b',');
    elements
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// A number of decimal digits, and nothing but those; too large a one is as large as can be.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let number = digits.iter().try_fold(0u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    });
    number.filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_they_must() {
        assert_eq!(after_token(b"a-b~ c"), Some(&b" c"[..]));
        assert_eq!(after_token(b"abc"), Some(&b""[..]));
        assert_eq!(after_token(b"=a"), None);
        assert_eq!(after_token(b""), None);
        assert_eq!(after_whitespace(b" \t x "), b"x ");
        assert_eq!(after_whitespace(b"\r"), b"\r");
        let rest = after_quoted_string(b"\"a\\\"b\\\\\"c\"");
        assert_eq!(rest, Some(&b"c\""[..]));
        for none in [
            &b""[..],
            b"a",
            b"\"",
            b"\"a",
            b"\"a\\\"",
            b"\"\n\"",
            b"\"\\\n\"",
            b"\"\x7f\"",
        ] {
            assert_eq!(after_quoted_string(none), None, "{none:?}");
        }
    }

    #[test]
    fn bytes_of_each_kind_are_those_of_the_grammar() {
        let kind = |test: fn(u8) -> bool| (0..=255).filter(|byte| test(*byte)).count();
        // 62 letters and digits, 15 others; 95 printable, tab, 128 above ASCII.
        assert_eq!((kind(is_token_byte), kind(is_value_byte)), (77, 224));
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"00018446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!(decimal(b"99999999999999999999999"), Some(u64::MAX));
        for none in [&b""[..], b"+1", b"-1", b"1 ", b"0x1", b"1a"] {
            assert_eq!(decimal(none), None, "{none:?}");
        }
    }

    #[test]
    fn lists_have_no_empty_elements() {
        let elements: Vec<&[u8]> = list(b" ,a , b c,,\t").collect();
        assert_eq!(elements, [&b"a"[..], b"b c"]);
    }
}
