//! The other end of the card's cable: raw frames, as QEMU's `dgram` network carries
//! them, one per datagram. The harness is the neighbour that the user network would be:
//! 10.0.2.2, which answers ARP for itself while it waits for something else.

use crate::frames::{
    ARP, BROADCAST, IPV4, Ip, Mac, Packet, Segment, arp, datagram, echo_request, ethernet, flag,
    parse, segment,
};
use crate::machine::PATIENCE;
use crate::{During, Failure, Outcome, is_timeout, same_bytes};
use nic::model::traffic;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Our Ethernet address: the user network's.
pub const OUR_MAC: Mac = [0x52, 0x55, 0x0a, 0, 2, 2];
/// Our address, the guest's gateway.
pub const OUR_IP: Ip = [10, 0, 2, 2];
/// The guest's address, if the command line gives no other.
pub const GUEST_IP: Ip = [10, 0, 2, 15];

/// How many of these frames the guest has sent: all but those of its neighbour, who has the
/// same address on the wire and in the user network.
pub fn from_guest(frames: &[Vec<u8>]) -> usize {
    let is_ours = |frame: &&Vec<u8>| frame.get(6..12) == Some(&OUR_MAC);
    frames.len() - frames.iter().filter(is_ours).count()
}

/// How long before an unanswered ARP request or echo request is sent again.
const AGAIN: Duration = Duration::from_millis(200);

/// The cable, and the addresses at both ends.
pub struct Wire {
    socket: UnixDatagram,
    /// Our address.
    pub ip: Ip,
    /// The guest's address.
    pub guest_ip: Ip,
    /// Where frames for the guest go: to everybody, until [`Wire::resolve`] has learned it.
    pub guest_mac: Mac,
    /// Whether the guest's card can take all groups or none, and so takes all when the guest speaks IPv6.
    pub takes_all_groups: bool,
    sent: Arc<AtomicU64>,
}

