//! What is decided on a segment, by the numbers alone; what comes of it is in `tests/arrives.rs`.

use super::*;
use crate::link::ethernet::Station;
use crate::names::Tuple;
use crate::packet::SynOptions;
use crate::tcp::handshake::{Handshake, Offer};
use core::net::{Ipv4Addr, SocketAddrV4};

/// Near the end of the sequence space, so that numbers wrap.
const NEXT: TcpSeqNumber = TcpSeqNumber(i32::MAX - 50);
const UNA: TcpSeqNumber = TcpSeqNumber(-50);
/// RCV.WND.
const WINDOW: usize = 100;
/// Octets of ours on their way.
const SENT: usize = 80;
/// The peer's window.
const THEIRS: u16 = 1000;

fn tuple() -> Tuple {
    Tuple::v4(80, SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 5000))
}

/// What comes next, without text, and its acknowledgement of nothing new.
fn segment() -> Segment {
    Segment {
        station: Station([2; 6]),
        is_plain: false,
        tuple: tuple(),
        seq: NEXT,
        ack: Some(UNA),
        syn: false,
        fin: false,
        rst: false,
        window: THEIRS,
        data: 54,
        len: 0,
        options: SynOptions::default(),
    }
}

fn with(change: impl FnOnce(&mut Segment)) -> Segment {
    let mut segment = segment();
    change(&mut segment);
    segment
}

/// An open connection, whose window is so large.
fn open(window: usize) -> SequenceVariables {
    let handshake = Handshake {
        tuple: tuple(),
        iss: UNA - 1,
        irs: NEXT - 1,
        offer: Offer {
            window: THEIRS,
            mss: None,
            shift: None,
            sack_permitted: false,
        },
    };
    let mut sequence =
        SequenceVariables::new(1 << 14, 1460).after_handshake(&handshake, window as u16);
    (sequence.snd_una, sequence.snd_max) = (UNA, UNA + SENT);
    sequence
}

/// The segment as smoltcp gets it if nothing is changed in it.
fn unchanged(segment: &Segment) -> Substitute {
    Substitute {
        seq: segment.seq,
        ack: segment.ack.unwrap(),
        window: segment.window,
        fin: segment.fin,
        rst: segment.rst,
        len: segment.len,
    }
}

#[test]
fn what_comes_next_is_expected() {
    let sequence = open(WINDOW);
    for (change, expected, when_finished) in [
        ((|_| {}) as fn(&mut Segment), true, true),
        (|s| s.ack = Some(UNA + SENT), true, true),
        (|s| s.ack = Some(UNA + SENT + 1), false, false),
        (|s| s.ack = Some(UNA - 1), false, false),
        (|s| s.ack = None, false, false),
        (|s| s.seq = NEXT + 1, false, false),
        (|s| s.seq = NEXT - 1, false, false),
        (|s| s.rst = true, false, false),
        (|s| s.syn = true, false, false),
        (|s| s.len = WINDOW, true, false),
        (|s| s.len = WINDOW + 1, false, false),
        (|s| s.fin = true, true, false),
        (|s| (s.len, s.fin) = (WINDOW - 1, true), true, false),
        (|s| (s.len, s.fin) = (WINDOW, true), false, false),
    ] {
        let segment = with(change);
        assert_eq!(
            is_expected(&sequence, false, &segment),
            expected,
            "{segment:?}"
        );
        assert_eq!(
            is_expected(&sequence, true, &segment),
            when_finished,
            "{segment:?}"
        );
    }
}

