//! Windows (RFC 9293 §3.8.6): none is taken back, whatever is acknowledged was kept, and
//! neither end makes silly small segments.

use super::raw::*;
use super::world::*;
use crate::Config;
use crate::tests::batch::{Ops, bare};
use crate::tests::frames::arp_reply;
use abi::Pid;
use abi::batch::Event;
use abi::socket::Handle;
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x130);
/// MSS 1460, and a window scale if there is one.
fn options(shift: Option<u8>) -> Vec<u8> {
    let mut options = vec![2, 4, 5, 0xb4];
    if let Some(shift) = shift {
        options.extend([1, 3, 3, shift]);
    }
    options
}

/// A connection that a peer opened by hand.
struct Link {
    world: World,
    socket: Handle,
    /// What the peer's next segment begins with.
    next: Raw,
    /// What the peer was told last, and the right edge of its window.
    acked: u32,
    edge: u32,
    /// All that came back, of the server's data.
    heard: Vec<Raw>,
}

impl Link {
    fn new(receive_buffer: usize, syn_window: u16, shift: Option<u8>) -> Link {
        let mut config = Config::new(SERVER_MAC, 9);
        config.limits.tcp_receive = receive_buffer;
        config.limits.tcp_receive_large = receive_buffer;
        config.limits.memory = 64 << 20;
        let mut world = World::as_configured(config);
        let listener = world.listener(PROGRAM, 80, 4);
        world.inject(&arp_reply(PEER_IP));
        let syn = Raw {
            ports: (6000, 80),
            flags: SYN,
            seq: u32::MAX - 9_000,
            ack: 0,
            window: syn_window,
            data: Vec::new(),
            options: options(shift),
        };
        world.inject(&syn.frame());
        let frames = world.frames();
        let answer = frames.iter().find_map(|frame| Raw::read(frame)).unwrap();
        assert_eq!(answer.flags, SYN | ACK);
        let next = Raw {
            flags: ACK,
            seq: syn.seq.wrapping_add(1),
            ack: answer.seq.wrapping_add(1),
            options: Vec::new(),
            ..syn
        };
        world.inject(&next.frame());
        let socket = world.accept(PROGRAM, listener);
        Link {
            socket,
            acked: answer.ack,
            // Windows of SYNs are not scaled (RFC 7323 §2.2).
            edge: answer.ack.wrapping_add(answer.window.into()),
            next,
            world,
            heard: Vec::new(),
        }
    }

    /// Takes note of what the server sends. No right edge may move left.
    fn listen(&mut self) -> usize {
        let frames = self.world.frames();
        let sent: Vec<Raw> = frames.iter().filter_map(|frame| Raw::read(frame)).collect();
        for segment in &sent {
            assert_eq!(segment.flags & RST, 0);
            let edge = segment.ack.wrapping_add(segment.window.into());
            let moved = edge.wrapping_sub(self.edge) as i32;
            assert!(moved >= 0, "the right edge moved by {moved}");
            self.edge = edge;
            assert!(segment.ack.wrapping_sub(self.acked) as i32 >= 0);
            self.acked = segment.ack;
        }
        let count = sent.len();
        self.heard.extend(sent);
        count
    }

    fn exchange(&mut self, segment: &Raw) -> usize {
        self.world.inject(&segment.frame());
        self.listen()
    }

    fn read(&mut self, most: usize) -> Vec<u8> {
        let socket = self.socket;
        self.world.recv(PROGRAM, socket, most).unwrap_or_default()
    }

    fn write(&mut self, octets: &[u8]) {
        let socket = self.socket;
        let sent = self.world.send(PROGRAM, socket, octets);
        assert_eq!(sent, Ok(octets.len()));
    }

    /// Lets time pass for the server alone.
    fn later(&mut self, duration: u64) {
        let until = self.world.now + duration;
        loop {
            self.listen();
            if self.world.now == until {
                return;
            }
            let next = self.world.server.deadline(self.world.now);
            self.world.now = next.clamp(self.world.now + 1, until);
        }
    }
}

