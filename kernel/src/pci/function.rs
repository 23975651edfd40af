//! One function: its header read into a description, and what a driver does first,
//! which is to enable it.

use alloc::vec::Vec;
use core::fmt;

use super::bar::{BarProblem, Bars, read_bars};
use super::capability::{
    Capability, CapabilityId, ExtendedCapability, ListProblem, read_capabilities,
    read_extended_capabilities,
};
use super::config::{Address, Command, ConfigSpace, register};

/// The most functions that are described; a machine with more has them left out.
pub const FUNCTIONS_MAX: usize = 512;

/// Something found on a bus that makes no sense. Shown as one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A BAR of this function, with its index, cannot be used.
    Bar(Address, u8, BarProblem),
    /// A list of capabilities of this function could not be read to its end.
    Capabilities(Address, ListProblem),
    /// The function has a header of this unknown type.
    UnknownHeader(Address, u8),
    /// Firmware gave the bridge no usable bus numbers.
    NoBuses(Address, BusNumbers),
    /// The bridge leads to this bus, which was visited before.
    BusTwice(Address, u8),
    /// There are more than [`FUNCTIONS_MAX`] functions; this is the first left out.
    TooMany(Address),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Bar(address, index, problem) => {
                write!(f, "PCI: {address}: BAR{index} not usable: {problem}")
            }
            Problem::Capabilities(address, problem) => {
                write!(
                    f,
                    "PCI: {address}: list of capabilities cut short: it {problem}"
                )
            }
            Problem::UnknownHeader(address, kind) => {
                write!(f, "PCI: {address}: unknown header type {kind:02x}")
            }
            Problem::NoBuses(address, buses) => write!(
                f,
                "PCI: {address}: firmware gave this bridge no buses (secondary {:02x}, subordinate \
                 {:02x}): what is behind it cannot be reached",
                buses.secondary, buses.subordinate
            ),
            Problem::BusTwice(address, bus) => write!(
                f,
                "PCI: {address}: this bridge leads to bus {bus:02x}, which was visited already"
            ),
            Problem::TooMany(address) => write!(
                f,
                "PCI: more than {FUNCTIONS_MAX} functions: {address} and the rest are left out"
            ),
        }
    }
}

/// What the rest of the header looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Type 0: an ordinary function.
    Device,
    /// Type 1: a bridge to another PCI bus.
    Bridge(BusNumbers),
    /// Something else (type 2: a CardBus bridge): nothing further is known about it.
    Other(u8),
}

/// The buses of a bridge, as firmware numbered them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusNumbers {
    /// The bus the bridge is on.
    pub primary: u8,
    /// The bus behind it.
    pub secondary: u8,
    /// The highest bus number anywhere behind it.
    pub subordinate: u8,
}

/// A function as its configuration space describes it.
///
/// Shown as the line printed when it is found:
/// `PCI: 00:03.0: 8086:1209: class: 2.0 (Network controller) irq: 11`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// Vendor id of its maker.
    pub vendor: u16,
    /// The vendor's number for it.
    pub device: u16,
    /// Base class: 2 is a network controller.
    pub class: u8,
    /// Class within the base class: 2.0 is Ethernet.
    pub subclass: u8,
    /// What depends on the type of its header.
    pub header: Header,
    /// INTx pin it uses: 1 to 4 for A to D, 0 for none.
    pub interrupt_pin: u8,
    /// Interrupt line firmware routed that pin to; see [`Function::irq`].
    pub interrupt_line: u8,
    /// Its memory and I/O ranges.
    pub bars: Bars,
    /// Its capabilities, in the order of the list.
    pub capabilities: Vec<Capability>,
    /// Its extended capabilities; empty without ECAM.
    pub extended_capabilities: Vec<ExtendedCapability>,
    /// It is a virtual function, which its physical function turned on ([`super::SrIov`]).
    pub is_virtual: bool,
}

