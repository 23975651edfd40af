//! What Wharf's programs are linked with: start, system calls, console, heap, files,
//! sockets, and the logic of the servers.
//!
//! A program is one file in `src/bin` of this shape:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! #![forbid(unsafe_code)]
//!
//! user::entry!("usage: hello\n  prints a line", main);
//!
//! fn main() -> user::Result<()> {
//!     user::println!("hello, world");
//!     Ok(())
//! }
//! ```
//!
//! What a program decides is in this library, where it is tested on the host: under
//! `cfg(test)` the `syscall` instruction is replaced by a kernel played by the test
//! ([`sys`]'s `fake`). Unsafe code is in `start`, `sys`, `heap` and `nic::mapped`, and
//! in `fault`, `abuse`, `strain` and `traces`, which do wrong on purpose.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

// The build script's part that decides something.
#[cfg(test)]
#[path = "../rows.rs"]
mod rows;

#[cfg(not(test))]
pub mod abuse;
pub mod args;
pub mod buffer;
pub mod chat;
pub mod console;
pub mod dump;
pub mod echo;
mod environment;
pub mod fault;
#[cfg(not(test))]
mod heap;
pub mod http;
pub mod ipc;
pub mod network;
pub mod nic;
pub mod nicstat;
pub mod process;
pub mod ps;
pub mod ramdisk;
pub mod random;
pub mod raw;
pub mod socket;
pub mod start;
#[cfg(not(test))]
pub mod strain;
pub mod supervisor;
pub mod sys;
pub mod time;
#[cfg(not(test))]
pub mod traces;

pub use abi::{Error, Pid, Result, limits};

#[cfg(not(test))]
#[allow(unsafe_code, reason = "the C symbols that compiled code calls")]
mod c {
    abi::c_memory_functions!();

    /// The landing pads of prebuilt `alloc` name it; nothing here unwinds.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() -> ! {
        crate::sys::exit(abi::exit::PANICKED)
    }
}
