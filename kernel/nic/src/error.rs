//! What can go wrong with a card, and what its owner can do then.

use crate::bus::BusAddr;
use abi::nic::MacAddress;
use core::fmt;

/// Why a driver did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nothing to receive, or no room to send; the matching event follows.
    WouldBlock,
    /// A frame of no bytes, or longer than [`crate::Facts::frame_max`]; refused.
    BadLength {
        /// What was asked for, in bytes.
        len: usize,
    },
    /// The next frame is longer than the buffer; it was dropped and counted.
    BufferTooSmall {
        /// Length of the frame, in bytes.
        len: usize,
    },
    /// No buffer of that number is held by the caller.
    BadBuffer {
        /// The number.
        buffer: u16,
    },
    /// The card, or its driver, does not do this at all: see [`crate::Facts::features`].
    Unsupported,
    /// The headers of the frame are not those that the card needs to send it as asked; refused.
    BadHeaders,
    /// A filter has no room for so many addresses.
    TooMany {
        /// What was asked for.
        count: usize,
        /// What there is room for.
        max: usize,
    },
    /// The frame comes from a station or an address that is not its sender's.
    BadSource,
    /// A VLAN number above 4094, or one that another function of the card has.
    BadVlan {
        /// The number.
        vlan: u16,
    },
    /// The configuration asks for what the card does not have.
    BadConfig {
        /// The field.
        what: &'static str,
    },
    /// There is no memory for what the driver keeps.
    NoMemory,
    /// The driver is stopped: see [`crate::Nic::start`].
    Stopped,
    /// Reads return all ones: the card is gone from the bus, or its window is not enabled.
    DeviceGone,
    /// The card did not come out of reset.
    ResetTimeout,
    /// The card did not take a command of its control block.
    CommandTimeout {
        /// The command byte that stayed.
        command: u8,
    },
    /// The card took a command block but did not complete it.
    BlockTimeout {
        /// The command field of the block.
        command: u16,
    },
    /// An IOMMU has stopped the card's DMA: it goes where no driver has told it to.
    DmaStopped,
    /// A ring did not start.
    QueueTimeout {
        /// Its number.
        queue: u8,
    },
    /// The card wrote a descriptor that cannot be, for example longer than its buffer.
    BadDescriptor {
        /// The ring's number.
        queue: u8,
        /// The length in it, in bytes.
        len: usize,
    },
    /// The card claims a place outside its ring.
    BadHead {
        /// The ring's number.
        queue: u8,
        /// The place.
        head: u32,
    },
    /// A frame that the card sent to itself did not come back as it was.
    SelfTest,
    /// No serial EEPROM answers.
    NoEeprom,
    /// The words of the EEPROM do not add up to 0xbaba.
    EepromChecksum {
        /// What they add up to.
        found: u16,
    },
    /// The EEPROM holds a station address that no station may have (all zeros, or a group).
    BadMacAddress {
        /// The address.
        found: MacAddress,
    },
    /// The card's address registers hold another address than its EEPROM.
    MacMismatch {
        /// What the registers hold.
        registers: MacAddress,
        /// What the EEPROM holds.
        eeprom: MacAddress,
    },
    /// The transceiver did not answer over the management interface.
    MdiTimeout,
    /// The physical function does not answer a virtual one.
    HostSilent,
    /// The card, or this virtual function, was reset by somebody else.
    HostReset,
    /// The physical function refuses what a virtual one needs.
    HostRefused {
        /// The kind of request.
        request: u16,
    },
    /// The DMA arena is too small.
    ArenaTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        found: usize,
    },
    /// The DMA arena is not where this card can reach it.
    ArenaUnreachable {
        /// Where it starts.
        start: BusAddr,
    },
}

