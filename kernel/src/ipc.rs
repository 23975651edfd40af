//! Calls, answers, leases, notifications and the one wait (see [`abi::ipc`]).
//!
//! Each function here is the body of one system call. It returns what the caller gets at
//! once, or `None` when the caller now sleeps and will find its result in `rax` later.

use crate::process::{Machine, Outgoing, State, Table, slots_of};
use abi::ipc::{Call, Exit, LEASES_MAX, LeaseInfo, MESSAGE_MAX, Message, Pid, Received, wait};
use abi::syscall::LEASE_MAX;
use abi::{Error, Result, error};

/// A [`Received`]; of a message it has only the caller, with which the message is kept.
#[derive(Clone, Copy)]
enum Event {
    TimedOut,
    Notification(u32),
    Message(Pid),
    Death(Pid, Exit),
}

impl<M: Machine> Table<M> {
    /// `Syscall::Call`: `caller` sends `call` and sleeps until the answer.
    ///
    /// # Errors
    /// [`Error::PeerDied`] if the server has ended, [`Error::NotFound`] if there never was one of that
    /// number, [`Error::TooLong`] for a request over [`MESSAGE_MAX`], [`Error::InvalidArgument`] for a call to oneself or too many
    /// leases, [`Error::BadAddress`] for a bad request pointer, [`Error::Deadlock`] if the server
    /// waits for the caller's answer, [`Error::TimedOut`] if the deadline has passed at `now`: then
    /// nothing was sent.
    pub fn call(&mut self, caller: Pid, call: &Call, now: u64) -> Result<()> {
        let len = call.request.1 as usize;
        if call.request.1 > MESSAGE_MAX as u64 {
            return Err(Error::TooLong);
        }
        if call.target == caller || call.lease_count as usize > LEASES_MAX {
            return Err(Error::InvalidArgument);
        }
        if call.deadline <= now {
            return Err(Error::TimedOut);
        }
        self.alive(call.target)?;
        if self.waits_for(call.target, caller) {
            return Err(Error::Deadlock);
        }
        let process = self.alive(caller)?;
        let space = process.space.as_ref().ok_or(Error::NotFound)?;
        let mut payload = [0; MESSAGE_MAX];
        self.machine
            .read(space, call.request.0, &mut payload[..len])?;

        let process = self.get_mut(caller).ok_or(Error::NotFound)?;
        // The count starts at 1 and skips 0 when it wraps: a token is never 0.
        process.calls_made = process.calls_made.checked_add(1).unwrap_or(1);
        process.outgoing = Some(Outgoing {
            token: u64::from(caller.0) << 32 | u64::from(process.calls_made),
            payload,
            len,
            answer: call.answer,
            leases: call.leases,
            lease_count: call.lease_count as usize,
        });
        process.state = State::Calling {
            server: call.target,
            received: false,
            deadline: call.deadline,
        };
        if let Some(server) = self.get_mut(call.target) {
            // It has a place for each process that there can be.
            let _ = server.callers.push_back(caller);
        }
        self.deliver(call.target, true);
        Ok(())
    }

    /// Whether `pid` is in a call that `other` must answer before it goes on: a call to it, or to
    /// one who is. Two that call each other would sleep for ever, and keep their memory for ever
    /// if their parent is gone.
    fn waits_for(&self, mut pid: Pid, other: Pid) -> bool {
        // As every call was looked at so, those that follow each other make no ring.
        while let Some(State::Calling { server, .. }) = self.get(pid).map(|process| process.state) {
            if server == other {
                return true;
            }
            pid = server;
        }
        false
    }

    /// `Syscall::Reply`: `server` answers the call `token` with an error or with bytes of
    /// its memory; what does not fit the caller's buffer is an error to both.
    ///
    /// # Errors
    /// [`Error::PeerDied`] if the caller is gone, [`Error::BadHandle`] if the token is not
    /// of a call this server has received, [`Error::TooLong`], [`Error::BadAddress`].
    pub fn reply(&mut self, server: Pid, token: u64, status: u64, bytes: (u64, u64)) -> Result<()> {
        let caller = self.caller_of(server, token)?;
        if status != 0 {
            let number = u16::try_from(status).unwrap_or(0);
            self.finish_call(caller, Err(Error::from_wire(number)));
            return Ok(());
        }
        let (_, outgoing) = self.received_call(server, token)?;
        let (answer, capacity) = outgoing.answer;
        if bytes.1 > MESSAGE_MAX as u64 || bytes.1 > capacity {
            self.finish_call(caller, Err(Error::TooLong));
            return Err(Error::TooLong);
        }
        let mut payload = [0; MESSAGE_MAX];
        let payload = &mut payload[..bytes.1 as usize];
        self.machine.read(self.space(server)?, bytes.0, payload)?;
        let written = self.machine.write(self.space(caller)?, answer, payload);
        self.finish_call(caller, written.map(|()| bytes.1));
        Ok(())
    }

