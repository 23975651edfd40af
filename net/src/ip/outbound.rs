//! IPv4 datagrams of UDP and ICMP, which are sent without smoltcp: in one frame, or in fragments (RFC
//! 791 §3.2).

use crate::ip::interface::{Interface, Local};
use crate::link::checksum::Sum;
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::phy::{ChecksumCapabilities, Ipv4Packet, TxToken};
use abi::socket::Ip;
use core::net::Ipv4Addr;

/// Octets of an IPv4 header without options.
pub(crate) const IPV4: usize = 20;
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
    #[inline]
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

    /// Sends the datagram in one frame.
    #[inline]
    pub fn send(
        &self,
        token: impl TxToken,
        own: &Interface,
        software: &ChecksumCapabilities,
        identification: u16,
    ) {
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

    /// Sends the next fragment, with at most `max` octets after the IPv4 header. Returns whether it was
    /// the last.
    pub fn send_fragment(
        &self,
        token: impl TxToken,
        own: &Interface,
        software: &ChecksumCapabilities,
        progress: &mut Progress,
        max: usize,
    ) -> bool {
        let offset = progress.sent;
        let left = self.len().saturating_sub(offset);
        // All but the last have a multiple of 8 octets (RFC 791 §3.1).
        let len = if left <= max { left } else { max & !7 };
        let headers = self.headers(own, software, len, *progress);
        let head = if offset == 0 { &self.head[..] } else { &[] };
        let start = offset.saturating_sub(HEAD);
        let octets = self.octets.get(start..start + len - head.len());
        token.consume(ETHERNET + IPV4 + len, |frame| {
            fill(frame, [&headers, head, octets.unwrap_or_default()]);
        });
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
