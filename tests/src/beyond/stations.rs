//! Many stations on one cable, each with an address of its own: all are served, and a flood of
//! ARP packets is no more to them than the time that it takes.

use crate::frames::{
    ARP, BROADCAST, IPV4, Ip, Mac, Packet, Segment, arp, ethernet, flag, parse, segment,
};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::{GUEST_IP, Wire};
use crate::{During, Failure, Outcome, ensure};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("a thousand stations ask for a page", thousand),
    Case::new("an ARP flood from 230 addresses", flood),
];

/// Stations that ask for a page.
const STATIONS: usize = 1000;
/// Pages that are asked for at the same time.
const AT_ONCE: usize = 8;
/// The time within which 99 of 100 pages must be there, in one of so many rounds: the machine
/// that the tests run on has other things to do.
const P99: Duration = Duration::from_millis(50);
const ROUNDS: usize = 4;
/// After so long a segment is sent again that was not answered.
const AGAIN: Duration = Duration::from_millis(300);

/// Senders of the flood, the packets that they send a second, and how many at a time.
const NOISY: usize = 230;
const FLOOD: usize = 20_000;
const BATCH: usize = 20;
/// How long page rates are measured.
const MEASURED: Duration = Duration::from_secs(3);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: wharf\r\nConnection: close\r\n\r\n";
const PAGE: &[u8] = b"A page of its own.\n";

/// The station and address of a neighbour.
fn neighbour(number: usize) -> (Mac, Ip) {
    let [.., a, b] = number.to_be_bytes();
    ([0x52, 0x54, 0x57, 0, a, b], [10, 0, 16 + a, b])
}

/// A station that fetches a page.
struct Fetch {
    number: usize,
    ports: (u16, u16),
    start: Instant,
    /// What it has sent last, and when.
    last: (Vec<u8>, Instant),
    /// The next sequence numbers: ours, and the guest's, once it has told.
    seq: u32,
    ack: Option<u32>,
    page: Vec<u8>,
}

/// What became of the pages of a round.
#[derive(Default)]
struct Round {
    times: Vec<Duration>,
    /// Frames that had to be sent twice.
    again: usize,
}

impl Round {
    /// The time within which 99 of 100 were served.
    fn p99(&mut self) -> Duration {
        self.times.sort();
        let last = self.times.len().saturating_sub(1);
        self.times[last * 99 / 100]
    }
}

/// The stations, at their end of the cable.
struct Crowd<'a> {
    wire: &'a Wire,
    fetches: Vec<Fetch>,
    /// The next port of ours; no station uses one twice.
    port: u16,
    round: Round,
}

impl<'a> Crowd<'a> {
    fn new(wire: &'a Wire) -> Self {
        Crowd {
            wire,
            fetches: Vec::new(),
            port: 20_000,
            round: Round::default(),
        }
    }

    /// Has a station begin; it looks for the guest first if it is `new`.
    fn begin(&mut self, number: usize, new: bool) -> Outcome {
        let (mac, ip) = neighbour(number);
        self.port = self.port.checked_add(1).unwrap_or(20_000);
        let mut fetch = Fetch {
            number,
            ports: (self.port, 80),
            start: Instant::now(),
            last: (Vec::new(), Instant::now()),
            seq: 7000,
            ack: None,
            page: Vec::new(),
        };
        match new {
            true => {
                let request = arp(1, (mac, ip), ([0; 6], GUEST_IP));
                let request = ethernet(BROADCAST, mac, ARP, &request);
                fetch.send_frame(self.wire, request)?;
            }
            false => fetch.send(self.wire, flag::SYN, &[])?,
        }
        self.fetches.push(fetch);
        Ok(())
    }

