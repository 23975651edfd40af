//! Where the processor's time goes, as the kernel accounts for it, in cycles of the
//! time-stamp counter: by what was done, and by process.
//!
//! At each moment the processor is in one [`Stage`], so the cycles of all stages together are all
//! cycles that passed. A process is charged with the cycles in which it ran, and with those of the
//! kernel in its system calls and faults. The cycles of an interrupt are charged to no process.

use crate::wire::{Name, Reader, Wire, Writer};
use crate::{Error, Pid, Result};

crate::numbered! {
    /// What the processor does. A new stage needs a line here, and an `enter` in the kernel where
    /// it begins.
    #[repr(u8)]
    pub enum Stage {
        /// Waits for an interrupt.
        Idle = 0 => "idle",
        /// Runs a program.
        User = 1 => "user",
        /// Serves an interrupt of a card.
        Device = 2 => "device",
        /// Looks after the cards, once a second.
        Tick = 3 => "tick",
        /// Serves the timer of a deadline finer than that.
        Deadline = 4 => "deadline",
        /// Carries messages: calls, answers, waiting, notifying.
        Message = 5 => "message",
        /// Copies from or to memory that was lent.
        Lease = 6 => "lease",
        /// Gives frames to a card.
        Send = 7 => "send",
        /// Takes frames from a card.
        Receive = 8 => "receive",
        /// Does another system call.
        Call = 9 => "call",
        /// Changes from one process to another, address spaces included.
        Switch = 10 => "switch",
        /// Ends a program that faulted.
        Fault = 11 => "fault",
        /// Tells of all this, when the machine's NMI asks for it.
        Report = 12 => "report",
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

impl Wire for Holder {
    const SIZE: usize = 8;

    fn write(&self, writer: &mut Writer<'_>) {
        match *self {
            Holder::Stage(stage) => writer.u32(0).u32(stage as u32),
            Holder::Process(pid) => writer.u32(1).u32(pid.0),
        };
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (kind, number) = <(u32, u32)>::read(reader)?;
        match kind {
            0 => {
                let stage = Stage::ALL.get(number as usize).ok_or(Error::Malformed)?;
                Ok(Holder::Stage(*stage))
            }
            1 => Ok(Holder::Process(Pid(number))),
            _ => Err(Error::Malformed),
        }
    }
}

crate::record! {
    /// One line of the account.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Account {
        /// The stage or process that the line is about.
        pub holder: Holder,
        /// The name of the stage or the program.
        pub name: Name<16>,
        /// Cycles in which programs ran: of [`Stage::User`] and of processes.
        pub user: u64,
        /// All other cycles.
        pub kernel: u64,
        /// How often the stage was entered; how often the process entered the kernel, or was
        /// interrupted.
        pub count: u64,
    }
}

impl Account {
    /// The most lines there are: one for each stage and process.
    pub const COUNT_MAX: usize = Stage::COUNT + 64;
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
        let stage = Account {
            holder: Holder::Stage(Stage::Switch),
            name: Name::new("switch"),
            user: 0,
            kernel: u64::MAX,
            count: 3,
        };
        let process = Account {
            holder: Holder::Process(Pid(0x107)),
            name: Name::new("netd"),
            ..stage
        };
        for account in [stage, process] {
            assert_eq!(Account::from_bytes(&account.to_bytes()), Ok(account));
        }
        assert_eq!(process.name.as_str(), "netd");
        for at in [0, 4] {
            let mut bytes = stage.to_bytes();
            bytes[at] = 0xee;
            assert_eq!(Account::from_bytes(&bytes), Err(Error::Malformed));
        }
        let short = &process.to_bytes()[..Account::SIZE - 1];
        assert_eq!(Account::from_bytes(short), Err(Error::Malformed));
    }
}
