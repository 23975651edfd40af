//! Processes: the table, their states, who runs next, and what happens when one ends.
//!
//! The table is generic over [`Machine`], the seam to page tables: the ring 0 shell has
//! the real one, the tests a vector of bytes.

use crate::space::Piece;
use abi::ipc::{Exit, LEASES_MAX, Lease, MESSAGE_MAX, Pid};
use abi::layout::Places;
use abi::{Error, Result};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use heapless::Deque;

/// The most processes at a time. A bit mask of slots fits a word.
pub const PROCESS_MAX: usize = 64;

/// The memory of processes, as the table needs it.
pub trait Machine {
    /// An address space. Dropping it frees its memory.
    type Space;

    /// A space without memory.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    fn new_space(&self) -> Result<Self::Space>;

    /// Adds memory to a space, all or nothing, and leaves `spare` frames to others.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::InvalidArgument`] if there is some already.
    fn add_memory(&self, space: &mut Self::Space, piece: &Piece, spare: u64) -> Result<()>;

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
}

/// The general registers and the interrupt frame, in the order the trap entry pushes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are the processor's")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// The x87 and SSE state, as `fxsave64` writes it (Intel SDM vol. 1, §10.5.1).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct FpuState(pub [u8; 512]);

impl FpuState {
    /// All data registers clear, and the control words of a new process.
    pub const CLEAR: Self = {
        let words = ControlWords::NEW;
        let mut area = [0; 512];
        [area[0], area[1]] = words.x87.to_le_bytes();
        [area[24], area[25], area[26], area[27]] = words.mxcsr.to_le_bytes();
        FpuState(area)
    };

    /// The control words in it.
    pub fn control_words(&self) -> ControlWords {
        let area = &self.0;
        ControlWords {
            x87: u16::from_le_bytes([area[0], area[1]]),
            mxcsr: u32::from_le_bytes([area[24], area[25], area[26], area[27]]),
        }
    }

    /// Changes the control words in it.
    pub fn set_control_words(&mut self, words: ControlWords) {
        self.0[0..2].copy_from_slice(&words.x87.to_le_bytes());
        self.0[24..28].copy_from_slice(&words.mxcsr.to_le_bytes());
    }
}

/// What of the vector state a system call keeps (abi::syscall).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlWords {
    /// The x87 control word.
    pub x87: u16,
    /// MXCSR.
    pub mxcsr: u32,
}

impl ControlWords {
    /// All exceptions masked, round to nearest, as the psABI asks of a new process.
    pub const NEW: Self = ControlWords {
        x87: 0x037f,
        mxcsr: 0x1f80,
    };
}

/// The vector state of a process that does not run.
///
/// Most sleep in a system call, which keeps the control words only: a switch from one such
/// process to the next copies nothing.
pub struct Vectors {
    area: FpuState,
    words: ControlWords,
    is_kept: bool,
}

impl Vectors {
    /// That of a new process: as if interrupted before its first instruction, since it is to
    /// find all its general registers, too.
    fn new() -> Self {
        Vectors {
            area: FpuState::CLEAR,
            words: ControlWords::NEW,
            is_kept: true,
        }
    }

    /// The process was interrupted.
    pub fn keep(&mut self, state: &FpuState) {
        self.area = *state;
        self.is_kept = true;
    }

    /// The process is in a system call.
    pub fn clear(&mut self, words: ControlWords) {
        self.words = words;
        self.is_kept = false;
    }

    /// What it goes on with: all of it, or clear data registers and these control words.
    pub fn state(&self) -> core::result::Result<&FpuState, ControlWords> {
        match self.is_kept {
            true => Ok(&self.area),
            false => Err(self.words),
        }
    }
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
    /// Its number.
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
    /// So is what its children print: see [`abi::Syscall::MuteChildren`].
    pub mutes_children: bool,
    /// What it is doing.
    pub state: State,
    pub(crate) parent: Option<Pid>,
    pub(crate) outgoing: Option<Outgoing>,
    pub(crate) calls_made: u32,
    /// Processes whose calls wait to be received, in order. Each is in one such queue at the most.
    pub(crate) callers: Deque<Pid, PROCESS_MAX>,
    pub(crate) notifications: u32,
    pub(crate) prefer_message: bool,
    /// Slots whose end it wants to hear of.
    pub(crate) watching: u64,
    /// Slots that have ended and that it has not been told of yet.
    pub(crate) deaths: u64,
}

