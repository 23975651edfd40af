//! SEGMENT ARRIVES (RFC 9293 §3.10.7.3 and §3.10.7.4, with RFC 5961): what becomes of a
//! segment for a connection, before smoltcp gets it.
//!
//! smoltcp takes what is as it should be. What is not it treats more briefly than the RFCs
//! want: it ignores SYNs and old acknowledgements without an answer, takes a FIN behind data
//! that it cut off, and data behind a FIN. So the checks are made here, in their order, and
//! smoltcp is given the part of a segment that is acceptable.

use crate::packet::Segment;
use crate::tcp::tcb::{Said, Tcb};
use crate::verdict::DropReason;
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpSeqNumber;

/// A segment that smoltcp processes instead of the one that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub seq: TcpSeqNumber,
    pub ack: TcpSeqNumber,
    pub window: u16,
    pub fin: bool,
    pub rst: bool,
    /// Octets of the data that was there, from the first on.
    pub len: usize,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// smoltcp processes it.
    Process,
    /// smoltcp processes this instead.
    Instead(Shape),
    /// smoltcp processes this instead, and then it is answered with an acknowledgement.
    Probe(Shape),
    /// It is dropped and answered with an acknowledgement: with a challenge, of which only
    /// so many are sent, unless it has data, whose sender waits for that.
    Acknowledge(DropReason, Pace),
    /// It is dropped and answered with a RST.
    Reset(DropReason),
    /// It ends a connection that is not complete, which began with the peer's SYN.
    Forget,
    /// It is dropped.
    Drop(DropReason),
}

/// How many answers there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One for each segment: the peer sends no faster than its timers.
    Each,
    /// RFC 5961 §7: so that two ends that disagree do not answer each other for ever.
    Limited,
}

impl Segment {
    /// What it says of the connection's variables.
    pub fn said(&self) -> Said {
        Said {
            seq: self.seq,
            ack: self.ack,
            window: self.window,
        }
    }
}

/// Whether a segment is just what a synchronized connection expects next: most are. If the
/// peer's FIN has come, only one without text is.
#[inline]
pub(super) fn is_expected(tcb: &Tcb, peer_finished: bool, segment: &Segment) -> bool {
    let len = segment.len + usize::from(segment.fin);
    let is_plain = !segment.syn && !segment.rst;
    is_plain
        && tcb.expects(&segment.said())
        && (len == 0 || (!peer_finished && tcb.next + len <= tcb.edge))
}

/// Decides on a segment for a connection that is not CLOSED or LISTEN. `passive`: it began
/// with the peer's SYN.
#[cold]
pub(super) fn arrives((state, passive): (State, bool), tcb: &Tcb, segment: &Segment) -> Arrival {
    match state {
        State::SynSent => syn_sent(tcb, segment),
        _ => synchronized((state, passive), tcb, segment),
    }
}

/// RFC 9293 §3.10.7.3.
fn syn_sent(tcb: &Tcb, segment: &Segment) -> Arrival {
    // First: ACK.
    let is_bad = |ack: TcpSeqNumber| !tcb.has_sent || ack <= tcb.una || ack > tcb.max;
    match segment.ack {
        Some(ack) if is_bad(ack) => match segment.rst {
            true => Arrival::Drop(DropReason::TcpBadAck),
            false => Arrival::Reset(DropReason::TcpBadAck),
        },
        // Second: RST, which must acknowledge our SYN.
        Some(ack) if segment.rst => Arrival::Instead(Shape::reset(tcb, segment.seq, ack)),
        None if segment.rst => Arrival::Drop(DropReason::TcpNoAck),
        // Fourth: SYN. One with FIN opens nothing that could be kept.
        _ if segment.syn && !segment.fin => Arrival::Process,
        // Fifth.
        _ => Arrival::Drop(DropReason::TcpOutOfWindow),
    }
}

