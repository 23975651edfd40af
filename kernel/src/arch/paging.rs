//! Page tables, and the memory they are made of.
//!
//! ```text
//! 0x0000_0000_0000_0000  a program (abi::layout), one table each
//! 0xffff_8000_0000_0000  all physical memory, writable, never executable
//! 0xffff_c000_0000_0000  what the boot stage placed: ramdisk, boot information, its stack
//! 0xffff_d000_0000_0000  device registers, uncached
//! 0xffff_ffff_8000_0000  the kernel's image, each permission on its own pages
//! ```
//!
//! The kernel's half is the same in every table. A program's memory is reached through the
//! physical mapping, never by its own addresses (see `user_memory.rs`).

use crate::mmio::Mmio;
use abi::layout::{PAGE_SIZE, RAMDISK_START};
use abi::{Error, Result};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::frames::Frames;
use spin::{Mutex, Once};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::{MapToError, Mapper, Translate, TranslateResult};
use x86_64::structures::paging::{
    FrameAllocator, OffsetPageTable, Page, PageTable, PageTableFlags as Flags, PhysFrame, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

/// Where all physical memory is mapped; the kernel's `BootloaderConfig` asks for it.
pub const PHYSICAL_START: u64 = 0xffff_8000_0000_0000;
/// Where the boot stage may place what it maps dynamically.
pub const BOOT_START: u64 = 0xffff_c000_0000_0000;
const DEVICE_START: u64 = 0xffff_d000_0000_0000;
/// First entry of the kernel's half of a top-level table.
const KERNEL_HALF: usize = 256;
/// The top-level entry of the ramdisk, shared by all programs.
const RAMDISK_ENTRY: usize = (RAMDISK_START >> 39) as usize;

static FRAMES: Mutex<Option<Frames>> = Mutex::new(None);
static DEVICE_NEXT: AtomicU64 = AtomicU64::new(DEVICE_START);
static KERNEL_TABLE: Once<PhysFrame> = Once::new();
static RAMDISK_TABLE: Once<PageTableEntryBits> = Once::new();

/// The ramdisk's top-level entry: physical address of its table.
type PageTableEntryBits = PhysAddr;

/// Where physical memory at `address` is seen.
fn physical(address: PhysAddr) -> *mut u8 {
    VirtAddr::new(PHYSICAL_START + address.as_u64()).as_mut_ptr()
}

/// Hands the usable memory `regions` (start, end in bytes) to the frame allocator.
///
/// # Errors
/// In words, if no region can hold the allocator's own bitmap.
pub fn init_frames(
    regions: impl Iterator<Item = (u64, u64)> + Clone,
) -> core::result::Result<(), &'static str> {
    // Frame 0 stays unused: a physical address of 0 is how cards say "none".
    let regions = regions.map(|(start, end)| (start.max(PAGE_SIZE), end));
    let end = regions.clone().map(|(_, end)| end).max().unwrap_or(0);
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
pub fn with_frames<R>(ask: impl FnOnce(&mut Frames) -> R) -> R {
    ask(FRAMES.lock().as_mut().expect("frames are set up"))
}

/// Takes a frame and clears it.
fn zeroed_frame() -> Option<PhysFrame> {
    let address = PhysAddr::new(with_frames(Frames::allocate)?);
    // SAFETY: the frame was free, so nothing refers to it, and it is mapped.
    unsafe { physical(address).write_bytes(0, PAGE_SIZE as usize) };
    Some(PhysFrame::containing_address(address))
}

/// Takes contiguous, cleared frames below `limit` for the kernel: their physical address
/// and the memory itself. They are never given back.
pub fn allocate_run(bytes: usize, limit: u64) -> Option<(PhysAddr, NonNull<[u8]>)> {
    let count = (bytes as u64).div_ceil(PAGE_SIZE);
    let address = PhysAddr::new(with_frames(|frames| frames.allocate_run(count, limit))?);
    let memory = NonNull::new(physical(address))?;
    // SAFETY: the frames were free, so nothing refers to them, and they are mapped.
    unsafe { memory.write_bytes(0, bytes) };
    Some((address, NonNull::slice_from_raw_parts(memory, bytes)))
}

struct TableFrames;

// SAFETY: every frame comes from the allocator, once.
unsafe impl FrameAllocator<Size4KiB> for TableFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        zeroed_frame()
    }
}