#[test]
fn a_syn_is_answered_by_what_acknowledges_it() {
    let mut sequence = open(WINDOW);
    sequence.snd_max = UNA + 1;
    let bad = DropReason::TcpBadAck;
    let reset = |s: &Segment| Arrival::Substitute(Substitute::reset(&sequence, s.seq, UNA + 1));
    for (ack, syn, fin, rst, arrival) in [
        (Some(1), true, false, false, Arrival::Process),
        (None, true, false, false, Arrival::Process),
        (
            Some(1),
            true,
            true,
            false,
            Arrival::Drop(DropReason::TcpOutOfWindow),
        ),
        (
            None,
            true,
            true,
            false,
            Arrival::Drop(DropReason::TcpOutOfWindow),
        ),
        (
            Some(1),
            false,
            false,
            false,
            Arrival::Drop(DropReason::TcpOutOfWindow),
        ),
        (
            None,
            false,
            false,
            false,
            Arrival::Drop(DropReason::TcpOutOfWindow),
        ),
        (Some(1), false, false, true, reset(&segment())),
        (
            None,
            false,
            false,
            true,
            Arrival::Drop(DropReason::TcpNoAck),
        ),
        (Some(0), true, false, false, Arrival::Reset(bad)),
        (Some(2), true, false, false, Arrival::Reset(bad)),
        (Some(0), false, false, true, Arrival::Drop(bad)),
        (Some(2), false, false, true, Arrival::Drop(bad)),
    ] {
        let segment = with(|s| {
            s.ack = ack.map(|ack| UNA + ack);
            (s.syn, s.fin, s.rst) = (syn, fin, rst);
        });
        let arrived = arrives((State::SynSent, false), &sequence, &segment);
        assert_eq!(arrived, arrival, "{segment:?}");
    }
    // One that waits for room has not been sent, so that nothing acknowledges it.
    sequence.syn_sent = false;
    let segment = with(|s| (s.ack, s.syn) = (Some(UNA + 1), true));
    let arrived = arrives((State::SynSent, false), &sequence, &segment);
    assert_eq!(arrived, Arrival::Reset(bad));
}

#[test]
fn only_the_syn_of_the_peer_that_began_takes_back_a_connection() {
    let sequence = open(WINDOW);
    let challenge = Arrival::Challenge(DropReason::TcpSyn);
    for (state, passive, seq, arrival) in [
        (State::SynReceived, true, NEXT, Arrival::Forget),
        (State::SynReceived, true, NEXT - 1, challenge),
        (State::SynReceived, false, NEXT, challenge),
        (State::Established, true, NEXT, challenge),
        (State::Established, false, NEXT, challenge),
    ] {
        let segment = with(|s| (s.seq, s.syn) = (seq, true));
        assert_eq!(arrives((state, passive), &sequence, &segment), arrival);
    }
}

#[test]
fn a_connection_is_completed_by_a_new_acknowledgement() {
    let sequence = open(WINDOW);
    for (ack, arrival) in [
        (UNA - 1, Arrival::Reset(DropReason::TcpBadAck)),
        (UNA, Arrival::Reset(DropReason::TcpBadAck)),
        (UNA + 1, Arrival::Process),
        (UNA + SENT, Arrival::Process),
        (UNA + SENT + 1, Arrival::Reset(DropReason::TcpBadAck)),
    ] {
        let segment = with(|s| s.ack = Some(ack));
        let arrived = arrives((State::SynReceived, true), &sequence, &segment);
        assert_eq!(arrived, arrival);
    }
}

#[test]
fn acknowledgements_may_be_as_old_as_the_window_is_large() {
    let sequence = open(WINDOW);
    let bad = Arrival::Challenge(DropReason::TcpBadAck);
    for (ack, is_bad) in [
        (UNA - usize::from(THEIRS) - 1, true),
        (UNA - usize::from(THEIRS), false),
        (UNA + SENT, false),
        (UNA + SENT + 1, true),
    ] {
        let segment = with(|s| s.ack = Some(ack));
        let arrived = arrives((State::Established, false), &sequence, &segment);
        assert_eq!(arrived == bad, is_bad, "{arrived:?}");
    }
}

#[test]
fn an_open_window_ends_before_its_edge() {
    let sequence = open(WINDOW);
    let outside = DropReason::TcpOutOfWindow;
    for (seq, len, arrival) in [
        (NEXT - 1, 0, Arrival::Challenge(outside)),
        (NEXT - 1, 1, Arrival::Acknowledge(outside)),
        (NEXT - 1, 2, Arrival::Process),
        (NEXT + WINDOW - 1, 0, Arrival::Process),
        (NEXT + WINDOW - 1, 1, Arrival::Process),
        (NEXT + WINDOW, 0, Arrival::Challenge(outside)),
        (NEXT + WINDOW, 1, Arrival::Acknowledge(outside)),
    ] {
        let segment = with(|s| (s.seq, s.len) = (seq, len));
        let arrived = arrives((State::Established, false), &sequence, &segment);
        assert_eq!(arrived, arrival, "{segment:?}");
    }
}

