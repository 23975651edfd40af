//! Hosts and ports, in the `Host` field and in targets (RFC 9110 §7.2, RFC 3986 §3.2.2).

use super::syntax::decimal;
use core::net::Ipv6Addr;

/// `uri-host [ ":" port ]`, valid by its grammar. User information, which some put before
/// the host to mislead, is not (RFC 9110 §4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'b> {
    /// A name or an address, perhaps empty.
    pub host: &'b [u8],
    /// The port, if there is a number.
    pub port: Option<u16>,
}

impl<'b> Authority<'b> {
    /// Takes one apart; `None` if it is not valid.
    pub fn parse(bytes: &'b [u8]) -> Option<Self> {
        // An address in brackets has colons of its own.
        let len = match bytes {
            [b'[', rest @ ..] => {
                let len = rest.iter().position(|&byte| byte == b']')?;
                is_literal(&rest[..len]).then_some(len + 2)?
            }
            name => name_len(name),
        };
        let (host, rest) = bytes.split_at_checked(len)?;
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(u16::try_from(decimal(digits)?).ok()?),
            _ => return None,
        };
        Some(Authority { host, port })
    }
}

/// The length of the reg-name at the start of some bytes, which IPv4 addresses are, too:
/// unreserved characters, sub-delims and escapes.
fn name_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    loop {
        len += match &bytes[len..] {
            [byte, ..] if is_name_byte(*byte) => 1,
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
            _ => return len,
        };
    }
}

/// Which bytes may be in a name: every request has one, so that they are looked up.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = matches!(byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        byte += 1;
    }
    table
};

/// Unreserved characters and sub-delims (RFC 3986 §2.2, §2.3).
pub const fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES[byte as usize]
}

/// What is in the brackets of an IP-literal: an IPv6 address, or one of a version to come.
fn is_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = literal {
        let mut parts = future.splitn(2, |&byte| byte == b'.');
        let version = parts.next().unwrap_or_default();
        let address = parts.next().unwrap_or_default();
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address
                .iter()
                .all(|&byte| byte == b':' || is_name_byte(byte));
    }
    let text = core::str::from_utf8(literal);
    text.is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_come_apart() {
        for (text, host, port) in [
            ("", "", None),
            ("a", "a", None),
            ("a:", "a", None),
            ("a:0", "a", Some(0)),
            ("a:080", "a", Some(80)),
            ("10.0.2.15:65535", "10.0.2.15", Some(65_535)),
            ("[::1]", "[::1]", None),
            ("[fe80::1:2]:8080", "[fe80::1:2]", Some(8080)),
            ("[v7.x:y]:1", "[v7.x:y]", Some(1)),
            ("x%2Fy", "x%2Fy", None),
            (":80", "", Some(80)),
        ] {
            let host = host.as_bytes();
            let wanted = Some(Authority { host, port });
            assert_eq!(Authority::parse(text.as_bytes()), wanted, "{text}");
        }
        for text in [
            "a:b",
            "a:1:2",
            "::1",
            "a:65536",
            "a:-1",
            "a@b",
            "a b",
            "a/b",
            "[::1",
            "[]",
            "[a]",
            "[1.2.3.4]",
            "[::1]a",
            "[::1]a:1",
            "[v.a]",
            "[vg.a]",
            "[v1.]",
            "[v1]",
            "%",
            "%1g",
            "\\",
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text}");
        }
    }
}
