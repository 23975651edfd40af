//! NIC drivers as a safe library: one [`Bus`] below, one [`Nic`] above.
//!
//! ```text
//!    kernel: syscalls, notifications, the interrupt line
//!        |  dyn Nic            send, receive, on_interrupt, tick
//!    +---v-------------------------------------------------+
//!    |  driver: what does not depend on the chip           |
//!    |   |  Chip          rings, registers, link           |   this crate: no unsafe,
//!    |  e100: Intel 82559ER    (one folder per chip)       |   runs under `cargo test`
//!    |  igb:  Intel 82576; igbvf: a virtual function of it  |
//!    +---+-------------------------------------------------+
//!        |  Bus                registers, DMA arena, delay
//!    the machine (kernel glue)      or      model: software devices that act when they like
//! ```
//!
//! A driver touches the world only through [`Bus`]: registers by byte offset, descriptors by offset
//! into one DMA arena. It forms no reference into memory that a card may write. Once
//! made it allocates nothing; it blocks nowhere, and bounds every wait for the hardware.
//!
//! What only some cards do ([`Facts::features`]: checksums, segmentation, VLAN tags, a self-test) a chip
//! leaves out, or refuses, so that a simple chip is a simple driver.
//!
//! # Contract of the wake-ups
//!
//! [`Nic::receive`] that answers [`Error::WouldBlock`] promises an [`Events::RECEIVE`] when a frame
//! is there; [`Nic::send`] that answers [`Error::WouldBlock`] promises an
//! [`Events::TRANSMIT_SPACE`] when a part of the ring is free again. Until then the caller may
//! sleep: no wake-up is lost, though one may come for nothing. Events come from
//! [`Nic::on_interrupt`], from [`Nic::tick`], and from [`Nic::take_events`], which the kernel calls
//! after each batch of sends and receives, for what became true during those calls.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bus;
mod chip;
mod driver;
pub mod e100;
mod error;
pub mod igb;
pub mod igbvf;
mod in_place;
mod interface;
pub mod model;
mod pool;
mod refusals;
mod reserve;
#[cfg(test)]
mod tests;

pub use abi::nic::{Features, Filters, FrameMemory, Link, MacAddress, Segmentation, SendOptions};
pub use bus::{Bus, BusAddr};
pub use error::Error;
pub use in_place::{FrameArea, Outgoing, Piece, ReceiveInfo, Tail};
pub use interface::{Events, Facts, FrameBuffers, Nic};
pub use pool::Pool;
pub use refusals::Refusals;
