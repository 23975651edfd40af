//! The little of ACPI that Wharf needs: from the RSDP to the MCFG table, which says where
//! PCI Express configuration space (ECAM) is in memory.
//!
//! Tables are firmware's, so they are checked before they are believed: signatures,
//! checksums, and lengths against fixed bounds.
//!
//! Why not the `acpi` crate: it wants its caller to map tables and hand out pointers, by
//! `unsafe fn`s, which this library forbids; and this is one table.
//!
//! Sources: ACPI 6.5 §5.2.5 to §5.2.8; PCI Firmware 3.3 §4.1.2 (MCFG).

use alloc::vec::Vec;
use core::fmt;

use crate::pci::Address;

/// Reads physical memory: the kernel's direct map, or a model of it.
pub trait PhysicalMemory {
    /// Copies `buffer.len()` bytes from `address`; `false` if they are not all there.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;
}

/// A window of ECAM: the configuration space of a range of buses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcamWindow {
    /// Physical address where bus 0 is, or would be if it were in the window.
    pub base: u64,
    /// PCI segment group; 0 is the one that mechanism 1 reaches.
    pub segment: u16,
    /// First bus in the window.
    pub first_bus: u8,
    /// Last bus in the window.
    pub last_bus: u8,
}

impl EcamWindow {
    /// Bytes of configuration space of one bus.
    pub const BUS_SIZE: u64 = 1 << 20;

    /// Physical address of the first byte.
    pub fn start(&self) -> u64 {
        self.base + u64::from(self.first_bus) * Self::BUS_SIZE
    }

    /// How many bytes it has: what to map, uncached, from [`EcamWindow::start`].
    pub fn size(&self) -> u64 {
        (u64::from(self.last_bus - self.first_bus) + 1) * Self::BUS_SIZE
    }

    /// Offset from [`EcamWindow::start`] of the register at byte `offset` of a function,
    /// or nothing if its bus or the offset is outside.
    pub fn offset(&self, address: Address, offset: u16) -> Option<u64> {
        let inside = (self.first_bus..=self.last_bus).contains(&address.bus()) && offset < 0x1000;
        inside.then(|| address.ecam_offset(offset) - u64::from(self.first_bus) * Self::BUS_SIZE)
    }
}

/// End of what physical addresses can be: 52 bits (Intel SDM volume 3, §4.1.4).
const PHYSICAL_END: u64 = 1 << 52;

/// Which table an [`AcpiError`] is about.
pub type Signature = [u8; 4];

/// Why there is no answer from ACPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// This physical memory cannot be read.
    Unreadable(u64),
    /// There is no RSDP at the address given, or its checksum is wrong.
    NoRsdp(u64),
    /// The table at this address is another one than expected.
    WrongTable(u64, Signature),
    /// The table says it is this many bytes long, which it cannot be.
    BadLength(Signature, u32),
    /// The checksum of the table is wrong.
    BadChecksum(Signature),
    /// There is no such table.
    NoTable(Signature),
    /// MCFG describes a window that ends before it begins or leaves the address space.
    BadWindow(u64),
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcpiError::Unreadable(address) => {
                write!(f, "ACPI: no memory to read at {address:#x}")
            }
            AcpiError::NoRsdp(address) => write!(f, "ACPI: no valid RSDP at {address:#x}"),
            AcpiError::WrongTable(address, signature) => {
                write!(f, "ACPI: no {} at {address:#x}", signature.escape_ascii())
            }
            AcpiError::BadLength(signature, length) => {
                write!(
                    f,
                    "ACPI: {} cannot be {length} bytes long",
                    signature.escape_ascii()
                )
            }
            AcpiError::BadChecksum(signature) => {
                write!(f, "ACPI: wrong checksum in {}", signature.escape_ascii())
            }
            AcpiError::NoTable(signature) => {
                write!(f, "ACPI: no table {}", signature.escape_ascii())
            }
            AcpiError::BadWindow(base) => {
                write!(f, "ACPI: MCFG has a nonsensical window, base {base:#x}")
            }
        }
    }
}

impl core::error::Error for AcpiError {}

/// The ECAM windows of the machine, from the MCFG table. Old machines have none, which is
/// [`AcpiError::NoTable`]: use mechanism 1 then, as after any other error.
///
/// # Errors
/// What is wrong with the tables on the way, see [`AcpiError`].
pub fn ecam_windows(memory: &impl PhysicalMemory, rsdp: u64) -> Result<Vec<EcamWindow>, AcpiError> {
    const RESERVED: u64 = 8;
    const ENTRY: u64 = 16;
    let mcfg = find_table(memory, rsdp, *b"MCFG")?;
    let mut windows = Vec::new();
    let mut at = Table::HEADER + RESERVED;
    while at + ENTRY <= mcfg.length {
        let base = u64::from_le_bytes(mcfg.field(memory, at)?);
        let segment = u16::from_le_bytes(mcfg.field(memory, at + 8)?);
        let [first_bus, last_bus] = mcfg.field(memory, at + 10)?;
        // All 256 buses are to be inside what an x86_64 can address, for simple sums.
        let end = base.checked_add(256 * EcamWindow::BUS_SIZE);
        if first_bus > last_bus || end.is_none_or(|end| end > PHYSICAL_END) {
            return Err(AcpiError::BadWindow(base));
        }
        windows.push(EcamWindow {
            base,
            segment,
            first_bus,
            last_bus,
        });
        at += ENTRY;
    }
    Ok(windows)
}

