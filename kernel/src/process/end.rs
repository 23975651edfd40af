//! What happens when a process ends.

use super::{Machine, State, Table, slots_of};
use crate::limits::PROCESS_MAX;
use abi::ipc::{Exit, Pid};
use abi::{Error, Result};

impl<M: Machine> Table<M> {
    /// Ends a process: answers its callers, withdraws its calls, tells its watchers, frees
    /// its memory, and gives its limits back. Its endpoints must have been taken from it before.
    ///
    /// # Errors
    /// [`Error::PeerDied`] if it has ended before, [`Error::NotFound`] if there never was such a process.
    pub fn end(&mut self, pid: Pid, exit: Exit) -> Result<()> {
        self.alive(pid)?;
        let process = self.get_mut(pid).ok_or(Error::NotFound)?;
        let state = core::mem::replace(&mut process.state, State::Ended(exit));
        process.space = None;
        process.outgoing = None;
        process.watching = 0;
        process.callers.clear();
        process.deaths.clear();
        process.endpoints.clear();
        process.sockets = Default::default();
        let owed = core::mem::take(&mut process.ended_children);
        if let State::Calling {
            server,
            received: false,
            ..
        } = state
        {
            self.withdraw_call(pid, server);
        }
        self.scheduler.remove(pid);
        self.services.retain(|(_, owner)| *owner != pid);
        self.fail_callers_of(pid);
        self.forget_notifications_of(pid);
        self.forget_charges_of(pid);
        self.adopt_children_of(pid);
        self.quotas.end(pid.slot());
        for slot in 0..PROCESS_MAX {
            // Its limits went back to a process that only the quotas know.
            self.limit_memory(slot);
        }
        for slot in slots_of(owed) {
            self.forget_if_told(slot);
        }
        self.tell_watchers_of(pid, exit);
        self.forget_if_told(pid.slot());
        Ok(())
    }

    /// Every call to `server`, received or not, ends with [`Error::PeerDied`].
    fn fail_callers_of(&mut self, server: Pid) {
        for slot in 0..PROCESS_MAX {
            let Some(process) = &self.slots[slot] else {
                continue;
            };
            let caller = process.pid;
            if matches!(process.state, State::Calling { server: s, .. } if s == server) {
                self.finish_call(caller, Err(Error::PeerDied));
            }
        }
    }

    /// Forgets that the process has notified others, and that others have notified it.
    fn forget_notifications_of(&mut self, dead: Pid) {
        for process in self.slots.iter_mut().flatten() {
            process.notified_by &= match process.pid == dead {
                true => 0,
                false => !(1 << dead.slot()),
            };
        }
    }

    /// Children of a process that ended become children of the first process, so that
    /// somebody hears of their end.
    fn adopt_children_of(&mut self, dead: Pid) {
        let heir = self.slots[0].as_ref().map(|process| process.pid);
        let heir = heir.filter(|heir| *heir != dead);
        let mut adopted = 0;
        for process in self.slots.iter_mut().flatten() {
            if process.parent == Some(dead) {
                process.parent = heir;
                adopted |= 1 << process.pid.slot();
            }
        }
        if let Some(heir) = heir.and_then(|heir| self.get_mut(heir)) {
            // It is told of their ends as of its own children's, without watching them.
            heir.watching &= !adopted;
        }
    }

    /// Tells the parent, for which the slot is kept, and the watchers.
    fn tell_watchers_of(&mut self, dead: Pid, exit: Exit) {
        let bit = 1 << dead.slot();
        let parent = self.get(dead).and_then(|process| process.parent);
        let parent = parent.filter(|parent| self.alive(*parent).is_ok());
        if let Some(parent) = parent.and_then(|parent| self.get_mut(parent)) {
            parent.ended_children |= bit;
        }
        let mut told: u64 = parent.map_or(0, |parent| 1 << parent.slot());
        for watcher in self.slots.iter_mut().flatten() {
            if watcher.watching & bit != 0 {
                watcher.watching &= !bit;
                watcher.deaths.push_back((dead, exit));
                told |= 1 << watcher.pid.slot();
            }
        }
        for slot in slots_of(told) {
            if let Some(watcher) = self.slots[slot].as_ref().map(|process| process.pid) {
                self.deliver(watcher, false);
            }
        }
    }

    /// Frees the slot of an ended process once its parent has been told of it.
    pub(crate) fn forget_if_told(&mut self, slot: usize) {
        let ended = matches!(&self.slots[slot], Some(p) if p.space.is_none());
        let mut others = self.slots.iter().flatten();
        if ended && !others.any(|process| process.ended_children >> slot & 1 == 1) {
            self.slots[slot] = None;
            self.quotas.forget(slot);
            // 24 bits of generation: a number comes back after 16 million processes.
            self.generations[slot] = (self.generations[slot] + 1) & 0xff_ffff;
        }
    }
}
