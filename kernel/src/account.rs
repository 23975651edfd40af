//! The account of the processor's time: a stopwatch that always runs, for one stage and one payer.
//!
//! ```text
//!           begin(Message)  enter(Switch)      end(netd)        begin(Device)
//!   program ......|..............|.................|..................|.....
//!   echosrv: user | kernel of echosrv              | netd: user       | no process
//!   stage:   User |   Message    |    Switch       |     User         | Device
//! ```
//!
//! It is stopped at each entry into the kernel and at each exit, and between the two
//! wherever [`Accounts::enter`] is called, each time with one look at the time-stamp
//! counter. See [`abi::account`] for what the numbers mean.

use crate::limits::PROCESS_MAX;
use abi::account::{Account, Holder, Stage};
use abi::wire::Name;
use abi::{Pid, Syscall};
use core::marker::PhantomData;

/// The stage that serves the system call of this number.
pub fn stage_of(number: u64) -> Stage {
    match Syscall::from_number(number) {
        Some(Syscall::Call | Syscall::Reply | Syscall::Wait | Syscall::Notify) => Stage::Message,
        Some(Syscall::LeaseRead | Syscall::LeaseWrite) => Stage::Lease,
        Some(Syscall::NicSend | Syscall::NicFlush) => Stage::Send,
        Some(Syscall::NicReceive | Syscall::NicExchange) => Stage::Receive,
        _ => Stage::Call,
    }
}

/// A counter that runs for ever: the time-stamp counter, or a test's.
pub trait Counter {
    /// How it stands.
    fn now() -> u64;
}

/// The cycles of a stage, and how often it was entered.
#[derive(Clone, Copy, Default)]
struct Sum {
    cycles: u64,
    count: u64,
}

/// The cycles of one process.
#[derive(Clone, Copy)]
struct Usage {
    pid: Pid,
    user: u64,
    kernel: u64,
    traps: u64,
}

impl Usage {
    /// Nothing, of a process that there never is.
    const NONE: Self = Usage {
        pid: Pid(u32::MAX),
        user: 0,
        kernel: 0,
        traps: 0,
    };
}

/// How long each stage of the kernel's work and each process had the processor.
pub struct Accounts<C: Counter> {
    stages: [Sum; Stage::COUNT],
    /// By slot of the process table; a new process in a slot starts from nothing.
    usages: [Usage; PROCESS_MAX],
    /// The present stage, and since when.
    stage: Stage,
    since: u64,
    /// When the kernel was entered, and whether for the program whose turn it is.
    entered: u64,
    own: bool,
    /// The process that runs. Its cycles are added to its usage when another process runs: so most traps,
    /// after which the same process goes on, cost a few additions.
    payer: Option<Pid>,
    user_before: u64,
    kernel: u64,
    traps: u64,
    counter: PhantomData<C>,
}

impl<C: Counter> Accounts<C> {
    /// An account that begins now, with the kernel at work.
    #[expect(clippy::new_without_default, reason = "that begins a measurement")]
    pub fn new() -> Self {
        let now = C::now();
        Accounts {
            stages: [Sum::default(); Stage::COUNT],
            usages: [Usage::NONE; PROCESS_MAX],
            stage: Stage::Call,
            since: now,
            entered: now,
            own: false,
            payer: None,
            user_before: 0,
            kernel: 0,
            traps: 0,
            counter: PhantomData,
        }
    }

    /// The kernel is entered, for `stage`. With `own`, its cycles are charged to the process that ran;
    /// without, as for an interrupt, to no process.
    pub fn begin(&mut self, stage: Stage, own: bool) {
        self.enter(stage);
        self.entered = self.since;
        self.own = own;
        self.traps += 1;
    }

    /// When the last stage began: the counter, without another look at it.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The kernel goes over to another stage. Returns the one before, for [`Accounts::back`].
    pub fn enter(&mut self, stage: Stage) -> Stage {
        self.stages[stage as usize].count += 1;
        self.back(stage)
    }

