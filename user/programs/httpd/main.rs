//! The web server, on port 80. It is `programs::httpd`, and nothing else.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use programs::httpd;
use runtime::socket::Server;

runtime::entry!(
    "\
usage: httpd
  serves the files of the ramdisk's folder www on TCP port 80",
    main
);

fn main() -> Result<(), String> {
    httpd::program::run(Server::ours)
}
