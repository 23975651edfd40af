//! The variables by segments that pass, and segments as they leave.

use super::*;
use crate::link::ethernet::Station;
use crate::names::Tuple;
use crate::packet::SynOptions;
use core::net::{Ipv4Addr, SocketAddrV4};

const ISS: TcpSeqNumber = TcpSeqNumber(i32::MAX - 5);
const IRS: TcpSeqNumber = TcpSeqNumber(-5);
const MS: u64 = 1_000_000;

fn offer() -> Offer {
    Offer {
        window: 1000,
        mss: Some(100),
        shift: Some(2),
        sack_permitted: true,
    }
}

fn tuple() -> Tuple {
    Tuple::v4(80, SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 5000))
}

/// A connection that the peer began, to which a window of 2000 was told.
fn open() -> SequenceVariables {
    let handshake = Handshake {
        tuple: tuple(),
        iss: ISS,
        irs: IRS,
        offer: offer(),
    };
    let mut sequence = SequenceVariables::new(2000, 1460).after_handshake(&handshake, 2000);
    sequence.note_received(&segment(IRS + 1, ISS + 1, 500));
    sequence
}

fn segment(seq: TcpSeqNumber, ack: impl Into<Option<TcpSeqNumber>>, window: u16) -> Segment {
    Segment {
        station: Station([2; 6]),
        tuple: tuple(),
        seq,
        ack: ack.into(),
        syn: false,
        fin: false,
        rst: false,
        is_plain: true,
        window,
        data: 54,
        len: 0,
        options: SynOptions::default(),
    }
}

/// A segment as smoltcp makes it, with so many octets; as it leaves.
fn leaves(
    sequence: &mut SequenceVariables,
    flags: u8,
    (seq, ack): (TcpSeqNumber, TcpSeqNumber),
    window: u16,
    len: usize,
) -> (TcpSeqNumber, u16) {
    let mut frame = alloc::vec![0; TCP + 20 + len];
    frame[SEQUENCE].copy_from_slice(&seq.0.to_be_bytes());
    frame[ACKNOWLEDGMENT].copy_from_slice(&ack.0.to_be_bytes());
    frame[DATA_OFFSET] = 5 << 4;
    frame[FLAGS] = flags;
    frame[WINDOW].copy_from_slice(&window.to_be_bytes());
    sequence.note_sent(&mut frame);
    let seq = frame[SEQUENCE].try_into().unwrap();
    let window = frame[WINDOW].try_into().unwrap();
    (
        TcpSeqNumber(i32::from_be_bytes(seq)),
        u16::from_be_bytes(window),
    )
}

#[test]
fn syns_tell_where_both_ends_begin() {
    let mut sequence = open();
    assert_eq!(
        (
            sequence.snd_una,
            sequence.snd_max,
            sequence.rcv_nxt,
            sequence.rcv_edge
        ),
        (ISS + 1, ISS + 1, IRS + 1, IRS + 2001)
    );
    assert_eq!(
        (
            sequence.snd_wind_shift(),
            sequence.window_field(),
            sequence.max_snd_wnd
        ),
        (2, 500, 2000)
    );
    assert!(sequence.sack_permitted && sequence.is_at_rest(2000));
    sequence.note_received(&segment(IRS + 1, ISS + 1, 300));
    assert_eq!(
        (sequence.snd_wnd, sequence.max_snd_wnd),
        (1200, 2000),
        "the largest is kept"
    );
    // We begin: the peer learns of our window before we learn of its number.
    let mut sequence = SequenceVariables::new(2000, 1460);
    // Without the bit, the field for an acknowledgement says nothing.
    leaves(&mut sequence, SYN, (ISS, TcpSeqNumber(77)), 700, 0);
    assert_eq!(
        (sequence.snd_una, sequence.snd_max, sequence.syn_sent),
        (ISS, ISS + 1, true)
    );
    assert_eq!(sequence.last_ack_sent, TcpSeqNumber(0));
    sequence.note_syn(IRS, Some(ISS + 1), &offer());
    assert_eq!(
        (sequence.snd_una, sequence.rcv_nxt, sequence.rcv_edge),
        (ISS + 1, IRS + 1, IRS + 701)
    );
    // Both began: ours leaves again with an acknowledgement.
    leaves(&mut sequence, SYN | ACK, (ISS, IRS + 1), 600, 0);
    assert_eq!(
        (sequence.snd_una, sequence.last_ack_sent, sequence.rcv_edge),
        (ISS + 1, IRS + 1, IRS + 601)
    );
}

