//! Frames from one tenant of a card to others.

use super::frames::{ADDRESSES, EVERYBODY, Packet, arp, v4};
use super::*;
use crate::endpoint::headers::{TCP, UDP};
use crate::endpoint::tenant::{FOR_WIRE, RECEIVED};
use abi::nic::SendOptions;

/// The first two have the card's station, the third one its own.
const OWN: MacAddress = [2, 0, 0, 0, 1, 3];
const STATION: [MacAddress; 3] = [MAC, MAC, OWN];
const PEER: MacAddress = [2, 9, 9, 9, 9, 9];

struct Tenants {
    world: World,
    pids: [Pid; 3],
    memory: FrameMemory,
}

impl Tenants {
    fn new(world: World) -> Self {
        let mut world = world;
        let pids = [0, 1, 2].map(|index: usize| {
            world.owner(&[Filter {
                station: Some(STATION[index]),
                address: Some(ADDRESSES[index]),
                ..Filter::default()
            }])
        });
        let memory = world.map(pids[0], 0);
        Tenants {
            world,
            pids,
            memory,
        }
    }

    fn both() -> [Self; 2] {
        [
            World::e100(Pace::Doorbell, 1),
            World::igb(Pace::Doorbell, 1),
        ]
        .map(Tenants::new)
    }

    fn send(&mut self, from: usize, frame: &[u8], change: impl Fn(&mut Send)) -> Result<u64> {
        let pid = self.pids[from];
        let is_small = frame.len() <= self.memory.small.1 as usize;
        let ask = Ask {
            small: is_small.into(),
            large: (!is_small).into(),
            ..Ask::default()
        };
        let (_, done) = self.world.exchange(pid, &ask);
        let mut send = self.world.build(pid, &self.memory, done.taken[0], frame);
        change(&mut send);
        let ask = Ask {
            sends: vec![send],
            ..Ask::default()
        };
        self.world.exchange(pid, &ask).0
    }

    /// What a tenant has got, and whether its checksums are known to be right.
    fn got(&mut self, to: usize) -> Vec<(Vec<u8>, bool)> {
        let pid = self.pids[to];
        let ask = Ask {
            receive: 64,
            ..Ask::default()
        };
        let (_, done) = self.world.exchange(pid, &ask);
        let frames = done.received.iter();
        let frames = frames.map(|it| (self.world.frame(pid, it), it.checksums_right));
        let frames = frames.collect();
        let returns = done.received.iter().map(|it| it.buffer).collect();
        let ask = Ask {
            returns,
            ..Ask::default()
        };
        assert_eq!(self.world.exchange(pid, &ask).0, Ok(0));
        frames
    }

    fn on_wire(&mut self) -> Vec<Vec<u8>> {
        self.world.settle();
        self.world.model.take_sent()
    }
}

fn between(from: usize, to: usize) -> Packet {
    Packet::new([ADDRESSES[from], ADDRESSES[to]], UDP, [7, 9]).between(STATION[from], STATION[to])
}

