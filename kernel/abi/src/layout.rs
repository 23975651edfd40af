//! What a program may rely on in its address space. Where its parts lie is chosen anew at each
//! start, by the crate `placement`, and told by the calls that need it; the ramdisk is at one place.

/// Size of a page, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Lowest address a program's image may use, before it is placed.
pub const IMAGE_START: u64 = 0x3_0000;
/// End of the addresses a program's image may use, before it is placed.
pub const IMAGE_END: u64 = 0x200_0000;
/// Size of the stack, in bytes.
pub const STACK_SIZE: u64 = 64 * 1024;
/// Where every program sees the ramdisk, read-only.
pub const RAMDISK_START: u64 = 0x7f00_0000_0000;
/// End of user addresses (exclusive). The last page of the canonical half is never
/// mapped, so that a `syscall` there cannot return to a non-canonical address.
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// From a card's exchange area to what the card receives into.
const NIC_RECEIVE: u64 = 32 << 20;
/// The most bytes of buffers, in each direction.
pub const NIC_RANGE_MAX: u64 = 31 << 20;

/// The ranges of a card whose exchange area is at `area`: that, the buffers to send from, and what
/// it receives into.
pub const fn nic_window(area: u64) -> [u64; 3] {
    [area, area + PAGE_SIZE, area + NIC_RECEIVE]
}

const _: () = assert!(PAGE_SIZE + NIC_RANGE_MAX <= NIC_RECEIVE);
