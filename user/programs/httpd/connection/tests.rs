//! Conversations with one connection, on a virtual clock.

mod conformance;
mod course;

use super::super::request::TARGET_MAX;
use super::*;
use crate::network::{LISTENER, Line, Network};
use fake::tar;
use runtime::ramdisk::Ramdisk;
use runtime::socket::batch::Events;
use std::collections::HashMap;

const MODIFIED: u64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const SECOND: u64 = 1_000_000_000;

fn big() -> Vec<u8> {
    (0..300_000u32).map(|n| (n * 31 + n / 256) as u8).collect()
}

fn disk(members: &[(&str, &[u8], u64)]) -> &'static [u8] {
    tar(members).leak()
}

impl Connection<'_> {
    /// Between requests, with nothing under way.
    fn is_idle(&self) -> bool {
        self.is_quiet() && matches!(self.output, Output::None)
    }
}

/// One client and what it talks to.
struct Talk {
    site: Site<'static>,
    counters: Counters,
    now: u64,
    network: Network,
    client: Handle,
    operations: Operations<'static>,
    parked: Option<Operations<'static>>,
    connection: Connection<'static>,
    open: bool,
}

impl Talk {
    fn new() -> Self {
        Talk::with(disk(&[
            ("www/index.html", b"<h1>home</h1>", MODIFIED),
            ("www/big.bin", &big(), MODIFIED),
            ("www/empty.txt", b"", 0),
            ("www/docs/index.html", b"docs", MODIFIED),
            ("www/docs/a b.css", b"p {}", MODIFIED),
            ("bin/init", b"secret", MODIFIED),
        ]))
    }

    fn with(source: &'static [u8]) -> Self {
        let disk: &'static Ramdisk<'static> = Box::leak(Box::new(Ramdisk::new(source).unwrap()));
        let mut network = Network::new();
        let client = network.connect();
        let mut operations = Operations::new(source);
        operations.accept(LISTENER, 1, RECEIVE_MAX).unwrap();
        let accepted = network.call(&mut None, &mut operations, false);
        assert!(accepted.is_some());
        Talk {
            site: Site::new(disk, "www/"),
            counters: Counters::default(),
            now: 0,
            network,
            client,
            operations,
            parked: None,
            connection: Connection::new(client, 0),
            open: true,
        }
    }

    /// The client's end.
    fn line(&mut self) -> &mut Line {
        self.network.line(self.client)
    }

    fn hear(&mut self, news: News<'_, 'static>) {
        assert!(self.open);
        let mut context = Context {
            site: &self.site,
            counters: &mut self.counters,
            open: 1,
            now: self.now,
            network: &|| "ip 10.0.2.15/24\n".into(),
            operations: &mut self.operations,
        };
        self.open = self.connection.hear(news, &mut context) == Flow::Open;
        assert!(self.connection.input.len() <= HEAD_MAX);
    }

    /// One call and what follows; returns whether anything was heard.
    fn turn(&mut self, timeout: bool) -> bool {
        self.network.now = self.now;
        let (parked, operations) = (&mut self.parked, &mut self.operations);
        let Some((area, done)) = self.network.call(parked, operations, timeout) else {
            return false;
        };
        assert!(self.network.longest_head <= OUTPUT_MAX + 2048);
        for event in Events::new(&area, &done) {
            let (handle, news) = News::of(event).unwrap();
            assert_eq!(handle, self.client);
            self.hear(news);
        }
        !area.is_empty()
    }

    /// Turns as long as there is something to hear. At the end some other connection's
    /// news end the call, which brings what wakes nobody.
    fn run(&mut self) {
        for _ in 0..100_000 {
            if self.turn(false) {
                continue;
            }
            let waits = self.connection.fresh || self.connection.phase != Phase::Serving;
            let line = self.line();
            let told = !line.is_sent() || line.armed() > 0 || line.closed;
            assert!(!self.open || !waits || told, "sleeps over work");
            if !self.turn(true) {
                return;
            }
        }
        panic!("never rests");
    }

    /// Lets the deadline pass.
    fn wait(&mut self) -> u64 {
        let deadline = self.connection.deadline();
        assert!(deadline > self.now && deadline < self.now + 3600 * SECOND);
        let waited = deadline - self.now;
        self.now = deadline;
        self.expire();
        waited
    }

    /// Tells the connection if its time is up.
    fn expire(&mut self) {
        self.run();
        if self.open && self.connection.deadline() <= self.now {
            self.hear(News::Expired);
            self.run();
        }
    }

    fn say(&mut self, request: impl AsRef<[u8]>) -> Vec<u8> {
        self.line().send(request);
        self.run();
        self.line().received()
    }

    /// Sends one request; there must be exactly one response.
    fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let head = request.as_ref().starts_with(b"HEAD ");
        let said = self.say(&request);
        let (response, rest) = Response::parse(&said, head);
        assert_eq!(rest, b"", "{}", String::from_utf8_lossy(request.as_ref()));
        response
    }

    fn get(&mut self, target: &str, fields: &str) -> Response {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }
}

