//! The echo server: TCP and UDP port 7, any number of clients at once, one loop.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use user::echo::{DatagramEcho, Echo, State};
use user::socket::{POLL_FOREVER, PollSet, Server, TcpListener, TcpStream, UdpSocket, any, events};
use user::start::Context;
use user::{Error, println};

user::entry!(main);

/// RFC 862.
const PORT: u16 = 7;
/// More clients wait in the backlog until one is done.
const CLIENTS_MAX: usize = 256;
const BACKLOG: u16 = 128;
/// Connections taken before the other clients' turn.
const ACCEPTS: usize = 16;

fn main() -> Result<(), String> {
    loop {
        let server = Server::of_card(0).context("no network server")?;
        println!("opened socket");
        println!("trying to bind");
        let listener = server.listen(any(PORT), BACKLOG).context("TCP port 7")?;
        let datagrams = server.datagram(any(PORT)).context("UDP port 7")?;
        println!("bound");
        match serve(&listener, &datagrams) {
            // Its sockets are gone with it: open them at the next one.
            Err(Error::PeerDied) => println!("echosrv: the network server died"),
            result => return result.context("cannot go on"),
        }
    }
}

struct Client {
    stream: TcpStream,
    echo: Echo,
}

impl Client {
    /// Whether it stays. The socket closes when the client is dropped, after what is
    /// queued has been sent.
    fn pump(&mut self) -> bool {
        self.echo.pump(&self.stream) == Ok(State::Open)
    }
}

fn serve(listener: &TcpListener, datagrams: &UdpSocket) -> user::Result<()> {
    listener.set_nonblocking(true)?;
    datagrams.set_nonblocking(true)?;
    let mut clients: Vec<Client> = Vec::new();
    let mut udp = DatagramEcho::new();
    let mut set = PollSet::new();
    loop {
        set.clear();
        let room = clients.len() < CLIENTS_MAX;
        let door = set.push(listener, if room { events::READABLE } else { 0 })?;
        let mail = set.push(datagrams, udp.wanted())?;
        for client in &clients {
            set.push(&client.stream, client.echo.wanted())?;
        }
        set.wait(POLL_FOREVER)?;
        if set.ready(mail) != 0 {
            udp.pump(datagrams, PORT)?;
        }
        let mut at = mail;
        clients.retain_mut(|client| {
            at += 1;
            set.ready(at) == 0 || client.pump()
        });
        if set.ready(door) != 0 {
            accept(listener, &mut clients)?;
        }
    }
}

fn accept(listener: &TcpListener, clients: &mut Vec<Client>) -> user::Result<()> {
    for _ in 0..ACCEPTS.min(CLIENTS_MAX - clients.len()) {
        match listener.accept() {
            Ok((stream, _)) => {
                let echo = Echo::new();
                let mut client = Client { stream, echo };
                if client.stream.set_nonblocking(true).is_ok() && client.pump() {
                    clients.push(client);
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
