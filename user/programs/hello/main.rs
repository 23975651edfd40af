//! The first program: it prints, and it ends.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use runtime::{println, time};

runtime::entry!(
    "\
usage: hello
  prints two lines",
    main
);

fn main() -> runtime::Result<()> {
    println!("hello, world");
    println!("hello: {} ms after power-on", time::time_msec()?);
    Ok(())
}
