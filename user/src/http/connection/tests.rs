//! Conversations with one connection, on a virtual clock. The driver plays `poll`: it
//! pumps only when what the connection waits for is so, which is how a stall shows.

use super::super::content::CONTENT_MAX;
use super::super::request::TARGET_MAX;
use super::*;
use crate::ramdisk::Ramdisk;
use crate::ramdisk::tests::tar;
use crate::stream::tests::Pipe;
use std::collections::HashMap;

const MODIFIED: u64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const SECOND: u64 = 1_000_000_000;

fn big() -> Vec<u8> {
    (0..300_000u32).map(|n| (n * 31 + n / 256) as u8).collect()
}

fn site(members: &[(&str, &[u8], u64)]) -> Site<'static> {
    let tar: &'static [u8] = tar(members).leak();
    let disk: &'static Ramdisk<'static> = Box::leak(Box::new(Ramdisk::new(tar).unwrap()));
    Site::new(disk, "www/")
}

/// One client and what it talks to.
struct Talk {
    site: Site<'static>,
    counters: Counters,
    now: u64,
    pipe: Pipe,
    connection: Connection<'static>,
    open: bool,
}

impl Talk {
    fn new() -> Self {
        Talk::with(site(&[
            ("www/index.html", b"<h1>home</h1>", MODIFIED),
            ("www/big.bin", &big(), MODIFIED),
            ("www/empty.txt", b"", 0),
            ("www/docs/index.html", b"docs", MODIFIED),
            ("www/docs/a b.css", b"p {}", MODIFIED),
            ("bin/init", b"secret", MODIFIED),
        ]))
    }

    fn with(site: Site<'static>) -> Self {
        Talk {
            site,
            counters: Counters::default(),
            now: 0,
            pipe: Pipe::new(),
            connection: Connection::new(0),
            open: true,
        }
    }

    fn turn(&mut self, expired: bool) {
        assert!(self.open);
        let mut context = Context {
            site: &self.site,
            counters: &mut self.counters,
            open: 1,
            now: self.now,
            network: &|| "ip 10.0.2.15/24\n".into(),
        };
        let flow = match expired {
            true => self.connection.expire(&&self.pipe, &mut context),
            false => self.connection.pump(&&self.pipe, &mut context),
        };
        self.open = flow == Flow::Open;
        assert!(self.connection.input.len() <= HEAD_MAX);
        assert!(self.connection.output.capacity() <= 4 * OUTPUT_MAX);
    }

    /// Pumps as long as the connection is open and ready.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let wanted = self.connection.wanted();
            let readable = wanted & events::READABLE != 0 && self.pipe.readable();
            let writable = wanted & events::WRITABLE != 0 && self.pipe.writable();
            if !self.open || !(readable || writable) {
                return;
            }
            self.turn(false);
        }
        panic!("never rests");
    }

    /// Lets the deadline pass.
    fn wait(&mut self) -> u64 {
        let deadline = self.connection.deadline();
        assert!(deadline > self.now && deadline < self.now + 3600 * SECOND);
        let waited = deadline - self.now;
        self.now = deadline;
        self.turn(true);
        if self.open {
            self.run();
        }
        waited
    }

    fn say(&mut self, request: impl AsRef<[u8]>) -> Vec<u8> {
        self.pipe.send(request.as_ref());
        self.run();
        self.pipe.received()
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
        "/%",
        "/status.json",
    ] {
        let get = talk.get(target, "");
        let head = talk.ask(format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.body, b"");
        if target != "/status.json" {
            assert_eq!((head.status, head.fields), (get.status, get.fields));
        }
    }
    // A Range counts for GET only, and a refusal has no body either.
    let ranged = talk.ask("HEAD / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!((ranged.status, ranged.field("content-length")), (200, "13"));
    assert_eq!(talk.ask("HEAD / HTTP/1.1\r\n\r\n").status, 400);
}

