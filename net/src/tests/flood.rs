//! SYN floods and cookies (RFC 4987 §3.6), and numbers that nobody can tell (RFC 6528).

use super::world::*;
use crate::stack::{Figures, Stack};
use crate::tests::frames::{Segment, arp_reply, segments};
use crate::tests::raw::{self, Raw};
use crate::verdict::DropReason;
use crate::{Config, Limits};
use smoltcp::wire::TcpControl;
use smoltcp::wire::TcpControl::{Fin, Rst, Syn};
use std::vec;
use std::vec::Vec;

/// How long a cookie's period is.
const PERIOD: u64 = 4_000 << 24;
const BACKLOG: usize = 128;

/// A stack that listens at port 80, and whoever is at the other end.
struct Server {
    stack: Stack<Nic>,
    now: u64,
}

impl Server {
    fn new(seed: u64, backlog: usize) -> Self {
        Self::with(Config::new(SERVER_MAC, seed), backlog)
    }

    fn with(mut config: Config, backlog: usize) -> Self {
        config.limits = Limits {
            tcp_receive_large: config.limits.tcp_receive,
            tcp_transmit_large: config.limits.tcp_transmit,
            ..config.limits
        };
        let now = 5 * SECOND;
        let mut server = Server {
            stack: Stack::new(config, nic(4096), now),
            now,
        };
        server.stack.listen(80, backlog);
        server.frames(&[arp_reply(PEER_IP)]);
        server
    }

    /// What the stack sends when these frames arrive.
    fn frames(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.stack
            .device_mut()
            .arrived
            .extend(frames.iter().cloned());
        let mut sent = Vec::new();
        loop {
            let more = self.stack.receive_all(self.now);
            let quiet = self.stack.transmit(self.now);
            sent.extend(self.stack.device_mut().sent.drain(..));
            if !more && quiet {
                break;
            }
        }
        while self.stack.next_change().is_some() {}
        sent
    }

    fn send(&mut self, segment: &Segment) -> Vec<Segment> {
        segments(&self.frames(&[segment.frame()]))
    }

    /// The answer to a SYN.
    fn answer(&mut self, syn: &Segment) -> Segment {
        let answers = self.send(syn);
        let [answer] = answers.as_slice() else {
            panic!("{answers:?}")
        };
        let numbers = (answer.control, answer.ack, answer.peer);
        assert_eq!(numbers, (Syn, Some(syn.end()), syn.peer));
        answer.clone()
    }

    /// Takes all places of the backlog for SYNs.
    fn fill(&mut self) {
        let mut n = 0;
        while self.figures().tcp.cookies_sent == 0 {
            self.answer(&Segment::syn(1024 + n, 80, 7).from([10, 9, 9, 9]));
            n += 1;
        }
    }

    /// What a connection has received, of one that is accepted now.
    fn accepted(&mut self) -> Option<Vec<u8>> {
        let (id, _) = self.stack.tcp.accept(80)?;
        let mut octets = Vec::new();
        let take = |some: &[u8]| {
            octets.extend(some);
            Ok(some.len())
        };
        self.stack.tcp.receive(id, take).unwrap();
        Some(octets)
    }

    fn figures(&self) -> Figures {
        self.stack.figures()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.figures().verdicts.dropped(reason)
    }

    fn end(mut self) {
        self.stack.audit(self.now);
    }
}

/// The acknowledgement of a SYN-ACK, with data.
fn first(answer: &Segment, data: &[u8]) -> Segment {
    let mut segment = Segment::after(answer, TcpControl::None);
    segment.data = data.to_vec();
    segment
}

/// One of 100,000 that never complete a connection. The router passes their SYNs on.
fn stranger(n: u64) -> Segment {
    let n = (n % 100_000) as u32;
    let [_, b, c, d] = n.to_be_bytes();
    Segment::syn(1024 + (n % 50_000) as u16, 80, n * 77).from([172, 16 + b, c, d])
}

