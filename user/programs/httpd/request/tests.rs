//! Heads, good and bad.

use super::*;

fn parse(head: &str) -> Result<(Method, bool, Content), Status> {
    let mut fields = fields();
    match Request::parse(head.as_bytes(), &mut fields)? {
        Parsed::Newer => parse(core::str::from_utf8(&as_http11(head.as_bytes())).unwrap()),
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
        ("HEAD / HTTP/1.1\r\nhost:a\r\n\r\n", Head, true),
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
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Get, true),
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
        "Content-Length: 9999999999999999999\r\n",
        "Content-Length: 65537\r\n",
    ] {
        assert_eq!(content(fields), Err(Status::CONTENT_TOO_LARGE), "{fields}");
    }
    for fields in [
        "Content-Length: \r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
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
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\nContent-Length: 1\r\n",
    ] {
        assert_eq!(content(fields), Err(Status::BAD_REQUEST), "{fields}");
    }
    let fields = "Transfer-Encoding: gzip, chunked\r\n";
    assert_eq!(content(fields), Err(Status::NOT_IMPLEMENTED));
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
        let Ok(Parsed::Complete(request, _)) = Request::parse(head.as_bytes(), &mut room) else {
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
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/9.9"] {
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
