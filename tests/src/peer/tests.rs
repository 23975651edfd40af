//! The server, spoken to over this machine's loopback.

use super::*;
use crate::http::Connection as Client;
use crate::{pattern, same_bytes};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// Starts a server on free ports for as long as the test program runs; the addresses are
/// those of echo and HTTP.
fn start(name: &str, files: &[(&str, &[u8])]) -> Vec<SocketAddr> {
    let directory = std::env::temp_dir().join(format!("wharf-peer-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (name, contents) in files {
        std::fs::write(directory.join(name), contents).unwrap();
    }
    let site = Site::load(&directory).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let mut server = Server::bind(Ports { echo: 0, http: 0 }, Some(site)).unwrap();
    let addresses = server.addresses();
    std::thread::spawn(move || server.run());
    let local = |address: &SocketAddr| (Ipv4Addr::LOCALHOST, address.port()).into();
    addresses.iter().map(local).collect()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(PATIENCE).unwrap();
    stream.set_write_timeout(PATIENCE).unwrap();
    stream
}

#[test]
fn echo_gives_all_back_even_to_one_that_does_not_read() {
    let addresses = start("echo", &[]);
    let sent = pattern(1, 3 << 20);
    let stream = connect(addresses[0]);
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        // The buffers of both sides fill up meanwhile.
        std::thread::sleep(Duration::from_millis(100));
        (&stream)
            .take(sent.len() as u64)
            .read_to_end(&mut got)
            .unwrap();
    });
    same_bytes(&got, &sent).unwrap();
    assert_eq!((&stream).read(&mut [0]).unwrap(), 0);

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    let mut datagram = [0; 2000];
    for len in [0, 1, 1400] {
        socket.send_to(&sent[..len], addresses[0]).unwrap();
        let (got, _) = socket.recv_from(&mut datagram).unwrap();
        assert_eq!(datagram[..got], sent[..len]);
    }
}

#[test]
fn files_are_served_on_kept_and_closed_connections() {
    let big = pattern(2, 6 << 20);
    let addresses = start("http", &[("index.html", b"hello"), ("big.bin", &big)]);
    let mut client = Client::new(connect(addresses[1]));
    for _ in 0..3 {
        let answer = client.get("/", "").unwrap().expect(200).unwrap();
        assert_eq!(answer.body, b"hello");
        answer.expect_header("connection", "keep-alive").unwrap();
    }
    assert_eq!(client.get("/none", "").unwrap().status, 404);
    let answer = client.get("/big.bin", "Connection: close\r\n").unwrap();
    same_bytes(&answer.body, &big).unwrap();
    client.closed().unwrap();
}

#[test]
fn requests_may_come_in_pieces_and_in_a_row() {
    let big = pattern(3, 4 << 20);
    let addresses = start("pieces", &[("index.html", b"hello"), ("big.bin", &big)]);
    let mut client = Client::new(connect(addresses[1]));
    for piece in ["GET / HT", "TP/1.1\r\nHost: x\r", "\n\r\n"] {
        client.send(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.response(true).unwrap().body, b"hello");
    // The first answer fills the socket; the second request waits behind it.
    client
        .send(b"GET /big.bin HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.0\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    same_bytes(&client.response(true).unwrap().body, &big).unwrap();
    assert_eq!(client.response(true).unwrap().body, b"hello");
    let head = client.response(false).unwrap();
    assert_eq!(head.header("content-length"), Some("5"));
    client.closed().unwrap();

    let mut client = Client::new(connect(addresses[1]));
    client.send(b"no request at all\r\n\r\n").unwrap();
    client.closed().unwrap();
}
