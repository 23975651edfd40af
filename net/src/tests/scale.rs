//! What a request and its response cost while other connections are idle.
//!
//! `cargo test -p net --release scale -- --nocapture` prints the time of each pair: a
//! segment with 64 octets arrives, a program takes them and sends them back, which leaves
//! with the acknowledgement.

use super::frames::*;
use super::world::*;
use crate::stack::{ConnectionId, Stack};
use crate::{Config, Limits};
use smoltcp::wire::TcpControl;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

const LEN: usize = 64;
const ROUNDS: usize = 200;

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
            tcp_receive: 4096,
            tcp_transmit: 4096,
            memory: 64 << 20,
            backlog: 16,
            ..config.limits
        };
        let now = 5 * SECOND;
        let mut server = Server {
            stack: Stack::new(config, nic(64), now),
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
            let (id, _) = server.stack.accept(7).unwrap();
            server.connections.push((id, ack));
        }
        server
    }

    /// What the stack sends when a frame arrives.
    fn frames(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let device = self.stack.device_mut();
        device.arrived.push_back(frame.to_vec());
        self.stack.poll(self.now);
        self.stack.device_mut().sent.drain(..).collect()
    }

    /// The next request on a connection; its response is foreseen.
    fn request(&mut self, connection: usize) -> Vec<u8> {
        let (_, segment) = &mut self.connections[connection];
        segment.data = vec![7; LEN];
        segment.control = TcpControl::Psh;
        let frame = segment.frame();
        segment.seq += LEN as u32;
        segment.ack = segment.ack.map(|ack| ack + LEN as u32);
        frame
    }

    /// A request and its response, as the loop around the server would do it.
    fn serve(&mut self, connection: usize, request: Vec<u8>) {
        self.now += 10_000;
        let id = self.connections[connection].0;
        let mut taken = [0; LEN];
        self.stack.device_mut().arrived.push_back(request);
        self.stack.poll(self.now);
        while self.stack.next_change().is_some() {}
        let drained = self.stack.receive_from(id, |octets| {
            taken[..octets.len()].copy_from_slice(octets);
            Ok(octets.len())
        });
        assert_eq!(drained, Ok(LEN));
        let sent = self.stack.send(id, |buffer| {
            buffer[..LEN].copy_from_slice(&taken);
            Ok(LEN)
        });
        assert_eq!(sent, Ok(LEN));
        self.stack.transmit(self.now);
        assert!(self.stack.deadline() > Some(self.now));
    }

    /// Median time of a pair, if `active` of the connections take turns.
    fn time(&mut self, active: usize) -> Duration {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let batch: Vec<(usize, Vec<u8>)> = (0..64)
                .map(|turn| (self.connections.len() * turn / 64) % active)
                .collect::<Vec<_>>()
                .into_iter()
                .map(|connection| (connection, self.request(connection)))
                .collect();
            let start = Instant::now();
            for (connection, request) in batch {
                self.serve(connection, request);
            }
            times.push(start.elapsed() / 64);
            let sent = self.stack.device_mut().sent.drain(..);
            assert_eq!(sent.len(), 64);
        }
        times.sort();
        times[ROUNDS / 2]
    }
}

#[test]
fn idle_connections_cost_nothing() {
    for count in [1, 16, 64, 256, 1000] {
        let mut server = Server::new(count);
        let one = server.time(1);
        let all = server.time(count);
        std::println!("{count:5} connections: one active {one:?}, all active {all:?}");
    }
}
