//! Datagrams, ARP, ICMP and fragments.

use super::world::*;
use crate::Config;
use crate::ip::fragments::Fragments;
use crate::tests::batch::Ops;
use crate::tests::frames::{Segment, arp, arp_reply, fragments, ipv4, ping, segments, udp};
use abi::socket::Handle;
use abi::{Error, Pid};
use core::net::SocketAddr;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Icmpv4Message, Icmpv4Packet,
    IpAddress, IpEndpoint, IpProtocol, Ipv4Packet, TcpControl, UdpPacket,
};
use std::vec;
use std::vec::Vec;

const SERVER: Pid = Pid(0x102);

fn address(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

fn endpoint(port: u16) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(SERVER_IP.into()), port)
}

/// Whom the server asks for by ARP in these frames.
fn asked(frames: &[Vec<u8>]) -> Vec<[u8; 4]> {
    let asked = |frame: &Vec<u8>| {
        let frame = EthernetFrame::new_checked(frame).unwrap();
        if frame.ethertype() != EthernetProtocol::Arp {
            return None;
        }
        let packet = ArpPacket::new_checked(frame.payload()).unwrap();
        let ArpRepr::EthernetIpv4 {
            operation,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&packet).unwrap()
        else {
            panic!("not for Ethernet and IPv4")
        };
        assert_eq!(operation, ArpOperation::Request);
        Some(target_protocol_addr.octets())
    };
    frames.iter().filter_map(asked).collect()
}

/// Data of the UDP datagrams in these frames.
fn datagrams(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let data = |frame: &Vec<u8>| {
        let frame = EthernetFrame::new_checked(frame).unwrap();
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        (frame.ethertype() == EthernetProtocol::Ipv4).then_some(())?;
        assert_eq!(packet.next_header(), IpProtocol::Udp);
        let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
        Some(datagram.payload().to_vec())
    };
    frames.iter().filter_map(data).collect()
}

#[test]
fn an_echo_of_datagrams_of_every_size() {
    let mut world = World::new(1);
    let socket = world.datagrams(SERVER, 7);
    let peer = world.peer.open_udp(5000);
    for len in [0, 1, 17, 512, 1471, 1472] {
        let data = world.chance.octets(len);
        world.peer.udp(peer).send_slice(&data, endpoint(7)).unwrap();
        world.pass(10 * MS);
        let sender = address(PEER_IP, 5000);
        let (received, from) = world.recv_from(SERVER, socket, 2000).unwrap();
        assert_eq!((received.len(), from), (len, sender));
        world.send_to(SERVER, socket, sender, &received).unwrap();
        let mut got = Vec::new();
        world.until(SECOND, "the echo", |world| {
            let received = world.peer.udp(peer).recv().map(|(data, _)| data.to_vec());
            received.map(|data| got = data).is_ok()
        });
        assert_eq!(got, data);
    }
}

#[test]
fn long_datagrams_are_fragmented_and_reassembled() {
    let mut world = World::new(2);
    let socket = world.datagrams(SERVER, 7);
    world.inject(&arp_reply(PEER_IP));
    // In: 65,507 octets, the most there can be.
    let data = world.chance.octets(65507);
    let whole = udp((PEER_IP, 5000), 7, &data)[34..].to_vec();
    for frame in fragments(IpProtocol::Udp, &whole, 1480) {
        world.inject(&frame);
    }
    assert!(world.frames().is_empty());
    let (received, sender) = world.recv_from(SERVER, socket, 70_000).unwrap();
    assert_eq!(sender, address(PEER_IP, 5000));
    assert!(received == data);
    // Out: several at once, of two sockets, which must not overwrite each other.
    let other = world.datagrams(SERVER, 8);
    let sizes = [9000, 40, 16357, 1473, 1472];
    for (n, len) in sizes.into_iter().enumerate() {
        let socket = if n < 2 { other } else { socket };
        let sent = world.send_to(SERVER, socket, sender, &vec![n as u8; len]);
        assert_eq!(sent, Ok(()));
    }
    world.server.device_mut().room = 2;
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for _ in 0..100 {
        pieces.extend(world.frames());
        world.now += MS;
    }
    // Each piece carries its datagram's number in every octet of its data.
    let mut got = [0; 5];
    for frame in &pieces {
        assert!(frame.len() <= 1514);
        let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
        let header = if packet.frag_offset() == 0 { 8 } else { 0 };
        let data = &packet.payload()[header..];
        got[usize::from(data[0])] += data.len();
        assert!(data.iter().all(|&octet| octet == data[0]));
    }
    assert_eq!(got, sizes);
    // And the whole has a checksum.
    let mut together = Fragments::default();
    let whole = |frame: &Vec<u8>| together.add_frame(frame, SECOND).unwrap();
    let wholes: Vec<Vec<u8>> = pieces.iter().filter_map(whole).collect();
    assert_eq!(wholes.len(), sizes.len());
    for frame in wholes {
        let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
        let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
        let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
        assert!(datagram.checksum() != 0 && datagram.verify_checksum(&from, &to));
    }
    let too_long = world.send_to(SERVER, socket, sender, &vec![0; 65508]);
    assert_eq!(too_long, Err(Error::TooLong));
}

