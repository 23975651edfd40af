//! Anything at all, by seed: the server answers or waits, and never panics.

use super::world::*;
use crate::tests::arp::arp;
use crate::tests::batch::{AREA, Ops, all_operations};
use crate::tests::calls::any;
use crate::tests::frames::{Segment, arp_reply, fragments, ipv4, ping, udp};
use abi::Pid;
use abi::batch::{Event, NO_TIMEOUT, Operation};
use abi::socket::Handle;
use core::net::SocketAddr;
use smoltcp::wire::{IpProtocol, TcpControl};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

/// Programs that call whatever comes to their mind, while a peer does the same.
fn mayhem(seed: u64, steps: usize) {
    let mut world = World::new(seed);
    world.faults = Faults {
        loss: 2,
        duplication: 2,
        reordering: 10,
        corruption: 1,
    };
    let mut generation = 0;
    let mut waiting: BTreeMap<Pid, u64> = BTreeMap::new();
    let mut handles: BTreeMap<Pid, Vec<Handle>> = BTreeMap::new();
    let mut clients: Vec<Pid> = (0..4).map(|slot| Pid::new(slot, 0)).collect();
    let mut peers = Vec::new();
    for _ in 0..steps {
        let which = world.chance.below(4) as usize;
        let client = clients[which];
        if let Some(token) = waiting.get(&client).copied()
            && let Some(events) = world.batch_answer(token)
        {
            waiting.remove(&client);
            for (event, _) in events {
                if let Event::Opened { socket, .. } | Event::Accepted { socket, .. } = event {
                    handles.entry(client).or_default().push(socket);
                }
            }
        }
        match world.chance.below(12) {
            0 if world.chance.percent(20) => {
                world.die(client);
                waiting.remove(&client);
                handles.remove(&client);
                generation += 1;
                clients[which] = Pid::new(which, generation);
            }
            1 if peers.len() < 20 => {
                let local = 30000 + world.chance.below(30000) as u16;
                let port = [7, 80, 900, 9][world.chance.below(4) as usize];
                peers.push(world.peer.connect(local, port));
            }
            2 if !peers.is_empty() => {
                let index = world.chance.below(peers.len() as u64) as usize;
                let len = world.chance.below(9000) as usize;
                let data = vec![9; len];
                let peer = world.peer.tcp(peers[index]);
                match len % 5 {
                    0 => peer.close(),
                    1 => peer.abort(),
                    2 => drop(peer.recv_slice(&mut vec![0; len])),
                    _ => drop(peer.send_slice(&data)),
                }
                if len.is_multiple_of(50) {
                    world.peer.sockets.remove(peers.swap_remove(index));
                }
            }
            3 => {
                let pause = world.chance.below(50 * MS);
                world.pass(pause);
            }
            4 if world.chance.percent(3) => {
                let pause = world.chance.below(100 * SECOND);
                world.pass(pause);
            }
            _ if !waiting.contains_key(&client) => {
                let own = handles.entry(client).or_default();
                let known = own.len() as u64;
                let socket = match known {
                    0 => Handle(0),
                    _ => own[world.chance.below(known) as usize],
                };
                let port = [0, 7, 80][world.chance.below(3) as usize];
                let peer = SocketAddr::from((PEER_IP, port)).into();
                let openings = [
                    Operation::Listen {
                        address: any(port),
                        backlog: 5,
                    },
                    Operation::Bind { address: any(port) },
                    Operation::Connect { address: peer },
                ];
                let len = world.chance.below(40_000) as usize;
                let all = all_operations(socket, &vec![1; len]);
                let mut ops = Ops::new();
                for _ in 0..=world.chance.below(2) {
                    ops = match world.chance.below(2) {
                        0 => ops.with(openings[world.chance.below(3) as usize]),
                        _ => ops.join(&all[world.chance.below(all.len() as u64) as usize]),
                    };
                }
                let timeout_ms = [0, 20, NO_TIMEOUT][world.chance.below(3) as usize];
                let token = world.batch_from(client, &ops, (AREA, &[]), timeout_ms);
                waiting.insert(client, token);
            }
            _ => {}
        }
        assert!(world.figure("waiting_calls") <= 4);
    }
    for client in clients {
        world.die(client);
    }
    world.faults = Faults::default();
    world.pass(120 * SECOND);
    world.assert_empty();
}

#[test]
fn any_request_in_any_state_is_answered_or_waits() {
    for seed in 0..300 {
        mayhem(seed, 1500);
    }
}

/// A server with everything open, and a connection whose numbers are known.
fn target(seed: u64) -> (World, Segment) {
    let client = Pid(0x105);
    let mut world = World::new(seed);
    let listener = world.listener(client, 80, 16);
    world.datagrams(client, 7);
    world.inject(&arp_reply(PEER_IP));
    world.inject(&Segment::syn(5000, 80, 1000).frame());
    let answer = super::frames::segments(&world.frames()).remove(0);
    world.inject(&Segment::after(&answer, TcpControl::None).frame());
    world.accept(client, listener);
    (world, answer)
}

