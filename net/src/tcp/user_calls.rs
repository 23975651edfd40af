//! The calls that programs make on listeners and connections (RFC 9293 §3.9.1: OPEN, SEND, RECEIVE,
//! CLOSE, STATUS).

use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::packet::Segment;
use crate::tcp::pool::BEGAN_HERE;
use crate::tcp::{Connection, Context, Listener, Role, Stage, Tcp, micros, opening};
use abi::socket::Address;
use abi::{Error, Result};
use alloc::collections::VecDeque;
use smoltcp::wire::IpEndpoint;

impl Tcp {
    /// Listens on a port, or changes the backlog of a listener.
    #[cold]
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

    /// Ends listening. Connections that were not accepted are aborted.
    #[cold]
    pub fn unlisten(&mut self, port: u16, now: u64, memory: &mut Memory) {
        let Some(listener) = self.listeners.remove(&port) else {
            return;
        };
        self.refuse_half_open(port, now);
        for id in listener.ready {
            self.drop_held(id, now, memory);
        }
    }

    /// Whether a segment would open a connection if its port had a listener, which it has not.
    #[cold]
    pub fn lacks_listener(&self, segment: &Segment) -> bool {
        segment.opens()
            && !self.listeners.contains_key(&segment.tuple.port)
            && !self.by_tuple.contains_key(&segment.tuple)
    }

    pub fn can_accept(&self, port: u16) -> bool {
        self.listeners
            .get(&port)
            .is_some_and(|listener| !listener.ready.is_empty())
    }

    pub fn accept(&mut self, port: u16) -> Option<(ConnectionId, Address)> {
        let id = self.listeners.get_mut(&port)?.ready.pop_front()?;
        let connection = self.get_mut(id)?;
        connection.role = Role::Held;
        let peer = connection.tuple.peer;
        self.counters.accepted += 1;
        Some((id, peer))
    }

    /// Whether there is no connection between these ends, in TIME-WAIT neither.
    pub fn may_connect(&self, tuple: &Tuple, now: u64) -> bool {
        !self.by_tuple.contains_key(tuple) && !self.time_wait.holds(tuple, now)
    }

    /// Starts to connect.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] if these ends are connected or in TIME-WAIT, [`Error::NoMemory`],
    /// [`Error::AddressNotAvailable`] if smoltcp refuses the ends.
    #[cold]
    pub fn connect(&mut self, tuple: Tuple, cx: &mut Context<'_>) -> Result<ConnectionId> {
        let now = cx.now;
        if !self.may_connect(&tuple, now) {
            return Err(Error::AddressInUse);
        }
        let group = BEGAN_HERE;
        let mut socket = self
            .new_socket(group, 0, now, cx.memory)
            .ok_or(Error::NoMemory)?;
        let timeout = micros(self.timers.connect);
        socket.get_mut().set_timeout(Some(timeout));
        let peer = IpEndpoint::new(tuple.peer.ip.to_std().into(), tuple.peer.port);
        let number = self.isn.initial(&tuple, now);
        let connect = |context: &mut _| socket.get_mut().connect(context, peer, tuple.port);
        if opening::send_syn(cx.own.address_of(tuple.local), number, now, connect).is_err() {
            self.give_back(group, Some(socket), cx.memory);
            return Err(Error::AddressNotAvailable);
        }
        self.counters.connected += 1;
        Ok(self.insert(tuple, group, socket, Role::Held, now))
    }

    pub fn stage(&self, id: ConnectionId) -> Stage {
        let Some(connection) = self.get(id) else {
            return Stage::Failed(Error::NotConnected);
        };
        match (connection.established, connection.error) {
            (true, _) => Stage::Open,
            (false, Some(error)) => Stage::Failed(error),
            (false, None) => Stage::Connecting,
        }
    }

