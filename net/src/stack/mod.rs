//! The stack: what is received goes to the protocols, and what they have to say takes turns.
//!
//! ```text
//!   frames ─▶ packet ─▶ joining ─▶ fragments ─▶ whose? ─▶ time_wait ─▶ tcp (SYN: an entry; ACK: a socket) ─▶ smoltcp ─▶ tcp (what became of it)
//!               └─▶ arp                           ├─▶ udp: its inbox        tcp, udp: station known? ─▶ header, outbound ─▶ frame
//!                                                 └─▶ icmp: the answer
//! ```
//!
//! Each received frame is parsed once ([`crate::packet`]), and has one verdict in the end
//! ([`crate::verdict`]). smoltcp has TCP; it sees IPv4 packets, and no stations
//! ([`crate::ip::neighbors`]).
//!
//! A received frame is parsed in place and passed on in place; nothing is copied but
//! by smoltcp into a socket's buffer, and segments that are joined. Work per poll is bounded,
//! and no work grows with the number of sockets that have nothing to do: see
//! [`crate::tcp::engine`] and [`crate::tcp::agenda`].

mod calls;
mod receive;

use crate::config::{Config, Network};
use crate::deadlines::{earlier, nanoseconds};
use crate::ip::arp::{Arp, ArpCounters, ArpPacket};
use crate::ip::fragments::Fragments;
use crate::ip::icmp::{Icmp, IcmpCounters};
use crate::ip::interface::Interface;
use crate::ip::neighbors::{NeighborCounters, Neighbors};
use crate::link::lookahead::LookAhead;
use crate::link::{Link, ethernet};
use crate::memory::Memory;
use crate::names::Change;
use crate::phy::{Device, instant};
use crate::secret::Purpose;
use crate::tcp::device::Arriving;
use crate::tcp::early::Early;
use crate::tcp::emit::{FROM_PEER, from_peer, syn_ack};
use crate::tcp::engine::{Engine, RETRY_NS};
use crate::tcp::{Tcp, TcpCounters, Turn};
use crate::udp::{Udp, UdpCounters};
use crate::verdict::Verdicts;
use abi::nic::MacAddress;
use abi::{Error, Result};
use core::net::Ipv4Addr;

/// Frames received in one poll.
const RECEIVE_BUDGET: usize = 128;
/// Frames sent in a poll; a long segment, of 44 frames or more, is ended. They are fewer than
/// can be received, since each may be answered by one: else the card's ring, which has room
/// for 255, would fill without end, and what it drops costs the peer a second (1,800 frames
/// in a test of nine downloads over QEMU's user network, none so).
const TRANSMIT_BUDGET: usize = 64;
/// ARP requests sent in a poll.
const ASK_BUDGET: usize = 32;
/// As [`RETRY_NS`], when the card is full: it will say when it is not.
const RETRY_FULL_NS: u64 = 50_000_000;

/// What the stack holds and has seen.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub network: Option<Network>,
    pub frames_received: u64,
    pub frames_joined: u64,
    pub verdicts: Verdicts,
    pub reassembly_failed: u64,
    pub reassembly_timeouts: u64,
    pub socket_looks: u64,
    pub connections: usize,
    pub half_open: usize,
    pub orphans: usize,
    pub dormant: usize,
    pub time_wait: usize,
    pub datagram_ports: usize,
    pub buffer_octets: usize,
    pub neighbors: usize,
    pub arp: ArpCounters,
    pub asking: NeighborCounters,
    pub icmp: IcmpCounters,
    pub tcp: TcpCounters,
    pub udp: UdpCounters,
}

/// All protocols on one card, at one address.
pub(crate) struct Stack<D: Device> {
    config: Config,
    /// Our station, and the address that we have now.
    own: Interface,
    link: Link<D>,
    engine: Engine,
    fragments: Fragments,
    early: Early,
    /// What needs no other part of the stack is asked of these two themselves.
    pub tcp: Tcp,
    pub udp: Udp,
    arp: Arp,
    icmp: Icmp,
    neighbors: Neighbors,
    memory: Memory,
    frames_received: u64,
    /// Those of them that became parts of longer ones.
    frames_joined: u64,
    verdicts: Verdicts,
    polled_at: u64,
}

