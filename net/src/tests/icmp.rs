//! ICMP: which errors are sent and what they quote, echo of every length, and where answers go.

use super::world::*;
use crate::ip::fragments::Fragments;
use crate::tests::frames::{arp_reply, fragments, ipv4, ping, udp};
use abi::Pid;
use smoltcp::wire::{IpProtocol, Ipv4Packet};
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x102);
/// Where the IPv4 header begins, and ICMP's in what we send.
const IP: usize = 14;
const ICMP: usize = 34;
/// Beyond the gateway, which is not asked for in these tests.
const FAR: [u8; 4] = [192, 0, 2, 1];

fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.inject(&arp_reply(PEER_IP));
    assert!(world.frames().is_empty());
    world
}

/// What the server sends for this frame.
fn answers(world: &mut World, frame: &[u8]) -> Vec<Vec<u8>> {
    world.inject(frame);
    world.frames()
}

/// Changes the IPv4 header of a frame, and puts its checksum right.
fn change(frame: &mut [u8], with: impl FnOnce(&mut Ipv4Packet<&mut [u8]>)) {
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[IP..]);
    with(&mut packet);
    packet.fill_checksum();
}

/// An IPv4 payload of another protocol.
fn strange(data: &[u8]) -> Vec<u8> {
    ipv4(PEER_IP, SERVER_IP, IpProtocol::Unknown(132), data)
}

/// The ones' complement sum over octets with their checksum, which is right if it is 0.
fn sum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2);
    let word = |w: &[u8]| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)]));
    let sum: u32 = words.map(word).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The type, code and quotation of an ICMP error, checked.
fn error(frame: &[u8]) -> ([u8; 2], &[u8]) {
    let packet = Ipv4Packet::new_checked(&frame[IP..]).unwrap();
    assert!(packet.verify_checksum() && !packet.more_frags());
    assert_eq!(packet.src_addr().octets(), SERVER_IP);
    assert_eq!(packet.next_header(), IpProtocol::Icmp);
    assert_eq!(packet.hop_limit(), 64);
    assert_eq!(IP + usize::from(packet.total_len()), frame.len());
    let message = &frame[ICMP..];
    assert_eq!(sum(message), 0);
    assert_eq!(message[4..8], [0; 4], "unused");
    ([message[0], message[1]], &message[8..])
}

#[test]
fn an_error_quotes_what_was_received_and_nothing_else() {
    let mut world = world(70);
    let mut chance = Chance(70);
    for round in 0..300 {
        let len = match round {
            0..40 => round,
            _ => chance.below(1400) as usize,
        };
        let data = chance.octets(len);
        let is_udp = round % 2 == 0;
        let mut frame = match is_udp {
            true => udp((PEER_IP, 5000), 9, &data),
            false => strange(&data),
        };
        if is_udp && round % 3 == 0 {
            frame[40..42].fill(0); // without a checksum
        }
        if round % 5 == 0 {
            // Options: three times nothing, and the end of the list.
            frame.splice(ICMP..ICMP, [1, 1, 1, 0]);
        }
        let options = u8::from(round % 5 == 0) * 4;
        let random = chance.next();
        change(&mut frame, |packet| {
            packet.set_header_len(20 + options);
            packet.set_total_len(packet.total_len() + u16::from(options));
            packet.set_ident(random as u16);
            packet.set_dscp((random >> 16) as u8 & 63);
            packet.set_ecn((random >> 24) as u8 & 3);
            packet.set_dont_frag(random >> 32 & 1 == 1);
            packet.set_hop_limit(1 + (random >> 40) as u8 % 255);
        });
        let datagram = frame[IP..].to_vec();
        // What fills a short frame is not part of the datagram.
        frame.resize(frame.len().max(60), 0xee);
        let sent = answers(&mut world, &frame);
        let [sent] = &sent[..] else {
            panic!("round {round}: {sent:?}")
        };
        assert_eq!(sent[..6], PEER_MAC);
        let (kind, quoted) = error(sent);
        assert_eq!(kind, [3, if is_udp { 3 } else { 2 }]);
        assert_eq!(quoted, &datagram[..datagram.len().min(576 - 28)]);
        assert!(sent.len() - IP <= 576);
        world.now += MS;
    }
    assert_eq!(world.figure("icmp_errors"), 300);
    assert_eq!(world.figure("drop_udp_no_port"), 150);
    assert_eq!(world.figure("drop_ip_protocol"), 150);
}

