//! Request heads (RFC 9112 §2 to §6).

use super::content::{CONTENT_MAX, Content};
use super::response::Status;
use core::mem::MaybeUninit;
use httparse::Header;

/// The longest head, in bytes.
pub const HEAD_MAX: usize = 16 * 1024;
/// The longest target, in bytes (RFC 9112 §3 wants request lines of 8000 to work).
pub const TARGET_MAX: usize = 8000;
/// The longest request line: method, target, version.
const LINE_MAX: usize = TARGET_MAX + 64;
/// The most field lines.
pub const FIELDS_MAX: usize = 64;

/// What the client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A representation.
    Get,
    /// What [`Method::Get`] would say of it.
    Head,
    /// One that no resource here allows.
    NotAllowed,
    /// One that we do not know.
    Unknown,
}

impl Method {
    fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            // RFC 9110 §9.3, RFC 5789.
            "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => {
                Method::NotAllowed
            }
            _ => Method::Unknown,
        }
    }
}

/// A head, taken apart.
#[derive(Debug)]
pub struct Request<'h, 'b> {
    /// What to do.
    pub method: Method,
    /// With what, as it was sent.
    pub target: &'b str,
    /// HTTP/1.1, not 1.0.
    pub http11: bool,
    /// The client wants the connection to stay open (RFC 9112 §9.3).
    pub persistent: bool,
    /// What follows the head.
    pub content: Content,
    /// The client waits for a status before it sends content (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    fields: &'h [Header<'b>],
    /// Which fields there may be: [`hint`].
    hints: u8,
}

/// Room for the field lines of a head, which is not cleared first: there is much of it.
pub type Fields<'b> = [MaybeUninit<Header<'b>>; FIELDS_MAX];

/// Such room.
pub const fn fields<'b>() -> Fields<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

const CONNECTION: u8 = 1 << 0;
const FRAMING: u8 = 1 << 1;
const EXPECT: u8 = 1 << 2;
const CONDITION: u8 = 1 << 3;

/// What a field of this name may be, by its length and first letter: most fields are
/// none of ours, and are compared with nothing but this.
fn hint(name: &str) -> u8 {
    let first = name.as_bytes().first().map_or(0, u8::to_ascii_lowercase);
    match (first, name.len()) {
        (b'c', 10) => CONNECTION,
        // Content-Length, Transfer-Encoding.
        (b'c', 14) | (b't', 17) => FRAMING,
        (b'e', 6) => EXPECT,
        // If-None-Match and so on; Range.
        (b'i', _) | (b'r', 5) => CONDITION,
        _ => 0,
    }
}

/// A head that was looked for at the start of some bytes.
#[derive(Debug)]
pub enum Parsed<'h, 'b> {
    /// It has not all arrived.
    Partial,
    /// The head and its length in bytes.
    Complete(Request<'h, 'b>, usize),
}

impl<'h, 'b> Request<'h, 'b> {
    /// Takes the head at the start of `input` apart; `fields` is room for its field lines.
    ///
    /// # Errors
    /// The status to refuse it with; where it ends is then not known, so the connection
    /// cannot be used again.
    pub fn parse(input: &'b [u8], fields: &'h mut Fields<'b>) -> Result<Parsed<'h, 'b>, Status> {
        let mut head = httparse::Request::new(&mut []);
        match head.parse_with_uninit_headers(input, fields) {
            Ok(httparse::Status::Complete(len)) => {
                let (Some(method), Some(target), Some(minor)) =
                    (head.method, head.path, head.version)
                else {
                    return Err(Status::BAD_REQUEST);
                };
                let request = Request::check(method, target, minor >= 1, head.headers)?;
                Ok(Parsed::Complete(request, len))
            }
            Ok(httparse::Status::Partial) => {
                if !input.iter().take(LINE_MAX).any(|&byte| byte == b'\n')
                    && input.len() >= LINE_MAX
                {
                    Err(Status::URI_TOO_LONG)
                } else if input.len() >= HEAD_MAX {
                    Err(Status::FIELDS_TOO_LARGE)
                } else {
                    Ok(Parsed::Partial)
                }
            }
            Err(httparse::Error::TooManyHeaders) => Err(Status::FIELDS_TOO_LARGE),
            Err(httparse::Error::Version) => Err(version_error(input)),
            Err(_) => Err(Status::BAD_REQUEST),
        }
    }

