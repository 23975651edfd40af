//! ICMP: echo requests are answered, and datagrams that nobody takes are (RFC 792, RFC 1122
//! §3.2.2). TCP is told of what was too big for its path; other messages are counted.
//!
//! smoltcp has no part in it: it would quote a header of its own making where the one that
//! was received is owed, and answer nothing that is longer than its buffer. An answer leaves
//! at once if it fits a frame, to the station from which its cause has come. Others wait here, and
//! leave in fragments, one at a turn.

use crate::ip::identification::Identifications;
use crate::ip::interface::Interface;
use crate::ip::outbound::{HEAD, IPV4, Outbound, Progress};
use crate::ip::protocol;
use crate::link::Link;
use crate::link::checksum::Sum;
use crate::link::ethernet::{ETHERNET, Station};
use crate::pace::Quota;
use crate::packet::{Ipv4, Packet, Payload};
use crate::phy::{ChecksumCapabilities, Device, TxToken};
use crate::secret::{Purpose, Secret};
use crate::tcp::path::TooBig;
use crate::verdict::DropReason;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// Answers that wait, and their octets: two of the longest.
const WAITING_MAX: usize = 16;
const OCTETS_MAX: usize = 128 << 10;
/// Octets of an error message with its IPv4 header (RFC 1812 §4.3.2.3).
const ERROR_MAX: usize = 576;

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
pub(crate) enum Report {
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
    /// Errors without room to wait.
    pub errors_lost: u64,
}

/// An answer that waits.
struct Waiting {
    to: Ipv4Addr,
    station: Station,
    head: [u8; HEAD],
    octets: Vec<u8>,
    /// A part of it was sent.
    fragment: Option<Progress>,
}

/// An answer.
struct Answer<'a> {
    to: Ipv4Addr,
    /// The one from which its cause has come.
    station: Station,
    head: [u8; HEAD],
    octets: &'a [u8],
}

/// Answers that wait for room, and how often errors may be reported.
pub(crate) struct Icmp {
    waiting: VecDeque<Waiting>,
    waiting_octets: usize,
    /// Octets of a frame behind the IPv4 header.
    payload_max: usize,
    identifications: Identifications,
    /// Their number is limited (RFC 1812 §4.3.2.8).
    errors: Quota,
    pub counters: IcmpCounters,
}

impl Icmp {
    pub fn new(frame_max: usize, secret: &Secret) -> Self {
        Icmp {
            waiting: VecDeque::new(),
            waiting_octets: 0,
            payload_max: frame_max.saturating_sub(ETHERNET + IPV4),
            identifications: Identifications::new(secret.key(Purpose::IcmpIdentification)),
            errors: Quota::new(secret.key(Purpose::IcmpErrors)),
            counters: IcmpCounters::default(),
        }
    }

