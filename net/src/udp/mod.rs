//! Datagram sockets. smoltcp has no part in them.
//!
//! A datagram was parsed when it came ([`crate::packet`]) and goes into its port's
//! [`inbox`]. One to be sent leaves at once, if its neighbour is known and the card has
//! room. Others wait in a queue per socket: those whose neighbour is still asked for
//! ([`crate::ip::neighbors`]), at most [`PER_HOP`] for one neighbour, where they hold up
//! nobody else's; those that found the card full; and those that leave in fragments, one at
//! a turn.

#[cfg(test)]
mod audit;
mod emit;
mod inbox;
mod waiting;

use crate::config::Limits;
use crate::deadlines::Deadlines;
use crate::ip::identification::Identifications;
use crate::ip::outbound::{DATA_MAX, IPV4};
use crate::link::ethernet::ETHERNET;
use crate::memory::Memory;
use crate::names::{Change, DatagramId};
use crate::packet::Datagram;
use crate::queue::Queue;
use crate::secret::Key;
use crate::verdict::{DropReason, Verdict};
use abi::{Error, Result};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::SocketAddrV4;
use emit::Outgoing;
use inbox::Inbox;
use slab::Slab;

/// Datagrams that wait for one neighbour in one socket; more push out the oldest.
pub(super) const PER_HOP: usize = 16;
/// Datagrams that wait to be received, or to be sent.
const SLOTS: usize = 64;
/// Datagrams that leave at once between two polls; more have their turns.
const AT_ONCE: usize = 64;
/// How long the last datagrams of a closed socket may take, about: nobody wakes for that, since
/// their neighbours answer or are given up before, and the card says when it has room.
const LINGER_NS: u64 = 4_000_000_000;
/// The longest datagram's data: the most that IPv4 can carry.
pub(crate) const DATAGRAM_MAX: usize = DATA_MAX;

struct Port {
    port: u16,
    inbox: Inbox,
    waiting: VecDeque<Outgoing>,
    waiting_octets: usize,
    /// Closed by its program; gone when nothing waits.
    lingers: bool,
}

/// Events, counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct UdpCounters {
    pub sent: u64,
    pub received: u64,
    /// Their neighbour did not answer, or too many waited for it.
    pub dropped_unresolved: u64,
    /// Their port was closed while they waited to be received or sent.
    pub dropped_closed: u64,
}

/// All of UDP.
pub(crate) struct Udp {
    slots: Slab<Port>,
    by_port: BTreeMap<u16, usize>,
    /// When closed ports are given up.
    lingering: Deadlines,
    /// Ports of which datagrams wait.
    waiting: BTreeSet<usize>,
    /// Those of them for which some may leave now, in the order of their turns.
    turns: Queue,
    limits: Limits,
    /// Octets of a frame behind the IPv4 header.
    payload_max: usize,
    /// Datagrams that have left at once since the last poll.
    at_once: usize,
    identifications: Identifications,
    /// Ports whose readiness may have changed.
    changed: Queue,
    pub counters: UdpCounters,
}

impl Udp {
    pub fn new(limits: Limits, frame_max: usize, key: Key) -> Self {
        Udp {
            slots: Slab::new(),
            by_port: BTreeMap::new(),
            lingering: Deadlines::default(),
            waiting: BTreeSet::new(),
            turns: Queue::default(),
            limits,
            payload_max: frame_max.saturating_sub(ETHERNET + IPV4),
            at_once: 0,
            identifications: Identifications::new(key),
            changed: Queue::default(),
            counters: UdpCounters::default(),
        }
    }

    fn get(&self, id: DatagramId) -> Option<&Port> {
        self.slots.get(id.0)
    }

    fn get_mut(&mut self, id: DatagramId) -> Option<&mut Port> {
        self.slots.get_mut(id.0)
    }

    pub fn next_change(&mut self) -> Option<Change> {
        let index = self.changed.pop()?;
        Some(Change::Datagrams(DatagramId(index)))
    }

