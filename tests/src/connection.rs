//! The client's end of a TCP connection (RFC 9293), played by hand on the [`Wire`]: no
//! timer of this machine's kernel has a part in it, and what it sends when is known.
//!
//! It takes segments in order only, acknowledges each second full one, the rest when no more
//! comes or with what it sends, and repeats itself while nothing comes.

use crate::frames::{Packet, Segment, flag};
use crate::machine::PATIENCE;
use crate::wire::Wire;
use crate::{Outcome, ensure, same_bytes};
use std::time::{Duration, Instant};

/// The most that one segment carries: what fits an Ethernet frame.
pub const SEGMENT_MAX: usize = 1460;

/// How long it waits for a second segment before it acknowledges one.
const DELAY: Duration = Duration::from_millis(4);
/// How long nothing may come before it repeats itself.
const AGAIN: Duration = Duration::from_millis(200);

/// One end of a connection.
pub struct Connection {
    ports: (u16, u16),
    /// The sequence number after what was sent, and what of that is not acknowledged.
    next: u32,
    unacknowledged: Vec<u8>,
    /// The sequence number expected, and the one that was acknowledged last.
    expected: u32,
    acknowledged: u32,
    /// Bytes that were taken, but not asked for yet.
    taken: Vec<u8>,
    /// The guest has sent FIN.
    ended: bool,
    /// Times that nothing came.
    pub repeats: u32,
    /// How long what is waited for may take.
    pub patience: Duration,
}

impl Connection {
    /// Connects `ports.0` of ours with `ports.1` of the guest.
    ///
    /// # Errors
    /// The function fails if the guest does not answer the SYN as a listener does.
    pub fn open(wire: &Wire, ports: (u16, u16)) -> Outcome<Connection> {
        let mut connection = Connection::begin(wire, ports)?;
        connection.acknowledge(wire)?;
        Ok(connection)
    }

    /// The same, but that the guest's SYN is acknowledged by what is sent next, and not by
    /// a segment of its own.
    ///
    /// # Errors
    /// The function fails if the guest does not answer the SYN as a listener does.
    pub fn begin(wire: &Wire, ports: (u16, u16)) -> Outcome<Connection> {
        let (next, expected) = wire.begin(ports)?;
        Ok(Connection {
            ports,
            next,
            unacknowledged: Vec::new(),
            expected,
            acknowledged: expected,
            taken: Vec::new(),
            ended: false,
            repeats: 0,
            patience: PATIENCE,
        })
    }