#[test]
fn what_does_not_fit_is_lost_and_the_next_is_whole() {
    let mut world = World::new(3);
    let socket = world.datagrams(SERVER, 7);
    for data in [&b"too long for it"[..], b"fits"] {
        world.inject(&udp((PEER_IP, 5000), 7, data));
    }
    world.frames();
    for expected in [b"too ", b"fits"] {
        let (received, _) = world.recv_from(SERVER, socket, 4).unwrap();
        assert_eq!(received, expected);
    }
    let nothing = world.recv_from(SERVER, socket, 4);
    assert_eq!(nothing, Err(Error::WouldBlock));
}

/// Queues a datagram for `ip` that says `data`.
fn send(world: &mut World, socket: Handle, ip: [u8; 4], data: &[u8]) -> abi::Result<()> {
    world.send_to(SERVER, socket, address(ip, 9), data)
}

#[test]
fn a_silent_neighbour_holds_up_nobody_else() {
    let mut world = World::new(5);
    let socket = world.datagrams(SERVER, 7);
    world.inject(&arp_reply([10, 0, 2, 3]));
    assert!(world.frames().is_empty());
    let (dead, alive) = ([10, 0, 2, 99], [10, 0, 2, 3]);
    for n in 0..100 {
        assert_eq!(send(&mut world, socket, dead, &[n]), Ok(()));
        assert_eq!(send(&mut world, socket, alive, &[n]), Ok(()));
        let frames = world.frames();
        assert_eq!(datagrams(&frames), [[n]]);
        assert_eq!(
            asked(&frames).len(),
            usize::from(n == 0),
            "not once per datagram"
        );
    }
    assert_eq!(world.figure("udp_dropped_unresolved"), 100 - 16);
    // Asked for three times, a second apart; then what waits is dropped.
    let mut requests = 0;
    for _ in 0..10 {
        world.now += SECOND;
        requests += asked(&world.frames()).len();
    }
    assert_eq!(requests, 2);
    assert_eq!(world.figure("udp_dropped_unresolved"), 100);
    assert_eq!(
        world.server.deadline(world.now),
        u64::MAX,
        "nothing is left to do"
    );
}

#[test]
fn what_waits_for_a_neighbour_leaves_in_order_when_he_answers() {
    let mut world = World::new(6);
    let socket = world.datagrams(SERVER, 7);
    // Through the gateway, which is asked for once for all.
    for (n, ip) in [[8, 8, 8, 8], [1, 1, 1, 1], PEER_IP]
        .into_iter()
        .enumerate()
    {
        send(&mut world, socket, ip, &[n as u8]).unwrap();
    }
    assert_eq!(asked(&world.frames()), [PEER_IP]);
    // Closing does not lose them either.
    world.close(SERVER, socket).unwrap();
    world.now += 500 * MS;
    world.inject(&arp_reply(PEER_IP));
    assert_eq!(datagrams(&world.frames()), [[0], [1], [2]]);
    world.frames();
    world.assert_empty();
}

#[test]
fn one_silent_neighbour_does_not_silence_the_question_for_another() {
    let mut config = crate::Config::new(SERVER_MAC, 7);
    // A sixteenth of them may be asked for at the same time.
    config.limits.neighbors = 256;
    let mut world = World::with(config);
    let socket = world.datagrams(SERVER, 7);
    for last in 90..100 {
        send(&mut world, socket, [10, 0, 2, last], b"x").unwrap();
    }
    assert_eq!(asked(&world.frames()).len(), 10);
    for last in 100..106 {
        send(&mut world, socket, [10, 0, 2, last], b"x").unwrap();
    }
    assert_eq!(
        send(&mut world, socket, [10, 0, 2, 200], b"x"),
        Err(Error::Unreachable)
    );
}

#[test]
fn destinations_without_a_way_are_refused() {
    let mut world = World::new(8);
    let socket = world.datagrams(SERVER, 7);
    for ip in [[127, 0, 0, 1], [240, 0, 0, 1], [0, 0, 0, 1], SERVER_IP] {
        assert_eq!(send(&mut world, socket, ip, b"x"), Err(Error::Unreachable));
    }
    assert_eq!(
        send(&mut world, socket, [0; 4], b"x"),
        Err(Error::InvalidArgument)
    );
    let nowhere = world.send_to(SERVER, socket, address(PEER_IP, 0), b"x");
    assert_eq!(nowhere, Err(Error::InvalidArgument));
    // To everybody is a way.
    for ip in [[255; 4], [10, 0, 2, 255], [224, 0, 0, 251]] {
        assert_eq!(send(&mut world, socket, ip, b"x"), Ok(()));
        assert_eq!(world.frames().len(), 1);
    }
}

