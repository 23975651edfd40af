//! The web server, over what browsers and worse clients send (RFC 9110, RFC 9112).

use crate::grade::web;
use crate::http::Connection;
use crate::machine::{LONG, Machine, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Failure, Outcome, ensure, pattern, same_bytes};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub const CASES: &[Case] = &[
    Case::new("10 MiB download", |bench| download(bench, APART)),
    Case::new("8 downloads at once", downloads),
    Case::new("types, directories, HEAD, escapes in names", files),
    Case::new("keep-alive and 100 pipelined requests", |bench| {
        pipelined(bench, APART)
    }),
    Case::new("a slow download beside 24 busy connections", |bench| {
        busy(bench, APART)
    }),
    Case::new("5,000 new connections, 16 at a time", crowd).once(),
    Case::new("byte ranges", ranges),
    Case::new("304 for what the client has", conditions),
    Case::new("requests that are refused", refusals),
    Case::new("no path leads out of www", paths),
    Case::new("408 for a slow client, others are served", slow).once(),
];

const INDEX: &[u8] = b"<!doctype html><title>home</title>\n";
const SUB: &[u8] = b"<!doctype html><title>sub</title>\n";
const STYLE: &[u8] = b"body { margin: 0 }\n";
/// 784111777 seconds after 1970, in the words of RFC 9110 section 5.6.7.
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn data() -> Vec<u8> {
    pattern(5, 100_000)
}

/// The web server as a program of its own.
const APART: &str = "run=httpd";

/// What `ab -n 5000 -c 16` does: none of the connections fails, though QEMU's user network takes one
/// at a time and leaves others waiting for seconds.
fn crowd(bench: &Bench) -> Outcome {
    const CLIENTS: usize = 16;
    const CONNECTIONS: usize = 5000;
    let machine = &boot(bench)?;
    web(machine)?.get("/", "")?.expect(200)?;
    let begun = &AtomicU64::new(0);
    let start = Instant::now();
    let ask = || -> Outcome<Duration> {
        let mut longest = Duration::ZERO;
        while begun.fetch_add(1, Ordering::Relaxed) < CONNECTIONS as u64 {
            let since = Instant::now();
            let mut client = web(machine)?;
            client.patience(LONG)?;
            let page = client.get("/", "Connection: close\r\n")?.expect(200)?;
            same_bytes(&page.body, INDEX)?;
            longest = longest.max(since.elapsed());
        }
        Ok(longest)
    };
    let longest = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        let longest = clients.into_iter().map(|client| {
            let died = || Err("a client died".into());
            client.join().unwrap_or_else(|_| died())
        });
        longest.collect::<Outcome<Vec<_>>>()
    })?;
    let (took, longest) = (start.elapsed(), longest.into_iter().max());
    let longest = longest.unwrap_or_default();
    bench.note(format!(
        "{CONNECTIONS} in {:.1} s, the longest took {} ms",
        took.as_secs_f64(),
        longest.as_millis()
    ));
    Ok(())
}

/// Boots the web server on a site of known files.
///
/// # Errors
/// If it does not start.
pub fn boot(bench: &Bench) -> Outcome<Machine> {
    boot_as(bench, APART)
}

/// The same, with another kernel command line.
fn boot_as(bench: &Bench, append: &str) -> Outcome<Machine> {
    let data = data();
    let files: &[(&str, &[u8])] = &[
        ("index.html", INDEX),
        ("sub/index.html", SUB),
        ("style.css", STYLE),
        ("a b%.txt", b"spaced\n"),
        ("empty", b""),
        ("data.bin", &data),
    ];
    start(bench, append, bench.image_serving(files)?)
}

fn start(bench: &Bench, append: &str, image: crate::machine::Image) -> Outcome<Machine> {
    let machine = bench.boot(&Setup::new(append).from_image(image))?;
    machine.wait_servers(false, true)?;
    Ok(machine)
}

/// Downloads a large file.
///
/// # Errors
/// If other bytes come.
pub fn download(bench: &Bench, append: &str) -> Outcome {
    let big = pattern(10, 10 << 20);
    let image = bench.image_serving(&[("big.bin", &big)])?;
    let machine = start(bench, append, image)?;
    // The link may still be coming up, which is not to be measured.
    web(&machine)?.get("/none", "")?.expect(404)?;
    let start = Instant::now();
    let response = web(&machine)?.get("/big.bin", "")?.expect(200)?;
    let rate = 10.486 / start.elapsed().as_secs_f32();
    same_bytes(&response.body, &big)?;
    bench.note(format!(
        "crc32 {:08x}, {rate:.0} MB/s",
        crc32(&response.body)
    ));
    Ok(())
}

/// The checksum that `crc32`, gzip and PNG use (ISO 3309), a bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

