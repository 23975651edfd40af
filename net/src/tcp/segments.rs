//! What happens before and after smoltcp processes a segment.

use crate::ip::interface::Interface;
use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::packet::Segment;
use crate::tcp::arrives::{Arrival, Pace, Shape, arrives, is_expected};
use crate::tcp::path::{self, TooBig};
use crate::tcp::tcb::{Challenges, Said};
use crate::tcp::time_wait::{LastWord, Verdict};
use crate::tcp::{Connection, Course, Holder, Role, Tcp, TcpCounters, short};
use crate::verdict::DropReason;
use abi::Error;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;

impl Tcp {
    /// The connection that expects a segment that says this, and how many octets it has room
    /// for.
    pub fn expects(&mut self, tuple: &Tuple, said: &Said) -> Option<(ConnectionId, usize)> {
        let id = self.connection_of(tuple)?;
        let connection = self.get(id)?;
        let socket = connection.solo.as_ref()?.get();
        let receives = matches!(
            socket.state(),
            State::Established | State::FinWait1 | State::FinWait2
        );
        let tcb = &connection.tcb;
        let is_expected = receives && tcb.expects(said);
        (is_expected && tcb.next < tcb.edge).then(|| (id, tcb.edge - tcb.next))
    }

    /// Has what comes next acknowledged in the connection's next turn, or as ever.
    pub fn hurry(&mut self, id: ConnectionId, hurry: bool) {
        let delay = match hurry {
            true => Duration::ZERO,
            false => short(self.timers.ack_delay),
        };
        if let Some(socket) = self.get_mut(id).and_then(Connection::socket) {
            socket.set_ack_delay(Some(delay));
        }
    }

    /// Decides on a segment before smoltcp gets it.
    pub fn before(
        &mut self,
        segment: &Segment,
        own: &Interface,
        (now, memory): (u64, &mut Memory),
    ) -> Course {
        let holder = self.find(&segment.tuple);
        if let Some(Holder::HalfOpen(slot)) = holder {
            return self.half_open_arrives(slot, segment, own, (now, memory));
        }
        if let Some(Holder::Connection(id)) = holder {
            let Some(connection) = self.slots.get_mut(id.0) else {
                return Course::Drop(DropReason::TcpAborted);
            };
            if connection.solo.is_none() {
                return self.before_dormant(id, segment, own, (now, memory));
            }
            if connection.expects(segment) {
                return Course::Connection(id);
            }
            return match connection.arrives(segment) {
                Some(arrival) => self.course(id, arrival, now),
                None => Course::Drop(DropReason::TcpAborted),
            };
        }
        let above = match self.time_wait.segment(segment, now) {
            Verdict::Pass => None,
            Verdict::Reopen(last) => Some(last),
            Verdict::Drop => return Course::Drop(DropReason::TcpTimeWait),
            Verdict::Repeat(last_word) => return Course::Repeat(last_word),
        };
        // RFC 9293 §3.10.7.1 and §3.10.7.2: CLOSED and LISTEN.
        let listens = self.listeners.contains_key(&segment.tuple.port);
        match (listens, segment.ack) {
            _ if segment.rst => Course::Drop(DropReason::TcpStrayReset),
            (true, None) if segment.opens() => self.syn(segment, above, now),
            (true, None) => Course::Drop(DropReason::TcpNoAck),
            (true, Some(ack)) if !segment.syn => {
                self.acknowledgment(segment, ack, own, (now, memory))
            }
            _ => self.reset(DropReason::TcpNoConnection, now),
        }
    }

    /// As [`Tcp::before`], of a segment for a dormant connection, which wakes if it must.
    #[cold]
    fn before_dormant(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        own: &Interface,
        (now, memory): (u64, &mut Memory),
    ) -> Course {
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
        let seen = match arrival {
            Arrival::Process => *segment,
            Arrival::Instead(shape) | Arrival::Probe(shape) => shape.of(segment),
            _ => return self.course(id, arrival, now),
        };
        if !self.hears(id, &seen, now) {
            Course::Done
        } else if self.wake(id, own, now, memory) {
            self.course(id, arrival, now)
        } else {
            Course::Drop(DropReason::NoMemory)
        }
    }

    /// What is to be done with a segment that is not what its connection expected.
    #[cold]
    fn course(&mut self, id: ConnectionId, arrival: Arrival, now: u64) -> Course {
        let Some(connection) = self.slots.get_mut(id.0) else {
            return Course::Drop(DropReason::TcpAborted);
        };
        match arrival {
            Arrival::Process => Course::Connection(id),
            Arrival::Instead(shape) => Course::Instead(id, shape, None),
            Arrival::Probe(shape) => Course::Instead(id, shape, Some(connection.old())),
            Arrival::Acknowledge(why, pace) => {
                let challenges = &mut connection.tcb.challenges;
                match self.counters.allow(challenges, pace, now) {
                    true if connection.is_dormant() => connection.answer(why, now),
                    true => Course::Acknowledge(id, connection.old(), why),
                    false => Course::Drop(why),
                }
            }
            Arrival::Reset(why) => {
                self.counters.resets_sent += 1;
                Course::Reset(why)
            }
            // Forget: that is of connections that are no such yet.
            Arrival::Forget => Course::Drop(DropReason::TcpSyn),
            Arrival::Drop(why) => Course::Drop(why),
        }
    }

