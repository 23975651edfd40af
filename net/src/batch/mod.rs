//! Batches: many operations and their outcomes in one call ([`abi::batch`]).
//!
//! ```text
//!   Batch ──▶ operations ──▶ arm, send, close            frames, time
//!                              │                              │
//!                        socket.armed ◀── mark ◀── Stack::next_change
//!                              │ once
//!                              ▼
//!                  ready queue of the client ──▶ serve ──▶ events ──▶ answer
//! ```
//!
//! What a program wants to hear is a state of its socket ([`crate::sockets::interest`]). A change of the
//! socket puts its handle into the client's ready queue, where it is at most once; serving
//! it looks at what is so now. So nothing is scanned, nothing is stored that the sockets
//! do not hold anyway, and what does not fit into an answer is found again by the next.

mod calls;
mod clients;
mod engine;
mod events;
mod operations;
mod sends;
mod serve;

pub(crate) use engine::{Batches, Engine};
