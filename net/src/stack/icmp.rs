//! ICMP: echo requests are answered, and datagrams that nobody takes are (RFC 792, RFC 1122
//! §3.2.2). TCP is told of what was too big for its path; other messages are counted.
//!
//! smoltcp has no part in it: it would quote a header of its own making where the one that
//! was received is owed, and answer nothing that is longer than its buffer. An answer leaves
//! at once if it fits a frame and its neighbour is known. Others wait here: those whose
//! neighbour is asked for ([`super::neighbors`]), and those that leave in fragments, one at a
//! turn.

use super::ETHERNET;
use super::checksum::Sum;
use super::identification::Identifications;
use super::ipv4::{Fragment, HEAD, IPV4, Packet};
use super::link::Port;
use super::neighbors::Neighbors;
use super::peek::{Ip, impossible_source};
use super::receive::Receiver;
use super::tcp::path::TooBig;
use super::verdict::{DropReason, Verdict};
use crate::config::Config;
use crate::secret::Key;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use smoltcp::phy::{ChecksumCapabilities, Device, TxToken};
use smoltcp::wire::{EthernetAddress, IpProtocol, Ipv4Packet};

/// Answers that wait, and their octets: two of the longest.
const WAITING_MAX: usize = 16;
const OCTETS_MAX: usize = 128 << 10;
/// Those of them whose neighbour is asked for, so that who invents addresses does not take
/// all places.
const UNRESOLVED_MAX: usize = 4;
/// Octets of an error message with its IPv4 header (RFC 1812 §4.3.2.3).
const ERROR_MAX: usize = 576;
/// Errors that may be sent at once, and how soon one more may (RFC 1812 §4.3.2.8): Linux's
/// `icmp_msgs_burst` and `icmp_msgs_per_sec`.
const ERRORS_BURST: u64 = 50;
const ERROR_INTERVAL_NS: u64 = 1_000_000;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
/// The code of it that says: fragmentation needed and DF set (RFC 1191 §4).
const TOO_BIG: u8 = 4;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// What a sender is told of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Its protocol is not spoken here.
    ProtocolUnreachable,
    /// Its port is nobody's.
    PortUnreachable,
    /// The rest of it has not come in time.
    ReassemblyTimeout,
}

impl Report {
    /// ICMP's type and code.
    const fn kind(self) -> [u8; 2] {
        match self {
            Report::ProtocolUnreachable => [UNREACHABLE, 2],
            Report::PortUnreachable => [UNREACHABLE, 3],
            Report::ReassemblyTimeout => [TIME_EXCEEDED, 1],
        }
    }
}

/// Events, counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct IcmpCounters {
    /// Echo requests that were answered, or will be.
    pub echoes: u64,
    /// Error messages that were sent, or will be.
    pub errors: u64,
    /// Errors that nobody may be told of (RFC 1122 §3.2.2).
    pub errors_withheld: u64,
    /// Errors that were too many.
    pub errors_limited: u64,
    /// Errors without room to wait, or without a way.
    pub errors_lost: u64,
    /// Answers whose neighbour was asked for in vain, or for which newer ones were sent.
    pub dropped_unresolved: u64,
}

/// An answer that waits.
struct Waiting {
    hop: Ipv4Addr,
    to: Ipv4Addr,
    head: [u8; HEAD],
    octets: Vec<u8>,
    /// A part of it was sent.
    fragment: Option<Fragment>,
}

/// An answer.
struct Answer<'a> {
    to: Ipv4Addr,
    head: [u8; HEAD],
    octets: &'a [u8],
}

/// What is known of the way of an answer.
type Around<'a> = (&'a Config, &'a mut Neighbors, u64);

/// See the module.
pub(super) struct Icmp {
    waiting: VecDeque<Waiting>,
    waiting_octets: usize,
    /// Octets of a frame behind the IPv4 header.
    payload_max: usize,
    identifications: Identifications,
    /// Errors that may be sent at once, and since when.
    allowance: (u64, u64),
    pub counters: IcmpCounters,
}

impl Icmp {
    pub fn new(frame_max: usize, key: Key, now: u64) -> Self {
        Icmp {
            waiting: VecDeque::new(),
            waiting_octets: 0,
            payload_max: frame_max.saturating_sub(ETHERNET + IPV4),
            identifications: Identifications::new(key),
            allowance: (ERRORS_BURST, now),
            counters: IcmpCounters::default(),
        }
    }

    /// Tells the sender of a datagram what has become of it, if it may be told. The datagram
    /// is quoted as it was received.
    #[cold]
    pub fn report<T: TxToken>(
        &mut self,
        report: Report,
        frame: &[u8],
        reply: Option<T>,
        (own, neighbors, now): Around<'_>,
    ) {
        let Some((to, datagram)) = reportable(frame, own) else {
            self.counters.errors_withheld += 1;
            return;
        };
        if !self.is_allowed(now) {
            self.counters.errors_limited += 1;
            return;
        }
        let octets = datagram.get(..ERROR_MAX - IPV4 - HEAD).unwrap_or(datagram);
        let [kind, code] = report.kind();
        let answer = Answer::new(to, [kind, code, 0, 0, 0, 0, 0, 0], octets);
        match self.answer(&answer, reply, (own, neighbors, now)) {
            Ok(()) => self.counters.errors += 1,
            Err(_) => self.counters.errors_lost += 1,
        }
    }

