//! The lab's echo client: `echotest[,IP[,PORT]]` sends a line and checks what comes back.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use user::socket::{Direction, SocketAddress, TcpStream};
use user::start::Context;
use user::{args, println};

user::entry!(main);

const MESSAGE: &str = "Hello world!\n";

fn main() -> Result<(), String> {
    // The lab connected to itself through its card; here the host is on the other side.
    let host = args::parsed(0, "IPv4 address", Ipv4Addr::new(10, 0, 2, 2))?;
    let port = args::parsed(1, "port", 10_000)?;
    let address = SocketAddress {
        ip: host.octets(),
        port,
    };
    println!("Connecting to {address}...");
    let stream = TcpStream::connect(address).context("connect")?;
    println!("connected to server");
    stream.write_all(MESSAGE.as_bytes()).context("send")?;
    stream.shutdown(Direction::Send).context("shutdown")?;
    let mut received = Vec::new();
    let mut buffer = [0; 256];
    // What is longer than what was sent is wrong already.
    while received.len() <= MESSAGE.len() {
        match stream.read(&mut buffer).context("receive")? {
            0 => break,
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
    println!(
        "Received: {}",
        String::from_utf8_lossy(&received).trim_end()
    );
    if received == MESSAGE.as_bytes() {
        println!("echotest: the same");
        Ok(())
    } else {
        Err("not what was sent".into())
    }
}