/// RFC 1122 §3.2.2: what no error may be sent for.
#[test]
fn nobody_is_told_of_what_went_to_many_or_came_from_nobody() {
    let mut world = world(71);
    let broadcasts = [[255; 4], [10, 0, 2, 255]];
    let groups = [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]];
    let sources = [
        [0; 4],
        [127, 0, 0, 1],
        [10, 0, 2, 255],
        [255; 4],
        [224, 0, 0, 5],
        [240, 1, 1, 1],
        SERVER_IP,
    ];
    for good in [udp((PEER_IP, 5000), 9, b"anybody?"), strange(b"anybody?")] {
        for group in groups {
            let mut frame = good.clone();
            frame[..6].copy_from_slice(&group);
            assert_eq!(answers(&mut world, &frame), [[0; 0]; 0], "{group:x?}");
        }
        for to in broadcasts
            .into_iter()
            .chain([[224, 0, 0, 1], [10, 0, 2, 16], FAR])
        {
            for station in groups.into_iter().chain([SERVER_MAC]) {
                let mut frame = good.clone();
                frame[..6].copy_from_slice(&station);
                frame[40..42].fill(0); // UDP's checksum is over the address
                change(&mut frame, |packet| packet.set_dst_addr(to.into()));
                assert_eq!(answers(&mut world, &frame), [[0; 0]; 0], "{to:?}");
            }
        }
        for from in sources {
            let mut frame = good.clone();
            frame[40..42].fill(0);
            change(&mut frame, |packet| packet.set_src_addr(from.into()));
            assert_eq!(answers(&mut world, &frame), [[0; 0]; 0], "{from:?}");
        }
    }
    // ICMP messages of every type, errors or not, are about nothing that is reported.
    for kind in (0..=255).filter(|&kind| kind != 8) {
        let mut message = [
            &[kind, 0, 0, 0, 0, 0, 0, 0][..],
            &udp((SERVER_IP, 9), 9, b"x")[IP..],
        ]
        .concat();
        let checksum = sum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        let frame = ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &message);
        assert_eq!(answers(&mut world, &frame), [[0; 0]; 0], "type {kind}");
    }
    assert_eq!(world.figure("drop_icmp_error"), 5);
    assert_eq!(world.figure("drop_icmp_type"), 250);
    assert_eq!(world.figure("icmp_errors"), 0);
    // Those of them that were looked at so far, and held back: broadcasts.
    assert_eq!(world.figure("icmp_errors_withheld"), 2 * 2 * 4);
}

#[test]
fn an_error_about_fragments_is_about_the_whole_and_sent_once() {
    let mut world = world(72);
    let whole = udp((PEER_IP, 5000), 9, &world.chance.octets(3000));
    let pieces = fragments(IpProtocol::Udp, &whole[ICMP..], 1480);
    let (last, others) = pieces.split_last().unwrap();
    for piece in others {
        assert!(answers(&mut world, piece).is_empty());
    }
    let sent = answers(&mut world, last);
    let [sent] = &sent[..] else {
        panic!("{sent:?}")
    };
    let (kind, quoted) = error(sent);
    assert_eq!(kind, [3, 3]);
    // The header of the whole: RFC 791 §3.2 makes one of the fragments'.
    let packet = Ipv4Packet::new_unchecked(quoted);
    assert!(packet.verify_checksum());
    assert_eq!((packet.ident(), packet.total_len()), (0x1234, 3028));
    assert_eq!(quoted[20..], whole[ICMP..][..576 - 28 - 20]);
}

#[test]
fn errors_are_limited_in_number() {
    let mut world = world(73);
    let frame = udp((PEER_IP, 5000), 9, b"again");
    let sent = |world: &mut World, count: usize| {
        (0..count)
            .map(|_| answers(world, &frame).len())
            .sum::<usize>()
    };
    // In each second another number, so that nobody can tell from it how many others got.
    let first = sent(&mut world, 2500);
    world.now += SECOND;
    let second = sent(&mut world, 2500);
    for count in [first, second] {
        assert!((1000..2000).contains(&count), "{count}");
    }
    assert_ne!(first, second);
    let limited = 5000 - first - second;
    assert_eq!(world.figure("icmp_errors_limited"), limited as u64);
    assert_eq!(world.figure("drop_udp_no_port"), 5000);
}

