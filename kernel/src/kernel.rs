//! The kernel's state, behind one accessor, and what happens on each trap.

use crate::arch::frame::{self, FIRST_INTERRUPT, Frame, TrapReturn};
use crate::arch::messages::Messages;
use crate::arch::pic::{self, Pic};
use crate::arch::timer::{self, Timer};
use crate::arch::{cpu, gdt, iommu, space};
use crate::dma::Arena;
use crate::faults;
use crate::user_memory::UserMemory;
use abi::account::{Account, Holder, Stage};
use abi::ipc::{Exit, Pid};
use kernel::account::{self, Accounts, Counter};
use kernel::clock::{MILLISECOND_NS, QUANTUM_MS, SECOND_NS};
use kernel::endpoint::Cards;
use kernel::idle::{ARM_NS, HaltPoll, LastPoll};
use kernel::process::Table;
use kernel::ramdisk::Ramdisk;
use kernel::random::Random;
use spin::Mutex;

/// The kernel's state. There is one processor, and interrupts are off in the kernel, so nobody ever waits
/// for this lock: a second attempt to take it is a bug, which is found at once.
static KERNEL: Mutex<Option<Kernel>> = Mutex::new(None);

/// Vectors of the exceptions that may strike the kernel itself without being its fault.
const DEBUG: u64 = 1;
const NON_MASKABLE: u64 = 2;
const FIRST_IRQ: u64 = pic::FIRST_VECTOR as u64;
const LAST_IRQ: u64 = FIRST_IRQ + 15;
const DEADLINE: u64 = timer::DEADLINE_VECTOR as u64;

/// The kernel's state.
pub struct Kernel {
    /// Processes, and messages between them.
    pub table: Table<UserMemory>,
    /// The cards, and their endpoints.
    pub cards: Cards<Arena>,
    /// The files.
    pub ramdisk: Ramdisk<'static>,
    /// The clocks.
    pub timer: Timer,
    /// The interrupt lines.
    pub pic: Pic,
    /// When the cards are to be looked after next.
    pub next_tick: u64,
    /// How long to poll before halting.
    pub halt_poll: HaltPoll,
    /// When the cards were last polled.
    pub last_poll: LastPoll,
    /// What [`abi::Syscall::Random`] gives.
    pub random: Random,
    /// Every program is always at the same places (`layout=fixed`).
    pub fixed_layout: bool,
    /// Where the processor's time goes.
    pub accounts: Accounts<Tsc>,
}

/// The time-stamp counter.
pub struct Tsc;

impl Counter for Tsc {
    fn now() -> u64 {
        cpu::timestamp()
    }
}

/// What a system call leaves to be done.
pub enum Outcome {
    /// The caller goes on with this in `rax`.
    Return(abi::Result<u64>),
    /// The caller goes on with this in `rax`, unless the call has woken a process that is more urgent.
    Reschedule(abi::Result<u64>),
    /// The caller goes on after the others.
    Yield,
    /// The caller sleeps; its result comes later.
    Sleep,
    /// The caller is gone.
    Ended,
}

/// Puts the kernel in place, once, at the end of the boot.
pub fn install(kernel: Kernel) {
    *KERNEL.lock() = Some(kernel);
}

/// Handles one trap. Leaves in `frame` the process that runs next; returns how the frame is left.
pub fn trap(frame: &mut Frame) -> TrapReturn {
    let vector = frame.registers.vector;
    if vector == NON_MASKABLE {
        // An NMI can come at any time. One that comes in the middle of the kernel is lost.
        if let Some(Some(kernel)) = KERNEL.try_lock().as_deref_mut() {
            kernel.report();
        }
        return TrapReturn::Interrupted;
    }
    if vector < FIRST_INTERRUPT && !frame.is_user() {
        // A program can delay a debug exception into the kernel's first instruction
        // (MOV SS; Intel SDM vol. 3, §6.8.3).
        if vector == DEBUG {
            return TrapReturn::Interrupted;
        }
        faults::kernel_fault(frame);
    }
    let mut kernel = KERNEL.try_lock().expect("the kernel was entered twice");
    let kernel = kernel.as_mut().expect("the kernel is installed");
    let stage = stage(vector, frame.registers.rax);
    kernel
        .accounts
        .begin(stage, vector < FIRST_INTERRUPT || vector == frame::SYSCALL);
    kernel.table.set_now(kernel.accounts.since());
    let way = kernel.handle(vector, frame);
    kernel.accounts.end(kernel.table.current());
    way
}

