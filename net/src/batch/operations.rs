//! Reading a batch's operations out of lease 1, and doing them.

use crate::batch::clients::{Client, Turn, Unsent};
use crate::batch::engine::Engine;
use crate::ipc::{Ipc, read_exactly};
use crate::phy::Device;
use crate::sockets::kinds::{Kind, Opened};
use abi::batch::{Event, NOT_OF_THIS_CALL, OPERATIONS, Operation, padded};
use abi::socket::{Direction, Handle};
use abi::{Error, Result};
use alloc::vec::Vec;

/// Octets of lease 1 that are read at once.
const WINDOW: usize = 8 * 1024;

/// The octets behind an operation.
#[derive(Clone, Copy)]
pub(super) struct Inline<'w> {
    /// Where they are in lease 1.
    pub offset: usize,
    /// They, unless they are too many to have been read with the operation.
    pub octets: Option<&'w [u8]>,
}

/// What is to be said of an operation that was done.
pub(super) enum Outcome {
    /// Nothing.
    Silent,
    /// This, but it is no reason to wake anybody.
    Told(Event),
    /// Something, later.
    Waits,
}

/// A piece of lease 1.
struct Window {
    octets: Vec<u8>,
    start: usize,
}

impl Window {
    /// The octets `from..from + len` of the lease, if they are in the window.
    fn get(&self, from: usize, len: usize) -> Option<&[u8]> {
        let at = from.checked_sub(self.start)?;
        self.octets.get(at..at.checked_add(len)?)
    }

    /// Moves the window to `start`.
    fn move_to(&mut self, start: usize, lent: usize, token: u64, ipc: &mut impl Ipc) -> Result<()> {
        self.start = start;
        self.octets
            .resize(lent.saturating_sub(start).min(WINDOW), 0);
        read_exactly(ipc, token, (OPERATIONS, start), &mut self.octets)
    }
}

