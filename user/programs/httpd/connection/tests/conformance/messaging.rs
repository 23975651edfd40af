//! RFC 9112: the form of messages, their framing, and the connection.

use super::super::super::super::request::{FIELDS_MAX, HEAD_MAX};
use super::*;

#[test]
fn section_2_2_lines_end_with_crlf() {
    for head in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: w\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        holds("2.2 a bare LF is no line end", head, [400], Close);
    }
    for head in [
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r: y\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        holds("2.2 a bare CR is invalid", head, [400], Close);
    }
}

#[test]
fn section_2_2_messages_are_octets_and_match_the_grammar() {
    holds(
        "2.2 octets, not characters",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\xc3\r\n\r\n",
        [200],
        Open,
    );
    let early = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("2.2 an empty line before is ignored", early, [200], Open);
    let early = "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("2.2 several, too", early, [200], Open);
    for line in [" X: y", "\tX: y", " ", "\t", " Host: b"] {
        let head = format!("GET / HTTP/1.1\r\n{line}\r\nHost: a\r\n\r\n");
        holds("2.2 whitespace before the first field", head, [400], Close);
    }
    for bytes in [
        &b"hello\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa4: b\r\n\r\n",
    ] {
        holds("2.2 what is no message", bytes, [400], Close);
    }
}

#[test]
fn section_2_3_versions() {
    let version = |version: &str| format!("GET / {version}\r\nHost: a\r\n\r\n");
    // RFC 9110 6.2: a newer minor version is as our own.
    holds("2.3", version("HTTP/1.2"), [200], Open);
    holds("2.3", version("HTTP/1.9"), [200], Open);
    holds("2.3 HTTP/1.0 closes", version("HTTP/1.0"), [200], Close);
    let newer = "GET / HTTP/1.2\r\n\r\n";
    holds("2.3 and has its duties", newer, [400], Close);
    for other in ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/9.9"] {
        holds("2.3 another major version", version(other), [505], Close);
    }
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    holds("2.3 the preface of HTTP/2", preface, [505], Close);
    for wrong in [
        "http/1.1",
        "Http/1.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.10",
        "HTTP/11.1",
        "HTTP/01.1",
        "HTTP/1,1",
        "HTTP/+1.1",
        "HTTP/1.x",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP1.1",
        "HTP/1.1",
        "ICY/1.1",
    ] {
        holds("2.3 the name has its case", version(wrong), [400], Close);
    }
    holds(
        "C.2.1 HTTP/0.9 has no version",
        "GET /\r\n\r\n",
        [400],
        Close,
    );
}

#[test]
fn section_3_request_lines() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /\x0bHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET HTTP/1.1",
        "GET",
        "G(T / HTTP/1.1",
        "G\u{e4}T / HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        holds("3 single spaces, no other", head, [400], Close);
    }
    let method = |len| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(len));
    holds("3 a long method", method(100), [501], Open);
    let longest = "M".repeat(HEAD_MAX) + " / HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("3 a method without end", longest, [501], Close);
    let path = |len| target(&format!("/{}", "x".repeat(len - 1)));
    // "GET " and " HTTP/1.1" are 13 octets.
    holds("3 request lines of 8000 octets", path(7987), [404], Open);
    holds("3 a longer target", path(8001), [414], Close);
    holds("3 a target without end", path(HEAD_MAX), [414], Close);
}

#[test]
fn section_3_2_host() {
    let host = |value: &str| format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
    for valid in [
        "wharf",
        "10.0.2.15",
        "10.0.2.15:80",
        "example.org:8080",
        "example.org:",
        "[::1]",
        "[fe80::1]:80",
        "[::ffff:10.0.2.15]:65535",
        "[v1.a:b]",
        "a-b_c.~d",
        "%41bc",
        "a!$&'()*+,;=b",
        "EXAMPLE.org",
    ] {
        holds("3.2 a valid Host", host(valid), [200], Open);
    }
    for invalid in [
        "a b",
        "a/b",
        "/",
        "a?b",
        "a#b",
        "user@a",
        "user:pass@a",
        "a:b",
        "a:80:80",
        "a:+80",
        "a:-1",
        "a:65536",
        "a:99999999999999999999",
        "a: 80",
        "[::1",
        "::1",
        "[::1]80",
        "[::1]a",
        "[]",
        "[a]",
        "[::g]",
        "[::1]:x",
        "a[b]",
        "%",
        "%4",
        "%zz",
        "a\\b",
        "a\"b",
        "a<b>",
        "\u{e4}",
        "a, b",
        "http://a",
        "",
        ":80",
    ] {
        holds("3.2 an invalid Host", host(invalid), [400], Close);
        let old = format!("GET / HTTP/1.0\r\nHost: {invalid}\r\n\r\n");
        holds("3.2 in any version", old, [400], Close);
    }
    let none = "GET / HTTP/1.1\r\n\r\n";
    holds("3.2 no Host", none, [400], Close);
    let none = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    holds("3.2 HTTP/1.0 needs none", none, [200], Open);
    let two = "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n";
    holds("3.2 two Hosts", two, [400], Close);
    let two = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost:\r\n\r\n";
    holds("3.2 two Hosts", two, [400], Close);
    let two = "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n";
    holds("3.2 two Hosts", two, [400], Close);
}