fn downloads(bench: &Bench) -> Outcome {
    let big = pattern(11, 1 << 20);
    let image = bench.image_serving(&[("big.bin", &big)])?;
    let machine = &start(bench, APART, image)?;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let response = web(machine)?.get("/big.bin", "")?.expect(200)?;
                    same_bytes(&response.body, &big)
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| {
            client
                .join()
                .unwrap_or_else(|_| Err("a client died".into()))
        })
    })
}

fn files(bench: &Bench) -> Outcome {
    let machine = boot(bench)?;
    let mut client = web(&machine)?;
    for (target, kind, body) in [
        ("/", "text/html", INDEX),
        ("/index.html", "text/html", INDEX),
        ("/sub/", "text/html", SUB),
        ("/style.css", "text/css", STYLE),
        ("/a%20b%25.txt", "text/plain", b"spaced\n"),
        ("/%73tyle.css?query=1", "text/css", STYLE),
        ("/empty", "", b""),
        ("/data.bin", "", &data()),
    ] {
        let response = client.get(target, "")?.expect(200).during(target)?;
        same_bytes(&response.body, body).during(target)?;
        let given = response.header("content-type").unwrap_or_default();
        ensure(given.starts_with(kind), || {
            format!("{target}: Content-Type is {given:?}")
        })?;
        client.request("HEAD", target, "")?;
        let head = client.response(false).during(target)?.expect(200)?;
        head.expect_header("content-length", &body.len().to_string())
            .during(target)?;
        same_headers(&response.headers, &head.headers).during(target)?;
    }
    // A directory without its slash would break the relative links in its page.
    let moved = client.get("/sub", "")?.expect(301)?;
    let location = moved.header("location").unwrap_or_default();
    ensure(location.ends_with("/sub/"), || {
        format!("/sub is moved to {location:?}")
    })
}

/// RFC 9110 section 9.3.2: HEAD sends what GET would have sent.
fn same_headers(get: &[(String, String)], head: &[(String, String)]) -> Outcome {
    ensure(get == head, || {
        format!("HEAD has the headers {head:?}, GET {get:?}")
    })
}

/// Requests that do not wait for the answers before.
///
/// # Errors
/// If they are not answered in order.
pub fn pipelined(bench: &Bench, append: &str) -> Outcome {
    let machine = boot_as(bench, append)?;
    let mut client = web(&machine)?;
    let targets = [("/", INDEX), ("/sub/", SUB), ("/style.css", STYLE)];
    for (target, body) in targets.iter().cycle().take(30) {
        same_bytes(&client.get(target, "")?.expect(200)?.body, body)?;
    }
    let requests: String = targets
        .iter()
        .cycle()
        .take(100)
        .map(|(target, _)| format!("GET {target} HTTP/1.1\r\nHost: wharf\r\n\r\n"))
        .collect();
    client.send(requests.as_bytes())?;
    for (number, (target, body)) in targets.iter().cycle().take(100).enumerate() {
        let what = format!("pipelined request {number}, {target}");
        let response = client.response(true).during(&what)?.expect(200)?;
        same_bytes(&response.body, body).during(&what)?;
    }
    // A large answer in the middle, and the last one closes.
    client.send(
        b"GET /data.bin HTTP/1.1\r\nHost: wharf\r\n\r\n\
          HEAD /data.bin HTTP/1.1\r\nHost: wharf\r\n\r\n\
          GET /none HTTP/1.1\r\nHost: wharf\r\n\r\n\
          GET / HTTP/1.1\r\nHost: wharf\r\nConnection: close\r\n\r\n",
    )?;
    same_bytes(&client.response(true)?.expect(200)?.body, &data())?;
    client.response(false)?.expect(200)?;
    client.response(true)?.expect(404)?;
    same_bytes(&client.response(true)?.expect(200)?.body, INDEX)?;
    client.closed()?;
    // HTTP/1.0 closes unless asked to stay.
    let mut client = web(&machine)?;
    client.send(b"GET / HTTP/1.0\r\n\r\n")?;
    same_bytes(&client.response(true)?.expect(200)?.body, INDEX)?;
    client.closed()
}

