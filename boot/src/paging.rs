//! The kernel's page tables.

use core::ops::Range;

use x86_64::PhysAddr;
use x86_64::structures::paging::{PageTable, PageTableFlags, PhysFrame};

use crate::layout::HIGHER_HALF;
use crate::memory_map::Frames;

/// Physical memory below 4 GiB, by frame: the machine's own, or a model of it.
///
/// Only frames from [`Frames`] may be asked for. Their content is undefined at first.
pub trait Memory {
    /// The page table in `frame`.
    fn table(&mut self, frame: PhysFrame) -> &mut PageTable;
    /// The bytes of `frame`.
    fn bytes(&mut self, frame: PhysFrame) -> &mut [u8; 4096];
}

/// A size of page that the CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// 4 KiB
    Small,
    /// 2 MiB
    Large,
    /// 1 GiB
    Huge,
}

impl PageSize {
    /// In bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// How many address bits are the offset.
    const fn shift(self) -> u32 {
        match self {
            Self::Small => 12,
            Self::Large => 21,
            Self::Huge => 30,
        }
    }
}

/// Why something was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No frame is left.
    OutOfFrames,
    /// Something else is mapped there.
    Taken,
}

/// An upper bound for the number of page tables that mapping `len` bytes takes.
pub fn tables_for(len: u64, size: PageSize) -> u64 {
    let levels = [21, 30, 39];
    let of_level = |shift: u32| (len >> shift) + 2;
    levels
        .into_iter()
        .filter(|&shift| shift > size.shift())
        .map(of_level)
        .sum()
}

/// Page tables in the making: nothing is mapped but what [`Mapper::map`] maps.
#[derive(Debug)]
pub struct Mapper<'a, 'm, M> {
    memory: &'a mut M,
    frames: &'a mut Frames<'m>,
    root: PhysFrame,
}

impl<'a, 'm, M: Memory> Mapper<'a, 'm, M> {
    /// An empty level 4 table.
    pub fn new(memory: &'a mut M, frames: &'a mut Frames<'m>) -> Result<Self, MapError> {
        let root = frames.allocate().ok_or(MapError::OutOfFrames)?;
        memory.table(root).zero();
        Ok(Self {
            memory,
            frames,
            root,
        })
    }

    /// The level 4 table.
    pub fn root(&self) -> PhysFrame {
        self.root
    }

    /// Maps `pages`, canonical addresses aligned to `size`, to physical memory from `to` on.
    pub fn map(
        &mut self,
        pages: Range<u64>,
        mut to: u64,
        size: PageSize,
        mut flags: PageTableFlags,
    ) -> Result<(), MapError> {
        flags.set(PageTableFlags::HUGE_PAGE, size != PageSize::Small);
        // For a kernel that turns CR4.PGE on; it is off, so others need not know.
        flags.set(PageTableFlags::GLOBAL, pages.start >= HIGHER_HALF);
        let mut at = pages.start;
        while at < pages.end {
            let leaf = self.leaf_table(at, size)?;
            let left = (pages.end - at) >> size.shift();
            let entries = self.memory.table(leaf).iter_mut();
            for entry in entries.skip(index(at, size.shift())).take(left as usize) {
                if !entry.is_unused() {
                    return Err(MapError::Taken);
                }
                entry.set_addr(PhysAddr::new(to), flags);
                to += size.bytes();
                at += size.bytes();
            }
        }
        Ok(())
    }

    /// Maps the page at `at` to a fresh frame and answers its bytes, which are undefined.
    pub fn map_fresh(
        &mut self,
        at: u64,
        flags: PageTableFlags,
    ) -> Result<&mut [u8; 4096], MapError> {
        let frame = self.frames.allocate().ok_or(MapError::OutOfFrames)?;
        let to = frame.start_address().as_u64();
        self.map(at..at + PageSize::Small.bytes(), to, PageSize::Small, flags)?;
        Ok(self.memory.bytes(frame))
    }

    /// Lets the level 4 table's entry for `at` point at that table itself.
    pub fn map_recursively(&mut self, at: u64) -> Result<u16, MapError> {
        let (root, index) = (self.root, index(at, 39));
        let entry = &mut self.memory.table(root)[index];
        if !entry.is_unused() {
            return Err(MapError::Taken);
        }
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
        entry.set_frame(root, flags);
        Ok(index as u16)
    }

    /// The table with the entries for pages of `size` at `at`, with all tables above it.
    fn leaf_table(&mut self, at: u64, size: PageSize) -> Result<PhysFrame, MapError> {
        let mut table = self.root;
        for shift in [39, 30, 21] {
            if shift <= size.shift() {
                break;
            }
            let entry = &self.memory.table(table)[index(at, shift)];
            table = if !entry.is_unused() {
                entry.frame().map_err(|_| MapError::Taken)?
            } else {
                let fresh = self.frames.allocate().ok_or(MapError::OutOfFrames)?;
                self.memory.table(fresh).zero();
                let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
                self.memory.table(table)[index(at, shift)].set_frame(fresh, flags);
                fresh
            };
        }
        Ok(table)
    }
}

/// Which entry of its table is for `at`.
fn index(at: u64, shift: u32) -> usize {
    (at >> shift) as usize & 511
}