/// What the kernel is entered for.
fn stage(vector: u64, number: u64) -> Stage {
    match vector {
        frame::SYSCALL => account::stage_of(number),
        frame::START => Stage::Call,
        ..FIRST_INTERRUPT => Stage::Fault,
        DEADLINE => Stage::Deadline,
        _ => Stage::Device,
    }
}

impl Kernel {
    /// Handles a trap; see [`trap`].
    fn handle(&mut self, vector: u64, frame: &mut Frame) -> TrapReturn {
        match vector {
            frame::SYSCALL => match self.syscall(&frame.registers) {
                Outcome::Return(result) => {
                    frame.registers.rax = abi::error::to_register(result);
                    TrapReturn::Returning
                }
                Outcome::Reschedule(result) => {
                    frame.registers.rax = abi::error::to_register(result);
                    self.resume(frame, false)
                }
                Outcome::Yield => {
                    frame.registers.rax = 0;
                    self.resume(frame, true)
                }
                Outcome::Sleep | Outcome::Ended => self.resume(frame, false),
            },
            frame::START => self.resume(frame, false),
            FIRST_INTERRUPT.. => {
                let rotate = self.interrupt(vector);
                self.resume(frame, rotate)
            }
            _ => {
                self.fault(frame);
                self.resume(frame, false)
            }
        }
    }

    /// Handles an interrupt; returns whether another process of the same urgency should have the processor.
    fn interrupt(&mut self, vector: u64) -> bool {
        self.random.happened(self.accounts.since());
        match vector {
            FIRST_IRQ..=LAST_IRQ => {
                let irq = (vector - FIRST_IRQ) as u8;
                if self.pic.is_spurious(irq) {
                    return false;
                }
                let woke = self.cards.interrupt(irq, &mut self.table);
                if self.cards.is_stuck(irq) {
                    self.pic.set_enabled(irq, false);
                }
                self.pic.end_of_interrupt(irq);
                woke
            }
            _ if Messages::is_message(vector) => {
                let woke = self.cards.message(vector as u8, &mut self.table);
                self.timer.end_of_interrupt();
                woke
            }
            DEADLINE => {
                self.timer.on_deadline();
                self.on_deadline();
                true
            }
            _ => false,
        }
    }

    /// The timer has fired: for a sleeping process, for the program that runs, or for the cards.
    #[inline(never)]
    fn on_deadline(&mut self) {
        let now = self.timer.now();
        if now >= self.next_tick {
            let before = self.accounts.enter(Stage::Tick);
            self.next_tick = now + SECOND_NS;
            iommu::faults(&mut |fault| self.cards.dma_stopped(fault.function, &mut self.table));
            let pic = &mut self.pic;
            self.cards
                .tick(&mut self.table, |irq| pic.set_enabled(irq, true));
            self.accounts.back(before);
        }
        if self.cards.is_unarmed() {
            if self.last_poll.is_recent(now) {
                self.timer.arm(now + ARM_NS, now);
            } else {
                self.cards.arm(&mut self.table);
            }
        }
        self.table.expire(now);
        let next = self.table.next_deadline().min(self.next_tick);
        self.timer.arm(next, now);
    }

    /// Ends the program whose exception this is.
    #[cold]
    fn fault(&mut self, frame: &Frame) {
        let Some(pid) = self.table.current() else {
            faults::kernel_fault(frame);
        };
        faults::report(&self.table, &self.ramdisk, pid, &frame.registers);
        self.end(pid, Exit::Fault(frame.registers.vector as u8));
    }

    /// Ends a process: its endpoints are free for other processes, and its callers are told.
    #[cold]
    pub fn end(&mut self, pid: Pid, exit: Exit) {
        self.cards.release(pid, &mut self.table);
        if let Err(error) = self.table.end(pid, exit) {
            log::warn!("process {pid} could not be ended: {error}");
        }
    }

    /// The account, line by line.
    pub fn account(&self) -> impl Iterator<Item = Account> {
        let stages = Stage::ALL
            .into_iter()
            .map(|stage| self.accounts.stage(stage));
        let processes = self.table.living();
        stages.chain(processes.map(|process| self.accounts.process(process.pid, process.name)))
    }

    /// Tells the console where time goes: the machine's NMI asks for it.
    #[cold]
    fn report(&mut self) {
        self.accounts.begin(Stage::Report, false);
        let current = self.table.current();
        match current.and_then(|pid| self.table.get(pid)) {
            Some(process) => log::info!("nmi: {} runs", process.name),
            None => log::info!("nmi: idle"),
        }
        for line in self.account() {
            let kind = match line.holder {
                Holder::Stage(_) => "stage",
                Holder::Process(_) => "process",
            };
            let Account {
                user,
                kernel,
                count,
                ..
            } = line;
            log::info!("nmi: {kind} {} {user} {kernel} {count}", line.name);
        }
        log::info!("nmi: end");
        self.accounts.end(current);
    }

