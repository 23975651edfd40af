//! The web server, on port 80. It is `user::http`, and nothing else.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::http;
use user::socket::Server;

user::entry!(
    "\
usage: httpd
  serves the files of the ramdisk's folder www on TCP port 80",
    main
);

fn main() -> Result<(), String> {
    http::program::run(Server::ours)
}
