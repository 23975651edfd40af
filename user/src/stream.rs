//! A connection that never blocks, as the servers' logic sees it: a socket in the system,
//! a pair of buffers in the tests.

use crate::Result;
use crate::socket::{Direction, TcpStream};

/// A non-blocking stream of bytes in both directions.
pub trait Stream {
    /// As [`TcpStream::read`].
    ///
    /// # Errors
    /// As there.
    fn read(&self, buffer: &mut [u8]) -> Result<usize>;

    /// As [`TcpStream::write_vectored`].
    ///
    /// # Errors
    /// As there.
    fn write(&self, first: &[u8], second: &[u8]) -> Result<usize>;

    /// Ends the sending direction after what was written.
    ///
    /// # Errors
    /// As [`TcpStream::shutdown`].
    fn finish(&self) -> Result<()>;
}

impl Stream for TcpStream {
    fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        TcpStream::read(self, buffer)
    }

    fn write(&self, first: &[u8], second: &[u8]) -> Result<usize> {
        self.write_vectored(first, second)
    }

    fn finish(&self) -> Result<()> {
        self.shutdown(Direction::Send)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use abi::Error;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// One end of a connection whose other end is the test.
    #[derive(Default)]
    pub struct Pipe {
        inner: RefCell<Inner>,
    }

    #[derive(Default)]
    struct Inner {
        to_program: VecDeque<u8>,
        from_program: Vec<u8>,
        peer_finished: bool,
        finished: bool,
        room: usize,
        most: Option<usize>,
        reset: bool,
    }

    impl Pipe {
        /// A pipe whose peer takes everything.
        pub fn new() -> Self {
            let pipe = Pipe::default();
            pipe.take(usize::MAX);
            pipe
        }

        /// The peer sends.
        pub fn send(&self, bytes: &[u8]) {
            self.inner.borrow_mut().to_program.extend(bytes);
        }

        /// The peer ends its direction.
        pub fn end(&self) {
            self.inner.borrow_mut().peer_finished = true;
        }

        /// The peer takes this much and no more.
        pub fn take(&self, room: usize) {
            self.inner.borrow_mut().room = room;
        }

        /// No read or write moves more than this.
        pub fn trickle(&self, most: usize) {
            self.inner.borrow_mut().most = Some(most);
        }

        /// The peer resets the connection.
        pub fn reset(&self) {
            self.inner.borrow_mut().reset = true;
        }

        /// What the program has written since the last call.
        pub fn received(&self) -> Vec<u8> {
            std::mem::take(&mut self.inner.borrow_mut().from_program)
        }

        /// Whether a read would not block, as `poll` says.
        pub fn readable(&self) -> bool {
            let inner = self.inner.borrow();
            !inner.to_program.is_empty() || inner.peer_finished || inner.reset
        }

        /// Whether a write would not block, as `poll` says.
        pub fn writable(&self) -> bool {
            let inner = self.inner.borrow();
            inner.room > 0 || inner.reset
        }

        /// Whether the program ended its direction.
        pub fn finished(&self) -> bool {
            self.inner.borrow().finished
        }

        /// Bytes the program has not read.
        pub fn unread(&self) -> usize {
            self.inner.borrow().to_program.len()
        }
    }

    impl Stream for &Pipe {
        fn read(&self, buffer: &mut [u8]) -> Result<usize> {
            let mut inner = self.inner.borrow_mut();
            assert!(!buffer.is_empty(), "a read without room looks like the end");
            if inner.reset {
                return Err(Error::ConnectionReset);
            }
            if inner.to_program.is_empty() {
                return if inner.peer_finished {
                    Ok(0)
                } else {
                    Err(Error::WouldBlock)
                };
            }
            let most = inner.most.unwrap_or(usize::MAX);
            let count = buffer.len().min(inner.to_program.len()).min(most);
            for (slot, byte) in buffer.iter_mut().zip(inner.to_program.drain(..count)) {
                *slot = byte;
            }
            Ok(count)
        }

        fn write(&self, first: &[u8], second: &[u8]) -> Result<usize> {
            let mut inner = self.inner.borrow_mut();
            assert!(!inner.finished, "writing after the end");
            if inner.reset {
                return Err(Error::ConnectionReset);
            }
            let most = inner.most.unwrap_or(usize::MAX).min(inner.room);
            if most == 0 {
                return Err(Error::WouldBlock);
            }
            let head = first.len().min(most);
            let body = second.len().min(most - head);
            inner.from_program.extend_from_slice(&first[..head]);
            inner.from_program.extend_from_slice(&second[..body]);
            if inner.room != usize::MAX {
                inner.room -= head + body;
            }
            Ok(head + body)
        }

        fn finish(&self) -> Result<()> {
            self.inner.borrow_mut().finished = true;
            Ok(())
        }
    }
}