#[test]
fn at_20000_syns_a_second_from_100000_sources_all_clients_are_served() {
    let mut server = Server::new(1, BACKLOG);
    let mut chance = Chance(1);
    let mut strangers = 0;
    for client in 0..2000 {
        server.now += MS;
        let mut frames: Vec<_> = (0..20)
            .map(|_| stranger(chance.below(100_000)).frame())
            .collect();
        strangers += 20;
        let port = 1024 + client;
        frames.insert(chance.below(20) as usize, Segment::syn(port, 80, 5).frame());
        let mut sent = segments(&server.frames(&frames));
        assert!(sent.iter().all(|segment| segment.control != Rst));
        sent.retain(|segment| segment.peer == (PEER_IP, port));
        let [answer] = sent.as_slice() else {
            panic!("{sent:?}")
        };
        // The request comes with the acknowledgement, and the flood goes on.
        let request = first(answer, b"GET");
        let sent = server.frames(&[stranger(chance.below(100_000)).frame(), request.frame()]);
        strangers += 1;
        assert!(segments(&sent).iter().all(|segment| segment.control != Rst));
        let (id, peer) = server.stack.tcp.accept(80).unwrap();
        assert_eq!(peer.port, port);
        let taken = server.stack.tcp.receive(id, |octets| Ok(octets.len()));
        assert_eq!(taken, Ok(3));
        let page = |buffer: &mut [u8]| {
            buffer[..500].fill(b'p');
            Ok(500)
        };
        assert_eq!(server.stack.send(id, page), Ok(500));
        server.stack.close(id, server.now);
        let sent = segments(&server.frames(&[]));
        let page = sent.iter().find(|segment| segment.peer.1 == port).unwrap();
        assert_eq!((page.data.len(), page.control), (500, Fin));
        let mut fin = Segment::after(page, Fin);
        fin.seq = request.end();
        server.send(&fin);
        // No memory but the backlog's entries is taken.
        let figures = server.figures();
        assert!(figures.half_open <= BACKLOG && figures.buffer_octets == 0);
        assert_eq!(figures.connections, figures.half_open);
    }
    let tcp = server.figures().tcp;
    assert_eq!(
        (tcp.accepted, tcp.syns_dropped, tcp.resets_sent),
        (2000, 0, 0)
    );
    assert!(tcp.cookies_sent > strangers && tcp.cookies_accepted > 1900);
    assert_eq!(tcp.cookies_refused, 0);
    server.end();
}

#[test]
fn a_cookie_makes_the_connection_that_was_offered() {
    for (option, told) in [
        (None, 536),
        (Some(48), 48),
        (Some(216), 216),
        (Some(536), 536),
        (Some(1200), 1200),
        (Some(1380), 1360),
        (Some(1400), 1400),
        (Some(1452), 1452),
        (Some(9000), 1460),
    ] {
        for sack in [false, true] {
            let mut server = Server::new(2, 2);
            server.fill();
            let mut options = Vec::new();
            if let Some(mss) = option {
                let [high, low] = u16::to_be_bytes(mss);
                options.extend([2, 4, high, low]);
            }
            if sack {
                options.extend([4, 2, 1, 1]);
            }
            // A window scale, which a cookie does not tell.
            options.extend([3, 3, 7, 1]);
            let mut segment = Raw {
                ports: (5000, 80),
                flags: raw::SYN,
                seq: 1000,
                ack: 0,
                window: 60_000,
                data: Vec::new(),
                options,
            };
            let answers = server.frames(&[segment.frame()]);
            let answer = Raw::read(&answers[0]).unwrap();
            assert_eq!(answer.flags, raw::SYN | raw::ACK);
            let mss = 1460u16.to_be_bytes();
            let mut expected = vec![2, 4, mss[0], mss[1]];
            expected.extend(if sack { &[4, 2, 0, 0][..] } else { &[] });
            assert_eq!(answer.options, expected);
            segment = Raw {
                flags: raw::ACK,
                seq: 1001,
                ack: answer.seq.wrapping_add(1),
                data: b"hello".to_vec(),
                options: Vec::new(),
                ..segment
            };
            server.frames(&[segment.frame()]);
            assert_eq!(server.figures().tcp.cookies_accepted, 1);
            let (id, _) = server.stack.tcp.accept(80).unwrap();
            let taken = server.stack.tcp.receive(id, |octets| Ok(octets.len()));
            assert_eq!(taken, Ok(5));
            server.stack.send(id, |buffer| Ok(buffer.len())).unwrap();
            let sent = server.frames(&[]);
            let data = Raw::read(&sent[0]).unwrap();
            assert_eq!(data.data.len(), told, "{option:?}");
            assert_eq!((data.seq, data.ack), (segment.ack, 1006));
            // Behind a gap SACK is sent to whom it was permitted.
            segment.seq = 2000;
            let answers = server.frames(&[segment.frame()]);
            let answer = answers.iter().filter_map(|frame| Raw::read(frame));
            let has_sack = answer.clone().any(|answer| answer.options.contains(&5));
            assert_eq!(has_sack, sack);
            server.end();
        }
    }
}

