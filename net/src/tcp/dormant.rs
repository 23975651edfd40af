//! Connections without buffers.
//!
//! A connection on which nothing is under way, in either direction, needs no socket: its sequence
//! variables ([`crate::tcp::sequence`]) hold everything that is to be remembered. When memory is
//! short, such a connection gives its socket back and is *dormant*. It *wakes*, with a new socket at
//! the same sequence numbers ([`synchronize`]), before smoltcp gets a segment with data, SYN, FIN or
//! RST, and before its program sends. Other segments are answered from the variables. Keep-alive
//! probes are sent for dormant connections, too, so that 10,000 idle connections need no buffers.
//!
//! After waking, the congestion window is that of a new connection, as RFC 5681 §4.1 wants it after
//! an idle time.

use crate::config::Timers;
use crate::deadlines::nanoseconds;
use crate::ip::interface::Interface;
use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::packet::Segment;
use crate::tcp::handshake::{Handshake, Offer};
use crate::tcp::opening::synchronize;
use crate::tcp::schedule::WaitsFor;
use crate::tcp::sequence::SequenceVariables;
use crate::tcp::sole_socket::SoleSocket;
use crate::tcp::{Connection, Context, Role, Tcp, micros};
use abi::Error;
use smoltcp::socket::tcp::{Socket, State};

/// The time until a program is told to try again to send, when there was no memory to wake its
/// connection.
const RETRY_SEND_NS: u64 = 10_000_000;

/// The times of a dormant connection, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeepAlive {
    /// When a segment of the peer arrived last.
    pub heard: u64,
    /// When a keep-alive probe was sent last.
    pub probed: u64,
    /// When the program is told to try again to send, if it could not.
    pub retry: Option<u64>,
}

impl KeepAlive {
    /// When something is due: a probe each `keep_alive`, or the end after `silence`.
    pub fn next(&self, timers: &Timers) -> u64 {
        let probe = self
            .heard
            .max(self.probed)
            .saturating_add(nanoseconds(timers.keep_alive));
        let end = self.heard.saturating_add(nanoseconds(timers.silence));
        probe.min(end).min(self.retry.unwrap_or(u64::MAX))
    }
}

impl SequenceVariables {
    /// A handshake after which a connection would be in this state, if nothing is under way.
    fn handshake(&self, tuple: Tuple) -> Handshake {
        Handshake {
            tuple,
            iss: self.snd_una - 1,
            irs: self.rcv_nxt - 1,
            offer: Offer {
                window: self.window_field(),
                mss: Some(self.mss),
                shift: Some(self.snd_wind_shift()),
                sack_permitted: self.sack_permitted,
            },
        }
    }
}

impl Connection {
    /// The state; a dormant connection is in ESTABLISHED.
    pub(super) fn state(&self) -> State {
        match &self.socket {
            Some(socket) => socket.get().state(),
            None if self.detached => State::Closed,
            None => State::Established,
        }
    }

    pub(super) fn is_dormant(&self) -> bool {
        self.socket.is_none() && !self.detached
    }

    pub(super) fn socket_mut(&mut self) -> Option<&mut Socket<'static>> {
        self.socket.as_mut().map(SoleSocket::get_mut)
    }

    /// Octets that were received and not read.
    pub(super) fn received(&self) -> usize {
        self.socket
            .as_ref()
            .map_or(0, |socket| socket.get().recv_queue())
    }

    /// Octets that wait to be sent or acknowledged.
    pub(super) fn queued(&self) -> usize {
        self.socket
            .as_ref()
            .map_or(0, |socket| socket.get().send_queue())
    }

    /// Whether more octets may arrive.
    pub(super) fn may_receive(&self) -> bool {
        match &self.socket {
            Some(socket) => socket.get().may_recv(),
            None => !self.detached,
        }
    }

    /// Whether nothing is under way: no octet waits to be read, sent or acknowledged, and no
    /// acknowledgment or window update is to be sent.
    fn is_at_rest(&self) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let socket = socket.get();
        socket.state() == State::Established
            && socket.recv_queue() + socket.send_queue() == 0
            && self.sequence.is_at_rest(socket.recv_capacity())
    }

    /// A socket at this connection's sequence numbers with the shortest possible buffers, for
    /// segments without data.
    fn bare(&self, own: &Interface, now: u64) -> Option<SoleSocket> {
        let mut socket = SoleSocket::new(alloc::vec![0; 1], alloc::vec![0; 1]);
        let handshake = self.sequence.handshake(self.tuple);
        let window = self.sequence.window_field();
        synchronize(&mut socket, own, &handshake, window, now).then_some(socket)
    }
}

impl Tcp {
    /// How many connections are dormant.
    pub fn dormant(&self) -> usize {
        self.slots.iter().filter(|(_, c)| c.is_dormant()).count()
    }

