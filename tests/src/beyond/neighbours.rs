//! ARP and ICMP as neighbours on the cable see them: who has the address, what is told of a
//! datagram that nobody takes, and the longest datagrams there are.

use crate::frames::{ARP, BROADCAST, ICMP, IPV4, Mac, UDP, arp, checksum, datagram, echo_request};
use crate::frames::{ethernet, ipv4};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::{GUEST_IP, OUR_IP, OUR_MAC, Wire};
use crate::{During, Outcome, ensure, pattern, same_bytes};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("arp: a probe is answered, our address defended", arp_cases),
    Case::new("icmp: errors quote the frame, none for groups", errors),
    Case::new("ping and udp echo of 65507 bytes", longest),
];

const STRANGER: Mac = [0x52, 0x54, 0, 0, 0, 0x99];
/// A protocol number for experiments (RFC 3692).
const EXPERIMENT: u8 = 253;
/// The most data in a datagram: 65,535 bytes less both headers.
const MOST: usize = 65_507;
/// Data in a fragment: a full frame.
const PIECE: usize = 1480;
/// Long enough for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(500);

fn boot(bench: &Bench) -> Outcome<Machine> {
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv"))?;
    machine.console.wait_line("bound", PATIENCE)?;
    machine.wire()?.resolve()?;
    Ok(machine)
}

/// The next frame of the guest that `is_wanted`; `None` if none comes in time.
fn next(
    wire: &Wire,
    time: Duration,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Outcome<Option<Vec<u8>>> {
    let end = Instant::now() + time;
    while let Some(frame) = wire.receive(end)? {
        if is_wanted(&frame) {
            return Ok(Some(frame));
        }
    }
    Ok(None)
}

fn is_arp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ARP.to_be_bytes())
}

fn is_icmp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&IPV4.to_be_bytes()) && frame.get(23) == Some(&ICMP)
}

/// Expects this ARP packet. Replies to us may still be on their way, from when we looked for
/// the guest.
fn expect_arp(wire: &Wire, to: Mac, packet: &[u8]) -> Outcome {
    let is_wanted = |frame: &[u8]| is_arp(frame) && !frame.starts_with(&OUR_MAC);
    let frame = next(wire, PATIENCE, is_wanted)?.ok_or("no ARP packet came")?;
    let wanted = ethernet(to, wire.guest_mac, ARP, packet);
    // A card may fill it up to the least length of a frame.
    same_bytes(&frame[..wanted.len().min(frame.len())], &wanted)
}

fn arp_cases(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let guest = (wire.guest_mac, GUEST_IP);
    // RFC 5227 section 2.1.1: a host that looks whether the address is free.
    let probe = arp(1, (STRANGER, [0; 4]), ([0; 6], GUEST_IP));
    wire.send(&ethernet(BROADCAST, STRANGER, ARP, &probe))?;
    expect_arp(wire, STRANGER, &arp(2, guest, (STRANGER, [0; 4]))).during("a probe")?;
    // And one that has it already, and says so.
    let claim = arp(1, (STRANGER, GUEST_IP), ([0; 6], GUEST_IP));
    let claim = ethernet(BROADCAST, STRANGER, ARP, &claim);
    wire.send(&claim)?;
    let announcement = arp(1, guest, ([0; 6], GUEST_IP));
    expect_arp(wire, BROADCAST, &announcement).during("a claim")?;
    wire.send(&claim)?;
    let more = next(wire, SILENCE, is_arp)?;
    ensure(more.is_none(), || format!("a second defence: {more:x?}"))?;
    let told = "10.0.2.15 is also claimed by 52:54:00:00:00:99";
    machine
        .console
        .wait_line(&format!("netd: {told}"), PATIENCE)?;
    // Who was known moves, and tells everybody: what follows goes to the new station.
    let wire = machine.wire()?;
    let moved = arp(1, (STRANGER, OUR_IP), ([0; 6], OUR_IP));
    wire.send(&ethernet(BROADCAST, STRANGER, ARP, &moved))?;
    wire.send_datagram((5000, 7), b"where")?;
    let is_udp = |frame: &[u8]| frame.get(23) == Some(&UDP) && !is_arp(frame);
    let echo = next(wire, PATIENCE, is_udp)?.ok_or("no echo")?;
    same_bytes(&echo[..6], &STRANGER)
}

