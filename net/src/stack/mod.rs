//! The protocols, in terms of connections and datagram ports; the only module that
//! knows smoltcp.
//!
//! ```text
//!   frame ─▶ peek ─▶ time_wait ─▶ tcp (SYN: make a socket) ─▶ smoltcp ─▶ tcp (what became of it)
//!   udp queue ─▶ neighbors known? ─▶ smoltcp ─▶ frame
//! ```
//!
//! A received frame is looked at in place and passed on in place; nothing is copied but
//! by smoltcp into a socket's buffer. Work per [`Stack::poll`] is bounded.

mod calls;
mod emit;
mod link;
mod memory;
mod neighbors;
pub(crate) mod offload;
mod peek;
mod queue;
mod tcp;
mod time_wait;
mod udp;

pub(crate) use tcp::{Stage, TcpCounters};
pub(crate) use udp::{DATAGRAM_MAX, UdpCounters};

use crate::config::Config;
use abi::{Error, Result};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use emit::{acknowledge, ask, intact};
use link::{OneFrame, Port};
use memory::Memory;
use neighbors::Neighbors;
use peek::Frame;
use smoltcp::iface::{Interface, PollResult, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, RxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Cidr};
use tcp::Tcp;
use time_wait::Verdict;
use udp::Udp;

/// Frames received in one poll.
const RECEIVE_BUDGET: usize = 64;
/// Rounds of transmission in one poll; each sends at most one frame of every socket.
const TRANSMIT_BUDGET: usize = 64;
/// How soon to look again when smoltcp wants to send at once but could not just now.
const RETRY_NS: u64 = 1_000_000;
/// As [`RETRY_NS`], when the card is full: it will say when it is not.
const RETRY_FULL_NS: u64 = 50_000_000;

/// A connection: an index that its holder keeps until it closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(usize);

/// A datagram port, held likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatagramId(usize);

/// Something whose readiness may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Data, its end, an error, room to send, or it was established.
    Stream(ConnectionId),
    /// Something to accept at this port, or not any more.
    Listener(u16),
    /// A datagram, or room to send one.
    Datagrams(DatagramId),
}

/// What tells connections of one address apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    /// The local port.
    pub port: u16,
    /// The other end.
    pub peer: SocketAddrV4,
}

/// What the stack holds and has seen.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub frames_received: u64,
    pub frames_refused: u64,
    pub connections: usize,
    pub half_open: usize,
    pub orphans: usize,
    pub time_wait: usize,
    pub datagram_ports: usize,
    pub buffer_octets: usize,
    pub tcp: TcpCounters,
    pub udp: UdpCounters,
}

/// See the module.
pub(crate) struct Stack<D: Device> {
    config: Config,
    port: Port<D>,
    /// Boxed: it holds the fragmentation buffer and would be moved over a small stack.
    interface: Box<Interface>,
    sockets: SocketSet<'static>,
    /// Always empty: what smoltcp has to do apart from sockets.
    no_sockets: SocketSet<'static>,
    tcp: Tcp,
    udp: Udp,
    neighbors: Neighbors,
    memory: Memory,
    checksums: ChecksumCapabilities,
    frames_received: u64,
    frames_refused: u64,
    polled_at: u64,
}

