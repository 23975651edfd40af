//! The echo server: TCP and UDP port 7, any number of clients at once, one loop.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::echo::{DATAGRAM_MAX, Echo};
use user::socket::batch::{Batch, area_min};
use user::socket::{POLL_FOREVER, Server, any};
use user::start::Context;
use user::{Error, println};

user::entry!(main);

/// RFC 862.
const PORT: u16 = 7;
const BACKLOG: u16 = 128;
/// Bytes heard in one turn: the longest datagram, whatever else is said.
const AREA: usize = DATAGRAM_MAX + area_min(abi::batch::OPERATIONS_MAX);

fn main() -> Result<(), String> {
    loop {
        let server = Server::of_card(0).context("no network server")?;
        println!("opened socket");
        println!("trying to bind");
        let listener = server.listen(any(PORT), BACKLOG).context("TCP port 7")?;
        let datagrams = server.datagram(any(PORT)).context("UDP port 7")?;
        println!("bound");
        let mut echo = Echo::new(listener.handle(), datagrams.handle(), PORT);
        match serve(server, &mut echo) {
            // Its sockets are gone with it: open them at the next one.
            Err(Error::PeerDied) => println!("echosrv: the network server died"),
            result => return result.context("cannot go on"),
        }
    }
}

fn serve(server: Server, echo: &mut Echo) -> user::Result<()> {
    let mut batch = Batch::new(server, AREA, &[]);
    loop {
        echo.prepare(batch.operations())?;
        let (events, operations) = batch.wait(POLL_FOREVER)?;
        for event in events {
            echo.hear(event, operations)?;
        }
    }
}