fn errors(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    // No port, and no such protocol; with an identification, a service and a time to live.
    let port = datagram((OUR_IP, GUEST_IP), (5000, 4999), &pattern(1, 1000));
    let protocol = ipv4(OUR_IP, GUEST_IP, EXPERIMENT, &pattern(2, 30));
    for (mut packet, code) in [(port, 3), (protocol, 2)] {
        packet[1] = 0x48;
        packet[4..6].copy_from_slice(&[0xab, 0xcd]);
        packet[6] = 0;
        packet[8] = 9;
        packet[10..12].fill(0);
        let sum = checksum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        // To all stations: nobody may be told (RFC 1122 section 3.2.2).
        wire.send(&ethernet(BROADCAST, OUR_MAC, IPV4, &packet))?;
        let more = next(wire, SILENCE, is_icmp)?;
        ensure(more.is_none(), || format!("about a broadcast: {more:x?}"))?;
        // For a second after the server's start no port is called unreachable: its program may
        // be about to open it.
        let end = Instant::now() + PATIENCE;
        let error = loop {
            wire.send_ipv4(&packet)?;
            if let Some(error) = next(wire, SILENCE, is_icmp)? {
                break error;
            }
            ensure(Instant::now() < end, || "no error came".to_owned())?;
        };
        let message = error.get(34..).ok_or("an error without a message")?;
        ensure(checksum(&[message]) == 0, || "its checksum".to_owned())?;
        same_bytes(&message[..2], &[3, code])?;
        same_bytes(&message[4..8], &[0; 4])?;
        let quoted = packet.len().min(576 - 28);
        same_bytes(&message[8..8 + quoted], &packet[..quoted]).during("the quotation")?;
    }
    // A ping to everybody is nobody's.
    let ping = echo_request((OUR_IP, [10, 0, 2, 255]), (1, 1), b"smurf");
    wire.send(&ethernet(BROADCAST, OUR_MAC, IPV4, &ping))?;
    let more = next(wire, SILENCE, is_icmp)?;
    ensure(more.is_none(), || format!("to a broadcast: {more:x?}"))
}

/// The frames that carry an IPv4 packet in fragments.
fn fragments(wire: &Wire, protocol: u8, message: &[u8], number: u8) -> Vec<Vec<u8>> {
    let pieces = message.chunks(PIECE);
    let last = pieces.len() - 1;
    let frame = |(index, piece): (usize, &[u8])| {
        let mut packet = ipv4(OUR_IP, GUEST_IP, protocol, piece);
        let more = if index < last { 0x2000 } else { 0 };
        let place = (index * PIECE / 8) as u16 | more;
        packet[5] = number;
        packet[6..8].copy_from_slice(&place.to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(wire.guest_mac, OUR_MAC, IPV4, &packet)
    };
    pieces.enumerate().map(frame).collect()
}

/// What the guest's fragments of this protocol carry, put together; shorter if some are missing.
fn message(wire: &Wire, protocol: u8, len: usize) -> Outcome<Vec<u8>> {
    let mut whole = vec![0; len];
    let mut have = 0;
    let is_ours = |frame: &[u8]| !is_arp(frame) && frame.get(23) == Some(&protocol);
    while have < len {
        let Some(frame) = next(wire, Duration::from_secs(2), is_ours)? else {
            whole.truncate(have);
            break;
        };
        let place = u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff;
        let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let data = frame.get(34..end).ok_or("a fragment without its end")?;
        let place = whole.get_mut(usize::from(place) * 8..);
        let place = place.and_then(|place| place.get_mut(..data.len()));
        place
            .ok_or("a fragment too far behind")?
            .copy_from_slice(data);
        have += data.len();
    }
    Ok(whole)
}

fn longest(bench: &Bench) -> Outcome {
    let mut machine = boot(bench)?;
    let wire = machine.wire()?;
    let data = pattern(3, MOST);
    let ips = (OUR_IP, GUEST_IP);
    let ping = echo_request(ips, (7, 9), &data)[20..].to_vec();
    let echo = datagram(ips, (5000, 7), &data)[20..].to_vec();
    for (number, protocol, request) in [(1, ICMP, &ping), (2, UDP, &echo)] {
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            let number = number + 2 * tries;
            for frame in fragments(wire, protocol, request, number) {
                wire.send(&frame)?;
            }
            let answer = message(wire, protocol, request.len())?;
            // The cable loses nothing, but a ring may be full.
            if answer.len() == request.len() || tries == 5 {
                break answer;
            }
        };
        same_bytes(answer.get(8..).unwrap_or_default(), &data)
            .during(&format!("protocol {protocol}"))?;
    }
    Ok(())
}
