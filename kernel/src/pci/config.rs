//! Configuration space: how a function is named, and the one way to read and write it.

use core::fmt;

use bitflags::bitflags;

/// Devices on a bus.
pub(super) const DEVICES: u8 = 32;
/// Functions of a device.
pub(super) const FUNCTIONS: u8 = 8;

/// Byte offsets of the 32-bit registers every header begins with (PCI 3.0 §6.1).
pub(super) mod register {
    /// Vendor id (low half), device id.
    pub const ID: u16 = 0x00;
    /// COMMAND (low half) and STATUS, whose bits are cleared by writing ones to them.
    pub const COMMAND_STATUS: u16 = 0x04;
    /// Revision, programming interface, subclass, class: one byte each, from the low end.
    pub const CLASS_REVISION: u16 = 0x08;
    /// Cache line size, latency timer, header type, BIST.
    pub const HEADER_TYPE: u16 = 0x0c;
    /// The first base address register.
    pub const BAR0: u16 = 0x10;
    /// Type 1 headers: primary, secondary, subordinate bus (PCI-to-PCI Bridge 1.2 §3.2.5).
    pub const BUS_NUMBERS: u16 = 0x18;
    /// Offset of the first capability, in the low byte.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt line, interrupt pin, and two bytes that depend on the header type.
    pub const INTERRUPT: u16 = 0x3c;
}

/// Where a function is: bus, device, function. Shown as `00:03.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u16);

impl Address {
    /// The address of a function.
    ///
    /// # Panics
    /// If `device` is over 31 or `function` over 7: both come from the caller's own
    /// loops, never from hardware.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        assert!(device < DEVICES && function < FUNCTIONS);
        Address((bus as u16) << 8 | (device as u16) << 3 | function as u16)
    }

    /// The function with this routing id (PCIe 6.0 §2.2.4.2).
    pub const fn of_routing_id(id: u16) -> Self {
        Address(id)
    }

    /// Its routing id: bus, device and function in one word.
    pub const fn routing_id(self) -> u16 {
        self.0
    }

    /// Bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Device number on the bus, 0 to 31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 31
    }

    /// Function number in the device, 0 to 7.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }

    /// The function so many routing ids further on (PCIe 6.0 §9.2.1.2); none behind the last one.
    pub fn checked_add(self, count: u16) -> Option<Self> {
        self.0.checked_add(count).map(Address)
    }

    /// What to write to port 0xcf8 so that port 0xcfc is the register at byte `offset`
    /// (PCI 3.0 §3.2.2.3.2), or nothing if mechanism 1 cannot reach that far.
    pub const fn mechanism_1(self, offset: u16) -> Option<u32> {
        match offset {
            0..0x100 => Some(1 << 31 | (self.0 as u32) << 8 | (offset & !3) as u32),
            _ => None,
        }
    }

    /// Where the register at byte `offset` is in the bus's part of ECAM (PCIe 6.0 §7.2.2), or nothing
    /// if a function has no register there.
    pub const fn ecam_offset(self, offset: u16) -> Option<usize> {
        match offset {
            0..0x1000 => Some((self.0 as usize & 0xff) << 12 | (offset & !3) as usize),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02x}:{:02x}.{}",
            self.bus(),
            self.device(),
            self.function()
        )
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The seam to the hardware. Offsets are in bytes, multiples of 4, under 4096.
///
/// A register that cannot be reached (nobody there, a bus outside the ECAM window, or an
/// offset from 0x100 up through mechanism 1) reads as all ones; writes to it are lost.
pub trait ConfigSpace {
    /// Reads the register at `offset` of a function.
    fn read32(&mut self, address: Address, offset: u16) -> u32;

    /// Writes the register at `offset` of a function.
    fn write32(&mut self, address: Address, offset: u16, value: u32);

    /// Whether there is a function: all of a bus may be asked, so it is to cost little.
    fn is_there(&mut self, address: Address) -> bool {
        // PCI 3.0 §6.1: no vendor has this number.
        self.read32(address, register::ID) as u16 != 0xffff
    }
}

bitflags! {
    /// The COMMAND register (PCI 3.0 §6.2.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers on its I/O ports.
        const IO = 1 << 0;
        /// Answers at its memory addresses.
        const MEMORY = 1 << 1;
        /// May read and write memory itself (DMA, and MSI writes).
        const BUS_MASTER = 1 << 2;
        /// Must not drive its INTx line.
        const INTX_DISABLE = 1 << 10;

        // The other bits have owners too: keep them as they are.
        const _ = !0;
    }
}

impl Command {
    /// Reads the register of a function.
    pub(super) fn read(config: &mut impl ConfigSpace, address: Address) -> Self {
        Command::from_bits_retain(config.read32(address, register::COMMAND_STATUS) as u16)
    }

    /// Writes it. STATUS shares the 32 bits, and a one written there clears what it
    /// reports: so zeros go there.
    pub(super) fn write(self, config: &mut impl ConfigSpace, address: Address) {
        config.write32(address, register::COMMAND_STATUS, u32::from(self.bits()));
    }
}
