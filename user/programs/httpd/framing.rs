//! How much of what follows a head belongs to its message (RFC 9112 §6.3).
//!
//! This decides where the next request begins, and a proxy in front of us has decided it
//! already. Whatever the two could read differently is refused, and the connection with it,
//! so that nobody can hide a request in another's content (RFC 9112 §11.2).

use super::content::{CONTENT_MAX, Content};
use super::response::Status;
use super::syntax::{decimal, list};

/// The content of a request, from the values of its `Transfer-Encoding` and
/// `Content-Length` field lines, by the steps of RFC 9112 §6.3 that are about requests.
///
/// # Errors
/// The status to refuse the request with; the connection must then be closed.
pub fn content<'v>(
    http11: bool,
    codings: impl Iterator<Item = &'v [u8]>,
    mut lengths: impl Iterator<Item = &'v [u8]>,
) -> Result<Content, Status> {
    let mut codings = codings.peekable();
    let length = lengths.next();
    // 3. and 4. If the message has both fields, or HTTP/1.0, its framing is faulty (§6.1).
    if codings.peek().is_some() {
        return match length {
            None if http11 => coded(codings),
            _ => Err(Status::BAD_REQUEST),
        };
    }
    // 7. Without either there is no content.
    let Some(length) = length else {
        return Ok(Content::Done);
    };
    // 5. A list of equal lengths could be taken for one (RFC 9110 §8.6); it is not.
    let length = decimal(length).filter(|_| lengths.next().is_none());
    // 6.
    match length.ok_or(Status::BAD_REQUEST)? {
        0 => Ok(Content::Done),
        // Other readers may have wrapped it.
        u64::MAX => Err(Status::BAD_REQUEST),
        length if length > CONTENT_MAX => Err(Status::CONTENT_TOO_LARGE),
        length => Ok(Content::Length(length)),
    }
}

/// Step 4 of RFC 9112 §6.3: chunked must be the last coding. It is the only one we have.
fn coded<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Content, Status> {
    let (mut chunked, mut others) = (false, false);
    for value in values {
        let mut empty = true;
        for coding in list(value) {
            // One that is applied after chunked, perhaps chunked itself (§6.1, §7.1).
            if chunked {
                return Err(Status::BAD_REQUEST);
            }
            empty = false;
            chunked = coding.eq_ignore_ascii_case(b"chunked");
            others |= !chunked;
        }
        // A line without a coding is a Transfer-Encoding to one reader and none to another.
        if empty {
            return Err(Status::BAD_REQUEST);
        }
    }
    match (chunked, others) {
        (true, false) => Ok(Content::CHUNKED),
        (true, true) => Err(Status::NOT_IMPLEMENTED),
        (false, _) => Err(Status::BAD_REQUEST),
    }
}
