//! Buffers: which connections get them, and which give way when there are none left.
//!
//! Half of the memory is divided equally among the listeners. A listener's share is for its own
//! connections alone, so that the connections of one listener cannot stop those of another. The other
//! half is for everybody; connections that began here and datagram ports have only this half.
//! Buffers are long while there is plenty of memory, and short when it becomes scarce.
//!
//! When a connection needs buffers and may not have them, others of the same listener give way, in
//! this order:
//!
//! 1. A connection on which nothing is under way becomes dormant ([`crate::tcp::dormant`]).
//! 2. The oldest orphan ends.
//! 3. The connection that has moved no octet for longest is reset, if that is long enough.
//!
//! If connections of other listeners have taken what is left of this listener's share, which they can
//! before it listens, they give way in its place. TCP lets a peer that takes no data live for ever
//! (RFC 9293 §3.8.6.1); here it may not do so at the cost of others.

use crate::deadlines::Deadlines;
use crate::memory::{Memory, RECEIVE_MAX};
use crate::names::ConnectionId;
use crate::tcp::sole_socket::SoleSocket;
use crate::tcp::{Connection, Tcp, micros};
use smoltcp::socket::tcp::CongestionControl;

/// Octets of the receive and the transmit buffer of a connection when memory is scarce: enough for a
/// few segments.
const SCARCE: (usize, usize) = (4 << 10, 4 << 10);
/// How often connections that held data are looked at again, since they may be at rest by now.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;
/// A connection that has moved an octet within this time is not reset for another of its group.
const PROTECTED_NS: u64 = 2_000_000_000;

/// The group of all connections that began here, and of datagram ports. No listener has its number.
pub(crate) const BEGAN_HERE: u16 = 0;

/// The connections that share a claim to memory. A listener's group has the number of its port.
#[derive(Default)]
pub(super) struct Group {
    /// Octets of their buffers.
    pub used: usize,
    /// Connections with buffers that may be at rest, by the time when they moved an octet. The time
    /// may be out of date: then the connection has moved later ones since.
    pub at_rest: Deadlines,
    /// Connections that were found to hold data, likewise.
    pub under_way: Deadlines,
    /// When those that hold data were counted among those at rest last.
    pub looked_at: u64,
}

impl Tcp {
    /// Octets of memory that are for a group alone.
    fn share(&self, group: u16, limit: usize) -> usize {
        match self.listeners.contains_key(&group) {
            true => limit / 2 / self.listeners.len(),
            false => 0,
        }
    }

    fn used(&self, group: u16) -> usize {
        self.groups.get(&group).map_or(0, |group| group.used)
    }

    /// Whether a group may have `octets` octets more.
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

    /// The group that uses most beyond its share.
    fn greediest(&self, limit: usize) -> Option<u16> {
        let beyond = |(&port, group): (&u16, &Group)| {
            let beyond = group.used.checked_sub(self.share(port, limit))?;
            Some((beyond, port)).filter(|&(beyond, _)| beyond > 0)
        };
        let most = self.groups.iter().filter_map(beyond).max();
        most.map(|(_, port)| port)
    }

