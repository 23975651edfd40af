//! The web server: sockets and a clock for `user::http`, which has the rest.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use user::http::server::Server;
use user::http::site::Site;
use user::socket::{self, PollSet, TcpListener, TcpStream, any, events};
use user::start::Context;
use user::{Error, println, ramdisk, time};

user::entry!(main);

const PORT: u16 = 80;
/// The folder of the ramdisk that is served.
const ROOT: &str = "www/";
/// Connections that may wait to be accepted.
const BACKLOG: u16 = 128;
/// Connections taken before the others' turn.
const ACCEPTS: usize = 32;

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
        listener.set_nonblocking(true).context("TCP port 80")?;
        println!("Waiting for http connections...");
        match serve(&listener, &mut server) {
            // The sockets are gone with it: open them at the next one.
            Err(Error::PeerDied) => println!("httpd: the network server died"),
            result => return result.context("cannot go on"),
        }
        server.clear();
    }
}

fn serve(listener: &TcpListener, server: &mut Server<'_, TcpStream>) -> user::Result<()> {
    let mut set = PollSet::new();
    loop {
        set.clear();
        let room = server.has_room();
        let door = set.push(listener, if room { events::READABLE } else { 0 })?;
        for (stream, wanted) in server.wanted() {
            set.push(stream, wanted)?;
        }
        set.wait(timeout_ms(server.deadline()))?;
        let now = time::clock_ns();
        server.pump(|place| set.ready(door + 1 + place) != 0, now);
        if set.ready(door) != 0 {
            accept(listener, server, now)?;
        }
    }
}

fn accept(
    listener: &TcpListener,
    server: &mut Server<'_, TcpStream>,
    now: u64,
) -> user::Result<()> {
    for _ in 0..ACCEPTS {
        if !server.has_room() {
            break;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if stream.set_nonblocking(true).is_ok() {
                    server.accept(stream, now);
                }
            }
            Err(Error::WouldBlock) => break,
            Err(error @ (Error::PeerDied | Error::BadHandle)) => return Err(error),
            // One connection that failed is no reason to stop.
            Err(_) => {}
        }
    }
    Ok(())
}

/// From now to the deadline, rounded up, in milliseconds.
fn timeout_ms(deadline: Option<u64>) -> u32 {
    let Some(deadline) = deadline else {
        return socket::POLL_FOREVER;
    };
    let left = deadline
        .saturating_sub(time::clock_ns())
        .div_ceil(1_000_000);
    u32::try_from(left).unwrap_or(socket::POLL_FOREVER - 1)
}