    /// Takes a datagram from a frame, if there is such a port and room.
    pub fn deliver(&mut self, datagram: &Datagram, frame: &[u8]) -> Verdict {
        let Some(&slot) = self.by_port.get(&datagram.port) else {
            return Verdict::Dropped(DropReason::UdpNoPort);
        };
        let octets = frame.get(datagram.start..datagram.end);
        if let (Some(port), Some(octets)) = (self.slots.get_mut(slot), octets)
            && port.inbox.push(datagram.from, octets)
        {
            self.changed.push(slot);
            return Verdict::Delivered;
        }
        Verdict::Dropped(DropReason::UdpNoRoom)
    }

    pub fn sockets(&self) -> usize {
        self.slots.len()
    }

    /// Octets of a port's buffers.
    fn octets(&self) -> usize {
        self.limits.udp_receive + self.limits.udp_transmit
    }

    /// Opens a port, if `make_room` finds so many octets for it.
    #[cold]
    pub fn open(
        &mut self,
        port: u16,
        memory: &mut Memory,
        make_room: impl FnOnce(usize, &mut Memory) -> bool,
    ) -> Result<DatagramId> {
        if port == 0 {
            return Err(Error::InvalidArgument);
        }
        if let Some(&lingering) = self.by_port.get(&port) {
            self.remove(lingering, memory);
        }
        if !make_room(self.octets(), memory) {
            return Err(Error::NoMemory);
        }
        let octets = memory.take(self.limits.udp_receive);
        let octets = octets.ok_or(Error::NoMemory)?;
        if !memory.reserve(self.limits.udp_transmit) {
            memory.give_back(self.limits.udp_receive);
            return Err(Error::NoMemory);
        }
        let slot = self.slots.insert(Port {
            port,
            inbox: Inbox::new(octets, SLOTS),
            waiting: VecDeque::new(),
            waiting_octets: 0,
            lingers: false,
        });
        self.by_port.insert(port, slot);
        Ok(DatagramId(slot))
    }

    #[cold]
    fn remove(&mut self, slot: usize, memory: &mut Memory) {
        let Some(port) = self.slots.try_remove(slot) else {
            return;
        };
        self.counters.dropped_closed += (port.waiting.len() + port.inbox.len()) as u64;
        memory.give_back(self.octets());
        self.by_port.remove(&port.port);
        self.lingering.clear(slot);
        self.waiting.remove(&slot);
    }

    /// Closes a port. Unless `now` is `None`, what waits is still sent.
    #[cold]
    pub fn close(&mut self, id: DatagramId, now: Option<u64>, memory: &mut Memory) {
        match (now, self.get_mut(id)) {
            (Some(now), Some(port)) if !port.waiting.is_empty() => {
                port.lingers = true;
                self.lingering.set(id.0, now.saturating_add(LINGER_NS));
            }
            _ => self.remove(id.0, memory),
        }
    }

    /// Frees the closed ports whose time is over.
    pub fn expire(&mut self, now: u64, memory: &mut Memory) {
        while let Some(slot) = self.lingering.due(now) {
            self.remove(slot, memory);
        }
    }

    /// A poll begins.
    pub fn begin(&mut self) {
        self.at_once = 0;
    }

    /// Those that wait may have their turns.
    pub fn advance(&mut self) {
        for &slot in &self.waiting {
            self.turns.push(slot);
        }
    }

    /// Whether no port waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.turns.is_empty()
    }

    /// The next datagram that was received, with its sender.
    pub fn first(&self, id: DatagramId) -> Option<(SocketAddrV4, &[u8])> {
        self.get(id)?.inbox.first()
    }

    /// Drops the next datagram, which a program has.
    pub fn take_first(&mut self, id: DatagramId) {
        if let Some(port) = self.get_mut(id) {
            port.inbox.pop();
            self.counters.received += 1;
        }
    }
}
