//! Who gets buffers, and who gives way when there are none left.
//!
//! Half of the memory is shared out among the listeners: what is left of a listener's share is for
//! its connections alone, so that those of one cannot stop another. The other half is for all, and
//! all that datagram ports and connections that began here may have.
//! Buffers are long while there is plenty, and short when it gets scarce.
//!
//! When a connection is to have buffers and may not, others of the same listener give way: first
//! those on which nothing is under way become dormant ([`crate::tcp::dormant`]); then orphans and old
//! half-open connections end; then the one that has moved no octet for longest is reset, if that
//! is long enough. If it is others that have taken what is left of the listener's share, which they
//! can before it listens, theirs give way. In TCP a peer that takes nothing may live for ever (RFC
//! 9293 §3.8.6.1), but not at the cost of others.

use crate::deadlines::Deadlines;
use crate::memory::{Memory, RECEIVE_MAX};
use crate::names::ConnectionId;
use crate::tcp::solo::Stream;
use crate::tcp::{Connection, Tcp, short};
use smoltcp::socket::tcp::CongestionControl;

/// Octets of both buffers of a connection when memory is scarce: a window of some segments.
const SCARCE: (usize, usize) = (4 << 10, 4 << 10);
/// How often those that held data are looked at again: they may be at rest.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;
/// A connection that has moved an octet so lately does not give way to another of its group.
const PROTECTED_NS: u64 = 2_000_000_000;

/// The group of all connections that began here, and of datagram ports. No listener has its number.
pub(crate) const BEGAN_HERE: u16 = 0;

/// The connections that share a claim to memory: those of a listener, by its port, or
/// [`BEGAN_HERE`].
#[derive(Default)]
pub(super) struct Group {
    /// Octets of their buffers.
    pub used: usize,
    /// Those with buffers, by when they moved, at the latest: they may have moved since.
    pub at_rest: Deadlines,
    /// Those of them that were found to hold data, likewise.
    pub under_way: Deadlines,
    /// When these were last looked at again.
    pub looked_at: u64,
}

impl Tcp {
    /// Octets that a group's connections can count on.
    fn share(&self, group: u16, limit: usize) -> usize {
        match self.listeners.contains_key(&group) {
            true => limit / 2 / self.listeners.len(),
            false => 0,
        }
    }

    fn used(&self, group: u16) -> usize {
        self.groups.get(&group).map_or(0, |group| group.used)
    }

    /// Whether a group may have so many octets more.
    fn may_take(&self, group: u16, octets: usize, memory: &Memory) -> bool {
        let limit = memory.limit();
        let of_shares: usize = (self.groups.iter())
            .map(|(&port, group)| group.used.min(self.share(port, limit)))
            .sum();
        let (used, share) = (self.used(group), self.share(group, limit));
        let own = (used + octets).min(share) - used.min(share);
        let in_common = memory.used().saturating_sub(of_shares);
        memory.has(octets) && (own == octets || in_common + (octets - own) <= limit - limit / 2)
    }

    /// The group that has most beyond its share.
    fn greediest(&self, limit: usize) -> Option<u16> {
        let beyond = |(&port, group): (&u16, &Group)| {
            let beyond = group.used.checked_sub(self.share(port, limit))?;
            Some((beyond, port)).filter(|&(beyond, _)| beyond > 0)
        };
        let most = self.groups.iter().filter_map(beyond).max();
        most.map(|(_, port)| port)
    }

