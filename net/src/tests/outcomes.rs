//! What is told, sent and counted where things seldom go: a peer that falls silent, a reset, turns
//! of connections that have more than one segment to send.

use super::batch::{Ops, bare, broken};
use super::frames::arp_reply;
use super::raw::{ACK, FIN, RST, Raw, SYN};
use super::world::{PEER_IP, SECOND, World};
use abi::batch::Tell;
use abi::socket::{Direction, Handle};
use abi::{Error, Pid};
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x101);
const MSS: [u8; 4] = [2, 4, 5, 0xb4];

fn sent(world: &mut World) -> Vec<Raw> {
    let frames = world.frames();
    frames.iter().filter_map(|frame| Raw::read(frame)).collect()
}

/// What is sent when a segment arrives.
fn send(world: &mut World, segment: &Raw) -> Vec<Raw> {
    world.inject(&segment.frame());
    sent(world)
}

/// A handshake by hand with the listener of port 80; returns the peer's next segment.
fn shake(world: &mut World, port: u16, window: u16, options: &[u8]) -> Raw {
    let syn = Raw {
        ports: (port, 80),
        flags: SYN,
        seq: 1000,
        ack: 0,
        window: 1000,
        data: Vec::new(),
        options: options.to_vec(),
    };
    let answer = send(world, &syn).remove(0);
    let next = Raw {
        flags: ACK,
        seq: 1001,
        ack: answer.seq.wrapping_add(1),
        window,
        options: Vec::new(),
        ..syn
    };
    send(world, &next);
    next
}

/// A connection that a program has accepted, and the peer's next segment.
fn accepted(world: &mut World, port: u16) -> (Handle, Raw) {
    let listener = world.listener(PROGRAM, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    let next = shake(world, port, 60_000, &MSS);
    (world.accept(PROGRAM, listener), next)
}

/// Time passes, in which the peer's station is there and the peer says nothing.
fn silence(world: &mut World, duration: u64) -> Vec<Raw> {
    let end = world.now + duration;
    let mut all = Vec::new();
    while world.now < end {
        world.inject(&arp_reply(PEER_IP));
        all.extend(sent(world));
        let next = world.server.deadline(world.now);
        world.now = next.clamp(world.now + 1, end);
    }
    all
}

#[test]
fn what_a_syn_offers_holds_for_its_connection() {
    let mut world = World::new(2);
    let listener = world.listener(PROGRAM, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    // Windows are shifted by 7: a hundred are 12,800 octets.
    let next = shake(&mut world, 5000, 100, &[&MSS[..], &[3, 3, 7, 0]].concat());
    let socket = world.accept(PROGRAM, listener);
    let call = world.begin_send(PROGRAM, socket, &[7; 12_000]);
    let flight = sent(&mut world);
    assert_eq!(world.is_sent(call), Some(Ok(())));
    let octets: usize = flight.iter().map(|segment| segment.data.len()).sum();
    assert!(octets > 1000, "{octets}");
    assert_eq!(flight[0].data.len(), 1460);
    assert_eq!(flight[0].seq, next.ack);
}

#[test]
fn a_reset_is_told_and_is_no_time_out() {
    let mut world = World::new(3);
    let (socket, next) = accepted(&mut world, 5000);
    let call = world.batch(PROGRAM, &Ops::new().receive(socket));
    send(&mut world, &Raw { flags: RST, ..next });
    let events = world.batch_answer(call).expect("it is told");
    assert_eq!(bare(&events), [broken(socket, Error::ConnectionReset)]);
    assert_eq!(world.figure("tcp_resets_received"), 1);
    silence(&mut world, SECOND);
    assert_eq!(world.figure("tcp_timeouts"), 0);
}

#[test]
fn who_has_ended_one_side_alone_is_told_of_a_silent_peer() {
    for is_ours in [true, false] {
        let mut world = World::new(4);
        let (socket, next) = accepted(&mut world, 5000);
        if is_ours {
            let direction = Direction::Send;
            world.shutdown(PROGRAM, socket, direction).unwrap();
        } else {
            let flags = ACK | FIN;
            send(&mut world, &Raw { flags, ..next });
            world.send(PROGRAM, socket, b"in vain").unwrap();
        }
        silence(&mut world, 70 * SECOND);
        assert_eq!(world.figure("tcp_timeouts"), 1);
        let read = world.recv(PROGRAM, socket, 9);
        assert_eq!(read, Err(Error::TimedOut));
    }
}

#[test]
fn a_silent_peer_that_nobody_has_accepted_is_sent_a_reset() {
    let mut world = World::new(5);
    world.listener(PROGRAM, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    shake(&mut world, 5000, 60_000, &MSS);
    let all = silence(&mut world, 90 * SECOND);
    let resets = all.iter().filter(|segment| segment.flags & RST != 0);
    assert_eq!((resets.count(), world.figure("connections")), (1, 0));
}

#[test]
fn connections_that_have_more_to_send_take_turns() {
    let mut world = World::new(6);
    let listener = world.listener(PROGRAM, 80, 4);
    world.inject(&arp_reply(PEER_IP));
    let mut peers: Vec<(Handle, Raw)> = Vec::new();
    for port in [5000, 5001] {
        let next = shake(&mut world, port, 60_000, &MSS);
        peers.push((world.accept(PROGRAM, listener), next));
    }
    // A segment ends where the ring of the transmit buffer does, which is at 32,768.
    for (socket, next) in &mut peers {
        let socket = *socket;
        let call = world.begin_send(PROGRAM, socket, &[1; 30_000]);
        let (first, mut all) = (next.ack, 0);
        for _ in 0..100 {
            let arrived = sent(&mut world);
            let octets: usize = arrived.iter().map(|segment| segment.data.len()).sum();
            all += octets as u32;
            // The ring would begin anew if it were empty.
            next.ack = first.wrapping_add(all.min(29_000));
            world.inject(&next.frame());
        }
        sent(&mut world);
        assert_eq!(world.is_sent(call), Some(Ok(())));
    }
    // An answer would let them wait for what the program sends next.
    let both = peers.iter().fold(Ops::new(), |ops, (socket, _)| {
        ops.send(*socket, &[2; 10_000], |send| send.tell = Tell::Never)
    });
    world.batch(PROGRAM, &both);
    let mut ports: Vec<u16> = sent(&mut world).iter().map(|s| s.ports.1).collect();
    assert_eq!(ports.len(), 14);
    ports.dedup();
    assert_eq!(ports.len(), 4, "{ports:?}");
}

#[test]
fn nothing_is_joined_behind_the_end() {
    let mut world = World::new(7);
    let (_, mut next) = accepted(&mut world, 5000);
    let (flags, data) = (ACK | FIN, Vec::new());
    send(
        &mut world,
        &Raw {
            flags,
            data,
            ..next.clone()
        },
    );
    next.seq += 1;
    next.data = vec![9; 100];
    for seq in [next.seq, next.seq + 100] {
        world.inject(
            &Raw {
                seq,
                ..next.clone()
            }
            .frame(),
        );
    }
    sent(&mut world);
    assert_eq!(world.figure("frames_joined"), 0);
}
