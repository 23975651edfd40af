//! What the card and the stack make of frames that no socket of this machine could send.

use crate::frames::{self, ARP, BROADCAST, IPV4, Mac, Packet, TCP, UDP, flag};
use crate::hexdump;
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::{OUR_MAC, Wire};
use crate::{During, Outcome, ensure, pattern};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("arp, icmp echo of 0 to 1472 bytes", icmp),
    Case::new("address and gateway as given, mac as the card", addresses),
    Case::new("2000 damaged frames", damaged),
    Case::new("burst larger than the receive ring", |bench| {
        overrun(bench, 1500, 1)
    }),
    Case::new("burst of 600 datagrams to the servers", served_burst),
    Case::new("300 half-open connections", half_open),
    Case::new("32 clients that fall silent", silent),
];

/// Boots both servers on raw frames and finds the guest.
fn boot(bench: &Bench, setup: &Setup) -> Outcome<(Machine, Mac)> {
    let mut machine = bench.boot(setup)?;
    machine.wait_servers(true, true)?;
    let mac = machine.wire()?.resolve()?;
    Ok((machine, mac))
}

fn icmp(bench: &Bench) -> Outcome {
    let (mut machine, mac) = boot(bench, &Setup::on_wire(""))?;
    ensure(mac == [0x52, 0x54, 0, 0x12, 0x34, 0x56], || {
        format!("its address is {mac:02x?}")
    })?;
    let wire = machine.wire()?;
    for (sequence, len) in [0, 1, 17, 18, 56, 1000, 1471, 1472].into_iter().enumerate() {
        wire.ping(sequence as u16, &pattern(len as u64, len))?;
    }
    let mut times = (0..100)
        .map(|sequence| wire.ping(100 + sequence, &[7; 56]))
        .collect::<Outcome<Vec<Duration>>>()?;
    times.sort();
    bench.note(format!("median {} us", times[50].as_micros()));
    Ok(())
}

fn addresses(bench: &Bench) -> Outcome {
    let mut setup = Setup::on_wire("ip=192.168.7.9/24 gw=192.168.7.1");
    setup.card_properties = ",mac=52:54:00:ab:cd:ef".to_owned();
    let mut machine = bench.boot(&setup)?;
    machine.wait_servers(true, true)?;
    let wire = machine.wire()?;
    wire.ip = [192, 168, 7, 1];
    wire.guest_ip = [192, 168, 7, 9];
    let mac = wire.resolve()?;
    ensure(mac == [0x52, 0x54, 0, 0xab, 0xcd, 0xef], || {
        format!("its address is {mac:02x?}")
    })?;
    wire.ping(1, b"neighbour")?;
    // From another network: the answer has to go to the gateway, which we are.
    let gateway = wire.ip;
    wire.ip = [198, 51, 100, 7];
    let request = frames::echo_request((wire.ip, wire.guest_ip), (1, 2), b"far away");
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        wire.ip = [198, 51, 100, 7];
        wire.send_ipv4(&request)?;
        wire.ip = gateway; // whose ARP requests are answered
        let answered =
            wire.receive_where(Instant::now() + Duration::from_millis(200), |packet| {
                matches!(
                    packet,
                    Packet::Echo {
                        kind: 0,
                        number: (1, 2),
                        ..
                    }
                )
                .then_some(())
            })?;
        if answered.is_some() {
            return Ok(());
        }
    }
    Err("no answer through the gateway".into())
}

fn damaged(bench: &Bench) -> Outcome {
    let (mut machine, mac) = boot(bench, &Setup::on_wire(""))?;
    let wire = machine.wire()?;
    let seeds = well_formed(wire, mac);
    for number in 0..2000 {
        let frame = &seeds[number % seeds.len()];
        wire.send(&damage(frame, number as u64))?;
        // What it answers is not looked at, but taken, as from a cable.
        wire.drain()?;
    }
    wire.resolve().during("after the damaged frames")?;
    wire.ping(1, &pattern(1, 1000))?;
    echo_datagram(wire, b"still there")
}

/// One good frame of each kind the guest takes.
fn well_formed(wire: &Wire, mac: Mac) -> Vec<Vec<u8>> {
    let ips = (wire.ip, wire.guest_ip);
    let header = frames::Segment {
        ports: (50000, 80),
        seq: 1,
        ack: 0,
        flags: flag::SYN,
    };
    let packets = [
        frames::echo_request(ips, (9, 9), &pattern(3, 200)),
        frames::datagram(ips, (50000, 7), &pattern(4, 300)),
        frames::segment(ips, header, b""),
        frames::segment(
            ips,
            frames::Segment {
                flags: flag::ACK | flag::PSH,
                ..header
            },
            &pattern(5, 500),
        ),
        frames::ipv4(ips.0, ips.1, UDP, b"no datagram"),
        frames::ipv4(ips.0, ips.1, TCP, b"no segment"),
    ];
    let mut all: Vec<Vec<u8>> = packets
        .iter()
        .map(|packet| frames::ethernet(mac, OUR_MAC, IPV4, packet))
        .collect();
    let request = frames::arp(1, (OUR_MAC, ips.0), ([0; 6], ips.1));
    all.push(frames::ethernet(BROADCAST, OUR_MAC, ARP, &request));
    all
}

