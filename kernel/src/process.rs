//! Processes: the table and their states. What happens when a process ends is in `end`, what processes
//! may have is in `quota`.
//!
//! The table is generic over [`Machine`], the seam to page tables: the ring 0 shell has
//! the real one, the tests a vector of bytes.

use crate::limits::{PROCESS_MAX, Quotas, Rights, SERVERS_MAX, owned};
use crate::schedule::{Scheduler, SleepCredit};
use crate::space::{Region, Shown};
use abi::endpoint::ENDPOINTS_MAX;
use abi::ipc::{Exit, LEASES_MAX, Lease, MESSAGE_MAX, Pid};
use abi::limits::Limits;
use abi::{Error, Result};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use heapless::Deque;
use placement::Places;

mod end;
mod endpoints;
mod quota;
mod registers;
mod vectors;

pub use registers::Registers;
pub use vectors::{ControlWords, FpuState, Vectors};

/// The memory of processes, as the table needs it.
pub trait Machine {
    /// An address space. Dropping it frees its memory.
    type Space;

    /// A space without memory.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    fn new_space(&self) -> Result<Self::Space>;

    /// Adds memory to a space, all or nothing.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] over its limit, [`Error::NoMemory`], [`Error::InvalidArgument`] if there is some already.
    fn add_memory(&self, space: &mut Self::Space, region: &Region) -> Result<()>;

    /// Registers of a program that begins at `entry` with its stack at `stack`.
    fn entry_registers(&self, entry: u64, stack: u64) -> Registers;

    /// Copies out of a process's readable memory.
    ///
    /// # Errors
    /// [`Error::BadAddress`], possibly after a part was copied.
    fn read(&self, space: &Self::Space, address: u64, buffer: &mut [u8]) -> Result<()>;

    /// Copies into a process's writable memory.
    ///
    /// # Errors
    /// [`Error::BadAddress`], possibly after a part was copied.
    fn write(&self, space: &Self::Space, address: u64, bytes: &[u8]) -> Result<()>;

    /// Whether [`Machine::write`] of `len` bytes will do.
    ///
    /// # Errors
    /// [`Error::BadAddress`]
    fn can_write(&self, space: &Self::Space, address: u64, len: usize) -> Result<()>;

    /// Copies `len` bytes from one process's memory to another's.
    ///
    /// # Errors
    /// [`Error::BadAddress`] if either side is not accessible that way.
    fn copy(&self, from: (&Self::Space, u64), to: (&Self::Space, u64), len: usize) -> Result<()>;

    /// How many bytes of memory an address space takes.
    fn memory(&self, space: &Self::Space) -> u64;

    /// Limits how many bytes of memory an address space may take.
    fn set_limit(&self, space: &mut Self::Space, bytes: u64);

