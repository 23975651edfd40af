//! Children, and the ends of other processes.

use crate::{Error, Result};
use abi::exit::exception_name;
use abi::ipc::{FOREVER, Received, wait};
use abi::limits::ProcessInfo;
use alloc::vec::Vec;

pub use crate::sys::{accounts, kill, mute, watch};
pub use abi::Pid;
pub use abi::ipc::Exit;
pub use abi::limits::Grant;

/// The folder of the ramdisk that holds the programs.
pub const FOLDER: &str = "bin/";

/// Starts `bin/NAME`; `args` are separated by commas.
///
/// # Errors
/// As [`crate::sys::spawn`].
pub fn spawn(name: &str, args: &str, grant: &Grant<'_>) -> Result<Pid> {
    crate::sys::spawn(&alloc::format!("{FOLDER}{name}"), args, grant)
}

/// All processes, this one first.
///
/// # Errors
/// [`Error::Malformed`] from another version's kernel.
pub fn all() -> Result<Vec<ProcessInfo>> {
    crate::sys::processes(ProcessInfo::COUNT_MAX)
}

/// This process: what it may have, and what it has.
///
/// # Errors
/// As [`all`].
pub fn own() -> Result<ProcessInfo> {
    let own = crate::sys::processes(1)?;
    own.into_iter().next().ok_or(Error::Malformed)
}

/// Waits for the end of any child or watched process.
///
/// # Errors
/// As [`crate::sys::wait`].
pub fn wait_any() -> Result<(Pid, Exit)> {
    loop {
        if let Received::Death(pid, exit) = crate::sys::wait(wait::DEATH, FOREVER)? {
            return Ok((pid, exit));
        }
    }
}

/// An [`Exit`] in words: `exit code 0`, `page fault (exception 14)`, `killed`.
pub struct Describe(pub Exit);

impl core::fmt::Display for Describe {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Fault(vector) => {
                write!(f, "{} (exception {vector})", exception_name(vector))
            }
            Exit::Killed => f.write_str("killed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_described() {
        assert_eq!(Describe(Exit::Code(101)).to_string(), "exit code 101");
        assert_eq!(
            Describe(Exit::Fault(14)).to_string(),
            "page fault (exception 14)"
        );
        assert_eq!(Describe(Exit::Killed).to_string(), "killed");
    }
}