#[test]
fn a_frame_to_a_tenant_goes_to_it_and_not_to_the_wire() {
    for mut tenants in Tenants::both() {
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 1)] {
            let frame = between(from, to).bytes();
            assert_eq!(tenants.send(from, &frame, |_| ()), Ok(0));
            for other in 0..3 {
                let expected = if other == to {
                    vec![(frame.clone(), false)]
                } else {
                    vec![]
                };
                assert_eq!(tenants.got(other), expected, "{from} {to} {other}");
            }
        }
        assert_eq!(tenants.on_wire(), Vec::<Vec<u8>>::new());
        let [pid, ..] = tenants.pids;
        assert_eq!(tenants.world.count(pid, "switch_passed_on"), 4);
        assert_eq!(tenants.world.count(pid, "endpoint_tx_frames"), 2);
        assert_eq!(tenants.world.count(pid, "endpoint_rx_frames"), 1);
        // To a station of theirs, but for none of them.
        let nobody = Packet::new([v4(1), v4(77)], UDP, [7, 9])
            .between(MAC, OWN)
            .bytes();
        assert_eq!(tenants.send(0, &nobody, |_| ()), Ok(0));
        assert_eq!(tenants.on_wire(), Vec::<Vec<u8>>::new());
        assert_eq!(tenants.world.count(pid, "switch_dropped_unmatched"), 1);
        // What another may not send is looked at first.
        let forged = Packet::new([v4(2), v4(3)], UDP, [7, 9])
            .between(MAC, OWN)
            .bytes();
        assert_eq!(tenants.send(0, &forged, |_| ()), Err(Error::NotPermitted));
        assert_eq!(tenants.got(2), []);
        // To others on the wire, in order with what is passed on.
        let away = Packet::new([v4(1), v4(77)], UDP, [7, 9])
            .between(MAC, PEER)
            .bytes();
        assert_eq!(tenants.send(0, &away, |_| ()), Ok(0));
        let sent = tenants.on_wire();
        // A card may send it longer.
        assert!(sent.len() == 1 && sent[0].starts_with(&away));
    }
}

#[test]
fn a_frame_to_all_goes_to_the_others_and_to_the_wire() {
    for mut tenants in Tenants::both() {
        let asks = arp([MAC, EVERYBODY], v4(1), v4(2));
        assert_eq!(tenants.send(0, &asks, |_| ()), Ok(0));
        assert_eq!(tenants.got(1), [(asks.clone(), false)]);
        let all = Packet::new([v4(3), v4(255)], UDP, [7, 9])
            .between(OWN, EVERYBODY)
            .bytes();
        assert_eq!(tenants.send(2, &all, |_| ()), Ok(0));
        for (other, expected) in [(0, 1), (1, 1), (2, 0)] {
            assert_eq!(tenants.got(other), vec![(all.clone(), false); expected]);
        }
        let answers = arp([MAC, MAC], v4(2), v4(1));
        assert_eq!(tenants.send(1, &answers, |_| ()), Ok(0));
        assert_eq!(tenants.got(0), [(answers, false)]);
        let mut sent = tenants.on_wire();
        sent.iter_mut()
            .for_each(|frame| frame.truncate(all.len().max(asks.len())));
        assert_eq!(sent.len(), 2);
        assert!(sent[0].starts_with(&asks) && sent[1].starts_with(&all));
    }
}

#[test]
fn a_sleeper_wakes_with_what_another_tenant_has_sent() {
    for mut tenants in Tenants::both() {
        let [_, sleeper, listener] = tenants.pids;
        for is_armed in [false, true] {
            let ask = Ask {
                receive: 8,
                arm: true,
                wake: 8,
                ..Ask::default()
            };
            tenants.world.ask(sleeper, &ask);
            assert_eq!(tenants.world.wait(sleeper, true), None);
            // Who asks for a notification gets that.
            let notify = Ask { wake: 0, ..ask };
            assert_eq!(tenants.world.exchange(listener, &notify).0, Ok(0));
            assert_eq!(tenants.world.wait(listener, false), None);
            if is_armed {
                tenants.world.idle();
            }
            for to in [1, 2] {
                assert_eq!(tenants.send(0, &between(0, to).bytes(), |_| ()), Ok(0));
            }
            assert_eq!(tenants.world.bits(sleeper), wait::NIC_RECEIVE, "{is_armed}");
            let done = tenants.world.done(sleeper);
            assert!(done.woken);
            let frame = tenants.world.frame(sleeper, &done.received[0]);
            assert_eq!(frame, between(0, 1).bytes());
            assert_eq!(tenants.world.bits(listener), wait::NIC_RECEIVE);
            assert_eq!(tenants.got(2).len(), 1);
            let ask = Ask {
                returns: vec![done.received[0].buffer],
                ..Ask::default()
            };
            assert_eq!(tenants.world.exchange(sleeper, &ask).0, Ok(0));
        }
    }
}

