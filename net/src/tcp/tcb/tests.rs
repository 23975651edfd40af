//! The variables by segments that pass, and segments as they leave.

use super::*;
use crate::names::Tuple;
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

/// A connection that the peer began, to which a window of 2000 was told.
fn open() -> Tcb {
    let handshake = Handshake {
        tuple: Tuple {
            port: 80,
            peer: SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 5000),
        },
        iss: ISS,
        irs: IRS,
        offer: offer(),
    };
    let mut tcb = Tcb::new(2000, 1460).opened(&handshake, 2000);
    tcb.note(&said(IRS + 1, ISS + 1, 500));
    tcb
}

fn said(seq: TcpSeqNumber, ack: TcpSeqNumber, window: u16) -> Said {
    let ack = Some(ack);
    Said { seq, ack, window }
}

/// A segment as smoltcp makes it, with so many octets; as it leaves.
fn leaves(
    tcb: &mut Tcb,
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
    tcb.leaves(&mut frame);
    let seq = frame[SEQUENCE].try_into().unwrap();
    let window = frame[WINDOW].try_into().unwrap();
    (
        TcpSeqNumber(i32::from_be_bytes(seq)),
        u16::from_be_bytes(window),
    )
}

#[test]
fn syns_tell_where_both_ends_begin() {
    let mut tcb = open();
    assert_eq!(
        (tcb.una, tcb.max, tcb.next, tcb.edge),
        (ISS + 1, ISS + 1, IRS + 1, IRS + 2001)
    );
    assert_eq!((tcb.shift(), tcb.window(), tcb.max_wnd), (2, 500, 2000));
    assert!(tcb.takes_sack && tcb.is_at_rest(2000));
    tcb.note(&said(IRS + 1, ISS + 1, 300));
    assert_eq!((tcb.wnd, tcb.max_wnd), (1200, 2000), "the largest is kept");
    // We begin: the peer learns of our window before we learn of its number.
    let mut tcb = Tcb::new(2000, 1460);
    // Without the bit, the field for an acknowledgement says nothing.
    leaves(&mut tcb, SYN, (ISS, TcpSeqNumber(77)), 700, 0);
    assert_eq!((tcb.una, tcb.max, tcb.has_sent), (ISS, ISS + 1, true));
    assert_eq!(tcb.acked, TcpSeqNumber(0));
    tcb.begin(said(IRS, ISS + 1, 1000), &offer());
    assert_eq!((tcb.una, tcb.next, tcb.edge), (ISS + 1, IRS + 1, IRS + 701));
    // Both began: ours leaves again with an acknowledgement.
    leaves(&mut tcb, SYN | ACK, (ISS, IRS + 1), 600, 0);
    assert_eq!(
        (tcb.una, tcb.acked, tcb.edge),
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
        let mut tcb = Tcb::new(2000, path);
        tcb.begin(said(IRS, ISS, 1000), &Offer { mss, ..offer() });
        assert_eq!(tcb.mss, expected);
        tcb.narrow(200);
        assert_eq!(tcb.mss, expected.min(200));
    }
}

#[test]
fn a_connection_is_at_rest_when_nothing_is_under_way() {
    for (change, is_at_rest) in [
        ((|_| {}) as fn(&mut Tcb), true),
        (|tcb| tcb.max += 1, false),
        (|tcb| tcb.next += 1, false),
        (|tcb| tcb.edge = tcb.next + 1000, true),
        (|tcb| tcb.edge = tcb.next + 999, false),
        (|tcb| tcb.edge = tcb.next - 1, false),
        (|tcb| tcb.is_hidden = true, false),
        (|tcb| tcb.hold_until = Some(1), false),
    ] {
        let mut tcb = open();
        change(&mut tcb);
        assert_eq!(tcb.is_at_rest(2000), is_at_rest, "{tcb:?}");
    }
}

#[test]
fn the_newest_segment_tells_the_window() {
    let mut tcb = open();
    tcb.max = ISS + 101;
    tcb.note(&said(IRS + 11, ISS + 51, 400));
    assert_eq!((tcb.una, tcb.wnd), (ISS + 51, 1600));
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
        let said = Said {
            seq,
            ack,
            window: 7,
        };
        assert_eq!(tcb.tells_window(&said), tells, "{said:?}");
        let mut tcb = tcb;
        tcb.note(&said);
        assert_eq!(tcb.wnd, if tells { 28 } else { 1600 });
    }
    // What is expected acknowledges what was sent, and is not older, or says the same.
    tcb.next = IRS + 11;
    for (seq, ack, window, expected) in [
        (11, 51, 7, true),
        (11, 101, 7, true),
        (11, 102, 7, false),
        (11, 50, 7, false),
        (12, 51, 7, false),
    ] {
        let said = said(IRS + seq, ISS + ack, window);
        assert_eq!(tcb.expects(&said), expected, "{said:?}");
    }
    tcb.next = IRS + 10;
    assert!(tcb.expects(&said(IRS + 10, ISS + 51, 400)));
    assert!(!tcb.expects(&said(IRS + 10, ISS + 51, 401)));
}

