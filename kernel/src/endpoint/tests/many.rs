//! Sixteen endpoints of one card, of which one does whatever it can to the others.

use super::frames::{Packet, arp, v4};
use super::*;
use crate::endpoint::headers::UDP;
use crate::endpoint::tenant::RECEIVED;
use core::net::IpAddr;
use nic::model::Rng;

const PEER: MacAddress = [2, 9, 9, 9, 9, 9];
const TENANTS: usize = 16;
const PORT: u16 = 7000;

/// A part of the card, its owner, and what it should have got and sent.
struct Tenant {
    pid: Pid,
    filter: Filter,
    memory: FrameMemory,
    expected: Vec<Vec<u8>>,
    got: Vec<Vec<u8>>,
    /// Frames that are not on their way yet, in their buffers.
    waiting: Vec<(Send, Vec<u8>)>,
    sent: Vec<Vec<u8>>,
    returns: Vec<u16>,
}

/// Every third has a station of its own, the others the card's.
fn filter(index: usize) -> Filter {
    let own = [2, 0, 0, 0, 1, index as u8];
    Filter {
        station: (index % 3 == 1).then_some(own),
        address: Some(v4(16 + index as u8)),
        ..Filter::default()
    }
}

fn station(filter: &Filter) -> MacAddress {
    filter.station.unwrap_or(MAC)
}

impl Tenant {
    fn new(world: &mut World, filter: Filter) -> Self {
        let pid = world.owner(&[filter]);
        let memory = world.map(pid, 0);
        Tenant {
            pid,
            filter,
            memory,
            expected: Vec::new(),
            got: Vec::new(),
            waiting: Vec::new(),
            sent: Vec::new(),
            returns: Vec::new(),
        }
    }

    fn incoming(&self, number: u32) -> Vec<u8> {
        let own = self.filter.address.expect("given");
        let packet = Packet::new([v4(2), own], UDP, [9, PORT]).between(PEER, station(&self.filter));
        Self::filled(&packet, number)
    }

    fn outgoing(&self, number: u32) -> Vec<u8> {
        let own = self.filter.address.expect("given");
        let packet = Packet::new([own, v4(2)], UDP, [PORT, 9]).between(station(&self.filter), PEER);
        Self::filled(&packet, number)
    }

    fn filled(packet: &Packet, number: u32) -> Vec<u8> {
        let mut frame = packet.bytes();
        frame.extend(number.to_be_bytes());
        frame.resize(60 + (number as usize * 37) % 1400, number as u8);
        frame
    }

    /// One turn of an honest program: sends what waits and something new, and takes what has come.
    fn turn(&mut self, world: &mut World, number: &mut u32, sends: usize) {
        let ask = Ask {
            small: sends as u32,
            ..Ask::default()
        };
        let (_, done) = world.exchange(self.pid, &ask);
        for buffer in done.taken {
            let frame = self.outgoing(*number);
            *number += 1;
            let send = world.build(self.pid, &self.memory, buffer, &frame);
            self.waiting.push((send, frame));
        }
        let ask = Ask {
            returns: std::mem::take(&mut self.returns),
            sends: self.waiting.iter().map(|(send, _)| *send).collect(),
            receive: 64,
            ..Ask::default()
        };
        let (result, done) = world.exchange(self.pid, &ask);
        assert!(result.is_ok(), "{result:?}");
        let sent = self.waiting.drain(..done.sent as usize);
        self.sent.extend(sent.map(|(_, frame)| frame));
        for received in &done.received {
            self.got.push(world.frame(self.pid, received));
            self.returns.push(received.buffer);
        }
    }
}

