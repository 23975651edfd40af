//! Programs' address spaces, by the tables that the processor walks: see [`kernel::space`].

use super::paging::{
    self, activate, activate_kernel, physical, table_at, with_frames, zeroed_frame,
    zeroed_frame_for,
};
use abi::layout::{PAGE_SIZE, RAMDISK_START};
use abi::{Error, Result};
use core::ptr::NonNull;
use kernel::space::{ENTRIES, KERNEL_HALF, Physical, RAMDISK_ENTRY, Shown};
use spin::Once;
use x86_64::PhysAddr;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{PageTableFlags as Flags, PhysFrame};

/// A program's address space on the machine.
pub type Space = kernel::space::Space<Machine>;

/// The machine's memory, as spaces use it.
pub struct Machine;

/// Physical address of the table that shows the ramdisk to all programs.
static RAMDISK_TABLE: Once<u64> = Once::new();

/// Builds that table, once.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn share_ramdisk(ramdisk: &'static [u8]) -> Result<()> {
    let mut space = Space::new(Machine)?;
    let start = ramdisk.as_ptr() as u64;
    let first = start - start % PAGE_SIZE;
    let end = start + ramdisk.len() as u64;
    for page in (first..end).step_by(PAGE_SIZE as usize) {
        let memory = paging::translate(page).ok_or(Error::NoMemory)?;
        space.show([Shown {
            address: RAMDISK_START + (page - first),
            memory: memory.as_u64(),
            len: PAGE_SIZE,
            writable: false,
        }])?;
    }
    // It outlives the space, which frees nothing below this entry.
    let table = space.table_below(RAMDISK_ENTRY).ok_or(Error::NoMemory)?;
    RAMDISK_TABLE.call_once(|| table);
    Ok(())
}

/// Makes this the space that the processor translates by.
pub fn enter(space: &Space) {
    activate(frame(space.top()));
}

/// Where the kernel sees the byte at user address `address`: see [`kernel::space::Space`].
#[inline]
pub fn user_page(space: &Space, address: u64, write: bool) -> Option<NonNull<u8>> {
    NonNull::new(physical(PhysAddr::new(space.user_page(address, write)?)))
}

/// The same of several bytes, and how many of them lie in a row.
pub fn user_run(space: &Space, address: u64, len: u64, write: bool) -> Option<(NonNull<u8>, u64)> {
    let (memory, len) = space.user_run(address, len, write)?;
    Some((NonNull::new(physical(PhysAddr::new(memory)))?, len))
}

fn frame(address: u64) -> PhysFrame {
    PhysFrame::containing_address(PhysAddr::new(address))
}

impl Physical for Machine {
    fn available(&self) -> u64 {
        paging::free_frames()
    }

    fn take(&self, page: Option<u64>) -> Option<u64> {
        let taken = match page {
            Some(page) => zeroed_frame_for(page),
            None => zeroed_frame(),
        };
        taken.map(|frame| frame.start_address().as_u64())
    }

    fn take_top(&self) -> Option<u64> {
        let kernel = paging::kernel_table()?;
        let top = zeroed_frame()?;
        // SAFETY: the fresh table is ours; the kernel's is only read.
        let (from, to) = unsafe { (table_at(kernel), table_at(top)) };
        for index in KERNEL_HALF..ENTRIES {
            to[index] = from[index].clone();
        }
        if let Some(&ramdisk) = RAMDISK_TABLE.get() {
            let flags = Flags::PRESENT | Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE;
            to[RAMDISK_ENTRY].set_addr(PhysAddr::new(ramdisk), flags);
        }
        Some(top.start_address().as_u64())
    }

    fn give_back(&self, frame: u64) {
        with_frames(|frames| frames.free(frame));
    }

    fn leave(&self, top: u64) {
        if Cr3::read().0 == frame(top) {
            activate_kernel();
        }
    }

    fn load(&self, table: u64, index: usize) -> u64 {
        assert!(index < ENTRIES);
        // SAFETY: a table that a space has taken from the allocator, or that of the ramdisk, and an
        // entry in it; no reference to it lives.
        unsafe {
            physical(PhysAddr::new(table))
                .cast::<u64>()
                .add(index)
                .read()
        }
    }

    fn store(&self, table: u64, index: usize, entry: u64) {
        assert!(index < ENTRIES);
        // SAFETY: a table that a space has taken from the allocator, in its user half, and an entry
        // in it; no reference to it lives. What is mapped is a fresh frame, or memory for DMA or of
        // the ramdisk: user pages alias no memory that the kernel holds references to.
        unsafe {
            physical(PhysAddr::new(table))
                .cast::<u64>()
                .add(index)
                .write(entry)
        };
    }

    fn write(&self, frame: u64, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= PAGE_SIZE as usize);
        // SAFETY: all within a frame that a space has just taken, to which no reference lives.
        unsafe {
            let target = physical(PhysAddr::new(frame)).add(offset);
            target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
}
