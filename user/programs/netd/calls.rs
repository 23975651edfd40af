//! Calls that the network server serves: those of other processes, by the kernel; and one of this process
//! itself, without it.

use super::frames::Frames;
use crate::nicstat;
use abi::batch::{HERE, HERE_MAX};
use abi::ipc::{LEASES_MAX, LeaseInfo};
use abi::socket::Answer;
use net::Ipc;
use runtime::ipc::{self, MESSAGE_MAX, Message};
use runtime::sys::{self, Lent};
use runtime::{Error, Pid, Result};

/// Names the call of this process. The kernel's tokens are never 0.
const OWN_TOKEN: u64 = 0;
/// The caller of that call: a number that no process has, as its slot is beyond the kernel's table.
const OWN_PID: Pid = Pid(u32::MAX);

/// Calls that are being served.
#[derive(Default)]
pub struct Calls<'l, 'm> {
    own: Option<Local<'l, 'm>>,
}

/// A call of this process: what it lends, and its answer.
struct Local<'l, 'm> {
    leases: &'l mut [Lent<'m>],
    answer: [u8; MESSAGE_MAX],
    /// How long the answer is, when it has come.
    result: Option<Result<usize>>,
}

impl<'l, 'm> Calls<'l, 'm> {
    /// Calls of other processes, and one of this. Returns also its message.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::InvalidArgument`] for too many leases.
    pub fn with_own(request: &[u8], leases: &'l mut [Lent<'m>]) -> Result<(Self, Message)> {
        let mut message = Message {
            token: OWN_TOKEN,
            sender: OWN_PID,
            lease_count: leases.len() as u32,
            len: request.len() as u32,
            ..Message::default()
        };
        let payload = message.payload.get_mut(..request.len());
        payload.ok_or(Error::TooLong)?.copy_from_slice(request);
        if leases.len() > LEASES_MAX {
            return Err(Error::InvalidArgument);
        }
        for (info, lease) in message.leases.iter_mut().zip(&*leases) {
            *info = match lease {
                Lent::Read(bytes) => LeaseInfo {
                    len: bytes.len() as u64,
                    writable: false,
                },
                Lent::Write(bytes) => LeaseInfo {
                    len: bytes.len() as u64,
                    writable: true,
                },
            };
        }
        let own = Local {
            leases,
            answer: [0; MESSAGE_MAX],
            result: None,
        };
        Ok((Calls { own: Some(own) }, message))
    }

    /// The answer to the call of this process, if it has come: copies it, and returns its
    /// length.
    pub fn answered(&mut self, answer: &mut [u8]) -> Option<Result<usize>> {
        let own = self.own.as_mut()?;
        let result = own.result.take()?;
        Some(result.map(|len| {
            let len = len.min(answer.len());
            answer[..len].copy_from_slice(&own.answer[..len]);
            len
        }))
    }

    /// Answers a call that is about the card, of which the state machine knows nothing.
    #[cold]
    pub(super) fn describe(&mut self, message: &Message, frames: &Frames) {
        let answer = self.description(message, frames).map(Answer);
        self.answer(message.token, answer);
    }

    /// Writes the card's description into the lease; returns how many bytes.
    fn description(&mut self, message: &Message, frames: &Frames) -> Result<u32> {
        let text = nicstat::describe(&frames.card().info()?, &frames.counters()?);
        let lent = match message.lease_count {
            0 => 0,
            _ => usize::try_from(message.leases[0].len).unwrap_or(usize::MAX),
        };
        let text = nicstat::whole_lines(&text, lent);
        match self.write(message.token, 0, text.as_bytes())? {
            count if count == text.len() => Ok(count as u32),
            _ => Err(Error::BadAddress),
        }
    }

    /// What lease `lease` of this process's call has from `offset` on.
    fn own_lease(&mut self, lease: usize) -> Result<&mut Lent<'m>> {
        let own = self.own.as_mut().ok_or(Error::PeerDied)?;
        own.leases.get_mut(lease).ok_or(Error::BadAddress)
    }

    fn answer_own(&mut self, answer: Result<&[u8]>) {
        if let Some(own) = &mut self.own {
            own.result = Some(answer.map(|bytes| {
                let len = bytes.len().min(MESSAGE_MAX);
                own.answer[..len].copy_from_slice(&bytes[..len]);
                len
            }));
        }
    }

    fn reply(&mut self, token: u64, answer: Result<&[u8]>) {
        match token {
            OWN_TOKEN => self.answer_own(answer),
            // A client that has died meanwhile needs no answer.
            _ => drop(ipc::reply(token, answer)),
        }
    }
}

impl Ipc for Calls<'_, '_> {
    fn read(&mut self, token: u64, lease: u8, offset: usize, into: &mut [u8]) -> Result<usize> {
        if token != OWN_TOKEN {
            return ipc::lease_read(token, lease, offset as u64, into);
        }
        let bytes: &[u8] = match self.own_lease(lease.into())? {
            Lent::Read(bytes) => bytes,
            Lent::Write(bytes) => bytes,
        };
        let bytes = bytes.get(offset..).ok_or(Error::BadAddress)?;
        let len = bytes.len().min(into.len());
        into[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write(&mut self, token: u64, offset: usize, from: &[u8]) -> Result<usize> {
        if token != OWN_TOKEN {
            return ipc::lease_write(token, 0, offset as u64, from);
        }
        let Lent::Write(bytes) = self.own_lease(0)? else {
            return Err(Error::BadAddress);
        };
        let bytes = bytes.get_mut(offset..).ok_or(Error::BadAddress)?;
        let len = bytes.len().min(from.len());
        bytes[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn answer(&mut self, token: u64, answer: Result<Answer>) {
        match answer {
            Ok(answer) => self.reply(token, Ok(&answer.to_bytes())),
            Err(error) => self.reply(token, Err(error)),
        }
    }

    fn answer_here(&mut self, token: u64, answer: Answer, events: &[u8]) {
        let mut bytes = [0; MESSAGE_MAX];
        bytes[..HERE].copy_from_slice(&answer.to_bytes());
        let len = HERE + events.len().min(HERE_MAX);
        bytes[HERE..len].copy_from_slice(&events[..len - HERE]);
        self.reply(token, Ok(&bytes[..len]));
    }

    fn watch(&mut self, client: Pid) -> Result<()> {
        match client {
            // Its end is ours.
            OWN_PID => Ok(()),
            client => sys::watch(client),
        }
    }

    fn charge(&mut self, client: Pid, sockets: usize) -> Result<()> {
        match client {
            // It has what the others leave, and these have their shares.
            OWN_PID => Ok(()),
            client => sys::charge(client, sockets),
        }
    }
}

#[cfg(test)]
mod tests;