/// One turn of a hostile program. Returns whether it has died.
fn attack(world: &mut World, hostile: &mut Tenant, others: &[Tenant], rng: &mut Rng) -> bool {
    match rng.below(12) {
        0 => {
            world.end(hostile.pid);
            return true;
        }
        // Takes all and gives nothing back.
        1 => {
            let ask = Ask {
                small: 80,
                receive: 64,
                ..Ask::default()
            };
            let _ = world.exchange(hostile.pid, &ask);
        }
        2 => {
            for _ in 0..50 {
                world.set_words(hostile.pid, rng.below(WORDS), &[rng.next() as u32]);
            }
            let _ = world.exchange_as_it_stands(hostile.pid);
        }
        3 => {
            // It may sleep whatever it has written, and somebody wakes it.
            world.set_words(hostile.pid, exchange::ARM, &[1, rng.next() as u32]);
            world.wait(hostile.pid, true);
            world.idle();
            world.table.expire(u64::MAX);
        }
        // Floods, with what is its own and what is not.
        _ => {
            let ask = Ask {
                small: 64,
                ..Ask::default()
            };
            let (_, done) = world.exchange(hostile.pid, &ask);
            let sends = done.taken.iter().map(|&buffer| {
                let victim = &others[rng.below(others.len())];
                let mut frame = match rng.below(4) {
                    0 => hostile.outgoing(rng.next() as u32),
                    1 => arp(
                        [station(&victim.filter), PEER],
                        victim.filter.address.expect("given"),
                        v4(2),
                    ),
                    2 => arp(
                        [station(&hostile.filter), PEER],
                        victim.filter.address.expect("given"),
                        v4(2),
                    ),
                    _ => victim.outgoing(rng.next() as u32),
                };
                if rng.one_in(3) {
                    frame[6..12].copy_from_slice(&station(&hostile.filter));
                }
                if rng.one_in(4) {
                    let at = 12 + rng.below(30);
                    frame[at] = rng.next() as u8;
                }
                let mut send = world.build(hostile.pid, &hostile.memory, buffer, &frame);
                if rng.one_in(4) {
                    // Headers that go on in the ramdisk.
                    send.len = rng.below(60) as u32;
                    send.tail = Some((rng.below(1 << 15) as u32, 1 + rng.below(900) as u32));
                }
                send
            });
            let sends = sends.collect();
            let ask = Ask {
                sends,
                ..Ask::default()
            };
            let _ = world.exchange(hostile.pid, &ask);
        }
    }
    false
}

/// The frame's source, if it is one of the tenants' to claim.
fn claims(frame: &[u8]) -> Option<(MacAddress, [u8; 4])> {
    let at = match frame.get(12..14)? {
        [8, 0] => 26,
        [8, 6] => 28,
        _ => return None,
    };
    let station = frame[6..].first_chunk()?;
    Some((*station, *frame.get(at..)?.first_chunk()?))
}

#[test]
fn fifteen_are_served_byte_for_byte_whatever_the_sixteenth_does() {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let mut world = World::e100(Pace::ALL[seed as usize % 4], seed);
        let mut tenants: Vec<Tenant> = (0..TENANTS)
            .map(|index| Tenant::new(&mut world, filter(index)))
            .collect();
        let (mut number, mut arrived, mut deaths) = (0, 0_u64, 0);
        let mut hostile_sent = 0;
        for round in 0..250 {
            if attack_round(&mut world, &mut tenants, &mut rng) {
                deaths += 1;
            }
            for _ in 0..rng.below(24) {
                let index = rng.below(TENANTS);
                let frame = tenants[index].incoming(number);
                number += 1;
                arrived += 1;
                world.model.arrive(&frame);
                tenants[index].expected.push(frame);
            }
            world.settle();
            world.idle();
            for tenant in &mut tenants[1..] {
                let sends = rng.below(3);
                tenant.turn(&mut world, &mut number, sends);
            }
            world.settle();
            let sent = world.model.take_sent();
            hostile_sent += check_wire(&sent, &mut tenants, round);
        }
        // What still waited finds room now.
        for _ in 0..100 {
            for tenant in &mut tenants[1..] {
                tenant.turn(&mut world, &mut number, 0);
            }
            world.settle();
            let sent = world.model.take_sent();
            check_wire(&sent, &mut tenants, 0);
        }
        for (index, tenant) in tenants.iter().enumerate().skip(1) {
            assert!(
                tenant.waiting.is_empty() && tenant.sent.is_empty(),
                "{index}"
            );
            assert_eq!(tenant.got, tenant.expected, "{seed}: {index}");
            let dropped = world.count(tenant.pid, "endpoint_rx_dropped_no_buffer");
            assert_eq!(dropped, 0, "{seed}: {index}");
            let (got, frames) = (tenant.got.len() as u64, "endpoint_rx_frames");
            assert_eq!(world.count(tenant.pid, frames), got);
        }
        let pid = tenants[1].pid;
        assert!(deaths > 3 && hostile_sent > 50, "{deaths} {hostile_sent}");
        assert_eq!(world.model.dropped(), 0);
        assert_eq!(world.count(pid, "switch_dropped_unmatched"), 0);
        assert!(arrived > 1500, "{arrived}");
    }
}

