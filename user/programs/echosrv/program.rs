//! The echo service on the sockets of a network server: all of `echosrv`.

use super::{DATAGRAM_MAX, Echo};
use alloc::string::String;
use runtime::socket::batch::{Batch, area_min, timeout_ms};
use runtime::socket::{Server, any};
use runtime::start::Context;
use runtime::{Error, Result, println, time};

/// RFC 862.
const PORT: u16 = 7;
const BACKLOG: u32 = 128;
/// Bytes heard in one turn: the longest datagram, whatever else is said.
const AREA: usize = DATAGRAM_MAX + area_min(abi::batch::OPERATIONS_MAX);

/// Serves for ever. `find` finds the network server, and the next one when that has died.
///
/// # Errors
/// In words, if there is none, or port 7 is taken.
pub fn run(find: impl Fn() -> Result<Server>) -> core::result::Result<(), String> {
    loop {
        let server = find().context("no network server")?;
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

fn serve(server: Server, echo: &mut Echo) -> Result<()> {
    let mut batch = Batch::new(server, AREA, &[]);
    let mut now = time::clock_ns();
    loop {
        echo.prepare(batch.operations(), now)?;
        let (events, operations) = batch.wait(timeout_ms(echo.deadline(), now))?;
        now = time::clock_ns();
        for event in events {
            echo.hear(event, operations, now)?;
        }
    }
}
