//! A batch from its beginning to its answer.

use crate::batch::clients::Entry;
use crate::batch::engine::Engine;
use crate::batch::serve::Served;
use crate::ipc::{Ipc, lent};
use crate::phy::Device;
use abi::batch::{AREA, Event, HERE, NO_TIMEOUT, OPERATIONS, OPERATIONS_MAX, SOURCE, area_min};
use abi::ipc::Message;
use abi::{Error, Pid, Result};

impl<D: Device, I: Ipc> Engine<'_, D, I> {
    /// Forgets the call of a client that has ended without us: it makes another.
    pub(crate) fn forget_batch(&mut self, pid: Pid) {
        if let Some(mut entry) = self.batches.clients.take(pid) {
            self.end_sends(&mut entry);
            self.batches.clients.put(entry);
        }
    }

    /// Does the operations of a batch. [`Engine::serve_batches`] answers it.
    pub(crate) fn batch(
        &mut self,
        message: &Message,
        (operations, timeout_ms): (u16, u32),
    ) -> Result<()> {
        let operations = usize::from(operations);
        let lent = [0, 1, 2].map(|lease| lent(message, lease));
        let area = lent[usize::from(AREA)];
        let writable = message.leases[usize::from(AREA)].writable;
        if operations > OPERATIONS_MAX || area < area_min(operations) || !writable {
            return Err(Error::InvalidArgument);
        }
        let mut entry = match self.batches.clients.take(message.sender) {
            Some(entry) => entry,
            None => {
                self.sockets.watch(message.sender, self.ipc)?;
                Entry::new(message.sender)
            }
        };
        let timeout = u64::from(timeout_ms) * 1_000_000;
        let deadline = (timeout_ms != NO_TIMEOUT).then(|| self.now.saturating_add(timeout));
        entry.turn.begin(message.token, deadline, lent, operations);
        let Entry { client, turn } = &mut *entry;
        let here = message.request().get(HERE..).unwrap_or_default();
        let done = self.operate(client, turn, (operations, here));
        if done.is_err() {
            self.end_sends(&mut entry);
        }
        self.batches.clients.put(entry);
        self.batches.clients.call(message.sender);
        done
    }

    /// Serves the sockets that changed, and answers the batches that have something to say
    /// or whose time is up. Returns whether that gave the stack something to send.
    pub(crate) fn serve_batches(&mut self) -> bool {
        self.mark_changes();
        self.batches.clients.advance(self.now);
        let mut moved = false;
        for _ in 0..self.batches.clients.due() {
            if let Some(mut entry) = self.batches.clients.next(self.now) {
                moved |= self.serve_client(&mut entry);
                self.batches.clients.put(entry);
            }
        }
        moved
    }

    /// Whether [`Engine::serve_batches`] would do something.
    pub(crate) fn has_due_batches(&mut self) -> bool {
        self.mark_changes();
        self.batches.clients.is_one_due(self.now)
    }

    /// Queues what has changed for those who want to hear of it.
    fn mark_changes(&mut self) {
        while let Some(change) = self.sockets.stack.next_change() {
            if let Some((handle, socket)) = self.sockets.handles.announced(change)
                && socket.armed.wants_news()
            {
                self.batches.clients.enqueue(handle, socket);
            }
        }
    }

    fn serve_client(&mut self, entry: &mut Entry) -> bool {
        self.batches.moved = false;
        let served = self.serve_ready(entry);
        if served == Ok(false) && !entry.turn.is_due(self.now) {
            return self.batches.moved;
        }
        self.end_sends(entry);
        match served {
            Ok(_) => entry.turn.events.answer(self.ipc),
            Err(error) => self.ipc.answer(entry.turn.token, Err(error)),
        }
        self.batches.answered = true;
        self.batches.moved
    }

    /// Serves the ready queue. Returns whether something did not fit.
    fn serve_ready(&mut self, entry: &mut Entry) -> Result<bool> {
        let Entry { client, turn } = entry;
        // Each round of "again" puts something into the area, so it ends.
        while let Some(handle) = client.ready.pop_front() {
            if let Ok(socket) = self.sockets.handles.get_mut(handle, client.pid) {
                socket.armed.queued = false;
            }
            let served = self.serve(client, turn, handle)?;
            if served == Served::Done {
                continue;
            }
            if let Ok(socket) = self.sockets.handles.get_mut(handle, client.pid)
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
            let Ok(socket) = self.sockets.handles.get_mut(handle, client.pid) else {
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
            if let Ok(socket) = self.sockets.handles.get_mut(unsent.socket, client.pid) {
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
