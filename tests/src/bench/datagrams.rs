//! UDP echo by an ordinary socket, one in flight: what a message and its answer cost between
//! this machine and a guest that does the least for them. The bare guest knows no TCP, so this
//! is the floor of a round trip on a wire that sockets use.

use super::stats::Latencies;
use crate::{During, Failure, Outcome, ensure, pattern, same_bytes};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a message, as of TCP echo.
const MESSAGE: usize = 64;

/// What has not come back within is lost.
const LOST: Duration = Duration::from_millis(200);

/// Messages answered before those that count, and how many may be sent for that: the first
/// ones find out where the other side is.
const WARM_UP: usize = 50;
const PATIENCE: usize = 100;

/// Sends messages for `duration`, each after the answer to the one before, or after it was
/// lost.
///
/// # Errors
/// If nothing comes back, or an answer is wrong.
pub fn round_trips(address: SocketAddr, duration: Duration) -> Outcome<Latencies> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(LOST))?;
    let mut client = Client {
        socket,
        message: pattern(u64::from(address.port()), MESSAGE),
        number: 0,
    };
    let mut answered = 0;
    for _ in 0..PATIENCE {
        answered += usize::from(client.exchange()?.is_some());
        if answered == WARM_UP {
            break;
        }
    }
    ensure(answered == WARM_UP, || {
        format!("{answered} of {PATIENCE} datagrams were answered")
    })?;
    let mut times = Latencies::default();
    let end = Instant::now() + duration;
    while Instant::now() < end {
        if let Some(took) = client.exchange()? {
            times.push(took.as_nanos() as u64);
        }
    }
    ensure(times.count() > 0, || "no answer at all".to_owned())?;
    Ok(times)
}

/// Runs `work` while the echo server at `address` is kept busy with `window` datagrams in flight; returns
/// what that returns, and how many came back.
///
/// # Errors
/// That of `work`, or if nothing can be sent.
pub fn flooded<T>(
    address: SocketAddr,
    window: usize,
    work: impl FnOnce() -> Outcome<T>,
) -> Outcome<(T, u64)> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(LOST))?;
    let message = pattern(u64::from(address.port()), MESSAGE);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| -> Outcome<u64> {
            let (mut in_flight, mut answered) = (0, 0);
            while !is_done.load(Ordering::Relaxed) {
                while in_flight < window {
                    socket.send(&message).during("flood")?;
                    in_flight += 1;
                }
                match socket.recv(&mut [0; MESSAGE]) {
                    Ok(_) => {
                        in_flight -= 1;
                        answered += 1;
                    }
                    Err(_) => in_flight = 0, // all of them are lost
                }
            }
            Ok(answered)
        });
        let outcome = work();
        is_done.store(true, Ordering::Relaxed);
        let flood = flood.join().map_err(|_| Failure("flood".to_owned()))?;
        Ok((outcome?, flood?))
    })
}

struct Client {
    socket: UdpSocket,
    message: Vec<u8>,
    /// Tells an answer that comes late from the one that is awaited.
    number: u32,
}

impl Client {
    /// Sends the next message; how long its answer took, unless that is lost.
    fn exchange(&mut self) -> Outcome<Option<Duration>> {
        self.number += 1;
        self.message[..4].copy_from_slice(&self.number.to_be_bytes());
        let mut answer = [0; MESSAGE + 1];
        let start = Instant::now();
        self.socket.send(&self.message).during("UDP echo")?;
        while start.elapsed() < LOST {
            match self.socket.recv(&mut answer) {
                Ok(len) if is_older(&answer[..len], self.number) => {}
                Ok(len) => {
                    let took = start.elapsed();
                    same_bytes(&answer[..len], &self.message).during("UDP echo")?;
                    return Ok(Some(took));
                }
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) => return Err(error).during("UDP echo"),
            }
        }
        Ok(None)
    }
}

/// Whether an answer is to a message before this one.
fn is_older(answer: &[u8], number: u32) -> bool {
    let got = answer.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    got.is_some_and(|got| got < number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers datagrams as `answer` has it, given their number from 0.
    fn server(answer: impl Fn(usize, &mut [u8]) -> bool + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            for number in 0.. {
                let (len, from) = socket.recv_from(&mut buffer).unwrap();
                if answer(number, &mut buffer[..len]) {
                    socket.send_to(&buffer[..len], from).unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn what_comes_back_is_timed_and_what_is_lost_does_not_stop_it() {
        let duration = Duration::from_millis(300);
        let loses = |number, _: &mut [u8]| number != 3 && number != WARM_UP + 5;
        let mut times = round_trips(server(loses), duration).unwrap();
        assert!(times.count() > 10);
        assert!(times.percentile(1.0) < LOST.as_nanos() as f64);
        let words = round_trips(server(|number, _| number > 60), duration);
        assert!(words.unwrap_err().0.contains("of 100 datagrams"));
    }

    #[test]
    fn a_flood_goes_on_as_long_as_the_work_and_survives_losses() {
        let loses = server(|number, _| number % 100 > 3);
        let work = || {
            std::thread::sleep(Duration::from_millis(500));
            Ok("done")
        };
        let (value, answered) = flooded(loses, 32, work).unwrap();
        assert_eq!(value, "done");
        assert!(answered > 100, "{answered}");
        let failed = flooded(loses, 32, || Err::<(), _>("why".into()));
        assert!(failed.unwrap_err().0.contains("why"));
    }

    #[test]
    fn a_wrong_answer_is_noticed_and_a_late_one_is_not_taken_for_the_next() {
        let changes = |number, bytes: &mut [u8]| {
            bytes[63] ^= u8::from(number == WARM_UP + 5);
            true
        };
        let words = round_trips(server(changes), Duration::from_secs(20));
        assert!(words.unwrap_err().0.contains("differ from byte 63"));
        assert!(is_older(&[0, 0, 0, 4, 9], 5));
        assert!(!is_older(&[0, 0, 0, 5, 9], 5));
        assert!(!is_older(&[0, 0], 5));
    }
}
