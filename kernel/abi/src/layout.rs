//! Where things are in a program's address space.
//!
//! ```text
//! 0x0000_0000_0040_0000  the program's ELF image
//! 0x0000_0001_0000_0000  heap, grows upwards by Syscall::GrowHeap
//! 0x0000_4000_0000_0000  the ramdisk, read-only, the same in every program
//! 0x0000_6000_0000_0000  frame buffers of the cards that it has mapped
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
/// Where a program sees the frame buffers of the first card that it may map.
const NIC_START: u64 = 0x6000_0000_0000;
/// From one card to the next, and from one range of a card to the next.
const NIC_STRIDE: u64 = 1 << 32;
const NIC_RANGE: u64 = 1 << 30;
/// Cards that can be mapped.
pub const NIC_MAX: u8 = 64;

/// The ranges of a card: its exchange area (see [`crate::exchange`]), the buffers to send
/// from, and what it receives into.
pub const fn nic_window(card: u8) -> [u64; 3] {
    let start = NIC_START + card as u64 * NIC_STRIDE;
    [start, start + NIC_RANGE, start + 2 * NIC_RANGE]
}

/// End of the stack (exclusive).
pub const STACK_END: u64 = 0x7fff_ffff_0000;
/// Size of the stack, in bytes.
pub const STACK_SIZE: u64 = 64 * 1024;
/// End of user addresses (exclusive). The last page of the canonical half is never
/// mapped, so that a `syscall` there cannot return to a non-canonical address.
pub const USER_END: u64 = 0x7fff_ffff_f000;