#[test]
fn section_3_2_targets_that_are_none() {
    for odd in ["/a|b", "/?a={b}", "/a[1]", "/?q=\"x\"", "/<b>", "/a^b`"] {
        holds("3.2 is shown the encoded one", target(odd), [301], Open);
    }
    let mut talk = Talk::new();
    for (odd, encoded) in [
        (
            "/a|b/c[1]?x={\"y\"}&z=%7e%zz%",
            "/a%7Cb/c%5B1%5D?x=%7B%22y%22%7D&z=%7e%25zz%25",
        ),
        ("/docs/../|%c3%a4", "/%7C%C3%A4"),
        ("/?%C3%A4|", "/?%C3%A4%7C"),
    ] {
        let answer = talk.get(odd, "");
        assert_eq!((answer.status, answer.field("location")), (301, encoded));
        // And that one is as it should be.
        assert_ne!(talk.get(encoded, "").status, 301);
    }
    for broken in [
        "/%", "/%4", "/%zz", "/a%", "/%0", "/a\\b", "/a#b", "/#", "a/b", "?", "//../..",
    ] {
        holds("3.2 an invalid target", target(broken), [400], Close);
    }
    for broken in ["/\u{e4}", "/?\u{e4}", "/|?\u{e4}"] {
        holds("3.2 octets above ASCII", target(broken), [400], Close);
    }
    let raw = b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("3.2 an invalid target", raw, [400], Close);
    for climbs in [
        "/..",
        "/%2e%2e/",
        "/docs/../../bin/init",
        "/%00",
        "/a%0d%0ab",
    ] {
        holds("3.2 it leads nowhere", target(climbs), [400], Close);
    }
}

#[test]
fn section_3_2_1_to_4_forms_of_the_target() {
    let mut talk = Talk::new();
    let page = talk.get("/", "");
    for absolute in [
        "http://a/",
        "http://a",
        "HTTP://a/index.html",
        "http://other.example:8080/",
        "http://[::1]:80/?q",
        "http://a?q",
        "http://a:/",
    ] {
        assert_eq!(talk.get(absolute, ""), page, "3.2.2 {absolute}");
    }
    let differs = "GET http://b:81/ HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("3.2.2 the target's host counts", differs, [200], Open);
    let old = "GET http://a/ HTTP/1.0\r\n\r\n";
    holds("3.2.2", old, [200], Close);
    let empty = "GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n";
    holds("3.2.2 Host may then be empty", empty, [200], Open);
    let none = "GET http://a/ HTTP/1.1\r\n\r\n";
    holds("3.2.2 Host is needed all the same", none, [400], Close);
    for invalid in [
        "http:///",
        "http://",
        "http://:80/",
        "http://?q",
        "http://a@b/",
        "http://u:p@b/",
        "http://a:65536/",
        "http://a:x/",
        "http://[::1/",
        "http://a\"/",
        "http:/a",
        "http:a",
        "://a/",
        "ftp://a/",
        "httpx://a/",
        "h ttp://a/",
        "http://a/#b",
    ] {
        holds("3.2.2, RFC 9110 4.2", target(invalid), [400], Close);
    }
    let secured = target("https://a/");
    holds("3.2.2, RFC 9110 7.4: not secured", secured, [421], Close);
    let secured = target("HTTPS://a:443/index.html");
    holds("3.2.2, RFC 9110 7.4: not secured", secured, [421], Close);
    let connect = |to: &str| format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\n\r\n");
    for valid in ["a:80", "10.0.2.2:443", "[::1]:1", "a.example:65535"] {
        holds("3.2.3 authority-form", connect(valid), [405], Close);
    }
    for invalid in [
        "a",
        "a:",
        "a:0",
        "a:65536",
        "a:x",
        ":80",
        "/",
        "http://a:80/",
        "*",
        "u@a:80",
        "a:80/",
    ] {
        holds("3.2.3, RFC 9110 9.3.6", connect(invalid), [400], Close);
    }
    holds("3.2.3 is for CONNECT only", target("a:80"), [400], Close);
    let all = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("3.2.4 asterisk-form", all, [200], Open);
    for method in ["GET", "HEAD", "POST", "CONNECT", "TRACE", "BREW"] {
        let head = format!("{method} * HTTP/1.1\r\nHost: a\r\n\r\n");
        holds("3.2.4 is for OPTIONS only", head, [400], Close);
    }
    holds(
        "3.2.4",
        "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n",
        [400],
        Close,
    );
}

