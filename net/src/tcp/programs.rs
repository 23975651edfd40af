//! What programs do with connections.

use crate::ip::interface::Interface;
use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::tcp::group::BEGAN_HERE;
use crate::tcp::{Connection, Role, Stage, Tcp, opening, short};
use abi::{Error, Result};
use smoltcp::wire::IpEndpoint;

impl Tcp {
    /// Whether these ends are neither connected nor were just now.
    pub fn may_connect(&self, tuple: &Tuple, now: u64) -> bool {
        !self.by_tuple.contains_key(tuple) && !self.time_wait.holds(tuple, now)
    }

    /// Starts to connect.
    #[cold]
    pub fn connect(
        &mut self,
        tuple: Tuple,
        now: u64,
        own: &Interface,
        memory: &mut Memory,
    ) -> Result<ConnectionId> {
        if !self.may_connect(&tuple, now) {
            return Err(Error::AddressInUse);
        }
        let group = BEGAN_HERE;
        let mut solo = self
            .new_socket(group, 0, now, memory)
            .ok_or(Error::NoMemory)?;
        let socket = solo.get_mut();
        socket.set_timeout(Some(short(self.timers.connect)));
        let peer = IpEndpoint::new((*tuple.peer.ip()).into(), tuple.peer.port());
        let number = self.numbers.initial(&tuple, now);
        let connect = |cx: &mut _| socket.connect(cx, peer, tuple.port);
        if opening::send_syn(own, number, now, connect).is_err() {
            self.give_back(group, Some(solo), memory);
            return Err(Error::AddressNotAvailable);
        }
        self.counters.connected += 1;
        Ok(self.insert(tuple, group, solo, Role::Held, now))
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

    /// The failure of an established connection that has not been told yet.
    pub fn has_error(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|c| c.error.is_some())
    }

    pub fn take_error(&mut self, id: ConnectionId) -> Option<Error> {
        self.get_mut(id)?.error.take()
    }

    /// Whether there is something to hear: octets, or their end, which an error is, too.
    pub fn has_news(&self, id: ConnectionId) -> bool {
        self.received(id) > 0 || self.at_end(id)
    }

    /// Octets that wait to be read.
    pub fn received(&self, id: ConnectionId) -> usize {
        self.get(id).map_or(0, Connection::received)
    }

    /// Whether nothing will arrive any more.
    pub fn at_end(&self, id: ConnectionId) -> bool {
        self.get(id)
            .is_none_or(|connection| connection.deaf || !connection.may_receive())
    }

    /// Free octets of the transmit buffer; `None` if nothing can be sent any more.
    pub fn room(&self, id: ConnectionId) -> Option<usize> {
        let connection = self.get(id)?;
        let Some(solo) = &connection.solo else {
            // What it will have, probably.
            return (!connection.detached).then_some(self.limits.tcp_transmit);
        };
        let socket = solo.get();
        socket
            .may_send()
            .then(|| socket.send_capacity() - socket.send_queue())
    }

    /// How much room is worth a call of its program, and makes longer segments: a quarter.
    pub fn worthwhile(&self, id: ConnectionId) -> usize {
        let solo = self.get(id).and_then(|connection| connection.solo.as_ref());
        let capacity = solo.map_or(usize::MAX, |solo| solo.get().send_capacity());
        capacity.min(self.limits.tcp_transmit) / 4
    }

    /// Lets `fill` put octets into the transmit buffer; it says how many. There is none, and 0 is
    /// returned, if the connection is dormant and there is no memory to wake it.
    pub fn send(
        &mut self,
        id: ConnectionId,
        (own, now, memory): (&Interface, u64, &mut Memory),
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let is_dormant = self.get(id).is_some_and(Connection::is_dormant);
        if is_dormant && !self.wake(id, own, now, memory) {
            self.starve(id, now);
            return Ok(0);
        }
        let connection = self.get_mut(id).ok_or(Error::NotConnected)?;
        let socket = connection.socket().ok_or(Error::BrokenPipe)?;
        let sent = socket.send(|buffer| {
            let filled = fill(buffer);
            (filled.unwrap_or(0), filled)
        });
        self.agenda.touch(id.0);
        sent.map_err(|_| Error::BrokenPipe)?
    }

    /// Lets `drain` look at received octets; it says how many it took.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        drain: impl FnOnce(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        let connection = self.get_mut(id).ok_or(Error::NotConnected)?;
        let Some(socket) = connection.socket() else {
            return Ok(0);
        };
        let received = socket.recv(|octets| {
            let drained = drain(octets);
            (drained.unwrap_or(0), drained)
        });
        if let Ok(Ok(count)) = received {
            connection.was_read(count);
        }
        // The window may have to be told.
        if matches!(received, Ok(Ok(1..))) {
            self.agenda.touch(id.0);
        }
        received.unwrap_or(Ok(0))
    }

    /// Ends sending: FIN after what is queued.
    pub fn finish(&mut self, id: ConnectionId, (own, now, memory): (&Interface, u64, &mut Memory)) {
        let is_dormant = self.get(id).is_some_and(Connection::is_dormant);
        if is_dormant && !self.wake(id, own, now, memory) {
            self.counters.gave_way += 1;
            return self.reset_held(id, now, memory);
        }
        if let Some(connection) = self.get_mut(id) {
            connection.finished = true;
            if let Some(socket) = connection.socket() {
                socket.close();
            }
            self.changed.push(id.0);
            self.agenda.touch(id.0);
        }
    }

    /// Ends receiving: what arrives is discarded.
    #[cold]
    pub fn deafen(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.deaf = true;
            connection.discard();
            self.changed.push(id.0);
            self.agenda.touch(id.0);
        }
    }
}