#[test]
fn segments_are_as_long_as_the_peer_and_the_path_can_take() {
    for (mss, path, expected) in [
        (None, 1460, 536),
        (Some(0), 1460, 536),
        (Some(1), 1460, 48),
        (Some(1000), 1460, 1000),
        (Some(9000), 1460, 1460),
        (None, 300, 300),
    ] {
        let mut sequence = SequenceVariables::new(2000, path);
        sequence.note_syn(IRS, Some(ISS), &Offer { mss, ..offer() });
        assert_eq!(sequence.mss, expected);
        sequence.limit_mss(200);
        assert_eq!(sequence.mss, expected.min(200));
    }
}

#[test]
fn a_connection_is_at_rest_when_nothing_is_under_way() {
    for (change, is_at_rest) in [
        ((|_| {}) as fn(&mut SequenceVariables), true),
        (|sequence| sequence.snd_max += 1, false),
        (|sequence| sequence.rcv_nxt += 1, false),
        (|sequence| sequence.rcv_edge = sequence.rcv_nxt + 1000, true),
        (|sequence| sequence.rcv_edge = sequence.rcv_nxt + 999, false),
        (|sequence| sequence.rcv_edge = sequence.rcv_nxt - 1, false),
        (|sequence| sequence.window_is_hidden = true, false),
        (|sequence| sequence.hold_until = Some(1), false),
    ] {
        let mut sequence = open();
        change(&mut sequence);
        assert_eq!(sequence.is_at_rest(2000), is_at_rest, "{sequence:?}");
    }
}

#[test]
fn the_newest_segment_tells_the_window() {
    let mut sequence = open();
    sequence.snd_max = ISS + 101;
    sequence.note_received(&segment(IRS + 11, ISS + 51, 400));
    assert_eq!((sequence.snd_una, sequence.snd_wnd), (ISS + 51, 1600));
    for (seq, ack, tells) in [
        (12, Some(0), true),
        (12, None, true),
        (11, Some(51), true),
        (11, Some(52), true),
        (11, None, true),
        (11, Some(50), false),
        (10, Some(52), false),
        (10, None, false),
    ] {
        let (seq, ack) = (IRS + seq, ack.map(|ack| ISS + ack));
        let segment = segment(seq, ack, 7);
        assert_eq!(sequence.updates_window(&segment), tells, "{segment:?}");
        let mut sequence = sequence;
        sequence.note_received(&segment);
        assert_eq!(sequence.snd_wnd, if tells { 28 } else { 1600 });
    }
    // What is expected acknowledges what was sent, and is not older, or says the same.
    sequence.rcv_nxt = IRS + 11;
    for (seq, ack, window, expected) in [
        (11, 51, 7, true),
        (11, 101, 7, true),
        (11, 102, 7, false),
        (11, 50, 7, false),
        (12, 51, 7, false),
    ] {
        let segment = segment(IRS + seq, ISS + ack, window);
        assert_eq!(sequence.expects(&segment), expected, "{segment:?}");
    }
    sequence.rcv_nxt = IRS + 10;
    assert!(sequence.expects(&segment(IRS + 10, ISS + 51, 400)));
    assert!(!sequence.expects(&segment(IRS + 10, ISS + 51, 401)));
}

#[test]
fn what_was_sent_and_not_acknowledged_is_in_flight() {
    let mut sequence = open();
    sequence.snd_max = ISS + 11;
    let is_in_flight = [0, 1, 10, 11].map(|at| sequence.is_in_flight(ISS + at));
    assert_eq!(is_in_flight, [false, true, true, false]);
}

