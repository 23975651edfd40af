//! Wharf's network server as a state machine: bytes and the time go in, frames and
//! answers come out.
//!
//! ```text
//!   program ── request ──▶ Server ──▶ Sockets ──▶ Stack ──▶ tcp (smoltcp) ─▶ ip ─▶ link ──▶ phy::Device ──▶ card
//!           ◀─ answer ────   │ batches  handles,   turns,    udp ──────────▶
//!                            │          owners,    received
//!                            │          kinds      frames: packet, verdict
//!                            ▼
//!                         Ipc: lent memory, answers
//! ```
//!
//! It is a stack of its own, which uses smoltcp for TCP's state machine and for wire formats.
//!
//! It never blocks, sleeps or reads a clock. Its two seams are [`Ipc`] (what a server
//! does with a call: read and write lent memory, answer it) and [`phy::LookAhead`] (frames).
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

mod batch;
mod config;
mod deadlines;
mod index;
mod ip;
mod ipc;
mod link;
mod memory;
mod names;
mod pace;
mod packet;
pub mod phy;
mod queue;
mod secret;
mod server;
mod sockets;
mod stack;
mod status;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod verdict;

pub use config::{Config, ConfigError, Limits, Network, Timers};
pub use ipc::Ipc;
pub use secret::Secret;
pub use server::Server;
