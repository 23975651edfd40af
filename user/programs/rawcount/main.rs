//! `rawcount` takes frames from the card for ever, and twice a second tells how many so far
//! and how many the card and its driver have lost. `make bench` sends them.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use programs::rawsend as raw;
use runtime::ipc::mask;
use runtime::nic::{Card, Mapped};
use runtime::start::Context;
use runtime::{ipc, println, time};

runtime::entry!(
    "\
usage: rawcount
  takes frames from card 0 for ever, and tells twice a second how many",
    main
);

/// Nanoseconds between two lines.
const INTERVAL: u64 = 500_000_000;

fn main() -> Result<(), String> {
    let card = Card::attach(0).context("card 0")?;
    let mut card = Mapped::new(card).context("the card's buffers")?;
    let (mut count, mut told) = (0_u64, 0_u64);
    println!("rawcount: counting");
    let mut last = time::clock_ns();
    loop {
        card.exchange(true).context("receive")?;
        while let Some(frame) = card.receiving.take() {
            count += 1;
            card.receiving.give_back(frame);
        }
        if card.receiving.is_armed() {
            ipc::wait(mask::NIC_RECEIVE, last + INTERVAL).context("wait")?;
            // By a frame or by the clock.
            card.receiving.look_again();
        }
        let now = time::clock_ns();
        if now - last >= INTERVAL {
            let rate = raw::per_second(count - told, now - last);
            let lost = lost(card.card()).context("statistics")?;
            println!(
                "rawcount: at {} ms: {count} frames, {rate} a second, {lost} lost",
                now / 1_000_000
            );
            (last, told) = (now, count);
        }
    }
}

/// What the card and the driver say they have lost so far.
fn lost(card: &Card) -> runtime::Result<u64> {
    let counters = card.statistics()?;
    let losses = counters
        .iter()
        .filter(|counter| raw::is_loss(counter.name.as_str()));
    Ok(losses.map(|counter| counter.value).sum())
}