impl Error {
    /// Whether no more work is possible until the card was reset.
    pub(crate) fn breaks_card(&self) -> bool {
        matches!(
            self,
            Error::DeviceGone
                | Error::CommandTimeout { .. }
                | Error::BadDescriptor { .. }
                | Error::BadHead { .. }
                | Error::DmaStopped
                | Error::HostSilent
                | Error::HostReset
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::WouldBlock => f.write_str("would block: wait for the event, then try again"),
            Error::BadLength { len } => write!(
                f,
                "a frame of {len} bytes cannot be sent: send at least 1 and at most frame_max bytes"
            ),
            Error::BufferTooSmall { len } => write!(
                f,
                "a frame of {len} bytes was dropped: receive into a buffer of frame_max bytes"
            ),
            Error::BadBuffer { buffer } => write!(
                f,
                "buffer {buffer} is not held: send and return only buffers that were taken"
            ),
            Error::Unsupported => {
                f.write_str("this card does not do that: ask for its features first")
            }
            Error::BadHeaders => f.write_str(
                "the frame's headers do not allow what was asked: send it without offload",
            ),
            Error::TooMany { count, max } => write!(
                f,
                "the filter has room for {max} addresses, not for {count}: ask for all of them"
            ),
            Error::BadSource => f.write_str("the frame's source is not its sender's"),
            Error::BadVlan { vlan } => {
                write!(f, "there is no VLAN {vlan}: choose one from 0 to 4094")
            }
            Error::BadConfig { what } => {
                write!(f, "the card cannot be configured so: mend `{what}`")
            }
            Error::NoMemory => f.write_str("there is no memory for its driver: start with more"),
            Error::Stopped => f.write_str("the card is stopped: start it first"),
            Error::DeviceGone => f.write_str(
                "the card reads as all ones: check that it is plugged in and its BAR is enabled",
            ),
            Error::ResetTimeout => {
                f.write_str("the card did not come out of reset: power it off and on")
            }
            Error::CommandTimeout { command } => write!(
                f,
                "the card did not take command {command:#04x}: stop it and start it again"
            ),
            Error::BlockTimeout { command } => write!(
                f,
                "the card did not complete command block {command:#06x}: \
                 check that bus mastering is on, then stop it and start it again"
            ),
            Error::QueueTimeout { queue } => write!(
                f,
                "ring {queue} of the card did not start: stop the card and start it again"
            ),
            Error::BadDescriptor { queue, len } => write!(
                f,
                "the card wrote a descriptor of {len} bytes to ring {queue}, which cannot be: \
                 it is reset"
            ),
            Error::BadHead { queue, head } => write!(
                f,
                "the card claims to be at {head} in ring {queue}, which is outside: it is reset"
            ),
            Error::SelfTest => f.write_str(
                "a frame the card sent to itself did not come back: do not trust this card",
            ),
            Error::NoEeprom => {
                f.write_str("no EEPROM answers: check its wiring, or give the address by hand")
            }
            Error::EepromChecksum { found } => write!(
                f,
                "the EEPROM adds up to {found:#06x}, not 0xbaba: rewrite it with the maker's tool"
            ),
            Error::BadMacAddress { found } => write!(
                f,
                "the EEPROM's station address {found:02x?} is not one station's: \
                 rewrite it with the maker's tool"
            ),
            Error::MacMismatch { registers, eeprom } => write!(
                f,
                "the card's address is {registers:02x?}, its EEPROM's {eeprom:02x?}: \
                 rewrite it with the maker's tool"
            ),
            Error::MdiTimeout => {
                f.write_str("the transceiver does not answer: stop the card and start it again")
            }
            Error::DmaStopped => f.write_str("the IOMMU has stopped its DMA"),
            Error::HostSilent => f.write_str(
                "the card's physical function does not answer: see that it has a driver",
            ),
            Error::HostReset => f.write_str(
                "the card, or this function, was reset by somebody else: it is set up anew in a moment",
            ),
            Error::HostRefused { request } => write!(
                f,
                "the card's physical function refuses request {request}: compare both configurations"
            ),
            Error::ArenaTooSmall { needed, found } => write!(
                f,
                "the DMA arena has {found} bytes: allocate {needed} contiguous bytes"
            ),
            Error::ArenaUnreachable { start } => write!(
                f,
                "the card cannot reach the DMA arena at {:#x}: allocate it below 4 GiB",
                start.0
            ),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