#[test]
fn forged_cookies_make_no_connection_and_draw_a_bounded_number_of_resets() {
    let mut server = Server::new(3, 2);
    server.fill();
    let mut chance = Chance(3);
    let mut resets = 0;
    for _ in 0..100 {
        let mut forged = Vec::new();
        for _ in 0..100 {
            let mut segment = stranger(chance.below(100_000));
            segment.control = TcpControl::None;
            segment.ack = Some(chance.below(1 << 32) as u32);
            forged.push(segment.frame());
        }
        let sent = segments(&server.frames(&forged));
        assert!(sent.iter().all(|segment| segment.control == Rst));
        resets += sent.len() as u64;
        server.now += MS;
    }
    let tcp = server.figures().tcp;
    assert_eq!((tcp.cookies_accepted, tcp.cookies_refused), (0, 10_000));
    assert!((1000..2000).contains(&resets), "{resets}");
    assert_eq!(tcp.resets_sent, resets);
    // What acknowledges a number of the last two periods may be a client's second segment.
    let dropped = server.dropped(DropReason::TcpNoConnection) - resets - tcp.resets_held;
    assert!((20..200).contains(&dropped), "{dropped} of 10,000 are 78");
    server.end();
}

#[test]
fn a_cookie_is_good_for_two_periods_and_for_its_own_connection() {
    let mut server = Server::new(4, 2);
    server.fill();
    let syn = Segment::syn(5000, 80, 1000);
    let answer = server.answer(&syn);
    let request = first(&answer, b"x");
    // Another port, another host, another SYN.
    for wrong in [
        Segment {
            peer: (PEER_IP, 5001),
            ..request.clone()
        },
        request.clone().from([10, 0, 2, 3]),
    ] {
        let sent = server.send(&wrong);
        assert_eq!((sent.len(), sent[0].control), (1, Rst));
    }
    let mut wrong = request.clone();
    wrong.seq += 1;
    assert_eq!(server.send(&wrong), []);
    assert_eq!(server.figures().tcp.cookies_refused, 3);
    server.now += PERIOD;
    assert_eq!(server.send(&request), []);
    assert_eq!(server.accepted().as_deref(), Some(&b"x"[..]));
    // And one that is too old, while others are not.
    let old = server.answer(&Segment::syn(5002, 80, 1000));
    server.now += 2 * PERIOD;
    server.stack.unlisten(80, server.now);
    server.frames(&[]);
    server.stack.listen(80, 2);
    for n in 0..3 {
        server.answer(&Segment::syn(6000 + n, 80, 7));
    }
    let refused = server.figures().tcp.cookies_refused;
    assert_eq!(server.send(&first(&old, b"x"))[0].control, Rst);
    assert_eq!(server.figures().tcp.cookies_refused, refused + 1);
    // Where none were sent lately, none are believed.
    server.now += 3 * PERIOD;
    assert_eq!(server.send(&first(&old, b"x"))[0].control, Rst);
    assert_eq!(server.figures().tcp.cookies_refused, refused + 1);
    server.end();
}

#[test]
fn a_lost_acknowledgement_or_first_segment_is_made_up_for_by_the_next() {
    for with_cookie in [false, true] {
        let mut server = Server::new(5, 2);
        if with_cookie {
            server.fill();
        }
        let answer = server.answer(&Segment::syn(5000, 80, 1000));
        let one = first(&answer, b"one ");
        let mut two = first(&answer, b"two");
        two.seq = one.end();
        // Its acknowledgement is lost, and so is the first segment: no RST for the second.
        let sent = server.send(&two);
        assert!(sent.iter().all(|segment| segment.control != Rst));
        let sent = segments(&server.frames(&[one.frame(), two.frame()]));
        assert!(sent.iter().all(|segment| segment.control != Rst));
        assert_eq!(server.accepted().as_deref(), Some(&b"one two"[..]));
        assert_eq!(
            server.figures().tcp.cookies_accepted,
            u64::from(with_cookie)
        );
        server.end();
    }
}