/// Sends an echo request, in fragments if need be, and takes the answer, put together.
fn echo(world: &mut World, from: [u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    let mut frames = fragments(IpProtocol::Icmp, &ping(data), 1480);
    for frame in &mut frames {
        change(frame, |packet| packet.set_src_addr(from.into()));
        world.inject(frame);
    }
    let mut together = Fragments::default();
    let mut whole = None;
    for frame in world.frames() {
        assert!(frame.len() <= 1514);
        whole = match Ipv4Packet::new_unchecked(&frame[IP..]).more_frags()
            || Ipv4Packet::new_unchecked(&frame[IP..]).frag_offset() > 0
        {
            true => together.add_frame(&frame, SECOND).unwrap().or(whole),
            false => Some(frame),
        };
    }
    whole
}

#[test]
fn echo_requests_of_every_length_are_answered() {
    let mut world = world(74);
    let lengths = [
        0, 1, 17, 18, 1471, 1472, 1473, 2951, 2952, 2953, 16_355, 16_356, 16_357, 40_000, 65_506,
        65_507,
    ];
    for len in lengths {
        let data = world.chance.octets(len);
        let answer = echo(&mut world, PEER_IP, &data);
        let answer = answer.unwrap_or_else(|| panic!("no answer to {len} octets"));
        let packet = Ipv4Packet::new_checked(&answer[IP..]).unwrap();
        assert!(packet.verify_checksum());
        assert_eq!(packet.src_addr().octets(), SERVER_IP);
        assert_eq!(packet.dst_addr().octets(), PEER_IP);
        let message = packet.payload();
        assert_eq!(sum(message), 0, "{len}");
        // Type, code, and the numbers of the request.
        assert_eq!([message[0], message[1]], [0, 0]);
        assert_eq!(message[4..8], [0, 7, 0, 9]);
        assert!(message[8..] == data, "{len}");
    }
    assert_eq!(world.figure("icmp_echoes"), lengths.len() as u64);
    assert_eq!(world.figure("frames_dropped"), 0);
}

#[test]
fn udp_of_the_greatest_length_comes_and_goes() {
    let mut world = world(75);
    let socket = world.datagrams(PROGRAM, 7);
    for len in [16_357, 32_768, 65_506, 65_507] {
        let data = world.chance.octets(len);
        let to = (PEER_IP, 5000);
        assert_eq!(world.send_to(PROGRAM, socket, to, &data), Ok(()));
        let mut together = Fragments::default();
        let mut whole = None;
        for frame in world.frames() {
            whole = together.add_frame(&frame, SECOND).unwrap().or(whole);
        }
        let whole = whole.unwrap();
        // And back.
        let mut back = udp((PEER_IP, 5000), 7, &data);
        assert!(whole[ICMP + 8..] == back[ICMP + 8..]);
        for frame in fragments(IpProtocol::Udp, &back.split_off(ICMP), 1480) {
            world.inject(&frame);
        }
        world.frames();
        assert!(world.recv_from(PROGRAM, socket, len).unwrap().0 == data);
    }
}

#[test]
fn many_long_answers_are_bounded_and_what_is_refused_is_counted() {
    let mut world = world(76);
    world.server.device_mut().room = 1;
    let ping = ping(&world.chance.octets(3000));
    let mut frames = 0;
    for _ in 0..40 {
        for frame in fragments(IpProtocol::Icmp, &ping, 1480) {
            world.inject(&frame);
        }
        // Room for one frame, and the card receives when it has it.
        world.server.poll(world.now, &mut world.kernel);
        world.server.device_mut().sent.clear();
        frames += 1;
    }
    assert_eq!(frames, 40);
    world.server.device_mut().room = 64;
    for _ in 0..200 {
        world.frames();
    }
    let echoes = world.figure("icmp_echoes");
    assert_eq!(echoes + world.figure("drop_no_room_for_reply"), 40);
    assert!(echoes >= 16);
    assert_eq!(world.server.deadline(world.now), u64::MAX);
}

#[test]
fn pings_to_everybody_are_counted_and_not_answered() {
    let mut world = world(77);
    for to in [[255; 4], [10, 0, 2, 255]] {
        let frame = ipv4(PEER_IP, to, IpProtocol::Icmp, &ping(b"smurf"));
        assert!(answers(&mut world, &frame).is_empty());
    }
    assert_eq!(world.figure("drop_icmp_broadcast"), 2);
    // For us alone by its address, but sent to all stations (RFC 1122 §3.3.6).
    let mut frame = ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"smurf"));
    frame[..6].fill(0xff);
    assert!(answers(&mut world, &frame).is_empty());
    assert_eq!(world.figure("drop_link_broadcast"), 1);
}

