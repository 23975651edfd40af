//! The two linked lists of capabilities: one in the 256 bytes of conventional
//! configuration space, one from 0x100 up that only ECAM reaches.
//!
//! Both are walked with a bound and end at the first entry seen before.

use alloc::vec::Vec;
use core::fmt;

use super::config::{Address, ConfigSpace, register};

/// STATUS: there is a list of capabilities (PCI 3.0 §6.2.3).
const STATUS_CAPABILITIES: u16 = 1 << 4;
/// Where capabilities may be: after the header, as many as fit.
const FIRST: u16 = 0x40;
const MAX: usize = (0x100 - FIRST as usize) / 4;
/// Where extended capabilities may be, and as many as fit (PCIe 6.0 §7.6).
const EXTENDED_FIRST: u16 = 0x100;
const EXTENDED_MAX: usize = (0x1000 - EXTENDED_FIRST as usize) / 8;

/// What a capability is (PCI Code and ID Assignment 1.15 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Power management.
    pub const POWER_MANAGEMENT: Self = CapabilityId(0x01);
    /// Message signalled interrupts.
    pub const MSI: Self = CapabilityId(0x05);
    /// What the vendor likes.
    pub const VENDOR: Self = CapabilityId(0x09);
    /// PCI Express.
    pub const PCI_EXPRESS: Self = CapabilityId(0x10);
    /// Message signalled interrupts by table.
    pub const MSI_X: Self = CapabilityId(0x11);
}

impl fmt::Display for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::POWER_MANAGEMENT => f.write_str("PM"),
            Self::MSI => f.write_str("MSI"),
            Self::VENDOR => f.write_str("vendor"),
            Self::PCI_EXPRESS => f.write_str("PCIe"),
            Self::MSI_X => f.write_str("MSI-X"),
            CapabilityId(id) => write!(f, "id {id:02x}"),
        }
    }
}

/// A capability and where its structure begins. Shown as `MSI-X at 70`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is.
    pub id: CapabilityId,
    /// Byte offset in configuration space, from 0x40, a multiple of 4.
    pub offset: u16,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:02x}", self.id, self.offset)
    }
}

/// An extended capability. Shown as `extended 0010 at 160`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedCapability {
    /// What it is: 0x0001 AER, 0x000e ARI, 0x0010 SR-IOV, ...
    pub id: u16,
    /// Version of its structure.
    pub version: u8,
    /// Byte offset in configuration space, from 0x100, a multiple of 4.
    pub offset: u16,
}

impl fmt::Display for ExtendedCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extended {:04x} at {:03x}", self.id, self.offset)
    }
}

/// Why a list of capabilities was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListProblem {
    /// It leads back to the entry at this offset.
    Loop(u16),
    /// It leads to this offset, where no capability may be.
    OutOfPlace(u16),
    /// The entry at this offset reads as all ones: the card is gone.
    AllOnes(u16),
}

impl fmt::Display for ListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListProblem::Loop(offset) => write!(f, "leads back to {offset:02x}"),
            ListProblem::OutOfPlace(offset) => write!(f, "leads out of its area, to {offset:02x}"),
            ListProblem::AllOnes(offset) => write!(f, "is all ones at {offset:02x}"),
        }
    }
}

/// Reads the list of capabilities of a function with a type 0 or 1 header (PCI 3.0 §6.7).
pub(super) fn read_capabilities(
    config: &mut impl ConfigSpace,
    address: Address,
    status: u16,
    problems: &mut Vec<ListProblem>,
) -> Vec<Capability> {
    let mut found: Vec<Capability> = Vec::new();
    if status & STATUS_CAPABILITIES == 0 {
        return found;
    }
    let mut next = config.read32(address, register::CAPABILITIES);
    while found.len() <= MAX {
        // The low two bits of every pointer are reserved and must be masked.
        let offset = next as u16 & 0xfc;
        if offset == 0 {
            return found;
        }
        if offset < FIRST {
            problems.push(ListProblem::OutOfPlace(offset));
            return found;
        }
        if found.iter().any(|seen| seen.offset == offset) {
            problems.push(ListProblem::Loop(offset));
            return found;
        }
        let entry = config.read32(address, offset);
        if entry == !0 {
            problems.push(ListProblem::AllOnes(offset));
            return found;
        }
        found.push(Capability {
            id: CapabilityId(entry as u8),
            offset,
        });
        next = entry >> 8;
    }
    found
}

/// Reads the list of extended capabilities of a PCI Express function (PCIe 6.0 §7.6.3);
/// it is empty where configuration space ends at 0x100.
pub(super) fn read_extended_capabilities(
    config: &mut impl ConfigSpace,
    address: Address,
    problems: &mut Vec<ListProblem>,
) -> Vec<ExtendedCapability> {
    let mut found: Vec<ExtendedCapability> = Vec::new();
    let mut offset = EXTENDED_FIRST;
    while found.len() <= EXTENDED_MAX {
        let entry = config.read32(address, offset);
        if entry == !0 {
            if !found.is_empty() {
                problems.push(ListProblem::AllOnes(offset));
            }
            return found;
        }
        // A list with nothing in it is one entry of zeros.
        if entry == 0 {
            return found;
        }
        found.push(ExtendedCapability {
            id: entry as u16,
            version: (entry >> 16) as u8 & 0xf,
            offset,
        });
        offset = (entry >> 20) as u16 & 0xffc;
        if offset == 0 {
            return found;
        }
        if offset < EXTENDED_FIRST {
            problems.push(ListProblem::OutOfPlace(offset));
            return found;
        }
        if found.iter().any(|seen| seen.offset == offset) {
            problems.push(ListProblem::Loop(offset));
            return found;
        }
    }
    found
}
