//! The echo service (RFC 862): every byte comes back, in order, and when the client ends
//! its direction, ours ends after the last byte.
//!
//! Buffers are bounded: a client that does not take its bytes is not read from, so TCP's
//! window closes and it cannot send more.

use crate::socket::{SocketAddress, UdpSocket, events};
use crate::stream::Stream;
use crate::{Error, Result};
use alloc::vec::Vec;

/// Most bytes held for one TCP client.
pub const BUFFER: usize = 16 * 1024;
/// How often one client may read and write before it is another's turn.
const ROUNDS: usize = 4;
/// The longest UDP datagram (RFC 768: a 16-bit length, 8 of them its header).
const DATAGRAM_MAX: usize = 65_527;

/// One TCP client.
#[derive(Debug, Default)]
pub struct Echo {
    /// Grows to [`BUFFER`] on the first byte; `start..end` waits to go back.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The client has ended its direction.
    ended: bool,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does: wait for [`Echo::wanted`].
    Open,
    /// All was echoed.
    Done,
}

impl Echo {
    /// A client that has said nothing yet.
    pub fn new() -> Self {
        Echo::default()
    }

    /// Moves what can be moved now.
    ///
    /// # Errors
    /// What ended the connection; [`Error::NoMemory`] if there is none for its buffer.
    pub fn pump(&mut self, stream: &impl Stream) -> Result<State> {
        crate::buffer::set_len(&mut self.buffer, BUFFER)?;
        for _ in 0..ROUNDS {
            let room = BUFFER - self.end;
            let mut more = false;
            if room > 0 && !self.ended {
                match stream.read(&mut self.buffer[self.end..]) {
                    Ok(0) => self.ended = true,
                    Ok(count) => {
                        self.end += count;
                        // A full buffer may mean that there was more to read.
                        more = count == room;
                    }
                    Err(Error::WouldBlock) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.start < self.end {
                match stream.write(&self.buffer[self.start..self.end], &[]) {
                    Ok(count) => self.start += count,
                    Err(Error::WouldBlock) => return Ok(State::Open),
                    Err(error) => return Err(error),
                }
            }
            if self.start >= self.end {
                (self.start, self.end) = (0, 0);
                if self.ended {
                    return Ok(State::Done);
                }
            }
            if !more {
                break;
            }
        }
        Ok(State::Open)
    }

    /// The events to wait for before the next [`Echo::pump`].
    pub fn wanted(&self) -> u16 {
        let mut wanted = 0;
        if self.end < BUFFER && !self.ended {
            wanted |= events::READABLE;
        }
        if self.start < self.end {
            wanted |= events::WRITABLE;
        }
        wanted
    }
}

/// A non-blocking datagram socket: [`UdpSocket`], or a test's.
pub trait Datagrams {
    /// As [`UdpSocket::recv_from`].
    ///
    /// # Errors
    /// As there.
    fn receive(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddress)>;

    /// As [`UdpSocket::send_to`].
    ///
    /// # Errors
    /// As there.
    fn send(&self, datagram: &[u8], to: SocketAddress) -> Result<usize>;
}

impl Datagrams for UdpSocket {
    fn receive(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddress)> {
        self.recv_from(buffer)
    }

    fn send(&self, datagram: &[u8], to: SocketAddress) -> Result<usize> {
        self.send_to(datagram, to)
    }
}

/// The UDP service.
#[derive(Debug)]
pub struct DatagramEcho {
    buffer: Vec<u8>,
    /// A datagram in the buffer that found no room on its way back.
    waiting: Option<(usize, SocketAddress)>,
    /// Datagrams that could not be answered.
    dropped: u64,
}

/// How many datagrams are answered before it is another client's turn.
const DATAGRAM_ROUNDS: usize = 64;

impl Default for DatagramEcho {
    fn default() -> Self {
        DatagramEcho {
            buffer: alloc::vec![0; DATAGRAM_MAX],
            waiting: None,
            dropped: 0,
        }
    }
}

impl DatagramEcho {
    /// The service on `port`.
    pub fn new() -> Self {
        DatagramEcho::default()
    }

    /// Answers what can be answered now. `port` is our own: a datagram from that port
    /// comes from another echo service, and answering it would never end.
    ///
    /// # Errors
    /// What ended the socket; a datagram that cannot be sent is only counted.
    pub fn pump(&mut self, socket: &impl Datagrams, port: u16) -> Result<()> {
        for _ in 0..DATAGRAM_ROUNDS {
            let (len, peer) = match self.waiting.take() {
                Some(waiting) => waiting,
                None => match socket.receive(&mut self.buffer) {
                    Ok((_, peer)) if peer.port == port => {
                        self.dropped += 1;
                        continue;
                    }
                    Ok(received) => received,
                    Err(Error::WouldBlock) => return Ok(()),
                    Err(error) => return Err(error),
                },
            };
            match socket.send(&self.buffer[..len], peer) {
                Ok(_) => {}
                Err(Error::WouldBlock) => {
                    self.waiting = Some((len, peer));
                    return Ok(());
                }
                Err(error @ (Error::PeerDied | Error::BadHandle)) => return Err(error),
                Err(_) => self.dropped += 1,
            }
        }
        Ok(())
    }

    /// The events to wait for before the next [`DatagramEcho::pump`].
    pub fn wanted(&self) -> u16 {
        match self.waiting {
            Some(_) => events::WRITABLE,
            None => events::READABLE,
        }
    }

    /// Datagrams that were not answered.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::tests::Pipe;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
    }

    #[test]
    fn everything_comes_back_and_then_the_end() {
        let pipe = Pipe::new();
        pipe.trickle(1000);
        let sent = pattern(100_000);
        pipe.send(&sent);
        pipe.end();
        let mut echo = Echo::new();
        let mut turns = 0;
        while echo.pump(&&pipe) == Ok(State::Open) {
            assert_ne!(echo.wanted(), 0);
            turns += 1;
            assert!(turns < 1000);
        }
        assert_eq!(pipe.received(), sent);
    }

    #[test]
    fn a_client_that_does_not_take_is_not_read_from() {
        let pipe = Pipe::new();
        pipe.take(5);
        let sent = pattern(10 * BUFFER);
        pipe.send(&sent);
        let mut echo = Echo::new();
        for _ in 0..20 {
            assert_eq!(echo.pump(&&pipe), Ok(State::Open));
        }
        assert_eq!(pipe.unread(), sent.len() - BUFFER);
        assert_eq!(echo.wanted(), events::WRITABLE);
        pipe.take(usize::MAX);
        pipe.end();
        while echo.pump(&&pipe) == Ok(State::Open) {}
        assert_eq!(pipe.received(), sent);
    }

    #[test]
    fn one_client_does_not_keep_the_others_waiting() {
        let pipe = Pipe::new();
        pipe.send(&pattern(100 * BUFFER));
        let mut echo = Echo::new();
        echo.pump(&&pipe).unwrap();
        assert_eq!(pipe.received().len(), ROUNDS * BUFFER);
        assert_eq!(echo.wanted(), events::READABLE);
    }

    #[test]
    fn a_reset_ends_it() {
        let pipe = Pipe::new();
        let mut echo = Echo::new();
        assert_eq!(echo.pump(&&pipe), Ok(State::Open));
        pipe.reset();
        assert_eq!(echo.pump(&&pipe), Err(Error::ConnectionReset));
    }

    const PEER: SocketAddress = SocketAddress {
        ip: [10, 0, 2, 2],
        port: 999,
    };

    #[derive(Default)]
    struct Wire {
        inward: RefCell<VecDeque<(Vec<u8>, SocketAddress)>>,
        outward: RefCell<Vec<Vec<u8>>>,
        answer: RefCell<Option<Error>>,
    }

    impl Datagrams for &Wire {
        fn receive(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddress)> {
            let next = self.inward.borrow_mut().pop_front();
            let (bytes, peer) = next.ok_or(Error::WouldBlock)?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok((bytes.len(), peer))
        }

        fn send(&self, datagram: &[u8], to: SocketAddress) -> Result<usize> {
            assert_eq!(to, PEER);
            if let Some(error) = *self.answer.borrow() {
                return Err(error);
            }
            self.outward.borrow_mut().push(datagram.to_vec());
            Ok(datagram.len())
        }
    }

    #[test]
    fn datagrams_come_back_but_not_to_another_echo_service() {
        let wire = Wire::default();
        let other = SocketAddress { port: 7, ..PEER };
        for (bytes, from) in [(&b"one"[..], PEER), (b"loop", other), (b"", PEER)] {
            wire.inward.borrow_mut().push_back((bytes.to_vec(), from));
        }
        let mut echo = DatagramEcho::new();
        echo.pump(&&wire, 7).unwrap();
        assert_eq!(*wire.outward.borrow(), [b"one".to_vec(), b"".to_vec()]);
        assert_eq!(echo.dropped(), 1);
        assert_eq!(echo.wanted(), events::READABLE);
    }

    #[test]
    fn a_datagram_waits_for_room_and_is_dropped_when_it_cannot_go() {
        let wire = Wire::default();
        wire.inward.borrow_mut().push_back((b"a".to_vec(), PEER));
        wire.answer.replace(Some(Error::WouldBlock));
        let mut echo = DatagramEcho::new();
        echo.pump(&&wire, 7).unwrap();
        assert_eq!(echo.wanted(), events::WRITABLE);
        wire.answer.replace(None);
        echo.pump(&&wire, 7).unwrap();
        assert_eq!(*wire.outward.borrow(), [b"a".to_vec()]);

        wire.inward.borrow_mut().push_back((b"b".to_vec(), PEER));
        wire.answer.replace(Some(Error::Unreachable));
        echo.pump(&&wire, 7).unwrap();
        assert_eq!((echo.dropped(), echo.wanted()), (1, events::READABLE));

        wire.inward.borrow_mut().push_back((b"c".to_vec(), PEER));
        wire.answer.replace(Some(Error::PeerDied));
        assert_eq!(echo.pump(&&wire, 7), Err(Error::PeerDied));
    }
}
