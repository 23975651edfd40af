//! Prints what processes there are, what they do, and what they have.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use programs::ps;
use runtime::{print, process};

runtime::entry!(ps::USAGE, main);

fn main() -> runtime::Result<()> {
    print!("{}", ps::table(&process::all()?));
    Ok(())
}
