//! Joins received segments of a connection that follow each other, before smoltcp gets them.
//!
//! smoltcp's work is per segment, and during a bulk transfer many segments have arrived when the
//! server wakes. Those that only carry more data become one long segment. Linux's generic receive
//! offload does the same; but here nothing waits for segments that have not arrived yet.
//!
//! ```text
//!   frames received  [A 0..1460][A 1460..2920][A 2920..4380][B 7..99][A 5840..7300]
//!   smoltcp sees     [A 0................................4380][B 7..99][A 5840..7300]
//! ```
//!
//! Segments are joined if one segment could have carried the same. They have no flag but ACK and PSH,
//! and their headers differ only in lengths, sequence numbers, checksums, IPv4's identification and
//! PSH. Over IPv6 they have no extension headers. So all of them have the same window and acknowledgment number. A segment that acknowledges
//! more begins a new run, since congestion control counts acknowledgments. The segments must be the
//! ones that their connection expects next and has room for ([`crate::tcp`]): a segment that is
//! repeated, comes after a gap or lies outside the window goes to smoltcp alone, since each of these
//! must be acknowledged (RFC 5681 §4.2). PSH changes nothing, since all data is delivered at once.
//!
//! The data is copied once, into a buffer that is kept for the next run. A segment that is followed by
//! none is not copied.

use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet::{self, ETHERNET, IPV4_HEADER, IPV6_HEADER};
use crate::packet::{Content, IpPacket, PSH, Packet, Payload, Segment};
use crate::phy::{ChecksumCapabilities, Ipv4Packet, Ipv6Packet, TcpSeqNumber};
use alloc::vec::Vec;

/// Octets of the longest frame: an Ethernet header and the longest IPv4 datagram.
pub(crate) const FRAME_MAX: usize = ETHERNET + u16::MAX as usize;

/// Where the IP header begins in a frame, and the TCP header after one of IPv4 and one of IPv6.
const IP: usize = ETHERNET;
const TCP: usize = IP + IPV4_HEADER;
const TCP_V6: usize = IP + IPV6_HEADER;
/// Octets of all headers up to the TCP options.
const FIXED: usize = TCP + 20;
const FIXED_V6: usize = TCP_V6 + 20;
/// A segment of so many octets may be a full-sized one (RFC 9293 §3.7.1).
const DEFAULT_MSS: usize = 536;
/// The bits of 8 octets that may differ, the sixth of which has the flags.
const MAY_DIFFER: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, PSH, 0, 0]);

/// The segment in a packet, if others can be joined to it: it only carries data, and its IPv4 header has
/// no options.
pub(crate) fn joinable(packet: &Packet<'_>) -> Option<Segment> {
    match &packet.headers.content {
        Content::Ip(IpPacket {
            start,
            source,
            payload: Payload::Segment(segment),
            ..
        }) => {
            let is_bare = *start == TCP || (*start == TCP_V6 && !source.is_v4());
            (is_bare && segment.is_plain && segment.len > 0).then_some(*segment)
        }
        _ => None,
    }
}

/// Whether the segment in the frame `next` can be joined to this one, which is in `frame`.
pub(crate) fn is_followed_by(frame: &[u8], segment: &Segment, next: &[u8]) -> bool {
    let headers = frame.get(..segment.data).unwrap_or_default();
    match is_v6(frame) {
        false => data_of_next(headers, segment.end(), next).is_some(),
        true => data_of_next_v6(headers, segment.end(), next).is_some(),
    }
}

fn is_v6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ethernet::IPV6)
}

