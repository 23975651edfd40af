//! What a request and its response cost while other connections are idle: as many looks
//! of smoltcp at sockets as without them.
//!
//! `cargo test -p net --release scale -- --nocapture` prints the time of each pair: a
//! segment with 64 octets arrives, a program takes them and sends them back, which leaves
//! with the acknowledgement.

use super::frames::*;
use super::world::*;
use crate::names::{ConnectionId, DatagramId};
use crate::stack::Stack;
use crate::{Config, Limits};
use smoltcp::wire::TcpControl;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

const LEN: usize = 64;
const ROUNDS: usize = 200;
const BATCH: usize = 64;

/// A server with established connections of one peer.
struct Server {
    stack: Stack<Nic>,
    now: u64,
    connections: Vec<(ConnectionId, Segment)>,
}

impl Server {
    fn new(count: usize) -> Self {
        let mut config = Config::new(SERVER_MAC, 1);
        config.limits = Limits {
            tcp_receive: 16 << 10,
            tcp_transmit: 32 << 10,
            tcp_receive_large: 16 << 10,
            tcp_transmit_large: 32 << 10,
            udp_receive: 4096,
            udp_transmit: 4096,
            memory: 64 << 20,
            backlog: 16,
            ..config.limits
        };
        let now = 5 * SECOND;
        let mut server = Server {
            stack: Stack::new(config, nic(BATCH), now),
            now,
            connections: Vec::new(),
        };
        server.stack.listen(7, 16);
        server.frames(&arp_reply(PEER_IP));
        for number in 0..count {
            let syn = Segment::syn(1024 + number as u16, 7, 1000);
            let answer = Segment::read(&server.frames(&syn.frame())[0]).unwrap();
            let ack = Segment::after(&answer, TcpControl::None);
            server.frames(&ack.frame());
            let (id, _) = server.stack.tcp.accept(7).unwrap();
            server.connections.push((id, ack));
        }
        server
    }

    /// What the stack sends when a frame arrives.
    fn frames(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let device = self.stack.device_mut();
        device.arrived.push_back(frame.to_vec());
        self.stack.receive_all(self.now);
        self.stack.transmit(self.now);
        self.stack.device_mut().sent.drain(..).collect()
    }

    /// The next request on a connection; its response is foreseen.
    fn request(&mut self, connection: usize, len: usize) -> Vec<u8> {
        let (_, segment) = &mut self.connections[connection];
        segment.data = vec![7; len];
        segment.control = TcpControl::Psh;
        let frame = segment.frame();
        segment.seq += len as u32;
        segment.ack = segment.ack.map(|ack| ack + len as u32);
        frame
    }

    /// A request and its response, as the loop around the server would do it.
    fn serve(&mut self, connection: usize, request: Vec<u8>, len: usize) {
        self.now += 10_000;
        let id = self.connections[connection].0;
        self.stack.device_mut().arrived.push_back(request);
        self.stack.receive_all(self.now);
        self.stack.transmit(self.now);
        while self.stack.next_change().is_some() {}
        // The rings wrap: in two pieces now and then.
        let mut taken = [0; 1460];
        let mut count = 0;
        while count < len {
            let take = |octets: &[u8]| {
                taken[count..count + octets.len()].copy_from_slice(octets);
                Ok(octets.len())
            };
            count += self.stack.tcp.receive(id, take).unwrap();
        }
        while count > 0 {
            let give = |buffer: &mut [u8]| {
                let some = count.min(buffer.len());
                buffer[..some].copy_from_slice(&taken[len - count..][..some]);
                Ok(some)
            };
            count -= self.stack.send(id, give).unwrap();
        }
        self.stack.transmit(self.now);
        assert!(self.stack.deadline() > Some(self.now));
    }

    /// Takes a datagram and sends it back; returns how many frames left.
    fn echo(&mut self, port: DatagramId, request: &[u8]) -> usize {
        self.now += 10_000;
        self.stack.device_mut().arrived.push_back(request.to_vec());
        self.stack.receive_all(self.now);
        self.stack.transmit(self.now);
        while self.stack.next_change().is_some() {}
        let mut taken = [0; LEN];
        let (from, octets) = self.stack.udp.first(port).unwrap();
        taken.copy_from_slice(octets);
        self.stack.udp.take_first(port);
        let sent = self.stack.send_datagram(port, from, &taken, self.now);
        assert_eq!(sent, Ok(()));
        self.stack.transmit(self.now);
        self.stack.device_mut().sent.drain(..).count()
    }

