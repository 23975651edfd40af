//! Which local addresses and ports sockets have.

use crate::handles::State;
use crate::server::Server;
use crate::stack::Stage;
use abi::socket::{Handle, SocketAddress};
use abi::{Error, Pid, Result};
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::phy::Device;

/// Ports for those who do not care (RFC 6335 §6).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 49152..=65535;

impl<D: Device> Server<D> {
    #[cold]
    pub(crate) fn bind(
        &mut self,
        handle: Handle,
        client: Pid,
        address: SocketAddress,
    ) -> Result<()> {
        let socket = self.handles.get(handle, client)?;
        let fresh = matches!(
            socket.state,
            State::Idle | State::Datagram { port: None, .. }
        );
        if socket.local.is_some() || !fresh {
            return Err(Error::InvalidArgument);
        }
        let ip = Ipv4Addr::from(address.ip);
        if !ip.is_unspecified() && ip != self.config().address {
            return Err(Error::AddressNotAvailable);
        }
        let state = socket.state;
        let port = match address.port {
            0 => self.free_port(state)?,
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

    /// The local port of a socket; one is chosen if it has none.
    pub(crate) fn bound_port(&mut self, handle: Handle, client: Pid) -> Result<u16> {
        let socket = self.handles.get(handle, client)?;
        if let Some(local) = socket.local {
            return Ok(local.port());
        }
        let port = self.free_port(socket.state)?;
        let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        self.bind_to(handle, client, local)?;
        Ok(port)
    }

    /// A random port that nothing uses (RFC 6056 §3.3.1).
    #[cold]
    fn free_port(&mut self, state: State) -> Result<u16> {
        let count = u32::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        let start = self.random() % count;
        let is_datagram = matches!(state, State::Datagram { .. });
        (0..count)
            .map(|step| EPHEMERAL.start() + ((start + step) % count) as u16)
            .find(|&port| {
                !self.handles.is_bound(port, state) && (is_datagram || !self.stack.uses_port(port))
            })
            .ok_or(Error::AddressInUse)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), the upper half.
    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    pub(crate) fn local_address(&self, handle: Handle, client: Pid) -> Result<SocketAddrV4> {
        let socket = self.handles.get(handle, client)?;
        if let State::Stream(id) = socket.state
            && let Some(tuple) = self.stack.tuple(id)
        {
            return Ok(SocketAddrV4::new(self.config().address, tuple.port));
        }
        let nothing = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Ok(socket.local.unwrap_or(nothing))
    }

    pub(crate) fn peer_address(&self, handle: Handle, client: Pid) -> Result<SocketAddrV4> {
        match self.handles.get(handle, client)?.state {
            State::Stream(id) if self.stack.stage(id) == Stage::Open => {
                self.stack.tuple(id).map(|tuple| tuple.peer)
            }
            State::Datagram { peer, .. } => peer,
            _ => None,
        }
        .ok_or(Error::NotConnected)
    }
}
