//! Sends of batches, and how they go on.

use crate::batch::clients::{Client, Turn, Unsent};
use crate::batch::engine::Engine;
use crate::batch::operations::{Inline, Outcome};
use crate::ipc::{Ipc, read_exactly};
use crate::names::{ConnectionId, DatagramId};
use crate::phy::Device;
use crate::sockets::interest::Sending;
use crate::tcp::Stage;
use crate::udp::DATAGRAM_MAX;
use abi::batch::{End, Event, OPERATIONS, SOURCE, Send, Tell};
use abi::socket::Handle;
use abi::{Error, Pid, Result};

/// How far a send has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Whole,
    Waits,
}

impl<D: Device, I: Ipc> Engine<'_, D, I> {
    /// The connection of a stream socket, which stands or stood.
    pub(super) fn open_stream(&self, socket: Handle, pid: Pid) -> Result<ConnectionId> {
        let id = self.sockets.handles.get(socket, pid)?.kind.connection()?;
        match self.sockets.stack.tcp.stage(id) {
            Stage::Open => Ok(id),
            _ => Err(Error::NotConnected),
        }
    }

    pub(super) fn begin_send(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        (send, number): (Send, u16),
        inline: Inline<'_>,
    ) -> Result<Outcome> {
        let socket = send.socket;
        let id = self.open_stream(socket, client.pid)?;
        let source = turn.lent[usize::from(SOURCE)] as u64;
        if u64::from(send.part.offset) + u64::from(send.part.len) > source {
            return Err(Error::BadAddress);
        }
        let armed = &mut self.sockets.handles.get_mut(socket, client.pid)?.armed;
        if armed.send.is_some() {
            return Err(Error::Busy);
        }
        // What follows the send decides what is armed.
        (armed.room, armed.count, armed.moved_at) = (false, 0, self.now);
        let mut sending = Sending::new(&send, inline.offset, number);
        match self.queue(id, &mut sending, inline.octets, turn.token)? {
            Progress::Whole => {
                let event = self.sent_whole(client, turn, socket, &sending)?;
                Ok(event.map_or(Outcome::Silent, Outcome::Told))
            }
            Progress::Waits => {
                sending.waited = true;
                let armed = &mut self.sockets.handles.get_mut(socket, client.pid)?.armed;
                armed.send = Some(sending);
                turn.waiting.push(socket);
                Ok(Outcome::Waits)
            }
        }
    }

    /// Queues what there is room for.
    fn queue(
        &mut self,
        id: ConnectionId,
        sending: &mut Sending,
        inline: Option<&[u8]>,
        token: u64,
    ) -> Result<Progress> {
        // The transmit buffer is a ring: at most two pieces are free.
        while sending.left() > 0 {
            let Some(room) = self.sockets.stack.tcp.room(id) else {
                return Err(self
                    .sockets
                    .stack
                    .tcp
                    .take_error(id)
                    .unwrap_or(Error::BrokenPipe));
            };
            if room == 0 {
                return Ok(Progress::Waits);
            }
            let (place, left) = sending.place();
            // Where they end, the source begins.
            let here = inline.and_then(|octets| octets.get(sending.sent..));
            let sent = self.sockets.stack.send(id, |buffer| {
                let count = buffer.len().min(left);
                let buffer = &mut buffer[..count];
                match here.and_then(|octets| octets.get(..count)) {
                    Some(octets) => buffer.copy_from_slice(octets),
                    None => read_exactly(self.ipc, token, place, buffer)?,
                }
                Ok(count)
            })?;
            if sent == 0 {
                return Ok(Progress::Waits);
            }
            sending.sent += sent;
            self.batches.moved = true;
        }
        Ok(Progress::Whole)
    }

    /// Goes on with a send of an earlier moment.
    pub(super) fn go_on(
        &mut self,
        id: ConnectionId,
        sending: &mut Sending,
        token: u64,
    ) -> Result<Progress> {
        // Not for every octet that leaves: a quarter of the buffer is worth a copy, and
        // makes longer segments.
        let worth = sending.left().min(self.sockets.stack.tcp.worthwhile(id));
        match self.sockets.stack.tcp.room(id) {
            Some(room) if room < worth => Ok(Progress::Waits),
            _ => self.queue(id, sending, None, token),
        }
    }

    /// All of a send is queued: does what follows it; returns what is to be said.
    pub(super) fn sent_whole(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        socket: Handle,
        sending: &Sending,
    ) -> Result<Option<Event>> {
        let id = self
            .sockets
            .handles
            .get(socket, client.pid)?
            .kind
            .connection()?;
        match sending.end {
            End::Stays => {}
            End::Finish => {
                self.sockets.stack.finish(id);
                self.batches.moved = true;
            }
            End::Close => {
                self.close(client, turn, socket)?;
                return Ok(Some(Event::Closed { socket }));
            }
        }
        let armed = &mut self.sockets.handles.get_mut(socket, client.pid)?.armed;
        if sending.receive > 0 {
            (armed.count, armed.max) = (1, sending.receive);
            if self.sockets.stack.tcp.has_news(id) {
                client.enqueue(socket, armed);
            }
        }
        let waited = sending.waited;
        if sending.tell == Tell::Now {
            turn.events.wake();
        }
        Ok((sending.tell != Tell::Never).then_some(Event::Sent { socket, waited }))
    }

    pub(super) fn begin_send_to(
        &mut self,
        pid: Pid,
        turn: &mut Turn,
        unsent: Unsent,
        inline: Inline<'_>,
    ) -> Result<Outcome> {
        let socket = self.sockets.handles.get(unsent.socket, pid)?;
        let id = socket.kind.datagrams()?;
        if unsent.len > DATAGRAM_MAX {
            return Err(Error::TooLong);
        }
        // Behind those that wait already, it waits, too.
        if socket.armed.unsent == 0 {
            match self.send_to(id, &unsent, inline.octets, turn.token) {
                Err(Error::WouldBlock) => {}
                sent => return sent.map(|()| Outcome::Silent),
            }
            // The queue is full, but the card may not be.
            self.sockets.stack.transmit(self.now);
            match self.send_to(id, &unsent, inline.octets, turn.token) {
                Err(Error::WouldBlock) => {}
                sent => return sent.map(|()| Outcome::Silent),
            }
        }
        let socket = self.sockets.handles.get_mut(unsent.socket, pid)?;
        socket.armed.unsent += 1;
        turn.unsent.push_back(unsent);
        Ok(Outcome::Waits)
    }

    /// Queues a datagram, whose octets are these or in lease 1.
    fn send_to(
        &mut self,
        id: DatagramId,
        unsent: &Unsent,
        octets: Option<&[u8]>,
        token: u64,
    ) -> Result<()> {
        let octets = match octets {
            Some(octets) => octets,
            None => {
                let scratch = &mut self.batches.scratch;
                scratch.clear();
                scratch.resize(unsent.len, 0);
                read_exactly(self.ipc, token, (OPERATIONS, unsent.offset), scratch)?;
                scratch
            }
        };
        let stack = &mut self.sockets.stack;
        let sent = stack.send_datagram(id, unsent.to, octets, self.now);
        self.batches.moved |= sent.is_ok();
        sent
    }

    /// Sends the datagrams of a socket that wait, in order, as far as there is room.
    pub(super) fn go_on_sending_to(
        &mut self,
        turn: &mut Turn,
        (socket, id): (Handle, DatagramId),
        pid: Pid,
    ) -> Result<Progress> {
        let mut at = 0;
        while let Some(&unsent) = turn.unsent.get(at) {
            if unsent.socket != socket {
                at += 1;
                continue;
            }
            match self.send_to(id, &unsent, None, turn.token) {
                Ok(()) => turn.events.settle(),
                Err(Error::WouldBlock) => return Ok(Progress::Waits),
                Err(error) => {
                    let operation = unsent.operation;
                    turn.events.outcome(&Event::Failed {
                        socket,
                        operation,
                        error,
                    });
                    turn.events.wake();
                }
            }
            turn.unsent.remove(at);
            let armed = &mut self.sockets.handles.get_mut(socket, pid)?.armed;
            armed.unsent = armed.unsent.saturating_sub(1);
        }
        Ok(Progress::Whole)
    }
}