    /// Takes note of what smoltcp made of a segment. Returns the acknowledgement that the
    /// connection still owes and that no socket is left to send.
    pub fn after(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        now: u64,
        memory: &mut Memory,
    ) -> Option<LastWord> {
        self.changed.push(id.0);
        self.agenda.touch(id.0);
        let timers = self.timers;
        let connection = self.slots.get_mut(id.0)?;
        let (state, received) = (connection.state(), connection.received());
        let (una, next) = (connection.tcb.una, connection.tcb.next);
        if connection.unread.is_some() {
            connection.tcb.note(&segment.said());
        } else if segment.syn && state != State::SynSent {
            connection.unread = Some(segment.seq + 1);
            connection.tcb.begin(segment.said(), &segment.offer());
        }
        match state {
            State::Listen | State::SynSent | State::SynReceived => {
                self.not_completed(id, memory);
                return None;
            }
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait => {
                connection.peer_finished = true;
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
            connection.tcb.next = unread + received + usize::from(connection.peer_finished);
        }
        if (una, next) != (connection.tcb.una, connection.tcb.next) {
            connection.moved(now);
        }
        if connection.deaf || matches!(connection.role, Role::Orphan { .. }) {
            let discarded = connection.discard();
            // Everything we had to say has arrived, and yet the peer goes on: it is told
            // that nobody listens (RFC 9293 §3.10.4, and RFC 1122 §4.2.2.13).
            let unheard = discarded > 0 && state == State::FinWait2;
            if unheard && matches!(connection.role, Role::Orphan { .. }) {
                self.counters.orphans_aborted += 1;
                self.abort(id, now);
                return None;
            }
        }
        if state != State::Closed && !connection.established {
            connection.established = true;
            let (role, group) = (connection.role, connection.group);
            if let Some(socket) = connection.socket() {
                socket.set_timeout(Some(short(timers.silence)));
            }
            self.rank(id, group, now);
            if role == Role::Opening {
                self.set_role(id, Role::Waiting);
            }
        }
        match state {
            State::TimeWait => self.enter_time_wait(id, segment, now, memory),
            // Before its program takes the reason away.
            State::Closed => {
                self.settle(id, now, memory);
                None
            }
            _ => None,
        }
    }

    /// Exchanges a socket in TIME-WAIT for an entry of the table.
    fn enter_time_wait(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        now: u64,
        memory: &mut Memory,
    ) -> Option<LastWord> {
        // The segment that completed the exchange carries both last numbers: it ends with
        // the peer's FIN or comes after it, and it acknowledges ours.
        let last_word = LastWord {
            seq: segment.ack?,
            ack: segment.end(),
        };
        self.time_wait.insert(segment.tuple, last_word, now);
        let connection = self.get(id)?;
        let owes = connection.tcb.acked != last_word.ack;
        match connection.role {
            Role::Held | Role::Waiting => self.detach(id),
            _ => self.remove(id, memory),
        }
        owes.then_some(last_word)
    }

    /// RSTs and challenge ACKs are bounded, so that an attacker cannot have us send as many to others
    /// as it sends to us.
    ///
    /// Refuses a segment that is for no connection, or drops it.
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

    /// A segment was too big for the path. Returns whether that is believed.
    #[cold]
    pub fn too_big(&mut self, told: &TooBig, now: u64) -> bool {
        let id = self.connection_of(&told.tuple);
        let Some(connection) = id.and_then(|id| self.slots.get_mut(id.0)) else {
            return false;
        };
        let tcb = &mut connection.tcb;
        let mss = told.mtu - path::HEADERS;
        let is_news = tcb.is_in_flight(told.seq) && mss < tcb.mss;
        if is_news {
            tcb.narrow(mss);
            self.paths.learn(*told.tuple.peer.ip(), mss, now);
            self.counters.paths_narrowed += 1;
        }
        is_news
    }
}

impl TcpCounters {
    /// Whether a segment may be answered with an acknowledgement.
    #[cold]
    pub(super) fn allow(&mut self, challenges: &mut Challenges, pace: Pace, now: u64) -> bool {
        if pace == Pace::Each {
            return true;
        }
        let allowed = challenges.allow(now);
        self.challenges_sent += u64::from(allowed);
        self.challenges_held += u64::from(!allowed);
        allowed
    }
}

impl Connection {
    /// Whether the segment is just what is expected next of a connection that is complete.
    #[inline]
    fn expects(&self, segment: &Segment) -> bool {
        self.established
            && !matches!(self.role, Role::Dying { .. })
            && is_expected(&self.tcb, self.peer_finished, segment)
    }

    /// `None` for a connection that is over: its RST is about to leave.
    #[cold]
    fn arrives(&self, segment: &Segment) -> Option<Arrival> {
        let is_over = matches!(self.role, Role::Dying { .. });
        (!is_over).then(|| arrives((self.state(), false), &self.tcb, segment))
    }

    /// What makes smoltcp acknowledge what has come.
    fn old(&self) -> Shape {
        Shape::old(self.state(), &self.tcb)
    }

    /// An acknowledgement of what has come, of a dormant connection, whose peer lives.
    fn answer(&mut self, why: DropReason, now: u64) -> Course {
        self.signs.hear(now);
        let last_word = LastWord {
            seq: self.tcb.max,
            ack: self.tcb.next,
        };
        Course::Challenge(last_word, self.tcb.promised() as u16, why)
    }
}
