//! Programs' address spaces: the page tables of one, from the frames that it takes to those that
//! it gives back.
//!
//! The walk is written once, over [`Physical`]: ring 0 reads and writes the tables that the
//! processor walks, the tests read and write a model of memory. What a call adds, it adds whole:
//! it counts the frames that it needs before it takes the first, so a call that is refused has
//! changed nothing and can be repeated.
//!
//! Source: Intel SDM vol. 3, §4.5 (4-level paging).

use abi::layout::{PAGE_SIZE, RAMDISK_START, USER_END};
use abi::{Error, Result};
use core::cell::Cell;
use x86_64::structures::paging::PageTableFlags as Flags;

/// Entries of a table.
pub const ENTRIES: usize = 512;
/// First entry of the kernel's half of a top-level table.
pub const KERNEL_HALF: usize = 256;
/// The top-level entry of the ramdisk. What is below it is the same in all spaces, and no space's.
pub const RAMDISK_ENTRY: usize = (RAMDISK_START >> 39) as usize;
/// Level of a top-level table; one of level 1 has the entries of pages.
const TOP: u32 = 4;
/// Marks a page whose frame is not the space's own, so that it is not freed with the space.
const BORROWED: Flags = Flags::BIT_9;
/// Where an entry's address is (Intel SDM vol. 3, table 4-20).
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Physical memory, as page tables need it. Frames are named by their physical address.
pub trait Physical {
    /// How many frames a program may have.
    fn available(&self) -> u64;
    /// Takes a frame and clears it; for the program's page at `page`, or for a table if that is
    /// `None`.
    fn take(&self, page: Option<u64>) -> Option<u64>;
    /// Takes a frame for a top-level table: with the kernel's half and the ramdisk's entry, and
    /// clear otherwise.
    fn take_top(&self) -> Option<u64>;
    /// Gives a frame back.
    fn give_back(&self, frame: u64);
    /// Has the processor leave the space of this top-level table, which is about to be no more.
    fn leave(&self, top: u64);
    /// Entry `index` of the table in a frame.
    fn load(&self, table: u64, index: usize) -> u64;
    /// Changes it.
    fn store(&self, table: u64, index: usize, entry: u64);
    /// Copies bytes into a frame, from `offset` on, in which they all are.
    fn write(&self, frame: u64, offset: usize, bytes: &[u8]);
}

/// A part of a program's memory: a segment of its image, its stack, or more of its heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<'a> {
    /// Where it begins, not necessarily at the start of a page.
    pub address: u64,
    /// Its length in bytes, never 0 and never less than that of `data`.
    pub len: u64,
    /// What it begins with; the rest is zeros.
    pub data: &'a [u8],
    /// The program may write to it.
    pub writable: bool,
    /// The program may run it.
    pub executable: bool,
}

impl Region<'_> {
    /// First address after it.
    pub fn end(&self) -> u64 {
        self.address + self.len
    }

    /// Address of its first page.
    pub fn first_page(&self) -> u64 {
        self.address - self.address % PAGE_SIZE
    }

    /// Whether it has the byte at this address.
    pub fn contains(&self, address: u64) -> bool {
        (self.address..self.end()).contains(&address)
    }

    fn range(&self) -> Range {
        let first = self.first_page();
        let pages = (self.end() - first).div_ceil(PAGE_SIZE);
        Range { first, pages }
    }

    fn flags(&self) -> Flags {
        let mut flags = Flags::PRESENT | Flags::USER_ACCESSIBLE;
        flags.set(Flags::WRITABLE, self.writable);
        flags.set(Flags::NO_EXECUTE, !self.executable);
        flags
    }
}

/// Memory that a program is shown although it is not the program's own; whole pages.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Where the program sees it.
    pub address: u64,
    /// Where it is in physical memory.
    pub memory: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The program may write to it.
    pub writable: bool,
}

/// Pages in a row.
#[derive(Clone, Copy)]
struct Range {
    first: u64,
    pages: u64,
}

/// A program's address space. Dropping it frees all memory in it.
pub struct Space<P: Physical> {
    physical: P,
    top: u64,
    /// Frames that it has taken, with those of its tables, and may take.
    taken: u64,
    limit: u64,
    known: [Cell<Known>; KNOWN],
}

/// Translations that are remembered. Pages are only added to a space, so none becomes wrong.
///
/// The kernel finds a program's page by reading four tables, each of which is a page that the
/// processor has to translate, too: that was a tenth of an emulator's work for a datagram.
const KNOWN: usize = 16;

/// A page of a program, and where it is. Address 0 is never a program's.
#[derive(Clone, Copy, Default)]
struct Known {
    page: u64,
    frame: u64,
    writable: bool,
}

