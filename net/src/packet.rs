//! Parses received frames. Each frame is parsed once, and everything that follows takes the result.
//!
//! A frame is dropped here if it is damaged, if no host may send it (RFC 1122 §3.2.1.3, §4.2.3.10), or
//! if it is not for this host. The reason is returned and counted ([`crate::verdict`]).

mod v6;

use crate::ip::arp::{self, ArpPacket};
use crate::ip::interface::{Interface, Local};
use crate::ip::outbound::IPV4;
use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::names::Tuple;
use crate::phy::{ChecksumCapabilities, TcpOption, TcpSeqNumber};
use crate::tcp::handshake::Offer;
use crate::verdict::DropReason;
use abi::socket::{Address, Ip};
use core::net::Ipv4Addr;

/// Octets of TCP's header without options.
const TCP: usize = 20;
/// Bits of TCP's octet of flags (RFC 9293 §3.1).
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// A received frame and its parsed headers.
#[derive(Clone, Copy)]
pub(crate) struct Packet<'f> {
    /// The octets of the frame, padding included.
    pub frame: &'f [u8],
    pub headers: &'f Headers,
}

/// The parsed headers of a frame. Places are offsets in the frame.
#[derive(Debug)]
pub(crate) struct Headers {
    /// The source of the frame.
    pub station: Station,
    pub content: Content,
}

/// The contents of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    Arp(ArpPacket),
    Ip(IpPacket),
}

/// An IP datagram to this host or to a broadcast address, or a fragment of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpPacket {
    pub source: Ip,
    pub destination: Ip,
    /// Which of our addresses answers it: the one that it was sent to.
    pub local: Local,
    /// Whether both the station and the address that it was sent to are ours.
    pub is_unicast: bool,
    /// IANA's number of the protocol that it carries ([`protocol`]).
    pub protocol: u8,
    /// Where the octets after the IP header begin.
    pub start: usize,
    /// Where they end; padding may follow.
    pub end: usize,
    pub payload: Payload,
}

/// The contents of an IP datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload {
    /// A TCP segment, which was sent to this host alone.
    Segment(Segment),
    /// A UDP datagram.
    Datagram(Datagram),
    /// A fragment, whose contents cannot be parsed yet.
    Fragment(Fragment),
    /// Another protocol.
    Other,
}

/// A fragment, from its IPv4 header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    /// The same number in all fragments of a datagram.
    pub identification: u32,
    /// Offset of its octets in the datagram.
    pub offset: usize,
    /// Whether it is the end of the datagram.
    pub is_last: bool,
    /// Where the headers end that each fragment of the datagram has.
    pub headers: usize,
    /// Of IPv6: where the field is that names the fragment header.
    pub next_header: usize,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    /// The sender.
    pub from: Address,
    /// The destination port.
    pub port: u16,
    /// Where its data begins in the frame, and where it ends.
    pub start: usize,
    pub end: usize,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// The source of its frame.
    pub station: Station,
    /// The ends of its connection.
    pub tuple: Tuple,
    /// SEG.SEQ.
    pub seq: TcpSeqNumber,
    /// SEG.ACK, if the ACK bit is set.
    pub ack: Option<TcpSeqNumber>,
    /// These bits of the header.
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// Whether ACK is set and no other bit but PSH.
    pub is_plain: bool,
    /// SEG.WND as it stands in the header, not scaled.
    pub window: u16,
    /// Where its data begins in the frame, and how many octets it has.
    pub data: usize,
    pub len: usize,
    /// The options of a SYN; none if SYN is not set.
    pub options: SynOptions,
}

/// The options of a SYN that the stack uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SynOptions {
    /// The peer's MSS (RFC 9293 §3.7.1).
    pub mss: Option<u16>,
    /// By how many bits its windows are shifted (RFC 7323 §2.2).
    pub shift: Option<u8>,
    /// Whether selective acknowledgements may be sent to it (RFC 2018 §2).
    pub sack_permitted: bool,
}

impl<'f> Packet<'f> {
    /// The octets of an IP datagram in this frame, with its header.
    pub fn datagram(&self, ip: &IpPacket) -> &'f [u8] {
        self.frame.get(ETHERNET..ip.end).unwrap_or_default()
    }

    /// The octets after the header of an IP datagram in this frame.
    pub fn payload(&self, ip: &IpPacket) -> &'f [u8] {
        self.frame.get(ip.start..ip.end).unwrap_or_default()
    }
}

impl Segment {
    /// Whether it is a SYN that begins a connection.
    pub fn opens(&self) -> bool {
        self.syn && self.ack.is_none() && !self.rst && !self.fin
    }

