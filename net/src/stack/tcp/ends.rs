//! Connections that end: by expiry, by failure, closed or aborted.

use super::{Connection, DYING_NS, Place, Role, Sockets, Tcp};
use crate::stack::memory::Memory;
use crate::stack::{ConnectionId, nanoseconds};
use abi::Error;
use smoltcp::socket::tcp::{Socket, State};

impl Tcp {
    pub(super) fn expire_by(&mut self, at: u64) {
        self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
    }

    /// Ends what is over. Once per poll, after smoltcp's egress. Returns whether
    /// something was aborted, so that a RST wants to leave.
    pub fn sweep(&mut self, now: u64, sockets: &mut Sockets, memory: &mut Memory) -> bool {
        let mut aborted = false;
        let mut orphans = 0;
        self.deadline = None;
        for index in 0..self.slots.len() {
            let id = ConnectionId(index);
            let Some(connection) = self.slots[index].as_mut() else {
                continue;
            };
            let Place::Attached(handle) = connection.place else {
                continue;
            };
            let socket: &mut Socket = sockets.get_mut(handle);
            let (state, left) = (socket.state(), socket.send_queue());
            let reset_pending = socket.remote_endpoint().is_some();
            match connection.role {
                Role::Dying { until } if reset_pending && now < until => self.expire_by(until),
                Role::Dying { .. } => self.remove(id, sockets, memory),
                _ if state == State::Closed => self.closed(id, now, sockets, memory),
                Role::HalfOpen { since } => {
                    let until = since + nanoseconds(self.timers.half_open);
                    if now < until {
                        self.expire_by(until);
                    } else {
                        self.counters.half_open_expired += 1;
                        self.remove(id, sockets, memory);
                    }
                }
                Role::Orphan {
                    deadline,
                    left: old,
                } => {
                    orphans += 1;
                    let mut deadline = deadline;
                    if old != (left, state) {
                        deadline = now + nanoseconds(self.timers.orphan);
                        let left = (left, state);
                        connection.role = Role::Orphan { deadline, left };
                    }
                    if now < deadline {
                        self.expire_by(deadline);
                    } else {
                        self.counters.orphans_aborted += 1;
                        self.abort(id, now, sockets);
                        aborted = true;
                    }
                }
                Role::Waiting | Role::Held => {}
            }
        }
        while orphans > self.limits.orphans {
            orphans -= 1;
            aborted |= self.abort_oldest_orphan(now, sockets, None);
        }
        aborted
    }

    /// smoltcp is through with a connection.
    fn closed(&mut self, id: ConnectionId, now: u64, sockets: &mut Sockets, memory: &mut Memory) {
        self.changed.push(id.0);
        let Some(connection) = self.slots.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let orderly = connection.peer_finished && connection.finished;
        if connection.error.is_none() && !orderly {
            connection.error = Some(Error::TimedOut);
            self.counters.timeouts += 1;
        }
        let tuple = connection.tuple;
        match connection.role {
            Role::Held => {
                connection.detach(sockets);
                self.forget_tuple(tuple, id);
            }
            _ if connection.socket(sockets).remote_endpoint().is_some() => {
                self.abort(id, now, sockets);
            }
            _ => self.remove(id, sockets, memory),
        }
    }

    /// Aborts the orphan that has waited longest, to make room. With `memory`, its buffers
    /// are freed at once and no RST is sent.
    pub(super) fn abort_oldest_orphan(
        &mut self,
        now: u64,
        sockets: &mut Sockets,
        memory: Option<&mut Memory>,
    ) -> bool {
        let age = |(index, slot): (usize, &Option<Connection>)| match slot.as_ref()?.role {
            Role::Orphan { deadline, .. } => Some((deadline, index)),
            _ => None,
        };
        let oldest = self.slots.iter().enumerate().filter_map(age).min();
        let Some((_, index)) = oldest else {
            return false;
        };
        self.counters.orphans_aborted += 1;
        match memory {
            Some(memory) => self.remove(ConnectionId(index), sockets, memory),
            None => self.abort(ConnectionId(index), now, sockets),
        }
        true
    }

    /// The program lets go: what is queued is still sent, then FIN.
    pub fn close(
        &mut self,
        id: ConnectionId,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) {
        let deadline = now + nanoseconds(self.timers.orphan);
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if matches!(connection.place, Place::Detached(_)) {
            return self.remove(id, sockets, memory);
        }
        connection.discard(sockets);
        connection.finished = true;
        let socket = connection.socket_mut(sockets);
        socket.close();
        let (state, queued) = (socket.state(), socket.send_queue());
        if state == State::Closed {
            // It was not connected yet: nobody is owed a RST but by his next segment.
            return self.remove(id, sockets, memory);
        }
        let left = (queued, state);
        connection.role = Role::Orphan { deadline, left };
        self.expire_by(deadline);
    }

    /// Ends a connection now, with a RST.
    pub fn abort(&mut self, id: ConnectionId, now: u64, sockets: &mut Sockets) {
        let until = now + DYING_NS;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let role = connection.role;
        connection.socket_mut(sockets).abort();
        connection.role = Role::Dying { until };
        let port = connection.tuple.port;
        self.leave_listener(id, port, role);
        self.expire_by(until);
    }

    /// As [`Tcp::abort`], for a program's connection.
    pub fn drop_held(
        &mut self,
        id: ConnectionId,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) {
        match self.get(id).map(|connection| &connection.place) {
            Some(Place::Attached(_)) => self.abort(id, now, sockets),
            _ => self.remove(id, sockets, memory),
        }
    }
}
