//! What a connection does in its turn, and what ends its time-outs.

use crate::deadlines::{Deadlines, earlier};
use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::tcp::arrives::Substitute;
use crate::tcp::engine::SocketParts;
use crate::tcp::schedule::WaitsFor;
use crate::tcp::sequence::SequenceVariables;
use crate::tcp::sole_socket::SoleSocket;
use crate::tcp::{Connection, Context, Role, Tcp};
use abi::Error;
use abi::socket::Ip;
use smoltcp::socket::tcp::State;

/// A connection whose turn it is.
pub(crate) struct Turn<'a> {
    pub tuple: Tuple,
    /// A segment that smoltcp gets first, if it must be told another window of the peer.
    pub window_update: Option<Substitute>,
    /// The connection's socket and variables.
    pub parts: SocketParts<'a>,
}

impl Connection {
    /// The segment that tells smoltcp another window of the peer, if it must be told one before it
    /// sends.
    #[inline]
    fn window_update(&mut self, now: u64) -> Option<Substitute> {
        let socket = self.socket.as_ref();
        let queued = || socket.map_or(0, |socket| socket.get().send_queue());
        let window = self.sequence.new_smoltcp_window(queued, now)?;
        Some(Substitute::window_update(&self.sequence, window))
    }

    /// Whether the RST of an aborted connection was not sent yet.
    fn owes_reset(&self) -> bool {
        let socket = self.socket.as_ref();
        socket.is_none_or(|socket| socket.get().remote_endpoint().is_some())
    }
}

impl Tcp {
    /// Gives a turn to the connections whose time has come.
    pub fn advance(&mut self, now: u64) {
        self.schedule.advance(now);
    }

    /// Gives a turn to the connections that wait for a neighbour, whose station is known now.
    pub fn neighbor_resolved(&mut self, neighbor: Ip) {
        self.schedule.neighbor_resolved(neighbor);
    }

    /// Notes that a neighbour does not answer. Attempts to connect by way of it fail. Established
    /// connections go on until their time-out, since the trouble may pass (RFC 1122 §4.2.3.9).
    #[cold]
    pub fn neighbor_failed(&mut self, neighbor: Ip, now: u64, memory: &mut Memory) {
        for slot in self.schedule.waiting_for(neighbor) {
            let connection = self.slots.get(slot);
            if connection.is_some_and(|connection| connection.state() == State::SynSent) {
                self.not_reached(ConnectionId(slot), now, memory);
            }
        }
    }

    /// Ends an attempt to connect, since there is no way to the peer.
    #[cold]
    pub(super) fn not_reached(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        if let Some(connection) = self.get_mut(id) {
            connection.error = Some(Error::Unreachable);
            if let Some(socket) = connection.socket_mut() {
                socket.abort();
            }
            self.settle(id, now, memory);
        }
    }

    /// Whether no connection waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.schedule.is_idle()
    }

    /// When TCP has something to do next.
    pub fn deadline(&self) -> Option<u64> {
        let first = |deadlines: &Deadlines| deadlines.first().map(|(at, _)| at);
        earlier(
            earlier(self.half_open.deadline(), first(&self.orphans)),
            earlier(first(&self.dying), self.schedule.deadline()),
        )
    }

    /// Gives the next connection its turn: `turn` lets smoltcp send, and `hop` tells the neighbour that
    /// is the next hop to a peer. Returns whether there was a connection.
    pub fn take_turn(
        &mut self,
        cx: &mut Context<'_>,
        turn: impl FnOnce(Turn<'_>) -> WaitsFor,
        hop: impl FnOnce(Ip) -> Option<Ip>,
    ) -> bool {
        let Some(slot) = self.schedule.next() else {
            return false;
        };
        let Some(connection) = self.slots.get_mut(slot) else {
            return true;
        };
        if !connection.detached {
            let tuple = connection.tuple;
            let window_update = connection.window_update(cx.now);
            let next = match &mut connection.socket {
                Some(socket) => {
                    let next = turn(Turn {
                        tuple,
                        window_update,
                        parts: (socket.set(), &mut connection.sequence),
                    });
                    match connection.sequence.hold_until() {
                        Some(at) => next.or_at(at),
                        None => next,
                    }
                }
                None => {
                    let send = |socket: &mut SoleSocket, sequence: &mut SequenceVariables| {
                        turn(Turn {
                            tuple,
                            window_update: None,
                            parts: (socket.set(), sequence),
                        })
                    };
                    self.dormant_turn(ConnectionId(slot), cx, send)
                }
            };
            let neighbor = match next {
                WaitsFor::Neighbor(_) => hop(tuple.peer.ip),
                _ => None,
            };
            self.schedule.turn_ended(slot, next, neighbor);
            self.settle(ConnectionId(slot), cx.now, cx.memory);
        }
        true
    }

    /// Ends the orphans and the aborted connections whose time is over.
    pub fn expire(&mut self, now: u64, memory: &mut Memory) {
        while let Some(slot) = self.dying.due(now) {
            self.remove(ConnectionId(slot), memory);
        }
        while let Some(slot) = self.orphans.due(now) {
            self.settle(ConnectionId(slot), now, memory);
        }
    }

    /// Looks at what has become of a connection, and ends it if it is over.
    pub(super) fn settle(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        let Some(connection) = self.get(id) else {
            return;
        };
        let (state, queued) = (connection.state(), connection.queued());
        let reset_pending = connection.owes_reset();
        match connection.role {
            Role::Dying if reset_pending => {}
            Role::Dying => self.remove(id, memory),
            _ if state == State::Closed => self.closed(id, now, memory),
            Role::Orphan(old_queued, old_state) => {
                let is_over = self.orphans.get(id.0).is_none_or(|at| at <= now);
                if (old_queued, old_state) != (queued, state) {
                    self.set_role(id, Role::Orphan(queued, state), now);
                } else if is_over {
                    self.counters.orphans_aborted += 1;
                    self.abort(id, now);
                }
            }
            Role::Opening | Role::Waiting | Role::Held => {}
        }
    }

    /// Ends a connection that is CLOSED.
    fn closed(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        self.changed.push(id.0);
        let Some(connection) = self.slots.get_mut(id.0) else {
            return;
        };
        let orderly = connection.fin_received && connection.fin_queued;
        if connection.error.is_none() && !orderly {
            connection.error = Some(Error::TimedOut);
            self.counters.timeouts += 1;
        }
        let reset_pending = connection.owes_reset();
        match connection.role {
            Role::Held => self.detach(id),
            _ if reset_pending => self.abort(id, now),
            _ => self.remove(id, memory),
        }
    }
}
