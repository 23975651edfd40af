//! RFC 9110: methods, fields, conditions, ranges, and what answers say.

use super::*;

#[test]
fn section_5_6_1_lists_may_have_empty_elements() {
    holds("5.6.1.2", get("Connection: , ,close,,\r\n"), [200], Close);
    holds("5.6.1.2", get("Connection: ,,\r\n"), [200], Open);
    let mut talk = Talk::new();
    let etag = talk.get("/", "").field("etag").to_string();
    let field = format!("If-None-Match: , ,{etag},\r\n");
    assert_eq!(talk.get("/", &field).status, 304);
    assert_eq!(talk.get("/", "Range: bytes=,1-2, ,\r\n").status, 206);
}

#[test]
fn section_6_2_the_answer_has_our_version() {
    for version in ["HTTP/1.0", "HTTP/1.1", "HTTP/1.2", "HTTP/2.0", "rubbish"] {
        let said = Talk::new().say(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert!(said.starts_with(b"HTTP/1.1 "), "{version}");
    }
}

#[test]
fn section_6_6_1_a_server_without_a_clock_sends_no_date() {
    let mut talk = Talk::new();
    for path in ["/", "/none", "/docs", "/status.json"] {
        assert_eq!(talk.get(path, "").field("date"), "", "{path}");
    }
}

#[test]
fn section_7_8_upgrades_are_ignored() {
    for lines in [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Upgrade: x\r\n",
    ] {
        holds("7.8", get(lines), [200], Open);
    }
    let old = "GET / HTTP/1.0\r\nUpgrade: x\r\nConnection: keep-alive, upgrade\r\n\r\n";
    holds("7.8", old, [200], Open);
}

#[test]
fn section_8_6_content_length() {
    let mut talk = Talk::new();
    // Response::parse wants the field in every answer but 304, and that the body is as long.
    for target in [
        "/",
        "/empty.txt",
        "/none",
        "/docs",
        "/status.json",
        "/big.bin",
    ] {
        let get = talk.get(target, "");
        let length = get.field("content-length").to_string();
        assert_eq!(length, get.body.len().to_string(), "{target}");
        let head = talk.ask(format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        if target != "/status.json" {
            assert_eq!(head.field("content-length"), length, "{target}");
        }
    }
    let fresh = talk.get("/", "If-None-Match: *\r\n");
    assert_eq!((fresh.status, fresh.field("content-length")), (304, ""));
}

#[test]
fn section_8_8_validators() {
    let mut talk = Talk::new();
    let home = talk.get("/", "");
    assert!(home.field("etag").starts_with('"') && home.field("etag").ends_with('"'));
    assert_eq!(home.field("last-modified"), DATE);
    // A file without a time has no date: there is no clock to take one from.
    assert_eq!(talk.get("/empty.txt", "").field("last-modified"), "");
    assert_ne!(talk.get("/docs/", "").field("etag"), home.field("etag"));
}

#[test]
fn section_9_methods() {
    let ask = |method: &str, path: &str| {
        Talk::new().ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    assert_eq!(ask("GET", "/").status, 200);
    assert_eq!(ask("HEAD", "/").status, 200);
    for method in ["POST", "PUT", "DELETE", "TRACE", "PATCH"] {
        for path in ["/", "/none", "/status.json"] {
            let answer = ask(method, path);
            let given = (answer.status, answer.field("allow"));
            assert_eq!(
                given,
                (405, "GET, HEAD, OPTIONS"),
                "9.1, 10.2.1, 15.5.6: {method} {path}"
            );
        }
    }
    for method in ["BREW", "get", "Get", "GETS", "PROPFIND", "!#$%&'*+-.^_`|~"] {
        assert_eq!(ask(method, "/").status, 501, "9.1: {method}");
    }
    for path in ["*", "/", "/status.json"] {
        let answer = ask("OPTIONS", path);
        let given = (answer.status, answer.field("allow"), answer.body.len());
        assert_eq!(given, (200, "GET, HEAD, OPTIONS", 0), "9.3.7: {path}");
    }
    // 9.3.8: nothing of a request comes back.
    let traced = "TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nMax-Forwards: 0\r\n\r\n";
    let traced = Talk::new().say(traced);
    assert!(!String::from_utf8_lossy(&traced).contains("secret"));
}

#[test]
fn section_10_1_1_expectations() {
    for lines in [
        "Expect: 100-continue\r\n",
        "Expect: 100-CONTINUE\r\n",
        "Expect:\r\n",
    ] {
        holds("10.1.1 no content", get(lines), [200], Open);
    }
    for lines in [
        "Expect: x\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue=y\r\n",
    ] {
        holds("10.1.1 another", get(lines), [417], Close);
    }
    // The status is known from the head: it comes at once and says that it is the last.
    let mut talk = Talk::new();
    let answer = talk.ask(get("Content-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!((answer.status, answer.field("connection")), (200, "close"));
    let chunks = get("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n");
    let mut talk = Talk::new();
    let answer = talk.ask(chunks);
    assert_eq!((answer.status, answer.field("connection")), (200, "close"));
    let big = get("Content-Length: 99999999\r\nExpect: 100-continue\r\n");
    holds("10.1.1 refused at once", big, [413], Close);
    // HTTP/1.0 has no such expectation: the content is waited for.
    let old = "GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";
    holds("10.1.1 in HTTP/1.0", old, [200], Open);
}

#[test]
fn section_12_5_no_preference_is_needed() {
    for line in [
        "Accept: image/*;q=0",
        "Accept-Encoding: gzip, br",
        "Accept-Encoding: ",
        "Accept-Language: eo",
        "Accept-Charset: x",
        "TE: trailers, deflate;q=0.5",
        "From: a@b",
        "Content-Location: /other",
        "Content-Range: bytes 0-1/2",
        "Max-Forwards: 0",
        "If-Range: \"x\"",
        "Content-Encoding: gzip",
    ] {
        holds(
            "5.1, 8.7, 12.5, 13.1.5, 14.4",
            get(&format!("{line}\r\n")),
            [200],
            Open,
        );
    }
}

/// The page's status with these fields; `E` stands for its tag.
fn condition(path: &str, fields: &str) -> u16 {
    let mut talk = Talk::new();
    let etag = talk.get(path, "").field("etag").to_string();
    let lines: String = fields
        .split('|')
        .map(|line| line.replace("E!", &etag) + "\r\n")
        .collect();
    talk.get(path, &lines).status
}

#[test]
fn section_13_1_conditions() {
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    for (section, fields, status) in [
        ("13.1.1 strong comparison", "If-Match: E!".to_string(), 200),
        ("13.1.1 strong comparison", "If-Match: W/E!".into(), 412),
        ("13.1.1 any", "If-Match: *".into(), 200),
        ("13.1.1 none of them", "If-Match: \"x\", \"y\"".into(), 412),
        (
            "13.1.1 one of them",
            "If-Match: \"x\"|If-Match: \"y\",E!".into(),
            200,
        ),
        ("13.1.2 weak comparison", "If-None-Match: W/E!".into(), 304),
        ("13.1.2 any", "If-None-Match: *".into(), 304),
        (
            "13.1.2 one of them",
            "If-None-Match: \"x\" , E!".into(),
            304,
        ),
        ("13.1.2 none of them", "If-None-Match: \"x\"".into(), 200),
        (
            "13.1.3 not since",
            format!("If-Modified-Since: {DATE}"),
            304,
        ),
        ("13.1.3 since", format!("If-Modified-Since: {BEFORE}"), 200),
        ("13.1.3 no date", "If-Modified-Since: yesterday".into(), 200),
        (
            "13.1.3 several",
            format!("If-Modified-Since: {DATE}, {DATE}"),
            200,
        ),
        (
            "13.1.3 several",
            format!("If-Modified-Since: {DATE}|If-Modified-Since: {DATE}"),
            200,
        ),
        (
            "5.6.7 RFC 850",
            "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT".into(),
            304,
        ),
        (
            "5.6.7 asctime",
            "If-Modified-Since: Sun Nov  6 08:49:37 1994".into(),
            304,
        ),
        (
            "13.1.4 not since",
            format!("If-Unmodified-Since: {DATE}"),
            200,
        ),
        (
            "13.1.4 since",
            format!("If-Unmodified-Since: {BEFORE}"),
            412,
        ),
        ("13.1.4 no date", "If-Unmodified-Since: x".into(), 200),
        (
            "13.2.2 1. before 2.",
            format!("If-Match: E!|If-Unmodified-Since: {BEFORE}"),
            200,
        ),
        (
            "13.2.2 1. before 3.",
            "If-Match: \"x\"|If-None-Match: E!".into(),
            412,
        ),
        (
            "13.2.2 1. then 3.",
            "If-Match: E!|If-None-Match: E!".into(),
            304,
        ),
        (
            "13.2.2 2. before 3.",
            format!("If-Unmodified-Since: {BEFORE}|If-None-Match: E!"),
            412,
        ),
        (
            "13.2.2 3. before 4.",
            format!("If-None-Match: \"x\"|If-Modified-Since: {DATE}"),
            200,
        ),
        (
            "13.2.2 3. before 5.",
            "If-None-Match: E!|Range: bytes=0-1".into(),
            304,
        ),
        (
            "13.2.2 1. before 5.",
            "If-Match: \"x\"|Range: bytes=0-1".into(),
            412,
        ),
        (
            "13.2.2 5. true",
            "Range: bytes=0-1|If-Range: E!".into(),
            206,
        ),
        (
            "13.2.2 5. false",
            "Range: bytes=0-1|If-Range: \"x\"".into(),
            200,
        ),
        (
            "13.1.5 strong comparison",
            "Range: bytes=0-1|If-Range: W/E!".into(),
            200,
        ),
        (
            "13.1.5 a date",
            format!("Range: bytes=0-1|If-Range: {DATE}"),
            206,
        ),
        (
            "13.1.5 the very date",
            format!("Range: bytes=0-1|If-Range: {BEFORE}"),
            200,
        ),
        (
            "13.1.5 false before 416",
            "Range: bytes=999-|If-Range: \"x\"".into(),
            200,
        ),
        ("13.1.5 without Range", "If-Range: \"x\"".into(), 200),
    ] {
        assert_eq!(condition("/", &fields), status, "{section}: {fields}");
    }
    // A resource that has neither tag nor date: 13.1.1, 13.1.2, and dates mean nothing.
    for (fields, status) in [
        ("If-Match: *", 200),
        ("If-Match: \"x\"", 412),
        ("If-None-Match: *", 304),
        ("If-None-Match: \"x\"", 200),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ("Range: bytes=0-1", 200),
    ] {
        assert_eq!(condition("/status.json", fields), status, "{fields}");
    }
    // 13.2.1: what would be no success has no conditions.
    for (path, status) in [("/none", 404), ("/docs", 301)] {
        for field in ["If-Match: \"x\"", "If-None-Match: *", "Range: bytes=0-1"] {
            assert_eq!(condition(path, field), status, "{path} {field}");
        }
    }
    for (method, status) in [("PUT", 405), ("OPTIONS", 200), ("TRACE", 405)] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\n");
        holds("13.2.1", request, [status], Open);
    }
}

#[test]
fn section_14_2_ranges() {
    let mut talk = Talk::new();
    let big = big();
    for (range, wanted) in [
        ("bytes=0-0", Some(0..1)),
        ("bytes=0-", Some(0..300_000)),
        ("bytes=299999-", Some(299_999..300_000)),
        ("bytes=299999-18446744073709551616", Some(299_999..300_000)),
        ("bytes=0-99999999999999999999999999", Some(0..300_000)),
        ("bytes=-1", Some(299_999..300_000)),
        ("bytes=-99999999999999999999999999", Some(0..300_000)),
        ("BYTES=1-2", Some(1..3)),
        ("bytes= 1-2", Some(1..3)),
        ("bytes=1-2,999999-", Some(1..3)),
        ("bytes=300000-", None),
        ("bytes=-0", None),
        ("bytes=99999999999999999999999999-", None),
        ("bytes=300000-, -0", None),
    ] {
        let answer = talk.get("/big.bin", &format!("Range: {range}\r\n"));
        let given = (answer.status, answer.field("content-range"));
        match wanted {
            Some(part) => {
                let field = format!("bytes {}-{}/300000", part.start, part.end - 1);
                assert_eq!(given, (206, &field[..]), "14.2, 15.3.7: {range}");
                assert!(answer.body == big[part], "{range}");
            }
            None => assert_eq!(given, (416, "bytes */300000"), "14.2, 14.4: {range}"),
        }
    }
    for whole in [
        "bytes=2-1",
        "bytes=1",
        "bytes=",
        "bytes",
        "bytes=-",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes=1-2-3",
        "bytes=1-2,x",
        "bytes=1-2,5-6",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=--1",
        "lines=1-2",
        "bytes=1-2;q=1",
        "=1-2",
        "bytes =1-2",
        "bytes=2-1,1-2",
    ] {
        let answer = talk.get("/big.bin", &format!("Range: {whole}\r\n"));
        assert_eq!(
            (answer.status, answer.body.len()),
            (200, 300_000),
            "14.2: {whole}"
        );
    }
    let twice = "Range: bytes=0-1\r\nRange: bytes=0-1\r\n";
    assert_eq!(talk.get("/big.bin", twice).status, 200);
    // 14.1.2: of an empty file only a suffix can be had, and that is all of it.
    assert_eq!(talk.get("/empty.txt", "Range: bytes=-1\r\n").status, 200);
    assert_eq!(talk.get("/empty.txt", "Range: bytes=0-\r\n").status, 416);
    assert_eq!(talk.get("/empty.txt", "Range: bytes=-0\r\n").status, 416);
    // GET only.
    let head = talk.ask("HEAD /big.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!((head.status, head.field("content-length")), (200, "300000"));
}

/// The names of an answer's fields, sorted.
fn names(response: &Response) -> Vec<&str> {
    let mut names: Vec<&str> = response.fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn section_15_fields_of_answers() {
    let mut talk = Talk::new();
    let whole = talk.get("/", "");
    let all = [
        "accept-ranges",
        "cache-control",
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "server",
    ];
    assert_eq!(names(&whole), all, "15.3.1");
    let etag = whole.field("etag").to_string();
    let fresh = talk.get("/", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(names(&fresh), ["cache-control", "etag", "server"], "15.4.5");
    let part = talk.get("/", "Range: bytes=0-1\r\n");
    let with_range = [&all[..3], &["content-range"], &all[3..]].concat();
    assert_eq!(names(&part), with_range, "15.3.7");
    let part = talk.get("/", &format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n"));
    assert_eq!(part.status, 206);
    let few = [
        "cache-control",
        "content-length",
        "content-range",
        "etag",
        "server",
    ];
    assert_eq!(names(&part), few, "15.3.7");
    for name in ["etag", "cache-control"] {
        assert_eq!(part.field(name), whole.field(name), "15.3.7");
        assert_eq!(fresh.field(name), whole.field(name), "15.4.5");
    }
}

#[test]
fn sections_15_5_and_15_6_errors_explain_themselves() {
    for (request, status, word) in [
        (target("/none"), 404, "no such page"),
        (target("/%zz"), 400, "not well formed"),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            405,
            "GET and HEAD",
        ),
        (
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(),
            505,
            "HTTP/1.1 and HTTP/1.0",
        ),
        (get("Range: bytes=99-\r\n"), 416, "past the end"),
        (target("https://a/"), 421, "https"),
        (
            get("Transfer-Encoding: gzip, chunked\r\n"),
            501,
            "not implement",
        ),
    ] {
        let answer = Talk::new().ask(request);
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(answer.status, status, "{body}");
        assert!(body.contains(word), "{status}: {body}");
        assert_eq!(answer.field("content-type"), "text/html; charset=utf-8");
    }
}
