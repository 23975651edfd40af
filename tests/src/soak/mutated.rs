//! Valid exchanges of each protocol, of which the seed changes some frames, sends some twice, and
//! all in another order.

use super::Plan;
use super::dice::Dice;
use super::packets::{self, ICMPV6, Tcp, fragment, icmp, is_safe_for_qemu, mutate, to_guest};
use super::scene::Scene;
use crate::frames::{
    self, ARP, BROADCAST, Packet, Segment, TCP, UDP, arp, datagram, echo_request, ethernet, flag,
    ipv4,
};
use crate::machine::PATIENCE;
use crate::suite::Bench;
use crate::wire::{OUR_MAC, Wire};
use crate::{During, Outcome, pattern};
use nic::model::Rng;
use nic::model::traffic::{self, Ends};
use std::net::Ipv6Addr;
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
    ipv6(wire, dice, &mut all);
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

/// IPv6 of all kinds that a host meets, to the address that RFC 4291 §2.5.1 makes of the guest's station
/// and to groups, from a neighbour, a router, and somebody far away.
fn ipv6(wire: &Wire, dice: &mut Rng, all: &mut Vec<Vec<u8>>) {
    let link_local = |[a, b, c, d, e, f]: [u8; 6]| {
        let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(id))
    };
    let (us, guest) = (link_local(OUR_MAC), link_local(wire.guest_mac));
    let nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let [.., d, e, f] = guest.octets();
    let solicited = Ipv6Addr::from_bits(
        0xff02 << 112 | 1 << 32 | 0xff << 24 | u128::from(u32::from_be_bytes([0, d, e, f])),
    );
    let far = Ipv6Addr::new(0x2001, 0xdb8, 0, dice.edge(), 0, 0, 0, 9);
    let mut add = |source: Ipv6Addr, to: Ipv6Addr, next, body: &[u8]| {
        // RFC 2464 §7.
        let station = match to.is_multicast() {
            true => {
                let [.., c, d, e, f] = to.octets();
                [0x33, 0x33, c, d, e, f]
            }
            false => wire.guest_mac,
        };
        all.push(packets::ipv6(station, [source, to], next, body));
    };
    let message = |kind: u8, word: u32, rest: &[u8]| {
        [&[kind, 0, 0, 0][..], &word.to_be_bytes(), rest].concat()
    };
    let station = |kind: u8| [&[kind, 1][..], &OUR_MAC].concat();
    let about = |kind, word, target: Ipv6Addr, option: &[u8]| {
        message(kind, word, &[&target.octets()[..], option].concat())
    };
    // Neighbour discovery (RFC 4861 §4): a solicitation, one of who wants our address, advertisements, a
    // redirect.
    let none = Ipv6Addr::UNSPECIFIED;
    add(us, solicited, ICMPV6, &about(135, 0, guest, &station(1)));
    add(us, guest, ICMPV6, &about(135, 0, guest, &station(1)));
    add(none, solicited, ICMPV6, &about(135, 0, guest, &[]));
    add(us, guest, ICMPV6, &about(136, 0x6000_0000, us, &station(2)));
    add(
        guest,
        nodes,
        ICMPV6,
        &about(136, 0x2000_0000, guest, &station(2)),
    );
    let redirect = [us.octets(), far.octets()].concat();
    add(us, guest, ICMPV6, &message(137, 0, &redirect));
    // A router's advertisement with a prefix (RFC 4861 §4.6.2), an MTU, and a server of names (RFC 8106
    // §5.1), for some time or for none.
    let lifetime = dice.one_of(&[0, 1, 1800, u32::MAX]).to_be_bytes();
    let mut router = [&[0; 8][..], &station(1), &[3, 4, 64, 0xc0]].concat();
    router.extend([lifetime, lifetime, [0; 4]].as_flattened());
    router.extend(&far.octets()[..8]);
    router.extend([0; 8]);
    router.extend(
        [
            &[5, 1, 0, 0][..],
            &dice.one_of(&[0, 1280, 1500, 9000_u32]).to_be_bytes(),
        ]
        .concat(),
    );
    router.extend([&[25, 3, 0, 0][..], &lifetime, &far.octets()].concat());
    add(us, nodes, ICMPV6, &message(134, 0x4000_0708, &router));
    add(us, guest, ICMPV6, &message(134, 0x4000_0708, &router));
    // Echo, errors about what the guest might have sent, and a query of groups (RFC 2710 §3).
    let data = dice.bytes(200);
    add(us, guest, ICMPV6, &message(128, 0x0001_0001, &data));
    add(far, nodes, ICMPV6, &message(128, 0x0001_0002, &data));
    let mut quoted = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
    quoted.extend([guest.octets(), far.octets()].concat());
    quoted.extend([0, 80, 0x27, 0x10].into_iter().chain([7; 16]));
    let mtu = dice.one_of(&[0, 500, 1280, 1400]);
    for (kind, word) in [(1, 0), (2, mtu), (3, 0), (4, 40)] {
        add(far, guest, ICMPV6, &message(kind, word, &quoted));
    }
    let query = message(130, 0x03e8_0000, &[0; 16]);
    let alert = [&[ICMPV6, 0, 5, 2, 0, 0, 1, 0][..], &query].concat();
    add(us, nodes, 0, &alert);
    // TCP and UDP, plain, behind extension headers (RFC 8200 §4), and in fragments.
    let syn = [
        &[0x27, 0x10, 0, 80, 0, 0, 0, 1][..],
        &[0, 0, 0, 0, 0x50, 2, 0xff, 0xff],
        &[0; 4],
    ];
    let syn = syn.concat();
    let mut datagram = [4444, 7, 208, 0_u16].map(u16::to_be_bytes).concat();
    datagram.extend(&data);
    for (next, body) in [(TCP, syn), (UDP, datagram)] {
        add(us, guest, next, &body);
        let options = [&[next, 0, 1, 4, 0, 0, 0, 0][..], &body].concat();
        add(us, guest, 60, &options);
        let chain = [
            &[43, 0, 1, 4, 0, 0, 0, 0][..],
            &[60, 0, 0, 0, 0, 0, 0, 0],
            &options,
        ]
        .concat();
        add(us, guest, 0, &chain);
        let (first, rest) = body.split_at(8);
        let number = dice.next() as u8;
        for (field, part) in [(1, first), (8, rest), (0, &body), (0xfff8, first)] {
            let [high, low] = u16::to_be_bytes(field);
            let fragment = [&[next, 0, high, low, 0, 0, 0, number], part].concat();
            add(us, guest, 44, &fragment);
        }
    }
    let nowhere = dice.bytes(40);
    add(far, far, 59, &nowhere);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn ipv6_is_whole_and_may_be_sent_before_it_is_changed() {
        let wire = Wire::new(UnixDatagram::pair().unwrap().0).unwrap();
        for seed in 0..50 {
            let mut all = Vec::new();
            ipv6(&wire, &mut Rng::new(seed), &mut all);
            for frame in &all {
                let len = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
                assert!(frame.len() == 14 + 40 + len && frame.len() <= 1514);
                assert!(is_safe_for_qemu(frame));
                let mut again = frame.clone();
                packets::fix(&mut again);
                assert_eq!(again, *frame);
            }
            let groups = all.iter().filter(|frame| frame[..2] == [0x33, 0x33]);
            assert!(groups.count() > 5);
        }
        // So are those of the models.
        let ends = Ends {
            mac: wire.guest_mac,
            ip: wire.guest_ip,
            peer_mac: OUR_MAC,
            peer_ip: wire.ip,
        };
        let samples = traffic::samples(1, &ends, 4000);
        let mut frames = samples.iter().flat_map(|sample| &sample.frames);
        assert!(frames.all(|frame| is_safe_for_qemu(frame)));
    }
}