impl<S> Process<S> {
    /// Whether it is in `wait`.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }
}

/// All processes, and who wants the processor.
pub struct Table<M: Machine> {
    pub(crate) machine: M,
    pub(crate) slots: Vec<Option<Process<M::Space>>>,
    generations: Vec<u32>,
    ready: VecDeque<Pid>,
    current: Option<Pid>,
    services: Vec<(String, Pid)>,
}

impl<M: Machine> Table<M> {
    /// An empty table.
    pub fn new(machine: M) -> Self {
        Table {
            machine,
            slots: (0..PROCESS_MAX).map(|_| None).collect(),
            generations: alloc::vec![0; PROCESS_MAX],
            ready: VecDeque::with_capacity(PROCESS_MAX),
            current: None,
            services: Vec::with_capacity(PROCESS_MAX),
        }
    }

    /// The memory seam.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Adds a process that is ready to run with these registers, and has no heap yet, but a place
    /// for one.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if the table is full; the space is dropped.
    pub fn add(
        &mut self,
        name: &'static str,
        space: M::Space,
        registers: Registers,
        places: Places,
        parent: Option<Pid>,
    ) -> Result<Pid> {
        let slot = self.slots.iter().position(Option::is_none);
        let slot = slot.ok_or(Error::NoMemory)?;
        let pid = Pid::new(slot, self.generations[slot]);
        self.slots[slot] = Some(Process {
            pid,
            name,
            registers,
            vectors: Vectors::new(),
            space: Some(space),
            places,
            heap_end: places.heap,
            is_mute: false,
            mutes_children: false,
            state: State::Ready,
            parent,
            outgoing: None,
            calls_made: 0,
            callers: Deque::new(),
            notifications: 0,
            prefer_message: false,
            watching: 0,
            deaths: 0,
        });
        if let Some(parent) = parent.and_then(|parent| self.get_mut(parent)) {
            parent.watching |= 1 << slot;
        }
        self.ready.push_back(pid);
        Ok(pid)
    }

    /// A process that has not been forgotten.
    pub fn get(&self, pid: Pid) -> Option<&Process<M::Space>> {
        let process = self.slots.get(pid.slot())?.as_ref()?;
        (process.pid == pid).then_some(process)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, pid: Pid) -> Option<&mut Process<M::Space>> {
        let process = self.slots.get_mut(pid.slot())?.as_mut()?;
        (process.pid == pid).then_some(process)
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
        self.current
    }

    /// The processes that have not ended.
    pub fn living(&self) -> impl Iterator<Item = &Process<M::Space>> {
        let processes = self.slots.iter().flatten();
        processes.filter(|process| process.space.is_some())
    }

    /// How many they are.
    pub fn alive_count(&self) -> usize {
        self.living().count()
    }

    /// Chooses who runs next. The one that has the processor keeps it if it is ready and
    /// `rotate` is false or nobody else wants it.
    pub fn schedule(&mut self, rotate: bool) -> Option<Pid> {
        if let Some(current) = self.current {
            let ready = self.get(current).is_some_and(|p| p.state == State::Ready);
            if ready && (!rotate || self.ready.is_empty()) {
                return Some(current);
            }
            if ready {
                self.ready.push_back(current);
            }
        }
        self.current = self.ready.pop_front();
        self.current
    }

    /// Whether somebody wants the processor, or goes on with it.
    pub fn has_ready(&self) -> bool {
        let current = self.current.and_then(|current| self.get(current));
        !self.ready.is_empty() || current.is_some_and(|process| process.state == State::Ready)
    }

    /// Whether processes wait for the processor.
    pub fn has_others_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Makes a process ready that was not. With `first`, before all others: it was woken
    /// by a device, which does not wait.
    pub(crate) fn make_ready(&mut self, pid: Pid, first: bool) {
        let running = self.current == Some(pid);
        if let Some(process) = self.get_mut(pid) {
            process.state = State::Ready;
            match (running, first) {
                (true, _) => {}
                (false, true) => self.ready.push_front(pid),
                (false, false) => self.ready.push_back(pid),
            }
        }
    }

