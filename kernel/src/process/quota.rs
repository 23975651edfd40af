//! How much of its quota each process uses, and whether it may have more.

use super::{Machine, State, Table};
use crate::limits::{Quota, Rights};
use abi::ipc::Pid;
use abi::limits::{Activity, Grant, Limits, ProcessInfo, Resource};
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

    /// What a process may still use itself, or give to its children.
    pub fn left(&self, pid: Pid) -> Limits {
        let quota = self.quotas.get(pid.slot());
        let own = quota.map_or(Limits::NONE, Quota::own);
        own.minus(&self.used(pid))
    }

    /// The rights of a child that `parent` starts with this grant, if it may.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] if the parent has not such rights, [`Error::QuotaExceeded`] if it has not so
    /// much left, [`Error::NoMemory`].
    pub fn rights_of_child(&self, parent: Pid, grant: &Grant<'_>) -> Result<Rights> {
        let rights = &self.alive(parent)?.rights;
        if !rights.covers(grant) {
            return Err(Error::NotPermitted);
        }
        if !self.left(parent).covers(&grant.limits) {
            return Err(Error::QuotaExceeded);
        }
        rights.granted(grant)
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
    /// [`Error::NotPermitted`] if `server` is no server, [`Error::QuotaExceeded`] if the client may not have
    /// so many, or not at so many servers, [`Error::PeerDied`] and [`Error::NotFound`] if there is no client.
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

    /// A server has ended, and with it the sockets that processes had there.
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
    /// [`Error::PeerDied`], [`Error::NotFound`]; [`Error::QuotaExceeded`] if too many processes that the
    /// sender has notified have not looked at their notifications.
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

    /// Limits the address space of the process in a slot to what its quota says.
    pub(crate) fn limit_memory(&mut self, slot: usize) {
        if let Some(quota) = self.quotas.get(slot)
            && let Some(process) = self.slots[slot].as_mut()
            && let Some(space) = process.space.as_mut()
        {
            let most = quota.own().get(Resource::Memory);
            self.machine.set_limit(space, most);
        }
    }

    /// A description of each process. `cpu_ns` says how long a process has had the processor.
    pub fn infos(&self, cpu_ns: impl Fn(Pid) -> u64) -> impl Iterator<Item = ProcessInfo> {
        let all = self.slots.iter().flatten();
        all.filter_map(move |process| self.info(process.pid, &cpu_ns))
    }

    /// A description of one process.
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
