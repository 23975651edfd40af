//! The web server: sockets and a clock for `user::http`, which has the rest.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::http::server::Server;
use user::http::site::Site;
use user::socket::batch::Batch;
use user::socket::{self, TcpListener, any};
use user::start::Context;
use user::{Error, println, ramdisk, time};

user::entry!(main);

const PORT: u16 = 80;
/// The folder of the ramdisk that is served.
const ROOT: &str = "www/";
/// Connections that may wait to be accepted.
const BACKLOG: u16 = 128;
/// Bytes heard in one turn.
const AREA: usize = 64 * 1024;

fn main() -> Result<(), String> {
    let files = ramdisk::ramdisk().context("the ramdisk")?;
    let site = Site::new(files, ROOT);
    if site.is_empty() {
        println!("httpd: no files in {ROOT}: every page will be missing");
    }
    let mut server = Server::new(site, || {
        let network = socket::Server::of_card(0).and_then(|server| server.status());
        network.unwrap_or_default()
    });
    loop {
        let network = socket::Server::of_card(0).context("no network server")?;
        let listener = network.listen(any(PORT), BACKLOG).context("TCP port 80")?;
        println!("Waiting for http connections...");
        match serve(&listener, &mut server) {
            // The sockets are gone with it: open them at the next one.
            Err(Error::PeerDied) => println!("httpd: the network server died"),
            result => return result.context("cannot go on"),
        }
        server.clear();
    }
}

fn serve(listener: &TcpListener, server: &mut Server<'static>) -> user::Result<()> {
    let mut batch = Batch::new(listener.server(), AREA, ramdisk::bytes());
    let mut now = time::clock_ns();
    loop {
        server.prepare(listener.handle(), batch.operations(), now)?;
        let (events, operations) = batch.wait(timeout_ms(server.deadline(), now))?;
        now = time::clock_ns();
        for event in events {
            server.hear(event, operations, now);
        }
    }
}

/// From `now` to the deadline, rounded up, in milliseconds.
fn timeout_ms(deadline: Option<u64>, now: u64) -> u32 {
    let Some(deadline) = deadline else {
        return socket::POLL_FOREVER;
    };
    let left = deadline.saturating_sub(now).div_ceil(1_000_000);
    u32::try_from(left).unwrap_or(socket::POLL_FOREVER - 1)
}
