//! Connections and listeners over smoltcp's sockets.
//!
//! **Listening.** smoltcp's LISTEN socket takes one connection and any SYN, so a pool of
//! them refuses bursts with RST and lets a repeated SYN land on a second one. Here a
//! listener is no socket at all. A SYN that opens a connection to a port with a listener
//! gets a socket made for it, in LISTEN just while smoltcp processes that one frame, so
//! there is never more than one and it can take no other segment. Over the backlog the
//! SYN is dropped without a word: the peer asks again. Half-open connections expire.
//!
//! **Ends.** A connection that its program closed is an orphan until what was queued and
//! the FIN are acknowledged. In TIME-WAIT it becomes an entry of [`super::time_wait`].
//! What a program has not read yet stays readable: its socket leaves the set that smoltcp
//! scans and is kept until it is closed.

mod ends;
mod listening;
mod programs;
mod segments;

use super::memory::Memory;
use super::queue::Queue;
use super::time_wait::TimeWait;
use super::{Change, ConnectionId, Tuple};
use crate::config::{Limits, Timers};
use abi::Error;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Duration;

/// How long the RST of an aborted connection may wait for room and a neighbour.
const DYING_NS: u64 = 1_000_000_000;

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Its SYN was answered; the peer has until then to complete it.
    HalfOpen { since: u64 },
    /// Complete, waiting to be accepted.
    Waiting,
    /// A program's.
    Held,
    /// Closed by its program; what is left must progress by then.
    Orphan { deadline: u64, left: (usize, State) },
    /// Aborted; its RST may wait until then.
    Dying { until: u64 },
}

/// Where the socket is.
enum Place {
    /// In the set that smoltcp serves.
    Attached(SocketHandle),
    /// Over, but perhaps not read to its end.
    Detached(Box<Socket<'static>>),
}

struct Connection {
    tuple: Tuple,
    place: Place,
    role: Role,
    /// Was ever established.
    established: bool,
    /// The peer's FIN has come.
    peer_finished: bool,
    /// Our side was closed for sending.
    finished: bool,
    /// What arrives is discarded.
    deaf: bool,
    /// Why it failed; taken when told.
    error: Option<Error>,
}

struct Listener {
    backlog: usize,
    half_open: usize,
    ready: VecDeque<ConnectionId>,
}

/// Events, counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct TcpCounters {
    pub accepted: u64,
    pub connected: u64,
    pub syns_dropped: u64,
    pub half_open_expired: u64,
    pub resets_received: u64,
    pub timeouts: u64,
    pub orphans_aborted: u64,
}

/// What a program can know of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The peer has not answered yet.
    Connecting,
    /// It is or was a connection.
    Open,
    /// It never came to be.
    Failed(Error),
}

/// All of TCP that smoltcp does not do.
pub(super) struct Tcp {
    slots: Vec<Option<Connection>>,
    by_tuple: BTreeMap<Tuple, ConnectionId>,
    listeners: BTreeMap<u16, Listener>,
    time_wait: TimeWait,
    limits: Limits,
    timers: Timers,
    pub counters: TcpCounters,
    /// Connections whose readiness may have changed, and listeners.
    changed: Queue,
    changed_listeners: BTreeSet<u16>,
    /// When the next half-open connection or orphan expires.
    deadline: Option<u64>,
}

type Sockets = SocketSet<'static>;

impl Connection {
    fn socket<'a>(&'a self, sockets: &'a Sockets) -> &'a Socket<'static> {
        match &self.place {
            Place::Attached(handle) => sockets.get(*handle),
            Place::Detached(socket) => socket,
        }
    }

    fn socket_mut<'a>(&'a mut self, sockets: &'a mut Sockets) -> &'a mut Socket<'static> {
        match &mut self.place {
            Place::Attached(handle) => sockets.get_mut(*handle),
            Place::Detached(socket) => socket,
        }
    }

    fn detach(&mut self, sockets: &mut Sockets) {
        if let Place::Attached(handle) = self.place
            && let smoltcp::socket::Socket::Tcp(socket) = sockets.remove(handle)
        {
            self.place = Place::Detached(Box::new(socket));
        }
    }

    /// Throws received octets away; returns how many.
    fn discard(&mut self, sockets: &mut Sockets) -> usize {
        let socket = self.socket_mut(sockets);
        let mut discarded = 0;
        while let Ok(count @ 1..) = socket.recv(|octets| (octets.len(), octets.len())) {
            discarded += count;
        }
        discarded
    }
}

