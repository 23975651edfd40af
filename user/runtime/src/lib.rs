//! What Wharf's programs are linked with: start, system calls, console, heap, card, sockets,
//! files. The programs are in `user/programs`, a folder each, with a `main.rs` of this shape:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! #![forbid(unsafe_code)]
//!
//! runtime::entry!("usage: hello\n  prints a line", main);
//!
//! fn main() -> runtime::Result<()> {
//!     runtime::println!("hello, world");
//!     Ok(())
//! }
//! ```
//!
//! All that only a bare-metal binary can have, from its entry to its panic handler, [`entry!`]
//! puts into the program. So the same library runs in tests on the host: the kernel is then one
//! that the test plays (crate `fake`). Unsafe code is in `start`, `sys`, `heap` and `nic::mapped`.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod args;
pub mod console;
mod environment;
pub mod heap;
pub mod ipc;
pub mod nic;
pub mod process;
pub mod ramdisk;
pub mod random;
pub mod socket;
pub mod start;
pub mod sys;
pub mod time;

#[doc(hidden)]
pub use abi; // for `entry!`
pub use abi::{Error, Pid, Result, limits};