#[test]
fn a_closed_window_takes_acknowledgements_and_no_text() {
    let sequence = open(0);
    let probe = Arrival::WindowProbe(unchanged(&segment()));
    let outside = DropReason::TcpOutOfWindow;
    for (seq, len, arrival) in [
        (NEXT, 0, Arrival::Process),
        (NEXT, 1, probe),
        (NEXT - 1, 0, probe),
        (NEXT - 1, 1, probe),
        (NEXT - 2, 0, Arrival::Challenge(outside)),
        (NEXT - 2, 1, Arrival::Acknowledge(outside)),
        (NEXT + 1, 0, Arrival::Challenge(outside)),
    ] {
        let segment = with(|s| (s.seq, s.len) = (seq, len));
        let arrived = arrives((State::Established, false), &sequence, &segment);
        assert_eq!(arrived, arrival, "{segment:?}");
    }
}

#[test]
fn what_lies_behind_the_window_is_cut_off_and_no_octet_before() {
    let sequence = open(WINDOW);
    for (seq, len, fin, kept) in [
        (NEXT, WINDOW, false, (WINDOW, false)),
        (NEXT, WINDOW - 1, true, (WINDOW - 1, true)),
        (NEXT, WINDOW, true, (WINDOW, false)),
        (NEXT, WINDOW + 1, false, (WINDOW, false)),
        (NEXT + 10, WINDOW, true, (WINDOW - 10, false)),
        (NEXT - 10, WINDOW + 10, false, (WINDOW + 10, false)),
    ] {
        let segment = with(|s| (s.seq, s.len, s.fin) = (seq, len, fin));
        let mut cut = unchanged(&segment);
        (cut.len, cut.fin) = kept;
        let arrival = match cut == unchanged(&segment) {
            true => Arrival::Process,
            false => Arrival::Substitute(cut),
        };
        let arrived = arrives((State::Established, false), &sequence, &segment);
        assert_eq!(arrived, arrival, "{segment:?}");
    }
}

#[test]
fn an_old_segment_tells_no_window_and_no_acknowledgement() {
    let mut sequence = open(WINDOW);
    let newer = with(|s| (s.seq, s.ack) = (NEXT + 10, Some(UNA + 20)));
    sequence.note_received(&newer);
    let wanted = |seq, ack, window| {
        let segment = with(|s| (s.seq, s.ack, s.window) = (seq, Some(ack), 5));
        let arrived = arrives((State::Established, false), &sequence, &segment);
        let mut substitute = unchanged(&segment);
        (substitute.ack, substitute.window) = (ack.max(UNA + 20), window);
        let arrival = match (ack, window) {
            (_, 5) => Arrival::Process,
            _ => Arrival::Substitute(substitute),
        };
        assert_eq!(arrived, arrival);
    };
    // Newer than what told the window last, or older; or its acknowledgement is.
    wanted(NEXT + 11, UNA + 20, 5);
    wanted(NEXT + 10, UNA + 20, 5);
    wanted(NEXT + 9, UNA + 21, THEIRS);
    wanted(NEXT + 11, UNA + 19, THEIRS);
}

#[test]
fn a_substitute_is_applied_in_all_fields() {
    let expected = Substitute {
        seq: NEXT + 7,
        ack: UNA + 8,
        window: 9,
        fin: true,
        rst: true,
        len: 10,
    };
    let segment = expected.apply(&with(|s| (s.ack, s.syn) = (None, true)));
    assert_eq!(unchanged(&segment), expected);
    assert!(!segment.syn && segment.tuple == tuple());
}

#[test]
fn what_is_old_is_acknowledged_in_every_state() {
    let sequence = open(WINDOW);
    for (state, ack) in [
        (State::SynReceived, UNA + SENT),
        (State::Established, UNA),
        (State::LastAck, UNA),
    ] {
        let expected = Substitute {
            seq: NEXT - 1,
            ack,
            window: THEIRS,
            fin: false,
            rst: false,
            len: 1,
        };
        assert_eq!(Substitute::old_octet(state, &sequence), expected);
    }
}