/// The frame, cut, lengthened, or with some bytes changed behind its addresses; always
/// the same for the same seed.
fn damage(frame: &[u8], seed: u64) -> Vec<u8> {
    let dice: Vec<usize> = pattern(seed, 64)
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| usize::from(u16::from_le_bytes(*pair)))
        .collect();
    let mut frame = frame.to_vec();
    match dice[0] % 3 {
        0 => frame.truncate(1 + dice[1] % frame.len()),
        1 => frame.resize(frame.len() + dice[1] % (1515 - frame.len()), 0xff),
        _ => {}
    }
    // Headers are where damage tells.
    let headers = frame.len().saturating_sub(12).min(50);
    for change in dice[3..3 + dice[2] % 6].iter().filter(|_| headers > 0) {
        frame[12 + change % headers] = (change >> 8) as u8;
    }
    frame
}

/// Sends a datagram to the echo server until it comes back.
fn echo_datagram(wire: &Wire, words: &[u8]) -> Outcome {
    echo_datagram_from(wire, 50001, words)
}

/// The same, from `port` of ours.
///
/// # Errors
/// If it does not come back.
pub fn echo_datagram_from(wire: &Wire, port: u16, words: &[u8]) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        wire.send_datagram((port, 7), words)?;
        let back = wire.receive_where(Instant::now() + Duration::from_millis(200), |packet| {
            matches!(packet, Packet::Datagram { ports, data, .. } if ports == (7, port) && data == words)
                .then_some(())
        })?;
        if back.is_some() {
            return Ok(());
        }
    }
    Err("no echo of a datagram".into())
}

/// `testinput` prints a frame far more slowly than frames come, so the ring runs full.
/// What it had room for must arrive whole and in order; then reception must go on.
///
/// The `burst` datagrams come from `ports` ports, so that a card with several queues puts
/// them into several rings, between which there is no order.
///
/// # Errors
/// If too little comes, something that was not sent, or nothing after the burst.
pub fn overrun(bench: &Bench, burst: usize, ports: usize) -> Outcome {
    let mut machine = bench.boot(&Setup::on_wire("run=testinput"))?;
    machine
        .console
        .wait_prefix("Waiting for packets", PATIENCE)?;
    let wire = machine.wire()?;
    let sender = wire.receive_where(Instant::now() + PATIENCE, |packet| match packet {
        Packet::Arp { sender, .. } => Some(sender.0),
        _ => None,
    })?;
    wire.guest_mac = sender.ok_or("no ARP request")?;
    for number in 0..burst {
        let port = 50000 + (number % ports) as u16;
        wire.send_datagram((port, 7), format!("Burst {number:04}").as_bytes())?;
    }
    let end = Instant::now() + PATIENCE;
    let mut before = 0;
    let received = loop {
        machine.wire()?.send_datagram((9, 7), b"After")?;
        // Not a time to wait for something, but between two tries.
        std::thread::sleep(Duration::from_millis(50));
        let frames = dumped(&machine)?;
        let is_after = |(kind, _): &&(String, usize)| kind == "After";
        let after = frames.iter().filter(is_after).count();
        // Rings have turns: what came after the burst may be read before all of that was.
        let burst = frames.len() - after;
        if after > 0 && burst == before {
            break frames;
        }
        before = burst;
        ensure(Instant::now() < end, || {
            format!("{} frames came, none after the burst", frames.len())
        })?;
    };
    let numbers: Vec<usize> = received
        .iter()
        .filter(|(kind, _)| kind == "Burst")
        .map(|(_, number)| *number)
        .collect();
    bench.note(format!("{} of {burst} received", numbers.len()));
    for port in 0..ports {
        let flow = numbers.iter().filter(|number| **number % ports == port);
        ensure(flow.is_sorted_by(|a, b| a < b), || {
            "frames came twice or out of order".to_owned()
        })?;
    }
    // A ring holds at least 128 frames, less the up to 16 that a driver collects before it
    // gives them back to the card at once; one may be the ARP reply.
    let least = (128 - 16) * ports.min(16) - 1;
    ensure((least..burst).contains(&numbers.len()), || {
        format!("{} of {burst} frames received", numbers.len())
    })
}

