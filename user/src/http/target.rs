//! From a request's target to the path of a file (RFC 9112 §3.2, RFC 3986 §5.2.4, §2.1).

use super::response::Status;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// Path and query of a target in origin-form (`/where?q`) or absolute-form
/// (`http://host/where?q`). The query is empty or begins with `?`.
///
/// # Errors
/// [`Status::BAD_REQUEST`] for other forms: they belong to methods we do not have.
pub fn split(target: &str) -> Result<(&str, &str), Status> {
    let origin = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(Status::BAD_REQUEST)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(Status::BAD_REQUEST);
        }
        // The authority ends where path or query begin; an empty path is "/".
        &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]
    };
    if origin.contains('#') {
        return Err(Status::BAD_REQUEST);
    }
    let (path, query) = origin.split_at(origin.find('?').unwrap_or(origin.len()));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// Decodes and normalises an absolute path: no leading slash, no `.`, `..` or empty
/// segment; a slash at the end if it names a folder (the root is empty).
///
/// # Errors
/// [`Status::BAD_REQUEST`] for a broken escape, a NUL or backslash however written, and a
/// path that climbs above the root; [`Status::NOT_FOUND`] for what is not UTF-8, since no
/// file has such a name.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, Status> {
    match plain(path) {
        Some(normal) => Ok(Cow::Borrowed(normal)),
        None => normalise_slowly(path).map(Cow::Owned),
    }
}

/// A path that is normal but for its first slash, as nearly all are.
fn plain(path: &str) -> Option<&str> {
    let normal = path.strip_prefix('/')?;
    let mut last = b'/';
    for &byte in normal.as_bytes() {
        // An empty segment, or one that begins with a dot.
        let odd_segment = last == b'/' && matches!(byte, b'/' | b'.');
        if odd_segment || matches!(byte, b'%' | b'\\' | b'\0') {
            return None;
        }
        last = byte;
    }
    Some(normal)
}

fn normalise_slowly(path: &str) -> Result<String, Status> {
    let decoded = String::from_utf8(decode(path)?).map_err(|_| Status::NOT_FOUND)?;
    if decoded.contains(['\0', '\\']) {
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
    Ok(normal)
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

/// The absolute path of a normal one, escaped for a `Location` field. It begins with one
/// slash only, so it never names another host.
pub fn encode(normal: &str) -> String {
    let mut encoded = String::from("/");
    for byte in normal.bytes() {
        // RFC 3986 §2.3 and what §3.3 allows in a path besides.
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(
                    char::from_digit(digit.into(), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase(),
                );
            }
        }
    }
    encoded
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
                assert_eq!(normalise_slowly(&path).as_deref(), Ok(normal), "{path}");
                short += 1;
            }
        }
        assert!(short > 2000, "{short}");
        assert_eq!(plain("/docs/a-b.css"), Some("docs/a-b.css"));
        for path in ["/..", "/a/.b", "//a", "/a//", "/%61", "a"] {
            assert_eq!(plain(path), None, "{path}");
        }
    }

    #[test]
    fn targets_come_apart() {
        assert_eq!(split("/"), Ok(("/", "")));
        assert_eq!(split("/a/b?c=/../d?e"), Ok(("/a/b", "?c=/../d?e")));
        assert_eq!(split("http://10.0.2.15:80/a?b"), Ok(("/a", "?b")));
        assert_eq!(split("HTTP://host"), Ok(("/", "")));
        assert_eq!(split("http://host?q"), Ok(("/", "?q")));
        for target in ["*", "host:80", "", "ftp://host/", "/a#b", "a/b", "://", "?"] {
            assert_eq!(split(target), Err(Status::BAD_REQUEST), "{target}");
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
            assert_eq!(normalise(path).as_deref(), Ok(normal), "{path}");
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
            "/%00",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/a%2",
        ] {
            assert_eq!(normalise(path), Err(Status::BAD_REQUEST), "{path}");
        }
        assert_eq!(normalise("/%ff"), Err(Status::NOT_FOUND));
    }

    #[test]
    fn a_location_is_escaped_and_stays_here() {
        assert_eq!(encode("a b/\u{e4}\r\n/"), "/a%20b/%C3%A4%0D%0A/");
        // `//evil.example/..` must not become a reference to another host.
        let normal = normalise("//evil.example/%2e").unwrap();
        assert_eq!(encode(&normal), "/evil.example/");
    }
}
