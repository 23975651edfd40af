//! From a frame and what shall be done to it to what the card is told (§7.2.4, §7.2.5).
//!
//! The card adds up what a frame holds from its TCP or UDP header on; the sum of the pseudo header
//! must be in the checksum's place already. Where it cuts a segment, the lengths are its own: they,
//! and the checksum of the IPv4 header, must be zero. QEMU's card finds all this out for itself.
//!
//! It also clears FIN and PSH in all segments that it cuts, where silicon leaves them in the last.
//! PSH is advice; but FIN is not, so the last segment of a frame with FIN is sent by itself.

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
    /// Headers that come first, in a buffer of their own: so many bytes from the start of the
    /// sender's. 0: there are none.
    pub header: usize,
    /// The bytes that are sent from the sender's buffer, zeros behind them included.
    pub body: Range<usize>,
    /// Bytes that follow from elsewhere.
    pub tail: usize,
    /// Zeros at the end of the body.
    padding: usize,
    /// 16-bit fields of the headers to be overwritten, by offset.
    patches: [Option<(usize, u16)>; PATCHES],
    /// The 8 bits of TCP flags, by offset.
    flags: Option<(usize, u8)>,
    /// The TCP sequence number, by offset.
    sequence: Option<(usize, u32)>,
    /// Context descriptor that it needs, with number 0.
    pub context: Option<[u32; 4]>,
    /// Its data descriptors' command, without length.
    pub command: u32,
    /// Their options, without the number of the context.
    pub options: u32,
}

const PATCHES: usize = 4;

