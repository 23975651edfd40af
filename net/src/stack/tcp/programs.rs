//! What programs do with connections.

use super::{Role, Stage, Tcp, short};
use crate::config::Config;
use crate::stack::engine::Solo;
use crate::stack::memory::Memory;
use crate::stack::opening;
use crate::stack::{ConnectionId, Tuple};
use abi::{Error, Result};
use smoltcp::socket::tcp::State;
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
        own: &Config,
        memory: &mut Memory,
    ) -> Result<ConnectionId> {
        if !self.may_connect(&tuple, now) {
            return Err(Error::AddressInUse);
        }
        if !memory.has(self.buffer_octets()) {
            self.abort_oldest_orphan(now, Some(memory));
        }
        let mut socket = self.new_socket(memory).ok_or(Error::NoMemory)?;
        socket.set_timeout(Some(short(self.timers.connect)));
        let peer = IpEndpoint::new((*tuple.peer.ip()).into(), tuple.peer.port());
        let number = self.numbers.initial(&tuple, now);
        let connect = |cx: &mut _| socket.connect(cx, peer, tuple.port);
        if opening::send_syn(own, number, now, connect).is_err() {
            memory.give_back_socket(socket);
            return Err(Error::AddressNotAvailable);
        }
        self.counters.connected += 1;
        Ok(self.insert(tuple, Solo::new(socket), Role::Held, now))
    }

    pub fn tuple(&self, id: ConnectionId) -> Option<Tuple> {
        Some(self.get(id)?.tuple)
    }

    pub fn stage(&self, id: ConnectionId) -> Stage {
        let Some(connection) = self.get(id) else {
            return Stage::Failed(Error::NotConnected);
        };
        let state = connection.solo.get().state();
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

    /// Whether there is something to hear: octets, their end, or an error.
    pub fn has_news(&self, id: ConnectionId) -> bool {
        self.get(id).is_none_or(|connection| {
            let socket = connection.solo.get();
            let waits = socket.recv_queue() > 0 || connection.error.is_some();
            waits || connection.deaf || !socket.may_recv()
        })
    }

    /// Octets that wait to be read.
    pub fn received(&self, id: ConnectionId) -> usize {
        self.get(id)
            .map_or(0, |connection| connection.solo.get().recv_queue())
    }

    /// Whether nothing will arrive any more.
    pub fn at_end(&self, id: ConnectionId) -> bool {
        self.get(id)
            .is_none_or(|connection| connection.deaf || !connection.solo.get().may_recv())
    }

    /// Free octets of the transmit buffer; `None` if nothing can be sent any more.
    pub fn room(&self, id: ConnectionId) -> Option<usize> {
        let socket = self.get(id)?.solo.get();
        socket
            .may_send()
            .then(|| socket.send_capacity() - socket.send_queue())
    }

    /// Whether both directions have ended.
    pub fn hung_up(&self, id: ConnectionId) -> bool {
        self.get(id).is_none_or(|connection| {
            (connection.peer_finished && connection.finished)
                || connection.solo.get().state() == State::Closed
        })
    }

    /// Lets `fill` put octets into the transmit buffer; it says how many.
    pub fn send(
        &mut self,
        id: ConnectionId,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let connection = self.get_mut(id).ok_or(Error::NotConnected)?;
        let socket = connection.solo.get_mut();
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
        let socket = connection.solo.get_mut();
        let received = socket.recv(|octets| {
            let drained = drain(octets);
            (drained.unwrap_or(0), drained)
        });
        if let Ok(Ok(count)) = received {
            connection.was_read(count);
        }
        let detached = connection.detached;
        // The window may have to be told.
        if !detached && matches!(received, Ok(Ok(1..))) {
            self.agenda.touch(id.0);
        }
        received.unwrap_or(Ok(0))
    }

    /// Ends sending: FIN after what is queued.
    pub fn finish(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.finished = true;
            connection.solo.get_mut().close();
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
