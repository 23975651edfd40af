//! Path MTU discovery (RFC 1191), and who is believed (RFC 5927).

use super::raw::*;
use super::world::*;
use crate::Config;
use crate::tests::frames::{arp_reply, ipv4, ping};
use abi::Pid;
use abi::nic::Segmentation;
use abi::socket::Handle;
use smoltcp::wire::{Icmpv4Packet, IpProtocol, Ipv4Packet};
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x140);
const ROUTER: [u8; 4] = [10, 0, 2, 200];

/// A world with a listener at port 80; its card cuts segments, or does not.
fn world(cuts: bool) -> (World, Handle) {
    let mut world = World::new(3);
    if cuts {
        let segmentation = Segmentation {
            frame_max: 65_000,
            segment_max: 1514,
            payload_min: 64,
            headers_max: 128,
        };
        let mut nic = nic(64);
        nic.segmentation = segmentation;
        world.server = crate::Server::new(Config::new(SERVER_MAC, 3), nic, world.now).unwrap();
    }
    let listener = world.listener(PROGRAM, 80, 8);
    world.inject(&arp_reply(PEER_IP));
    world.frames();
    (world, listener)
}

/// A connection of a peer, whose next segment is returned.
fn open(world: &mut World, listener: Handle, port: u16) -> (Handle, Raw) {
    let syn = Raw {
        ports: (port, 80),
        flags: SYN,
        seq: 1,
        ack: 0,
        window: 60_000,
        data: Vec::new(),
        options: vec![2, 4, 5, 0xb4],
    };
    world.inject(&syn.frame());
    let answer = sent(world).remove(0);
    let next = Raw {
        flags: ACK,
        seq: 2,
        ack: answer.seq.wrapping_add(1),
        options: Vec::new(),
        ..syn
    };
    world.inject(&next.frame());
    let socket = world.accept(PROGRAM, listener);
    (socket, next)
}

fn sent(world: &mut World) -> Vec<Raw> {
    let frames = world.frames();
    frames.iter().filter_map(|frame| Raw::read(frame)).collect()
}

/// The lengths of the datagrams that hold these.
fn longest(segments: &[Raw]) -> usize {
    let lens = segments.iter().map(|segment| 40 + segment.data.len());
    lens.max().unwrap_or(0)
}

/// A router's message about a segment, which was in a datagram of `total` octets.
pub(super) fn too_big(segment: &Raw, total: u16, mtu: u16) -> Vec<u8> {
    let mut quoted = Raw {
        data: Vec::new(),
        ..segment.clone()
    }
    .frame()[14..]
        .to_vec();
    quoted.truncate(28);
    let mut packet = Ipv4Packet::new_unchecked(&mut quoted);
    packet.set_src_addr(SERVER_IP.into());
    packet.set_dst_addr(PEER_IP.into());
    packet.set_total_len(total);
    packet.fill_checksum();
    let mut message = vec![3, 4, 0, 0, 0, 0, 0, 0];
    message[6..].copy_from_slice(&mtu.to_be_bytes());
    message.extend(&quoted);
    let mut packet = Icmpv4Packet::new_unchecked(&mut message);
    packet.fill_checksum();
    ipv4(ROUTER, SERVER_IP, IpProtocol::Icmp, &message)
}

/// Sends a lot over a path of this MTU, which drops what is longer and says so with `told`. The
/// lengths that got through are returned.
fn download(
    world: &mut World,
    socket: Handle,
    next: &mut Raw,
    mtu: usize,
    told: u16,
) -> Vec<usize> {
    let text: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
    assert!(world.send(PROGRAM, socket, &text).is_ok());
    let first = next.ack;
    let mut heard: Vec<u8> = Vec::new();
    let mut lens = Vec::new();
    for _ in 0..1000 {
        for segment in sent(world) {
            let len = 40 + segment.data.len();
            if len > mtu {
                let message = too_big(&segment, len as u16, told);
                world.inject(&message);
                continue;
            }
            lens.push(len);
            let at = segment.seq.wrapping_sub(first) as usize;
            if at == heard.len() {
                heard.extend(&segment.data);
            }
        }
        if heard.len() == text.len() {
            break;
        }
        next.ack = first.wrapping_add(heard.len() as u32);
        let ack = next.frame();
        world.inject(&ack);
        world.now += 300 * MS;
    }
    assert!(
        heard == text,
        "{} octets of {} over {mtu}",
        heard.len(),
        text.len()
    );
    next.ack = first.wrapping_add(heard.len() as u32);
    world.inject(&next.frame());
    sent(world);
    lens
}