    /// Takes what comes next, or repeats what was not answered.
    fn step(&mut self) -> Outcome {
        let soon = Instant::now() + Duration::from_millis(20);
        if let Some(frame) = self.wire.receive(soon)?
            && let Some(packet) = parse(&frame)
        {
            self.take(&frame, packet)?;
        }
        for fetch in &mut self.fetches {
            if fetch.last.1.elapsed() > AGAIN {
                self.round.again += 1;
                let frame = fetch.last.0.clone();
                fetch.send_frame(self.wire, frame)?;
            }
            ensure(fetch.start.elapsed() < PATIENCE, || {
                format!("station {} got no page", fetch.number)
            })?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &[u8], packet: Packet) -> Outcome {
        match packet {
            // The guest has been found.
            Packet::Arp {
                operation: 2,
                sender: (_, GUEST_IP),
                ..
            } => {
                let is_for = |f: &&mut Fetch| frame.starts_with(&neighbour(f.number).0);
                if let Some(fetch) = self.fetches.iter_mut().find(is_for)
                    && fetch.last.0.starts_with(&BROADCAST)
                {
                    fetch.send(self.wire, flag::SYN, &[])?;
                }
                Ok(())
            }
            // It has forgotten one of the stations.
            Packet::Arp {
                operation: 1,
                sender,
                target,
            } => match self
                .fetches
                .iter()
                .map(|f| neighbour(f.number))
                .find(|n| n.1 == target)
            {
                Some(own) => {
                    let reply = arp(2, own, sender);
                    self.wire.send(&ethernet(sender.0, own.0, ARP, &reply))
                }
                None => Ok(()),
            },
            Packet::Segment { ips, segment, data } => {
                let is_for =
                    |f: &Fetch| (neighbour(f.number).1, f.ports.0) == (ips.1, segment.ports.1);
                let Some(index) = self.fetches.iter().position(is_for) else {
                    return Ok(());
                };
                let fetch = &mut self.fetches[index];
                let (mac, _) = neighbour(fetch.number);
                ensure(frame.starts_with(&mac), || {
                    format!("a segment for {:?} at another station: {frame:x?}", ips.1)
                })?;
                if fetch.hear(self.wire, segment, &data)? {
                    let fetch = self.fetches.swap_remove(index);
                    let page =
                        fetch.page.ends_with(PAGE) && fetch.page.starts_with(b"HTTP/1.1 200");
                    ensure(page, || format!("no page: {:?}", fetch.page))?;
                    self.round.times.push(fetch.start.elapsed());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Lets stations fetch a page, a few at a time, as long as there are `more`.
    fn run(&mut self, mut more: impl FnMut(usize) -> Option<(usize, bool)>) -> Outcome<Round> {
        let mut begun = 0;
        loop {
            while self.fetches.len() < AT_ONCE
                && let Some((number, new)) = more(begun)
            {
                self.begin(number, new)?;
                begun += 1;
            }
            if self.fetches.is_empty() {
                return Ok(std::mem::take(&mut self.round));
            }
            self.step()?;
        }
    }
}

impl Fetch {
    fn send_frame(&mut self, wire: &Wire, frame: Vec<u8>) -> Outcome {
        wire.send(&frame)?;
        self.last = (frame, Instant::now());
        Ok(())
    }

    fn send(&mut self, wire: &Wire, flags: u8, data: &[u8]) -> Outcome {
        let (mac, ip) = neighbour(self.number);
        let header = Segment {
            ports: self.ports,
            seq: self.seq,
            ack: self.ack.unwrap_or(0),
            flags,
        };
        let packet = segment((ip, GUEST_IP), header, data);
        self.send_frame(wire, ethernet(wire.guest_mac, mac, IPV4, &packet))
    }

    /// Takes a segment of the guest. Returns whether the page is there, to its end.
    fn hear(&mut self, wire: &Wire, heard: Segment, data: &[u8]) -> Outcome<bool> {
        ensure(heard.flags & flag::RST == 0, || {
            format!("station {} was reset", self.number)
        })?;
        let Some(ack) = self.ack else {
            if heard.flags & flag::SYN != 0 {
                self.seq += 1;
                self.ack = Some(heard.seq.wrapping_add(1));
                self.send(wire, flag::ACK | flag::PSH, REQUEST)?;
            }
            return Ok(false);
        };
        if heard.flags & flag::SYN != 0 || heard.seq != ack {
            return Ok(false);
        }
        self.page.extend(data);
        let is_end = heard.flags & flag::FIN != 0;
        self.ack = Some(ack.wrapping_add(data.len() as u32 + u32::from(is_end)));
        if is_end || !data.is_empty() {
            self.seq = heard.ack;
            let flags = flag::ACK | if is_end { flag::FIN } else { 0 };
            self.send(wire, flags, &[])?;
        }
        Ok(is_end)
    }
}

fn boot(bench: &Bench) -> Outcome<Machine> {
    let image = bench.image_serving(&[("index.html", PAGE)])?;
    let setup = Setup::on_wire("run=httpd ip=10.0.2.15/16").from_image(image);
    let mut machine = bench.boot(&setup)?;
    machine.wait_servers(false, true)?;
    machine.wire()?.resolve()?;
    Ok(machine)
}

fn thousand(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let mut crowd = Crowd::new(machine.wire()?);
    let mut notes = Vec::new();
    for number in 0..ROUNDS {
        let start = Instant::now();
        let mut round = crowd.run(|begun| (begun < STATIONS).then_some((begun, number == 0)))?;
        let (p99, rate) = (round.p99(), STATIONS as f64 / start.elapsed().as_secs_f64());
        notes.push(format!("p99 {p99:.1?} at {rate:.0}/s"));
        ensure(round.times.len() == STATIONS, || "not all".to_owned())?;
        if p99 < P99 {
            bench.note(notes.join(", "));
            return Ok(());
        }
    }
    Err(Failure(format!("too slow: {}", notes.join(", "))))
}

/// Sends the flood until it is told to end: requests, replies and announcements by turns.
fn shout(wire: &Wire, ends: &AtomicBool, sent: &AtomicUsize) -> Outcome {
    let start = Instant::now();
    let mut count = 0;
    while !ends.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            let (mac, ip) = neighbour(STATIONS + count % NOISY);
            let packet = match count % 3 {
                0 => arp(1, (mac, ip), ([0; 6], GUEST_IP)),
                1 => arp(2, (mac, ip), (wire.guest_mac, GUEST_IP)),
                _ => arp(1, (mac, ip), ([0; 6], ip)),
            };
            wire.send(&ethernet(BROADCAST, mac, ARP, &packet))?;
            count += 1;
        }
        sent.store(count, Ordering::Relaxed);
        let due = Duration::from_secs_f64(count as f64 / FLOOD as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(())
}

fn flood(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let measure = |crowd: &mut Crowd<'_>| {
        let start = Instant::now();
        let more = |begun| (start.elapsed() < MEASURED).then_some((begun % 40, begun < 40));
        let mut round = crowd.run(more)?;
        let rate = round.times.len() as f64 / start.elapsed().as_secs_f64();
        Outcome::Ok((rate, round.p99(), round.again))
    };
    let mut crowd = Crowd::new(wire);
    let (quiet, quiet_p99, _) = measure(&mut crowd).during("without the flood")?;
    let (ends, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let shouting = Instant::now();
    let (rate, p99, again) = std::thread::scope(|scope| {
        let noise = scope.spawn(|| shout(wire, &ends, &sent));
        let measured = measure(&mut crowd).during("in the flood");
        ends.store(true, Ordering::Relaxed);
        noise
            .join()
            .map_err(|_| Failure("the flood broke".to_owned()))??;
        measured
    })?;
    let packets = sent.load(Ordering::Relaxed) as f64 / shouting.elapsed().as_secs_f64();
    bench.note(format!(
        "{quiet:.0} pages/s (p99 {quiet_p99:.1?}); with {packets:.0} ARP/s {rate:.0} (p99 {p99:.1?})"
    ));
    ensure(rate >= quiet / 3.0, || {
        format!("{rate:.0} pages a second in the flood, {quiet:.0} without; {again} again")
    })
}
