//! A program that `init` looks after: why it runs, and when it is started again.

use super::NETWORK_SERVER;
use abi::ipc::Exit;
use abi::service::Stack;
use alloc::string::String;
use runtime::args::Args;
use runtime::{Error, Pid};

/// Delay before a service that ended soon after its start is started again: doubled up to the
/// second value each time. In nanoseconds.
pub(super) const RESTART_NS: (u64, u64) = (100_000_000, 5_000_000_000);
/// A service that has run for so long is started again at once, since its clients wait. In
/// nanoseconds.
pub(super) const SETTLED_NS: u64 = 1_000_000_000;
/// How often a program may end the same way in a row before it is mute.
pub(super) const HEARD_MAX: u32 = 3;

/// Why a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It was asked for with `run=`.
    Run,
    /// A program asked for the server of its card.
    Network,
    /// It is one of [`SERVICES`].
    Service,
}

/// A program that runs or will run again.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) args: String,
    /// Words that change its limits.
    pub(super) limits: String,
    pub(super) role: Role,
    /// The stack that it serves, or uses.
    pub(super) stack: Stack,
    /// It is started again when it ends.
    pub(super) is_kept: bool,
    /// `None` while it waits for `due`.
    pub(super) pid: Option<Pid>,
    pub(super) started: u64,
    pub(super) due: u64,
    pub(super) delay: u64,
    /// How it ended last, soon after its start, and how often in a row.
    pub(super) failed: Option<(Exit, u32)>,
    /// It is not started again: it would be in vain.
    pub(super) is_given_up: bool,
    /// Why it could not be started, when that was last told.
    pub(super) unstartable: Option<Error>,
}

/// The stack of a network server with these arguments.
pub(super) fn stack_of(args: &str) -> Stack {
    let card = Args::new(args).next().and_then(|card| card.parse().ok());
    let named = Args::new(args)
        .last()
        .and_then(|last| last.strip_prefix("stack="));
    let named = named.and_then(|name| name.parse().ok());
    named.unwrap_or(Stack::from(card.unwrap_or(0)))
}

impl Program {
    /// The stack that it serves, if it is a network server.
    pub(super) fn serves(&self) -> Option<Stack> {
        (self.name == NETWORK_SERVER).then_some(self.stack)
    }

    /// Whether it waits to be started again, and has waited long enough.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.pid.is_none() && !self.is_given_up && self.due <= now
    }

    /// Whether it has ended the same way too often to be heard.
    pub(super) fn is_mute(&self) -> bool {
        self.failed.is_some_and(|(_, times)| times >= HEARD_MAX)
    }

    /// When it will have run for long enough to be heard again.
    pub(super) fn due_to_be_heard(&self) -> u64 {
        self.started.saturating_add(RESTART_NS.1)
    }

    /// It has ended: how often so in a row, each time soon after its start.
    pub(super) fn count_failures(&mut self, exit: Exit, now: u64) -> u32 {
        let before = match self.failed {
            Some((last, times)) if last == exit => times,
            _ => 0,
        };
        let soon = now < self.due_to_be_heard();
        let times = if soon { before.saturating_add(1) } else { 1 };
        self.failed = Some((exit, times));
        times
    }

    /// Plans the next start.
    pub(super) fn ended(&mut self, now: u64) {
        let (first, most) = RESTART_NS;
        self.pid = None;
        if now.saturating_sub(self.started) >= SETTLED_NS {
            (self.due, self.delay) = (now, first);
        } else {
            self.due = now + self.delay;
            self.delay = (self.delay * 2).min(most);
        }
    }
}
