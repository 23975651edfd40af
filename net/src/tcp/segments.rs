//! What is done with a segment before smoltcp processes it, and afterwards.

use crate::memory::Memory;
use crate::names::ConnectionId;
use crate::packet::Segment;
use crate::tcp::arrives::{Arrival, Substitute, arrives, is_expected};
use crate::tcp::handshake::Acknowledgment;
use crate::tcp::path_mtu::TooBig;
use crate::tcp::sequence::Challenges;
use crate::tcp::time_wait::Judgment;
use crate::tcp::{Connection, Context, Course, Holder, Role, Tcp, TcpCounters, micros};
use crate::verdict::{DropReason, Verdict};
use abi::Error;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;

impl Tcp {
    /// The connection that expects this segment next, and how many octets it has room for. `None` if
    /// no connection does.
    pub fn expects(&mut self, segment: &Segment) -> Option<(ConnectionId, usize)> {
        let id = self.connection_of(&segment.tuple)?;
        let connection = self.get(id)?;
        let socket = connection.socket.as_ref()?.get();
        let receives = matches!(
            socket.state(),
            State::Established | State::FinWait1 | State::FinWait2
        );
        let sequence = &connection.sequence;
        let is_expected = receives && sequence.expects(segment);
        (is_expected && sequence.rcv_nxt < sequence.rcv_edge)
            .then(|| (id, sequence.rcv_edge - sequence.rcv_nxt))
    }

    /// Has the segments that follow acknowledged at once (`at_once`), or with the ordinary delay.
    pub fn acknowledge_at_once(&mut self, id: ConnectionId, at_once: bool) {
        let delay = match at_once {
            true => Duration::ZERO,
            false => micros(self.timers.ack_delay),
        };
        if let Some(socket) = self.get_mut(id).and_then(Connection::socket_mut) {
            socket.set_ack_delay(Some(delay));
        }
    }

    /// Decides what is to be done with a segment, before smoltcp gets it.
    pub fn before(&mut self, segment: &Segment, cx: &mut Context<'_>) -> Course {
        let now = cx.now;
        let holder = self.find(&segment.tuple);
        if let Some(Holder::HalfOpen(slot)) = holder {
            return self.half_open_arrives(slot, segment, cx);
        }
        if let Some(Holder::Connection(id)) = holder {
            let Some(connection) = self.slots.get_mut(id.0) else {
                return Course::Drop(DropReason::TcpAborted);
            };
            if connection.socket.is_none() {
                return self.before_dormant(id, segment, cx);
            }
            if connection.expects(segment) {
                return Course::Process(id);
            }
            return match connection.arrives(segment) {
                Some(arrival) => self.course(id, arrival, now),
                None => Course::Drop(DropReason::TcpAborted),
            };
        }
        let above = match self.time_wait.segment(segment, now) {
            Judgment::Unknown => None,
            Judgment::Reopen(last) => Some(last),
            Judgment::Drop => return Course::Drop(DropReason::TcpTimeWait),
            Judgment::Repeat(acknowledgment) => {
                return Course::Acknowledge(acknowledgment, Verdict::Delivered);
            }
        };
        // RFC 9293 §3.10.7.1 and §3.10.7.2: CLOSED and LISTEN.
        let listens = self.listeners.contains_key(&segment.tuple.port);
        match (listens, segment.ack) {
            _ if segment.rst => Course::Drop(DropReason::TcpStrayReset),
            (true, None) if segment.opens() => self.syn(segment, above, now),
            (true, None) => Course::Drop(DropReason::TcpNoAck),
            (true, Some(ack)) if !segment.syn => self.acknowledgment(segment, ack, cx),
            _ => self.reset(DropReason::TcpNoConnection, now),
        }
    }

