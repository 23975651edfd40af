//! Makes system calls that no sane program makes: `testcalls[,COUNT[,SEED]]`. The kernel
//! and the servers must refuse what is wrong and go on.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;
use user::abuse::Abuser;
use user::{args, ipc, println, time};

user::entry!(main);

/// Looks for the network server, 10 ms apart.
const LOOKS: u32 = 50;

fn main() -> Result<(), String> {
    let count = args::parsed(0, "count", 10_000u32)?;
    let seed = args::parsed(1, "seed", 1u64)?;
    // The network server, if another program is having it started, should have its card.
    for _ in 0..LOOKS {
        if ipc::lookup("net0").is_ok() {
            break;
        }
        time::sleep(Duration::from_millis(10));
    }
    let servers = ["init", "net0"].map(ipc::lookup);
    let tally = Abuser::new(seed, servers.into_iter().flatten().collect()).run(count);
    println!(
        "testcalls: {} calls done, {} refused",
        tally.done, tally.refused
    );
    Ok(())
}
