//! ICMP (RFC 792, RFC 1122 §3.2.2): echo requests are answered, and errors are reported for datagrams
//! that nobody takes. TCP is told of segments that were too big for their path. Other messages are only
//! counted.
//!
//! smoltcp has no part in it: it would quote a header that it made itself instead of the received one,
//! and answer no echo request that is longer than its buffer. An answer that fits a frame is sent at
//! once, to the station that the request came from. Longer answers wait here and are sent in fragments,
//! one in each turn.

use crate::counters::counters;
use crate::ip::identification::Identifications;
use crate::ip::interface::{Interface, Local};
use crate::ip::outbound::{HEAD, IPV4, Outbound, Progress};
use crate::ip::protocol;
use crate::link::Link;
use crate::link::checksum::Sum;
use crate::link::ethernet::{ETHERNET, IPV6_HEADER, Station};
use crate::pace::Quota;
use crate::packet::{IpPacket, Packet, Payload};
use crate::phy::{ChecksumCapabilities, Device, TxToken};
use crate::secret::{Purpose, Secret};
use crate::tcp::path_mtu::TooBig;
use crate::verdict::DropReason;
use abi::socket::Ip;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The most answers that wait, and their octets: enough for two of the longest.
const WAITING_MAX: usize = 16;
const OCTETS_MAX: usize = 128 << 10;
/// The most octets of an error message with its IPv4 header (RFC 1812 §4.3.2.3).
const ERROR_MAX: usize = 576;
/// The same with its IPv6 header (RFC 4443 §2.4 (c)).
const ERROR_MAX_V6: usize = 1280;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
/// The code of [`UNREACHABLE`] for "fragmentation needed and DF set" (RFC 1191 §4).
const TOO_BIG: u8 = 4;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// The types of ICMPv6 (RFC 4443 §2.1). Those below 128 are errors.
const UNREACHABLE_V6: u8 = 1;
const TOO_BIG_V6: u8 = 2;
const TIME_EXCEEDED_V6: u8 = 3;
const PARAMETER_PROBLEM_V6: u8 = 4;
const INFORMATIONAL_V6: u8 = 128;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const REDIRECT_V6: u8 = 137;

/// An error that the sender of a datagram is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// This host has no such protocol.
    ProtocolUnreachable,
    /// No program has the port.
    PortUnreachable,
    /// Its other fragments did not arrive in time.
    ReassemblyTimeout,
}

impl Report {
    /// ICMP's type and code.
    const fn kind(self, is_v4: bool) -> [u8; 2] {
        match (self, is_v4) {
            (Report::ProtocolUnreachable, true) => [UNREACHABLE, 2],
            (Report::PortUnreachable, true) => [UNREACHABLE, 3],
            (Report::ReassemblyTimeout, true) => [TIME_EXCEEDED, 1],
            (Report::ProtocolUnreachable, false) => [PARAMETER_PROBLEM_V6, 1],
            (Report::PortUnreachable, false) => [UNREACHABLE_V6, 4],
            (Report::ReassemblyTimeout, false) => [TIME_EXCEEDED_V6, 1],
        }
    }
}

counters! {
    /// Events, counted since the start.
    IcmpCounters {
        /// Echo requests that were answered, or will be.
        echoes = "icmp_echoes",
        /// Error messages that were sent, or will be.
        errors = "icmp_errors",
        /// Error messages that the RFCs forbid to send (RFC 1122 §3.2.2).
        errors_withheld = "icmp_errors_withheld",
        /// Error messages that were not sent, since there were too many.
        errors_limited = "icmp_errors_limited",
        /// Error messages that were not sent, since there was no room for them to wait.
        errors_lost = "icmp_errors_lost",
    }
}

/// An answer that waits to be sent.
struct Waiting {
    to: Ip,
    local: Local,
    station: Station,
    head: [u8; HEAD],
    octets: Vec<u8>,
    /// How much of it was sent.
    progress: Option<Progress>,
}

/// The answers that wait to be sent, and the limit for error messages.
pub(crate) struct Icmp {
    waiting: VecDeque<Waiting>,
    waiting_octets: usize,
    /// Octets in a frame behind the Ethernet header.
    packet_max: usize,
    identifications: Identifications,
    /// Limits the rate of error messages (RFC 1812 §4.3.2.8).
    errors: Quota,
    pub counters: IcmpCounters,
}