#[test]
fn what_was_sent_and_not_acknowledged_is_in_flight() {
    let mut tcb = open();
    tcb.max = ISS + 11;
    let is_in_flight = [0, 1, 10, 11].map(|at| tcb.is_in_flight(ISS + at));
    assert_eq!(is_in_flight, [false, true, true, false]);
}

#[test]
fn what_has_no_data_carries_the_next_number_and_no_window_moves_left() {
    let mut tcb = open();
    // Data moves SND.NXT; what is sent again does not move it back.
    for (at, len, max) in [(1, 100, 101), (1, 50, 101), (101, 10, 111)] {
        let (seq, window) = leaves(&mut tcb, ACK, (ISS + at, IRS + 1), 2000, len);
        assert_eq!((seq, window, tcb.max), (ISS + at, 2000, ISS + max));
    }
    // After a time-out smoltcp counts from SND.UNA again.
    for flags in [ACK, ACK | RST] {
        let (seq, _) = leaves(&mut tcb, flags, (ISS + 1, IRS + 1), 2000, 0);
        assert_eq!(seq, ISS + 111);
    }
    let (seq, _) = leaves(&mut tcb, ACK | FIN, (ISS + 111, IRS + 1), 2000, 0);
    assert_eq!((seq, tcb.max), (ISS + 111, ISS + 112));
    // A peer that has taken its window back drops what is behind its end.
    tcb.note(&said(IRS + 1, ISS + 1, 5));
    let (seq, _) = leaves(&mut tcb, ACK, (ISS + 1, IRS + 1), 2000, 0);
    assert_eq!(seq, ISS + 21);
    // Octets came, and were not read: the edge stays. It moves by half of the buffer.
    tcb.next = IRS + 1501;
    for (free, told) in [(500, 500), (1499, 500), (1500, 1500), (1400, 1500)] {
        let (_, window) = leaves(&mut tcb, ACK, (ISS + 1, IRS + 1501), free, 0);
        assert_eq!((window, tcb.acked), (told, IRS + 1501));
    }
    tcb.set_receive_buffer(400);
    let (_, window) = leaves(&mut tcb, ACK, (ISS + 1, IRS + 1501), 1699, 0);
    assert_eq!(window, 1500);
    let (_, window) = leaves(&mut tcb, ACK, (ISS + 1, IRS + 1501), 1700, 0);
    assert_eq!(window, 1700);
    // A RST offers nothing, and acknowledges as it is told to.
    let (_, window) = leaves(&mut tcb, RST, (ISS + 1, TcpSeqNumber(0)), 0, 0);
    assert_eq!((window, tcb.acked), (0, IRS + 1501));
}

#[test]
fn a_window_too_small_for_a_segment_is_kept_from_smoltcp_for_a_while() {
    let mut tcb = open();
    // 50 octets on their way, and room for 50 more, of segments of 100; more are queued.
    tcb.max = ISS + 51;
    tcb.note(&said(IRS + 1, ISS + 1, 25));
    assert_eq!(
        (tcb.window_to_tell(|| 50, 0), tcb.hold_until()),
        (None, None),
        "all is sent"
    );
    assert_eq!(
        (tcb.window_to_tell(|| 100, 0), tcb.hold_until()),
        (None, None),
        "all fits"
    );
    assert_eq!(tcb.window_to_tell(|| 101, 0), Some(12));
    assert_eq!((tcb.shown(), tcb.hold_until()), (12, Some(200 * MS)));
    assert_eq!(
        tcb.window_to_tell(|| 101, 200 * MS - 1),
        None,
        "it is told once"
    );
    assert_eq!(
        tcb.window_to_tell(|| 101, 200 * MS),
        Some(25),
        "and for so long"
    );
    assert_eq!((tcb.shown(), tcb.hold_until()), (25, None));
    // It opens meanwhile.
    assert_eq!(tcb.window_to_tell(|| 101, 300 * MS), Some(12));
    tcb.note(&said(IRS + 1, ISS + 1, 38));
    assert_eq!(tcb.window_to_tell(|| 151, 301 * MS), None);
    assert_eq!((tcb.shown(), tcb.hold_until()), (38, None));
}
