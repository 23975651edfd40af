//! IPv4 datagrams that leave without smoltcp, UDP's and ICMP's: as one frame, or in
//! fragments (RFC 791 §3.2).

use crate::ip::interface::Interface;
use crate::link::checksum::Sum;
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::phy::{ChecksumCapabilities, Ipv4Packet, TxToken};
use core::net::Ipv4Addr;

/// Octets of an IPv4 header without options.
pub(crate) const IPV4: usize = 20;
/// Octets of the header behind it: UDP's and ICMP's are of the same length.
pub(crate) const HEAD: usize = 8;
/// The most data that a datagram has behind both headers.
pub(crate) const DATA_MAX: usize = u16::MAX as usize - IPV4 - HEAD;

/// A datagram, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Outbound<'a> {
    pub to: Ipv4Addr,
    /// The station that has or passes it on.
    pub station: Station,
    /// See [`crate::ip::protocol`].
    pub protocol: u8,
    /// UDP's or ICMP's header, with its checksum.
    pub head: [u8; HEAD],
    pub octets: &'a [u8],
}

/// How much was sent of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Tells its fragments from others'.
    pub identification: u16,
    /// Octets behind the IPv4 header that were sent.
    pub sent: usize,
}

impl Outbound<'_> {
    fn len(&self) -> usize {
        HEAD + self.octets.len()
    }

    /// The headers of a frame with `len` octets behind them, at an offset of the datagram if
    /// it is a fragment.
    ///
    /// Routers may fragment it (DF is 0): nothing here would learn that it was too long for
    /// a network on the way and make it shorter, as TCP does (RFC 1191 §3). So each
    /// datagram has an identification of its own (RFC 6864 §4.3).
    #[inline]
    fn headers(
        &self,
        own: &Interface,
        software: &ChecksumCapabilities,
        len: usize,
        part: Progress,
    ) -> [u8; ETHERNET + IPV4] {
        let mut headers = [0; ETHERNET + IPV4];
        let (ethernet, ipv4) = headers.split_at_mut(ETHERNET);
        ethernet.copy_from_slice(&own.station.header(self.station, ethernet::IPV4));
        let mut ip = Ipv4Packet::new_unchecked(&mut *ipv4);
        ip.set_version(4);
        ip.set_header_len(IPV4 as u8);
        ip.set_total_len((IPV4 + len) as u16);
        ip.set_ident(part.identification);
        ip.set_frag_offset(part.sent as u16);
        ip.set_more_frags(part.sent + len < self.len());
        ip.set_hop_limit(64);
        ip.set_next_header(self.protocol.into());
        ip.set_src_addr(own.address());
        ip.set_dst_addr(self.to);
        if software.ipv4.tx() {
            let checksum = Sum::default().add(ipv4).checksum();
            Ipv4Packet::new_unchecked(ipv4).set_checksum(checksum);
        }
        headers
    }

    /// Sends it in one frame.
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

    /// Sends the next fragment, of at most `max` octets behind the IPv4 header. Returns
    /// whether it was the last.
    pub fn send_fragment(
        &self,
        token: impl TxToken,
        own: &Interface,
        software: &ChecksumCapabilities,
        fragment: &mut Progress,
        max: usize,
    ) -> bool {
        let offset = fragment.sent;
        let left = self.len().saturating_sub(offset);
        // All but the last are of a multiple of 8 octets (RFC 791 §3.1).
        let len = if left <= max { left } else { max & !7 };
        let headers = self.headers(own, software, len, *fragment);
        let head = if offset == 0 { &self.head[..] } else { &[] };
        let start = offset.saturating_sub(HEAD);
        let octets = self.octets.get(start..start + len - head.len());
        token.consume(ETHERNET + IPV4 + len, |frame| {
            fill(frame, [&headers, head, octets.unwrap_or_default()]);
        });
        fragment.sent = offset + len;
        len == left
    }
}

/// Fills a frame with these pieces, one behind the other.
#[inline]
fn fill(mut frame: &mut [u8], pieces: [&[u8]; 3]) {
    for piece in pieces {
        // A card without a buffer of that length gives a shorter one, and loses the frame.
        let Some((place, behind)) = frame.split_at_mut_checked(piece.len()) else {
            return;
        };
        place.copy_from_slice(piece);
        frame = behind;
    }
}
