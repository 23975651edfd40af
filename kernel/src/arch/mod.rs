//! x86_64: what only ring 0 can do, wrapped so that the rest of the kernel is safe Rust.

pub mod boot_memory;
pub mod bus;
pub mod cmos;
pub mod cpu;
pub mod frame;
pub mod gdt;
pub mod heap;
pub mod iommu;
pub mod messages;
pub mod paging;
pub mod pci;
pub mod pic;
pub mod ports;
pub mod space;
pub mod timer;
pub mod traps;
