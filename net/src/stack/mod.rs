//! The stack: received frames go to the protocols, and sockets that have something to send take turns.
//!
//! ```text
//!   received:  frame ─▶ packet ─┬─▶ arp
//!                               └─▶ joining or fragments ─┬─▶ tcp::before ─▶ smoltcp ─▶ tcp::after
//!                                                         ├─▶ udp: the inbox of the port
//!                                                         └─▶ icmp: the answer
//!   sent:      tcp, udp, icmp ─▶ the station of the next hop ─▶ headers ─▶ link ─▶ frame
//! ```
//!
//! Each received frame is parsed once ([`crate::packet`]) and gets one verdict ([`crate::verdict`]). It
//! is parsed and passed on where it lies. Data is copied only by smoltcp into a socket's buffer, by UDP
//! into an inbox, and where segments are joined or fragments are put together.
//!
//! The work of a poll is bounded, and it does not grow with the number of sockets that have nothing to
//! do.

mod calls;
mod receive;

use crate::config::{Config, Network};
use crate::deadlines::{earlier, nanoseconds};
use crate::ip::arp::{Arp, ArpCounters, ArpPacket};
use crate::ip::fragments::Fragments;
use crate::ip::icmp::{Icmp, IcmpCounters};
use crate::ip::interface::{Interface, Local};
use crate::ip::neighbors::{NeighborCounters, Neighbors};
use crate::ip::v6::{V6, V6Counters};
use crate::link::{Link, ethernet};
use crate::memory::Memory;
use crate::names::Change;
use crate::phy::{Device, LookAhead, TxToken, instant};
use crate::secret::Purpose;
use crate::tcp::device::Arriving;
use crate::tcp::early_syns::EarlySyns;
use crate::tcp::emit::{self, FROM_PEER};
use crate::tcp::engine::{Engines, RETRY_NS};
use crate::tcp::{Context, Tcp, TcpCounters, Turn};
use crate::udp::{self, Udp, UdpCounters};
use crate::verdict::Verdicts;
use abi::nic::MacAddress;
use abi::socket::Ip;
use abi::{Error, Result};
use alloc::vec::Vec;

/// The most frames that are received in one poll.
const RECEIVE_BUDGET: usize = 128;
/// The number of frames after which a poll sends no more; a long segment, of 44 frames or more, is
/// sent to its end. Fewer frames are sent than can be received, since each may be acknowledged with
/// one. Otherwise the card's ring, which has room for 255, overflows, and each frame that it drops costs the
/// peer a second: 1,800 frames were dropped in a test of nine downloads over QEMU's user network, and
/// none with these budgets.
const TRANSMIT_BUDGET: usize = 64;
/// The most ARP requests that are sent in one poll.
const ASK_BUDGET: usize = 32;
/// How soon a full card is tried again. It usually tells earlier that it has room.
const RETRY_FULL_NS: u64 = 50_000_000;

/// The state and the counters of the stack.
pub(crate) struct Figures {
    pub network: Option<Network>,
    pub addresses_v6: Vec<Ip>,
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
    pub ipv6: V6Counters,
    pub tcp: TcpCounters,
    pub udp: UdpCounters,
}

