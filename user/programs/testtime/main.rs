//! The lab's test of the clock: after two seconds it counts down, a number a second.
//! `testtime,MICROSECONDS` instead sleeps that long a hundred times and tells how late it
//! woke: deadlines are finer than the 10 ms tick.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use runtime::args::Args;
use runtime::{console, print, println, time};

runtime::entry!(
    "\
usage: testtime[,MICROSECONDS]
  after two seconds counts down from 5, a number a second
  MICROSECONDS  sleeps that long a hundred times instead, and tells how late",
    options,
    main
);

const SECOND_NS: u64 = 1_000_000_000;
const NAPS: usize = 100;

fn options(args: &mut Args<'_>) -> Result<u64, String> {
    args.parsed("number of microseconds", 0)
}

fn main(microseconds: u64) -> runtime::Result<()> {
    match microseconds {
        0 => count_down(),
        us => nap(us),
    }
}

fn count_down() -> runtime::Result<()> {
    let mut next = time::clock_ns() + 2 * SECOND_NS;
    time::sleep_until(next)?;
    print!("starting count down: ");
    for number in (0..=5).rev() {
        print!("{number} ");
        // Shown as it counts; nothing else prints meanwhile, so the line stays whole.
        console::flush();
        next += SECOND_NS;
        time::sleep_until(next)?;
    }
    println!();
    Ok(())
}

fn nap(us: u64) -> runtime::Result<()> {
    let mut late = [0; NAPS];
    for late in &mut late {
        let deadline = time::clock_ns() + us * 1_000;
        time::sleep_until(deadline)?;
        *late = (time::clock_ns() - deadline) / 1_000;
    }
    late.sort_unstable();
    let (median, worst) = (late[NAPS / 2], late[NAPS - 1]);
    println!("slept {NAPS} times {us} us: {median} us late in the median, {worst} at worst");
    Ok(())
}