    /// No process is ready: polls the cards for a while, which do not interrupt meanwhile. Returns whether
    /// that woke a process; if not, the cards are armed, so that they interrupt.
    ///
    /// Other interrupts wait meanwhile, but not past a deadline. To poll is cheaper than an
    /// interrupt: an emulator raises one under its own lock, for which the processor has to sleep.
    fn poll(&mut self) -> bool {
        let mut now = self.timer.now();
        let until = self.halt_poll.begin(now).min(self.timer.armed());
        let mut woke = false;
        if now < until && self.cards.silence(&mut self.table) {
            let before = self.accounts.enter(Stage::Idle);
            while !woke && now < until {
                woke = self.cards.poll(&mut self.table);
                now = self.timer.now();
            }
            self.accounts.back_from_idle(before);
            self.last_poll.polled(now);
        }
        if !woke && self.cards.is_unarmed() {
            self.cards.arm(&mut self.table);
            woke = self.table.has_ready();
            if !woke && self.cards.is_unarmed() {
                // Frames come all the time for processes that do not wait for them: the cards are armed later.
                self.timer.arm(now + ARM_NS, now);
            }
        }
        woke
    }

    /// Chooses the process that runs next and leaves it in the frame.
    fn resume(&mut self, frame: &mut Frame, rotate: bool) -> TrapReturn {
        let before = self.table.current();
        let mut next = self.table.schedule(rotate);
        let goes_on = next.is_some() && next == before;
        if !goes_on {
            // The result of a sleeping process's call is put into `rax` later, never before this.
            self.keep(before, frame);
        }
        let mut paused = before.is_none();
        if next.is_none() {
            paused = true;
            if self.poll() {
                self.table.set_now(cpu::timestamp());
                next = self.table.schedule(false);
            }
        }
        if next.is_some() && self.table.has_others_ready() {
            let now = self.timer.now();
            let slice = self.table.slice_ms(QUANTUM_MS) * MILLISECOND_NS;
            self.timer.arm(now + slice, now);
        }
        if next.is_some() && self.cards.is_unarmed() {
            self.arm_for(next);
        }
        if goes_on {
            return match frame.registers.vector {
                frame::SYSCALL => TrapReturn::Returning,
                _ => TrapReturn::Interrupted,
            };
        }
        self.accounts.enter(Stage::Switch);
        let Some(process) = next.and_then(|pid| self.table.get(pid)) else {
            let until = self.halt_poll.begin(self.timer.now());
            frame.set_idle(self.timer.count_at(until));
            return TrapReturn::Idle;
        };
        if paused {
            self.halt_poll.end(self.timer.now());
        }
        if let Some(space) = &process.space {
            space::enter(space);
            gdt::clear_data_segments();
        }
        frame.registers = process.registers;
        match process.vectors.state() {
            Ok(state) => {
                frame.fpu = *state;
                TrapReturn::Interrupted
            }
            Err(words) => {
                frame.fpu.set_control_words(words);
                TrapReturn::Woken
            }
        }
    }

    /// Sees to it that the cards are armed in time for a sleeping process, while another one runs.
    fn arm_for(&mut self, next: Option<Pid>) {
        let process = next.and_then(|pid| self.table.get(pid));
        if process.is_some_and(|process| process.vectors.state().is_ok()) {
            // It was interrupted before, so it computes, and may go on for long.
            self.cards.arm(&mut self.table);
        } else {
            let now = self.timer.now();
            let due = self.timer.armed();
            if self.last_poll.can_put_off(due, now) && !self.table.has_others_ready() {
                let others = self.table.next_deadline().min(self.next_tick);
                self.timer.put_off(others.min(now + ARM_NS), now);
            } else {
                self.timer.arm(now + ARM_NS, now);
            }
        }
    }

    /// Keeps the registers of the process that ran until now, if there is one.
    fn keep(&mut self, pid: Option<Pid>, frame: &Frame) {
        if let Some(process) = pid.and_then(|pid| self.table.get_mut(pid)) {
            process.registers = frame.registers;
            match frame.registers.vector {
                frame::SYSCALL => process.vectors.clear(frame.fpu.control_words()),
                _ => process.vectors.keep(&frame.fpu),
            }
        }
    }
}