/// RFC 9293 §3.10.7.4.
fn synchronized((state, passive): (State, bool), tcb: &Tcb, segment: &Segment) -> Arrival {
    let (seq, next, edge) = (segment.seq, tcb.next, tcb.edge);
    let is_open = next < edge;
    let is_inside = |seq| next <= seq && seq < edge;
    // First: the sequence number. Second: RST, of which only that counts.
    if segment.rst && seq == next {
        return Arrival::Instead(Shape::reset(tcb, seq, tcb.una));
    }
    if !tcb.has_sent {
        // Our SYN waits for room: the peer was told of no window yet.
        return Arrival::Drop(DropReason::TcpOutOfWindow);
    }
    if segment.rst {
        return match () {
            () if is_inside(seq) => {
                Arrival::Acknowledge(DropReason::TcpInexactReset, Pace::Limited)
            }
            () => Arrival::Drop(DropReason::TcpOutOfWindow),
        };
    }
    // Fourth: SYN, wherever it is (RFC 5961 §4.2).
    if segment.syn {
        return match state == State::SynReceived && passive && is_inside(seq) {
            true => Arrival::Forget,
            false => Arrival::Acknowledge(DropReason::TcpSyn, Pace::Limited),
        };
    }
    let len = segment.len + usize::from(segment.fin);
    let acceptable = match len {
        0 if !is_open => seq == next,
        0 => is_inside(seq),
        _ => is_open && (is_inside(seq) || is_inside(seq + len - 1)),
    };
    // Probes of a closed window: valid acknowledgements are to be accepted with them.
    let is_probe = !is_open && (seq == next || seq + 1 == next);
    if !acceptable && !is_probe {
        return Arrival::Acknowledge(DropReason::TcpOutOfWindow, Pace::of(len));
    }
    // Fifth: ACK.
    let Some(ack) = segment.ack else {
        return Arrival::Drop(DropReason::TcpNoAck);
    };
    let is_new = tcb.una < ack && ack <= tcb.max;
    if state == State::SynReceived && !is_new {
        return Arrival::Reset(DropReason::TcpBadAck);
    }
    if ack > tcb.max || ack < tcb.una - tcb.max_wnd as usize {
        return Arrival::Acknowledge(DropReason::TcpBadAck, Pace::Limited);
    }
    let said = segment.said();
    let window = match ack >= tcb.una && tcb.tells_window(&said) {
        true => segment.window,
        false => tcb.shown(),
    };
    let mut shape = Shape {
        seq,
        ack: ack.max(tcb.una),
        window,
        fin: segment.fin,
        rst: false,
        len: segment.len,
    };
    if !acceptable {
        (shape.seq, shape.len, shape.fin) = (next, 0, false);
        return Arrival::Probe(shape);
    }
    // Seventh and eighth: text and FIN. What lies behind the window is cut off, FIN included.
    let receives = matches!(
        state,
        State::SynReceived | State::Established | State::FinWait1 | State::FinWait2
    );
    match receives {
        false => (shape.seq, shape.len, shape.fin) = (next, 0, false),
        true if seq + len > edge => {
            shape.fin = false;
            // The segment begins before the edge.
            shape.len = shape.len.min(edge - seq);
        }
        true => {}
    }
    let same = Shape {
        seq,
        ack,
        window: segment.window,
        fin: segment.fin,
        rst: false,
        len: segment.len,
    };
    match shape == same {
        true => Arrival::Process,
        false => Arrival::Instead(shape),
    }
}

impl Pace {
    /// For a segment that takes so much of the sequence space.
    fn of(len: usize) -> Self {
        match len {
            0 => Pace::Limited,
            _ => Pace::Each,
        }
    }
}

impl Shape {
    fn reset(tcb: &Tcb, seq: TcpSeqNumber, ack: TcpSeqNumber) -> Self {
        Shape {
            seq,
            ack,
            window: tcb.shown(),
            fin: false,
            rst: true,
            len: 0,
        }
    }

    /// A segment that says nothing, but that it has another window.
    pub fn window(tcb: &Tcb, window: u16) -> Self {
        Shape {
            seq: tcb.next,
            ack: tcb.una,
            window,
            fin: false,
            rst: false,
            len: 0,
        }
    }

    /// A segment that smoltcp answers with an acknowledgement, in every state but SYN-SENT: an
    /// octet that was received already.
    pub fn old(state: State, tcb: &Tcb) -> Self {
        Shape {
            seq: tcb.next - 1,
            ack: match state {
                State::SynReceived => tcb.max,
                _ => tcb.una,
            },
            window: tcb.shown(),
            fin: false,
            rst: false,
            len: 1,
        }
    }

    /// The segment that it is, of the same connection as another.
    pub fn of(&self, segment: &Segment) -> Segment {
        Segment {
            seq: self.seq,
            ack: Some(self.ack),
            window: self.window,
            syn: false,
            fin: self.fin,
            rst: self.rst,
            len: self.len,
            ..*segment
        }
    }
}

#[cfg(test)]
mod tests;
