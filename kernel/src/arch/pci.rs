//! PCI configuration space: by the ports of mechanism 1, and by ECAM where ACPI names it.

use super::paging;
use crate::mmio::Mmio;
use alloc::collections::btree_map::{BTreeMap, Entry};
use kernel::acpi::{self, AcpiError, EcamWindow, PhysicalMemory};
use kernel::pci::{Address, ConfigSpace};
use x86_64::PhysAddr;
use x86_64::instructions::port::Port;

/// PCI 3.0 §3.2.2.3.2.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// Both ways to configuration space.
pub struct Config {
    /// Whether the ports are there.
    mechanism_1: bool,
    ecam: Result<EcamWindow, AcpiError>,
    /// Registers of each bus looked at, mapped on first use: a window is up to 256 MiB.
    buses: BTreeMap<u8, Mmio>,
}

impl Config {
    /// With ECAM if ACPI describes it, else through the ports.
    pub fn new(rsdp: Option<u64>) -> Self {
        const MCFG: AcpiError = AcpiError::NoTable(*b"MCFG");
        let windows = acpi::ecam_windows(&Physical, rsdp.unwrap_or(0));
        let ecam = windows.and_then(|all| {
            let mut all = all.into_iter();
            all.find(|window| window.segment == 0).ok_or(MCFG)
        });
        Config {
            mechanism_1: has_mechanism_1(),
            ecam,
            buses: BTreeMap::new(),
        }
    }

    /// Why there is no configuration space at all, if there is none.
    pub fn lack(&self) -> Option<AcpiError> {
        self.ecam.err().filter(|_| !self.mechanism_1)
    }

    /// The registers of the bus of `address`, and the offset in them.
    fn ecam(&mut self, address: Address, offset: u16) -> Option<(&mut Mmio, usize)> {
        let offset = address.ecam_offset(offset)?;
        let bus = match self.buses.entry(address.bus()) {
            Entry::Occupied(bus) => bus.into_mut(),
            Entry::Vacant(slot) => {
                let physical = PhysAddr::new(self.ecam.ok()?.bus(address.bus())?);
                slot.insert(paging::map_device(physical, EcamWindow::BUS_SIZE as usize)?)
            }
        };
        Some((bus, offset))
    }
}

/// Whether the address port keeps what is written to it.
fn has_mechanism_1() -> bool {
    const ENABLE: u32 = 1 << 31;
    let mut port = Port::<u32>::new(CONFIG_ADDRESS);
    // SAFETY: selecting a register does nothing else; a machine without the port ignores it.
    unsafe {
        port.write(ENABLE);
        port.read() == ENABLE
    }
}

/// Reads a register through the ports.
fn read_port(address: Address, offset: u16) -> u32 {
    let Some(selected) = address.mechanism_1(offset) else {
        return u32::MAX;
    };
    // SAFETY: the PC's configuration ports; reading a register through them changes
    // no memory.
    unsafe {
        Port::<u32>::new(CONFIG_ADDRESS).write(selected);
        Port::<u32>::new(CONFIG_DATA).read()
    }
}

impl ConfigSpace for Config {
    fn read32(&mut self, address: Address, offset: u16) -> u32 {
        match self.ecam(address, offset) {
            Some((bus, at)) => bus.read(at),
            None => read_port(address, offset),
        }
    }

    /// By the ports, where there are some: ECAM would have to be mapped first.
    fn is_there(&mut self, address: Address) -> bool {
        let id = match self.mechanism_1 {
            true => read_port(address, 0),
            false => self.read32(address, 0),
        };
        id as u16 != 0xffff
    }

    fn write32(&mut self, address: Address, offset: u16, value: u32) {
        if let Some((bus, at)) = self.ecam(address, offset) {
            bus.write(at, value);
            return;
        }
        if let Some(selected) = address.mechanism_1(offset) {
            // SAFETY: as above. What may do harm, a BAR over memory or bus mastering, is
            // written only by the scan, which restores it, and for a driver.
            unsafe {
                Port::<u32>::new(CONFIG_ADDRESS).write(selected);
                Port::<u32>::new(CONFIG_DATA).write(value);
            }
        }
    }
}

/// Physical memory, for reading ACPI's tables.
pub(super) struct Physical;

impl PhysicalMemory for Physical {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        paging::read_physical(address, buffer)
    }
}
