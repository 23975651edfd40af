//! The network server dies, at any instruction, while it serves: who speaks to a connection of
//! the one that died is told so at once, and new connections are served as if nothing had been.

use crate::debugger::Programs;
use crate::frames::{Packet, Segment, flag};
use crate::machine::{LONG, Machine, Setup};
use crate::suite::{Bench, Case};
use crate::wire::Wire;
use crate::{During, Outcome, ensure};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[Case::new(
    "the network server dies under load: peers are reset, new ones served",
    |bench| {
        bench.note(in_words(&deaths(bench, 1, 4)?));
        Ok(())
    },
)];

/// Within this time of a death all is as it should be again, not counting when the machine that QEMU
/// runs on was busy with something else.
const WITHIN: Duration = Duration::from_millis(200);
/// A client that hears nothing repeats itself so often.
const AGAIN: Duration = Duration::from_millis(10);
/// The server runs for so long before it dies again: one that dies sooner is restarted later.
const LIFE: Duration = Duration::from_millis(1100);
/// Datagrams under way, so that the server has something to do when it is struck.
const LOAD: usize = 48;

/// The server is at work in one of so many looks.
const LOOKS_MAX: u32 = 500;

const ECHO: u16 = 7;
const WEB: u16 = 80;
const REQUEST: &[u8] = b"GET /big.bin HTTP/1.1\r\nHost: wharf\r\n\r\n";

/// A client of the server that dies: what it says again and again, until it is told.
struct Peer {
    what: &'static str,
    ports: (u16, u16),
    numbers: (u32, u32),
    data: &'static [u8],
    /// When the reset came, since the death.
    reset: Option<Duration>,
}

/// How long it took, after a death, until all was as it should be.
pub struct Recovery {
    /// All peers of the server that died were reset.
    reset: Duration,
    /// New connections were served.
    served: Duration,
    /// QEMU and the client could have run, but something else on their machine did.
    held_up: Duration,
}

/// What came after all these deaths.
pub fn in_words(all: &[Recovery]) -> String {
    let figures = |of: fn(&Recovery) -> Duration| {
        let mut times: Vec<u128> = all.iter().map(|one| of(one).as_millis()).collect();
        times.sort_unstable();
        let (median, most) = (times.get(times.len() / 2), times.last());
        format!(
            "{} ms, at most {}",
            median.unwrap_or(&0),
            most.unwrap_or(&0)
        )
    };
    format!(
        "{} deaths; all reset in {}, served in {}; held up {}",
        all.len(),
        figures(|one| one.reset),
        figures(|one| one.served),
        figures(|one| one.held_up)
    )
}

/// Kills the server at `count` moments, chosen by `seed`, each with clients in all states.
///
/// # Errors
/// What was not as it should be, and at which moment.
pub fn deaths(bench: &Bench, seed: u64, count: u16) -> Outcome<Vec<Recovery>> {
    let big = crate::pattern(seed, 4 << 20);
    let image = bench.image_serving(&[("index.html", b"home\n"), ("big.bin", &big)])?;
    let mut machine = bench.boot(&Setup {
        debugger: true,
        ..Setup::on_wire("").from_image(image)
    })?;
    machine.wait_servers(true, true)?;
    machine.wire()?.resolve()?;
    let programs = Programs::read(&bench.options.bin, "netd", &["init", "echosrv", "httpd"])?;
    let mut chance = seed;
    let moments = (0..count).map(|moment| {
        death(&mut machine, &programs, moment, &mut chance)
            .during(&format!("moment {moment} of seed {seed}"))
    });
    moments.collect()
}

/// One death, with clients in all states.
fn death(
    machine: &mut Machine,
    programs: &Programs,
    moment: u16,
    chance: &mut u64,
) -> Outcome<Recovery> {
    let begun = Instant::now();
    let base = 20_000 + moment * 32;
    let mut peers = peers(machine.wire()?, base)?;
    while begun.elapsed() < LIFE {
        load(machine.wire()?, base)?;
    }
    let struck = strike(machine, programs, base, chance)?;
    let held_up_before = machine.held_up()?;
    let wire = machine.wire()?;
    let mut fresh = [(base + 20, ECHO), (base + 21, WEB)].map(|ports| Fresh {
        ports,
        answered: None,
        served: None,
    });
    let mut next = struck;
    while struck.elapsed() < LONG {
        let now = Instant::now();
        if now >= next {
            for peer in peers.iter().filter(|peer| peer.reset.is_none()) {
                wire.send_segment(peer.ports, peer.numbers, flag::ACK | flag::PSH, peer.data)?;
            }
            for client in &fresh {
                client.ask(wire)?;
            }
            next = now + AGAIN;
        }
        let heard = wire.receive_where(next, |packet| match packet {
            Packet::Segment { segment, data, .. } => Some((segment, data)),
            _ => None,
        })?;
        if let Some((segment, data)) = heard {
            let since = struck.elapsed();
            for peer in &mut peers {
                peer.hear(&segment, since);
            }
            for client in &mut fresh {
                client.hear(wire, &segment, &data, since)?;
            }
        }
        let done = peers.iter().all(|peer| peer.reset.is_some())
            && fresh.iter().all(|client| client.served.is_some());
        if done {
            break;
        }
    }
    let held_up = machine.held_up()?.saturating_sub(held_up_before);
    let in_time = |what: &str, took: Option<Duration>| {
        let took = took.ok_or_else(|| format!("{what}: never"))?;
        ensure(took <= WITHIN + held_up, || {
            format!("{what}: after {took:?}, of which the machine held it up for {held_up:?}")
        })?;
        Outcome::Ok(took)
    };
    let mut all = Recovery {
        reset: Duration::ZERO,
        served: Duration::ZERO,
        held_up,
    };
    for client in &fresh {
        let what = format!("a new connection to port {} was served", client.ports.1);
        all.served = all.served.max(in_time(&what, client.served)?);
    }
    for peer in &peers {
        let what = format!("{} was reset", peer.what);
        all.reset = all.reset.max(in_time(&what, peer.reset)?);
    }
    Ok(all)
}

