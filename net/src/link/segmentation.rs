//! Cuts long TCP segments into frames, for a card that does not cut them itself.
//!
//! A segment costs smoltcp the same work whether it has 64 KiB or fits one frame. So smoltcp is told
//! that the card has segmentation offload and makes long segments. Here each is cut into the frames
//! that smoltcp would otherwise have made one by one. The headers are copied and only the fields that
//! differ are changed. The checksum of the data is computed while it is copied to the card's buffer.
//!
//! If the card has no room for all frames of a segment, the rest is sent before anything else. There
//! is at most one such segment, since the card counts as full as long as there is one.

use crate::ip::protocol;
use crate::link::checksum::Sum;
use crate::link::ethernet::{ETHERNET, IPV4_HEADER, IPV6_HEADER};
use crate::packet::{FIN, PSH};
use crate::phy::{ChecksumCapabilities, Ipv4Packet, Ipv6Packet, TcpPacket};
use alloc::vec::Vec;
use core::ops::Range;

/// Octets of the Ethernet, IPv4 and TCP headers of a segment with data; smoltcp adds no options. And the
/// same with IPv6.
pub(crate) const HEADERS: usize = ETHERNET + IPV4_HEADER + 20;
pub(crate) const HEADERS_V6: usize = ETHERNET + IPV6_HEADER + 20;
/// Where fields are in an IPv4 header (RFC 791 §3.1). The identification is the same in all frames:
/// since DF is set, it means nothing (RFC 6864 §4.1).
const TOTAL_LENGTH: usize = 2;
const IP_CHECKSUM: Range<usize> = 10..12;
/// Where the length is in an IPv6 header (RFC 8200 §3). It counts what follows that header.
const PAYLOAD_LENGTH: usize = 4;
/// Where fields are in a TCP header (RFC 9293 §3.1).
const SEQUENCE: Range<usize> = 4..8;
const FLAGS: usize = 13;
const CHECKSUM: Range<usize> = 16..18;
/// FIN and PSH, which only the last frame of a segment has.
const LAST_ONLY: u8 = FIN | PSH;
/// CWR, which only the first frame has (RFC 3168 §6.1.2).
const FIRST_ONLY: u8 = 0x80;

/// Octets of the longest frame that smoltcp may make. It has at most `most` octets, and its data
/// fills whole frames of `frame_max` octets, so that none of them is short. `headers`: octets of its
/// headers.
pub(crate) fn longest(headers: usize, frame_max: usize, most: usize) -> usize {
    let size = frame_max.saturating_sub(headers).max(1);
    let most = most.min(ETHERNET + usize::from(u16::MAX));
    headers + most.saturating_sub(headers) / size * size
}

/// A long segment that is being cut.
#[derive(Default)]
pub(crate) struct Segmenter {
    /// The long frame, in the first `len` octets. Its headers are changed to those of the next frame.
    whole: Vec<u8>,
    len: usize,
    /// Where its IP header has the length, and where what that length counts starts.
    length: usize,
    counted: usize,
    /// Where its TCP header and its data start.
    tcp: usize,
    payload: usize,
    /// Where the data starts that is not sent yet, and its sequence number.
    next: usize,
    sequence: u32,
    /// Octets of data in a frame.
    size: usize,
    /// The flags of the segment.
    flags: u8,
    /// The sum over the IPv4 header without its length; `None` if the card computes the checksum, or if
    /// it is IPv6.
    ip_sum: Option<Sum>,
    /// The sum over the pseudo header without the length and the TCP header without sequence number
    /// and flags; `None` if the card computes the checksum.
    tcp_sum: Option<Sum>,
    /// The same sum with length and flags.
    shaped_sum: Sum,
}