#[test]
fn damaged_messages_are_counted_and_not_answered() {
    let mut world = world(78);
    let good = ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"damage"));
    for at in ICMP..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        assert!(answers(&mut world, &bad).is_empty(), "octet {at}");
    }
    assert_eq!(
        world.figure("drop_icmp_checksum"),
        (good.len() - ICMP) as u64
    );
    for len in 0..8 {
        let short = ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"")[..len]);
        assert!(answers(&mut world, &short).is_empty());
    }
    assert_eq!(world.figure("drop_icmp_length"), 8);
}

/// Whoever the sender is, and whatever is known of it: the station has just been heard.
#[test]
fn an_answer_goes_to_the_station_that_its_cause_came_from() {
    let there = [0x52, 0x54, 0, 0, 0, 8];
    for from in [PEER_IP, [10, 0, 2, 7], FAR] {
        let mut world = World::new(79);
        // That is where it was.
        let mut known = arp_reply([10, 0, 2, 7]);
        known[22..28].copy_from_slice(&there);
        world.inject(&known);
        assert!(world.frames().is_empty());
        for len in [10, 3000] {
            let data = world.chance.octets(len);
            for mut frame in fragments(IpProtocol::Icmp, &ping(&data), 1480) {
                change(&mut frame, |packet| packet.set_src_addr(from.into()));
                world.inject(&frame);
            }
            let sent = world.frames();
            let answer: Vec<_> = sent.iter().filter(|f| f[12..14] == [8, 0]).collect();
            let octets: usize = answer.iter().map(|frame| frame.len() - ICMP).sum();
            assert_eq!(octets, 8 + len);
            assert!(answer.iter().all(|frame| frame[30..34] == from));
            assert!(answer.iter().all(|frame| frame[..6] == PEER_MAC));
        }
        assert_eq!(world.figure("icmp_echoes"), 2);
        let mut frame = udp((PEER_IP, 5000), 9, b"nobody");
        frame[40..42].fill(0);
        change(&mut frame, |packet| packet.set_src_addr(from.into()));
        let sent = answers(&mut world, &frame);
        assert_eq!((sent.len(), &sent[0][..6]), (1, &PEER_MAC[..]));
    }
}

#[test]
fn answers_that_wait_for_the_card_are_bounded() {
    let mut world = world(80);
    let len = 60_000;
    let data = world.chance.octets(len);
    world.server.device_mut().room = 1;
    for number in 0..3 {
        for mut frame in fragments(IpProtocol::Icmp, &ping(&data), 1480) {
            change(&mut frame, |packet| packet.set_ident(number));
            world.inject(&frame);
        }
        world.server.poll(world.now, &mut world.kernel);
        world.server.device_mut().sent.clear();
    }
    assert_eq!(world.figure("icmp_echoes"), 2);
    assert_eq!(world.figure("drop_no_room_for_reply"), 1);
    world.server.device_mut().room = 255;
    assert_eq!(world.frames().len(), 2 * (len + 8).div_ceil(1480) - 3);
    assert_eq!(world.server.deadline(world.now), u64::MAX);
}