/// The datagrams that `testinput` has printed: their word and number. Each must be one
/// that was sent.
fn dumped(machine: &Machine) -> Outcome<Vec<(String, usize)>> {
    let lines = machine.console.lines();
    let mut frames = hexdump::frames(lines.iter().map(String::as_str))?;
    frames.pop(); // which may not be printed to its end
    frames
        .iter()
        .filter(|frame| frame.get(12..14) == Some(&IPV4.to_be_bytes()))
        .map(|frame| match frames::parse(frame) {
            Some(Packet::Datagram { data, .. }) => {
                let text = String::from_utf8_lossy(&data).into_owned();
                let (kind, number) = text.split_once(' ').unwrap_or((&text, "0"));
                Ok((kind.to_owned(), number.parse().unwrap_or(usize::MAX)))
            }
            _ => Err(format!("a damaged frame was received: {frame:02x?}").into()),
        })
        .collect()
}

fn served_burst(bench: &Bench) -> Outcome {
    const BURST: u32 = 600;
    let (mut machine, _) = boot(bench, &Setup::on_wire(""))?;
    let wire = machine.wire()?;
    for number in 0..BURST {
        wire.send_datagram((50001, 7), &number.to_be_bytes())?;
    }
    // Its own answers, and whatever was lost, must not keep it from going on.
    let mut echoed = Vec::new();
    while let Some(data) = wire.receive_where(
        Instant::now() + Duration::from_millis(300),
        |packet| match packet {
            Packet::Datagram { data, .. } => Some(data),
            _ => None,
        },
    )? {
        echoed.push(data);
    }
    bench.note(format!("{} of {BURST} echoed", echoed.len()));
    ensure(
        !echoed.is_empty() && echoed.is_sorted_by(|a, b| a < b),
        || format!("{} echoes, or not in order", echoed.len()),
    )?;
    wire.ping(1, &[1; 56]).during("after the burst")?;
    echo_datagram(wire, b"after the burst")
}

fn half_open(bench: &Bench) -> Outcome {
    let (mut machine, _) = boot(bench, &Setup::on_wire(""))?;
    let wire = machine.wire()?;
    for number in 0..300 {
        let guest_port = if number % 2 == 0 { 7 } else { 80 };
        wire.send_segment((20000 + number, guest_port), (1, 0), flag::SYN, b"")?;
        wire.drain()?;
    }
    wire.ping(1, &[1; 56]).during("after the half-open ones")?;
    let start = Instant::now();
    fetch_home(wire, 30000).during("after the half-open ones")?;
    let waited = start.elapsed();
    bench.note(format!("next served after {} ms", waited.as_millis()));
    // They may hold their places for 3 s, after which a new client takes one.
    ensure(waited < Duration::from_secs(10), || {
        format!("it waited {} ms", waited.as_millis())
    })
}

fn silent(bench: &Bench) -> Outcome {
    let (mut machine, _) = boot(bench, &Setup::on_wire(""))?;
    let wire = machine.wire()?;
    for number in 0..16 {
        let ports = (20000 + number, 80);
        let next = wire.open(ports)?;
        let flags = flag::ACK | flag::PSH;
        // Half of them ask, and then acknowledge nothing of the answer.
        let request: &[u8] = match number % 2 {
            0 => b"GET / HTTP/1.1\r\nHost: wharf\r\n\r\n",
            _ => b"GET / HT",
        };
        wire.send_segment(ports, next, flags, request)?;
        let ports = (20100 + number, 7);
        let next = wire.open(ports)?;
        wire.send_segment(ports, next, flags, &pattern(u64::from(number), 1400))?;
    }
    fetch_home(wire, 30000).during("beside the silent ones")?;
    wire.ping(1, &[1; 56])?;
    echo_datagram(wire, b"beside the silent ones")
}

/// Opens a connection by hand and gets the home page's first segment.
fn fetch_home(wire: &Wire, port: u16) -> Outcome {
    let ports = (port, 80);
    let next = wire.open(ports)?;
    let request = b"GET / HTTP/1.1\r\nHost: wharf\r\n\r\n";
    wire.send_segment(ports, next, flag::ACK | flag::PSH, request)?;
    let answer = wire.receive_where(Instant::now() + PATIENCE, |packet| match packet {
        Packet::Segment { segment, data, .. }
            if segment.ports == (80, port) && !data.is_empty() =>
        {
            Some(data)
        }
        _ => None,
    })?;
    let answer = answer.ok_or("no answer to GET /")?;
    ensure(answer.starts_with(b"HTTP/1.1 200 "), || {
        format!("GET / was answered {:?}", answer.escape_ascii().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_repeatable_and_leaves_frames_that_can_be_sent() {
        let frame = vec![5; 342];
        let mut changed = 0;
        for seed in 0..500 {
            let wrong = damage(&frame, seed);
            assert_eq!(wrong, damage(&frame, seed));
            assert!((1..=1514).contains(&wrong.len()));
            changed += usize::from(wrong != frame);
        }
        assert!(changed > 400, "only {changed} changed");
    }
}
