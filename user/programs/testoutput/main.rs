//! The lab's test of transmission: `testoutput[,COUNT[,burst]]` sends frames whose whole
//! payload is `Packet NN`, without an Ethernet header, straight to the card.
//!
//! With `burst` frames are queued as fast as the ring takes them, so that it runs full.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use runtime::args::Args;
use runtime::ipc::{FOREVER, mask};
use runtime::nic::Card;
use runtime::start::Context;
use runtime::{Error, ipc, println};

runtime::entry!(
    "\
usage: testoutput[,COUNT[,burst]]
  sends frames that say `Packet NN`, straight to card 0
  COUNT  how many; 10 if not said
  burst  queues them as fast as the ring takes them, so that it runs full",
    options,
    main
);

fn options(args: &mut Args<'_>) -> Result<(u32, bool), String> {
    Ok((args.parsed("count", 10)?, args.word("burst")?))
}

fn main((count, burst): (u32, bool)) -> Result<(), String> {
    let card = Card::attach(0).context("card 0")?;
    // Frames between two doorbells of a burst: more than the ring holds, so that it fills.
    let batch = u32::from(card.info().context("card 0")?.transmit_ring) + 1;
    let mut full = 0u32;
    for number in 0..count {
        let frame = alloc::format!("Packet {number:02}");
        let more = burst && (number + 1) % batch != 0 && number + 1 != count;
        if !burst {
            println!("Transmitting packet {number}");
        }
        while let Err(error) = card.send(frame.as_bytes(), more) {
            if error != Error::WouldBlock {
                return Err(error).context("send");
            }
            full += 1;
            // What waits in the ring must be known to the card, or no room ever comes.
            card.flush().context("flush")?;
            ipc::wait(mask::NIC_TRANSMIT, FOREVER).context("wait")?;
        }
    }
    if burst {
        println!("testoutput: {count} packets, ring full {full} times");
    }
    Ok(())
}
