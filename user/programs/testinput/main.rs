//! The lab's test of reception: announces itself by ARP, then prints every frame. It
//! drives the card itself and runs for ever.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use programs::testinput as dump;
use runtime::ipc::{FOREVER, mask};
use runtime::nic::Card;
use runtime::start::Context;
use runtime::{Error, ipc, println};

runtime::entry!(
    "\
usage: testinput
  announces itself by ARP, then prints every frame that card 0 receives",
    main
);

const OUR_IP: [u8; 4] = [10, 0, 2, 15];
const GATEWAY_IP: [u8; 4] = [10, 0, 2, 2];

fn main() -> Result<(), String> {
    let card = Card::attach(0).context("card 0")?;
    let info = card.info().context("card 0")?;
    println!("Sending ARP announcement...");
    let request = dump::arp_request(info.mac, OUR_IP, GATEWAY_IP);
    while let Err(error) = card.send(&request, false) {
        if error != Error::WouldBlock {
            return Err(error).context("send");
        }
        ipc::wait(mask::NIC_TRANSMIT, FOREVER).context("wait")?;
    }
    println!("Waiting for packets...");
    let mut frame = alloc::vec![0; info.frame_max.into()];
    loop {
        match card.receive(&mut frame) {
            Ok(len) => println!("{}", dump::Hex(frame.get(..len).unwrap_or(&frame))),
            Err(Error::WouldBlock) => {
                ipc::wait(mask::NIC_RECEIVE, FOREVER).context("wait")?;
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
}
