//! TCP by segments made by hand: what no socket of this machine would send. The rules are
//! tested one by one on the host (`net/src/tests`); here they hold with both cards.

use super::system::{counted, statistics};
use crate::frames::{self, ARP, Packet, Segment, TCP, arp, checksum, ethernet, flag, parse};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::{OUR_MAC, Wire};
use crate::{Outcome, ensure, pattern, same_bytes};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("a client that starts again on the same port", starts_again),
    Case::new("segments that a connection must not believe", unbelievable),
    Case::new("a window filled to its end, and FIN behind it", filled),
    Case::new("a window of 10 octets", small_window),
    Case::new("a path narrower than the link", narrow_path),
];

/// A connection to the echo server.
struct Link<'a> {
    wire: &'a Wire,
    ports: (u16, u16),
    /// The next sequence numbers: ours, and the guest's.
    seq: u32,
    ack: u32,
    window: u16,
}

/// A segment of the guest.
struct Heard {
    segment: Segment,
    window: u16,
    data: Vec<u8>,
    frame: Vec<u8>,
}

fn boot(bench: &Bench) -> Outcome<Machine> {
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv run=nicstat,-r,-w"))?;
    machine.wait_servers(true, false)?;
    machine.wire()?.resolve()?;
    Ok(machine)
}

impl<'a> Link<'a> {
    fn open(wire: &'a Wire, port: u16) -> Outcome<Self> {
        let ports = (port, 7);
        let (seq, ack) = wire.open(ports)?;
        Ok(Link {
            wire,
            ports,
            seq,
            ack,
            window: 0xffff,
        })
    }

    /// Sends a segment with our window; sequence numbers are relative to what is expected.
    fn send(&self, flags: u8, seq: i32, ack: i32, data: &[u8]) -> Outcome {
        let header = Segment {
            ports: self.ports,
            seq: self.seq.wrapping_add_signed(seq),
            ack: match flags & flag::ACK {
                0 => 0,
                _ => self.ack.wrapping_add_signed(ack),
            },
            flags,
        };
        let ips = (self.wire.ip, self.wire.guest_ip);
        let mut packet = frames::segment(ips, header, data);
        packet[34..36].copy_from_slice(&self.window.to_be_bytes());
        packet[36..38].fill(0);
        let len = (packet.len() as u16 - 20).to_be_bytes();
        let sum = checksum(&[&ips.0, &ips.1, &[0, TCP], &len, &packet[20..]]);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        self.wire.send_ipv4(&packet)
    }

