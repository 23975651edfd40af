//! Floods of SYNs, and the numbers of connections. The rules are tested one by one on the host
//! (`net/src/tests/flood.rs`); here they hold with both cards, in real time.

use super::idle::{figure, status};
use crate::frames::{IPV4, Packet, Segment, ethernet, flag, segment};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::{OUR_MAC, Wire};
use crate::{Outcome, ensure};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("a client in a flood of SYNs", client_in_flood),
    Case::new("sequence numbers differ from boot to boot", numbers_differ),
];

/// SYNs in a second, and the hosts that they pretend to come from.
const RATE: u32 = 20_000;
const SOURCES: u32 = 100_000;
/// How long the client asks without the flood, and in it.
const TIME: Duration = Duration::from_secs(5);
/// How long it reads between two pages.
const PAUSE: Duration = Duration::from_millis(10);
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

fn boot(bench: &Bench) -> Outcome<Machine> {
    let mut machine = bench.boot(&Setup::on_wire("run=httpd"))?;
    machine.wait_servers(false, true)?;
    machine.wire()?.resolve()?;
    Ok(machine)
}

/// Rounds that may show too few pages, where this machine has other things to do: the flood takes
/// its time, too.
const ROUNDS: u16 = 3;

/// In the flood, the client gets half of the pages at the least that it gets without, each of them
/// to its end, and none of its connections is reset.
fn client_in_flood(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = &*machine.wire()?;
    let syns: Vec<Vec<u8>> = (0..SOURCES).map(|n| stranger(wire, n)).collect();
    let (mut alone, mut flooded, mut sent, mut in_all) = (0, 0, 0, 0);
    for round in 0..ROUNDS {
        alone = pages(wire, 2000 + round * 3000)?;
        let stop = AtomicBool::new(false);
        (flooded, sent) = thread::scope(|scope| {
            let flood = scope.spawn(|| flood(wire, &syns, &stop));
            let flooded = pages(wire, 20_000 + round * 3000);
            stop.store(true, Ordering::Relaxed);
            let sent = flood.join().map_err(|_| "the flood has panicked")?;
            Ok::<_, crate::Failure>((flooded?, sent?))
        })?;
        wire.drain()?;
        in_all += flooded;
        if 2 * flooded >= alone {
            break;
        }
    }
    let status = status(wire, 1000)?;
    let figure = |name| figure(&status, name);
    let (sent_back, accepted) = (figure("tcp_cookies_sent")?, figure("tcp_cookies_accepted")?);
    let half_open = figure("half_open")?;
    let figures = format!(
        "{alone} pages in {TIME:?}, {flooded} in a flood of {sent} SYNs; {half_open} half open, \
         {sent_back} cookies, {accepted} came back"
    );
    bench.note(figures.clone());
    ensure(2 * flooded >= alone, || figures.clone())?;
    // The backlog is full at once. After that the client comes in by its cookies alone.
    let by_cookies =
        half_open <= 128 && sent_back > 10_000 && accepted + u64::from(ROUNDS) >= in_all;
    ensure(by_cookies, || figures.clone())?;
    let wanted = u64::from(RATE) * TIME.as_secs();
    ensure(2 * sent >= wanted, || {
        format!("too slow a flood: {figures}")
    })
}

/// The SYN of a host behind the router.
fn stranger(wire: &Wire, n: u32) -> Vec<u8> {
    let [_, b, c, d] = n.to_be_bytes();
    let ips = ([172, 16 + b, c, d], wire.guest_ip);
    let header = Segment {
        ports: (1024 + (n % 50_000) as u16, 80),
        seq: n.wrapping_mul(0x9e37_79b9),
        ack: 0,
        flags: flag::SYN,
    };
    let packet = segment(ips, header, &[]);
    ethernet(wire.guest_mac, OUR_MAC, IPV4, &packet)
}

/// Sends these at their rate until it is to stop; returns how many.
fn flood(wire: &Wire, syns: &[Vec<u8>], stop: &AtomicBool) -> Outcome<u64> {
    let start = Instant::now();
    let mut sent = 0;
    for syn in syns.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        while start.elapsed().as_secs_f64() * f64::from(RATE) < sent as f64 {
            thread::sleep(Duration::from_micros(500));
        }
        wire.send(syn)?;
        sent += 1;
    }
    Ok(sent)
}

/// Asks for pages, one after the other; returns how many there were.
fn pages(wire: &Wire, first_port: u16) -> Outcome<u64> {
    let end = Instant::now() + TIME;
    let mut count = 0;
    while Instant::now() < end {
        page(wire, first_port + count as u16)?;
        count += 1;
        wire.receive_where(Instant::now() + PAUSE, |_| None::<()>)?;
    }
    Ok(count)
}

/// Asks for a page on a connection of its own, which the server ends.
fn page(wire: &Wire, port: u16) -> Outcome {
    const AGAIN: Duration = Duration::from_millis(300);
    let ports = (port, 80);
    let (seq, mut ack) = wire.begin(ports)?;
    let end = Instant::now() + PATIENCE;
    let after = seq + REQUEST.len() as u32;
    let mut got = 0;
    wire.send_segment(ports, (seq, ack), flag::ACK | flag::PSH, REQUEST)?;
    while Instant::now() < end {
        let heard = wire.receive_where(Instant::now() + AGAIN, |packet| match packet {
            Packet::Segment { ips, segment, data }
                if ips.1 == wire.ip && segment.ports == (80, port) =>
            {
                Some((segment, data))
            }
            _ => None,
        })?;
        let Some((segment, data)) = heard else {
            match got {
                0 => wire.send_segment(ports, (seq, ack), flag::ACK | flag::PSH, REQUEST)?,
                _ => wire.send_segment(ports, (after, ack), flag::ACK, &[])?,
            }
            continue;
        };
        ensure(segment.flags & flag::RST == 0, || {
            format!("a RST after {got} bytes")
        })?;
        if segment.seq != ack || segment.flags & flag::SYN != 0 {
            continue;
        }
        got += data.len();
        ack = ack.wrapping_add(data.len() as u32);
        if segment.flags & flag::FIN != 0 {
            ensure(got > 100, || format!("a page of {got} bytes"))?;
            return wire.send_segment(
                ports,
                (after, ack.wrapping_add(1)),
                flag::FIN | flag::ACK,
                &[],
            );
        }
        if !data.is_empty() {
            wire.send_segment(ports, (after, ack), flag::ACK, &[])?;
        }
    }
    Err(format!("a page of {got} bytes has no end after {PATIENCE:?}").into())
}

/// Were the secret the same, the numbers for the same ends would differ by the clock alone.
fn numbers_differ(bench: &Bench) -> Outcome {
    let numbers = || {
        let mut machine = boot(bench)?;
        let wire = machine.wire()?;
        Ok::<_, crate::Failure>([wire.begin((5000, 80))?.1, wire.begin((5001, 80))?.1])
    };
    let (one, other) = (numbers()?, numbers()?);
    // Twenty seconds of 4 us.
    let by_clock = |one: u32, other: u32| (one.wrapping_sub(other) as i32).abs() < 5_000_000;
    let alike = one
        .iter()
        .zip(&other)
        .all(|(&one, &other)| by_clock(one, other));
    ensure(!alike, || format!("{one:?}, then {other:?}"))
}
