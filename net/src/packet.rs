//! A received frame, parsed once: all that comes after takes this form, and no field is read from
//! the octets again.
//!
//! What is parsed is refused here, too, with the reason that is counted ([`crate::verdict`]): what
//! is damaged, what no host may send (RFC 1122 §3.2.1.3, §4.2.3.10), and what is for nobody here.
//! IPv6 is recognized, and not served yet. Whose a packet is that was not refused is decided behind
//! this: smoltcp has no listeners, and finds a socket by asking all.

use crate::ip::arp::{self, ArpPacket};
use crate::ip::interface::Interface;
use crate::ip::outbound::IPV4;
use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::names::Tuple;
use crate::phy::{ChecksumCapabilities, TcpOption, TcpSeqNumber};
use crate::tcp::handshake::Offer;
use crate::verdict::DropReason;
use core::net::{Ipv4Addr, SocketAddrV4};

/// Octets of TCP's header without options.
const TCP: usize = 20;
/// Octets of an IPv6 header.
const IPV6: usize = 40;
/// Bits of TCP's octet of flags (RFC 9293 §3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A frame, and what its headers say.
#[derive(Clone, Copy)]
pub(crate) struct Packet<'f> {
    /// Its octets, padding included.
    pub frame: &'f [u8],
    pub headers: &'f Headers,
}

/// What the headers of a frame say: numbers, and places in the frame.
#[derive(Debug)]
pub(crate) struct Headers {
    /// The station that put the frame on the wire.
    pub station: Station,
    pub content: Content,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    Arp(ArpPacket),
    Ipv4(Ipv4),
}

/// An IPv4 datagram to this host, or to all, or a fragment of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// It came to this host's station and address, and to nobody else.
    pub is_unicast: bool,
    /// What it carries, by IANA's number ([`protocol`]).
    pub protocol: u8,
    /// Where in the frame that begins.
    pub start: usize,
    /// Where in the frame that ends; padding follows.
    pub end: usize,
    pub payload: Payload,
}

/// What an IPv4 datagram carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload {
    /// A TCP segment, to this host alone.
    Segment(Segment),
    /// A UDP datagram.
    Datagram(Datagram),
    /// A part of it, at whose headers nobody can look.
    Fragment(Fragment),
    /// Something else.
    Other,
}

/// What an IPv4 header says of a fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    /// It is the same in all fragments of a datagram.
    pub identification: u16,
    /// Where in the datagram its octets were.
    pub offset: usize,
    /// No other is behind it.
    pub is_last: bool,
}

/// A UDP datagram in a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    /// The sender.
    pub from: SocketAddrV4,
    /// The port it is for.
    pub port: u16,
    /// Where its data is in the frame.
    pub start: usize,
    /// And where that ends.
    pub end: usize,
}

/// A TCP segment's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Who put it on the wire.
    pub station: Station,
    /// Which connection it belongs to.
    pub tuple: Tuple,
    /// SEG.SEQ.
    pub seq: TcpSeqNumber,
    /// SEG.ACK, if the ACK bit is set.
    pub ack: Option<TcpSeqNumber>,
    /// The SYN bit.
    pub syn: bool,
    /// The FIN bit.
    pub fin: bool,
    /// The RST bit.
    pub rst: bool,
    /// No bit is set but ACK, and perhaps PSH.
    pub is_plain: bool,
    /// SEG.WND, as it stands there.
    pub window: u16,
    /// Where its data is in the frame, and octets of that.
    pub data: usize,
    pub len: usize,
    /// What a SYN says besides.
    pub options: SynOptions,
}

/// The options of a SYN that matter to the stack.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SynOptions {
    /// The peer's MSS (RFC 9293 §3.7.1).
    pub mss: Option<u16>,
    /// How far its windows are shifted (RFC 7323 §2.2).
    pub shift: Option<u8>,
    /// SACK may be sent to it (RFC 2018 §2).
    pub sack_permitted: bool,
}

impl<'f> Packet<'f> {
    /// An IPv4 datagram in this frame, from its header to its end.
    pub fn datagram(&self, ip: &Ipv4) -> &'f [u8] {
        self.frame.get(ETHERNET..ip.end).unwrap_or_default()
    }

    /// What an IPv4 datagram in this frame carries.
    pub fn payload(&self, ip: &Ipv4) -> &'f [u8] {
        self.frame.get(ip.start..ip.end).unwrap_or_default()
    }
}

impl Segment {
    /// Whether it asks for a new connection.
    pub fn opens(&self) -> bool {
        self.syn && self.ack.is_none() && !self.rst && !self.fin
    }

