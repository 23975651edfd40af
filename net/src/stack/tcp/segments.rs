//! What happens before and after smoltcp processes a segment.

use super::{Course, Role, Tcp, short};
use crate::stack::memory::Memory;
use crate::stack::peek::Segment;
use crate::stack::time_wait::{LastWord, Verdict};
use crate::stack::verdict::DropReason;
use crate::stack::{ConnectionId, Tuple};
use abi::Error;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::wire::TcpSeqNumber;

impl Tcp {
    /// The connection whose next octet this is (RCV.NXT), and how many octets it has room
    /// for.
    pub fn expects(&self, tuple: &Tuple, seq: TcpSeqNumber) -> Option<(ConnectionId, usize)> {
        let &id = self.by_tuple.get(tuple)?;
        let connection = self.get(id)?;
        let socket = connection.solo.get();
        let receives = matches!(
            socket.state(),
            State::Established | State::FinWait1 | State::FinWait2
        );
        let next = connection.unread? + socket.recv_queue();
        if !receives || !connection.established || next != seq {
            return None;
        }
        Some((id, socket.recv_capacity() - socket.recv_queue()))
    }

    /// Has what comes next acknowledged in the connection's next turn, or as ever.
    pub fn hurry(&mut self, id: ConnectionId, hurry: bool) {
        let delay = match hurry {
            true => Duration::ZERO,
            false => short(self.timers.ack_delay),
        };
        if let Some(connection) = self.get_mut(id) {
            connection.solo.get_mut().set_ack_delay(Some(delay));
        }
    }

    /// Decides on a segment before smoltcp gets it.
    pub fn before(&mut self, segment: &Segment, now: u64, memory: &mut Memory) -> Course {
        if let Some(&id) = self.by_tuple.get(&segment.tuple) {
            return match self.get(id).map(|connection| connection.role) {
                Some(Role::Dying { .. }) => Course::Drop(DropReason::TcpAborted),
                _ => Course::Connection(id),
            };
        }
        match self.time_wait.segment(segment, now) {
            Verdict::Pass => {}
            Verdict::Drop => return Course::Drop(DropReason::TcpTimeWait),
            Verdict::Repeat(last_word) => return Course::Repeat(last_word),
        }
        if !segment.opens() || !self.listeners.contains_key(&segment.tuple.port) {
            return Course::Nobody;
        }
        match self.admit(segment.tuple, now, memory) {
            Some(id) => Course::Connection(id),
            None => {
                self.counters.syns_dropped += 1;
                Course::Drop(DropReason::TcpNoRoom)
            }
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
        let state = connection.solo.get().state();
        if segment.syn && connection.unread.is_none() && state != State::SynSent {
            connection.unread = Some(segment.seq + 1);
        }
        match state {
            // The SYN was malformed, or a RST took back a half-open connection.
            State::Listen => {
                self.remove(id, memory);
                return None;
            }
            State::SynSent | State::SynReceived => return None,
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
        if state != State::Closed && !connection.established {
            connection.established = true;
            let socket = connection.solo.get_mut();
            socket.set_timeout(Some(short(timers.silence)));
            if let Role::HalfOpen { .. } = connection.role {
                self.set_role(id, Role::Waiting);
            }
        }
        let connection = self.slots.get_mut(id.0)?;
        if connection.deaf || matches!(connection.role, Role::Orphan { .. }) {
            let discarded = connection.discard();
            // Everything we had to say has arrived, and yet the peer goes on: tell him
            // that nobody listens (RFC 9293 §3.10.4, and RFC 1122 §4.2.2.13).
            let unheard = discarded > 0 && state == State::FinWait2;
            if unheard && matches!(connection.role, Role::Orphan { .. }) {
                self.counters.orphans_aborted += 1;
                self.abort(id, now);
                return None;
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
        match self.get(id)?.role {
            Role::Held | Role::Waiting => self.detach(id),
            _ => self.remove(id, memory),
        }
        Some(last_word)
    }
}