/// All protocols, on one card and at one address.
pub(crate) struct Stack<D: Device> {
    config: Config,
    /// Our station and our current address.
    own: Interface,
    link: Link<D>,
    engines: Engines,
    fragments: Fragments,
    early_syns: EarlySyns,
    /// Calls that need no other part of the stack are made on these two directly.
    pub tcp: Tcp,
    pub udp: Udp,
    arp: Arp,
    icmp: Icmp,
    /// The control plane of IPv6, if we speak it.
    v6: Option<V6>,
    neighbors: Neighbors,
    memory: Memory,
    frames_received: u64,
    /// How many of them were joined with others.
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
        let mut own = Interface::new(&config);
        let mut v6 = config.ipv6.then(|| V6::new(&own, &config.secret, now));
        if let Some(v6) = &mut v6 {
            v6.apply(&mut own);
        }
        let engines = Engines::new(&own, &mut link, now);
        let key = |purpose| config.secret.key(purpose);
        let (frame_max, mss) = (link.frame_max, link.mss);
        Stack {
            config,
            own,
            link,
            engines,
            fragments: Fragments::default(),
            early_syns: EarlySyns::new(now.saturating_add(nanoseconds(config.timers.opening))),
            tcp: Tcp::new(config.limits, config.timers, mss, &config.secret),
            udp: Udp::new(config.limits, frame_max, key(Purpose::UdpIdentification)),
            arp: Arp::default(),
            icmp: Icmp::new(frame_max, &config.secret),
            v6,
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

    /// Whether the address is one of ours.
    pub fn has_address(&self, address: Ip) -> bool {
        self.own.find(address).is_some()
    }

    /// One of our addresses; unspecified if it has gone.
    pub fn address_of(&self, local: Local) -> Ip {
        self.own.address_of(local)
    }

    /// Which of our addresses packets to this host come from.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if we have none of its family.
    pub fn source_for(&self, to: Ip) -> Result<Local> {
        self.own.source_for(to).ok_or(Error::Unreachable)
    }

    /// Gives us another address and network, or none. The connections of the old address are reset,
    /// and datagrams that wait to be sent are dropped. Listeners and datagram ports stay.
    #[cold]
    pub fn set_network(&mut self, network: Option<Network>, now: u64) {
        if self.own.network() == network {
            return;
        }
        self.address_goes(Local::IPV4, now);
        self.udp.drop_waiting();
        self.icmp.drop_waiting();
        self.fragments.drop_all();
        self.neighbors.drop_all();
        self.own.set_network(network);
        self.engines.set_address(&self.own);
    }

    /// Ends the connections of one of our addresses, since it goes. Their RSTs are sent now, with the old
    /// address, or never.
    fn address_goes(&mut self, local: Local, now: u64) {
        self.tcp.reset_all(local, now, &mut self.memory);
        self.link.full = false;
        while !self.link.full && self.stream_turn(now) {}
        self.tcp.forget_all(local, &mut self.memory);
    }

    /// Does what is due of IPv6's control plane: addresses and routes change, and frames are sent.
    #[cold]
    fn control_v6(&mut self, now: u64) {
        for _ in 0..ASK_BUDGET {
            let Some(v6) = &mut self.v6 else {
                return;
            };
            v6.expire(now);
            while let Some(local) = self.v6.as_mut().and_then(V6::take_gone) {
                self.address_goes(local, now);
            }
            let Some(v6) = &mut self.v6 else {
                return;
            };
            if v6.apply(&mut self.own) {
                self.engines.set_address(&self.own);
            }
            let Some((token, _)) = self.link.transmit_bare(now) else {
                return;
            };
            match v6.next(&self.own, now) {
                Some(frame) => token.consume(frame.len(), |place| place.copy_from_slice(&frame)),
                None if v6.due_at() > now => return,
                None => {}
            }
        }
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
            socket_looks: self.engines.looks(),
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
            ipv6: self.v6.as_ref().map(|v6| v6.counters).unwrap_or_default(),
            addresses_v6: self.own.v6().map(|(_, address)| address).collect(),
            tcp: self.tcp.counters,
            udp: self.udp.counters,
        }
    }

    /// Takes the next change: a socket whose readiness may have changed by a frame, by time, or by a
    /// call. No change is lost, and a socket is announced once until the change is taken. A change may
    /// turn out to be none, or be about a socket that nobody holds.
    ///
    /// What a call itself takes away, the octets that it read or the room that it filled, is not
    /// announced.
    pub fn next_change(&mut self) -> Option<Change> {
        self.tcp.next_change().or_else(|| self.udp.next_change())
    }

    /// Takes the station that claimed our address, if one did since the last call.
    #[inline]
    pub fn take_claimant(&mut self) -> Option<MacAddress> {
        self.arp.take_claimant().map(|station| station.0)
    }

    // --- frames and time --------------------------------------------------------------

    /// Receives frames, [`RECEIVE_BUDGET`] at most. Returns whether more may be waiting.
    /// [`Stack::transmit`] must follow, in this poll or the next.
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

    /// Sends frames, about [`TRANSMIT_BUDGET`] at most. Returns whether nothing is left that could be
    /// sent now.
    pub fn transmit(&mut self, now: u64) -> bool {
        self.link.full = false;
        if self.v6.as_ref().is_some_and(|v6| v6.due_at() <= now) {
            self.control_v6(now);
        }
        self.ask_neighbors(now);
        self.answer_half_open(now);
        self.udp.expire(now, &mut self.memory);
        self.tcp.expire(now, &mut self.memory);
        let mut quiet = self.take_turns(now);
        if self.tcp.bound_orphans(now) {
            quiet = self.take_turns(now);
        }
        // In their turns, connections have asked for stations that are not known.
        if self.neighbors.due(now).is_some() {
            self.ask_neighbors(now);
        }
        quiet
    }

