//! PCI and PCI Express: what is on the buses, and which driver takes it.
//!
//! ```text
//! config      Address, the ConfigSpace trait: one 32-bit read, one 32-bit write
//! bar         base address registers: where a function's memory and ports are, sized
//! capability  the two linked lists that say what more a function can do
//! function    one function described from its header; enabling it
//! scan        every bus from bus 0 through every bridge
//! driver      the attach table: which driver takes which function, and what none takes
//! sriov       virtual functions: turned on, placed in memory, and described
//! ```
//!
//! Everything reaches the hardware through [`ConfigSpace`], which has two real
//! implementations in the kernel (ports 0xcf8/0xcfc, and ECAM) and a model in the
//! tests that replays configuration space recorded from machines. Hardware is not
//! trusted here: lists may loop, bridges may point at themselves, a card may be
//! pulled out between two reads and answer all ones from then on. None of that
//! panics or hangs; what is odd is reported as a [`Problem`] and passed over.
//!
//! Why not the `pci_types` crate: its access trait is made of `unsafe fn`s, which
//! this library forbids; it sizes BARs while they decode; and its capability walk
//! has no bound.
//!
//! Sources: PCI Local Bus 3.0 ("PCI 3.0"), PCI-to-PCI Bridge 1.2, PCI Express Base
//! 6.0 ("PCIe 6.0"), PCI Firmware 3.3.

mod bar;
mod capability;
mod config;
mod driver;
mod function;
mod msi;
mod scan;
mod sriov;
#[cfg(test)]
mod tests;

pub use bar::{Bar, BarKind, BarProblem, Bars};
pub use capability::{Capability, CapabilityId, ExtendedCapability, ListProblem};
pub use config::{Address, Command, ConfigSpace};
pub use driver::{Driver, Drives, NETWORK, NoDriver, driver};
pub use function::{BusNumbers, EnableError, FUNCTIONS_MAX, Function, Header, Problem};
pub use msi::{Message, Msi, MsiX};
pub use scan::{Scan, scan};
pub use sriov::{SR_IOV, SrIov, SrIovError, Virtual, bridge_windows, forward_ari};
