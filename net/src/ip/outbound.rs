//! Datagrams of UDP and ICMP, which are sent without smoltcp: in one frame, or in fragments (RFC 791
//! §3.2, RFC 8200 §4.5).

use crate::ip::interface::{Interface, Local};
use crate::link::checksum::Sum;
use crate::link::ethernet::{self, ETHERNET, IPV6_HEADER, Station};
use crate::phy::{ChecksumCapabilities, Ipv4Packet, TxToken};
use abi::socket::Ip;
use core::net::Ipv4Addr;

/// Octets of an IPv4 header without options.
pub(crate) const IPV4: usize = 20;
/// Octets of an IPv6 fragment header, and its number as a next header (RFC 8200 §4.5).
const FRAGMENT_HEADER: usize = 8;
const FRAGMENT: u8 = 44;
/// Octets of the longest headers of a frame of IPv6.
const HEADERS_V6: usize = ETHERNET + IPV6_HEADER + FRAGMENT_HEADER;
/// Octets of a UDP or ICMP header, which have the same length.
pub(crate) const HEAD: usize = 8;
/// The most octets of data after both headers of a datagram.
pub(crate) const DATA_MAX: usize = u16::MAX as usize - IPV4 - HEAD;

/// A datagram to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Outbound<'a> {
    pub to: Ip,
    /// Which of our addresses it comes from.
    pub local: Local,
    /// The station of the next hop.
    pub station: Station,
    /// IANA's number of the protocol ([`crate::ip::protocol`]).
    pub protocol: u8,
    /// The UDP or ICMP header, with its checksum.
    pub head: [u8; HEAD],
    pub octets: &'a [u8],
}

/// How much of a datagram was sent in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The identification of all its fragments.
    pub identification: u16,
    /// How many octets after the IPv4 header were sent.
    pub sent: usize,
}

