//! Where things are in a program's address space.
//!
//! ```text
//! 0x0000_0000_0040_0000  guard, then the stack, which grows downwards to it; another guard
//! 0x0000_0000_0043_0000  the program's ELF image, then its heap, which grows upwards by
//!                        Syscall::GrowHeap
//! 0x0000_0000_3c02_8000  frame buffers of the cards that it has mapped
//! 0x0000_4000_0000_0000  the ramdisk, read-only, the same in every program
//! ```
//!
//! What a program uses most lies close together, so that few page tables lead to it: each of
//! them is read anew after every switch between programs.
//!
//! And it lies apart modulo [`SLOTS`] pages, since of two pages that need the same slot of the
//! TLB each costs the other its place:
//!
//! | slots | of a program | of the kernel (`kernel.ld`) |
//! | --- | --- | --- |
//! | 0x00 to 0x0f | image, goes on | later pages of the heap; end of the trap stack, variables |
//! | 0x10 to 0x1d | heap's first pages, which the kernel uses too | |
//! | 0x1e, 0x1f | end of the stack, which the kernel uses too | |
//! | 0x20 to 0x2f | exchange area of the first card | image: constants, data, |
//! | 0x30 to 0x37 | image: constants, data, | what is called for each packet |
//! | 0x38 to 0x3f | what is called for each packet | heap's first pages |
//!
//! The kernel finds a program's page in the same slot: its frame is chosen so.

/// Size of a page, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Pages whose numbers are equal modulo this are in each other's way: an emulator's TLB has at
/// least so many slots, with one page in each, and a processor's has a few pages in each.
pub const SLOTS: u64 = 64;
/// The slot of a heap's first page.
const HEAP_SLOT: u64 = 0x10;
/// Lowest address a program's image may use: the pages below stay unmapped.
pub const IMAGE_START: u64 = 0x0043_0000;
/// End of the addresses a program's image may use.
pub const IMAGE_END: u64 = 0x0200_0000;
/// Where a heap ends at the latest.
pub const HEAP_END: u64 = 0x3c00_0000;
/// Where every program sees the ramdisk.
pub const RAMDISK_START: u64 = 0x4000_0000_0000;
/// Where a program sees the frame buffers of the first card that it may map.
const NIC_START: u64 = HEAP_END + 0x28 * PAGE_SIZE;
/// From one card to the next.
const NIC_STRIDE: u64 = 64 << 20;
/// The most bytes of buffers, in each direction.
pub const NIC_RANGE_MAX: u64 = 31 << 20;
/// Cards that can be mapped.
pub const NIC_MAX: u8 = 64;

/// Where the heap of a program begins whose image ends at `image_end`: after a guard page, in the
/// same 2 MiB as the image if that is small, and where neither is in the other's way.
pub const fn heap_start(image_end: u64) -> u64 {
    let page = image_end.div_ceil(PAGE_SIZE) + 1;
    let aligned = (page - HEAP_SLOT).next_multiple_of(SLOTS) + HEAP_SLOT;
    aligned * PAGE_SIZE
}

/// The ranges of a card: its exchange area (see [`crate::exchange`]), the buffers to send
/// from, and what it receives into.
pub const fn nic_window(card: u8) -> [u64; 3] {
    let start = NIC_START + card as u64 * NIC_STRIDE;
    [start, start + PAGE_SIZE, start + NIC_STRIDE / 2]
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
    assert!(heap_start(IMAGE_END) < HEAP_END && nic_window(NIC_MAX)[0] <= RAMDISK_START);
    // Guards of a stack's length on both sides.
    assert!(STACK_END - 2 * STACK_SIZE >= 0x0040_0000 && STACK_END + STACK_SIZE <= IMAGE_START);
    // The pages that a program has in every turn need slots of their own.
    let (stack, image) = (slot(STACK_END - 2 * PAGE_SIZE), slot(IMAGE_START));
    assert!(HEAP_SLOT + 0xe <= stack && stack + 2 <= slot(area) && slot(area) < image);
    assert!(slot(heap_start(IMAGE_START)) == HEAP_SLOT);
};

/// The slot of the page at an address.
const fn slot(address: u64) -> u64 {
    address / PAGE_SIZE % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_begins_close_behind_the_image_and_in_its_slot() {
        assert_eq!(heap_start(0x48_e123), 0x49_0000);
        assert_eq!(heap_start(0x48_f000), 0x49_0000);
        assert_eq!(heap_start(0x48_f001), 0x4d_0000);
        for end in (IMAGE_START..=IMAGE_END).step_by(0x1230) {
            let start = heap_start(end);
            assert_eq!(slot(start), HEAP_SLOT);
            assert!(start >= end + PAGE_SIZE && start - end <= (SLOTS + 2) * PAGE_SIZE);
        }
    }
}
