//! Connections that their programs let go of, and those that have to give way.

use crate::deadlines::nanoseconds;
use crate::ip::interface::Interface;
use crate::memory::Memory;
use crate::names::ConnectionId;
use crate::tcp::dormant::Signs;
use crate::tcp::{Connection, DYING_NS, Role, Tcp};
use abi::Error;
use alloc::vec::Vec;
use smoltcp::socket::tcp::State;

impl Tcp {
    /// Aborts the oldest orphans if there are too many. Returns whether there were, so
    /// that RSTs want to leave.
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

    /// Ends the orphan of the group that has waited longest, to make room: its buffers are freed
    /// at once, and no RST is sent.
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

    /// The program lets go: what is queued is still sent, then FIN.
    pub fn close(&mut self, id: ConnectionId, own: &Interface, now: u64, memory: &mut Memory) {
        let deadline = now.saturating_add(nanoseconds(self.timers.orphan));
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if connection.detached {
            return self.remove(id, memory);
        }
        if connection.is_dormant() && !self.wake(id, own, now, memory) {
            self.counters.gave_way += 1;
            return self.abort(id, now);
        }
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.discard();
        connection.finished = true;
        if let Some(socket) = connection.socket() {
            socket.close();
        }
        let (state, queued) = (connection.state(), connection.queued());
        if state == State::Closed {
            // It was not connected yet: its peer is owed no RST before its next segment.
            return self.remove(id, memory);
        }
        let left = (queued, state);
        self.set_role(id, Role::Orphan { deadline, left });
        self.agenda.touch(id.0);
    }

    /// Ends a connection now, with a RST.
    #[cold]
    pub(super) fn abort(&mut self, id: ConnectionId, now: u64) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        // Without a socket it gets one for that.
        if let Some(socket) = connection.socket() {
            socket.abort();
        }
        let until = now.saturating_add(DYING_NS);
        self.set_role(id, Role::Dying { until });
        self.changed.push(id.0);
        self.agenda.touch(id.0);
    }

    /// Ends an established connection now, with a RST, and frees its buffers. Its program, if one
    /// holds it, is told: the RST is another connection's, which has nothing else to say.
    #[cold]
    pub(super) fn reset_held(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        let until = now.saturating_add(DYING_NS);
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let solo = connection.solo.take();
        let (group, role) = (connection.group, connection.role);
        let dying = Connection {
            tuple: connection.tuple,
            tcb: connection.tcb,
            solo: None,
            group,
            moved_at: now,
            signs: Signs::default(),
            role: Role::Dying { until },
            detached: false,
            established: true,
            peer_finished: connection.peer_finished,
            finished: true,
            deaf: true,
            unread: connection.unread,
            error: None,
        };
        connection.error = Some(Error::ConnectionReset);
        self.changed.push(id.0);
        self.give_back(group, solo, memory);
        match role {
            Role::Held => self.detach(id),
            _ => self.remove(id, memory),
        }
        self.enter(dying);
    }

    /// Our address goes, and with it all connections: those that were established are reset. RSTs
    /// that cannot leave before [`Tcp::forget_all`] never do.
    #[cold]
    pub fn reset_all(&mut self, now: u64, memory: &mut Memory) {
        let all = self
            .slots
            .iter()
            .filter(|(_, connection)| !connection.detached);
        let all: Vec<(usize, bool, Role)> =
            all.map(|(slot, c)| (slot, c.established, c.role)).collect();
        for (slot, established, role) in all {
            let id = ConnectionId(slot);
            match role {
                Role::Dying { .. } => {}
                _ if established => self.reset_held(id, now, memory),
                _ => self.not_reached(id, now, memory),
            }
        }
    }

    /// Forgets what is no program's.
    #[cold]
    pub fn forget_all(&mut self, memory: &mut Memory) {
        while let Some((_, slot)) = self.dying.first() {
            self.remove(ConnectionId(slot), memory);
        }
        self.forget_all_half_open();
        self.time_wait.clear();
    }

    /// As [`Tcp::abort`], of a connection that may be over.
    pub fn drop_held(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        match self.get(id).is_some_and(|connection| connection.detached) {
            true => self.remove(id, memory),
            false => self.abort(id, now),
        }
    }

    /// Gives a connection another role.
    pub(super) fn set_role(&mut self, id: ConnectionId, role: Role) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let old = core::mem::replace(&mut connection.role, role);
        let port = connection.tuple.port;
        self.leave_role(id, port, old);
        self.enter_role(id, port, role);
    }

    pub(super) fn enter_role(&mut self, id: ConnectionId, port: u16, role: Role) {
        match role {
            Role::Waiting => {
                if let Some(listener) = self.listeners.get_mut(&port) {
                    listener.ready.push_back(id);
                    self.changed_listeners.insert(port);
                }
            }
            Role::Opening | Role::Held => {}
            Role::Orphan { deadline, .. } => self.orphans.set(id.0, deadline),
            Role::Dying { until } => self.dying.set(id.0, until),
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
            Role::Orphan { .. } => self.orphans.clear(id.0),
            Role::Dying { .. } => self.dying.clear(id.0),
        }
    }
}
