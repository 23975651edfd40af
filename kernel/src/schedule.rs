//! Which process has the processor next.
//!
//! ```text
//!   Server        served at once            ready when a message or a frame comes
//!   Sleeper       before those below        has slept more than it has computed lately
//!   Computing     what is left, in turns    has used its credit up
//! ```
//!
//! Servers come first: their parents have started them as such. Their time is not counted, and their
//! children begin without credit. Every other program has a credit: it earns as much time as it sleeps, up
//! to `CREDIT_MS`, and pays for the time in which it runs, in the kernel as well. A program whose credit is
//! used up counts as computing until it has earned `RISE_MS`. So a program that waits for people or for
//! messages comes before one that computes, and a program that calls `wait` again and again without
//! sleeping, or prints without end, counts as computing. A child begins with half of its parent's credit,
//! so that no program gains credit by starting children.
//!
//! No level is shut out for ever: a level that has wanted the processor for `PATIENCE_MS` since its last
//! turn has a turn of `TURN_MS`, in which the levels above do not interrupt it.
//!
//! Times are counts of any clock that runs on; the kernel's is the time-stamp counter.

use crate::limits::PROCESS_MAX;
use abi::Pid;

/// The most that a program can have computed without having slept, before it is taken for one that
/// computes, in milliseconds.
const CREDIT_MS: u64 = 10;
/// How much more a program must have slept than computed to be taken for one that sleeps again, in
/// milliseconds: a microsecond of sleep now and then is not enough.
const RISE_MS: u64 = 1;
/// How long a level waits for those above it at the most, in milliseconds.
const PATIENCE_MS: u64 = 20;
/// How long its turn is then: with the above, a twentieth of the processor.
const TURN_MS: u64 = 1;

/// How urgent it is that a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It serves others.
    Server,
    /// It sleeps more than it computes.
    Sleeper,
    /// It computes.
    Computing,
}

impl Level {
    const ALL: [Level; 3] = [Level::Server, Level::Sleeper, Level::Computing];
}

/// How much more a process has slept than computed lately, in counts of the clock.
#[derive(Clone, Copy, Debug)]
pub struct SleepCredit {
    is_server: bool,
    is_sleeper: bool,
    credit: u64,
    /// Since when it sleeps.
    since: u64,
}

impl SleepCredit {
    /// The credit of a process that has no parent to take it from.
    pub fn new(is_server: bool) -> Self {
        SleepCredit {
            is_server,
            is_sleeper: false,
            credit: 0,
            since: 0,
        }
    }

    /// Takes half of the credit, for a child.
    pub fn halve(&mut self, is_server: bool) -> Self {
        self.credit /= 2;
        SleepCredit {
            is_server,
            since: 0,
            ..*self
        }
    }

    /// The level that follows from it.
    pub fn level(&self) -> Level {
        match (self.is_server, self.is_sleeper) {
            (true, _) => Level::Server,
            (false, true) => Level::Sleeper,
            (false, false) => Level::Computing,
        }
    }

    /// The process has run for `time`, until now.
    fn pay(&mut self, time: u64, now: u64) {
        self.credit = self.credit.saturating_sub(time);
        self.is_sleeper &= self.credit > 0;
        self.since = now;
    }

    /// The process has slept until now.
    fn earn(&mut self, now: u64, millisecond: u64) {
        let slept = now.wrapping_sub(self.since);
        self.credit = self.credit.saturating_add(slept);
        self.credit = self.credit.min(CREDIT_MS * millisecond);
        self.is_sleeper |= self.credit >= RISE_MS * millisecond;
        self.since = now;
    }
}

/// The processes that want the processor at one level: a bit for each slot of the table of processes.
#[derive(Clone, Copy, Default)]
struct Queue {
    all: u64,
    /// The processes among them that come before the others.
    first: u64,
    /// The slots from which on the next of `first`, and of the others, is looked for: each is behind the
    /// slot that had the last turn.
    next_first: u32,
    next_other: u32,
}

impl Queue {
    /// Takes the process out that has the next turn. There must be one.
    fn take(&mut self) -> usize {
        let (slots, next) = match self.first {
            0 => (self.all, &mut self.next_other),
            first => (first, &mut self.next_first),
        };
        let ahead = slots.rotate_right(*next).trailing_zeros();
        let slot = (*next + ahead) % u64::BITS;
        *next = slot + 1;
        self.all &= !(1 << slot);
        self.first &= self.all;
        slot as usize
    }
}

/// The processes that want the processor, and the one that has it.
pub struct Scheduler {
    /// The process that each slot has.
    pids: [Pid; PROCESS_MAX],
    ready: [Queue; 3],
    /// When a level had its last turn, or began to want one.
    served: [u64; 3],
    current: Option<(Pid, Level)>,
    /// Until when the process that has the processor has paid for it.
    paid: u64,
    /// Until when a level below others has its turn, uninterrupted by them; 0 if there is no such turn.
    turn_ends: u64,
    now: u64,
    /// Counts of the clock in a millisecond.
    millisecond: u64,
}

