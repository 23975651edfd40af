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
mod events;
mod operations;
mod sends;
mod serve;

pub(crate) use armed::Armed;

use crate::kernel::Kernel;
use crate::parked::LENT_MAX;
use crate::server::Server;
use abi::batch::{AREA, Event, OPERATIONS, OPERATIONS_MAX, SOURCE, area_min};
use abi::ipc::Message;
use abi::socket::{Answer, Handle, POLL_FOREVER};
use abi::{Error, Pid, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use events::Events;
use sends::Unsent;
use serve::Served;
use smoltcp::phy::Device;

/// A program that makes batches.
pub(crate) struct Client {
    pid: Pid,
    /// Sockets to look at, each once: [`Armed::queued`].
    ready: VecDeque<Handle>,
    turn: Option<Turn>,
}

/// A call that is being served.
struct Turn {
    token: u64,
    /// When it stops waiting; `None`: never.
    deadline: Option<u64>,
    /// Octets of the leases.
    lent: [usize; 3],
    events: Events,
    /// Streams whose send of this call had to wait.
    waiting: Vec<Handle>,
    /// Datagrams of this call that wait, in order.
    unsent: VecDeque<Unsent>,
}

impl Client {
    fn new(pid: Pid) -> Self {
        Client {
            pid,
            ready: VecDeque::new(),
            turn: None,
        }
    }

    fn enqueue(&mut self, handle: Handle, armed: &mut Armed) {
        if !core::mem::replace(&mut armed.queued, true) {
            self.ready.push_back(handle);
        }
    }

    /// Whether there is something to do for a call.
    fn is_due(&self, now: u64) -> bool {
        self.turn.as_ref().is_some_and(|turn| {
            let late = turn.deadline.is_some_and(|deadline| deadline <= now);
            late || turn.events.has_news() || !self.ready.is_empty()
        })
    }
}

impl<D: Device> Server<D> {
    /// How many batches wait.
    pub(crate) fn waiting_batches(&self) -> usize {
        let waits = |client: &&Client| client.turn.is_some();
        self.clients.iter().filter(waits).count()
    }

    /// When the next batch stops waiting.
    pub(crate) fn batch_deadline(&self) -> Option<u64> {
        let turns = self.clients.iter().filter_map(|c| c.turn.as_ref());
        turns.filter_map(|turn| turn.deadline).min()
    }

    /// Forgets the client and its batch.
    pub(crate) fn forget_client(&mut self, pid: Pid) {
        self.clients.retain(|client| client.pid != pid);
    }

    /// Forgets the call of a client that has ended without us: it makes another.
    pub(crate) fn forget_batch(&mut self, pid: Pid) {
        let Some(mut client) = self.take_client(pid) else {
            return;
        };
        if let Some(mut turn) = client.turn.take() {
            self.end_sends(&mut client, &mut turn);
        }
        self.clients.push(client);
    }

    /// A socket is gone: it is not looked at any more.
    pub(crate) fn forget_ready(&mut self, handle: Handle, pid: Pid) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.pid == pid) {
            client.ready.retain(|&ready| ready != handle);
        }
    }

    fn take_client(&mut self, pid: Pid) -> Option<Client> {
        let at = self.clients.iter().position(|client| client.pid == pid)?;
        Some(self.clients.swap_remove(at))
    }

    /// Does the operations of a batch. [`Server::serve_batches`] answers it.
    pub(crate) fn batch(
        &mut self,
        message: &Message,
        (operations, timeout_ms): (u16, u32),
        now: u64,
        kernel: &mut impl Kernel,
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
        self.watch(message.sender, kernel)?;
        let mut client = match self.take_client(message.sender) {
            Some(client) => client,
            None => Client::new(message.sender),
        };
        let timeout = u64::from(timeout_ms) * 1_000_000;
        let mut turn = Turn {
            token: message.token,
            deadline: (timeout_ms != POLL_FOREVER).then(|| now.saturating_add(timeout)),
            lent,
            events: Events::new(message.token, area, operations),
            waiting: Vec::new(),
            unsent: VecDeque::new(),
        };
        let done = self.operate(&mut client, &mut turn, operations, now, kernel);
        match done {
            Ok(()) => client.turn = Some(turn),
            Err(_) => self.end_sends(&mut client, &mut turn),
        }
        self.clients.push(client);
        done
    }

    /// Serves the sockets that changed, and answers the batches that have something to say
    /// or whose time is up. Returns whether that gave the stack something to send.
    pub(crate) fn serve_batches(&mut self, now: u64, kernel: &mut impl Kernel) -> bool {
        self.mark_changes();
        let mut moved = false;
        for index in 0..self.clients.len() {
            if self.clients[index].is_due(now) {
                let empty = Client::new(self.clients[index].pid);
                let mut client = core::mem::replace(&mut self.clients[index], empty);
                moved |= self.serve_client(&mut client, now, kernel);
                self.clients[index] = client;
            }
        }
        moved
    }

    /// Whether [`Server::serve_batches`] would do something.
    pub(crate) fn has_due_batches(&mut self, now: u64) -> bool {
        self.mark_changes();
        self.clients.iter().any(|client| client.is_due(now))
    }

    /// Queues what has changed for those who want to hear of it.
    fn mark_changes(&mut self) {
        while let Some(change) = self.stack.next_change() {
            let Some((handle, socket)) = self.handles.announced(change) else {
                continue;
            };
            if socket.armed.wants_news()
                && let Some(client) = self.clients.iter_mut().find(|c| c.pid == socket.owner)
            {
                client.enqueue(handle, &mut socket.armed);
            }
        }
    }

    fn serve_client(&mut self, client: &mut Client, now: u64, kernel: &mut impl Kernel) -> bool {
        let Some(mut turn) = client.turn.take() else {
            return false;
        };
        self.moved = false;
        let served = self.serve_ready(client, &mut turn, now, kernel);
        let late = turn.deadline.is_some_and(|deadline| deadline <= now);
        let answer = match served {
            Ok(full) if full || late || turn.events.has_news() => {
                self.end_sends(client, &mut turn);
                turn.events.finish(kernel)
            }
            Ok(_) => {
                client.turn = Some(turn);
                return self.moved;
            }
            Err(error) => {
                self.end_sends(client, &mut turn);
                Err(error)
            }
        };
        let count = answer.map(|count| Answer::Count(count as u32));
        kernel.answer(turn.token, count);
        self.answered = true;
        self.moved
    }

    /// Serves the ready queue. Returns whether something did not fit.
    fn serve_ready(
        &mut self,
        client: &mut Client,
        turn: &mut Turn,
        now: u64,
        kernel: &mut impl Kernel,
    ) -> Result<bool> {
        // Each round of "again" puts something into the area, so it ends.
        while let Some(handle) = client.ready.pop_front() {
            if let Ok(socket) = self.handles.get_mut(handle, client.pid) {
                socket.armed.queued = false;
            }
            let served = self.serve(client, turn, handle, now, kernel)?;
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

    /// What becomes of a call's unfinished sends when it ends.
    fn end_sends(&mut self, client: &mut Client, turn: &mut Turn) {
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
