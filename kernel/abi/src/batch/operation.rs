//! What a program wants done.

use crate::socket::{Address, Direction, Handle, Ip};
use crate::wire::{Reader, Writer};
use crate::{Error, Result};

/// A part of lease 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u32,
    /// Its length in bytes.
    pub len: u32,
}

/// What becomes of the sending direction after a send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// It stays open.
    #[default]
    Stays = 0,
    /// FIN follows.
    Finish = 1,
    /// The handle is given back, and FIN follows.
    Close = 2,
}

/// Whether [`super::Event::Sent`] is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Tell {
    /// With what is heard next; it wakes the caller only if it had to wait for room.
    #[default]
    Later = 0,
    /// At once.
    Now = 1,
    /// Not at all.
    Never = 2,
}

/// Queues bytes of a stream: those behind the operation, then those of lease 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// The socket.
    pub socket: Handle,
    /// How many bytes lie behind the operation.
    pub inline: u32,
    /// What follows them.
    pub part: Part,
    /// When all is queued, the socket is armed to receive so many bytes, as by
    /// [`Operation::Receive`]; with 0 it is not armed.
    pub receive: u32,
    /// What follows then.
    pub end: End,
    /// Whether that is told.
    pub tell: Tell,
}

/// What a program wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a stream socket that takes connections: answered by [`super::Event::Opened`].
    Listen {
        /// Its local address; with port 0 the server chooses one.
        address: Address,
        /// How many connections may wait, established or half-open, before they are accepted.
        backlog: u32,
    },
    /// Makes a datagram socket: answered by [`super::Event::Opened`].
    Bind {
        /// As of [`Operation::Listen`].
        address: Address,
    },
    /// Makes a stream socket and begins its connection: answered by [`super::Event::Opened`], and later
    /// by [`super::Event::Connected`] or [`super::Event::Failed`].
    Connect {
        /// The peer.
        address: Address,
    },
    /// Arms a listener: each connection becomes an [`super::Event::Accepted`].
    Accept {
        /// The listener.
        socket: Handle,
        /// How many, until armed anew; 0 disarms.
        count: u16,
        /// Each is armed by [`Operation::Receive`] of so many bytes; 0: it is not.
        receive: u32,
    },
    /// Arms a stream: the next bytes become an [`super::Event::Received`], their end an
    /// [`super::Event::Ended`].
    Receive {
        /// The socket.
        socket: Handle,
        /// The most bytes; 0 disarms.
        max: u32,
    },
    /// Arms a datagram socket: each datagram becomes an [`super::Event::Datagram`].
    ReceiveFrom {
        /// The socket.
        socket: Handle,
        /// How many, until armed anew; 0 disarms.
        count: u16,
        /// The most bytes of each; more are lost.
        max: u32,
    },
    /// Sends bytes of a stream.
    Send(Send),
    /// Sends the bytes behind the operation as one datagram.
    SendTo {
        /// The socket.
        socket: Handle,
        /// The receiver.
        address: Address,
        /// How many bytes.
        inline: u32,
    },
    /// Ends one or both directions of a stream.
    Shutdown {
        /// The socket.
        socket: Handle,
        /// Which.
        direction: Direction,
    },
    /// Gives the handle back. What is queued is still sent, then FIN; what is left of a
    /// send is not.
    Close {
        /// The socket.
        socket: Handle,
    },
    /// Disarms a socket; a send that is not over is cut.
    Cancel {
        /// The socket.
        socket: Handle,
    },
    /// Asks how a send goes: answered by [`super::Event::Progress`].
    Progress {
        /// The socket.
        socket: Handle,
    },
}

crate::numbered! {
    #[repr(u8)]
    enum OperationKind {
        Listen = 1,
        Bind = 2,
        Connect = 3,
        Accept = 4,
        Receive = 5,
        ReceiveFrom = 6,
        Send = 7,
        SendTo = 8,
        Shutdown = 9,
        Close = 10,
        Cancel = 11,
        Progress = 12,
    }
}

impl Operation {
    /// Bytes on the wire, without those behind it.
    pub const SIZE: usize = 28;
    /// Where the number of bytes behind it is: at the same place in all.
    const INLINE_AT: usize = 8;