#[test]
fn damaged_and_invented_frames_do_no_harm() {
    for seed in 0..200 {
        let (mut world, answer) = target(seed);
        let mut data = Segment::after(&answer, TcpControl::None);
        data.data = vec![1; 100];
        let mut samples = vec![
            arp_reply(PEER_IP),
            arp(1, (PEER_MAC, [0; 4]), SERVER_IP).frame(),
            arp(1, (PEER_MAC, PEER_IP), PEER_IP).frame(),
            ipv4(PEER_IP, SERVER_IP, IpProtocol::Unknown(253), b"strange"),
            udp((PEER_IP, 5000), 7, b"hello"),
            udp((PEER_IP, 5000), 9, b"nobody"),
            ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"abcdefgh")),
            Segment::syn(6000, 80, 5).frame(),
            Segment::syn(6000, 81, 5).frame(),
            Segment::after(&answer, TcpControl::Fin).frame(),
            data.frame(),
        ];
        samples.extend(fragments(IpProtocol::Icmp, &ping(&[7; 3000]), 1480));
        for _ in 0..600 {
            let which = world.chance.below(samples.len() as u64) as usize;
            let mut frame = samples[which].clone();
            for _ in 0..world.chance.below(4) {
                let at = world.chance.below(frame.len() as u64) as usize;
                frame[at] = world.chance.next() as u8;
            }
            if world.chance.percent(20) {
                let len = world.chance.below(frame.len() as u64 + 1) as usize;
                frame.truncate(len);
            }
            if world.chance.percent(5) {
                let len = world.chance.below(1515) as usize;
                frame = world.chance.octets(len);
                let head = &samples[which][..frame.len().min(14)];
                frame[..head.len()].copy_from_slice(head);
            }
            world.inject(&frame);
            world.frames();
            world.now += world.chance.below(20 * MS);
        }
        assert!(world.figure("frames_received") > 600);
    }
}

/// Segments whose checksums are right and whose numbers are anything near the truth:
/// what a malicious peer would send to a connection of its own.
#[test]
fn well_formed_segments_with_any_numbers_do_no_harm() {
    for seed in 0..1000 {
        let (mut world, answer) = target(1000 + seed);
        let client = Pid(0x105);
        let socket = Handle(1 << 12 | 2);
        let mut theirs = answer.ack.unwrap();
        let mut ours = answer.end();
        for _ in 0..200 {
            let near = |chance: &mut Chance, middle: u32| match chance.below(8) {
                0 => middle.wrapping_add(chance.next() as u32),
                1 => middle.wrapping_add(chance.below(40_000) as u32),
                2 => middle.wrapping_sub(chance.below(40_000) as u32),
                3 => middle.wrapping_add(1),
                4 => middle.wrapping_sub(1),
                _ => middle,
            };
            let controls = [
                TcpControl::None,
                TcpControl::None,
                TcpControl::None,
                TcpControl::Psh,
                TcpControl::Syn,
                TcpControl::Fin,
                TcpControl::Rst,
            ];
            let peer = if world.chance.percent(90) { 5000 } else { 5001 };
            let control = match world.chance.below(60) {
                0..7 => controls[world.chance.below(7) as usize],
                _ => TcpControl::None,
            };
            let len = match world.chance.below(4) {
                0 => world.chance.below(1460) as usize,
                1 => 1460,
                _ => 0,
            };
            let segment = Segment {
                peer: (PEER_IP, peer),
                port: 80,
                control,
                seq: near(&mut world.chance, theirs),
                ack: (!world.chance.percent(5)).then(|| near(&mut world.chance, ours)),
                data: vec![4; len],
            };
            let mut frame = segment.frame();
            if world.chance.percent(10) {
                // A window of any size, with the checksum put right.
                let window = [0, 1, 100, u16::MAX][world.chance.below(4) as usize];
                let old = u16::from_be_bytes([frame[48], frame[49]]);
                frame[48..50].copy_from_slice(&window.to_be_bytes());
                let sum = u16::from_be_bytes([frame[50], frame[51]]);
                // RFC 1624, equation 3.
                let sum = u32::from(!sum) + u32::from(!old) + u32::from(window);
                let sum = (sum & 0xffff) + (sum >> 16);
                let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
                frame[50..52].copy_from_slice(&sum.to_be_bytes());
            }
            world.inject(&frame);
            for sent in super::frames::segments(&world.frames()) {
                if sent.peer.1 == 5000 && sent.control != TcpControl::Rst {
                    ours = sent.end();
                    theirs = sent.ack.unwrap_or(theirs);
                }
            }
            match world.chance.below(30) {
                0 => drop(world.batch(client, &Ops::new().receive(socket))),
                1 => drop(world.begin_send(client, socket, &[0; 5000])),
                2 if world.chance.percent(5) => {
                    let _ = world.close(client, socket);
                }
                3 => world.now += world.chance.below(3 * SECOND),
                _ => {}
            }
        }
        world.die(client);
        for _ in 0..100 {
            world.frames();
            world.now += SECOND;
        }
        world.assert_empty();
    }
}

#[test]
fn fragments_that_lie_about_their_size_do_no_harm() {
    for seed in 0..200 {
        let (mut world, _) = target(2000 + seed);
        for _ in 0..300 {
            let len = world.chance.below(1481) as usize;
            let data = world.chance.octets(len);
            let mut frame = ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &data);
            let mut packet = smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]);
            packet.set_ident(world.chance.below(3) as u16);
            packet.set_dont_frag(false);
            packet.set_more_frags(world.chance.percent(70));
            packet.set_frag_offset(8 * world.chance.below(8192) as u16);
            packet.fill_checksum();
            world.inject(&frame);
            world.frames();
            world.now += world.chance.below(SECOND);
        }
    }
}
