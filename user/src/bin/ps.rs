//! Prints what processes there are, what they do, and what they have.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use user::{print, process, ps};

user::entry!(ps::USAGE, main);

fn main() -> user::Result<()> {
    print!("{}", ps::table(&process::all()?));
    Ok(())
}
