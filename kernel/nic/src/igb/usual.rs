//! The usual frame, quickly: headers in a small buffer, and no work for the card but checksums of TCP
//! or UDP over IPv4 without options, and those only if there is no tail. That is a look at 32 bytes
//! and a descriptor or two; all else, and all that is wrong, is for `send_from`, which does the same
//! at its leisure.

use super::chip::Chip;
use super::config::{BUFFER, FRAME_JUMBO};
use super::descriptor::tx;
use super::offload::TAKEN;
use super::{Igb, packet};
use crate::{Bus, Outgoing, Tail};

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
type Work = (u32, [u32; 4]);

impl<B: Bus> Igb<B> {
    /// Sends a frame, if it is a usual one and there is room at once. Otherwise does nothing.
    #[inline]
    pub(super) fn send_usual(&mut self, frame: &Outgoing) -> bool {
        let &Outgoing {
            buffer,
            len,
            options,
            tail,
        } = frame;
        if options.segment_size != 0 || options.vlan.is_some() {
            return false;
        }
        let tail_len = match tail {
            // None of it, or more than all that the card takes.
            Some(Tail { len, .. }) if options.checksums || len == 0 || len > FRAME_JUMBO => {
                return false;
            }
            Some(tail) => tail.len,
            None => 0,
        };
        let small = &mut self.buffers.small;
        let fits = (TAKEN..=BUFFER).contains(&len) && len + tail_len <= self.config.frame_max;
        if small.check_held(buffer).is_err() || !fits {
            return false;
        }
        let offset = self.chip.frames.transmit.start + usize::from(buffer) * BUFFER;
        let bytes = self.chip.bus.load_quads(offset + LOOK);
        let Some(flow) = flow(bytes, len) else {
            return false;
        };
        let queue = self.queue_of(flow);
        let ring = &mut self.transmit[queue];
        // A frame and its context, or its tail.
        if ring.free() < 2 {
            return false;
        }
        let work = match options.checksums {
            true => match prepare(&mut self.chip, offset, len) {
                Some(work) => Some(work),
                None => return false,
            },
            false => None,
        };
        self.buffers.small.enter_ring(buffer);
        ring.queue_usual(&mut self.chip, (buffer, offset), len, tail, work);
        self.untold |= 1 << queue;
        true
    }
}

/// The flow of a frame of `len` bytes, as [`packet::Headers::flow`] has it; `None` if it is not
/// usual. Bytes behind its end count for nothing.
#[inline]
fn flow([first, second, third, fourth]: Bytes, len: usize) -> Option<u32> {
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
fn prepare<B: Bus>(chip: &mut Chip<B>, offset: usize, len: usize) -> Option<Work> {
    let [first, second, third, fourth]: Bytes = chip.bus.load_quads(offset + LOOK);
    let protocol = (second >> 56) as u8;
    let (least, header, kind, checksum) = match protocol {
        packet::TCP => {
            let [length, _] = chip.bus.load16(offset + TCP_LENGTH).to_le_bytes();
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
    chip.bus.store16(offset + ETHERNET + 10, 0);
    chip.bus.store16(offset + BODY + checksum, seed);
    let lengths = (ETHERNET as u32) << tx::MAC_LENGTH_SHIFT | IPV4 as u32;
    let context = tx::context(lengths, tx::IPV4 | kind, 0);
    Some((tx::IXSM | tx::TXSM, context))
}
