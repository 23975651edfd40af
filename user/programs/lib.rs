//! What Wharf's programs decide, a folder each, tested on the host. `NAME/main.rs` is the program,
//! which gives this its system calls; what is small enough to need no test is in there alone.
#![cfg_attr(not(test), no_std, forbid(unsafe_code))]
#![deny(unsafe_code)]

extern crate alloc;

pub mod chatd;
pub mod echosrv;
pub mod httpd;
pub mod init;
pub mod netd;
pub mod nicstat;
pub mod ps;
pub mod rawsend;
pub mod testinput;

#[cfg(test)]
mod network;