impl<D: Device, I: Ipc> Engine<'_, D, I> {
    /// Does so many operations; lease 1 begins with the octets `here`, or they are none.
    ///
    /// # Errors
    /// [`Error::BadAddress`] if lease 1 cannot be read. What an operation is refused for is
    /// an event.
    pub(super) fn operate(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        (operations, here): (usize, &[u8]),
    ) -> Result<()> {
        let mut window = Window {
            octets: core::mem::take(&mut self.batches.window),
            start: 0,
        };
        let here = here
            .get(..turn.lent[usize::from(OPERATIONS)])
            .unwrap_or(here);
        window.octets.clear();
        window.octets.extend_from_slice(here);
        let done = self.operate_in(&mut window, client, turn, operations);
        self.batches.window = window.octets;
        done
    }

    fn operate_in(
        &mut self,
        window: &mut Window,
        client: &mut Client,
        turn: &mut Turn,
        operations: usize,
    ) -> Result<()> {
        let lent = turn.lent[usize::from(OPERATIONS)];
        let mut at = 0;
        for number in 0..operations {
            if window.get(at, Operation::SIZE).is_none() {
                window.move_to(at, lent, turn.token, self.ipc)?;
            }
            let head = window.get(at, Operation::SIZE);
            let Some(head) = head.and_then(|octets| octets.first_chunk()) else {
                self.refuse(turn, Handle(0), number, Error::Malformed);
                return Ok(());
            };
            let len = Operation::inline_of(head);
            let offset = at + Operation::SIZE;
            if len > lent.saturating_sub(offset) {
                // Where the next one begins is anybody's guess.
                self.refuse(turn, Operation::socket_of(head), number, Error::Malformed);
                return Ok(());
            }
            let inline = Inline {
                offset,
                octets: window.get(offset, len),
            };
            let outcome = match Operation::from_bytes(head) {
                Ok(operation) => self.one(client, turn, (operation, number as u16), inline),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Outcome::Silent) => turn.events.settle(),
                Ok(Outcome::Told(event)) => turn.events.outcome(&event),
                Ok(Outcome::Waits) => {}
                Err(error) => self.refuse(turn, Operation::socket_of(head), number, error),
            }
            at = offset + padded(len);
        }
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, turn: &mut Turn, socket: Handle, number: usize, error: Error) {
        turn.events.outcome(&Event::Failed {
            socket,
            operation: number as u16,
            error,
        });
        turn.events.wake();
    }

    fn one(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        (operation, number): (Operation, u16),
        inline: Inline<'_>,
    ) -> Result<Outcome> {
        let pid = client.pid;
        match operation {
            Operation::Listen { address, backlog } => {
                let made = self
                    .sockets
                    .listen(pid, (address, backlog as usize), self.ipc)?;
                turn.events.wake();
                Ok(opened(made, number))
            }
            Operation::Bind { address } => {
                let made = self.sockets.bind(pid, address, self.ipc)?;
                turn.events.wake();
                Ok(opened(made, number))
            }
            Operation::Connect { address } => {
                let made = self.sockets.connect(pid, address, self.now, self.ipc)?;
                Ok(opened(made, number))
            }
            Operation::Accept {
                socket,
                count,
                receive,
            } => self.arm(client, socket, (count, receive), Kind::accepts),
            Operation::Receive { socket, max } => {
                self.open_stream(socket, pid)?;
                let allowed = |_| Ok(());
                self.arm(client, socket, ((max > 0).into(), max), allowed)
            }
            Operation::ReceiveFrom { socket, count, max } => {
                let allowed = |kind: Kind| kind.datagrams().map(|_| ());
                self.arm(client, socket, (count, max), allowed)
            }
            Operation::Send(send) => self.begin_send(client, turn, (send, number), inline),
            Operation::SendTo {
                socket,
                address,
                inline: len,
            } => {
                let unsent = Unsent {
                    socket,
                    operation: number,
                    to: address,
                    offset: inline.offset,
                    len: len as usize,
                };
                self.begin_send_to(pid, turn, unsent, inline)
            }
            Operation::Shutdown { socket, direction } => {
                let sending = self.sockets.handles.get(socket, pid)?.armed.send.is_some();
                if sending && direction != Direction::Receive {
                    return Err(Error::Busy);
                }
                let id = self.open_stream(socket, pid)?;
                if direction != Direction::Receive {
                    self.sockets.stack.finish(id);
                }
                if direction != Direction::Send {
                    self.sockets.stack.tcp.shut_receive(id);
                }
                Ok(Outcome::Silent)
            }
            Operation::Close { socket } => {
                self.close(client, turn, socket)?;
                Ok(Outcome::Silent)
            }
            Operation::Cancel { socket } => {
                let armed = &mut self.sockets.handles.get_mut(socket, pid)?.armed;
                (armed.count, armed.room) = (0, false);
                let Some(send) = armed.send.take() else {
                    return Ok(Outcome::Silent);
                };
                if send.fresh {
                    turn.events.settle();
                }
                Ok(Outcome::Told(send.cut(socket)))
            }
            Operation::Progress { socket } => {
                let armed = &self.sockets.handles.get(socket, pid)?.armed;
                turn.events.wake();
                let idle_ms = self.now.saturating_sub(armed.moved_at) / 1_000_000;
                Ok(Outcome::Told(Event::Progress {
                    socket,
                    count: armed.send.map_or(0, |send| send.sent as u32),
                    idle_ms: u32::try_from(idle_ms).unwrap_or(u32::MAX),
                }))
            }
        }
    }

    /// Arms a socket of the right kind; what is ready already is a change, too.
    fn arm(
        &mut self,
        client: &mut Client,
        socket: Handle,
        (count, max): (u16, u32),
        allowed: impl FnOnce(Kind) -> Result<()>,
    ) -> Result<Outcome> {
        let slot = self.sockets.handles.get_mut(socket, client.pid)?;
        allowed(slot.kind)?;
        (slot.armed.count, slot.armed.max) = (count, max);
        client.enqueue(socket, &mut slot.armed);
        Ok(Outcome::Silent)
    }

    /// Gives a handle back.
    pub(super) fn close(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        socket: Handle,
    ) -> Result<()> {
        let closed = self.sockets.handles.remove(socket, client.pid)?;
        if closed.armed.queued {
            client.ready.retain(|&ready| ready != socket);
        }
        if let Some(send) = closed.armed.send
            && send.fresh
        {
            turn.events.outcome(&send.cut(socket));
        }
        self.sockets.free(closed.kind, self.now, false);
        self.batches.moved = true;
        Ok(())
    }
}

/// What is said of a socket that was made.
fn opened((socket, local): Opened, operation: u16) -> Outcome {
    Outcome::Told(Event::Opened {
        operation,
        socket,
        local,
    })
}

// A number of an operation is never mistaken for none.
const _: () = assert!(abi::batch::OPERATIONS_MAX < NOT_OF_THIS_CALL as usize);
