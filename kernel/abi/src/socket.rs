//! What programs ask of a network server: sockets, as messages.
//!
//! A request is a [`Request`] in the message, bulk data in lease 0. The answer's status
//! is 0 or an [`Error`]; its payload, if any, is an [`Answer`]. A blocking request that
//! cannot be answered yet is parked by the server; a socket made non-blocking answers
//! [`Error::WouldBlock`] instead. Handles belong to the process that made them.

use crate::wire::{Reader, Writer};
use crate::{Error, Result};

/// A socket, as the server numbers it: slot and generation, so that a number kept after
/// `close` never means another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

impl Handle {
    /// Bits of the number that are the slot.
    pub const SLOT_BITS: u32 = 15;

    /// Index into the server's table of sockets: of two sockets that are open at a time,
    /// never the same.
    pub const fn slot(self) -> usize {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as usize
    }
}

/// An IPv4 address in transmission order, and a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SocketAddress {
    /// The host; all zeros is "any".
    pub ip: [u8; 4],
    /// The port; 0 is "any".
    pub port: u16,
}

impl core::fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d] = self.ip;
        write!(f, "{a}.{b}.{c}.{d}:{}", self.port)
    }
}

/// The kinds of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// TCP (RFC 9293).
    Stream = 1,
    /// UDP (RFC 768).
    Datagram = 2,
}

/// Which direction [`Request::Shutdown`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// No more receiving: what arrives is discarded.
    Receive = 0,
    /// No more sending: FIN after what is queued.
    Send = 1,
    /// Both.
    Both = 2,
}

impl Direction {
    /// The direction with this number.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is none.
    pub const fn from_number(number: u8) -> Result<Self> {
        match number {
            0 => Ok(Direction::Receive),
            1 => Ok(Direction::Send),
            2 => Ok(Direction::Both),
            _ => Err(Error::InvalidArgument),
        }
    }
}

/// Bits of [`PollEntry::wanted`] and [`PollEntry::ready`].
pub mod poll {
    /// `recv`, `recvfrom` or `accept` would not block (data, a connection, or the end).
    pub const READABLE: u16 = 1 << 0;
    /// `send` or `sendto` would not block, or `connect` has finished.
    pub const WRITABLE: u16 = 1 << 2;
    /// The connection failed; always reported, wanted or not.
    pub const ERROR: u16 = 1 << 3;
    /// The peer is gone in both directions; always reported.
    pub const HANG_UP: u16 = 1 << 4;
    /// No such socket of yours; always reported.
    pub const INVALID: u16 = 1 << 5;
}

/// One socket of a [`Request::Poll`]: 8 bytes each, an array of them in lease 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollEntry {
    /// The socket.
    pub socket: Handle,
    /// What to wait for.
    pub wanted: u16,
    /// Which of these conditions hold; the server writes it.
    pub ready: u16,
}

impl PollEntry {
    /// Bytes on the wire.
    pub const SIZE: usize = 8;

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes)
            .u32(self.socket.0)
            .u16(self.wanted)
            .u16(self.ready);
        bytes
    }

    /// The structure from bytes.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        PollEntry {
            socket: Handle(u32::from_le_bytes([a, b, c, d])),
            wanted: u16::from_le_bytes([e, f]),
            ready: u16::from_le_bytes([g, h]),
        }
    }
}

/// The most sockets in one [`Request::Poll`].
pub const POLL_MAX: usize = 1024;

