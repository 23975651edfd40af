//! Valid exchanges of each protocol, of which the seed changes some frames, sends some twice, and
//! all in another order.

use super::Plan;
use super::dice::Dice;
use super::packets::{Tcp, fragment, icmp, is_safe_for_qemu, mutate, to_guest};
use super::scene::Scene;
use crate::frames::{
    self, ARP, BROADCAST, Packet, Segment, UDP, arp, datagram, echo_request, ethernet, flag, ipv4,
};
use crate::machine::PATIENCE;
use crate::suite::Bench;
use crate::wire::{OUR_MAC, Wire};
use crate::{During, Outcome, pattern};
use nic::model::Rng;
use nic::model::traffic::{self, Ends};
use std::time::{Duration, Instant};

/// Frames of a round, and how many are sent before the guest is asked whether it has seen them: no
/// ring is shorter.
const FRAMES: usize = 384;
const AT_ONCE: usize = 48;
/// Samples of each round that are the models'.
const SAMPLES: u16 = 64;
/// Our ports of the connections whose segments are changed.
const PORTS: u16 = 10_000;
const PORT_COUNT: u16 = 9_000;

/// A connection whose segments are changed: its ports, and the next numbers, ours and the guest's.
struct Open {
    ports: (u16, u16),
    next: (u32, u32),
}

/// The attack.
pub fn frames(bench: &Bench, plan: &Plan) -> Outcome {
    let mut port = 0;
    plan.lives(bench, || {
        let mut scene = Scene::boot(bench)?;
        while let Some(mut dice) = plan.next(scene.since) {
            port = (port + 2) % PORT_COUNT;
            round(scene.machine.wire()?, &mut dice, PORTS + port)?;
            plan.count(FRAMES);
            scene.serves_after()?;
        }
        scene.end(true)
    })?;
    bench.note(format!("{} frames", plan.done()));
    Ok(())
}

fn round(wire: &Wire, dice: &mut Rng, port: u16) -> Outcome {
    let mut open = Vec::new();
    for (ours, theirs) in [(port, 7), (port + 1, 80)] {
        let ports = (ours, theirs);
        let next = wire.open(ports).during("a connection of the attacker")?;
        open.push(Open { ports, next });
    }
    let all = corpus(wire, dice, &open);
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        let (frame, other) = (dice.below(all.len()), dice.below(all.len()));
        let frame = match dice.one_in(8) {
            true => all[frame].clone(),
            false => mutate(dice, &all[frame], &all[other]),
        };
        if !is_safe_for_qemu(&frame) {
            continue;
        }
        let times = if dice.one_in(10) { 3 } else { 1 };
        frames.extend(std::iter::repeat_n(frame, times));
    }
    frames.truncate(FRAMES);
    dice.shuffle(&mut frames);
    for (number, some) in (0..).zip(frames.chunks(AT_ONCE)) {
        for frame in some {
            wire.send(frame)?;
        }
        // All of them have been seen when this is answered, whichever ring they came by.
        for half in [0, 1] {
            mark(wire, number << 1 | half, dice.next()).during("amid frames")?;
        }
    }
    for Open { ports, next } in open {
        forget(wire, ports, next)?;
    }
    Ok(())
}

/// Asks for an echo that no other is taken for. Changed frames may draw answers to what was never
/// asked.
fn mark(wire: &Wire, sequence: u16, mark: u64) -> Outcome {
    let mark = mark.to_be_bytes();
    let request = echo_request((wire.ip, wire.guest_ip), (0x4d4b, sequence), &mark);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        wire.send_ipv4(&request)?;
        let again = Instant::now() + Duration::from_millis(500);
        let answered = wire.receive_where(again, |packet| match packet {
            Packet::Echo { kind: 0, data, .. } if data == mark => Some(()),
            _ => None,
        })?;
        if answered.is_some() {
            return Ok(());
        }
    }
    Err("an echo request was not answered".into())
}