impl<P: Physical> Space<P> {
    /// A space with the kernel's half and the ramdisk.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(physical: P) -> Result<Self> {
        let top = physical.take_top().ok_or(Error::NoMemory)?;
        Ok(Space {
            physical,
            top,
            taken: 1,
            limit: u64::MAX,
            known: Default::default(),
        })
    }

    /// How many bytes of memory it takes, with its tables.
    pub fn memory(&self) -> u64 {
        self.taken * PAGE_SIZE
    }

    /// Limits how many bytes it may take from now on. It keeps what it has.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes / PAGE_SIZE;
    }

    /// Counts memory for the program that is not in its address space.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] over its limit.
    pub fn charge(&mut self, bytes: u64) -> Result<()> {
        let pages = bytes.div_ceil(PAGE_SIZE);
        if pages > self.limit.saturating_sub(self.taken) {
            return Err(Error::QuotaExceeded);
        }
        self.taken += pages;
        Ok(())
    }

    /// The top-level table.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Adds memory, all or nothing.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] over its limit, [`Error::NoMemory`];
    /// [`Error::InvalidArgument`] if a page of it is there already.
    pub fn add_memory(&mut self, region: &Region) -> Result<()> {
        let range = region.range();
        self.check_room(&[range], range.pages)?;
        let mut rest = region.data;
        let mut offset = (region.address - range.first) as usize;
        for page in range.all() {
            let frame = self.take(Some(page))?;
            let part;
            (part, rest) = rest.split_at(rest.len().min(PAGE_SIZE as usize - offset));
            self.physical.write(frame, offset, part);
            offset = 0;
            self.map(page, frame, region.flags())?;
        }
        Ok(())
    }

    /// Shows the program memory that is not its own, all of it or none. The space must be dropped before
    /// that memory is freed.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] and [`Error::NoMemory`] for the tables that it takes,
    /// [`Error::InvalidArgument`] if a page of it is there already.
    pub fn show<const N: usize>(&mut self, regions: [Shown; N]) -> Result<()> {
        let ranges = regions.map(|region| Range {
            first: region.address,
            pages: region.len.div_ceil(PAGE_SIZE),
        });
        self.check_room(&ranges, 0)?;
        for (region, range) in regions.iter().zip(ranges) {
            let mut flags = Flags::PRESENT | Flags::USER_ACCESSIBLE | Flags::NO_EXECUTE | BORROWED;
            flags.set(Flags::WRITABLE, region.writable);
            for page in range.all() {
                self.map(page, region.memory + (page - range.first), flags)?;
            }
        }
        Ok(())
    }

    /// Whether it may take the frames for `pages` pages and the tables that these ranges lack, and
    /// they are there, and none of the ranges' pages is.
    fn check_room(&self, ranges: &[Range], pages: u64) -> Result<()> {
        let mut needed = pages;
        for range in ranges {
            if range.end().is_none_or(|end| end > USER_END) {
                return Err(Error::InvalidArgument);
            }
            // A table that two ranges lack is counted twice: that errs on the safe side.
            let lacks = |level| {
                range
                    .tables(level)
                    .filter(move |&at| self.table(at, level).is_none())
            };
            needed += (1..TOP)
                .map(|level| lacks(level).count() as u64)
                .sum::<u64>();
        }
        if needed > self.limit.saturating_sub(self.taken) {
            return Err(Error::QuotaExceeded);
        }
        if needed > self.physical.available() {
            return Err(Error::NoMemory);
        }
        let mut pages = ranges.iter().flat_map(|range| range.all());
        match pages.any(|page| self.entry(page).is_some_and(|entry| entry != 0)) {
            true => Err(Error::InvalidArgument),
            false => Ok(()),
        }
    }

    /// Takes a frame. Room for it was found.
    fn take(&mut self, page: Option<u64>) -> Result<u64> {
        let frame = self.physical.take(page).ok_or(Error::NoMemory)?;
        self.taken += 1;
        Ok(frame)
    }

    /// Enters a page. Room for its tables was found.
    fn map(&mut self, page: u64, frame: u64, flags: Flags) -> Result<()> {
        let parents = Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE;
        let mut table = self.top;
        for level in (2..=TOP).rev() {
            let index = index(page, level);
            table = match present(self.physical.load(table, index)) {
                Some(next) => next,
                None => {
                    let next = self.take(None)?;
                    self.physical.store(table, index, next | parents.bits());
                    next
                }
            };
        }
        // Not present before, so no translation can be stale.
        self.physical
            .store(table, index(page, 1), frame | flags.bits());
        Ok(())
    }

    /// Where the byte at user address `address` is in physical memory, if a program may read it,
    /// or write it with `write`. Valid up to the end of the page and while `self` lives.
    #[inline]
    pub fn user_page(&self, address: u64, write: bool) -> Option<u64> {
        let offset = address % PAGE_SIZE;
        let page = address - offset;
        let Known {
            page: there,
            frame,
            writable,
        } = self.known[place(page)].get();
        if there == page && page != 0 && (writable || !write) {
            return Some(frame + offset);
        }
        self.walk(page, write).map(|frame| frame + offset)
    }

    /// Finds a page in the tables, and remembers it. This is a function of its own so that
    /// [`Space::user_page`] finds a remembered page in few instructions.
    #[inline(never)]
    fn walk(&self, page: u64, write: bool) -> Option<u64> {
        let entry = self.entry(page)?;
        let flags = Flags::from_bits_retain(entry);
        if !flags.contains(access(write)) {
            return None;
        }
        let frame = entry & ADDRESS;
        self.known[place(page)].set(Known {
            page,
            frame: entry & ADDRESS,
            writable: flags.contains(Flags::WRITABLE),
        });
        Some(frame)
    }

    /// Where `len` bytes from `address` on are in physical memory, and how many of them lie in a row there,
    /// at least; otherwise as [`Space::user_page`]. One walk through the tables finds all pages of a row.
    pub fn user_run(&self, address: u64, len: u64, write: bool) -> Option<(u64, u64)> {
        let offset = address % PAGE_SIZE;
        if offset + len <= PAGE_SIZE {
            return Some((self.user_page(address, write)?, len));
        }
        let table = self.table(address, 1)?;
        let first = index(address, 1);
        let frame = self.physical.load(table, first) & ADDRESS;
        let end = ENTRIES.min(first + (offset + len).div_ceil(PAGE_SIZE) as usize);
        let in_row = |index: &usize| {
            let entry = self.physical.load(table, *index);
            let expected = frame + (index - first) as u64 * PAGE_SIZE;
            Flags::from_bits_retain(entry).contains(access(write)) && entry & ADDRESS == expected
        };
        let pages = (first..end).take_while(in_row).count() as u64;
        (pages > 0).then(|| (frame + offset, len.min(pages * PAGE_SIZE - offset)))
    }

    /// The entry of a page; `None` without a table for it.
    fn entry(&self, page: u64) -> Option<u64> {
        let table = self.table(page, 1)?;
        Some(self.physical.load(table, index(page, 1)))
    }

    /// The table of this level that leads to an address. The upper tables let all through, and user
    /// space has no large pages.
    fn table(&self, address: u64, level: u32) -> Option<u64> {
        if address >= USER_END {
            return None;
        }
        let mut table = self.top;
        for above in (level + 1..=TOP).rev() {
            table = present(self.physical.load(table, index(address, above)))?;
        }
        Some(table)
    }

    /// The table below an entry of the top-level one, for the ramdisk's to be shared.
    pub fn table_below(&self, entry: usize) -> Option<u64> {
        present(self.physical.load(self.top, entry))
    }

    /// Frees every frame and table that these entries of a table refer to, but for what is
    /// borrowed. Nothing uses the table or what it maps any more.
    fn free_below(&self, table: u64, level: u32, entries: core::ops::Range<usize>) {
        for index in entries {
            let entry = self.physical.load(table, index);
            let Some(frame) = present(entry) else {
                continue;
            };
            if level == TOP && index == RAMDISK_ENTRY {
                continue;
            }
            if level > 1 {
                self.free_below(frame, level - 1, 0..ENTRIES);
            }
            if !Flags::from_bits_retain(entry).contains(BORROWED) {
                self.physical.give_back(frame);
            }
        }
    }
}