impl Tcp {
    pub fn new(limits: Limits, timers: Timers) -> Self {
        Tcp {
            slots: Vec::new(),
            by_tuple: BTreeMap::new(),
            listeners: BTreeMap::new(),
            time_wait: TimeWait::new(limits.time_wait, timers.time_wait),
            limits,
            timers,
            counters: TcpCounters::default(),
            changed: Queue::default(),
            changed_listeners: BTreeSet::new(),
            deadline: None,
        }
    }

    pub fn next_change(&mut self) -> Option<Change> {
        let listener = self.changed_listeners.pop_first();
        listener.map(Change::Listener).or_else(|| {
            let index = self.changed.pop()?;
            Some(Change::Stream(ConnectionId(index)))
        })
    }

    pub fn connections(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    pub fn half_open(&self) -> usize {
        self.listeners.values().map(|l| l.half_open).sum()
    }

    pub fn orphans(&self) -> usize {
        let orphan = |c: &&Connection| matches!(c.role, Role::Orphan { .. } | Role::Dying { .. });
        self.slots.iter().flatten().filter(orphan).count()
    }

    pub fn time_waits(&self) -> usize {
        self.time_wait.len()
    }

    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Whether a connection uses this local port.
    pub fn uses_port(&self, port: u16) -> bool {
        let anyone = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let first = Tuple { port, peer: anyone };
        self.by_tuple
            .range(first..)
            .next()
            .is_some_and(|(tuple, _)| tuple.port == port)
    }

    fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slots.get(id.0)?.as_ref()
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.0)?.as_mut()
    }

    fn buffer_octets(&self) -> usize {
        self.limits.tcp_receive + self.limits.tcp_transmit
    }

    fn new_socket(&self, memory: &mut Memory) -> Option<Socket<'static>> {
        let receive = memory.take(self.limits.tcp_receive)?;
        let Some(transmit) = memory.take(self.limits.tcp_transmit) else {
            memory.give_back(receive.len());
            return None;
        };
        let mut socket = Socket::new(SocketBuffer::new(receive), SocketBuffer::new(transmit));
        socket.set_congestion_control(CongestionControl::Reno);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(short(self.timers.ack_delay)));
        // Now: set on an open connection it would send a probe at once.
        socket.set_keep_alive(Some(short(self.timers.keep_alive)));
        Some(socket)
    }

    fn insert(&mut self, tuple: Tuple, handle: SocketHandle, role: Role) -> ConnectionId {
        let connection = Connection {
            tuple,
            place: Place::Attached(handle),
            role,
            established: false,
            peer_finished: false,
            finished: false,
            deaf: false,
            error: None,
        };
        let index = match self.slots.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        self.slots[index] = Some(connection);
        self.by_tuple.insert(tuple, ConnectionId(index));
        ConnectionId(index)
    }

    /// Forgets a connection and frees its buffers.
    fn remove(&mut self, id: ConnectionId, sockets: &mut Sockets, memory: &mut Memory) {
        let Some(connection) = self.slots.get_mut(id.0).and_then(Option::take) else {
            return;
        };
        if let Place::Attached(handle) = connection.place {
            sockets.remove(handle);
        }
        memory.give_back(self.buffer_octets());
        self.forget_tuple(connection.tuple, id);
        self.leave_listener(id, connection.tuple.port, connection.role);
    }

    /// A connection that nobody has accepted will not be accepted.
    fn leave_listener(&mut self, id: ConnectionId, port: u16, role: Role) {
        self.changed.push(id.0);
        let Some(listener) = self.listeners.get_mut(&port) else {
            return;
        };
        match role {
            Role::HalfOpen { .. } => listener.half_open -= 1,
            Role::Waiting => {
                listener.ready.retain(|&ready| ready != id);
                self.changed_listeners.insert(port);
            }
            _ => {}
        }
    }

    fn forget_tuple(&mut self, tuple: Tuple, id: ConnectionId) {
        if self.by_tuple.get(&tuple) == Some(&id) {
            self.by_tuple.remove(&tuple);
        }
    }
}

fn short(duration: core::time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