    /// Shows a process memory that is not its own: see [`crate::space::Space::show`].
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`], [`Error::NoMemory`], [`Error::InvalidArgument`].
    fn show(&self, space: &mut Self::Space, pieces: [Shown; 3]) -> Result<()>;

    /// Counts memory that is no part of an address space, for its process.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] over its limit.
    fn charge(&self, space: &mut Self::Space, bytes: u64) -> Result<()>;
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Wants the processor, or has it.
    Ready,
    /// In `call`: not yet received, or received and not yet answered, by the server.
    Calling {
        /// The server.
        server: Pid,
        /// Whether the server has the message.
        received: bool,
        /// When the caller stops waiting; nanoseconds of the clock, [`abi::ipc::FOREVER`] for
        /// never.
        deadline: u64,
    },
    /// In `wait`.
    Waiting {
        /// What it waits for ([`abi::ipc::wait`]).
        mask: u32,
        /// Nanoseconds of the clock, [`abi::ipc::FOREVER`] for none.
        deadline: u64,
        /// Where the [`abi::ipc::Received`] goes.
        buffer: u64,
    },
    /// Ended; kept until its watchers have been told.
    Ended(Exit),
}

/// A call on its way: kept with the caller until it is answered.
#[derive(Clone, Copy)]
pub struct Outgoing {
    /// Names the call: the caller's pid and a count.
    pub token: u64,
    /// The request.
    pub payload: [u8; MESSAGE_MAX],
    /// Its length.
    pub len: usize,
    /// Where the answer goes, and how much fits.
    pub answer: (u64, u64),
    /// What is lent.
    pub leases: [Lease; LEASES_MAX],
    /// How many of them.
    pub lease_count: usize,
}

/// A process.
pub struct Process<S> {
    /// Its number in the table, with the generation.
    pub pid: Pid,
    /// The program's name, for people.
    pub name: &'static str,
    /// Its registers while it does not run.
    pub registers: Registers,
    /// Its vector registers while it does not run.
    pub vectors: Vectors,
    /// Its memory; `None` once it has ended.
    pub space: Option<S>,
    /// Where its parts are.
    pub places: Places,
    /// End of its heap.
    pub heap_end: u64,
    /// What it prints is dropped: see [`abi::Syscall::Mute`].
    pub is_mute: bool,
    /// What it may do that not every process may.
    pub rights: Rights,
    /// What it is doing.
    pub state: State,
    pub(crate) parent: Option<Pid>,
    pub(crate) outgoing: Option<Outgoing>,
    pub(crate) calls_made: u32,
    /// The callers whose calls it has not received yet, in order. A process is in one such queue at the most.
    pub(crate) callers: Deque<Pid, PROCESS_MAX>,
    pub(crate) notifications: u32,
    /// Slots of the processes whose notifications it has not looked at.
    pub(crate) notified_by: u64,
    pub(crate) prefer_message: bool,
    /// The slots of the processes whose ends it has asked to be told of. Its children are not among them,
    /// since it is told of their ends anyway.
    pub(crate) watching: u64,
    /// Watched processes that have ended and that it has not been told of yet. There is room for
    /// all processes that it watches.
    pub(crate) deaths: VecDeque<(Pid, Exit)>,
    /// Slots of children that have ended and that it has not been told of yet.
    pub(crate) ended_children: u64,
    /// How many sockets it has at each server, as the servers say.
    pub(crate) sockets: [Option<(Pid, u32)>; SERVERS_MAX],
    /// Its endpoints, by their numbers: each is a place in the list of all endpoints.
    pub(crate) endpoints: heapless::Vec<u8, ENDPOINTS_MAX>,
    pub(crate) credit: SleepCredit,
}

impl<S> Process<S> {
    /// Whether it is in `wait`.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }
}

/// A process that is to be started.
pub struct Start<S> {
    /// The program's name, for people.
    pub name: &'static str,
    /// Its memory.
    pub space: S,
    /// Its registers.
    pub registers: Registers,
    /// Where things are in it.
    pub places: Places,
    /// Who starts it; `None` for the kernel, which starts the first.
    pub parent: Option<Pid>,
    /// What it may have, taken from its parent.
    pub limits: Limits,
    /// What it may do.
    pub rights: Rights,
    /// What it prints is dropped.
    pub is_mute: bool,
}

/// All processes, and the scheduler.
pub struct Table<M: Machine> {
    pub(crate) machine: M,
    pub(crate) slots: Vec<Option<Process<M::Space>>>,
    generations: Vec<u32>,
    pub(crate) scheduler: Scheduler,
    pub(crate) quotas: Quotas,
    services: Vec<(String, Pid)>,
}

impl<M: Machine> Table<M> {
    /// An empty table; its clock has `millisecond` counts in a millisecond.
    pub fn new(machine: M, millisecond: u64) -> Self {
        Table {
            machine,
            slots: (0..PROCESS_MAX).map(|_| None).collect(),
            generations: alloc::vec![0; PROCESS_MAX],
            scheduler: Scheduler::new(millisecond),
            quotas: Quotas::default(),
            services: Vec::with_capacity(PROCESS_MAX),
        }
    }

    /// The memory seam.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Adds a process that is ready to run, and has no heap yet, but a place for one.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the table is full, [`Error::QuotaExceeded`] if the parent has not
    /// so much left, [`Error::InvalidArgument`] for limits that leave no room for the process
    /// itself. The space is dropped.
    pub fn add(&mut self, start: Start<M::Space>) -> Result<Pid> {
        let slot = self.slots.iter().position(Option::is_none);
        let slot = slot.ok_or(Error::NoMemory)?;
        let used = start
            .parent
            .map(|parent| (parent.slot(), self.used(parent)));
        let from = used.as_ref().map(|(slot, used)| (*slot, used));
        self.quotas.give(from, start.limits, slot)?;
        let is_server = start.rights.is_server;
        let parent = start.parent.and_then(|parent| self.get_mut(parent));
        let credit = match parent {
            Some(parent) => parent.credit.halve(is_server),
            None => SleepCredit::new(is_server),
        };
        let pid = Pid::new(slot, self.generations[slot]);
        self.scheduler.add(pid, &credit);
        self.slots[slot] = Some(Process {
            pid,
            name: start.name,
            registers: start.registers,
            vectors: Vectors::new(),
            space: Some(start.space),
            places: start.places,
            heap_end: start.places.heap,
            is_mute: start.is_mute,
            rights: start.rights,
            state: State::Ready,
            parent: start.parent,
            outgoing: None,
            calls_made: 0,
            callers: Deque::new(),
            notifications: 0,
            notified_by: 0,
            prefer_message: false,
            watching: 0,
            deaths: VecDeque::new(),
            ended_children: 0,
            sockets: [None; SERVERS_MAX],
            endpoints: heapless::Vec::new(),
            credit,
        });
        self.limit_memory(slot);
        if let Some(parent) = start.parent {
            self.limit_memory(parent.slot());
        }
        Ok(pid)
    }

    /// A process that has not been forgotten.
    pub fn get(&self, pid: Pid) -> Option<&Process<M::Space>> {
        let process = self.slots.get(pid.slot())?.as_ref()?;
        (process.pid == pid).then_some(process)
    }

    /// A process that has not been forgotten, to change.
    pub fn get_mut(&mut self, pid: Pid) -> Option<&mut Process<M::Space>> {
        let process = self.slots.get_mut(pid.slot())?.as_mut()?;
        (process.pid == pid).then_some(process)
    }

    /// The machine, and the address space of a process that has not ended.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    pub(crate) fn space_mut(&mut self, pid: Pid) -> Result<(&M, &mut M::Space)> {
        let Table { machine, slots, .. } = self;
        let slot = slots.get_mut(pid.slot()).and_then(Option::as_mut);
        let process = slot.filter(|process| process.pid == pid);
        let space = process.and_then(|process| process.space.as_mut());
        Ok((machine, space.ok_or(Error::NotFound)?))
    }

    /// A process that has not ended.
    ///
    /// # Errors
    /// [`Error::PeerDied`] if it has, [`Error::NotFound`] if there never was one of that
    /// number.
    pub fn alive(&self, pid: Pid) -> Result<&Process<M::Space>> {
        let process = self.get(pid);
        let known = process.is_some()
            || matches!(self.generations.get(pid.slot()), Some(&now) if pid.generation() < now);
        process
            .filter(|process| process.space.is_some())
            .ok_or(match known {
                true => Error::PeerDied,
                false => Error::NotFound,
            })
    }

    /// The process that has the processor.
    pub fn current(&self) -> Option<Pid> {
        self.scheduler.current()
    }

    /// Sets the table's clock, which stands still until the next such call.
    pub fn set_now(&mut self, now: u64) {
        self.scheduler.set_now(now);
    }

    /// The processes that have not ended.
    pub fn living(&self) -> impl Iterator<Item = &Process<M::Space>> {
        let processes = self.slots.iter().flatten();
        processes.filter(|process| process.space.is_some())
    }

    /// Chooses the process that runs next: see [`Scheduler::choose`].
    pub fn schedule(&mut self, rotate: bool) -> Option<Pid> {
        let current = self.current();
        if let Some(process) = current.and_then(|pid| self.slots[pid.slot()].as_mut()) {
            let goes_on = process.state == State::Ready;
            if goes_on && !self.scheduler.has_ready() {
                return current;
            }
            self.scheduler.stop(&mut process.credit, goes_on);
        }
        self.scheduler.choose(rotate)
    }

    /// Whether any process is ready, the running one included.
    pub fn has_ready(&self) -> bool {
        let current = self.current().and_then(|current| self.get(current));
        self.has_others_ready() || current.is_some_and(|process| process.state == State::Ready)
    }

    /// Whether other processes are ready than the running one.
    pub fn has_others_ready(&self) -> bool {
        self.scheduler.has_ready()
    }

    /// In how many milliseconds to look again whose turn it is: see [`Scheduler::slice_ms`].
    pub fn slice_ms(&self, quantum_ms: u64) -> u64 {
        self.scheduler.slice_ms(quantum_ms)
    }

    /// Makes a process ready that was not. With `first` it comes before all others that are as urgent:
    /// it was woken by a device, which does not wait.
    pub(crate) fn make_ready(&mut self, pid: Pid, first: bool) {
        if let Some(process) = self.slots.get_mut(pid.slot()).and_then(Option::as_mut)
            && process.pid == pid
        {
            process.state = State::Ready;
            self.scheduler.wake(pid, &mut process.credit, first);
        }
    }

    /// Makes a process findable by a name that it has the right to.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without that right, [`Error::Busy`] if a living process has that
    /// name, [`Error::QuotaExceeded`] if it has too many handles,
    /// [`Error::NoMemory`].
    pub fn register(&mut self, pid: Pid, name: &str) -> Result<()> {
        if !self.alive(pid)?.rights.allows_name(name) {
            return Err(Error::NotPermitted);
        }
        match self.lookup(name) {
            Ok(owner) if owner != pid => Err(Error::Busy),
            Ok(_) => Ok(()),
            Err(_) => {
                self.check_handle(pid)?;
                let owned = owned(name)?;
                self.services.try_reserve(1).map_err(|_| Error::NoMemory)?;
                self.services.push((owned, pid));
                Ok(())
            }
        }
    }

    /// The process registered under a name.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    pub fn lookup(&self, name: &str) -> Result<Pid> {
        let mut services = self.services.iter();
        let service = services.find(|(known, _)| known == name);
        service.map(|(_, pid)| *pid).ok_or(Error::NotFound)
    }

    /// Has `watcher` told when `pid` ends. A parent is told anyway.
    ///
    /// # Errors
    /// [`Error::PeerDied`] if `pid` has ended, [`Error::NotFound`] if there never was such a process,
    /// [`Error::QuotaExceeded`] if the watcher has too many handles, [`Error::NoMemory`].
    pub fn watch(&mut self, watcher: Pid, pid: Pid) -> Result<()> {
        let bit = 1 << pid.slot();
        let is_child = self.alive(pid)?.parent == Some(watcher);
        if is_child || self.alive(watcher)?.watching & bit != 0 {
            return Ok(());
        }
        self.check_handle(watcher)?;
        let process = self.get_mut(watcher).ok_or(Error::NotFound)?;
        // Memory is reserved now, so that the death itself needs none.
        let room = process.watching.count_ones() as usize + 1;
        let reserved = process.deaths.try_reserve(room);
        reserved.map_err(|_| Error::NoMemory)?;
        process.watching |= bit;
        Ok(())
    }

    /// Whether `child` is a living child of `parent`.
    ///
    /// # Errors
    /// [`Error::PeerDied`], [`Error::NotFound`], or [`Error::NotPermitted`] if it is somebody else's child.
    pub fn check_child(&self, parent: Pid, child: Pid) -> Result<()> {
        if self.alive(child)?.parent == Some(parent) {
            Ok(())
        } else {
            Err(Error::NotPermitted)
        }
    }

    /// The earliest deadline of all sleeping processes; [`abi::ipc::FOREVER`] if there is none.
    pub fn next_deadline(&self) -> u64 {
        let deadlines = self.slots.iter().flatten().map(|p| match p.state {
            State::Waiting { deadline, .. } | State::Calling { deadline, .. } => deadline,
            _ => abi::ipc::FOREVER,
        });
        deadlines.min().unwrap_or(abi::ipc::FOREVER)
    }
}

/// The positions of the set bits.
pub(crate) fn slots_of(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let slot = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (slot < PROCESS_MAX).then_some(slot)
    })
}