/// The data of a frame, if it can be joined to a segment with these headers, whose next sequence
/// number is `at`. The IPv4 header has no options.
#[inline(always)]
fn data_of_next<'a>(headers: &[u8], at: TcpSeqNumber, frame: &'a [u8]) -> Option<&'a [u8]> {
    let (first, next): (&[u8; FIXED], &[u8; FIXED]) =
        (headers.first_chunk()?, frame.first_chunk()?);
    // These must be the same: stations, EtherType, version, header length and service; time to live
    // and protocol; addresses; ports; acknowledgment number, header length, flags and window.
    let differs = word::<0, _>(first, next)
        | word::<8, _>(first, next)
        | u64::from(part::<22, 2, _>(first) != part::<22, 2, _>(next))
        | word::<26, _>(first, next)
        | word::<30, _>(first, next)
        | word::<42, _>(first, next) & !MAY_DIFFER;
    // It is a fragment if it has an offset, or if more fragments follow.
    let is_fragment = u16::from_be_bytes(part::<20, 2, _>(next)) & 0x3fff != 0;
    if differs != 0 || seq(part::<38, 4, _>(next)) != at || is_fragment {
        return None;
    }
    let end = IP + usize::from(u16::from_be_bytes(part::<16, 2, _>(next)));
    data_behind::<FIXED>(headers, frame, end)
}

/// The same over IPv6. Headers with which others can be joined have no extension headers.
#[inline(always)]
fn data_of_next_v6<'a>(headers: &[u8], at: TcpSeqNumber, frame: &'a [u8]) -> Option<&'a [u8]> {
    let first: &[u8; FIXED_V6] = headers.first_chunk()?;
    let next: &[u8; FIXED_V6] = frame.first_chunk()?;
    // These must be the same: stations, EtherType, version, traffic class and flow label; next header
    // and hop limit; addresses; ports; acknowledgment number, header length, flags and window.
    let differs = word::<0, _>(first, next)
        | word::<8, _>(first, next)
        | word::<10, _>(first, next)
        | u64::from(part::<20, 2, _>(first) != part::<20, 2, _>(next))
        | word::<22, _>(first, next)
        | word::<30, _>(first, next)
        | word::<38, _>(first, next)
        | word::<46, _>(first, next)
        | word::<50, _>(first, next)
        | word::<62, _>(first, next) & !MAY_DIFFER;
    if differs != 0 || seq(part::<58, 4, _>(next)) != at {
        return None;
    }
    let end = TCP_V6 + usize::from(u16::from_be_bytes(part::<18, 2, _>(next)));
    data_behind::<FIXED_V6>(headers, frame, end)
}

/// The data of a frame that ends at `end`, if its TCP options, which begin at `OPTIONS`, are the same as
/// those of `headers`.
#[inline(always)]
fn data_behind<'a, const OPTIONS: usize>(
    headers: &[u8],
    frame: &'a [u8],
    end: usize,
) -> Option<&'a [u8]> {
    let data = frame.get(headers.len()..end)?;
    let same_options =
        headers.len() == OPTIONS || headers[OPTIONS..] == frame[OPTIONS..headers.len()];
    (same_options && !data.is_empty()).then_some(data)
}

fn seq(octets: [u8; 4]) -> TcpSeqNumber {
    TcpSeqNumber(i32::from_be_bytes(octets))
}

/// The bits in which 8 octets of two headers differ.
fn word<const AT: usize, const LEN: usize>(one: &[u8; LEN], other: &[u8; LEN]) -> u64 {
    u64::from_ne_bytes(part::<AT, 8, LEN>(one)) ^ u64::from_ne_bytes(part::<AT, 8, LEN>(other))
}

/// `N` octets of a header. The compiler knows that they exist, so that no bounds are checked.
#[inline(always)]
fn part<const AT: usize, const N: usize, const LEN: usize>(fixed: &[u8; LEN]) -> [u8; N] {
    const { assert!(AT + N <= LEN) };
    fixed[AT..].first_chunk().copied().unwrap_or([0; N])
}

/// Whether the checksums that are software's job are right in an IPv4 datagram. It has no padding, and
/// its header no options.
#[inline(never)]
fn is_intact(datagram: &[u8], software: &ChecksumCapabilities) -> bool {
    let Some((ip, tcp)) = datagram.split_at_checked(TCP - IP) else {
        return false;
    };
    if software.ipv4.rx() && !Sum::default().add(ip).is_right() {
        return false;
    }
    let packet = Ipv4Packet::new_unchecked(ip);
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    let pseudo = || Sum::default().pseudo(source, destination, protocol::TCP, tcp.len());
    !software.tcp.rx() || pseudo().add(tcp).is_right()
}