/// The page table at `frame`.
///
/// # Safety
/// It is one, and no other reference to it lives.
unsafe fn table_at<'a>(frame: PhysFrame) -> &'a mut PageTable {
    // SAFETY: as promised; all physical memory is mapped.
    unsafe { &mut *physical(frame.start_address()).cast() }
}

/// The mapper of the table at `frame`.
///
/// # Safety
/// As [`table_at`].
unsafe fn mapper<'a>(frame: PhysFrame) -> OffsetPageTable<'a> {
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
    // The device area gets its table now, since each program's table copies this half.
    let device = zeroed_frame().ok_or(NO_MEMORY)?;
    let entry = VirtAddr::new(DEVICE_START).p4_index();
    to[entry].set_addr(
        device.start_address(),
        Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE,
    );
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

/// Builds the table that shows the ramdisk to every program, once.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn share_ramdisk(ramdisk: &'static [u8]) -> Result<()> {
    let space = Space::new()?;
    let start = ramdisk.as_ptr() as u64;
    let first = start - start % PAGE_SIZE;
    let pages = (start + ramdisk.len() as u64 - first).div_ceil(PAGE_SIZE);
    let kernel = *KERNEL_TABLE.get().ok_or(Error::NoMemory)?;
    for index in 0..pages {
        // SAFETY: read-only use of the kernel's table; no other reference lives.
        let table = unsafe { mapper(kernel) };
        let address = table.translate_addr(VirtAddr::new(first + index * PAGE_SIZE));
        let frame = PhysFrame::containing_address(address.ok_or(Error::NoMemory)?);
        let page = RAMDISK_START + index * PAGE_SIZE;
        space.map(page, frame, Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE)?;
    }
    // SAFETY: the table is this function's own.
    let table = unsafe { table_at(space.table) };
    RAMDISK_TABLE.call_once(|| table[RAMDISK_ENTRY].addr());
    // The space is never freed: its one user entry lives on in every program.
    core::mem::forget(space);
    Ok(())
}

/// A program's address space. Dropping it frees all memory in it.
pub struct Space {
    table: PhysFrame,
}

impl Space {
    /// An empty space with the kernel's half and the ramdisk.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new() -> Result<Self> {
        let frame = zeroed_frame().ok_or(Error::NoMemory)?;
        let kernel = *KERNEL_TABLE.get().ok_or(Error::NoMemory)?;
        // SAFETY: the fresh table is ours; the kernel's is only read.
        let (from, to) = unsafe { (table_at(kernel), table_at(frame)) };
        for index in KERNEL_HALF..512 {
            to[index] = from[index].clone();
        }
        if let Some(&ramdisk) = RAMDISK_TABLE.get() {
            let flags = Flags::PRESENT | Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE;
            to[RAMDISK_ENTRY].set_addr(ramdisk, flags);
        }
        Ok(Space { table: frame })
    }

    /// Adds zeroed memory at `address..address + len`, rounded out to pages, and copies
    /// `data` to its start.
    ///
    /// # Errors
    /// [`Error::NoMemory`]; what was added stays until the space is dropped.
    pub fn add_memory(
        &mut self,
        address: u64,
        len: u64,
        data: &[u8],
        writable: bool,
        executable: bool,
    ) -> Result<()> {
        let mut flags = Flags::USER_ACCESSIBLE;
        flags.set(Flags::WRITABLE, writable);
        flags.set(Flags::NO_EXECUTE, !executable);
        let first = address - address % PAGE_SIZE;
        let pages = (address + len - first).div_ceil(PAGE_SIZE);
        let mut rest = data;
        let mut offset = (address - first) as usize;
        for index in 0..pages {
            let frame = zeroed_frame().ok_or(Error::NoMemory)?;
            let part;
            (part, rest) = rest.split_at(rest.len().min(PAGE_SIZE as usize - offset));
            // SAFETY: the frame is fresh and mapped, and the part fits behind the offset.
            unsafe {
                let target = physical(frame.start_address()).add(offset);
                target.copy_from_nonoverlapping(part.as_ptr(), part.len());
            }
            offset = 0;
            let mapped = self.map(first + index * PAGE_SIZE, frame, flags);
            if mapped.is_err() {
                with_frames(|frames| frames.free(frame.start_address().as_u64()));
                return mapped;
            }
        }
        Ok(())
    }

    fn map(&self, address: u64, frame: PhysFrame, flags: Flags) -> Result<()> {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(address));
        let parents = Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE;
        // SAFETY: the only reference to this table; the user half of it is ours to map.
        let mut table = unsafe { mapper(self.table) };
        // SAFETY: the frame is fresh or read-only shared, and user pages alias no memory
        // the kernel holds references to.
        let mapped = unsafe {
            table.map_to_with_table_flags(
                page,
                frame,
                flags | Flags::PRESENT,
                parents,
                &mut TableFrames,
            )
        };
        match mapped {
            Ok(flush) => {
                // Not present before, so no translation can be stale.
                flush.ignore();
                Ok(())
            }
            Err(MapToError::FrameAllocationFailed) => Err(Error::NoMemory),
            Err(_) => Err(Error::InvalidArgument),
        }
    }

    /// Where the kernel sees the byte at user address `address`, if a program may read it,
    /// or write it with `write`. Valid up to the end of the page and while `self` lives.
    pub fn user_page(&self, address: u64, write: bool) -> Option<NonNull<u8>> {
        let mut needed = Flags::PRESENT | Flags::USER_ACCESSIBLE;
        needed.set(Flags::WRITABLE, write);
        // SAFETY: only read here; no other reference lives.
        let table = unsafe { mapper(self.table) };
        match table.translate(VirtAddr::new(address)) {
            TranslateResult::Mapped {
                frame,
                offset,
                flags,
            } if flags.contains(needed) => NonNull::new(physical(frame.start_address() + offset)),
            _ => None,
        }
    }

    /// Makes this the space the processor translates by.
    pub fn activate(&self) {
        activate(self.table);
    }
}

