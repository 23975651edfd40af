//! A large file, over and over.

use super::files::File;
use super::stats;
use super::tcp::connect;
use crate::http::Connection;
use crate::{During, Outcome, ensure, same_bytes};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Downloads the file for `duration`, at least twice, each time on a new connection, and
/// compares every byte. Returns the median of the bytes per second.
///
/// # Errors
/// If it does not come, or differs.
pub fn download(address: SocketAddr, file: File, duration: Duration) -> Outcome<f64> {
    let expected = file.contents();
    let end = Instant::now() + duration;
    let mut rates = Vec::new();
    while rates.len() < 2 || Instant::now() < end {
        rates.push(once(address, file, &expected).during("download")?);
    }
    stats::median(&rates).ok_or("nothing was downloaded".into())
}

fn once(address: SocketAddr, file: File, expected: &[u8]) -> Outcome<f64> {
    let start = Instant::now();
    let mut stream = connect(address)?;
    let target = file.target;
    let request = format!("GET {target} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut buffer = vec![0; 256 << 10];
    // The head, and with it perhaps the beginning of the body.
    let mut filled = 0;
    let head = loop {
        let len = stream.read(&mut buffer[filled..])?;
        ensure(len > 0, || "the server closed without an answer".to_owned())?;
        filled += len;
        if let Some(at) = head_end(&buffer[..filled]) {
            break at;
        }
    };
    let first = String::from_utf8_lossy(&buffer[..head]);
    ensure(first.starts_with("HTTP/1.1 200 "), || {
        format!("answer begins {:?}", first.lines().next())
    })?;
    let mut got = filled - head;
    same_bytes(&buffer[head..filled], &expected[..got.min(expected.len())])?;
    while got < expected.len() {
        let len = stream.read(&mut buffer)?;
        let rest = &expected[got..];
        ensure(len > 0 && len <= rest.len(), || {
            format!("{got} of {} bytes, then {len}", expected.len())
        })?;
        same_bytes(&buffer[..len], &rest[..len])?;
        got += len;
    }
    let took = start.elapsed().as_secs_f64();
    Connection::new(stream).closed()?;
    Ok(got as f64 / took)
}

/// Where the body begins, if the head is complete.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::files::INDEX;
    use std::net::TcpListener;

    fn serve(answer: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).unwrap() > 0);
                let _ = stream.write_all(&answer); // it may be refused half-way
            }
        });
        address
    }

    #[test]
    fn only_the_right_file_counts() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".to_vec();
        let right = [&head[..], &INDEX.contents()].concat();
        let soon = Duration::from_millis(1);
        assert!(download(serve(right.clone()), INDEX, soon).unwrap() > 0.0);
        let mut wrong = right.clone();
        wrong[500] ^= 1;
        let short = right[..right.len() - 1].to_vec();
        let long = [&right[..], b"x"].concat();
        let absent = b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec();
        for (answer, word) in [
            (wrong, "differ"),
            (short, "1023 of 1024 bytes"),
            (long, "1025"),
            (absent, "404"),
            (Vec::new(), "closed without"),
        ] {
            let words = download(serve(answer), INDEX, soon).unwrap_err().0;
            assert!(words.contains(word), "{words}");
        }
    }
}
