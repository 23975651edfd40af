//! What is found out about most frames at a glance: with IPv4 without options, and no work for the card
//! but checksums of TCP or UDP. That is a look at 32 bytes; all else, and all that is wrong, is for
//! `packet.rs` and `offload.rs`, which find the same at their leisure.

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

/// A frame's bytes 8 to 15, 16 to 23, 24 to 31 and 32 to 39, the first of each lowest.
type Bytes = [u64; 4];
const LOOK: usize = 8;
/// Where the length of TCP's header is.
const TCP_LENGTH: usize = BODY + 12;
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
        let ethertype = kind as u16;
        let is_ip = ethertype == SEEN_IPV4 || ethertype == SEEN_IPV6 || ethertype == SEEN_VLAN;
        return (!is_ip).then_some(0);
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

/// Puts what the card begins its sums with into the fields of the checksums of a frame that has a
/// flow; `None`, and nothing done, if it is not TCP or UDP, whole and not padded.
#[inline(never)]
pub fn prepare<B: Bus>(csr: &mut Csr<B>, offset: usize, len: usize) -> Option<Work> {
    let [first, second, third, fourth]: Bytes = csr.bus.load_quads(offset + LOOK);
    let protocol = (second >> 56) as u8;
    let (least, header, kind, checksum) = match protocol {
        packet::TCP => {
            let [length, _] = csr.bus.load16(offset + TCP_LENGTH).to_le_bytes();
            (TCP, usize::from(length >> 4) * 4, tx::TCP, 16)
        }
        packet::UDP => (UDP, UDP, 0, 6),
        _ => return None,
    };
    let ends = ETHERNET + usize::from((second as u16).swap_bytes());
    if first >> 32 & 0xffff != SEEN_IPV4.into()
        || header < least
        || BODY + header > len
        || ends != len
    {
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
