//! Connections and listeners over smoltcp's sockets.
//!
//! **Listening.** smoltcp's LISTEN socket takes one connection and any SYN, so a pool of them
//! refuses bursts with RST and lets a repeated SYN land on a second one. Here a listener is no
//! socket at all, and SYN-RECEIVED an entry of a table, or nothing but a cookie ([`half_open`]).
//! The segment that completes a connection makes its socket, in LISTEN just while smoltcp processes
//! a SYN that is made for it. While as many as the backlog wait to be accepted, SYNs are dropped
//! without a word: the peer asks again.
//!
//! **Ends.** A connection that its program closed is an orphan until what was queued and
//! the FIN are acknowledged. In TIME-WAIT it becomes an entry of [`crate::tcp::time_wait`].
//! What a program has not read yet stays readable: the connection is detached then, which
//! means that smoltcp is not given it any more, and kept until it is closed.

pub(crate) mod agenda;
pub(crate) mod arrives;
#[cfg(test)]
mod audit;
mod closing;
pub(crate) mod device;
mod dormant;
pub(crate) mod early;
pub(crate) mod emit;
pub(crate) mod engine;
pub(crate) mod half_open;
pub(crate) mod handshake;
pub(crate) mod numbers;
pub(crate) mod opening;
pub(crate) mod path;
mod pool;
mod segments;
pub(crate) mod solo;
pub(crate) mod tcb;
pub(crate) mod time_wait;
mod turns;
mod user_calls;

use crate::config::{Limits, Timers};
use crate::deadlines::Deadlines;
use crate::index::Index;
use crate::memory::Memory;
use crate::names::{Change, ConnectionId, Tuple};
use crate::pace::Quota;
use crate::queue::Queue;
use crate::secret::{Purpose, Secret};
use crate::tcp::agenda::Agenda;
use crate::tcp::handshake::SynAck;
use crate::tcp::numbers::Numbers;
use crate::tcp::solo::Stream;
use crate::tcp::time_wait::{LastWord, TimeWait};
use crate::verdict::DropReason;
use abi::Error;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use arrives::Shape;
use dormant::Signs;
use half_open::HalfOpens;
use path::Paths;
pub(crate) use pool::BEGAN_HERE;
use pool::Group;
use slab::Slab;
use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::wire::TcpSeqNumber;
use tcb::Tcb;
pub(crate) use turns::Turn;

/// How long the RST of an aborted connection may wait for room and a neighbour.
const DYING_NS: u64 = 1_000_000_000;

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The segment at hand completes it.
    Opening,
    /// Complete, waiting to be accepted.
    Waiting,
    /// A program's.
    Held,
    /// Closed by its program; what is left must progress by then.
    Orphan { deadline: u64, left: (usize, State) },
    /// Aborted; its RST may wait until then.
    Dying { until: u64 },
}

struct Connection {
    tuple: Tuple,
    /// `None`: it is dormant.
    solo: Option<Stream>,
    /// Whose memory its buffers are.
    group: u16,
    /// When an octet was delivered or acknowledged last.
    moved_at: u64,
    /// While it is dormant.
    signs: Signs,
    role: Role,
    /// Over, but perhaps not read to its end.
    detached: bool,
    /// Was ever established.
    established: bool,
    /// The peer's FIN has come.
    peer_finished: bool,
    /// Our side was closed for sending.
    finished: bool,
    /// What arrives is discarded.
    deaf: bool,
    /// Its sequence variables.
    tcb: Tcb,
    /// The sequence number of the first octet that was not read yet, once the peer has
    /// told its own.
    unread: Option<TcpSeqNumber>,
    /// Why it failed; taken when told.
    error: Option<Error>,
}

struct Listener {
    backlog: usize,
    /// Entries of [`half_open`] that are its.
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
    /// SYN-ACKs that were sent again.
    pub syn_acks_repeated: u64,
    /// SYNs that were answered by a cookie; the connections that came of them; and segments that
    /// came while there were some, and brought none.
    pub cookies_sent: u64,
    pub cookies_accepted: u64,
    pub cookies_refused: u64,
    pub resets_received: u64,
    pub timeouts: u64,
    pub orphans_aborted: u64,
    pub resets_sent: u64,
    /// RSTs that would have been too many.
    pub resets_held: u64,
    pub paths_narrowed: u64,
    pub challenges_sent: u64,
    pub challenges_held: u64,
    pub gave_way: u64,
    pub wakes_refused: u64,
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

/// Who has a connection's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Connection(ConnectionId),
    /// An entry of [`half_open`].
    HalfOpen(usize),
}

/// What is to be done with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It is for this connection.
    Connection(ConnectionId),
    /// It is for this connection, but smoltcp is to process this in its place; and then, if
    /// there is one, this, which makes smoltcp acknowledge.
    Instead(ConnectionId, Shape, Option<Shape>),
    /// It is dropped, and smoltcp is to process this, which makes it acknowledge.
    Acknowledge(ConnectionId, Shape, DropReason),
    /// It is to be answered with a RST (RFC 9293 §3.5.2).
    Reset(DropReason),
    /// It is to be dropped.
    Drop(DropReason),
    /// It is to be answered with this acknowledgement.
    Repeat(LastWord),
    /// It is dropped and answered with this acknowledgement, which offers this window.
    Challenge(LastWord, u16, DropReason),
    /// It is a SYN, and this answers it.
    SynAck(SynAck),
    /// It was all that it is for.
    Done,
}

