//! The web server on the sockets of a network server: all of `httpd`.

use super::server::Server;
use super::site::Site;
use alloc::format;
use alloc::string::String;
use core::cell::OnceCell;
use runtime::socket::batch::{Batch, timeout_ms};
use runtime::socket::{self, TcpListener, any};
use runtime::start::Context;
use runtime::{Error, Result, println, ramdisk, time};

const PORT: u16 = 80;
/// The folder of the ramdisk that is served.
const ROOT: &str = "www/";
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;
/// Bytes heard in one turn.
const AREA: usize = 64 * 1024;

/// Serves for ever. `find` finds the network server, and the next one when that has died.
///
/// # Errors
/// In words, if there is none, or port 80 is taken.
pub fn run(
    find: impl Fn() -> Result<socket::Server> + Copy + 'static,
) -> core::result::Result<(), String> {
    let files = ramdisk::ramdisk().context("the ramdisk")?;
    let site = Site::new(files, ROOT);
    if site.is_empty() {
        println!("httpd: no files in {ROOT}: every page will be missing");
    }
    let card = OnceCell::new();
    let mut server = Server::new(site, move || {
        status(find, &card).unwrap_or_else(|error| format!("error {error}\n"))
    });
    loop {
        let network = find().context("no network server")?;
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

/// What the network server tells of itself, and the chip and the place of its card, which are asked for
/// once.
fn status(find: impl Fn() -> Result<socket::Server>, card: &OnceCell<String>) -> Result<String> {
    let network = find()?;
    let mut text = network.status()?;
    if card.get().is_none() {
        let told = network.card()?;
        let is_wanted = |line: &&str| line.starts_with("chip ") || line.starts_with("pci ");
        let lines = told.lines().filter(is_wanted);
        // It is empty before the first answer only: nobody else sets it.
        let _ = card.set(lines.map(|line| format!("{line}\n")).collect());
    }
    text.extend(card.get().map(String::as_str));
    Ok(text)
}

fn serve(listener: &TcpListener, server: &mut Server<'static>) -> Result<()> {
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
