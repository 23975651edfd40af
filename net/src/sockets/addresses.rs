//! Which local addresses and ports sockets have.

use crate::ip::interface::Local;
use crate::names::Tuple;
use crate::phy::Device;
use crate::sockets::{Sockets, ports};
use abi::socket::Address;
use abi::{Error, Result};

impl<D: Device> Sockets<D> {
    /// The port of a socket at this local address: the one that it names, or any for 0.
    pub(super) fn local_port(&mut self, address: Address, is_datagram: bool) -> Result<u16> {
        if !address.ip.is_unspecified() && !self.stack.has_address(address.ip) {
            return Err(Error::AddressNotAvailable);
        }
        match address.port {
            0 => self.free_port(is_datagram, None),
            port if self.handles.is_bound(port, is_datagram) => Err(Error::AddressInUse),
            port => Ok(port),
        }
    }

    /// A port that nothing uses: for a connection to this peer now, if it is for one.
    pub(super) fn free_port(
        &mut self,
        is_datagram: bool,
        peer: Option<(Local, Address, u64)>,
    ) -> Result<u16> {
        let search = self.ports.search(peer.map(|(_, peer, _)| peer));
        let is_free = |port| {
            !self.handles.is_bound(port, is_datagram)
                && (is_datagram || !self.stack.tcp.uses_port(port))
                && peer.is_none_or(|(local, peer, now)| {
                    self.stack
                        .tcp
                        .may_connect(&Tuple { port, local, peer }, now)
                })
        };
        let step = (0..ports::COUNT).find(|&step| is_free(search.port(step)));
        let step = step.ok_or(Error::AddressInUse)?;
        self.ports.found(&search, step);
        Ok(search.port(step))
    }
}