fn attack_round(world: &mut World, tenants: &mut [Tenant], rng: &mut Rng) -> bool {
    let (hostile, others) = tenants.split_first_mut().expect("sixteen");
    let has_died = attack(world, hostile, others, rng);
    if has_died {
        // What comes for it meanwhile is nobody's.
        world.settle();
        *hostile = Tenant::new(world, filter(0));
    }
    has_died
}

/// Each frame on the wire is an honest tenant's next one, or comes from the hostile one's own address.
fn check_wire(sent: &[Vec<u8>], tenants: &mut [Tenant], round: usize) -> u32 {
    let mut hostile = 0;
    for frame in sent {
        let source = claims(frame);
        let of = tenants.iter_mut().skip(1).find(|tenant| {
            let address = tenant.filter.address.expect("given");
            source.is_some_and(|(_, claimed)| IpAddr::from(claimed) == address)
        });
        match of {
            Some(tenant) => {
                assert_eq!(tenant.sent.first(), Some(frame), "{round}: forged");
                tenant.sent.remove(0);
            }
            None => {
                let of = station(&tenants[0].filter);
                assert_eq!(frame[6..12], of, "{round}: from another station");
                let (_, claimed) = source.expect("what is no packet is not sent");
                let own = IpAddr::from(claimed) == tenants[0].filter.address.expect("given");
                assert!(own || claimed == [0; 4], "{round}: from nobody's address");
                hostile += 1;
            }
        }
    }
    hostile
}

#[test]
fn a_slow_reader_loses_its_own_frames_only() {
    for pace in Pace::ALL {
        let mut world = World::e100(pace, 3);
        let mut slow = Tenant::new(&mut world, filter(0));
        let mut other = Tenant::new(&mut world, filter(1));
        let mut number = 0;
        for round in 0..300 {
            world.model.arrive(&slow.incoming(round));
            let frame = other.incoming(round);
            world.model.arrive(&frame);
            other.expected.push(frame);
            world.settle();
            world.idle();
            other.turn(&mut world, &mut number, 0);
        }
        assert_eq!(other.got, other.expected);
        // The first ones wait for it, the others are counted.
        for round in 0..u32::from(RECEIVED) {
            slow.expected.push(slow.incoming(round));
        }
        slow.turn(&mut world, &mut number, 0);
        assert_eq!(slow.got, slow.expected);
        let dropped = world.count(slow.pid, "endpoint_rx_dropped_no_buffer");
        assert_eq!(dropped, 300 - u64::from(RECEIVED));
        assert_eq!(world.model.dropped(), 0, "{pace:?}");
    }
}