    /// Decides on a segment for a dormant connection, and wakes the connection if smoltcp must process
    /// the segment.
    #[cold]
    fn before_dormant(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        cx: &mut Context<'_>,
    ) -> Course {
        let now = cx.now;
        let arrival = self.get(id).and_then(|connection| {
            let is_expected = connection.is_dormant() && connection.expects(segment);
            match is_expected {
                true => Some(Arrival::Process),
                false => connection.arrives(segment),
            }
        });
        let Some(arrival) = arrival else {
            return Course::Drop(DropReason::TcpAborted);
        };
        let accepted = match arrival {
            Arrival::Process => *segment,
            Arrival::Substitute(substitute) | Arrival::WindowProbe(substitute) => {
                substitute.apply(segment)
            }
            _ => return self.course(id, arrival, now),
        };
        if !self.dormant_receives(id, &accepted, now) {
            Course::Done
        } else if self.wake(id, cx) {
            self.course(id, arrival, now)
        } else {
            Course::Drop(DropReason::NoMemory)
        }
    }

    /// Turns the decision on a segment that its connection did not expect into what is to be done.
    #[cold]
    fn course(&mut self, id: ConnectionId, arrival: Arrival, now: u64) -> Course {
        let Some(connection) = self.slots.get_mut(id.0) else {
            return Course::Drop(DropReason::TcpAborted);
        };
        match arrival {
            Arrival::Process => Course::Process(id),
            Arrival::Substitute(substitute) => Course::Substitute {
                id,
                substitute,
                acknowledge: None,
            },
            Arrival::WindowProbe(substitute) => Course::Substitute {
                id,
                substitute,
                acknowledge: Some(connection.old_octet()),
            },
            Arrival::Challenge(why)
                if !self
                    .counters
                    .challenge(&mut connection.sequence.challenges, now) =>
            {
                Course::Drop(why)
            }
            Arrival::Acknowledge(why) | Arrival::Challenge(why) => {
                connection.acknowledge(id, why, now)
            }
            Arrival::Reset(why) => {
                self.counters.resets_sent += 1;
                Course::Reset(why)
            }
            // Only half-open connections, which are entries of another table, are forgotten.
            Arrival::Forget => Course::Drop(DropReason::TcpSyn),
            Arrival::Drop(why) => Course::Drop(why),
        }
    }

    /// Notes what has become of a connection after smoltcp processed a segment. Returns the
    /// acknowledgment that is to be sent if the connection has no socket any more that could send it.
    pub fn after(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        now: u64,
        memory: &mut Memory,
    ) -> Option<Acknowledgment> {
        self.changed.push(id.0);
        self.schedule.touch(id.0);
        let timers = self.timers;
        let connection = self.slots.get_mut(id.0)?;
        let (state, received) = (connection.state(), connection.received());
        let before = (connection.sequence.snd_una, connection.sequence.rcv_nxt);
        if connection.unread.is_some() {
            connection.sequence.note_received(segment);
        } else if segment.syn && state != State::SynSent {
            connection.unread = Some(segment.seq + 1);
            let offer = segment.offer();
            connection
                .sequence
                .note_syn(segment.seq, segment.ack, &offer);
        }
        match state {
            State::Listen | State::SynSent | State::SynReceived => {
                self.not_completed(id, memory);
                return None;
            }
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait => {
                connection.fin_received = true;
            }
            State::Closed if segment.rst && connection.error.is_none() => {
                self.counters.resets_received += 1;
                connection.error = Some(match connection.established {
                    true => Error::ConnectionReset,
                    false => Error::ConnectionRefused,
                });
            }
            _ => {}
        }
        if let Some(unread) = connection.unread {
            connection.sequence.rcv_nxt = unread + received + usize::from(connection.fin_received);
        }
        if before != (connection.sequence.snd_una, connection.sequence.rcv_nxt) {
            connection.moved_at = now;
        }
        if connection.receive_shut || matches!(connection.role, Role::Orphan(..)) {
            let discarded = connection.discard();
            // Everything that we sent has arrived, but the peer goes on sending to a program that does
            // not receive any more. It gets a RST (RFC 9293 §3.10.4, RFC 1122 §4.2.2.13).
            let unheard = discarded > 0 && state == State::FinWait2;
            if unheard && matches!(connection.role, Role::Orphan(..)) {
                self.counters.orphans_aborted += 1;
                self.abort(id, now);
                return None;
            }
        }
        if state != State::Closed && !connection.established {
            connection.established = true;
            let (role, group) = (connection.role, connection.group);
            if let Some(socket) = connection.socket_mut() {
                socket.set_timeout(Some(micros(timers.silence)));
            }
            self.rank(id, group, now);
            if role == Role::Opening {
                self.set_role(id, Role::Waiting, now);
            }
        }
        match state {
            State::TimeWait => self.enter_time_wait(id, segment, now, memory),
            // This comes before the program takes the error.
            State::Closed => {
                self.settle(id, now, memory);
                None
            }
            _ => None,
        }
    }

