//! Programs' address spaces: one page table each, the kernel's half the same in all.

use super::paging::{
    self, KERNEL_HALF, TableFrames, activate, activate_kernel, mapper, physical, table_at,
    with_frames, zeroed_frame, zeroed_frame_for,
};
use abi::layout::{PAGE_SIZE, RAMDISK_START};
use abi::{Error, Result};
use core::cell::Cell;
use core::ptr::NonNull;
use spin::Once;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::mapper::{MapToError, Mapper, Translate};
use x86_64::structures::paging::{Page, PageTable, PageTableFlags as Flags, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

/// The top-level entry of the ramdisk, shared by all programs.
const RAMDISK_ENTRY: usize = (RAMDISK_START >> 39) as usize;

/// Marks a page whose frame is somebody else's: it is not freed with the space.
const BORROWED: Flags = Flags::BIT_9;

/// Physical address of the table under that entry.
static RAMDISK_TABLE: Once<PhysAddr> = Once::new();

/// Builds the table that shows the ramdisk to every program, once.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn share_ramdisk(ramdisk: &'static [u8]) -> Result<()> {
    let space = Space::new()?;
    let start = ramdisk.as_ptr() as u64;
    let first = start - start % PAGE_SIZE;
    let pages = (start + ramdisk.len() as u64 - first).div_ceil(PAGE_SIZE);
    let kernel = paging::kernel_table().ok_or(Error::NoMemory)?;
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
    known: [Cell<Known>; KNOWN],
}

/// Translations that are remembered. Pages are only added to a space, so none becomes wrong.
///
/// The kernel finds a program's page by reading four tables, each of which costs the processor
/// a translation of its own where the switch to another space has emptied the TLB; under an
/// emulator those were a tenth of all its work for a datagram.
const KNOWN: usize = 16;

/// A page of a program, and where it is. Address 0 is never a program's.
#[derive(Clone, Copy, Default)]
struct Known {
    page: u64,
    frame: u64,
    writable: bool,
}

impl Space {
    /// An empty space with the kernel's half and the ramdisk.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new() -> Result<Self> {
        let frame = zeroed_frame().ok_or(Error::NoMemory)?;
        let kernel = paging::kernel_table().ok_or(Error::NoMemory)?;
        // SAFETY: the fresh table is ours; the kernel's is only read.
        let (from, to) = unsafe { (table_at(kernel), table_at(frame)) };
        for index in KERNEL_HALF..512 {
            to[index] = from[index].clone();
        }
        if let Some(&ramdisk) = RAMDISK_TABLE.get() {
            let flags = Flags::PRESENT | Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE;
            to[RAMDISK_ENTRY].set_addr(ramdisk, flags);
        }
        Ok(Space {
            table: frame,
            known: Default::default(),
        })
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
            let frame = zeroed_frame_for(first + index * PAGE_SIZE).ok_or(Error::NoMemory)?;
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

    /// Shows the program memory that stays somebody else's, at `address`; all of whole pages.
    /// It may write there only with `writable`, and must not outlive the memory.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::InvalidArgument`] where something is mapped already; what
    /// was shown stays until the space is dropped.
    pub fn show(&mut self, address: u64, memory: PhysAddr, len: u64, writable: bool) -> Result<()> {
        let mut flags = Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE | BORROWED;
        flags.set(Flags::WRITABLE, writable);
        for offset in (0..len).step_by(PAGE_SIZE as usize) {
            let frame = PhysFrame::containing_address(memory + offset);
            self.map(address + offset, frame, flags)?;
        }
        Ok(())
    }

    fn map(&self, address: u64, frame: PhysFrame, flags: Flags) -> Result<()> {
        let page = Page::<Size4KiB>::containing_address(VirtAddr::new(address));
        let parents = Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE;
        // SAFETY: the only reference to this table; the user half of it is ours to map.
        let mut table = unsafe { mapper(self.table) };
        // SAFETY: the frame is fresh, read-only shared, or memory for DMA; so user pages alias
        // no memory the kernel holds references to.
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
        let offset = address % PAGE_SIZE;
        let page = address - offset;
        let place = (page / PAGE_SIZE) as usize % KNOWN;
        let Known {
            page: there,
            frame,
            writable,
        } = self.known[place].get();
        if there == page && page != 0 && (writable || !write) {
            return NonNull::new(physical(PhysAddr::new(frame + offset)));
        }
        let found = self.walk(page, write)?;
        self.known[place].set(found);
        NonNull::new(physical(PhysAddr::new(found.frame + offset)))
    }

    /// As [`Space::user_page`], of `len` bytes from `address` on: how many of them, at least, lie
    /// in a row there, too. One walk through the tables finds all pages of a row.
    pub fn user_run(&self, address: u64, len: u64, write: bool) -> Option<(NonNull<u8>, u64)> {
        let offset = address % PAGE_SIZE;
        if offset + len <= PAGE_SIZE {
            return Some((self.user_page(address, write)?, len));
        }
        let (needed, virt) = (access(write), VirtAddr::try_new(address).ok()?);
        let table = self.last_table(virt)?;
        let first = usize::from(virt.p1_index());
        let frame = table[first].addr();
        let end = 512.min(first + (offset + len).div_ceil(PAGE_SIZE) as usize);
        let in_row = |index: &usize| {
            let entry = &table[*index];
            let expected = frame.as_u64() + (index - first) as u64 * PAGE_SIZE;
            entry.flags().contains(needed) && entry.addr().as_u64() == expected
        };
        let pages = (first..end).take_while(in_row).count() as u64;
        let start = NonNull::new(physical(frame + offset))?;
        (pages > 0).then(|| (start, len.min(pages * PAGE_SIZE - offset)))
    }

    /// Looks a page up in the tables.
    fn walk(&self, address: u64, write: bool) -> Option<Known> {
        let address = VirtAddr::try_new(address).ok()?;
        let entry = &self.last_table(address)?[address.p1_index()];
        entry.flags().contains(access(write)).then(|| Known {
            page: address.as_u64(),
            frame: entry.addr().as_u64(),
            writable: entry.flags().contains(Flags::WRITABLE),
        })
    }

    /// The table that has the entry of a page.
    fn last_table(&self, address: VirtAddr) -> Option<&PageTable> {
        let mut frame = self.table;
        // By hand, since every system call comes here: the upper tables let all through, and
        // user space has no large pages.
        for index in [address.p4_index(), address.p3_index(), address.p2_index()] {
            // SAFETY: only read here; no other reference lives.
            let entry = unsafe { &table_at(frame)[index] };
            if !entry
                .flags()
                .contains(Flags::PRESENT | Flags::USER_ACCESSIBLE)
            {
                return None;
            }
            frame = PhysFrame::containing_address(entry.addr());
        }
        // SAFETY: only read; pages are added by who has the space exclusively, and those of the
        // ramdisk never.
        Some(unsafe { table_at(frame) })
    }

    /// Makes this the space the processor translates by.
    pub fn activate(&self) {
        activate(self.table);
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

/// What the entry of a page must say for a program to read it, or to write it.
fn access(write: bool) -> Flags {
    let mut needed = Flags::PRESENT | Flags::USER_ACCESSIBLE;
    needed.set(Flags::WRITABLE, write);
    needed
}

/// Frees every frame and table that the first `entries` entries of a table refer to, but for
/// what is borrowed.
///
/// # Safety
/// Nothing uses the table or what it maps any more, and the rest came from the allocator.
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
        let borrowed = entry.flags().contains(BORROWED);
        entry.set_unused();
        if !borrowed {
            with_frames(|frames| frames.free(frame.start_address().as_u64()));
        }
    }
}
