//! Intel 82576 ("igb").
//!
//! Manual: *Intel 82576EB Gigabit Ethernet Controller Datasheet*, revision 2.63 (cited by section).
//! Where QEMU 10's `igb` differs from it, the driver obeys both and says so at the line.
//!
//! # Theory of operation
//!
//! The card has up to sixteen receive and sixteen transmit queues, each a ring of 16-byte
//! descriptors in memory. A ring has a head, which is the card's, and a tail, which the driver
//! writes: the descriptors from head to before tail are the card's.
//!
//! ```text
//!  registers                     DMA arena
//!  TDBAL TDLEN TDT  16 times     transmit rings     receive rings      buffers of 2 KiB
//!  RDBAL RDLEN RDT  16 times     +--------------+   +--------------+   +---+---+---+- - -
//!  RETA  RSSRK MRQC  which ring  | context      |   | buffer, -    |   |   |   |   |
//!  IVAR  EITR  GPIE  which       | buffer, len  |   | status, len  |   +---+---+---+- - -
//!  EICR  EIMS        vector      | buffer, len  |   | buffer, -    |   for sending, then
//!  CTRL  STATUS MDIC  link       +--------------+   +--------------+   those of each ring
//! ```
//!
//! **Buffers** are numbered, and descriptors remember numbers: a ring may hold any buffer in any
//! place. Frames are built and read in them (`take_buffer`, `receive_piece`), or copied into and out
//! of them by the simple calls, which are made of those.
//!
//! **Transmit** (`transmit.rs`, `sender.rs`, `offload.rs`): `send` finds the headers of the frame, chooses the
//! queue by the flow, so that frames of a flow stay in order, and fills descriptors; most frames
//! need little of that (`fast_path.rs`). `flush` is one write of the tail for each queue that has new
//! ones. What is done is read from memory. A full ring is [`Error::WouldBlock`]; only then the
//! transmit cause is armed.
//!
//! **Receive** (`receive.rs`, `receiver.rs`): the card spreads flows over the queues by a hash and
//! stores each frame in one descriptor or several. `receive` goes round the queues whose interrupt
//! is silent, a batch from each, reading from memory alone; only when all are empty it arms their
//! causes and looks once more. So a busy card costs no interrupts, and no register access but a
//! tail for some dozens of frames, and rings that nothing comes by are not looked at.
//!
//! **Interrupts** (`interrupts.rs`): messages for the parts of the card, one message, or the line.
//!
//! **Link** (`csr.rs`): negotiation starts with each reset and is never waited for; the card
//! interrupts when the link comes or goes, and `tick` looks too.
//!
//! **Functions** (`chip.rs`, `rings.rs`, `role.rs`): a function of the card is its registers, rings and interrupts,
//! and a role: that of the whole card (`physical.rs`), or of a virtual function ([`crate::igbvf`]).
//!
//! **Virtual functions** (`host/`): with [`Config::vfs`] the driver is also the host of so many
//! (`Igb::hosting`): it answers their mailboxes and tells the card which pool gets which frame, whether or
//! not it is started.
//!
//! **Recovery**: a descriptor that cannot be, a head outside its ring, a transmit queue that stands
//! still, or a card that reads as all ones ends all work with a typed error, until `tick` has reset
//! the card. What was in the rings is lost.
//!
//! **Differences of QEMU honoured**: a restart of negotiation after each reset; bits that never
//! come (EEPROM loaded); causes at their old offsets; no transmit cause without vector; no masking
//! by messages; descriptors without address eat the ring; frames below 14 bytes and IPv4 packets
//! without header are dropped though reported as sent; segments without FIN; no legacy descriptors.

pub(crate) mod bits;
pub(crate) mod chip;
pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod csr;
mod descriptor;
mod fast_path;
pub(crate) mod filters;
mod host;
pub(crate) mod interrupts;
pub(crate) mod mail;
mod offload;
mod packet;
mod physical;
pub(crate) mod queue;
pub(crate) mod receive;
pub(crate) mod receiver;
pub(crate) mod regs;
pub(crate) mod rings;
pub(crate) mod role;
mod rss;
pub(crate) mod sender;
mod statistics;
pub(crate) mod transmit;

#[cfg(test)]
mod tests;

use self::chip::Kind;
use self::interrupts::Function;
use self::physical::Physical;
use self::rings::Rings;
use crate::driver::Driver;
use crate::{Bus, Error, Link};

pub use self::chip::I82576;
pub use self::config::{Config, FRAME_JUMBO, InterruptMode, QUEUES, VECTORS};
pub use self::host::{Host, SharedHost, vf_address};

/// Bytes of registers that the driver uses.
pub const REGISTERS: usize = 0x1_0000;

/// The driver of a function of an 82576. Virtual ones are made by [`crate::igbvf::driver`].
pub type Igb<B> = Driver<I82576<B>>;

impl<B: Bus> Igb<B> {
    /// Resets the card, starts its link, reads its EEPROM; leaves it stopped.
    ///
    /// `bus` must give an arena of at least [`Config::arena_size`] zeroed bytes that starts on a
    /// page, the card must be bus master, and its interrupts must be set up as `config` says.
    ///
    /// # Errors
    /// [`Error::BadConfig`], [`Error::ArenaTooSmall`], [`Error::ArenaUnreachable`],
    /// [`Error::DeviceGone`], [`Error::ResetTimeout`], [`Error::NoEeprom`],
    /// [`Error::EepromChecksum`], [`Error::MacMismatch`], [`Error::BadMacAddress`],
    /// [`Error::MdiTimeout`], [`Error::NoMemory`].
    pub fn new(bus: B, config: Config) -> Result<Self, Error> {
        Self::with(bus, config, None)
    }

    /// Does the same with a card that has virtual functions, which this host serves.
    ///
    /// # Errors
    /// [`Error::BadConfig`] if the host has another number of functions than `config` says, and all errors
    /// that `new` has.
    pub fn hosting(bus: B, config: Config, host: SharedHost<B>) -> Result<Self, Error> {
        Self::with(bus, config, Some(host))
    }

    fn with(bus: B, config: Config, host: Option<SharedHost<B>>) -> Result<Self, Error> {
        if host.map_or(0, |host| host.lock().vfs()) != config.vfs {
            return Err(Error::BadConfig { what: "vfs" });
        }
        // Those of the pool behind the VFs', or all.
        let queues = match config.vfs {
            0 => regs::QUEUES,
            vfs => regs::queues_of(vfs),
        };
        let function = Function::Physical { vfs: config.vfs };
        let mut rings = Rings::new(bus, &config, queues, function)?;
        rings.csr.reset()?;
        let mac = rings.csr.identify()?;
        if let Some(host) = host {
            host.lock().meet(mac);
        }
        let facts = rings.facts("igb", mac, &config);
        let physical = Physical::new(&mut rings, config, mac, host)?;
        let chip = I82576::new(rings, Kind::Physical(physical));
        Driver::stopped(chip, facts, config.frames(), Link::default())
    }
}