/// A download whose client takes it bit by bit, while other connections keep the server
/// awake, so that it is interrupted all the time; and clients that do not read at all.
///
/// # Errors
/// If bytes are missing.
pub fn busy(bench: &Bench, append: &str) -> Outcome {
    // More than this machine and QEMU take for a client that does not read.
    let big = pattern(12, 14 << 20);
    let image = bench.image_serving(&[("index.html", INDEX), ("big.bin", &big)])?;
    let machine = &start(bench, append, image)?;
    let port = machine.ports()?.http;
    // The link may still be coming up.
    web(machine)?.get("/", "")?.expect(200)?;
    // The longest that anybody waited, in milliseconds: a wake-up that is lost is made up for by
    // a timer of TCP's, after a second.
    let longest = &AtomicU64::new(0);
    let waited = |since: Instant| {
        longest.fetch_max(since.elapsed().as_millis() as u64, Ordering::Relaxed);
    };
    let ask = b"GET /big.bin HTTP/1.1\r\nHost: wharf\r\nConnection: close\r\n\r\n";
    let stuck = (0..8)
        .map(|_| {
            let mut stream = machine.connect(port)?;
            let since = Instant::now();
            stream.write_all(ask)?;
            stream.read_exact(&mut [0])?;
            waited(since);
            Ok(stream)
        })
        .collect::<Outcome<Vec<_>>>()?;
    let mut slow = machine.connect(port)?;
    slow.write_all(ask)?;
    // One after the other, for QEMU's backlog of 1.
    let busy = (0..24)
        .map(|_| {
            let mut client = web(machine)?;
            client.get("/", "")?.expect(200)?;
            Ok(client)
        })
        .collect::<Outcome<Vec<Connection>>>()?;
    thread::scope(|scope| {
        let clients: Vec<_> = busy
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || {
                    for _ in 0..200 {
                        let since = Instant::now();
                        same_bytes(&client.get("/", "")?.expect(200)?.body, INDEX)?;
                        waited(since);
                    }
                    Ok(())
                })
            })
            .collect();
        let mut got = Vec::new();
        let mut some = [0; 100_000];
        loop {
            let since = Instant::now();
            let read = slow.read(&mut some).during("the slow download")?;
            waited(since);
            match read {
                0 => break,
                count => got.extend_from_slice(&some[..count]),
            }
            thread::sleep(Duration::from_millis(1));
        }
        for client in clients {
            let done: Outcome = client
                .join()
                .unwrap_or_else(|_| Err("a client died".into()));
            done.during("a busy client")?;
        }
        let head = got.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        same_bytes(&got[head.ok_or("no head")? + 4..], &big).during("the slow download")
    })?;
    let longest = longest.load(Ordering::Relaxed);
    bench.note(format!("nobody waited longer than {longest} ms"));
    ensure(longest < 700, || format!("somebody waited {longest} ms"))?;
    drop(stuck);
    web(machine)?.get("/", "")?.expect(200).map(|_| ())
}

fn ranges(bench: &Bench) -> Outcome {
    let machine = boot(bench)?;
    let data = data();
    let mut client = web(&machine)?;
    for (range, first, last) in [
        ("0-0", 0, 0),
        ("0-99", 0, 99),
        ("99900-", 99_900, 99_999),
        ("-1", 99_999, 99_999),
        ("-200000", 0, 99_999),
        ("50000-200000", 50_000, 99_999),
        ("1460-2919", 1460, 2919),
    ] {
        let response = client
            .get("/data.bin", &format!("Range: bytes={range}\r\n"))?
            .expect(206)
            .during(range)?;
        same_bytes(&response.body, &data[first..=last]).during(range)?;
        response
            .expect_header("content-range", &format!("bytes {first}-{last}/100000"))
            .during(range)?;
    }
    for range in ["100000-", "100000-100001", "-0"] {
        let response = client
            .get("/data.bin", &format!("Range: bytes={range}\r\n"))?
            .expect(416)
            .during(range)?;
        response
            .expect_header("content-range", "bytes */100000")
            .during(range)?;
    }
    // Ranges that make no sense, or are of an unknown unit, are as none.
    for range in ["bytes=9-1", "bytes=x", "lines=1-2"] {
        let response = client
            .get("/data.bin", &format!("Range: {range}\r\n"))?
            .expect(200)
            .during(range)?;
        same_bytes(&response.body, &data).during(range)?;
    }
    Ok(())
}

fn conditions(bench: &Bench) -> Outcome {
    let www = bench.dir.join("www");
    std::fs::create_dir_all(&www)?;
    let file = File::create(www.join("dated.txt"))?;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))?;
    let image = bench.image_serving(&[("index.html", INDEX)])?;
    let machine = start(bench, APART, image)?;
    let mut client = web(&machine)?;
    client
        .get("/dated.txt", "")?
        .expect(200)?
        .expect_header("last-modified", DATE)?;
    let tag = |path: &str, client: &mut Connection| -> Outcome<String> {
        let response = client.get(path, "")?.expect(200)?;
        let tag = response.header("etag").ok_or("no ETag")?;
        Ok(tag.to_owned())
    };
    let home = tag("/", &mut client)?;
    let dated = tag("/dated.txt", &mut client)?;
    ensure(home != dated, || format!("two files have the tag {home}"))?;
    for (path, field, status) in [
        ("/", format!("If-None-Match: {home}"), 304),
        ("/", format!("If-None-Match: \"x\", {home}"), 304),
        ("/", "If-None-Match: *".to_owned(), 304),
        ("/", format!("If-None-Match: {dated}"), 200),
        ("/dated.txt", format!("If-Modified-Since: {DATE}"), 304),
        (
            "/dated.txt",
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT".to_owned(),
            200,
        ),
        (
            // The tag counts, not the date (RFC 9110 section 13.2.2).
            "/dated.txt",
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {DATE}"),
            200,
        ),
    ] {
        client
            .get(path, &format!("{field}\r\n"))?
            .expect(status)
            .during(&format!("{path}, {field}"))?;
    }
    Ok(())
}