#[test]
fn section_5_fields() {
    for line in [
        "X : y",
        "X\t: y",
        "Content-Length : 5",
        "Host : a",
        ": y",
        " : y",
        "X Y: z",
    ] {
        let rule = "5.1 whitespace before the colon";
        holds(rule, get(&format!("{line}\r\n")), [400], Close);
    }
    for line in ["X:y", "X: y", "X:\t \ty \t", "X:", "X: "] {
        holds(
            "5.1 whitespace around the value",
            get(&format!("{line}\r\n")),
            [200],
            Open,
        );
    }
    for lines in [
        "X: y\r\n z\r\n",
        "X: y\r\n\tz\r\n",
        "X:\r\n y\r\n",
        "X: y\r\n \r\n",
        "Content-Length: 5\r\n 0\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
    ] {
        holds("5.2 obs-fold", get(lines), [400], Close);
    }
    let many = "A: b\r\n".repeat(FIELDS_MAX);
    holds("RFC 9110 5.4 too many fields", get(&many), [431], Close);
    let fat = format!("X: {}\r\n", "y".repeat(HEAD_MAX));
    holds("RFC 9110 5.4 too large a field", get(&fat), [431], Close);
    let name = format!("{}: y\r\n", "x".repeat(HEAD_MAX));
    holds("RFC 9110 5.4 too large a name", get(&name), [431], Close);
}

#[test]
fn section_6_1_transfer_codings() {
    let coded = |lines: &str| get(lines) + "0\r\n\r\n";
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: CHUNKED\r\n",
        "transfer-encoding:\tchunked \r\n",
        "Transfer-Encoding: , chunked ,\r\n",
    ] {
        holds("6.1 chunked, in any case", coded(lines), [200], Open);
    }
    for lines in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: br,chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: gzip;level=1, chunked\r\n",
    ] {
        holds("6.1 a coding that we have not", coded(lines), [501], Close);
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
        "Transfer-Encoding:\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: \r\nContent-Length: 0\r\n",
        "Transfer-Encoding: ,\r\nContent-Length: 5\r\n",
    ] {
        holds(
            "6.1, 6.3 3. with Content-Length",
            coded(lines),
            [400],
            Close,
        );
    }
    for codings in ["chunked", "gzip", "", "identity"] {
        let head = format!(
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: {codings}\r\n\r\n0\r\n\r\n"
        );
        holds("6.1 in HTTP/1.0", head, [400], Close);
    }
}

#[test]
fn section_6_3_the_length_of_content() {
    for lines in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: ,\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: chunke\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: chunked;\r\n",
        "Transfer-Encoding: chunked chunked\r\n",
        "Transfer-Encoding: chunked\u{b}\r\n",
        "Transfer-Encoding: gzip;a=\", chunked\"\r\n",
    ] {
        let request = get(lines) + "0\r\n\r\n";
        holds("6.3 4. chunked must be the last", request, [400], Close);
    }
    for value in [
        "", "-1", "+5", "5 5", "0x5", "5.0", "5e0", "five", "5;", "5,", ",5", "5, 5", "5,6",
        "\"5\"", "5 0", "\u{665}", "-0", "1_0",
    ] {
        let request = get(&format!("Content-Length: {value}\r\n")) + "hello";
        holds("6.3 5. an invalid length", request, [400], Close);
        let head = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n";
        let request = format!("{head}Content-Length: {value}\r\n\r\nhello");
        holds("6.3 5. an invalid length", request, [400], Close);
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n",
        "Content-Length:\r\nContent-Length: 5\r\n",
    ] {
        holds("6.3 5. several lengths", get(lines) + "hello", [400], Close);
    }
    for value in ["5", "05", "0000000000000000000000000000005", " 5\t"] {
        let request = get(&format!("Content-Length: {value}\r\n")) + "hello";
        holds("6.3 6. so many octets", request, [200], Open);
    }
    let hidden = "GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = get(&format!("Content-Length: {}\r\n", hidden.len())) + hidden;
    holds("6.3 6. content is no request", request, [200], Open);
    for value in ["65537", "4294967301", "18446744073709551614"] {
        let request = get(&format!("Content-Length: {value}\r\n")) + "hello";
        holds("6.2 no overflow", request, [413], Close);
    }
    // Whoever takes these modulo 2^64 reads 5.
    for value in [
        "18446744073709551621",
        "340282366920938463463374607431768211461",
    ] {
        let request = get(&format!("Content-Length: {value}\r\n")) + "hello";
        holds("6.2 no overflow", request, [400], Close);
    }
    holds("6.3 7. none", get(""), [200], Open);
    let post = "POST / HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("6.3 7. none, whatever the method", post, [405], Open);
}