/// The same of an IPv6 packet, whose header has no checksum.
#[inline(never)]
fn is_intact_v6(packet: &[u8], software: &ChecksumCapabilities) -> bool {
    let Some((ip, tcp)) = packet.split_at_checked(IPV6_HEADER) else {
        return false;
    };
    let packet = Ipv6Packet::new_unchecked(ip);
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    let pseudo = || Sum::default().pseudo_v6(source, destination, protocol::TCP, tcp.len());
    !software.tcp.rx() || pseudo().add(tcp).is_right()
}

/// A run of segments that become one.
pub(crate) struct Run {
    /// The frame of the long segment, in the first `len` of [`FRAME_MAX`] octets.
    buffer: Vec<u8>,
    len: usize,
    /// How many octets the frame may have.
    most: usize,
    /// Octets of its headers, and whether they are those of IPv6.
    headers: usize,
    is_v6: bool,
    /// The sequence number after its last octet.
    end: TcpSeqNumber,
    /// Octets of data in the longest segment of the run.
    longest: usize,
}

impl Run {
    /// A run of one segment in its frame. Its connection has room for `room` octets.
    pub fn new(mut buffer: Vec<u8>, frame: &[u8], segment: &Segment, room: usize) -> Self {
        let len = segment.data + segment.len;
        buffer[..len].copy_from_slice(&frame[..len]);
        Run {
            most: buffer.len().min(segment.data + room),
            buffer,
            len,
            headers: segment.data,
            is_v6: is_v6(frame),
            end: segment.end(),
            longest: segment.len,
        }
    }

    /// Joins the next frame, if it can be joined and is intact. Returns whether it was.
    #[inline(always)]
    pub fn join(&mut self, frame: &[u8], software: &ChecksumCapabilities) -> bool {
        let headers = &self.buffer[..self.headers];
        let data = match self.is_v6 {
            false => data_of_next(headers, self.end, frame),
            true => data_of_next_v6(headers, self.end, frame),
        };
        let Some(data) = data else {
            return false;
        };
        let len = self.len + data.len();
        if len > self.most {
            return false;
        }
        let is_checked = !software.ipv4.rx() && !software.tcp.rx();
        if !is_checked {
            let datagram = &frame[IP..self.headers + data.len()];
            let is_intact = match self.is_v6 {
                false => is_intact(datagram, software),
                true => is_intact_v6(datagram, software),
            };
            if !is_intact {
                return false;
            }
        }
        self.buffer[self.len..len].copy_from_slice(data);
        self.len = len;
        self.end += data.len();
        self.longest = self.longest.max(data.len());
        true
    }

    /// Octets of data.
    pub fn octets(&self) -> usize {
        self.len - self.headers
    }

    /// Whether the run must be acknowledged at once, since it holds two full-sized segments (RFC 9293
    /// §3.8.6.3); smoltcp cannot know, since it sees only one. `mss`: the MSS that the peer was told,
    /// in octets. The peer's full-sized segments may be shorter.
    pub fn must_be_acknowledged(&self, mss: usize) -> bool {
        let octets = self.octets();
        octets > mss || (self.longest >= DEFAULT_MSS && octets > self.longest)
    }

    /// The IP datagram of the long segment. Its checksums are wrong, but nobody verifies them.
    pub fn datagram(&mut self) -> &[u8] {
        let (at, counted) = match self.is_v6 {
            false => (IP + 2, IP),
            true => (IP + 4, TCP_V6),
        };
        let len = (self.len - counted) as u16;
        self.buffer[at..at + 2].copy_from_slice(&len.to_be_bytes());
        &self.buffer[IP..self.len]
    }

    /// The buffer, for the next run.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

#[cfg(test)]
mod tests;