#[derive(Debug, PartialEq)]
struct Response {
    status: u16,
    fields: HashMap<String, String>,
    body: Vec<u8>,
}

impl Response {
    /// The response at the start of `bytes`, and the rest.
    fn parse(bytes: &[u8], head_only: bool) -> (Response, &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no response: {text:?}"));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap();
        let status = line.strip_prefix("HTTP/1.1 ").unwrap()[..3]
            .parse()
            .unwrap();
        let mut fields = HashMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            assert!(!value.contains(['\r', '\n']));
            let previous = fields.insert(name.to_lowercase(), value.to_string());
            assert_eq!(previous, None, "{name} twice");
        }
        let none = head_only || status == 304;
        let len = match fields.get("content-length") {
            Some(len) if !none => len.parse().unwrap(),
            _ => 0,
        };
        assert!(status == 304 || fields.contains_key("content-length"));
        let rest = &bytes[end + 4..];
        let body = rest[..len].to_vec();
        (
            Response {
                status,
                fields,
                body,
            },
            &rest[len..],
        )
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

#[test]
fn a_page_is_served_with_what_describes_it() {
    let mut talk = Talk::new();
    let response = talk.get("/", "");
    assert_eq!(
        (response.status, &response.body[..]),
        (200, &b"<h1>home</h1>"[..])
    );
    assert_eq!(response.field("content-type"), "text/html; charset=utf-8");
    assert_eq!(response.field("last-modified"), DATE);
    assert_eq!(response.field("accept-ranges"), "bytes");
    assert!(response.field("server").starts_with("Wharf/"));
    assert!(response.field("etag").starts_with('"'));
    assert_eq!(response.field("connection"), "");
    assert_eq!(response.field("date"), "");
    assert!(talk.open && talk.connection.is_idle());
    assert_eq!(talk.get("/index.html?x=y", ""), response);
    assert_eq!(talk.get("http://host/docs/../index.html", ""), response);
    let style = talk.get("/docs/a%20b.css", "");
    assert_eq!(style.field("content-type"), "text/css; charset=utf-8");
    let empty = talk.get("/empty.txt", "");
    assert_eq!((empty.status, empty.field("content-length")), (200, "0"));
    assert_eq!(empty.field("last-modified"), "");
    assert_eq!(talk.counters.requests, 5);
    assert_eq!(talk.counters.responses, [5, 0, 0, 0]);
}

#[test]
fn head_says_what_get_says_without_the_body() {
    let mut talk = Talk::new();
    for target in [
        "/",
        "/big.bin",
        "/empty.txt",
        "/none",
        "/docs",
        "/status.json",
        "/%",
    ] {
        let get = talk.get(target, "");
        if !talk.connection.is_idle() {
            talk = Talk::new();
        }
        let head = talk.ask(format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.body, b"");
        if target != "/status.json" {
            assert_eq!((head.status, head.fields), (get.status, get.fields));
        }
    }
    let mut talk = Talk::new();
    // A Range counts for GET only, and a refusal has no body either.
    let ranged = talk.ask("HEAD / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!((ranged.status, ranged.field("content-length")), (200, "13"));
    assert_eq!(talk.ask("HEAD / HTTP/1.1\r\n\r\n").status, 400);
}

#[test]
fn a_large_body_is_lent_not_copied() {
    let mut talk = Talk::new();
    talk.line().take(1000);
    talk.line()
        .send(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    talk.run();
    assert!(talk.network.longest_head < 1000);
    let mut said = talk.line().received();
    while !talk.connection.is_idle() {
        assert!(talk.connection.input.capacity() == 0);
        talk.line().take(7777);
        talk.run();
        said.extend(talk.line().received());
    }
    let (response, rest) = Response::parse(&said, false);
    assert_eq!(response.status, 200);
    assert!(response.body == big() && rest.is_empty());
    assert_eq!(talk.counters.bytes_sent, said.len() as u64);
}

#[test]
fn conditions_and_ranges() {
    let mut talk = Talk::new();
    let whole = talk.get("/big.bin", "");
    let etag = whole.field("etag").to_string();
    let fresh = talk.get("/big.bin", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((fresh.status, fresh.body.len()), (304, 0));
    assert_eq!(fresh.field("etag"), etag);
    assert_eq!(fresh.field("content-length"), "");
    let fresh = talk.get("/big.bin", &format!("If-Modified-Since: {DATE}\r\n"));
    assert_eq!(fresh.status, 304);
    let other = talk.get("/big.bin", "If-Match: \"x\"\r\n");
    assert_eq!(other.status, 412);

    let part = talk.get("/big.bin", "Range: bytes=1000-1999\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &big()[1000..2000]));
    assert_eq!(part.field("content-range"), "bytes 1000-1999/300000");
    assert_eq!(part.field("etag"), etag);
    let tail = talk.get("/big.bin", "Range: bytes=-5\r\n");
    assert_eq!((tail.status, &tail.body[..]), (206, &big()[299_995..]));
    let beyond = talk.get("/big.bin", "Range: bytes=300000-\r\n");
    assert_eq!(
        (beyond.status, beyond.field("content-range")),
        (416, "bytes */300000")
    );
    assert_eq!(talk.get("/empty.txt", "Range: bytes=0-\r\n").status, 416);
    assert_eq!(
        talk.get("/big.bin", "Range: bytes=0-1,5-6\r\n").body.len(),
        300_000
    );
    let same = format!("Range: bytes=0-9\r\nIf-Range: {etag}\r\n");
    assert_eq!(talk.get("/big.bin", &same).status, 206);
    let changed = "Range: bytes=0-9\r\nIf-Range: \"old\"\r\n";
    assert_eq!(talk.get("/big.bin", changed).status, 200);
    // The condition comes before the range.
    let both = format!("Range: bytes=0-9\r\nIf-None-Match: {etag}\r\n");
    assert_eq!(talk.get("/big.bin", &both).status, 304);
}

#[test]
fn statuses_and_whether_the_connection_survives() {
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "x".repeat(TARGET_MAX)
    );
    let fat = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(HEAD_MAX)
    );
    let endless = "G".repeat(2 * HEAD_MAX);
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(100)
    );
    for (request, status, survives) in [
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 404, true),
        ("GET /bin/init HTTP/1.1\r\nHost: a\r\n\r\n", 404, true),
        (
            "GET /docs/../../bin/init HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            false,
        ),
        (
            "GET /%2e%2e/bin/init HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            false,
        ),
        (
            "GET /index.html%00.txt HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            false,
        ),
        ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400, false),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, false),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, false),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            405,
            true,
        ),
        ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, true),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405, false),
        ("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501, true),
        ("GET / HTTP/1.1\r\n\r\n", 400, false),
        ("hello\r\n\r\n", 400, false),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, false),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
            413,
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br, chunked\r\n\r\n",
            501,
            false,
        ),
        (&long, 414, false),
        (&endless, 501, false),
        (&fat, 431, false),
        (&many, 431, false),
    ] {
        let mut talk = Talk::new();
        let response = talk.ask(request);
        let request = &request[..request.len().min(60)];
        assert_eq!(response.status, status, "{request}");
        let connection = if survives { "" } else { "close" };
        assert_eq!(response.field("connection"), connection, "{request}");
        let allow = if status == 405 {
            "GET, HEAD, OPTIONS"
        } else {
            ""
        };
        assert_eq!(response.field("allow"), allow, "{request}");
        if survives {
            assert_eq!(talk.get("/", "").status, 200, "after {request}");
        } else {
            assert!(talk.line().finished && talk.open, "{request}");
            talk.line().end();
            talk.run();
            assert!(!talk.open, "{request}");
        }
    }
}