    fn check(
        method: &'b str,
        target: &'b str,
        http11: bool,
        fields: &'h [Header<'b>],
    ) -> Result<Self, Status> {
        if target.len() > TARGET_MAX {
            return Err(Status::URI_TOO_LONG);
        }
        let mut request = Request {
            method: Method::of(method),
            target,
            http11,
            persistent: http11,
            content: Content::Done,
            expects_continue: false,
            fields,
            hints: fields.iter().fold(0, |hints, line| hints | hint(line.name)),
        };
        request.check_host()?;
        if request.hints & FRAMING != 0 {
            request.content = request.framing()?;
        }
        if request.hints & (CONNECTION | EXPECT) != 0 {
            request.check_options()?;
        }
        Ok(request)
    }

    /// Whether the answer may depend on a condition or a range.
    pub fn is_conditional(&self) -> bool {
        self.hints & CONDITION != 0
    }

    fn check_options(&mut self) -> Result<(), Status> {
        let http11 = self.http11;
        for option in self.all("connection").flat_map(list) {
            // "close" wins over "keep-alive" whatever their order.
            if option.eq_ignore_ascii_case(b"close") {
                self.persistent = false;
                break;
            }
            self.persistent |= option.eq_ignore_ascii_case(b"keep-alive");
        }
        for expectation in self.all("expect").flat_map(list) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(Status::EXPECTATION_FAILED);
            }
            // RFC 9110 §10.1.1: ignored in an HTTP/1.0 request.
            self.expects_continue = http11;
        }
        Ok(())
    }

    /// RFC 9112 §3.2: exactly one valid Host field in HTTP/1.1, at most one in 1.0.
    fn check_host(&self) -> Result<(), Status> {
        let mut hosts = self.all("host");
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if host.iter().all(|&byte| host_byte(byte)) => Ok(()),
            (None, _) if !self.http11 => Ok(()),
            _ => Err(Status::BAD_REQUEST),
        }
    }

    /// RFC 9112 §6.3: what follows the head. Whatever could be read in two ways is
    /// refused, since a proxy in front of us may have read it the other way (§11.2).
    fn framing(&self) -> Result<Content, Status> {
        let mut lengths = self.all("content-length");
        let length = match (lengths.next(), lengths.next()) {
            (None, _) => None,
            (Some(value), None) => Some(decimal(value).ok_or(Status::BAD_REQUEST)?),
            _ => return Err(Status::BAD_REQUEST),
        };
        let mut codings = self.all("transfer-encoding").flat_map(list);
        match (codings.next(), codings.next()) {
            (None, _) => match length {
                Some(length) if length > CONTENT_MAX => Err(Status::CONTENT_TOO_LARGE),
                Some(0) | None => Ok(Content::Done),
                Some(length) => Ok(Content::Length(length)),
            },
            _ if length.is_some() || !self.http11 => Err(Status::BAD_REQUEST),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Content::CHUNKED),
            _ => Err(Status::NOT_IMPLEMENTED),
        }
    }

    /// The values of all field lines of this name, in order.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b, 'n> {
        let lines = self.fields.iter();
        lines
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
    }

    /// The value of the only field line of this name; several of a field that may come
    /// once only are as none.
    pub fn only(&self, name: &str) -> Option<&'b [u8]> {
        let mut lines = self.all(name);
        let first = lines.next()?;
        lines.next().is_none().then_some(first)
    }
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1), none of which is a quoted
/// string in the fields it is used for.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let elements = value.split(|&byte| byte == b',');
    elements
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// What may stand in `host[:port]` (RFC 3986 §3.2.2): no delimiter of other parts.
fn host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte)
}

/// A number of decimal digits; too large a one is as large as can be.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = core::str::from_utf8(value).ok()?;
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Tells another version of HTTP from what is no version at all.
fn version_error(input: &[u8]) -> Status {
    let line = input.trim_ascii_start();
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or(line);
    let version = line.trim_ascii_end().rsplit(|&byte| byte == b' ').next();
    match version.and_then(|version| version.strip_prefix(b"HTTP/")) {
        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Status::VERSION_NOT_SUPPORTED
        }
        _ => Status::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests;
