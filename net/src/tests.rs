//! The server against a bare smoltcp peer on a wire, and against hand-made frames, with
//! a virtual clock and seeded faults.

mod batch;
mod datagrams;
mod frames;
mod hostile;
mod listening;
mod offload;
mod requests;
mod streams;
mod world;