#[test]
fn what_is_too_big_for_a_router_comes_shorter() {
    for cuts in [false, true] {
        // MTUs, and what routers tell of them; 0: the old ones, which tell nothing.
        for (mtu, told, most) in [
            (1499, 1499, 1499),
            (1280, 1280, 1280),
            (576, 576, 576),
            (296, 296, 296),
            (68, 68, 68),
            (1006, 0, 1006),
            (600, 0, 508),
            // No link is so narrow (RFC 791 §3.2).
            (68, 20, 68),
        ] {
            let (mut world, listener) = world(cuts);
            let (socket, mut next) = open(&mut world, listener, 5000);
            let lens = download(&mut world, socket, &mut next, mtu, told);
            assert_eq!(lens.iter().max(), Some(&most), "{mtu}, {told}");
            assert!(world.figure("tcp_paths_narrowed") >= 1);
            // The next connection to that host knows, for ten minutes.
            let (socket, mut next) = open(&mut world, listener, 5001);
            let again = world.figure("tcp_paths_narrowed");
            download(&mut world, socket, &mut next, mtu, told);
            assert_eq!(world.figure("tcp_paths_narrowed"), again);
            world.now += 601 * SECOND;
            sent(&mut world);
            let (socket, mut next) = open(&mut world, listener, 5002);
            download(&mut world, socket, &mut next, mtu, told);
            assert!(world.figure("tcp_paths_narrowed") > again);
        }
    }
}

#[test]
fn messages_about_what_is_not_on_its_way_are_not_believed() {
    let (mut world, listener) = world(false);
    let (socket, _) = open(&mut world, listener, 5000);
    let text = [7; 3000];
    assert!(world.send(PROGRAM, socket, &text).is_ok());
    let segment = sent(&mut world).remove(0);
    assert_eq!(longest(core::slice::from_ref(&segment)), 1500);
    type Change = fn(&mut Raw);
    let lies: [(&str, Change); 4] = [
        ("acknowledged", |segment| {
            segment.seq = segment.seq.wrapping_sub(1)
        }),
        ("not sent", |segment| {
            segment.seq = segment.seq.wrapping_add(9000)
        }),
        ("another peer", |segment| segment.ports.1 += 1),
        ("another port", |segment| segment.ports.0 += 1),
    ];
    for (what, change) in lies {
        let mut lie = segment.clone();
        change(&mut lie);
        world.inject(&too_big(&lie, 1500, 576));
        sent(&mut world);
        assert_eq!(world.figure("tcp_paths_narrowed"), 0, "{what}");
    }
    // Not of a datagram of ours, of TCP, with a TCP header.
    for (at, octet) in [(0, 0x65), (9, 17), (12, 11), (7, 1)] {
        let mut lie = too_big(&segment, 1500, 576);
        lie[14 + 20 + 8 + at] = octet;
        Icmpv4Packet::new_unchecked(&mut lie[34..]).fill_checksum();
        world.inject(&lie);
        sent(&mut world);
        assert_eq!(world.figure("tcp_paths_narrowed"), 0, "{at}");
    }
    // A greater one, the same one, and one that was cut short.
    for (total, mtu) in [
        (1500, 1500),
        (1500, 1501),
        (1500, 65_535),
        (1501, 1500),
        (1000, 1000),
    ] {
        world.inject(&too_big(&segment, total, mtu));
    }
    let mut short = too_big(&segment, 1500, 576);
    short.truncate(14 + 20 + 8 + 27);
    let mut packet = Ipv4Packet::new_unchecked(&mut short[14..]);
    packet.set_total_len(20 + 8 + 27);
    packet.fill_checksum();
    Icmpv4Packet::new_unchecked(&mut short[34..]).fill_checksum();
    world.inject(&short);
    sent(&mut world);
    assert_eq!(world.figure("tcp_paths_narrowed"), 0);
    assert_eq!(world.figure("drop_icmp_error"), 14);
    world.inject(&too_big(&segment, 1500, 576));
    sent(&mut world);
    assert_eq!(world.figure("tcp_paths_narrowed"), 1);
    // It is never raised by a message.
    world.inject(&too_big(&segment, 1500, 1400));
    sent(&mut world);
    assert_eq!(world.figure("tcp_paths_narrowed"), 1);
    world.now += 2 * SECOND;
    assert_eq!(longest(&sent(&mut world)), 576);
}

#[test]
fn datagrams_may_be_fragmented_on_their_way_and_are_told_apart() {
    let (mut world, _) = world(false);
    let socket = world.datagrams(PROGRAM, 7);
    let mut seen = Vec::new();
    for n in 0..3 {
        let sent = world.send_to(PROGRAM, socket, (PEER_IP, 5000), &[n; 1400]);
        assert_eq!(sent, Ok(()));
        world.inject(&ipv4(
            PEER_IP,
            SERVER_IP,
            IpProtocol::Icmp,
            &ping(&[n; 900]),
        ));
        for frame in world.frames() {
            let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
            assert!(!packet.dont_frag() && !packet.more_frags());
            seen.push((packet.next_header(), packet.ident()));
        }
    }
    assert_eq!(seen.len(), 6);
    for (index, one) in seen.iter().enumerate() {
        assert!(!seen[..index].contains(one), "{seen:?}");
    }
}
