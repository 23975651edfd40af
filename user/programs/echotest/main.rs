//! The lab's echo client: `echotest[,IP[,PORT]]` sends a line and checks what comes back.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use runtime::args::Args;
use runtime::println;
use runtime::socket::{Direction, TcpStream};
use runtime::start::Context;

runtime::entry!(
    "\
usage: echotest[,IP[,PORT]]
  sends a line to an echo server and compares what comes back
  IP    the server's address; 10.0.2.2, the host, if not said
  PORT  its TCP port; 10000 if not said",
    options,
    main
);

const MESSAGE: &str = "Hello world!\n";

/// Whom to connect to.
fn options(args: &mut Args<'_>) -> Result<SocketAddr, String> {
    // The lab connected to itself through its card; here the host is on the other side.
    let host = args.parsed("IP address", IpAddr::from([10, 0, 2, 2]))?;
    let port = args.parsed("port", 10_000)?;
    Ok(SocketAddr::new(host, port))
}

fn main(address: SocketAddr) -> Result<(), String> {
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