#[test]
fn section_7_1_chunked_content() {
    for chunks in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "00005\r\nhello\r\n0\r\n\r\n",
        "a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n",
        "5\r\n\r\n\r\n\r\r\n0\r\n\r\n",
        "5\r\n0\r\n\r\n\r\n0\r\n\r\n",
    ] {
        holds("7.1 is read", chunked(chunks), [200], Open);
    }
    for chunks in [
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\n0\r\n\r\n",
        "-1\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "\"5\"\r\nhello\r\n0\r\n\r\n",
        "0 \r\n\r\n",
    ] {
        holds("7.1 chunk-size", chunked(chunks), [400], Close);
    }
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\rX\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "0\r\n\r\r\n",
        "0\n\n",
    ] {
        holds("7.1 CRLF where it belongs", chunked(chunks), [400], Close);
    }
    for (size, status) in [
        ("10001", 413),
        ("100000005", 413),
        ("fffffffffffffffe", 413),
        ("ffffffffffffffff", 400),
        ("10000000000000005", 400),
        ("1000000000000000000000000000000005", 400),
    ] {
        let chunks = format!("{size}\r\nhello\r\n0\r\n\r\n");
        holds("7.1 no overflow", chunked(&chunks), [status], Close);
    }
    // What is left over after the last chunk is the next request, not content.
    let hidden = "0\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n";
    holds("7.1 the end is the end", chunked(hidden), [200, 404], Open);
    let chunk = "400\r\n".to_string() + &"x".repeat(1024) + "\r\n";
    let flood = chunk.repeat(70) + "0\r\n\r\n";
    holds("7.1 in all", chunked(&flood), [413], Close);
}

#[test]
fn section_7_1_1_chunk_extensions() {
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"b;c\\\"d\\\\e\"",
        ";a=\"\"",
        ";a;b=c;d",
        " ; a = b ;\tc\t=\t\"d\"",
        ";a=\"\u{e4}\t\"",
    ] {
        let chunks = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        holds("7.1.1 is ignored", chunked(&chunks), [200], Open);
    }
    for extension in [
        ";",
        ";;a",
        ";a;",
        ";=b",
        ";a=",
        ";a b",
        ";a=b c",
        ";a=b=c",
        ";a=\"b",
        ";a=\"b\"c",
        ";a=\"b\\\"",
        ";a=b\"c\"",
        ";a\n",
        ";a\nX",
        ";\n",
        ";a=\"b\nc\"",
        ";a=\"b\rc\"",
        ";a\r",
        ";a=\"\\\n\"",
        ";a\0",
        ";a=\"\x7f\"",
        ";a ",
        "x;b",
        " a",
        ",a",
    ] {
        let chunks = format!("5{extension}\r\nhello\r\n0\r\n\r\n");
        holds("7.1.1 is malformed", chunked(&chunks), [400], Close);
        let chunks = format!("0{extension}\r\n\r\n");
        holds("7.1.1 is malformed", chunked(&chunks), [400], Close);
    }
    // The attack: to a proxy that takes LF for part of the extension the second request is
    // content.
    let attack = "2;\nxx\r\n37\r\n0\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\nX: \r\n0\r\n\r\n";
    holds("7.1.1 a bare LF", chunked(attack), [400], Close);
    let long = format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(5000));
    holds("7.1.1 is bounded", chunked(&long), [413], Close);
}