#[test]
fn what_has_no_data_carries_the_next_number_and_no_window_moves_left() {
    let mut sequence = open();
    // Data moves SND.NXT; what is sent again does not move it back.
    for (at, len, max) in [(1, 100, 101), (1, 50, 101), (101, 10, 111)] {
        let (seq, window) = leaves(&mut sequence, ACK, (ISS + at, IRS + 1), 2000, len);
        assert_eq!((seq, window, sequence.snd_max), (ISS + at, 2000, ISS + max));
    }
    // After a time-out smoltcp counts from SND.UNA again.
    for flags in [ACK, ACK | RST] {
        let (seq, _) = leaves(&mut sequence, flags, (ISS + 1, IRS + 1), 2000, 0);
        assert_eq!(seq, ISS + 111);
    }
    let (seq, _) = leaves(&mut sequence, ACK | FIN, (ISS + 111, IRS + 1), 2000, 0);
    assert_eq!((seq, sequence.snd_max), (ISS + 111, ISS + 112));
    // A peer that has taken its window back drops what is behind its end.
    sequence.note_received(&segment(IRS + 1, ISS + 1, 5));
    let (seq, _) = leaves(&mut sequence, ACK, (ISS + 1, IRS + 1), 2000, 0);
    assert_eq!(seq, ISS + 21);
    // Octets came, and were not read: the edge stays. It moves by half of the buffer.
    sequence.rcv_nxt = IRS + 1501;
    for (free, told) in [(500, 500), (1499, 500), (1500, 1500), (1400, 1500)] {
        let (_, window) = leaves(&mut sequence, ACK, (ISS + 1, IRS + 1501), free, 0);
        assert_eq!((window, sequence.last_ack_sent), (told, IRS + 1501));
    }
    sequence.set_receive_buffer(400);
    let (_, window) = leaves(&mut sequence, ACK, (ISS + 1, IRS + 1501), 1699, 0);
    assert_eq!(window, 1500);
    let (_, window) = leaves(&mut sequence, ACK, (ISS + 1, IRS + 1501), 1700, 0);
    assert_eq!(window, 1700);
    // A RST offers nothing, and acknowledges as it is told to.
    let (_, window) = leaves(&mut sequence, RST, (ISS + 1, TcpSeqNumber(0)), 0, 0);
    assert_eq!((window, sequence.last_ack_sent), (0, IRS + 1501));
}

#[test]
fn a_window_too_small_for_a_segment_is_kept_from_smoltcp_for_a_while() {
    let mut sequence = open();
    // 50 octets on their way, and room for 50 more, of segments of 100; more are queued.
    sequence.snd_max = ISS + 51;
    sequence.note_received(&segment(IRS + 1, ISS + 1, 25));
    assert_eq!(
        (sequence.new_smoltcp_window(|| 50, 0), sequence.hold_until()),
        (None, None),
        "all is sent"
    );
    assert_eq!(
        (
            sequence.new_smoltcp_window(|| 100, 0),
            sequence.hold_until()
        ),
        (None, None),
        "all fits"
    );
    assert_eq!(sequence.new_smoltcp_window(|| 101, 0), Some(12));
    assert_eq!(
        (sequence.smoltcp_window(), sequence.hold_until()),
        (12, Some(200 * MS))
    );
    assert_eq!(
        sequence.new_smoltcp_window(|| 101, 200 * MS - 1),
        None,
        "it is told once"
    );
    assert_eq!(
        sequence.new_smoltcp_window(|| 101, 200 * MS),
        Some(25),
        "and for so long"
    );
    assert_eq!(
        (sequence.smoltcp_window(), sequence.hold_until()),
        (25, None)
    );
    // It opens meanwhile.
    assert_eq!(sequence.new_smoltcp_window(|| 101, 300 * MS), Some(12));
    sequence.note_received(&segment(IRS + 1, ISS + 1, 38));
    assert_eq!(sequence.new_smoltcp_window(|| 151, 301 * MS), None);
    assert_eq!(
        (sequence.smoltcp_window(), sequence.hold_until()),
        (38, None)
    );
}
