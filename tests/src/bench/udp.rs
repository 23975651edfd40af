//! UDP echo by raw frames, as QEMU's `dgram` network carries them over loopback: one in
//! flight, many in flight, and more offered than anybody answers. Every answer is compared with
//! what was sent, and numbered, so that what is lost is told from what is late.

use super::metric::SMALL;
use super::stats::Latencies;
use super::tcp::STALL;
use crate::frames::{ARP, BROADCAST, IPV4, Mac, Packet, arp, datagram, ethernet, parse};
use crate::wire::{GUEST_IP, OUR_IP, OUR_MAC};
use crate::{During, Failure, Outcome, ensure, pattern};
use nix::sys::socket::{setsockopt, sockopt};
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Different frames; a number is used again only after so many others.
const NUMBERS: usize = 1024;

/// What has not come back within is lost, unless it comes later.
const LOST: Duration = Duration::from_millis(200);

/// The client looks for answers, and sends what is due, so often.
const PACE: Duration = Duration::from_micros(200);

/// Where a datagram's data begins: after the headers of Ethernet, IPv4 and UDP.
const DATA: usize = 14 + 20 + 8;

const PORTS: (u16, u16) = (4000, 7);

/// A guest's card, and frames to send to it.
pub struct Echo<'a> {
    socket: &'a UdpSocket,
    frames: Vec<Vec<u8>>,
    next: usize,
    /// How long a read waits.
    timeout: Cell<Duration>,
    /// When what has not come back is lost.
    patience: Duration,
}

/// What came of one frame in flight.
#[derive(Clone, Debug, Default)]
pub struct Singly {
    /// Of those that came back.
    pub times: Latencies,
    /// That never came back.
    pub lost: u64,
    /// Times that nothing came for [`STALL`].
    pub stalls: u64,
}

/// What came of many in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Windowed {
    /// Answers per second.
    pub rate: f64,
    /// Answers.
    pub answered: u64,
    /// Frames without an answer.
    pub lost: u64,
}

/// What came of a flood.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flooded {
    /// Frames sent per second.
    pub offered: f64,
    /// Answers per second.
    pub answered: f64,
}

/// A share in parts per million.
pub fn per_million(part: u64, rest: u64) -> f64 {
    part as f64 * 1e6 / (part + rest).max(1) as f64
}

