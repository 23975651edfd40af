//! SEGMENT ARRIVES (RFC 9293 §3.10.7, RFC 5961), as a table: what comes to a live connection
//! in each state, what must be answered, and what must be left alone.
//!
//! The connection is brought into its state by hand-made segments; its numbers are near the
//! end of the sequence space, so that they wrap. SND.UNA and SND.NXT differ where data or a
//! FIN can be on its way.

use super::raw::*;
use super::world::*;
use crate::tests::frames::arp_reply;
use abi::Error;
use abi::Pid;
use abi::socket::{Direction, Handle};
use std::vec;
use std::vec::Vec;

const PROGRAM: Pid = Pid(0x120);
/// The peer's initial sequence number.
const IRS: u32 = u32::MAX - 3;
/// Octets that the server has sent and the peer has not acknowledged.
const SENT: usize = 100;
/// RCV.WND: the receive buffer of these tests.
const WINDOW: i64 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

use State::*;

/// A connection in a state, and its variables.
struct Live {
    world: World,
    /// The listener or the socket that connects.
    first: Handle,
    socket: Option<Handle>,
    ports: (u16, u16),
    una: u32,
    snd_nxt: u32,
    rcv_nxt: u32,
}

impl Live {
    /// Sends a segment with these numbers relative to RCV.NXT and SND.NXT; what comes back.
    fn send(&mut self, flags: u8, seq: i64, ack: i64, len: usize) -> Vec<Raw> {
        let relative = |base: u32, offset: i64| base.wrapping_add(offset as u32);
        let segment = Raw {
            ports: self.ports,
            flags,
            seq: relative(self.rcv_nxt, seq),
            ack: relative(self.snd_nxt, ack),
            window: 60_000,
            data: vec![b'x'; len],
            options: Vec::new(),
        };
        self.exchange(&segment)
    }

    fn exchange(&mut self, segment: &Raw) -> Vec<Raw> {
        self.world.inject(&segment.frame());
        self.frames()
    }

    fn frames(&mut self) -> Vec<Raw> {
        let frames = self.world.frames();
        frames.iter().filter_map(|frame| Raw::read(frame)).collect()
    }

    fn shutdown(&mut self) {
        let socket = self.socket.unwrap();
        let shut = self.world.shutdown(PROGRAM, socket, Direction::Send);
        assert_eq!(shut, Ok(()));
        let sent = self.frames();
        assert_eq!((sent.len(), sent[0].flags & FIN), (1, FIN));
        self.snd_nxt = self.snd_nxt.wrapping_add(1);
    }

    fn peer_finishes(&mut self, ack: i64) -> Vec<Raw> {
        let answers = self.send(FIN | ACK, 0, ack, 0);
        self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        answers
    }

    /// A connection in this state.
    fn new(state: State) -> Live {
        let mut world = World::new(7);
        let first = match state {
            // It is told when it connects.
            SynSent => Handle(0),
            _ => world.listener(PROGRAM, 80, 4),
        };
        world.inject(&arp_reply(PEER_IP));
        world.frames();
        let mut live = Live {
            world,
            first,
            socket: None,
            ports: (5000, 80),
            una: 0,
            snd_nxt: 0,
            rcv_nxt: IRS,
        };
        match state {
            Closed => live.ports.1 = 81,
            Listen => {}
            SynSent => live.connects(),
            _ => live.is_opened(state),
        }
        live
    }

    fn connects(&mut self) {
        let begun = self.world.begin_connect(PROGRAM, (PEER_IP, 5000));
        self.first = begun.unwrap().0;
        let syn = self.frames().remove(0);
        assert_eq!(syn.flags, SYN);
        self.ports = (5000, syn.ports.0);
        (self.una, self.snd_nxt) = (syn.seq, syn.seq.wrapping_add(1));
    }

