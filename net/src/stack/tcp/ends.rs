//! Connections that their programs let go of, and those that have to give way.

use super::{DYING_NS, Role, Tcp};
use crate::stack::memory::Memory;
use crate::stack::{ConnectionId, nanoseconds};
use smoltcp::socket::tcp::State;

impl Tcp {
    /// Aborts the oldest orphans if there are too many. Returns whether there were, so
    /// that RSTs want to leave.
    pub fn bound_orphans(&mut self, now: u64) -> bool {
        let mut aborted = false;
        while self.orphans.len() > self.limits.orphans {
            aborted |= self.abort_oldest_orphan(now, None);
        }
        aborted
    }

    /// Aborts the orphan that has waited longest, to make room. With `memory`, its buffers
    /// are freed at once and no RST is sent.
    #[cold]
    pub(super) fn abort_oldest_orphan(&mut self, now: u64, memory: Option<&mut Memory>) -> bool {
        let Some((_, index)) = self.orphans.first() else {
            return false;
        };
        self.counters.orphans_aborted += 1;
        match memory {
            Some(memory) => self.remove(ConnectionId(index), memory),
            None => self.abort(ConnectionId(index), now),
        }
        true
    }

    /// The program lets go: what is queued is still sent, then FIN.
    pub fn close(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        let deadline = now.saturating_add(nanoseconds(self.timers.orphan));
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if connection.detached {
            return self.remove(id, memory);
        }
        connection.discard();
        connection.finished = true;
        let socket = connection.solo.get_mut();
        socket.close();
        let (state, queued) = (socket.state(), socket.send_queue());
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
        connection.solo.get_mut().abort();
        let until = now.saturating_add(DYING_NS);
        self.set_role(id, Role::Dying { until });
        self.changed.push(id.0);
        self.agenda.touch(id.0);
    }

    /// As [`Tcp::abort`], of a connection that may be over.
    pub fn drop_held(&mut self, id: ConnectionId, now: u64, memory: &mut Memory) {
        match self.get(id).is_some_and(|connection| connection.detached) {
            true => self.remove(id, memory),
            false => self.abort(id, now),
        }
    }
}
