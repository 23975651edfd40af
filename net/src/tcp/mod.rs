//! TCP over smoltcp's sockets: connections and listeners.
//!
//! **Listening.** smoltcp's socket in LISTEN takes any SYN and becomes that one connection. A pool of
//! such sockets would refuse bursts of SYNs with RST, and a repeated SYN would reach a second socket.
//! So a listener is no socket here, and a connection in SYN-RECEIVED is an entry of a table, or nothing
//! but a SYN cookie ([`half_open`]). The segment that completes a connection makes its socket. While
//! the backlog is full, SYNs are dropped without an answer: the peer repeats them.
//!
//! **Ending.** A connection that its program has closed is an orphan until the queued octets and the
//! FIN are acknowledged. In TIME-WAIT it becomes an entry of [`time_wait`]. If a program has not read
//! everything yet when its connection is over, the connection is detached: smoltcp gets it no more, but
//! it can be read until the program closes it.

pub(crate) mod arrives;
#[cfg(test)]
mod audit;
mod closing;
pub(crate) mod device;
mod dormant;
pub(crate) mod early_syns;
pub(crate) mod emit;
pub(crate) mod engine;
mod half_open;
pub(crate) mod handshake;
mod isn;
mod opening;
pub(crate) mod path_mtu;
mod pool;
mod schedule;
mod segments;
pub(crate) mod sequence;
pub(crate) mod sole_socket;
mod time_wait;
mod turns;
mod user_calls;

use crate::config::{Limits, Timers};
use crate::counters::counters;
use crate::deadlines::Deadlines;
use crate::index::Index;
use crate::ip::interface::Interface;
use crate::link::ethernet::{IPV4_HEADER, IPV6_HEADER};
use crate::memory::Memory;
use crate::names::{Change, ConnectionId, Tuple};
use crate::pace::Quota;
use crate::queue::Queue;
use crate::secret::{Purpose, Secret};
use crate::verdict::{DropReason, Verdict};
use abi::Error;
use abi::socket::Ip;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use arrives::Substitute;
use dormant::KeepAlive;
use engine::SocketParts;
use half_open::HalfOpens;
use handshake::{Acknowledgment, SynAck};
use isn::IsnGenerator;
use path_mtu::Paths;
pub(crate) use pool::BEGAN_HERE;
use pool::Group;
use schedule::Schedule;
use sequence::SequenceVariables;
use slab::Slab;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::wire::TcpSeqNumber;
use sole_socket::SoleSocket;
use time_wait::TimeWait;
pub(crate) use turns::Turn;

/// How long the RST of an aborted connection may wait for room at the card or for the station of a
/// neighbour.
const DYING_NS: u64 = 1_000_000_000;

/// What TCP needs of the rest of the stack.
pub(crate) struct Context<'a> {
    pub own: &'a Interface,
    pub memory: &'a mut Memory,
    /// The time in nanoseconds.
    pub now: u64,
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Nobody yet: the segment that is being processed completes it.
    Opening,
    /// Its listener: it is complete and waits to be accepted.
    Waiting,
    /// A program.
    Held,
    /// Nobody any more: its program has closed it. It is aborted if it makes no progress for a while:
    /// these are its queued octets and its state when it did last.
    Orphan(usize, State),
    /// Nobody any more: it was aborted, and its RST may wait for [`DYING_NS`].
    Dying,
}

struct Connection {
    tuple: Tuple,
    /// `None` if the connection is dormant, or detached without anything to read.
    socket: Option<SoleSocket>,
    /// The group whose memory its buffers are ([`pool`]).
    group: u16,
    /// When an octet was delivered or acknowledged last.
    moved_at: u64,
    /// Used while it is dormant.
    keep_alive: KeepAlive,
    role: Role,
    /// It is over, but perhaps not read to its end.
    detached: bool,
    /// It was in ESTABLISHED once.
    established: bool,
    /// The peer's FIN was received.
    fin_received: bool,
    /// Its program has ended sending: our FIN was sent or will be.
    fin_queued: bool,
    /// Its program has ended receiving: octets that arrive are discarded.
    receive_shut: bool,
    sequence: SequenceVariables,
    /// The sequence number of the first octet that was not read yet, once the peer's SYN has come.
    unread: Option<TcpSeqNumber>,
    /// Why it failed, until its program takes the error.
    error: Option<Error>,
}

struct Listener {
    backlog: usize,
    /// How many entries of [`half_open`] belong to it.
    half_open: usize,
    /// Complete connections that wait to be accepted.
    ready: VecDeque<ConnectionId>,
}

