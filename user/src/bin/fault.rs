//! `fault[,KIND]` does what the processor refuses, to show that only this program dies.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::fault::Fault;
use user::{args, println};

user::entry!(main);

fn main() -> Result<(), String> {
    let kind = args::parsed(0, "fault", Fault::Null).inspect_err(|_| {
        for (name, _) in Fault::ALL {
            println!("fault,{name}");
        }
    })?;
    println!("fault: {kind:?}");
    kind.provoke();
    Err("still alive: the system did not stop it".into())
}