/// The 82576 puts a long frame into several of its buffers; a tenant gets it in one.
#[test]
fn a_long_frame_that_comes_in_pieces_goes_on_whole() {
    let config = Config {
        frame_max: 9014,
        ..Config::small(InterruptMode::Intx)
    };
    let mut world = World::igb_of(config, Pace::Anytime, 5);
    let mut tenants: Vec<Tenant> = (0..2)
        .map(|index| Tenant::new(&mut world, filter(index)))
        .collect();
    for number in 0..60 {
        let tenant = &mut tenants[number as usize % 2];
        let mut frame = tenant.incoming(number);
        frame.resize(
            [60, 2048, 2049, 4096, 5000, 9014][number as usize / 2 % 6],
            number as u8,
        );
        world.model.arrive(&frame);
        tenant.expected.push(frame);
        world.settle();
        world.idle();
    }
    for tenant in &mut tenants {
        tenant.turn(&mut world, &mut 0, 0);
        assert_eq!(tenant.got, tenant.expected);
        assert_eq!(world.count(tenant.pid, "switch_dropped_piece"), 0);
    }
}

#[test]
fn who_wanted_room_is_told_of_it_and_nobody_else() {
    // The ring has room for 31. A card that stalls comes to it soon or late: here it is late.
    let found = (0..100).find_map(|seed| {
        let mut world = World::e100(Pace::Stalling, seed);
        let mut tenants: Vec<Tenant> = (0..3)
            .map(|index| Tenant::new(&mut world, filter(index)))
            .collect();
        let mut number = 0;
        for tenant in &mut tenants[..2] {
            tenant.turn(&mut world, &mut number, 60);
        }
        let all_wait = tenants[..2].iter().all(|it| !it.waiting.is_empty());
        all_wait.then_some((world, tenants, number))
    });
    let (mut world, mut tenants, mut number) = found.expect("it stalls at times");
    let pids = [0, 1, 2].map(|index: usize| tenants[index].pid);
    for pid in &pids {
        assert_eq!(world.wait(*pid, false), None);
    }
    let dropped = world.count(pids[0], "tx_dropped");
    assert_eq!(dropped, 0, "what waits is not lost");
    world.settle();
    world.idle();
    let room = pids.map(|pid| world.bits(pid));
    assert_eq!(room, [wait::NIC_TRANSMIT, wait::NIC_TRANSMIT, 0]);
    // To try in vain costs the card no buffer.
    for round in 0..300 {
        for tenant in &mut tenants[..2] {
            let is_done = tenant.waiting.is_empty() && round < 280;
            let sends = if is_done { 60 } else { 0 };
            tenant.turn(&mut world, &mut number, sends);
        }
        if round % 3 == 0 {
            world.settle();
        }
    }
    assert!(tenants.iter().all(|tenant| tenant.waiting.is_empty()));
}

#[test]
fn what_is_for_nobody_or_of_a_vlan_is_counted() {
    let mut world = World::e100(Pace::Doorbell, 1);
    let mut tenant = Tenant::new(&mut world, filter(0));
    let with_tag = |tag: u16| {
        let mut frame = tenant.incoming(1);
        frame.splice(12..12, [[0x81, 0], tag.to_be_bytes()].concat());
        frame
    };
    for frame in [
        with_tag(7),
        with_tag(5 << 13),
        Tenant {
            filter: filter(3),
            ..Tenant::new(&mut World::e100(Pace::Doorbell, 1), filter(3))
        }
        .incoming(1),
    ] {
        world.model.arrive(&frame);
    }
    world.settle();
    world.idle();
    // A tag that only has a priority is taken out, as for the owner of a whole card.
    tenant.expected.push(tenant.incoming(1));
    tenant.turn(&mut world, &mut 0, 0);
    assert_eq!(tenant.got, tenant.expected);
    assert_eq!(world.count(tenant.pid, "switch_dropped_vlan"), 1);
    assert_eq!(world.count(tenant.pid, "switch_dropped_unmatched"), 1);
}

