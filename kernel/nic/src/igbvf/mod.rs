//! A virtual function of Intel's 82576 ("igbvf").
//!
//! Manual: as [`crate::igb`], with whose rings it works.
//!
//! # Theory of operation
//!
//! A VF has one queue pair here, at other addresses than the card's, and three vectors: for what belongs to
//! no ring, for sending, and for receiving. It has no EEPROM, no transceiver, and no filters: for those it
//! asks the physical function (PF), by the mailbox (`mailbox.rs`, `filters.rs`).
//!
//! ```text
//!   reset --RSTI over--> lock, RESET, REQ --answer: station address--> rings --tail--> works
//!     ^                                                                                  |
//!     `------- tick: the PF was reset (RSTI, RSTD), does not listen (no CTS), -----------'
//!              or somebody has reset this function (the queues are off)
//! ```
//!
//! **Waits**: each answer is waited for in [`Bus::delay_us`], for 20 ms at the most. If one processor runs
//! both functions' drivers, that is where it must let the PF's serve its interrupt.
//!
//! **Differences of QEMU honoured**: its mailbox interrupts go to the wrong vector or nowhere, so `tick`
//! looks; no cause is masked by messages; a broadcast of its own comes back to its sender, who drops it by
//! its source as any stack does.

mod filters;
pub(crate) mod function;
mod mailbox;
mod statistics;

#[cfg(test)]
pub(crate) mod tests;

use self::function::Virtual;
use crate::driver::Driver;
use crate::igb::chip::{I82576, Kind};
use crate::igb::interrupts::Function;
use crate::igb::rings::Rings;
use crate::igb::{Igb, regs};
use crate::{Bus, Error, Link};

pub use crate::igb::{Config, InterruptMode};

/// Entries in a VF's MSI-X table.
pub const VECTORS: u16 = crate::igb::config::VF_VECTORS;
/// Bytes of registers.
pub const REGISTERS: usize = 0x4000;

/// Resets a virtual function and asks its PF for its station address; leaves it stopped.
///
/// `bus` must give an arena of at least [`Config::arena_size`] zeroed bytes that starts on a page, the
/// function must be bus master, and the three messages of its table must be set up. `config` has one
/// queue, and no VFs.
///
/// # Errors
/// [`Error::BadConfig`], [`Error::ArenaTooSmall`], [`Error::ArenaUnreachable`],
/// [`Error::DeviceGone`], [`Error::HostSilent`], [`Error::HostReset`], [`Error::HostRefused`],
/// [`Error::BadMacAddress`], [`Error::NoMemory`].
pub fn driver<B: Bus>(bus: B, config: Config) -> Result<Igb<B>, Error> {
    for (sound, what) in [
        (config.queues == 1, "queues"),
        (config.vfs == 0, "vfs"),
        (config.vectors() == VECTORS, "interrupts"),
    ] {
        if !sound {
            return Err(Error::BadConfig { what });
        }
    }
    let mut rings = Rings::new(bus, &config, regs::VF_QUEUES, Function::Virtual)?;
    let function = Virtual::new(&mut rings, config.frame_max)?;
    let facts = rings.facts("igbvf", function.mac(), &config);
    let chip = I82576::new(rings, Kind::Virtual(function));
    Driver::stopped(chip, facts, config.frames(), Link::default())
}
