//! Addresses that come, change, and go while the server runs.

use super::frames::{Segment, arp, segments, udp};
use super::world::{PEER_IP, SERVER_IP, World};
use crate::{ConfigError, Network};
use abi::Error;
use core::net::Ipv4Addr;
use smoltcp::wire::{ArpOperation, TcpControl};
use std::vec::Vec;

const PROGRAM: abi::Pid = abi::Pid(0x101);
const OTHER_IP: [u8; 4] = [10, 0, 2, 77];

fn network(address: [u8; 4]) -> Network {
    Network {
        address: address.into(),
        prefix_len: 24,
        gateway: None,
    }
}

fn change(world: &mut World, network: Option<Network>) {
    world.server.set_network(network, world.now).unwrap();
    world.server.sockets.stack.audit(world.now);
}

/// What a SYN to this address and port 80 is answered with.
fn knock(world: &mut World, address: [u8; 4], from: u16) -> Vec<TcpControl> {
    world.inject(&Segment::syn(from, 80, 1).frame_to(address));
    let frames = world.frames();
    let answers = frames.iter().filter_map(|frame| {
        let source = <[u8; 4]>::try_from(&frame[26..30]).unwrap();
        (frame[12..14] == [8, 0] && source == address).then(|| frame[47])
    });
    let control = |flags: u8| match flags & 7 {
        2 => TcpControl::Syn,
        4 => TcpControl::Rst,
        _ => TcpControl::None,
    };
    answers.map(control).collect()
}

#[test]
fn connections_end_with_their_address_and_listeners_stay() {
    let mut world = World::new(1);
    let listener = world.listener(PROGRAM, 80, 5);
    // One that is held, one that waits to be accepted, and one that is not complete.
    let mut ends = Vec::new();
    for peer in [5000, 5001, 5002] {
        world.inject(&Segment::syn(peer, 80, 1).frame());
        let answer = segments(&world.frames()).remove(0);
        if peer < 5002 {
            world.inject(&Segment::after(&answer, TcpControl::None).frame());
            ends.push((peer, answer.end()));
        }
        world.frames();
    }
    let held = world.accept(PROGRAM, listener);
    change(&mut world, None);
    let resets = segments(&world.frames());
    let mut told: Vec<_> = resets.iter().map(|s| (s.peer.1, s.seq)).collect();
    told.sort_unstable();
    assert!(
        resets
            .iter()
            .all(|segment| segment.control == TcpControl::Rst)
    );
    assert_eq!(told, ends);
    let read = world.recv(PROGRAM, held, 9);
    assert_eq!(read, Err(Error::ConnectionReset));
    assert_eq!(
        (world.figure("half_open"), world.figure("neighbors")),
        (0, 0)
    );
    assert_eq!(world.figure("orphans"), 0);
    // Nobody is at home.
    let lost = world.figure("drop_ip_destination");
    assert_eq!(knock(&mut world, SERVER_IP, 6000), []);
    assert_eq!(knock(&mut world, [0; 4], 6000), []);
    world.inject(&arp(ArpOperation::Request, PEER_IP, SERVER_IP));
    assert!(world.frames().is_empty());
    assert_eq!(world.figure("drop_ip_destination"), lost + 2);
    let refused = world.begin_connect(PROGRAM, (PEER_IP, 80));
    assert_eq!(refused, Err(Error::Unreachable));
    // The listener hears what comes to the next address, and to no other.
    change(&mut world, Some(network(OTHER_IP)));
    assert_eq!(knock(&mut world, OTHER_IP, 6001), [TcpControl::Syn]);
    assert_eq!(knock(&mut world, SERVER_IP, 6002), []);
    assert!(world.server.status().contains("address 10.0.2.77/24\n"));
}

#[test]
fn a_connection_that_was_not_answered_fails_when_the_address_goes() {
    let mut world = World::new(2);
    let (socket, _) = world.begin_connect(PROGRAM, (PEER_IP, 9)).unwrap();
    world.frames();
    assert_eq!(world.is_connected(PROGRAM, socket), None);
    change(&mut world, Some(network(OTHER_IP)));
    world.frames();
    let told = world.is_connected(PROGRAM, socket);
    assert_eq!(told, Some(Err(Error::Unreachable)));
}

#[test]
fn datagram_ports_stay_and_what_waits_is_dropped() {
    let mut world = World::new(3);
    let socket = world.datagrams(PROGRAM, 7);
    let send = |world: &mut World, ip: [u8; 4]| world.send_to(PROGRAM, socket, (ip, 9), b"octets");
    // It waits for its neighbour.
    assert_eq!(send(&mut world, [10, 0, 2, 200]), Ok(()));
    change(&mut world, Some(network(OTHER_IP)));
    assert_eq!(world.figure("udp_dropped_unresolved"), 1);
    world.frames();
    // To all it is sent without an address, too.
    change(&mut world, None);
    assert_eq!(send(&mut world, [255; 4]), Ok(()));
    let frame = world.frames().remove(0);
    assert_eq!(frame[26..34], [0, 0, 0, 0, 255, 255, 255, 255]);
    let refused = send(&mut world, PEER_IP);
    assert_eq!(refused, Err(Error::Unreachable));
    change(&mut world, Some(network(SERVER_IP)));
    world.inject(&udp((PEER_IP, 5000), 7, b"hello"));
    world.frames();
    assert_eq!(world.recv_from(PROGRAM, socket, 9).unwrap().0, b"hello");
}

#[test]
fn a_network_that_makes_no_sense_changes_nothing() {
    let mut world = World::new(4);
    world.listener(PROGRAM, 80, 5);
    let nonsense = Network {
        gateway: Some(Ipv4Addr::new(10, 0, 3, 1)),
        ..network(OTHER_IP)
    };
    let refused = world.server.set_network(Some(nonsense), world.now);
    assert_eq!(refused, Err(ConfigError::Gateway));
    assert_eq!(knock(&mut world, SERVER_IP, 6000), [TcpControl::Syn]);
}