/// Ends a connection by a reset, wherever its window is now: an old segment is answered by what is
/// expected (RFC 9293 §3.10.7.4), and a reset must have just that number (RFC 5961 §3.2).
///
/// # Errors
/// As [`Wire::send`].
pub fn forget(wire: &Wire, ports: (u16, u16), (seq, ack): (u32, u32)) -> Outcome {
    for _ in 0..3 {
        let old = seq.wrapping_sub(2);
        wire.send_segment(ports, (old, ack), flag::ACK, b"x")?;
        let soon = Instant::now() + Duration::from_millis(50);
        let told = wire.receive_where(soon, |packet| match packet {
            Packet::Segment { segment, .. } if segment.ports == (ports.1, ports.0) => Some(segment),
            _ => None,
        })?;
        match told {
            Some(told) if told.flags & flag::RST != 0 => return Ok(()),
            Some(told) => wire.send_segment(ports, (told.ack, told.seq), flag::RST, b"")?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Right frames of each kind, with the connections' own numbers.
fn corpus(wire: &Wire, dice: &mut Rng, open: &[Open]) -> Vec<Vec<u8>> {
    let ends = Ends {
        mac: wire.guest_mac,
        ip: wire.guest_ip,
        peer_mac: OUR_MAC,
        peer_ip: wire.ip,
    };
    let ips = (wire.ip, wire.guest_ip);
    let samples = traffic::samples(dice.next(), &ends, SAMPLES);
    let mut all: Vec<Vec<u8>> = samples
        .into_iter()
        .flat_map(|sample| sample.frames)
        .filter(|frame| frame.len() >= 14)
        .collect();
    let stranger = (
        [2, 0, 0, 0, 0, dice.next() as u8],
        [10, 0, 2, dice.next() as u8],
    );
    for (operation, sender, target) in [
        (1, (OUR_MAC, ips.0), ips.1),
        (2, (OUR_MAC, ips.0), ips.1),
        (1, stranger, stranger.1),
        (2, stranger, stranger.1),
        (1, (stranger.0, [0; 4]), ips.1),
    ] {
        let packet = arp(operation, sender, ([0; 6], target));
        let to = dice.one_of(&[BROADCAST, wire.guest_mac]);
        all.push(ethernet(to, sender.0, ARP, &packet));
    }
    let len = dice.below(1400);
    let data = dice.bytes(len);
    let mut packets = vec![
        echo_request(ips, (1, 1), &data),
        datagram(ips, (9, 7), &data),
        datagram(ips, (9, 4444), &data),
        datagram(ips, (67, 68), &data),
        ipv4(ips.0, ips.1, dice.next() as u8, &data),
        ipv4(ips.0, [224, 0, 0, 1], 2, &[0x11, 0, 0, 0, 0, 0, 0, 0]),
        ipv4(ips.0, [10, 0, 2, 255], UDP, &data),
    ];
    let number = dice.next() as u16;
    for place in [0, 1, 2, 185, 8191] {
        packets.push(fragment(&packets[1], number, place, dice.one_in(2)));
    }
    all.extend(packets.iter().map(|packet| to_guest(wire, packet)));
    all.push(ipv6(wire, dice));
    for &Open { ports, next } in open {
        let (seq, ack) = next;
        conversation(wire, dice, ports, (seq, ack), &mut all);
        // Errors about a segment of the guest's, as a router sends them (RFC 792, RFC 1191).
        let header = Segment {
            ports: (ports.1, ports.0),
            seq: ack,
            ack: seq,
            flags: flag::ACK,
        };
        let quoted = frames::segment((ips.1, ips.0), header, b"");
        for (kind, code, word) in [
            (3, 4, 576),
            (3, 4, 0),
            (3, 1, 0),
            (4, 0, 0),
            (11, 0, 0),
            (5, 1, 9),
        ] {
            all.push(icmp(wire, (kind, code), word, &quoted[..28]));
        }
    }
    all
}

/// What a client of this connection might send next, in order and out of it.
fn conversation(
    wire: &Wire,
    dice: &mut Rng,
    ports: (u16, u16),
    (seq, ack): (u32, u32),
    all: &mut Vec<Vec<u8>>,
) {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: wharf\r\nRange: bytes=0-99\r\n\r\n";
    let data = pattern(dice.next(), 1200);
    let text = match ports.1 {
        80 => REQUEST,
        _ => &data,
    };
    let options: &[&[u8]] = &[
        &[],
        &[2, 4, 0x05, 0xb4, 1, 3, 3, 2],
        &[2, 4, 0, 1, 4, 2, 1, 1],
        &[8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1],
        &[5, 10, 0, 0, 0, 9, 0, 0, 0, 99, 1, 1],
    ];
    for (flags, ahead, data) in [
        (flag::SYN, -1, &b""[..]),
        (flag::SYN | flag::ACK, -1, b""),
        (flag::ACK, 0, b""),
        (flag::ACK | flag::PSH, 0, text),
        (flag::ACK, text.len() as i32 / 2, &text[text.len() / 2..]),
        (flag::ACK, 5000, text),
        (flag::ACK | flag::FIN, text.len() as i32, b""),
        (flag::RST, 70_000, b""),
        (flag::RST, 10, b""),
    ] {
        let segment = Tcp {
            from: wire.ip,
            header: Segment {
                ports,
                seq: seq.wrapping_add_signed(ahead),
                ack,
                flags,
            },
            window: dice.one_of(&[0, 1, 1000, 0xffff]),
            urgent: 0,
            options: dice.one_of(options),
            data,
        };
        all.push(segment.frame(wire));
    }
}

/// An IPv6 packet with a chain of extension headers (RFC 8200 §4).
fn ipv6(wire: &Wire, dice: &mut Rng) -> Vec<u8> {
    const IPV6: u16 = 0x86dd;
    let mut packet = vec![0x60, 0, 0, 0, 0, 40, 0, 64];
    packet.extend(dice.bytes(32));
    for next in [43, 44, 60, 0, 59] {
        packet.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    ethernet(wire.guest_mac, OUR_MAC, IPV6, &packet)
}
