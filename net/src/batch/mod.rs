//! Batches: many operations and their outcomes in one call ([`abi::batch`]).
//!
//! ```text
//!   Batch ──▶ operations ──▶ arm, send, close            frames, time
//!                              │                              │
//!                        socket.armed ◀── mark ◀── Stack::next_change
//!                              │ once
//!                              ▼
//!                  ready queue of the client ──▶ serve ──▶ events ──▶ answer
//! ```
//!
//! What a program wants to hear is a state of its socket ([`Armed`]). A change of the
//! socket puts its handle into the client's ready queue, where it is at most once; serving
//! it looks at what is so now. So nothing is scanned, nothing is stored that the sockets
//! do not hold anyway, and what does not fit into an answer is found again by the next.

mod armed;
mod clients;
mod events;
mod operations;
mod sends;
mod serve;

pub(crate) use armed::Armed;
pub(crate) use clients::Clients;

use crate::ipc::Ipc;
use crate::parked::LENT_MAX;
use crate::phy::Device;
use crate::server::Server;
use abi::batch::{AREA, Event, HERE, OPERATIONS, OPERATIONS_MAX, SOURCE, area_min};
use abi::ipc::Message;
use abi::socket::POLL_FOREVER;
use abi::{Error, Pid, Result};
use clients::{Client, Entry, Turn};
use serve::Served;

impl<D: Device> Server<D> {
    /// Forgets the call of a client that has ended without us: it makes another.
    pub(crate) fn forget_batch(&mut self, pid: Pid) {
        if let Some(mut entry) = self.clients.take(pid) {
            self.end_sends(&mut entry);
            self.clients.put(entry);
        }
    }

    /// Does the operations of a batch. [`Server::serve_batches`] answers it.
    pub(crate) fn batch(
        &mut self,
        message: &Message,
        (operations, timeout_ms): (u16, u32),
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<()> {
        let operations = usize::from(operations);
        let leases = message.leases.map(|lease| {
            let len = usize::try_from(lease.len).unwrap_or(LENT_MAX);
            (len.min(LENT_MAX), lease.writable)
        });
        let mut lent = leases.map(|(len, _)| len);
        for missing in lent.iter_mut().skip(message.lease_count as usize) {
            *missing = 0;
        }
        let area = lent[usize::from(AREA)];
        let writable = leases[usize::from(AREA)].1;
        if operations > OPERATIONS_MAX || area < area_min(operations) || !writable {
            return Err(Error::InvalidArgument);
        }
        let mut entry = match self.clients.take(message.sender) {
            Some(entry) => entry,
            None => {
                self.watch(message.sender, ipc)?;
                Entry::new(message.sender)
            }
        };
        let timeout = u64::from(timeout_ms) * 1_000_000;
        let deadline = (timeout_ms != POLL_FOREVER).then(|| now.saturating_add(timeout));
        entry.turn.begin(message.token, deadline, lent, operations);
        let Entry { client, turn } = &mut *entry;
        let here = message.request().get(HERE..).unwrap_or_default();
        let done = self.operate(client, turn, (operations, here), now, ipc);
        if done.is_err() {
            self.end_sends(&mut entry);
        }
        self.clients.put(entry);
        self.clients.call(message.sender);
        done
    }

    /// Serves the sockets that changed, and answers the batches that have something to say
    /// or whose time is up. Returns whether that gave the stack something to send.
    pub(crate) fn serve_batches(&mut self, now: u64, ipc: &mut impl Ipc) -> bool {
        self.mark_changes();
        self.clients.advance(now);
        let mut moved = false;
        for _ in 0..self.clients.due() {
            if let Some(mut entry) = self.clients.next(now) {
                moved |= self.serve_client(&mut entry, now, ipc);
                self.clients.put(entry);
            }
        }
        moved
    }

    /// Whether [`Server::serve_batches`] would do something.
    pub(crate) fn has_due_batches(&mut self, now: u64) -> bool {
        self.mark_changes();
        self.clients.is_one_due(now)
    }

    /// Queues what has changed for those who want to hear of it.
    fn mark_changes(&mut self) {
        while let Some(change) = self.stack.next_change() {
            if let Some((handle, socket)) = self.handles.announced(change)
                && socket.armed.wants_news()
            {
                self.clients.enqueue(handle, socket);
            }
        }
    }

    fn serve_client(&mut self, entry: &mut Entry, now: u64, ipc: &mut impl Ipc) -> bool {
        self.moved = false;
        let served = self.serve_ready(entry, now, ipc);
        if served == Ok(false) && !entry.turn.is_due(now) {
            return self.moved;
        }
        self.end_sends(entry);
        match served {
            Ok(_) => entry.turn.events.answer(ipc),
            Err(error) => ipc.answer(entry.turn.token, Err(error)),
        }
        self.answered = true;
        self.moved
    }

    /// Serves the ready queue. Returns whether something did not fit.
    fn serve_ready(&mut self, entry: &mut Entry, now: u64, ipc: &mut impl Ipc) -> Result<bool> {
        let Entry { client, turn } = entry;
        // Each round of "again" puts something into the area, so it ends.
        while let Some(handle) = client.ready.pop_front() {
            if let Ok(socket) = self.handles.get_mut(handle, client.pid) {
                socket.armed.queued = false;
            }
            let served = self.serve(client, turn, handle, now, ipc)?;
            if served == Served::Done {
                continue;
            }
            if let Ok(socket) = self.handles.get_mut(handle, client.pid)
                && !core::mem::replace(&mut socket.armed.queued, true)
            {
                match served {
                    Served::Full => client.ready.push_front(handle),
                    _ => client.ready.push_back(handle),
                }
            }
            if served == Served::Full {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A call ends, and with it its unfinished sends.
    #[inline]
    fn end_sends(&mut self, entry: &mut Entry) {
        entry.turn.end();
        if !(entry.turn.waiting.is_empty() && entry.turn.unsent.is_empty()) {
            self.cut_sends(entry);
        }
    }

    #[inline(never)]
    fn cut_sends(&mut self, entry: &mut Entry) {
        let Entry { client, turn } = entry;
        for handle in turn.waiting.drain(..) {
            let Ok(socket) = self.handles.get_mut(handle, client.pid) else {
                continue;
            };
            let armed = &mut socket.armed;
            let Some(send) = armed.send.as_mut().filter(|send| send.fresh) else {
                continue;
            };
            if send.inline_left() > 0 {
                let cut = send.cut(handle);
                (armed.send, armed.room) = (None, true);
                client.enqueue(handle, armed);
                turn.events.outcome(&cut);
            } else {
                send.fresh = false;
            }
        }
        for unsent in turn.unsent.drain(..) {
            if let Ok(socket) = self.handles.get_mut(unsent.socket, client.pid) {
                socket.armed.unsent = 0;
                // What arrived meanwhile was not looked at.
                client.enqueue(unsent.socket, &mut socket.armed);
            }
            turn.events.outcome(&Event::Cut {
                socket: unsent.socket,
                operation: unsent.operation,
                count: 0,
            });
        }
    }
}

// The leases are used by these numbers.
const _: () = assert!(AREA == 0 && OPERATIONS == 1 && SOURCE == 2);
