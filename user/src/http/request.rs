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
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<(Method, bool, Content), Status> {
        let mut fields = fields();
        match Request::parse(head.as_bytes(), &mut fields)? {
            Parsed::Partial => panic!("partial: {head}"),
            Parsed::Complete(request, len) => {
                assert_eq!(len, head.len());
                Ok((request.method, request.persistent, request.content))
            }
        }
    }

    fn get(fields: &str) -> Result<(Method, bool, Content), Status> {
        parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    const DONE: Content = Content::Done;

    #[test]
    fn methods_and_persistence() {
        use Method::*;
        for (head, method, persistent) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Get, true),
            ("HEAD / HTTP/1.1\r\nhost:\r\n\r\n", Head, true),
            ("POST / HTTP/1.0\r\n\r\n", NotAllowed, false),
            (
                "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                Get,
                true,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                Get,
                false,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, CLOSE\r\n\r\n",
                Get,
                false,
            ),
            (
                "GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
                Get,
                false,
            ),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Unknown, true),
            ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", Unknown, true),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Get, true),
            ("GET / HTTP/1.1\nHost: a\n\n", Get, true),
        ] {
            assert_eq!(parse(head), Ok((method, persistent, DONE)), "{head}");
        }
    }

    #[test]
    fn what_follows_the_head() {
        let content = |fields| get(fields).map(|(_, _, content)| content);
        assert_eq!(content("Content-Length: 0\r\n"), Ok(DONE));
        assert_eq!(content("Content-Length: 12\r\n"), Ok(Content::Length(12)));
        assert_eq!(
            content("Transfer-Encoding: Chunked\r\n"),
            Ok(Content::CHUNKED)
        );
        for fields in [
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length: 65537\r\n",
        ] {
            assert_eq!(content(fields), Err(Status::CONTENT_TOO_LARGE), "{fields}");
        }
        for fields in [
            "Content-Length: \r\n",
            "Content-Length: -1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 0x10\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(content(fields), Err(Status::BAD_REQUEST), "{fields}");
        }
        assert_eq!(
            parse("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(Status::BAD_REQUEST)
        );
        for fields in [
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(content(fields), Err(Status::NOT_IMPLEMENTED), "{fields}");
        }
    }

    #[test]
    fn names_of_fields_have_no_case() {
        let content = |fields| get(fields).map(|(_, _, content)| content);
        assert_eq!(content("cOnTeNt-LeNgTh: 5\r\n"), Ok(Content::Length(5)));
        assert_eq!(
            content("tRANSFER-eNCODING: chunked\r\n"),
            Ok(Content::CHUNKED)
        );
        assert_eq!(get("EXPECT: x\r\n"), Err(Status::EXPECTATION_FAILED));
        let head = "GET / HTTP/1.1\r\nhOST: a\r\ncONNECTION: CLOSE\r\n\r\n";
        let (_, persistent, _) = parse(head).unwrap();
        assert!(!persistent);
        for (field, conditional) in [
            ("iF-nONE-mATCH: *", true),
            ("IF-RANGE: x", true),
            ("rANGE: bytes=0-1", true),
            ("Accept: text/html", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            let mut room = fields();
            let Ok(Parsed::Complete(request, _)) = Request::parse(head.as_bytes(), &mut room)
            else {
                panic!()
            };
            assert_eq!(request.is_conditional(), conditional, "{field}");
        }
    }

    #[test]
    fn the_host_must_be_one_and_valid() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(parse(head), Err(Status::BAD_REQUEST), "{head}");
        }
        assert!(parse("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").is_ok());
    }

    #[test]
    fn expectations() {
        assert!(get("Expect: 100-Continue\r\n").is_ok());
        assert_eq!(get("Expect: tea\r\n"), Err(Status::EXPECTATION_FAILED));
    }

    #[test]
    fn versions_and_what_is_none() {
        for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/9.9"] {
            let head = format!("GET / {version}\r\nHost: a\r\n\r\n");
            assert_eq!(
                parse(&head),
                Err(Status::VERSION_NOT_SUPPORTED),
                "{version}"
            );
        }
        for line in [
            "GET /",
            "GET",
            "",
            "GET / HTTP/1",
            "GET / HTTP/one.one",
            "GET / http/1.1",
            "GET / FTP/1.1",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 x",
            " GET / HTTP/1.1",
            "G\u{1}T / HTTP/1.1",
            "GET /\u{1} HTTP/1.1",
            "\u{16}\u{3}\u{1}",
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(parse(&head), Err(Status::BAD_REQUEST), "{line:?}");
        }
        for line in [": a", "a b: c", " folded", "nocolon", "a : b", "a: \u{1}"] {
            let fields = format!("{line}\r\n");
            assert_eq!(get(&fields), Err(Status::BAD_REQUEST), "{line:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let target = |len| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len));
        assert!(parse(&target(TARGET_MAX - 1)).is_ok());
        assert_eq!(parse(&target(TARGET_MAX)), Err(Status::URI_TOO_LONG));
        let fields = "A: b\r\n".repeat(FIELDS_MAX);
        assert_eq!(get(&fields), Err(Status::FIELDS_TOO_LARGE));

        let partial = |head: &str| {
            let mut fields = super::fields();
            let parsed = Request::parse(head.as_bytes(), &mut fields);
            parsed.map(|parsed| matches!(parsed, Parsed::Partial))
        };
        let line = format!("GET /{}", "x".repeat(LINE_MAX));
        assert_eq!(partial(&line[..LINE_MAX - 1]), Ok(true));
        assert_eq!(partial(&line[..LINE_MAX]), Err(Status::URI_TOO_LONG));
        let field = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD_MAX));
        assert_eq!(partial(&field[..HEAD_MAX - 1]), Ok(true));
        assert_eq!(partial(&field[..HEAD_MAX]), Err(Status::FIELDS_TOO_LARGE));
    }

    #[test]
    fn fields_are_found_by_name() {
        let mut fields = fields();
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\nRange: bytes=0-\r\n\r\n";
        let Ok(Parsed::Complete(request, _)) = Request::parse(head, &mut fields) else {
            panic!()
        };
        assert_eq!(request.all("X").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(request.only("range"), Some(&b"bytes=0-"[..]));
        assert_eq!(request.only("x"), None);
        assert_eq!(request.only("y"), None);
    }
}
