//! The echo server: TCP and UDP port 7, any number of clients at once, one loop.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use programs::echosrv;
use runtime::socket::Server;

runtime::entry!(
    "\
usage: echosrv
  sends back what comes to TCP and UDP port 7 (RFC 862)",
    main
);

fn main() -> Result<(), String> {
    echosrv::program::run(Server::ours)
}
