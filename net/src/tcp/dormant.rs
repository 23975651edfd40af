//! Connections without buffers.
//!
//! A connection on which nothing is under way, in either direction, needs no socket: its
//! sequence variables ([`crate::tcp::tcb`]) say all that there is to say of it. When memory is short it
//! gives its socket back and is *dormant*. It *wakes*, with a new socket at the same numbers
//! ([`synchronize`]), before smoltcp gets a segment that has data or ends it, and before its
//! program's next octet. What else comes is answered from the variables, and so are the peers
//! of 10,000 idle connections asked whether they are still there.
//!
//! Its congestion window is that of a new connection then, as RFC 5681 §4.1 wants it after an
//! idle time.

use crate::config::Timers;
use crate::deadlines::nanoseconds;
use crate::ip::interface::Interface;
use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::packet::Segment;
use crate::tcp::agenda::Next;
use crate::tcp::handshake::{Handshake, Offer};
use crate::tcp::opening::synchronize;
use crate::tcp::solo::{Solo, Stream};
use crate::tcp::tcb::Tcb;
use crate::tcp::{Connection, Role, Tcp, short};
use abi::Error;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

/// How soon a program tries again to send where there was no memory.
const STARVED_NS: u64 = 10_000_000;

/// When a dormant connection was last heard of, and asked; and when its program may try again
/// to send, if it waits for that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    pub heard: u64,
    pub asked: u64,
    pub retry: Option<u64>,
}

impl Signs {
    /// The peer has said something.
    pub fn hear(&mut self, now: u64) {
        self.heard = now;
    }

    /// When something is due: the peer is asked each `keep_alive`, and given up after `silence`.
    pub fn next(&self, timers: &Timers) -> u64 {
        let ask = self
            .heard
            .max(self.asked)
            .saturating_add(nanoseconds(timers.keep_alive));
        let end = self.heard.saturating_add(nanoseconds(timers.silence));
        ask.min(end).min(self.retry.unwrap_or(u64::MAX))
    }
}

impl Tcb {
    /// The SYNs of a connection that would be where this one is, if nothing is under way.
    fn handshake(&self, tuple: Tuple) -> Handshake {
        Handshake {
            tuple,
            iss: self.una - 1,
            irs: self.next - 1,
            offer: Offer {
                window: self.window(),
                mss: Some(self.mss),
                shift: Some(self.shift()),
                sack_permitted: self.takes_sack,
            },
        }
    }
}

impl Connection {
    /// A dormant connection is in ESTABLISHED.
    pub(super) fn state(&self) -> State {
        match &self.solo {
            Some(solo) => solo.get().state(),
            None if self.detached => State::Closed,
            None => State::Established,
        }
    }

    pub(super) fn is_dormant(&self) -> bool {
        self.solo.is_none() && !self.detached
    }

    pub(super) fn socket(&mut self) -> Option<&mut Socket<'static>> {
        self.solo.as_mut().map(Solo::get_mut)
    }

    /// Octets that wait to be read.
    pub(super) fn received(&self) -> usize {
        self.solo.as_ref().map_or(0, |solo| solo.get().recv_queue())
    }

    /// Octets that are not acknowledged or not sent.
    pub(super) fn queued(&self) -> usize {
        self.solo.as_ref().map_or(0, |solo| solo.get().send_queue())
    }

    /// Whether octets may still come.
    pub(super) fn may_receive(&self) -> bool {
        match &self.solo {
            Some(solo) => solo.get().may_recv(),
            None => !self.detached,
        }
    }

    /// Whether nothing is under way: no octet that waits, here or there, and no acknowledgement or
    /// window that is to be told.
    fn is_at_rest(&self) -> bool {
        let Some(solo) = &self.solo else {
            return false;
        };
        let socket = solo.get();
        socket.state() == State::Established
            && socket.recv_queue() + socket.send_queue() == 0
            && self.tcb.is_at_rest(socket.recv_capacity())
    }

    /// A socket at this connection's numbers that has no buffers: for what has no data.
    fn bare(&self, own: &Interface, now: u64) -> Option<Stream> {
        let buffer = || SocketBuffer::new(alloc::vec![0; 1]);
        let mut solo = Solo::new(Socket::new(buffer(), buffer()));
        let handshake = self.tcb.handshake(self.tuple);
        synchronize(&mut solo, own, &handshake, self.tcb.window(), now).then_some(solo)
    }
}

impl Tcp {
    /// How many connections have no buffers.
    pub fn dormant(&self) -> usize {
        self.slots.iter().filter(|(_, c)| c.is_dormant()).count()
    }

