//! The tables that units translate by: function and address to memory.
//!
//! Source: VT-d §3.4.2 (functions to domains), §3.7 (second-stage tables), §9.1, §9.3 and §9.8 (entries).

use super::Error;
use crate::pci::Address;

/// Bytes of a page, and entries of a table.
const PAGE: u64 = 4096;
const ENTRIES: u64 = 512;
/// Bits of an address that each level translates, above those within a page.
const LEVEL_BITS: u32 = 9;
const PAGE_BITS: u32 = 12;
/// Of root and context entries.
const PRESENT: u64 = 1 << 0;
/// Of entries of second-stage tables.
const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
/// Where an entry's address is.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Where the domain's number is in the upper half of a context entry.
const DOMAIN_SHIFT: u32 = 8;

/// Memory for tables.
pub trait Frames {
    /// Takes a frame that is cleared, for the units, too; its physical address.
    fn take(&mut self) -> Option<u64>;

    /// Gives back a frame that no unit was told of.
    fn give_back(&mut self, frame: u64);

    /// Reads a word of a frame.
    fn read(&self, frame: u64, index: usize) -> u64;

    /// Writes a word of a frame; when this returns, units that do not look into the processor's caches
    /// (VT-d §6.2.1, ECAP.C) see it, too.
    fn write(&mut self, frame: u64, index: usize, entry: u64);
}

/// What a card may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Send from it.
    Read,
    /// Send from it and receive into it.
    ReadWrite,
}

/// The root table, and all that it leads to.
pub struct Tables<F> {
    frames: F,
    root: u64,
    /// Of second-stage tables: 3 levels reach 39 bits of address.
    levels: u32,
    domains: u32,
    domains_max: u32,
}

impl<F: Frames> Tables<F> {
    /// Tables that give nobody anything, of the smaller of `widths` (CAP.SAGAW) that we know: 39 or 48 bits.
    /// Domains have numbers from 1 to below `domains`: 0 is not free in caching mode (CAP.CM).
    ///
    /// # Errors
    /// [`Error::NoWidth`], [`Error::NoMemory`].
    pub fn new(mut frames: F, widths: u32, domains: u32) -> Result<Self, Error> {
        let agaw = (1..=2).find(|agaw| widths >> agaw & 1 != 0);
        let agaw = agaw.ok_or(Error::NoWidth)?;
        Ok(Tables {
            root: frames.take().ok_or(Error::NoMemory)?,
            frames,
            levels: agaw + 2,
            domains: 1,
            domains_max: domains,
        })
    }

    /// Bits of the addresses that they translate.
    pub fn bits(&self) -> u32 {
        PAGE_BITS + LEVEL_BITS * self.levels
    }

    /// Where the root table is.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Makes a domain of the pages that are touched by these ranges (start, length, what may be done), and puts
    /// the function into it. What has failed has changed nothing.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::NoDomain`], [`Error::OutOfReach`], [`Error::NoMemory`].
    pub fn give(
        &mut self,
        function: Address,
        ranges: impl Iterator<Item = (u64, usize, Access)>,
    ) -> Result<(), Error> {
        // A context entry is two words, as a root entry is.
        let entry = 2 * usize::from(function.routing_id() & 0xff);
        let contexts = self.below(self.root, 2 * usize::from(function.bus()), PRESENT)?;
        if self.frames.read(contexts, entry) & PRESENT != 0 {
            return Err(Error::Taken);
        }
        if self.domains >= self.domains_max {
            return Err(Error::NoDomain);
        }
        let table = self.frames.take().ok_or(Error::NoMemory)?;
        if let Err(error) = self.map_all(table, ranges) {
            self.give_back(table);
            return Err(error);
        }
        let width = u64::from(self.levels - 2);
        let domain = u64::from(self.domains) << DOMAIN_SHIFT;
        self.domains += 1;
        self.frames.write(contexts, entry + 1, domain | width);
        self.frames.write(contexts, entry, table | PRESENT);
        Ok(())
    }

    /// Takes a function out of its domain. Returns the domain's table, which is to be given back when no
    /// unit remembers it any more.
    pub fn take_back(&mut self, function: Address) -> Option<u64> {
        let bus = self.frames.read(self.root, 2 * usize::from(function.bus()));
        let contexts = (bus != 0).then_some(bus & ADDRESS)?;
        let entry = 2 * usize::from(function.routing_id() & 0xff);
        let context = self.frames.read(contexts, entry);
        self.frames.write(contexts, entry, 0);
        (context != 0).then_some(context & ADDRESS)
    }

    /// Gives back the frames of a domain's tables, which no function is in.
    pub fn give_back(&mut self, table: u64) {
        self.give_back_all(table, self.levels);
    }

    fn map_all(
        &mut self,
        table: u64,
        ranges: impl Iterator<Item = (u64, usize, Access)>,
    ) -> Result<(), Error> {
        for (start, len, access) in ranges {
            let end = start.checked_add(len as u64).ok_or(Error::OutOfReach)?;
            if end > 1 << self.bits() {
                return Err(Error::OutOfReach);
            }
            let rights = match access {
                Access::Read => READ,
                Access::ReadWrite => READ | WRITE,
            };
            for page in (start & ADDRESS..end).step_by(PAGE as usize) {
                self.map(table, page, rights)?;
            }
        }
        Ok(())
    }

    /// Maps a page to itself.
    #[inline(never)]
    fn map(&mut self, mut table: u64, page: u64, rights: u64) -> Result<(), Error> {
        for level in (1..self.levels).rev() {
            table = self.below(table, index(page, level), READ | WRITE)?;
        }
        let last = index(page, 0);
        let before = self.frames.read(table, last);
        self.frames.write(table, last, before | page | rights);
        Ok(())
    }

    /// The table that an entry leads to, which is made if there is none.
    #[inline(never)]
    fn below(&mut self, table: u64, index: usize, flags: u64) -> Result<u64, Error> {
        let entry = self.frames.read(table, index);
        if entry != 0 {
            return Ok(entry & ADDRESS);
        }
        let frame = self.frames.take().ok_or(Error::NoMemory)?;
        self.frames.write(table, index, frame | flags);
        Ok(frame)
    }

    fn give_back_all(&mut self, table: u64, levels: u32) {
        for index in (0..ENTRIES as usize).filter(|_| levels > 1) {
            let entry = self.frames.read(table, index);
            if entry != 0 {
                self.give_back_all(entry & ADDRESS, levels - 1);
            }
        }
        self.frames.give_back(table);
    }
}

/// Which entry of a table of that level is for this address.
fn index(address: u64, level: u32) -> usize {
    (address >> (PAGE_BITS + LEVEL_BITS * level) & (ENTRIES - 1)) as usize
}