    /// Makes a connection dormant, if nothing is under way. Returns whether it is.
    pub(super) fn make_dormant(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) -> bool {
        let timers = self.timers;
        let Some(connection) = self.slots.get_mut(id.0) else {
            return false;
        };
        if !connection.is_at_rest() {
            return false;
        }
        let socket = connection.socket.take();
        connection.keep_alive = KeepAlive {
            heard: now,
            probed: now,
            retry: None,
        };
        let group = connection.group;
        let at = connection.keep_alive.next(&timers);
        self.schedule.turn_ended(id.0, WaitsFor::Time(at), None);
        self.give_back(group, socket, memory);
        true
    }

    /// Gives a dormant connection a socket. `false` if there is no memory for it.
    #[cold]
    pub(super) fn wake(&mut self, id: ConnectionId, cx: &mut Context<'_>) -> bool {
        let Some(connection) = self.get(id) else {
            return false;
        };
        let (group, sequence, tuple) = (connection.group, connection.sequence, connection.tuple);
        let offered = sequence.offered_window();
        let Some(mut socket) = self.new_socket(group, offered, cx.now, cx.memory) else {
            self.counters.wakes_refused += 1;
            return false;
        };
        let silence = micros(self.timers.silence);
        socket.get_mut().set_timeout(Some(silence));
        let capacity = socket.get().recv_capacity();
        let handshake = sequence.handshake(tuple);
        let window = sequence.window_field();
        if !synchronize(&mut socket, cx.own, &handshake, window, cx.now) {
            self.give_back(group, Some(socket), cx.memory);
            return false;
        }
        if let Some(connection) = self.get_mut(id) {
            connection.sequence.set_receive_buffer(capacity);
            connection.socket = Some(socket);
            connection.moved_at = cx.now;
        }
        self.rank(id, group, cx.now);
        self.schedule.touch(id.0);
        true
    }

    /// Updates a dormant connection from a segment. Returns whether the segment needs a socket.
    pub(super) fn dormant_receives(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        now: u64,
    ) -> bool {
        let timers = self.timers;
        let Some(connection) = self.slots.get_mut(id.0) else {
            return false;
        };
        connection.keep_alive.heard = now;
        let wakes = segment.len > 0 || segment.fin || segment.rst || segment.syn;
        if !wakes {
            connection.sequence.note_received(segment);
            let at = connection.keep_alive.next(&timers);
            self.schedule.turn_ended(id.0, WaitsFor::Time(at), None);
        }
        wakes
    }

    /// The turn of a connection without a socket: its peer gets a keep-alive probe or a RST, or is
    /// given up. `send` lets smoltcp send from a socket.
    #[cold]
    pub(super) fn dormant_turn(
        &mut self,
        id: ConnectionId,
        cx: &mut Context<'_>,
        send: impl FnOnce(&mut SoleSocket, &mut SequenceVariables) -> WaitsFor,
    ) -> WaitsFor {
        let (timers, now) = (self.timers, cx.now);
        let Some(connection) = self.slots.get_mut(id.0) else {
            return WaitsFor::Nothing;
        };
        let is_dying = matches!(connection.role, Role::Dying { .. });
        let end = connection
            .keep_alive
            .heard
            .saturating_add(nanoseconds(timers.silence));
        if !is_dying && now >= end {
            self.fell_silent(id, cx.memory);
            return WaitsFor::Nothing;
        }
        let retry = connection.keep_alive.retry.take_if(|retry| *retry <= now);
        if retry.is_some() {
            self.changed.push(id.0);
        }
        if !is_dying && now < connection.keep_alive.next(&timers) {
            return WaitsFor::Time(connection.keep_alive.next(&timers));
        }
        let Some(mut socket) = connection.bare(cx.own, now) else {
            return WaitsFor::Nothing;
        };
        if is_dying {
            socket.get_mut().abort();
            let next = send(&mut socket, &mut connection.sequence);
            connection.socket = Some(socket);
            return next;
        }
        // On an open connection, smoltcp sends a keep-alive probe at once then (RFC 9293 §3.8.4).
        let keep_alive = micros(timers.keep_alive);
        socket.get_mut().set_keep_alive(Some(keep_alive));
        match send(&mut socket, &mut connection.sequence) {
            next @ (WaitsFor::Room | WaitsFor::Neighbor(_)) => next,
            _ => {
                connection.keep_alive.probed = now;
                WaitsFor::Time(connection.keep_alive.next(&timers))
            }
        }
    }

    /// Has a program told to try again soon: it wants to send on a dormant connection, and there is
    /// no memory for a socket.
    pub(super) fn retry_send(&mut self, id: ConnectionId, now: u64) {
        let retry = now.saturating_add(RETRY_SEND_NS);
        if let Some(connection) = self.get_mut(id) {
            connection.keep_alive.retry = Some(retry);
        }
        self.schedule.turn_ended(id.0, WaitsFor::Time(retry), None);
    }

    /// Ends a connection whose peer has sent nothing for too long.
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