/// All of TCP that smoltcp does not do.
pub(crate) struct Tcp {
    slots: Slab<Connection>,
    by_tuple: Index<Tuple, Holder>,
    /// The connection of the last segment: most come behind another of the same one.
    latest: Option<(Tuple, ConnectionId)>,
    /// How many connections use a local port.
    ports: BTreeMap<u16, usize>,
    listeners: BTreeMap<u16, Listener>,
    groups: BTreeMap<u16, Group>,
    time_wait: TimeWait,
    agenda: Agenda,
    half_open: HalfOpens,
    /// When orphans and the dying expire.
    orphans: Deadlines,
    dying: Deadlines,
    limits: Limits,
    timers: Timers,
    /// Octets of data in the longest segment that fits a frame.
    link_mss: usize,
    paths: Paths,
    numbers: Numbers,
    /// RSTs to segments that are for no connection.
    resets: Quota,
    pub counters: TcpCounters,
    /// Connections whose readiness may have changed, and listeners.
    changed: Queue,
    changed_listeners: BTreeSet<u16>,
}

impl Connection {
    /// Throws received octets away; returns how many.
    fn discard(&mut self) -> usize {
        let Some(socket) = self.socket() else {
            return 0;
        };
        let mut discarded = 0;
        while let Ok(count @ 1..) = socket.recv(|octets| (octets.len(), octets.len())) {
            discarded += count;
        }
        self.was_read(discarded);
        discarded
    }

    /// Octets were taken from the receive buffer.
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
            agenda: Agenda::default(),
            half_open: HalfOpens::default(),
            orphans: Deadlines::default(),
            dying: Deadlines::default(),
            limits,
            timers,
            link_mss,
            paths: Paths::default(),
            numbers: Numbers::new(secret),
            resets: Quota::new(secret.key(Purpose::Resets)),
            counters: TcpCounters::default(),
            changed: Queue::default(),
            changed_listeners: BTreeSet::new(),
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

    /// The socket of a connection, as smoltcp takes it, and its variables.
    pub fn parts(&mut self, id: ConnectionId) -> Option<(&mut SocketSet<'static>, &mut Tcb)> {
        let connection = self.get_mut(id)?;
        Some((connection.solo.as_mut()?.set(), &mut connection.tcb))
    }

    fn insert(
        &mut self,
        tuple: Tuple,
        group: u16,
        solo: Stream,
        role: Role,
        now: u64,
    ) -> ConnectionId {
        let path_mss = self.paths.mss(*tuple.peer.ip(), now);
        let mss = path_mss.map_or(self.link_mss, |mss| self.link_mss.min(mss.into()));
        let connection = Connection {
            tuple,
            tcb: Tcb::new(solo.get().recv_capacity(), mss),
            solo: Some(solo),
            group,
            moved_at: now,
            signs: Signs::default(),
            role,
            detached: false,
            established: false,
            peer_finished: false,
            finished: false,
            deaf: false,
            unread: None,
            error: None,
        };
        self.enter(connection)
    }

    /// Gives a connection a place in all tables.
    fn enter(&mut self, connection: Connection) -> ConnectionId {
        let (tuple, role) = (connection.tuple, connection.role);
        let id = ConnectionId(self.slots.insert(connection));
        self.hold(tuple, Holder::Connection(id));
        self.latest = Some((tuple, id));
        self.agenda.touch(id.0);
        self.enter_role(id, tuple.port, role);
        id
    }

    /// Puts down who has these ends now. An entry may have had them.
    fn hold(&mut self, tuple: Tuple, holder: Holder) {
        if self.by_tuple.insert(tuple, holder).is_none() {
            *self.ports.entry(tuple.port).or_default() += 1;
        }
    }

    /// Forgets a connection and frees its buffers.
    fn remove(&mut self, id: ConnectionId, memory: &mut Memory) {
        let Some(connection) = self.slots.try_remove(id.0) else {
            return;
        };
        self.unrank(id, connection.group);
        self.give_back(connection.group, connection.solo, memory);
        self.agenda.forget(id.0);
        self.changed.push(id.0);
        if !connection.detached {
            self.forget_tuple(connection.tuple);
        }
        self.leave_role(id, connection.tuple.port, connection.role);
    }

    /// Takes a connection from smoltcp for good. It can still be read.
    fn detach(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if core::mem::replace(&mut connection.detached, true) {
            return;
        }
        let (tuple, group) = (connection.tuple, connection.group);
        self.unrank(id, group);
        self.agenda.forget(id.0);
        self.forget_tuple(tuple);
    }

    /// Who has these two ends.
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

    /// The connection of these two ends.
    #[inline]
    fn connection_of(&mut self, tuple: &Tuple) -> Option<ConnectionId> {
        match self.find(tuple)? {
            Holder::Connection(id) => Some(id),
            Holder::HalfOpen(_) => None,
        }
    }

    /// Other connections may have these ends from now on.
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

fn short(duration: core::time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
