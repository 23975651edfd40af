//! The chat on the sockets of a network server: all of `chatd`.

use super::{Chat, PLACES, RECEIVE};
use alloc::string::String;
use runtime::socket::batch::{Batch, area_min, timeout_ms};
use runtime::socket::{Server, any};
use runtime::start::Context;
use runtime::{Error, Result, println, time};

/// The port that people expect a chat at.
const PORT: u16 = 6667;
const BACKLOG: u32 = 128;
/// Octets heard in one turn: those of a quarter of all people.
const AREA: usize = PLACES / 4 * RECEIVE + area_min(abi::batch::OPERATIONS_MAX);

/// Serves for ever. `find` finds the network server, and the next one when that has died.
///
/// # Errors
/// In words, if there is none, or the port is taken.
pub fn run(find: impl Fn() -> Result<Server>) -> core::result::Result<(), String> {
    loop {
        let server = find().context("no network server")?;
        let listener = server.listen(any(PORT), BACKLOG);
        let listener = listener.context("TCP port 6667")?;
        println!("chatd: people can talk at TCP port {PORT}");
        let mut chat = Chat::new(listener.handle());
        match serve(server, &mut chat) {
            // The room is gone with its connections: the next one is empty.
            Err(Error::PeerDied) => println!("chatd: the network server died"),
            result => return result.context("cannot go on"),
        }
    }
}

fn serve(server: Server, chat: &mut Chat) -> Result<()> {
    let mut batch = Batch::new(server, AREA, &[]);
    let mut now = time::clock_ns();
    loop {
        chat.prepare(batch.operations(), now)?;
        let (events, _) = batch.wait(timeout_ms(chat.deadline(), now))?;
        now = time::clock_ns();
        for event in events {
            chat.hear(event, now);
        }
    }
}
