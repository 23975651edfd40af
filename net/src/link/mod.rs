//! The link: Ethernet headers, and what a card may leave to software. Checksums are filled in, long
//! segments are cut into frames, and received segments that follow each other are joined.

pub(crate) mod checksum;
pub(crate) mod ethernet;
pub(crate) mod joining;
pub(crate) mod offload;
pub(crate) mod segmentation;

use crate::link::ethernet::{ETHERNET, Header};
use crate::link::segmentation::Segmenter;
use crate::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Instant, LookAhead, Medium,
    PacketMeta, TxToken, instant,
};
use crate::tcp::sequence::SequenceVariables;
use abi::nic::Segmentation;
use core::num::{NonZeroU16, NonZeroUsize};

/// A card, and the software that makes it one that fills in checksums and cuts segments, as smoltcp
/// is told: see [`checksum`] and [`segmentation`].
pub(crate) struct Link<D> {
    pub device: D,
    /// Whether a frame found no room at the card. The stack clears it when a poll begins.
    pub full: bool,
    /// How many frames were sent. The stack sets it to 0 before it gives out turns.
    pub frames_sent: usize,
    /// Octets of the longest frame.
    pub frame_max: usize,
    /// The checksums that software must verify and fill in.
    pub software: ChecksumCapabilities,
    /// Octets of data in the longest segment that fits a frame over IPv4 (RFC 9293 §3.7.1).
    pub mss: usize,
    /// Holds the segment that is being cut.
    segmenter: Segmenter,
    /// The segments that the card cuts itself.
    segmentation: Segmentation,
}

impl<D: Device> Link<D> {
    pub fn new(device: D) -> Self
    where
        D: LookAhead,
    {
        let capabilities = device.capabilities();
        let frame_max = capabilities.max_transmission_unit;
        Link {
            full: false,
            frames_sent: 0,
            segmentation: device.segmentation(),
            frame_max,
            mss: frame_max.saturating_sub(segmentation::HEADERS),
            software: capabilities.checksum,
            segmenter: Segmenter::default(),
            device,
        }
    }

    /// Whether a long segment is not sent completely.
    #[inline]
    pub fn is_cutting(&self) -> bool {
        self.segmenter.next_len().is_some()
    }

    /// Sends the rest of a long segment. Returns `false` if the card is full before its end.
    #[inline]
    pub fn finish(&mut self, now: Instant) -> bool {
        !self.is_cutting() || self.cut(now)
    }

    #[cold]
    fn cut(&mut self, now: Instant) -> bool {
        while let Some(len) = self.segmenter.next_len() {
            let Some(token) = self.device.transmit(now) else {
                self.full = true;
                return false;
            };
            self.frames_sent += 1;
            token.consume(len, |frame| self.segmenter.next(frame));
        }
        true
    }

    /// The card's token for a frame whose sender fills in the checksums that are software's job, which
    /// are returned, too. `None` if the card is full.
    pub fn transmit_bare(&mut self, now: u64) -> Option<(D::TxToken<'_>, &ChecksumCapabilities)> {
        let token = self.device.transmit(instant(now));
        self.full |= token.is_none();
        Some((token?, &self.software))
    }

    /// A token for a frame, which fills in checksums and cuts segments. `sequence`: the variables of
    /// the connection that sends. `None` if the card is full.
    #[inline]
    pub fn transmit<'a>(
        &'a mut self,
        now: Instant,
        sequence: Option<&'a mut SequenceVariables>,
    ) -> Option<LinkToken<'a, D::TxToken<'a>>> {
        if !self.finish(now) {
            return None;
        }
        let token = self.device.transmit(now);
        self.full |= token.is_none();
        self.frames_sent += 1;
        Some(LinkToken {
            cutting: Some((&mut self.segmenter, &self.segmentation)),
            sequence,
            ..LinkToken::new(token?, &self.software)
        })
    }

    /// The capabilities that smoltcp is told: the card takes IP packets, does all checksums, and cuts
    /// segments.
    pub fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.device.capabilities();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.frame_max.saturating_sub(ETHERNET);
        capabilities.checksum.ipv4 = Checksum::None;
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.udp = Checksum::None;
        let most = match self.segmentation.frame_max {
            0 => usize::MAX,
            most => most as usize,
        };
        let longest = |headers| {
            let longest = segmentation::longest(headers, self.frame_max, most);
            NonZeroUsize::new(longest - ETHERNET)
        };
        capabilities.segmentation.tcpv4 = longest(segmentation::HEADERS);
        capabilities.segmentation.tcpv6 = longest(segmentation::HEADERS_V6);
        capabilities
    }
}

