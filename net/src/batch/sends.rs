//! Sends of batches, and how they go on.

use crate::batch::armed::Sending;
use crate::batch::operations::{Inline, Outcome};
use crate::batch::{Client, Turn};
use crate::handles::State;
use crate::ipc::{Ipc, read_exactly};
use crate::names::ConnectionId;
use crate::phy::Device;
use crate::server::Server;
use crate::tcp::Stage;
use crate::udp::DATAGRAM_MAX;
use abi::batch::{End, Event, OPERATIONS, SOURCE, Send, Tell};
use abi::socket::Handle;
use abi::{Error, Pid, Result};
use core::net::SocketAddrV4;

/// A datagram that waits for room.
#[derive(Clone, Copy)]
pub(super) struct Unsent {
    pub socket: Handle,
    /// The operation's number.
    pub operation: u16,
    pub to: SocketAddrV4,
    /// Where its octets are in lease 1.
    pub offset: usize,
    pub len: usize,
}

/// How far a send has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Whole,
    Waits,
}

impl<D: Device> Server<D> {
    /// The connection of a stream socket, which stands or stood.
    pub(super) fn open_stream(&self, socket: Handle, pid: Pid) -> Result<ConnectionId> {
        let (id, _) = self.connection(socket, pid)?;
        match self.stack.stage(id) {
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
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Outcome> {
        let socket = send.socket;
        let id = self.open_stream(socket, client.pid)?;
        let source = turn.lent[usize::from(SOURCE)] as u64;
        if u64::from(send.part.offset) + u64::from(send.part.len) > source {
            return Err(Error::BadAddress);
        }
        let armed = &mut self.handles.get_mut(socket, client.pid)?.armed;
        if armed.send.is_some() {
            return Err(Error::Busy);
        }
        // What follows the send decides what is armed.
        (armed.room, armed.count, armed.moved_at) = (false, 0, now);
        let mut sending = Sending::new(&send, inline.offset, number);
        match self.queue(id, &mut sending, inline.octets, turn.token, ipc)? {
            Progress::Whole => {
                let event = self.sent_whole(client, turn, socket, &sending, now)?;
                Ok(event.map_or(Outcome::Silent, Outcome::Told))
            }
            Progress::Waits => {
                sending.waited = true;
                let armed = &mut self.handles.get_mut(socket, client.pid)?.armed;
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
        ipc: &mut impl Ipc,
    ) -> Result<Progress> {
        // The transmit buffer is a ring: at most two pieces are free.
        while sending.left() > 0 {
            let Some(room) = self.stack.room(id) else {
                return Err(self.stack.take_error(id).unwrap_or(Error::BrokenPipe));
            };
            if room == 0 {
                return Ok(Progress::Waits);
            }
            let (place, left) = sending.place();
            // Where they end, the source begins.
            let here = inline.and_then(|octets| octets.get(sending.sent..));
            let sent = self.stack.send(id, |buffer| {
                let count = buffer.len().min(left);
                let buffer = &mut buffer[..count];
                match here.and_then(|octets| octets.get(..count)) {
                    Some(octets) => buffer.copy_from_slice(octets),
                    None => read_exactly(ipc, token, place, buffer)?,
                }
                Ok(count)
            })?;
            if sent == 0 {
                return Ok(Progress::Waits);
            }
            sending.sent += sent;
            self.moved = true;
        }
        Ok(Progress::Whole)
    }

    /// Goes on with a send of an earlier moment.
    pub(super) fn go_on(
        &mut self,
        id: ConnectionId,
        sending: &mut Sending,
        token: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Progress> {
        // Not for every octet that leaves: a quarter of the buffer is worth a copy, and
        // makes longer segments.
        let worth = sending.left().min(self.stack.worthwhile(id));
        match self.stack.room(id) {
            Some(room) if room < worth => Ok(Progress::Waits),
            _ => self.queue(id, sending, None, token, ipc),
        }
    }

    /// All of a send is queued: does what follows it; returns what is to be said.
    pub(super) fn sent_whole(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        socket: Handle,
        sending: &Sending,
        now: u64,
    ) -> Result<Option<Event>> {
        let (id, _) = self.connection(socket, client.pid)?;
        match sending.end {
            End::Stays => {}
            End::Finish => {
                self.stack.finish(id);
                self.moved = true;
            }
            End::Close => {
                self.close(client, turn, socket, now)?;
                return Ok(Some(Event::Closed { socket }));
            }
        }
        let armed = &mut self.handles.get_mut(socket, client.pid)?.armed;
        if sending.receive > 0 {
            (armed.count, armed.max) = (1, sending.receive);
            if self.stack.has_news(id) {
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
        client: &mut Client,
        turn: &mut Turn,
        unsent: Unsent,
        inline: Inline<'_>,
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Outcome> {
        let State::Datagram { .. } = self.handles.get(unsent.socket, client.pid)?.state else {
            return Err(Error::NotSupported);
        };
        if unsent.len > DATAGRAM_MAX {
            return Err(Error::TooLong);
        }
        self.bound_port(unsent.socket, client.pid, None)?;
        // Behind those that wait already, it waits, too.
        let waits = self.handles.get(unsent.socket, client.pid)?.armed.unsent > 0;
        if !waits {
            match self.send_to(&unsent, inline.octets, client.pid, turn.token, now, ipc) {
                Ok(()) => return Ok(Outcome::Silent),
                Err(Error::WouldBlock) => {}
                Err(error) => return Err(error),
            }
            // The queue is full, but the card may not be.
            self.stack.transmit(now);
            match self.send_to(&unsent, inline.octets, client.pid, turn.token, now, ipc) {
                Ok(()) => return Ok(Outcome::Silent),
                Err(Error::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        self.handles
            .get_mut(unsent.socket, client.pid)?
            .armed
            .unsent += 1;
        turn.unsent.push_back(unsent);
        Ok(Outcome::Waits)
    }

    /// Queues a datagram, whose octets are these or in lease 1.
    fn send_to(
        &mut self,
        unsent: &Unsent,
        octets: Option<&[u8]>,
        pid: Pid,
        token: u64,
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<()> {
        let State::Datagram { port: Some(id), .. } = self.handles.get(unsent.socket, pid)?.state
        else {
            return Err(Error::NotSupported);
        };
        let sent = match octets {
            Some(octets) => self.stack.send_datagram(id, unsent.to, octets, now),
            None => {
                self.scratch.clear();
                self.scratch.resize(unsent.len, 0);
                let place = (OPERATIONS, unsent.offset);
                read_exactly(ipc, token, place, &mut self.scratch)?;
                self.stack.send_datagram(id, unsent.to, &self.scratch, now)
            }
        };
        self.moved |= sent.is_ok();
        sent
    }

    /// Sends the datagrams of a socket that wait, in order, as far as there is room.
    pub(super) fn go_on_sending_to(
        &mut self,
        turn: &mut Turn,
        socket: Handle,
        pid: Pid,
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Progress> {
        let mut at = 0;
        while let Some(&unsent) = turn.unsent.get(at) {
            if unsent.socket != socket {
                at += 1;
                continue;
            }
            match self.send_to(&unsent, None, pid, turn.token, now, ipc) {
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
            let armed = &mut self.handles.get_mut(socket, pid)?.armed;
            armed.unsent = armed.unsent.saturating_sub(1);
        }
        Ok(Progress::Whole)
    }
}
