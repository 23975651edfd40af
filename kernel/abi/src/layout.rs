//! Where things are in a program's address space.
//!
//! ```text
//! 0x0000_0000_0040_0000  guard, then the stack, which grows downwards to it; another guard
//! 0x0000_0000_0043_0000  the program's ELF image
//! 0x0000_0000_0200_0000  heap, grows upwards by Syscall::GrowHeap
//! 0x0000_0000_800a_0000  frame buffers of the cards that it has mapped
//! 0x0000_4000_0000_0000  the ramdisk, read-only, the same in every program
//! ```
//!
//! What a program uses most lies close together, so that few page tables lead to it: each of
//! them is read anew after every switch between programs. And those pages are
//! not a whole number of MiB apart: QEMU keeps a translation at one of 256 places, which it finds
//! by the low bits of the page's number.

/// Size of a page, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Lowest address a program's image may use: the pages below stay unmapped.
pub const IMAGE_START: u64 = 0x0043_0000;
/// End of the addresses a program's image may use.
pub const IMAGE_END: u64 = HEAP_START;
/// Where the heap begins.
pub const HEAP_START: u64 = 0x0200_0000;
/// The largest heap, in bytes: what a process may ask for before it is refused.
pub const HEAP_MAX: u64 = 0x4000_0000;
/// Where every program sees the ramdisk.
pub const RAMDISK_START: u64 = 0x4000_0000_0000;
/// Where a program sees the frame buffers of the first card that it may map. In its MiB, other
/// than the heap's start, the stack and the network server's image are in theirs.
const NIC_START: u64 = 0x800a_0000;
/// From there to what the card receives into: beyond the most to send from, and in its MiB behind
/// what the E100 sends from.
const NIC_RECEIVE: u64 = (32 << 20) + 0x4_1000;
/// From one card to the next.
const NIC_STRIDE: u64 = 64 << 20;
/// The most bytes of buffers, in each direction.
pub const NIC_RANGE_MAX: u64 = 31 << 20;
/// Cards that can be mapped.
pub const NIC_MAX: u8 = 64;

/// The ranges of a card: its exchange area (see [`crate::exchange`]), the buffers to send
/// from, and what it receives into.
pub const fn nic_window(card: u8) -> [u64; 3] {
    let start = NIC_START + card as u64 * NIC_STRIDE;
    [start, start + PAGE_SIZE, start + NIC_RECEIVE]
}

/// End of the stack (exclusive).
pub const STACK_END: u64 = 0x0042_0000;
/// Size of the stack, in bytes.
pub const STACK_SIZE: u64 = 64 * 1024;
/// End of user addresses (exclusive). The last page of the canonical half is never
/// mapped, so that a `syscall` there cannot return to a non-canonical address.
pub const USER_END: u64 = 0x7fff_ffff_f000;

const _: () = {
    let [area, transmit, receive] = nic_window(0);
    assert!(area + PAGE_SIZE == transmit && transmit + NIC_RANGE_MAX <= receive);
    assert!(receive + NIC_RANGE_MAX <= nic_window(1)[0]);
    assert!(HEAP_START + HEAP_MAX <= NIC_START && nic_window(NIC_MAX)[0] <= RAMDISK_START);
    // Guards of a stack's length on both sides.
    assert!(STACK_END - 2 * STACK_SIZE >= 0x0040_0000 && STACK_END + STACK_SIZE <= IMAGE_START);
};
