//! SEGMENT ARRIVES (RFC 9293 §3.10.7.3 and §3.10.7.4, with RFC 5961): what is to be done with a
//! segment for a connection. It is decided before smoltcp gets the segment.
//!
//! smoltcp processes acceptable segments correctly, but treats others more briefly than the RFCs
//! want: it ignores SYNs and old acknowledgments without an answer, and it accepts a FIN behind data
//! that it cut off, and data behind a FIN. So all checks are made here, in the order of the RFC, and
//! smoltcp is given the acceptable part of a segment.

use crate::packet::Segment;
use crate::tcp::sequence::SequenceVariables;
use crate::verdict::DropReason;
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpSeqNumber;

/// The segment that smoltcp processes in the place of the received one. Its data is the beginning of
/// the received segment's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Substitute {
    pub seq: TcpSeqNumber,
    pub ack: TcpSeqNumber,
    pub window: u16,
    pub fin: bool,
    pub rst: bool,
    /// Octets of data.
    pub len: usize,
}

/// What is to be done with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// smoltcp processes it.
    Process,
    /// smoltcp processes this one in its place.
    Substitute(Substitute),
    /// smoltcp processes this one in its place, and then it is acknowledged: it probes a closed
    /// window.
    WindowProbe(Substitute),
    /// It is dropped and acknowledged. It takes up sequence space, so that the peer sends it no
    /// faster than its retransmission timer lets it.
    Acknowledge(DropReason),
    /// It is dropped and answered with a challenge ACK, if the rate of these allows (RFC 5961 §7):
    /// otherwise two ends that disagree would answer each other for ever.
    Challenge(DropReason),
    /// It is dropped and answered with a RST.
    Reset(DropReason),
    /// It ends a connection in SYN-RECEIVED that the peer began.
    Forget,
    /// It is dropped.
    Drop(DropReason),
}

/// Whether a segment is just what a synchronized connection expects next, as most segments are. Once
/// the peer's FIN has come (`fin_received`), this is only a segment without data.
#[inline]
pub(super) fn is_expected(
    sequence: &SequenceVariables,
    fin_received: bool,
    segment: &Segment,
) -> bool {
    let len = segment.len + usize::from(segment.fin);
    let is_plain = !segment.syn && !segment.rst;
    is_plain
        && sequence.expects(segment)
        && (len == 0 || (!fin_received && sequence.rcv_nxt + len <= sequence.rcv_edge))
}

/// Decides on a segment for a connection in any state but CLOSED and LISTEN. `is_passive`: the peer
/// began the connection, with its SYN.
#[cold]
pub(super) fn arrives(
    (state, is_passive): (State, bool),
    sequence: &SequenceVariables,
    segment: &Segment,
) -> Arrival {
    match state {
        State::SynSent => syn_sent(sequence, segment),
        _ => synchronized((state, is_passive), sequence, segment),
    }
}

/// RFC 9293 §3.10.7.3.
fn syn_sent(sequence: &SequenceVariables, segment: &Segment) -> Arrival {
    // First: ACK.
    let is_bad =
        |ack: TcpSeqNumber| !sequence.syn_sent || ack <= sequence.snd_una || ack > sequence.snd_max;
    match segment.ack {
        Some(ack) if is_bad(ack) => match segment.rst {
            true => Arrival::Drop(DropReason::TcpBadAck),
            false => Arrival::Reset(DropReason::TcpBadAck),
        },
        // Second: RST, which must acknowledge our SYN.
        Some(ack) if segment.rst => {
            Arrival::Substitute(Substitute::reset(sequence, segment.seq, ack))
        }
        None if segment.rst => Arrival::Drop(DropReason::TcpNoAck),
        // Fourth: SYN. A SYN with FIN opens no connection that could last.
        _ if segment.syn && !segment.fin => Arrival::Process,
        // Fifth.
        _ => Arrival::Drop(DropReason::TcpOutOfWindow),
    }
}

