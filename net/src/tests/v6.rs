//! IPv6: a server and a peer that is smoltcp as it comes, and frames made by hand.

use super::world::*;
use crate::Config;
use crate::ip::icmp::pseudo;
use abi::Pid;
use abi::socket::Ip;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use smoltcp::iface::SocketHandle;
use smoltcp::wire::{IpAddress, IpCidr};
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x102);
/// The server's link-local address, which its station makes.
const SERVER_LINK: &str = "fe80::5054:ff:fe12:3456";
const PEER_LINK: &str = "fe80::2";
const ROUTER: &str = "fe80::1";
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

pub fn ip(text: &str) -> Ip {
    Ip::v6(text.parse().unwrap())
}

/// A world whose server speaks IPv6, and whose peer has a link-local address.
pub fn world(seed: u64) -> World {
    let mut config = Config::new(SERVER_MAC, seed);
    config.ipv6 = true;
    let mut world = World::with(config);
    give_address(&mut world, PEER_LINK);
    world
}

fn give_address(world: &mut World, address: &str) {
    let address: Ipv6Addr = address.parse().unwrap();
    world.peer.interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(address.into(), 64)).unwrap();
    });
}

/// A packet from the peer's station, without a checksum of what it carries.
fn packet(ends: (&str, &str), (next, hop_limit): (u8, u8), carried: &[u8]) -> Vec<u8> {
    let to = ip(ends.1);
    let station = match to.is_multicast() {
        true => [0x33, 0x33, to.0[12], to.0[13], to.0[14], to.0[15]],
        false => SERVER_MAC,
    };
    let mut frame = [&station[..], &PEER_MAC, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend_from_slice(&(carried.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[next, hop_limit]);
    frame.extend_from_slice(&ip(ends.0).0);
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(carried);
    frame
}

/// An ICMPv6 message in a packet.
fn icmp(ends: (&str, &str), hop_limit: u8, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let sum = pseudo(ip(ends.0), ip(ends.1), message.len()).add(&message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    packet(ends, (ICMPV6, hop_limit), &message)
}

/// A UDP datagram with its checksum.
fn udp(ends: (&str, &str), ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let len = (8 + data.len()) as u16;
    let numbers = [ports.0, ports.1, len, 0];
    let mut datagram: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    datagram.extend_from_slice(data);
    let sum = crate::link::checksum::Sum::default();
    let sum = sum.pseudo_ip(ip(ends.0), ip(ends.1), UDP, datagram.len());
    let checksum = crate::link::checksum::of_udp(sum.add(&datagram));
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    datagram
}

/// A router's advertisement of these prefixes, with their flags and lifetimes.
fn advertisement(lifetime_s: u16, prefixes: &[(&str, u8, u8, u32, u32)]) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend_from_slice(&lifetime_s.to_be_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[&[1, 1][..], &PEER_MAC].concat());
    for &(prefix, len, flags, valid, preferred) in prefixes {
        message.extend_from_slice(&[3, 4, len, flags]);
        message.extend_from_slice(&valid.to_be_bytes());
        message.extend_from_slice(&preferred.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&ip(prefix).0);
    }
    icmp((ROUTER, "ff02::1"), 255, &message)
}

/// The ICMPv6 messages among some frames: their destinations and octets, behind extension headers.
fn messages(frames: &[Vec<u8>]) -> Vec<(Ip, Vec<u8>)> {
    let of_v6 = frames.iter().filter(|frame| frame[12..14] == [0x86, 0xdd]);
    let messages = of_v6.filter_map(|frame| {
        let start = match frame[20] {
            0 => 62,
            ICMPV6 => 54,
            _ => return None,
        };
        let to = Ip(*frame[38..54].first_chunk().unwrap());
        let from = Ip(*frame[22..38].first_chunk().unwrap());
        let message = frame[start..].to_vec();
        assert!(pseudo(from, to, message.len()).add(&message).is_right());
        Some((to, message))
    });
    messages.collect()
}

fn kinds(frames: &[Vec<u8>]) -> Vec<u8> {
    messages(frames)
        .iter()
        .map(|(_, message)| message[0])
        .collect()
}

fn addresses(world: &World) -> Vec<std::string::String> {
    let text = world.server.status();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("ipv6_address "));
    lines.map(Into::into).collect()
}

fn connect(world: &mut World, to: &str, local: u16, port: u16) -> SocketHandle {
    let handle = world.peer.listen(1);
    let to: Ipv6Addr = to.parse().unwrap();
    let context = world.peer.interface.context();
    let socket: &mut smoltcp::socket::tcp::Socket = world.peer.sockets.get_mut(handle);
    socket.abort();
    socket
        .connect(context, (IpAddress::Ipv6(to), port), local)
        .unwrap();
    handle
}

/// A frame for each reason that only IPv6 has ([`crate::tests::counters`]).
pub fn source_route() -> Vec<u8> {
    packet(
        (PEER_LINK, SERVER_LINK),
        (43, 64),
        &[UDP, 0, 0, 1, 0, 0, 0, 0],
    )
}

pub fn from_too_far() -> Vec<u8> {
    icmp((PEER_LINK, SERVER_LINK), 254, &solicitation(SERVER_LINK))
}

pub fn for_another() -> Vec<u8> {
    icmp((PEER_LINK, SERVER_LINK), 255, &solicitation("fe80::77"))
}

pub fn claim() -> Vec<u8> {
    let target = ip(SERVER_LINK).0;
    let claim = [
        &[136, 0, 0, 0, 0x20, 0, 0, 0][..],
        &target,
        &[2, 1],
        &PEER_MAC,
    ]
    .concat();
    icmp((PEER_LINK, "ff02::1"), 255, &claim)
}

fn solicitation(target: &str) -> Vec<u8> {
    let head = [135, 0, 0, 0, 0, 0, 0, 0];
    [&head[..], &ip(target).0, &[1, 1], &PEER_MAC].concat()
}

#[test]
fn at_the_start_it_reports_its_group_probes_its_address_and_asks_for_routers() {
    let mut world = world(1);
    assert_eq!(addresses(&world), [SERVER_LINK]);
    let frames = world.frames();
    assert_eq!(kinds(&frames), [143, 135, 133]);
    let messages = messages(&frames);
    let group = ip("ff02::1:ff12:3456");
    assert_eq!(messages[0].1[8..], [&[4, 0, 0, 0][..], &group.0].concat());
    assert_eq!(
        (messages[1].0, &messages[1].1[8..24]),
        (group, &ip(SERVER_LINK).0[..])
    );
    assert_eq!(messages[2].0, ip("ff02::2"));
    // Two more times, and then no more.
    world.pass(60 * SECOND);
    assert_eq!(world.figure("frames_received"), 0);
    assert_eq!(world.frames_sent, 2);
}

#[test]
fn a_megabyte_goes_both_ways_over_tcp() {
    for (seed, loss) in [(2, 0), (3, 3)] {
        let mut world = world(seed);
        world.faults.loss = loss;
        let listener = world.listener(PROGRAM, 80, 4);
        let client = connect(&mut world, SERVER_LINK, 5000, 80);
        let data = world.chance.octets(1 << 20);
        let mut socket = None;
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let (mut sent, mut echoed) = (0, 0);
        world.until(600 * SECOND, "echo", |world| {
            let peer = world.peer.tcp(client);
            if peer.can_send() && sent < data.len() {
                sent += peer.send_slice(&data[sent..]).unwrap();
            }
            if peer.can_recv() {
                peer.recv(|octets| {
                    back.extend_from_slice(octets);
                    (octets.len(), ())
                })
                .unwrap();
            }
            let Some((socket, _)) = socket else {
                socket = world.try_accept(PROGRAM, listener).ok();
                return false;
            };
            if let Ok(octets) = world.recv(PROGRAM, socket, 4096) {
                there.extend_from_slice(&octets);
            }
            if echoed < there.len() {
                echoed += world.send(PROGRAM, socket, &there[echoed..]).unwrap_or(0);
            }
            if world.now % SECOND < MS {
                std::eprintln!(
                    "{} {sent} {} {echoed} {}",
                    world.now / SECOND,
                    there.len(),
                    back.len()
                );
            }
            back.len() == data.len()
        });
        assert!(there == data && back == data);
    }
}

#[test]
fn the_server_connects_to_an_ipv6_peer_that_it_asks_for() {
    let mut world = world(4);
    let peer = world.peer.listen(7000);
    let to: SocketAddr = SocketAddr::new(IpAddr::V6(PEER_LINK.parse().unwrap()), 7000);
    let (socket, _) = world.connect(PROGRAM, to).unwrap();
    assert_eq!(world.send(PROGRAM, socket, b"hello"), Ok(5));
    world.until(5 * SECOND, "data", |world| world.peer.tcp(peer).can_recv());
    assert_eq!(world.figure("neighbors"), 1);
}

#[test]
fn datagrams_come_and_go_whole_and_in_fragments() {
    let mut world = world(5);
    let socket = world.datagrams(PROGRAM, 7);
    let ends = (PEER_LINK, SERVER_LINK);
    let small = udp(ends, (9000, 7), b"hello");
    world.inject(&packet(ends, (UDP, 64), &small));
    let (octets, from) = world.recv_from(PROGRAM, socket, 100).unwrap();
    assert_eq!(octets, b"hello");
    assert_eq!(from.to_string(), std::format!("[{PEER_LINK}]:9000"));
    // One of 5000 octets, in fragments, and in any order.
    let data = world.chance.octets(5000);
    let long = udp(ends, (9000, 7), &data);
    let pieces: Vec<&[u8]> = long.chunks(1232).collect();
    for index in [3, 0, 4, 1, 2] {
        let has_more = u16::from(index + 1 < pieces.len());
        let part = (index * 1232) as u16 | has_more;
        let header = [&[UDP, 0][..], &part.to_be_bytes(), &[0, 0, 0, 9]].concat();
        let carried = [&header[..], pieces[index]].concat();
        world.inject(&packet(ends, (44, 64), &carried));
    }
    let (octets, _) = world.recv_from(PROGRAM, socket, 9000).unwrap();
    assert!(octets == data);
    // And back, which the peer's stack does not put together: the fragments are read here.
    world.frames();
    world.send_to(PROGRAM, socket, from, &data).unwrap();
    let frames = world.frames();
    let mut back = vec![0; long.len()];
    let of_udp = frames
        .iter()
        .filter(|frame| frame[20] == 44 && frame[54] == UDP);
    for frame in of_udp.clone() {
        assert!(frame.len() <= 1514);
        let offset = usize::from(u16::from_be_bytes([frame[56], frame[57]]) & !7);
        back[offset..][..frame.len() - 62].copy_from_slice(&frame[62..]);
    }
    assert_eq!(of_udp.count(), 4);
    assert!(back[8..] == data);
    let sum = crate::link::checksum::Sum::default();
    let sum = sum.pseudo_ip(ip(SERVER_LINK), ip(PEER_LINK), UDP, back.len());
    assert!(sum.add(&back).is_right());
    // The sender of a datagram to a port that nobody has is told.
    let stray = udp(ends, (9000, 8), b"hello");
    world.inject(&packet(ends, (UDP, 64), &stray));
    let told = messages(&world.frames());
    assert_eq!(told[0].1[..2], [1, 4]);
    assert_eq!(told[0].1[8 + 40..], stray);
}

#[test]
fn echo_requests_are_answered_and_unknown_protocols_told() {
    let mut world = world(6);
    world.frames();
    for (to, len) in [(SERVER_LINK, 56), (SERVER_LINK, 1400), ("ff02::1", 8)] {
        let data = world.chance.octets(len);
        let request = [&[128, 0, 0, 0, 1, 2, 3, 4][..], &data].concat();
        world.inject(&icmp((PEER_LINK, to), 64, &request));
        let answers = messages(&world.frames());
        let answer = &answers
            .iter()
            .find(|(_, message)| message[0] == 129)
            .unwrap();
        assert_eq!(answer.0, ip(PEER_LINK));
        assert_eq!(answer.1[4..], request[4..]);
    }
    world.inject(&packet((PEER_LINK, SERVER_LINK), (253, 64), &[1; 20]));
    assert_eq!(messages(&world.frames())[0].1[..2], [4, 1]);
    // Never for an error, and never to a group.
    let error = [&[1, 4, 0, 0, 0, 0, 0, 0][..], &[0x60; 48]].concat();
    world.inject(&icmp((PEER_LINK, SERVER_LINK), 64, &error));
    world.inject(&packet((PEER_LINK, "ff02::1"), (253, 64), &[1; 20]));
    assert!(messages(&world.frames()).is_empty());
}

#[test]
fn a_prefix_gives_an_address_until_its_time_is_over() {
    let mut world = world(7);
    world.frames();
    let prefix = ("2001:db8::", 64, 0xc0, 30, 10);
    world.inject(&advertisement(1800, &[prefix]));
    // The new address is probed and its group is reported.
    assert_eq!(kinds(&world.frames()), [143, 135]);
    let address = "2001:db8::5054:ff:fe12:3456";
    assert_eq!(addresses(&world), [SERVER_LINK, address]);
    let listener = world.listener(PROGRAM, 80, 4);
    give_address(&mut world, "2001:db8::2");
    let client = connect(&mut world, address, 5000, 80);
    let mut socket = None;
    world.until(5 * SECOND, "accepted", |world| {
        socket = socket.or_else(|| world.try_accept(PROGRAM, listener).ok());
        socket.is_some()
    });
    world.pass(31 * SECOND);
    assert_eq!(addresses(&world), [SERVER_LINK]);
    assert!(!world.peer.tcp(client).is_open(), "it was reset");
    let told = world.recv(PROGRAM, socket.unwrap().0, 10);
    assert_eq!(told, Err(abi::Error::ConnectionReset));
}

#[test]
fn who_cannot_be_trusted_cannot_shorten_an_address_below_two_hours() {
    let mut world = world(8);
    let told = |world: &mut World, valid: u32| {
        world.inject(&advertisement(1800, &[("2001:db8::", 64, 0xc0, valid, 0)]));
        world.frames();
    };
    told(&mut world, 100_000);
    told(&mut world, 0);
    world.pass(7100 * SECOND);
    assert_eq!(addresses(&world).len(), 2);
    world.pass(200 * SECOND);
    assert_eq!(addresses(&world).len(), 1);
}

#[test]
fn routers_that_lie_are_bounded_and_refused() {
    let mut world = world(9);
    world.frames();
    let names: Vec<_> = (0..200).map(|n| std::format!("2001:db8:{n:x}::")).collect();
    for name in &names {
        world.inject(&advertisement(1800, &[(name, 64, 0xc0, 3600, 3600)]));
        world.frames();
    }
    assert_eq!(addresses(&world).len(), crate::ip::interface::ADDRESSES);
    assert!(world.figure("ipv6_prefixes_refused") > 300);
    let before = addresses(&world);
    for prefix in [
        ("2001:db8:f000::", 63, 0x40, 3600, 3600),
        ("2001:db8:f000::", 64, 0x40, 10, 20),
        ("fe80::", 64, 0x40, 3600, 3600),
        ("ff02::", 64, 0x40, 3600, 3600),
        ("2001:db8:f000::", 200, 0xc0, 3600, 3600),
    ] {
        world.inject(&advertisement(1800, &[prefix]));
    }
    // From too far, from a global address, and with an option that never ends.
    let good = advertisement(1800, &[("2001:db8:f000::", 64, 0xc0, 3600, 3600)]);
    for bad in [
        icmp((ROUTER, "ff02::1"), 254, &good[54..]),
        icmp(("2001:db8::1", "ff02::1"), 255, &good[54..]),
        icmp(
            (ROUTER, "ff02::1"),
            255,
            &[&good[54..70], &[1, 0, 0, 0, 0, 0, 0, 0]].concat(),
        ),
    ] {
        world.inject(&bad);
    }
    world.frames();
    assert_eq!(world.figure("drop_ndp_invalid"), 3);
    assert_eq!(addresses(&world), before);
}

#[test]
fn an_address_that_somebody_else_has_is_given_up_while_it_is_probed_alone() {
    for (after, kept) in [(0, false), (3 * SECOND, true)] {
        let mut world = world(10);
        world.frames();
        world.pass(after);
        world.inject(&claim());
        world.frames();
        assert_eq!(addresses(&world).is_empty(), !kept, "{after}");
        assert_eq!(world.figure("ipv6_duplicates"), 1);
        // Who probes an address that is ours is told so.
        let probe = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &ip(SERVER_LINK).0].concat();
        world.inject(&icmp(("::", "ff02::1:ff12:3456"), 255, &probe));
        let told = messages(&world.frames());
        let told = told
            .iter()
            .filter(|(to, message)| *to == ip("ff02::1") && message[0] == 136);
        assert_eq!(told.count(), usize::from(kept));
    }
}