impl Wire {
    /// The end at `socket`.
    ///
    /// # Errors
    /// If the socket is unusable.
    pub fn new(socket: UnixDatagram) -> Outcome<Wire> {
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire {
            socket,
            ip: OUR_IP,
            guest_ip: GUEST_IP,
            guest_mac: BROADCAST,
            takes_all_groups: false,
            sent: Arc::default(),
        })
    }

    /// The same end once more, to send from another thread. Only one of them may receive.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn another(&self) -> Outcome<Wire> {
        Ok(Wire {
            socket: self.socket.try_clone()?,
            sent: self.sent.clone(),
            ..*self
        })
    }

    /// How many frames were sent, by this end and all its others, that the guest's card has to
    /// take: to its station, to all, or to a group of IPv6 that the guest has joined, and no longer than
    /// a frame may be.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Puts a frame on the cable as it is.
    ///
    /// # Errors
    /// If QEMU takes none any more.
    pub fn send(&self, frame: &[u8]) -> Outcome {
        match self.socket.send(frame) {
            Ok(_) => {
                let is_seen = frame.len() >= 14 && self.is_seen(frame);
                self.sent.fetch_add(is_seen.into(), Ordering::Relaxed);
                Ok(())
            }
            Err(error) if is_timeout(&error) => Err(Failure(format!(
                "the card took no frame for {} s: does its receive unit start?",
                PATIENCE.as_secs()
            ))),
            Err(error) => Err(error).during("wire: sending"),
        }
    }

    /// Whether the guest's card takes a frame.
    fn is_seen(&self, frame: &[u8]) -> bool {
        let [_, _, _, d, e, f] = self.guest_mac;
        let groups = [[0x33, 0x33, 0, 0, 0, 1], [0x33, 0x33, 0xff, d, e, f]];
        let is_group = frame[0] & 1 != 0 && self.takes_all_groups;
        match is_group || groups.iter().any(|group| frame.starts_with(group)) {
            // It is taken as if it were sent to all.
            true => traffic::seen(&[&BROADCAST, &frame[6..]].concat(), BROADCAST, true).is_some(),
            false => traffic::seen(frame, self.guest_mac, true).is_some(),
        }
    }

    /// The same, unless the card takes none now; returns whether it has taken it.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub fn offer(&self, frame: &[u8]) -> Outcome<bool> {
        self.socket.set_nonblocking(true)?;
        let sent = self.socket.send(frame);
        self.socket.set_nonblocking(false)?;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(error).during("wire: offering"),
        }
    }

    /// Sends an IPv4 packet to the guest.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn send_ipv4(&self, packet: &[u8]) -> Outcome {
        self.send(&ethernet(self.guest_mac, OUR_MAC, IPV4, packet))
    }

    /// Sends a UDP datagram to the guest.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn send_datagram(&self, ports: (u16, u16), data: &[u8]) -> Outcome {
        self.send_ipv4(&datagram((self.ip, self.guest_ip), ports, data))
    }

    /// The next frame of the guest; `None` if none comes until `deadline`.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub fn receive(&self, deadline: Instant) -> Outcome<Option<Vec<u8>>> {
        let mut frame = vec![0; 65536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut frame) {
                Ok(len) => {
                    frame.truncate(len);
                    return Ok(Some(frame));
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error).during("wire: receiving"),
            }
        }
    }

    /// Takes all that has come from the guest, unseen.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub fn drain(&self) -> Outcome {
        self.socket.set_nonblocking(true)?;
        while self.socket.recv(&mut []).is_ok() {}
        Ok(self.socket.set_nonblocking(false)?)
    }

    /// Waits until `deadline` for a packet that `wanted` makes something of; answers
    /// the guest's ARP requests for our address meanwhile.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub fn receive_where<T>(
        &self,
        deadline: Instant,
        mut wanted: impl FnMut(Packet) -> Option<T>,
    ) -> Outcome<Option<T>> {
        while let Some(frame) = self.receive(deadline)? {
            let Some(packet) = parse(&frame) else {
                continue;
            };
            if let Packet::Arp {
                operation: 1,
                sender,
                target,
            } = packet
                && target == self.ip
            {
                let reply = arp(2, (OUR_MAC, self.ip), sender);
                self.send(&ethernet(sender.0, OUR_MAC, ARP, &reply))?;
            }
            if let Some(found) = wanted(packet) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Learns the guest's Ethernet address by ARP.
    ///
    /// # Errors
    /// If the guest does not answer.
    pub fn resolve(&mut self) -> Outcome<Mac> {
        let (ip, guest_ip) = (self.ip, self.guest_ip);
        let request = arp(1, (OUR_MAC, ip), ([0; 6], guest_ip));
        let request = ethernet(BROADCAST, OUR_MAC, ARP, &request);
        self.guest_mac = self.ask("an ARP request", &request, |packet| match packet {
            Packet::Arp {
                operation: 2,
                sender,
                ..
            } if sender.1 == guest_ip => Some(sender.0),
            _ => None,
        })?;
        Ok(self.guest_mac)
    }

    /// Sends an ICMP echo request with `data` until it is answered; returns how long
    /// that took.
    ///
    /// # Errors
    /// If it is not answered, or with other data.
    pub fn ping(&self, sequence: u16, data: &[u8]) -> Outcome<Duration> {
        let ips = (self.ip, self.guest_ip);
        let number = (0x5748, sequence);
        let packet = echo_request(ips, number, data);
        let frame = ethernet(self.guest_mac, OUR_MAC, IPV4, &packet);
        let start = Instant::now();
        let what = format!("an echo request of {} bytes", data.len());
        let reply = self.ask(&what, &frame, |packet| match packet {
            Packet::Echo {
                ips: (from, to),
                kind: 0,
                number: n,
                data,
            } if n == number && (to, from) == ips => Some(data),
            _ => None,
        })?;
        same_bytes(&reply, data)?;
        Ok(start.elapsed())
    }

    /// Sends one segment of a connection from `port` of ours to `guest_port`.
    ///
    /// # Errors
    /// As [`Wire::send`].
    pub fn send_segment(
        &self,
        ports: (u16, u16),
        (seq, ack): (u32, u32),
        flags: u8,
        data: &[u8],
    ) -> Outcome {
        let header = Segment {
            ports,
            seq,
            ack,
            flags,
        };
        self.send_ipv4(&segment((self.ip, self.guest_ip), header, data))
    }

    /// Opens a connection; returns the next sequence numbers, ours and the guest's.
    ///
    /// # Errors
    /// If the guest does not accept it.
    pub fn open(&self, ports: (u16, u16)) -> Outcome<(u32, u32)> {
        let next = self.begin(ports)?;
        self.send_segment(ports, next, flag::ACK, &[])?;
        Ok(next)
    }

    /// The same, but for the acknowledgement of the guest's SYN, which has to follow.
    ///
    /// # Errors
    /// As [`Wire::open`].
    pub fn begin(&self, ports: (u16, u16)) -> Outcome<(u32, u32)> {
        let seq = 0x1000_0000 + u32::from(ports.0);
        let header = Segment {
            ports,
            seq,
            ack: 0,
            flags: flag::SYN,
        };
        let packet = segment((self.ip, self.guest_ip), header, &[]);
        let frame = ethernet(self.guest_mac, OUR_MAC, IPV4, &packet);
        let theirs = self.ask("a SYN", &frame, |packet| match packet {
            Packet::Segment { segment, .. }
                if segment.ports == (ports.1, ports.0)
                    && segment.flags & (flag::ACK | flag::RST) == flag::ACK =>
            {
                if segment.ack == seq + 1 {
                    return (segment.flags & flag::SYN != 0).then_some(segment.seq);
                }
                // RFC 9293 §3.10.7.3: it knows of another connection of these ports, which ends so.
                self.send_segment(ports, (segment.ack, 0), flag::RST, &[])
                    .ok()?;
                None
            }
            _ => None,
        })?;
        Ok((seq + 1, theirs.wrapping_add(1)))
    }

    /// Sends `frame` again and again until something comes that `wanted` takes.
    fn ask<T>(
        &self,
        what: &str,
        frame: &[u8],
        mut wanted: impl FnMut(Packet) -> Option<T>,
    ) -> Outcome<T> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.send(frame)?;
            if let Some(found) = self.receive_where(Instant::now() + AGAIN, &mut wanted)? {
                return Ok(found);
            }
        }
        Err(Failure(format!(
            "{what} was not answered within {} s",
            PATIENCE.as_secs()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{ICMP, checksum, ipv4};

    const GUEST_MAC: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// A guest that asks for our address first, loses the first frame it gets, and then
    /// answers ARP, echo and SYN, until an empty frame comes. It knows of an old connection to
    /// its port 79.
    fn guest(socket: &UnixDatagram) {
        let who_is = arp(1, (GUEST_MAC, GUEST_IP), ([0; 6], OUR_IP));
        let who_is = ethernet(BROADCAST, GUEST_MAC, ARP, &who_is);
        socket.send(&who_is).unwrap();
        let mut frame = [0; 2000];
        let mut count = 0;
        let mut old = Some(77);
        while let Ok(len @ 1..) = socket.recv(&mut frame) {
            count += 1;
            if count == 1 {
                continue;
            }
            let reply = |packet: &[u8]| {
                socket
                    .send(&ethernet(OUR_MAC, GUEST_MAC, IPV4, packet))
                    .unwrap();
            };
            match parse(&frame[..len]) {
                Some(Packet::Arp {
                    operation: 1,
                    sender,
                    ..
                }) => {
                    let answer = arp(2, (GUEST_MAC, GUEST_IP), sender);
                    socket
                        .send(&ethernet(OUR_MAC, GUEST_MAC, ARP, &answer))
                        .unwrap();
                }
                Some(Packet::Echo { number, data, .. }) => {
                    let mut message = vec![0, 0, 0, 0];
                    message.extend(number.0.to_be_bytes());
                    message.extend(number.1.to_be_bytes());
                    message.extend(data);
                    let sum = checksum(&[&message]);
                    message[2..4].copy_from_slice(&sum.to_be_bytes());
                    reply(&ipv4(GUEST_IP, OUR_IP, ICMP, &message));
                }
                Some(Packet::Segment { segment: s, .. }) if s.flags == flag::SYN => {
                    let (ack, flags) = match old.filter(|_| s.ports.1 == 79) {
                        Some(next) => (next, flag::ACK),
                        None => (s.seq + 1, flag::SYN | flag::ACK),
                    };
                    let answer = Segment {
                        ports: (s.ports.1, s.ports.0),
                        seq: 99,
                        ack,
                        flags,
                    };
                    reply(&segment((GUEST_IP, OUR_IP), answer, &[]));
                }
                Some(Packet::Segment { segment: s, .. }) if s.flags == flag::RST => {
                    old = old.filter(|&next| next != s.seq);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_guest_is_found_and_spoken_to_even_if_frames_get_lost() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let fake = std::thread::spawn(move || guest(&theirs));
        let mut wire = Wire::new(ours).unwrap();
        assert_eq!(wire.resolve().unwrap(), GUEST_MAC);
        for len in [0, 1, 56, 1472] {
            wire.ping(len as u16, &crate::pattern(1, len)).unwrap();
        }
        let (ours, theirs) = wire.open((40000, 80)).unwrap();
        assert_eq!((ours, theirs), (0x1000_0000 + 40001, 100));
        wire.open((40000, 79)).unwrap();
        let soon = || Instant::now() + Duration::from_millis(20);
        assert_eq!(wire.receive(soon()), Ok(None));
        wire.send(&[]).unwrap(); // the fake's sign to end
        fake.join().unwrap();
    }
}