    /// What a SYN offers.
    pub fn offer(&self) -> Offer {
        Offer {
            window: self.window,
            mss: self.options.mss,
            shift: self.options.shift,
            sack_permitted: self.options.sack_permitted,
        }
    }

    /// The sequence number after its last octet.
    pub fn end(&self) -> TcpSeqNumber {
        self.seq + self.len + usize::from(self.fin) + usize::from(self.syn)
    }
}

/// Parses a frame's headers, and verifies the checksums that are software's job.
///
/// # Errors
/// Why the frame goes no further.
pub(crate) fn parse(
    frame: &[u8],
    own: &Interface,
    software: &ChecksumCapabilities,
) -> Result<Headers, DropReason> {
    let (to, station, kind, octets) = ethernet::parse(frame).ok_or(DropReason::Truncated)?;
    let to_me = to == own.station;
    if !to_me && !to.is_group() {
        return Err(DropReason::OtherStation);
    }
    if station.is_group() {
        return Err(DropReason::SourceStation);
    }
    let content = match kind {
        ethernet::IPV4 => Content::Ipv4(ipv4(octets, (station, to_me), own, software)?),
        ethernet::ARP => {
            let packet = octets.first_chunk::<{ arp::LEN }>();
            let packet = packet.ok_or(DropReason::Truncated)?;
            Content::Arp(ArpPacket::parse(packet).ok_or(DropReason::ArpFormat)?)
        }
        ethernet::IPV6 => return Err(ipv6(octets)),
        _ => return Err(DropReason::EtherType),
    };
    Ok(Headers { station, content })
}

/// Two octets of a header, in network order.
fn word<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// Four of them.
fn long<const N: usize>(header: &[u8; N], at: usize) -> [u8; 4] {
    [header[at], header[at + 1], header[at + 2], header[at + 3]]
}

#[inline(always)]
fn ipv4(
    octets: &[u8],
    (station, to_me): (Station, bool),
    own: &Interface,
    software: &ChecksumCapabilities,
) -> Result<Ipv4, DropReason> {
    let fixed = octets.first_chunk::<IPV4>().ok_or(DropReason::Truncated)?;
    let (header_len, len) = (usize::from(fixed[0] & 15) * 4, usize::from(word(fixed, 2)));
    if fixed[0] >> 4 != 4 || header_len < IPV4 || len < header_len {
        return Err(DropReason::IpHeader);
    }
    let datagram = octets.get(..len).ok_or(DropReason::Truncated)?;
    let (header, carried) = datagram.split_at(header_len);
    let source = Ipv4Addr::from(long(fixed, 12));
    let destination = Ipv4Addr::from(long(fixed, 16));
    if own.is_impossible_source(source) {
        return Err(DropReason::IpSource);
    }
    if software.ipv4.rx() && !Sum::default().add(header).is_right() {
        return Err(DropReason::IpChecksum);
    }
    let to_us = own.has(destination);
    let is_unicast = to_me && to_us;
    if !is_unicast {
        let everyone = own.is_everyone(destination);
        if to_us {
            return Err(DropReason::LinkBroadcast);
        } else if !everyone {
            return Err(DropReason::IpDestination);
        }
    }
    let (protocol, start) = (fixed[9], ETHERNET + header_len);
    let (part, ends) = (word(fixed, 6), (source, destination));
    let payload = match protocol {
        // More fragments, or an offset.
        _ if part & 0x3fff != 0 => Payload::Fragment(fragment(fixed, header_len, carried)?),
        protocol::TCP if is_unicast => {
            Payload::Segment(segment(carried, (station, start), ends, software)?)
        }
        protocol::TCP => return Err(DropReason::TcpBroadcast),
        protocol::UDP => Payload::Datagram(datagram_of(carried, start, ends, software)?),
        _ => Payload::Other,
    };
    Ok(Ipv4 {
        source,
        destination,
        is_unicast,
        protocol,
        start,
        end: ETHERNET + len,
        payload,
    })
}

/// Why an IPv6 packet goes no further (RFC 8200 §3).
#[cold]
fn ipv6(octets: &[u8]) -> DropReason {
    let Some((fixed, behind)) = octets.split_first_chunk::<IPV6>() else {
        return DropReason::Truncated;
    };
    match usize::from(word(fixed, 4)) {
        _ if fixed[0] >> 4 != 6 => DropReason::IpHeader,
        len if len > behind.len() => DropReason::Truncated,
        _ => DropReason::IpVersion,
    }
}

