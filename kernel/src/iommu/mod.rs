//! An IOMMU (Intel VT-d): a card reaches its own memory and no other.
//!
//! ```text
//!   a card's DMA: (function, address)
//!        |
//!   unit.rs     registers of a remapping unit: on, flushed, faults read
//!        |  root table -> a bus's context table -> the domain of a function
//!   tables.rs   second-stage tables: pages of the card's arena, and of the ramdisk to read
//!        |
//!   memory, or a fault that is recorded with function and address
//! ```
//!
//! Each function that is given memory has a domain of its own, in which bus addresses are physical ones.
//! A function that was given nothing has no domain, and all its DMA faults. Interrupt messages (writes to
//! 0xfeex_xxxx) are not translated: interrupt remapping is left off, as Wharf needs none, so that a card
//! can send any interrupt.
//!
//! All units of the machine use the same tables. A function sends under its own routing id; one behind a
//! bridge to conventional PCI sends under the bridge's, has no domain then, and does not work.
//!
//! Sources: Intel Virtualization Technology for Directed I/O, Architecture Specification 4.1 ("VT-d"
//! below), in legacy mode (§3.4.2), which all units have.

use crate::pci::Address;
use crate::runs::Runs;
use alloc::vec::Vec;
use core::fmt;

mod dmar;
mod tables;
mod unit;

pub use dmar::{Dmar, Place, Reserved};
pub use tables::{Access, Frames, Tables};
pub use unit::{Fault, Registers, Unit};

/// What is said where nothing confines cards.
pub const NONE: &str = "a card's DMA is bounded by what its driver tells it only";

/// The most functions that the console is told of at a time.
const NAMED_MAX: usize = 8;

/// Why a function was given nothing, or a unit is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The registers of a unit read as all ones, or lie outside of their window.
    NoRegisters,
    /// The units have no width of addresses in common that we can build tables for.
    NoWidth,
    /// A unit did not do what a register was told.
    Silent,
    /// There is no memory for tables.
    NoMemory,
    /// There are as many domains as the units can tell apart.
    NoDomain,
    /// The memory is beyond the addresses that the tables reach.
    OutOfReach,
    /// The function has a domain already.
    Taken,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NoRegisters => "its registers are not there",
            Error::NoWidth => "the units have no width of addresses in common",
            Error::Silent => "it does not answer",
            Error::NoMemory => "no memory for its tables: start with more",
            Error::NoDomain => "no domain is left",
            Error::OutOfReach => "the memory is out of its reach",
            Error::Taken => "the function has a domain already",
        })
    }
}

impl core::error::Error for Error {}

/// The units of the machine, turned on, and their tables.
pub struct Iommu<F, R> {
    units: Vec<Unit<R>>,
    tables: Tables<F>,
    /// What every card may read.
    shared: Runs,
}

impl<F: Frames, R: Registers> Iommu<F, R> {
    /// Has these units translate by tables that give nothing to anybody yet; every function that is given
    /// memory may read what is `shared`. A unit that cannot be turned on is left out with a line: what is
    /// behind it is not confined.
    ///
    /// # Errors
    /// [`Error::NoWidth`], [`Error::NoMemory`], and [`Error::Silent`] if no unit is on.
    pub fn start(mut units: Vec<Unit<R>>, frames: F, shared: Runs) -> Result<Self, Error> {
        let widths = units.iter().fold(!0, |all, unit| all & unit.widths());
        let domains = units.iter().map(Unit::domains).min();
        let tables = Tables::new(frames, widths, domains.unwrap_or(0))?;
        units.retain_mut(|unit| {
            let on = unit.turn_on(tables.root());
            if let Err(error) = on {
                log::error!("{}", left_out(unit.base(), error));
            }
            on.is_ok()
        });
        match units.is_empty() {
            true => Err(Error::Silent),
            false => Ok(Iommu {
                units,
                tables,
                shared,
            }),
        }
    }

    /// Tells of the units, and of memory that firmware keeps for functions, which they do not reach any more.
    pub fn introduce(&self, dmar: &Dmar) {
        for unit in &self.units {
            log::info!(
                "IOMMU at {:#x}: {} bits; a card reaches what it is given, and other functions nothing",
                unit.base(),
                self.tables.bits(),
            );
        }
        for Reserved {
            start,
            last,
            scopes,
        } in &dmar.reserved
        {
            log::info!("IOMMU: firmware wants {start:#x} to {last:#x} for{scopes}: not given");
        }
    }

    /// Gives a function `len` bytes at `start`, to read and write, and what is shared, to read: whole
    /// pages of each. To be called once, when the function's driver takes its arena.
    ///
    /// # Errors
    /// Why it has been given nothing.
    pub fn give(&mut self, function: Address, start: u64, len: usize) -> Result<(), Error> {
        let shared = self.shared.iter();
        let shared = shared.map(|(start, len)| (start, len, Access::Read));
        let ranges = shared.chain([(start, len, Access::ReadWrite)]);
        self.tables.give(function, ranges)?;
        // A unit in caching mode remembers what was not present, too (VT-d §6.1); for others this is
        // only late. Cards are given memory at the boot alone.
        self.flush()?;
        log::info!(
            "IOMMU: {function} reaches {} KiB of its own, and reads {} KiB of the ramdisk",
            len.div_ceil(1024),
            self.shared.len().div_ceil(1024),
        );
        Ok(())
    }

    /// Takes from a function whatever it was given.
    pub fn take_back(&mut self, function: Address) {
        // Units that do not answer may still use the tables: then their frames are nobody's.
        if let Some(table) = self.tables.take_back(function)
            && self.flush().is_ok()
        {
            self.tables.give_back(table);
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.units.iter_mut().try_for_each(Unit::flush)
    }

    /// Tells of the DMA that was stopped since the last time, as far as the units have recorded it: each
    /// has a few records, and what finds none free is lost. The console hears of the first of each function, and
    /// of no more functions than it can bear.
    pub fn faults(&mut self, tell: &mut dyn FnMut(Fault)) {
        let mut named = [None; NAMED_MAX];
        let mut tell = |fault: Fault| {
            let is = |place: &&mut Option<Address>| place.is_none_or(|it| it == fault.function);
            if let Some(place) = named.iter_mut().find(is)
                && place.replace(fault.function).is_none()
            {
                log::error!("{fault}");
            }
            tell(fault);
        };
        for unit in &mut self.units {
            unit.faults(&mut tell);
        }
    }
}

/// What is said of a unit that is not used.
pub fn left_out(base: u64, error: Error) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        write!(
            f,
            "IOMMU at {base:#x}: {error}: cards behind it reach all memory"
        )
    })
}

#[cfg(test)]
mod tests;
