//! The lab's test of the clock: after two seconds it counts down, a number a second.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use user::{console, print, println, time};

user::entry!(main);

const SECOND_NS: u64 = 1_000_000_000;

fn main() {
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
