//! Wharf's boot stage: everything between a loader and the kernel.
//!
//! A loader (QEMU, Firecracker or Cloud Hypervisor by PVH) starts the binary of this package
//! with one module, a tar. The kernel is `boot/kernel` in it: a [`bootloader_api`] kernel,
//! whose `BootloaderConfig` says how it wants to be called.
//!
//! ```text
//! bin/boot/pvh.s   32-bit mode: is this a 64-bit CPU? paging on, long mode
//! [`pvh`]          what the loader left for us   → [`Handoff`], which knows no PVH
//! [`load`]         the story: [`memory_map`] → [`archive`] → [`kernel`] → [`layout`] → [`paging`]
//! bin/boot/leave.rs  the kernel's page tables, stack and BootInfo; jump
//! ```
//!
//! All decisions are in this library, without unsafe code, and run under `cargo test`
//! against a model of physical memory. The binary adds the entry, the serial port, physical
//! memory and the jump. Another way in (Multiboot2) is a sibling of [`pvh`] that makes the
//! same [`Handoff`].
//!
//! What goes wrong is one line on the serial port that says what to do ([`Error`]), and halt.
#![no_std]
#![forbid(unsafe_code)]

pub mod archive;
pub mod config;
pub mod error;
pub mod handoff;
pub mod kernel;
pub mod layout;
pub mod load;
pub mod memory_map;
pub mod paging;
pub mod pvh;

pub use error::Error;
pub use handoff::Handoff;

#[cfg(test)]
extern crate std;

#[cfg(test)]
mod tests;
