//! Looking at a socket that changed, and saying what is so.

use crate::batch::clients::{Client, Turn};
use crate::batch::engine::Engine;
use crate::batch::sends::Progress;
use crate::ipc::Ipc;
use crate::names::{ConnectionId, DatagramId};
use crate::phy::Device;
use crate::sockets::interest::{Armed, Sending};
use crate::sockets::kinds::Kind;
use crate::tcp::Stage;
use abi::batch::{Event, NOT_OF_THIS_CALL};
use abi::socket::Handle;
use abi::{Error, Pid, Result};

/// Connections accepted, or datagrams delivered, before it is another socket's turn.
const TURN: usize = 32;
/// Fewer octets of a stream than this are not delivered just because no more fit: the next
/// answer has room for all.
const SLIVER: usize = 512;

/// What became of a socket in a ready queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It waits for its next change.
    Done,
    /// There is more of it, in its turn.
    Again,
    /// What there is does not fit into this answer.
    Full,
}

impl<D: Device, I: Ipc> Engine<'_, D, I> {
    /// Serves one socket.
    ///
    /// # Errors
    /// If the program's memory cannot be written, which ends its call.
    pub(super) fn serve(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        handle: Handle,
    ) -> Result<Served> {
        self.batches.sockets_served += 1;
        let Ok(socket) = self.sockets.handles.get(handle, client.pid) else {
            return Ok(Served::Done);
        };
        match socket.kind {
            Kind::Stream(id) => self.serve_stream(client, turn, (handle, id)),
            Kind::Listener(port) => self.serve_listener(client, turn, (handle, port)),
            Kind::Datagrams(id) => self.serve_datagrams(client.pid, turn, (handle, id)),
        }
    }

    fn armed(&mut self, handle: Handle, pid: Pid) -> Result<&mut Armed> {
        Ok(&mut self.sockets.handles.get_mut(handle, pid)?.armed)
    }

    fn serve_stream(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        (handle, id): (Handle, ConnectionId),
    ) -> Result<Served> {
        let pid = client.pid;
        let armed = self.armed(handle, pid)?;
        let is_owed = armed.connecting || armed.send.is_some() || armed.room;
        if is_owed && let Some(served) = self.serve_owed(client, turn, (handle, id))? {
            return Ok(served);
        }
        self.deliver(turn, (handle, id), pid)
    }

    /// Says how a connection or a send goes, and of room; returns what became of the socket unless it
    /// is still there and may receive.
    fn serve_owed(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        (handle, id): (Handle, ConnectionId),
    ) -> Result<Option<Served>> {
        let pid = client.pid;
        if self.armed(handle, pid)?.connecting {
            let event = match self.sockets.stack.tcp.stage(id) {
                Stage::Connecting => return Ok(Some(Served::Done)),
                Stage::Open => Event::Connected { socket: handle },
                Stage::Failed(error) => Event::Failed {
                    socket: handle,
                    operation: NOT_OF_THIS_CALL,
                    error,
                },
            };
            if !turn.events.tell(&event) {
                return Ok(Some(Served::Full));
            }
            self.armed(handle, pid)?.connecting = false;
        }
        if let Some(sending) = self.armed(handle, pid)?.send {
            let stays = self.serve_send(client, turn, (handle, id), sending)?;
            if let Some(served) = stays {
                return Ok(Some(served));
            }
        }
        if self.armed(handle, pid)?.room {
            let worth = self.sockets.stack.tcp.worthwhile(id);
            if self
                .sockets
                .stack
                .tcp
                .room(id)
                .is_none_or(|room| room >= worth)
            {
                if !turn.events.tell(&Event::Room { socket: handle }) {
                    return Ok(Some(Served::Full));
                }
                self.armed(handle, pid)?.room = false;
            }
        }
        Ok(None)
    }

    /// Goes on with a send; returns what became of the socket unless that is over and the
    /// socket still there.
    fn serve_send(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        (handle, id): (Handle, ConnectionId),
        mut sending: Sending,
    ) -> Result<Option<Served>> {
        let pid = client.pid;
        // A send of an earlier call has no room kept for its outcome.
        if !sending.fresh && turn.events.room().is_none() {
            return Ok(Some(Served::Full));
        }
        let sent = sending.sent;
        let progress = self.go_on(id, &mut sending, turn.token);
        let now = self.now;
        let armed = self.armed(handle, pid)?;
        if sending.sent != sent {
            armed.moved_at = now;
        }
        let event = match progress {
            Ok(Progress::Waits) => {
                armed.send = Some(sending);
                return Ok(Some(Served::Done));
            }
            Ok(Progress::Whole) => {
                armed.send = None;
                self.sent_whole(client, turn, handle, &sending)?
            }
            Err(error) => {
                (armed.send, armed.count) = (None, 0);
                let operation = match sending.fresh {
                    true => sending.operation,
                    false => NOT_OF_THIS_CALL,
                };
                Some(Event::Failed {
                    socket: handle,
                    operation,
                    error,
                })
            }
        };
        match event {
            Some(event) if sending.fresh => {
                turn.events.outcome(&event);
                turn.events.wake();
            }
            // There is room: see above.
            Some(event) => drop(turn.events.tell(&event)),
            None if sending.fresh => turn.events.settle(),
            None => {}
        }
        let gone = self.sockets.handles.get(handle, pid).is_err();
        Ok((gone || progress.is_err()).then_some(Served::Done))
    }

    /// Delivers what has arrived on a stream, or its end.
    fn deliver(
        &mut self,
        turn: &mut Turn,
        (socket, id): (Handle, ConnectionId),
        pid: Pid,
    ) -> Result<Served> {
        let armed = self.armed(socket, pid)?;
        if armed.count == 0 {
            return Ok(Served::Done);
        }
        let max = armed.max as usize;
        let waiting = self.sockets.stack.tcp.received(id).min(max);
        if waiting == 0 {
            let event = match self.sockets.stack.tcp.has_error(id) {
                false if !self.sockets.stack.tcp.at_end(id) => return Ok(Served::Done),
                false => Event::Ended { socket },
                // Taken below, when it is told.
                true => Event::Failed {
                    socket,
                    operation: NOT_OF_THIS_CALL,
                    error: Error::ConnectionReset,
                },
            };
            return self.tell_end(turn, (socket, id), pid, event);
        }
        let count = match turn.events.room() {
            Some(room) if room >= waiting => waiting,
            // Without news there is room for some: outcomes have theirs.
            Some(room) if room >= SLIVER || !turn.events.has_news() => room,
            _ => return Ok(Served::Full),
        };
        let len = count as u32;
        turn.events.tell(&Event::Received { socket, len });
        let mut taken = 0;
        // The receive buffer is a ring: two pieces at most.
        while taken < count {
            let (left, events) = (count - taken, &mut turn.events);
            let piece = self.sockets.stack.tcp.receive(id, |octets| {
                let piece = octets.len().min(left);
                events.octets(&octets[..piece], self.ipc)?;
                Ok(piece)
            })?;
            if piece == 0 {
                return Err(Error::ConnectionReset);
            }
            taken += piece;
        }
        turn.events.pad();
        self.armed(socket, pid)?.count = 0;
        Ok(Served::Done)
    }

    fn tell_end(
        &mut self,
        turn: &mut Turn,
        (socket, id): (Handle, ConnectionId),
        pid: Pid,
        mut event: Event,
    ) -> Result<Served> {
        if turn.events.room().is_none() {
            return Ok(Served::Full);
        }
        if let Event::Failed { error, .. } = &mut event {
            *error = self.sockets.stack.tcp.take_error(id).unwrap_or(*error);
        }
        turn.events.tell(&event);
        self.armed(socket, pid)?.count = 0;
        Ok(Served::Done)
    }

    fn serve_listener(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        (listener, port): (Handle, u16),
    ) -> Result<Served> {
        let pid = client.pid;
        for _ in 0..TURN {
            let (count, max) = match self.armed(listener, pid)? {
                Armed { count: 0, .. } => return Ok(Served::Done),
                Armed { count, max, .. } => (*count, *max),
            };
            if !self.sockets.stack.tcp.can_accept(port) {
                return Ok(Served::Done);
            }
            if turn.events.room().is_none() {
                return Ok(Served::Full);
            }
            if let Err(error) = self.sockets.handles.make_room(pid, self.ipc) {
                self.armed(listener, pid)?.count = 0;
                turn.events.tell(&Event::Failed {
                    socket: listener,
                    operation: NOT_OF_THIS_CALL,
                    error,
                });
                return Ok(Served::Done);
            }
            let Some((id, peer)) = self.sockets.stack.tcp.accept(port) else {
                return Ok(Served::Done);
            };
            let socket = self.sockets.handles.insert(pid, Kind::Stream(id), None)?;
            turn.events.tell(&Event::Accepted {
                listener,
                socket,
                peer,
            });
            self.armed(listener, pid)?.count = count - 1;
            if max > 0 {
                let armed = self.armed(socket, pid)?;
                (armed.count, armed.max) = (1, max);
                client.enqueue(socket, armed);
            }
        }
        Ok(Served::Again)
    }

    fn serve_datagrams(
        &mut self,
        pid: Pid,
        turn: &mut Turn,
        (socket, id): (Handle, DatagramId),
    ) -> Result<Served> {
        if self.armed(socket, pid)?.unsent > 0
            && self.go_on_sending_to(turn, (socket, id), pid)? == Progress::Waits
        {
            return Ok(Served::Done);
        }
        let armed = &mut self.sockets.handles.get_mut(socket, pid)?.armed;
        let (udp, events) = (&mut self.sockets.stack.udp, &mut turn.events);
        let max = armed.max as usize;
        for _ in 0..TURN {
            if armed.count == 0 {
                return Ok(Served::Done);
            }
            let Some((from, octets)) = udp.first(id) else {
                return Ok(Served::Done);
            };
            let count = octets.len().min(max);
            let count = match events.room() {
                Some(room) if count <= room => count,
                // The whole area is too small for it.
                Some(room) if !events.has_news() => room,
                _ => return Ok(Served::Full),
            };
            let len = count as u32;
            events.tell(&Event::Datagram { socket, from, len });
            events.octets(&octets[..count], self.ipc)?;
            events.pad();
            udp.take_first(id);
            armed.count -= 1;
        }
        Ok(Served::Again)
    }
}