#[test]
fn what_a_tenant_may_not_send_is_refused_with_a_reason_that_is_counted() {
    let mut world = World::e100(Pace::Doorbell, 1);
    let tenant = Tenant::new(&mut world, filter(0));
    let other = Tenant::new(&mut world, filter(3));
    let send = |world: &mut World, change: &dyn Fn(&mut Send), frame: &[u8]| {
        let ask = Ask {
            small: 1,
            ..Ask::default()
        };
        let (_, done) = world.exchange(tenant.pid, &ask);
        let mut send = world.build(tenant.pid, &tenant.memory, done.taken[0], frame);
        change(&mut send);
        let ask = Ask {
            sends: vec![send],
            ..Ask::default()
        };
        world.exchange(tenant.pid, &ask).0
    };
    let own = tenant.outgoing(1);
    let plain = |_: &mut Send| {};
    let refused = send(&mut world, &plain, &other.outgoing(1));
    assert_eq!(refused, Err(Error::NotPermitted));
    let mut tagged = own.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    assert_eq!(send(&mut world, &plain, &tagged), Err(Error::NotPermitted));
    let vlan = |send: &mut Send| send.options.vlan = Some(7);
    assert_eq!(send(&mut world, &vlan, &own), Err(Error::NotSupported));
    let cut = |send: &mut Send| send.len = 13;
    assert_eq!(send(&mut world, &cut, &own), Err(Error::BadFrame));
    let long = |send: &mut Send| send.len = 5000;
    assert_eq!(send(&mut world, &long, &own), Err(Error::BadFrame));
    // All but the Ethernet header in a tail.
    let tail = |send: &mut Send| (send.len, send.tail) = (14, Some((0, 100)));
    assert_eq!(send(&mut world, &tail, &own), Err(Error::NotPermitted));
    world.settle();
    assert_eq!(world.model.take_sent(), Vec::<Vec<u8>>::new());
    assert_eq!(world.count(tenant.pid, "endpoint_tx_bad_source"), 3);
    assert_eq!(world.count(tenant.pid, "endpoint_tx_unsupported"), 1);
    assert_eq!(world.count(tenant.pid, "endpoint_tx_bad_headers"), 1);
    assert_eq!(world.count(tenant.pid, "endpoint_tx_bad_length"), 1);
    assert_eq!(world.count(tenant.pid, "endpoint_tx_dropped"), 6);
    assert_eq!(world.count(tenant.pid, "endpoint_tx_frames"), 0);
    assert_eq!(send(&mut world, &plain, &own), Ok(0));
    world.settle();
    assert_eq!(world.model.take_sent(), [own]);
}

#[test]
fn all_are_told_when_the_card_breaks_and_when_it_works_again() {
    let model = e100::E100Model::new(e100::Behaviour::Qemu, Pace::Doorbell, 1, MAC);
    let mut world = World::of(&model);
    let mut tenants: Vec<Tenant> = (0..3)
        .map(|index| Tenant::new(&mut world, filter(index)))
        .collect();
    let pids = [0, 1, 2].map(|index: usize| tenants[index].pid);
    for gone in [true, false] {
        let defects = e100::Defects {
            gone,
            ..e100::Defects::default()
        };
        // One expects frames, one a notification, and one has asked for nothing.
        world.ask(
            pids[0],
            &Ask {
                receive: 1,
                arm: true,
                wake: 1,
                ..Ask::default()
            },
        );
        assert_eq!(world.wait(pids[0], true), None);
        for pid in &pids[1..] {
            assert_eq!(world.wait(*pid, false), None);
        }
        model.set_defects(defects);
        for _ in 0..3 {
            world.cards.tick(&mut world.table, |_| ());
        }
        for pid in &pids {
            assert_eq!(world.bits(*pid) & wait::NIC_LINK, wait::NIC_LINK, "{gone}");
        }
    }
    world.settle();
    for tenant in &mut tenants {
        let frame = tenant.incoming(1);
        world.model.arrive(&frame);
        tenant.expected.push(frame);
    }
    world.settle();
    world.idle();
    for tenant in &mut tenants {
        tenant.turn(&mut world, &mut 0, 1);
        assert_eq!(tenant.got, tenant.expected);
    }
    world.settle();
    assert_eq!(world.model.take_sent().len(), 3);
}