counters! {
    /// Events, counted since the start.
    TcpCounters {
        accepted = "tcp_accepted",
        connected = "tcp_connects",
        syns_dropped = "tcp_syns_dropped",
        half_open_expired = "tcp_half_open_expired",
        /// SYN-ACKs that were sent again.
        syn_acks_repeated = "tcp_syn_acks_repeated",
        /// SYNs that were answered with a cookie.
        cookies_sent = "tcp_cookies_sent",
        /// Connections that were made from a cookie.
        cookies_accepted = "tcp_cookies_accepted",
        /// Acknowledgments that came while cookies were valid, and held none.
        cookies_refused = "tcp_cookies_refused",
        resets_received = "tcp_resets_received",
        timeouts = "tcp_timeouts",
        orphans_aborted = "tcp_orphans_aborted",
        resets_sent = "tcp_resets_sent",
        /// RSTs that were not sent, since there were too many.
        resets_held = "tcp_resets_held",
        /// Segments shortened because a path has a smaller MTU.
        paths_narrowed = "tcp_paths_narrowed",
        /// Challenge ACKs that were sent, and those that were not, since there were too many.
        challenges_sent = "tcp_challenges_sent",
        challenges_held = "tcp_challenges_held",
        /// Connections that were reset because others needed their memory.
        gave_way = "tcp_gave_way",
        /// Dormant connections that could not wake for lack of memory.
        wakes_refused = "tcp_wakes_refused",
    }
}

/// What a program can know of a connection's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The peer has not answered yet.
    Connecting,
    /// It is or was established.
    Open,
    /// It was never established.
    Failed(Error),
}

/// The object that the ends of a connection belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Connection(ConnectionId),
    /// An entry of [`half_open`].
    HalfOpen(usize),
}

/// What is to be done with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// smoltcp processes it for this connection.
    Process(ConnectionId),
    /// smoltcp processes `substitute` in its place, and then, if there is one, `acknowledge`, which
    /// makes it acknowledge.
    Substitute {
        id: ConnectionId,
        substitute: Substitute,
        acknowledge: Option<Substitute>,
    },
    /// It is dropped, and smoltcp processes a substitute that makes it acknowledge.
    DropAndAcknowledge(ConnectionId, Substitute, DropReason),
    /// It has this verdict and is answered with an acknowledgment.
    Acknowledge(Acknowledgment, Verdict),
    /// It is a SYN and is answered with SYN and ACK.
    SynAck(SynAck),
    /// It is dropped and answered with a RST (RFC 9293 §3.5.2).
    Reset(DropReason),
    /// It is dropped.
    Drop(DropReason),
    /// Nothing is left to be done.
    Done,
}

/// The part of TCP that smoltcp does not do.
pub(crate) struct Tcp {
    slots: Slab<Connection>,
    by_tuple: Index<Tuple, Holder>,
    /// The connection of the last segment, which the next segment probably belongs to.
    latest: Option<(Tuple, ConnectionId)>,
    /// How many connections use each local port.
    ports: BTreeMap<u16, usize>,
    listeners: BTreeMap<u16, Listener>,
    groups: BTreeMap<u16, Group>,
    time_wait: TimeWait,
    schedule: Schedule,
    half_open: HalfOpens,
    /// When orphans and aborted connections expire.
    orphans: Deadlines,
    dying: Deadlines,
    limits: Limits,
    timers: Timers,
    /// Octets of data in the longest segment that fits a frame.
    link_mss: usize,
    paths: Paths,
    isn: IsnGenerator,
    /// Limits RSTs that answer segments for no connection.
    resets: Quota,
    pub counters: TcpCounters,
    /// Connections whose readiness may have changed, and listeners.
    changed: Queue,
    changed_listeners: BTreeSet<u16>,
}

impl Connection {
    /// Discards the received octets. Returns how many there were.
    fn discard(&mut self) -> usize {
        let Some(socket) = self.socket_mut() else {
            return 0;
        };
        let mut discarded = 0;
        while let Ok(count @ 1..) = socket.recv(|octets| (octets.len(), octets.len())) {
            discarded += count;
        }
        self.was_read(discarded);
        discarded
    }

    /// Notes that `count` octets were taken from the receive buffer.
    fn was_read(&mut self, count: usize) {
        self.unread = self.unread.map(|unread| unread + count);
    }
}

impl Tcp {
    #[cold]
    pub fn new(limits: Limits, timers: Timers, link_mss: usize, secret: &Secret) -> Self {
        let key = secret.key(Purpose::Tables);
        Tcp {
            slots: Slab::new(),
            by_tuple: Index::with_hasher(key),
            latest: None,
            ports: BTreeMap::new(),
            listeners: BTreeMap::new(),
            groups: BTreeMap::new(),
            time_wait: TimeWait::new(limits.time_wait, timers.time_wait, key),
            schedule: Schedule::default(),
            half_open: HalfOpens::default(),
            orphans: Deadlines::default(),
            dying: Deadlines::default(),
            limits,
            timers,
            link_mss,
            paths: Paths::default(),
            isn: IsnGenerator::new(secret),
            resets: Quota::new(secret.key(Purpose::Resets)),
            counters: TcpCounters::default(),
            changed: Queue::default(),
            changed_listeners: BTreeSet::new(),
        }
    }

