//! Which frames go on with each other, and what becomes of them.

use super::*;
use crate::Config;
use crate::ip::interface::Interface;
use crate::packet::parse;
use crate::tests::frames::Segment;
use crate::tests::world::SERVER_MAC;
use smoltcp::phy::Checksum;
use smoltcp::wire::TcpControl;

/// A frame with octets from this number on.
fn frame(seq: u32, len: usize) -> Vec<u8> {
    Segment {
        control: TcpControl::None,
        ack: Some(7),
        data: alloc::vec![seq as u8; len],
        ..Segment::syn(5000, 80, seq)
    }
    .frame()
}

/// The segment in a frame that begins a run, whatever its checksums.
fn begins(frame: &[u8]) -> Option<First<'_>> {
    let own = Interface::new(&Config::new(SERVER_MAC, 1));
    let headers = parse(frame, &own, &ChecksumCapabilities::ignored()).ok()?;
    // It is the frame's headers as long as there is the frame.
    let headers = alloc::boxed::Box::leak(alloc::boxed::Box::new(headers));
    Some(First::of(&Packet { frame, headers })?.0)
}

fn first(frame: &[u8]) -> First<'_> {
    begins(frame).unwrap()
}

fn with(mut frame: Vec<u8>, at: usize, bits: u8) -> Vec<u8> {
    frame[at] ^= bits;
    frame
}

fn run(first: &First<'_>, room: usize) -> Run {
    Run::new(alloc::vec![0; FRAME_MAX], first, room)
}

#[test]
fn what_says_more_than_that_there_is_more_begins_nothing() {
    let good = frame(1000, 100);
    assert!(begins(&good).is_some());
    assert!(begins(&with(good.clone(), 47, PSH)).is_some());
    // EtherType, version, options of IPv4, a fragment, protocol, what is reserved.
    for (at, bits) in [
        (12, 1),
        (13, 1),
        (14, 0x20),
        (14, 3),
        (20, 0x20),
        (20, 1),
        (21, 1),
        (23, 1),
        (46, 1),
        (46, 8),
    ] {
        assert!(begins(&with(good.clone(), at, bits)).is_none(), "{at}");
    }
    // Each flag but PSH; and ACK must be there.
    for bit in (0..8).map(|bit| 1 << bit).filter(|&bit| bit != PSH) {
        assert!(begins(&with(good.clone(), 47, bit)).is_none(), "{bit}");
    }
    assert!(begins(&frame(1000, 0)).is_none());
    // A header that is shorter than any, and one that is longer than the segment.
    assert!(begins(&with(good.clone(), 46, 0x10)).is_none());
    assert!(begins(&with(frame(1000, 4), 46, 0xa0)).is_none());
    assert!(begins(&good[..53]).is_none() && begins(&good[..153]).is_none());
}

#[test]
fn a_frame_goes_on_that_says_the_same_in_all_that_matters() {
    let (one, next) = (frame(1000, 100), frame(1100, 100));
    let one = first(&one);
    assert!(one.is_followed_by(&next));
    for at in (0..54).filter(|at| !(16..18).contains(at)) {
        for bit in (0..8).map(|bit| 1 << bit) {
            let may_differ = match at {
                // Identification; the reserved bit and DF; checksums; the urgent pointer.
                18 | 19 | 24 | 25 | 50..54 => true,
                20 => bit & 0xc0 != 0,
                47 => bit == PSH,
                _ => false,
            };
            let is_followed = one.is_followed_by(&with(next.clone(), at, bit));
            assert_eq!(is_followed, may_differ, "{at}: {bit:#x}");
        }
    }
    // No two differences make none.
    let words = [0, 8, 26, 30, 42];
    for (n, &word) in words.iter().enumerate() {
        for other in &words[..n] {
            for at in (0..8).filter(|at| word + at != 47 && other + at != 47) {
                let twice = with(with(next.clone(), word + at, 1), other + at, 1);
                assert!(!one.is_followed_by(&twice), "{word} {other} {at}");
            }
        }
        for at in [0, 7].into_iter().filter(|at| word + at != 47) {
            let twice = with(with(next.clone(), word + at, 1), 22, 1);
            assert!(!one.is_followed_by(&twice), "{word} {at}");
        }
    }
    // Nor three, where the words of the addresses and ports overlap.
    let thrice = [26, 30, 34]
        .into_iter()
        .fold(next, |next, at| with(next, at, 1));
    assert!(!one.is_followed_by(&thrice));
    assert!(!one.is_followed_by(&frame(1101, 100)) && !one.is_followed_by(&frame(1100, 0)));
}

#[test]
fn a_run_takes_what_there_is_room_for() {
    let software = ChecksumCapabilities::default();
    let one = frame(1000, 100);
    let mut run = run(&first(&one), 300);
    assert!(run.join(&frame(1100, 50), &software));
    assert!(!run.join(&frame(1150, 151), &software));
    assert!(run.join(&frame(1150, 150), &software));
    assert!(!run.join(&frame(1300, 1), &software));
    assert_eq!((run.octets(), run.datagram().len()), (300, 340));
    let octets: Vec<u8> = [(1000, 100), (1100, 50), (1150, 150)]
        .into_iter()
        .flat_map(|(seq, len)| alloc::vec![seq as u8; len])
        .collect();
    assert_eq!(run.datagram()[40..], octets);
    assert_eq!(run.datagram()[2..4], [1, 84]);
}

#[test]
fn what_is_damaged_is_not_taken_if_software_is_to_tell() {
    let one = frame(1000, 100);
    let next = frame(1100, 100);
    let (bad_ip, bad_tcp) = (with(next.clone(), 24, 1), with(next.clone(), 100, 1));
    for ip in [Checksum::Both, Checksum::None] {
        for tcp in [Checksum::Both, Checksum::None] {
            let mut software = ChecksumCapabilities::default();
            (software.ipv4, software.tcp) = (ip, tcp);
            let joins = |frame: &[u8]| run(&first(&one), 1000).join(frame, &software);
            let took = [&next, &bad_ip, &bad_tcp].map(|frame| joins(frame));
            assert_eq!(took, [true, !software.ipv4.rx(), !software.tcp.rx()]);
        }
    }
}

#[test]
fn two_full_segments_are_owed_an_answer() {
    let software = ChecksumCapabilities::default();
    for (len, count, is_owed) in [
        (1460, 1, false),
        (1460, 2, true),
        (536, 1, false),
        (536, 2, true),
        (535, 2, false),
        (730, 1, false),
        (365, 4, false),
        (365, 5, true),
    ] {
        let one = frame(0, len);
        let mut run = run(&first(&one), FRAME_MAX);
        for n in 1..count {
            assert!(run.join(&frame((n * len) as u32, len), &software));
        }
        assert_eq!(run.must_be_acknowledged(1460), is_owed, "{count} of {len}");
    }
}