#[test]
fn a_folder_without_its_slash_is_a_redirect() {
    let mut talk = Talk::new();
    let response = talk.get("//docs?a=b", "");
    assert_eq!(
        (response.status, response.field("location")),
        (301, "/docs/?a=b")
    );
    assert_eq!(talk.get("/docs/", "").body, b"docs");
    assert_eq!(talk.get("/docs/none/", "").status, 404);
}

#[test]
fn the_site_may_have_its_own_page_for_404() {
    let mut talk = Talk::with(disk(&[("www/404.html", b"lost at sea", 0)]));
    let response = talk.get("/none", "");
    assert_eq!(
        (response.status, &response.body[..]),
        (404, &b"lost at sea"[..])
    );
    assert_eq!(talk.get("/%ff", "").status, 404);
    assert_eq!(talk.get("/404.html", "").status, 200);
    assert_eq!(talk.get("/", "").status, 404);
}

#[test]
fn persistence_of_both_versions() {
    let mut talk = Talk::new();
    let response = talk.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(
        (response.field("connection"), talk.open),
        ("keep-alive", true)
    );
    let response = talk.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.field("connection"), talk.open), ("close", false));
    let mut talk = Talk::new();
    let response = talk.get("/", "Connection: close\r\n");
    // Nothing was left to read, so it closes at once.
    assert_eq!((response.field("connection"), talk.open), ("close", false));
}

#[test]
fn the_status_page_is_alive() {
    let mut talk = Talk::new();
    talk.now = 42 * SECOND;
    talk.get("/", "");
    let response = talk.get("/status.json", "");
    assert_eq!(response.field("content-type"), "application/json");
    assert_eq!(response.field("cache-control"), "no-store");
    let text = String::from_utf8(response.body).unwrap();
    assert!(text.contains("\"uptime_ms\":42000,"), "{text}");
    assert!(text.contains("\"requests\":1,\"2xx\":1,"), "{text}");
    assert!(
        text.contains("\"network\":{\"ip\":\"10.0.2.15/24\"}"),
        "{text}"
    );
}