/// Leaves whatever program's space is active for the kernel's own.
pub fn activate_kernel() {
    if let Some(&table) = KERNEL_TABLE.get() {
        activate(table);
    }
}

fn activate(table: PhysFrame) {
    // Writing CR3 empties the TLB; on this path that is the dearest thing, so not for nothing.
    if Cr3::read().0 != table {
        // SAFETY: every table has the kernel's half, where this code runs.
        unsafe { Cr3::write(table, Cr3Flags::empty()) };
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if Cr3::read().0 == self.table {
            activate_kernel();
        }
        // SAFETY: nothing translates by this table any more, and its user half is ours,
        // except for the ramdisk's entry.
        unsafe {
            let table = table_at(self.table);
            table[RAMDISK_ENTRY].set_unused();
            free_below(self.table, 4, KERNEL_HALF);
        }
        with_frames(|frames| frames.free(self.table.start_address().as_u64()));
    }
}

/// Frees every frame and table that the first `entries` entries of a table refer to.
///
/// # Safety
/// Nothing uses the table or what it maps any more, and all of it came from the allocator.
unsafe fn free_below(table: PhysFrame, level: u8, entries: usize) {
    // SAFETY: as promised.
    let table = unsafe { table_at(table) };
    for entry in table.iter_mut().take(entries) {
        if !entry.flags().contains(Flags::PRESENT) {
            continue;
        }
        let frame = PhysFrame::containing_address(entry.addr());
        if level > 1 {
            // SAFETY: as promised; user space has no large pages.
            unsafe { free_below(frame, level - 1, 512) };
        }
        entry.set_unused();
        with_frames(|frames| frames.free(frame.start_address().as_u64()));
    }
}

/// Whether the kernel's half has a page at `address`.
pub fn is_mapped(address: u64) -> bool {
    let Ok(address) = VirtAddr::try_new(address) else {
        return false;
    };
    if address.as_u64() < PHYSICAL_START {
        return false;
    }
    KERNEL_TABLE.get().is_some_and(|&table| {
        // SAFETY: only read here; no other reference lives.
        let table = unsafe { mapper(table) };
        table.translate_addr(address).is_some()
    })
}

/// Copies from physical memory; `false` if it is not all in the mapping.
pub fn read_physical(address: u64, buffer: &mut [u8]) -> bool {
    let Some(end) = address.checked_add(buffer.len() as u64) else {
        return false;
    };
    let first = address - address % PAGE_SIZE;
    let limit = DEVICE_START - PHYSICAL_START;
    let pages = (first..end.min(limit)).step_by(PAGE_SIZE as usize);
    if end > limit
        || !pages
            .into_iter()
            .all(|page| is_mapped(PHYSICAL_START + page))
    {
        return false;
    }
    let source = physical(PhysAddr::new(address));
    // SAFETY: every page of it is mapped; it is firmware's memory, which nobody writes.
    unsafe { source.copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len()) };
    true
}
