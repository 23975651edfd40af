//! What RFC 9112 and RFC 9110 ask of an origin server, rule by rule: bytes that a client
//! sends, and the answers they must get. `docs/` has the same rules as a table.

mod messaging;
mod semantics;

use super::*;
use After::*;
use std::sync::LazyLock;

/// Whether the connection serves another request after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It does.
    Open,
    /// It is closed, whatever else has come.
    Close,
}

/// The request that follows each row's bytes on the same connection.
const NEXT: &[u8] = b"GET /docs/ HTTP/1.1\r\nHost: next\r\n\r\n";

/// A site that is made once for all rows.
static SITE: LazyLock<&[u8]> = LazyLock::new(|| {
    disk(&[
        ("www/index.html", b"<h1>home</h1>", MODIFIED),
        ("www/docs/index.html", b"docs", MODIFIED),
        ("bin/init", b"secret", MODIFIED),
    ])
});

/// Sends `bytes` and, without waiting, [`NEXT`]. The answers must have these statuses, and
/// the last request must be served if and only if the connection is to stay open: where a
/// message is refused, nothing after it may be taken for a request. How the bytes are cut
/// into pieces must not matter; long ones are cut into larger pieces only.
fn holds<const N: usize>(rule: &str, bytes: impl AsRef<[u8]>, statuses: [u16; N], after: After) {
    let bytes = bytes.as_ref();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let mut whole = None;
    for step in [usize::MAX, 1, 7] {
        if step < bytes.len() / 1000 {
            continue;
        }
        let what = format!("{rule}: {shown:?} in pieces of {step}");
        let mut talk = Talk::with(&SITE);
        let all = [bytes, NEXT].concat();
        let mut said = Vec::new();
        for piece in all.chunks(step.min(all.len())) {
            if talk.open {
                said.extend(talk.say(piece));
            }
        }
        let mut rest = &said[..];
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let head_only = answers.is_empty() && bytes.starts_with(b"HEAD ");
            let (answer, left) = Response::parse(rest, head_only);
            rest = left;
            answers.push(answer);
        }
        let mut expected = statuses.to_vec();
        expected.extend((after == Open).then_some(200));
        let given: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(given, expected, "{what}");
        match answers.last() {
            Some(last) if after == Open => assert_eq!(last.body, b"docs", "{what}"),
            Some(last) => assert_eq!(last.field("connection"), "close", "{what}"),
            None => {}
        }
        let ended = !talk.open || talk.line().finished;
        assert_eq!(ended, after == Close, "{what}");
        let whole = whole.get_or_insert_with(|| said.clone());
        assert!(*whole == said, "{what}: the pieces matter");
    }
}

/// A `GET /` of HTTP/1.1 with these complete field lines.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// A `GET` of this target.
fn target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A request with content in chunks.
fn chunked(chunks: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
}