    /// Whether a connection has failed and its program was not told yet.
    pub fn has_error(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|c| c.error.is_some())
    }

    pub fn take_error(&mut self, id: ConnectionId) -> Option<Error> {
        self.get_mut(id)?.error.take()
    }

    /// Whether a program has something to read: octets, or their end. A failed connection is at its
    /// end, too.
    pub fn has_news(&self, id: ConnectionId) -> bool {
        self.received(id) > 0 || self.at_end(id)
    }

    /// Octets that were received and not read.
    pub fn received(&self, id: ConnectionId) -> usize {
        self.get(id).map_or(0, Connection::received)
    }

    /// Whether no more octets will arrive.
    pub fn at_end(&self, id: ConnectionId) -> bool {
        self.get(id)
            .is_none_or(|connection| connection.receive_shut || !connection.may_receive())
    }

    /// Free octets of the transmit buffer; `None` if nothing can be sent any more.
    pub fn room(&self, id: ConnectionId) -> Option<usize> {
        let connection = self.get(id)?;
        let Some(socket) = &connection.socket else {
            // A dormant connection will probably get a buffer of this length.
            return (!connection.detached).then_some(self.limits.tcp_transmit);
        };
        let socket = socket.get();
        socket
            .may_send()
            .then(|| socket.send_capacity() - socket.send_queue())
    }

    /// How many octets of the transmit buffer must be free before its program is called: a quarter.
    /// With less, there would be more calls and shorter segments.
    pub fn worthwhile(&self, id: ConnectionId) -> usize {
        let socket = self
            .get(id)
            .and_then(|connection| connection.socket.as_ref());
        let capacity = socket.map_or(usize::MAX, |socket| socket.get().send_capacity());
        capacity.min(self.limits.tcp_transmit) / 4
    }

    /// Lets `fill` write octets into the transmit buffer. `fill` returns how many it wrote, and so does
    /// this. If the connection is dormant and there is no memory to wake it, this returns 0.
    ///
    /// # Errors
    /// [`Error::NotConnected`] without such a connection, [`Error::BrokenPipe`] if nothing can be sent
    /// any more, and the errors of `fill`.
    pub fn send(
        &mut self,
        id: ConnectionId,
        cx: &mut Context<'_>,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let is_dormant = self.get(id).is_some_and(Connection::is_dormant);
        if is_dormant && !self.wake(id, cx) {
            self.retry_send(id, cx.now);
            return Ok(0);
        }
        let connection = self.get_mut(id).ok_or(Error::NotConnected)?;
        let socket = connection.socket_mut().ok_or(Error::BrokenPipe)?;
        let sent = socket.send(|buffer| {
            let filled = fill(buffer);
            (filled.unwrap_or(0), filled)
        });
        self.schedule.touch(id.0);
        sent.map_err(|_| Error::BrokenPipe)?
    }

    /// Lets `drain` read received octets. `drain` returns how many it took, and so does this.
    ///
    /// # Errors
    /// [`Error::NotConnected`] without such a connection, and the errors of `drain`.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        drain: impl FnOnce(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        let connection = self.get_mut(id).ok_or(Error::NotConnected)?;
        let Some(socket) = connection.socket_mut() else {
            return Ok(0);
        };
        let received = socket.recv(|octets| {
            let drained = drain(octets);
            (drained.unwrap_or(0), drained)
        });
        if let Ok(Ok(count)) = received {
            connection.was_read(count);
        }
        // A window update may have to be sent.
        if matches!(received, Ok(Ok(1..))) {
            self.schedule.touch(id.0);
        }
        received.unwrap_or(Ok(0))
    }

    /// Ends sending: a FIN follows the queued octets.
    pub fn finish(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        let is_dormant = self.get(id).is_some_and(Connection::is_dormant);
        if is_dormant && !self.wake(id, cx) {
            self.counters.gave_way += 1;
            return self.reset_held(id, cx.now, cx.memory);
        }
        if let Some(connection) = self.get_mut(id) {
            connection.fin_queued = true;
            if let Some(socket) = connection.socket_mut() {
                socket.close();
            }
            self.changed.push(id.0);
            self.schedule.touch(id.0);
        }
    }

    /// Ends receiving: octets that arrive are discarded.
    #[cold]
    pub fn shut_receive(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.receive_shut = true;
            connection.discard();
            self.changed.push(id.0);
            self.schedule.touch(id.0);
        }
    }
}
