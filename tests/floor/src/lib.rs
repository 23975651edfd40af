//! The part of the bare guest that needs no card: what it was asked for, the frame that it
//! sends, and the answers that it gives.
#![no_std]
#![forbid(unsafe_code)]

pub mod answer;
pub mod frame;
pub mod role;
pub mod sum;

#[cfg(test)]
extern crate std;