fn refusals(bench: &Bench) -> Outcome {
    let machine = boot(bench)?;
    let with = |line: &str| format!("{line}\r\nHost: wharf\r\n\r\n");
    let long = |len: usize| format!("GET /{} HTTP/1.1", "x".repeat(len));
    let many = |lines: usize, len: usize| {
        let line = format!("X-Field: {}\r\n", "y".repeat(len));
        format!(
            "GET / HTTP/1.1\r\nHost: wharf\r\n{}\r\n",
            line.repeat(lines)
        )
    };
    for (request, status) in [
        ("rubbish\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            400,
        ),
        (with("GET / HTTP/1.1\r\nContent-Length: x"), 400),
        (
            with("GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked"),
            400,
        ),
        (with("GET /%zz HTTP/1.1"), 400),
        (with("GET /none HTTP/1.1"), 404),
        (with("DELETE / HTTP/1.1"), 405),
        (with("POST / HTTP/1.1\r\nContent-Length: 0"), 405),
        (with("GET / HTTP/1.1\r\nContent-Length: 99999999"), 413),
        (with(&long(8100)), 414),
        (with(&long(12_000)), 414),
        (many(80, 20), 431),
        (many(20, 1000), 431),
        (with("FROB / HTTP/1.1"), 501),
        (with("GET / HTTP/2.0"), 505),
    ] {
        let what: String = request.chars().take(60).collect();
        let mut client = web(&machine)?;
        // The server may close before it has read all of it.
        let sent = client.send(request.as_bytes());
        let response = client
            .response(true)
            .and_then(|response| response.expect(status))
            .during(&format!("{what:?}"))?;
        sent.during(&what)?;
        if status == 405 {
            let allowed = response.header("allow").unwrap_or_default();
            ensure(allowed.contains("GET") && allowed.contains("HEAD"), || {
                format!("405 with Allow: {allowed}")
            })?;
        }
    }
    web(&machine)?.get("/", "")?.expect(200).map(|_| ())
}

fn paths(bench: &Bench) -> Outcome {
    let machine = boot(bench)?;
    for target in [
        "/../boot/kernel",
        "/%2e%2e/boot/kernel",
        "/..%2fboot%2fkernel",
        "/sub/../../bin/httpd",
        "/sub/%2e%2e/%2e%2e/bin/httpd",
        "/..\\boot\\kernel",
        "//../boot/kernel",
        "/../cmdline",
        "/cmdline",
        "/www/index.html",
        "/../www/style.css",
        "/index.html%00.css",
        "/%00",
        "../boot/kernel",
        "boot/kernel",
    ] {
        let response = web(&machine)?.get(target, "")?;
        ensure([400, 403, 404].contains(&response.status), || {
            format!("{target} was answered {}", response.status)
        })?;
    }
    Ok(())
}

fn slow(bench: &Bench) -> Outcome {
    let machine = boot(bench)?;
    let mut mute = web(&machine)?;
    let mut client = web(&machine)?;
    let start = Instant::now();
    client.send(b"GET / HTTP/1.1\r\nHost: wharf\r\nX-Slow: ")?;
    // A byte now and then must not buy more time without end. Once the server has
    // closed, a byte may still be taken by the host, but not for long.
    let deadline = start + Duration::from_secs(60);
    while client.send(b"y").is_ok() && !client.readable(Duration::from_millis(500))? {
        let other = web(&machine)?.get("/", "Connection: close\r\n")?;
        same_bytes(&other.expect(200)?.body, INDEX).during("another client")?;
        ensure(Instant::now() < deadline, || {
            "the slow client is still served after 60 s".to_owned()
        })?;
    }
    let status = client.response(true)?.status;
    ensure(status == 408, || format!("status {status}, expected 408"))?;
    client.closed()?;
    bench.note(format!("after {:.1} s", start.elapsed().as_secs_f32()));
    // One that says nothing at all is let go, too.
    mute.patience(LONG)?;
    match mute.response(true) {
        Ok(response) => response.expect(408).map(|_| ()),
        Err(Failure(words)) if words.contains("closed without an answer") => Ok(()),
        Err(failure) => Err(failure).during("a client that says nothing"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
