//! The chat: TCP port 6667, up to 256 people at once, one loop.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use programs::chatd;
use runtime::socket::Server;

runtime::entry!(
    "\
usage: chatd
  a room to talk in, at TCP port 6667: what one types goes to all others",
    main
);

fn main() -> Result<(), String> {
    chatd::program::run(Server::ours)
}
