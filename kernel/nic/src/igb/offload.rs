//! From a frame and what shall be done to it to what the card is told (§7.2.4, §7.2.5).
//!
//! The card adds up what a frame holds from its TCP or UDP header on; the sum of the pseudo header
//! must be in the checksum's place already. Where it cuts a segment, the lengths are its own: they,
//! and the checksum of the IPv4 header, must be zero. QEMU's card finds all this out for itself.
//!
//! It also clears FIN and PSH in all segments that it cuts, where silicon leaves them in the last.
//! PSH is advice; but FIN is not, so the last segment of a frame with FIN is a frame by itself, which is
//! copied into a buffer of its own.

use super::descriptor::tx;
use super::packet::{self, FIN, Headers, Network, PSH, Transport};
use crate::{Bus, Error, Segmentation, SendOptions};
use core::ops::Range;

/// The longest headers: Ethernet with a tag, IPv4 and TCP with all options; rounded up.
pub const HEAD: usize = 144;
/// Frames shorter than this are lengthened, with zeros, to the least length on a wire: the card
/// takes none of 16 bytes or less (§7.2.1.1), and QEMU's drops those below 14.
pub const TAKEN: usize = 17;
const WIRE: usize = 60;
const ZEROS: [u8; WIRE] = [0; WIRE];
/// The least payload of a segment. Smaller ones keep the card busy with headers: a frame of 64 KiB
/// would be thousands. The datasheet names no bound for this chip (its sibling 82583V wants more than 16
/// bytes), and QEMU has none.
const PAYLOAD_MIN: u16 = 64;
/// The highest VLAN number.
const VLAN_MAX: u16 = 4094;
/// The most bytes of one data descriptor: the 16 bits of DTALEN would hold more, but no driver of
/// this card was seen to try.
const PIECE: usize = 1 << 15;

/// A frame as it goes into a ring: bytes of the sender's buffer, and what is done to them.
pub struct Frame {
    /// How many bytes are sent from the start of the sender's buffer, zeros behind the frame included.
    pub own: usize,
    /// How many bytes follow from elsewhere.
    pub tail: usize,
    /// Zeros at the end of its own bytes.
    padding: usize,
    /// 16-bit fields of the headers to be overwritten, by offset.
    patches: [Option<(usize, u16)>; 4],
    /// Context descriptor that it needs, with number 0.
    pub context: Option<[u32; 4]>,
    /// Its data descriptors' command, without length.
    pub command: u32,
    /// Their options, without the number of the context.
    pub options: u32,
}

impl Frame {
    /// A frame of `len` bytes, the last `tail` of which are elsewhere, that is sent as it is.
    pub fn plain(len: usize, tail: usize) -> Self {
        let padding = if len < TAKEN && tail == 0 {
            WIRE - len
        } else {
            0
        };
        Frame {
            own: len - tail + padding,
            tail,
            padding,
            patches: [None; 4],
            context: None,
            command: tx::DATA,
            options: 0,
        }
        .sealed(0)
    }

    /// Notes how much of it the card shall count, headers of segments apart.
    fn sealed(mut self, headers: usize) -> Self {
        self.options &= (1 << tx::LENGTH_SHIFT) - 1;
        self.options |= ((self.len() - headers) as u32) << tx::LENGTH_SHIFT;
        self
    }

    pub fn len(&self) -> usize {
        self.own + self.tail
    }

    /// Descriptors it needs at most.
    pub fn descriptors(&self) -> usize {
        let pieces = self.own.div_ceil(PIECE) + self.tail.div_ceil(PIECE);
        usize::from(self.context.is_some()) + pieces
    }

    /// Writes what differs from the sender's bytes, which start at `offset` in the arena.
    pub fn patch<B: Bus>(&self, bus: &mut B, offset: usize) {
        if self.padding > 0 {
            let end = offset + self.own;
            bus.copy_in(end - self.padding, &ZEROS[..self.padding]);
        }
        for (at, value) in self.patches.iter().flatten() {
            bus.copy_in(offset + at, &value.to_be_bytes());
        }
    }
}

/// The pieces of so many bytes that have descriptors of their own.
pub fn pieces(len: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..len).step_by(PIECE);
    starts.map(move |start| start..len.min(start + PIECE))
}

/// What a card with frames of up to `frame_max` bytes cuts of frames of up to `longest`.
pub fn segmentation(longest: usize, frame_max: usize) -> Segmentation {
    Segmentation {
        frame_max: longest as u32,
        segment_max: frame_max as u16,
        payload_min: PAYLOAD_MIN,
        headers_max: HEAD as u16,
    }
}

/// A frame that is to be sent: its headers, and how long it is.
#[derive(Clone, Copy)]
pub struct Whole<'a> {
    /// Its first bytes, [`HEAD`] or all.
    pub head: &'a [u8],
    /// All its bytes.
    pub len: usize,
    /// The last so many of them are not in the sender's buffer.
    pub tail: usize,
}

