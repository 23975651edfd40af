//! UDP (RFC 768). smoltcp has no part in it.
//!
//! A received datagram goes into the [`inbox`] of its port. A datagram to be sent is sent at once, if
//! the station of its next hop is known and the card has room. Otherwise it waits in a queue of its
//! port:
//!
//! - until the station is known ([`crate::ip::neighbors`]); at most [`PER_HOP`] datagrams wait for one
//!   neighbour, and they do not hold up datagrams to others;
//! - until the card has room;
//! - until its fragments are sent, one in each turn.

#[cfg(test)]
mod audit;
mod emit;
mod inbox;
mod waiting;

use crate::config::Limits;
use crate::counters::counters;
use crate::deadlines::Deadlines;
use crate::ip::identification::Identifications;
use crate::ip::interface::Interface;
use crate::ip::neighbors::Neighbors;
use crate::ip::outbound::DATA_MAX;
use crate::link::Link;
use crate::link::ethernet::ETHERNET;
use crate::memory::Memory;
use crate::names::{Change, DatagramId};
use crate::packet::Datagram;
use crate::queue::Queue;
use crate::secret::Key;
use crate::verdict::{DropReason, Verdict};
use abi::socket::Address;
use abi::{Error, Result};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
pub(crate) use emit::Destination;
use emit::Waiting;
use inbox::Inbox;
use slab::Slab;

/// The most datagrams of one port that wait for one neighbour. A new one pushes out the oldest.
pub(super) const PER_HOP: usize = 16;
/// The most datagrams of a port that wait to be received, and to be sent.
const SLOTS: usize = 64;
/// The most datagrams that are sent at once between two polls. More must wait for their turns.
const AT_ONCE: usize = 64;
/// How long a closed port stays for datagrams that wait to be sent. The server does not wake for the
/// end of this time: usually the neighbours have answered or failed before.
const LINGER_NS: u64 = 4_000_000_000;
/// The most octets of data in a datagram: what IPv4 can carry.
pub(crate) const DATAGRAM_MAX: usize = DATA_MAX;

/// An open port, or a closed one from which datagrams wait to be sent.
struct Port {
    port: u16,
    inbox: Inbox,
    /// Datagrams that wait to be sent, and their octets.
    waiting: VecDeque<Waiting>,
    waiting_octets: usize,
    /// Its program has closed it. It is removed when no datagram waits any more.
    lingers: bool,
}

counters! {
    /// Events, counted since the start.
    UdpCounters {
        sent = "udp_sent",
        received = "udp_received",
        /// Datagrams whose neighbour did not answer, or for whose neighbour too many waited.
        dropped_unresolved = "udp_dropped_unresolved",
        /// Datagrams whose port was closed while they waited to be received or sent.
        dropped_closed = "udp_dropped_closed",
    }
}

/// What UDP needs of the rest of the stack to send.
pub(crate) struct Context<'a, D> {
    pub own: &'a Interface,
    pub neighbors: &'a mut Neighbors,
    pub link: &'a mut Link<D>,
    /// The time in nanoseconds.
    pub now: u64,
}

/// All ports.
pub(crate) struct Udp {
    slots: Slab<Port>,
    by_port: BTreeMap<u16, usize>,
    /// When closed ports are removed at the latest.
    lingering: Deadlines,
    /// Ports from which datagrams wait to be sent.
    waiting: BTreeSet<usize>,
    /// Those of them that may have something to send now, in the order of their turns.
    turns: Queue,
    limits: Limits,
    /// Octets in a frame behind the Ethernet header.
    packet_max: usize,
    /// How many datagrams were sent at once since the last poll.
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
            packet_max: frame_max.saturating_sub(ETHERNET),
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

    /// Takes the next port whose readiness may have changed.
    pub fn next_change(&mut self) -> Option<Change> {
        let index = self.changed.pop()?;
        Some(Change::Datagrams(DatagramId(index)))
    }

    /// Copies a received datagram into its port's inbox, if there is such a port and room.
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

    /// Octets of memory that a port uses.
    fn octets(&self) -> usize {
        self.limits.udp_receive + self.limits.udp_transmit
    }

    /// Opens a port. `make_room` is called to make memory free, with the number of octets that the port
    /// uses, and returns whether they are free.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for port 0, [`Error::NoMemory`].
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

    /// Closes a port. Datagrams that wait are still sent, unless `now` is `None`.
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

    /// Removes the closed ports whose time is over.
    pub fn expire(&mut self, now: u64, memory: &mut Memory) {
        while let Some(slot) = self.lingering.due(now) {
            self.remove(slot, memory);
        }
    }

    /// Notes that a poll begins.
    pub fn begin(&mut self) {
        self.at_once = 0;
    }

    /// Gives a turn to all ports from which datagrams wait.
    pub fn advance(&mut self) {
        for &slot in &self.waiting {
            self.turns.push(slot);
        }
    }

    /// Whether no port waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.turns.is_empty()
    }

    /// The oldest datagram in the inbox, with its sender.
    pub fn first(&self, id: DatagramId) -> Option<(Address, &[u8])> {
        self.get(id)?.inbox.first()
    }

    /// Removes the oldest datagram from the inbox, after a program got it.
    pub fn take_first(&mut self, id: DatagramId) {
        if let Some(port) = self.get_mut(id) {
            port.inbox.pop();
            self.counters.received += 1;
        }
    }
}