/// A token for a frame, in which it fills in the checksums; or for a long segment, which it cuts.
pub(crate) struct LinkToken<'a, T> {
    token: T,
    software: &'a ChecksumCapabilities,
    /// What cuts segments here, and the segments that the card cuts.
    cutting: Option<(&'a mut Segmenter, &'a Segmentation)>,
    /// The variables of the connection that sends.
    sequence: Option<&'a mut SequenceVariables>,
    /// Octets of data in each frame, if smoltcp wants the segment to be cut.
    size: Option<usize>,
    /// Octets of the headers of a segment with data: they depend on the family.
    headers: usize,
}

impl<'a, T> LinkToken<'a, T> {
    /// A token for a reply, which is short and never cut.
    pub fn new(token: T, software: &'a ChecksumCapabilities) -> Self {
        LinkToken {
            token,
            software,
            cutting: None,
            sequence: None,
            size: None,
            headers: segmentation::HEADERS,
        }
    }

    /// A token for a segment in a frame with this Ethernet header.
    #[inline]
    pub fn behind(self, header: &Header) -> Self {
        match header.ends_with(&ethernet::IPV6) {
            false => self,
            true => LinkToken {
                headers: segmentation::HEADERS_V6,
                ..self
            },
        }
    }
}

impl<T: TxToken> LinkToken<'_, T> {
    /// Octets of data in each frame, if a segment must be cut. `len`: octets of the whole frame. A
    /// segment is cut if smoltcp wants it, or if the path has a smaller MTU than smoltcp knows.
    #[inline]
    fn cut_size(&self, len: usize) -> Option<usize> {
        let most = self
            .sequence
            .as_ref()
            .map_or(usize::MAX, |sequence| sequence.mss.into());
        match self.size {
            Some(size) => Some(size.min(most)),
            None => (len - self.headers.min(len) > most).then_some(most),
        }
    }

    /// Consumes the token with a long segment that is cut here: the first frame is sent now.
    #[cold]
    fn begin_cutting<R>(self, len: usize, size: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let Some((segmenter, _)) = self.cutting else {
            return self.token.consume(len, f);
        };
        let room = segmenter.room(len);
        let result = f(room);
        if let Some(sequence) = self.sequence {
            sequence.note_sent(room);
        }
        let begun = segmenter.begin(size, self.software);
        debug_assert!(begun.is_some(), "not a segment");
        if let Some(len) = segmenter.next_len() {
            self.token.consume(len, |frame| segmenter.next(frame));
        }
        result
    }
}

impl<T: TxToken> TxToken for LinkToken<'_, T> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        if let Some(size) = self.cut_size(len)
            && let Some((_, card)) = &self.cutting
        {
            if !card.takes(self.headers, size) {
                return self.begin_cutting(len, size, f);
            }
            let mut meta = PacketMeta::default();
            meta.segmentation_offload_size = NonZeroU16::new(size as u16);
            self.token.set_meta(meta);
        }
        self.token.consume(len, |frame| {
            let result = f(frame);
            if let Some(sequence) = self.sequence {
                sequence.note_sent(frame);
            }
            checksum::fill(frame, self.software);
            result
        })
    }

    #[inline]
    fn set_meta(&mut self, meta: PacketMeta) {
        self.size = meta.segmentation_offload_size.map(|size| size.get().into());
    }
}

#[cfg(test)]
mod tests;
