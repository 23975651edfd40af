//! The attach table: which driver takes which function, and what is said of network controllers that no
//! driver takes.
//!
//! What attaching means is ring 0's affair, so a row carries any value `A` for it: a function pointer.

use super::function::Function;
use core::fmt::{self, Display};

/// The base class of network controllers (PCI Code and ID Assignment 1.15, §1.3).
pub const NETWORK: u8 = 2;

/// A row of the attach table.
#[derive(Clone, Copy, Debug)]
pub struct Driver<A> {
    /// The driver's name, for messages.
    pub name: &'static str,
    /// The chip's name, as its maker says it.
    pub chip: &'static str,
    /// QEMU's name of a card with that chip.
    pub qemu: &'static str,
    /// Vendor and device id of the functions that it takes.
    pub id: (u16, u16),
    /// How to give it one.
    pub attach: A,
}

/// The driver that takes a function.
pub fn driver<'t, A>(table: &'t [Driver<A>], function: &Function) -> Option<&'t Driver<A>> {
    let id = (function.vendor, function.device);
    table.iter().find(|driver| driver.id == id)
}

/// A well-known controller: vendor and device number, its name, and QEMU's name of it.
type Known = (u16, u16, &'static str, &'static str);

/// Controllers that emulators offer, and so the ones that are likely to be met.
const KNOWN: [Known; 12] = [
    (0x8086, 0x100e, "Intel 82540EM", "e1000"),
    (0x8086, 0x1008, "Intel 82544GC", "e1000-82544gc"),
    (0x8086, 0x100f, "Intel 82545EM", "e1000-82545em"),
    (0x8086, 0x10d3, "Intel 82574L", "e1000e"),
    (0x8086, 0x1229, "Intel 82557", "i82557b"),
    (0x1af4, 0x1000, "virtio network device", "virtio-net-pci"),
    (0x1af4, 0x1041, "virtio network device", "virtio-net-pci"),
    (0x10ec, 0x8139, "Realtek RTL8139", "rtl8139"),
    (0x10ec, 0x8029, "Realtek RTL8029", "ne2k_pci"),
    (0x1022, 0x2000, "AMD PCnet", "pcnet"),
    (0x15ad, 0x07b0, "VMware VMXNET3", "vmxnet3"),
    (0x1011, 0x0019, "DEC 21143", "tulip"),
];

/// Says of a network controller that no driver takes it, and what it is.
pub struct NoDriver<'a>(pub &'a Function);

impl Display for NoDriver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Function {
            address,
            vendor,
            device,
            ..
        } = self.0;
        write!(f, "no driver for the network controller at {address}: ")?;
        write!(f, "{vendor:04x}:{device:04x}")?;
        let mut known = KNOWN.iter();
        match known.find(|known| (known.0, known.1) == (*vendor, *device)) {
            Some((_, _, name, qemu)) => write!(f, ", {name} (QEMU's {qemu})"),
            None => Ok(()),
        }
    }
}

/// Says which card a driver is for, and how to start QEMU with one.
pub struct Drives<'a, A>(pub &'a Driver<A>);

impl<A> Display for Drives<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Driver {
            name, chip, qemu, ..
        } = self.0;
        let (vendor, device) = self.0.id;
        write!(f, "{chip} ({vendor:04x}:{device:04x}): ")?;
        write!(f, "`make qemu NIC={name}`, or QEMU's `-device {qemu}`")
    }
}
