//! Memory the kernel begins with: its code, and the ramdisk the boot stage mapped.

use super::paging;
use abi::layout::PAGE_SIZE;
use bootloader_api::info::BootInfo;
use core::fmt::{self, Display};
use core::ops::Range;
use kernel::ramdisk::{Ramdisk, TERMINATOR};
use x86_64::VirtAddr;

/// What the network server and two servers need at the least, in KiB: measured by making the
/// ramdisk larger until one of them failed for want of memory.
const FREE_MIN_KIB: u64 = 2720;

/// Bytes that a second card leaves to programs: 1 MiB over the least, so that each server has more than
/// it needs to start.
pub const FREE_FOR_SERVERS: u64 = (FREE_MIN_KIB + 1024) * 1024;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
}

/// Too little memory: so many KiB are left for programs.
pub struct TooLittle(u64);

impl Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = (FREE_MIN_KIB - self.0).div_ceil(1024);
        write!(
            f,
            "too little memory: {} KiB are left for programs, which need {FREE_MIN_KIB}: start with \
             {more} MiB more (QEMU: -m), or with a smaller site",
            self.0,
        )
    }
}

/// Refuses a machine on which nothing useful could be started: better one clear line now
/// than programs that fail one after the other. To be asked when the kernel, the ramdisk and the
/// cards have what they need.
///
/// # Errors
/// In words.
pub fn check_enough() -> Result<(), TooLittle> {
    let free = paging::free_frames() * PAGE_SIZE / 1024;
    match free {
        FREE_MIN_KIB.. => Ok(()),
        _ => Err(TooLittle(free)),
    }
}

/// The kernel's code, whose pages nothing may write.
pub fn code() -> Range<VirtAddr> {
    VirtAddr::from_ptr(&raw const __text_start)..VirtAddr::from_ptr(&raw const __text_end)
}

/// The boot stage's copy of the kernel, which nobody needs any more.
const KERNEL: &str = "boot/kernel";

/// The ramdisk. If the kernel's file is its last, that is cut off, and the frames that it was in are free
/// from now on. To be called once.
///
/// # Errors
/// In words, if the boot stage mapped none, or it is no archive.
pub fn ramdisk(boot: &BootInfo) -> Result<Ramdisk<'static>, &'static str> {
    let address = boot.ramdisk_addr.into_option();
    let address = address.ok_or("no ramdisk: give one with -initrd build/wharf.tar")?;
    let len = usize::try_from(boot.ramdisk_len).map_err(|_| "the ramdisk is too large")?;
    // SAFETY: the boot stage mapped it for the kernel, for good, and nobody writes it: its
    // memory is marked as the boot stage's, and programs see it read-only.
    let bytes = |len: usize| unsafe { core::slice::from_raw_parts(address as *const u8, len) };
    let archive =
        |len: usize| Ramdisk::new(bytes(len)).map_err(|_| "the ramdisk is no tar: make image");
    let whole = archive(len)?;
    let Some(start) = whole.start_of_last(KERNEL) else {
        return Ok(whole);
    };
    for block in (start..start + TERMINATOR).step_by(TERMINATOR / 2) {
        let block = paging::translate(address + block as u64).ok_or("the ramdisk is not mapped")?;
        // SAFETY: memory of the ramdisk, of which no slice is used any more; a block is inside a page.
        unsafe { paging::physical(block).write_bytes(0, TERMINATOR / 2) };
    }
    let end = start + TERMINATOR;
    let (first, last) = (address + end as u64, address + len as u64);
    let pages = first.next_multiple_of(PAGE_SIZE)..last - last % PAGE_SIZE;
    for page in pages.step_by(PAGE_SIZE as usize) {
        if let Some(frame) = paging::translate(page) {
            paging::free_run(frame, PAGE_SIZE as usize);
        }
    }
    archive(end)
}
