//! The kernel's page table, and the memory that tables are made of.
//!
//! ```text
//! 0x0000_0000_0000_0000  a program (`space.rs`), one table each
//! 0xffff_c000_0000_0000  what the boot stage placed: ramdisk, boot information, its stack
//! 0xffff_ff80_0000_0000  all physical memory, writable, never executable
//! 0xffff_ffff_8000_0000  the kernel's image, each permission on its own pages
//! 0xffff_ffff_a000_0000  device registers, uncached
//! ```
//!
//! What the kernel uses at each trap is under one entry of the top-level table, and image and
//! devices in one GiB: fewer tables to read after a switch between programs. That has room for
//! 510 GiB of memory.
//!
//! The kernel's half is the same in every table. A program's memory is reached through the
//! physical mapping, never by its own addresses (see `user_memory.rs`).

use crate::mmio::Mmio;
use abi::layout::PAGE_SIZE;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::frames::Frames;
use kernel::runs::Runs;
use kernel::space::KERNEL_HALF;
use spin::{Mutex, Once};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::{Mapper, Translate};
use x86_64::structures::paging::{
    FrameAllocator, OffsetPageTable, Page, PageTable, PageTableFlags as Flags, PhysFrame, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

/// Where all physical memory is mapped; the kernel's `BootloaderConfig` asks for it.
pub const PHYSICAL_START: u64 = 0xffff_ff80_0000_0000;
/// Where the kernel's image begins at the earliest, see `kernel.ld`.
const IMAGE_START: u64 = 0xffff_ffff_8000_0000;
/// Where the boot stage may place what it maps dynamically.
pub const BOOT_START: u64 = 0xffff_c000_0000_0000;
const DEVICE_START: u64 = 0xffff_ffff_a000_0000;
static FRAMES: Mutex<Option<Frames>> = Mutex::new(None);
static DEVICE_NEXT: AtomicU64 = AtomicU64::new(DEVICE_START);
static KERNEL_TABLE: Once<PhysFrame> = Once::new();

/// Where physical memory at `address` is seen.
pub(super) fn physical(address: PhysAddr) -> *mut u8 {
    VirtAddr::new(PHYSICAL_START + address.as_u64()).as_mut_ptr()
}

/// Where in physical memory a byte is that is seen by that mapping.
pub(super) fn physical_of(pointer: *const u8) -> u64 {
    pointer as u64 - PHYSICAL_START
}

/// Hands the usable memory `regions` (start, end in bytes) to the frame allocator. Memory that is in use now
/// and may be freed later is below `end`.
///
/// # Errors
/// In words, if no region can hold the allocator's own bitmap.
pub fn init_frames(
    regions: impl Iterator<Item = (u64, u64)> + Clone,
    end: u64,
) -> core::result::Result<(), &'static str> {
    // Frame 0 stays unused: a physical address of 0 is how cards say "none".
    let regions = regions.map(|(start, end)| (start.max(PAGE_SIZE), end));
    let words = Frames::bitmap_words(end);
    let bytes = words as u64 * 8;
    let home = regions.clone().find(|(start, end)| start + bytes <= *end);
    let (home, _) = home.ok_or("no memory for the bitmap of frames")?;
    let bitmap = physical(PhysAddr::new(home.next_multiple_of(8))).cast::<u64>();
    // SAFETY: the region is usable memory that nothing else holds yet; it is mapped, and
    // the part used here is never given to the allocator.
    let bitmap = unsafe {
        bitmap.write_bytes(0, words);
        core::slice::from_raw_parts_mut(bitmap, words)
    };
    let mut frames = Frames::new(bitmap);
    for (start, end) in regions {
        let start = if start == home {
            start + bytes + 8
        } else {
            start
        };
        frames.add(start, end);
    }
    *FRAMES.lock() = Some(frames);
    Ok(())
}

/// Asks the frame allocator.
///
/// # Panics
/// Before [`init_frames`].
pub(super) fn with_frames<R>(ask: impl FnOnce(&mut Frames) -> R) -> R {
    ask(FRAMES.lock().as_mut().expect("frames are set up"))
}

/// How many frames are free.
pub fn free_frames() -> u64 {
    with_frames(|frames| frames.free_count())
}

/// Takes a frame for a table and clears it.
pub(super) fn zeroed_frame() -> Option<PhysFrame> {
    with_frames(Frames::allocate).map(zeroed)
}

/// Takes a frame for the program's page at `address` and clears it.
pub(super) fn zeroed_frame_for(address: u64) -> Option<PhysFrame> {
    with_frames(|frames| frames.allocate_like(address / PAGE_SIZE)).map(zeroed)
}

