//! Wharf's network server as a state machine: bytes and the time go in, frames and
//! answers come out.
//!
//! ```text
//!   program ── request ──▶ Server ──▶ Stack ──▶ smoltcp ──▶ phy::Device ──▶ card
//!           ◀─ answer ────   │  sockets, owners,   connections, listeners,
//!                            │  parked requests    TIME-WAIT, neighbours
//!                            ▼
//!                         Kernel: lent memory, answers
//! ```
//!
//! It never blocks, sleeps or reads a clock. Its two seams are [`Kernel`] (what a server
//! does with a call: read and write lent memory, answer it) and [`phy::Card`] (frames).
//! The machine and the tests implement both. Time is nanoseconds since any fixed moment.
//!
//! The loop around it: wait until [`Server::deadline`] for messages, deaths and the card;
//! give each message to [`Server::request`] and each death to [`Server::client_died`];
//! then [`Server::poll`] once. While `poll` says that more is left, only look for events
//! instead of waiting. One server serves one card: several cards are several servers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod addresses;
mod batch;
mod config;
mod datagram;
mod deadlines;
mod handles;
mod kernel;
mod parked;
mod ports;
mod queue;
mod readiness;
mod secret;
mod server;
mod stack;
mod status;
mod stream;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Limits, Timers};
pub use kernel::Kernel;
pub use secret::Secret;
pub use server::Server;

/// The seam to the card: smoltcp's device trait and the types it speaks in.
///
/// `receive` must return `None` when there is no room to transmit one frame, and
/// `transmit` when there is none; the server is then polled again when there is.
pub mod phy {
    pub use crate::stack::card::Card;
    pub use crate::stack::offload::{announce, is_acceptable, is_of_vlan, is_tcp};
    pub use smoltcp::phy::{
        Checksum, ChecksumCapabilities, Device, DeviceCapabilities, PacketMeta, RxToken, TxToken,
    };
    pub use smoltcp::time::Instant;
}
