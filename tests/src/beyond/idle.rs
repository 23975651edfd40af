//! Connections that do nothing, or take nothing, for as long as their peers answer: they cost
//! others neither service nor memory.

use crate::connection::Connection;
use crate::frames::{Packet, Segment, TCP, checksum, flag, segment};
use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::Wire;
use crate::{During, Outcome, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new(
        "1,500 idle connections with 16 MiB, others served",
        |bench| idle(bench, 16, 1500),
    ),
    Case::new(
        "10,000 idle connections with 64 MiB, others served",
        |bench| idle(bench, 64, 10_000),
    ),
    Case::new(
        "400 peers that take nothing with 16 MiB, others served",
        |bench| stalled(bench, 16, 400),
    ),
];

const ECHO: u16 = 7;
const WEB: u16 = 80;
/// The first port of the crowd; those who are to be served come from below.
const FIRST: u16 = 2000;
/// SYNs under way: fewer than the listener's backlog.
const UNDER_WAY: usize = 64;
/// How long before a SYN is repeated.
const AGAIN: Duration = Duration::from_millis(300);
/// Within this time a page comes.
const SERVED: Duration = Duration::from_secs(1);

/// Opens so many connections to the echo server, which then do nothing; each of them still works,
/// and so does everything else.
///
/// # Errors
/// What does not.
pub fn idle(bench: &Bench, memory_mib: u32, count: u16) -> Outcome {
    let mut machine = boot(bench, memory_mib)?;
    let start = Instant::now();
    let wire = machine.wire()?;
    let all = open(wire, FIRST..FIRST + count)?;
    let opened = start.elapsed();
    let page = serve(wire, 1000)?;
    // Some of them speak: each has waited for another time.
    for (&port, &(seq, ack)) in all.iter().step_by(usize::from(count) / 50) {
        let words = port.to_be_bytes();
        wire.send_segment((port, ECHO), (seq, ack), flag::ACK | flag::PSH, &words)?;
        let back = wire.receive_where(Instant::now() + PATIENCE, |packet| match packet {
            Packet::Segment { segment, data, .. }
                if segment.ports == (ECHO, port) && !data.is_empty() =>
            {
                Some((segment.seq, data))
            }
            _ => None,
        })?;
        ensure(back == Some((ack, words.to_vec())), || {
            format!("the connection of port {port} says {back:?}")
        })?;
        let numbers = (seq.wrapping_add(2), ack.wrapping_add(2));
        wire.send_segment((port, ECHO), numbers, flag::ACK, &[])?;
    }
    serve(wire, 1001)?;
    let status = status(wire, 1010)?;
    let figure = |name: &str| figure(&status, name);
    let (dormant, connections) = (figure("dormant")?, figure("connections")?);
    bench.note(format!(
        "opened in {} ms, {dormant} of {connections} without buffers; a page in {} ms",
        opened.as_millis(),
        page.as_millis()
    ));
    ensure(connections >= u64::from(count), || {
        format!("only {connections} connections are left")
    })?;
    let gave_way = figure("tcp_gave_way")?;
    ensure(gave_way == 0, || {
        format!("{gave_way} connections were reset")
    })
}

/// Peers that ask the echo server, and take nothing of what comes back.
fn stalled(bench: &Bench, memory_mib: u32, count: u16) -> Outcome {
    let mut machine = boot(bench, memory_mib)?;
    let wire = machine.wire()?;
    for first in (FIRST..FIRST + count).step_by(UNDER_WAY) {
        let end = (FIRST + count).min(first + UNDER_WAY as u16);
        for (port, numbers) in open_some(wire, first..end, false)? {
            put(wire, (port, ECHO), numbers, 0, &[7; 500])?;
        }
        serve_web(wire, 200 + first / 64).during("beside some of them")?;
    }
    let mut slowest = Duration::ZERO;
    for port in 1000..1010 {
        slowest = slowest.max(serve(wire, port)?);
    }
    let status = status(wire, 1020)?;
    bench.note(format!(
        "{} gave way; a page in {} ms",
        figure(&status, "tcp_gave_way")?,
        slowest.as_millis()
    ));
    Ok(())
}

fn boot(bench: &Bench, memory_mib: u32) -> Outcome<Machine> {
    let mut machine = bench.boot(&Setup {
        memory_mib,
        ..Setup::on_wire("")
    })?;
    machine.wait_servers(true, true)?;
    machine.wire()?.resolve()?;
    Ok(machine)
}

/// Opens connections from all these ports; returns the numbers that follow.
fn open(wire: &Wire, ports: std::ops::Range<u16>) -> Outcome<BTreeMap<u16, (u32, u32)>> {
    open_some(wire, ports, true)
}