#[test]
fn others_cannot_take_the_room_of_what_comes_by_the_wire() {
    for mut tenants in Tenants::both() {
        for _ in 0..RECEIVED - FOR_WIRE + 10 {
            assert_eq!(tenants.send(0, &between(0, 1).bytes(), |_| ()), Ok(0));
        }
        let wire = Packet::new([v4(77), v4(2)], UDP, [7, 9]).between(PEER, MAC);
        let mut wire = wire.bytes();
        wire.resize(60, 0);
        for _ in 0..RECEIVED {
            tenants.world.model.arrive(&wire);
            tenants.world.settle();
        }
        assert_eq!(tenants.got(1).len(), usize::from(RECEIVED));
        let pid = tenants.pids[1];
        let count = |name| tenants.world.count(pid, name);
        let dropped = [
            "endpoint_rx_dropped_passed",
            "endpoint_rx_dropped_no_buffer",
        ]
        .map(count);
        assert_eq!(dropped, [10, (RECEIVED - FOR_WIRE).into()]);
        // Neither the card nor the sender has lost a buffer.
        assert_eq!(tenants.send(0, &between(0, 1).bytes(), |_| ()), Ok(0));
        assert_eq!(tenants.got(1).len(), 1);
    }
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// The sum over an IPv4 header, with its checksum (RFC 1071).
fn sum(header: &[u8]) -> u32 {
    let sum: u32 = (0..header.len())
        .step_by(2)
        .map(|at| u32::from(word(header, at)))
        .sum();
    (sum & 0xffff) + (sum >> 16)
}

/// A TCP segment with so much payload, and flags, between the first two tenants.
fn segment(family: usize, payload: usize, flags: u8) -> Vec<u8> {
    let addresses = [ADDRESSES[family], ADDRESSES[family + 1]];
    let packet = Packet::new(addresses, TCP, [7, 9]).between(MAC, MAC);
    let mut frame = packet.bytes();
    frame.truncate(if family == 0 { 34 } else { 54 });
    frame.extend([
        0, 7, 0, 9, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4, 0x50, flags, 16, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..payload).map(|at| (at * 7 + at / 256) as u8));
    let len = (frame.len() - if family == 0 { 14 } else { 54 }) as u16;
    let at = if family == 0 { 16 } else { 18 };
    frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
    frame
}

#[test]
fn a_long_segment_is_cut_as_the_card_would_cut_it() {
    const CWR_PSH_FIN: u8 = 0x80 | 0x18 | 1;
    for family in [0, 3] {
        let mut tenants = Tenants::new(World::igb(Pace::Doorbell, 1));
        if family == 3 {
            let more = [0, 1].map(|index: usize| {
                tenants.world.owner(&[Filter {
                    address: Some(ADDRESSES[3 + index]),
                    ..Filter::default()
                }])
            });
            [tenants.pids[0], tenants.pids[1]] = more;
            let memory = tenants.world.map(more[0], 0);
            assert_eq!(memory, tenants.memory);
        }
        let headers = if family == 0 { 54 } else { 74 };
        for payload in [1, 1000, 1001, 30_000] {
            let long = segment(family, payload, CWR_PSH_FIN);
            let options = SendOptions {
                segment_size: 1000,
                checksums: true,
                ..SendOptions::default()
            };
            let sent = tenants.send(0, &long, |send| send.options = options);
            assert_eq!(sent, Ok(0));
            let frames = tenants.got(1);
            assert_eq!(frames.len(), payload.div_ceil(1000));
            let mut data: Vec<u8> = Vec::new();
            let last = frames.len() - 1;
            for (number, (frame, is_right)) in frames.iter().enumerate() {
                assert!(is_right);
                let tcp = headers - 20;
                assert_eq!(frame[..12], long[..12]);
                if family == 0 {
                    assert_eq!(usize::from(word(frame, 16)), frame.len() - 14);
                    assert_eq!(sum(&frame[14..34]), 0xffff);
                    let id = word(&long, 18).wrapping_add(number as u16);
                    assert_eq!(word(frame, 18), id);
                } else {
                    assert_eq!(usize::from(word(frame, 18)), frame.len() - 54);
                }
                let sequence =
                    u32::from(word(frame, tcp + 4)) << 16 | u32::from(word(frame, tcp + 6));
                assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(data.len() as u32));
                let flags =
                    (if number == 0 { 0x80 } else { 0 }) | if number == last { 9 } else { 0 };
                assert_eq!(frame[tcp + 13], 0x10 | flags, "{number} of {payload}");
                data.extend(&frame[headers..]);
            }
            assert_eq!(data, long[headers..]);
        }
        assert_eq!(tenants.on_wire(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn a_datagram_whose_checksums_a_card_would_fill_in_is_right() {
    let mut tenants = Tenants::new(World::igb(Pace::Doorbell, 1));
    let checksums = |send: &mut Send| send.options.checksums = true;
    let frame = between(0, 1).bytes();
    assert_eq!(tenants.send(0, &frame, checksums), Ok(0));
    let ping = Packet::new([v4(1), v4(2)], 1, [0, 0])
        .between(MAC, MAC)
        .bytes();
    assert_eq!(tenants.send(0, &ping, checksums), Ok(0));
    let [(datagram, is_right), (ping, is_ping_right)] = &tenants.got(1)[..] else {
        panic!("both");
    };
    assert_eq!(
        (sum(&datagram[14..34]), sum(&ping[14..34])),
        (0xffff, 0xffff)
    );
    // Nobody has summed up an ICMP message.
    assert_eq!((*is_right, *is_ping_right), (true, false));
    assert_eq!(datagram[34..], frame[34..]);
    // What is not IP is passed on as it is.
    let other = arp([MAC, EVERYBODY], v4(1), v4(2));
    assert_eq!(tenants.send(0, &other, checksums), Ok(0));
    assert_eq!(tenants.got(1), [(other, false)]);
}

#[test]
fn what_the_card_would_refuse_to_send_is_not_passed_on_either() {
    let whole = segment(0, 3000, 0x10);
    let with = |segment_size| move |send: &mut Send| send.options.segment_size = segment_size;
    let plain = |_: &mut Send| ();
    let checksums = |send: &mut Send| send.options.checksums = true;
    let tail = |send: &mut Send| send.tail = Some((0, 100));
    let datagram = between(0, 1).bytes();
    let changed = |at: usize, byte: u8| {
        let mut frame = whole.clone();
        frame[at] = byte;
        frame
    };
    let fragment = between(0, 1).with_fragment(0, true, 5).bytes();
    let mut tenants = Tenants::new(World::igb(Pace::Doorbell, 1));
    let mut refused: Vec<(Result<u64>, Error)> = vec![
        (tenants.send(0, &datagram, tail), Error::NotSupported),
        (tenants.send(0, &whole, plain), Error::BadFrame),
        (tenants.send(0, &whole, checksums), Error::BadFrame),
        // Too small, and too large for a frame.
        (tenants.send(0, &whole, with(63)), Error::BadFrame),
        (tenants.send(0, &whole, with(1500)), Error::BadFrame),
        (tenants.send(0, &datagram, with(1000)), Error::BadFrame),
        (tenants.send(0, &fragment, checksums), Error::BadFrame),
    ];
    // A packet longer than its frame, and a TCP header of 16 bytes.
    for (at, byte) in [(16, 0xff), (46, 0x40)] {
        refused.push((
            tenants.send(0, &changed(at, byte), with(1000)),
            Error::BadFrame,
        ));
    }
    for (number, (result, error)) in refused.into_iter().enumerate() {
        assert_eq!(result, Err(error), "{number}");
    }
    assert_eq!(tenants.got(1), []);
    // A card that does none of this.
    let mut tenants = Tenants::new(World::e100(Pace::Doorbell, 1));
    assert_eq!(
        tenants.send(0, &datagram, checksums),
        Err(Error::NotSupported)
    );
    assert_eq!(tenants.got(1), []);
}