/// What to send for a frame by a card that cuts so, and what must be sent by itself after that.
///
/// # Errors
/// [`Error::BadLength`], [`Error::BadHeaders`], [`Error::BadVlan`].
pub fn plan(
    whole: Whole<'_>,
    headers: Option<&Headers>,
    wanted: &SendOptions,
    segmentation: &Segmentation,
) -> Result<(Frame, Option<LastSegment>), Error> {
    let Whole { head, len, tail } = whole;
    if let Some(tag) = wanted.vlan {
        if tag & 0xfff > VLAN_MAX {
            return Err(Error::BadVlan { vlan: tag & 0xfff });
        }
        // A frame with two tags would need the card to be told of another EtherType.
        if packet::word(head, 12) == Some(0x8100) {
            return Err(Error::BadHeaders);
        }
    }
    let cut = wanted.segment_size > 0;
    let longest = if cut {
        segmentation.frame_max as usize
    } else {
        segmentation.segment_max.into()
    };
    if len == 0 || len > longest {
        return Err(Error::BadLength { len });
    }
    let Some(headers) = headers.filter(|_| wanted.checksums || cut) else {
        return match cut {
            true => Err(Error::BadHeaders),
            false => Ok((built(whole, wanted.vlan, None, 0), None)),
        };
    };
    // What is behind the packet is not sent, but a tail always is.
    let ends = match tail {
        0 => headers.end <= len,
        _ => headers.end == len,
    };
    if !ends || headers.end < headers.body {
        return Err(Error::BadHeaders);
    }
    let whole = Whole {
        len: headers.end,
        ..whole
    };
    let build = |whole, size| built(whole, wanted.vlan, Some(headers), size);
    if !cut {
        let payload = headers.transport.map_or(0, |(_, payload)| payload);
        return match headers.is_hidden || payload > whole.len {
            true => Err(Error::BadHeaders),
            false => Ok((build(whole, 0), None)),
        };
    }
    let segment_size = usize::from(wanted.segment_size);
    let Some((Transport::Tcp, payload)) = headers.transport else {
        return Err(Error::BadHeaders);
    };
    if !segmentation.takes(payload, segment_size) || whole.len < payload {
        return Err(Error::BadLength {
            len: payload + segment_size,
        });
    }
    let data = whole.len - payload;
    if data <= segment_size {
        return Ok((build(whole, 0), None));
    }
    let flags = headers.body + 12;
    let word = packet::word(head, flags).ok_or(Error::BadHeaders)?;
    if word & FIN == 0 {
        return Ok((build(whole, wanted.segment_size), None));
    }
    if tail > 0 {
        return Err(Error::BadHeaders);
    }
    let done = (data - 1) / segment_size * segment_size;
    let most = Whole {
        len: payload + done,
        ..whole
    };
    let mut most = build(most, wanted.segment_size);
    most.patches[3] = Some((flags, word & !(FIN | PSH)));
    let last = LastSegment {
        headers: *headers,
        payload,
        from: payload + done,
        len: whole.len - done,
        number: (done / segment_size) as u16,
    };
    Ok((most, Some(last)))
}

/// The last segment of a frame that is cut.
pub struct LastSegment {
    headers: Headers,
    /// Where the frame's payload starts, and where that of the last segment does.
    pub payload: usize,
    pub from: usize,
    /// Bytes of the segment, headers included.
    pub len: usize,
    /// How many segments are before it.
    number: u16,
}

impl LastSegment {
    /// Makes of the frame's headers those of the segment, as the card would have.
    pub fn renumber(&self, head: &mut [u8; HEAD]) -> Result<(), Error> {
        let Headers {
            network, ip, body, ..
        } = self.headers;
        let mut add = |at: usize, more: u32| {
            let word = packet::word(&head[..], at).ok_or(Error::BadHeaders)?;
            let sum = u32::from(word) + more;
            head[at..at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
            Ok(sum >> 16)
        };
        let done = self.from - self.payload;
        // The lengths are those of the whole frame, so that less is more, modulo 2^16.
        let shorter = (done as u32).wrapping_neg() & 0xffff;
        match network {
            Network::Ipv4 => {
                add(ip + 2, shorter)?;
                add(ip + 4, self.number.into())?;
            }
            Network::Ipv6 => {
                add(ip + 4, shorter)?;
            }
        }
        let carry = add(body + 6, done as u32)?;
        add(body + 4, carry).map(drop)
    }
}

/// A frame with the work for the card: to put a VLAN tag in; to fill in the checksums that its `headers` have;
/// to cut it into segments with so many bytes of payload each, if that is not 0.
fn built(
    whole: Whole<'_>,
    vlan: Option<u16>,
    headers: Option<&Headers>,
    segment_size: u16,
) -> Frame {
    let mut frame = Frame::plain(whole.len, whole.tail);
    let mut lengths = u32::from(vlan.unwrap_or(0)) << tx::HIGH_SHIFT;
    let (mut kind, mut segment) = (0, 0);
    if vlan.is_some() {
        frame.command |= tx::VLE;
    }
    let Some(headers) = headers else {
        lengths |= 14 << tx::MAC_LENGTH_SHIFT;
        frame.context = vlan.map(|_| tx::context(lengths, 0, 0));
        return frame;
    };
    let &Headers {
        network, ip, body, ..
    } = headers;
    lengths |= (ip as u32) << tx::MAC_LENGTH_SHIFT | (body - ip) as u32;
    if network == Network::Ipv4 {
        kind |= tx::IPV4;
        frame.options |= tx::IXSM;
        frame.patches[0] = Some((ip + 10, 0));
    }
    if let Some((transport, payload)) = headers.transport {
        let (checksum, protocol) = match transport {
            Transport::Tcp => (16, tx::TCP),
            Transport::Udp => (6, 0),
        };
        kind |= protocol;
        frame.options |= tx::TXSM;
        let mut counted = whole.len - body;
        if segment_size > 0 {
            counted = 0;
            let header = (payload - body) as u32;
            segment = u32::from(segment_size) << tx::HIGH_SHIFT | header << tx::L4_LENGTH_SHIFT;
            frame = frame.sealed(payload);
            frame.command |= tx::TSE;
            let length = match network {
                Network::Ipv4 => 2,
                Network::Ipv6 => 4,
            };
            frame.patches[2] = Some((ip + length, 0));
        }
        let seed = headers.pseudo_sum(whole.head, counted);
        frame.patches[1] = Some((body + checksum, seed));
    }
    frame.context = Some(tx::context(lengths, kind, segment));
    frame
}
