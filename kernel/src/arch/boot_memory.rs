//! Memory the kernel begins with: its code, and the ramdisk the boot stage mapped.

use super::paging;
use abi::layout::PAGE_SIZE;
use bootloader_api::info::BootInfo;
use core::ops::Range;
use x86_64::VirtAddr;

/// What the card's rings, the network server and two servers need at the least, in bytes.
const FREE_MIN: u64 = 2 * 1024 * 1024;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
}

/// Refuses a machine on which nothing useful could be started: better one clear line now
/// than programs that fail one after the other.
///
/// # Errors
/// In words.
pub fn check_enough() -> Result<(), &'static str> {
    let free = paging::with_frames(|frames| frames.free_count()) * PAGE_SIZE;
    if free < FREE_MIN {
        return Err("less than 2 MiB of memory left for programs: start with more (QEMU: -m)");
    }
    Ok(())
}

/// The kernel's code, whose pages nothing may write.
pub fn code() -> Range<VirtAddr> {
    VirtAddr::from_ptr(&raw const __text_start)..VirtAddr::from_ptr(&raw const __text_end)
}

/// The ramdisk.
///
/// # Errors
/// In words, if the boot stage mapped none.
pub fn ramdisk(boot: &BootInfo) -> Result<&'static [u8], &'static str> {
    let address = boot.ramdisk_addr.into_option();
    let address = address.ok_or("no ramdisk: give one with -initrd build/wharf.tar")?;
    let len = usize::try_from(boot.ramdisk_len).map_err(|_| "the ramdisk is too large")?;
    // SAFETY: the boot stage mapped it for the kernel, for good, and nobody writes it: its
    // memory is marked as the boot stage's, and programs see it read-only.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, len) })
}