    fn is_opened(&mut self, state: State) {
        let answers = self.send(SYN, 0, 0, 0);
        assert_eq!((answers.len(), answers[0].flags), (1, SYN | ACK));
        self.rcv_nxt = IRS.wrapping_add(1);
        (self.una, self.snd_nxt) = (answers[0].seq, answers[0].seq.wrapping_add(1));
        if state == SynReceived {
            return;
        }
        assert_eq!(self.send(ACK, 0, 0, 0), []);
        self.una = self.snd_nxt;
        let (socket, _) = self.world.try_accept(PROGRAM, self.first).unwrap();
        self.socket = Some(socket);
        match state {
            Established => {
                let sent = self.world.send(PROGRAM, socket, &[1; SENT]);
                assert_eq!(sent, Ok(SENT));
                assert_eq!(self.frames().len(), 1);
                self.snd_nxt = self.snd_nxt.wrapping_add(SENT as u32);
            }
            FinWait1 => self.shutdown(),
            FinWait2 => {
                self.shutdown();
                assert_eq!(self.send(ACK, 0, 0, 0), []);
                self.una = self.snd_nxt;
            }
            CloseWait => assert_eq!(self.peer_finishes(0).len(), 1),
            Closing => {
                self.shutdown();
                assert_eq!(self.peer_finishes(-1).len(), 1);
            }
            LastAck => {
                assert_eq!(self.peer_finishes(0).len(), 1);
                self.shutdown();
            }
            TimeWait => {
                self.shutdown();
                assert_eq!(self.send(ACK, 0, 0, 0), []);
                self.peer_finishes(0);
                assert_eq!(self.world.figure("time_wait"), 1);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`, where RCV.NXT has advanced by so much.
    Acks(u32),
    /// `<SEQ=SEG.ACK><CTL=RST>`.
    Resets,
    /// `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`.
    ResetsAndAcks,
    /// `<SEQ=ISS><ACK=SEG.SEQ+1><CTL=SYN,ACK>`.
    SynAcks,
}

use Says::*;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// There is none.
    None,
    /// It is as it was, and goes on.
    Stays,
    /// It is over.
    Ends,
    /// It goes on, in another state or further.
    Moves,
}

/// In a state, a segment: flags, SEG.SEQ - RCV.NXT, SEG.ACK - SND.NXT, octets of data; the
/// answer, what then, and the rule.
type Row = (State, u8, i64, i64, usize, Says, Then, &'static str);

const OLD: i64 = -100_000;
const SYNCHRONIZED: [State; 8] = [
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // RFC 9293 §3.10.7.1: CLOSED.
    (Closed, RST, 0, 0, 0, Nothing, Then::None, "§3.10.7.1 RST is discarded"),
    (Closed, RST | ACK, 0, 0, 0, Nothing, Then::None, "§3.10.7.1 RST is discarded"),
    (Closed, SYN, 0, 0, 0, ResetsAndAcks, Then::None, "§3.10.7.1 no ACK"),
    (Closed, FIN, 0, 0, 3, ResetsAndAcks, Then::None, "§3.10.7.1 no ACK"),
    (Closed, 0, 0, 0, 5, ResetsAndAcks, Then::None, "§3.10.7.1 no ACK"),
    (Closed, ACK, 0, 77, 5, Resets, Then::None, "§3.10.7.1 ACK"),
    (Closed, SYN | ACK, 0, 77, 0, Resets, Then::None, "§3.10.7.1 ACK"),
    (Closed, FIN | ACK, 0, 77, 0, Resets, Then::None, "§3.10.7.1 ACK"),
    // §3.10.7.2: LISTEN.
    (Listen, RST, 0, 0, 0, Nothing, Then::None, "§3.10.7.2 first: RST"),
    (Listen, RST | SYN, 0, 0, 0, Nothing, Then::None, "§3.10.7.2 first: RST"),
    (Listen, ACK, 0, 5, 0, Resets, Then::None, "§3.10.7.2 second: ACK"),
    (Listen, SYN | ACK, 0, 5, 0, Resets, Then::None, "§3.10.7.2 second: ACK"),
    (Listen, FIN | ACK, 0, 5, 9, Resets, Then::None, "§3.10.7.2 second: ACK"),
    (Listen, SYN, 0, 0, 0, SynAcks, Then::Moves, "§3.10.7.2 third: SYN"),
    (Listen, SYN | PSH | URG, 0, 0, 0, SynAcks, Then::Moves, "§3.10.7.2 third: SYN"),
    (Listen, SYN, 0, 0, 9, SynAcks, Then::Moves, "§3.10.7.2 third: SYN; its text comes again"),
    (Listen, 0, 0, 0, 5, Nothing, Then::None, "§3.10.7.2 fourth: other text"),
    (Listen, FIN, 0, 0, 0, Nothing, Then::None, "§3.10.7.2 fourth: other control"),
    // §3.10.7.3: SYN-SENT. SEG.ACK = ISS + 1 is SND.NXT.
    (SynSent, ACK, 0, -1, 0, Resets, Then::Stays, "§3.10.7.3 first: SEG.ACK =< ISS"),
    (SynSent, SYN | ACK, 0, -1, 0, Resets, Then::Stays, "§3.10.7.3 first: SEG.ACK =< ISS"),
    (SynSent, SYN | ACK, 0, 1, 0, Resets, Then::Stays, "§3.10.7.3 first: SEG.ACK > SND.NXT"),
    (SynSent, FIN | ACK, 0, 1, 0, Resets, Then::Stays, "§3.10.7.3 first: SEG.ACK > SND.NXT"),
    (SynSent, RST | ACK, 0, 1, 0, Nothing, Then::Stays, "§3.10.7.3 first: unless RST"),
    (SynSent, RST | ACK, 0, -1, 0, Nothing, Then::Stays, "§3.10.7.3 first: unless RST"),
    (SynSent, RST | ACK, 0, 0, 0, Nothing, Then::Ends, "§3.10.7.3 second: RST, ACK acceptable"),
    (SynSent, RST, 0, 0, 0, Nothing, Then::Stays, "§3.10.7.3 second: RST without ACK"),
    (SynSent, ACK, 0, 0, 0, Nothing, Then::Stays, "§3.10.7.3 fifth: neither SYN nor RST"),
    (SynSent, ACK, 0, 0, 10, Nothing, Then::Stays, "§3.10.7.3 fifth: neither SYN nor RST"),
    (SynSent, FIN, 0, 0, 0, Nothing, Then::Stays, "§3.10.7.3 fifth: neither SYN nor RST"),
    // §3.10.7.4, SYN-RECEIVED.
    (SynReceived, SYN, -1, 0, 0, Acks(0), Then::Stays, "§3.10.7.4 first: the SYN again"),
    (SynReceived, SYN, 7, 0, 0, Nothing, Then::Ends, "§3.10.7.4 fourth: back to LISTEN"),
    (SynReceived, ACK, 0, 1, 0, Resets, Then::Stays, "§3.10.7.4 fifth: ACK not acceptable"),
    (SynReceived, ACK, 0, -1, 0, Resets, Then::Stays, "§3.10.7.4 fifth: ACK not acceptable"),
    (SynReceived, ACK, 0, OLD, 5, Resets, Then::Stays, "§3.10.7.4 fifth: ACK not acceptable"),
    (SynReceived, ACK, 0, 0, 5, Acks(5), Then::Moves, "§3.10.7.4 fifth: to ESTABLISHED"),
    (SynReceived, FIN | ACK, 0, 0, 0, Acks(1), Then::Moves, "§3.10.7.4 eighth: to CLOSE-WAIT"),
    // ESTABLISHED: first, the sequence number.
    (Established, ACK, -10, 0, 10, Acks(0), Then::Stays, "§3.10.7.4 first: received already"),
    (Established, ACK, -10, -40, 10, Acks(0), Then::Stays, "§3.10.7.4 first: received already"),
    (Established, ACK, -10, OLD, 10, Acks(0), Then::Stays, "§3.10.7.4 first: received already"),
    (Established, ACK, WINDOW, 0, 10, Acks(0), Then::Stays, "§3.10.7.4 first: behind the window"),
    (Established, ACK, WINDOW, 0, 0, Acks(0), Then::Stays, "§3.10.7.4 first: behind the window"),
    (Established, ACK, -1, 0, 0, Acks(0), Then::Stays, "§3.8.4: a keep-alive"),
    (Established, ACK, -1, 0, 1, Acks(0), Then::Stays, "§3.8.4: a keep-alive with an octet"),
    (Established, ACK, -5, 0, 10, Acks(5), Then::Moves, "§3.10.7.4 seventh: what is new of it"),
    // Fifth: ACK.
    (Established, 0, 0, 0, 10, Nothing, Then::Stays, "§3.10.7.4 fifth: no ACK"),
    (Established, FIN, 0, 0, 0, Nothing, Then::Stays, "§3.10.7.4 fifth: no ACK"),
    (Established, ACK, 0, 1, 10, Acks(0), Then::Stays, "RFC 5961 §5.2: not sent yet"),
    (Established, ACK, 0, 1, 0, Acks(0), Then::Stays, "RFC 5961 §5.2: not sent yet"),
    (Established, FIN | ACK, 0, 1, 0, Acks(0), Then::Stays, "RFC 5961 §5.2: not sent yet"),
    (Established, ACK, 0, OLD, 10, Acks(0), Then::Stays, "RFC 5961 §5.2: far too old"),
    (Established, ACK, 0, -500, 10, Acks(10), Then::Moves, "§3.10.7.4 fifth: a duplicate ACK is ignored, its text is not"),
    (Established, FIN | ACK, 0, -500, 10, Acks(11), Then::Moves, "§3.10.7.4 fifth: nor its FIN"),
    (Established, ACK, 0, -40, 10, Acks(10), Then::Moves, "§3.10.7.4 fifth: some is acknowledged"),
    (Established, ACK | URG, 0, 0, 10, Acks(10), Then::Moves, "§3.10.7.4 sixth: URG"),
    // The four ends of a window: text and FIN that do not fit.
    (Established, ACK, WINDOW - 10, 0, 10, Acks(0), Then::Stays, "RFC 5681 §4.2: behind a gap"),
    (Established, FIN | ACK, 5, 0, 5, Acks(0), Then::Stays, "RFC 5681 §4.2: behind a gap"),
    (Established, RST | ACK, WINDOW, 0, 0, Nothing, Then::Stays, "§3.10.7.4 first: RST behind the window"),
    // TIME-WAIT.
    (TimeWait, FIN | ACK, -1, 0, 0, Acks(0), Then::None, "§3.10.7.4 eighth: the FIN again"),
    (TimeWait, ACK, 0, 0, 0, Nothing, Then::None, "§3.10.7.4 fifth: nothing new"),
    (TimeWait, ACK, -3, 0, 2, Acks(0), Then::None, "§3.10.7.4 first: not acceptable"),
    (TimeWait, SYN, -1000, 0, 0, Acks(0), Then::None, "RFC 5961 §4.2: an old SYN"),
    (TimeWait, RST, 1, 0, 0, Nothing, Then::None, "RFC 5961 §3.2"),
    (TimeWait, RST, 0, 0, 0, Nothing, Then::None, "§3.10.7.4 second: RST"),
    // The other states: what ends them, and text behind a FIN.
    (FinWait1, ACK, 0, 0, 0, Nothing, Then::Moves, "§3.10.7.4 fifth: to FIN-WAIT-2"),
    (FinWait1, ACK, 0, 0, 10, Acks(10), Then::Moves, "§3.10.7.4 seventh: text"),
    (FinWait1, FIN | ACK, 0, -1, 0, Acks(1), Then::Moves, "§3.10.7.4 eighth: to CLOSING"),
    (FinWait1, FIN | ACK, 0, 0, 0, Acks(1), Then::Ends, "§3.10.7.4 eighth: to TIME-WAIT"),
    (FinWait1, ACK, 0, 1, 0, Acks(0), Then::Stays, "RFC 5961 §5.2: not sent yet"),
    (FinWait2, ACK, 0, 0, 10, Acks(10), Then::Moves, "§3.10.7.4 seventh: text"),
    (FinWait2, FIN | ACK, 0, 0, 0, Acks(1), Then::Ends, "§3.10.7.4 eighth: to TIME-WAIT"),
    (CloseWait, ACK, 0, 0, 10, Nothing, Then::Stays, "§3.10.7.4 seventh: text behind a FIN"),
    (CloseWait, FIN | ACK, 0, 0, 0, Nothing, Then::Stays, "§3.10.7.4 eighth: another FIN"),
    (CloseWait, FIN | ACK, -1, 0, 0, Acks(0), Then::Stays, "§3.10.7.4 first: the FIN again"),
    (Closing, ACK, 0, 0, 0, Nothing, Then::Ends, "§3.10.7.4 fifth: to TIME-WAIT"),
    (Closing, ACK, 0, -1, 10, Nothing, Then::Stays, "§3.10.7.4 seventh: text behind a FIN"),
    (Closing, FIN | ACK, -1, -1, 0, Acks(0), Then::Stays, "§3.10.7.4 first: the FIN again"),
    (LastAck, ACK, 0, 0, 0, Nothing, Then::Ends, "§3.10.7.4 fifth: to CLOSED"),
    (LastAck, FIN | ACK, -1, -1, 0, Acks(0), Then::Stays, "§3.10.7.4 first: the FIN again"),
];

/// Tries one row.
fn try_row(row: &Row) {
    let &(state, flags, seq, ack, len, says, then, rule) = row;
    let what = std::format!("{state:?}, flags {flags:#x}, {seq}, {ack}, {len}: {rule}");
    let mut live = Live::new(state);
    let before = (live.rcv_nxt, live.snd_nxt);
    let mut answers = live.send(flags, seq, ack, len);
    // An acknowledgement of data may wait a little.
    live.world.now += 10 * MS;
    answers.extend(live.frames());
    let sent = |offset: i64, base: u32| base.wrapping_add(offset as u32);
    let (seg_seq, seg_ack) = (sent(seq, before.0), sent(ack, before.1));
    let seg_len = len as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let expected = match says {
        Nothing => None,
        Acks(count) => Some((ACK, before.1, before.0.wrapping_add(count))),
        Resets => Some((RST, seg_ack, 0)),
        ResetsAndAcks => Some((RST | ACK, 0, seg_seq.wrapping_add(seg_len))),
        SynAcks => Some((SYN | ACK, answers[0].seq, seg_seq.wrapping_add(1))),
    };
    let heard: Vec<_> = answers.iter().map(|a| (a.flags, a.seq, a.ack)).collect();
    assert_eq!(heard, Vec::from_iter(expected), "{what}");
    assert!(answers.iter().all(|a| a.data.is_empty()), "{what}");
    // In TIME-WAIT there is only what its program has not let go of yet.
    let connections = live.world.figure("connections") - u64::from(state == TimeWait);
    match then {
        Then::None => assert_eq!(connections, 0, "{what}"),
        Then::Ends => assert!(is_over(&mut live), "{what}"),
        Then::Moves => assert_eq!(connections, 1, "{what}"),
        Then::Stays => goes_on(&mut live, state, &what),
    }
    live.world.server.sockets.stack.audit(live.world.now);
    live.world.die(PROGRAM);
    live.frames();
    live.world.assert_empty();
}

/// Whether the stack has nothing to do with it any more.
fn is_over(live: &mut Live) -> bool {
    if live.world.figure("connections") == 0 {
        return true;
    }
    // Its program keeps a socket that has ended, until it closes it.
    let socket = live.socket.unwrap_or(live.first);
    live.world.close(PROGRAM, socket).unwrap();
    live.frames();
    live.world.figure("connections") == 0
}

/// The connection does what it would have done next.
fn goes_on(live: &mut Live, state: State, what: &str) {
    match state {
        SynSent => {
            let answers = live.send(SYN | ACK, 0, 0, 0);
            assert_eq!(answers[0].flags, ACK, "{what}");
        }
        SynReceived => {
            assert_eq!(live.send(ACK, 0, 0, 0), [], "{what}");
            assert_eq!(live.world.figure("half_open"), 0, "{what}");
        }
        CloseWait => {
            let socket = live.socket.unwrap();
            let sent = live.world.send(PROGRAM, socket, &[2; 7]);
            assert_eq!(sent, Ok(7), "{what}");
            assert_eq!(live.frames().len(), 1, "{what}");
        }
        Closing | LastAck => {
            assert_eq!(live.send(ACK, 0, 0, 0), [], "{what}");
            assert!(is_over(live), "{what}");
        }
        _ => {
            // What lies behind a gap is kept, so what follows it at once is longer.
            live.send(ACK, 0, 0, 1000);
            live.world.now += 10 * MS;
            let answers = live.frames();
            let ack = live.rcv_nxt.wrapping_add(1000);
            assert!(
                answers.iter().all(|a| a.flags == ACK && a.ack == ack),
                "{what}"
            );
            let socket = live.socket.unwrap();
            let read = live.world.recv(PROGRAM, socket, 2000).unwrap();
            assert_eq!(read.len(), 1000, "{what}");
        }
    }
}

#[test]
fn every_segment_in_every_state_is_answered_as_the_rfc_says() {
    for row in ROWS {
        try_row(row);
    }
}

#[test]
fn in_every_synchronized_state_syns_are_challenged_and_resets_must_be_exact() {
    for state in SYNCHRONIZED {
        let (ends, stays) = match state {
            TimeWait => (Then::None, Then::None),
            _ => (Then::Ends, Then::Stays),
        };
        // RFC 5961 §3.2: at the left edge, in the window, outside of it.
        try_row(&(state, RST, 0, 0, 0, Nothing, ends, "RFC 5961 §3.2: exact"));
        try_row(&(
            state,
            RST | ACK,
            0,
            0,
            0,
            Nothing,
            ends,
            "RFC 5961 §3.2: exact",
        ));
        try_row(&(
            state,
            RST | FIN | PSH,
            0,
            0,
            4,
            Nothing,
            ends,
            "RFC 5961 §3.2: exact",
        ));
        try_row(&(
            state,
            RST,
            -1,
            0,
            0,
            Nothing,
            stays,
            "RFC 5961 §3.2: outside",
        ));
        if state != TimeWait {
            try_row(&(state, RST, 1, 0, 0, Acks(0), stays, "RFC 5961 §3.2: inside"));
            try_row(&(
                state,
                RST | ACK,
                9,
                0,
                0,
                Acks(0),
                stays,
                "RFC 5961 §3.2: inside",
            ));
            try_row(&(state, SYN | ACK, OLD, 0, 0, Acks(0), stays, "RFC 5961 §4.2"));
        }
        // RFC 5961 §4.2, "irrespective of the sequence number".
        let seqs: &[i64] = match state {
            SynReceived | TimeWait => &[-1, OLD],
            _ => &[-1, 0, 1, 1000, OLD, 1 << 30],
        };
        for &seq in seqs {
            let rule = "RFC 5961 §4.2: a challenge";
            try_row(&(state, SYN, seq, 0, 0, Acks(0), stays, rule));
        }
    }
}

#[test]
fn a_client_that_starts_again_on_the_same_port_is_served_at_once() {
    let mut live = Live::new(Established);
    // It has forgotten the connection and begins with another number.
    let again = Raw {
        ports: live.ports,
        flags: SYN,
        seq: live.rcv_nxt.wrapping_add(1 << 29),
        ack: 0,
        window: 60_000,
        data: Vec::new(),
        options: Vec::new(),
    };
    let challenge = live.exchange(&again).remove(0);
    assert_eq!((challenge.flags, challenge.ack), (ACK, live.rcv_nxt));
    // In SYN-SENT that draws a RST, which is exact; and then its SYN comes once more.
    let reset = Raw {
        flags: RST,
        seq: challenge.ack,
        ..again.clone()
    };
    assert_eq!(live.exchange(&reset), []);
    let answer = live.exchange(&again).remove(0);
    assert_eq!(
        (answer.flags, answer.ack),
        (SYN | ACK, again.seq.wrapping_add(1))
    );
}

#[test]
fn challenges_are_limited_and_answers_to_data_are_not() {
    let mut live = Live::new(Established);
    let challenges = |live: &mut Live, flags, seq, len| {
        let count = |_| live.send(flags, seq, 0, len).len();
        (0..100).map(count).sum::<usize>()
    };
    // RFC 5961 §7: ten in five seconds.
    assert_eq!(challenges(&mut live, SYN, 0, 0), 10);
    assert_eq!(challenges(&mut live, ACK, -1, 0), 0);
    assert_eq!(challenges(&mut live, ACK, -5, 5), 100);
    assert_eq!(live.world.figure("tcp_challenges_sent"), 10);
    assert_eq!(live.world.figure("tcp_challenges_held"), 190);
    assert_eq!(live.world.figure("drop_tcp_syn"), 100);
    assert_eq!(live.world.figure("drop_tcp_out_of_window"), 200);
    live.world.now += 5 * SECOND;
    // What was sent is sent again by now.
    live.frames();
    assert_eq!(challenges(&mut live, ACK, -1, 0), 10);
    // The same for an end that is remembered, where two of that kind would never stop.
    let mut live = Live::new(TimeWait);
    assert_eq!(challenges(&mut live, ACK, -9, 0), 10);
    assert_eq!(challenges(&mut live, FIN | ACK, -1, 0), 100);
}

#[test]
fn after_a_timeout_acknowledgements_still_carry_the_highest_number() {
    let mut live = Live::new(Established);
    // Nothing is acknowledged for a while: smoltcp begins to send again from SND.UNA.
    live.world.now += 3 * SECOND;
    let again = live.frames();
    assert_eq!((again.len(), again[0].seq), (1, live.una));
    live.world.now += 3 * SECOND;
    let answers = live.send(ACK, -10, -(SENT as i64), 10);
    let pure: Vec<&Raw> = answers.iter().filter(|a| a.data.is_empty()).collect();
    assert_eq!(pure.len(), 1);
    assert_eq!(pure[0].seq, live.snd_nxt, "the peer drops what is older");
}

#[test]
fn both_ends_may_begin() {
    let mut live = Live::new(SynSent);
    let told = |live: &mut Live| live.world.is_connected(PROGRAM, live.first);
    // RFC 9293 §3.5, figure 7.
    let answer = |live: &Live, flags, seq| (flags, seq, live.rcv_nxt.wrapping_add(1));
    let said = |sent: Vec<Raw>| {
        sent.iter()
            .map(|s| (s.flags, s.seq, s.ack))
            .collect::<Vec<_>>()
    };
    let sent = live.send(SYN, 0, 0, 0);
    assert_eq!(said(sent), [answer(&live, SYN | ACK, live.una)]);
    assert_eq!(told(&mut live), None, "ours is not acknowledged");
    // What is not acceptable is answered in this state, too.
    let sent = live.send(ACK, -100, 0, 1);
    assert_eq!(said(sent), [answer(&live, ACK, live.snd_nxt)]);
    assert_eq!(told(&mut live), None);
    live.rcv_nxt = live.rcv_nxt.wrapping_add(1);
    assert_eq!(live.send(ACK, 0, 0, 0), []);
    assert_eq!(told(&mut live), Some(Ok(())));
}

#[test]
fn what_ends_a_connection_is_counted_as_that() {
    // We begin, and the peer acknowledges what was not sent, or says nothing.
    let mut live = Live::new(SynSent);
    let figure = |live: &Live, name: &str| live.world.figure(name);
    assert_eq!(figure(&live, "tcp_connects"), 1);
    let answers = live.send(SYN | ACK, 0, 9, 0);
    assert_eq!((answers.len(), answers[0].flags & RST), (1, RST));
    assert_eq!(figure(&live, "tcp_resets_sent"), 1);
    for _ in 0..300 {
        live.world.now += SECOND;
        // Its station is still there.
        live.world.inject(&arp_reply(PEER_IP));
        live.frames();
    }
    let told = live.world.is_connected(PROGRAM, live.first);
    assert_eq!(told, Some(Err(Error::TimedOut)));
    assert_eq!(figure(&live, "tcp_timeouts"), 1);
    // The peer resets it.
    let mut live = Live::new(Established);
    live.send(RST | ACK, 0, 0, 0);
    let told = live.world.recv(PROGRAM, live.socket.unwrap(), 10);
    assert_eq!(told, Err(Error::ConnectionReset));
    assert_eq!(figure(&live, "tcp_timeouts"), 0);
    // Its program has closed it, and the peer goes on.
    for (state, ack, is_reset) in [(FinWait1, -1, false), (FinWait2, 0, true)] {
        let mut live = Live::new(state);
        let socket = live.socket.unwrap();
        let closed = live.world.close(PROGRAM, socket);
        assert_eq!(closed, Ok(()));
        let answers = live.send(ACK, 0, ack, 5);
        let resets = answers.iter().filter(|answer| answer.flags & RST != 0);
        assert_eq!(resets.count(), usize::from(is_reset), "{state:?}");
        assert_eq!(figure(&live, "tcp_orphans_aborted"), is_reset.into());
    }
}