    /// Takes a connection's socket away, if nothing is under way.
    pub(super) fn lull(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) -> bool {
        let timers = self.timers;
        let Some(connection) = self.slots.get_mut(id.0) else {
            return false;
        };
        if !connection.is_at_rest() {
            return false;
        }
        let solo = connection.solo.take();
        connection.signs = Signs {
            heard: now,
            asked: now,
            retry: None,
        };
        let group = connection.group;
        let at = connection.signs.next(&timers);
        self.agenda.note(id.0, Next::Time(at), None);
        self.give_back(group, solo, memory);
        true
    }

    /// Gives a dormant connection a socket. `false` if there is no memory for it.
    #[cold]
    pub(super) fn wake(
        &mut self,
        id: ConnectionId,
        own: &Interface,
        now: u64,
        memory: &mut Memory,
    ) -> bool {
        let Some(connection) = self.get(id) else {
            return false;
        };
        let (group, tcb, tuple) = (connection.group, connection.tcb, connection.tuple);
        let Some(mut solo) = self.new_socket(group, tcb.promised(), now, memory) else {
            self.counters.wakes_refused += 1;
            return false;
        };
        let socket = solo.get_mut();
        socket.set_timeout(Some(short(self.timers.silence)));
        let capacity = socket.recv_capacity();
        let handshake = tcb.handshake(tuple);
        if !synchronize(&mut solo, own, &handshake, tcb.window(), now) {
            self.give_back(group, Some(solo), memory);
            return false;
        }
        if let Some(connection) = self.get_mut(id) {
            connection.tcb.set_receive_buffer(capacity);
            connection.solo = Some(solo);
            connection.moved_at = now;
        }
        self.rank(id, group, now);
        self.agenda.touch(id.0);
        true
    }

    /// Takes note of a segment for a dormant connection; whether that needs a socket.
    pub(super) fn hears(&mut self, id: ConnectionId, segment: &Segment, now: u64) -> bool {
        let timers = self.timers;
        let Some(connection) = self.slots.get_mut(id.0) else {
            return false;
        };
        connection.signs.hear(now);
        let wakes = segment.len > 0 || segment.fin || segment.rst || segment.syn;
        if !wakes {
            connection.tcb.note(&segment.said());
            let at = connection.signs.next(&timers);
            self.agenda.note(id.0, Next::Time(at), None);
        }
        wakes
    }

    /// The turn of a connection without a socket: its peer is asked whether it is there, or given
    /// up, or told that the connection is over. `send` lets smoltcp send from a socket.
    #[cold]
    pub(super) fn dormant_turn(
        &mut self,
        id: ConnectionId,
        own: &Interface,
        now: u64,
        memory: &mut Memory,
        send: impl FnOnce(&mut Stream, &mut Tcb) -> Next,
    ) -> Next {
        let timers = self.timers;
        let Some(connection) = self.slots.get_mut(id.0) else {
            return Next::Nothing;
        };
        let is_dying = matches!(connection.role, Role::Dying { .. });
        if !is_dying
            && now
                >= connection
                    .signs
                    .heard
                    .saturating_add(nanoseconds(timers.silence))
        {
            self.fell_silent(id, memory);
            return Next::Nothing;
        }
        if connection
            .signs
            .retry
            .take_if(|retry| *retry <= now)
            .is_some()
        {
            self.changed.push(id.0);
        }
        if !is_dying && now < connection.signs.next(&timers) {
            return Next::Time(connection.signs.next(&timers));
        }
        let Some(mut solo) = connection.bare(own, now) else {
            return Next::Nothing;
        };
        if is_dying {
            solo.get_mut().abort();
            let next = send(&mut solo, &mut connection.tcb);
            connection.solo = Some(solo);
            return next;
        }
        // On an open connection this sends a probe at once (RFC 9293 §3.8.4).
        solo.get_mut()
            .set_keep_alive(Some(short(timers.keep_alive)));
        match send(&mut solo, &mut connection.tcb) {
            next @ (Next::Room | Next::Neighbor(_)) => next,
            _ => {
                connection.signs.asked = now;
                Next::Time(connection.signs.next(&timers))
            }
        }
    }

    /// A program has something to send on a dormant connection, for which there is no memory: it
    /// is told to try again soon.
    pub(super) fn starve(&mut self, id: ConnectionId, now: u64) {
        let retry = now.saturating_add(STARVED_NS);
        if let Some(connection) = self.get_mut(id) {
            connection.signs.retry = Some(retry);
        }
        self.agenda.note(id.0, Next::Time(retry), None);
    }

    /// The peer has said nothing for too long.
    fn fell_silent(&mut self, id: ConnectionId, memory: &mut Memory) {
        self.changed.push(id.0);
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.error = Some(Error::TimedOut);
        let role = connection.role;
        self.counters.timeouts += 1;
        match role {
            Role::Held => self.detach(id),
            _ => self.remove(id, memory),
        }
    }
}
