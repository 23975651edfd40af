//! `rawsend[,SIZE[,SECONDS]]` sends frames of SIZE bytes (60) as fast as the card takes them
//! for SECONDS (10), straight to the card, and tells how many that were. `make bench` counts
//! them where they arrive.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::ipc::{FOREVER, mask};
use user::nic::{Card, Mapped, SendOptions};
use user::start::Context;
use user::{args, ipc, println, raw, time};

user::entry!(main);

fn main() -> Result<(), String> {
    let size = args::parsed(0, "size", 60)?;
    let seconds = args::parsed(1, "number of seconds", 10_u32)?;
    let card = Card::attach(0).context("card 0")?;
    let info = card.info().context("card 0")?;
    let frame = raw::datagram(size, info.mac);
    let mut card = Mapped::new(card).context("the card's buffers")?;
    println!("rawsend: sending frames of {} bytes", frame.len());
    let start = time::clock_ns();
    let end = start.saturating_add(u64::from(seconds) * 1_000_000_000);
    let mut sent = 0_u64;
    let mut full = 0_u64;
    while time::clock_ns() < end {
        let sending = &mut card.sending;
        // As many as there are buffers at hand, in one system call and with one doorbell.
        while let Some(mut buffer) = sending.take(frame.len()) {
            let place = sending.bytes_mut(&mut buffer, frame.len());
            place.copy_from_slice(&frame);
            sending.queue(buffer, frame.len(), SendOptions::default(), None);
            sent += 1;
        }
        card.exchange(false).context("send")?;
        if !card.sending.has_buffers() {
            full += 1;
            ipc::wait(mask::NIC_TRANSMIT, FOREVER).context("wait")?;
        }
    }
    while card.sending.has_queued() {
        card.exchange(false).context("send")?;
    }
    let rate = raw::per_second(sent, time::clock_ns() - start);
    println!("rawsend: {sent} frames, {rate} a second, ring full {full} times");
    Ok(())
}
