//! Which local addresses and ports sockets have.

use crate::names::Tuple;
use crate::phy::Device;
use crate::sockets::{Sockets, ports};
use abi::socket::Address;
use abi::{Error, Result};
use core::net::{Ipv4Addr, SocketAddrV4};

impl<D: Device> Sockets<D> {
    /// The port of a socket at this local address: the one that it names, or any for 0.
    pub(super) fn local_port(&mut self, address: Address, is_datagram: bool) -> Result<u16> {
        let local = ipv4(address, Error::AddressNotAvailable)?;
        if !local.ip().is_unspecified() && *local.ip() != self.stack.address() {
            return Err(Error::AddressNotAvailable);
        }
        match local.port() {
            0 => self.free_port(is_datagram, None),
            port if self.handles.is_bound(port, is_datagram) => Err(Error::AddressInUse),
            port => Ok(port),
        }
    }

    /// A port that nothing uses: for a connection to this peer now, if it is for one.
    pub(super) fn free_port(
        &mut self,
        is_datagram: bool,
        peer: Option<(SocketAddrV4, u64)>,
    ) -> Result<u16> {
        let search = self.ports.search(peer.map(|(peer, _)| peer));
        let is_free = |port| {
            !self.handles.is_bound(port, is_datagram)
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