#[test]
fn extension_headers_are_passed_over_up_to_a_bound() {
    let mut world = world(11);
    let socket = world.datagrams(PROGRAM, 7);
    let ends = (PEER_LINK, SERVER_LINK);
    let datagram = udp(ends, (9000, 7), b"hello");
    let padding = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let chain = |kinds: &[u8], last: u8| {
        let mut octets = Vec::new();
        for (index, _) in kinds.iter().enumerate() {
            octets.extend(padding(kinds.get(index + 1).copied().unwrap_or(last)));
        }
        octets
    };
    for (kinds, passes) in [
        (&[0, 60][..], true),
        (&[60; 8], true),
        (&[60; 9], false),
        (&[60, 0], false),
    ] {
        let carried = [chain(kinds, UDP), datagram.clone()].concat();
        world.inject(&packet(ends, (kinds[0], 64), &carried));
        assert_eq!(
            world.recv_from(PROGRAM, socket, 10).is_ok(),
            passes,
            "{kinds:?}"
        );
    }
    for bad in [
        // An option that must not be passed over, and a source route.
        [UDP, 0, 0xc2, 4, 0, 0, 0, 0],
        [UDP, 0, 5, 200, 0, 0, 0, 0],
    ] {
        world.inject(&packet(ends, (60, 64), &[&bad[..], &datagram].concat()));
    }
    world.inject(&packet(
        ends,
        (43, 64),
        &[&[UDP, 0, 0, 1, 0, 0, 0, 0][..], &datagram].concat(),
    ));
    assert!(world.recv_from(PROGRAM, socket, 10).is_err());
    assert_eq!(world.figure("drop_ip_extension"), 5);
    // Checksums are not optional.
    let mut without = datagram.clone();
    without[6..8].fill(0);
    world.inject(&packet(ends, (UDP, 64), &without));
    world.frames();
    assert_eq!(world.figure("drop_udp_checksum"), 1);
}

