//! Requests on datagram sockets.

use crate::ipc::{Ipc, read_exactly, write_exactly};
use crate::names::DatagramId;
use crate::phy::Device;
use crate::sockets::Sockets;
use crate::sockets::addresses::ipv4;
use crate::sockets::call::{Call, wait};
use crate::sockets::handles::State;
use crate::udp::DATAGRAM_MAX;
use abi::socket::{Answer, Handle};
use abi::{Error, Pid, Result};
use core::net::{SocketAddr, SocketAddrV4};

impl<D: Device> Sockets<D> {
    /// Sets the default peer, the only one whose datagrams are received from then on; no
    /// address and no port take it back.
    pub(crate) fn connect_datagrams(
        &mut self,
        handle: Handle,
        client: Pid,
        address: SocketAddr,
    ) -> Result<()> {
        let wanted = ipv4(address.into(), Error::Unreachable)?;
        let wanted = match wanted.ip().is_unspecified() && wanted.port() == 0 {
            true => None,
            false if wanted.port() == 0 => return Err(Error::InvalidArgument),
            false => {
                self.stack.hop(*wanted.ip())?;
                self.bound_port(handle, client, None)?;
                Some(wanted)
            }
        };
        match &mut self.handles.get_mut(handle, client)?.state {
            State::Datagram { peer, .. } => *peer = wanted,
            _ => return Err(Error::NotSupported),
        }
        Ok(())
    }

    pub(crate) fn send_datagram(
        &mut self,
        handle: Handle,
        call: &mut Call,
        to: SocketAddrV4,
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Option<Answer>> {
        let socket = self.handles.get(handle, call.client)?;
        let non_blocking = socket.non_blocking;
        let State::Datagram { .. } = socket.state else {
            return Err(Error::NotSupported);
        };
        if call.lent > DATAGRAM_MAX {
            return Err(Error::TooLong);
        }
        self.bound_port(handle, call.client, None)?;
        let State::Datagram { port: Some(id), .. } = self.handles.get(handle, call.client)?.state
        else {
            return Err(Error::NotSupported);
        };
        // Read before it is queued: smoltcp cannot take a place in its queue back.
        self.scratch.clear();
        self.scratch.resize(call.lent, 0);
        read_exactly(ipc, call.token, (0, 0), &mut self.scratch)?;
        match self.stack.send_datagram(id, to, &self.scratch, now) {
            Ok(()) => Ok(Some(Answer::Count(call.lent as u32))),
            Err(Error::WouldBlock) => wait(non_blocking),
            Err(error) => Err(error),
        }
    }

    /// Takes the next datagram: how many octets of it were stored, and its sender.
    pub(crate) fn receive_datagram(
        &mut self,
        handle: Handle,
        call: &mut Call,
        ipc: &mut impl Ipc,
    ) -> Result<Option<(u32, SocketAddrV4)>> {
        let socket = self.handles.get(handle, call.client)?;
        let State::Datagram { port, peer } = socket.state else {
            return Err(Error::NotSupported);
        };
        let non_blocking = socket.non_blocking;
        let port = port.filter(|&port| self.skip_strangers(port, peer));
        let Some(id) = port else {
            return wait(non_blocking).map(|_| None);
        };
        let (token, lent) = (call.token, call.lent);
        let taken = self.stack.udp.receive(id, |octets, sender| {
            let count = octets.len().min(lent);
            write_exactly(ipc, token, 0, &octets[..count])?;
            Ok((count as u32, sender))
        })?;
        Ok(Some(taken))
    }

    /// Throws away what does not come from the socket's peer, if it has one. Returns
    /// whether a datagram is left.
    pub(crate) fn skip_strangers(&mut self, id: DatagramId, peer: Option<SocketAddrV4>) -> bool {
        while let Some(sender) = self.stack.udp.sender(id) {
            if peer.is_none_or(|peer| peer == sender) {
                return true;
            }
            self.stack.udp.skip(id);
        }
        false
    }
}