    /// The kernel goes back to a stage that was entered before.
    pub fn back(&mut self, stage: Stage) -> Stage {
        let now = C::now();
        let before = core::mem::replace(&mut self.stage, stage);
        self.stages[before as usize].cycles += now.wrapping_sub(self.since);
        self.since = now;
        before
    }

    /// The kernel goes back to a stage from [`Stage::Idle`], whose cycles are charged to no process.
    pub fn back_from_idle(&mut self, stage: Stage) {
        let began = self.since;
        self.back(stage);
        self.entered = self.entered.wrapping_add(self.since.wrapping_sub(began));
    }

    /// The kernel is left to a process, or to idleness.
    pub fn end(&mut self, next: Option<Pid>) {
        self.enter(match next {
            Some(_) => Stage::User,
            None => Stage::Idle,
        });
        if self.own {
            self.kernel += self.since.wrapping_sub(self.entered);
        }
        if next != self.payer {
            self.settle();
            self.payer = next;
        }
    }

    /// Adds what the process that ran has used since it began to run.
    fn settle(&mut self) {
        if let Some(pid) = self.payer {
            let turn = self.turn(pid);
            self.usages[pid.slot() % PROCESS_MAX] = turn;
        }
        self.user_before = self.stages[Stage::User as usize].cycles;
        self.kernel = 0;
        self.traps = 0;
    }

    /// The usage of the process that runs, with its cycles until now.
    fn turn(&self, pid: Pid) -> Usage {
        let mut usage = self.usage(pid);
        usage.user += self.stages[Stage::User as usize].cycles - self.user_before;
        usage.kernel += self.kernel;
        usage.traps += self.traps;
        usage
    }

    fn usage(&self, pid: Pid) -> Usage {
        let usage = self.usages[pid.slot() % PROCESS_MAX];
        match usage.pid == pid {
            true => usage,
            false => Usage { pid, ..Usage::NONE },
        }
    }

    /// The line of a stage.
    pub fn stage(&self, stage: Stage) -> Account {
        let Sum { cycles, count } = self.stages[stage as usize];
        let (user, kernel) = match stage {
            Stage::User => (cycles, 0),
            _ => (0, cycles),
        };
        Account {
            holder: Holder::Stage(stage),
            name: Name::new(stage.name()),
            user,
            kernel,
            count,
        }
    }

