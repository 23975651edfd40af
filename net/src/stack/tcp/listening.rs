//! Listeners, and which SYN gets a socket.

use super::{Listener, Role, Tcp};
use crate::stack::engine::Solo;
use crate::stack::memory::Memory;
use crate::stack::peek::Segment;
use crate::stack::{ConnectionId, Tuple, nanoseconds};
use alloc::collections::{BTreeSet, VecDeque};
use core::net::SocketAddrV4;

impl Tcp {
    #[cold]
    pub fn listen(&mut self, port: u16, backlog: usize) {
        let backlog = backlog.clamp(1, self.limits.backlog);
        self.listeners
            .entry(port)
            .and_modify(|listener| listener.backlog = backlog)
            .or_insert(Listener {
                backlog,
                half_open: BTreeSet::new(),
                ready: VecDeque::new(),
            });
    }

    /// Ends listening. What has not been accepted is aborted.
    #[cold]
    pub fn unlisten(&mut self, port: u16, now: u64, memory: &mut Memory) {
        let Some(listener) = self.listeners.remove(&port) else {
            return;
        };
        for id in listener.half_open.into_iter().map(|(_, id)| id) {
            self.drop_held(id, now, memory);
        }
        for id in listener.ready {
            self.drop_held(id, now, memory);
        }
    }

    /// Whether the segment would open a connection if somebody listened.
    #[cold]
    pub fn lacks_listener(&self, segment: &Segment) -> bool {
        segment.opens()
            && !self.listeners.contains_key(&segment.tuple.port)
            && !self.by_tuple.contains_key(&segment.tuple)
    }

    pub fn can_accept(&self, port: u16) -> bool {
        self.listeners
            .get(&port)
            .is_some_and(|listener| !listener.ready.is_empty())
    }

    pub fn accept(&mut self, port: u16) -> Option<(ConnectionId, SocketAddrV4)> {
        let id = self.listeners.get_mut(&port)?.ready.pop_front()?;
        let connection = self.get_mut(id)?;
        connection.role = Role::Held;
        let peer = connection.tuple.peer;
        self.counters.accepted += 1;
        Some((id, peer))
    }

    /// Makes a half-open connection, and room for it, if the rules allow one more.
    pub(super) fn admit(
        &mut self,
        tuple: Tuple,
        now: u64,
        memory: &mut Memory,
    ) -> Option<ConnectionId> {
        let listener = self.listeners.get(&tuple.port)?;
        if listener.half_open.len() + listener.ready.len() >= listener.backlog {
            // A flood must not lock everyone out until its connections expire.
            let oldest = listener.half_open.first().map(|&(_, id)| id);
            self.evict_half_open(oldest, now, memory)?;
        }
        let mut socket = self.new_socket(tuple.port, 0, now, memory)?;
        if socket.listen(tuple.port).is_err() {
            self.give_back(tuple.port, Some(Solo::new(socket)), memory);
            return None;
        }
        let role = Role::HalfOpen { since: now };
        Some(self.insert(tuple, tuple.port, socket, role, now))
    }

    /// Removes a half-open connection, if it has waited long enough.
    #[cold]
    pub(super) fn evict_half_open(
        &mut self,
        oldest: Option<ConnectionId>,
        now: u64,
        memory: &mut Memory,
    ) -> Option<()> {
        let protected = nanoseconds(self.timers.half_open_protected);
        let victim = oldest?;
        match self.get(victim)?.role {
            Role::HalfOpen { since } if since.saturating_add(protected) <= now => {}
            _ => return None,
        }
        self.remove(victim, memory);
        self.counters.half_open_expired += 1;
        Some(())
    }
}