    /// The offer of a SYN.
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

/// Parses the headers of a frame, and verifies the checksums that are software's job.
///
/// # Errors
/// The reason why the frame is dropped.
pub(crate) fn parse(
    frame: &[u8],
    own: &Interface,
    software: &ChecksumCapabilities,
) -> Result<Headers, DropReason> {
    let ethernet::Frame {
        destination,
        source: station,
        ethertype,
        packet: octets,
    } = ethernet::parse(frame).ok_or(DropReason::Truncated)?;
    let to_me = destination == own.station;
    if !to_me && !destination.is_group() {
        return Err(DropReason::OtherStation);
    }
    if station.is_group() {
        return Err(DropReason::SourceStation);
    }
    let content = match ethertype {
        ethernet::IPV4 => Content::Ip(ipv4(octets, station, to_me, own, software)?),
        ethernet::ARP => {
            let packet = octets.first_chunk::<{ arp::LEN }>();
            let packet = packet.ok_or(DropReason::Truncated)?;
            Content::Arp(ArpPacket::parse(packet).ok_or(DropReason::ArpFormat)?)
        }
        ethernet::IPV6 => Content::Ip(v6::parse(octets, station, to_me, own, software)?),
        _ => return Err(DropReason::EtherType),
    };
    Ok(Headers { station, content })
}

/// The 16-bit field at this offset of a header.
fn word<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// The four octets at this offset of a header.
fn long<const N: usize>(header: &[u8; N], at: usize) -> [u8; 4] {
    [header[at], header[at + 1], header[at + 2], header[at + 3]]
}

#[inline(always)]
fn ipv4(
    octets: &[u8],
    station: Station,
    to_me: bool,
    own: &Interface,
    software: &ChecksumCapabilities,
) -> Result<IpPacket, DropReason> {
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
    let ends = Ends {
        source: Ip::v4(source),
        destination: Ip::v4(destination),
        local: Local::IPV4,
    };
    let part = word(fixed, 6);
    let payload = match protocol {
        // MF is set, or there is an offset.
        _ if part & 0x3fff != 0 => Payload::Fragment(fragment(fixed, header_len, carried)?),
        protocol::TCP if is_unicast => {
            Payload::Segment(segment(carried, station, start, &ends, software)?)
        }
        protocol::TCP => return Err(DropReason::TcpBroadcast),
        protocol::UDP => Payload::Datagram(datagram_of(carried, start, &ends, software)?),
        _ => Payload::Other,
    };
    Ok(IpPacket {
        source: ends.source,
        destination: ends.destination,
        local: ends.local,
        is_unicast,
        protocol,
        start,
        end: ETHERNET + len,
        payload,
    })
}

#[cold]
fn fragment(fixed: &[u8; IPV4], header_len: usize, carried: &[u8]) -> Result<Fragment, DropReason> {
    let part = word(fixed, 6);
    let offset = usize::from(part & 0x1fff) * 8;
    let is_last = part & 0x2000 == 0;
    // All fragments but the last have a multiple of 8 octets. None lies behind the end of the longest
    // datagram.
    let blocks = is_last || carried.len().is_multiple_of(8);
    let fits = header_len + offset + carried.len() <= usize::from(u16::MAX);
    match blocks && fits && !carried.is_empty() {
        true => Ok(Fragment {
            identification: word(fixed, 4).into(),
            offset,
            is_last,
            headers: ETHERNET + header_len,
            next_header: 0,
        }),
        false => Err(DropReason::FragmentInvalid),
    }
}

/// The ends of an IP datagram.
struct Ends {
    source: Ip,
    destination: Ip,
    /// Which of our addresses the destination is.
    local: Local,
}

/// Parses a UDP datagram, which begins at `start` in its frame.
#[inline(always)]
fn datagram_of(
    octets: &[u8],
    start: usize,
    ends: &Ends,
    software: &ChecksumCapabilities,
) -> Result<Datagram, DropReason> {
    let header = octets.first_chunk::<8>().ok_or(DropReason::UdpLength)?;
    let len = usize::from(word(header, 4));
    let datagram = octets.get(..len).filter(|_| len >= header.len());
    let datagram = datagram.ok_or(DropReason::UdpLength)?;
    // 0 means that there is no checksum (RFC 768). IPv6 does not allow that (RFC 8200 §8.1).
    let is_summed = software.udp.rx() && (word(header, 6) != 0 || !ends.source.is_v4());
    if is_summed && !sum(ends, protocol::UDP, datagram).is_right() {
        return Err(DropReason::UdpChecksum);
    }
    Ok(Datagram {
        from: Address {
            ip: ends.source,
            port: word(header, 0),
        },
        port: word(header, 2),
        start: start + header.len(),
        end: start + len,
    })
}

/// Parses a TCP segment, which begins at `start` in its frame.
#[inline(always)]
fn segment(
    octets: &[u8],
    station: Station,
    start: usize,
    ends: &Ends,
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
            local: ends.local,
            peer: Address {
                ip: ends.source,
                port: peer,
            },
        },
        seq: number(4),
        ack: has(ACK).then(|| number(8)),
        syn: has(SYN),
        fin: has(FIN),
        rst: has(RST),
        // The low half of the octet with the header length is reserved.
        is_plain: flags & !PSH == ACK && offset & 15 == 0,
        window: word(fixed, 14),
        data: start + header_len,
        len: octets.len() - header_len,
        options: options.ok_or(DropReason::TcpOptions)?,
    })
}

/// Parses the TCP options. `None` if they are malformed.
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

/// The sum over a segment or datagram with its pseudo header.
fn sum(ends: &Ends, protocol: u8, octets: &[u8]) -> Sum {
    Sum::default()
        .pseudo_ip(ends.source, ends.destination, protocol, octets.len())
        .add(octets)
}

#[cfg(test)]
mod tests;
