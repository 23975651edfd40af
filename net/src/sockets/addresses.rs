//! Which local addresses and ports sockets have.

use crate::names::Tuple;
use crate::phy::Device;
use crate::sockets::handles::State;
use crate::sockets::{Sockets, ports};
use crate::tcp::Stage;
use abi::socket::{Address, Handle};
use abi::{Error, Pid, Result};
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

impl<D: Device> Sockets<D> {
    #[cold]
    pub(crate) fn bind(&mut self, handle: Handle, client: Pid, address: SocketAddr) -> Result<()> {
        let socket = self.handles.get(handle, client)?;
        let fresh = matches!(
            socket.state,
            State::Idle | State::Datagram { port: None, .. }
        );
        if socket.local.is_some() || !fresh {
            return Err(Error::InvalidArgument);
        }
        let address = ipv4(address.into(), Error::AddressNotAvailable)?;
        let ip = *address.ip();
        if !ip.is_unspecified() && ip != self.stack.address() {
            return Err(Error::AddressNotAvailable);
        }
        let state = socket.state;
        let port = match address.port() {
            0 => self.free_port(state, None)?,
            port if self.handles.is_bound(port, state) => return Err(Error::AddressInUse),
            port => port,
        };
        self.bind_to(handle, client, SocketAddrV4::new(ip, port))
    }

    /// Gives a socket its local address, which is free.
    fn bind_to(&mut self, handle: Handle, client: Pid, local: SocketAddrV4) -> Result<()> {
        let state = self.handles.get(handle, client)?.state;
        if let State::Datagram { peer, .. } = state {
            let port = Some(self.stack.open_datagrams(local.port())?);
            let state = State::Datagram { port, peer };
            self.handles.set_state(handle, client, state)?;
        }
        self.handles.bind(handle, client, local)
    }

    /// The local port of a socket; one is chosen if it has none, for a connection to this peer now
    /// if it is to have one.
    pub(crate) fn bound_port(
        &mut self,
        handle: Handle,
        client: Pid,
        peer: Option<(SocketAddrV4, u64)>,
    ) -> Result<u16> {
        let socket = self.handles.get(handle, client)?;
        if let Some(local) = socket.local {
            return Ok(local.port());
        }
        let port = self.free_port(socket.state, peer)?;
        let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        self.bind_to(handle, client, local)?;
        Ok(port)
    }

    /// A port that nothing uses: for a connection to this peer now, if it is for one.
    #[cold]
    fn free_port(&mut self, state: State, peer: Option<(SocketAddrV4, u64)>) -> Result<u16> {
        let search = self.ports.search(peer.map(|(peer, _)| peer));
        let is_datagram = matches!(state, State::Datagram { .. });
        let is_free = |port| {
            !self.handles.is_bound(port, state)
                && (is_datagram || !self.stack.tcp.uses_port(port))
                && peer.is_none_or(|(peer, now)| {
                    self.stack.tcp.may_connect(&Tuple { port, peer }, now)
                })
        };
        let step = (0..ports::COUNT).find(|&step| is_free(search.port(step)));
        let step = step.ok_or(Error::AddressInUse)?;
        self.ports.found(&search, step);
        Ok(search.port(step))
    }

    pub(crate) fn local_address(&self, handle: Handle, client: Pid) -> Result<SocketAddrV4> {
        let socket = self.handles.get(handle, client)?;
        if let State::Stream(id) = socket.state
            && let Some(tuple) = self.stack.tcp.tuple(id)
        {
            return Ok(SocketAddrV4::new(self.stack.address(), tuple.port));
        }
        let nothing = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Ok(socket.local.unwrap_or(nothing))
    }

    pub(crate) fn peer_address(&self, handle: Handle, client: Pid) -> Result<SocketAddrV4> {
        match self.handles.get(handle, client)?.state {
            State::Stream(id) if self.stack.tcp.stage(id) == Stage::Open => {
                self.stack.tcp.tuple(id).map(|tuple| tuple.peer)
            }
            State::Datagram { peer, .. } => peer,
            _ => None,
        }
        .ok_or(Error::NotConnected)
    }
}

/// A program's address as this stack has addresses, of IPv4 only as yet: "any" of IPv6 is "any" here, too.
///
/// # Errors
/// `otherwise`, for another IPv6 address.
#[inline]
pub(crate) fn ipv4(address: Address, otherwise: Error) -> Result<SocketAddrV4> {
    match address.as_v4() {
        Some(address) => Ok(address),
        None if address == Address::any(address.port) => {
            Ok(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, address.port))
        }
        None => Err(otherwise),
    }
}
