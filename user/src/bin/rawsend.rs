//! `rawsend[,SIZE[,SECONDS]]` sends frames of SIZE bytes (60) as fast as the card takes them
//! for SECONDS (10), straight to the card, and tells how many that were. `make bench` counts
//! them where they arrive.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::ipc::{FOREVER, mask};
use user::nic::Card;
use user::start::Context;
use user::{Error, args, ipc, println, raw, time};

user::entry!(main);

/// Frames between two doorbells, and two looks at the clock.
const BATCH: u64 = 32;

fn main() -> Result<(), String> {
    let size = args::parsed(0, "size", 60)?;
    let seconds = args::parsed(1, "number of seconds", 10_u32)?;
    let card = Card::attach(0).context("card 0")?;
    let info = card.info().context("card 0")?;
    let frame = raw::datagram(size, info.mac);
    println!("rawsend: sending frames of {} bytes", frame.len());
    let start = time::clock_ns();
    let end = start.saturating_add(u64::from(seconds) * 1_000_000_000);
    let mut sent = 0_u64;
    let mut full = 0_u64;
    while time::clock_ns() < end {
        for number in 1..=BATCH {
            while let Err(error) = card.send(&frame, number != BATCH) {
                if error != Error::WouldBlock {
                    return Err(error).context("send");
                }
                full += 1;
                // What waits in the ring must be known to the card, or no room ever comes.
                card.flush().context("flush")?;
                ipc::wait(mask::NIC_TRANSMIT, FOREVER).context("wait")?;
            }
        }
        sent += BATCH;
    }
    let rate = raw::per_second(sent, time::clock_ns() - start);
    println!("rawsend: {sent} frames, {rate} a second, ring full {full} times");
    Ok(())
}