#[test]
fn a_large_body_is_lent_not_copied() {
    let mut talk = Talk::new();
    talk.pipe.take(1000);
    talk.pipe.send(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    talk.run();
    assert!(talk.connection.output.len() < 1000);
    assert!(talk.connection.body.len() > 299_000);
    let mut said = talk.pipe.received();
    while talk.connection.has_output() {
        talk.pipe.take(7777);
        talk.run();
        said.extend(talk.pipe.received());
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
            true,
        ),
        (
            "GET /%2e%2e/bin/init HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            true,
        ),
        (
            "GET /index.html%00.txt HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            true,
        ),
        ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400, true),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, true),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, true),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            405,
            true,
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405, true),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405, true),
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
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n",
            501,
            false,
        ),
        (&long, 414, false),
        (&endless, 414, false),
        (&fat, 431, false),
        (&many, 431, false),
    ] {
        let mut talk = Talk::new();
        let response = talk.ask(request);
        let request = &request[..request.len().min(60)];
        assert_eq!(response.status, status, "{request}");
        let connection = if survives { "" } else { "close" };
        assert_eq!(response.field("connection"), connection, "{request}");
        let allow = if status == 405 { "GET, HEAD" } else { "" };
        assert_eq!(response.field("allow"), allow, "{request}");
        if survives {
            assert_eq!(talk.get("/", "").status, 200, "after {request}");
        } else {
            assert!(talk.pipe.finished() && talk.open, "{request}");
            talk.pipe.end();
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
    let mut talk = Talk::with(site(&[("www/404.html", b"lost at sea", 0)]));
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

/// Requests of every kind one after another, and how many responses they get.
fn conversation() -> (String, usize) {
    let mut text = String::new();
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD /big.bin HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET /none HTTP/1.1\nHost: a\n\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/1",
        "GET /big.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=5-4999\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nGET /\r\n0\r\nX: y\r\n\r\n",
        "GET /docs/a%20b.css HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for round in 0..30 {
        text.push_str(requests[round % requests.len()]);
    }
    text.push_str("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    (text, 31)
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_arrive() {
    let (text, count) = conversation();
    let mut whole = Talk::new();
    let said = whole.say(&text);
    assert_eq!(whole.counters.requests, count as u64);
    assert!(!whole.open);
    let mut seed = 1u32;
    for pieces in 0..60 {
        let mut talk = Talk::new();
        let mut rest = text.as_bytes();
        let mut heard = Vec::new();
        while !rest.is_empty() && talk.open {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = match pieces {
                0 => 1,
                _ => 1 + (seed >> 8) as usize % (pieces * 20),
            };
            let (now, later) = rest.split_at(size.min(rest.len()));
            if pieces % 2 == 1 {
                talk.pipe.trickle(1 + pieces);
            }
            heard.extend(talk.say(now));
            rest = later;
        }
        assert!(heard == said, "pieces {pieces}");
        assert!(!talk.open);
    }
}

#[test]
fn a_thousand_requests_at_once_do_not_stall_or_pile_up() {
    let mut talk = Talk::new();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let said = talk.say(request.repeat(1000));
    assert_eq!(talk.counters.requests, 1000);
    assert_eq!(said.len() % 1000, 0);
    // And if the client does not take the answers, the rest stays unread.
    talk.pipe.take(0);
    talk.say(request.repeat(1000));
    assert!(talk.counters.requests < 1100);
    assert!(talk.pipe.unread() > 20_000);
    talk.pipe.take(usize::MAX);
    talk.run();
    assert_eq!(talk.counters.requests, 2000);
}

#[test]
fn a_client_that_ends_its_direction_gets_its_answers() {
    let mut talk = Talk::new();
    talk.pipe.send(
        "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n"
            .repeat(3)
            .as_bytes(),
    );
    talk.pipe.end();
    talk.run();
    assert_eq!(talk.counters.requests, 3);
    assert!(!talk.open && talk.pipe.received().len() > 900_000);
    // One that ends in the middle of a head wanted nothing.
    let mut talk = Talk::new();
    talk.pipe.end();
    assert_eq!(talk.say("GET / HT"), b"");
    assert!(!talk.open);
}

#[test]
fn content_of_unknown_fate_ends_the_connection() {
    let mut talk = Talk::new();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n";
    let response = talk.ask(format!("{head}Expect: 100-continue\r\n\r\n"));
    assert_eq!(
        (response.status, response.field("connection")),
        (405, "close")
    );
    talk.say("hello");
    talk.pipe.end();
    talk.run();
    assert!(!talk.open);
    // Without content there is nothing to be unsure of.
    let mut talk = Talk::new();
    assert_eq!(
        talk.get("/", "Expect: 100-continue\r\n")
            .field("connection"),
        ""
    );
    // Chunks without end.
    let mut talk = Talk::new();
    let head = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(talk.ask(head).status, 200);
    talk.say("400\r\n".to_string() + &"x".repeat(1024) + "\r\n");
    assert!(talk.open && !talk.pipe.finished());
    for _ in 0..CONTENT_MAX / 1024 {
        talk.say("400\r\n".to_string() + &"x".repeat(1024) + "\r\n");
    }
    assert!(talk.pipe.finished());
}

#[test]
fn a_slow_head_is_refused_in_time() {
    let mut talk = Talk::new();
    talk.say("GET / HTTP/1.1\r\n");
    for byte in "Host: a long name".bytes() {
        talk.now += SECOND / 2;
        talk.say([byte]);
    }
    assert_eq!(talk.connection.deadline(), HEAD_NS);
    talk.wait();
    let (response, _) = Response::parse(&talk.pipe.received(), false);
    assert_eq!(
        (response.status, response.field("connection")),
        (408, "close")
    );
    assert!(talk.pipe.finished());
    talk.wait();
    assert!(!talk.open);
    assert_eq!(talk.counters.timed_out, 2);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut talk = Talk::new();
    assert_eq!(talk.wait(), HEAD_NS);
    assert!(!talk.open && talk.pipe.received().is_empty());

    let mut talk = Talk::new();
    talk.now = 5 * SECOND;
    talk.get("/", "");
    talk.now += SECOND;
    // Empty lines are no request and gain no time.
    for _ in 0..10 {
        talk.say("\r\n\r\n");
    }
    assert!(talk.connection.deadline() <= 5 * SECOND + IDLE_NS);
    talk.wait();
    assert!(!talk.open && talk.pipe.received().is_empty());
}

#[test]
fn content_that_does_not_come_ends_the_connection() {
    let mut talk = Talk::new();
    talk.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n");
    for _ in 0..9 {
        talk.now += SECOND;
        talk.say("x");
    }
    assert_eq!(talk.wait(), SECOND);
    assert!(!talk.open);
}

#[test]
fn a_client_that_takes_nothing_or_too_little_is_given_up() {
    let mut talk = Talk::new();
    talk.pipe.take(0);
    talk.say("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(talk.wait(), STALL_NS);
    assert!(!talk.open);

    let mut talk = Talk::new();
    talk.pipe.take(0);
    talk.say("GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    while talk.now < talk.connection.deadline() {
        talk.now += SECOND;
        talk.pipe.take(100);
        talk.run();
    }
    let most = RESPONSE_NS + 301_000 * SECOND / RATE;
    assert!(
        talk.now > 5 * STALL_NS && talk.now <= most + SECOND,
        "{}",
        talk.now
    );
}

#[test]
fn a_refused_client_that_keeps_sending_is_cut_off() {
    let mut talk = Talk::new();
    talk.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
    assert!(talk.pipe.finished());
    for _ in 0..LINGER_MAX / 1000 {
        talk.say([0; 1000]);
        assert!(talk.open);
    }
    talk.say([0; 1000]);
    assert!(!talk.open);
    let mut talk = Talk::new();
    talk.ask("GARBAGE\r\n\r\n");
    assert_eq!(talk.wait(), LINGER_NS);
    assert!(!talk.open);
}

#[test]
fn a_long_head_gives_its_memory_back() {
    let mut talk = Talk::new();
    let cookie = format!("Cookie: {}\r\n", "c".repeat(10_000));
    assert_eq!(talk.get("/", &cookie).status, 200);
    assert!(talk.connection.input.capacity() <= INPUT_MIN);
    assert_eq!(talk.get("/", "").status, 200);
    assert_eq!(talk.connection.input.capacity(), INPUT_MIN);
}

#[test]
fn a_reset_ends_it() {
    let mut talk = Talk::new();
    talk.get("/", "");
    talk.pipe.reset();
    talk.turn(false);
    assert!(!talk.open);
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

/// Whatever comes, the connection neither panics nor grows nor rests with work undone.
#[test]
fn noise_does_no_harm() {
    let (text, _) = conversation();
    let mut seed = 7u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for _ in 0..3000 {
        let mut talk = Talk::new();
        let mut bytes = text.as_bytes()[random(400)..][..400 + random(400)].to_vec();
        for _ in 0..random(12) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, b"\r\n :/%?0\0"[random(9)]),
                _ => {
                    let copy = bytes[at..(at + 40).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        talk.pipe.trickle(1 + random(300));
        talk.say(&bytes);
        if talk.open {
            talk.pipe.end();
            talk.run();
        }
        assert!(!talk.open);
        let said = talk.pipe.received();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "));
    }
}