    /// A socket whose receive buffer has at least so many octets, for a connection of that group.
    pub(super) fn new_socket(
        &mut self,
        group: u16,
        promised: usize,
        now: u64,
        memory: &mut Memory,
    ) -> Option<Stream> {
        let limits = self.limits;
        let (used, limit) = (memory.used(), memory.limit());
        let long = (limits.tcp_receive_large, limits.tcp_transmit_large);
        let usual = (limits.tcp_receive, limits.tcp_transmit);
        let scarce = (SCARCE.0.min(usual.0), SCARCE.1.min(usual.1));
        let sizes = [(long, limit / 4), (usual, limit / 4 * 3), (scarce, limit)];
        let sizes =
            sizes.map(|(size, up_to)| ((size.0.max(promised).min(RECEIVE_MAX), size.1), up_to));
        let fitting = sizes.into_iter().find(|&((receive, transmit), up_to)| {
            used + receive + transmit <= up_to && self.may_take(group, receive + transmit, memory)
        });
        let (receive, transmit) = fitting.map_or(sizes[2].0, |(size, _)| size);
        let octets = receive + transmit;
        if fitting.is_none() && !self.make_room(group, octets, now, memory) {
            return None;
        }
        let mut solo = memory.take_socket(receive, transmit)?;
        let socket = solo.get_mut();
        self.groups.entry(group).or_default().used += octets;
        socket.set_congestion_control(CongestionControl::Reno);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(short(self.timers.ack_delay)));
        // Now: set on an open connection it would send a probe at once.
        socket.set_keep_alive(Some(short(self.timers.keep_alive)));
        Some(solo)
    }

    /// Takes a socket back.
    pub(super) fn give_back(&mut self, group: u16, solo: Option<Stream>, memory: &mut Memory) {
        let Some(solo) = solo else {
            return;
        };
        let socket = solo.get();
        let octets = socket.recv_capacity() + socket.send_capacity();
        if octets <= Connection::BARE {
            return;
        }
        if let Some(group) = self.groups.get_mut(&group) {
            group.used -= octets;
        }
        memory.give_back_socket(solo);
    }

    /// A connection that has buffers now takes its place among those that may give way.
    pub(super) fn rank(&mut self, id: ConnectionId, group: u16, now: u64) {
        let group = self.groups.entry(group).or_default();
        group.at_rest.set(id.0, now);
    }

    /// A connection is over.
    pub(super) fn unrank(&mut self, id: ConnectionId, group: u16) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.at_rest.clear(id.0);
            group.under_way.clear(id.0);
        }
    }

    /// Has others give way until the group may have so many octets more; group 0 for who is no
    /// connection.
    #[cold]
    pub fn make_room(&mut self, group: u16, octets: usize, now: u64, memory: &mut Memory) -> bool {
        while !self.may_take(group, octets, memory) {
            let greediest = self.greediest(memory.limit());
            let is_due = self.used(group) + octets <= self.share(group, memory.limit());
            let (payer, protected_ns) = match greediest {
                Some(greediest) if is_due => (greediest, 0),
                _ => (group, PROTECTED_NS),
            };
            let gave_way = self.lull_one(group, now, memory)
                || greediest.is_some_and(|greediest| self.lull_one(greediest, now, memory))
                || self.end_orphan(payer, memory)
                || self.reset_one(payer, protected_ns, now, memory);
            if !gave_way {
                return false;
            }
        }
        true
    }

    /// Makes the connection dormant that has been at rest for longest. `false`: there is none.
    fn lull_one(&mut self, group: u16, now: u64, memory: &mut Memory) -> bool {
        while let Some((at, slot)) = self.first(group, |group| &group.at_rest) {
            let id = ConnectionId(slot);
            let moved = self.get(id).map_or(at, |connection| connection.moved_at);
            if moved > at {
                self.rank(id, group, moved);
                continue;
            }
            self.unrank(id, group);
            if self.lull(id, now, memory) {
                return true;
            }
            if let Some(group) = self.groups.get_mut(&group) {
                group.under_way.set(slot, at);
            }
        }
        false
    }

    /// Resets the connection that has moved nothing for longest, if that is long. Returns whether
    /// something has changed.
    fn reset_one(&mut self, group: u16, protected_ns: u64, now: u64, memory: &mut Memory) -> bool {
        if self.look_again(group, now) {
            return true;
        }
        let Some((at, slot)) = self.first(group, |group| &group.under_way) else {
            return false;
        };
        let id = ConnectionId(slot);
        let moved = self.get(id).map_or(at, |connection| connection.moved_at);
        if moved > at {
            if let Some(group) = self.groups.get_mut(&group) {
                group.under_way.set(slot, moved);
            }
            return true;
        }
        if moved.saturating_add(protected_ns) > now {
            return false;
        }
        self.counters.gave_way += 1;
        self.reset_held(id, now, memory);
        true
    }

    /// Counts those that held data among those at rest again, from time to time.
    fn look_again(&mut self, group: u16, now: u64) -> bool {
        let Some(group) = self.groups.get_mut(&group) else {
            return false;
        };
        if group.looked_at.saturating_add(LOOK_AGAIN_NS) > now {
            return false;
        }
        group.looked_at = now;
        let found = group.under_way.len() > 0;
        while let Some((at, slot)) = group.under_way.first() {
            group.under_way.clear(slot);
            group.at_rest.set(slot, at);
        }
        found
    }

    fn first(&self, group: u16, of: impl FnOnce(&Group) -> &Deadlines) -> Option<(u64, usize)> {
        self.groups.get(&group).and_then(|group| of(group).first())
    }
}

impl Connection {
    /// Octets of the buffers of a socket that has none: see [`Connection::bare`].
    pub(super) const BARE: usize = 2;

    /// Takes note of octets that were delivered or acknowledged.
    #[inline]
    pub(super) fn moved(&mut self, now: u64) {
        self.moved_at = now;
    }
}
