//! The lab's echo client: `echotest[,IP[,PORT[,BYTES]]]` sends a line and checks what comes back; with
//! BYTES, so many over TCP, and then as many in datagrams.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use runtime::args::Args;
use runtime::socket::{Direction, TcpStream, UdpSocket, any};
use runtime::start::Context;
use runtime::{Error, println, time};

runtime::entry!(
    "\
usage: echotest[,IP[,PORT[,BYTES]]]
  sends a line to an echo server and compares what comes back
  IP    the server's address; 10.0.2.2, the host, if not said
  PORT  its TCP port; 10000 if not said
  BYTES sends so many instead, and then as many to its UDP port",
    options,
    main
);

const MESSAGE: &str = "Hello world!\n";
/// Bytes that are under way at a time: fewer than the server and both stacks hold.
const PIECE: usize = 16 * 1024;
/// Lengths of datagrams in turn; over IPv6 a longer one would be cut into fragments.
const DATAGRAMS: [usize; 4] = [1, 1452, 64, 700];
/// How long a datagram may take before it is sent again, and how often it is sent.
const AGAIN: Duration = Duration::from_millis(500);
const TIMES: u32 = 10;
/// How long it waits for an address to come: a router tells of its prefix soon after the start.
const ADDRESS: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

struct Options {
    /// Whom to connect to.
    address: SocketAddr,
    bytes: Option<usize>,
}

fn options(args: &mut Args<'_>) -> Result<Options, String> {
    // The lab connected to itself through its card; here the host is on the other side.
    let host = args.parsed("IP address", IpAddr::from([10, 0, 2, 2]))?;
    let port = args.parsed("port", 10_000)?;
    let bytes = args.parsed("number of bytes", 0)?;
    Ok(Options {
        address: SocketAddr::new(host, port),
        bytes: (bytes > 0).then_some(bytes),
    })
}

fn main(Options { address, bytes }: Options) -> Result<(), String> {
    match bytes {
        None => line(address)?,
        Some(bytes) => {
            stream(address, bytes)?;
            datagrams(address, bytes)?;
        }
    }
    println!("echotest: the same");
    Ok(())
}

/// Connects, as soon as there is a way.
fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let end = time::clock_ns().saturating_add(ADDRESS.as_nanos() as u64);
    loop {
        match TcpStream::connect(address) {
            Err(Error::Unreachable) if time::clock_ns() < end => {
                time::sleep(PAUSE).context("sleep")?;
            }
            result => return result.context("connect"),
        }
    }
}

fn line(address: SocketAddr) -> Result<(), String> {
    println!("Connecting to {address}...");
    let stream = connect(address)?;
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
    same(&received, MESSAGE.as_bytes())
}

/// Bytes from `at` on of a sequence in which a shift, a repetition or a swap shows.
fn pattern(at: usize, len: usize) -> Vec<u8> {
    let hash = |number: usize| ((number as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8;
    (at..at + len).map(hash).collect()
}

fn same(received: &[u8], sent: &[u8]) -> Result<(), String> {
    match received == sent {
        true => Ok(()),
        false => Err("not what was sent".into()),
    }
}

fn stream(address: SocketAddr, bytes: usize) -> Result<(), String> {
    let stream = connect(address)?;
    let mut received = vec![0; PIECE];
    for at in (0..bytes).step_by(PIECE) {
        let sent = pattern(at, PIECE.min(bytes - at));
        stream.write_all(&sent).context("send")?;
        let mut got = 0;
        while got < sent.len() {
            match stream.read(&mut received[got..]).context("receive")? {
                0 => return Err("the server has ended the connection".into()),
                count => got += count,
            }
        }
        same(&received[..got], &sent)?;
    }
    Ok(())
}

fn datagrams(address: SocketAddr, bytes: usize) -> Result<(), String> {
    let socket = UdpSocket::bind(any(0)).context("bind")?;
    socket.connect(address);
    socket.set_read_timeout(Some(AGAIN)).context("time-out")?;
    let (mut at, mut received) = (0, [0; 1473]);
    for len in DATAGRAMS.into_iter().cycle() {
        if at >= bytes {
            break;
        }
        let sent = pattern(at, len);
        let mut times = 0;
        let got = loop {
            socket.send(&sent).context("send to UDP")?;
            times += 1;
            match socket.recv(&mut received) {
                Err(Error::TimedOut) if times < TIMES => {}
                got => break got.context("receive from UDP")?,
            }
        };
        same(&received[..got], &sent)?;
        at += len;
    }
    Ok(())
}