    /// A socket for a connection of a group. Its receive buffer has room for the window of `offered`
    /// octets that the peer was told.
    pub(super) fn new_socket(
        &mut self,
        group: u16,
        offered: usize,
        now: u64,
        memory: &mut Memory,
    ) -> Option<SoleSocket> {
        let limits = self.limits;
        let (used, limit) = (memory.used(), memory.limit());
        let long = (limits.tcp_receive_large, limits.tcp_transmit_large);
        let ordinary = (limits.tcp_receive, limits.tcp_transmit);
        let scarce = (SCARCE.0.min(ordinary.0), SCARCE.1.min(ordinary.1));
        let sizes = [
            (long, limit / 4),
            (ordinary, limit / 4 * 3),
            (scarce, limit),
        ];
        let sizes =
            sizes.map(|(size, up_to)| ((size.0.max(offered).min(RECEIVE_MAX), size.1), up_to));
        let fitting = sizes.into_iter().find(|&((receive, transmit), up_to)| {
            used + receive + transmit <= up_to && self.may_take(group, receive + transmit, memory)
        });
        let (receive, transmit) = fitting.map_or(sizes[2].0, |(size, _)| size);
        let octets = receive + transmit;
        if fitting.is_none() && !self.make_room(group, octets, now, memory) {
            return None;
        }
        let mut taken = memory.take_socket(receive, transmit)?;
        self.groups.entry(group).or_default().used += octets;
        let socket = taken.get_mut();
        socket.set_congestion_control(CongestionControl::Reno);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(micros(self.timers.ack_delay)));
        // It is set now, because setting it on an open connection sends a probe at once.
        socket.set_keep_alive(Some(micros(self.timers.keep_alive)));
        Some(taken)
    }

    /// Takes a socket back.
    pub(super) fn give_back(
        &mut self,
        group: u16,
        socket: Option<SoleSocket>,
        memory: &mut Memory,
    ) {
        let Some(socket) = socket else {
            return;
        };
        let octets = socket.buffer_octets();
        if octets <= Connection::BARE {
            return;
        }
        if let Some(group) = self.groups.get_mut(&group) {
            group.used -= octets;
        }
        memory.give_back_socket(socket);
    }

    /// Puts a connection, which has buffers now, among those that may give way.
    pub(super) fn rank(&mut self, id: ConnectionId, group: u16, now: u64) {
        let group = self.groups.entry(group).or_default();
        group.at_rest.set(id.0, now);
    }

    /// Takes a connection, which is over or dormant, from among those that may give way.
    pub(super) fn unrank(&mut self, id: ConnectionId, group: u16) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.at_rest.clear(id.0);
            group.under_way.clear(id.0);
        }
    }

    /// Makes others give way until a group may have `octets` octets more. Returns whether it may.
    /// Datagram ports belong to the group [`BEGAN_HERE`].
    #[cold]
    pub fn make_room(&mut self, group: u16, octets: usize, now: u64, memory: &mut Memory) -> bool {
        while !self.may_take(group, octets, memory) {
            let greediest = self.greediest(memory.limit());
            let is_due = self.used(group) + octets <= self.share(group, memory.limit());
            let (payer, protected_ns) = match greediest {
                Some(greediest) if is_due => (greediest, 0),
                _ => (group, PROTECTED_NS),
            };
            let gave_way = self.make_one_dormant(group, now, memory)
                || greediest.is_some_and(|greediest| self.make_one_dormant(greediest, now, memory))
                || self.end_orphan(payer, memory)
                || self.reset_one(payer, protected_ns, now, memory);
            if !gave_way {
                return false;
            }
        }
        true
    }

    /// Makes the connection of a group dormant that has been at rest for longest. Returns whether
    /// there was one.
    fn make_one_dormant(&mut self, group: u16, now: u64, memory: &mut Memory) -> bool {
        while let Some((at, slot)) = self.first(group, |group| &group.at_rest) {
            let id = ConnectionId(slot);
            let moved = self.get(id).map_or(at, |connection| connection.moved_at);
            if moved > at {
                self.rank(id, group, moved);
                continue;
            }
            self.unrank(id, group);
            if self.make_dormant(id, now, memory) {
                return true;
            }
            if let Some(group) = self.groups.get_mut(&group) {
                group.under_way.set(slot, at);
            }
        }
        false
    }

    /// Resets the connection of a group that has moved no octet for longest, if that is at least
    /// `protected_ns`. Returns whether something has changed.
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

    /// Counts the connections that held data among those at rest again, if this was not done lately.
    /// Returns whether there were any.
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
    /// Octets of both buffers of the sockets that [`Connection::bare`] makes, which are not counted.
    pub(super) const BARE: usize = 2;

    /// Notes that octets were delivered or acknowledged.
    #[inline]
    pub(super) fn moved(&mut self, now: u64) {
        self.moved_at = now;
    }
}
