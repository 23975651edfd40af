//! TCP echo: one small message after the other, and as much as goes both ways at once. All
//! that comes back is compared with what was sent.

use super::stats::Latencies;
use crate::{During, Outcome, ensure, pattern, same_bytes};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Longest that a connection may be silent.
const SILENCE: Duration = Duration::from_secs(20);

/// An answer later than this is a stall.
pub const STALL: Duration = Duration::from_millis(100);

/// Bytes of a small message.
const MESSAGE: usize = 64;

/// Messages before those that count.
const WARM_UP: u32 = 50;

/// A connection whose reads and writes end in bounded time. A guest that has just booted may
/// not be there yet.
///
/// # Errors
/// If nobody answers for long.
pub fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let end = Instant::now() + SILENCE;
    let stream = loop {
        match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > end => return Err(error).during("connecting"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends small messages for `duration`, each after the answer to the one before.
///
/// # Errors
/// If an answer does not come, or is wrong.
pub fn round_trips(address: SocketAddr, duration: Duration) -> Outcome<Latencies> {
    let mut stream = connect(address)?;
    let message = pattern(u64::from(address.port()), MESSAGE);
    let mut answer = [0; MESSAGE];
    let mut times = Latencies::default();
    let mut exchange = || -> Outcome<u64> {
        let start = Instant::now();
        stream.write_all(&message).during("echo")?;
        stream.read_exact(&mut answer).during("echo")?;
        let took = start.elapsed();
        same_bytes(&answer, &message).during("echo")?;
        Ok(took.as_nanos() as u64)
    };
    for _ in 0..WARM_UP {
        exchange()?;
    }
    let end = Instant::now() + duration;
    while Instant::now() < end {
        times.push(exchange()?);
    }
    Ok(times)
}

/// Sends as much as goes for `duration`, reading meanwhile; then ends its side and reads
/// the rest. Returns bytes per second, from the first byte sent to the last one back.
///
/// # Errors
/// If it is not all that comes back.
pub fn bulk(address: SocketAddr, duration: Duration) -> Outcome<f64> {
    // A length that is no multiple of a segment's or a buffer's: what is shifted differs.
    let data = pattern(0xb0, 1_000_003);
    let mut stream = connect(address)?;
    stream.set_nonblocking(true)?;
    let mut buffer = vec![0; 256 << 10];
    let (mut sent, mut got) = (0_usize, 0_usize);
    let mut open = true;
    let start = Instant::now();
    loop {
        if open && start.elapsed() > duration {
            stream.shutdown(Shutdown::Write)?;
            open = false;
        }
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, open);
        let mut fds = [PollFd::new(stream.as_fd(), wanted)];
        let silence = PollTimeout::try_from(SILENCE).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut fds, silence).map_err(std::io::Error::from)?;
        ensure(ready > 0, || {
            format!("bulk: nothing moved after {got} of {sent} bytes")
        })?;
        let events = fds[0].revents().unwrap_or(PollFlags::empty());
        if open && events.contains(PollFlags::POLLOUT) {
            let from = sent % data.len();
            let upto = data.len().min(from + (256 << 10));
            match stream.write(&data[from..upto]) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).during("bulk, sending"),
            }
        }
        if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => {
                    expect_at(&data, got, &buffer[..len])?;
                    got += len;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).during("bulk, receiving"),
            }
        }
    }
    let took = start.elapsed().as_secs_f64();
    ensure(got == sent && !open, || {
        format!("bulk: {got} of {sent} bytes came back")
    })?;
    Ok(got as f64 / took)
}

/// Compares `got` with `data`, repeated without end, from byte `at` on.
fn expect_at(data: &[u8], at: usize, mut got: &[u8]) -> Outcome {
    let mut at = at % data.len();
    while !got.is_empty() {
        let len = got.len().min(data.len() - at);
        same_bytes(&got[..len], &data[at..at + len]).during("bulk")?;
        got = &got[len..];
        at = 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Serves one connection: gives back what it gets, with byte `wrong` of it changed.
    fn echo(wrong: Option<usize>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; 10_000];
            let mut before = 0;
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                if let Some(byte) =
                    wrong.and_then(|at| buffer[..len].get_mut(at.wrapping_sub(before)))
                {
                    *byte ^= 1;
                }
                before += len;
                if stream.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
        });
        address
    }

    #[test]
    fn round_trips_are_timed_and_compared() {
        let mut times = round_trips(echo(None), Duration::from_millis(50)).unwrap();
        assert!(times.count() > 10);
        assert!(times.percentile(0.5) > 100.0);
        let words = round_trips(echo(Some(5000)), Duration::from_secs(20))
            .unwrap_err()
            .0;
        assert!(words.contains("differ from byte 8"), "{words}");
    }

    #[test]
    fn bulk_counts_what_came_back_and_notices_a_wrong_byte() {
        let rate = bulk(echo(None), Duration::from_millis(100)).unwrap();
        assert!(rate > 1e6, "{rate}");
        let words = bulk(echo(Some(1_000_005)), Duration::from_secs(20))
            .unwrap_err()
            .0;
        assert!(words.contains("bulk"), "{words}");
    }
}
