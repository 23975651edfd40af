//! What a program asks for.

use super::form::{Fields, Form};
use super::{Direction, Handle, Kind};
use crate::{Error, Result};
use core::net::SocketAddr;

/// A request to a network server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Makes a socket. Answers [`super::Answer::Socket`].
    Socket {
        /// TCP or UDP.
        kind: Kind,
    },
    /// Gives the socket its local address.
    Bind {
        /// The socket.
        socket: Handle,
        /// Port 0 lets the server choose.
        address: SocketAddr,
    },
    /// Lets a bound stream socket take connections.
    Listen {
        /// The socket.
        socket: Handle,
        /// How many may wait, established or half-open, before they are accepted.
        backlog: u16,
    },
    /// Takes a waiting connection. Answers [`super::Answer::Accepted`]. The new socket blocks.
    Accept {
        /// The listening socket.
        socket: Handle,
    },
    /// Stream: connects. Datagram: sets the default peer.
    Connect {
        /// The socket.
        socket: Handle,
        /// The peer.
        address: SocketAddr,
    },
    /// Queues bytes of lease 0, and may take those of lease 1 behind them if all of lease 0
    /// fitted. Answers [`super::Answer::Count`] of both, which may be short for a stream.
    Send {
        /// The socket.
        socket: Handle,
    },
    /// Takes bytes into lease 0. Answers [`super::Answer::Count`]; 0 is the end of a stream.
    Recv {
        /// The socket.
        socket: Handle,
    },
    /// Sends lease 0 as one datagram. Answers [`super::Answer::Count`].
    SendTo {
        /// The socket.
        socket: Handle,
        /// The receiver.
        address: SocketAddr,
    },
    /// Takes one datagram into lease 0; what does not fit is lost. Answers
    /// [`super::Answer::Datagram`].
    RecvFrom {
        /// The socket.
        socket: Handle,
    },
    /// Ends one or both directions of a stream.
    Shutdown {
        /// The socket.
        socket: Handle,
        /// Which.
        direction: Direction,
    },
    /// Gives the handle back. What is queued is still sent, then FIN.
    Close {
        /// The socket.
        socket: Handle,
    },
    /// Answers [`super::Answer::Address`].
    LocalAddress {
        /// The socket.
        socket: Handle,
    },
    /// Answers [`super::Answer::Address`].
    PeerAddress {
        /// The socket.
        socket: Handle,
    },
    /// Sets whether requests that would wait answer [`Error::WouldBlock`] instead.
    SetNonBlocking {
        /// The socket.
        socket: Handle,
        /// On or off.
        on: bool,
    },
    /// Waits until one of the [`super::PollEntry`]s in lease 0 (writable) is ready and fills in
    /// `ready` of all. Answers [`super::Answer::Count`]: how many are; 0 after the timeout.
    Poll {
        /// In milliseconds; [`POLL_FOREVER`] waits without end, 0 only looks.
        timeout_ms: u32,
    },
    /// Does the operations in lease 1 and waits for outcomes, which it writes into lease 0
    /// (writable): see [`crate::batch`]. Answers [`super::Answer::Count`] of bytes written.
    Batch {
        /// How many operations.
        operations: u16,
        /// In milliseconds; [`POLL_FOREVER`] waits without end, 0 only looks.
        timeout_ms: u32,
    },
    /// Writes the server's state as lines of text, "name value", into lease 0. Answers
    /// [`super::Answer::Count`].
    Status,
    /// Writes the card's description and counters as lines of text, "name value", into
    /// lease 0, as many whole lines as fit. Answers [`super::Answer::Count`].
    Card,
}

/// A timeout that never ends.
pub const POLL_FOREVER: u32 = u32::MAX;

crate::numbered! {
    #[repr(u8)]
    enum RequestKind {
        Socket = 1,
        Bind = 2,
        Listen = 3,
        Accept = 4,
        Connect = 5,
        Send = 6,
        Recv = 7,
        SendTo = 8,
        RecvFrom = 9,
        Shutdown = 10,
        Close = 11,
        LocalAddress = 12,
        PeerAddress = 13,
        SetNonBlocking = 14,
        Poll = 15,
        Status = 16,
        Card = 17,
        Batch = 18,
    }
}

impl Request {
    /// The request as bytes.
    pub fn to_bytes(&self) -> Form {
        let with_address = |kind: RequestKind, socket: Handle, address| {
            Form::with_address(kind as u8, socket.0, address)
        };
        let (kind, detail, short, socket) = match *self {
            Request::Bind { socket, address } => {
                return with_address(RequestKind::Bind, socket, address);
            }
            Request::Connect { socket, address } => {
                return with_address(RequestKind::Connect, socket, address);
            }
            Request::SendTo { socket, address } => {
                return with_address(RequestKind::SendTo, socket, address);
            }
            Request::Socket { kind } => (RequestKind::Socket, kind as u8, 0, Handle(0)),
            Request::Listen { socket, backlog } => (RequestKind::Listen, 0, backlog, socket),
            Request::Accept { socket } => (RequestKind::Accept, 0, 0, socket),
            Request::Send { socket } => (RequestKind::Send, 0, 0, socket),
            Request::Recv { socket } => (RequestKind::Recv, 0, 0, socket),
            Request::RecvFrom { socket } => (RequestKind::RecvFrom, 0, 0, socket),
            Request::Shutdown { socket, direction } => {
                (RequestKind::Shutdown, direction as u8, 0, socket)
            }
            Request::Close { socket } => (RequestKind::Close, 0, 0, socket),
            Request::LocalAddress { socket } => (RequestKind::LocalAddress, 0, 0, socket),
            Request::PeerAddress { socket } => (RequestKind::PeerAddress, 0, 0, socket),
            Request::SetNonBlocking { socket, on } => {
                (RequestKind::SetNonBlocking, on.into(), 0, socket)
            }
            Request::Poll { timeout_ms } => (RequestKind::Poll, 0, 0, Handle(timeout_ms)),
            Request::Status => (RequestKind::Status, 0, 0, Handle(0)),
            Request::Card => (RequestKind::Card, 0, 0, Handle(0)),
            Request::Batch {
                operations,
                timeout_ms,
            } => (RequestKind::Batch, 0, operations, Handle(timeout_ms)),
        };
        Form::new((kind as u8, detail), short, socket.0)
    }

