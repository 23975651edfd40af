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
//! PSH. So all of them have the same window and acknowledgment number. A segment that acknowledges
//! more begins a new run, since congestion control counts acknowledgments. The segments must be the
//! ones that their connection expects next and has room for ([`crate::tcp`]): a segment that is
//! repeated, comes after a gap or lies outside the window goes to smoltcp alone, since each of these
//! must be acknowledged (RFC 5681 §4.2). PSH changes nothing, since all data is delivered at once.
//!
//! The data is copied once, into a buffer that is kept for the next run. A segment that is followed by
//! none is not copied.

use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet::ETHERNET;
use crate::packet::{Content, Ipv4, Packet, Payload, Segment};
use crate::phy::{ChecksumCapabilities, Ipv4Packet, TcpSeqNumber};
use alloc::vec::Vec;

/// Octets of the longest frame: an Ethernet header and the longest IPv4 datagram.
pub(crate) const FRAME_MAX: usize = ETHERNET + u16::MAX as usize;

/// Where the IPv4 header, the TCP header and its options begin in a frame.
const IP: usize = ETHERNET;
const TCP: usize = IP + 20;
const OPTIONS: usize = TCP + 20;
/// A bit in TCP's octet of flags.
const PSH: u8 = 0x08;
/// A segment of so many octets may be a full-sized one (RFC 9293 §3.7.1).
const DEFAULT_MSS: usize = 536;

/// The octets of all headers up to the TCP options.
type Fixed = [u8; OPTIONS];

/// A segment in its frame that only carries data.
#[derive(Clone, Copy)]
pub(crate) struct First<'a> {
    headers: &'a [u8],
    data: &'a [u8],
    /// The sequence number after its last octet.
    end: TcpSeqNumber,
}

impl<'a> First<'a> {
    /// The segment in a frame. `None` if it has other flags, no data, or options in its IPv4 header.
    pub fn of(packet: &Packet<'a>) -> Option<(Self, Segment)> {
        let Content::Ipv4(Ipv4 {
            start: TCP,
            payload: Payload::Segment(segment),
            ..
        }) = packet.headers.content
        else {
            return None;
        };
        if !segment.is_plain || segment.len == 0 {
            return None;
        }
        let end = segment.data + segment.len;
        let first = First {
            headers: packet.frame.get(..segment.data)?,
            data: packet.frame.get(segment.data..end)?,
            end: segment.end(),
        };
        Some((first, segment))
    }

    /// Whether the next frame holds a segment that can be joined to this one.
    pub fn is_followed_by(&self, frame: &[u8]) -> bool {
        data_of_next(self.headers, self.end, frame).is_some()
    }
}

/// The data of a frame, if it can be joined to a segment with these headers, whose next sequence
/// number is `at`. The IPv4 header has no options.
#[inline(always)]
fn data_of_next<'a>(headers: &[u8], at: TcpSeqNumber, frame: &'a [u8]) -> Option<&'a [u8]> {
    let (first, next): (&Fixed, &Fixed) = (headers.first_chunk()?, frame.first_chunk()?);
    // These must be the same: stations, EtherType, version, header length and service; time to live
    // and protocol; addresses; ports; acknowledgment number, header length, flags and window.
    let differs = word::<0>(first, next)
        | word::<8>(first, next)
        | u64::from(part::<22, 2>(first) != part::<22, 2>(next))
        | word::<26>(first, next)
        | word::<30>(first, next)
        | word::<42>(first, next) & !u64::from_ne_bytes([0, 0, 0, 0, 0, PSH, 0, 0]);
    if differs != 0 || seq(next) != at || is_fragment(next) {
        return None;
    }
    let data = frame.get(headers.len()..end(next))?;
    let same_options =
        headers.len() == OPTIONS || headers[OPTIONS..] == frame[OPTIONS..headers.len()];
    (same_options && !data.is_empty()).then_some(data)
}

/// Where the IPv4 datagram ends.
fn end(fixed: &Fixed) -> usize {
    IP + usize::from(u16::from_be_bytes(part::<16, 2>(fixed)))
}

fn seq(fixed: &Fixed) -> TcpSeqNumber {
    TcpSeqNumber(i32::from_be_bytes(part::<38, 4>(fixed)))
}

/// Whether the datagram is a fragment: it has an offset, or more fragments follow.
fn is_fragment(fixed: &Fixed) -> bool {
    u16::from_be_bytes(part::<20, 2>(fixed)) & 0x3fff != 0
}

/// The bits in which 8 octets of two headers differ.
fn word<const AT: usize>(one: &Fixed, other: &Fixed) -> u64 {
    u64::from_ne_bytes(part::<AT, 8>(one)) ^ u64::from_ne_bytes(part::<AT, 8>(other))
}

/// `N` octets of a header. The compiler knows that they exist, so that no bounds are checked.
#[inline(always)]
fn part<const AT: usize, const N: usize>(fixed: &Fixed) -> [u8; N] {
    const { assert!(AT + N <= OPTIONS) };
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

/// A run of segments that become one.
pub(crate) struct Run {
    /// The frame of the long segment, in the first `len` of [`FRAME_MAX`] octets.
    buffer: Vec<u8>,
    len: usize,
    /// How many octets the frame may have.
    most: usize,
    /// Octets of its headers.
    headers: usize,
    /// The sequence number after its last octet.
    end: TcpSeqNumber,
    /// Octets of data in the longest segment of the run.
    longest: usize,
}

impl Run {
    /// A run of this one segment. Its connection has room for `room` octets.
    pub fn new(mut buffer: Vec<u8>, first: &First<'_>, room: usize) -> Self {
        let (headers, data) = (first.headers.len(), first.data.len());
        let len = headers + data;
        buffer[..headers].copy_from_slice(first.headers);
        buffer[headers..len].copy_from_slice(first.data);
        Run {
            most: buffer.len().min(headers + room),
            buffer,
            len,
            headers,
            end: first.end,
            longest: data,
        }
    }

    /// Joins the next frame, if it can be joined and is intact. Returns whether it was.
    #[inline(always)]
    pub fn join(&mut self, frame: &[u8], software: &ChecksumCapabilities) -> bool {
        let Some(data) = data_of_next(&self.buffer[..self.headers], self.end, frame) else {
            return false;
        };
        let len = self.len + data.len();
        if len > self.most {
            return false;
        }
        let is_checked = !software.ipv4.rx() && !software.tcp.rx();
        if !is_checked && !is_intact(&frame[IP..self.headers + data.len()], software) {
            return false;
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

    /// The IPv4 datagram of the long segment. Its checksums are wrong, but nobody verifies them.
    pub fn datagram(&mut self) -> &[u8] {
        let total_len = (self.len - IP) as u16;
        self.buffer[16..18].copy_from_slice(&total_len.to_be_bytes());
        &self.buffer[IP..self.len]
    }

    /// The buffer, for the next run.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

#[cfg(test)]
mod tests;
