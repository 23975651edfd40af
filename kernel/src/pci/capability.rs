//! The two linked lists of capabilities: one in the 256 bytes of conventional configuration space, one
//! from 0x100 up that only ECAM reaches. Both end at the first entry that was seen before.

use alloc::vec::Vec;
use core::fmt;

use super::config::{Address, ConfigSpace, register};

/// STATUS: there is a list of capabilities (PCI 3.0 §6.2.3).
const STATUS_CAPABILITIES: u16 = 1 << 4;
/// Where capabilities may be: after the header.
const FIRST: u16 = 0x40;
/// Where extended capabilities may be (PCIe 6.0 §7.6).
const EXTENDED_FIRST: u16 = 0x100;

/// What a capability is (PCI Code and ID Assignment 1.15 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Power management.
    pub const POWER_MANAGEMENT: Self = CapabilityId(0x01);
    /// Message signalled interrupts.
    pub const MSI: Self = CapabilityId(0x05);
    /// Whatever the vendor has put there.
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
    if status & STATUS_CAPABILITIES == 0 {
        return Vec::new();
    }
    // The low two bits of every pointer are reserved and must be masked.
    let first = config.read32(address, register::CAPABILITIES) as u16 & 0xfc;
    let next = |entry: u32| (entry >> 8) as u16 & 0xfc;
    let entries = follow(config, address, (first, FIRST), next, problems);
    let capability = |(offset, entry)| Capability {
        id: CapabilityId(entry as u8),
        offset,
    };
    entries.into_iter().map(capability).collect()
}

/// Reads the list of extended capabilities of a PCI Express function (PCIe 6.0 §7.6.3);
/// it is empty where configuration space ends at 0x100.
pub(super) fn read_extended_capabilities(
    config: &mut impl ConfigSpace,
    address: Address,
    problems: &mut Vec<ListProblem>,
) -> Vec<ExtendedCapability> {
    if config.read32(address, EXTENDED_FIRST) == !0 {
        return Vec::new();
    }
    let start = (EXTENDED_FIRST, EXTENDED_FIRST);
    let next = |entry: u32| (entry >> 20) as u16 & 0xffc;
    let mut entries = follow(config, address, start, next, problems);
    // A list with nothing in it is one entry of zeros.
    entries.retain(|(_, entry)| *entry != 0);
    let capability = |(offset, entry)| ExtendedCapability {
        id: entry as u16,
        version: (entry >> 16) as u8 & 0xf,
        offset,
    };
    entries.into_iter().map(capability).collect()
}

/// The entries of a list from the one at `offset` on, with their offsets. An entry says by `next` where the
/// next one is: at 0 if it is the last, and else not below `least`.
fn follow(
    config: &mut impl ConfigSpace,
    address: Address,
    (mut offset, least): (u16, u16),
    next: impl Fn(u32) -> u16,
    problems: &mut Vec<ListProblem>,
) -> Vec<(u16, u32)> {
    let mut found: Vec<(u16, u32)> = Vec::new();
    while offset != 0 {
        if offset < least {
            problems.push(ListProblem::OutOfPlace(offset));
            break;
        }
        if found.iter().any(|(seen, _)| *seen == offset) {
            problems.push(ListProblem::Loop(offset));
            break;
        }
        let entry = config.read32(address, offset);
        if entry == !0 {
            problems.push(ListProblem::AllOnes(offset));
            break;
        }
        found.push((offset, entry));
        offset = next(entry);
    }
    found
}