#[test]
fn a_connection_opens_behind_extension_headers() {
    let mut world = world(12);
    let listener = world.listener(PROGRAM, 80, 4);
    let mut syn = vec![
        0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0,
    ];
    let sum = crate::link::checksum::Sum::default();
    let sum = sum
        .pseudo_ip(ip(PEER_LINK), ip(SERVER_LINK), TCP, syn.len())
        .add(&syn);
    syn[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    let behind = |segment: &[u8]| {
        let carried = [&[TCP, 0, 1, 4, 0, 0, 0, 0][..], segment].concat();
        packet((PEER_LINK, SERVER_LINK), (60, 64), &carried)
    };
    world.inject(&behind(&syn));
    let answer = world.frames();
    let answer = answer
        .iter()
        .find(|frame| frame[20] == TCP)
        .unwrap()
        .clone();
    assert_eq!(answer[54 + 13], 0x12);
    let mut ack = syn.clone();
    ack[4..8].copy_from_slice(&2u32.to_be_bytes());
    let next = u32::from_be_bytes(*answer[58..62].first_chunk().unwrap()).wrapping_add(1);
    ack[8..12].copy_from_slice(&next.to_be_bytes());
    ack[13] = 0x10;
    ack.extend_from_slice(b"GET");
    ack[16..18].fill(0);
    let sum = crate::link::checksum::Sum::default();
    let sum = sum
        .pseudo_ip(ip(PEER_LINK), ip(SERVER_LINK), TCP, ack.len())
        .add(&ack);
    ack[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    world.inject(&behind(&ack));
    let socket = world.accept(PROGRAM, listener);
    assert_eq!(world.recv(PROGRAM, socket, 10), Ok(b"GET".to_vec()));
}

#[test]
fn a_packet_that_was_too_big_comes_shorter_and_never_below_1280() {
    for (told, longest) in [(1400, 1400), (600, 1280)] {
        let mut world = world(14);
        let listener = world.listener(PROGRAM, 80, 4);
        connect(&mut world, SERVER_LINK, 5000, 80);
        let mut socket = None;
        world.until(5 * SECOND, "accepted", |world| {
            socket = socket.or_else(|| world.try_accept(PROGRAM, listener).ok());
            socket.is_some()
        });
        let (socket, _) = socket.unwrap();
        assert_eq!(world.send(PROGRAM, socket, &[7; 4000]), Ok(4000));
        // The frames are lost at a router, which tells so of the first.
        let frames = world.frames();
        let lost = frames.iter().find(|frame| frame.len() == 1514).unwrap();
        let head = [&[2, 0, 0, 0, 0, 0][..], &u16::to_be_bytes(told)].concat();
        let message = [&head[..], &lost[14..14 + 1200]].concat();
        world.inject(&icmp((ROUTER, SERVER_LINK), 64, &message));
        // The first one is sent again, in pieces that fit.
        let mut after = 0;
        for _ in 0..40 {
            world.now += 100 * MS;
            after = world.frames().iter().map(Vec::len).fold(after, usize::max);
        }
        assert_eq!(world.figure("tcp_paths_narrowed"), 1);
        assert!(after <= 14 + longest && after > longest - 100, "{after}");
    }
}

#[test]
fn mutated_frames_leave_nothing_behind() {
    let mut world = world(13);
    let socket = world.datagrams(PROGRAM, 7);
    world.listener(PROGRAM, 80, 4);
    world.frames();
    let ends = (PEER_LINK, SERVER_LINK);
    let fragment = [&[UDP, 0, 0, 1, 0, 0, 0, 9][..], &[7; 64]].concat();
    let good = [
        packet(ends, (UDP, 64), &udp(ends, (9000, 7), b"hello")),
        icmp(ends, 64, &[128, 0, 0, 0, 1, 2, 3, 4, 5]),
        icmp(ends, 255, &solicitation(SERVER_LINK)),
        icmp(
            (PEER_LINK, "ff02::1"),
            1,
            &[130, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        advertisement(1800, &[("2001:db8::", 64, 0xc0, 3600, 3600)]),
        packet(ends, (44, 64), &fragment),
        packet(
            ends,
            (0, 64),
            &[&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &udp(ends, (9, 7), b"x")].concat(),
        ),
        icmp(
            ends,
            64,
            &[&[2, 0, 0, 0, 0, 0, 5, 0][..], &[0x60; 60]].concat(),
        ),
    ];
    let memory = world.figure("buffer_octets");
    for round in 0..100_000u64 {
        let mut frame = good[(round % 8) as usize].clone();
        for _ in 0..1 + world.chance.below(3) {
            let at = world.chance.below(frame.len() as u64) as usize;
            frame[at] = world.chance.next() as u8;
        }
        if world.chance.percent(10) {
            frame.truncate(14 + world.chance.below(frame.len() as u64 - 13) as usize);
        }
        // Half of the messages have a right checksum all the same.
        if frame.len() > 62 && frame[20] == ICMPV6 && world.chance.percent(50) {
            let from = Ip(*frame[22..38].first_chunk().unwrap());
            let to = Ip(*frame[38..54].first_chunk().unwrap());
            frame[56..58].fill(0);
            let sum = pseudo(from, to, frame.len() - 54).add(&frame[54..]);
            frame[56..58].copy_from_slice(&sum.checksum().to_be_bytes());
        }
        world.inject(&frame);
        if round % 16 == 0 {
            world.frames();
            while world.recv_from(PROGRAM, socket, 100).is_ok() {}
        }
    }
    world.frames();
    while world.recv_from(PROGRAM, socket, 100).is_ok() {}
    assert_eq!(world.figure("buffer_octets"), memory);
    let figure = |name: &str| world.figure(name);
    let verdicts = figure("frames_delivered") + figure("frames_kept") + figure("frames_dropped");
    assert_eq!(verdicts, figure("frames_received"));
    assert!(figure("frames_delivered") > 10_000 && figure("frames_dropped") > 10_000);
}
