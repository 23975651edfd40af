//! Datagram sockets over smoltcp's.
//!
//! smoltcp's queue holds only datagrams that can leave at once. Those whose neighbour is
//! still asked for ([`super::neighbors`]) wait in a queue per socket, at most
//! [`PER_HOP`] for one neighbour, where they hold up nobody else's; and those that must
//! be fragmented wait for their turn there, because smoltcp has one fragmentation buffer
//! and would overwrite it.

#[cfg(test)]
mod audit;
mod waiting;

use crate::config::Limits;
use crate::deadlines::Deadlines;
use crate::queue::Queue;
use crate::stack::agenda::Agenda;
use crate::stack::engine::{Next, Solo};
use crate::stack::index::{Index, Key};
use crate::stack::memory::Memory;
use crate::stack::{Change, DatagramId, socket_address};
use abi::{Error, Result};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec;
use core::net::SocketAddrV4;
use slab::Slab;
use smoltcp::iface::SocketSet;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};
use waiting::Outgoing;

/// Datagrams that wait for one neighbour in one socket; more push out the oldest.
pub(super) const PER_HOP: usize = 16;
/// Datagrams a receive or transmit buffer holds.
const SLOTS: usize = 64;
/// How long the last datagrams of a closed socket may take.
const LINGER_NS: u64 = 4_000_000_000;
/// The longest datagram's data: what fits smoltcp's fragmentation buffer, which the
/// feature in Cargo.toml sizes, without the IPv4 and UDP headers.
pub(crate) const DATAGRAM_MAX: usize = 16384 - 20 - 8;

struct Port {
    solo: Solo<Socket<'static>>,
    port: u16,
    waiting: VecDeque<Outgoing>,
    waiting_octets: usize,
    /// Closed by its program; gone when empty.
    lingers: bool,
}

/// Events, counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct UdpCounters {
    pub sent: u64,
    pub received: u64,
    pub dropped_unresolved: u64,
}

/// All of UDP that smoltcp does not do.
pub(super) struct Udp {
    slots: Slab<Port>,
    by_port: Index<u16, usize>,
    agenda: Agenda,
    /// When closed ports are given up.
    lingering: Deadlines,
    /// Ports with datagrams outside of smoltcp's queue.
    waiting: BTreeSet<usize>,
    /// Those of them for which some may leave now.
    hungry: Queue,
    limits: Limits,
    /// The longest data that leaves in one frame.
    unfragmented_max: usize,
    /// The port that smoltcp holds a datagram to fragment of.
    fragmenting: Option<usize>,
    /// Ports whose readiness may have changed.
    changed: Queue,
    pub counters: UdpCounters,
}

