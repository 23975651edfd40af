//! Conditional requests (RFC 9110 §13): does the client have it already?

use super::date;
use super::request::Request;

/// What a resource's conditions are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// A strong entity tag, with its quotes, if there is one.
    pub etag: Option<&'a [u8]>,
    /// Modification time in seconds since 1970, if known.
    pub modified: Option<u64>,
}

/// What the conditions of a GET or HEAD say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client's copy is good.
    NotModified,
    /// 412: the client wanted another version.
    Failed,
}

/// Checks the conditions in the order of RFC 9110 §13.2.2.
pub fn check(request: &Request<'_, '_>, ours: Validators<'_>) -> Verdict {
    if request.all("if-match").next().is_some() {
        // Strong comparison (§13.1.1).
        if !request
            .all("if-match")
            .any(|tags| contains(tags, ours.etag, false))
        {
            return Verdict::Failed;
        }
    } else if let (Some(modified), Some(since)) =
        (ours.modified, date_of(request, "if-unmodified-since"))
        && modified > since
    {
        return Verdict::Failed;
    }
    if request.all("if-none-match").next().is_some() {
        // Weak comparison (§13.1.2).
        if request
            .all("if-none-match")
            .any(|tags| contains(tags, ours.etag, true))
        {
            return Verdict::NotModified;
        }
    } else if let (Some(modified), Some(since)) =
        (ours.modified, date_of(request, "if-modified-since"))
        && modified <= since
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether a `Range` counts: without `If-Range` it does, with one only if the client's
/// part is of this very version (§13.1.5).
pub fn range_counts(request: &Request<'_, '_>, ours: Validators<'_>) -> bool {
    if request.all("if-range").next().is_none() {
        return true;
    }
    match request.only("if-range") {
        Some(tag @ [b'"', ..]) => ours.etag == Some(tag),
        Some(date) => ours.modified.is_some() && date::parse(date) == ours.modified,
        None => false,
    }
}

fn date_of(request: &Request<'_, '_>, name: &str) -> Option<u64> {
    date::parse(request.only(name)?)
}

/// Whether a list of entity tags, or `*`, has `etag` in it. Weak tags match only if
/// `weakly`. What is malformed ends the list.
fn contains(mut tags: &[u8], etag: Option<&[u8]>, weakly: bool) -> bool {
    if tags.trim_ascii() == b"*" {
        return true;
    }
    loop {
        while let [b' ' | b'\t' | b',', rest @ ..] = tags {
            tags = rest;
        }
        let (weak, opaque) = match tags.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, tags),
        };
        let Some(inner) = opaque.strip_prefix(b"\"") else {
            return false;
        };
        let Some(end) = inner.iter().position(|&byte| byte == b'"') else {
            return false;
        };
        if etag == Some(&opaque[..end + 2]) && (weakly || !weak) {
            return true;
        }
        tags = &inner[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{self, Parsed};
    use super::*;

    /// RFC 9110's example date.
    const MODIFIED: u64 = 784_111_777;
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const OURS: Validators<'_> = Validators {
        etag: Some(b"\"abc\""),
        modified: Some(MODIFIED),
    };

    fn with<T>(fields: &str, test: impl FnOnce(&Request<'_, '_>) -> T) -> T {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let mut room = request::fields();
        match Request::parse(head.as_bytes(), &mut room) {
            Ok(Parsed::Complete(request, _)) => test(&request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn conditions_in_their_order() {
        use Verdict::*;
        for (fields, verdict) in [
            ("X: y".to_string(), Proceed),
            ("If-None-Match: \"abc\"".into(), NotModified),
            ("If-None-Match: W/\"abc\"".into(), NotModified),
            ("If-None-Match: *".into(), NotModified),
            (
                "If-None-Match: \"x\", W/\"y,\" ,\"abc\"".into(),
                NotModified,
            ),
            (
                "If-None-Match: \"x\"\r\nIf-None-Match: \"abc\"".into(),
                NotModified,
            ),
            ("If-None-Match: \"abcd\"".into(), Proceed),
            ("If-None-Match: abc".into(), Proceed),
            ("If-None-Match: \"abc".into(), Proceed),
            ("If-None-Match:".into(), Proceed),
            (format!("If-Modified-Since: {DATE}"), NotModified),
            (format!("If-Modified-Since: {BEFORE}"), Proceed),
            ("If-Modified-Since: yesterday".into(), Proceed),
            // The tag has the last word.
            (
                format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {DATE}"),
                Proceed,
            ),
            ("If-Match: \"abc\"".into(), Proceed),
            ("If-Match: *".into(), Proceed),
            ("If-Match: W/\"abc\"".into(), Failed),
            ("If-Match: \"x\"".into(), Failed),
            (
                "If-Match: \"abc\"\r\nIf-None-Match: \"abc\"".into(),
                NotModified,
            ),
            (format!("If-Unmodified-Since: {DATE}"), Proceed),
            (format!("If-Unmodified-Since: {BEFORE}"), Failed),
            (
                format!("If-Match: \"abc\"\r\nIf-Unmodified-Since: {BEFORE}"),
                Proceed,
            ),
        ] {
            assert_eq!(
                with(&fields, |request| check(request, OURS)),
                verdict,
                "{fields}"
            );
        }
    }

    #[test]
    fn a_range_of_another_version_does_not_count() {
        for (fields, counts) in [
            ("X: y".to_string(), true),
            ("If-Range: \"abc\"".into(), true),
            ("If-Range: W/\"abc\"".into(), false),
            ("If-Range: \"x\"".into(), false),
            (format!("If-Range: {DATE}"), true),
            (format!("If-Range: {BEFORE}"), false),
            ("If-Range: soon".into(), false),
            ("If-Range: \"abc\"\r\nIf-Range: \"abc\"".into(), false),
        ] {
            assert_eq!(
                with(&fields, |request| range_counts(request, OURS)),
                counts,
                "{fields}"
            );
        }
    }

    #[test]
    fn dates_mean_nothing_where_none_is_known() {
        let ours = Validators {
            modified: None,
            ..OURS
        };
        let fields = format!("If-Modified-Since: {DATE}\r\nIf-Unmodified-Since: {BEFORE}");
        assert_eq!(
            with(&fields, |request| check(request, ours)),
            Verdict::Proceed
        );
        let fields = "If-Range: soon";
        assert!(!with(fields, |request| range_counts(request, ours)));
    }
}