/// RFC 1122 §3.3.2: the sender is told if the first fragment has come.
#[test]
fn who_sends_no_end_is_told_in_time() {
    for (first, told) in [(true, true), (false, false)] {
        let mut world = world(82);
        let data = world.chance.octets(3000);
        let mut pieces = fragments(IpProtocol::Icmp, &ping(&data), 1480);
        pieces.swap(0, usize::from(!first));
        assert!(answers(&mut world, &pieces[0]).is_empty());
        let deadline = world.server.deadline(world.now);
        assert_eq!(deadline, world.now + 60 * SECOND);
        world.now = deadline;
        world.inject(&arp_reply(PEER_IP));
        let sent = world.frames();
        assert_eq!(sent.len(), usize::from(told));
        for sent in sent {
            let (kind, quoted) = error(&sent);
            assert_eq!(kind, [11, 1]);
            assert_eq!(quoted, &pieces[0][IP..][..576 - 28]);
        }
        assert_eq!(world.figure("reassembly_timeouts"), 1);
        assert_eq!(world.figure("reassembly_failed"), 1);
        assert_eq!(world.server.deadline(world.now), u64::MAX);
    }
    // Nobody is told of a fragment of a broadcast, or of an error message.
    let mut world = world(83);
    let mut broadcast = fragments(IpProtocol::Icmp, &ping(&[1; 3000]), 1480).swap_remove(0);
    change(&mut broadcast, |packet| {
        packet.set_dst_addr([255; 4].into())
    });
    let mut unreachable = fragments(IpProtocol::Icmp, &[3; 3000], 1480).swap_remove(0);
    change(&mut unreachable, |packet| packet.set_ident(77));
    for frame in [broadcast, unreachable] {
        assert!(answers(&mut world, &frame).is_empty());
    }
    world.now += 60 * SECOND;
    assert!(world.frames().is_empty());
    assert_eq!(world.figure("icmp_errors_withheld"), 2);
}

/// Puts echo requests of these lengths into the card, in fragments, each with its own number.
fn pings(world: &mut World, lengths: &[usize]) {
    for &len in lengths {
        let number = world.chance.next() as u16;
        for mut frame in fragments(IpProtocol::Icmp, &ping(&vec![7; len]), 1480) {
            change(&mut frame, |packet| packet.set_ident(number));
            world.inject(&frame);
        }
    }
}

/// Polls the server once, with a card that has room for so many frames.
fn serve(world: &mut World, room: usize) {
    world.server.device_mut().room = room;
    world.server.poll(world.now, &mut world.kernel);
    assert_eq!(world.server.device_mut().sent.drain(..).count(), room);
}

#[test]
fn answers_that_wait_have_128_kib_and_make_room_when_they_leave() {
    let mut world = world(84);
    let (long, short) = (65_507, 1473);
    let numbers =
        |world: &World| ["icmp_echoes", "drop_no_room_for_reply"].map(|name| world.figure(name));
    pings(&mut world, &[long, (128 << 10) - long - short, short]);
    serve(&mut world, 1);
    assert_eq!(numbers(&world), [3, 0]);
    pings(&mut world, &[short]);
    serve(&mut world, 1);
    assert_eq!(numbers(&world), [3, 1]);
    // The rest of the first answer leaves.
    serve(&mut world, (8 + long).div_ceil(1480) - 2);
    pings(&mut world, &[long, short]);
    serve(&mut world, 1);
    assert_eq!(numbers(&world), [4, 2]);
}

#[test]
fn an_error_without_room_to_wait_is_lost_and_counted() {
    let mut world = world(86);
    let piece = fragments(IpProtocol::Icmp, &ping(&[1; 3000]), 1480).swap_remove(0);
    assert!(answers(&mut world, &piece).is_empty());
    pings(&mut world, &[1473; 16]);
    serve(&mut world, 1);
    // The card is full, and remains so: it is tried again soon, until the fragment's time is up.
    world.server.device_mut().room = 0;
    assert!(world.server.deadline(world.now) < world.now + SECOND);
    world.now += 60 * SECOND;
    assert!(world.frames().is_empty());
    let errors = ["icmp_errors_lost", "icmp_errors"].map(|name| world.figure(name));
    assert_eq!(errors, [1, 0]);
}

#[test]
fn an_answer_that_fits_a_frame_leaves_before_what_comes_later_is_answered() {
    let mut world = world(85);
    pings(&mut world, &[1000]);
    world.inject(&udp((PEER_IP, 5000), 9, b"nobody"));
    pings(&mut world, &[1472]);
    let sent = world.frames();
    let kinds: Vec<u8> = sent.iter().map(|frame| frame[ICMP]).collect();
    assert_eq!(kinds, [0, 3, 0]);
}