    /// Sends bytes, without waiting. The guest's window is not looked at: a few segments.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn send(&mut self, wire: &Wire, bytes: &[u8]) -> Outcome {
        for piece in bytes.chunks(SEGMENT_MAX) {
            self.put(wire, self.next, flag::ACK | flag::PSH, piece)?;
            self.next = self.next.wrapping_add(piece.len() as u32);
            self.unacknowledged.extend_from_slice(piece);
        }
        Ok(())
    }

    /// Waits for the next `len` bytes.
    ///
    /// # Errors
    /// If they do not come, or the guest ends the connection before.
    pub fn receive(&mut self, wire: &Wire, len: usize) -> Outcome<Vec<u8>> {
        self.fill(wire, len)?;
        let rest = self.taken.split_off(len);
        Ok(std::mem::replace(&mut self.taken, rest))
    }

    /// Waits until `len` bytes are there to be taken.
    fn fill(&mut self, wire: &Wire, len: usize) -> Outcome {
        let end = Instant::now() + self.patience;
        while self.taken.len() < len {
            ensure(!self.ended, || {
                format!("{} of {len} bytes, then FIN", self.taken.len())
            })?;
            self.step(wire, end)?;
        }
        Ok(())
    }

    /// Waits for bytes up to and with the next `end`.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_through(&mut self, wire: &Wire, end: &[u8]) -> Outcome<Vec<u8>> {
        let mut looked = 0;
        loop {
            let found = self.taken[looked..].windows(end.len());
            if let Some(at) = found.into_iter().position(|window| window == end) {
                return self.receive(wire, looked + at + end.len());
            }
            looked = (self.taken.len() + 1).saturating_sub(end.len());
            self.fill(wire, self.taken.len() + 1)?;
        }
    }

    /// Waits for the guest's FIN; nothing more may come before it.
    ///
    /// # Errors
    /// If it does not come.
    pub fn wait_end(&mut self, wire: &Wire) -> Outcome {
        let end = Instant::now() + self.patience;
        while !self.ended {
            self.step(wire, end)?;
        }
        same_bytes(&self.taken, &[])
    }

    /// Sends bytes and expects them back.
    ///
    /// # Errors
    /// If they do not come back as they were.
    pub fn echo(&mut self, wire: &Wire, bytes: &[u8]) -> Outcome {
        self.send(wire, bytes)?;
        same_bytes(&self.receive(wire, bytes.len())?, bytes)
    }

    /// Ends the connection from both sides; nothing more may come.
    ///
    /// # Errors
    /// If the guest does not end it, or has more to say.
    pub fn close(mut self, wire: &Wire) -> Outcome {
        let end = Instant::now() + self.patience;
        let fin = self.next;
        // The FIN takes a place in the sequence (RFC 9293 §3.4).
        self.next = fin.wrapping_add(1);
        self.put(wire, fin, flag::ACK | flag::FIN, &[])?;
        self.unacknowledged.push(0);
        while !self.ended || !self.unacknowledged.is_empty() {
            if !self.look(wire)? {
                ensure(Instant::now() < end, || {
                    format!(
                        "no end of the connection within {} s",
                        self.patience.as_secs()
                    )
                })?;
                self.repeats += 1;
                self.put(wire, fin, flag::ACK | flag::FIN, &[])?;
            }
        }
        if self.acknowledged != self.expected {
            self.acknowledge(wire)?;
        }
        same_bytes(&self.taken, &[])
    }

    /// Waits for one segment; repeats what may have got lost if none comes.
    fn step(&mut self, wire: &Wire, end: Instant) -> Outcome {
        if self.look(wire)? {
            return Ok(());
        }
        ensure(Instant::now() < end, || {
            let seconds = self.patience.as_secs();
            format!(
                "nothing of the connection for {seconds} s; {} bytes had come",
                self.taken.len()
            )
        })?;
        self.repeats += 1;
        if self.unacknowledged.is_empty() {
            return self.acknowledge(wire);
        }
        let first = self.next.wrapping_sub(self.unacknowledged.len() as u32);
        let piece = self.unacknowledged[..self.unacknowledged.len().min(SEGMENT_MAX)].to_vec();
        self.put(wire, first, flag::ACK | flag::PSH, &piece)
    }

    /// Takes the next segment of this connection; `false` if none comes soon.
    fn look(&mut self, wire: &Wire) -> Outcome<bool> {
        let (ours, theirs) = self.ports;
        let next = |within| {
            wire.receive_where(Instant::now() + within, |packet| match packet {
                Packet::Segment { segment, data, .. } if segment.ports == (theirs, ours) => {
                    Some((segment, data))
                }
                _ => None,
            })
        };
        let mut seen = None;
        if self.acknowledged != self.expected {
            seen = next(DELAY)?;
            if seen.is_none() {
                self.acknowledge(wire)?;
            }
        }
        if seen.is_none() {
            seen = next(AGAIN)?;
        }
        let Some((segment, data)) = seen else {
            return Ok(false);
        };
        self.take(wire, segment, &data)?;
        Ok(true)
    }

    fn take(&mut self, wire: &Wire, segment: Segment, data: &[u8]) -> Outcome {
        if segment.flags & flag::RST != 0 {
            return Err("the guest has reset the connection".into());
        }
        let waiting = self.next.wrapping_sub(segment.ack) as usize;
        if let Some(done) = self.unacknowledged.len().checked_sub(waiting) {
            self.unacknowledged.drain(..done);
        }
        let fin = segment.flags & flag::FIN != 0;
        if data.is_empty() && !fin {
            return Ok(());
        }
        if segment.seq != self.expected {
            // Known, or after a gap: the guest is told what is expected (RFC 9293 §3.10.7.4).
            return self.acknowledge(wire);
        }
        self.taken.extend_from_slice(data);
        self.expected = self
            .expected
            .wrapping_add(data.len() as u32 + u32::from(fin));
        self.ended |= fin;
        let since = self.expected.wrapping_sub(self.acknowledged) as usize;
        if since >= 2 * SEGMENT_MAX {
            self.acknowledge(wire)?;
        }
        Ok(())
    }

    /// Acknowledges what was taken, in a segment of its own.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn acknowledge(&mut self, wire: &Wire) -> Outcome {
        self.put(wire, self.next, flag::ACK, &[])
    }

    fn put(&mut self, wire: &Wire, seq: u32, flags: u8, data: &[u8]) -> Outcome {
        self.acknowledged = self.expected;
        wire.send_segment(self.ports, (seq, self.expected), flags, data)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}, {}", self.ports, self.next, self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{IPV4, ethernet, parse, segment};
    use crate::wire::{GUEST_IP, OUR_IP, OUR_MAC};
    use std::os::unix::net::UnixDatagram;

    const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// An echo server that loses every third frame, either way, and sends each of its own
    /// twice.
    fn server(socket: &UnixDatagram) {
        let mut frame = [0; 2000];
        let (mut expected, mut next, mut count) = (0, 99u32, 0);
        while let Ok(len @ 1..) = socket.recv(&mut frame) {
            count += 1;
            let Some(Packet::Segment {
                segment: s, data, ..
            }) = parse(&frame[..len])
            else {
                continue;
            };
            if count % 3 == 0 {
                continue;
            }
            let reply = |flags, seq, ack, data: &[u8]| {
                let header = Segment {
                    ports: (s.ports.1, s.ports.0),
                    seq,
                    ack,
                    flags,
                };
                let packet = segment((GUEST_IP, OUR_IP), header, data);
                for _ in 0..2 {
                    let frame = ethernet(OUR_MAC, GUEST_MAC, IPV4, &packet);
                    socket.send(&frame).unwrap();
                }
            };
            if s.flags & flag::SYN != 0 {
                expected = s.seq + 1;
                reply(flag::SYN | flag::ACK, 99, expected, &[]);
                next = 100;
            } else if s.seq == expected && s.flags & flag::FIN != 0 {
                expected += 1;
                reply(flag::ACK | flag::FIN, next, expected, &[]);
                next += 1;
            } else if s.seq == expected && !data.is_empty() {
                expected += data.len() as u32;
                reply(flag::ACK, next, expected, &data);
                next += data.len() as u32;
            } else if !data.is_empty() || s.flags & flag::FIN != 0 {
                // Known: what was answered to it got lost.
                let known = s.seq.wrapping_sub(expected) as usize;
                let len = known.wrapping_neg().min(data.len());
                let back = u32::from(s.flags & flag::FIN != 0) + len as u32;
                let flags = flag::ACK | s.flags & flag::FIN;
                reply(flags, next - back, expected, &data[..len]);
            }
        }
    }

    #[test]
    fn bytes_come_back_whatever_gets_lost() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let fake = std::thread::spawn(move || server(&theirs));
        let wire = Wire::new(ours).unwrap();
        let mut connection = Connection::open(&wire, (40000, 7)).unwrap();
        for len in [1, 5, SEGMENT_MAX, 700] {
            let words = crate::pattern(len as u64, len);
            connection.echo(&wire, &words).unwrap();
        }
        assert!(connection.repeats > 0, "{connection:?}");
        connection.send(&wire, b"one\r\ntwo\r\n\r\nrest").unwrap();
        for (end, part) in [("\r\n\r\n", "one\r\ntwo\r\n\r\n"), ("st", "rest")] {
            let got = connection.receive_through(&wire, end.as_bytes());
            assert_eq!(got.unwrap(), part.as_bytes());
        }
        connection.close(&wire).unwrap();
        wire.send(&[]).unwrap(); // the fake's sign to end
        fake.join().unwrap();
    }

    #[test]
    fn an_end_or_a_reset_before_all_has_come_is_an_error() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let wire = Wire::new(ours).unwrap();
        let mut connection = Connection {
            ports: (40000, 7),
            next: 10,
            unacknowledged: vec![0; 4],
            expected: 100,
            acknowledged: 100,
            taken: Vec::new(),
            ended: false,
            repeats: 0,
            patience: PATIENCE,
        };
        let header = Segment {
            ports: (7, 40000),
            seq: 100,
            ack: 8,
            flags: flag::ACK | flag::FIN,
        };
        let guest = |header, data: &[u8]| {
            let packet = segment((GUEST_IP, OUR_IP), header, data);
            theirs
                .send(&ethernet(OUR_MAC, GUEST_MAC, IPV4, &packet))
                .unwrap();
        };
        guest(header, b"abc");
        let words = connection.receive(&wire, 4).unwrap_err().0;
        assert!(words.contains("3 of 4 bytes, then FIN"), "{words}");
        assert_eq!(connection.unacknowledged.len(), 2);
        connection.ended = false;
        guest(
            Segment {
                flags: flag::RST,
                ..header
            },
            b"",
        );
        let words = connection.receive(&wire, 4).unwrap_err().0;
        assert!(words.contains("reset"), "{words}");
    }
}
