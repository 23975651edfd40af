//! From a frame and what shall be done to it to what the card is told (§7.2.4, §7.2.5).
//!
//! The card adds up what a frame holds from its TCP or UDP header on; the sum of the pseudo header
//! must be in the checksum's place already. Where it cuts a segment, the lengths are its own: they,
//! and the checksum of the IPv4 header, must be zero. QEMU's card finds all this out for itself.
//!
//! It also clears FIN and PSH in all segments that it cuts, where silicon leaves them in the last.
//! PSH is advice; but FIN is not, so the last segment of a frame with FIN is sent by itself.

use super::chip::Chip;
use super::config::BUFFER;
use super::descriptor::tx;
use super::packet::{self, FIN, Headers, Network, PSH, Transport};
use crate::{Bus, Error, SendOptions};
use core::ops::Range;

/// Frames shorter than this are lengthened, with zeros, to the least length on a wire: the card
/// takes none of 16 bytes or less (§7.2.1.1), and QEMU's drops those below 14.
const TAKEN: usize = 17;
const WIRE: usize = 60;
const ZEROS: [u8; WIRE] = [0; WIRE];
/// The least size of a segment: smaller ones keep the card busy with headers.
const SEGMENT_LEAST: usize = 64;
/// The highest VLAN number.
const VLAN_MAX: u16 = 4094;

/// A frame as it goes into a ring.
pub struct Frame<'a> {
    /// Its bytes: those of the first, then those of the second.
    parts: [&'a [u8]; 2],
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

impl<'a> Frame<'a> {
    /// A frame that is sent as it is.
    pub fn plain(bytes: &'a [u8]) -> Self {
        let padding = if bytes.len() < TAKEN {
            WIRE - bytes.len()
        } else {
            0
        };
        Frame {
            parts: [bytes, &ZEROS[..padding]],
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
        self.options |= ((self.len() - headers) as u32) << tx::LENGTH_SHIFT;
        self
    }

    pub fn len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }

    /// Descriptors it needs at most.
    pub fn descriptors(&self) -> usize {
        self.buffers() + usize::from(self.context.is_some())
    }

    /// Buffers it needs.
    pub fn buffers(&self) -> usize {
        self.len().div_ceil(BUFFER)
    }

    /// Copies a range of it into a buffer.
    pub fn copy_in<B: Bus>(&self, chip: &mut Chip<B>, buffer: u16, range: Range<usize>) {
        let offset = chip.layout.buffer(buffer);
        let bus = &mut chip.bus;
        let [first, second] = self.parts;
        let of_first = range.start.min(first.len())..range.end.min(first.len());
        bus.copy_in(offset, &first[of_first.clone()]);
        if range.end > first.len() {
            let of_second = range.start.max(first.len()) - first.len()..range.end - first.len();
            bus.copy_in(offset + of_first.len(), &second[of_second]);
        }
        if range.start == 0 {
            // All headers are in the first buffer.
            for (at, value) in self.patches.iter().flatten() {
                bus.copy_in(offset + at, &value.to_be_bytes());
            }
            if let Some((at, flags)) = self.flags {
                bus.copy_in(offset + at, &[flags]);
            }
            if let Some((at, sequence)) = self.sequence {
                bus.copy_in(offset + at, &sequence.to_be_bytes());
            }
        }
    }
}

/// What the card can be asked for.
pub struct Limits {
    pub frame_max: usize,
    pub segment_max: usize,
}

/// What to send for a frame: one, or the second as well.
///
/// # Errors
/// [`Error::BadLength`], [`Error::BadHeaders`], [`Error::BadVlan`].
pub fn plan<'a>(
    frame: &'a [u8],
    headers: Option<&Headers>,
    wanted: &SendOptions,
    limits: &Limits,
) -> Result<(Frame<'a>, Option<Frame<'a>>), Error> {
    let len = frame.len();
    if let Some(tag) = wanted.vlan {
        if tag & 0xfff > VLAN_MAX {
            return Err(Error::BadVlan { vlan: tag & 0xfff });
        }
        // A frame with two tags would need the card to be told of another EtherType.
        if packet::word(frame, 12) == Some(0x8100) {
            return Err(Error::BadHeaders);
        }
    }
    let cut = wanted.segment_size > 0;
    let longest = if cut {
        limits.segment_max
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
        return Ok((tagged(Frame::plain(frame), wanted.vlan, None), None));
    };
    let body = frame
        .get(..headers.end)
        .filter(|body| body.len() >= headers.body);
    let whole = body.ok_or(Error::BadHeaders)?;
    if !cut {
        let one = checksummed(whole, headers, wanted)?;
        return Ok((one, None));
    }
    let segment_size = usize::from(wanted.segment_size);
    let Some((Transport::Tcp, payload)) = headers.transport else {
        return Err(Error::BadHeaders);
    };
    let fits = segment_size >= SEGMENT_LEAST && payload + segment_size <= limits.frame_max;
    if !fits || whole.len() < payload {
        return Err(Error::BadLength {
            len: payload + segment_size,
        });
    }
    let data = whole.len() - payload;
    if data <= segment_size {
        return Ok((checksummed(whole, headers, wanted)?, None));
    }
    if whole[headers.body + 13] & FIN == 0 {
        return Ok((segmented(whole, headers, payload, wanted), None));
    }
    let cut_at = payload + (data - 1) / segment_size * segment_size;
    let mut most = segmented(&whole[..cut_at], headers, payload, wanted);
    let flags = headers.body + 13;
    most.flags = Some((flags, whole[flags] & !(FIN | PSH)));
    let last = last_segment(whole, headers, payload, cut_at, wanted)?;
    Ok((most, Some(last)))
}

