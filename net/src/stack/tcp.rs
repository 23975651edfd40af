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

use super::memory::Memory;
use super::peek::Segment;
use super::time_wait::{LastWord, TimeWait, Verdict};
use super::{ConnectionId, Tuple, nanoseconds};
use crate::config::{Limits, Timers};
use abi::{Error, Result};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::IpEndpoint;

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
            deadline: None,
        }
    }

    // --- numbers for the status -------------------------------------------------------

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

    // --- the table --------------------------------------------------------------------

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
        if let Some(listener) = self.listeners.get_mut(&connection.tuple.port) {
            match connection.role {
                Role::HalfOpen { .. } => listener.half_open -= 1,
                Role::Waiting => listener.ready.retain(|&ready| ready != id),
                _ => {}
            }
        }
    }

    fn forget_tuple(&mut self, tuple: Tuple, id: ConnectionId) {
        if self.by_tuple.get(&tuple) == Some(&id) {
            self.by_tuple.remove(&tuple);
        }
    }

    // --- listening --------------------------------------------------------------------

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
    pub fn unlisten(&mut self, port: u16, now: u64, sockets: &mut Sockets) {
        self.listeners.remove(&port);
        for index in 0..self.slots.len() {
            let id = ConnectionId(index);
            if let Some(connection) = self.get(id)
                && connection.tuple.port == port
                && matches!(connection.role, Role::HalfOpen { .. } | Role::Waiting)
            {
                self.abort(id, now, sockets);
            }
        }
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

    /// Makes room for one more half-open connection, if the rules allow one.
    fn admit(
        &mut self,
        tuple: Tuple,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Option<()> {
        let listener = self.listeners.get(&tuple.port)?;
        if listener.half_open + listener.ready.len() >= listener.backlog {
            // A flood must not lock everyone out until its connections expire.
            let victim = self.oldest_half_open(tuple.port, now)?;
            self.remove(victim, sockets, memory);
            self.counters.half_open_expired += 1;
        }
        if !memory.has(self.buffer_octets()) {
            self.abort_oldest_orphan(now, sockets, Some(memory));
        }
        let mut socket = self.new_socket(memory)?;
        if socket.listen(tuple.port).is_err() {
            memory.give_back(self.buffer_octets());
            return None;
        }
        let handle = sockets.add(socket);
        self.insert(tuple, handle, Role::HalfOpen { since: now });
        if let Some(listener) = self.listeners.get_mut(&tuple.port) {
            listener.half_open += 1;
        }
        self.expire_by(now + nanoseconds(self.timers.half_open));
        Some(())
    }

    fn oldest_half_open(&self, port: u16, now: u64) -> Option<ConnectionId> {
        let protected = nanoseconds(self.timers.half_open_protected);
        let since = |(index, slot): (usize, &Option<Connection>)| match slot {
            Some(Connection {
                tuple,
                role: Role::HalfOpen { since },
                ..
            }) if tuple.port == port && since + protected <= now => Some((*since, index)),
            _ => None,
        };
        let (_, index) = self.slots.iter().enumerate().filter_map(since).min()?;
        Some(ConnectionId(index))
    }

    // --- around smoltcp's processing of a segment -------------------------------------

    /// Decides on a segment before smoltcp gets it.
    pub fn before(
        &mut self,
        segment: &Segment,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Verdict {
        if let Some(&id) = self.by_tuple.get(&segment.tuple) {
            return match self.get(id).map(|connection| connection.role) {
                Some(Role::Dying { .. }) => Verdict::Drop,
                _ => Verdict::Pass,
            };
        }
        match self.time_wait.segment(segment, now) {
            Verdict::Pass => {}
            verdict => return verdict,
        }
        if segment.opens() && self.listeners.contains_key(&segment.tuple.port) {
            if self.admit(segment.tuple, now, sockets, memory).is_none() {
                self.counters.syns_dropped += 1;
                return Verdict::Drop;
            }
        }
        Verdict::Pass
    }

    /// Takes note of what smoltcp made of a segment. Returns the acknowledgement that the
    /// connection still owes and that no socket is left to send.
    pub fn after(
        &mut self,
        segment: &Segment,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Option<LastWord> {
        let id = *self.by_tuple.get(&segment.tuple)?;
        let timers = self.timers;
        let connection = self.slots.get_mut(id.0)?.as_mut()?;
        let state = connection.socket(sockets).state();
        match state {
            // The SYN was malformed, or a RST took back a half-open connection.
            State::Listen => {
                self.remove(id, sockets, memory);
                return None;
            }
            State::SynSent | State::SynReceived => return None,
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait => {
                connection.peer_finished = true;
            }
            State::Closed if segment.rst && connection.error.is_none() => {
                self.counters.resets_received += 1;
                connection.error = Some(match connection.established {
                    true => Error::ConnectionReset,
                    false => Error::ConnectionRefused,
                });
            }
            _ => {}
        }
        if state != State::Closed && !connection.established {
            connection.established = true;
            let socket = connection.socket_mut(sockets);
            socket.set_timeout(Some(short(timers.silence)));
            if let Role::HalfOpen { .. } = connection.role {
                connection.role = Role::Waiting;
                let listener = self.listeners.get_mut(&segment.tuple.port)?;
                listener.half_open -= 1;
                listener.ready.push_back(id);
            }
        }
        let connection = self.slots.get_mut(id.0)?.as_mut()?;
        if connection.deaf || matches!(connection.role, Role::Orphan { .. }) {
            let discarded = connection.discard(sockets);
            // Everything we had to say has arrived, and yet the peer goes on: tell him
            // that nobody listens (RFC 9293 §3.10.4, and RFC 1122 §4.2.2.13).
            let unheard = discarded > 0 && state == State::FinWait2;
            if unheard && matches!(connection.role, Role::Orphan { .. }) {
                self.counters.orphans_aborted += 1;
                self.abort(id, now, sockets);
                return None;
            }
        }
        match state {
            State::TimeWait => self.enter_time_wait(id, segment, now, sockets, memory),
            _ => None,
        }
    }

    /// Exchanges a socket in TIME-WAIT for an entry of the table.
    fn enter_time_wait(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Option<LastWord> {
        // The segment that completed the exchange carries both last numbers: it ends with
        // the peer's FIN or comes after it, and it acknowledges ours.
        let last_word = LastWord {
            seq: segment.ack?,
            ack: segment.end(),
        };
        let tuple = segment.tuple;
        self.time_wait.insert(tuple, last_word, now);
        self.forget_tuple(tuple, id);
        let connection = self.get_mut(id)?;
        match connection.role {
            Role::Held | Role::Waiting => connection.detach(sockets),
            _ => self.remove(id, sockets, memory),
        }
        Some(last_word)
    }

    // --- time -------------------------------------------------------------------------

    fn expire_by(&mut self, at: u64) {
        self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
    }

    /// Ends what is over. Once per poll, after smoltcp's egress. Returns whether
    /// something was aborted, so that a RST wants to leave.
    pub fn sweep(&mut self, now: u64, sockets: &mut Sockets, memory: &mut Memory) -> bool {
        let mut aborted = false;
        let mut orphans = 0;
        self.deadline = None;
        for index in 0..self.slots.len() {
            let id = ConnectionId(index);
            let Some(connection) = self.slots[index].as_mut() else {
                continue;
            };
            let Place::Attached(handle) = connection.place else {
                continue;
            };
            let socket: &mut Socket = sockets.get_mut(handle);
            let (state, left) = (socket.state(), socket.send_queue());
            let reset_pending = socket.remote_endpoint().is_some();
            match connection.role {
                Role::Dying { until } if reset_pending && now < until => self.expire_by(until),
                Role::Dying { .. } => self.remove(id, sockets, memory),
                _ if state == State::Closed => self.closed(id, now, sockets, memory),
                Role::HalfOpen { since } => {
                    let until = since + nanoseconds(self.timers.half_open);
                    if now < until {
                        self.expire_by(until);
                    } else {
                        self.counters.half_open_expired += 1;
                        self.remove(id, sockets, memory);
                    }
                }
                Role::Orphan { deadline, left: old } => {
                    orphans += 1;
                    let mut deadline = deadline;
                    if old != (left, state) {
                        deadline = now + nanoseconds(self.timers.orphan);
                        let left = (left, state);
                        connection.role = Role::Orphan { deadline, left };
                    }
                    if now < deadline {
                        self.expire_by(deadline);
                    } else {
                        self.counters.orphans_aborted += 1;
                        self.abort(id, now, sockets);
                        aborted = true;
                    }
                }
                Role::Waiting | Role::Held => {}
            }
        }
        while orphans > self.limits.orphans {
            orphans -= 1;
            aborted |= self.abort_oldest_orphan(now, sockets, None);
        }
        aborted
    }

    /// smoltcp is through with a connection.
    fn closed(&mut self, id: ConnectionId, now: u64, sockets: &mut Sockets, memory: &mut Memory) {
        let Some(connection) = self.slots.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let orderly = connection.peer_finished && connection.finished;
        if connection.error.is_none() && !orderly {
            connection.error = Some(Error::TimedOut);
            self.counters.timeouts += 1;
        }
        let tuple = connection.tuple;
        match connection.role {
            Role::Held => {
                connection.detach(sockets);
                self.forget_tuple(tuple, id);
            }
            _ if connection.socket(sockets).remote_endpoint().is_some() => {
                self.abort(id, now, sockets);
            }
            _ => self.remove(id, sockets, memory),
        }
    }

    /// Aborts the orphan that has waited longest, to make room. With `memory`, its buffers
    /// are freed at once and no RST is sent.
    fn abort_oldest_orphan(
        &mut self,
        now: u64,
        sockets: &mut Sockets,
        memory: Option<&mut Memory>,
    ) -> bool {
        let age = |(index, slot): (usize, &Option<Connection>)| match slot.as_ref()?.role {
            Role::Orphan { deadline, .. } => Some((deadline, index)),
            _ => None,
        };
        let oldest = self.slots.iter().enumerate().filter_map(age).min();
        let Some((_, index)) = oldest else {
            return false;
        };
        self.counters.orphans_aborted += 1;
        match memory {
            Some(memory) => self.remove(ConnectionId(index), sockets, memory),
            None => self.abort(ConnectionId(index), now, sockets),
        }
        true
    }

    // --- what programs do -------------------------------------------------------------

    /// Starts to connect.
    pub fn connect(
        &mut self,
        tuple: Tuple,
        now: u64,
        interface: &mut Interface,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) -> Result<ConnectionId> {
        if self.by_tuple.contains_key(&tuple) || self.time_wait.holds(&tuple, now) {
            return Err(Error::AddressInUse);
        }
        if !memory.has(self.buffer_octets()) {
            self.abort_oldest_orphan(now, sockets, Some(memory));
        }
        let mut socket = self.new_socket(memory).ok_or(Error::NoMemory)?;
        socket.set_timeout(Some(short(self.timers.connect)));
        let peer = IpEndpoint::new((*tuple.peer.ip()).into(), tuple.peer.port());
        if socket
            .connect(interface.context(), peer, tuple.port)
            .is_err()
        {
            memory.give_back(self.buffer_octets());
            return Err(Error::AddressNotAvailable);
        }
        let handle = sockets.add(socket);
        self.counters.connected += 1;
        Ok(self.insert(tuple, handle, Role::Held))
    }

    pub fn tuple(&self, id: ConnectionId) -> Option<Tuple> {
        Some(self.get(id)?.tuple)
    }

    pub fn stage(&self, id: ConnectionId, sockets: &Sockets) -> Stage {
        let Some(connection) = self.get(id) else {
            return Stage::Failed(Error::NotConnected);
        };
        let state = connection.socket(sockets).state();
        match (connection.established, connection.error) {
            (true, _) => Stage::Open,
            (false, Some(error)) => Stage::Failed(error),
            (false, None) if state == State::Closed => Stage::Failed(Error::TimedOut),
            (false, None) => Stage::Connecting,
        }
    }

    /// The failure of an established connection that has not been told yet.
    pub fn has_error(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|c| c.error.is_some())
    }

    pub fn take_error(&mut self, id: ConnectionId) -> Option<Error> {
        self.get_mut(id)?.error.take()
    }

    /// Octets that wait to be read.
    pub fn received(&self, id: ConnectionId, sockets: &Sockets) -> usize {
        self.get(id)
            .map_or(0, |connection| connection.socket(sockets).recv_queue())
    }

    /// Whether nothing will arrive any more.
    pub fn at_end(&self, id: ConnectionId, sockets: &Sockets) -> bool {
        self.get(id).is_none_or(|connection| {
            connection.deaf || !connection.socket(sockets).may_recv()
        })
    }

    /// Free octets of the transmit buffer; `None` if nothing can be sent any more.
    pub fn room(&self, id: ConnectionId, sockets: &Sockets) -> Option<usize> {
        let socket = self.get(id)?.socket(sockets);
        socket
            .may_send()
            .then(|| socket.send_capacity() - socket.send_queue())
    }

    /// Whether both directions have ended.
    pub fn hung_up(&self, id: ConnectionId, sockets: &Sockets) -> bool {
        self.get(id).is_none_or(|connection| {
            (connection.peer_finished && connection.finished)
                || connection.socket(sockets).state() == State::Closed
        })
    }

    /// Lets `fill` put octets into the transmit buffer; it says how many.
    pub fn send(
        &mut self,
        id: ConnectionId,
        sockets: &mut Sockets,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let connection = self.get_mut(id).ok_or(Error::NotConnected)?;
        connection
            .socket_mut(sockets)
            .send(|buffer| {
                let filled = fill(buffer);
                (filled.unwrap_or(0), filled)
            })
            .map_err(|_| Error::BrokenPipe)?
    }

    /// Lets `drain` look at received octets; it says how many it took.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        sockets: &mut Sockets,
        drain: impl FnOnce(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        let connection = self.get_mut(id).ok_or(Error::NotConnected)?;
        connection
            .socket_mut(sockets)
            .recv(|octets| {
                let drained = drain(octets);
                (drained.unwrap_or(0), drained)
            })
            .unwrap_or(Ok(0))
    }

    /// Ends sending: FIN after what is queued.
    pub fn finish(&mut self, id: ConnectionId, sockets: &mut Sockets) {
        if let Some(connection) = self.get_mut(id) {
            connection.finished = true;
            connection.socket_mut(sockets).close();
        }
    }

    /// Ends receiving: what arrives is discarded.
    pub fn deafen(&mut self, id: ConnectionId, sockets: &mut Sockets) {
        if let Some(connection) = self.get_mut(id) {
            connection.deaf = true;
            connection.discard(sockets);
        }
    }

    /// The program lets go: what is queued is still sent, then FIN.
    pub fn close(
        &mut self,
        id: ConnectionId,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) {
        let deadline = now + nanoseconds(self.timers.orphan);
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if matches!(connection.place, Place::Detached(_)) {
            return self.remove(id, sockets, memory);
        }
        connection.discard(sockets);
        connection.finished = true;
        let socket = connection.socket_mut(sockets);
        socket.close();
        let (state, queued) = (socket.state(), socket.send_queue());
        if state == State::Closed {
            // It was not connected yet: nobody is owed a RST but by his next segment.
            return self.remove(id, sockets, memory);
        }
        let left = (queued, state);
        connection.role = Role::Orphan { deadline, left };
        self.expire_by(deadline);
    }

    /// Ends a connection now, with a RST.
    pub fn abort(&mut self, id: ConnectionId, now: u64, sockets: &mut Sockets) {
        let until = now + DYING_NS;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let role = connection.role;
        connection.socket_mut(sockets).abort();
        connection.role = Role::Dying { until };
        let port = connection.tuple.port;
        if let Some(listener) = self.listeners.get_mut(&port) {
            match role {
                Role::HalfOpen { .. } => listener.half_open -= 1,
                Role::Waiting => listener.ready.retain(|&ready| ready != id),
                _ => {}
            }
        }
        self.expire_by(until);
    }

    /// As [`Tcp::abort`], for a program's connection.
    pub fn drop_held(
        &mut self,
        id: ConnectionId,
        now: u64,
        sockets: &mut Sockets,
        memory: &mut Memory,
    ) {
        match self.get(id).map(|connection| &connection.place) {
            Some(Place::Attached(_)) => self.abort(id, now, sockets),
            _ => self.remove(id, sockets, memory),
        }
    }
}

fn short(duration: core::time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
