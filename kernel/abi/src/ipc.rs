//! Synchronous messages with leases, notifications, and the one wait for both.
//!
//! A client [`Syscall::Call`](crate::Syscall::Call)s a server and sleeps until the
//! answer. With the message it may lend up to [`LEASES_MAX`] pieces of its memory;
//! while the client sleeps, the server reads or writes them through the kernel. A
//! server takes messages, notification bits and deaths with
//! [`Syscall::Wait`](crate::Syscall::Wait), and may answer calls in any order: a call
//! that it cannot answer yet is parked by keeping its token. When either side dies,
//! the other learns it as [`Error::PeerDied`]. A call may have a deadline, at which it ends with
//! [`Error::TimedOut`] for the client; what was lent is the client's again, and to the server its
//! token then is a [`Error::BadHandle`].

use crate::wire::{Reader, Wire, Writer};
use crate::{Error, Result};

/// A process: slot in the process table, and the slot's generation, so that a number
/// kept after its process ended never means the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

impl Pid {
    /// Bits of the number that are the slot.
    pub const SLOT_BITS: u32 = 8;

    /// The pid of generation `generation` in slot `slot`.
    pub const fn new(slot: usize, generation: u32) -> Self {
        Pid((generation << Self::SLOT_BITS) | slot as u32)
    }

    /// Index into the process table.
    pub const fn slot(self) -> usize {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as usize
    }

    /// How many processes the slot held before.
    pub const fn generation(self) -> u32 {
        self.0 >> Self::SLOT_BITS
    }
}

impl core::fmt::Display for Pid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Wire for Pid {
    const SIZE: usize = u32::SIZE;

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.0);
    }

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        reader.u32().map(Pid)
    }
}

/// Longest message and longest answer, in bytes. More is lent.
pub const MESSAGE_MAX: usize = 128;
/// Most leases with one call.
pub const LEASES_MAX: usize = 3;
/// A deadline that never comes.
pub const FOREVER: u64 = u64::MAX;

/// Bits of the mask given to [`Syscall::Wait`](crate::Syscall::Wait).
pub mod wait {
    use crate::endpoint::ENDPOINTS_MAX;

    /// Messages from other processes.
    pub const MESSAGE: u32 = 1 << 31;
    /// Ends of watched processes and of children.
    pub const DEATH: u32 = 1 << 30;
    /// Frames have arrived at an endpoint.
    pub const NIC_RECEIVE: u32 = 1 << 0;
    /// An endpoint that could not send, or had no buffer to send from, can again.
    pub const NIC_TRANSMIT: u32 = 1 << 1;
    /// The link of an endpoint's card came or went.
    pub const NIC_LINK: u32 = 1 << 2;
    /// The bits that programs may set with [`Syscall::Notify`](crate::Syscall::Notify).
    pub const USER: u32 = 0x00ff_ff00;
    /// The endpoints that the bits above are of, a bit each.
    pub const NIC_ENDPOINTS: u32 = 0x3f00_0000;
    const _: () = assert!(NIC_ENDPOINTS.count_ones() as usize == ENDPOINTS_MAX);
    /// All notification bits.
    pub const NOTIFICATIONS: u32 = NIC_RECEIVE | NIC_TRANSMIT | NIC_LINK | NIC_ENDPOINTS | USER;

    /// The bit that comes with the others if they are of this endpoint of the process.
    pub const fn endpoint(number: u8) -> u32 {
        NIC_ENDPOINTS & 1 << 24 << number
    }
}

crate::record! {
    /// A piece of the caller's memory lent for the time of a call.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Lease {
        /// Where it starts in the caller's address space.
        pub address: u64,
        /// Its length in bytes.
        pub len: u64,
        /// Whether the server may write it, too.
        pub writable: bool,
    }
}

crate::record! {
    /// The argument of [`Syscall::Call`](crate::Syscall::Call).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Call {
        /// The server.
        pub target: Pid,
        /// How many of `leases` are in use.
        pub lease_count: u32,
        /// Address and length of the request, at most [`MESSAGE_MAX`] bytes.
        pub request: (u64, u64),
        /// Address and capacity of the buffer for the answer.
        pub answer: (u64, u64),
        /// When the caller stops waiting for the answer: nanoseconds of
        /// [`Syscall::ClockNs`](crate::Syscall::ClockNs), [`FOREVER`] for never.
        pub deadline: u64,
        /// Memory lent to the server.
        pub leases: [Lease; LEASES_MAX],
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called [`Syscall::Exit`](crate::Syscall::Exit) with this code.
    Code(u32),
    /// The processor refused what it did: the exception vector.
    Fault(u8),
    /// Its parent ended it.
    Killed,
}

