//! Floods: frames of one kind, as many as the card takes or at some rate, from many addresses, while
//! a client wants to be served.

use super::Plan;
use super::dice::Dice;
use super::packets::{CWR, ECE, Tcp, URG, fragment, icmp, to_guest};
use super::scene::Scene;
use crate::frames::{ARP, BROADCAST, Ip, Mac, Segment, UDP, arp, datagram, ethernet, flag, ipv4};
use crate::suite::Bench;
use crate::wire::{OUR_MAC, Wire};
use crate::{During, Failure, Outcome};
use nic::model::Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Makes the next frame of a flood.
type Next = fn(&Wire, &mut Rng) -> Vec<u8>;
/// A kind of flood: its name, and its frames.
type Kind = (&'static str, Next);

/// All kinds.
const KINDS: &[Kind] = &[
    ("SYN to open ports", |wire, dice| {
        tcp(wire, dice, flag::SYN, true)
    }),
    ("SYN to closed ports", |wire, dice| {
        tcp(wire, dice, flag::SYN, false)
    }),
    ("SYN of one address", |wire, dice| {
        let port = dice.next() as u16;
        segment(wire, dice, (wire.ip, port), 80, flag::SYN)
    }),
    ("ACK", |wire, dice| tcp(wire, dice, flag::ACK, true)),
    ("SYN and ACK", |wire, dice| {
        tcp(wire, dice, flag::SYN | flag::ACK, true)
    }),
    ("RST", |wire, dice| tcp(wire, dice, flag::RST, true)),
    ("FIN", |wire, dice| {
        tcp(wire, dice, flag::FIN | flag::ACK, true)
    }),
    ("all flags", |wire, dice| {
        tcp(wire, dice, 0x3f | ECE | CWR | URG, true)
    }),
    ("no flags", |wire, dice| tcp(wire, dice, 0, true)),
    ("UDP to the echo port", |wire, dice| {
        udp(wire, dice, 7, wire.guest_ip)
    }),
    ("UDP to closed ports", |wire, dice| {
        let port = dice.next() as u16 | 1024;
        udp(wire, dice, port, wire.guest_ip)
    }),
    ("UDP to everybody", |_, dice| {
        let packet = udp_packet(dice, 7, [10, 0, 2, 255]);
        ethernet(BROADCAST, OUR_MAC, 0x0800, &packet)
    }),
    ("UDP to a group", |wire, dice| {
        udp(wire, dice, 5353, [224, 0, 0, 251])
    }),
    ("ARP requests", |wire, dice| {
        let host = neighbour(dice);
        let packet = arp(1, host, ([0; 6], wire.guest_ip));
        ethernet(BROADCAST, host.0, ARP, &packet)
    }),
    ("ARP replies", |wire, dice| {
        let host = neighbour(dice);
        let packet = arp(2, host, (wire.guest_mac, wire.guest_ip));
        ethernet(wire.guest_mac, host.0, ARP, &packet)
    }),
    ("gratuitous ARP", |_, dice| {
        let host = neighbour(dice);
        let packet = arp(1, host, ([0; 6], host.1));
        ethernet(BROADCAST, host.0, ARP, &packet)
    }),
    ("ARP that claims our address", |wire, dice| {
        let (mac, _) = neighbour(dice);
        let packet = arp(1, (mac, wire.guest_ip), ([0; 6], wire.guest_ip));
        ethernet(BROADCAST, mac, ARP, &packet)
    }),
    ("echo requests", |wire, dice| {
        let len = dice.one_of(&[0, 56, 1472]);
        icmp(wire, (8, 0), dice.next() as u32, &vec![7; len])
    }),
    ("ICMP errors", |wire, dice| {
        let kind = dice.one_of(&[
            (3, 0),
            (3, 1),
            (3, 3),
            (3, 4),
            (4, 0),
            (5, 0),
            (11, 0),
            (12, 0),
        ]);
        let quoted = dice.bytes(28);
        icmp(wire, kind, dice.next() as u32, &quoted)
    }),
    ("first fragments", |wire, dice| piece(wire, dice, 0, true)),
    ("last fragments", |wire, dice| piece(wire, dice, 170, false)),
    ("overlapping fragments", |wire, dice| {
        let place = dice.below(4) as u16;
        let number = dice.below(4) as u16;
        let packet = ipv4(wire.ip, wire.guest_ip, UDP, &[9; 64]);
        to_guest(wire, &fragment(&packet, number, place, true))
    }),
    ("IPv6", |wire, dice| {
        let packet = [&[0x60, 0, 0, 0, 0, 8, 17, 64][..], &dice.bytes(40)].concat();
        ethernet(wire.guest_mac, OUR_MAC, 0x86dd, &packet)
    }),
    ("unknown EtherTypes", |wire, dice| {
        let kind = dice.next() as u16 | 0x9000;
        ethernet(wire.guest_mac, OUR_MAC, kind, &dice.bytes(46))
    }),
];

/// A host of the network that is not there.
fn neighbour(dice: &mut Rng) -> (Mac, Ip) {
    let number = dice.between(20, 250) as u8;
    ([2, 0, 0, 0, 1, number], [10, 0, 2, number])
}

/// An address anywhere.
fn anywhere(dice: &mut Rng) -> Ip {
    match dice.one_in(2) {
        true => neighbour(dice).1,
        false => [
            dice.between(11, 120) as u8,
            dice.next() as u8,
            dice.next() as u8,
            7,
        ],
    }
}

fn segment(wire: &Wire, dice: &mut Rng, from: (Ip, u16), to: u16, flags: u8) -> Vec<u8> {
    Tcp {
        from: from.0,
        header: Segment {
            ports: (from.1, to),
            seq: dice.next() as u32,
            ack: dice.next() as u32,
            flags,
        },
        window: 0xffff,
        urgent: 0,
        options: &[],
        data: &[],
    }
    .frame(wire)
}

fn tcp(wire: &Wire, dice: &mut Rng, flags: u8, open: bool) -> Vec<u8> {
    let from = (anywhere(dice), dice.next() as u16 | 1);
    let to = match open {
        true => dice.one_of(&[7, 80]),
        false => dice.next() as u16 | 1024,
    };
    segment(wire, dice, from, to, flags)
}

fn udp_packet(dice: &mut Rng, port: u16, to: Ip) -> Vec<u8> {
    let len = dice.one_of(&[0, 18, 512, 1472]);
    datagram(
        (anywhere(dice), to),
        (dice.next() as u16 | 1, port),
        &vec![3; len],
    )
}

fn udp(wire: &Wire, dice: &mut Rng, port: u16, to: Ip) -> Vec<u8> {
    to_guest(wire, &udp_packet(dice, port, to))
}

fn piece(wire: &Wire, dice: &mut Rng, place: u16, more: bool) -> Vec<u8> {
    let packet = ipv4(anywhere(dice), wire.guest_ip, UDP, &[1; 1400]);
    to_guest(wire, &fragment(&packet, dice.next() as u16, place, more))
}

/// Frames a second; 0 is as many as the card takes.
const RATES: [u32; 3] = [500, 4_000, 0];

/// The attack: each round is a flood of one kind at one rate.
pub fn floods(bench: &Bench, plan: &Plan) -> Outcome {
    let mut slowest = (Duration::ZERO, String::new());
    plan.lives(bench, || {
        let mut scene = Scene::boot(bench)?;
        while let Some(mut dice) = plan.next(scene.since) {
            let (kind, next) = dice.one_of(KINDS);
            let rate = dice.one_of(&RATES);
            let time = Duration::from_millis(dice.between(300, 1200) as u64);
            let (count, waited) = flood(&mut scene, (next, rate, time), &mut dice)
                .during(&format!("a flood of {kind}, {rate} a second"))?;
            plan.count(count);
            if waited > slowest.0 {
                slowest = (waited, format!("{kind}, {rate} a second"));
            }
        }
        scene.end(false)
    })?;
    bench.note(format!(
        "{} frames; a client waited {} ms at most ({})",
        plan.done(),
        slowest.0.as_millis(),
        slowest.1
    ));
    Ok(())
}

/// Floods for that time, and until the client was served once beside it. Returns how many frames
/// that were, and how long the client waited.
fn flood(
    scene: &mut Scene,
    (next, rate, time): (Next, u32, Duration),
    dice: &mut Rng,
) -> Outcome<(usize, Duration)> {
    let flooding = scene.machine.wire()?.another()?;
    let stop = AtomicBool::new(false);
    let (sent, waited) = thread::scope(|scope| {
        let attacker = scope.spawn(|| send(&flooding, (next, rate), dice, &stop));
        let start = Instant::now();
        let mut waited = scene.serves_during();
        while waited.is_ok() && start.elapsed() < time {
            waited = waited.and_then(|most| Ok(most.max(scene.serves_during()?)));
        }
        stop.store(true, Ordering::Relaxed);
        let sent = attacker.join();
        let died = |_| Err(Failure::from("the attacker's thread died"));
        (sent.unwrap_or_else(died), waited)
    });
    let waited = waited?;
    scene.serves_after()?;
    Ok((sent?, waited))
}

fn send(
    wire: &Wire,
    (next, rate): (Next, u32),
    dice: &mut Rng,
    stop: &AtomicBool,
) -> Outcome<usize> {
    // Made before, so that it is the guest that is measured.
    let frames: Vec<Vec<u8>> = (0..1000).map(|_| next(wire, dice)).collect();
    let start = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        wire.send(&frames[sent % frames.len()])?;
        sent += 1;
        let due = match rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) * sent as u32 / rate,
        };
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(sent)
}
