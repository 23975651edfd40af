//! Consecutive segments of a connection, joined before smoltcp sees them.
//!
//! smoltcp's price is per segment, and in bulk many have been received when the server
//! wakes. So those that say nothing but "here is more" become one long segment: as Linux's
//! generic receive offload, but for what has come already only; nothing waits.
//!
//! ```text
//!   frames received  [A 0..1460][A 1460..2920][A 2920..4380][B 7..99][A 5840..7300]
//!   smoltcp sees     [A 0................................4380][B 7..99][A 5840..7300]
//! ```
//!
//! What is joined is what one segment could have said: no flag but ACK and PSH, and headers
//! that differ in lengths, sequence numbers, checksums, IPv4's identification and PSH alone.
//! So window and acknowledgement are those of each of them, and a segment that acknowledges
//! more begins a new run: congestion control counts acknowledgements. It must be what its
//! connection expects next, and have room there ([`crate::tcp`]): what comes twice, behind
//! a gap or outside of the window goes to smoltcp on its own, since each of those is owed an
//! acknowledgement (RFC 5681 §4.2). PSH asks for nothing: all is delivered at once.
//!
//! The data are copied, once, into a buffer that is kept; a segment that nothing follows is
//! not, and stays where it is.

use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet::ETHERNET;
use crate::packet::{Content, Ipv4, Packet, Payload, Segment};
use crate::phy::{ChecksumCapabilities, Ipv4Packet, TcpSeqNumber};
use alloc::vec::Vec;

/// Octets of the longest frame: Ethernet's header and the longest IPv4 datagram.
pub(crate) const FRAME_MAX: usize = ETHERNET + u16::MAX as usize;

/// Where the IPv4 header begins, where TCP's does, and where its options do.
const IP: usize = ETHERNET;
const TCP: usize = IP + 20;
const OPTIONS: usize = TCP + 20;
/// A bit of TCP's octet of flags.
const PSH: u8 = 0x08;
/// RFC 9293 §3.7.1: a segment as long as this may be a full one.
const DEFAULT_MSS: usize = 536;

/// The headers up to TCP's options.
type Fixed = [u8; OPTIONS];

/// A segment that says nothing but "here is more", in its frame.
#[derive(Clone, Copy)]
pub(crate) struct First<'a> {
    headers: &'a [u8],
    data: &'a [u8],
    /// The sequence number behind it.
    end: TcpSeqNumber,
}

impl<'a> First<'a> {
    /// The segment in a frame. `None`: it says more, or nothing, or its IPv4 header has options.
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

    /// Whether the next frame goes on where this one ends, and says nothing else.
    pub fn is_followed_by(&self, frame: &[u8]) -> bool {
        more(self.headers, self.end, frame).is_some()
    }
}

/// The data of a frame that goes on at this sequence number, and says the same as the one
/// with these headers in all else, which has no options of IPv4.
#[inline(always)]
fn more<'a>(headers: &[u8], at: TcpSeqNumber, frame: &'a [u8]) -> Option<&'a [u8]> {
    let (first, next): (&Fixed, &Fixed) = (headers.first_chunk()?, frame.first_chunk()?);
    // Stations, EtherType, version, length and service; time to live and protocol;
    // addresses; ports; acknowledgement, length, flags and window.
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

/// It has an offset, or more follow.
fn is_fragment(fixed: &Fixed) -> bool {
    u16::from_be_bytes(part::<20, 2>(fixed)) & 0x3fff != 0
}

/// Where 8 octets of two headers differ.
fn word<const AT: usize>(one: &Fixed, other: &Fixed) -> u64 {
    u64::from_ne_bytes(part::<AT, 8>(one)) ^ u64::from_ne_bytes(part::<AT, 8>(other))
}

/// Some octets of a header. The compiler sees that they are there.
#[inline(always)]
fn part<const AT: usize, const N: usize>(fixed: &Fixed) -> [u8; N] {
    const { assert!(AT + N <= OPTIONS) };
    fixed[AT..].first_chunk().copied().unwrap_or([0; N])
}

/// Whether the checksums are right that are software's job, of a datagram without padding
/// whose header has no options.
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

/// Segments on their way to become one.
pub(crate) struct Run {
    /// The frame, in a buffer of [`FRAME_MAX`] octets, and how many of them it has.
    buffer: Vec<u8>,
    len: usize,
    /// How long it may become.
    most: usize,
    /// Octets of headers.
    headers: usize,
    /// The sequence number behind it.
    end: TcpSeqNumber,
    /// Octets of the longest segment.
    longest: usize,
}

impl Run {
    /// Begins with this segment. Its connection has room for `room` octets.
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

    /// Takes the next frame, if it goes on with what there is and is intact.
    #[inline(always)]
    pub fn takes(&mut self, frame: &[u8], software: &ChecksumCapabilities) -> bool {
        let Some(data) = more(&self.buffer[..self.headers], self.end, frame) else {
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

    /// Whether so much has come that it is to be acknowledged at once: two full segments
    /// (RFC 9293 §3.8.6.3), of which smoltcp sees but one. How long the peer's are is not
    /// known; `mss` is what the peer was told.
    pub fn is_owed_an_answer(&self, mss: usize) -> bool {
        let octets = self.octets();
        octets > mss || (self.longest >= DEFAULT_MSS && octets > self.longest)
    }

    /// The IPv4 datagram of the long segment. Its checksums are nobody's business any more.
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
