//! The little of ACPI that Wharf needs: tables by their signatures, and of these the MCFG table, which
//! says where PCI Express configuration space (ECAM) is in memory. `iommu/dmar.rs` reads another.
//!
//! Firmware has written the tables, so they are checked before they are believed: signatures, checksums,
//! and lengths against fixed bounds.
//!
//! Why not the `acpi` crate: its caller has to map tables and hand out pointers, by `unsafe fn`s, which
//! this library forbids.
//!
//! Sources: ACPI 6.5 §5.2.5 to §5.2.8; PCI Firmware 3.3 §4.1.2 (MCFG).

use alloc::vec::Vec;
use core::fmt;

/// Reads physical memory: by the kernel's mapping of all of it, or from a test's model.
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

    /// Physical address of a bus's configuration space; `None` if the window has no such bus.
    pub fn bus(&self, bus: u8) -> Option<u64> {
        let inside = (self.first_bus..=self.last_bus).contains(&bus);
        inside.then(|| self.base + u64::from(bus) * Self::BUS_SIZE)
    }
}

/// End of what physical addresses can be: 52 bits (Intel SDM volume 3, §4.1.4).
pub(crate) const PHYSICAL_END: u64 = 1 << 52;

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
    /// What this table has at this offset makes no sense.
    BadStructure(Signature, usize),
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
            AcpiError::BadStructure(signature, offset) => {
                let signature = signature.escape_ascii();
                write!(f, "ACPI: {signature} makes no sense at byte {offset}")
            }
        }
    }
}

impl core::error::Error for AcpiError {}

/// The ECAM windows of the machine, from the MCFG table. Old machines have none, which is
/// [`AcpiError::NoTable`]: mechanism 1 is used then, as after any other error.
///
/// # Errors
/// [`AcpiError::BadWindow`], and the errors of [`find_table`].
pub fn ecam_windows(memory: &impl PhysicalMemory, rsdp: u64) -> Result<Vec<EcamWindow>, AcpiError> {
    const RESERVED: usize = 8;
    let mcfg = find_table(memory, rsdp, *b"MCFG")?;
    let entries = mcfg.get(HEADER + RESERVED..).unwrap_or_default();
    let windows = entries.as_chunks::<16>().0.iter().map(|entry| {
        let base = number(&entry[..8]);
        let (first_bus, last_bus) = (entry[10], entry[11]);
        // All 256 buses are to be inside what an x86_64 can address, for simple sums.
        let end = base.checked_add(256 * EcamWindow::BUS_SIZE);
        if first_bus > last_bus || end.is_none_or(|end| end > PHYSICAL_END) {
            return Err(AcpiError::BadWindow(base));
        }
        Ok(EcamWindow {
            base,
            segment: number(&entry[8..10]) as u16,
            first_bus,
            last_bus,
        })
    });
    windows.collect()
}

/// Bytes of the header that every table begins with: signature, length, revision, checksum, and who
/// made it.
pub const HEADER: usize = 36;
/// The longest table that is read. RSDT, XSDT and MCFG are far shorter.
const LENGTH_MAX: u32 = 64 * 1024;

/// A table with this signature, header included: looked up in the XSDT, or in the RSDT where there is
/// no XSDT (ACPI 6.5 §5.2.5.3). Its length and its checksum are right.
///
/// # Errors
/// [`AcpiError::NoTable`] if there is none, and otherwise what is wrong with the tables on the way.
pub fn find_table(
    memory: &impl PhysicalMemory,
    rsdp: u64,
    wanted: Signature,
) -> Result<Vec<u8>, AcpiError> {
    let (root, width) = root_table(memory, rsdp)?;
    for address in root[HEADER..].chunks_exact(width).map(number) {
        let mut signature = Signature::default();
        // A table that cannot be read is not the wanted one.
        if memory.read(address, &mut signature) && signature == wanted {
            return read_table(memory, address, wanted);
        }
    }
    Err(AcpiError::NoTable(wanted))
}

/// The XSDT or RSDT, and how many bytes an address in it has.
fn root_table(memory: &impl PhysicalMemory, rsdp: u64) -> Result<(Vec<u8>, usize), AcpiError> {
    let first: [u8; 20] = read(memory, rsdp)?;
    if !first.starts_with(b"RSD PTR ") || checksum(&first) != 0 {
        return Err(AcpiError::NoRsdp(rsdp));
    }
    let revision = first[15];
    if revision >= 2 {
        let whole: [u8; 36] = read(memory, rsdp)?;
        if checksum(&whole) != 0 {
            return Err(AcpiError::NoRsdp(rsdp));
        }
        let xsdt = number(&whole[24..32]);
        if xsdt != 0 {
            return Ok((read_table(memory, xsdt, *b"XSDT")?, 8));
        }
    }
    let rsdt = number(&first[16..20]);
    Ok((read_table(memory, rsdt, *b"RSDT")?, 4))
}

fn read_table(
    memory: &impl PhysicalMemory,
    address: u64,
    signature: Signature,
) -> Result<Vec<u8>, AcpiError> {
    let start: [u8; 8] = read(memory, address)?;
    if !start.starts_with(&signature) {
        return Err(AcpiError::WrongTable(address, signature));
    }
    let length = number(&start[4..]) as u32;
    if length < HEADER as u32 || length > LENGTH_MAX {
        return Err(AcpiError::BadLength(signature, length));
    }
    let mut table = alloc::vec![0; length as usize];
    if !memory.read(address, &mut table) {
        return Err(AcpiError::Unreadable(address));
    }
    match checksum(&table) {
        0 => Ok(table),
        _ => Err(AcpiError::BadChecksum(signature)),
    }
}

/// The sum of all bytes, modulo 256: 0 in a table that is whole.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// A little-endian number of up to 8 bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn read<const N: usize>(memory: &impl PhysicalMemory, address: u64) -> Result<[u8; N], AcpiError> {
    let mut bytes = [0; N];
    match memory.read(address, &mut bytes) {
        true => Ok(bytes),
        false => Err(AcpiError::Unreadable(address)),
    }
}

#[cfg(test)]
mod tests;