impl Exit {
    const fn to_u64(self) -> u64 {
        match self {
            Exit::Code(code) => code as u64,
            Exit::Fault(vector) => 1 << 32 | vector as u64,
            Exit::Killed => 2 << 32,
        }
    }

    const fn from_u64(word: u64) -> Option<Self> {
        match word >> 32 {
            0 => Some(Exit::Code(word as u32)),
            1 => Some(Exit::Fault(word as u8)),
            2 => Some(Exit::Killed),
            _ => None,
        }
    }
}

/// What a lease allows, as the server sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Length in bytes.
    pub len: u64,
    /// Whether it may be written.
    pub writable: bool,
}

/// A message as the server gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names this call in the answer and in lease copies. Never 0.
    pub token: u64,
    /// The caller.
    pub sender: Pid,
    /// How many leases came with it.
    pub lease_count: u32,
    /// The leases.
    pub leases: [LeaseInfo; LEASES_MAX],
    /// Length of the request within `payload`.
    pub len: u32,
    /// The request.
    pub payload: [u8; MESSAGE_MAX],
}

impl Message {
    /// Bytes of a received message before the request.
    pub const HEAD_SIZE: usize = Received::SIZE - MESSAGE_MAX;

    /// Those bytes, of a message of `lease_count` leases and `len` bytes.
    pub fn head(
        token: u64,
        sender: Pid,
        (leases, lease_count): (&[LeaseInfo; LEASES_MAX], u32),
        len: usize,
    ) -> [u8; Self::HEAD_SIZE] {
        let mut bytes = [0; Self::HEAD_SIZE];
        let mut writer = Writer::new(&mut bytes);
        writer.u64(2).u64(token).u32(sender.0).u32(lease_count);
        for lease in leases {
            writer.u64(lease.len).u64(lease.writable.into());
        }
        writer.u64(len as u64);
        bytes
    }

    /// The request.
    pub fn request(&self) -> &[u8] {
        &self.payload[..(self.len as usize).min(MESSAGE_MAX)]
    }

    /// Replaces it by what follows the token. What the payload holds behind the request is no
    /// part of it, and stays.
    fn read(&mut self, token: u64, mut reader: Reader<'_>) -> Result<()> {
        self.token = token;
        self.sender = Pid(reader.u32()?);
        self.lease_count = reader.u32()?;
        for lease in &mut self.leases {
            *lease = LeaseInfo {
                len: reader.u64()?,
                writable: reader.u64()? != 0,
            };
        }
        self.len = reader.u64()? as u32;
        let payload = self.payload.get_mut(..self.len as usize);
        let request = reader.rest().get(..self.len as usize);
        match (payload, request) {
            (Some(payload), Some(request)) if self.lease_count as usize <= LEASES_MAX => {
                payload.copy_from_slice(request);
                Ok(())
            }
            _ => Err(Error::Malformed),
        }
    }
}

impl Default for Message {
    fn default() -> Self {
        Message {
            token: 0,
            sender: Pid(0),
            lease_count: 0,
            leases: [LeaseInfo::default(); LEASES_MAX],
            len: 0,
            payload: [0; MESSAGE_MAX],
        }
    }
}

/// What [`Syscall::Wait`](crate::Syscall::Wait) came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The deadline passed.
    TimedOut,
    /// These bits of the mask were set, and are clear again.
    Notification(u32),
    /// A call.
    Message(Message),
    /// A child or watched process ended.
    Death(Pid, Exit),
}

