//! What the kernel's random numbers look like.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::fmt::Write;
use runtime::args::Args;
use runtime::start::Context;
use runtime::{println, random};

runtime::entry!(
    "\
usage: random[,LINES]
  prints lines of 32 random bytes, in hexadecimal
  LINES  how many; 1 if not said",
    options,
    main
);

fn options(args: &mut Args<'_>) -> Result<u32, String> {
    args.parsed("count", 1)
}

fn main(lines: u32) -> Result<(), String> {
    for _ in 0..lines {
        let mut line = String::new();
        for byte in random::secret().context("no random numbers")? {
            // A string takes whatever there is memory for.
            let _ = write!(line, "{byte:02x}");
        }
        println!("random: {line}");
    }
    Ok(())
}
