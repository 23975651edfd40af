//! From a request's target to the path of a file (RFC 9112 §3.2, RFC 3986 §5.2.4, §2.1).

use super::authority::{Authority, is_name_byte};
use super::method::Method;
use super::response::Status;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// The path, decoded and without its leading slash, `.`, `..` and empty segments; it ends
    /// with a slash if it names a folder, and is empty for the root. `None` if no file can
    /// have such a name.
    pub path: Option<Cow<'b, str>>,
    /// Empty, or begins with `?`.
    pub query: &'b str,
    /// Path and query have only characters that a URI may have there. Browsers send others
    /// of ASCII, too; they are then to be shown the right target (RFC 9112 §3.2).
    pub is_uri: bool,
}

impl<'b> Target<'b> {
    /// Takes a request's target apart.
    ///
    /// # Errors
    /// [`Status::BAD_REQUEST`] if it has none of the four forms of RFC 9112 §3.2, or one that
    /// its method may not have, or a path that is not valid; [`Status::MISDIRECTED_REQUEST`]
    /// for `https`, since no connection here is secured (RFC 9110 §7.4).
    pub fn parse(method: Method, target: &'b str) -> Result<Self, Status> {
        let resource = match method {
            // Both have neither path nor query (RFC 9112 §3.3).
            Method::Connect => return tunnel(target),
            Method::Options if target == "*" => return Ok(Target::NONE),
            _ if target.starts_with('/') => target,
            _ => absolute(target)?,
        };
        let (path, query) = match resource.bytes().position(|byte| byte == b'?') {
            Some(at) => resource.split_at(at),
            None => (resource, ""),
        };
        if !query.is_empty() && query.contains('#') {
            return Err(Status::BAD_REQUEST);
        }
        let (path, is_uri) = match plain(path) {
            Some(normal) => (Some(Cow::Borrowed(normal)), true),
            None => (normalise(path)?.map(Cow::Owned), is_uri(path)),
        };
        let is_uri = is_uri && (query.is_empty() || self::is_uri(query));
        if !is_uri && !resource.is_ascii() {
            return Err(Status::BAD_REQUEST);
        }
        Ok(Target {
            path,
            query,
            is_uri,
        })
    }

    const NONE: Self = Target {
        path: None,
        query: "",
        is_uri: true,
    };
}

/// authority-form, of which a port is part (RFC 9112 §3.2.3, RFC 9110 §9.3.6).
fn tunnel(target: &str) -> Result<Target<'_>, Status> {
    match Authority::parse(target.as_bytes()) {
        Some(Authority {
            host: [_, ..],
            port: Some(1..),
        }) => Ok(Target::NONE),
        _ => Err(Status::BAD_REQUEST),
    }
}

/// Path and query of a target in absolute-form (RFC 9112 §3.2.2). Whichever host it names,
/// there is one site.
fn absolute(target: &str) -> Result<&str, Status> {
    let (scheme, rest) = target.split_once("://").ok_or(Status::BAD_REQUEST)?;
    let secured = scheme.eq_ignore_ascii_case("https");
    // The authority ends where path or query begin.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, resource) = rest.split_at(end);
    match Authority::parse(authority.as_bytes()) {
        // No host is none that could be meant (RFC 9110 §4.2.1).
        Some(Authority { host: [_, ..], .. }) if secured => Err(Status::MISDIRECTED_REQUEST),
        Some(Authority { host: [_, ..], .. }) if scheme.eq_ignore_ascii_case("http") => {
            Ok(resource)
        }
        _ => Err(Status::BAD_REQUEST),
    }
}

/// Whether a path or query has only what RFC 3986 §3.3 and §3.4 allow there, escapes not
/// looked into.
fn is_uri(text: &str) -> bool {
    text.bytes().all(|byte| is_uri_byte(byte) || byte == b'%')
}

fn is_uri_byte(byte: u8) -> bool {
    is_name_byte(byte) || matches!(byte, b':' | b'@' | b'/' | b'?')
}