impl Function {
    /// Reads the description of the function at `address`, or nothing if none is there.
    /// Adds to `problems` what could not be made sense of.
    pub fn read(
        config: &mut impl ConfigSpace,
        address: Address,
        problems: &mut Vec<Problem>,
    ) -> Option<Function> {
        let id = config.read32(address, register::ID);
        let (vendor, device) = (id as u16, (id >> 16) as u16);
        // No vendor is 0xffff; all zeros is how some broken boards say the same.
        if vendor == 0xffff || id == 0 {
            return None;
        }
        let status = (config.read32(address, register::COMMAND_STATUS) >> 16) as u16;
        let [_, _, subclass, class] = config
            .read32(address, register::CLASS_REVISION)
            .to_le_bytes();
        let header = read_header(config, address);
        let (bar_count, listed) = match header {
            Header::Device => (6, true),
            Header::Bridge(_) => (2, true),
            Header::Other(kind) => {
                problems.push(Problem::UnknownHeader(address, kind));
                (0, false)
            }
        };

        let mut bad_bars = Vec::new();
        let host_bridge = (class, subclass) == (6, 0);
        let bars = read_bars(config, address, bar_count, host_bridge, &mut bad_bars);
        problems.extend(
            bad_bars
                .into_iter()
                .map(|(index, problem)| Problem::Bar(address, index, problem)),
        );

        let mut bad_lists = Vec::new();
        let mut capabilities = Vec::new();
        let mut extended_capabilities = Vec::new();
        if listed {
            capabilities = read_capabilities(config, address, status, &mut bad_lists);
            // Only PCI Express functions have more: others may mirror their header there.
            if capabilities
                .iter()
                .any(|capability| capability.id == CapabilityId::PCI_EXPRESS)
            {
                extended_capabilities = read_extended_capabilities(config, address, &mut bad_lists);
            }
        }
        problems.extend(
            bad_lists
                .into_iter()
                .map(|problem| Problem::Capabilities(address, problem)),
        );

        let [interrupt_line, interrupt_pin, ..] =
            config.read32(address, register::INTERRUPT).to_le_bytes();
        Some(Function {
            address,
            vendor,
            device,
            class,
            subclass,
            header,
            interrupt_pin,
            interrupt_line,
            bars,
            capabilities,
            extended_capabilities,
            is_virtual: false,
        })
    }

    /// The interrupt line its INTx pin arrives at, or none: it has no pin, or firmware
    /// did not route it (0 and 255, PCI 3.0 §6.2.4).
    pub fn irq(&self) -> Option<u8> {
        (self.interrupt_pin != 0 && !matches!(self.interrupt_line, 0 | 0xff))
            .then_some(self.interrupt_line)
    }

    /// The first capability with this id.
    pub fn capability(&self, id: CapabilityId) -> Option<Capability> {
        self.capabilities
            .iter()
            .copied()
            .find(|capability| capability.id == id)
    }

    /// The first extended capability with this id.
    pub fn extended_capability(&self, id: u16) -> Option<ExtendedCapability> {
        self.extended_capabilities
            .iter()
            .copied()
            .find(|capability| capability.id == id)
    }

    /// Lets the function answer on its ports and memory, do DMA, and drive its INTx line.
    /// To be called by the driver that takes it.
    ///
    /// # Errors
    /// [`EnableError::Unassigned`] if firmware gave one of its ranges no address: then it
    /// is left as it was, as it would answer at address 0. [`EnableError::Refused`] if the
    /// bits do not stick, which is what happens when a card has gone.
    pub fn enable(&self, config: &mut impl ConfigSpace) -> Result<(), EnableError> {
        let mut needed = Command::BUS_MASTER;
        for bar in self.bars.iter().flatten() {
            if !bar.is_assigned() {
                return Err(EnableError::Unassigned(bar.index));
            }
            // A virtual function's ranges are let through by its physical function; its own bit is wired to
            // 0 (PCIe 6.0 §9.3.4.1.3), but QEMU 10.0 wants it set.
            needed |= match bar.is_io() {
                true => Command::IO,
                false if self.is_virtual => Command::empty(),
                false => Command::MEMORY,
            };
        }
        let all = Command::IO | Command::MEMORY | Command::BUS_MASTER;
        let wanted = (Command::read(config, self.address) | all) - Command::INTX_DISABLE;
        wanted.write(config, self.address);
        let got = Command::read(config, self.address);
        // A card that is gone reads as all ones, which would look enabled.
        if !got.contains(needed) || got.bits() == !0 {
            return Err(EnableError::Refused(got));
        }
        Ok(())
    }