// A bit for each process.
const _: () = assert!(PROCESS_MAX <= u64::BITS as usize);

impl Scheduler {
    /// Without any process, by a clock of so many counts in a millisecond.
    pub fn new(millisecond: u64) -> Self {
        Scheduler {
            pids: [Pid(0); PROCESS_MAX],
            ready: [Queue::default(); 3],
            served: [0; 3],
            current: None,
            paid: 0,
            turn_ends: 0,
            now: 0,
            millisecond,
        }
    }

    /// Tells it the time. It stands still until the next such call.
    pub fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// The process that has the processor.
    pub fn current(&self) -> Option<Pid> {
        self.current.map(|(pid, _)| pid)
    }

    /// Whether processes wait for the processor.
    pub fn has_ready(&self) -> bool {
        self.best().is_some()
    }

    /// The most urgent level at which somebody waits.
    fn best(&self) -> Option<Level> {
        let mut levels = Level::ALL.into_iter();
        levels.find(|level| self.ready[*level as usize].all != 0)
    }

    fn is_protected(&self) -> bool {
        self.now < self.turn_ends
    }

    /// In how many milliseconds to look again whose turn it is, if processes wait.
    pub fn slice_ms(&self, quantum_ms: u64) -> u64 {
        match self.turn_ends {
            0 => quantum_ms,
            _ => TURN_MS,
        }
    }

    /// A process wants the processor that did not: one that is new.
    pub fn add(&mut self, pid: Pid, pace: &SleepCredit) {
        self.push(pid, pace.level(), false);
    }

    /// A process wakes. With `first`, before all others of its level: it was woken by a device,
    /// which does not wait.
    pub fn wake(&mut self, pid: Pid, pace: &mut SleepCredit, first: bool) {
        // A process that still has the processor has not slept.
        if self.current() != Some(pid) {
            if !pace.is_server {
                pace.earn(self.now, self.millisecond);
            }
            self.push(pid, pace.level(), first);
        }
    }

    fn push(&mut self, pid: Pid, level: Level, first: bool) {
        let ready = &mut self.ready[level as usize];
        if ready.all == 0 {
            self.served[level as usize] = self.now;
        }
        ready.all |= 1 << pid.slot();
        ready.first |= u64::from(first) << pid.slot();
        self.pids[pid.slot()] = pid;
    }

    /// A process is gone.
    pub fn remove(&mut self, pid: Pid) {
        for ready in &mut self.ready {
            ready.all &= !(1 << pid.slot());
            ready.first &= ready.all;
        }
        if self.current() == Some(pid) {
            self.current = None;
            self.turn_ends = 0;
        }
    }

    /// The process that runs pays for its time. With `goes_on` it could run on, else it sleeps.
    /// [`Scheduler::choose`] must follow.
    pub fn stop(&mut self, pace: &mut SleepCredit, goes_on: bool) {
        let Some((_, level)) = &mut self.current else {
            return;
        };
        if !pace.is_server {
            pace.pay(self.now.wrapping_sub(self.paid), self.now);
            self.paid = self.now;
            self.served[*level as usize] = self.now;
        }
        match goes_on {
            true => *level = pace.level(),
            false => {
                self.current = None;
                self.turn_ends = 0;
            }
        }
    }

    /// Chooses the process that runs next. The one that has the processor keeps it, if it can run on and
    /// none is more urgent; with `rotate`, one that is as urgent takes its turn, too.
    pub fn choose(&mut self, rotate: bool) -> Option<Pid> {
        if self.is_protected() {
            return self.current();
        }
        let Some(best) = self.best() else {
            self.turn_ends = 0;
            return self.current();
        };
        let Some((pid, level)) = self.current else {
            let overdue = self.overdue(best);
            return Some(self.begin(overdue.unwrap_or(best), overdue.is_some()));
        };
        let overdue = self.overdue(level.min(best));
        let next = overdue.unwrap_or(best);
        if overdue.is_none() && (level < next || level == next && !rotate) {
            self.turn_ends = 0;
            return Some(pid);
        }
        // A process that makes way for another level goes on before the others of its own; one whose turn is
        // over comes after them.
        self.push(pid, level, level != next);
        Some(self.begin(next, overdue.is_some()))
    }

    /// Gives the processor to the next process of a level at which one waits.
    fn begin(&mut self, level: Level, is_turn: bool) -> Pid {
        let pid = self.pids[self.ready[level as usize].take()];
        self.turn_ends = match is_turn {
            true => self.now + TURN_MS * self.millisecond,
            false => 0,
        };
        self.paid = self.now;
        self.current = Some((pid, level));
        pid
    }

    /// A level below that one, the first that has waited for too long.
    fn overdue(&self, above: Level) -> Option<Level> {
        let mut below = Level::ALL.into_iter().filter(|level| *level > above);
        below.find(|level| {
            let waited = self.now.wrapping_sub(self.served[*level as usize]);
            self.ready[*level as usize].all != 0 && waited >= PATIENCE_MS * self.millisecond
        })
    }
}

#[cfg(test)]
mod tests;