#[cold]
fn fragment(fixed: &[u8; IPV4], header_len: usize, carried: &[u8]) -> Result<Fragment, DropReason> {
    let part = word(fixed, 6);
    let offset = usize::from(part & 0x1fff) * 8;
    let is_last = part & 0x2000 == 0;
    // All but the last are whole blocks of 8 octets; none is behind the longest datagram.
    let blocks = is_last || carried.len().is_multiple_of(8);
    let fits = header_len + offset + carried.len() <= usize::from(u16::MAX);
    match blocks && fits && !carried.is_empty() {
        true => Ok(Fragment {
            identification: word(fixed, 4),
            offset,
            is_last,
        }),
        false => Err(DropReason::FragmentInvalid),
    }
}

/// `start`: where the datagram begins in its frame.
#[inline(always)]
fn datagram_of(
    octets: &[u8],
    start: usize,
    ends: (Ipv4Addr, Ipv4Addr),
    software: &ChecksumCapabilities,
) -> Result<Datagram, DropReason> {
    let header = octets.first_chunk::<8>().ok_or(DropReason::UdpLength)?;
    let len = usize::from(word(header, 4));
    let datagram = octets.get(..len).filter(|_| len >= header.len());
    let datagram = datagram.ok_or(DropReason::UdpLength)?;
    // 0: it has none (RFC 768).
    let is_summed = software.udp.rx() && word(header, 6) != 0;
    if is_summed && !sum(ends, protocol::UDP, datagram).is_right() {
        return Err(DropReason::UdpChecksum);
    }
    Ok(Datagram {
        from: SocketAddrV4::new(ends.0, word(header, 0)),
        port: word(header, 2),
        start: start + header.len(),
        end: start + len,
    })
}

/// `start`: where the segment begins in its frame.
#[inline(always)]
fn segment(
    octets: &[u8],
    (station, start): (Station, usize),
    ends: (Ipv4Addr, Ipv4Addr),
    software: &ChecksumCapabilities,
) -> Result<Segment, DropReason> {
    let fixed = octets.first_chunk::<TCP>().ok_or(DropReason::TcpHeader)?;
    let [offset, flags] = [fixed[12], fixed[13]];
    let header_len = usize::from(offset >> 4) * 4;
    if !(TCP..=octets.len()).contains(&header_len) {
        return Err(DropReason::TcpHeader);
    }
    if software.tcp.rx() && !sum(ends, protocol::TCP, octets).is_right() {
        return Err(DropReason::TcpChecksum);
    }
    let (peer, port) = (word(fixed, 0), word(fixed, 2));
    if peer == 0 || port == 0 {
        return Err(DropReason::TcpPort);
    }
    let number = |at| TcpSeqNumber(i32::from_be_bytes(long(fixed, at)));
    let has = |flag: u8| flags & flag != 0;
    let options = match header_len {
        TCP => Some(SynOptions::default()),
        _ => options(&octets[TCP..header_len], has(SYN)),
    };
    Ok(Segment {
        station,
        tuple: Tuple {
            port,
            peer: SocketAddrV4::new(ends.0, peer),
        },
        seq: number(4),
        ack: has(ACK).then(|| number(8)),
        syn: has(SYN),
        fin: has(FIN),
        rst: has(RST),
        // The other half of the length's octet is reserved.
        is_plain: flags & !PSH == ACK && offset & 15 == 0,
        window: word(fixed, 14),
        data: start + header_len,
        len: octets.len() - header_len,
        options: options.ok_or(DropReason::TcpOptions)?,
    })
}

/// Goes through TCP's options. `None` if they are malformed.
#[cold]
fn options(mut octets: &[u8], syn: bool) -> Option<SynOptions> {
    let mut found = SynOptions::default();
    while !octets.is_empty() {
        let (rest, option) = TcpOption::parse(octets).ok()?;
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(mss) if syn => found.mss = Some(mss),
            TcpOption::WindowScale(shift) if syn => found.shift = Some(shift),
            TcpOption::SackPermitted if syn => found.sack_permitted = true,
            _ => {}
        }
        octets = rest;
    }
    Some(found)
}

/// The sum over a segment or datagram between two hosts, with its pseudo header.
fn sum(ends: (Ipv4Addr, Ipv4Addr), protocol: u8, octets: &[u8]) -> Sum {
    Sum::default()
        .pseudo(ends.0, ends.1, protocol, octets.len())
        .add(octets)
}

#[cfg(test)]
mod tests;
