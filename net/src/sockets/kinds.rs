//! What differs from one kind of socket to another: to make one, the requests that all kinds
//! have, to be ready, and to be freed.

use crate::ipc::Ipc;
use crate::phy::Device;
use crate::sockets::Sockets;
use crate::sockets::call::Call;
use crate::sockets::handles::{Socket, State};
use crate::tcp::Stage;
use abi::socket::{Answer, Handle, Kind, PollEntry, poll};
use abi::{Error, Pid, Result};
use core::net::SocketAddr;

impl<D: Device> Sockets<D> {
    /// Makes a socket.
    pub fn socket(&mut self, kind: Kind, client: Pid, ipc: &mut impl Ipc) -> Result<Answer> {
        self.watch(client, ipc)?;
        self.handles.make_room(client, ipc)?;
        let state = match kind {
            Kind::Stream => State::Idle,
            Kind::Datagram => State::Datagram {
                port: None,
                peer: None,
            },
        };
        self.handles.insert(client, state).map(Answer::Socket)
    }

    /// Begins to connect, or looks how it goes; or sets the peer of a datagram socket.
    pub fn connect(
        &mut self,
        handle: Handle,
        call: &mut Call,
        address: SocketAddr,
        now: u64,
    ) -> Result<Option<Answer>> {
        match self.handles.get(handle, call.client)?.state {
            State::Datagram { .. } => {
                self.connect_datagrams(handle, call.client, address)?;
                Ok(Some(Answer::Done))
            }
            _ => self.connect_stream(handle, call, address, now),
        }
    }

    /// Sends to the peer.
    pub fn send(
        &mut self,
        handle: Handle,
        call: &mut Call,
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Option<Answer>> {
        match self.handles.get(handle, call.client)?.state {
            State::Datagram { peer, .. } => {
                let peer = peer.ok_or(Error::NotConnected)?;
                self.send_datagram(handle, call, peer, now, ipc)
            }
            _ => self.send_stream(handle, call, ipc),
        }
    }

    /// Takes what has come.
    pub fn receive(
        &mut self,
        handle: Handle,
        call: &mut Call,
        ipc: &mut impl Ipc,
    ) -> Result<Option<Answer>> {
        match self.handles.get(handle, call.client)?.state {
            State::Datagram { .. } => {
                let answer = self.receive_datagram(handle, call, ipc)?;
                Ok(answer.map(|(count, _)| Answer::Count(count)))
            }
            _ => self.receive_stream(handle, call, ipc),
        }
    }

    /// What a socket is ready for, as [`poll`] says it.
    pub(super) fn readiness(&mut self, entry: &PollEntry, client: Pid) -> u16 {
        let Ok(socket) = self.handles.get(entry.socket, client) else {
            return poll::INVALID;
        };
        match socket.state {
            State::Idle => poll::WRITABLE | poll::HANG_UP,
            State::Listening => {
                let port = socket.local.map_or(0, |local| local.port());
                bit(self.stack.tcp.can_accept(port), poll::READABLE)
            }
            State::Stream(id) => match self.stack.tcp.stage(id) {
                Stage::Connecting => 0,
                Stage::Failed(_) => poll::ERROR | poll::HANG_UP | poll::READABLE | poll::WRITABLE,
                Stage::Open => {
                    let stack = &self.stack;
                    let error = stack.tcp.has_error(id);
                    let readable = stack.tcp.received(id) > 0 || stack.tcp.at_end(id) || error;
                    // Not for every octet that leaves.
                    let room = stack.tcp.worthwhile(id);
                    let writable = stack.tcp.room(id).is_none_or(|free| free >= room.max(1));
                    bit(readable, poll::READABLE)
                        | bit(writable, poll::WRITABLE)
                        | bit(error, poll::ERROR)
                        | bit(stack.tcp.hung_up(id), poll::HANG_UP)
                }
            },
            State::Datagram { port: None, .. } => poll::WRITABLE,
            State::Datagram {
                port: Some(id),
                peer,
            } => {
                let readable = self.skip_strangers(id, peer);
                bit(readable, poll::READABLE) | bit(self.stack.udp.can_send(id), poll::WRITABLE)
            }
        }
    }

    /// Frees what a socket held that is not in the table any more.
    pub fn free(&mut self, socket: &Socket, now: u64, abort: bool) {
        match (socket.state, socket.local) {
            (State::Stream(id), _) if abort => self.stack.abort(id, now),
            (State::Stream(id), _) => self.stack.close(id, now),
            (State::Datagram { port: Some(id), .. }, _) if abort => self.stack.drop_datagrams(id),
            (State::Datagram { port: Some(id), .. }, _) => self.stack.close_datagrams(id, now),
            (State::Listening, Some(local)) => self.stack.unlisten(local.port(), now),
            _ => {}
        }
    }
}

fn bit(is_set: bool, bit: u16) -> u16 {
    match is_set {
        true => bit,
        false => 0,
    }
}
