//! The echo server: TCP and UDP port 7, any number of clients at once, one loop.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::echo;
use user::socket::Server;

user::entry!(
    "\
usage: echosrv
  sends back what comes to TCP and UDP port 7 (RFC 862)",
    main
);

fn main() -> Result<(), String> {
    echo::program::run(Server::ours)
}
