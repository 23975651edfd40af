//! The server against a bare smoltcp peer on a wire, and against hand-made frames, with
//! a virtual clock and seeded faults.

mod arp;
mod arrives;
mod batch;
mod calls;
mod changes;
mod counters;
mod datagrams;
mod dormant;
mod flood;
mod fragments;
pub(crate) mod frames;
mod hostile;
mod icmp;
mod joined;
mod listening;
mod long;
mod network;
mod offload;
mod outcomes;
mod path;
mod raw;
mod requests;
mod scale;
mod stations;
mod streams;
mod v6;
mod windows;
pub(crate) mod world;