fn zeroed(address: u64) -> PhysFrame {
    let address = PhysAddr::new(address);
    // SAFETY: the frame was free, so nothing refers to it, and it is mapped.
    unsafe { physical(address).write_bytes(0, PAGE_SIZE as usize) };
    PhysFrame::containing_address(address)
}

/// Takes contiguous, cleared frames below `limit` for the kernel: their physical address
/// and the memory itself.
pub fn allocate_run(bytes: usize, limit: u64) -> Option<(PhysAddr, NonNull<[u8]>)> {
    let count = (bytes as u64).div_ceil(PAGE_SIZE);
    let address = PhysAddr::new(with_frames(|frames| frames.allocate_run(count, limit))?);
    let memory = NonNull::new(physical(address))?;
    // SAFETY: the frames were free, so nothing refers to them, and they are mapped.
    unsafe { memory.write_bytes(0, bytes) };
    Some((address, NonNull::slice_from_raw_parts(memory, bytes)))
}

/// Gives back what [`allocate_run`] has given. Nothing refers to it any more.
pub fn free_run(address: PhysAddr, bytes: usize) {
    let pages = (address.as_u64()..address.as_u64() + bytes as u64).step_by(PAGE_SIZE as usize);
    with_frames(|frames| pages.for_each(|page| frames.free(page)));
}

pub(super) struct TableFrames;

// SAFETY: every frame comes from the allocator, once.
unsafe impl FrameAllocator<Size4KiB> for TableFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        zeroed_frame()
    }
}

/// The page table at `frame`.
///
/// # Safety
/// There is a page table at `frame`, and no other reference to it lives.
pub(super) unsafe fn table_at<'a>(frame: PhysFrame) -> &'a mut PageTable {
    // SAFETY: as promised; all physical memory is mapped.
    unsafe { &mut *physical(frame.start_address()).cast() }
}

/// The mapper of the table at `frame`.
///
/// # Safety
/// There is a page table at `frame`, and no other reference to it lives.
pub(super) unsafe fn mapper<'a>(frame: PhysFrame) -> OffsetPageTable<'a> {
    // SAFETY: as promised; all physical memory is mapped at PHYSICAL_START.
    unsafe { OffsetPageTable::new(table_at(frame), VirtAddr::new(PHYSICAL_START)) }
}

/// Leaves the boot stage's table for the kernel's own, which has no lower half; takes
/// `guards` out of it and write permission from the physical mapping of the kernel's code.
///
/// # Errors
/// In words, if memory is used up.
pub fn init_kernel_table(
    guards: impl Iterator<Item = VirtAddr>,
    code: core::ops::Range<VirtAddr>,
) -> core::result::Result<(), &'static str> {
    const NO_MEMORY: &str = "no memory for the kernel's page table";
    let (boot, _) = Cr3::read();
    let own = zeroed_frame().ok_or(NO_MEMORY)?;
    // SAFETY: the boot stage's table is live but not changed by anybody; ours is fresh.
    let (from, to) = unsafe { (table_at(boot), table_at(own)) };
    for index in KERNEL_HALF..512 {
        to[index] = from[index].clone();
    }
    // SAFETY: the upper half, where the kernel runs, is the same in both.
    unsafe { Cr3::write(own, Cr3Flags::empty()) };
    KERNEL_TABLE.call_once(|| own);

    // SAFETY: the only reference to the table now in use.
    let mut table = unsafe { mapper(own) };
    for guard in guards {
        let page = Page::<Size4KiB>::containing_address(guard);
        if let Ok((_, flush)) = table.unmap(page) {
            flush.flush();
        }
    }
    for page in Page::range(
        Page::<Size4KiB>::containing_address(code.start),
        Page::containing_address(code.end),
    ) {
        let frame = table.translate_addr(page.start_address());
        if let Some(frame) = frame {
            protect_physical(frame).ok_or(NO_MEMORY)?;
        }
    }
    x86_64::instructions::tlb::flush_all();
    Ok(())
}

