//! What a connection does when its turn or its time has come.

use crate::deadlines::{Deadlines, earlier, nanoseconds};
use crate::ip::interface::Interface;
use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::tcp::agenda::Next;
use crate::tcp::arrives::Shape;
use crate::tcp::solo::Solo;
use crate::tcp::tcb::Tcb;
use crate::tcp::{Connection, Role, Tcp};
use abi::Error;
use core::net::Ipv4Addr;
use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp::State;

/// A connection whose turn it is.
pub(crate) struct Turn<'a> {
    pub tuple: Tuple,
    /// A segment that smoltcp gets first: the peer's window is another than it knows.
    pub window: Option<Shape>,
    pub set: &'a mut SocketSet<'static>,
    pub tcb: &'a mut Tcb,
}

impl Connection {
    /// What smoltcp must be told of the peer's window before it may send.
    #[inline]
    fn window_to_tell(&mut self, now: u64) -> Option<Shape> {
        let queued = || self.solo.as_ref().map_or(0, |solo| solo.get().send_queue());
        let window = self.tcb.window_to_tell(queued, now)?;
        Some(Shape::window(&self.tcb, window))
    }
}

impl Connection {
    /// Whether smoltcp has a RST to send, or will have.
    fn owes_reset(&self) -> bool {
        let solo = self.solo.as_ref();
        solo.is_none_or(|solo| solo.get().remote_endpoint().is_some())
    }
}

impl Tcp {
    /// The time has come for some connections.
    pub fn advance(&mut self, now: u64) {
        self.agenda.advance(now);
    }

    /// A neighbour was heard of.
    pub fn heard(&mut self, neighbor: Ipv4Addr) {
        self.agenda.heard(neighbor);
    }

    /// A neighbour does not answer. Who wants to connect by way of it fails; what is a connection
    /// goes on, since that may pass (RFC 1122 §4.2.3.9), until its time is over.
    #[cold]
    pub fn give_up(&mut self, neighbor: Ipv4Addr, now: u64, memory: &mut Memory) {
        for slot in self.agenda.waiting_for(neighbor) {
            let connection = self.slots.get(slot);
            if connection.is_some_and(|connection| connection.state() == State::SynSent) {
                self.not_reached(ConnectionId(slot), now, memory);
            }
        }
    }

    /// There is no way to a peer that has not answered yet.
    #[cold]
    pub(super) fn not_reached(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        if let Some(connection) = self.get_mut(id) {
            connection.error = Some(Error::Unreachable);
            if let Some(socket) = connection.socket() {
                socket.abort();
            }
            self.settle(id, now, memory);
        }
    }

    /// Whether no connection waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.agenda.is_idle()
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<u64> {
        let first = |expiries: &Deadlines| expiries.first().map(|(at, _)| at);
        earlier(
            earlier(self.half_open.deadline(), first(&self.orphans)),
            earlier(first(&self.dying), self.agenda.deadline()),
        )
    }

    /// Gives the next connection its turn: `turn` lets smoltcp send, and `hop` names the
    /// neighbour that segments for a peer go to. Returns whether there was one.
    pub fn take_turn(
        &mut self,
        (own, now): (&Interface, u64),
        memory: &mut Memory,
        turn: impl FnOnce(Turn<'_>) -> Next,
        hop: impl FnOnce(Ipv4Addr) -> Option<Ipv4Addr>,
    ) -> bool {
        let Some(slot) = self.agenda.next() else {
            return false;
        };
        let Some(connection) = self.slots.get_mut(slot) else {
            return true;
        };
        if !connection.detached {
            let tuple = connection.tuple;
            let window = connection.window_to_tell(now);
            let next = match &mut connection.solo {
                Some(solo) => {
                    let next = turn(Turn {
                        tuple,
                        window,
                        set: solo.set(),
                        tcb: &mut connection.tcb,
                    });
                    match connection.tcb.hold_until() {
                        Some(at) => next.or_at(at),
                        None => next,
                    }
                }
                None => {
                    let send = |solo: &mut Solo<_>, tcb: &mut _| {
                        turn(Turn {
                            tuple,
                            window: None,
                            set: solo.set(),
                            tcb,
                        })
                    };
                    self.dormant_turn(ConnectionId(slot), own, now, memory, send)
                }
            };
            let neighbor = match next {
                Next::Neighbor(_) => hop(*tuple.peer.ip()),
                _ => None,
            };
            self.agenda.note(slot, next, neighbor);
            self.settle(ConnectionId(slot), now, memory);
        }
        true
    }

    /// Ends the connections whose time is over.
    pub fn expire(&mut self, now: u64, memory: &mut Memory) {
        while let Some(slot) = self.dying.due(now) {
            self.remove(ConnectionId(slot), memory);
        }
        while let Some(slot) = self.orphans.due(now) {
            self.settle(ConnectionId(slot), now, memory);
        }
    }

    /// Takes note of what became of a connection, and ends it if it is over.
    pub(super) fn settle(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        let Some(connection) = self.get(id) else {
            return;
        };
        let (state, queued) = (connection.state(), connection.queued());
        let reset_pending = connection.owes_reset();
        match connection.role {
            Role::Dying { .. } if reset_pending => {}
            Role::Dying { .. } => self.remove(id, memory),
            _ if state == State::Closed => self.closed(id, now, memory),
            Role::Orphan { deadline, left } => {
                let progress = left != (queued, state);
                let left = (queued, state);
                if progress {
                    let deadline = now.saturating_add(nanoseconds(self.timers.orphan));
                    self.set_role(id, Role::Orphan { deadline, left });
                } else if deadline <= now {
                    self.counters.orphans_aborted += 1;
                    self.abort(id, now);
                }
            }
            Role::Opening | Role::Waiting | Role::Held => {}
        }
    }

    /// smoltcp is through with a connection.
    fn closed(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        self.changed.push(id.0);
        let Some(connection) = self.slots.get_mut(id.0) else {
            return;
        };
        let orderly = connection.peer_finished && connection.finished;
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
