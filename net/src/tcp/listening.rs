//! Listeners.

use crate::memory::Memory;
use crate::names::ConnectionId;
use crate::packet::Segment;
use crate::tcp::{Listener, Role, Tcp};
use alloc::collections::VecDeque;
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
                half_open: 0,
                ready: VecDeque::new(),
            });
    }

    /// Ends listening. What has not been accepted is aborted.
    #[cold]
    pub fn unlisten(&mut self, port: u16, now: u64, memory: &mut Memory) {
        let Some(listener) = self.listeners.remove(&port) else {
            return;
        };
        self.refuse_half_open(port, now);
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
}