    /// A token bucket: whether one more error may be sent.
    fn is_allowed(&mut self, now: u64) -> bool {
        let (left, since) = self.allowance;
        let more = now.saturating_sub(since) / ERROR_INTERVAL_NS;
        let left = left.saturating_add(more).min(ERRORS_BURST);
        let since = since.saturating_add(more.saturating_mul(ERROR_INTERVAL_NS));
        self.allowance = (left.saturating_sub(1), since);
        left > 0
    }

    /// Sends an answer, at once if that is possible.
    fn answer<T: TxToken>(
        &mut self,
        answer: &Answer<'_>,
        reply: Option<T>,
        (own, neighbors, now): Around<'_>,
    ) -> Result<(), DropReason> {
        let hop = own.next_hop(answer.to).ok_or(DropReason::NoRoomForReply)?;
        let station = neighbors.station(hop, now);
        if let Some(station) = station
            && let Some(token) = reply
            && HEAD + answer.octets.len() <= self.payload_max
        {
            let packet = packet(answer.to, station, answer.head, answer.octets);
            // The token fills in IPv4's checksum.
            let identification = self.identifications.next();
            let software = ChecksumCapabilities::ignored();
            packet.send(token, own, &software, identification);
            return Ok(());
        }
        if station.is_none() {
            self.make_place(hop, (own, neighbors, now))?;
        }
        let octets = self.waiting_octets + answer.octets.len();
        if self.waiting.len() >= WAITING_MAX || octets > OCTETS_MAX {
            return Err(DropReason::NoRoomForReply);
        }
        self.waiting_octets = octets;
        self.waiting.push_back(Waiting {
            hop,
            to: answer.to,
            head: answer.head,
            octets: answer.octets.to_vec(),
            fragment: None,
        });
        Ok(())
    }

    /// Asks for a neighbour, and sees to it that one more answer may wait for it. The latest
    /// is worth the most (RFC 1122 §2.3.2.2).
    fn make_place(
        &mut self,
        hop: Ipv4Addr,
        (_, neighbors, now): Around<'_>,
    ) -> Result<(), DropReason> {
        let is_unresolved = |waiting: &&Waiting| neighbors.station(waiting.hop, now).is_none();
        if self.waiting.iter().filter(is_unresolved).count() >= UNRESOLVED_MAX {
            let oldest = self.waiting.iter().position(|waiting| waiting.hop == hop);
            self.counters.dropped_unresolved += 1;
            self.remove(oldest.ok_or(DropReason::NoRoomForReply)?);
        }
        match neighbors.ask(hop, now) {
            true => Ok(()),
            false => Err(DropReason::NoRoomForReply),
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(waiting) = self.waiting.remove(index) {
            self.waiting_octets -= waiting.octets.len();
        }
    }

    /// The first answer that can leave now, and the station that it leaves for.
    fn next(&self, neighbors: &Neighbors, now: u64) -> Option<(usize, EthernetAddress)> {
        self.waiting
            .iter()
            .enumerate()
            .find_map(|(index, waiting)| Some((index, neighbors.station(waiting.hop, now)?)))
    }

    /// Whether no answer could leave now.
    #[inline]
    pub fn is_idle(&self, neighbors: &Neighbors, now: u64) -> bool {
        self.waiting.is_empty() || self.next(neighbors, now).is_none()
    }

    /// Sends a frame, if an answer can leave. Returns whether one could.
    #[inline]
    pub fn take_turn<D: Device>(
        &mut self,
        now: u64,
        around: (&Config, &Neighbors, &mut Port<D>),
    ) -> bool {
        !self.waiting.is_empty() && self.send_next(now, around)
    }

    #[cold]
    fn send_next<D: Device>(
        &mut self,
        now: u64,
        (own, neighbors, port): (&Config, &Neighbors, &mut Port<D>),
    ) -> bool {
        let Some((index, station)) = self.next(neighbors, now) else {
            return false;
        };
        let Some(waiting) = self.waiting.get_mut(index) else {
            return false;
        };
        let Some((token, software)) = port.frame(now) else {
            return true;
        };
        let packet = packet(waiting.to, station, waiting.head, &waiting.octets);
        let left = if HEAD + packet.octets.len() <= self.payload_max {
            let identification = self.identifications.next();
            packet.send(token, own, software, identification);
            true
        } else {
            let fragment = waiting.fragment.get_or_insert_with(|| {
                let identification = self.identifications.next();
                Fragment {
                    identification,
                    sent: 0,
                }
            });
            packet.send_fragment(token, own, software, fragment, self.payload_max)
        };
        if left {
            self.remove(index);
        }
        true
    }

    /// A neighbour does not answer: what waits for it is dropped.
    #[cold]
    pub fn give_up(&mut self, hop: Ipv4Addr) {
        while let Some(index) = self.waiting.iter().position(|waiting| waiting.hop == hop) {
            self.counters.dropped_unresolved += 1;
            self.remove(index);
        }
    }

    /// Makes sure that a neighbour that answers wait for is being asked for: it may have been
    /// known when they were queued.
    #[inline]
    pub fn ask_again(&self, now: u64, neighbors: &mut Neighbors) {
        for waiting in &self.waiting {
            if neighbors.station(waiting.hop, now).is_none() {
                neighbors.ask(waiting.hop, now);
            }
        }
    }
}

impl<'a> Answer<'a> {
    /// An answer with this header, whose checksum is filled in.
    fn new(to: Ipv4Addr, mut head: [u8; HEAD], octets: &'a [u8]) -> Self {
        head[2..4].fill(0);
        let checksum = Sum::default().add(&head).add(octets).checksum();
        head[2..4].copy_from_slice(&checksum.to_be_bytes());
        Answer { to, head, octets }
    }
}

fn packet(to: Ipv4Addr, station: EthernetAddress, head: [u8; HEAD], octets: &[u8]) -> Packet<'_> {
    Packet {
        to,
        station,
        protocol: IpProtocol::Icmp,
        head,
        octets,
    }
}