    /// Median time of a pair, if `active` of the connections take turns.
    fn time(&mut self, active: usize, len: usize) -> Duration {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let batch: Vec<(usize, Vec<u8>)> = (0..BATCH)
                .map(|turn| (self.connections.len() * turn / BATCH) % active)
                .collect::<Vec<_>>()
                .into_iter()
                .map(|connection| (connection, self.request(connection, len)))
                .collect();
            let start = Instant::now();
            for (connection, request) in batch {
                self.serve(connection, request, len);
            }
            times.push(start.elapsed() / BATCH as u32);
            let sent = self.stack.device_mut().sent.drain(..);
            assert_eq!(sent.len(), BATCH);
        }
        times.sort();
        times[ROUNDS / 2]
    }
}

#[test]
fn idle_connections_cost_nothing() {
    let mut looks = Vec::new();
    for count in [1, 16, 64, 256, 1000] {
        let mut server = Server::new(count);
        let before = server.stack.figures().socket_looks;
        let one = server.time(1, LEN);
        let pairs = (ROUNDS * BATCH) as u64;
        looks.push((server.stack.figures().socket_looks - before, pairs));
        let all = server.time(count, LEN);
        let large = server.time(1, 1460);
        std::println!("{count:5} connections: one active {one:?}, all {all:?}, 1460 {large:?}");
        server.stack.audit(server.now);
    }
    // The frame, the turn that finds nothing to send yet, and that of the response.
    assert!(
        looks.iter().all(|&(looks, pairs)| looks == 3 * pairs),
        "{looks:?}"
    );
}

#[test]
fn idle_datagram_ports_cost_nothing() {
    for count in [1, 16, 100] {
        let mut server = Server::new(0);
        let open = |port| server.stack.open_datagrams(port).unwrap();
        let ports: Vec<DatagramId> = (1000..1000 + count).map(open).collect();
        let request = udp((PEER_IP, 5000), 1000, &[7; LEN]);
        let before = server.stack.figures().socket_looks;
        let start = Instant::now();
        for _ in 0..ROUNDS * BATCH {
            let echo = server.echo(ports[0], &request);
            assert_eq!(echo, 1);
        }
        let time = start.elapsed() / (ROUNDS * BATCH) as u32;
        std::println!("{count:5} datagram ports: {time:?}");
        let looks = server.stack.figures().socket_looks - before;
        // They are none of smoltcp's.
        assert_eq!(looks, 0);
    }
}

/// A connection for one request, from SYN to TIME-WAIT; the peer's ports are its own.
fn short_connection(server: &mut Server, peer: u16) {
    server.now += 10_000;
    let syn = Segment::syn(peer, 7, 1000);
    let answer = Segment::read(&server.frames(&syn.frame())[0]).unwrap();
    let mut request = Segment::after(&answer, TcpControl::None);
    assert_eq!(server.frames(&request.frame()).len(), 0);
    let (id, _) = server.stack.tcp.accept(7).unwrap();
    request.data = vec![7; LEN];
    assert_eq!(server.frames(&request.frame()).len(), 0);
    let taken = server.stack.tcp.receive(id, |octets| Ok(octets.len()));
    assert_eq!(taken, Ok(LEN));
    let sent = server.stack.send(id, |buffer| {
        buffer[..LEN].fill(8);
        Ok(LEN)
    });
    assert_eq!(sent, Ok(LEN));
    server.stack.close(id, server.now);
    server.stack.transmit(server.now);
    let sent: Vec<Vec<u8>> = server.stack.device_mut().sent.drain(..).collect();
    let response = Segment::read(sent.last().unwrap()).unwrap();
    assert_eq!(response.control, TcpControl::Fin);
    let fin = Segment::after(&response, TcpControl::Fin);
    assert_eq!(server.frames(&fin.frame()).len(), 1);
    while server.stack.next_change().is_some() {}
}

#[test]
fn idle_connections_do_not_slow_short_ones() {
    let mut looks = Vec::new();
    for count in [0, 16, 256, 1000] {
        let mut server = Server::new(count);
        // So many ends are remembered.
        let first = 1024 + count as u16;
        for number in 0..2048 {
            short_connection(&mut server, first + number);
        }
        let before = server.stack.figures().socket_looks;
        let start = Instant::now();
        for number in 2048..10_048 {
            short_connection(&mut server, first + number);
        }
        let time = start.elapsed() / 8000;
        looks.push(server.stack.figures().socket_looks - before);
        std::println!("{count:5} connections: a short one {time:?}");
        server.stack.audit(server.now);
    }
    assert!(looks.iter().all(|&each| each == looks[0]), "{looks:?}");
}