#[test]
fn a_full_queue_makes_a_datagram_wait_which_then_leaves() {
    let mut world = World::new(9);
    let socket = world.datagrams(SERVER, 7);
    world.inject(&arp_reply(PEER_IP));
    world.frames();
    world.server.device_mut().room = 0;
    let mut queued: u32 = 0;
    while send(&mut world, socket, PEER_IP, &[1; 1400]).is_ok() {
        queued += 1;
        assert!(queued < 1000);
    }
    assert_eq!(
        send(&mut world, socket, PEER_IP, &[1; 1400]),
        Err(Error::WouldBlock)
    );
    assert_eq!(queued, (64 << 10) / 1400);
    let ops = Ops::new().send_to(socket, address(PEER_IP, 9), &[2; 1400]);
    let token = world.batch_from(SERVER, &ops, (1000, &[]), 10);
    world.frames();
    assert!(world.answer(token).is_none());
    world.server.device_mut().room = 64;
    let mut sent = 0;
    for _ in 0..3 {
        sent += datagrams(&world.frames()).len() as u32;
    }
    assert_eq!(sent, queued + 1);
    world.now += 10 * MS;
    world.frames();
    assert_eq!(world.batch_answer(token), Some(vec![]), "it was not cut");
}

#[test]
fn pings_are_answered_long_ones_too() {
    let mut world = World::new(10);
    world.inject(&arp(ArpOperation::Request, PEER_IP, SERVER_IP));
    let frames = world.frames();
    assert_eq!(frames.len(), 1, "the ARP reply");
    let echo = |frames: &[Vec<u8>]| {
        let packet = Ipv4Packet::new_checked(&frames[0][14..]).unwrap();
        let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
        assert_eq!(icmp.msg_type(), Icmpv4Message::EchoReply);
        icmp.data().to_vec()
    };
    let data = world.chance.octets(1000);
    world.inject(&ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(&data)));
    assert!(echo(&world.frames()).ends_with(&data));
    // Two long ones back to back: each is answered whole before the next is received.
    let long = ping(&world.chance.octets(4000));
    for _ in 0..2 {
        for frame in fragments(IpProtocol::Icmp, &long, 1480) {
            world.inject(&frame);
        }
    }
    let frames = world.frames();
    let len: usize = frames.iter().map(|frame| frame.len() - 34).sum();
    assert_eq!((frames.len(), len), (6, 2 * long.len()));
    // Nobody is told anything about pings to everybody.
    world.inject(&ipv4(
        PEER_IP,
        [10, 0, 2, 255],
        IpProtocol::Icmp,
        &ping(b"smurf"),
    ));
    assert!(world.frames().is_empty());
}

#[test]
fn damaged_datagrams_are_dropped_and_counted() {
    let mut world = World::new(13);
    let socket = world.datagrams(SERVER, 7);
    world.inject(&arp_reply(PEER_IP));
    let mut whole = udp((PEER_IP, 5000), 7, &[9; 3000]);
    whole[2000] ^= 1;
    for frame in fragments(IpProtocol::Udp, &whole[34..], 1480) {
        world.inject(&frame);
    }
    let mut small = udp((PEER_IP, 5000), 7, b"small");
    small[44] ^= 1;
    world.inject(&small);
    let mut closed = udp((PEER_IP, 5000), 9, b"no port");
    closed[44] ^= 1;
    world.inject(&closed);
    assert!(world.frames().is_empty());
    let answer = world.recv_from(SERVER, socket, 4000);
    assert_eq!(answer, Err(Error::WouldBlock));
    assert_eq!(world.figure("drop_udp_checksum"), 3);
}

#[test]
fn what_found_no_room_leaves_in_the_poll_that_makes_it() {
    let mut config = Config::new(SERVER_MAC, 14);
    config.limits.udp_transmit = 2048;
    let mut world = World::with(config);
    let socket = world.datagrams(SERVER, 7);
    world.inject(&arp_reply(PEER_IP));
    let late = [10, 0, 2, 77];
    let queue = |world: &mut World, ip, len| {
        assert_eq!(send(world, socket, ip, &vec![1; len]), Ok(()));
        world.frames()
    };
    for _ in 0..3 {
        queue(&mut world, late, 600);
    }
    world.server.device_mut().room = 0;
    assert!(queue(&mut world, PEER_IP, 1400).is_empty());
    world.server.device_mut().room = 64;
    world.inject(&arp_reply(late));
    assert_eq!(world.frames().len(), 4);
}