    /// `Syscall::LeaseRead` and `Syscall::LeaseWrite`: copies between `server`'s memory
    /// and what the caller of `token` lent. Returns how many bytes, which is short at the
    /// end of the lease, and [`LEASE_MAX`] at the most.
    ///
    /// # Errors
    /// [`Error::PeerDied`] if the caller is gone, [`Error::BadHandle`] if the token is not of a call that
    /// this server has received, [`Error::BadAddress`] for memory that one of them does not have,
    /// [`Error::NotPermitted`] to write a lease that is not writable,
    /// [`Error::InvalidArgument`] for a lease that did not come with the call.
    pub fn lease_copy(
        &mut self,
        server: Pid,
        token: u64,
        (index, offset): (usize, u64),
        (address, len): (u64, u64),
        to_caller: bool,
    ) -> Result<u64> {
        let (caller, outgoing) = self.received_call(server, token)?;
        let lease = outgoing.leases[..outgoing.lease_count]
            .get(index)
            .ok_or(Error::InvalidArgument)?;
        if to_caller && !lease.writable {
            return Err(Error::NotPermitted);
        }
        let len = len.min(lease.len.saturating_sub(offset)).min(LEASE_MAX);
        if len == 0 {
            return Ok(0);
        }
        let lent = lease.address.checked_add(offset);
        let lent = (self.space(caller)?, lent.ok_or(Error::BadAddress)?);
        let own = (self.space(server)?, address);
        let len = usize::try_from(len).map_err(|_| Error::BadAddress)?;
        if to_caller {
            self.machine.copy(own, lent, len)?;
        } else {
            self.machine.copy(lent, own, len)?;
        }
        Ok(len as u64)
    }

    /// `Syscall::Wait`: whether more events are there; `None` when the caller now sleeps.
    ///
    /// # Errors
    /// [`Error::BadAddress`] if the buffer cannot be written. That is tried before an event
    /// is taken, so that none is lost.
    pub fn wait(
        &mut self,
        pid: Pid,
        mask: u32,
        deadline: u64,
        buffer: u64,
        now: u64,
    ) -> Result<Option<bool>> {
        let space = self.space(pid)?;
        self.machine.can_write(space, buffer, Received::SIZE)?;
        let Some(event) = self.take_event(pid, mask) else {
            if deadline <= now {
                self.write_event(pid, buffer, Event::TimedOut)?;
                return Ok(Some(false));
            }
            let process = self.get_mut(pid).ok_or(Error::NotFound)?;
            process.state = State::Waiting {
                mask,
                deadline,
                buffer,
            };
            return Ok(None);
        };
        self.write_event(pid, buffer, event)?;
        Ok(Some(self.has_event(pid, mask)))
    }

    /// Whether an event of the mask is there.
    fn has_event(&self, pid: Pid, mask: u32) -> bool {
        self.get(pid).is_some_and(|process| {
            mask & wait::DEATH != 0 && (process.ended_children != 0 || !process.deaths.is_empty())
                || process.notifications & mask & wait::NOTIFICATIONS != 0
                || mask & wait::MESSAGE != 0 && !process.callers.is_empty()
        })
    }