/// A request to a network server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Makes a socket. Answers [`Answer::Socket`].
    Socket {
        /// TCP or UDP.
        kind: Kind,
    },
    /// Gives the socket its local address.
    Bind {
        /// The socket.
        socket: Handle,
        /// Port 0 lets the server choose.
        address: SocketAddress,
    },
    /// Lets a bound stream socket take connections.
    Listen {
        /// The socket.
        socket: Handle,
        /// How many may wait, established or half-open, before they are accepted.
        backlog: u16,
    },
    /// Takes a waiting connection. Answers [`Answer::Accepted`]. The new socket blocks.
    Accept {
        /// The listening socket.
        socket: Handle,
    },
    /// Stream: connects. Datagram: sets the default peer.
    Connect {
        /// The socket.
        socket: Handle,
        /// The peer.
        address: SocketAddress,
    },
    /// Queues bytes of lease 0, and may take those of lease 1 behind them if all of lease 0
    /// fitted. Answers [`Answer::Count`] of both, which may be short for a stream.
    Send {
        /// The socket.
        socket: Handle,
    },
    /// Takes bytes into lease 0. Answers [`Answer::Count`]; 0 is the end of a stream.
    Recv {
        /// The socket.
        socket: Handle,
    },
    /// Sends lease 0 as one datagram. Answers [`Answer::Count`].
    SendTo {
        /// The socket.
        socket: Handle,
        /// The receiver.
        address: SocketAddress,
    },
    /// Takes one datagram into lease 0; what does not fit is lost. Answers
    /// [`Answer::Datagram`].
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
    /// Answers [`Answer::Address`].
    LocalAddress {
        /// The socket.
        socket: Handle,
    },
    /// Answers [`Answer::Address`].
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
    /// Waits until one of the [`PollEntry`]s in lease 0 (writable) is ready and fills in
    /// `ready` of all. Answers [`Answer::Count`]: how many are; 0 after the timeout.
    Poll {
        /// In milliseconds; [`POLL_FOREVER`] waits without end, 0 only looks.
        timeout_ms: u32,
    },
    /// Does the operations in lease 1 and waits for outcomes, which it writes into lease 0
    /// (writable): see [`crate::batch`]. Answers [`Answer::Count`] of bytes written.
    Batch {
        /// How many operations.
        operations: u16,
        /// In milliseconds; [`POLL_FOREVER`] waits without end, 0 only looks.
        timeout_ms: u32,
    },
    /// Writes the server's state as lines of text, "name value", into lease 0. Answers
    /// [`Answer::Count`].
    Status,
    /// Writes the card's description and counters as lines of text, "name value", into
    /// lease 0, as many whole lines as fit. Answers [`Answer::Count`].
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
    /// Most bytes on the wire.
    pub const SIZE_MAX: usize = 12;

    /// The request as bytes, padded with zeros to [`Request::SIZE_MAX`].
    pub fn to_bytes(&self) -> [u8; Self::SIZE_MAX] {
        let (operation, socket, detail, address) = match *self {
            Request::Socket { kind } => (RequestKind::Socket, None, kind as u8, None),
            Request::Bind { socket, address } => {
                (RequestKind::Bind, Some(socket), 0, Some(address))
            }
            Request::Listen { socket, backlog } => {
                let port = backlog;
                (
                    RequestKind::Listen,
                    Some(socket),
                    0,
                    Some(SocketAddress { ip: [0; 4], port }),
                )
            }
            Request::Accept { socket } => (RequestKind::Accept, Some(socket), 0, None),
            Request::Connect { socket, address } => {
                (RequestKind::Connect, Some(socket), 0, Some(address))
            }
            Request::Send { socket } => (RequestKind::Send, Some(socket), 0, None),
            Request::Recv { socket } => (RequestKind::Recv, Some(socket), 0, None),
            Request::SendTo { socket, address } => {
                (RequestKind::SendTo, Some(socket), 0, Some(address))
            }
            Request::RecvFrom { socket } => (RequestKind::RecvFrom, Some(socket), 0, None),
            Request::Shutdown { socket, direction } => {
                (RequestKind::Shutdown, Some(socket), direction as u8, None)
            }
            Request::Close { socket } => (RequestKind::Close, Some(socket), 0, None),
            Request::LocalAddress { socket } => (RequestKind::LocalAddress, Some(socket), 0, None),
            Request::PeerAddress { socket } => (RequestKind::PeerAddress, Some(socket), 0, None),
            Request::SetNonBlocking { socket, on } => {
                (RequestKind::SetNonBlocking, Some(socket), on.into(), None)
            }
            Request::Poll { timeout_ms } => (RequestKind::Poll, Some(Handle(timeout_ms)), 0, None),
            Request::Status => (RequestKind::Status, None, 0, None),
            Request::Card => (RequestKind::Card, None, 0, None),
            Request::Batch {
                operations: port,
                timeout_ms,
            } => {
                let operations = SocketAddress { ip: [0; 4], port };
                (
                    RequestKind::Batch,
                    Some(Handle(timeout_ms)),
                    0,
                    Some(operations),
                )
            }
        };
        let SocketAddress { ip, port } = address.unwrap_or_default();
        let mut bytes = [0; Self::SIZE_MAX];
        Writer::new(&mut bytes)
            .u8(operation as u8)
            .u8(detail)
            .u32(socket.map_or(0, |handle| handle.0))
            .bytes(&ip)
            .u16(port);
        bytes
    }

    /// Whether these bytes are [`Request::Card`]; of another request it is told by the first.
    pub fn is_card(bytes: &[u8]) -> bool {
        bytes.first() == Some(&(RequestKind::Card as u8))
            && Self::from_bytes(bytes) == Ok(Request::Card)
    }

    /// The request from bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchCall`] for an unknown operation, [`Error::Malformed`] for a short
    /// message, [`Error::InvalidArgument`] for an unknown kind or direction.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let operation = reader.u8()?;
        let detail = reader.u8()?;
        let socket = Handle(reader.u32()?);
        let address = SocketAddress {
            ip: reader.array()?,
            port: reader.u16()?,
        };
        let kind = RequestKind::from_number(operation).ok_or(Error::NoSuchCall)?;
        Ok(match kind {
            RequestKind::Socket => Request::Socket {
                kind: match detail {
                    1 => Kind::Stream,
                    2 => Kind::Datagram,
                    _ => return Err(Error::InvalidArgument),
                },
            },
            RequestKind::Bind => Request::Bind { socket, address },
            RequestKind::Listen => Request::Listen {
                socket,
                backlog: address.port,
            },
            RequestKind::Accept => Request::Accept { socket },
            RequestKind::Connect => Request::Connect { socket, address },
            RequestKind::Send => Request::Send { socket },
            RequestKind::Recv => Request::Recv { socket },
            RequestKind::SendTo => Request::SendTo { socket, address },
            RequestKind::RecvFrom => Request::RecvFrom { socket },
            RequestKind::Shutdown => Request::Shutdown {
                socket,
                direction: Direction::from_number(detail)?,
            },
            RequestKind::Close => Request::Close { socket },
            RequestKind::LocalAddress => Request::LocalAddress { socket },
            RequestKind::PeerAddress => Request::PeerAddress { socket },
            RequestKind::SetNonBlocking => Request::SetNonBlocking {
                socket,
                on: detail != 0,
            },
            RequestKind::Poll => Request::Poll {
                timeout_ms: socket.0,
            },
            RequestKind::Status => Request::Status,
            RequestKind::Card => Request::Card,
            RequestKind::Batch => Request::Batch {
                operations: address.port,
                timeout_ms: socket.0,
            },
        })
    }
}