    /// Ends a process: answers its callers, withdraws its calls, tells its watchers, frees
    /// its memory. The caller of this has taken its devices away.
    ///
    /// # Errors
    /// As [`Table::alive`].
    pub fn end(&mut self, pid: Pid, exit: Exit) -> Result<()> {
        self.alive(pid)?;
        let process = self.get_mut(pid).ok_or(Error::NotFound)?;
        let state = core::mem::replace(&mut process.state, State::Ended(exit));
        process.space = None;
        process.outgoing = None;
        process.watching = 0;
        process.callers.clear();
        let owed = core::mem::take(&mut process.deaths);
        if let State::Calling {
            server,
            received: false,
        } = state
            && let Some(server) = self.get_mut(server)
        {
            server.callers.retain(|&caller| caller != pid);
        }
        self.ready.retain(|&other| other != pid);
        self.services.retain(|(_, owner)| *owner != pid);
        self.fail_callers_of(pid);
        self.adopt_children_of(pid);
        for slot in slots_of(owed) {
            self.forget_if_told(slot);
        }
        self.tell_watchers_of(pid);
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

    /// Children of a process that ended become children of the first process, so that
    /// somebody hears of their end.
    fn adopt_children_of(&mut self, dead: Pid) {
        let heir = self.slots[0].as_ref().map(|process| process.pid);
        let heir = heir.filter(|heir| *heir != dead);
        let mut adopted = 0;
        for process in self.slots.iter_mut().flatten() {
            if process.parent == Some(dead) {
                process.parent = heir;
                if process.space.is_some() {
                    adopted |= 1 << process.pid.slot();
                }
            }
        }
        if let Some(heir) = heir.and_then(|heir| self.get_mut(heir)) {
            heir.watching |= adopted;
        }
    }

    /// All are marked before the first is told: the slot is free once nobody is marked.
    fn tell_watchers_of(&mut self, dead: Pid) {
        let bit = 1 << dead.slot();
        let mut told = 0;
        for watcher in self.slots.iter_mut().flatten() {
            if watcher.watching & bit != 0 {
                watcher.watching &= !bit;
                watcher.deaths |= bit;
                told |= 1 << watcher.pid.slot();
            }
        }
        for slot in slots_of(told) {
            if let Some(watcher) = self.slots[slot].as_ref().map(|process| process.pid) {
                self.deliver(watcher, false);
            }
        }
    }

    /// Frees the slot of an ended process once nobody has to be told of it any more.
    pub(crate) fn forget_if_told(&mut self, slot: usize) {
        let ended = matches!(&self.slots[slot], Some(p) if p.space.is_none());
        let mut others = self.slots.iter().flatten();
        if ended && !others.any(|process| process.deaths >> slot & 1 == 1) {
            self.slots[slot] = None;
            // 24 bits of generation: a number comes back after 16 million processes.
            self.generations[slot] = (self.generations[slot] + 1) & 0xff_ffff;
            if self.current.is_some_and(|pid| pid.slot() == slot) {
                self.current = None;
            }
        }
    }

    /// Makes a process findable by name.
    ///
    /// # Errors
    /// [`Error::Busy`] if a living process has that name; [`Error::NoMemory`].
    pub fn register(&mut self, pid: Pid, name: &str) -> Result<()> {
        match self.lookup(name) {
            Ok(owner) if owner != pid => Err(Error::Busy),
            Ok(_) => Ok(()),
            Err(_) if self.services.len() >= PROCESS_MAX => Err(Error::NoMemory),
            Err(_) => {
                let mut owned = String::new();
                let reserved = owned.try_reserve_exact(name.len());
                reserved.map_err(|_| Error::NoMemory)?;
                owned.push_str(name);
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

    /// Has `watcher` told when `pid` ends.
    ///
    /// # Errors
    /// As [`Table::alive`].
    pub fn watch(&mut self, watcher: Pid, pid: Pid) -> Result<()> {
        self.alive(pid)?;
        let watcher = self.get_mut(watcher).ok_or(Error::NotFound)?;
        watcher.watching |= 1 << pid.slot();
        Ok(())
    }

    /// Whether `child` is a living child of `parent`.
    ///
    /// # Errors
    /// As [`Table::alive`], or [`Error::NotPermitted`].
    pub fn check_child(&self, parent: Pid, child: Pid) -> Result<()> {
        if self.alive(child)?.parent == Some(parent) {
            Ok(())
        } else {
            Err(Error::NotPermitted)
        }
    }

    /// The earliest deadline of those who wait; [`abi::ipc::FOREVER`] if there is none.
    pub fn next_deadline(&self) -> u64 {
        let deadlines = self.slots.iter().flatten().map(|p| match p.state {
            State::Waiting { deadline, .. } => deadline,
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