/// Clients in all states: idle, in the midst of an upload and a download, half open.
fn peers(wire: &Wire, base: u16) -> Outcome<Vec<Peer>> {
    let mut peers = Vec::new();
    for (number, (what, port, sent, again)) in [
        ("idle", ECHO, &b""[..], &b"x"[..]),
        ("keep-alive", WEB, b"", b""),
        ("upload", ECHO, &[7; 1000], &[7; 1000]),
        ("download", WEB, REQUEST, b""),
        ("half open", WEB, b"", b""),
    ]
    .into_iter()
    .enumerate()
    {
        let ports = (base + number as u16, port);
        let mut numbers = wire.begin(ports)?;
        if what != "half open" {
            wire.send_segment(ports, numbers, flag::ACK | flag::PSH, sent)?;
        }
        if what == "download" {
            numbers.0 += sent.len() as u32;
        }
        peers.push(Peer {
            what,
            ports,
            numbers,
            data: again,
            reset: None,
        });
    }
    Ok(peers)
}

/// Keeps the server busy: datagrams to be echoed.
fn load(wire: &Wire, base: u16) -> Outcome {
    for _ in 0..LOAD {
        wire.send_datagram((base + 30, ECHO), &[1; 64])?;
    }
    let end = Instant::now() + Duration::from_millis(3);
    while wire.receive(end)?.is_some() {}
    Ok(())
}

/// Kills the server while it works; returns when. The ports up to 30 above `base` are used for that.
///
/// # Errors
/// If it is never found at work.
pub(super) fn strike(
    machine: &mut Machine,
    programs: &Programs,
    base: u16,
    chance: &mut u64,
) -> Outcome<Instant> {
    let begun = Instant::now();
    let mut looks = 0;
    while begun.elapsed() < LONG && looks < LOOKS_MAX {
        looks += 1;
        let wire = machine.wire()?;
        for _ in 0..LOAD {
            wire.send_datagram((base + 30, ECHO), &[1; 64])?;
        }
        *chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_micros(*chance >> 33 & 2047));
        if machine.debugger()?.strike(programs)? {
            return Ok(Instant::now());
        }
        machine.wire()?.drain()?;
    }
    let took = begun.elapsed();
    Err(format!("the server was not at work in any of {looks} looks within {took:?}").into())
}

impl Peer {
    fn hear(&mut self, segment: &Segment, since: Duration) {
        let is_ours = segment.ports == (self.ports.1, self.ports.0);
        // RFC 9293 §3.10.7.1: the number that was acknowledged.
        if is_ours && segment.flags & flag::RST != 0 && segment.seq == self.numbers.1 {
            self.reset.get_or_insert(since);
        }
    }
}

/// A client that comes after the death.
struct Fresh {
    ports: (u16, u16),
    /// The numbers of its connection, when its SYN is acknowledged.
    answered: Option<(u32, u32)>,
    served: Option<Duration>,
}

impl Fresh {
    fn words(&self) -> &'static [u8] {
        match self.ports.1 {
            ECHO => b"words",
            _ => b"GET / HTTP/1.1\r\nHost: wharf\r\n\r\n",
        }
    }

    fn ask(&self, wire: &Wire) -> Outcome {
        match self.answered {
            _ if self.served.is_some() => Ok(()),
            None => wire.send_segment(self.ports, (u32::from(self.ports.0), 0), flag::SYN, &[]),
            Some(numbers) => {
                wire.send_segment(self.ports, numbers, flag::ACK | flag::PSH, self.words())
            }
        }
    }

    fn hear(&mut self, wire: &Wire, segment: &Segment, data: &[u8], since: Duration) -> Outcome {
        if segment.ports != (self.ports.1, self.ports.0) {
            return Ok(());
        }
        ensure(segment.flags & flag::RST == 0, || {
            format!("a new connection to port {} was refused", self.ports.1)
        })?;
        if segment.flags & flag::SYN != 0 && self.answered.is_none() {
            self.answered = Some((segment.ack, segment.seq.wrapping_add(1)));
            self.ask(wire)?;
        } else if !data.is_empty() && self.served.is_none() {
            self.served = Some(since);
            let (seq, ack) = self.answered.unwrap_or_default();
            let seq = seq.wrapping_add(self.words().len() as u32);
            let ack = ack.wrapping_add(data.len() as u32);
            wire.send_segment(self.ports, (seq, ack), flag::ACK | flag::RST, &[])?;
        }
        Ok(())
    }
}
