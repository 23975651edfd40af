//! A socket in a set of its own.
//!
//! smoltcp finds the socket of a frame, those that have something to send and the next deadline by
//! a scan of the set that it is given: here it is given one.

use alloc::vec::Vec;
use core::marker::PhantomData;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::AnySocket;
use smoltcp::socket::tcp::{Socket, SocketBuffer};

/// A set of one socket.
pub(crate) struct Solo<T> {
    set: SocketSet<'static>,
    handle: SocketHandle,
    kind: PhantomData<T>,
}

impl<T: AnySocket<'static>> Solo<T> {
    #[cold]
    pub fn new(socket: T) -> Self {
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Solo {
            set,
            handle,
            kind: PhantomData,
        }
    }

    pub fn get(&self) -> &T {
        self.set.get(self.handle)
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.set.get_mut(self.handle)
    }

    pub fn set(&mut self) -> &mut SocketSet<'static> {
        &mut self.set
    }
}

/// A TCP socket.
pub(crate) type Stream = Solo<Socket<'static>>;

impl Stream {
    /// A closed socket with these buffers.
    #[cold]
    pub fn with_buffers(receive: Vec<u8>, transmit: Vec<u8>) -> Self {
        let (receive, transmit) = (SocketBuffer::new(receive), SocketBuffer::new(transmit));
        Solo::new(Socket::new(receive, transmit))
    }
}
