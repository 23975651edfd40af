//! What is found out about most frames at a glance: with IPv4 without options or IPv6 without extension
//! headers, and no work for the card but checksums of TCP or UDP. That is a look at 32 or 56 bytes; all else,
//! and all that is wrong, is for `packet.rs` and `offload.rs`, which find the same at their leisure.

use super::csr::Csr;
use super::descriptor::tx;
use super::packet;
use crate::Bus;

/// Ethernet, and IPv4 without options.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const BODY: usize = ETHERNET + IPV4;
/// Both ports; UDP; the least of TCP.
const PORTS: usize = 4;
const UDP: usize = 8;
const TCP: usize = 20;

/// The same of IPv6, which has no options.
const IPV6: usize = 40;
const BODY_V6: usize = ETHERNET + IPV6;

/// A frame's bytes 8 to 15, 16 to 23, 24 to 31 and 32 to 39, the first of each lowest; and up to 63.
type Bytes = [u64; 4];
type MoreBytes = [u64; 7];
const LOOK: usize = 8;
/// Where the length of TCP's header is, from its start.
const TCP_LENGTH: usize = 12;
/// EtherTypes, and the first byte of IPv4, as they are seen so.
const SEEN_IPV4: u16 = 0x0800_u16.swap_bytes();
const SEEN_IPV6: u16 = 0x86dd_u16.swap_bytes();
const SEEN_VLAN: u16 = 0x8100_u16.swap_bytes();
const SEEN_NO_OPTIONS: u32 = 0x45 << 16 | SEEN_IPV4 as u32;

/// Descriptor options and context of the frames whose checksums are filled in.
pub type Work = (u32, [u32; 4]);

/// The flow of a frame of `len` bytes at `offset` in the arena, as [`packet::Headers::flow`] has it;
/// `None` if that takes more than a glance. Bytes behind its end count for nothing.
#[inline]
pub fn flow<B: Bus>(csr: &mut Csr<B>, offset: usize, len: usize) -> Option<u32> {
    let [first, second, third, fourth]: Bytes = csr.bus.load_quads(offset + LOOK);
    let kind = (first >> 32) as u32 & 0xff_ffff;
    if kind != SEEN_NO_OPTIONS {
        // Without IP there are no flows, and nothing that the card must find.
        return match kind as u16 {
            SEEN_IPV6 => flow_v6(csr, offset, len),
            SEEN_IPV4 | SEEN_VLAN => None,
            _ => Some(0),
        };
    }
    let is_fragment = second >> 32 & 0xff3f != 0;
    if is_fragment || len < BODY + PORTS {
        return None;
    }
    let protocol = (second >> 56) as u8;
    let ports = match protocol == packet::TCP || protocol == packet::UDP {
        true => (fourth >> 16) as u32,
        false => 0,
    };
    let addresses = core::iter::once(third >> 16 | fourth << 48);
    Some(packet::flow(addresses, ports))
}

/// The same of a frame with an IPv6 packet.
#[inline(never)]
fn flow_v6<B: Bus>(csr: &mut Csr<B>, offset: usize, len: usize) -> Option<u32> {
    if len < BODY_V6 + PORTS {
        return None;
    }
    let bytes: MoreBytes = csr.bus.load_quads(offset + LOOK);
    let ports = match next_header(&bytes) {
        packet::TCP | packet::UDP => (bytes[5] >> 48 | bytes[6] << 16) as u32,
        _ => 0,
    };
    Some(packet::flow(addresses(&bytes).into_iter(), ports))
}

/// The addresses of an IPv6 packet, half of each at a time.
fn addresses(bytes: &MoreBytes) -> [u64; 4] {
    core::array::from_fn(|at| bytes[at + 1] >> 48 | bytes[at + 2] << 16)
}

fn next_header(bytes: &MoreBytes) -> u8 {
    (bytes[1] >> 32) as u8
}

/// What TCP or UDP that begins at `body` wants: the bit of a context, and where its checksum is. `None` if it is
/// not whole.
#[inline(always)]
fn transport<B: Bus>(
    csr: &mut Csr<B>,
    protocol: u8,
    offset: usize,
    (body, len): (usize, usize),
) -> Option<(u32, usize)> {
    let (least, header, kind, checksum) = match protocol {
        packet::TCP => {
            let [length, _] = csr.bus.load16(offset + body + TCP_LENGTH).to_le_bytes();
            (TCP, usize::from(length >> 4) * 4, tx::TCP, 16)
        }
        packet::UDP => (UDP, UDP, 0, 6),
        _ => return None,
    };
    (header >= least && body + header <= len).then_some((kind, checksum))
}

/// Puts what the card begins its sums with into the fields of the checksums of a frame that has a
/// flow; `None`, and nothing done, if it is not TCP or UDP, whole and not padded.
#[inline(never)]
pub fn prepare<B: Bus>(csr: &mut Csr<B>, offset: usize, len: usize) -> Option<Work> {
    let [first, second, third, fourth]: Bytes = csr.bus.load_quads(offset + LOOK);
    if first >> 32 & 0xffff != SEEN_IPV4.into() {
        return prepare_v6(csr, offset, len);
    }
    let protocol = (second >> 56) as u8;
    let (kind, checksum) = transport(csr, protocol, offset, (BODY, len))?;
    let ends = ETHERNET + usize::from((second as u16).swap_bytes());
    if ends != len {
        return None;
    }
    // The sum of the pseudo header (RFC 9293 §3.1), whose order of bytes does not matter until it is
    // stored.
    let length = u64::from(((len - BODY) as u16).swap_bytes());
    let addresses = third >> 16 | fourth << 48;
    let sum = (addresses & 0xffff_ffff) + (addresses >> 32);
    let sum = sum + (u64::from(protocol) << 8) + length;
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let seed = packet::fold(sum as u32);
    csr.bus.store16(offset + ETHERNET + 10, 0);
    csr.bus.store16(offset + BODY + checksum, seed);
    let lengths = (ETHERNET as u32) << tx::MAC_LENGTH_SHIFT | IPV4 as u32;
    let context = tx::context(lengths, tx::IPV4 | kind, 0);
    Some((tx::IXSM | tx::TXSM, context))
}

/// The same of a frame that has no IPv4.
#[inline(never)]
fn prepare_v6<B: Bus>(csr: &mut Csr<B>, offset: usize, len: usize) -> Option<Work> {
    let bytes: MoreBytes = csr.bus.load_quads(offset + LOOK);
    if bytes[0] >> 32 & 0xffff != SEEN_IPV6.into() || len < BODY_V6 {
        return None;
    }
    let protocol = next_header(&bytes);
    let (kind, checksum) = transport(csr, protocol, offset, (BODY_V6, len))?;
    let length = (bytes[1] >> 16) as u16;
    if BODY_V6 + usize::from(length.swap_bytes()) != len {
        return None;
    }
    // The sum of the pseudo header (RFC 8200 §8.1).
    let halves = addresses(&bytes).map(|half| (half & 0xffff_ffff) + (half >> 32));
    let sum = halves.iter().sum::<u64>() + (u64::from(protocol) << 8) + u64::from(length);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let seed = packet::fold(sum as u32);
    csr.bus.store16(offset + BODY_V6 + checksum, seed);
    let lengths = (ETHERNET as u32) << tx::MAC_LENGTH_SHIFT | IPV6 as u32;
    Some((tx::TXSM, tx::context(lengths, kind, 0)))
}
