//! Base address registers: where firmware put a function's memory and I/O ports, and
//! how large they are.
//!
//! The size is found by writing all ones and seeing which bits stick (PCI 3.0 §6.2.5.1).
//! While that lasts the register holds a nonsense address, so the function must not
//! decode it: I/O and memory decoding are off in COMMAND until the address is back.
//! Host bridges are the exception, as some stop the whole machine's memory when told
//! not to decode; theirs are sized as they are.

use alloc::vec::Vec;
use core::fmt;

use super::config::{Address, Command, ConfigSpace, register};

/// The most BARs a function has.
pub const BARS_MAX: usize = 6;

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere; takes this BAR and the next one.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

/// One range of memory or I/O ports that a function answers at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Which of the BARs it is, 0 to 5; of a 64-bit one, the lower.
    pub index: u8,
    /// What it decodes.
    pub kind: BarKind,
    /// First address (bus address) or first port. 0: firmware assigned none.
    pub address: u64,
    /// How many bytes; a power of two, never 0, and `address` is a multiple of it.
    pub size: u64,
}

impl Bar {
    /// Whether it is in I/O space, not memory.
    pub fn is_io(&self) -> bool {
        self.kind == BarKind::Io
    }

    /// Whether firmware gave it an address.
    pub fn is_assigned(&self) -> bool {
        self.address != 0
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bar {
            index,
            kind,
            address,
            size,
        } = self;
        let (space, prefetchable) = match kind {
            BarKind::Io => ("io", false),
            BarKind::Memory32 { prefetchable } => ("mem32", *prefetchable),
            BarKind::Memory64 { prefetchable } => ("mem64", *prefetchable),
        };
        let prefetchable = if prefetchable { " prefetchable" } else { "" };
        write!(f, "BAR{index} {space} {address:#x}+{size:#x}{prefetchable}")
    }
}

/// The BARs of a function, by index; none where unimplemented, unusable, or the upper
/// half of a 64-bit one.
pub type Bars = [Option<Bar>; BARS_MAX];

/// Why a BAR that is implemented cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarProblem {
    /// It is 64 bits wide but there is no next one to hold the upper half.
    NoUpperHalf,
    /// Its memory type is one of the reserved ones (01 once meant "below 1 MiB").
    ReservedType(u8),
    /// It reads as all ones, which no BAR can: the card is gone.
    AllOnes,
}

impl fmt::Display for BarProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BarProblem::NoUpperHalf => f.write_str("64 bits wide, but the last one"),
            BarProblem::ReservedType(kind) => write!(f, "reserved memory type {kind:02b}"),
            BarProblem::AllOnes => f.write_str("it reads as all ones"),
        }
    }
}

/// Reads and sizes the first `count` BARs of a function; `decoding` says that they must
/// keep decoding meanwhile (host bridges). Adds what is wrong, with the BAR's index.
pub(super) fn read_bars(
    config: &mut impl ConfigSpace,
    address: Address,
    count: usize,
    decoding: bool,
    problems: &mut Vec<(u8, BarProblem)>,
) -> Bars {
    let command = Command::read(config, address);
    if !decoding {
        (command - Command::IO - Command::MEMORY).write(config, address);
    }
    let bars = size_bars(config, address, register::BAR0, count, problems);
    if !decoding {
        command.write(config, address);
    }
    bars
}

/// Reads and sizes `count` BARs that begin at the register `first` and decode nothing meanwhile.
pub(super) fn size_bars(
    config: &mut impl ConfigSpace,
    address: Address,
    first: u16,
    count: usize,
    problems: &mut Vec<(u8, BarProblem)>,
) -> Bars {
    let mut bars = Bars::default();
    let mut index = 0;
    while index < count {
        let probe = Probe::new(config, address, first + 4 * index as u16);
        let mut upper = || Probe::new(config, address, first + 4 * (index as u16 + 1));
        match probe.bar(index, count, &mut upper) {
            Ok(bar) => bars[index] = bar,
            Err(problem) => problems.push((index as u8, problem)),
        }
        index += probe.width(index, count);
    }
    bars
}

/// A 32-bit register, and what it reads after all ones were written to it.
struct Probe {
    value: u32,
    ones: u32,
}

impl Probe {
    fn new(config: &mut impl ConfigSpace, address: Address, offset: u16) -> Self {
        let value = config.read32(address, offset);
        config.write32(address, offset, !0);
        let ones = config.read32(address, offset);
        config.write32(address, offset, value);
        Probe { value, ones }
    }

    /// Bits 2:1 of a memory BAR: 00 32 bits wide, 10 64 bits wide.
    fn memory_type(&self) -> Option<u8> {
        (self.ones != 0 && self.value & 1 == 0).then_some(self.value as u8 >> 1 & 3)
    }

    /// How many registers it takes.
    fn width(&self, index: usize, count: usize) -> usize {
        match self.memory_type() {
            Some(0b10) if index + 1 < count => 2,
            _ => 1,
        }
    }

    fn bar(
        &self,
        index: usize,
        count: usize,
        upper: &mut impl FnMut() -> Probe,
    ) -> Result<Option<Bar>, BarProblem> {
        if self.ones == !0 {
            return Err(BarProblem::AllOnes);
        }
        let prefetchable = self.value & 1 << 3 != 0;
        let (kind, base, ones) = match self.memory_type() {
            // Ports: bits 31:16 may be wired to 0 where ports have 16 bits.
            None => (
                BarKind::Io,
                u64::from(self.value & !0b11),
                u64::from(self.ones & !0b11),
            ),
            Some(0b00) => (
                BarKind::Memory32 { prefetchable },
                u64::from(self.value & !0xf),
                u64::from(self.ones & !0xf),
            ),
            Some(0b10) if index + 1 == count => return Err(BarProblem::NoUpperHalf),
            Some(0b10) => {
                let upper = upper();
                (
                    BarKind::Memory64 { prefetchable },
                    u64::from(upper.value) << 32 | u64::from(self.value & !0xf),
                    u64::from(upper.ones) << 32 | u64::from(self.ones & !0xf),
                )
            }
            Some(reserved) => return Err(BarProblem::ReservedType(reserved)),
        };
        if ones == 0 {
            return Ok(None);
        }
        // The lowest bit that can be set is the size; the bits below it are no address.
        let size = 1 << ones.trailing_zeros();
        Ok(Some(Bar {
            index: index as u8,
            kind,
            address: base & !(size - 1),
            size,
        }))
    }
}