/// A peer that uses every window to its end, and beyond, until all has been acknowledged.
fn upload(seed: u64, buffer: usize, shift: Option<u8>) {
    let mut chance = Chance(seed);
    let len = (40_000 + chance.below(100_000) as usize).min(500 * buffer);
    let text = chance.octets(len);
    let mut link = Link::new(buffer, 60_000, shift);
    let first = link.next.seq;
    let mut read = Vec::new();
    let alone = [0, 3, 30, 100][chance.below(4) as usize];
    let end = first.wrapping_add(text.len() as u32);
    for _ in 0..100_000 {
        if link.acked == end.wrapping_add(1) {
            break;
        }
        let from = link.acked.wrapping_sub(first) as usize;
        let window = link.edge.wrapping_sub(link.acked) as usize;
        let mut at = from;
        // To the very end of the window; sometimes a little over it.
        let over = [0, 0, 0, 1, 2, 1460][chance.below(6) as usize];
        let most = text.len().min(from + window + over);
        while at < most || (at == most && at == text.len()) {
            let len = (1 + chance.below(1460) as usize).min(most - at);
            let last = at + len == text.len();
            let segment = Raw {
                seq: first.wrapping_add(at as u32),
                flags: if last { FIN | ACK } else { ACK },
                data: text[at..at + len].to_vec(),
                ..link.next.clone()
            };
            at += len;
            // Alone, or many at once, which are joined.
            link.world.inject(&segment.frame());
            if chance.percent(alone) {
                link.listen();
            }
            if last {
                break;
            }
        }
        match chance.below(3) {
            0 => {}
            1 => read.extend(link.read(1 + chance.below(700) as usize)),
            _ => read.extend(link.read(1 + chance.below(100_000) as usize)),
        }
        link.listen();
        link.later(chance.below(300) * MS);
    }
    assert_eq!(
        link.acked,
        end.wrapping_add(1),
        "seed {seed}, {buffer}, {shift:?}"
    );
    // What was acknowledged can be read: all of it, and the end behind it.
    loop {
        match link.read(100_000) {
            octets if octets.is_empty() => break,
            octets => read.extend(octets),
        }
    }
    assert!(
        read == text,
        "seed {seed}, {buffer}, {shift:?}: {} of {}",
        read.len(),
        text.len()
    );
    let socket = link.socket;
    assert_eq!(link.world.recv(PROGRAM, socket, 1), Ok(vec![]));
}

#[test]
fn no_right_edge_moves_left_and_all_that_is_acknowledged_was_kept() {
    let buffers = [
        1,
        100,
        1459,
        4096,
        16 << 10,
        (32 << 10) + 1,
        u16::MAX as usize,
        64 << 10,
        (64 << 10) + 1,
        100_001,
        1 << 20,
    ];
    let mut seed = 0;
    for buffer in buffers {
        for shift in [None, Some(0), Some(1), Some(7), Some(14), Some(255)] {
            seed += 1;
            upload(seed, buffer, shift);
        }
    }
}

#[test]
fn a_fin_behind_a_full_window_is_not_taken_and_nothing_is_lost() {
    let mut link = Link::new(64 << 10, 60_000, Some(7));
    // An odd octet first: it moved the edge of a scaled window.
    let text: Vec<u8> = (0..65_536u32).map(|n| n as u8).collect();
    let first = link.next.seq;
    let window = link.edge.wrapping_sub(first) as usize;
    let mut at = 0;
    for len in [1].into_iter().chain(core::iter::repeat(1460)) {
        let len = len.min(window - at);
        let segment = Raw {
            seq: first.wrapping_add(at as u32),
            flags: if at + len == window { FIN | ACK } else { ACK },
            data: text[at..at + len].to_vec(),
            ..link.next.clone()
        };
        at += len;
        link.exchange(&segment);
        if at == window {
            break;
        }
    }
    link.later(300 * MS);
    // Every octet fits; the FIN is behind the window (RFC 9293 §3.10.7.4, first).
    assert_eq!(link.acked, first.wrapping_add(window as u32));
    assert_eq!(link.edge, link.acked);
    assert!(link.read(100_000) == text[..window]);
    link.listen();
    let fin = Raw {
        seq: first.wrapping_add(window as u32),
        flags: FIN | ACK,
        ..link.next.clone()
    };
    link.exchange(&fin);
    assert_eq!(link.acked, fin.seq.wrapping_add(1));
}

#[test]
fn what_comes_with_a_probe_of_a_closed_window_counts() {
    let mut link = Link::new(4096, 60_000, None);
    link.write(&[7; 3000]);
    link.listen();
    let sent: usize = link.heard.iter().map(|segment| segment.data.len()).sum();
    assert!(sent > 0);
    // The peer fills the window.
    for _ in 0..4 {
        let segment = Raw {
            data: vec![1; 1024],
            ..link.next.clone()
        };
        link.next.seq = link.next.seq.wrapping_add(1024);
        link.exchange(&segment);
    }
    link.later(10 * MS);
    assert_eq!(link.edge, link.acked);
    // Its probe acknowledges what we sent, and offers another window.
    for (seq, data) in [(0, vec![2; 1]), (-1, vec![]), (-1, vec![2])] {
        let sent: usize = link.heard.iter().map(|segment| segment.data.len()).sum();
        link.heard.clear();
        link.next.ack = link.next.ack.wrapping_add(sent as u32);
        let probe = Raw {
            seq: link.next.seq.wrapping_add(seq as u32),
            window: 50_000,
            data,
            ..link.next.clone()
        };
        assert!(link.exchange(&probe) > 0, "a probe is answered");
        assert_eq!(link.edge, link.next.seq, "and its octet is not taken");
        assert_eq!(link.world.figure("drop_tcp_out_of_window"), 0);
        // More can be sent only if the acknowledgement counted.
        link.write(&[8; 10_000]);
        link.listen();
        let sent: usize = link.heard.iter().map(|segment| segment.data.len()).sum();
        assert!(sent >= 2000, "{sent}");
    }
}