impl Received {
    /// Bytes on the wire.
    pub const SIZE: usize = 8 + 8 + 8 + 16 * LEASES_MAX + 8 + MESSAGE_MAX;

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        match self {
            Received::TimedOut => bytes[..8].copy_from_slice(&Self::TIMED_OUT),
            Received::Notification(bits) => {
                bytes[..16].copy_from_slice(&Self::notification(*bits));
            }
            Received::Message(message) => {
                let leases = (&message.leases, message.lease_count);
                let len = message.len as usize;
                let head = Message::head(message.token, message.sender, leases, len);
                bytes[..Message::HEAD_SIZE].copy_from_slice(&head);
                bytes[Message::HEAD_SIZE..].copy_from_slice(&message.payload);
            }
            Received::Death(pid, exit) => {
                bytes[..24].copy_from_slice(&Self::death(*pid, *exit));
            }
        }
        bytes
    }

    /// The bytes of [`Received::TimedOut`] that say something; those that may follow are not
    /// looked at. So in the next ones.
    pub const TIMED_OUT: [u8; 8] = [0; 8];

    /// Those of [`Received::Notification`].
    pub fn notification(bits: u32) -> [u8; 16] {
        let mut bytes = [0; 16];
        Writer::new(&mut bytes).u64(1).u64(bits.into());
        bytes
    }

    /// Those of [`Received::Death`].
    pub fn death(pid: Pid, exit: Exit) -> [u8; 24] {
        let mut bytes = [0; 24];
        Writer::new(&mut bytes).u64(3).u64(exit.to_u64()).u32(pid.0);
        bytes
    }

    /// The structure from bytes.
    ///
    /// # Errors
    /// [`Event::read`] says which there are.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self> {
        let mut message = Message::default();
        Ok(match Event::read(bytes, &mut message)? {
            Event::TimedOut => Received::TimedOut,
            Event::Notification(bits) => Received::Notification(bits),
            Event::Message => Received::Message(message),
            Event::Death(pid, exit) => Received::Death(pid, exit),
        })
    }
}

/// [`Received`], with the message in a place that is its reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The deadline has passed.
    TimedOut,
    /// These notification bits were set, and are cleared now.
    Notification(u32),
    /// A call.
    Message,
    /// A child, or a process that is watched, has ended in this way.
    Death(Pid, Exit),
}

impl Event {
    /// The structure from the bytes of a [`Received`]; only if it is a message, `message` is
    /// replaced by it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are of no known kind.
    pub fn read(bytes: &[u8; Received::SIZE], message: &mut Message) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u64()?;
        let word = reader.u64()?;
        Ok(match kind {
            0 => Event::TimedOut,
            1 => Event::Notification(word as u32),
            2 => {
                message.read(word, reader)?;
                Event::Message
            }
            3 => Event::Death(
                Pid(reader.u32()?),
                Exit::from_u64(word).ok_or(Error::Malformed)?,
            ),
            _ => return Err(Error::Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_round_trip() {
        let call = Call {
            target: Pid::new(3, 9),
            lease_count: 1,
            request: (0x1000, 16),
            answer: (0x2000, 128),
            deadline: 12345,
            leases: [
                Lease {
                    address: 0x3000,
                    len: 5,
                    writable: true,
                },
                Lease::default(),
                Lease::default(),
            ],
        };
        let bytes = call.to_bytes();
        assert_eq!(Call::from_bytes(&bytes), Ok(call));
        assert_eq!(Call::from_bytes(&bytes[1..]), Err(Error::Malformed));
    }

    #[test]
    fn received_round_trip() {
        let message = Message {
            token: 77,
            sender: Pid::new(200, 4),
            lease_count: 3,
            leases: [
                LeaseInfo {
                    len: 1 << 40,
                    writable: true,
                },
                LeaseInfo {
                    len: 2,
                    writable: false,
                },
                LeaseInfo {
                    len: 3,
                    writable: false,
                },
            ],
            len: 128,
            payload: [0xa5; MESSAGE_MAX],
        };
        for received in [
            Received::TimedOut,
            Received::Notification(0x8000_0001),
            Received::Message(message),
            Received::Death(Pid(5), Exit::Code(u32::MAX)),
            Received::Death(Pid(5), Exit::Fault(14)),
            Received::Death(Pid(5), Exit::Killed),
        ] {
            assert_eq!(Received::from_bytes(&received.to_bytes()), Ok(received));
        }
    }

    #[test]
    fn pids_keep_slot_and_generation() {
        let pid = Pid::new(255, 0xff_ffff);
        assert_eq!((pid.slot(), pid.generation()), (255, 0xff_ffff));
    }
}