/// RFC 9293 §3.10.7.4.
fn synchronized(
    (state, is_passive): (State, bool),
    sequence: &SequenceVariables,
    segment: &Segment,
) -> Arrival {
    let (seq, rcv_nxt, rcv_edge) = (segment.seq, sequence.rcv_nxt, sequence.rcv_edge);
    let is_open = rcv_nxt < rcv_edge;
    let is_inside = |seq| rcv_nxt <= seq && seq < rcv_edge;
    // First, the sequence number, and second, RST: of a RST only its sequence number counts.
    if segment.rst && seq == rcv_nxt {
        return Arrival::Substitute(Substitute::reset(sequence, seq, sequence.snd_una));
    }
    if !sequence.syn_sent {
        // Our SYN still waits for room at the card, so that the peer was told no window yet.
        return Arrival::Drop(DropReason::TcpOutOfWindow);
    }
    if segment.rst {
        return match is_inside(seq) {
            true => Arrival::Challenge(DropReason::TcpInexactReset),
            false => Arrival::Drop(DropReason::TcpOutOfWindow),
        };
    }
    // Fourth: SYN, whatever its sequence number (RFC 5961 §4.2).
    if segment.syn {
        return match state == State::SynReceived && is_passive && is_inside(seq) {
            true => Arrival::Forget,
            false => Arrival::Challenge(DropReason::TcpSyn),
        };
    }
    let len = segment.len + usize::from(segment.fin);
    let is_acceptable = match len {
        0 if !is_open => seq == rcv_nxt,
        0 => is_inside(seq),
        _ => is_open && (is_inside(seq) || is_inside(seq + len - 1)),
    };
    // While the window is closed, probes of it are not acceptable, but their acknowledgments are.
    let is_probe = !is_open && (seq == rcv_nxt || seq + 1 == rcv_nxt);
    if !is_acceptable && !is_probe {
        return match len {
            0 => Arrival::Challenge(DropReason::TcpOutOfWindow),
            _ => Arrival::Acknowledge(DropReason::TcpOutOfWindow),
        };
    }
    // Fifth: ACK.
    let Some(ack) = segment.ack else {
        return Arrival::Drop(DropReason::TcpNoAck);
    };
    let is_new = sequence.snd_una < ack && ack <= sequence.snd_max;
    if state == State::SynReceived && !is_new {
        return Arrival::Reset(DropReason::TcpBadAck);
    }
    if ack > sequence.snd_max || ack < sequence.snd_una - sequence.max_snd_wnd as usize {
        return Arrival::Challenge(DropReason::TcpBadAck);
    }
    let window = match ack >= sequence.snd_una && sequence.updates_window(segment) {
        true => segment.window,
        false => sequence.smoltcp_window(),
    };
    let mut substitute = Substitute {
        seq,
        ack: ack.max(sequence.snd_una),
        window,
        fin: segment.fin,
        rst: false,
        len: segment.len,
    };
    if !is_acceptable {
        (substitute.seq, substitute.len, substitute.fin) = (rcv_nxt, 0, false);
        return Arrival::WindowProbe(substitute);
    }
    // Seventh, data, and eighth, FIN: what lies behind the window is cut off, FIN included.
    let receives = matches!(
        state,
        State::SynReceived | State::Established | State::FinWait1 | State::FinWait2
    );
    match receives {
        false => (substitute.seq, substitute.len, substitute.fin) = (rcv_nxt, 0, false),
        true if seq + len > rcv_edge => {
            substitute.fin = false;
            // An acceptable segment begins before the edge, so this is not negative.
            substitute.len = substitute.len.min(rcv_edge - seq);
        }
        true => {}
    }
    let unchanged = Substitute {
        seq,
        ack,
        window: segment.window,
        fin: segment.fin,
        rst: false,
        len: segment.len,
    };
    match substitute == unchanged {
        true => Arrival::Process,
        false => Arrival::Substitute(substitute),
    }
}

impl Substitute {
    fn reset(sequence: &SequenceVariables, seq: TcpSeqNumber, ack: TcpSeqNumber) -> Self {
        Substitute {
            seq,
            ack,
            window: sequence.smoltcp_window(),
            fin: false,
            rst: true,
            len: 0,
        }
    }

    /// A segment that changes nothing but the window.
    pub fn window_update(sequence: &SequenceVariables, window: u16) -> Self {
        Substitute {
            seq: sequence.rcv_nxt,
            ack: sequence.snd_una,
            window,
            fin: false,
            rst: false,
            len: 0,
        }
    }

    /// One octet that was received before. smoltcp answers it with an acknowledgment in every state
    /// but SYN-SENT.
    pub fn old_octet(state: State, sequence: &SequenceVariables) -> Self {
        Substitute {
            seq: sequence.rcv_nxt - 1,
            ack: match state {
                State::SynReceived => sequence.snd_max,
                _ => sequence.snd_una,
            },
            window: sequence.smoltcp_window(),
            fin: false,
            rst: false,
            len: 1,
        }
    }

    /// The received segment with the fields of this one.
    pub fn apply(&self, segment: &Segment) -> Segment {
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