    /// Lets the sockets that have something to do take turns. In its turn a socket sends at most one
    /// frame or one long segment, and then it is behind the others. A socket that finds the card full
    /// is the first one in the next poll. Returns whether nothing is left that could be sent now.
    fn take_turns(&mut self, now: u64) -> bool {
        self.tcp.advance(now);
        self.udp.advance();
        if !self.link.finish(instant(now)) {
            return true;
        }
        self.link.frames_sent = 0;
        // Turns that send nothing are counted, too, so that the loop ends.
        for turn in 0..TRANSMIT_BUDGET {
            if self.link.frames_sent >= TRANSMIT_BUDGET {
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
        let (engines, link, own) = (&mut self.engines, &mut self.link, &self.own);
        let (neighbors, us) = (&mut self.neighbors, own.station);
        let turn = |turn: Turn<'_>| {
            let (tuple, (set, sequence)) = (turn.tuple, turn.parts);
            let engine = engines.of(&tuple.peer.ip);
            if let Some(substitute) = turn.window_update {
                let mut place = [0; FROM_PEER];
                let arriving = Arriving {
                    datagram: emit::from_peer(&mut place, own, tuple, &substitute, &[]),
                    reply_header: us.header(us, ethernet::ethertype(&tuple.peer.ip)),
                    reply: &mut None::<D::TxToken<'_>>,
                };
                engine.ingress(arriving, Some((&mut *set, &mut *sequence)), now);
            }
            let header = || {
                let hop = own.next_hop(tuple.peer.ip)?;
                let station = neighbors.use_station(hop, now);
                if station.is_none() {
                    neighbors.ask(hop, now);
                }
                Some(us.header(station?, ethernet::ethertype(&tuple.peer.ip)))
            };
            engine.egress(link, (set, sequence), header, now)
        };
        let hop = |peer| own.next_hop(peer);
        let memory = &mut self.memory;
        let mut cx = Context { own, memory, now };
        self.tcp.take_turn(&mut cx, turn, hop)
    }

    /// Gives a turn to a datagram socket or to ICMP, which come first alternately.
    fn datagram_turn(&mut self, turn: usize, now: u64) -> bool {
        let taken =
            turn % 4 == 3 && self.icmp_turn(now) || self.udp_turn(now) || self.icmp_turn(now);
        self.link.frames_sent += usize::from(taken);
        taken
    }

    fn udp_turn(&mut self, now: u64) -> bool {
        let mut cx = udp::Context {
            own: &self.own,
            neighbors: &mut self.neighbors,
            link: &mut self.link,
            now,
        };
        self.udp.take_turn(&mut self.memory, &mut cx)
    }

    fn icmp_turn(&mut self, now: u64) -> bool {
        self.icmp.take_turn(now, &self.own, &mut self.link)
    }

    /// Repeats SYN-ACKs to peers that have not acknowledged them.
    fn answer_half_open(&mut self, now: u64) {
        for _ in 0..TRANSMIT_BUDGET {
            let Some((slot, answer)) = self.tcp.due_answer(now) else {
                return;
            };
            let Some(token) = self.link.transmit(instant(now), None) else {
                return;
            };
            emit::syn_ack(token, &self.own, &answer);
            self.tcp.answer_sent(slot);
        }
    }

    /// Sends the ARP requests that are due, [`ASK_BUDGET`] at most, and drops what waits for neighbours
    /// that do not answer.
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
            while let Some(address) = self.neighbors.take_failed(now) {
                self.udp.neighbor_failed(address);
                self.tcp.neighbor_failed(address, now, &mut self.memory);
            }
            let Some((address, station)) = self.neighbors.due(now) else {
                return;
            };
            let Some(token) = self.link.transmit(instant(now), None) else {
                return;
            };
            match address.as_v4() {
                Some(v4) => ArpPacket::request(&self.own, v4).send(token, station),
                None => {
                    if let Some(frame) = V6::solicitation(&self.own, address, station) {
                        token.consume(frame.len(), |place| place.copy_from_slice(&frame));
                    }
                }
            }
            self.neighbors.request_sent(address, now);
        }
    }

    /// When the next poll must be, even if nothing happens before. `None`: no poll is needed.
    pub fn deadline(&mut self) -> Option<u64> {
        let has_work = !self.tcp.is_idle()
            || !self.udp.is_idle()
            || !self.icmp.is_idle()
            || self.link.is_cutting();
        let at_once = has_work.then(|| self.not_before(self.polled_at));
        let asking = self.neighbors.deadline().map(|at| self.not_before(at));
        let fragments = self.fragments.deadline().map(|at| self.not_before(at));
        let early = self.early_syns.deadline().map(|at| self.not_before(at));
        let tcp = self.tcp.deadline().map(|at| self.not_before(at));
        let v6 = self
            .v6
            .as_ref()
            .map(V6::due_at)
            .filter(|&at| at != u64::MAX);
        let ip = earlier(earlier(asking, fragments), v6.map(|at| self.not_before(at)));
        earlier(earlier(at_once, ip), earlier(early, tcp))
    }

    /// `at`, but after a pause if it has come already: what is due could not be done in the last poll.
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

    /// Makes all connections dormant on which nothing is under way. Returns how many.
    #[cfg(test)]
    pub fn make_all_dormant(&mut self, now: u64) -> usize {
        self.tcp.make_all_dormant(now, &mut self.memory)
    }

    /// Panics if a socket that has something to do is not in the schedule, or if tables disagree.
    #[cfg(test)]
    pub fn audit(&mut self, now: u64) {
        self.tcp.audit(&mut self.engines, now);
        self.udp.audit(&self.neighbors, now);
    }

    /// The next hop to a host; `None` if `to` is a multicast or broadcast address.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for 0.0.0.0, [`Error::Unreachable`] without a route.
    pub fn hop(&self, to: Ip) -> Result<Option<Ip>> {
        let own = &self.own;
        if to.is_unspecified() {
            Err(Error::InvalidArgument)
        } else if own.is_group(to) {
            Ok(None)
        } else if own.is_impossible_peer(to) {
            Err(Error::Unreachable)
        } else {
            own.next_hop(to).map(Some).ok_or(Error::Unreachable)
        }
    }
}
