//! The programs that make batches: who waits, and for whom there is something.
//!
//! A client and its turn stay where they are from call to call, with their buffers, so that
//! a call allocates nothing; and none is looked at for which nothing has changed.

use crate::batch::events::Events;
use crate::deadlines::Deadlines;
use crate::queue::Queue;
use crate::sockets::handles::Socket;
use crate::sockets::interest::Armed;
use abi::Pid;
use abi::socket::Address;
use abi::socket::Handle;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A program that makes batches.
pub(super) struct Client {
    pub pid: Pid,
    /// Sockets to look at, each once: [`Armed::queued`].
    pub ready: VecDeque<Handle>,
}

/// A datagram that waits for room.
#[derive(Clone, Copy)]
pub(super) struct Unsent {
    pub socket: Handle,
    /// The operation's number.
    pub operation: u16,
    pub to: Address,
    /// Where its octets are in lease 1.
    pub offset: usize,
    pub len: usize,
}

/// A call that is being served, or was.
pub(super) struct Turn {
    /// It is not answered yet.
    waits: bool,
    pub token: u64,
    /// When it stops waiting; `None`: never.
    deadline: Option<u64>,
    /// Octets of the leases.
    pub lent: [usize; 3],
    pub events: Events,
    /// Streams whose send of this call had to wait.
    pub waiting: Vec<Handle>,
    /// Datagrams of this call that wait, in order.
    pub unsent: VecDeque<Unsent>,
}

/// A client with its turn.
pub(super) struct Entry {
    pub client: Client,
    pub turn: Turn,
}

/// All programs that make batches, and for which of them there may be something.
#[derive(Default)]
pub(crate) struct Clients {
    /// By the slots of their processes. One that is being served is taken out.
    entries: Vec<Option<Box<Entry>>>,
    /// Those for which there may be something.
    due: Queue,
    deadlines: Deadlines,
}

impl Client {
    pub fn enqueue(&mut self, handle: Handle, armed: &mut Armed) {
        if !core::mem::replace(&mut armed.queued, true) {
            self.ready.push_back(handle);
        }
    }
}

impl Turn {
    /// Begins a call.
    pub fn begin(
        &mut self,
        token: u64,
        deadline: Option<u64>,
        lent: [usize; 3],
        operations: usize,
    ) {
        self.waits = true;
        self.token = token;
        self.deadline = deadline;
        self.lent = lent;
        self.events.begin(token, lent[0], operations);
    }

    /// It is to be answered now.
    pub fn end(&mut self) {
        self.waits = false;
    }