impl Udp {
    pub fn new(limits: Limits, frame_max: usize, key: Key) -> Self {
        Udp {
            slots: Slab::new(),
            by_port: Index::with_hasher(key),
            agenda: Agenda::default(),
            lingering: Deadlines::default(),
            waiting: BTreeSet::new(),
            hungry: Queue::default(),
            limits,
            unfragmented_max: frame_max.saturating_sub(14 + 20 + 8),
            fragmenting: None,
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

    /// The socket that a datagram to a port goes to, as smoltcp takes it.
    pub fn set_of(&mut self, port: u16) -> Option<&mut SocketSet<'static>> {
        let slot = *self.by_port.get(&port)?;
        self.changed.push(slot);
        Some(self.slots.get_mut(slot)?.solo.set())
    }

    pub fn sockets(&self) -> usize {
        self.slots.len()
    }

    /// Opens a port.
    pub fn open(&mut self, port: u16, memory: &mut Memory) -> Result<DatagramId> {
        if let Some(&lingering) = self.by_port.get(&port) {
            self.remove(lingering, memory);
        }
        let mut buffer = |len: usize| {
            let octets = memory.take(len)?;
            Some(PacketBuffer::new(
                vec![PacketMetadata::EMPTY; SLOTS],
                octets,
            ))
        };
        let receive = buffer(self.limits.udp_receive).ok_or(Error::NoMemory)?;
        let Some(transmit) = buffer(self.limits.udp_transmit) else {
            memory.give_back(self.limits.udp_receive);
            return Err(Error::NoMemory);
        };
        let mut socket = Socket::new(receive, transmit);
        if socket.bind(port).is_err() {
            memory.give_back(self.limits.udp_receive + self.limits.udp_transmit);
            return Err(Error::InvalidArgument);
        }
        let slot = self.slots.insert(Port {
            solo: Solo::new(socket),
            port,
            waiting: VecDeque::new(),
            waiting_octets: 0,
            lingers: false,
        });
        self.by_port.insert(port, slot);
        Ok(DatagramId(slot))
    }

    fn remove(&mut self, slot: usize, memory: &mut Memory) {
        let Some(port) = self.slots.try_remove(slot) else {
            return;
        };
        memory.give_back(self.limits.udp_receive + self.limits.udp_transmit);
        self.by_port.remove(&port.port);
        self.agenda.forget(slot);
        self.lingering.clear(slot);
        self.waiting.remove(&slot);
        if self.fragmenting == Some(slot) {
            self.end_fragmenting();
        }
    }

    /// Closes a port. Unless `now` is `None`, what is queued is still sent.
    pub fn close(&mut self, id: DatagramId, now: Option<u64>, memory: &mut Memory) {
        match (now, self.get_mut(id)) {
            (Some(now), Some(port)) => {
                port.lingers = true;
                self.lingering.set(id.0, now.saturating_add(LINGER_NS));
                self.agenda.touch(id.0);
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

    /// The time has come for some ports.
    pub fn advance(&mut self, now: u64) {
        self.agenda.advance(now);
        for &slot in &self.waiting {
            self.hungry.push(slot);
        }
    }

    /// Whether no port waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.agenda.is_idle() && self.hungry.is_empty()
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<u64> {
        let given_up = self.lingering.first().map(|(at, _)| at);
        given_up.into_iter().chain(self.agenda.deadline()).min()
    }

    /// Gives the next port its turn: `turn` lets smoltcp send, and says whether it did.
    /// Returns whether there was one.
    pub fn take_turn(
        &mut self,
        memory: &mut Memory,
        turn: impl FnOnce(&mut SocketSet<'static>) -> (bool, Next),
    ) -> bool {
        let Some(slot) = self.agenda.next() else {
            return false;
        };
        let Some(port) = self.slots.get_mut(slot) else {
            return true;
        };
        let (sent, next) = turn(port.solo.set());
        // A neighbour that is known is not waited for; see the module.
        self.agenda.note(slot, next, None);
        let queued = port.solo.get().send_queue();
        if port.lingers && queued == 0 && port.waiting.is_empty() {
            self.remove(slot, memory);
            return true;
        }
        if !port.waiting.is_empty() {
            self.hungry.push(slot);
        }
        if sent {
            self.changed.push(slot);
        }
        if self.fragmenting == Some(slot) && queued == 0 {
            self.end_fragmenting();
        }
        true
    }

    /// The next long datagram may leave, whosever it is.
    fn end_fragmenting(&mut self) {
        self.fragmenting = None;
        for &slot in &self.waiting {
            self.hungry.push(slot);
        }
    }

    /// Whether a datagram of ordinary size would be taken.
    pub fn can_send(&self, id: DatagramId) -> bool {
        self.get(id).is_some_and(|port| {
            let socket = port.solo.get();
            let free = socket.payload_send_capacity() - socket.send_queue();
            // Twice a frame: the free octets may be in two pieces.
            socket.can_send()
                && free >= 2 * self.unfragmented_max
                && port.waiting.len() < SLOTS
                && port.waiting_octets + self.unfragmented_max <= self.limits.udp_transmit
        })
    }

    /// The sender of the next datagram.
    pub fn sender(&mut self, id: DatagramId) -> Option<SocketAddrV4> {
        let socket = self.get_mut(id)?.solo.get_mut();
        let (_, metadata) = socket.peek().ok()?;
        Some(socket_address(metadata.endpoint))
    }

    /// Lets `take` look at the next datagram; it is gone if that succeeds.
    pub fn receive<R>(
        &mut self,
        id: DatagramId,
        take: impl FnOnce(&[u8], SocketAddrV4) -> Result<R>,
    ) -> Result<R> {
        let port = self.get_mut(id).ok_or(Error::NotConnected)?;
        let socket = port.solo.get_mut();
        let (octets, metadata) = socket.peek().map_err(|_| Error::WouldBlock)?;
        let taken = take(octets, socket_address(metadata.endpoint))?;
        // It was peeked at, so it is there.
        let _ = socket.recv();
        self.counters.received += 1;
        Ok(taken)
    }

    /// Throws the next datagram away.
    pub fn skip(&mut self, id: DatagramId) {
        if let Some(port) = self.get_mut(id) {
            let _ = port.solo.get_mut().recv();
        }
    }
}
