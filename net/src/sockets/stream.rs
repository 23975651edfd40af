//! Requests on stream sockets.

use crate::ipc::{Ipc, read_exactly, write_exactly};
use crate::names::{ConnectionId, Tuple};
use crate::phy::Device;
use crate::sockets::Sockets;
use crate::sockets::addresses::ipv4;
use crate::sockets::call::{Call, wait};
use crate::sockets::handles::State;
use crate::tcp::Stage;
use abi::socket::{Answer, Direction, Handle};
use abi::{Error, Pid, Result};
use core::net::SocketAddr;

impl<D: Device> Sockets<D> {
    pub(crate) fn listen(&mut self, handle: Handle, client: Pid, backlog: u16) -> Result<()> {
        match self.handles.get(handle, client)?.state {
            State::Idle | State::Listening => {}
            State::Stream(_) => return Err(Error::InvalidArgument),
            State::Datagram { .. } => return Err(Error::NotSupported),
        }
        let port = self.bound_port(handle, client, None)?;
        self.stack.listen(port, backlog.into());
        self.handles.set_state(handle, client, State::Listening)
    }

    pub(crate) fn accept(
        &mut self,
        handle: Handle,
        client: Pid,
        ipc: &mut impl Ipc,
    ) -> Result<Option<Answer>> {
        let socket = self.handles.get(handle, client)?;
        let port = match (socket.state, socket.local) {
            (State::Listening, Some(local)) => local.port(),
            (State::Datagram { .. }, _) => return Err(Error::NotSupported),
            _ => return Err(Error::InvalidArgument),
        };
        if !self.stack.tcp.can_accept(port) {
            return wait(socket.non_blocking);
        }
        self.handles.make_room(client, ipc)?;
        let Some((id, peer)) = self.stack.tcp.accept(port) else {
            return Err(Error::ConnectionReset);
        };
        let accepted = self.handles.insert(client, State::Stream(id))?;
        Ok(Some(Answer::Accepted(accepted, peer.into())))
    }

    /// Begins to connect, or looks how it goes.
    pub(super) fn connect_stream(
        &mut self,
        handle: Handle,
        call: &mut Call,
        address: SocketAddr,
        now: u64,
    ) -> Result<Option<Answer>> {
        let socket = self.handles.get(handle, call.client)?;
        let non_blocking = socket.non_blocking;
        match socket.state {
            State::Stream(id) => match self.stack.tcp.stage(id) {
                Stage::Connecting if call.begun => wait(non_blocking),
                Stage::Open if call.begun => Ok(Some(Answer::Done)),
                Stage::Connecting | Stage::Open => Err(Error::AlreadyConnected),
                Stage::Failed(error) => {
                    // Told once; then the socket can try again.
                    self.stack.close(id, now);
                    self.handles.set_state(handle, call.client, State::Idle)?;
                    Err(error)
                }
            },
            State::Idle => {
                let peer = ipv4(address.into(), Error::Unreachable)?;
                if peer.port() == 0 || peer.ip().is_unspecified() {
                    return Err(Error::InvalidArgument);
                }
                let port = self.bound_port(handle, call.client, Some((peer, now)))?;
                let id = self.stack.connect(Tuple { port, peer }, now)?;
                let state = State::Stream(id);
                self.handles.set_state(handle, call.client, state)?;
                call.begun = true;
                wait(non_blocking)
            }
            _ => Err(Error::InvalidArgument),
        }
    }

    /// The connection of a stream socket.
    pub(crate) fn connection(&self, handle: Handle, client: Pid) -> Result<(ConnectionId, bool)> {
        let socket = self.handles.get(handle, client)?;
        match socket.state {
            State::Stream(id) => Ok((id, socket.non_blocking)),
            State::Idle | State::Listening => Err(Error::NotConnected),
            State::Datagram { .. } => Err(Error::NotSupported),
        }
    }

    /// Queues all lent octets, lease 1 behind lease 0, or what fits if the socket does not
    /// block.
    pub(super) fn send_stream(
        &mut self,
        handle: Handle,
        call: &mut Call,
        ipc: &mut impl Ipc,
    ) -> Result<Option<Answer>> {
        let (id, non_blocking) = self.connection(handle, call.client)?;
        if self.stack.tcp.stage(id) != Stage::Open {
            return Err(Error::NotConnected);
        }
        let all = call.lent + call.lent_behind;
        // The transmit buffer is a ring: at most two pieces are free.
        while call.sent < all {
            let Some(room) = self.stack.tcp.room(id) else {
                return match call.sent {
                    0 => Err(self.stack.tcp.take_error(id).unwrap_or(Error::BrokenPipe)),
                    sent => Ok(Some(Answer::Count(sent as u32))),
                };
            };
            if room == 0 {
                break;
            }
            let (token, sent) = (call.token, call.sent);
            let (place, left) = match call.lent.checked_sub(sent) {
                Some(left @ 1..) => ((0, sent), left),
                _ => ((1, sent - call.lent), all - sent),
            };
            let sent = self.stack.send(id, |buffer| {
                let count = buffer.len().min(left);
                read_exactly(ipc, token, place, &mut buffer[..count])?;
                Ok(count)
            })?;
            if sent == 0 {
                break;
            }
            call.sent += sent;
        }
        match call.sent {
            sent if sent == all => Ok(Some(Answer::Count(sent as u32))),
            0 => wait(non_blocking),
            sent if non_blocking => Ok(Some(Answer::Count(sent as u32))),
            _ => Ok(None),
        }
    }

    /// Takes what has arrived, as far as it fits.
    pub(super) fn receive_stream(
        &mut self,
        handle: Handle,
        call: &mut Call,
        ipc: &mut impl Ipc,
    ) -> Result<Option<Answer>> {
        let (id, non_blocking) = self.connection(handle, call.client)?;
        if self.stack.tcp.stage(id) != Stage::Open {
            return Err(Error::NotConnected);
        }
        let waiting = self.stack.tcp.received(id).min(call.lent);
        if waiting == 0 && call.lent > 0 {
            if let Some(error) = self.stack.tcp.take_error(id) {
                return Err(error);
            }
            if !self.stack.tcp.at_end(id) {
                return wait(non_blocking);
            }
        }
        let mut taken = 0;
        while taken < waiting {
            let (token, offset) = (call.token, taken);
            taken += self.stack.tcp.receive(id, |octets| {
                let count = octets.len().min(waiting - offset);
                write_exactly(ipc, token, offset, &octets[..count])?;
                Ok(count)
            })?;
        }
        Ok(Some(Answer::Count(taken as u32)))
    }

    pub(crate) fn shutdown(
        &mut self,
        handle: Handle,
        client: Pid,
        direction: Direction,
    ) -> Result<()> {
        let (id, _) = self.connection(handle, client)?;
        if self.stack.tcp.stage(id) != Stage::Open {
            return Err(Error::NotConnected);
        }
        if direction != Direction::Receive {
            self.stack.finish(id);
        }
        if direction != Direction::Send {
            self.stack.tcp.deafen(id);
        }
        Ok(())
    }
}
