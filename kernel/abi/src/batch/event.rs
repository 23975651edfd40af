//! What a program hears.

use crate::socket::{Address, Handle, Ip};
use crate::wire::{Reader, Writer};
use crate::{Error, Result};

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A socket was made.
    Opened {
        /// Which operation of this call made it, counted from 0.
        operation: u16,
        /// The socket.
        socket: Handle,
        /// Its local address; the server has chosen the port if the program did not.
        local: Address,
    },
    /// A connection that [`super::Operation::Connect`] began stands.
    Connected {
        /// The socket.
        socket: Handle,
    },
    /// A new connection.
    Accepted {
        /// The listener.
        listener: Handle,
        /// The connection.
        socket: Handle,
        /// Its other end.
        peer: Address,
    },
    /// Bytes of a stream; it is not armed any more.
    Received {
        /// The socket.
        socket: Handle,
        /// How many bytes lie behind the event.
        len: u32,
    },
    /// The peer has ended its direction, and all its bytes were received.
    Ended {
        /// The socket.
        socket: Handle,
    },
    /// A datagram.
    Datagram {
        /// The socket.
        socket: Handle,
        /// The sender.
        from: Address,
        /// How many bytes lie behind the event.
        len: u32,
    },
    /// All bytes of a send are queued.
    Sent {
        /// The socket.
        socket: Handle,
        /// They had to wait for room.
        waited: bool,
    },
    /// A send ended early, because the call returned or by [`super::Operation::Cancel`].
    Cut {
        /// The socket.
        socket: Handle,
        /// Which operation of this call; [`NOT_OF_THIS_CALL`].
        operation: u16,
        /// How many of its bytes are queued.
        count: u32,
    },
    /// After [`Event::Cut`]: a good part of the socket's buffer is free again.
    Room {
        /// The socket.
        socket: Handle,
    },
    /// A send with [`super::End::Close`] is queued whole, and the handle given back.
    Closed {
        /// The socket.
        socket: Handle,
    },
    /// How a send goes.
    Progress {
        /// The socket.
        socket: Handle,
        /// How many bytes of it are queued; 0 if there is none.
        count: u32,
        /// How long ago the last of them was, in milliseconds.
        idle_ms: u32,
    },
    /// An operation was refused, or a socket that was connecting, armed or sending has failed, and is
    /// none of these any more.
    Failed {
        /// The socket; `Handle(0)` of an operation that would have made one.
        socket: Handle,
        /// Which operation of this call; [`NOT_OF_THIS_CALL`].
        operation: u16,
        /// Why.
        error: Error,
    },
}

/// In place of an operation's number.
pub const NOT_OF_THIS_CALL: u16 = u16::MAX;

crate::numbered! {
    #[repr(u8)]
    enum EventKind {
        Opened = 1,
        Connected = 2,
        Accepted = 3,
        Received = 4,
        Ended = 5,
        Datagram = 6,
        Sent = 7,
        Cut = 8,
        Room = 9,
        Closed = 10,
        Progress = 11,
        Failed = 12,
    }
}

impl Event {
    /// Bytes on the wire, without those behind it.
    pub const SIZE: usize = 28;

    /// How many bytes lie behind it.
    pub fn inline(&self) -> usize {
        match *self {
            Event::Received { len, .. } | Event::Datagram { len, .. } => len as usize,
            _ => 0,
        }
    }

