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
//! The stack is Wharf's own. It uses smoltcp for TCP's state machine and for wire formats.
//!
//! The crate never blocks, sleeps or reads a clock. It has two interfaces to the outside: [`Ipc`], by
//! which it reads and writes the memory that a call lends and answers the call, and
//! [`phy::LookAhead`], by which it receives and sends frames. `netd` and the tests implement both. Times
//! are nanoseconds since any fixed moment.
//!
//! The loop around a server waits until [`Server::deadline`] for messages, deaths and the card. It gives
//! each message to [`Server::request`] and each death to [`Server::client_died`], and then calls
//! [`Server::poll`] once. While `poll` says that more is left, the loop looks for events without
//! waiting. One server serves one card.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod batch;
mod config;
mod counters;
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
