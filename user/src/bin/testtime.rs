//! The lab's test of the clock: after two seconds it counts down, a number a second.
//! `testtime,MICROSECONDS` instead sleeps that long a hundred times and tells how late it
//! woke: deadlines are finer than the 10 ms tick.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::{args, console, print, println, time};

user::entry!(main);

const SECOND_NS: u64 = 1_000_000_000;
const NAPS: usize = 100;

fn main() -> Result<(), String> {
    match args::parsed(0, "number of microseconds", 0u64)? {
        0 => count_down(),
        us => nap(us),
    }
    Ok(())
}

fn count_down() {
    let mut next = time::clock_ns() + 2 * SECOND_NS;
    time::sleep_until(next);
    print!("starting count down: ");
    for number in (0..=5).rev() {
        print!("{number} ");
        // Shown as it counts; nothing else prints meanwhile, so the line stays whole.
        console::flush();
        next += SECOND_NS;
        time::sleep_until(next);
    }
    println!();
}

fn nap(us: u64) {
    let mut late = [0; NAPS];
    for late in &mut late {
        let deadline = time::clock_ns() + us * 1_000;
        time::sleep_until(deadline);
        *late = (time::clock_ns() - deadline) / 1_000;
    }
    late.sort_unstable();
    let (median, worst) = (late[NAPS / 2], late[NAPS - 1]);
    println!("slept {NAPS} times {us} us: {median} us late in the median, {worst} at worst");
}