impl<P: Physical> Drop for Space<P> {
    fn drop(&mut self) {
        self.physical.leave(self.top);
        self.free_below(self.top, TOP, 0..KERNEL_HALF);
        self.physical.give_back(self.top);
    }
}

impl Range {
    fn end(&self) -> Option<u64> {
        self.first.checked_add(self.pages.checked_mul(PAGE_SIZE)?)
    }

    /// The addresses of its pages.
    fn all(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.first;
        (0..self.pages).map(move |page| first + page * PAGE_SIZE)
    }

    /// An address in each table of this level that leads to it.
    fn tables(&self, level: u32) -> impl Iterator<Item = u64> + use<> {
        let span = PAGE_SIZE << (9 * level);
        let end = self.first + self.pages * PAGE_SIZE;
        (self.first / span..end.div_ceil(span)).map(move |table| table * span)
    }
}

/// Where a page is remembered.
fn place(page: u64) -> usize {
    (page / PAGE_SIZE) as usize % KNOWN
}

/// Which entry of a table of this level leads to an address.
fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * (level - 1))) as usize % ENTRIES
}

/// Where a present entry leads.
fn present(entry: u64) -> Option<u64> {
    let flags = Flags::from_bits_retain(entry);
    flags.contains(Flags::PRESENT).then_some(entry & ADDRESS)
}

/// What the entry of a page must say for a program to read it, or to write it.
fn access(write: bool) -> Flags {
    let mut needed = Flags::PRESENT | Flags::USER_ACCESSIBLE;
    needed.set(Flags::WRITABLE, write);
    needed
}

#[cfg(test)]
pub(crate) mod tests;
