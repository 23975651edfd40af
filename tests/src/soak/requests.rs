//! Hostile HTTP: requests that are none, that never end, that ask for everything, and clients that
//! leave.

use super::dice::Dice;
use super::scene::serve_within;
use super::{AFTER, Plan};
use crate::machine::{Machine, Setup};
use crate::suite::Bench;
use crate::{During, Outcome, ensure, is_timeout};
use nic::model::Rng;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Requests of a round, and how many clients that do nothing more are kept at a time.
const REQUESTS: usize = 16;
const KEPT: usize = 24;
/// How long an answer is waited for that need not come.
const LISTEN: Duration = Duration::from_millis(40);
/// How long the server may leave a client's bytes alone: it must not be waited for without end.
const TAKE: Duration = Duration::from_millis(500);

/// The attack.
pub fn requests(bench: &Bench, plan: &Plan) -> Outcome {
    plan.lives(bench, || {
        let since = Instant::now();
        let machine = bench.boot(&Setup::new(""))?;
        machine.wait_servers(true, true)?;
        let mut kept = Vec::new();
        while let Some(mut dice) = plan.next(since) {
            for _ in 0..REQUESTS {
                let request = request(&mut dice);
                let stream =
                    ask(&machine, &mut dice, &request).during(&format!("{:?}", shown(&request)))?;
                kept.extend(stream);
            }
            while kept.len() > KEPT {
                kept.remove(0);
            }
            plan.count(REQUESTS);
            serve_within(&machine, AFTER).during("after the requests")?;
        }
        Ok(())
    })?;
    bench.note(format!("{} requests", plan.done()));
    Ok(())
}

/// The beginning of a request, for a person.
fn shown(request: &[u8]) -> String {
    request[..request.len().min(60)].escape_ascii().to_string()
}

/// Bytes that are a request, or nearly so.
fn request(dice: &mut Rng) -> Vec<u8> {
    let mut bytes = well_formed(dice);
    match dice.below(6) {
        // As it is.
        0 => {}
        1 => {
            for _ in 0..dice.between(1, 6) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.one_of(&[0, b'\r', b'\n', b' ', b':', b'%', 0x7f, 0xff]);
            }
        }
        2 => bytes.truncate(dice.below(bytes.len()) + 1),
        3 => {
            let at = dice.below(bytes.len());
            let len = dice.one_of(&[1, 100, 5000, 70_000]);
            bytes.splice(at..at, std::iter::repeat_n(b'A', len));
        }
        4 => bytes = bytes.repeat(dice.between(2, 60)),
        _ => {
            let len = dice.between(1, 3000);
            bytes = dice.bytes(len);
        }
    }
    bytes
}

fn well_formed(dice: &mut Rng) -> Vec<u8> {
    let method = dice.one_of(&[
        "GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "get",
    ]);
    let target = dice.one_of(&[
        "/",
        "/index.html",
        "/status.json",
        "/../../bin/netd",
        "/%2e%2e/%2e%2e/cmdline",
        "/%zz%",
        "//",
        "http://wharf/",
        "*",
        "/?a=%00",
        "/style.css#x",
    ]);
    let version = dice.one_of(&[
        "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/9.9", "",
    ]);
    let mut text = format!("{method} {target} {version}\r\n");
    for _ in 0..dice.below(6) {
        text += dice.one_of(&[
            "Host: wharf\r\n",
            "Host: a b\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive, close, x\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: -1\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked, identity\r\n",
            "Range: bytes=0-0,1-1,2-2,-1,99999999999999999999-\r\n",
            "Range: bytes=5-2\r\n",
            "If-Modified-Since: Thu, 99 Foo 0000 25:61:61 GMT\r\n",
            "Expect: 100-continue\r\n",
            " folded: line\r\n",
            "no colon\r\n",
            ": no name\r\n",
        ]);
    }
    if dice.one_in(2) {
        text += "Host: wharf\r\n";
    }
    text += "\r\n";
    text += dice.one_of(&[
        "",
        "",
        "5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "hello",
    ]);
    text.into_bytes()
}

/// Sends it in one of several ways, and looks at the answer. A client that is to stay is returned.
fn ask(machine: &Machine, dice: &mut Rng, request: &[u8]) -> Outcome<Option<TcpStream>> {
    let mut stream = machine.connect(machine.ports()?.http)?;
    stream.set_write_timeout(Some(TAKE))?;
    let pieces = match dice.below(3) {
        0 => dice.between(1, 200),
        _ => request.len(),
    };
    for piece in request.chunks(pieces.max(request.len() / 50)) {
        match stream.write_all(piece) {
            Ok(()) => {}
            // It has heard enough, and closes; or takes no more for now.
            Err(error) if has_left(&error) || is_timeout(&error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match dice.below(4) {
        // Leaves, with what came unread, which resets the connection.
        0 => return Ok(None),
        1 => drop(stream.shutdown(Shutdown::Write)),
        _ => {}
    }
    stream.set_read_timeout(Some(LISTEN))?;
    let mut answer = [0; 4000];
    match stream.read(&mut answer) {
        Ok(0) => Ok(None),
        Ok(len) => {
            is_answer(&answer[..len])?;
            Ok(dice.one_in(3).then_some(stream))
        }
        Err(error) if is_timeout(&error) => Ok(Some(stream)),
        Err(error) if has_left(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn has_left(error: &std::io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    [BrokenPipe, ConnectionReset, NotConnected].contains(&error.kind())
}

/// Whatever was asked, an answer is HTTP, and the fault is not the server's.
fn is_answer(bytes: &[u8]) -> Outcome {
    let line = bytes
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    let status: Option<u16> = status.and_then(|status| status.parse().ok());
    // 501 and 505 say of a request what it is.
    let is_good =
        status.is_some_and(|status| (100..500).contains(&status) || [501, 505].contains(&status));
    ensure(is_good, || format!("the answer begins {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_what_no_server_may_say() {
        for good in [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 404 Not Found\r\nA: b",
            "HTTP/1.1 505 x\r\n",
        ] {
            is_answer(good.as_bytes()).unwrap();
        }
        for bad in [
            "HTTP/1.1 500 x\r\n",
            "HTTP/1.1 503 x\r\n",
            "hello",
            "",
            "HTTP/1.1 99",
        ] {
            is_answer(bad.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn requests_repeat_by_the_seed_and_some_are_right() {
        let mut right = 0;
        for seed in 0..500 {
            let bytes = request(&mut Rng::new(seed));
            assert_eq!(bytes, request(&mut Rng::new(seed)));
            assert!(!bytes.is_empty());
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let parsed = httparse::Request::new(&mut headers).parse(&bytes);
            right += usize::from(parsed.is_ok_and(|status| status.is_complete()));
        }
        assert!((50..450).contains(&right), "{right} of 500");
    }
}