    /// Replaces a socket in TIME-WAIT by an entry of the table.
    fn enter_time_wait(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        now: u64,
        memory: &mut Memory,
    ) -> Option<Acknowledgment> {
        // The segment that led to TIME-WAIT acknowledges our FIN, and it ends with the peer's FIN or
        // comes after it.
        let acknowledgment = Acknowledgment {
            seq: segment.ack?,
            ack: segment.end(),
            window: 0,
        };
        self.time_wait.insert(segment.tuple, acknowledgment, now);
        let connection = self.get(id)?;
        let owes = connection.sequence.last_ack_sent != acknowledgment.ack;
        match connection.role {
            Role::Held | Role::Waiting => self.detach(id),
            _ => self.remove(id, memory),
        }
        owes.then_some(acknowledgment)
    }

    /// Answers a segment that is for no connection with a RST. Above a certain rate such segments are
    /// only dropped, so that an attacker cannot make us send as many to others as he sends to us.
    #[cold]
    pub(super) fn reset(&mut self, why: DropReason, now: u64) -> Course {
        match self.resets.allows(now) {
            true => {
                self.counters.resets_sent += 1;
                Course::Reset(why)
            }
            false => {
                self.counters.resets_held += 1;
                Course::Drop(why)
            }
        }
    }

    /// Shortens the segments of a connection, one of which was too big for its path. Returns whether
    /// the message is believed.
    #[cold]
    pub fn too_big(&mut self, told: &TooBig, now: u64) -> bool {
        let id = self.connection_of(&told.tuple);
        let Some(connection) = id.and_then(|id| self.slots.get_mut(id.0)) else {
            return false;
        };
        let sequence = &mut connection.sequence;
        let mss = told.mss();
        let is_news = sequence.is_in_flight(told.seq) && mss < sequence.mss;
        if is_news {
            sequence.limit_mss(mss);
            self.paths.learn(told.tuple.peer.ip, mss, now);
            self.counters.paths_narrowed += 1;
        }
        is_news
    }
}

impl TcpCounters {
    /// Whether a challenge ACK may be sent now. It is counted.
    #[cold]
    pub(super) fn challenge(&mut self, challenges: &mut Challenges, now: u64) -> bool {
        let allowed = challenges.allow(now);
        self.challenges_sent += u64::from(allowed);
        self.challenges_held += u64::from(!allowed);
        allowed
    }
}

impl Connection {
    /// Whether a segment is just what an established connection expects next.
    #[inline]
    fn expects(&self, segment: &Segment) -> bool {
        self.established
            && self.role != Role::Dying
            && is_expected(&self.sequence, self.fin_received, segment)
    }

    /// Decides on a segment. `None`: the connection was aborted, and its RST is about to be sent.
    #[cold]
    fn arrives(&self, segment: &Segment) -> Option<Arrival> {
        let is_over = self.role == Role::Dying;
        (!is_over).then(|| arrives((self.state(), false), &self.sequence, segment))
    }

    /// A segment that makes smoltcp acknowledge what it has received.
    fn old_octet(&self) -> Substitute {
        Substitute::old_octet(self.state(), &self.sequence)
    }

    /// Drops a segment and acknowledges what was received: by way of smoltcp, or from the sequence
    /// variables if the connection is dormant.
    fn acknowledge(&mut self, id: ConnectionId, why: DropReason, now: u64) -> Course {
        if !self.is_dormant() {
            return Course::DropAndAcknowledge(id, self.old_octet(), why);
        }
        self.keep_alive.heard = now;
        let acknowledgment = Acknowledgment {
            seq: self.sequence.snd_max,
            ack: self.sequence.rcv_nxt,
            window: self.sequence.offered_window() as u16,
        };
        Course::Acknowledge(acknowledgment, Verdict::Dropped(why))
    }
}