    /// The event as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let (kind, detail, short, socket, word) = match *self {
            Event::Opened {
                operation,
                socket,
                local,
            } => (EventKind::Opened, 0, local.port, socket, operation.into()),
            Event::Connected { socket } => (EventKind::Connected, 0, 0, socket, 0),
            Event::Accepted {
                listener,
                socket,
                peer,
            } => (EventKind::Accepted, 0, peer.port, listener, socket.0),
            Event::Received { socket, len } => (EventKind::Received, 0, 0, socket, len),
            Event::Ended { socket } => (EventKind::Ended, 0, 0, socket, 0),
            Event::Datagram { socket, from, len } => {
                (EventKind::Datagram, 0, from.port, socket, len)
            }
            Event::Sent { socket, waited } => (EventKind::Sent, waited.into(), 0, socket, 0),
            Event::Cut {
                socket,
                operation,
                count,
            } => (EventKind::Cut, 0, operation, socket, count),
            Event::Room { socket } => (EventKind::Room, 0, 0, socket, 0),
            Event::Closed { socket } => (EventKind::Closed, 0, 0, socket, 0),
            Event::Progress { socket, count, .. } => (EventKind::Progress, 0, 0, socket, count),
            Event::Failed {
                socket,
                operation,
                error,
            } => {
                let error = error.number().into();
                (EventKind::Failed, 0, operation, socket, error)
            }
        };
        let mut bytes = [0; Self::SIZE];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(kind as u8).u8(detail).u16(short);
        writer.u32(socket.0).u32(word);
        match self {
            Event::Opened { local: address, .. }
            | Event::Accepted { peer: address, .. }
            | Event::Datagram { from: address, .. } => {
                writer.bytes(&address.ip.0);
            }
            Event::Progress { idle_ms, .. } => {
                writer.u32(*idle_ms);
            }
            _ => {}
        }
        bytes
    }

    /// The event from bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is of no known kind.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (kind, detail, short) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let (socket, word) = (Handle(reader.u32()?), reader.u32()?);
        let kind = EventKind::from_number(kind).ok_or(Error::Malformed)?;
        let address = |mut reader: Reader<'_>| {
            let ip = Ip(reader.array()?);
            Ok(Address { ip, port: short })
        };
        Ok(match kind {
            EventKind::Opened => Event::Opened {
                operation: word as u16,
                socket,
                local: address(reader)?,
            },
            EventKind::Connected => Event::Connected { socket },
            EventKind::Accepted => Event::Accepted {
                listener: socket,
                socket: Handle(word),
                peer: address(reader)?,
            },
            EventKind::Received => Event::Received { socket, len: word },
            EventKind::Ended => Event::Ended { socket },
            EventKind::Datagram => Event::Datagram {
                socket,
                from: address(reader)?,
                len: word,
            },
            EventKind::Sent => Event::Sent {
                socket,
                waited: detail != 0,
            },
            EventKind::Cut => Event::Cut {
                socket,
                operation: short,
                count: word,
            },
            EventKind::Room => Event::Room { socket },
            EventKind::Closed => Event::Closed { socket },
            EventKind::Progress => Event::Progress {
                socket,
                count: word,
                idle_ms: reader.u32()?,
            },
            EventKind::Failed => Event::Failed {
                socket,
                operation: short,
                error: Error::from_wire(u16::try_from(word).unwrap_or(0)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::ADDRESSES;

    const SOCKET: Handle = Handle(0xdead_beef);

    #[test]
    fn events_round_trip() {
        let socket = SOCKET;
        let mut events = std::vec![
            Event::Connected { socket },
            Event::Received { socket, len: 5 },
            Event::Ended { socket },
            Event::Sent {
                socket,
                waited: true,
            },
            Event::Cut {
                socket,
                operation: 3,
                count: u32::MAX,
            },
            Event::Room { socket },
            Event::Closed { socket },
            Event::Progress {
                socket,
                count: 7,
                idle_ms: 15_000,
            },
            Event::Failed {
                socket,
                operation: NOT_OF_THIS_CALL,
                error: Error::ConnectionReset,
            },
        ];
        for address in ADDRESSES {
            events.push(Event::Opened {
                operation: 1023,
                socket,
                local: address,
            });
            events.push(Event::Accepted {
                listener: Handle(9),
                socket,
                peer: address,
            });
            events.push(Event::Datagram {
                socket,
                from: address,
                len: 18,
            });
        }
        for event in events {
            assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event));
        }
    }

    #[test]
    fn an_unknown_event_is_malformed() {
        assert_eq!(Event::from_bytes(&[77; Event::SIZE]), Err(Error::Malformed));
    }
}
