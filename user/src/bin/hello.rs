//! The first program: it prints, and it ends.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use user::{println, time};

user::entry!(main);

fn main() {
    println!("hello, world");
    println!("hello: {} ms after power-on", time::time_msec());
}