#[test]
fn a_window_that_is_small_for_its_peer_is_not_used_at_once() {
    // RFC 9293 §3.8.6.2.1: D > U, U < Eff.snd.MSS, U < Max(SND.WND)/2.
    let mut link = Link::new(16 << 10, 20_000, None);
    link.write(&[3; 20_000]);
    link.next.window = 10;
    let mut segments = 0;
    let began = link.world.now;
    let mut acked = 0;
    while link.world.now < began + 2 * SECOND {
        link.later(MS);
        for sent in core::mem::take(&mut link.heard) {
            segments += 1;
            if !sent.data.is_empty() {
                acked = sent.seq.wrapping_add(sent.data.len() as u32);
            }
        }
        if acked != 0 {
            link.next.ack = acked;
            let ack = link.next.clone();
            link.exchange(&ack);
        }
    }
    // It was 766. The override lets one pass in 200 ms.
    assert!((8..=40).contains(&segments), "{segments}");
    // As soon as it is worth a segment, all goes on.
    link.next.window = 20_000;
    let ack = link.next.clone();
    link.exchange(&ack);
    let sent: usize = link.heard.iter().map(|segment| segment.data.len()).sum();
    assert!(sent >= 1460, "{sent}");
}

#[test]
fn a_peer_whose_windows_are_always_small_is_served_in_such_pieces() {
    let mut link = Link::new(16 << 10, 10, None);
    link.next.window = 10;
    let ack = link.next.clone();
    link.exchange(&ack);
    link.write(&[3; 300]);
    link.listen();
    let mut sent = 0;
    for _ in 0..40 {
        for segment in core::mem::take(&mut link.heard) {
            assert!(segment.data.len() <= 10);
            sent += segment.data.len();
            link.next.ack = segment.seq.wrapping_add(segment.data.len() as u32);
        }
        let ack = link.next.clone();
        link.exchange(&ack);
    }
    assert_eq!(sent, 300);
}

#[test]
fn the_last_octets_leave_though_the_window_is_small() {
    // RFC 9293 §3.8.6.2.1 (2): all that is queued fits.
    let mut link = Link::new(16 << 10, 20_000, None);
    link.next.window = 10;
    let ack = link.next.clone();
    link.exchange(&ack);
    link.write(&[4; 10]);
    link.listen();
    assert_eq!(
        link.heard.last().map(|segment| segment.data.len()),
        Some(10)
    );
}

#[test]
fn a_window_opens_by_worthwhile_steps() {
    // RFC 9293 §3.8.6.2.2, MUST-39.
    let mut link = Link::new(16 << 10, 60_000, None);
    for _ in 0..16 {
        let segment = Raw {
            data: vec![1; 1024],
            ..link.next.clone()
        };
        link.next.seq = link.next.seq.wrapping_add(1024);
        link.exchange(&segment);
    }
    link.later(300 * MS);
    assert_eq!(link.edge, link.acked);
    let full = link.edge;
    let mut steps = Vec::new();
    for _ in 0..(16 << 10) / 64 {
        assert_eq!(link.read(64).len(), 64);
        let before = link.edge;
        link.later(MS);
        if link.edge != before {
            steps.push(link.edge.wrapping_sub(before));
        }
    }
    assert!(steps.iter().all(|&step| step >= 1460), "{steps:?}");
    assert!(link.edge.wrapping_sub(full) >= 8192, "{steps:?}");
    // A probe is told all there is.
    let probe = Raw {
        seq: link.next.seq.wrapping_sub(1),
        ..link.next.clone()
    };
    link.exchange(&probe);
    assert_eq!(link.edge.wrapping_sub(full), 16 << 10);
}

#[test]
fn a_program_hears_of_room_by_worthwhile_steps() {
    let mut link = Link::new(16 << 10, 60_000, None);
    let socket = link.socket;
    let ops = Ops::new().send(socket, &[7; 1 << 20], |_| {});
    let queued = bare(&link.world.now(PROGRAM, &ops));
    assert!(matches!(queued[..], [Event::Cut { count: 1.., .. }]));
    let mut has_room = false;
    let mut hears_of_room = |link: &mut Link| {
        let told = bare(&link.world.now(PROGRAM, &Ops::new()));
        has_room |= told == [Event::Room { socket }];
        has_room
    };
    assert!(!hears_of_room(&mut link));
    link.listen();
    // It leaves by and by: a quarter of the usual buffer, of 32 KiB, is worth a call.
    let mut next = link.next.clone();
    for acknowledged in (1000..=12_000).step_by(1000) {
        next.ack = link.next.ack.wrapping_add(acknowledged);
        link.exchange(&next);
        assert_eq!(
            hears_of_room(&mut link),
            acknowledged >= 8192,
            "{acknowledged}"
        );
    }
}
