//! The DMAR table: where firmware says that remapping units are, and what it keeps for itself.
//!
//! Source: VT-d §8.

use crate::acpi::{self, AcpiError, PHYSICAL_END, PhysicalMemory, Signature, number};
use crate::pci::Address;
use alloc::vec::Vec;
use core::fmt;

const DMAR: Signature = *b"DMAR";
/// Where structures begin: behind the header, widths, flags and 10 reserved bytes.
const STRUCTURES: usize = acpi::HEADER + 12;
/// Types of structures: a remapping unit (§8.3), and memory that functions need before drivers (§8.4).
const UNIT: u64 = 0;
const RESERVED: u64 = 1;
/// Of a unit's flags: it is for all functions of its segment that no other unit names.
const ALL: u8 = 1 << 0;
/// Where the list of functions begins in either.
const UNIT_SCOPES: usize = 16;
const RESERVED_SCOPES: usize = 24;
/// The same for the path in a scope (§8.3.1), of two bytes for each step.
const PATH: usize = 6;
/// The most units: one for each root complex of a large machine.
const UNITS_MAX: usize = 64;
/// A unit's registers are a page, or so many times twice that (§8.3).
const PAGE: usize = 4096;
const SIZE_MAX: u8 = 4;

/// What the table says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dmar {
    /// The units.
    pub units: Vec<Place>,
    /// Memory that firmware has functions use.
    pub reserved: Vec<Reserved>,
}

/// Where a unit's registers are, and whom it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Physical address.
    pub base: u64,
    /// Bytes.
    pub len: usize,
    /// PCI segment group.
    pub segment: u16,
    /// All functions that no other unit names.
    pub is_for_all: bool,
    /// Functions, or bridges with what is behind them; those of interrupt controllers and timers, too.
    pub scopes: Scopes,
}

/// Memory for which firmware has set up functions, and that they may use even now.
#[derive(Debug, PartialEq, Eq)]
pub struct Reserved {
    /// First address.
    pub start: u64,
    /// Last address.
    pub last: u64,
    /// The functions.
    pub scopes: Scopes,
}

/// Functions, or where the path to each begins.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scopes(pub Vec<Address>);

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scopes = self.0.iter();
        scopes.try_for_each(|address| write!(f, " {address}"))
    }
}

impl Dmar {
    /// Reads the table.
    ///
    /// # Errors
    /// [`AcpiError::BadStructure`], and those of [`acpi::find_table`]: [`AcpiError::NoTable`] on a machine
    /// without units.
    pub fn read(memory: &impl PhysicalMemory, rsdp: u64) -> Result<Self, AcpiError> {
        let table = acpi::find_table(memory, rsdp, DMAR)?;
        let mut dmar = Dmar::default();
        let mut rest = table.get(STRUCTURES..).unwrap_or_default();
        while !rest.is_empty() {
            let at = table.len() - rest.len();
            let read = cut(rest, 2).and_then(|(structure, after)| {
                dmar.add(structure)?;
                Some(after)
            });
            rest = read.ok_or(AcpiError::BadStructure(DMAR, at))?;
        }
        Ok(dmar)
    }

    /// Takes in a structure; `None` if it makes no sense. Kinds that are of no interest are passed over.
    fn add(&mut self, structure: &[u8]) -> Option<()> {
        match number(&structure[..2]) {
            UNIT => {
                let fixed = structure.first_chunk::<UNIT_SCOPES>()?;
                let size = fixed[5] & 0xf;
                let base = number(&fixed[8..]);
                let is_place = base != 0 && base.is_multiple_of(PAGE as u64);
                let is_right = is_place && base < PHYSICAL_END && size <= SIZE_MAX;
                if !is_right || self.units.len() == UNITS_MAX {
                    return None;
                }
                self.units.push(Place {
                    base,
                    len: PAGE << size,
                    segment: number(&fixed[6..8]) as u16,
                    is_for_all: fixed[4] & ALL != 0,
                    scopes: scopes(&structure[UNIT_SCOPES..])?,
                });
            }
            RESERVED => {
                let fixed = structure.first_chunk::<RESERVED_SCOPES>()?;
                let (start, last) = (number(&fixed[8..16]), number(&fixed[16..]));
                if start > last || last >= PHYSICAL_END {
                    return None;
                }
                self.reserved.push(Reserved {
                    start,
                    last,
                    scopes: scopes(&structure[RESERVED_SCOPES..])?,
                });
            }
            _ => {}
        }
        Some(())
    }
}

/// The functions that a list of scopes names; `None` if a scope makes no sense.
fn scopes(mut list: &[u8]) -> Option<Scopes> {
    let mut found = Vec::new();
    while !list.is_empty() {
        let (scope, after) = cut(list, 1)?;
        let [bus, device, function] = *scope.get(PATH - 1..)?.first_chunk()?;
        if device > 31 || function > 7 || !scope.len().is_multiple_of(2) {
            return None;
        }
        found.push(Address::new(bus, device, function));
        list = after;
    }
    Some(Scopes(found))
}

/// Cuts off the first part: its length is in its `width` bytes behind as many of its type.
fn cut(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let len = number(bytes.get(width..2 * width)?) as usize;
    if len < 2 * width {
        return None;
    }
    bytes.split_at_checked(len)
}
