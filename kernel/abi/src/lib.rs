//! Everything the Wharf kernel and its programs share, and nothing else:
//! system call numbers, message formats, errors and the user address space.
//!
//! Numbers and layouts live here once and are imported, never typed again. The
//! crate has no dependencies, so that both sides of the system call boundary and
//! the host's tests can use it. Structures cross the boundary as little-endian bytes, never by
//! casting: [`record!`] declares one with the code that writes and reads it, by [`mod@wire`].
#![no_std]

mod numbered;

pub mod account;
pub mod batch;
pub mod clock;
pub mod command_line;
pub mod endpoint;
pub mod error;
pub mod exchange;
pub mod exit;
pub mod ipc;
pub mod layout;
pub mod limits;
pub mod memory;
pub mod nic;
pub mod service;
pub mod socket;
pub mod syscall;
pub mod wire;

pub use error::{Error, Result};
pub use ipc::Pid;
pub use syscall::Syscall;

#[cfg(test)]
extern crate std;
