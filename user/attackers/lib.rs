//! What programs do that do wrong on purpose, for the tests that Wharf stands it: they are in no
//! image but that of these tests.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod fault;
pub mod testcalls;
pub mod testmemory;