/// The sender of a datagram in a frame, and the datagram, if the sender may be told of an
/// error. RFC 1122 §3.2.2 forbids it for an error message, for what went to a group of hosts
/// or stations, for a fragment that is not the first, and if the sender is no single host.
fn reportable<'a>(frame: &'a [u8], own: &Config) -> Option<(Ipv4Addr, &'a [u8])> {
    let (to, datagram) = (frame.get(..6)?, frame.get(ETHERNET..)?);
    let packet = Ipv4Packet::new_checked(datagram).ok()?;
    let first = packet.payload().first();
    let is_error = packet.next_header() == IpProtocol::Icmp && first.is_none_or(|&t| is_error(t));
    let may = to == own.mac
        && packet.dst_addr() == own.address
        && packet.frag_offset() == 0
        && !impossible_source(packet.src_addr(), own)
        && !is_error;
    let len = usize::from(packet.total_len());
    may.then_some((packet.src_addr(), datagram.get(..len)?))
}

/// Whether an ICMP message of this type is about another datagram.
const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}

impl Receiver<'_> {
    /// Processes a datagram that is neither TCP nor UDP.
    #[cold]
    pub(super) fn other<T: TxToken>(&mut self, ip: &Ip, frame: &[u8], reply: T) -> Verdict {
        let payload = frame.get(ETHERNET..).unwrap_or_default();
        let Ok(packet) = Ipv4Packet::new_checked(payload) else {
            return Verdict::Dropped(DropReason::Truncated);
        };
        if packet.next_header() != IpProtocol::Icmp {
            self.report(Report::ProtocolUnreachable, frame, reply);
            return Verdict::Dropped(DropReason::IpProtocol);
        }
        match self.message(ip, packet.src_addr(), packet.payload(), reply) {
            Ok(()) => Verdict::Delivered,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    fn message<T: TxToken>(
        &mut self,
        ip: &Ip,
        source: Ipv4Addr,
        message: &[u8],
        reply: T,
    ) -> Result<(), DropReason> {
        let (&head, octets) = message
            .split_first_chunk::<HEAD>()
            .ok_or(DropReason::IcmpLength)?;
        if !Sum::default().add(message).is_right() {
            return Err(DropReason::IcmpChecksum);
        }
        match head {
            [ECHO_REQUEST, 0, ..] if ip.from.is_none() => Err(DropReason::IcmpBroadcast),
            [ECHO_REQUEST, 0, _, _, numbers @ ..] => {
                let [a, b, c, d] = numbers;
                let answer = Answer::new(source, [ECHO_REPLY, 0, 0, 0, a, b, c, d], octets);
                let around = (self.config, &mut *self.neighbors, self.now);
                self.icmp.answer(&answer, Some(reply), around)?;
                self.icmp.counters.echoes += 1;
                Ok(())
            }
            [UNREACHABLE, TOO_BIG, _, _, _, _, high, low] => {
                let mtu = u16::from_be_bytes([high, low]);
                let told = TooBig::parse(octets, mtu, self.config);
                let is_believed = told.is_some_and(|told| self.tcp.too_big(&told, self.now));
                is_believed.then_some(()).ok_or(DropReason::IcmpError)
            }
            [kind, ..] if is_error(kind) => Err(DropReason::IcmpError),
            _ => Err(DropReason::IcmpType),
        }
    }

    /// Tells the sender of a datagram what has become of it, if it may be told.
    pub(super) fn report<T: TxToken>(&mut self, report: Report, frame: &[u8], reply: T) {
        let around = (self.config, &mut *self.neighbors, self.now);
        self.icmp.report(report, frame, Some(reply), around);
    }
}