#[test]
fn section_7_1_2_trailers() {
    for trailers in [
        "A: b\r\n",
        "A:b\r\nC:\r\n",
        "Content-Length: 5\r\n",
        "Host: b\r\n",
        "A: \u{e4}\r\n",
    ] {
        let chunks = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
        holds(
            "7.1.2 are discarded, not merged",
            chunked(&chunks),
            [200],
            Open,
        );
    }
    for trailers in [
        "A\r\n",
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A: b\n",
        "A: b\rC: d\r\n",
        "A: b\0\r\n",
        ": b\r\n",
        "A: b\nC: d\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
    ] {
        let chunks = format!("0\r\n{trailers}\r\n");
        holds("7.1.2 are fields", chunked(&chunks), [400], Close);
    }
    let long = format!("0\r\nA: {}\r\n\r\n", "b".repeat(5000));
    holds("7.1.2 are bounded", chunked(&long), [431], Close);
    let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(20_000));
    holds("7.1.2 are bounded", chunked(&many), [413], Close);
}

#[test]
fn section_8_incomplete_messages() {
    for part in [
        get("Content-Length: 50\r\n") + "hello",
        chunked("5\r\nhel"),
        chunked("5\r\nhello\r\n0\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\n".into(),
    ] {
        let mut talk = Talk::new();
        talk.line().end();
        assert_eq!(talk.say(&part), b"", "6.3 6., 8: {part:?}");
        assert!(!talk.open);
    }
    // RFC 9112 9.5: one that does not go on in time.
    for part in [get("Content-Length: 50\r\n") + "hello", chunked("5\r\nhel")] {
        let mut talk = Talk::new();
        assert_eq!(talk.say(&part), b"");
        assert_eq!(talk.wait(), HEAD_NS);
        let (answer, _) = Response::parse(&talk.line().received(), false);
        assert_eq!((answer.status, answer.field("connection")), (408, "close"));
        assert_eq!(talk.say(NEXT), b"", "{part:?}");
    }
}

#[test]
fn section_9_3_persistence() {
    let head = |version: &str, lines: &str| format!("GET / {version}\r\nHost: a\r\n{lines}\r\n");
    for lines in [
        "",
        "Connection: keep-alive\r\n",
        "Connection: x, ,y\r\n",
        "Connection:\r\n",
    ] {
        holds("9.3 HTTP/1.1 stays", head("HTTP/1.1", lines), [200], Open);
    }
    for lines in [
        "Connection: keep-alive\r\n",
        "Connection: x, Keep-Alive\r\n",
    ] {
        holds(
            "9.3 HTTP/1.0 stays if asked",
            head("HTTP/1.0", lines),
            [200],
            Open,
        );
    }
    for lines in ["", "Connection: x\r\n", "Keep-Alive: timeout=5\r\n"] {
        holds("9.3 HTTP/1.0 closes", head("HTTP/1.0", lines), [200], Close);
    }
    for lines in [
        "Connection: close\r\n",
        "Connection: CLOSE\r\n",
        "Connection: x,close , y\r\n",
        "Connection: keep-alive, close\r\n",
        "Connection: close, keep-alive\r\n",
        "Connection: keep-alive\r\nConnection: close\r\n",
    ] {
        holds("9.6 close", head("HTTP/1.1", lines), [200], Close);
        holds("9.6 close", head("HTTP/1.0", lines), [200], Close);
    }
    let closed = "Connection: closed\r\n";
    holds("9.6 another word", head("HTTP/1.1", closed), [200], Open);
}

#[test]
fn section_9_3_2_pipelining() {
    let requests = [
        get(""),
        target("/none"),
        "PUT / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        target("/docs"),
    ];
    holds(
        "9.3.2 in order",
        requests.concat(),
        [200, 404, 405, 301],
        Open,
    );
    let requests = [get(""), get("Connection: close\r\n"), get("")];
    holds("9.6 none after close", requests.concat(), [200, 200], Close);
    let requests = [get(""), target("http://a:b/"), get("")];
    holds(
        "9.6 none after a refusal",
        requests.concat(),
        [200, 400],
        Close,
    );
    let requests = [get(""), chunked("5;\n\r\nhello\r\n0\r\n\r\n"), get("")];
    holds(
        "9.6 none after a refusal",
        requests.concat(),
        [200, 400],
        Close,
    );
}

#[test]
fn section_9_6_the_last_answer_is_not_lost() {
    // Our direction ends, and what comes is still read: no reset can overtake the answer.
    for request in [
        "GARBAGE\r\n\r\n".to_string(),
        chunked("zz\r\n"),
        get("Content-Length: 99999999\r\n"),
        get("Connection: close\r\n") + "more",
    ] {
        let mut talk = Talk::new();
        talk.ask(&request);
        assert!(talk.line().finished && !talk.line().closed, "{request}");
        assert_eq!(talk.say([0; 5000]), b"", "{request}");
        assert!(talk.open && talk.line().unread() == 0, "{request}");
        talk.line().end();
        talk.run();
        assert!(talk.line().closed, "{request}");
    }
}