    /// Whether these bytes are [`Request::Card`]; of another request it is told by the first.
    pub fn is_card(bytes: &[u8]) -> bool {
        bytes.first() == Some(&(RequestKind::Card as u8))
            && Self::from_bytes(bytes) == Ok(Request::Card)
    }

    /// The request from bytes; what is behind them is not looked at.
    ///
    /// # Errors
    /// [`Error::NoSuchCall`] for an unknown operation, [`Error::Malformed`] for a short
    /// message, [`Error::InvalidArgument`] for an unknown kind or direction.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields::read(bytes)?;
        let kind = RequestKind::from_number(fields.kind).ok_or(Error::NoSuchCall)?;
        let socket = Handle(fields.word);
        Ok(match kind {
            RequestKind::Socket => Request::Socket {
                kind: match fields.detail {
                    1 => Kind::Stream,
                    2 => Kind::Datagram,
                    _ => return Err(Error::InvalidArgument),
                },
            },
            RequestKind::Bind => Request::Bind {
                socket,
                address: fields.address()?,
            },
            RequestKind::Listen => Request::Listen {
                socket,
                backlog: fields.short,
            },
            RequestKind::Accept => Request::Accept { socket },
            RequestKind::Connect => Request::Connect {
                socket,
                address: fields.address()?,
            },
            RequestKind::Send => Request::Send { socket },
            RequestKind::Recv => Request::Recv { socket },
            RequestKind::SendTo => Request::SendTo {
                socket,
                address: fields.address()?,
            },
            RequestKind::RecvFrom => Request::RecvFrom { socket },
            RequestKind::Shutdown => Request::Shutdown {
                socket,
                direction: Direction::from_number(fields.detail)?,
            },
            RequestKind::Close => Request::Close { socket },
            RequestKind::LocalAddress => Request::LocalAddress { socket },
            RequestKind::PeerAddress => Request::PeerAddress { socket },
            RequestKind::SetNonBlocking => Request::SetNonBlocking {
                socket,
                on: fields.detail != 0,
            },
            RequestKind::Poll => Request::Poll {
                timeout_ms: fields.word,
            },
            RequestKind::Status => Request::Status,
            RequestKind::Card => Request::Card,
            RequestKind::Batch => Request::Batch {
                operations: fields.short,
                timeout_ms: fields.word,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::ADDRESSES;

    #[test]
    fn requests_round_trip() {
        let socket = Handle(0xdead_beef);
        let mut requests = std::vec![
            Request::Socket { kind: Kind::Stream },
            Request::Socket {
                kind: Kind::Datagram,
            },
            Request::Listen {
                socket,
                backlog: 4096,
            },
            Request::Accept { socket },
            Request::Send { socket },
            Request::Recv { socket },
            Request::RecvFrom { socket },
            Request::Shutdown {
                socket,
                direction: Direction::Both,
            },
            Request::Close { socket },
            Request::LocalAddress { socket },
            Request::PeerAddress { socket },
            Request::SetNonBlocking { socket, on: true },
            Request::Poll {
                timeout_ms: POLL_FOREVER,
            },
            Request::Batch {
                operations: 513,
                timeout_ms: 77,
            },
            Request::Status,
            Request::Card,
        ];
        for address in ADDRESSES {
            requests.push(Request::Bind { socket, address });
            requests.push(Request::Connect { socket, address });
            requests.push(Request::SendTo { socket, address });
        }
        for request in requests {
            let bytes = request.to_bytes();
            assert_eq!(Request::from_bytes(&bytes), Ok(request));
            let short = &bytes[..bytes.len() - 1];
            assert_eq!(Request::from_bytes(short), Err(Error::Malformed));
            assert_eq!(Request::is_card(&bytes), request == Request::Card);
        }
    }

    #[test]
    fn hostile_requests_are_refused() {
        let mut bytes = Request::Status.to_bytes().to_vec();
        bytes[0] = 200;
        assert_eq!(Request::from_bytes(&bytes), Err(Error::NoSuchCall));
        assert_eq!(Request::from_bytes(&[]), Err(Error::Malformed));
        let mut bytes = Request::Socket { kind: Kind::Stream }.to_bytes().to_vec();
        bytes[1] = 9;
        assert_eq!(Request::from_bytes(&bytes), Err(Error::InvalidArgument));
    }
}