/// A frame whose checksums the card fills in.
fn checksummed<'a>(
    whole: &'a [u8],
    headers: &Headers,
    wanted: &SendOptions,
) -> Result<Frame<'a>, Error> {
    if headers.fragment {
        return Err(Error::BadHeaders);
    }
    let mut frame = Frame::plain(whole);
    if headers.network == Network::Ipv4 {
        frame.options |= tx::IXSM;
        frame.patches[0] = Some((headers.ip + 10, 0));
    }
    if let Some((transport, payload)) = headers.transport {
        if payload > whole.len() {
            return Err(Error::BadHeaders);
        }
        frame.options |= tx::TXSM;
        let seed = headers.pseudo_sum(whole, whole.len() - headers.body);
        frame.patches[1] = Some((checksum_at(headers, transport), seed));
    }
    Ok(tagged(frame, wanted.vlan, Some((headers, 0))))
}

/// A frame that the card cuts into segments.
fn segmented<'a>(
    whole: &'a [u8],
    headers: &Headers,
    payload: usize,
    wanted: &SendOptions,
) -> Frame<'a> {
    let mut frame = Frame {
        options: tx::TXSM,
        command: tx::DATA | tx::TSE,
        ..Frame::plain(whole)
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
    let seed = headers.pseudo_sum(whole, 0);
    frame.patches[1] = Some((checksum_at(headers, Transport::Tcp), seed));
    tagged(frame, wanted.vlan, Some((headers, wanted.segment_size)))
}

/// The last segment of a frame, from `cut_at` on, as the card would have made it.
fn last_segment<'a>(
    whole: &'a [u8],
    headers: &Headers,
    payload: usize,
    cut_at: usize,
    wanted: &SendOptions,
) -> Result<Frame<'a>, Error> {
    let (top, tail) = (&whole[..payload], &whole[cut_at..]);
    let mut frame = checksummed(top, headers, wanted)?;
    frame.parts = [top, tail];
    frame.options &= (1 << tx::LENGTH_SHIFT) - 1;
    let len = frame.len();
    frame = frame.sealed(0);
    let seed = headers.pseudo_sum(whole, len - headers.body);
    frame.patches[1] = Some((checksum_at(headers, Transport::Tcp), seed));
    let done = (cut_at - payload) as u32;
    match headers.network {
        Network::Ipv4 => {
            let segments = done / u32::from(wanted.segment_size);
            let number = packet::word(whole, headers.ip + 4).ok_or(Error::BadHeaders)?;
            frame.patches[2] = Some((headers.ip + 2, (len - headers.ip) as u16));
            frame.patches[3] = Some((headers.ip + 4, number.wrapping_add(segments as u16)));
        }
        Network::Ipv6 => frame.patches[2] = Some((headers.ip + 4, (len - headers.body) as u16)),
    }
    let at = headers.body + 4;
    let high = packet::word(whole, at).ok_or(Error::BadHeaders)?;
    let low = packet::word(whole, at + 2).ok_or(Error::BadHeaders)?;
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
fn tagged<'a>(mut frame: Frame<'a>, vlan: Option<u16>, work: Option<(&Headers, u16)>) -> Frame<'a> {
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
