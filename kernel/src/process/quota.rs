//! What processes have of what they may have, and the questions about it.

use super::{Machine, State, Table};
use crate::limits::Quota;
use abi::ipc::Pid;
use abi::limits::{Activity, Limits, ProcessInfo, Resource};
use abi::wire::Name;
use abi::{Error, Result};

impl<M: Machine> Table<M> {
    /// What a process uses itself.
    pub fn used(&self, pid: Pid) -> Limits {
        let Some(process) = self.get(pid) else {
            return Limits::NONE;
        };
        let memory = process.space.as_ref();
        let memory = memory.map_or(0, |space| self.machine.memory(space));
        let names = self.services.iter().filter(|(_, owner)| *owner == pid);
        let watched = u64::from(process.watching.count_ones()) + process.deaths.len() as u64;
        let sockets = process.sockets.iter().flatten();
        let all = self.slots.iter().flatten();
        let notified = all.filter(|other| other.notified_by >> pid.slot() & 1 == 1);
        Limits::NONE
            .with(Resource::Memory, memory)
            .with(Resource::Processes, 1)
            .with(
                Resource::Handles,
                names.count() as u64 + process.endpoints.len() as u64 + watched,
            )
            .with(
                Resource::Sockets,
                sockets.map(|(_, count)| u64::from(*count)).sum(),
            )
            .with(Resource::Notifications, notified.count() as u64)
    }

    /// What a process may still have, or give.
    pub fn left(&self, pid: Pid) -> Limits {
        let quota = self.quotas.get(pid.slot());
        let own = quota.map_or(Limits::NONE, Quota::own);
        own.minus(&self.used(pid))
    }

    /// Whether `parent` may start a child with these limits and rights.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`], [`Error::NotPermitted`].
    pub fn check_start(
        &self,
        parent: Pid,
        limits: &Limits,
        (names, cards, is_server): (&str, u64, bool),
    ) -> Result<()> {
        let rights = &self.alive(parent)?.rights;
        if !rights.covers(names, cards, is_server) {
            return Err(Error::NotPermitted);
        }
        match self.left(parent).covers(limits) {
            true => Ok(()),
            false => Err(Error::QuotaExceeded),
        }
    }

    /// Whether a process may have one more handle.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`]
    pub(crate) fn check_handle(&self, pid: Pid) -> Result<()> {
        match self.left(pid).get(Resource::Handles) {
            0 => Err(Error::QuotaExceeded),
            _ => Ok(()),
        }
    }

    /// Whether a process may attach a card, all of it or a part.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without the right to it, [`Error::QuotaExceeded`].
    pub fn check_card(&self, pid: Pid, card: u64, is_whole: bool) -> Result<()> {
        match self.alive(pid)?.rights.allows_card(card, is_whole) {
            true => self.check_handle(pid),
            false => Err(Error::NotPermitted),
        }
    }

    /// `server` says how many sockets `client` has at it.
    ///
    /// # Errors
    /// As [`Table::alive`]; [`Error::NotPermitted`] to who is no server,
    /// [`Error::QuotaExceeded`] if the client may not have so many, or not at so many servers.
    pub fn charge(&mut self, server: Pid, client: Pid, count: u64) -> Result<()> {
        if !self.alive(server)?.rights.is_server {
            return Err(Error::NotPermitted);
        }
        let own = |entry: &Option<(Pid, u32)>| entry.is_some_and(|(of, _)| of == server);
        let sockets = &self.alive(client)?.sockets;
        let place = sockets.iter().position(own);
        let place = place.or_else(|| sockets.iter().position(Option::is_none));
        let place = place.ok_or(Error::QuotaExceeded)?;
        let before = sockets[place].map_or(0, |(_, count)| u64::from(count));
        let left = self.left(client).get(Resource::Sockets);
        if count > before.saturating_add(left) {
            return Err(Error::QuotaExceeded);
        }
        let count = u32::try_from(count).map_err(|_| Error::QuotaExceeded)?;
        if let Some(client) = self.get_mut(client) {
            client.sockets[place] = (count > 0).then_some((server, count));
        }
        Ok(())
    }

    /// A server is gone, and with it the sockets at it.
    pub(super) fn forget_charges_of(&mut self, server: Pid) {
        for process in self.slots.iter_mut().flatten() {
            for entry in &mut process.sockets {
                entry.take_if(|(of, _)| *of == server);
            }
        }
    }

    /// A process sets notification bits of another.
    ///
    /// # Errors
    /// As [`Table::notify`]; [`Error::QuotaExceeded`] if too many that it has notified have not
    /// looked.
    pub fn notify_from(&mut self, sender: Pid, pid: Pid, bits: u32) -> Result<()> {
        let bit = 1 << sender.slot();
        let is_new = self.alive(pid)?.notified_by & bit == 0;
        if is_new && self.left(sender).get(Resource::Notifications) == 0 {
            return Err(Error::QuotaExceeded);
        }
        if let Some(process) = self.get_mut(pid) {
            process.notified_by |= bit;
        }
        self.notify(pid, bits, false).map(|_| ())
    }

    /// Tells an address space how large it may be.
    pub(crate) fn limit_memory(&mut self, slot: usize) {
        if let Some(quota) = self.quotas.get(slot)
            && let Some(process) = self.slots[slot].as_mut()
            && let Some(space) = process.space.as_mut()
        {
            let most = quota.own().get(Resource::Memory);
            self.machine.set_limit(space, most);
        }
    }

    /// All processes in words of the ABI. `cpu_ns` says how long one has had the processor.
    pub fn infos(&self, cpu_ns: impl Fn(Pid) -> u64) -> impl Iterator<Item = ProcessInfo> {
        let all = self.slots.iter().flatten();
        all.filter_map(move |process| self.info(process.pid, &cpu_ns))
    }

    /// One of them.
    pub fn info(&self, pid: Pid, cpu_ns: impl Fn(Pid) -> u64) -> Option<ProcessInfo> {
        let process = self.get(pid)?;
        let quota = self.quotas.get(pid.slot())?;
        let activity = match process.state {
            State::Ready if self.current() == Some(pid) => Activity::Running,
            State::Ready => Activity::Ready,
            State::Calling { .. } => Activity::Calling,
            State::Waiting { .. } => Activity::Waiting,
            State::Ended(_) => Activity::Ended,
        };
        Some(ProcessInfo {
            pid,
            parent: process.parent.unwrap_or(pid),
            activity,
            is_server: process.rights.is_server,
            name: Name::new(process.name),
            limits: quota.limit,
            given: quota.given,
            used: self.used(pid),
            cpu_ns: cpu_ns(pid),
        })
    }
}