    /// The line of a process with that name.
    pub fn process(&self, pid: Pid, name: &str) -> Account {
        let usage = match self.payer == Some(pid) {
            true => self.turn(pid),
            false => self.usage(pid),
        };
        Account {
            holder: Holder::Process(pid),
            name: Name::new(name),
            user: usage.user,
            kernel: usage.kernel,
            count: usage.traps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    fn pass(cycles: u64) {
        NOW.set(NOW.get().wrapping_add(cycles));
    }

    struct Hand;

    impl Counter for Hand {
        fn now() -> u64 {
            NOW.get()
        }
    }

    fn accounts(start: u64) -> Accounts<Hand> {
        NOW.set(start);
        Accounts::new()
    }

    fn stage(accounts: &Accounts<Hand>, stage: Stage) -> (u64, u64) {
        let line = accounts.stage(stage);
        (line.user + line.kernel, line.count)
    }

    fn process(accounts: &Accounts<Hand>, pid: Pid) -> (u64, u64, u64) {
        let line = accounts.process(pid, "");
        (line.user, line.kernel, line.count)
    }

    #[test]
    fn system_calls_have_their_stages_and_nonsense_has_one() {
        assert_eq!(stage_of(Syscall::Wait as u64), Stage::Message);
        assert_eq!(stage_of(Syscall::LeaseWrite as u64), Stage::Lease);
        assert_eq!(stage_of(Syscall::NicFlush as u64), Stage::Send);
        assert_eq!(stage_of(Syscall::NicReceive as u64), Stage::Receive);
        assert_eq!(stage_of(Syscall::Accounts as u64), Stage::Call);
        for number in [Syscall::ALL.len() as u64, u64::MAX] {
            assert_eq!(stage_of(number), Stage::Call);
        }
    }

    const SERVER: Pid = Pid::new(1, 0);
    const CLIENT: Pid = Pid::new(2, 5);

    #[test]
    fn a_call_is_the_callers_and_an_interrupt_is_nobodys() {
        let mut accounts = accounts(1_000);
        pass(7);
        accounts.end(Some(CLIENT));
        pass(100);
        accounts.begin(Stage::Message, true);
        pass(10);
        assert_eq!(accounts.enter(Stage::Switch), Stage::Message);
        pass(20);
        accounts.end(Some(SERVER));
        pass(200);
        accounts.begin(Stage::Device, false);
        pass(30);
        accounts.end(Some(SERVER));
        pass(50);
        accounts.begin(Stage::Message, true);
        pass(3);
        accounts.end(None);
        pass(1_000);
        accounts.begin(Stage::Tick, false);
        assert_eq!(process(&accounts, CLIENT), (100, 30, 1));
        assert_eq!(process(&accounts, SERVER), (250, 3, 2));
        assert_eq!(stage(&accounts, Stage::User), (350, 3));
        assert_eq!(stage(&accounts, Stage::Message), (13, 2));
        assert_eq!(stage(&accounts, Stage::Switch), (20, 1));
        assert_eq!(stage(&accounts, Stage::Device), (30, 1));
        assert_eq!(stage(&accounts, Stage::Idle), (1_000, 1));
        assert_eq!(stage(&accounts, Stage::Call), (7, 0));
        assert_eq!(stage(&accounts, Stage::Tick), (0, 1));
    }

    #[test]
    fn all_cycles_are_accounted_for_once() {
        let mut accounts = accounts(u64::MAX - 500); // and the counter may wrap
        let mut total = 0;
        for round in 0..100 {
            let mut step = |cycles| {
                pass(cycles);
                total += cycles;
            };
            step(round % 7);
            accounts.end((round % 3 != 0).then_some(CLIENT));
            step(round);
            accounts.begin(Stage::Receive, round % 2 == 0);
            step(11);
            let outer = accounts.enter(Stage::Lease);
            step(5);
            accounts.back(outer);
            step(13);
        }
        accounts.end(None);
        let sum = |stages: &[Stage]| -> u64 {
            let cycles = stages.iter().map(|&s| stage(&accounts, s).0);
            cycles.sum()
        };
        assert_eq!(sum(&Stage::ALL), total);
        assert_eq!(stage(&accounts, Stage::Lease), (500, 100));
        assert_eq!(stage(&accounts, Stage::Receive).1, 100);
        assert_eq!(
            process(&accounts, CLIENT).0,
            stage(&accounts, Stage::User).0
        );
    }

    #[test]
    fn a_new_process_in_a_slot_starts_from_nothing() {
        let mut accounts = accounts(0);
        let (old, new) = (Pid::new(3, 0), Pid::new(3, 1));
        accounts.end(Some(old));
        pass(9);
        accounts.begin(Stage::Fault, true);
        assert_eq!(process(&accounts, old), (9, 0, 1));
        assert_eq!(process(&accounts, new), (0, 0, 0));
        pass(1);
        // What the fault cost is still the old one's, though nobody can ask any more.
        accounts.end(Some(new));
        pass(4);
        accounts.begin(Stage::Call, true);
        assert_eq!(process(&accounts, new), (4, 0, 1));
        pass(2);
        accounts.end(None);
        assert_eq!(process(&accounts, new), (4, 2, 1));
        assert_eq!(process(&accounts, old), (0, 0, 0));
        assert_eq!(accounts.process(new, "init").name.as_str(), "init");
    }
}