/// The same; if not all have to come, those that did within some time.
fn open_some(
    wire: &Wire,
    ports: std::ops::Range<u16>,
    all: bool,
) -> Outcome<BTreeMap<u16, (u32, u32)>> {
    let count = ports.len();
    let mut waiting = ports.into_iter();
    let mut asked: BTreeMap<u16, Instant> = BTreeMap::new();
    let mut opened = BTreeMap::new();
    let mut reset = BTreeSet::new();
    let end = Instant::now() + if all { LONG } else { 4 * AGAIN };
    while opened.len() < count && Instant::now() < end {
        let now = Instant::now();
        while asked.len() < UNDER_WAY
            && let Some(port) = waiting.next()
        {
            asked.insert(port, now - AGAIN);
        }
        for (&port, at) in asked.iter_mut().filter(|(_, at)| now - **at >= AGAIN) {
            wire.send_segment((port, ECHO), (u32::from(port), 0), flag::SYN, &[])?;
            *at = now;
        }
        let soon = now + Duration::from_millis(20);
        while asked.len() > UNDER_WAY / 2 || waiting.is_empty() {
            let heard = wire.receive_where(soon, |packet| match packet {
                Packet::Segment { segment, .. } if segment.ports.0 == ECHO => Some(segment),
                _ => None,
            })?;
            let Some(Segment {
                ports,
                seq,
                ack,
                flags,
            }) = heard
            else {
                break;
            };
            if flags & flag::RST != 0 {
                reset.insert(ports.1);
            } else if flags & flag::SYN != 0 && asked.remove(&ports.1).is_some() {
                let numbers = (ack, seq.wrapping_add(1));
                wire.send_segment((ports.1, ECHO), numbers, flag::ACK, &[])?;
                opened.insert(ports.1, numbers);
            }
        }
    }
    // An acknowledgement may be lost where so many come at once: a second one completes what is
    // half open.
    let numbers: Vec<_> = opened.iter().collect();
    for some in numbers.chunks(64) {
        for &(&port, &numbers) in some {
            wire.send_segment((port, ECHO), numbers, flag::ACK, &[])?;
        }
        let soon = Instant::now() + Duration::from_millis(2);
        while wire.receive(soon)?.is_some() {}
    }
    ensure(!all || opened.len() == count, || {
        format!("only {} of {count} were answered", opened.len())
    })?;
    ensure(!all || reset.is_empty(), || {
        format!("{} were reset", reset.len())
    })?;
    Ok(opened)
}

/// Sends a segment that offers this window.
///
/// # Errors
/// The function fails if the frame cannot be put on the wire.
pub(super) fn put(
    wire: &Wire,
    ports: (u16, u16),
    (seq, ack): (u32, u32),
    window: u16,
    data: &[u8],
) -> Outcome {
    let ips = (wire.ip, wire.guest_ip);
    let flags = flag::ACK | flag::PSH;
    let mut packet = segment(
        ips,
        Segment {
            ports,
            seq,
            ack,
            flags,
        },
        data,
    );
    packet[34..36].copy_from_slice(&window.to_be_bytes());
    packet[36..38].fill(0);
    let len = (packet.len() as u16 - 20).to_be_bytes();
    let sum = checksum(&[&ips.0, &ips.1, &[0, TCP], &len, &packet[20..]]);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    wire.send_ipv4(&packet)
}

/// Both servers serve a client that comes now; returns how long the page took.
fn serve(wire: &Wire, port: u16) -> Outcome<Duration> {
    let mut echo = Connection::open(wire, (port, ECHO)).during("echo server")?;
    echo.echo(wire, &crate::pattern(1, 3000))?;
    echo.close(wire)?;
    serve_web(wire, port + 400)
}

fn serve_web(wire: &Wire, port: u16) -> Outcome<Duration> {
    let start = Instant::now();
    let text = get(wire, port, "/")?;
    let took = start.elapsed();
    ensure(text.starts_with(b"HTTP/1.1 200"), || "no page".to_owned())?;
    ensure(took < SERVED, || {
        format!("a page took {} ms", took.as_millis())
    })?;
    Ok(took)
}

/// The whole answer to a request.
fn get(wire: &Wire, port: u16, path: &str) -> Outcome<Vec<u8>> {
    let mut web = Connection::open(wire, (port, WEB)).during("web server")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: wharf\r\nConnection: close\r\n\r\n");
    web.send(wire, request.as_bytes())?;
    let head = web.receive_through(wire, b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
    let body = web.receive(wire, length.ok_or("no length")?)?;
    web.close(wire)?;
    Ok([head, body].concat())
}

pub fn status(wire: &Wire, port: u16) -> Outcome<String> {
    Ok(String::from_utf8_lossy(&get(wire, port, "/status.json")?).into_owned())
}

/// A number of the status page.
pub fn figure(status: &str, name: &str) -> Outcome<u64> {
    let rest = status.split(&format!("\"{name}\":")).nth(1);
    let digits = rest.map(|rest| {
        let rest = rest.trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].to_owned()
    });
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| format!("no {name} in {status}").into())
}