    /// Its ranges and capabilities, for a line of the boot log.
    pub fn resources(&self) -> Resources<'_> {
        Resources(self)
    }

    /// It in a few words: `00:03.0 (8086:1209)`.
    pub fn label(&self) -> impl fmt::Display {
        let (address, vendor, device) = (self.address, self.vendor, self.device);
        fmt::from_fn(move |f| write!(f, "{address} ({vendor:04x}:{device:04x})"))
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PCI: {}: {:04x}:{:04x}: class: {:x}.{:x} ({}) irq: {}",
            self.address,
            self.vendor,
            self.device,
            self.class,
            self.subclass,
            CLASS_NAMES
                .get(usize::from(self.class))
                .unwrap_or(&"Unknown"),
            self.interrupt_line
        )
    }
}

fn read_header(config: &mut impl ConfigSpace, address: Address) -> Header {
    match header_type(config, address) & 0x7f {
        0 => Header::Device,
        1 => {
            let [primary, secondary, subordinate, _] =
                config.read32(address, register::BUS_NUMBERS).to_le_bytes();
            Header::Bridge(BusNumbers {
                primary,
                secondary,
                subordinate,
            })
        }
        other => Header::Other(other),
    }
}

/// The header type; bit 7 says that the device has more functions than function 0.
pub(super) fn header_type(config: &mut impl ConfigSpace, address: Address) -> u8 {
    (config.read32(address, register::HEADER_TYPE) >> 16) as u8
}

/// Base classes by number (PCI Code and ID Assignment 1.15 §1), the first seven worded as
/// the lab's kernel printed them.
const CLASS_NAMES: [&str; 20] = [
    "Unknown",
    "Storage controller",
    "Network controller",
    "Display controller",
    "Multimedia device",
    "Memory controller",
    "Bridge device",
    "Communication controller",
    "System peripheral",
    "Input device",
    "Docking station",
    "Processor",
    "Serial bus controller",
    "Wireless controller",
    "Intelligent I/O controller",
    "Satellite controller",
    "Encryption controller",
    "Signal processing controller",
    "Processing accelerator",
    "Non-essential instrumentation",
];

/// What a function has. Shown as
/// `BAR1 io 0xc000+0x40; PM at dc`.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'f>(&'f Function);

impl fmt::Display for Resources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut item = |what: &dyn fmt::Display| {
            write!(f, "{separator}{what}")?;
            separator = "; ";
            Ok(())
        };
        let function = self.0;
        function
            .bars
            .iter()
            .flatten()
            .try_for_each(|bar| item(bar))?;
        function.capabilities.iter().try_for_each(|c| item(c))?;
        function
            .extended_capabilities
            .iter()
            .try_for_each(|c| item(c))
    }
}

/// Why a function was not enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnableError {
    /// The BAR with this index has no address.
    Unassigned(u8),
    /// COMMAND reads as this afterwards.
    Refused(Command),
}

impl fmt::Display for EnableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnableError::Unassigned(index) => write!(f, "firmware gave BAR{index} no address"),
            EnableError::Refused(command) => write!(
                f,
                "COMMAND stays {:04x} (is the card still there?)",
                command.bits()
            ),
        }
    }
}

impl core::error::Error for EnableError {}