/// A path that is normal but for its first slash, and all of it as a URI has it, as nearly
/// all are.
fn plain(path: &str) -> Option<&str> {
    let normal = path.strip_prefix('/')?;
    let mut last = b'/';
    for &byte in normal.as_bytes() {
        // An empty segment, or one that begins with a dot.
        let odd_segment = last == b'/' && matches!(byte, b'/' | b'.');
        if odd_segment || !is_uri_byte(byte) {
            return None;
        }
        last = byte;
    }
    Some(normal)
}

/// Makes [`Target::path`] of an absolute path, or of none, which is as `/`. `None` for what is
/// not UTF-8, since no file has such a name.
///
/// # Errors
/// [`Status::BAD_REQUEST`] for a broken escape, a control character or backslash however
/// written, a fragment, and a path that climbs above the root.
fn normalise(path: &str) -> Result<Option<String>, Status> {
    if path.contains('#') {
        return Err(Status::BAD_REQUEST);
    }
    let Ok(decoded) = String::from_utf8(decode(path)?) else {
        return Ok(None);
    };
    if decoded.contains(|char: char| char.is_ascii_control() || char == '\\') {
        return Err(Status::BAD_REQUEST);
    }
    let mut normal = String::with_capacity(decoded.len());
    // Decoded first and only once, so an escaped slash or dot is one like any other.
    let mut folder = true;
    for segment in decoded.split('/') {
        folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                // Drop "last/", back to the slash before it.
                let kept = normal.strip_suffix('/').ok_or(Status::BAD_REQUEST)?;
                normal.truncate(kept.rfind('/').map_or(0, |slash| slash + 1));
            }
            _ => {
                normal.push_str(segment);
                normal.push('/');
            }
        }
    }
    if !folder {
        normal.pop();
    }
    Ok(Some(normal))
}

/// Replaces `%XX` by its byte.
fn decode(path: &str) -> Result<Vec<u8>, Status> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || {
                    let digit = bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                    digit.ok_or(Status::BAD_REQUEST)
                };
                (digit()? << 4 | digit()?) as u8
            }
            _ => byte,
        });
    }
    Ok(decoded)
}

/// The target of a normal path and a query as they came, with what no URI may have escaped,
/// for a `Location` field. It begins with one slash only, so it never names another host.
pub fn encode(normal: &str, query: &str) -> String {
    let mut encoded = String::from("/");
    for byte in normal.bytes() {
        escape(&mut encoded, byte, is_uri_byte(byte) && byte != b'?');
    }
    let mut bytes = query.as_bytes();
    while let [byte, rest @ ..] = bytes {
        // A query is not decoded, so its escapes stay.
        let escaped = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        let is_escape = *byte == b'%' && rest.get(..2).is_some_and(escaped);
        escape(&mut encoded, *byte, is_escape || is_uri_byte(*byte));
        bytes = rest;
    }
    encoded
}

