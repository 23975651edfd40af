//! Where an HTTP message ends (RFC 9112 sections 6 and 7.1), on the running system: what a
//! proxy may read in one way must not be read in another, or a request hides in it. Each rule
//! has its cases on the host (`user/programs/httpd/connection/tests/conformance.rs`); these show
//! that nothing between card and program changes an answer.

use super::web::boot;
use crate::grade::web;
use crate::http::Connection;
use crate::machine::Machine;
use crate::suite::{Bench, Case};
use crate::{During, Outcome, ensure};
use std::thread;
use std::time::Duration;

pub const CASES: &[Case] = &[
    Case::new("no request hides in another", hidden),
    Case::new("well-formed messages of every form", forms),
];

/// What an attacker wants to be answered.
const HIDDEN: &str = "GET /style.css HTTP/1.1\r\nHost: hidden\r\n\r\n";

/// Heads without the empty line, what follows that, and the status of the only answer.
const ATTACKS: &[(&str, &str, u16)] = &[
    // A coding after chunked, none, an unknown one, and chunked twice.
    ("Transfer-Encoding: chunked, gzip", "0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked, identity", "0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked, chunked", "0\r\n\r\n", 400),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "0\r\n\r\n",
        400,
    ),
    ("Transfer-Encoding:", "0\r\n\r\n", 400),
    ("Transfer-Encoding: gzip, chunked", "0\r\n\r\n", 501),
    // Two lengths.
    ("Transfer-Encoding:\r\nContent-Length: 5", "hello", 400),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "0\r\n\r\n",
        400,
    ),
    ("Content-Length: 5\r\nContent-Length: 0", "hello", 400),
    ("Content-Length: 5, 5", "hello", 400),
    ("Content-Length: +5", "hello", 400),
    ("Content-Length: 18446744073709551621", "hello", 400),
    // Lines that are none to some.
    ("X: y\nContent-Length: 5", "hello", 400),
    ("X: y\rContent-Length: 5", "hello", 400),
    ("X: y\r\n Content-Length: 5", "hello", 400),
    ("Content-Length : 5", "hello", 400),
    // Chunks.
    (
        "Transfer-Encoding: chunked",
        "2;\nxx\r\nab\r\n0\r\n\r\n",
        400,
    ),
    (
        "Transfer-Encoding: chunked",
        "2;a=\"b\nc\"\r\nab\r\n0\r\n\r\n",
        400,
    ),
    ("Transfer-Encoding: chunked", "2\nab\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked", "2\r\nabXX0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked", "2\r\nab\n0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked", "0x2\r\nab\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding: chunked", "2 \r\nab\r\n0\r\n\r\n", 400),
    (
        "Transfer-Encoding: chunked",
        "10000000000000002\r\nab\r\n0\r\n\r\n",
        400,
    ),
    ("Transfer-Encoding: chunked", "0\r\nA: b\n\r\n", 400),
    ("Transfer-Encoding: chunked", "0\r\n\n", 400),
];

fn hidden(bench: &Bench) -> Outcome {
    let machine = boot(bench)?;
    for (lines, content, status) in ATTACKS {
        let head = format!("POST / HTTP/1.1\r\nHost: wharf\r\n{lines}\r\n\r\n");
        let what = format!("{:?}", format!("{lines}|{content}"));
        // In one segment; and with a pause within the attack, so that a part of it waits.
        refused(&machine, &[&head, content, HIDDEN], 0, *status).during(&what)?;
        refused(&machine, &[&head, content, HIDDEN], 2, *status).during(&what)?;
    }
    web(&machine)?.get("/", "")?.expect(200).map(|_| ())
}

/// Sends the parts, those before `pause` apart from the others; there must be one answer, of
/// this status, and then the end.
fn refused(machine: &Machine, parts: &[&str], pause: usize, status: u16) -> Outcome {
    let mut client = web(machine)?;
    if pause > 0 {
        let first = parts[..pause].concat();
        // Not to the end of the content: the rest of it comes with what is hidden.
        let cut = first.len() - 1;
        client.send(&first.as_bytes()[..cut])?;
        thread::sleep(Duration::from_millis(20));
        // The server may have closed by now: its answer says so.
        let rest = [&first[cut..], &parts[pause..].concat()].concat();
        let _ = client.send(rest.as_bytes());
    } else {
        client.send(parts.concat().as_bytes())?;
    }
    let response = client.response(true)?.expect(status)?;
    response.expect_header("connection", "close")?;
    client.closed()
}

fn forms(bench: &Bench) -> Outcome {
    let machine = boot(bench)?;
    let mut client = web(&machine)?;
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (line, fields, content, status) in [
        ("GET / HTTP/1.1", "", "", 200),
        ("GET / HTTP/1.2", "", "", 200),
        (
            "GET http://other.example:8080/style.css HTTP/1.1",
            "",
            "",
            200,
        ),
        ("OPTIONS * HTTP/1.1", "", "", 200),
        ("POST / HTTP/1.1", "Content-Length: 5\r\n", "hello", 405),
        ("GET / HTTP/1.1", "Content-Length: 005\r\n", "hello", 200),
        ("GET / HTTP/1.1", chunked, "0\r\n\r\n", 200),
        (
            "GET / HTTP/1.1",
            chunked,
            "5;a=\"b;c\"\r\nhello\r\n000\r\nX: y\r\n\r\n",
            200,
        ),
        ("GET /a|b HTTP/1.1", "", "", 301),
        ("\r\nGET / HTTP/1.1", "", "", 200),
    ] {
        let head = format!("{line}\r\nHost: wharf\r\n{fields}\r\n");
        answered(&mut client, &[&head, content], status).during(line)?;
    }
    for (target, status) in [
        ("https://wharf/", 421),
        ("http://u@wharf/", 400),
        ("*", 400),
    ] {
        let mut client = web(&machine)?;
        client.get(target, "")?.expect(status)?;
        client.closed().during(target)?;
    }
    let mut client = web(&machine)?;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    client.response(true)?.expect(505)?;
    client.closed()
}

/// Sends the parts one by one, and takes the answer, after which the connection goes on.
fn answered(client: &mut Connection, parts: &[&str], status: u16) -> Outcome {
    for part in parts {
        client.send(part.as_bytes())?;
    }
    let response = client.response(true)?.expect(status)?;
    ensure(response.header("connection").is_none(), || {
        "the server closes".to_owned()
    })
}
