//! Listeners, and which SYN gets a socket.

use super::{Connection, Listener, Role, Sockets, Tcp};
use crate::stack::memory::Memory;
use crate::stack::{ConnectionId, Tuple, nanoseconds};
use alloc::collections::VecDeque;
use core::net::SocketAddrV4;

impl Tcp {
    pub fn listen(&mut self, port: u16, backlog: usize) {
        let backlog = backlog.clamp(1, self.limits.backlog);
        self.listeners
            .entry(port)
            .and_modify(|listener| listener.backlog = backlog)
            .or_insert(Listener {
                backlog,
                half_open: 0,
                ready: VecDeque::new(),
            });
    }

    /// Ends listening. What has not been accepted is aborted.
    pub fn unlisten(&mut self, port: u16, now: u64, sockets: &mut Sockets) {
        self.listeners.remove(&port);
        for index in 0..self.slots.len() {
            let id = ConnectionId(index);
            if let Some(connection) = self.get(id)
                && connection.tuple.port == port
                && matches!(connection.role, Role::HalfOpen { .. } | Role::Waiting)
            {
                self.abort(id, now, sockets);
            }
        }
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

    /// Makes room for one more half-open connection, if the rules allow one.
    pub(super) fn admit(
        &mut self,
        tuple: Tuple,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Option<()> {
        let listener = self.listeners.get(&tuple.port)?;
        if listener.half_open + listener.ready.len() >= listener.backlog {
            // A flood must not lock everyone out until its connections expire.
            self.evict_half_open(Some(tuple.port), now, sockets, memory)?;
        }
        if !memory.has(self.buffer_octets()) {
            self.abort_oldest_orphan(now, sockets, Some(memory));
        }
        if !memory.has(self.buffer_octets()) {
            self.evict_half_open(None, now, sockets, memory)?;
        }
        let mut socket = self.new_socket(memory)?;
        if socket.listen(tuple.port).is_err() {
            memory.give_back(self.buffer_octets());
            return None;
        }
        let handle = sockets.add(socket);
        self.insert(tuple, handle, Role::HalfOpen { since: now });
        if let Some(listener) = self.listeners.get_mut(&tuple.port) {
            listener.half_open += 1;
        }
        self.expire_by(now + nanoseconds(self.timers.half_open));
        Some(())
    }

    /// Removes the half-open connection that has waited longest, on this port or on any.
    fn evict_half_open(
        &mut self,
        port: Option<u16>,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Option<()> {
        let victim = self.oldest_half_open(port, now)?;
        self.remove(victim, sockets, memory);
        self.counters.half_open_expired += 1;
        Some(())
    }

    fn oldest_half_open(&self, port: Option<u16>, now: u64) -> Option<ConnectionId> {
        let protected = nanoseconds(self.timers.half_open_protected);
        let since = |(index, slot): (usize, &Option<Connection>)| match slot {
            Some(Connection {
                tuple,
                role: Role::HalfOpen { since },
                ..
            }) if port.is_none_or(|port| port == tuple.port) && since + protected <= now => {
                Some((*since, index))
            }
            _ => None,
        };
        let (_, index) = self.slots.iter().enumerate().filter_map(since).min()?;
        Some(ConnectionId(index))
    }
}
