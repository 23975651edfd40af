//! Request heads (RFC 9112 §2 to §5).

use super::authority::Authority;
use super::content::Content;
use super::framing;
use super::method::Method;
use super::response::Status;
use super::syntax::{after_whitespace, list};
use super::target::Target;
use alloc::vec::Vec;
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

/// A head, taken apart.
#[derive(Debug)]
pub struct Request<'h, 'b> {
    /// What to do.
    pub method: Method,
    /// With what.
    pub target: Target<'b>,
    /// HTTP/1.1, or what is to be treated as such, not 1.0.
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
    /// Its version is HTTP/1.2 or higher: [`as_http11`] makes one of it that can be parsed.
    Newer,
}

impl<'h, 'b> Request<'h, 'b> {
    /// Takes the head at the start of `input` apart; `fields` is room for its field lines.
    /// No empty line may come before it.
    ///
    /// # Errors
    /// The status to refuse it with; where it ends is then not known, so the connection
    /// cannot be used again.
    pub fn parse(input: &'b [u8], fields: &'h mut Fields<'b>) -> Result<Parsed<'h, 'b>, Status> {
        // The parser skips empty lines, and bare LFs among them.
        if let Some(b'\r' | b'\n') = input.first() {
            return match input {
                [b'\r'] => Ok(Parsed::Partial),
                _ => Err(Status::BAD_REQUEST),
            };
        }
        let mut head = httparse::Request::new(&mut []);
        match head.parse_with_uninit_headers(input, fields) {
            Ok(httparse::Status::Complete(len)) => {
                let (Some(method), Some(target), Some(minor)) =
                    (head.method, head.path, head.version)
                else {
                    return Err(Status::BAD_REQUEST);
                };
                let line = (method.len(), target.len());
                lines_end_with_crlf(&input[..len], line, head.headers)
                    .ok_or(Status::BAD_REQUEST)?;
                let request = Request::check(method, target, minor >= 1, head.headers)?;
                Ok(Parsed::Complete(request, len))
            }
            Ok(httparse::Status::Partial) => {
                let line = input.get(..LINE_MAX);
                if let Some(line) = line.filter(|line| !line.contains(&b'\n')) {
                    // RFC 9112 §3: the method is longer than any, or the target is.
                    Err(match line.contains(&b' ') {
                        false => Status::NOT_IMPLEMENTED,
                        true => Status::URI_TOO_LONG,
                    })
                } else if input.len() >= HEAD_MAX {
                    Err(Status::FIELDS_TOO_LARGE)
                } else {
                    Ok(Parsed::Partial)
                }
            }
            Err(httparse::Error::TooManyHeaders) => Err(Status::FIELDS_TOO_LARGE),
            Err(httparse::Error::Version) => other_version(input),
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
        let method = Method::of(method);
        let mut request = Request {
            method,
            target: Target::parse(method, target)?,
            http11,
            persistent: http11,
            content: Content::Done,
            expects_continue: false,
            fields,
            hints: fields.iter().fold(0, |hints, line| hints | hint(line.name)),
        };
        // A target in absolute-form has a host of its own.
        request.check_host(!target.starts_with('/') && target != "*")?;
        if request.hints & FRAMING != 0 {
            let values = |name| request.all(name);
            let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
            request.content = framing::content(http11, codings, lengths)?;
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

    /// RFC 9112 §3.2: exactly one valid Host field in HTTP/1.1, at most one in 1.0. It may name
    /// another host than the target: there is one site for all. But either must name one,
    /// since no http URI is without (RFC 9110 §4.2.1).
    fn check_host(&self, named: bool) -> Result<(), Status> {
        let mut hosts = self.all("host");
        match (hosts.next(), hosts.next()) {
            (Some(host), None)
                if Authority::parse(host).is_some_and(|host| named || !host.host.is_empty()) =>
            {
                Ok(())
            }
            (None, _) if !self.http11 => Ok(()),
            _ => Err(Status::BAD_REQUEST),
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

/// `None` if a line of a parsed head, of whose first the lengths of method and target are
/// given, ends with a bare LF. A recipient may take that for a line end (RFC 9112 §2.2), but
/// one that does not would see other fields. The parser has no such choice to make, and does
/// not say where it found the lines; so they are walked along.
fn lines_end_with_crlf(
    head: &[u8],
    (method, target): (usize, usize),
    fields: &[Header<'_>],
) -> Option<()> {
    let line = method + " ".len() + target + " HTTP/1.1".len();
    let mut rest = head.get(line..)?.strip_prefix(b"\r\n")?;
    for field in fields {
        rest = after_whitespace(rest.get(field.name.len() + ":".len()..)?);
        rest = rest.get(field.value.len()..)?;
        rest = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            _ => after_whitespace(rest).strip_prefix(b"\r\n")?,
        };
    }
    (rest == b"\r\n").then_some(())
}

/// The version in the request line, with which `input` begins, if it has the form of one.
fn version(input: &[u8]) -> Option<(u8, u8)> {
    let line = input.split(|&byte| byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if method.is_empty() || target.is_empty() || words.next().is_some() {
        return None;
    }
    match version.strip_prefix(b"HTTP/")? {
        [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Some((*major, *minor))
        }
        _ => None,
    }
}

/// Tells a newer minor version, which is to be treated as ours (RFC 9110 §6.2), from another
/// major one, and that from what is no version at all.
fn other_version<'h, 'b>(input: &[u8]) -> Result<Parsed<'h, 'b>, Status> {
    match version(input) {
        Some((b'1', b'2'..)) => Ok(Parsed::Newer),
        None | Some((b'1', _)) => Err(Status::BAD_REQUEST),
        Some(_) => Err(Status::VERSION_NOT_SUPPORTED),
    }
}

/// A copy of some input that begins with a newer head, as if that were of HTTP/1.1.
pub fn as_http11(input: &[u8]) -> Vec<u8> {
    let mut copy = input.to_vec();
    let line = copy.split_mut(|&byte| byte == b'\n').next();
    let minor = line.and_then(|line| line.iter_mut().rfind(|byte| byte.is_ascii_digit()));
    if let Some(minor) = minor {
        *minor = b'1';
    }
    copy
}

#[cfg(test)]
mod tests;
