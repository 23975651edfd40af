//! The Wharf kernel's logic: everything that can be decided without ring 0.
//!
//! This half is safe Rust and runs under `cargo test` on the host. The binary beside it
//! (`main.rs`) is the ring 0 shell: it owns the page tables, the traps and the ports, and
//! asks this library what to do.
#![cfg_attr(not(test), no_std)]
// Of the tests, one is a global allocator.
#![cfg_attr(not(test), forbid(unsafe_code))]
#![cfg_attr(test, deny(unsafe_code))]

extern crate alloc;

pub mod account;
pub mod acpi;
pub mod clock;
pub mod elf;
pub mod endpoint;
pub mod frames;
pub mod idle;
pub mod iommu;
pub mod ipc;
pub mod limits;
pub mod options;
pub mod pci;
pub mod process;
pub mod ramdisk;
pub mod random;
pub mod runs;
pub mod schedule;
pub mod space;
pub mod spawn;
pub mod symbols;

#[cfg(test)]
mod no_memory;