impl Icmp {
    pub fn new(frame_max: usize, secret: &Secret) -> Self {
        Icmp {
            waiting: VecDeque::new(),
            waiting_octets: 0,
            packet_max: frame_max.saturating_sub(ETHERNET),
            identifications: Identifications::new(secret.key(Purpose::IcmpIdentification)),
            errors: Quota::new(secret.key(Purpose::IcmpErrors)),
            counters: IcmpCounters::default(),
        }
    }

    /// Sends an error message to the sender of a datagram, if the RFCs allow it. The datagram is quoted
    /// as it was received.
    #[cold]
    pub fn report<T: TxToken>(
        &mut self,
        report: Report,
        packet: &Packet<'_>,
        ip: &IpPacket,
        reply: Option<T>,
        own: &Interface,
        now: u64,
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
        let most = match ip.source.is_v4() {
            true => ERROR_MAX - IPV4 - HEAD,
            false => ERROR_MAX_V6 - IPV6_HEADER - HEAD,
        };
        let octets = datagram.get(..most).unwrap_or(datagram);
        let [kind, code] = report.kind(ip.source.is_v4());
        let head = [kind, code, 0, 0, 0, 0, 0, 0];
        match self.answer(packet, ip, head, octets, reply, own) {
            Ok(()) => self.counters.errors += 1,
            Err(_) => self.counters.errors_lost += 1,
        }
    }

    /// Processes a received message. Returns the segment that was too big, if the message is about one:
    /// TCP decides whether to believe that.
    ///
    /// # Errors
    /// The reason why the message is dropped.
    #[cold]
    pub fn receive<T: TxToken>(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        reply: T,
        own: &Interface,
    ) -> Result<Option<TooBig>, DropReason> {
        let message = packet.payload(ip);
        let (&head, octets) = message
            .split_first_chunk::<HEAD>()
            .ok_or(DropReason::IcmpLength)?;
        if !pseudo(ip.source, ip.destination, message.len())
            .add(message)
            .is_right()
        {
            return Err(DropReason::IcmpChecksum);
        }
        if !ip.source.is_v4() {
            return self.receive_v6(packet, ip, (head, octets), reply, own);
        }
        match head {
            [ECHO_REQUEST, 0, ..] if !ip.is_unicast => Err(DropReason::IcmpBroadcast),
            [ECHO_REQUEST, 0, _, _, a, b, c, d] => {
                let head = [ECHO_REPLY, 0, 0, 0, a, b, c, d];
                self.answer(packet, ip, head, octets, Some(reply), own)?;
                self.counters.echoes += 1;
                Ok(None)
            }
            [UNREACHABLE, TOO_BIG, _, _, _, _, high, low] => {
                let mtu = u16::from_be_bytes([high, low]);
                let too_big = TooBig::parse(octets, mtu, own);
                too_big.map(Some).ok_or(DropReason::IcmpError)
            }
            [kind, ..] if is_error(kind) => Err(DropReason::IcmpError),
            _ => Err(DropReason::IcmpType),
        }
    }

    /// The same of ICMPv6, whose checksum is right. Neighbour discovery has taken its messages before.
    fn receive_v6<T: TxToken>(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        (head, octets): ([u8; HEAD], &[u8]),
        reply: T,
        own: &Interface,
    ) -> Result<Option<TooBig>, DropReason> {
        match head {
            // Requests to a group are answered, too (RFC 4443 §4.2), but not those of nobody.
            [ECHO_REQUEST_V6, 0, ..] if ip.source == Ip::UNSPECIFIED => Err(DropReason::IpSource),
            [ECHO_REQUEST_V6, 0, _, _, a, b, c, d] => {
                let head = [ECHO_REPLY_V6, 0, 0, 0, a, b, c, d];
                self.answer(packet, ip, head, octets, Some(reply), own)?;
                self.counters.echoes += 1;
                Ok(None)
            }
            [TOO_BIG_V6, _, _, _, mtu @ ..] => {
                let mtu = u32::from_be_bytes(mtu).min(u16::MAX.into()) as u16;
                let too_big = TooBig::parse_v6(octets, mtu, own);
                too_big.map(Some).ok_or(DropReason::IcmpError)
            }
            [kind, ..] if kind < INFORMATIONAL_V6 => Err(DropReason::IcmpError),
            _ => Err(DropReason::IcmpType),
        }
    }

