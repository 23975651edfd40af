//! Response heads (RFC 9112 §4, RFC 9110 §15).

use alloc::vec::Vec;
use core::fmt::{self, Write};

/// A status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

#[expect(missing_docs, reason = "RFC 9110 §15 explains them under these names")]
impl Status {
    pub const OK: Status = Status(200);
    pub const PARTIAL_CONTENT: Status = Status(206);
    pub const MOVED_PERMANENTLY: Status = Status(301);
    pub const NOT_MODIFIED: Status = Status(304);
    pub const BAD_REQUEST: Status = Status(400);
    pub const NOT_FOUND: Status = Status(404);
    pub const METHOD_NOT_ALLOWED: Status = Status(405);
    pub const REQUEST_TIMEOUT: Status = Status(408);
    pub const PRECONDITION_FAILED: Status = Status(412);
    pub const CONTENT_TOO_LARGE: Status = Status(413);
    pub const URI_TOO_LONG: Status = Status(414);
    pub const RANGE_NOT_SATISFIABLE: Status = Status(416);
    pub const EXPECTATION_FAILED: Status = Status(417);
    pub const MISDIRECTED_REQUEST: Status = Status(421);
    pub const FIELDS_TOO_LARGE: Status = Status(431);
    pub const NOT_IMPLEMENTED: Status = Status(501);
    pub const VERSION_NOT_SUPPORTED: Status = Status(505);
}

impl Status {
    /// The reason phrase.
    pub const fn reason(self) -> &'static str {
        match self.0 {
            200 => "OK",
            206 => "Partial Content",
            301 => "Moved Permanently",
            304 => "Not Modified",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "",
        }
    }

    /// A sentence for whoever is shown an error (RFC 9110 §15.5, §15.6).
    pub const fn explanation(self) -> &'static str {
        match self.0 {
            301 => "This page has another address.",
            400 => "The request is not well formed.",
            404 => "There is no such page here.",
            405 => "Pages here can be read, by GET and HEAD, and no more.",
            408 => "The request did not come in time.",
            412 => "The page is not the version that was asked for.",
            413 => "The request has more content than is taken here.",
            414 => "The address is longer than any here.",
            416 => "The range is past the end of the page.",
            417 => "The only expectation that is met here is 100-continue.",
            421 => "There is no https here. The page may be had by http.",
            431 => "The request has more fields, or longer ones, than are taken here.",
            501 => "The request asks for what this server does not implement.",
            505 => "This server speaks HTTP/1.1 and HTTP/1.0.",
            _ => "",
        }
    }
}

/// What the head says of the connection (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1's default: it stays open; nothing is said.
    Stays,
    /// It stays open for an HTTP/1.0 client that asked for it; this is said.
    Kept,
    /// It closes after this response; this is said.
    Closes,
}

/// Every head's second line.
const SERVER: &str = concat!("Server: Wharf/", env!("CARGO_PKG_VERSION"), "\r\n");

/// A head being written to the end of a buffer.
pub struct Head<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Head<'a> {
    /// Begins a head with what all have.
    pub fn new(out: &'a mut Vec<u8>, status: Status, persistence: Persistence) -> Self {
        let mut head = Head { out };
        if status == Status::OK {
            head.raw("HTTP/1.1 200 OK\r\n");
        } else {
            head.line(format_args!("HTTP/1.1 {} {}", status.0, status.reason()));
        }
        head.raw(SERVER);
        match persistence {
            Persistence::Stays => {}
            Persistence::Kept => head.raw("Connection: keep-alive\r\n"),
            Persistence::Closes => head.raw("Connection: close\r\n"),
        }
        head
    }

    /// Adds complete lines, each with its line end.
    pub fn raw(&mut self, lines: &str) {
        self.out.extend_from_slice(lines.as_bytes());
    }

    /// Adds a line.
    pub fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.write_fmt(line);
        self.raw("\r\n");
    }

    /// Ends the head.
    pub fn end(mut self) {
        self.raw("\r\n");
    }
}

impl Write for Head<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.raw(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written() {
        let mut out = b"before".to_vec();
        let mut head = Head::new(&mut out, Status::NOT_FOUND, Persistence::Closes);
        head.line(format_args!("Content-Length: {}", 5));
        head.end();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            format!(
                "beforeHTTP/1.1 404 Not Found\r\nServer: Wharf/{}\r\n\
                 Connection: close\r\nContent-Length: 5\r\n\r\n",
                env!("CARGO_PKG_VERSION")
            )
        );
    }
}
