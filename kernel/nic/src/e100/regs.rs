//! The control and status registers (OSDM §6.3), as far as the driver uses them.
//!
//! Mind the widths. A 16-bit write at [`COMMAND`] would also write [`MASK`], and QEMU lets a 32-bit
//! write at [`STATUS`] overwrite the read-only state: the control block is written byte by byte.

/// State of both units (8 bits, read only); as 16 bits, with [`ACK`] above it (§6.3.2.1).
pub const STATUS: u32 = 0x00;
/// Pending interrupt causes (8 bits, write 1 to clear) (§6.3.2.1).
pub const ACK: u32 = 0x01;
/// Command of the control block (8 bits); reads 0 once the card has taken it (§6.3.2.2).
pub const COMMAND: u32 = 0x02;
/// Interrupt mask (8 bits) (§6.3.2.2).
pub const MASK: u32 = 0x03;
/// General pointer, the argument of a command (32 bits) (§6.3.2.3).
pub const POINTER: u32 = 0x04;
/// Reset and self-test (32 bits) (§6.3.3).
pub const PORT: u32 = 0x08;
/// Pins of the serial EEPROM (16 bits) (§6.3.4).
pub const EEPROM: u32 = 0x0e;
/// Management interface to the transceiver (32 bits) (§6.3.5).
pub const MDI: u32 = 0x10;

/// Receive unit state, in [`STATUS`].
pub const RUS_MASK: u8 = 0x3c;
/// Receive unit: waiting for frames, or receiving.
pub const RUS_READY: u8 = 0x10;

/// A command block with the I bit is complete; in [`ACK`] and [`MASK`].
pub const CX: u8 = 0x80;
/// A frame was received; in [`ACK`] and [`MASK`].
pub const FR: u8 = 0x40;
/// The command unit left the active state; in [`ACK`] and [`MASK`].
pub const CNA: u8 = 0x20;
/// The receive unit left the ready state; in [`ACK`] and [`MASK`].
pub const RNR: u8 = 0x10;
/// A cycle on the management interface is over; in [`ACK`], and not maskable one by one.
pub const MDI_DONE: u8 = 0x08;
/// Masks all causes; in [`MASK`].
pub const M: u8 = 0x01;

/// Command unit: execute the list that starts at the general pointer.
pub const CUC_START: u8 = 0x10;
/// Command unit: go on after the block it suspended at.
pub const CUC_RESUME: u8 = 0x20;
/// Command unit: the general pointer is where to dump the counters.
pub const CUC_LOAD_DUMP: u8 = 0x40;
/// Command unit: the general pointer is the base of all command block addresses.
pub const CUC_LOAD_BASE: u8 = 0x60;
/// Command unit: dump the counters and reset them.
pub const CUC_DUMP_RESET: u8 = 0x70;
/// Receive unit: use the descriptors that start at the general pointer.
pub const RUC_START: u8 = 0x01;
/// Receive unit: the general pointer is the base of all descriptor addresses.
pub const RUC_LOAD_BASE: u8 = 0x06;

/// Resets everything but the PCI configuration; the configuration and addresses are lost.
pub const PORT_SOFTWARE_RESET: u32 = 0;
/// Stops both units and gets the card off the bus.
pub const PORT_SELECTIVE_RESET: u32 = 2;

/// EEPROM clock.
pub const EESK: u16 = 0x01;
/// EEPROM chip select.
pub const EECS: u16 = 0x02;
/// EEPROM data in, to the EEPROM.
pub const EEDI: u16 = 0x04;
/// EEPROM data out, from the EEPROM.
pub const EEDO: u16 = 0x08;

/// The management cycle is over.
pub const MDI_READY: u32 = 1 << 28;
/// Start a read cycle.
pub const MDI_READ: u32 = 2 << 26;
/// Position of the transceiver's address.
pub const MDI_PHY_SHIFT: u32 = 21;
/// Position of the transceiver's register number.
pub const MDI_REGISTER_SHIFT: u32 = 16;