    /// Tells the sender of a datagram what has become of it, if it may be told. The datagram
    /// is quoted as it was received.
    #[cold]
    pub fn report<T: TxToken>(
        &mut self,
        report: Report,
        (packet, ip): (&Packet<'_>, &Ipv4),
        reply: Option<T>,
        (own, now): (&Interface, u64),
    ) {
        if !may_be_told(packet, ip) {
            self.counters.errors_withheld += 1;
            return;
        }
        if !self.errors.allows(now) {
            self.counters.errors_limited += 1;
            return;
        }
        let datagram = packet.datagram(ip);
        let octets = datagram.get(..ERROR_MAX - IPV4 - HEAD).unwrap_or(datagram);
        let [kind, code] = report.kind();
        let from = (ip.source, packet.headers.station);
        let answer = Answer::new(from, [kind, code, 0, 0, 0, 0, 0, 0], octets);
        match self.answer(&answer, reply, own) {
            Ok(()) => self.counters.errors += 1,
            Err(_) => self.counters.errors_lost += 1,
        }
    }

    /// Processes a message. Returns what TCP is to be told of, if it believes that.
    ///
    /// # Errors
    /// Why the message goes no further.
    #[cold]
    pub fn receive<T: TxToken>(
        &mut self,
        (packet, ip): (&Packet<'_>, &Ipv4),
        reply: T,
        own: &Interface,
    ) -> Result<Option<TooBig>, DropReason> {
        let message = packet.payload(ip);
        let (&head, octets) = message
            .split_first_chunk::<HEAD>()
            .ok_or(DropReason::IcmpLength)?;
        if !Sum::default().add(message).is_right() {
            return Err(DropReason::IcmpChecksum);
        }
        match head {
            [ECHO_REQUEST, 0, ..] if !ip.is_unicast => Err(DropReason::IcmpBroadcast),
            [ECHO_REQUEST, 0, _, _, a, b, c, d] => {
                let from = (ip.source, packet.headers.station);
                let answer = Answer::new(from, [ECHO_REPLY, 0, 0, 0, a, b, c, d], octets);
                self.answer(&answer, Some(reply), own)?;
                self.counters.echoes += 1;
                Ok(None)
            }
            [UNREACHABLE, TOO_BIG, _, _, _, _, high, low] => {
                let mtu = u16::from_be_bytes([high, low]);
                let told = TooBig::parse(octets, mtu, own);
                told.map(Some).ok_or(DropReason::IcmpError)
            }
            [kind, ..] if is_error(kind) => Err(DropReason::IcmpError),
            _ => Err(DropReason::IcmpType),
        }
    }

    /// Sends an answer, at once if that is possible.
    fn answer<T: TxToken>(
        &mut self,
        answer: &Answer<'_>,
        reply: Option<T>,
        own: &Interface,
    ) -> Result<(), DropReason> {
        let (to, station) = (answer.to, answer.station);
        if let Some(token) = reply
            && HEAD + answer.octets.len() <= self.payload_max
        {
            let packet = packet(to, station, answer.head, answer.octets);
            // The token fills in IPv4's checksum.
            let identification = self.identifications.next();
            let software = ChecksumCapabilities::ignored();
            packet.send(token, own, &software, identification);
            return Ok(());
        }
        let octets = self.waiting_octets + answer.octets.len();
        if self.waiting.len() >= WAITING_MAX || octets > OCTETS_MAX {
            return Err(DropReason::NoRoomForReply);
        }
        self.waiting_octets = octets;
        self.waiting.push_back(Waiting {
            to,
            station,
            head: answer.head,
            octets: answer.octets.to_vec(),
            fragment: None,
        });
        Ok(())
    }

    /// Drops the answers that wait.
    pub fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_octets = 0;
    }

    /// Whether no answer waits.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends a frame, if an answer waits. Returns whether one does.
    #[inline]
    pub fn take_turn<D: Device>(&mut self, now: u64, around: (&Interface, &mut Link<D>)) -> bool {
        !self.waiting.is_empty() && self.send_next(now, around)
    }

    #[cold]
    fn send_next<D: Device>(&mut self, now: u64, (own, link): (&Interface, &mut Link<D>)) -> bool {
        let Some(waiting) = self.waiting.front_mut() else {
            return false;
        };
        let Some((token, software)) = link.frame(now) else {
            return true;
        };
        let packet = packet(waiting.to, waiting.station, waiting.head, &waiting.octets);
        let fragment = waiting.fragment.get_or_insert_with(|| {
            let identification = self.identifications.next();
            Progress {
                identification,
                sent: 0,
            }
        });
        // A short one has one fragment, which is the whole.
        if packet.send_fragment(token, own, software, fragment, self.payload_max)
            && let Some(gone) = self.waiting.pop_front()
        {
            self.waiting_octets -= gone.octets.len();
        }
        true
    }
}

impl<'a> Answer<'a> {
    /// An answer with this header, whose checksum is filled in.
    fn new((to, station): (Ipv4Addr, Station), mut head: [u8; HEAD], octets: &'a [u8]) -> Self {
        head[2..4].fill(0);
        let checksum = Sum::default().add(&head).add(octets).checksum();
        head[2..4].copy_from_slice(&checksum.to_be_bytes());
        Answer {
            to,
            station,
            head,
            octets,
        }
    }
}

fn packet(to: Ipv4Addr, station: Station, head: [u8; HEAD], octets: &[u8]) -> Outbound<'_> {
    Outbound {
        to,
        station,
        protocol: protocol::ICMP,
        head,
        octets,
    }
}

/// Whether the sender of a datagram may be told of an error. RFC 1122 §3.2.2 forbids it for an
/// error message, for what went to a group of hosts or stations, and for a fragment that is not the
/// first.
fn may_be_told(packet: &Packet<'_>, ip: &Ipv4) -> bool {
    let is_first = match &ip.payload {
        Payload::Fragment(fragment) => fragment.offset == 0,
        _ => true,
    };
    let kind = packet.payload(ip).first();
    let is_error = ip.protocol == protocol::ICMP && kind.is_none_or(|&kind| is_error(kind));
    ip.is_unicast && is_first && !is_error
}

/// Whether an ICMP message of this type is about another datagram.
const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}