    /// Answers a packet, at once if that is possible. `head`: the ICMP header with 0 for the checksum.
    fn answer<T: TxToken>(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        mut head: [u8; HEAD],
        octets: &[u8],
        reply: Option<T>,
        own: &Interface,
    ) -> Result<(), DropReason> {
        let checksum = pseudo(own.address_of(ip.local), ip.source, HEAD + octets.len())
            .add(&head)
            .add(octets);
        let checksum = checksum.checksum();
        head[2..4].copy_from_slice(&checksum.to_be_bytes());
        let (to, local, station) = (ip.source, ip.local, packet.headers.station);
        if let Some(token) = reply
            && Outbound::fits(&to, octets.len(), self.packet_max)
        {
            let answer = outbound((to, local), station, head, octets);
            // The token fills in the checksum of the IPv4 header.
            let software = ChecksumCapabilities::ignored();
            answer.send(token, own, &software, self.identifications.next());
            return Ok(());
        }
        let waiting_octets = self.waiting_octets + octets.len();
        if self.waiting.len() >= WAITING_MAX || waiting_octets > OCTETS_MAX {
            return Err(DropReason::NoRoomForReply);
        }
        self.waiting_octets = waiting_octets;
        self.waiting.push_back(Waiting {
            to,
            local,
            station,
            head,
            octets: octets.to_vec(),
            progress: None,
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

    /// Sends one frame, if an answer waits. Returns whether one does.
    #[inline]
    pub fn take_turn<D: Device>(&mut self, now: u64, own: &Interface, link: &mut Link<D>) -> bool {
        !self.waiting.is_empty() && self.send_next(now, own, link)
    }

    #[cold]
    fn send_next<D: Device>(&mut self, now: u64, own: &Interface, link: &mut Link<D>) -> bool {
        let Some(waiting) = self.waiting.front_mut() else {
            return false;
        };
        let Some((token, software)) = link.transmit_bare(now) else {
            return true;
        };
        let answer = outbound(
            (waiting.to, waiting.local),
            waiting.station,
            waiting.head,
            &waiting.octets,
        );
        let progress = waiting
            .progress
            .get_or_insert_with(|| self.identifications.begin());
        // A short answer leaves whole. Of IPv4, that is a datagram of one fragment.
        if Outbound::fits(&waiting.to, waiting.octets.len(), self.packet_max) && !waiting.to.is_v4()
        {
            answer.send(token, own, software, 0);
            if let Some(sent) = self.waiting.pop_front() {
                self.waiting_octets -= sent.octets.len();
            }
            return true;
        }
        if answer.send_fragment(token, own, software, progress, self.packet_max)
            && let Some(sent) = self.waiting.pop_front()
        {
            self.waiting_octets -= sent.octets.len();
        }
        true
    }
}

fn outbound(
    (to, local): (Ip, Local),
    station: Station,
    head: [u8; HEAD],
    octets: &[u8],
) -> Outbound<'_> {
    Outbound {
        to,
        local,
        station,
        protocol: match to.is_v4() {
            true => protocol::ICMP,
            false => protocol::ICMPV6,
        },
        head,
        octets,
    }
}

/// The sum that the checksum of `len` octets of ICMP begins with: ICMPv6 has a pseudo header (RFC 4443
/// §2.3).
pub(crate) fn pseudo(from: Ip, to: Ip, len: usize) -> Sum {
    match to.is_v4() {
        true => Sum::default(),
        false => Sum::default().pseudo_ip(from, to, protocol::ICMPV6, len),
    }
}

/// Whether an error may be reported for a datagram. RFC 1122 §3.2.2 forbids it for an ICMP error
/// message, for a datagram to a multicast or broadcast address, and for a fragment that is not the
/// first.
fn may_be_told(packet: &Packet<'_>, ip: &IpPacket) -> bool {
    let is_first = match &ip.payload {
        Payload::Fragment(fragment) => fragment.offset == 0,
        _ => true,
    };
    let kind = packet.payload(ip).first();
    let is_error = match ip.protocol {
        protocol::ICMP => kind.is_none_or(|&kind| is_error(kind)),
        // Redirects, too (RFC 4443 §2.4 (e)).
        protocol::ICMPV6 => kind.is_none_or(|&kind| kind < INFORMATIONAL_V6 || kind == REDIRECT_V6),
        _ => false,
    };
    ip.is_unicast && is_first && !is_error && ip.source != Ip::UNSPECIFIED
}

/// Whether an ICMP message of this type is an error message.
const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}