#[test]
fn while_as_many_wait_as_the_backlog_acknowledgements_are_dropped() {
    let mut server = Server::new(6, 2);
    let answers: Vec<_> = (0..4)
        .map(|n| server.answer(&Segment::syn(5000 + n, 80, 1000)))
        .collect();
    assert_eq!(server.figures().tcp.cookies_sent, 2);
    for answer in &answers[..2] {
        assert_eq!(server.send(&first(answer, b"")), []);
    }
    for (count, answer) in answers[2..].iter().enumerate() {
        assert_eq!(server.send(&first(answer, b"")), []);
        assert_eq!(server.dropped(DropReason::TcpNoRoom), count as u64 + 1);
    }
    // Nor is a SYN answered.
    assert_eq!(server.send(&Segment::syn(5010, 80, 1000)), []);
    for _ in 0..2 {
        assert!(server.accepted().is_some());
    }
    assert_eq!(server.send(&first(&answers[3], b"data")), []);
    assert_eq!(server.accepted().as_deref(), Some(&b"data"[..]));
    assert_eq!(server.figures().tcp.cookies_accepted, 1);
    server.end();
}

#[test]
fn all_listeners_together_have_a_bounded_number_of_entries() {
    let mut config = Config::new(SERVER_MAC, 11);
    config.limits.half_open = 3;
    let mut server = Server::with(config, BACKLOG);
    server.stack.listen(81, BACKLOG);
    for n in 0..10 {
        let syn = Segment::syn(5000 + n, 80 + n % 2, 1000);
        let answer = server.answer(&syn);
        assert_eq!(server.figures().half_open, usize::from(n + 1).min(3));
        if n == 9 {
            assert_eq!(server.send(&first(&answer, b"")), []);
        }
    }
    let tcp = server.figures().tcp;
    assert_eq!((tcp.cookies_sent, tcp.cookies_accepted), (7, 1));
    // One that gives its place back has it taken again.
    let mut reset = Segment::syn(5000, 80, 1001);
    reset.control = Rst;
    assert_eq!(server.send(&reset), []);
    assert_eq!(server.figures().half_open, 2);
    server.answer(&Segment::syn(6000, 81, 1));
    assert_eq!(
        (
            server.figures().half_open,
            server.figures().tcp.cookies_sent
        ),
        (3, 7)
    );
    server.end();
}

#[test]
fn a_syn_ack_is_repeated_with_twice_the_time_between() {
    let mut server = Server::new(7, 2);
    let answer = server.answer(&Segment::syn(5000, 80, 1000));
    let begun = server.now;
    let mut times = Vec::new();
    while server.figures().half_open > 0 {
        server.now = server.stack.deadline().unwrap();
        for segment in segments(&server.frames(&[])) {
            assert_eq!(segment, answer);
            times.push((server.now - begun) / SECOND);
        }
    }
    assert_eq!(times, [1, 3, 7, 15]);
    assert_eq!(server.now - begun, 30 * SECOND);
    let tcp = server.figures().tcp;
    assert_eq!((tcp.syn_acks_repeated, tcp.half_open_expired), (4, 1));
    // A full card makes it wait, and loses none.
    let answer = server.answer(&Segment::syn(5001, 80, 1000));
    server.stack.device_mut().room = 0;
    server.now += SECOND;
    server.stack.receive_all(server.now);
    server.stack.transmit(server.now);
    assert!(server.stack.deadline() > Some(server.now));
    server.stack.device_mut().room = 4096;
    assert_eq!(segments(&server.frames(&[])), [answer]);
    server.end();
}

#[test]
fn a_connection_of_ends_in_time_wait_begins_above_the_last_one() {
    for full in [false, true] {
        let mut server = Server::new(8, 2);
        let answer = server.answer(&Segment::syn(5000, 80, 1000));
        let mut ack = first(&answer, b"");
        server.send(&ack);
        let (id, _) = server.stack.tcp.accept(80).unwrap();
        // Faster than the clock of 4 us.
        for _ in 0..300 {
            server.stack.send(id, |buffer| Ok(buffer.len())).unwrap();
            while let Some(last) = segments(&server.frames(&[])).last() {
                ack.ack = Some(last.end());
                server.stack.device_mut().arrived.push_back(ack.frame());
            }
        }
        server.stack.close(id, server.now);
        let last = segments(&server.frames(&[])).pop().unwrap();
        assert!(last.end().wrapping_sub(answer.seq) > 9_000_000);
        (ack.control, ack.ack) = (Fin, Some(last.end()));
        server.send(&ack);
        assert_eq!(server.figures().time_wait, 1);
        if full {
            server.fill();
        }
        server.now += MS;
        let again = Segment::syn(5000, 80, ack.end().wrapping_add(1));
        match (full, server.send(&again).as_slice()) {
            // A cookie cannot say that number; the client asks again.
            (true, []) => assert_eq!(server.dropped(DropReason::TcpNoRoom), 1),
            (_, [answer]) => {
                let above = answer.seq.wrapping_sub(last.end()) as i32;
                assert!(answer.control == Syn && above >= 0);
            }
            (_, sent) => panic!("{sent:?}"),
        }
        server.end();
    }
}

