//! Datagram sockets over smoltcp's.
//!
//! smoltcp's queue holds only datagrams that can leave at once. Those whose neighbour is
//! still asked for ([`super::neighbors`]) wait in a queue per socket, at most
//! [`PER_HOP`] for one neighbour, where they hold up nobody else's; and those that must
//! be fragmented wait for their turn there, because smoltcp has one fragmentation buffer
//! and would overwrite it.

use super::memory::Memory;
use super::neighbors::Neighbors;
use super::queue::Queue;
use super::{Change, DatagramId, ip_endpoint, socket_address};
use crate::config::Limits;
use abi::{Error, Result};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};

/// Datagrams that wait for one neighbour in one socket; more push out the oldest.
pub(super) const PER_HOP: usize = 16;
/// Datagrams a receive or transmit buffer holds.
const SLOTS: usize = 64;
/// How long the last datagrams of a closed socket may take.
const LINGER_NS: u64 = 4_000_000_000;
/// The longest datagram's data: what fits smoltcp's fragmentation buffer, which the
/// feature in Cargo.toml sizes, without the IPv4 and UDP headers.
pub(crate) const DATAGRAM_MAX: usize = 16384 - 20 - 8;

type Sockets = SocketSet<'static>;

struct Outgoing {
    hop: Option<Ipv4Addr>,
    to: SocketAddrV4,
    octets: Vec<u8>,
}

struct Port {
    handle: SocketHandle,
    port: u16,
    waiting: VecDeque<Outgoing>,
    waiting_octets: usize,
    /// What [`queued`] said last.
    queued: (usize, bool),
    /// Closed by its program; gone when empty, or then.
    lingers_until: Option<u64>,
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
    slots: Vec<Option<Port>>,
    limits: Limits,
    /// The longest data that leaves in one frame.
    unfragmented_max: usize,
    /// The socket that smoltcp holds a datagram to fragment of.
    fragmenting: Option<SocketHandle>,
    /// Ports whose readiness may have changed.
    changed: Queue,
    pub counters: UdpCounters,
}

impl Port {
    fn push(&mut self, outgoing: Outgoing) {
        self.waiting_octets += outgoing.octets.len();
        self.waiting.push_back(outgoing);
    }

    fn remove(&mut self, index: usize) -> Option<Outgoing> {
        let outgoing = self.waiting.remove(index)?;
        self.waiting_octets -= outgoing.octets.len();
        Some(outgoing)
    }

    fn count(&self, hop: Option<Ipv4Addr>) -> usize {
        self.waiting.iter().filter(|o| o.hop == hop).count()
    }

    fn remove_oldest(&mut self, hop: Option<Ipv4Addr>) -> Option<Outgoing> {
        let index = self.waiting.iter().position(|o| o.hop == hop)?;
        self.remove(index)
    }
}

impl Udp {
    pub fn new(limits: Limits, frame_max: usize) -> Self {
        Udp {
            slots: Vec::new(),
            limits,
            unfragmented_max: frame_max.saturating_sub(14 + 20 + 8),
            fragmenting: None,
            changed: Queue::default(),
            counters: UdpCounters::default(),
        }
    }

    fn get(&self, id: DatagramId) -> Option<&Port> {
        self.slots.get(id.0)?.as_ref()
    }

    fn get_mut(&mut self, id: DatagramId) -> Option<&mut Port> {
        self.slots.get_mut(id.0)?.as_mut()
    }

    pub fn next_change(&mut self) -> Option<Change> {
        let index = self.changed.pop()?;
        Some(Change::Datagrams(DatagramId(index)))
    }

    /// A datagram may have arrived at any port.
    pub fn changed_all(&mut self) {
        for index in 0..self.slots.len() {
            self.changed.push(index);
        }
    }