impl Segmenter {
    /// A buffer of `len` octets for a long frame. What was in it is lost. [`Segmenter::begin`] must
    /// follow.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        if self.whole.len() < len {
            self.whole.resize(len, 0);
        }
        (self.len, self.next) = (len, len);
        &mut self.whole[..len]
    }

    /// Begins to cut the frame in the buffer into frames with `size` octets of data each. `software`:
    /// the checksums that are filled in. Returns `None`, and cuts nothing, if the frame is no TCP
    /// segment with data.
    pub fn begin(&mut self, size: usize, software: &ChecksumCapabilities) -> Option<()> {
        let ip = self.whole.get_mut(ETHERNET..self.len)?;
        let (start, length, counted, pseudo) = match ip.first()? >> 4 {
            4 => {
                let packet = Ipv4Packet::new_unchecked(ip.get(..IPV4_HEADER)?);
                let is_tcp = u8::from(packet.next_header()) == protocol::TCP;
                let ends = (packet.src_addr(), packet.dst_addr());
                let pseudo = Sum::default().pseudo(ends.0, ends.1, protocol::TCP, 0);
                let start = usize::from(packet.header_len());
                (start, TOTAL_LENGTH, 0, is_tcp.then_some(pseudo)?)
            }
            6 => {
                let packet = Ipv6Packet::new_unchecked(ip.get(..IPV6_HEADER)?);
                let is_tcp = u8::from(packet.next_header()) == protocol::TCP;
                let ends = (packet.src_addr(), packet.dst_addr());
                let pseudo = Sum::default().pseudo_v6(ends.0, ends.1, protocol::TCP, 0);
                let pseudo = is_tcp.then_some(pseudo)?;
                (IPV6_HEADER, PAYLOAD_LENGTH, IPV6_HEADER, pseudo)
            }
            _ => return None,
        };
        if size == 0 {
            return None;
        }
        let has_sum = counted == 0 && software.ipv4.tx();
        let (ip, tcp) = ip.split_at_mut_checked(start)?;
        ip.get_mut(length..length + 2)?.fill(0);
        if counted == 0 {
            ip.get_mut(IP_CHECKSUM)?.fill(0);
        }
        let segment = TcpPacket::new_unchecked(tcp.get(..20)?);
        let sequence = segment.seq_number().0 as u32;
        let header = usize::from(segment.header_len());
        if header < 20 || tcp.len() <= header {
            return None;
        }
        let tcp = &mut tcp[..header];
        self.flags = core::mem::take(&mut tcp[FLAGS]);
        tcp[SEQUENCE].fill(0);
        tcp[CHECKSUM].fill(0);
        self.tcp_sum = software.tcp.tx().then_some(pseudo.add(tcp));
        self.ip_sum = has_sum.then(|| Sum::default().add(ip));
        (self.length, self.counted) = (length, ETHERNET + counted);
        (self.tcp, self.payload) = (ETHERNET + start, ETHERNET + start + header);
        (self.next, self.sequence, self.size) = (self.payload, sequence, size);
        self.shape();
        Some(())
    }

    /// Changes the headers to those of the next frame, apart from the sequence number.
    fn shape(&mut self) {
        let left = self.len - self.next;
        let mut flags = self.flags;
        if self.next > self.payload {
            flags &= !FIRST_ONLY;
        }
        if left > self.size {
            flags &= !LAST_ONLY;
        }
        let data = left.min(self.size);
        let length = (self.payload - self.counted + data) as u16;
        let tcp_len = (self.payload - self.tcp + data) as u16;
        let (ip, tcp) = self.whole[ETHERNET..].split_at_mut(self.tcp - ETHERNET);
        ip[self.length..self.length + 2].copy_from_slice(&length.to_be_bytes());
        if let Some(sum) = self.ip_sum {
            let checksum = sum.add_word(length).checksum();
            ip[IP_CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        }
        tcp[FLAGS] = flags;
        if let Some(sum) = self.tcp_sum {
            self.shaped_sum = sum.add_word(tcp_len).add_word(flags.into());
        }
    }

    /// Octets of the next frame; `None` if all frames were sent.
    #[inline]
    pub fn next_len(&self) -> Option<usize> {
        let left = self.len - self.next;
        (left > 0).then(|| self.payload + left.min(self.size))
    }

    /// Writes the next frame into a buffer of [`Segmenter::next_len`] octets.
    pub fn next(&mut self, frame: &mut [u8]) {
        let tcp = self.tcp;
        self.whole[tcp..][SEQUENCE].copy_from_slice(&self.sequence.to_be_bytes());
        let (template, data) = self.whole[..self.len].split_at(self.payload);
        let (headers, payload) = frame.split_at_mut(template.len());
        headers.copy_from_slice(template);
        let at = self.next - self.payload;
        let data = &data[at..at + payload.len()];
        if self.tcp_sum.is_some() {
            let sum = self.shaped_sum.add_long(self.sequence);
            let checksum = sum.copy(payload, data).checksum();
            headers[tcp..][CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        } else {
            payload.copy_from_slice(data);
        }
        let is_first = at == 0;
        self.sequence = self.sequence.wrapping_add(data.len() as u32);
        self.next += data.len();
        // The frames between the first and the last differ only in their sequence numbers.
        if is_first || self.len - self.next <= self.size {
            self.shape();
        }
    }
}

#[cfg(test)]
mod tests;