/// A table whose signature, length and checksum have been verified.
struct Table {
    address: u64,
    length: u64,
}

impl Table {
    /// Bytes of the header every table begins with: signature, length, revision,
    /// checksum, and who made it.
    const HEADER: u64 = 36;
    /// The longest table that is read; RSDT, XSDT and MCFG are far below.
    const LENGTH_MAX: u64 = 64 * 1024;

    fn open(
        memory: &impl PhysicalMemory,
        address: u64,
        signature: Signature,
    ) -> Result<Table, AcpiError> {
        if read(memory, address)? != signature {
            return Err(AcpiError::WrongTable(address, signature));
        }
        let length = u32::from_le_bytes(read(memory, add(address, 4)?)?);
        if !(Self::HEADER..=Self::LENGTH_MAX).contains(&u64::from(length)) {
            return Err(AcpiError::BadLength(signature, length));
        }
        if checksum(memory, address, u64::from(length))? != 0 {
            return Err(AcpiError::BadChecksum(signature));
        }
        Ok(Table {
            address,
            length: u64::from(length),
        })
    }

    /// The bytes at `offset`, which the caller has checked to be inside.
    fn field<const N: usize>(
        &self,
        memory: &impl PhysicalMemory,
        offset: u64,
    ) -> Result<[u8; N], AcpiError> {
        read(memory, add(self.address, offset)?)
    }
}

/// Looks a table up in the XSDT, or in the RSDT where there is none.
fn find_table(
    memory: &impl PhysicalMemory,
    rsdp: u64,
    wanted: Signature,
) -> Result<Table, AcpiError> {
    let (root, width) = root_table(memory, rsdp)?;
    let mut at = Table::HEADER;
    while at + width <= root.length {
        let address = match width {
            8 => u64::from_le_bytes(root.field(memory, at)?),
            _ => u64::from(u32::from_le_bytes(root.field(memory, at)?)),
        };
        // A table that cannot be read is not the one we want to know about.
        if read(memory, address) == Ok(wanted) {
            return Table::open(memory, address, wanted);
        }
        at += width;
    }
    Err(AcpiError::NoTable(wanted))
}

/// The XSDT or RSDT, and how many bytes an address in it takes (ACPI 6.5 §5.2.5.3).
fn root_table(memory: &impl PhysicalMemory, rsdp: u64) -> Result<(Table, u64), AcpiError> {
    const LENGTH_V1: u64 = 20;
    const LENGTH_V2: u64 = 36;
    let signature: [u8; 8] = read(memory, rsdp)?;
    if signature != *b"RSD PTR " || checksum(memory, rsdp, LENGTH_V1)? != 0 {
        return Err(AcpiError::NoRsdp(rsdp));
    }
    let [revision] = read(memory, add(rsdp, 15)?)?;
    if revision >= 2 {
        if checksum(memory, rsdp, LENGTH_V2)? != 0 {
            return Err(AcpiError::NoRsdp(rsdp));
        }
        let xsdt = u64::from_le_bytes(read(memory, add(rsdp, 24)?)?);
        if xsdt != 0 {
            return Ok((Table::open(memory, xsdt, *b"XSDT")?, 8));
        }
    }
    let rsdt = u32::from_le_bytes(read(memory, add(rsdp, 16)?)?);
    Ok((Table::open(memory, u64::from(rsdt), *b"RSDT")?, 4))
}

/// The sum of `length` bytes, modulo 256: 0 in a table that is whole.
fn checksum(memory: &impl PhysicalMemory, address: u64, length: u64) -> Result<u8, AcpiError> {
    let mut sum = 0u8;
    for offset in 0..length {
        let [byte] = read(memory, add(address, offset)?)?;
        sum = sum.wrapping_add(byte);
    }
    Ok(sum)
}

fn add(address: u64, offset: u64) -> Result<u64, AcpiError> {
    address
        .checked_add(offset)
        .ok_or(AcpiError::Unreadable(address))
}

fn read<const N: usize>(memory: &impl PhysicalMemory, address: u64) -> Result<[u8; N], AcpiError> {
    let mut bytes = [0; N];
    if memory.read(address, &mut bytes) {
        Ok(bytes)
    } else {
        Err(AcpiError::Unreadable(address))
    }
}

#[cfg(test)]
mod tests;
