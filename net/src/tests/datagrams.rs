//! Datagrams, ARP, ICMP and fragments.

use super::world::*;
use crate::Config;
use crate::ip::fragments::Fragments;
use crate::tests::frames::{Segment, arp, arp_reply, fragments, ipv4, ping, segments, udp};
use abi::socket::{Answer, Handle, Kind, PollEntry, Request, poll};
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    let peer = world.peer.open_udp(5000);
    for len in [0, 1, 17, 512, 1471, 1472] {
        let data = world.chance.octets(len);
        world.peer.udp(peer).send_slice(&data, endpoint(7)).unwrap();
        let (answer, memory) = world.wait(SERVER, Request::RecvFrom { socket }, &[0; 2000]);
        let sender = address(PEER_IP, 5000);
        assert_eq!(answer, Ok(Answer::Datagram(len as u32, sender)));
        let send = Request::SendTo {
            socket,
            address: sender,
        };
        assert_eq!(
            world.wait(SERVER, send, &memory[..len]).0,
            Ok(Answer::Count(len as u32))
        );
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    world.inject(&arp_reply(PEER_IP));
    // In: 65,507 octets, the most there can be.
    let data = world.chance.octets(65507);
    let whole = udp((PEER_IP, 5000), 7, &data)[34..].to_vec();
    for frame in fragments(IpProtocol::Udp, &whole, 1480) {
        world.inject(&frame);
    }
    assert!(world.frames().is_empty());
    let (answer, memory) = world.now(SERVER, Request::RecvFrom { socket }, &vec![0; 70000]);
    let sender = address(PEER_IP, 5000);
    assert_eq!(answer, Ok(Answer::Datagram(65507, sender)));
    assert!(memory[..65507] == data);
    // Out: several at once, of two sockets, which must not overwrite each other.
    let other = world.bound(SERVER, Kind::Datagram, 8);
    let send = |socket| Request::SendTo {
        socket,
        address: sender,
    };
    let sizes = [9000, 40, 16357, 1473, 1472];
    for (n, len) in sizes.into_iter().enumerate() {
        let socket = if n < 2 { other } else { socket };
        let sent = world.now(SERVER, send(socket), &vec![n as u8; len]).0;
        assert_eq!(sent, Ok(Answer::Count(len as u32)));
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
    assert_eq!(
        world.now(SERVER, send(socket), &vec![0; 65508]).0,
        Err(Error::TooLong)
    );
}

#[test]
fn what_does_not_fit_is_lost_and_the_next_is_whole() {
    let mut world = World::new(3);
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    for data in [&b"too long for it"[..], b"fits"] {
        world.inject(&udp((PEER_IP, 5000), 7, data));
    }
    world.frames();
    let (answer, memory) = world.now(SERVER, Request::Recv { socket }, &[0; 4]);
    assert_eq!(
        (answer, memory.as_slice()),
        (Ok(Answer::Count(4)), &b"too "[..])
    );
    let (answer, memory) = world.now(SERVER, Request::Recv { socket }, &[0; 4]);
    assert_eq!(
        (answer, memory.as_slice()),
        (Ok(Answer::Count(4)), &b"fits"[..])
    );
    assert_eq!(
        world.ready(SERVER, socket, poll::READABLE | poll::WRITABLE),
        poll::WRITABLE
    );
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let mut world = World::new(4);
    let socket = world.socket(SERVER, Kind::Datagram);
    let data = |world: &mut World| world.now(SERVER, Request::Send { socket }, b"x").0;
    assert_eq!(data(&mut world), Err(Error::NotConnected));
    let peer = address(PEER_IP, 5000);
    world
        .ask(
            SERVER,
            Request::Connect {
                socket,
                address: peer,
            },
        )
        .unwrap();
    assert_eq!(
        world.ask(SERVER, Request::PeerAddress { socket }),
        Ok(Answer::Address(peer))
    );
    let Ok(Answer::Address(local)) = world.ask(SERVER, Request::LocalAddress { socket }) else {
        panic!()
    };
    for (from, port) in [(PEER_IP, 5001), ([10, 0, 2, 3], 5000)] {
        world.inject(&udp((from, port), local.port(), b"stranger"));
    }
    world.frames();
    assert_eq!(world.ready(SERVER, socket, poll::READABLE), 0);
    world.inject(&udp((PEER_IP, 5000), local.port(), b"friend"));
    world.frames();
    let (answer, memory) = world.now(SERVER, Request::Recv { socket }, &[0; 9]);
    assert_eq!(
        (answer, &memory[..6]),
        (Ok(Answer::Count(6)), &b"friend"[..])
    );
    assert_eq!(data(&mut world), Ok(Answer::Count(1)));
}

/// Queues a datagram for `ip` that says `data`.
fn send(world: &mut World, socket: Handle, ip: [u8; 4], data: &[u8]) -> abi::Result<Answer> {
    let address = address(ip, 9);
    world
        .now(SERVER, Request::SendTo { socket, address }, data)
        .0
}

#[test]
fn a_silent_neighbour_holds_up_nobody_else() {
    let mut world = World::new(5);
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    world.inject(&arp_reply([10, 0, 2, 3]));
    assert!(world.frames().is_empty());
    let (dead, alive) = ([10, 0, 2, 99], [10, 0, 2, 3]);
    for n in 0..100 {
        assert_eq!(send(&mut world, socket, dead, &[n]), Ok(Answer::Count(1)));
        assert_eq!(send(&mut world, socket, alive, &[n]), Ok(Answer::Count(1)));
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    // Through the gateway, which is asked for once for all.
    for (n, ip) in [[8, 8, 8, 8], [1, 1, 1, 1], PEER_IP]
        .into_iter()
        .enumerate()
    {
        send(&mut world, socket, ip, &[n as u8]).unwrap();
    }
    assert_eq!(asked(&world.frames()), [PEER_IP]);
    // Closing does not lose them either.
    world.ask(SERVER, Request::Close { socket }).unwrap();
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    for ip in [[127, 0, 0, 1], [240, 0, 0, 1], [0, 0, 0, 1], SERVER_IP] {
        assert_eq!(send(&mut world, socket, ip, b"x"), Err(Error::Unreachable));
    }
    assert_eq!(
        send(&mut world, socket, [0; 4], b"x"),
        Err(Error::InvalidArgument)
    );
    let nowhere = address(PEER_IP, 0);
    let request = Request::SendTo {
        socket,
        address: nowhere,
    };
    assert_eq!(
        world.now(SERVER, request, b"x").0,
        Err(Error::InvalidArgument)
    );
    // To everybody is a way.
    for ip in [[255; 4], [10, 0, 2, 255], [224, 0, 0, 251]] {
        assert_eq!(send(&mut world, socket, ip, b"x"), Ok(Answer::Count(1)));
        assert_eq!(world.frames().len(), 1);
    }
}

#[test]
fn a_full_queue_blocks_and_goes_on() {
    let mut world = World::new(9);
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    world.inject(&arp_reply(PEER_IP));
    world.frames();
    world.server.device_mut().room = 0;
    world.non_blocking(SERVER, socket);
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
    assert_eq!(world.ready(SERVER, socket, poll::WRITABLE), 0);
    let on = false;
    world
        .ask(SERVER, Request::SetNonBlocking { socket, on })
        .unwrap();
    let address = address(PEER_IP, 9);
    let token = world.call(SERVER, Request::SendTo { socket, address }, &[2; 1400]);
    world.frames();
    assert!(world.answer(token).is_none());
    world.server.device_mut().room = 64;
    let mut sent = 0;
    for _ in 0..3 {
        sent += datagrams(&world.frames()).len() as u32;
    }
    assert_eq!(world.answer(token).unwrap().0, Ok(Answer::Count(1400)));
    assert_eq!(sent, queued + 1);
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    world.non_blocking(SERVER, socket);
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
    let request = Request::RecvFrom { socket };
    let answer = world.now(SERVER, request, &[0; 4000]).0;
    assert_eq!(answer, Err(Error::WouldBlock));
    assert_eq!(world.figure("drop_udp_checksum"), 3);
}

#[test]
fn what_found_no_room_leaves_in_the_poll_that_makes_it() {
    let mut config = Config::new(SERVER_MAC, 14);
    config.limits.udp_transmit = 2048;
    let mut world = World::with(config);
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    world.inject(&arp_reply(PEER_IP));
    let late = [10, 0, 2, 77];
    let send = |world: &mut World, ip, len| {
        let address = address(ip, 9);
        let request = Request::SendTo { socket, address };
        let sent = world.now(SERVER, request, &vec![1; len]).0;
        assert_eq!(sent, Ok(Answer::Count(len as u32)));
        world.frames()
    };
    for _ in 0..3 {
        send(&mut world, late, 600);
    }
    world.server.device_mut().room = 0;
    assert!(send(&mut world, PEER_IP, 1400).is_empty());
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
fn a_wait_for_datagrams_ends_in_time_or_with_one() {
    let mut world = World::new(12);
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    let entry = PollEntry {
        socket,
        wanted: poll::READABLE,
        ready: 0xffff,
    };
    let request = Request::Poll { timeout_ms: 250 };
    let start = world.now;
    let (answer, memory) = world.wait(SERVER, request, &entry.to_bytes());
    assert_eq!(
        (answer, world.now - start),
        (Ok(Answer::Count(0)), 250 * MS)
    );
    assert_eq!(&memory[6..], [0, 0]);
    let token = world.call(SERVER, request, &entry.to_bytes());
    world.pass(100 * MS);
    assert!(world.answer(token).is_none());
    world.inject(&udp((PEER_IP, 5000), 7, b"now"));
    world.pass(0);
    let (answer, memory) = world.answer(token).unwrap();
    assert_eq!(answer, Ok(Answer::Count(1)));
    assert_eq!(
        PollEntry::from_bytes(memory.as_slice().try_into().unwrap()).ready,
        poll::READABLE
    );
}

#[test]
fn a_socket_is_writable_while_an_ordinary_datagram_would_be_taken() {
    // The queue has 64 places and 64 KiB.
    for (len, places) in [(1, 64), (1400, 46)] {
        let mut world = World::new(44);
        let socket = world.bound(SERVER, Kind::Datagram, 7);
        world.inject(&arp_reply(PEER_IP));
        world.frames();
        world.server.device_mut().room = 0;
        let (ip, port) = (PEER_IP, 9);
        let address = SocketAddr::from((ip, port));
        let sending = Request::SendTo { socket, address };
        for _ in 0..places {
            assert_eq!(world.ready(SERVER, socket, poll::WRITABLE), poll::WRITABLE);
            let sent = world.now(SERVER, sending, &vec![7; len]).0;
            assert_eq!(sent, Ok(Answer::Count(len as u32)));
            world.frames();
        }
        assert_eq!(world.ready(SERVER, socket, poll::WRITABLE), 0, "{len}");
    }
}

#[test]
fn sixty_four_leave_at_once_and_more_have_their_turns() {
    let mut world = World::new(45);
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    world.inject(&arp_reply(PEER_IP));
    world.frames();
    world.server.device_mut().room = 100;
    for _ in 0..2 {
        for n in 0..66 {
            assert!(send(&mut world, socket, PEER_IP, &[n; 1472]).is_ok());
        }
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
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
    let socket = world.bound(SERVER, Kind::Datagram, 7);
    for data in [b"one", b"two"] {
        world.inject(&udp((PEER_IP, 5000), 7, data));
    }
    world.frames();
    world.ask(SERVER, Request::Close { socket }).unwrap();
    assert_eq!(world.figure("udp_dropped_closed"), 2);
    world.assert_empty();
}

#[test]
fn streams_datagrams_and_echoes_take_turns_when_the_card_is_busy() {
    let mut world = World::new(48);
    let socket = world.bound(SERVER, Kind::Datagram, 7);
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
        let sent = world.now(SERVER, Request::Send { socket }, b"words").0;
        assert_eq!(sent, Ok(Answer::Count(5)));
    }
    for n in 0..8 {
        assert!(send(&mut world, socket, PEER_IP, &[n]).is_ok());
    }
    assert_eq!(poll(&mut world, 8), [6, 17, 6, 1, 6, 17, 6, 1]);
}
