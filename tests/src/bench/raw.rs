//! Raw frames over the tap, without any stack on the way: sent by the guest and counted by
//! the tap, or sent by this machine and counted by the guest.

use super::gauge::Gauge;
use super::guest::{Role, Running};
use super::metric::{Guest, Metric};
use super::namespace::tap_frames;
use super::session::Session;
use crate::{During, Failure, Outcome, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// Sizes of frames, without the checksum that the card adds.
const SIZES: [u16; 2] = [60, 1514];

/// Ethernet, IPv4 and UDP.
const HEADERS: u16 = 14 + 20 + 8;

/// Its neighbour entry leads to the guest's card; no guest has it. A guest drops what
/// comes for it, after its driver has had it.
const NOT_THE_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// Frames per second that are offered: more than any guest takes.
const OFFERED: f64 = 500_000.0;

/// Most datagrams that one call cuts a buffer into (Linux, UDP_SEGMENT), and most bytes.
const SEGMENTS: u16 = 64;
const BUFFER: u16 = 65_000;

/// After the start some time passes until frames flow evenly.
const SETTLE: Duration = Duration::from_millis(300);

impl Session<'_> {
    /// Frames sent and received per second, of each size.
    ///
    /// # Errors
    /// If a guest does not do its part.
    pub(super) fn raw(&mut self) -> Outcome {
        let duration = self.seconds(3.0, 1.0);
        for size in SIZES {
            let running = self.start(Role::Send(size))?;
            let what = format!("raw transmit {size}");
            self.take(&what, Some(running.pid()), |_, gauge| {
                let rate = sent(duration)?;
                Ok((vec![(Metric::Send(size), rate)], gauge.read()?))
            })?;
        }
        if self.guest == Guest::Bare {
            return Ok(()); // the floor is for sending
        }
        // Wharf tells twice a second: there have to be some of these lines.
        let duration = duration + Duration::from_secs(1);
        for size in SIZES {
            self.take(&format!("raw receive {size}"), None, |session, _| {
                // Each run with a guest of its own: Linux's E100 driver may not receive any
                // more after it was offered too much.
                let running = session.start(Role::Count)?;
                let gauge = Gauge::start(running.pid())?;
                let rate = received(&running, size, duration)?;
                Ok((vec![(Metric::Receive(size), rate)], gauge.read()?))
            })?;
        }
        Ok(())
    }
}

/// Frames per second that come from the guest.
fn sent(duration: Duration) -> Outcome<f64> {
    let (before, start) = (tap_frames()?.0, Instant::now());
    std::thread::sleep(duration);
    let rate = (tap_frames()?.0 - before) as f64 / start.elapsed().as_secs_f64();
    ensure(rate > 0.0, || "the guest sent nothing".to_owned())?;
    Ok(rate)
}

/// Offers frames for `duration`; returns how many per second the guest has counted.
fn received(running: &Running, size: u16, duration: Duration) -> Outcome<f64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((NOT_THE_GUEST, 9))?;
    let data = size - HEADERS;
    let segments = SEGMENTS.min(BUFFER / data);
    // The kernel cuts a buffer into datagrams: a call for each would cost too much.
    setsockopt(&socket, sockopt::UdpGsoSegment, &i32::from(data))
        .map_err(std::io::Error::from)
        .during("UDP_SEGMENT")?;
    let buffer = vec![0; usize::from(data) * usize::from(segments)];
    let start = Instant::now();
    let mut offered = 0;
    let mut from = None;
    while start.elapsed() < duration {
        if start.elapsed() > SETTLE && from.is_none() {
            from = Some(running.console.mark());
        }
        let due = (start.elapsed().as_secs_f64() * OFFERED) as u64;
        while offered < due {
            // Where the tap's queue is full, frames are lost: they are offered, no more.
            let _ = socket.send(&buffer);
            offered += u64::from(segments);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    let lines = running.console.lines();
    let lines = lines.get(from.unwrap_or(0)..).unwrap_or_default();
    let told: Vec<(f64, u64)> = lines.iter().filter_map(|line| count(line)).collect();
    rate(&told).ok_or_else(|| Failure(format!("the guest told only {} counts", told.len())))
}

/// The time in seconds and the count of a line `... at 1500 ms: 700 frames, ...`, as Wharf
/// tells, or `at 1.50 s: 700 frames, ...`, as Linux's init does.
fn count(line: &str) -> Option<(f64, u64)> {
    let (_, told) = line.split_once("at ")?;
    let (time, frames) = told.split_once(": ")?;
    let (time, unit) = time.split_once(' ')?;
    let seconds = match unit {
        "ms" => time.parse::<f64>().ok()? / 1e3,
        "s" => time.parse().ok()?,
        _ => return None,
    };
    let (frames, _) = frames.split_once(" frames")?;
    Some((seconds, frames.parse().ok()?))
}

/// Frames per second between the first count and the last.
fn rate(told: &[(f64, u64)]) -> Option<f64> {
    let (first, last) = (told.first()?, told.last()?);
    let seconds = last.0 - first.0;
    (seconds > 0.0).then(|| last.1.saturating_sub(first.1) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_guests_counts_are_understood() {
        let wharf = "rawcount: at 1500 ms: 700 frames, 1400 a second, 0 lost";
        assert_eq!(count(wharf), Some((1.5, 700)));
        assert_eq!(count("at 12.34 s: 70 frames, 0 missed"), Some((12.34, 70)));
        for line in [
            "counting",
            "at home",
            "at 1 h: 2 frames",
            "at x s: 2 frames,",
        ] {
            assert_eq!(count(line), None, "{line}");
        }
        assert_eq!(rate(&[(1.0, 100), (1.5, 200), (3.0, 1100)]), Some(500.0));
        assert_eq!(rate(&[(1.0, 100)]), None);
        assert_eq!(rate(&[]), None);
    }
}