    /// Whether there is an answer to it.
    pub fn is_due(&self, now: u64) -> bool {
        self.events.has_news() || self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl Entry {
    pub fn new(pid: Pid) -> Box<Self> {
        Box::new(Entry {
            client: Client {
                pid,
                ready: VecDeque::new(),
            },
            turn: Turn {
                waits: false,
                token: 0,
                deadline: None,
                lent: [0; 3],
                events: Events::default(),
                waiting: Vec::new(),
                unsent: VecDeque::new(),
            },
        })
    }

    /// Whether there is something to do for a call.
    fn is_due(&self, now: u64) -> bool {
        self.turn.waits && (self.turn.is_due(now) || !self.client.ready.is_empty())
    }
}

impl Clients {
    /// How many of them wait.
    pub fn waiting(&self) -> usize {
        let entries = self.entries.iter().flatten();
        entries.filter(|entry| entry.turn.waits).count()
    }

    /// When the next one stops waiting.
    pub fn deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Takes a client out, to be put back.
    pub(super) fn take(&mut self, pid: Pid) -> Option<Box<Entry>> {
        let place = self.entries.get_mut(pid.slot())?;
        place.take_if(|entry| entry.client.pid == pid)
    }

    /// Puts a client back, or a new one into its place.
    #[inline]
    pub(super) fn put(&mut self, entry: Box<Entry>) {
        let slot = entry.client.pid.slot();
        if let Some(at) = entry.turn.deadline.filter(|_| entry.turn.waits) {
            self.deadlines.hasten(slot, at);
        }
        match self.entries.get_mut(slot) {
            Some(place @ None) => *place = Some(entry),
            _ => self.insert(slot, entry),
        }
    }

    #[cold]
    fn insert(&mut self, slot: usize, entry: Box<Entry>) {
        if self.entries.len() <= slot {
            self.entries.resize_with(slot + 1, || None);
        }
        self.entries[slot] = Some(entry);
    }

    /// Forgets a client and its call.
    pub fn forget(&mut self, pid: Pid) {
        if self.take(pid).is_some() {
            self.deadlines.clear(pid.slot());
        }
    }

    /// It has made a call, which is to be looked at.
    pub fn call(&mut self, pid: Pid) {
        self.due.push(pid.slot());
    }

    /// A socket is to be looked at for its owner.
    pub fn enqueue(&mut self, handle: Handle, socket: &mut Socket) {
        let slot = socket.owner.slot();
        if let Some(Some(entry)) = self.entries.get_mut(slot)
            && entry.client.pid == socket.owner
        {
            entry.client.enqueue(handle, &mut socket.armed);
            if entry.turn.waits {
                self.due.push(slot);
            }
        }
    }

    /// The time has come for some.
    #[inline]
    pub fn advance(&mut self, now: u64) {
        while let Some(slot) = self.deadlines.due(now) {
            self.expire(slot, now);
        }
    }

    #[inline(never)]
    fn expire(&mut self, slot: usize, now: u64) {
        let entry = self.entries.get(slot).and_then(Option::as_ref);
        let waiting = entry.filter(|entry| entry.turn.waits);
        match waiting.and_then(|entry| entry.turn.deadline) {
            Some(at) if at > now => self.deadlines.set(slot, at),
            _ => {
                self.deadlines.clear(slot);
                self.due.push(slot);
            }
        }
    }

    /// For how many there may be something.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// Takes out the next of them, if there is.
    pub(super) fn next(&mut self, now: u64) -> Option<Box<Entry>> {
        let slot = self.due.pop()?;
        let place = self.entries.get_mut(slot)?;
        place.take_if(|entry| entry.is_due(now))
    }

    /// Whether there is something for one of them.
    pub fn is_one_due(&mut self, now: u64) -> bool {
        self.advance(now);
        while let Some(slot) = self.due.first() {
            let entry = self.entries.get(slot).and_then(Option::as_ref);
            if entry.is_some_and(|entry| entry.is_due(now)) {
                return true;
            }
            self.due.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Pid = Pid(0x102);

    /// A client that waits until then, with these sockets to be looked at.
    fn waiting(deadline: Option<u64>, ready: &[Handle]) -> Clients {
        let mut clients = Clients::default();
        let mut entry = Entry::new(PROGRAM);
        entry.turn.begin(7, deadline, [100, 0, 0], 0);
        entry.client.ready.extend(ready);
        clients.put(entry);
        clients
    }

    #[test]
    fn a_client_is_due_that_waits_and_has_something_to_hear_or_whose_time_is_up() {
        for (deadline, ready, is_due) in [
            (None, &[][..], false),
            (Some(101), &[], false),
            (Some(100), &[], true),
            (None, &[Handle(1)], true),
        ] {
            let mut clients = waiting(deadline, ready);
            assert!(!clients.is_one_due(99), "nobody has called");
            clients.call(PROGRAM);
            assert_eq!(clients.is_one_due(100), is_due);
            clients.call(PROGRAM);
            let entry = clients.next(100);
            assert_eq!(entry.is_some(), is_due);
            if let Some(mut entry) = entry {
                entry.turn.end();
                clients.put(entry);
                clients.call(PROGRAM);
                assert!(!clients.is_one_due(1000) && clients.next(1000).is_none());
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_not_kept() {
        let mut clients = waiting(Some(100), &[Handle(1)]);
        assert_eq!((clients.waiting(), clients.deadline()), (1, Some(100)));
        clients.forget(Pid(0x202));
        assert_eq!((clients.waiting(), clients.deadline()), (1, Some(100)));
        clients.forget(PROGRAM);
        assert_eq!((clients.waiting(), clients.deadline()), (0, None));
    }
}
