//! A smoltcp socket, alone in a socket set.
//!
//! smoltcp looks through its whole set for the socket that a packet is for, for sockets with
//! something to send, and for the next deadline. A set of one socket makes these searches free,
//! however many connections there are.

use alloc::vec::Vec;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};

/// A TCP socket in a set of its own.
pub(crate) struct SoleSocket {
    set: SocketSet<'static>,
    handle: SocketHandle,
}

impl SoleSocket {
    /// A closed socket with these buffers.
    #[cold]
    pub fn new(receive: Vec<u8>, transmit: Vec<u8>) -> Self {
        let (receive, transmit) = (SocketBuffer::new(receive), SocketBuffer::new(transmit));
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(Socket::new(receive, transmit));
        SoleSocket { set, handle }
    }

    pub fn get(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    pub fn get_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// The set, which smoltcp's interface takes.
    pub fn set(&mut self) -> &mut SocketSet<'static> {
        &mut self.set
    }

    /// Octets of both buffers.
    pub fn buffer_octets(&self) -> usize {
        self.get().recv_capacity() + self.get().send_capacity()
    }
}