impl<'a> Echo<'a> {
    /// Finds the guest at the other end of `socket`, and makes frames with `size` bytes of data.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn new(socket: &'a UdpSocket, size: u16) -> Outcome<Echo<'a>> {
        // So that what is lost is not lost here; without the right to more, what is allowed.
        let room = 8 << 20;
        if setsockopt(socket, sockopt::RcvBufForce, &room).is_err() {
            let _ = setsockopt(socket, sockopt::RcvBuf, &room);
        }
        let mut echo = Echo {
            socket,
            frames: Vec::new(),
            next: 0,
            timeout: Cell::new(LOST),
            patience: LOST,
        };
        socket.set_read_timeout(Some(LOST))?;
        let mac = echo.resolve()?;
        let filling = pattern(u64::from(size), usize::from(size.max(SMALL)));
        echo.frames = (0..NUMBERS as u32)
            .map(|number| {
                let mut data = filling.clone();
                data[..4].copy_from_slice(&number.to_be_bytes());
                let packet = datagram((OUR_IP, GUEST_IP), PORTS, &data);
                ethernet(mac, OUR_MAC, IPV4, &packet)
            })
            .collect();
        echo.warm_up()?;
        Ok(echo)
    }

    fn resolve(&self) -> Outcome<Mac> {
        let request = arp(1, (OUR_MAC, OUR_IP), ([0; 6], GUEST_IP));
        let request = ethernet(BROADCAST, OUR_MAC, ARP, &request);
        let mut frame = [0; 2048];
        for _ in 0..100 {
            self.send(&request)?;
            while let Some(len) = self.take(&mut frame)? {
                if let Some(Packet::Arp {
                    operation: 2,
                    sender: (mac, GUEST_IP),
                    ..
                }) = parse(&frame[..len])
                {
                    return Ok(mac);
                }
            }
        }
        Err("the guest does not answer ARP".into())
    }

    /// Until the guest has found us, too, its answers get lost.
    fn warm_up(&mut self) -> Outcome {
        let mut frame = [0; 2048];
        let mut answered = 0;
        for _ in 0..200 {
            let number = self.send_next()?;
            while let Some(got) = self.answer(&mut frame, LOST)? {
                if got == number {
                    answered += 1;
                    break;
                }
            }
            if answered == 50 {
                return Ok(());
            }
        }
        Err(Failure(format!(
            "{answered} of 200 datagrams were answered"
        )))
    }

    /// Sends for `duration`, each frame after the answer to the one before.
    ///
    /// # Errors
    /// If QEMU ends, or an answer is wrong.
    pub fn singly(&mut self, duration: Duration) -> Outcome<Singly> {
        let mut singly = Singly::default();
        let mut missing = [false; NUMBERS];
        let mut frame = [0; 2048];
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let start = Instant::now();
            let number = self.send_next()?;
            missing[number] = false; // if it comes now, nobody can tell which it is
            let took = loop {
                match self.answer(&mut frame, self.patience)? {
                    Some(got) if got == number => break Some(start.elapsed()),
                    _ if start.elapsed() >= self.patience => break None,
                    Some(late) if missing[late] => {
                        missing[late] = false;
                        singly.lost -= 1;
                    }
                    _ => {}
                }
            };
            match took {
                Some(took) => {
                    singly.times.push(took.as_nanos() as u64);
                    singly.stalls += u64::from(took > STALL);
                }
                None => {
                    missing[number] = true;
                    singly.lost += 1;
                    singly.stalls += 1;
                }
            }
        }
        ensure(singly.times.count() > 0, || "no answer at all".to_owned())?;
        Ok(singly)
    }

    /// Keeps `window` frames in flight for `duration`.
    ///
    /// # Errors
    /// If QEMU ends, or an answer is wrong.
    pub fn windowed(&mut self, window: usize, duration: Duration) -> Outcome<Windowed> {
        let mut in_flight = [false; NUMBERS];
        let mut count = 0;
        let mut windowed = Windowed::default();
        let mut frame = [0; 2048];
        let start = Instant::now();
        let mut last = start;
        loop {
            let open = start.elapsed() < duration;
            while open && count < window {
                let number = self.send_next()?;
                if std::mem::replace(&mut in_flight[number], true) {
                    windowed.lost += 1; // all the others have come back meanwhile
                } else {
                    count += 1;
                }
            }
            match self.answer(&mut frame, self.patience)? {
                Some(number) if in_flight[number] => {
                    in_flight[number] = false;
                    count -= 1;
                    windowed.answered += 1;
                    last = Instant::now();
                }
                Some(_) => {}
                None => {
                    // Silence: what is in flight will not come any more.
                    windowed.lost += count as u64;
                    in_flight = [false; NUMBERS];
                    count = 0;
                }
            }
            if count == 0 && !open {
                break;
            }
        }
        windowed.rate = windowed.answered as f64 / last.duration_since(start).as_secs_f64();
        Ok(windowed)
    }

    /// Offers `rate` frames per second for `duration`, whatever is answered.
    ///
    /// # Errors
    /// If QEMU ends, an answer is wrong, or the client is too slow.
    pub fn flooded(&mut self, rate: f64, duration: Duration) -> Outcome<Flooded> {
        let mut frame = [0; 2048];
        let (mut sent, mut answered) = (0_u64, 0_u64);
        self.socket.set_nonblocking(true)?;
        let start = Instant::now();
        while start.elapsed() < duration {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            while sent < due {
                self.send_next()?;
                sent += 1;
            }
            while let Some(len) = self.take(&mut frame)? {
                if self.number(&frame[..len])?.is_some() {
                    answered += 1;
                }
            }
            std::thread::sleep(PACE);
        }
        let took = start.elapsed().as_secs_f64();
        self.socket.set_nonblocking(false)?;
        while self.answer(&mut frame, STALL)?.is_some() {} // what is still under way
        let flooded = Flooded {
            offered: sent as f64 / took,
            answered: answered as f64 / took,
        };
        ensure(flooded.offered > 0.9 * rate, || {
            format!("only {:.0} frames/s could be offered", flooded.offered)
        })?;
        Ok(flooded)
    }

    fn send(&self, frame: &[u8]) -> Outcome {
        match self.socket.send(frame) {
            Ok(_) => Ok(()),
            // The socket's buffer is full: lost, as any frame may be.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).during("sending a frame"),
        }
    }

    fn send_next(&mut self) -> Outcome<usize> {
        let number = self.next;
        self.next = (number + 1) % NUMBERS;
        self.send(&self.frames[number])?;
        Ok(number)
    }

    fn take(&self, frame: &mut [u8]) -> Outcome<Option<usize>> {
        match self.socket.recv(frame) {
            Ok(len) => Ok(Some(len)),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                Ok(None)
            }
            Err(error) => Err(error).during("receiving a frame"),
        }
    }

    /// The number of the next answer, waiting for at most about `timeout` for each frame.
    fn answer(&self, frame: &mut [u8], timeout: Duration) -> Outcome<Option<usize>> {
        // The kernel keeps the time-out: it is not set for every frame anew.
        if self.timeout.replace(timeout) != timeout {
            self.socket.set_read_timeout(Some(timeout))?;
        }
        while let Some(len) = self.take(frame)? {
            if let Some(number) = self.number(&frame[..len])? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The number of an answer; `None` of another frame. Whoever asks for our address is told.
    fn number(&self, frame: &[u8]) -> Outcome<Option<usize>> {
        if frame.get(12..14) == Some(&ARP.to_be_bytes()) {
            if let Some(Packet::Arp {
                operation: 1,
                sender,
                target: OUR_IP,
            }) = parse(frame)
            {
                let reply = arp(2, (OUR_MAC, OUR_IP), sender);
                self.send(&ethernet(sender.0, OUR_MAC, ARP, &reply))?;
            }
            return Ok(None);
        }
        // IPv4, UDP, from the echo port.
        let is_answer = frame.get(12..14) == Some(&IPV4.to_be_bytes())
            && frame.get(23) == Some(&17)
            && frame.get(34..36) == Some(&PORTS.1.to_be_bytes());
        let Some(data) = frame.get(DATA..).filter(|_| is_answer) else {
            return Ok(None);
        };
        let number = data.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let sent = number.and_then(|number| self.frames.get(number as usize));
        match (number, sent) {
            (Some(number), Some(sent)) if data.starts_with(&sent[DATA..]) => {
                Ok(Some(number as usize))
            }
            _ => Err("an answer with other data than was sent".into()),
        }
    }
}

#[cfg(test)]
mod tests;
