//! Where the processor's time goes, as the kernel accounts for it, in cycles of the
//! time-stamp counter: by what was done, and by process.
//!
//! At each moment one [`Stage`] goes on; the cycles of all stages together are all there
//! were. A process has those in which it ran, and those of the kernel in its system calls
//! and faults; what an interrupt takes is nobody's.

use crate::wire::{Reader, Writer};
use crate::{Error, Pid, Result};

crate::numbered! {
    /// What the processor does. A new one needs a line here, its name, and an `enter` where
    /// it begins.
    #[repr(u8)]
    pub enum Stage {
        /// Waits for an interrupt.
        Idle = 0,
        /// Runs a program.
        User = 1,
        /// Serves an interrupt of a card.
        Device = 2,
        /// Looks after the cards, once a second.
        Tick = 3,
        /// Serves the timer of a deadline finer than that.
        Deadline = 4,
        /// Carries messages: calls, answers, waiting, notifying.
        Message = 5,
        /// Copies from or to memory that was lent.
        Lease = 6,
        /// Gives frames to a card.
        Send = 7,
        /// Takes frames from a card.
        Receive = 8,
        /// Does another system call.
        Call = 9,
        /// Changes from one process to another, address spaces included.
        Switch = 10,
        /// Ends a program that faulted.
        Fault = 11,
        /// Tells of all this, when the machine's NMI asks for it.
        Report = 12,
    }
}

impl Stage {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Idle => "idle",
            Stage::User => "user",
            Stage::Device => "device",
            Stage::Tick => "tick",
            Stage::Deadline => "deadline",
            Stage::Message => "message",
            Stage::Lease => "lease",
            Stage::Send => "send",
            Stage::Receive => "receive",
            Stage::Call => "call",
            Stage::Switch => "switch",
            Stage::Fault => "fault",
            Stage::Report => "report",
        }
    }
}

/// What cycles are accounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A stage.
    Stage(Stage),
    /// A process.
    Process(Pid),
}

/// One line of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose.
    pub holder: Holder,
    /// The name of the stage or the program, padded with zeros; a longer one is cut.
    pub name: [u8; 16],
    /// Cycles in which programs ran: of [`Stage::User`] and of processes.
    pub user: u64,
    /// All other cycles.
    pub kernel: u64,
    /// How often the stage was entered; how often the process entered the kernel, or was
    /// interrupted.
    pub count: u64,
}

impl Account {
    /// Bytes on the wire.
    pub const SIZE: usize = 48;
    /// The most lines there are: one for each stage and process.
    pub const COUNT_MAX: usize = Stage::COUNT + 64;

    /// A line with that name.
    pub fn new(holder: Holder, name: &str, user: u64, kernel: u64, count: u64) -> Self {
        Account {
            holder,
            name: padded_name(name),
            user,
            kernel,
            count,
        }
    }

    /// The name as text.
    pub fn name(&self) -> &str {
        crate::wire::text(&self.name)
    }

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let (kind, number) = match self.holder {
            Holder::Stage(stage) => (0, stage as u32),
            Holder::Process(pid) => (1, pid.0),
        };
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes)
            .u32(kind)
            .u32(number)
            .bytes(&self.name)
            .u64(self.user)
            .u64(self.kernel)
            .u64(self.count);
        bytes
    }

    /// The structure from bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are too few, or name no stage.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (kind, number) = (reader.u32()?, reader.u32()?);
        let holder = match kind {
            0 => {
                let stage = Stage::ALL.get(number as usize).ok_or(Error::Malformed)?;
                Holder::Stage(*stage)
            }
            1 => Holder::Process(Pid(number)),
            _ => return Err(Error::Malformed),
        };
        Ok(Account {
            holder,
            name: reader.array()?,
            user: reader.u64()?,
            kernel: reader.u64()?,
            count: reader.u64()?,
        })
    }
}

/// A name padded with zeros; a longer one is cut between characters.
pub fn padded_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    let mut len = name.len().min(padded.len());
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    padded[..len].copy_from_slice(&name.as_bytes()[..len]);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_numbered_in_order_and_named_apart() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number);
            let same = Stage::ALL.iter().filter(|s| s.name() == stage.name());
            assert_eq!(same.count(), 1);
        }
    }

    #[test]
    fn accounts_come_back_and_nonsense_does_not() {
        let stage = Account::new(Holder::Stage(Stage::Switch), "switch", 0, u64::MAX, 3);
        let process = Account::new(Holder::Process(Pid(0x107)), "netd", 1, 2, 3);
        for account in [stage, process] {
            assert_eq!(Account::from_bytes(&account.to_bytes()), Ok(account));
        }
        assert_eq!(process.name(), "netd");
        for at in [0, 4] {
            let mut bytes = stage.to_bytes();
            bytes[at] = 0xee;
            assert_eq!(Account::from_bytes(&bytes), Err(Error::Malformed));
        }
        let short = &process.to_bytes()[..Account::SIZE - 1];
        assert_eq!(Account::from_bytes(short), Err(Error::Malformed));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let name = |name| Account::new(Holder::Process(Pid(1)), name, 0, 0, 0);
        assert_eq!(name("a-program-with-a-name").name(), "a-program-with-a");
        assert_eq!(name("fifteen-bytes--\u{e9}").name(), "fifteen-bytes--");
    }
}