impl Outbound<'_> {
    fn len(&self) -> usize {
        HEAD + self.octets.len()
    }

    /// The Ethernet and IPv4 headers of a frame with the next `len` octets of the datagram.
    ///
    /// DF is 0, so that routers may fragment the datagram: unlike TCP (RFC 1191 §3), nobody here would
    /// make it shorter if it were too long for a network on the way. So each datagram has an
    /// identification of its own (RFC 6864 §4.3).
    #[inline(always)]
    fn headers(
        &self,
        own: &Interface,
        software: &ChecksumCapabilities,
        len: usize,
        progress: Progress,
    ) -> [u8; ETHERNET + IPV4] {
        let mut headers = [0; ETHERNET + IPV4];
        let (ethernet, ipv4) = headers.split_at_mut(ETHERNET);
        ethernet.copy_from_slice(&own.station.header(self.station, ethernet::IPV4));
        let mut ip = Ipv4Packet::new_unchecked(&mut *ipv4);
        ip.set_version(4);
        ip.set_header_len(IPV4 as u8);
        ip.set_total_len((IPV4 + len) as u16);
        ip.set_ident(progress.identification);
        ip.set_frag_offset(progress.sent as u16);
        ip.set_more_frags(progress.sent + len < self.len());
        ip.set_hop_limit(64);
        ip.set_next_header(self.protocol.into());
        let v4 = |ip: Ip| ip.as_v4().unwrap_or(Ipv4Addr::UNSPECIFIED);
        ip.set_src_addr(v4(own.address_of(self.local)));
        ip.set_dst_addr(v4(self.to));
        if software.ipv4.tx() {
            let checksum = Sum::default().add(ipv4).checksum();
            Ipv4Packet::new_unchecked(ipv4).set_checksum(checksum);
        }
        headers
    }

    /// The same of IPv6, with a fragment header if the datagram leaves in fragments (RFC 8200 §3, §4.5),
    /// and how many octets they are.
    #[inline(never)]
    fn headers_v6(
        &self,
        own: &Interface,
        len: usize,
        fragment: Option<Progress>,
    ) -> ([u8; HEADERS_V6], usize) {
        let mut headers = [0; HEADERS_V6];
        let extension = if fragment.is_some() {
            FRAGMENT_HEADER
        } else {
            0
        };
        let next = match fragment {
            Some(_) => FRAGMENT,
            None => self.protocol,
        };
        headers[..ETHERNET].copy_from_slice(&own.station.header(self.station, ethernet::IPV6));
        let ip = &mut headers[ETHERNET..];
        ip[0] = 6 << 4;
        ip[4..6].copy_from_slice(&((extension + len) as u16).to_be_bytes());
        (ip[6], ip[7]) = (next, 64);
        ip[8..24].copy_from_slice(&own.address_of(self.local).0);
        ip[24..IPV6_HEADER].copy_from_slice(&self.to.0);
        if let Some(progress) = fragment {
            let has_more = progress.sent + len < self.len();
            let part = progress.sent as u16 | u16::from(has_more);
            ip[IPV6_HEADER] = self.protocol;
            ip[IPV6_HEADER + 2..IPV6_HEADER + 4].copy_from_slice(&part.to_be_bytes());
            let identification = u32::from(progress.identification);
            ip[IPV6_HEADER + 4..].copy_from_slice(&identification.to_be_bytes());
        }
        (headers, ETHERNET + IPV6_HEADER + extension)
    }

    /// Whether it fits a frame in which there is room for `packet_max` octets behind the Ethernet header.
    #[inline]
    pub fn fits(to: &Ip, len: usize, packet_max: usize) -> bool {
        let header = match to.is_v4() {
            true => IPV4,
            false => IPV6_HEADER,
        };
        header + HEAD + len <= packet_max
    }

    /// Sends the datagram in one frame.
    #[inline(always)]
    pub fn send(
        &self,
        token: impl TxToken,
        own: &Interface,
        software: &ChecksumCapabilities,
        identification: u16,
    ) {
        if !self.to.is_v4() {
            return self.send_v6(token, own);
        }
        let sent = 0;
        let whole = Progress {
            identification,
            sent,
        };
        let headers = self.headers(own, software, self.len(), whole);
        token.consume(ETHERNET + IPV4 + self.len(), |frame| {
            fill(frame, [&headers, &self.head, self.octets]);
        });
    }

    #[inline(never)]
    fn send_v6(&self, token: impl TxToken, own: &Interface) {
        let (headers, len) = self.headers_v6(own, self.len(), None);
        token.consume(len + self.len(), |frame| {
            fill(frame, [&headers[..len], &self.head, self.octets]);
        });
    }

    /// Sends the next fragment, with at most `packet_max` octets behind the Ethernet header. Returns
    /// whether it was the last.
    pub fn send_fragment(
        &self,
        token: impl TxToken,
        own: &Interface,
        software: &ChecksumCapabilities,
        progress: &mut Progress,
        packet_max: usize,
    ) -> bool {
        let is_v4 = self.to.is_v4();
        let headers_len = if is_v4 {
            IPV4
        } else {
            IPV6_HEADER + FRAGMENT_HEADER
        };
        let max = packet_max.saturating_sub(headers_len);
        let offset = progress.sent;
        let left = self.len().saturating_sub(offset);
        // All but the last have a multiple of 8 octets (RFC 791 §3.1, RFC 8200 §4.5).
        let len = if left <= max { left } else { max & !7 };
        let head = if offset == 0 { &self.head[..] } else { &[] };
        let start = offset.saturating_sub(HEAD);
        let octets = self.octets.get(start..start + len - head.len());
        let octets = octets.unwrap_or_default();
        match is_v4 {
            true => {
                let headers = self.headers(own, software, len, *progress);
                token.consume(ETHERNET + IPV4 + len, |frame| {
                    fill(frame, [&headers, head, octets]);
                });
            }
            false => {
                let (headers, headers_len) = self.headers_v6(own, len, Some(*progress));
                token.consume(headers_len + len, |frame| {
                    fill(frame, [&headers[..headers_len], head, octets]);
                });
            }
        }
        progress.sent = offset + len;
        len == left
    }
}

/// Writes these pieces into a frame, one after the other.
#[inline]
fn fill(mut frame: &mut [u8], pieces: [&[u8]; 3]) {
    for piece in pieces {
        // A card that has no buffer of this length gives a shorter one, and loses the frame.
        let Some((place, behind)) = frame.split_at_mut_checked(piece.len()) else {
            return;
        };
        place.copy_from_slice(piece);
        frame = behind;
    }
}
