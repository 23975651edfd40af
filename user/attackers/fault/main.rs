//! `fault[,KIND]` does what the processor refuses, to show that only this program dies.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use attackers::fault::{Fault, USAGE};
use runtime::args::Args;
use runtime::println;

runtime::entry!(USAGE, options, main);

fn options(args: &mut Args<'_>) -> Result<Fault, String> {
    args.parsed("fault", Fault::Null)
}

fn main(kind: Fault) -> Result<(), String> {
    println!("fault: {kind:?}");
    kind.provoke();
    Err("still alive: the system did not stop it".into())
}
