//! Makes system calls that no sane program makes: `testcalls[,COUNT[,SEED]]`. The kernel
//! and the servers must refuse what is wrong and go on.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;
use user::abuse::Abuser;
use user::args::Args;
use user::{ipc, println, time};

user::entry!(
    "\
usage: testcalls[,COUNT[,SEED]]
  makes system calls that no sane program makes, and tells how many were refused
  COUNT  how many; 10000 if not said
  SEED   which ones; 1 if not said",
    options,
    main
);

/// Looks for the network server, 10 ms apart.
const LOOKS: u32 = 50;

fn options(args: &mut Args<'_>) -> Result<(u32, u64), String> {
    Ok((args.parsed("count", 10_000)?, args.parsed("seed", 1)?))
}

fn main((count, seed): (u32, u64)) -> user::Result<()> {
    // The network server, if another program is having it started, should have its card.
    for _ in 0..LOOKS {
        if ipc::lookup("net0").is_ok() {
            break;
        }
        time::sleep(Duration::from_millis(10))?;
    }
    let servers = ["init", "net0"].map(ipc::lookup);
    let tally = Abuser::new(seed, servers.into_iter().flatten().collect()).run(count);
    println!(
        "testcalls: {} calls done, {} refused",
        tally.done, tally.refused
    );
    Ok(())
}