/// Makes one frame read-only in the physical mapping, splitting large pages on the way.
fn protect_physical(address: PhysAddr) -> Option<()> {
    let virt = VirtAddr::new(PHYSICAL_START + address.as_u64());
    let mut frame = *KERNEL_TABLE.get()?;
    for level in (1..=4u8).rev() {
        // SAFETY: the walk goes through tables only, one reference at a time.
        let table = unsafe { table_at(frame) };
        let shift = 12 + 9 * (level - 1);
        let entry = &mut table[(virt.as_u64() >> shift) as usize & 511];
        if level == 1 {
            let flags = entry.flags() - Flags::WRITABLE;
            entry.set_flags(flags);
            return Some(());
        }
        if entry.flags().contains(Flags::HUGE_PAGE) {
            let smaller = zeroed_frame()?;
            // SAFETY: a fresh frame that nothing refers to.
            let split = unsafe { table_at(smaller) };
            let mut flags = entry.flags();
            if level == 2 {
                flags -= Flags::HUGE_PAGE;
            }
            for (index, part) in split.iter_mut().enumerate() {
                let offset = (index as u64) << (shift - 9);
                part.set_addr(entry.addr() + offset, flags);
            }
            let parent = Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE;
            entry.set_addr(smaller.start_address(), parent);
        }
        frame = PhysFrame::containing_address(entry.addr());
    }
    None
}

/// Maps device registers; `None` if memory for the tables is used up.
pub fn map_device(address: PhysAddr, len: usize) -> Option<Mmio> {
    let offset = address.as_u64() % PAGE_SIZE;
    let pages = (offset + len as u64).div_ceil(PAGE_SIZE);
    let base = DEVICE_NEXT.fetch_add(pages * PAGE_SIZE, Ordering::Relaxed);
    let flags = Flags::PRESENT
        | Flags::WRITABLE
        | Flags::NO_EXECUTE
        | Flags::NO_CACHE
        | Flags::WRITE_THROUGH;
    // SAFETY: the only reference to the kernel's table at this time.
    let mut table = unsafe { mapper(*KERNEL_TABLE.get()?) };
    for index in 0..pages {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(base + index * PAGE_SIZE));
        let frame = PhysFrame::containing_address(address + index * PAGE_SIZE);
        // SAFETY: the virtual pages are fresh, and what is mapped is no memory of ours.
        let mapped = unsafe { table.map_to(page, frame, flags, &mut TableFrames) };
        mapped.ok()?.flush();
    }
    let window = NonNull::new(VirtAddr::new(base + offset).as_mut_ptr())?;
    // SAFETY: just mapped uncached, for good, for the caller alone.
    Some(unsafe { Mmio::new(window, len) })
}

/// The kernel's own table, once there is one.
pub(super) fn kernel_table() -> Option<PhysFrame> {
    KERNEL_TABLE.get().copied()
}

/// Leaves whatever program's space is active for the kernel's own.
pub fn activate_kernel() {
    if let Some(&table) = KERNEL_TABLE.get() {
        activate(table);
    }
}

pub(super) fn activate(table: PhysFrame) {
    // Writing CR3 empties the TLB; on this path that is the dearest thing, so not for nothing.
    if Cr3::read().0 != table {
        // SAFETY: every table has the kernel's half, where this code runs.
        unsafe { Cr3::write(table, Cr3Flags::empty()) };
    }
}

/// Where the byte at `address` of the kernel's half is in physical memory; `None` if nothing is mapped there.
pub(super) fn translate(address: u64) -> Option<PhysAddr> {
    let address = VirtAddr::try_new(address).ok()?;
    if usize::from(address.p4_index()) < KERNEL_HALF {
        return None;
    }
    // SAFETY: only read here; no other reference lives.
    let table = unsafe { mapper(*KERNEL_TABLE.get()?) };
    table.translate_addr(address)
}

/// Whether the kernel's half has a page at `address`.
pub fn is_mapped(address: u64) -> bool {
    translate(address).is_some()
}

/// Where memory that the kernel sees is physically; empty if a part of it is not mapped.
pub fn physical_runs(memory: &'static [u8]) -> Runs {
    let start = memory.as_ptr() as u64;
    let mut runs = Runs::default();
    let mut offset = 0;
    while offset < memory.len() {
        let here = start + offset as u64;
        let len = ((PAGE_SIZE - here % PAGE_SIZE) as usize).min(memory.len() - offset);
        let Some(address) = translate(here) else {
            return Runs::default();
        };
        runs.push(address.as_u64(), len);
        offset += len;
    }
    runs
}

/// Copies from physical memory; `false` if it is not all in the mapping.
pub fn read_physical(address: u64, buffer: &mut [u8]) -> bool {
    let Some(end) = address.checked_add(buffer.len() as u64) else {
        return false;
    };
    let first = address - address % PAGE_SIZE;
    let limit = IMAGE_START - PHYSICAL_START;
    let mut pages = (first..end.min(limit)).step_by(PAGE_SIZE as usize);
    if end > limit || !pages.all(|page| is_mapped(PHYSICAL_START + page)) {
        return false;
    }
    let source = physical(PhysAddr::new(address));
    // SAFETY: every page of it is mapped; it is firmware's memory, which nobody writes.
    unsafe { source.copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len()) };
    true
}