impl Frame {
    /// A frame of `len` bytes, the last `tail` of which are elsewhere, that is sent as it is.
    pub fn plain(len: usize, tail: usize) -> Self {
        let own = len - tail;
        let padding = if len < TAKEN && tail == 0 {
            WIRE - len
        } else {
            0
        };
        Frame {
            header: 0,
            body: 0..own + padding,
            tail,
            padding,
            patches: [None; PATCHES],
            flags: None,
            sequence: None,
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
        self.header + self.body.len() + self.tail
    }

    /// Descriptors it needs at most.
    pub fn descriptors(&self) -> usize {
        let pieces = self.body.len().div_ceil(PIECE) + self.tail.div_ceil(PIECE);
        usize::from(self.context.is_some()) + usize::from(self.header > 0) + pieces
    }

    /// Writes what differs from the sender's bytes: fields of the headers, which start at `headers`
    /// in the arena, and zeros behind the body, which starts at `body`.
    pub fn patch<B: Bus>(&self, bus: &mut B, headers: usize, body: usize) {
        if self.padding > 0 {
            let end = body + self.body.len();
            bus.copy_in(end - self.padding, &ZEROS[..self.padding]);
        }
        for (at, value) in self.patches.iter().flatten() {
            bus.copy_in(headers + at, &value.to_be_bytes());
        }
        if let Some((at, flags)) = self.flags {
            bus.copy_in(headers + at, &[flags]);
        }
        if let Some((at, sequence)) = self.sequence {
            bus.copy_in(headers + at, &sequence.to_be_bytes());
        }
    }
}

/// The pieces of a run of bytes that have descriptors of their own.
pub fn pieces(run: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = run.end;
    run.step_by(PIECE)
        .map(move |start| start..end.min(start + PIECE))
}

/// What the card can be asked for.
pub struct Limits {
    pub frame_max: usize,
    pub segmentation: Segmentation,
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

/// What to send for a frame: one, or the second as well.
///
/// # Errors
/// [`Error::BadLength`], [`Error::BadHeaders`], [`Error::BadVlan`].
pub fn plan(
    whole: Whole<'_>,
    headers: Option<&Headers>,
    wanted: &SendOptions,
    limits: &Limits,
) -> Result<(Frame, Option<Frame>), Error> {
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
        limits.segmentation.frame_max as usize
    } else {
        limits.frame_max
    };
    if len == 0 || len > longest {
        return Err(Error::BadLength { len });
    }
    let Some(headers) = headers.filter(|_| wanted.checksums || cut) else {
        if cut {
            return Err(Error::BadHeaders);
        }
        return Ok((tagged(Frame::plain(len, tail), wanted.vlan, None), None));
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
    if !cut {
        let one = checksummed(whole, headers, wanted)?;
        return Ok((one, None));
    }
    let segment_size = usize::from(wanted.segment_size);
    let Some((Transport::Tcp, payload)) = headers.transport else {
        return Err(Error::BadHeaders);
    };
    if !limits.segmentation.takes(payload, segment_size) || whole.len < payload {
        return Err(Error::BadLength {
            len: payload + segment_size,
        });
    }
    let data = whole.len - payload;
    if data <= segment_size {
        return Ok((checksummed(whole, headers, wanted)?, None));
    }
    if head[headers.body + 13] & FIN == 0 {
        return Ok((segmented(whole, headers, payload, wanted), None));
    }
    if tail > 0 {
        return Err(Error::BadHeaders);
    }
    let cut_at = payload + (data - 1) / segment_size * segment_size;
    let most = Whole {
        len: cut_at,
        ..whole
    };
    let mut most = segmented(most, headers, payload, wanted);
    let flags = headers.body + 13;
    most.flags = Some((flags, head[flags] & !(FIN | PSH)));
    let last = last_segment(whole, headers, payload, cut_at, wanted)?;
    Ok((most, Some(last)))
}

/// A frame whose checksums the card fills in.
fn checksummed(whole: Whole<'_>, headers: &Headers, wanted: &SendOptions) -> Result<Frame, Error> {
    if headers.fragment {
        return Err(Error::BadHeaders);
    }
    let mut frame = Frame::plain(whole.len, whole.tail);
    if headers.network == Network::Ipv4 {
        frame.options |= tx::IXSM;
        frame.patches[0] = Some((headers.ip + 10, 0));
    }
    if let Some((transport, payload)) = headers.transport {
        if payload > whole.len {
            return Err(Error::BadHeaders);
        }
        frame.options |= tx::TXSM;
        let seed = headers.pseudo_sum(whole.head, whole.len - headers.body);
        frame.patches[1] = Some((checksum_at(headers, transport), seed));
    }
    Ok(tagged(frame, wanted.vlan, Some((headers, 0))))
}

/// A frame that the card cuts into segments.
fn segmented(whole: Whole<'_>, headers: &Headers, payload: usize, wanted: &SendOptions) -> Frame {
    let mut frame = Frame {
        options: tx::TXSM,
        command: tx::DATA | tx::TSE,
        ..Frame::plain(whole.len, whole.tail)
    }
    .sealed(payload);
    match headers.network {
        Network::Ipv4 => {
            frame.options |= tx::IXSM;
            frame.patches[0] = Some((headers.ip + 10, 0));
            frame.patches[2] = Some((headers.ip + 2, 0));
        }
        Network::Ipv6 => frame.patches[2] = Some((headers.ip + 4, 0)),
    }
    let seed = headers.pseudo_sum(whole.head, 0);
    frame.patches[1] = Some((checksum_at(headers, Transport::Tcp), seed));
    tagged(frame, wanted.vlan, Some((headers, wanted.segment_size)))
}

/// The last segment of a frame, from `cut_at` on, as the card would have made it.
fn last_segment(
    whole: Whole<'_>,
    headers: &Headers,
    payload: usize,
    cut_at: usize,
    wanted: &SendOptions,
) -> Result<Frame, Error> {
    let head = whole.head;
    let len = payload + whole.len - cut_at;
    let alone = Whole { len, ..whole };
    let mut frame = checksummed(alone, headers, wanted)?;
    frame.header = payload;
    frame.body = cut_at..whole.len;
    let done = (cut_at - payload) as u32;
    match headers.network {
        Network::Ipv4 => {
            let segments = done / u32::from(wanted.segment_size);
            let number = packet::word(head, headers.ip + 4).ok_or(Error::BadHeaders)?;
            frame.patches[2] = Some((headers.ip + 2, (len - headers.ip) as u16));
            frame.patches[3] = Some((headers.ip + 4, number.wrapping_add(segments as u16)));
        }
        Network::Ipv6 => frame.patches[2] = Some((headers.ip + 4, (len - headers.body) as u16)),
    }
    let at = headers.body + 4;
    let high = packet::word(head, at).ok_or(Error::BadHeaders)?;
    let low = packet::word(head, at + 2).ok_or(Error::BadHeaders)?;
    let sequence = u32::from(high) << 16 | u32::from(low);
    frame.sequence = Some((at, sequence.wrapping_add(done)));
    Ok(frame)
}

fn checksum_at(headers: &Headers, transport: Transport) -> usize {
    headers.body
        + match transport {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
}

/// Adds the VLAN tag, and the context that the frame needs for it and for its `headers`, cut into
/// segments of a size or 0.
fn tagged(mut frame: Frame, vlan: Option<u16>, work: Option<(&Headers, u16)>) -> Frame {
    if vlan.is_some() {
        frame.command |= tx::VLE;
    }
    if vlan.is_none() && work.is_none() {
        return frame;
    }
    let mut lengths = u32::from(vlan.unwrap_or(0)) << tx::HIGH_SHIFT;
    let mut kind = 0;
    let mut segment = 0;
    if let Some((headers, segment_size)) = work {
        lengths |= (headers.ip as u32) << tx::MAC_LENGTH_SHIFT;
        lengths |= (headers.body - headers.ip) as u32;
        if headers.network == Network::Ipv4 {
            kind |= tx::IPV4;
        }
        if let Some((Transport::Tcp, payload)) = headers.transport {
            kind |= tx::TCP;
            if segment_size > 0 {
                let l4 = (payload - headers.body) as u32;
                segment = u32::from(segment_size) << tx::HIGH_SHIFT | l4 << tx::L4_LENGTH_SHIFT;
            }
        }
    } else {
        // The tag alone.
        lengths |= 14 << tx::MAC_LENGTH_SHIFT;
    }
    frame.context = Some(tx::context(lengths, kind, segment));
    frame
}
