//! Keeps values in vector registers while others run: `testfpu[,SEED]`. Iterates the
//! logistic map, whose result depends on every bit of every step, and prints its bits.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use runtime::args::Args;
use runtime::{println, sys};

runtime::entry!(
    "\
usage: testfpu[,SEED]
  computes in vector registers while others run, and prints the result's bits
  SEED  where it begins; 1 if not said",
    options,
    main
);

/// Enough to be preempted dozens of times, mostly by each other and not at a call.
const STEPS: u32 = 20_000_000;
/// Steps between two system calls, across which the value must live, too.
const STEPS_PER_CALL: u32 = 5_000_000;

fn options(args: &mut Args<'_>) -> Result<u32, String> {
    args.parsed("seed", 1)
}

fn main(seed: u32) -> runtime::Result<()> {
    let mut x = 1.0 / (f64::from(seed) + 2.0);
    for step in 0..STEPS {
        x = 3.99 * x * (1.0 - x);
        if step % STEPS_PER_CALL == 0 {
            sys::yield_now()?;
        }
    }
    println!("testfpu,{seed}: {:016x}", x.to_bits());
    Ok(())
}