    pub fn sockets(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Opens a port.
    pub fn open(
        &mut self,
        port: u16,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Result<DatagramId> {
        for index in 0..self.slots.len() {
            if self.slots[index].as_ref().is_some_and(|p| p.port == port) {
                self.remove(index, sockets, memory);
            }
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
        let port = Port {
            handle: sockets.add(socket),
            port,
            waiting: VecDeque::new(),
            waiting_octets: 0,
            queued: (0, true),
            lingers_until: None,
        };
        let index = match self.slots.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        self.slots[index] = Some(port);
        Ok(DatagramId(index))
    }

    fn remove(&mut self, index: usize, sockets: &mut Sockets, memory: &mut Memory) {
        if let Some(port) = self.slots.get_mut(index).and_then(Option::take) {
            sockets.remove(port.handle);
            memory.give_back(self.limits.udp_receive + self.limits.udp_transmit);
            if self.fragmenting == Some(port.handle) {
                self.fragmenting = None;
            }
        }
    }

    /// Closes a port. Unless `now` is `None`, what is queued is still sent.
    pub fn close(
        &mut self,
        id: DatagramId,
        now: Option<u64>,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) {
        match (now, self.get_mut(id)) {
            (Some(now), Some(port)) => port.lingers_until = Some(now + LINGER_NS),
            _ => self.remove(id.0, sockets, memory),
        }
    }

    /// Frees closed ports that have nothing left to send.
    pub fn sweep(&mut self, now: u64, sockets: &mut Sockets, memory: &mut Memory) {
        for index in 0..self.slots.len() {
            let Some(port) = &mut self.slots[index] else {
                continue;
            };
            let queued = queued(sockets.get(port.handle));
            if core::mem::replace(&mut port.queued, queued) != queued {
                self.changed.push(index);
            }
            let empty = queued.0 == 0 && port.waiting.is_empty();
            if port
                .lingers_until
                .is_some_and(|until| empty || until <= now)
            {
                self.remove(index, sockets, memory);
            }
        }
    }

    /// When the next closed port is given up.
    pub fn deadline(&self) -> Option<u64> {
        self.slots
            .iter()
            .flatten()
            .filter_map(|p| p.lingers_until)
            .min()
    }

    /// Queues a datagram. `hop` is the neighbour it goes to; `None` for a group.
    pub fn send(
        &mut self,
        id: DatagramId,
        (to, hop): (SocketAddrV4, Option<Ipv4Addr>),
        octets: &[u8],
        now: u64,
        neighbors: &mut Neighbors,
        sockets: &mut Sockets,
    ) -> Result<()> {
        let (limit, single) = (self.limits.udp_transmit, self.unfragmented_max);
        if octets.len() > DATAGRAM_MAX.min(limit) {
            return Err(Error::TooLong);
        }
        let port = self.get_mut(id).ok_or(Error::NotConnected)?;
        let reachable = hop.is_none_or(|hop| neighbors.knows(hop, now));
        if reachable && octets.len() <= single && port.count(hop) == 0 {
            let socket: &mut Socket = sockets.get_mut(port.handle);
            socket
                .send_slice(octets, ip_endpoint(to))
                .map_err(|_| Error::WouldBlock)?;
            port.queued = queued(socket);
            self.counters.sent += 1;
            return Ok(());
        }
        let full = |port: &Port| port.waiting_octets + octets.len() > limit;
        if let Some(hop) = hop
            && !reachable
        {
            if !neighbors.ask(hop, now) {
                return Err(Error::Unreachable);
            }
            let mut dropped = 0;
            while full(port) || port.count(Some(hop)) >= PER_HOP {
                if port.remove_oldest(Some(hop)).is_none() {
                    break;
                }
                dropped += 1;
            }
            if full(port) {
                self.counters.dropped_unresolved += dropped + 1;
                return Ok(());
            }
            self.counters.dropped_unresolved += dropped;
        } else if full(port) || port.waiting.len() >= SLOTS {
            return Err(Error::WouldBlock);
        }
        let port = self.get_mut(id).ok_or(Error::NotConnected)?;
        let octets = octets.to_vec();
        port.push(Outgoing { hop, to, octets });
        Ok(())
    }

    /// Whether a datagram of ordinary size would be taken.
    pub fn can_send(&self, id: DatagramId, sockets: &Sockets) -> bool {
        self.get(id).is_some_and(|port| {
            let socket: &Socket = sockets.get(port.handle);
            let free = socket.payload_send_capacity() - socket.send_queue();
            // Twice a frame: the free octets may be in two pieces.
            socket.can_send()
                && free >= 2 * self.unfragmented_max
                && port.waiting.len() < SLOTS
                && port.waiting_octets + self.unfragmented_max <= self.limits.udp_transmit
        })
    }

    /// Hands smoltcp the datagrams that can leave. `busy`: its fragmentation buffer is.
    pub fn feed(&mut self, now: u64, busy: bool, neighbors: &Neighbors, sockets: &mut Sockets) {
        if let Some(handle) = self.fragmenting
            && !busy
            && sockets.get::<Socket>(handle).send_queue() == 0
        {
            self.fragmenting = None;
        }
        for (slot, port) in self.slots.iter_mut().enumerate() {
            let Some(port) = port else {
                continue;
            };
            let socket: &mut Socket = sockets.get_mut(port.handle);
            let mut index = 0;
            while let Some(outgoing) = port.waiting.get(index) {
                if !outgoing.hop.is_none_or(|hop| neighbors.knows(hop, now)) {
                    index += 1;
                    continue;
                }
                let large = outgoing.octets.len() > self.unfragmented_max;
                if large && (busy || self.fragmenting.is_some()) {
                    break;
                }
                if socket
                    .send_slice(&outgoing.octets, ip_endpoint(outgoing.to))
                    .is_err()
                {
                    break;
                }
                if large {
                    self.fragmenting = Some(port.handle);
                }
                self.counters.sent += 1;
                port.remove(index);
                port.queued = queued(socket);
                self.changed.push(slot);
            }
        }
    }

    /// A neighbour does not answer: what waits for it is dropped.
    pub fn give_up(&mut self, hop: Ipv4Addr) {
        for (slot, port) in self.slots.iter_mut().enumerate() {
            while let Some(port) = port
                && port.remove_oldest(Some(hop)).is_some()
            {
                self.counters.dropped_unresolved += 1;
                self.changed.push(slot);
            }
        }
    }

    /// Makes sure that a neighbour that datagrams wait for is being asked for: it may
    /// have been known when they were queued.
    pub fn ask_again(&self, now: u64, neighbors: &mut Neighbors) {
        for outgoing in self.slots.iter().flatten().flat_map(|port| &port.waiting) {
            if let Some(hop) = outgoing.hop
                && !neighbors.knows(hop, now)
            {
                neighbors.ask(hop, now);
            }
        }
    }

    /// The sender of the next datagram.
    pub fn sender(&self, id: DatagramId, sockets: &mut Sockets) -> Option<SocketAddrV4> {
        let socket: &mut Socket = sockets.get_mut(self.get(id)?.handle);
        let (_, metadata) = socket.peek().ok()?;
        Some(socket_address(metadata.endpoint))
    }

    /// Lets `take` look at the next datagram; it is gone if that succeeds.
    pub fn receive<R>(
        &mut self,
        id: DatagramId,
        sockets: &mut Sockets,
        take: impl FnOnce(&[u8], SocketAddrV4) -> Result<R>,
    ) -> Result<R> {
        let port = self.get(id).ok_or(Error::NotConnected)?;
        let socket: &mut Socket = sockets.get_mut(port.handle);
        let (octets, metadata) = socket.peek().map_err(|_| Error::WouldBlock)?;
        let taken = take(octets, socket_address(metadata.endpoint))?;
        // It was peeked at, so it is there.
        let _ = socket.recv();
        self.counters.received += 1;
        Ok(taken)
    }

    /// Throws the next datagram away.
    pub fn skip(&mut self, id: DatagramId, sockets: &mut Sockets) {
        if let Some(port) = self.get(id) {
            let _ = sockets.get_mut::<Socket>(port.handle).recv();
        }
    }
}

/// What decides whether smoltcp's queue has room.
fn queued(socket: &Socket) -> (usize, bool) {
    (socket.send_queue(), socket.can_send())
}