// --- numbers ------------------------------------------------------------------------------

const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;

/// smoltcp's generator, of which `stack::opening` has a test.
fn next(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
    (*state >> (29 - (*state >> 61))) as u32
}

/// Finds the generator's state behind three successive numbers: of the 29 bits of a state that a
/// number does not tell, half are tried, and the others are looked up in a sorted table of what
/// they add to the next number.
fn attack(drawn: [u32; 3]) -> Option<u64> {
    for top in 0..8u64 {
        let shift = 29 - top;
        let known = top << 61 | u64::from(drawn[0]) << shift;
        let others: Vec<u64> = (0..1u64 << 15)
            .map(|bits| {
                let low = bits & ((1 << (shift - 14)) - 1);
                let high = bits >> (shift - 14);
                low << 14 | high << (61 - top)
            })
            .collect();
        for next_top in 0..8u64 {
            let shift = 29 - next_top;
            let modulus = 1u64 << (shift + 32);
            let mut adds: Vec<(u64, u64)> = others
                .iter()
                .map(|&other| (other.wrapping_mul(MULTIPLIER) % modulus, other))
                .collect();
            adds.sort_unstable();
            for low in 0..1u64 << 14 {
                let state = known | low;
                let without = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
                let wanted = u64::from(drawn[1]) << shift;
                let from = wanted.wrapping_sub(without) % modulus;
                let begin = adds.partition_point(|&(add, _)| add < from);
                for &(add, other) in adds[begin..].iter().chain(&adds) {
                    if add.wrapping_sub(from) % modulus >= 1 << shift {
                        break;
                    }
                    let mut state = state | other;
                    if next(&mut state) == drawn[1] && next(&mut state) == drawn[2] {
                        return Some(state);
                    }
                }
            }
        }
    }
    None
}

#[test]
fn what_breaks_smoltcps_numbers_does_not_break_ours() {
    for seed in [1, 0x1234_5678_9abc_def0] {
        let mut state = seed;
        let drawn = [(); 3].map(|()| next(&mut state));
        assert_eq!(attack(drawn), Some(state), "the attack works");
    }
    let mut server = Server::new(9, BACKLOG);
    let numbers = [5000, 5001, 5002].map(|port| server.answer(&Segment::syn(port, 80, 1)).seq);
    assert_eq!(attack(numbers), None);
    // Nor do the steps between them tell anything: those of others are different.
    let step = |one: u32, other: u32| other.wrapping_sub(one);
    let others: Vec<u32> = (0..6)
        .map(|n| {
            server
                .answer(&Segment::syn(7000 + n, 80, 1).from([10, 0, 2, 9]))
                .seq
        })
        .collect();
    for pair in others.windows(2) {
        assert_ne!(step(pair[0], pair[1]), step(numbers[0], numbers[1]));
    }
    server.end();
}

#[test]
fn numbers_of_connections_that_we_open_are_of_the_same_kind() {
    let mut server = Server::new(10, BACKLOG);
    let peer = core::net::SocketAddrV4::new(PEER_IP.into(), 9);
    let mut open = |port| {
        let tuple = crate::names::Tuple::v4(port, peer);
        let id = server.stack.connect(tuple, server.now).unwrap();
        let syn = segments(&server.frames(&[])).remove(0);
        assert_eq!((syn.control, syn.ack, syn.port), (Syn, None, port));
        server.stack.abort(id, server.now);
        server.frames(&[]);
        server.now += SECOND;
        syn.seq
    };
    let numbers = [5000, 5001, 5002].map(&mut open);
    assert_eq!(attack(numbers), None);
    // The same ends again: behind the last ones, by the time that has passed.
    let again = [5000, 5001, 5002].map(&mut open);
    for (one, other) in numbers.into_iter().zip(again) {
        assert_eq!(other.wrapping_sub(one), 3 * 250_000);
    }
    server.end();
}

#[test]
fn a_cookie_in_a_syn_completes_nothing() {
    let mut server = Server::new(10, 2);
    server.fill();
    let answer = server.answer(&Segment::syn(5000, 80, 1000));
    let mut segment = first(&answer, b"GET");
    segment.control = Syn;
    assert_eq!(server.send(&segment)[0].control, Rst);
    assert_eq!(server.accepted(), None);
    segment.control = TcpControl::None;
    server.send(&segment);
    assert_eq!(server.accepted(), Some(b"GET".to_vec()));
    server.end();
}