impl<D: Device> Stack<D> {
    /// A stack for validated settings.
    pub fn new(config: Config, device: D, now: u64) -> Self {
        let mut port = Port {
            device,
            full: false,
        };
        let capabilities = port.capabilities();
        let mut settings = smoltcp::iface::Config::new(EthernetAddress(config.mac).into());
        settings.random_seed = config.seed;
        let mut interface = Box::new(Interface::new(settings, &mut port, instant(now)));
        interface.update_ip_addrs(|addresses| {
            // The list is empty and holds at least one.
            let cidr = Ipv4Cidr::new(config.address, config.prefix_len);
            let _ = addresses.push(IpCidr::Ipv4(cidr));
        });
        if let Some(gateway) = config.gateway {
            // So does the table of routes.
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        Stack {
            config,
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
            no_sockets: SocketSet::new(Vec::new()),
            tcp: Tcp::new(config.limits, config.timers),
            udp: Udp::new(config.limits, capabilities.max_transmission_unit),
            neighbors: Neighbors::default(),
            memory: Memory::new(config.limits.memory),
            checksums: capabilities.checksum,
            frames_received: 0,
            frames_refused: 0,
            polled_at: now,
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn device_mut(&mut self) -> &mut D {
        &mut self.port.device
    }

    pub fn figures(&self) -> Figures {
        Figures {
            frames_received: self.frames_received,
            frames_refused: self.frames_refused,
            connections: self.tcp.connections(),
            half_open: self.tcp.half_open(),
            orphans: self.tcp.orphans(),
            time_wait: self.tcp.time_waits(),
            datagram_ports: self.udp.sockets(),
            buffer_octets: self.memory.used(),
            tcp: self.tcp.counters,
            udp: self.udp.counters,
        }
    }

    /// Takes the next announcement that the readiness of something may have changed; by
    /// a frame, by time, or by a call. None is lost; some change nothing, and may be about
    /// what nobody holds. Each thing is announced once until the announcement is taken.
    ///
    /// What a call takes away is not announced: octets that it read, room that it filled.
    pub fn next_change(&mut self) -> Option<Change> {
        self.tcp.next_change().or_else(|| self.udp.next_change())
    }

    // --- frames and time --------------------------------------------------------------

    /// Receives and sends what can be, within bounds. Returns whether more could be done
    /// at once.
    pub fn poll(&mut self, now: u64) -> bool {
        self.polled_at = now;
        self.port.full = false;
        self.interface.poll_maintenance(instant(now));
        let mut received = 0;
        while received < RECEIVE_BUDGET && self.finish_fragments(now) && self.receive(now) {
            received += 1;
        }
        let quiet = self.transmit(now);
        received == RECEIVE_BUDGET || !quiet
    }

    /// Sends what can be, within bounds. Returns whether nothing is left that could be.
    pub fn transmit(&mut self, now: u64) -> bool {
        self.ask_neighbors(now);
        let mut quiet = self.transmit_sockets(now);
        let (sockets, memory) = (&mut self.sockets, &mut self.memory);
        self.udp.sweep(now, sockets, memory);
        if self.tcp.sweep(now, sockets, memory) {
            quiet = self.transmit_sockets(now);
            self.tcp.sweep(now, &mut self.sockets, &mut self.memory);
        }
        quiet
    }

    fn transmit_sockets(&mut self, now: u64) -> bool {
        for _ in 0..TRANSMIT_BUDGET {
            let idle = self.finish_fragments(now);
            self.udp
                .feed(now, !idle, &self.neighbors, &mut self.sockets);
            if !idle {
                return true;
            }
            let result =
                self.interface
                    .poll_egress(instant(now), &mut self.port, &mut self.sockets);
            if result == PollResult::None {
                return true;
            }
        }
        self.port.full
    }

    /// Sends the rest of a fragmented datagram. `false` if the card is full before its
    /// end. Until then nothing may be done that could fragment another: smoltcp has one
    /// buffer for it and does not look whether it is in use.
    fn finish_fragments(&mut self, now: u64) -> bool {
        let now = instant(now);
        while self.interface.poll_at(now, &self.no_sockets).is_some() {
            if self.port.full {
                return false;
            }
            self.interface
                .poll_egress(now, &mut self.port, &mut self.no_sockets);
        }
        true
    }

    /// Receives one frame, if there is one and room for the reply.
    fn receive(&mut self, now: u64) -> bool {
        let Some((frame, reply)) = self.port.device.receive(instant(now)) else {
            return false;
        };
        self.frames_received += 1;
        frame.consume(|frame| {
            let seen = peek::look(frame, &self.config);
            let (sockets, memory) = (&mut self.sockets, &mut self.memory);
            match seen {
                Frame::Refused => {
                    self.frames_refused += 1;
                    return;
                }
                Frame::Arp(address, mac) => self.neighbors.heard(address, mac, now),
                Frame::Ip(address, mac) => self.neighbors.lives(address, mac, now),
                Frame::Segment(segment) => {
                    self.neighbors
                        .lives(*segment.tuple.peer.ip(), segment.mac, now);
                    match self.tcp.before(&segment, now, sockets, memory) {
                        Verdict::Pass => {}
                        Verdict::Drop => return,
                        Verdict::Repeat(last_word) => {
                            if intact(frame, &self.checksums) {
                                acknowledge(
                                    reply,
                                    &self.config,
                                    &self.checksums,
                                    &segment,
                                    last_word,
                                );
                            }
                            return;
                        }
                    }
                }
                Frame::Other => {}
            }
            let mut one = OneFrame {
                frame: Some(frame),
                reply: Some(reply),
            };
            self.interface
                .poll_ingress_single(instant(now), &mut one, sockets);
            if let Frame::Ip(..) | Frame::Other = seen {
                self.udp.changed_all();
            }
            if let Frame::Segment(segment) = seen
                && let Some(last_word) = self.tcp.after(&segment, now, sockets, memory)
                && let Some(reply) = one.reply.take()
            {
                acknowledge(reply, &self.config, &self.checksums, &segment, last_word);
            }
        });
        true
    }

    /// Sends the ARP requests that are due, and drops what waited for an answer in vain.
    fn ask_neighbors(&mut self, now: u64) {
        self.udp.ask_again(now, &mut self.neighbors);
        while let Some(address) = self.neighbors.due(now) {
            let Some(token) = self.port.transmit(instant(now)) else {
                return;
            };
            ask(token, &self.config, address);
            self.neighbors.sent(address, now);
        }
        while let Some(address) = self.neighbors.given_up(now) {
            self.udp.give_up(address);
        }
    }

    /// When to poll next though nothing happens; `None`: never.
    pub fn deadline(&mut self) -> Option<u64> {
        let at = self
            .interface
            .poll_at(instant(self.polled_at), &self.sockets)
            .map(|at| u64::try_from(at.total_micros()).unwrap_or(0) * 1000)
            .map(|at| self.not_before(at));
        let asking = self.neighbors.deadline().map(|at| self.not_before(at));
        [at, self.tcp.deadline(), self.udp.deadline(), asking]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due already could not be done in the last poll: not at once again.
    fn not_before(&self, at: u64) -> u64 {
        let pause = match self.port.full {
            true => RETRY_FULL_NS,
            false => RETRY_NS,
        };
        match at <= self.polled_at {
            true => self.polled_at.saturating_add(pause),
            false => at,
        }
    }

    /// The neighbour that datagrams for `to` go to; `None` for a group of hosts.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no address, [`Error::Unreachable`] without a route.
    pub fn hop(&self, to: Ipv4Addr) -> Result<Option<Ipv4Addr>> {
        let own = &self.config;
        if to.is_unspecified() {
            Err(Error::InvalidArgument)
        } else if to.is_broadcast() || to.is_multicast() || to == own.broadcast() {
            Ok(None)
        } else if peek::impossible_source(to, own) {
            Err(Error::Unreachable)
        } else if own.contains(to) {
            Ok(Some(to))
        } else {
            own.gateway.map(Some).ok_or(Error::Unreachable)
        }
    }
}

fn instant(now: u64) -> Instant {
    Instant::from_micros_const((now / 1000) as i64)
}

fn nanoseconds(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn ip_endpoint(address: SocketAddrV4) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(*address.ip()), address.port())
}

fn socket_address(endpoint: IpEndpoint) -> SocketAddrV4 {
    match endpoint.addr {
        IpAddress::Ipv4(ip) => SocketAddrV4::new(ip, endpoint.port),
        // The interface has no IPv6 address, so no socket has such a peer.
        IpAddress::Ipv6(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, endpoint.port),
    }
}