    /// The next segment of the guest for this connection; `None` if none comes in that time.
    fn hear(&self, time: Duration) -> Outcome<Option<Heard>> {
        let end = Instant::now() + time;
        while let Some(frame) = self.wire.receive(end)? {
            match parse(&frame) {
                Some(Packet::Arp {
                    operation: 1,
                    sender,
                    target,
                }) if target == self.wire.ip => {
                    let reply = arp(2, (OUR_MAC, self.wire.ip), sender);
                    self.wire.send(&ethernet(sender.0, OUR_MAC, ARP, &reply))?;
                }
                Some(Packet::Segment { segment, data, .. })
                    if segment.ports == (self.ports.1, self.ports.0) =>
                {
                    return Ok(Some(Heard {
                        segment,
                        window: u16::from_be_bytes([frame[48], frame[49]]),
                        data,
                        frame,
                    }));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The next segment, which has to come.
    fn must_hear(&self, what: &str) -> Outcome<Heard> {
        let heard = self.hear(PATIENCE)?;
        heard.ok_or_else(|| format!("no answer to {what}").into())
    }

    /// The next one must be an acknowledgement without data of all that was sent properly.
    fn must_be_told(&self, what: &str) -> Outcome {
        let heard = self.must_hear(what)?;
        let (flags, numbers) = (heard.segment.flags, (heard.segment.seq, heard.segment.ack));
        ensure(
            flags == flag::ACK && numbers == (self.ack, self.seq) && heard.data.is_empty(),
            || {
                format!(
                    "{what}: answered by {:?}, not <SEQ={}><ACK={}>",
                    heard.segment, self.ack, self.seq
                )
            },
        )
    }

    /// An echo, which shows that the connection lives.
    fn echo(&mut self, len: usize) -> Outcome {
        let data = pattern(len as u64, len);
        self.send(flag::ACK | flag::PSH, 0, 0, &data)?;
        self.seq = self.seq.wrapping_add(len as u32);
        let mut back = Vec::new();
        while back.len() < len {
            let heard = self.must_hear("an echo")?;
            ensure(heard.segment.flags & flag::RST == 0, || "a RST".into())?;
            if heard.segment.seq == self.ack {
                self.ack = self.ack.wrapping_add(heard.data.len() as u32);
                back.extend(heard.data);
            }
        }
        self.send(flag::ACK, 0, 0, &[])?;
        same_bytes(&back, &data)
    }
}

/// RFC 9293 §3.5.1, RFC 5961 §4.2: SYN, challenge, RST, SYN.
fn starts_again(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let mut link = Link::open(wire, 41000)?;
    link.echo(100)?;
    let start = Instant::now();
    // The client has forgotten all; its new number is far away from the old one.
    link.send(flag::SYN, 1 << 28, 0, &[])?;
    link.must_be_told("a SYN on a connection")?;
    // A host in SYN-SENT refuses that, with the number that was acknowledged.
    link.send(flag::RST, 0, 0, &[])?;
    link.send(flag::SYN, 1 << 28, 0, &[])?;
    let answer = link.must_hear("the SYN behind a RST")?.segment;
    let expected = link.seq.wrapping_add((1 << 28) + 1);
    ensure(
        answer.flags == flag::SYN | flag::ACK && answer.ack == expected,
        || format!("{answer:?}"),
    )?;
    let took = start.elapsed();
    (link.seq, link.ack) = (expected, answer.seq.wrapping_add(1));
    link.send(flag::ACK, 0, 0, &[])?;
    link.echo(1000)?;
    bench.note(format!("{} ms", took.as_millis()));
    ensure(took < Duration::from_secs(1), || format!("{took:?}"))
}

/// RFC 9293 §3.10.7.4, RFC 5961 §3.2, §4.2, §5.2.
fn unbelievable(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let mut link = Link::open(wire, 41000)?;
    link.echo(100)?;
    let far = 1 << 29;
    let rows: [(&str, u8, i32, i32, usize); 8] = [
        ("a SYN in the window", flag::SYN, 5, 0, 0),
        ("a SYN-ACK", flag::SYN | flag::ACK, far, 0, 0),
        ("a RST in the window", flag::RST, 5, 0, 0),
        ("data that was received", flag::ACK, -50, 0, 50),
        ("data behind the window", flag::ACK, 70_000, 0, 50),
        ("an ACK of what was not sent", flag::ACK, 0, 1, 50),
        ("an ACK from long ago", flag::ACK, 0, -far, 50),
        ("a keep-alive", flag::ACK, -1, 0, 0),
    ];
    for (what, flags, seq, ack, len) in rows {
        link.send(flags, seq, ack, &pattern(3, len))?;
        link.must_be_told(what)?;
    }
    // These say nothing and are told nothing.
    link.send(flag::RST, -1, 0, &[])?;
    link.send(flag::RST, 70_000, 0, &[])?;
    link.send(0, 0, 0, &[1])?;
    // An acknowledgement of a moment ago does not spoil the data that it comes with.
    link.send(flag::ACK, 0, -50, &[b'x'; 10])?;
    link.seq = link.seq.wrapping_add(10);
    let heard = link.must_hear("data with an old ACK")?;
    same_bytes(&heard.data, &[b'x'; 10])?;
    link.ack = link.ack.wrapping_add(10);
    link.echo(1000)?;
    // To a port that nobody listens at.
    let nobody = Link {
        ports: (41000, 9),
        ..link
    };
    nobody.send(flag::ACK, 0, 0, &[])?;
    let refused = nobody.must_hear("an ACK for a closed port")?.segment;
    ensure(
        (refused.flags, refused.seq) == (flag::RST, nobody.ack),
        || format!("{refused:?}"),
    )
}

/// RFC 9293 §3.8.6, §3.10.7.4: no right edge moves left, and what is acknowledged was kept.
fn filled(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let mut link = Link::open(wire, 41000)?;
    // Nothing of the echo may leave, so that the guest stops reading some time.
    link.window = 0;
    let data = pattern(9, 400_000);
    let mut upload = Upload {
        first: link.seq,
        sent: 0,
        acked: 0,
        edge: 1,
    };
    // Until its window closes: then its program does not read any more. It is small at first.
    while upload.acked == 0 || upload.edge - upload.acked > 40_000 {
        let end = (upload.sent + 2000).min(upload.edge);
        upload.send(&mut link, &data, end, false)?;
        upload.hear(&link, Duration::from_millis(20))?;
    }
    while upload.acked < upload.sent {
        upload.hear(&link, PATIENCE)?;
    }
    // All that fits, and FIN behind it, which does not.
    let end = upload.edge;
    upload.send(&mut link, &data, end, true)?;
    while upload.hear(&link, Duration::from_millis(500))? {}
    let Upload { acked, edge, .. } = upload;
    ensure((acked, edge) == (end, end), || {
        format!("{end} octets and FIN: {acked} were acknowledged, up to {edge} may come")
    })?;
    bench.note(format!("{end} octets"));
    // Now the echo may come: all of it, and then the end.
    link.seq = upload.first.wrapping_add(end as u32);
    link.window = 0xffff;
    link.send(flag::ACK | flag::FIN, 0, 0, &[])?;
    let mut back = Vec::new();
    let mut is_over = false;
    while !is_over {
        let heard = link.must_hear("a window that is open again")?;
        let is_next = heard.segment.seq == link.ack;
        if is_next {
            link.ack = link.ack.wrapping_add(heard.data.len() as u32);
            back.extend(heard.data);
        }
        is_over = is_next && heard.segment.flags & flag::FIN != 0;
        // The FIN is repeated until it is acknowledged.
        let (fin, seq) = match heard.segment.ack == link.seq {
            true => (flag::FIN, 0),
            false => (0, 1),
        };
        link.send(flag::ACK | fin, seq, i32::from(is_over), &[])?;
    }
    same_bytes(&back, &data[..end])
}

/// What was sent of some data, counted from its first octet.
struct Upload {
    first: u32,
    sent: usize,
    acked: usize,
    /// The right edge of the guest's window.
    edge: usize,
}

impl Upload {
    /// Sends what comes next, up to an octet, in segments of odd lengths.
    fn send(&mut self, link: &mut Link<'_>, data: &[u8], end: usize, finish: bool) -> Outcome {
        while self.sent < end {
            let len = (end - self.sent).min(1 + (self.sent * 7) % 1460);
            let is_last = self.sent + len == end;
            let fin = if finish && is_last { flag::FIN } else { 0 };
            link.seq = self.first.wrapping_add(self.sent as u32);
            link.send(flag::ACK | fin, 0, 0, &data[self.sent..self.sent + len])?;
            self.sent += len;
        }
        Ok(())
    }

    /// Takes note of the next segment, if one comes in that time.
    fn hear(&mut self, link: &Link<'_>, time: Duration) -> Outcome<bool> {
        let Some(heard) = link.hear(time)? else {
            return Ok(false);
        };
        ensure(heard.segment.flags & flag::RST == 0, || "a RST".into())?;
        let acked = heard.segment.ack.wrapping_sub(self.first) as usize;
        ensure(acked <= self.sent, || {
            format!("{acked} octets of {} were acknowledged", self.sent)
        })?;
        let edge = acked + usize::from(heard.window);
        ensure(edge >= self.edge, || {
            format!("the right edge went from {} to {edge}", self.edge)
        })?;
        (self.acked, self.edge) = (acked, edge);
        Ok(true)
    }
}

/// RFC 9293 §3.8.6.2.1: the sender waits for a window that is worth a segment.
fn small_window(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let mut link = Link::open(wire, 41000)?;
    link.window = 10;
    // No more than the window of the SYN-ACK.
    let data = pattern(4, 16_000);
    for piece in data.chunks(1000) {
        link.send(flag::ACK | flag::PSH, 0, 0, piece)?;
        link.seq = link.seq.wrapping_add(1000);
    }
    let (mut count, mut back) = (0, Vec::new());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let Some(heard) = link.hear(Duration::from_millis(50))? else {
            continue;
        };
        count += 1;
        if heard.segment.seq == link.ack {
            link.ack = link.ack.wrapping_add(heard.data.len() as u32);
            back.extend(heard.data);
        }
        link.send(flag::ACK, 0, 0, &[])?;
    }
    bench.note(format!("{count} segments in 2 s"));
    ensure((5..=20).contains(&count), || {
        format!("{count} segments in 2 s")
    })?;
    link.window = 0xffff;
    link.send(flag::ACK, 0, 0, &[])?;
    while back.len() < data.len() {
        let heard = link.must_hear("a window that is open")?;
        if heard.segment.seq == link.ack {
            link.ack = link.ack.wrapping_add(heard.data.len() as u32);
            back.extend(heard.data);
        }
        link.send(flag::ACK, 0, 0, &[])?;
    }
    same_bytes(&back, &data)
}

/// RFC 1191: a router drops what is longer than 600 octets, and says so.
fn narrow_path(bench: &Bench) -> Outcome {
    const MTU: usize = 600;
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let mut link = Link::open(wire, 41000)?;
    let data = pattern(6, 20_000);
    let (mut sent, mut back, mut told) = (0, Vec::new(), 0);
    let start = Instant::now();
    while back.len() < data.len() {
        if sent < data.len() && sent <= back.len() + 8000 {
            let len = 1000.min(data.len() - sent);
            link.send(flag::ACK | flag::PSH, 0, 0, &data[sent..sent + len])?;
            link.seq = link.seq.wrapping_add(len as u32);
            sent += len;
            continue;
        }
        let heard = link.must_hear("an echo over a narrow path")?;
        if heard.frame.len() > 14 + MTU {
            // ICMP unreachable, code 4, and the beginning of what was dropped.
            let mut message = vec![3, 4, 0, 0, 0, 0];
            message.extend((MTU as u16).to_be_bytes());
            message.extend(&heard.frame[14..14 + 28]);
            let sum = checksum(&[&message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let router = [10, 0, 2, 77];
            wire.send_ipv4(&frames::ipv4(router, wire.guest_ip, frames::ICMP, &message))?;
            told += 1;
            continue;
        }
        if heard.segment.seq == link.ack && !heard.data.is_empty() {
            link.ack = link.ack.wrapping_add(heard.data.len() as u32);
            back.extend(heard.data);
        }
        link.send(flag::ACK, 0, 0, &[])?;
    }
    same_bytes(&back, &data)?;
    bench.note(format!(
        "{told} dropped, {} ms",
        start.elapsed().as_millis()
    ));
    ensure((1..100).contains(&told), || format!("{told} were too long"))?;
    let refused = counted(&statistics(&machine)?, "tx_bad_length")?;
    ensure(refused == 0, || format!("{refused} refused by the driver"))
}
