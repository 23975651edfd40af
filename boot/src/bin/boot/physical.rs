//! Physical memory, seen at its own addresses: the entry maps all below 4 GiB so.

use core::ops::Range;

use boot::memory_map::REACH;
use boot::paging::Memory;
use x86_64::structures::paging::{PageTable, PhysFrame};

unsafe extern "C" {
    // By boot.ld: the first byte of the boot stage, and the first after it.
    static image_start: u8;
    static image_end: u8;
}

/// The memory of the boot stage: its code, data and stack.
pub fn image() -> Range<u64> {
    (&raw const image_start).addr() as u64..(&raw const image_end).addr() as u64
}

/// Shows what a loader left in memory; `None` if it is null, the boot stage's own or out of
/// reach.
///
/// # Safety
/// What is shown must not be written any more: it is to be kept out of the frames that
/// [`Frames`] is asked for.
pub unsafe fn show(addr: u64, len: u64) -> Option<&'static [u8]> {
    let end = addr.checked_add(len)?;
    let image = image();
    let is_ours = addr < image.end && image.start < end;
    if addr == 0 || end > REACH || is_ours {
        return None;
    }
    // SAFETY: the range is mapped and not null; bytes have any value, and who calls promises
    // that nobody writes them.
    Some(unsafe { core::slice::from_raw_parts(addr as *const u8, len as usize) })
}

/// The frames that the library takes from the memory map, which nothing else uses.
pub struct Frames(());

impl Frames {
    /// # Safety
    /// There is one at a time, and it is asked only for frames that nothing else uses.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

impl Memory for Frames {
    fn table(&mut self, frame: PhysFrame) -> &mut PageTable {
        // SAFETY: the frame is RAM below 4 GiB, mapped and used by nothing else (`Memory`);
        // it is aligned, any content is a page table, and `self` is borrowed meanwhile.
        unsafe { &mut *(frame.start_address().as_u64() as *mut PageTable) }
    }

    fn bytes(&mut self, frame: PhysFrame) -> &mut [u8; 4096] {
        // SAFETY: as in `table`.
        unsafe { &mut *(frame.start_address().as_u64() as *mut [u8; 4096]) }
    }
}
