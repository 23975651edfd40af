//! How connections end: closed or aborted by their programs, or reset because they must give way. And
//! the lists that a connection is in because of its role.

use crate::deadlines::nanoseconds;
use crate::ip::interface::Local;
use crate::memory::Memory;
use crate::names::ConnectionId;
use crate::tcp::dormant::KeepAlive;
use crate::tcp::{Connection, Context, DYING_NS, Role, Tcp};
use abi::Error;
use alloc::vec::Vec;
use smoltcp::socket::tcp::State;

impl Tcp {
    /// Aborts the oldest orphans if there are too many. Returns whether there were: then RSTs wait to
    /// be sent.
    pub fn bound_orphans(&mut self, now: u64) -> bool {
        let mut aborted = false;
        while self.orphans.len() > self.limits.orphans
            && let Some((_, oldest)) = self.orphans.first()
        {
            self.counters.orphans_aborted += 1;
            self.abort(ConnectionId(oldest), now);
            aborted = true;
        }
        aborted
    }

    /// Ends the oldest orphan of a group, to make room: its buffers are freed at once, and no RST is
    /// sent. Returns whether there was one.
    #[cold]
    pub(super) fn end_orphan(&mut self, group: u16, memory: &mut Memory) -> bool {
        let is_of_group = |slot: usize| (self.slots.get(slot)).is_some_and(|c| c.group == group);
        let orphans = self.orphans.iter().filter(|(_, slot)| is_of_group(*slot));
        let Some(&(_, oldest)) = orphans.min() else {
            return false;
        };
        self.counters.orphans_aborted += 1;
        self.remove(ConnectionId(oldest), memory);
        true
    }

    /// Closes a connection (RFC 9293 §3.9.1.4): queued octets are still sent, and then FIN. Its
    /// program can use it no more.
    pub fn close(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if connection.detached {
            return self.remove(id, cx.memory);
        }
        if connection.is_dormant() && !self.wake(id, cx) {
            self.counters.gave_way += 1;
            return self.abort(id, cx.now);
        }
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.discard();
        connection.fin_queued = true;
        if let Some(socket) = connection.socket_mut() {
            socket.close();
        }
        let (state, queued) = (connection.state(), connection.queued());
        if state == State::Closed {
            // It was not established yet. Its peer gets a RST if it sends another segment.
            return self.remove(id, cx.memory);
        }
        self.set_role(id, Role::Orphan(queued, state), cx.now);
        self.schedule.touch(id.0);
    }

    /// Ends a connection with a RST.
    #[cold]
    pub(super) fn abort(&mut self, id: ConnectionId, now: u64) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        // A dormant connection gets a socket for the RST in its next turn.
        if let Some(socket) = connection.socket_mut() {
            socket.abort();
        }
        self.set_role(id, Role::Dying, now);
        self.changed.push(id.0);
        self.schedule.touch(id.0);
    }

    /// Ends an established connection with a RST and frees its buffers at once. If a program holds the
    /// connection, it stays there with its error, and a second connection in its place sends the RST.
    #[cold]
    pub(super) fn reset_held(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let socket = connection.socket.take();
        let (group, role) = (connection.group, connection.role);
        let dying = Connection {
            tuple: connection.tuple,
            sequence: connection.sequence,
            socket: None,
            group,
            moved_at: now,
            keep_alive: KeepAlive::default(),
            role: Role::Dying,
            detached: false,
            established: true,
            fin_received: connection.fin_received,
            fin_queued: true,
            receive_shut: true,
            unread: connection.unread,
            error: None,
        };
        connection.error = Some(Error::ConnectionReset);
        self.changed.push(id.0);
        self.give_back(group, socket, memory);
        match role {
            Role::Held => self.detach(id),
            _ => self.remove(id, memory),
        }
        self.enter(dying, now);
    }

    /// Ends all connections of one of our addresses, since it goes. Those that were established are reset.
    /// RSTs that cannot be sent before [`Tcp::forget_all`] are never sent.
    #[cold]
    pub fn reset_all(&mut self, local: Local, now: u64, memory: &mut Memory) {
        let all = self
            .slots
            .iter()
            .filter(|(_, connection)| !connection.detached && connection.tuple.local == local);
        let all: Vec<(usize, bool, Role)> =
            all.map(|(slot, c)| (slot, c.established, c.role)).collect();
        for (slot, established, role) in all {
            let id = ConnectionId(slot);
            match role {
                Role::Dying => {}
                _ if established => self.reset_held(id, now, memory),
                _ => self.not_reached(id, now, memory),
            }
        }
    }

    /// Forgets everything of one of our addresses that no program holds.
    #[cold]
    pub fn forget_all(&mut self, local: Local, memory: &mut Memory) {
        let ours = self
            .slots
            .iter()
            .filter(|(_, connection)| connection.tuple.local == local);
        let dying: Vec<usize> = ours
            .map(|(slot, _)| slot)
            .filter(|&slot| self.dying.get(slot).is_some())
            .collect();
        for slot in dying {
            self.remove(ConnectionId(slot), memory);
        }
        self.forget_all_half_open(local);
        self.time_wait.clear(local);
    }

    /// Ends a connection with a RST, if it is not over already. Its program can use it no more.
    pub fn drop_held(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        match self.get(id).is_some_and(|connection| connection.detached) {
            true => self.remove(id, memory),
            false => self.abort(id, now),
        }
    }

    /// Gives a connection another role, and enters it in the list of that role.
    pub(super) fn set_role(&mut self, id: ConnectionId, role: Role, now: u64) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let old = core::mem::replace(&mut connection.role, role);
        let port = connection.tuple.port;
        self.leave_role(id, port, old);
        self.enter_role(id, port, role, now);
    }

    pub(super) fn enter_role(&mut self, id: ConnectionId, port: u16, role: Role, now: u64) {
        match role {
            Role::Waiting => {
                if let Some(listener) = self.listeners.get_mut(&port) {
                    listener.ready.push_back(id);
                    self.changed_listeners.insert(port);
                }
            }
            Role::Opening | Role::Held => {}
            Role::Orphan(..) => {
                let deadline = now.saturating_add(nanoseconds(self.timers.orphan));
                self.orphans.set(id.0, deadline);
            }
            Role::Dying => self.dying.set(id.0, now.saturating_add(DYING_NS)),
        }
    }

    pub(super) fn leave_role(&mut self, id: ConnectionId, port: u16, role: Role) {
        match role {
            Role::Waiting => {
                if let Some(listener) = self.listeners.get_mut(&port) {
                    listener.ready.retain(|&ready| ready != id);
                    self.changed_listeners.insert(port);
                }
            }
            Role::Opening | Role::Held => {}
            Role::Orphan(..) => self.orphans.clear(id.0),
            Role::Dying => self.dying.clear(id.0),
        }
    }
}