    /// How many bytes lie behind the operation in these, whether they make sense or not.
    pub fn inline_of(bytes: &[u8; Self::SIZE]) -> usize {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[Self::INLINE_AT..Self::INLINE_AT + 4]);
        u32::from_le_bytes(word) as usize
    }

    /// The socket that it is about, in these bytes, whether they make sense or not; `Handle(0)` if it
    /// makes one.
    pub fn socket_of(bytes: &[u8; Self::SIZE]) -> Handle {
        match OperationKind::from_number(bytes[0]) {
            Some(OperationKind::Listen | OperationKind::Bind | OperationKind::Connect) => Handle(0),
            _ => Handle(u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])),
        }
    }

    /// The operation as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let (kind, detail, short, socket, inline, word) = match *self {
            Operation::Listen { address, backlog } => (
                OperationKind::Listen,
                0,
                address.port,
                Handle(backlog),
                0,
                0,
            ),
            Operation::Bind { address } => (OperationKind::Bind, 0, address.port, Handle(0), 0, 0),
            Operation::Connect { address } => {
                (OperationKind::Connect, 0, address.port, Handle(0), 0, 0)
            }
            Operation::Accept {
                socket,
                count,
                receive,
            } => (OperationKind::Accept, 0, count, socket, 0, receive),
            Operation::Receive { socket, max } => (OperationKind::Receive, 0, 0, socket, 0, max),
            Operation::ReceiveFrom { socket, count, max } => {
                (OperationKind::ReceiveFrom, 0, count, socket, 0, max)
            }
            Operation::Send(Send {
                socket,
                inline,
                receive,
                end,
                tell,
                ..
            }) => {
                let (end, tell) = (end as u8, tell as u16);
                (OperationKind::Send, end, tell, socket, inline, receive)
            }
            Operation::SendTo {
                socket,
                address,
                inline,
            } => (OperationKind::SendTo, 0, address.port, socket, inline, 0),
            Operation::Shutdown { socket, direction } => {
                (OperationKind::Shutdown, direction as u8, 0, socket, 0, 0)
            }
            Operation::Close { socket } => (OperationKind::Close, 0, 0, socket, 0, 0),
            Operation::Cancel { socket } => (OperationKind::Cancel, 0, 0, socket, 0, 0),
            Operation::Progress { socket } => (OperationKind::Progress, 0, 0, socket, 0, 0),
        };
        let mut bytes = [0; Self::SIZE];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(kind as u8).u8(detail).u16(short);
        writer.u32(socket.0).u32(inline);
        match self {
            Operation::Listen { address, .. }
            | Operation::Bind { address }
            | Operation::Connect { address }
            | Operation::SendTo { address, .. } => writer.bytes(&address.ip.0),
            Operation::Send(Send { part, .. }) => writer.u32(word).u32(part.offset).u32(part.len),
            _ => writer.u32(word),
        };
        bytes
    }

    /// The operation from bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchCall`] for an unknown operation, [`Error::InvalidArgument`] for an
    /// unknown end, direction or [`Tell`].
    // So that its kind leads straight to what is done.
    #[inline(always)]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (kind, detail, short) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let (socket, inline) = (Handle(reader.u32()?), reader.u32()?);
        let kind = OperationKind::from_number(kind).ok_or(Error::NoSuchCall)?;
        let address = |mut reader: Reader<'_>| {
            let ip = Ip(reader.array()?);
            Ok(Address { ip, port: short })
        };
        Ok(match kind {
            OperationKind::Listen => Operation::Listen {
                address: address(reader)?,
                backlog: socket.0,
            },
            OperationKind::Bind => Operation::Bind {
                address: address(reader)?,
            },
            OperationKind::Connect => Operation::Connect {
                address: address(reader)?,
            },
            OperationKind::Accept => Operation::Accept {
                socket,
                count: short,
                receive: reader.u32()?,
            },
            OperationKind::Receive => Operation::Receive {
                socket,
                max: reader.u32()?,
            },
            OperationKind::ReceiveFrom => Operation::ReceiveFrom {
                socket,
                count: short,
                max: reader.u32()?,
            },
            OperationKind::Send => Operation::Send(Send {
                socket,
                inline,
                receive: reader.u32()?,
                part: Part {
                    offset: reader.u32()?,
                    len: reader.u32()?,
                },
                end: match detail {
                    0 => End::Stays,
                    1 => End::Finish,
                    2 => End::Close,
                    _ => return Err(Error::InvalidArgument),
                },
                tell: match short {
                    0 => Tell::Later,
                    1 => Tell::Now,
                    2 => Tell::Never,
                    _ => return Err(Error::InvalidArgument),
                },
            }),
            OperationKind::SendTo => Operation::SendTo {
                socket,
                address: address(reader)?,
                inline,
            },
            OperationKind::Shutdown => Operation::Shutdown {
                socket,
                direction: Direction::from_number(detail)?,
            },
            OperationKind::Close => Operation::Close { socket },
            OperationKind::Cancel => Operation::Cancel { socket },
            OperationKind::Progress => Operation::Progress { socket },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::ADDRESSES;

    const SOCKET: Handle = Handle(0xdead_beef);

    #[test]
    fn operations_round_trip() {
        let socket = SOCKET;
        let send = Send {
            socket,
            inline: 300,
            part: Part {
                offset: u32::MAX,
                len: 1 << 30,
            },
            receive: 4096,
            end: End::Close,
            tell: Tell::Never,
        };
        let mut operations = std::vec![
            Operation::Accept {
                socket,
                count: 32,
                receive: 2048,
            },
            Operation::Receive {
                socket,
                max: u32::MAX,
            },
            Operation::ReceiveFrom {
                socket,
                count: u16::MAX,
                max: 1500,
            },
            Operation::Close { socket },
            Operation::Cancel { socket },
            Operation::Progress { socket },
        ];
        let mut opening = std::vec![];
        for address in ADDRESSES {
            operations.push(Operation::SendTo {
                socket,
                address,
                inline: 18,
            });
            opening.push(Operation::Listen {
                address,
                backlog: u32::MAX,
            });
            opening.push(Operation::Bind { address });
            opening.push(Operation::Connect { address });
        }
        for direction in [Direction::Receive, Direction::Send, Direction::Both] {
            operations.push(Operation::Shutdown { socket, direction });
        }
        for end in [End::Stays, End::Finish, End::Close] {
            for tell in [Tell::Later, Tell::Now, Tell::Never] {
                operations.push(Operation::Send(Send { end, tell, ..send }));
            }
        }
        for operation in operations {
            let bytes = operation.to_bytes();
            assert_eq!(Operation::from_bytes(&bytes), Ok(operation));
            assert_eq!(Operation::socket_of(&bytes), socket);
            let inline = match operation {
                Operation::Send(_) => 300,
                Operation::SendTo { .. } => 18,
                _ => 0,
            };
            assert_eq!(Operation::inline_of(&bytes), inline);
        }
        for operation in opening {
            let bytes = operation.to_bytes();
            assert_eq!(Operation::from_bytes(&bytes), Ok(operation));
            assert_eq!(Operation::socket_of(&bytes), Handle(0));
            assert_eq!(Operation::inline_of(&bytes), 0);
        }
    }

    #[test]
    fn hostile_operations_are_refused() {
        let close = Operation::Close { socket: SOCKET };
        let send = Operation::Send(Send {
            socket: SOCKET,
            inline: 0,
            part: Part::default(),
            receive: 0,
            end: End::Stays,
            tell: Tell::Now,
        });
        let mut bytes = send.to_bytes();
        bytes[2] = 3;
        let refused = Operation::from_bytes(&bytes);
        assert_eq!(refused, Err(Error::InvalidArgument));
        for (at, value, error) in [
            (0, 0, Error::NoSuchCall),
            (0, 200, Error::NoSuchCall),
            (0, 7, Error::InvalidArgument),
            (0, 9, Error::InvalidArgument),
        ] {
            let mut bytes = close.to_bytes();
            bytes[1] = 9;
            bytes[at] = value;
            assert_eq!(Operation::from_bytes(&bytes), Err(error), "{value}");
        }
    }
}
