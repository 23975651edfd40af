//! Where things are in a program's address space.
//!
//! ```text
//! 0x0000_0000_0040_0000  the program's ELF image
//! 0x0000_0001_0000_0000  heap, grows upwards by Syscall::GrowHeap
//! 0x0000_4000_0000_0000  the ramdisk, read-only, the same in every program
//! 0x0000_7fff_ffff_0000  end of the stack, which grows downwards; a guard page below it
//! ```

/// Size of a page, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Lowest address a program's image may use: the pages below stay unmapped.
pub const IMAGE_START: u64 = 0x0040_0000;
/// End of the addresses a program's image may use.
pub const IMAGE_END: u64 = HEAP_START;
/// Where the heap begins.
pub const HEAP_START: u64 = 0x1_0000_0000;
/// The largest heap, in bytes: what a process may ask for before it is refused.
pub const HEAP_MAX: u64 = 0x4000_0000;
/// Where every program sees the ramdisk.
pub const RAMDISK_START: u64 = 0x4000_0000_0000;
/// End of the stack (exclusive).
pub const STACK_END: u64 = 0x7fff_ffff_0000;
/// Size of the stack, in bytes.
pub const STACK_SIZE: u64 = 64 * 1024;
/// End of user addresses (exclusive). The last page of the canonical half is never
/// mapped, so that a `syscall` there cannot return to a non-canonical address.
pub const USER_END: u64 = 0x7fff_ffff_f000;