#[test]
fn a_datagram_for_nobody_draws_port_unreachable() {
    let mut world = World::new(11);
    world.inject(&arp_reply(PEER_IP));
    world.inject(&udp((PEER_IP, 5000), 9, b"anybody?"));
    let frames = world.frames();
    let packet = Ipv4Packet::new_checked(&frames[0][14..]).unwrap();
    let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
    assert_eq!(
        (icmp.msg_type(), icmp.msg_code()),
        (Icmpv4Message::DstUnreachable, 3)
    );
}

#[test]
fn a_queue_takes_so_many_datagrams_or_octets_and_no_more() {
    // The queue has 64 places and 64 KiB.
    for (len, places) in [(1, 64), (1400, 46)] {
        let mut world = World::new(44);
        let socket = world.datagrams(SERVER, 7);
        world.inject(&arp_reply(PEER_IP));
        world.frames();
        world.server.device_mut().room = 0;
        for _ in 0..places {
            assert_eq!(send(&mut world, socket, PEER_IP, &vec![7; len]), Ok(()));
            world.frames();
        }
        let full = send(&mut world, socket, PEER_IP, &vec![7; len]);
        assert_eq!(full, Err(Error::WouldBlock), "{len}");
    }
}

#[test]
fn sixty_four_leave_at_once_and_more_have_their_turns() {
    let mut world = World::new(45);
    let socket = world.datagrams(SERVER, 7);
    world.inject(&arp_reply(PEER_IP));
    world.frames();
    world.server.device_mut().room = 100;
    for _ in 0..2 {
        let to = address(PEER_IP, 9);
        let add = |ops: Ops, n| ops.send_to(socket, to, &[n; 1472]);
        let ops = (0..66).fold(Ops::new(), add);
        world.batch(SERVER, &ops);
        // No poll has come yet.
        assert_eq!(world.server.device_mut().sent.len(), 64);
        assert_eq!(datagrams(&world.frames()).len(), 66);
    }
}

#[test]
fn as_many_that_wait_for_a_neighbour_give_way_as_another_needs() {
    let mut config = Config::new(SERVER_MAC, 46);
    config.limits.udp_transmit = 2048;
    let mut world = World::with(config);
    let socket = world.datagrams(SERVER, 7);
    let late = [10, 0, 2, 77];
    for len in [600, 600, 601, 1200] {
        assert!(send(&mut world, socket, late, &vec![1; len]).is_ok());
    }
    assert_eq!(world.figure("udp_dropped_unresolved"), 2);
    world.inject(&arp_reply(late));
    let lengths: Vec<usize> = datagrams(&world.frames()).iter().map(Vec::len).collect();
    assert_eq!(lengths, [601, 1200]);
}

#[test]
fn what_nobody_has_read_when_its_port_is_closed_is_counted() {
    let mut world = World::new(47);
    let socket = world.datagrams(SERVER, 7);
    for data in [b"one", b"two"] {
        world.inject(&udp((PEER_IP, 5000), 7, data));
    }
    world.frames();
    world.close(SERVER, socket).unwrap();
    assert_eq!(world.figure("udp_dropped_closed"), 2);
    world.assert_empty();
}

#[test]
fn streams_datagrams_and_echoes_take_turns_when_the_card_is_busy() {
    let mut world = World::new(48);
    let socket = world.datagrams(SERVER, 7);
    let listener = world.listener(SERVER, 80, 8);
    world.inject(&arp_reply(PEER_IP));
    let mut streams = Vec::new();
    for port in 5000..5008 {
        world.inject(&Segment::syn(port, 80, 1000).frame());
        let answer = segments(&world.frames()).remove(0);
        world.inject(&Segment::after(&answer, TcpControl::None).frame());
        streams.push(world.accept(SERVER, listener));
    }
    for frame in fragments(IpProtocol::Icmp, &ping(&[1; 30_000]), 1480) {
        world.inject(&frame);
    }
    let poll = |world: &mut World, room| {
        world.server.device_mut().room = room;
        world.server.poll(world.now, &mut world.kernel);
        let sent = world.server.device_mut().sent.drain(..);
        // The protocols.
        sent.map(|frame| frame[23]).collect::<Vec<u8>>()
    };
    // It receives if it has room for an answer.
    assert_eq!(poll(&mut world, 1), [1]);
    world.server.device_mut().room = 0;
    for &socket in &streams {
        assert_eq!(world.send(SERVER, socket, b"words"), Ok(5));
    }
    for n in 0..8 {
        assert!(send(&mut world, socket, PEER_IP, &[n]).is_ok());
    }
    assert_eq!(poll(&mut world, 8), [6, 17, 6, 1, 6, 17, 6, 1]);
}