/// The payload of an answer without error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing more to say.
    Done,
    /// A new socket.
    Socket(Handle),
    /// A new connection and its peer.
    Accepted(Handle, SocketAddress),
    /// Bytes moved, or entries ready.
    Count(u32),
    /// Bytes of the datagram that were stored, and its sender.
    Datagram(u32, SocketAddress),
    /// An address.
    Address(SocketAddress),
}

crate::numbered! {
    #[repr(u8)]
    enum AnswerKind {
        Done = 0,
        Socket = 1,
        Accepted = 2,
        Count = 3,
        Datagram = 4,
        Address = 5,
    }
}

impl Answer {
    /// Bytes on the wire.
    pub const SIZE: usize = 11;

    /// The answer as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let (kind, word, address) = match *self {
            Answer::Done => (AnswerKind::Done, 0, None),
            Answer::Socket(handle) => (AnswerKind::Socket, handle.0, None),
            Answer::Accepted(handle, peer) => (AnswerKind::Accepted, handle.0, Some(peer)),
            Answer::Count(count) => (AnswerKind::Count, count, None),
            Answer::Datagram(count, sender) => (AnswerKind::Datagram, count, Some(sender)),
            Answer::Address(address) => (AnswerKind::Address, 0, Some(address)),
        };
        let SocketAddress { ip, port } = address.unwrap_or_default();
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes)
            .u8(kind as u8)
            .u32(word)
            .bytes(&ip)
            .u16(port);
        bytes
    }

    /// The answer from bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are too few or of no known kind.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let word = reader.u32()?;
        let address = SocketAddress {
            ip: reader.array()?,
            port: reader.u16()?,
        };
        let kind = AnswerKind::from_number(kind).ok_or(Error::Malformed)?;
        Ok(match kind {
            AnswerKind::Done => Answer::Done,
            AnswerKind::Socket => Answer::Socket(Handle(word)),
            AnswerKind::Accepted => Answer::Accepted(Handle(word), address),
            AnswerKind::Count => Answer::Count(word),
            AnswerKind::Datagram => Answer::Datagram(word, address),
            AnswerKind::Address => Answer::Address(address),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: SocketAddress = SocketAddress {
        ip: [10, 0, 2, 15],
        port: 80,
    };

    #[test]
    fn requests_round_trip() {
        let socket = Handle(0xdead_beef);
        let address = ADDRESS;
        for request in [
            Request::Socket { kind: Kind::Stream },
            Request::Socket {
                kind: Kind::Datagram,
            },
            Request::Bind { socket, address },
            Request::Listen {
                socket,
                backlog: 4096,
            },
            Request::Accept { socket },
            Request::Connect { socket, address },
            Request::Send { socket },
            Request::Recv { socket },
            Request::SendTo { socket, address },
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
        ] {
            assert_eq!(Request::from_bytes(&request.to_bytes()), Ok(request));
            let is_card = request == Request::Card;
            assert_eq!(Request::is_card(&request.to_bytes()), is_card);
        }
    }

    #[test]
    fn hostile_requests_are_refused() {
        let mut bytes = Request::Status.to_bytes();
        bytes[0] = 200;
        assert_eq!(Request::from_bytes(&bytes), Err(Error::NoSuchCall));
        assert_eq!(Request::from_bytes(&[]), Err(Error::Malformed));
        assert_eq!(Request::from_bytes(&[6; 11]), Err(Error::Malformed));
        let mut bytes = Request::Socket { kind: Kind::Stream }.to_bytes();
        bytes[1] = 9;
        assert_eq!(Request::from_bytes(&bytes), Err(Error::InvalidArgument));
    }

    #[test]
    fn answers_round_trip() {
        for answer in [
            Answer::Done,
            Answer::Socket(Handle(7)),
            Answer::Accepted(Handle(8), ADDRESS),
            Answer::Count(u32::MAX),
            Answer::Datagram(9, ADDRESS),
            Answer::Address(ADDRESS),
        ] {
            assert_eq!(Answer::from_bytes(&answer.to_bytes()), Ok(answer));
        }
        assert_eq!(Answer::from_bytes(&[3; 5]), Err(Error::Malformed));
    }

    #[test]
    fn poll_entries_round_trip() {
        let entry = PollEntry {
            socket: Handle(1),
            wanted: poll::READABLE,
            ready: poll::HANG_UP,
        };
        assert_eq!(PollEntry::from_bytes(&entry.to_bytes()), entry);
    }
}