    /// Sets notification bits; wakes the process if it waits for one of them. With
    /// `urgent` (a device) it runs before the others. Returns whether it woke.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    pub fn notify(&mut self, pid: Pid, bits: u32, urgent: bool) -> Result<bool> {
        self.alive(pid)?;
        if let Some(process) = self.get_mut(pid) {
            process.notifications |= bits;
        }
        Ok(self.deliver(pid, urgent))
    }

    /// Wakes everybody whose deadline has come.
    pub fn expire(&mut self, now: u64) {
        for slot in 0..self.slots.len() {
            let Some(process) = &self.slots[slot] else {
                continue;
            };
            let pid = process.pid;
            match process.state {
                State::Waiting {
                    deadline, buffer, ..
                } if deadline <= now => {
                    self.finish_wait(pid, buffer, (Event::TimedOut, false), true);
                }
                State::Calling {
                    server,
                    received,
                    deadline,
                } if deadline <= now => {
                    if !received {
                        self.withdraw_call(pid, server);
                    }
                    self.finish_call(pid, Err(Error::TimedOut));
                }
                _ => {}
            }
        }
    }

    /// Takes a call back that the server has not received.
    #[cold]
    pub(crate) fn withdraw_call(&mut self, caller: Pid, server: Pid) {
        if let Some(server) = self.get_mut(server) {
            server.callers.retain(|&other| other != caller);
        }
    }

    /// If `pid` waits and an event it waits for is there, hands it over and makes it ready.
    pub(crate) fn deliver(&mut self, pid: Pid, first: bool) -> bool {
        let Some(process) = self.get(pid) else {
            return false;
        };
        let State::Waiting { mask, buffer, .. } = process.state else {
            return false;
        };
        match self.take_event(pid, mask) {
            Some(event) => {
                let more = self.has_event(pid, mask);
                self.finish_wait(pid, buffer, (event, more), first);
                true
            }
            None => false,
        }
    }

    /// Takes the next event of `mask`: deaths first, then notifications and messages in
    /// turns, so that neither a storm of frames nor one of requests shuts the other out.
    fn take_event(&mut self, pid: Pid, mask: u32) -> Option<Event> {
        if mask & wait::DEATH != 0
            && let Some(event) = self.take_death(pid)
        {
            return Some(event);
        }
        let process = self.get_mut(pid)?;
        let bits = process.notifications & mask & wait::NOTIFICATIONS;
        let caller = process.callers.front().copied();
        let caller = caller.filter(|_| mask & wait::MESSAGE != 0);
        let message_first = process.prefer_message;
        match caller {
            Some(caller) if bits == 0 || message_first => {
                process.prefer_message = false;
                process.callers.pop_front();
                if let State::Calling { received, .. } = &mut self.get_mut(caller)?.state {
                    *received = true;
                }
                Some(Event::Message(caller))
            }
            _ if bits != 0 => {
                process.prefer_message = true;
                process.notifications &= !bits;
                if process.notifications & wait::USER == 0 {
                    process.notified_by = 0;
                }
                Some(Event::Notification(bits))
            }
            _ => None,
        }
    }

    fn take_death(&mut self, pid: Pid) -> Option<Event> {
        let process = self.get_mut(pid)?;
        if let Some((dead, exit)) = process.deaths.pop_front() {
            return Some(Event::Death(dead, exit));
        }
        let slot = slots_of(process.ended_children).next()?;
        process.ended_children &= !(1 << slot);
        let dead = self.slots[slot].as_ref()?;
        let State::Ended(exit) = dead.state else {
            return None;
        };
        let event = Event::Death(dead.pid, exit);
        self.forget_if_told(slot);
        Some(event)
    }

    /// Writes an event where `pid` waits for it: a message from where it is kept, uncopied.
    fn write_event(&self, pid: Pid, buffer: u64, event: Event) -> Result<()> {
        let space = self.space(pid)?;
        let write = |bytes: &[u8]| self.machine.write(space, buffer, bytes);
        match event {
            Event::TimedOut => write(&Received::TIMED_OUT),
            Event::Notification(bits) => write(&Received::notification(bits)),
            Event::Death(pid, exit) => write(&Received::death(pid, exit)),
            Event::Message(caller) => {
                let process = self.get(caller).ok_or(Error::PeerDied)?;
                let outgoing = process.outgoing.as_ref().ok_or(Error::PeerDied)?;
                let leases = outgoing.leases.map(|lease| LeaseInfo {
                    len: lease.len,
                    writable: lease.writable,
                });
                let leases = (&leases, outgoing.lease_count as u32);
                write(&Message::head(outgoing.token, caller, leases, outgoing.len))?;
                let request = &outgoing.payload[..outgoing.len];
                let buffer = buffer + Message::HEAD_SIZE as u64;
                self.machine.write(space, buffer, request)
            }
        }
    }

    /// Ends the `wait` of a sleeping process.
    fn finish_wait(&mut self, pid: Pid, buffer: u64, (event, more): (Event, bool), first: bool) {
        let result = self.write_event(pid, buffer, event);
        self.set_result(pid, result.map(|()| more.into()));
        self.make_ready(pid, first);
    }

    /// Ends the `call` of a sleeping process.
    pub(crate) fn finish_call(&mut self, caller: Pid, result: Result<u64>) {
        if let Some(process) = self.get_mut(caller) {
            process.outgoing = None;
        }
        self.set_result(caller, result);
        self.make_ready(caller, false);
    }

    fn set_result(&mut self, pid: Pid, result: Result<u64>) {
        if let Some(process) = self.get_mut(pid) {
            process.registers.rax = error::to_register(result);
        }
    }

    /// The sleeping caller of a call that `server` has received.
    fn caller_of(&self, server: Pid, token: u64) -> Result<Pid> {
        self.received_call(server, token).map(|(caller, _)| caller)
    }

    fn received_call(&self, server: Pid, token: u64) -> Result<(Pid, &Outgoing)> {
        let caller = self.get(Pid((token >> 32) as u32)).ok_or(Error::PeerDied)?;
        let outgoing = match (&caller.state, &caller.outgoing) {
            (State::Ended(_), _) => return Err(Error::PeerDied),
            (
                State::Calling {
                    server: called,
                    received: true,
                    ..
                },
                Some(outgoing),
            ) if *called == server && outgoing.token == token => outgoing,
            _ => return Err(Error::BadHandle),
        };
        Ok((caller.pid, outgoing))
    }

    fn space(&self, pid: Pid) -> Result<&M::Space> {
        let process = self.get(pid).ok_or(Error::NotFound)?;
        process.space.as_ref().ok_or(Error::PeerDied)
    }
}

#[cfg(test)]
mod tests;