    /// Takes the next listener or connection whose readiness may have changed.
    pub fn next_change(&mut self) -> Option<Change> {
        let listener = self.changed_listeners.pop_first();
        listener.map(Change::Listener).or_else(|| {
            let index = self.changed.pop()?;
            Some(Change::Stream(ConnectionId(index)))
        })
    }

    pub fn connections(&self) -> usize {
        self.slots.len() + self.half_open.len()
    }

    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    pub fn orphans(&self) -> usize {
        self.orphans.len() + self.dying.len()
    }

    pub fn time_waits(&self) -> usize {
        self.time_wait.len()
    }

    /// Whether a connection uses this local port.
    pub fn uses_port(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slots.get(id.0)
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots.get_mut(id.0)
    }

    /// A connection as smoltcp takes it; `None` if it has no socket.
    pub fn parts(&mut self, id: ConnectionId) -> Option<SocketParts<'_>> {
        let connection = self.get_mut(id)?;
        Some((connection.socket.as_mut()?.set(), &mut connection.sequence))
    }

    /// Octets of data in the longest segment to this host that our link takes.
    fn link_mss_to(&self, host: &Ip) -> usize {
        match host.is_v4() {
            true => self.link_mss,
            false => self.link_mss - (IPV6_HEADER - IPV4_HEADER),
        }
    }

    fn insert(
        &mut self,
        tuple: Tuple,
        group: u16,
        socket: SoleSocket,
        role: Role,
        now: u64,
    ) -> ConnectionId {
        let path_mss = self.paths.mss(tuple.peer.ip, now);
        let link_mss = self.link_mss_to(&tuple.peer.ip);
        let mss = path_mss.map_or(link_mss, |mss| link_mss.min(mss.into()));
        let connection = Connection {
            tuple,
            sequence: SequenceVariables::new(socket.get().recv_capacity(), mss),
            socket: Some(socket),
            group,
            moved_at: now,
            keep_alive: KeepAlive::default(),
            role,
            detached: false,
            established: false,
            fin_received: false,
            fin_queued: false,
            receive_shut: false,
            unread: None,
            error: None,
        };
        self.enter(connection, now)
    }

    /// Enters a connection in all tables.
    fn enter(&mut self, connection: Connection, now: u64) -> ConnectionId {
        let (tuple, role) = (connection.tuple, connection.role);
        let id = ConnectionId(self.slots.insert(connection));
        self.hold(tuple, Holder::Connection(id));
        self.latest = Some((tuple, id));
        self.schedule.touch(id.0);
        self.enter_role(id, tuple.port, role, now);
        id
    }

    /// Notes the object that these ends belong to. A connection may replace its half-open entry.
    fn hold(&mut self, tuple: Tuple, holder: Holder) {
        if self.by_tuple.insert(tuple, holder).is_none() {
            *self.ports.entry(tuple.port).or_default() += 1;
        }
    }

    /// Removes a connection and frees its buffers.
    fn remove(&mut self, id: ConnectionId, memory: &mut Memory) {
        let Some(connection) = self.slots.try_remove(id.0) else {
            return;
        };
        self.unrank(id, connection.group);
        self.give_back(connection.group, connection.socket, memory);
        self.schedule.forget(id.0);
        self.changed.push(id.0);
        if !connection.detached {
            self.forget_tuple(connection.tuple);
        }
        self.leave_role(id, connection.tuple.port, connection.role);
    }

    /// Detaches a connection that is over: smoltcp gets it no more, but it can still be read.
    fn detach(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if core::mem::replace(&mut connection.detached, true) {
            return;
        }
        let (tuple, group) = (connection.tuple, connection.group);
        self.unrank(id, group);
        self.schedule.forget(id.0);
        self.forget_tuple(tuple);
    }

    /// The object that these ends belong to.
    #[inline]
    fn find(&mut self, tuple: &Tuple) -> Option<Holder> {
        match self.latest {
            Some((latest, id)) if latest == *tuple => Some(Holder::Connection(id)),
            _ => self.search(tuple),
        }
    }

    #[inline(never)]
    fn search(&mut self, tuple: &Tuple) -> Option<Holder> {
        let holder = self.by_tuple.get(tuple).copied();
        if let Some(Holder::Connection(id)) = holder {
            self.latest = Some((*tuple, id));
        }
        holder
    }

    /// The connection between these ends.
    #[inline]
    fn connection_of(&mut self, tuple: &Tuple) -> Option<ConnectionId> {
        match self.find(tuple)? {
            Holder::Connection(id) => Some(id),
            Holder::HalfOpen(_) => None,
        }
    }

    /// Frees these ends for other connections.
    fn forget_tuple(&mut self, tuple: Tuple) {
        self.by_tuple.remove(&tuple);
        self.latest = None;
        if let Some(count) = self.ports.get_mut(&tuple.port) {
            *count -= 1;
            if *count == 0 {
                self.ports.remove(&tuple.port);
            }
        }
    }
}

/// A duration as smoltcp takes it.
fn micros(duration: core::time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