impl<D: Device> Stack<D> {
    /// A stack for validated settings.
    #[cold]
    pub fn new(config: Config, device: D, now: u64) -> Self
    where
        D: LookAhead,
    {
        let mut link = Link::new(device);
        let own = Interface::new(&config);
        let engine = Engine::new(&own, &mut link, now);
        let key = |purpose| config.secret.key(purpose);
        let (frame_max, mss) = (link.frame_max, link.mss);
        Stack {
            config,
            own,
            link,
            engine,
            fragments: Fragments::default(),
            early: Early::new(now.saturating_add(nanoseconds(config.timers.opening))),
            tcp: Tcp::new(config.limits, config.timers, mss, &config.secret),
            udp: Udp::new(config.limits, frame_max, key(Purpose::UdpIdentification)),
            arp: Arp::default(),
            icmp: Icmp::new(frame_max, &config.secret),
            neighbors: Neighbors::new(&config.limits, key(Purpose::Tables)),
            memory: Memory::new(config.limits.memory),
            frames_received: 0,
            frames_joined: 0,
            verdicts: Verdicts::new(),
            polled_at: now,
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn device_mut(&mut self) -> &mut D {
        &mut self.link.device
    }

    /// Our address, or that of no host.
    pub fn address(&self) -> Ipv4Addr {
        self.own.address()
    }

    /// Gives us another place in the network, or none. Connections of the address that goes are
    /// reset, and what waits to be sent is dropped; listeners and datagram ports stay.
    #[cold]
    pub fn set_network(&mut self, network: Option<Network>, now: u64) {
        if self.own.network() == network {
            return;
        }
        self.tcp.reset_all(now, &mut self.memory);
        // Their RSTs leave with the old address, or never.
        self.link.full = false;
        while !self.link.full && self.stream_turn(now) {}
        self.tcp.forget_all(&mut self.memory);
        self.udp.drop_waiting();
        self.icmp.drop_waiting();
        self.fragments.drop_all();
        self.neighbors.drop_all();
        self.own.set_network(network);
        self.engine.set_address(&self.own);
    }

    #[cold]
    pub fn figures(&self) -> Figures {
        Figures {
            network: self.own.network(),
            frames_received: self.frames_received,
            frames_joined: self.frames_joined,
            verdicts: self.verdicts,
            reassembly_failed: self.fragments.failed,
            reassembly_timeouts: self.fragments.timeouts,
            socket_looks: self.engine.looks,
            connections: self.tcp.connections(),
            half_open: self.tcp.half_open(),
            orphans: self.tcp.orphans(),
            dormant: self.tcp.dormant(),
            time_wait: self.tcp.time_waits(),
            datagram_ports: self.udp.sockets(),
            buffer_octets: self.memory.used(),
            neighbors: self.neighbors.len(),
            arp: self.arp.counters,
            asking: self.neighbors.counters,
            icmp: self.icmp.counters,
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

    /// Takes the station that claimed our address, if one did since the last look.
    #[inline]
    pub fn take_claimant(&mut self) -> Option<MacAddress> {
        self.arp.take_claimant().map(|station| station.0)
    }

    // --- frames and time --------------------------------------------------------------

    /// Receives what can be, within bounds. Returns whether more could be at once.
    /// [`Stack::transmit`] follows, in this poll or the next.
    pub fn receive_all(&mut self, now: u64) -> bool
    where
        D: LookAhead,
    {
        self.polled_at = now;
        self.link.full = false;
        self.udp.begin();
        if self.fragments.expire(now) {
            self.report_expired(now);
        }
        self.receive_early(now);
        let mut received = 0;
        while received < RECEIVE_BUDGET && self.link.finish(instant(now)) {
            match self.receive(RECEIVE_BUDGET - received, now) {
                0 => break,
                count => received += count,
            }
        }
        received == RECEIVE_BUDGET
    }

    /// Sends what can be, within bounds. Returns whether nothing is left that could be.
    pub fn transmit(&mut self, now: u64) -> bool {
        self.link.full = false;
        self.ask_neighbors(now);
        self.answer_half_open(now);
        self.udp.expire(now, &mut self.memory);
        self.tcp.expire(now, &mut self.memory);
        let mut quiet = self.take_turns(now);
        if self.tcp.bound_orphans(now) {
            quiet = self.take_turns(now);
        }
        // For whom the turns have looked in vain.
        if self.neighbors.due(now).is_some() {
            self.ask_neighbors(now);
        }
        quiet
    }

    /// Lets the sockets that have something to do take turns. Each sends a frame at most
    /// and is behind the others then; the card's being full makes the one wait that found
    /// it so, in front of them.
    fn take_turns(&mut self, now: u64) -> bool {
        self.tcp.advance(now);
        self.udp.advance();
        if !self.link.finish(instant(now)) {
            return true;
        }
        self.link.frames = 0;
        // A turn that sends nothing counts, too, so that it ends.
        for turn in 0..TRANSMIT_BUDGET {
            if self.link.frames >= TRANSMIT_BUDGET {
                break;
            }
            let taken = match turn % 2 {
                0 => self.stream_turn(now) || self.datagram_turn(turn, now),
                _ => self.datagram_turn(turn, now) || self.stream_turn(now),
            };
            if !taken || self.link.full {
                return true;
            }
        }
        self.tcp.is_idle() && self.udp.is_idle() && self.icmp.is_idle()
    }

    fn stream_turn(&mut self, now: u64) -> bool {
        let (engine, link, own) = (&mut self.engine, &mut self.link, &self.own);
        let (neighbors, us) = (&mut self.neighbors, own.station);
        let turn = |turn: Turn<'_>| {
            let Turn {
                tuple, set, tcb, ..
            } = turn;
            if let Some(shape) = turn.window {
                let mut place = [0; FROM_PEER];
                let datagram = from_peer(&mut place, own, tuple, &shape, &[]);
                let mut one = Arriving::<D::TxToken<'_>>::new(datagram, us, (own, None));
                engine.ingress(&mut one, Some((&mut *set, &mut *tcb)), now);
            }
            let way = || {
                let hop = own.next_hop(*tuple.peer.ip())?;
                let station = neighbors.use_station(hop, now);
                if station.is_none() {
                    neighbors.ask(hop, now);
                }
                Some(us.header(station?, ethernet::IPV4))
            };
            engine.egress(link, (set, tcb), way, now).1
        };
        let hop = |peer| own.next_hop(peer);
        self.tcp.take_turn((own, now), &mut self.memory, turn, hop)
    }

    /// UDP and ICMP come first by turns.
    fn datagram_turn(&mut self, turn: usize, now: u64) -> bool {
        let taken =
            turn % 4 == 3 && self.icmp_turn(now) || self.udp_turn(now) || self.icmp_turn(now);
        self.link.frames += usize::from(taken);
        taken
    }

    fn udp_turn(&mut self, now: u64) -> bool {
        let around = (&self.own, &self.neighbors, &mut self.link);
        self.udp.take_turn(now, &mut self.memory, around)
    }

    fn icmp_turn(&mut self, now: u64) -> bool {
        self.icmp.take_turn(now, (&self.own, &mut self.link))
    }

    /// Answers peers again that have not completed their connections.
    fn answer_half_open(&mut self, now: u64) {
        for _ in 0..TRANSMIT_BUDGET {
            let Some((slot, answer)) = self.tcp.due_answer(now) else {
                return;
            };
            let Some(token) = self.link.room(instant(now), None) else {
                return;
            };
            syn_ack(token, &self.own, &answer);
            self.tcp.answered(slot);
        }
    }

    /// Sends the ARP requests that are due, within bounds, and drops what waited for an answer
    /// in vain.
    #[inline]
    fn ask_neighbors(&mut self, now: u64) {
        if self.udp.has_waiting() || self.neighbors.deadline().is_some_and(|at| at <= now) {
            self.ask_due(now);
        }
    }

    #[cold]
    fn ask_due(&mut self, now: u64) {
        self.udp.ask_again(now, &mut self.neighbors);
        for _ in 0..ASK_BUDGET {
            while let Some(address) = self.neighbors.given_up(now) {
                self.udp.give_up(address);
                self.tcp.give_up(address, now, &mut self.memory);
            }
            let Some((address, station)) = self.neighbors.due(now) else {
                return;
            };
            let Some(token) = self.link.room(instant(now), None) else {
                return;
            };
            ArpPacket::request(&self.own, address).send(token, station);
            self.neighbors.sent(address, now);
        }
    }

    /// When to poll next though nothing happens; `None`: never.
    pub fn deadline(&mut self) -> Option<u64> {
        let busy = !self.tcp.is_idle()
            || !self.udp.is_idle()
            || !self.icmp.is_idle()
            || self.link.is_cutting();
        let at_once = busy.then(|| self.not_before(self.polled_at));
        let asking = self.neighbors.deadline().map(|at| self.not_before(at));
        let fragments = self.fragments.deadline().map(|at| self.not_before(at));
        let early = self.early.deadline().map(|at| self.not_before(at));
        let tcp = self.tcp.deadline().map(|at| self.not_before(at));
        let ip = earlier(asking, fragments);
        earlier(earlier(at_once, ip), earlier(early, tcp))
    }

    /// What is due already could not be done in the last poll: not at once again.
    fn not_before(&self, at: u64) -> u64 {
        let pause = match self.link.full {
            true => RETRY_FULL_NS,
            false => RETRY_NS,
        };
        match at <= self.polled_at {
            true => self.polled_at.saturating_add(pause),
            false => at,
        }
    }

    /// Makes all connections dormant on which nothing is under way; returns how many.
    #[cfg(test)]
    pub fn lull_all(&mut self, now: u64) -> usize {
        self.tcp.lull_all(now, &mut self.memory)
    }

    /// Panics if a socket that has something to do is not on the agenda for it, or if
    /// tables disagree.
    #[cfg(test)]
    pub fn audit(&mut self, now: u64) {
        self.tcp.audit(&mut self.engine, now);
        self.udp.audit(&self.neighbors, now);
    }

    /// The neighbour that datagrams for `to` go to; `None` for a group of hosts.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no address, [`Error::Unreachable`] without a route.
    pub fn hop(&self, to: Ipv4Addr) -> Result<Option<Ipv4Addr>> {
        let own = &self.own;
        if to.is_unspecified() {
            Err(Error::InvalidArgument)
        } else if to.is_multicast() || own.is_everyone(to) {
            Ok(None)
        } else if own.is_impossible_source(to) {
            Err(Error::Unreachable)
        } else {
            own.next_hop(to).map(Some).ok_or(Error::Unreachable)
        }
    }
}