/// Appends a byte, escaped unless it may stay as it is (RFC 3986 §2.1).
fn escape(out: &mut String, byte: u8, stays: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if stays {
        out.push(byte.into());
    } else {
        let digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)].into());
        out.extend(['%'].into_iter().chain(digits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_leads_where_the_long_one_does() {
        let mut seed = 3u64;
        let mut short = 0;
        for _ in 0..20_000 {
            let mut path = String::from("/");
            for _ in 0..(seed >> 40) % 9 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let bytes = b"aab/./-%2e\\\0~";
                path.push(bytes[(seed >> 33) as usize % bytes.len()].into());
            }
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            if let Some(normal) = plain(&path) {
                assert_eq!(normalise(&path), Ok(Some(normal.into())), "{path}");
                short += 1;
            }
        }
        assert!(short > 2000, "{short}");
        assert_eq!(plain("/docs/a-b.css"), Some("docs/a-b.css"));
        for path in ["/..", "/a/.b", "//a", "/a//", "/%61", "a"] {
            assert_eq!(plain(path), None, "{path}");
        }
    }

    /// The normal path and query of a `GET`'s target.
    fn get(target: &str) -> Result<(Option<Cow<'_, str>>, &str), Status> {
        Target::parse(Method::Get, target).map(|target| (target.path, target.query))
    }

    #[test]
    fn targets_come_apart() {
        for (target, path, query) in [
            ("/", "", ""),
            ("/a/b?c=/../d?e", "a/b", "?c=/../d?e"),
            ("http://10.0.2.15:80/a?b", "a", "?b"),
            ("HTTP://host", "", ""),
            ("http://host?q", "", "?q"),
        ] {
            assert_eq!(get(target), Ok((Some(path.into()), query)), "{target}");
        }
        for target in [
            "*",
            "host:80",
            "",
            "ftp://host/",
            "/a#b",
            "/?#",
            "a/b",
            "://",
            "?",
        ] {
            assert_eq!(get(target), Err(Status::BAD_REQUEST), "{target}");
        }
        let options = |target| Target::parse(Method::Options, target);
        assert_eq!(options("*"), Ok(Target::NONE));
        assert_eq!(options("/").map(|target| target.path), Ok(Some("".into())));
        assert_eq!(Target::parse(Method::Connect, "a:1"), Ok(Target::NONE));
        let misdirected = Err(Status::MISDIRECTED_REQUEST);
        assert_eq!(get("https://host/"), misdirected);
    }

    #[test]
    fn what_no_uri_has_is_noticed() {
        for (target, is_uri) in [
            ("/a-b/c.d~e:@!$&'()*+,;=?x/?:@%zz", true),
            ("/a%20b", true),
            ("/a|b", false),
            ("/a%20b\"", false),
            ("/?{}", false),
            ("//a[b]", false),
        ] {
            let parsed = Target::parse(Method::Get, target).unwrap();
            assert_eq!(parsed.is_uri, is_uri, "{target}");
            let path = parsed.path.unwrap();
            let encoded = encode(&path, parsed.query);
            let again = Target::parse(Method::Get, &encoded).unwrap();
            assert!(again.is_uri && again.path == Some(path), "{encoded}");
            assert_eq!(encode(again.path.as_ref().unwrap(), again.query), encoded);
        }
    }

    #[test]
    fn paths_are_normalised() {
        for (path, normal) in [
            ("/", ""),
            ("/index.html", "index.html"),
            ("/a/b/", "a/b/"),
            ("//a///b", "a/b"),
            ("/a/./b/.", "a/b/"),
            ("/a/b/..", "a/"),
            ("/a/b/../..", ""),
            ("/a/../b", "b"),
            ("/a/%2e%2E/b", "b"),
            ("/a%2fb", "a/b"),
            ("/a%2f..%2fb", "b"),
            ("/sp%20ace%25", "sp ace%"),
            ("/%C3%A4", "\u{e4}"),
            ("/...", "..."),
            ("/..a/.b", "..a/.b"),
            ("/%252e%252e/", "%2e%2e/"),
        ] {
            assert_eq!(get(path), Ok((Some(normal.into()), "")), "{path}");
        }
    }

    #[test]
    fn no_path_escapes_the_root() {
        for path in [
            "/..",
            "/../",
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/b",
            "/.%2e/b",
            "/%2e./b",
            "/a/%2e%2e%2f%2e%2e/b",
            "/..%2f",
            "/a\\..\\b",
            "/%5c..%5c",
            "/index.html%00",
            "/a%0d%0ab",
            "/%7f",
            "/\u{e4}",
            "/%00",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/a%2",
        ] {
            assert_eq!(get(path), Err(Status::BAD_REQUEST), "{path}");
        }
        assert_eq!(get("/%ff"), Ok((None, "")));
    }

    #[test]
    fn a_location_is_escaped_and_stays_here() {
        assert_eq!(encode("a b/\u{e4}\r\n/", ""), "/a%20b/%C3%A4%0D%0A/");
        assert_eq!(
            encode("a?b%", "?c%7e%zz%\"?%4"),
            "/a%3Fb%25?c%7e%25zz%25%22?%254"
        );
        // `//evil.example/..` must not become a reference to another host.
        let normal = normalise("//evil.example/%2e").unwrap().unwrap();
        assert_eq!(encode(&normal, ""), "/evil.example/");
    }
}
