//! The link: Ethernet, and what the card leaves to software: checksums, and long segments that are
//! cut. What is received in pieces is joined.

pub(crate) mod checksum;
pub(crate) mod ethernet;
pub(crate) mod joining;
pub(crate) mod lookahead;
pub(crate) mod offload;
pub(crate) mod segmentation;

use crate::link::ethernet::ETHERNET;
use crate::link::lookahead::LookAhead;
use crate::link::segmentation::Segmenter;
use crate::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Instant, Medium, PacketMeta,
    TxToken, instant,
};
use crate::tcp::tcb::Tcb;
use abi::nic::Segmentation;
use core::num::{NonZeroU16, NonZeroUsize};

/// The card, and for smoltcp one that does checksums and cuts segments: see [`checksum`] and
/// [`segmentation`].
pub(crate) struct Link<D> {
    pub device: D,
    /// Set when a frame found no room; cleared at the start of a poll.
    pub full: bool,
    /// Frames that left in turns since that was set to 0.
    pub frames: usize,
    /// Octets of the longest frame.
    pub frame_max: usize,
    /// What the card leaves to software.
    pub software: ChecksumCapabilities,
    /// Octets of data in the longest segment that fits a frame (RFC 9293 §3.7.1).
    pub mss: usize,
    /// The segment that is being cut.
    segmenter: Segmenter,
    /// What the card cuts itself.
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
            frames: 0,
            segmentation: device.segmentation(),
            frame_max,
            mss: frame_max.saturating_sub(segmentation::HEADERS),
            software: capabilities.checksum,
            segmenter: Segmenter::default(),
            device,
        }
    }

    /// Whether a long segment has not left completely.
    #[inline]
    pub fn is_cutting(&self) -> bool {
        self.segmenter.next_len().is_some()
    }

    /// Sends the rest of a long segment. `false` if the card is full before its end.
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
            self.frames += 1;
            token.consume(len, |frame| self.segmenter.next(frame));
        }
        true
    }

    /// Room for a frame whose checksums its maker fills in, as far as they are software's.
    pub fn frame(&mut self, now: u64) -> Option<(D::TxToken<'_>, &ChecksumCapabilities)> {
        let token = self.device.transmit(instant(now));
        self.full |= token.is_none();
        Some((token?, &self.software))
    }

    /// Room for a frame without checksums, perhaps of the connection with these variables.
    #[inline]
    pub fn room<'a>(
        &'a mut self,
        now: Instant,
        tcb: Option<&'a mut Tcb>,
    ) -> Option<Fill<'a, D::TxToken<'a>>> {
        if !self.finish(now) {
            return None;
        }
        let token = self.device.transmit(now);
        self.full |= token.is_none();
        self.frames += 1;
        Some(Fill {
            cutting: Some((&mut self.segmenter, &self.segmentation)),
            tcb,
            ..Fill::new(token?, &self.software)
        })
    }

    /// What smoltcp is told: that the card takes IPv4 packets, does checksums, and cuts
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
        let longest = segmentation::longest(self.frame_max, most);
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(longest - ETHERNET);
        capabilities
    }
}

/// Room for a frame, in which checksums are filled in; or for the first one of a segment that
/// is cut.
pub(crate) struct Fill<'a, T> {
    token: T,
    software: &'a ChecksumCapabilities,
    /// What cuts a segment here, and which ones the card cuts.
    cutting: Option<(&'a mut Segmenter, &'a Segmentation)>,
    /// The variables of the connection whose segment it is.
    tcb: Option<&'a mut Tcb>,
    /// Octets in each frame of a segment that smoltcp wants to have cut.
    size: Option<usize>,
}

impl<'a, T> Fill<'a, T> {
    /// Room for a reply: that is no fragment, and short.
    pub fn new(token: T, software: &'a ChecksumCapabilities) -> Self {
        Fill {
            token,
            software,
            cutting: None,
            tcb: None,
            size: None,
        }
    }
}

impl<T: TxToken> Fill<'_, T> {
    /// Octets of data in each frame of a segment in a frame of that length, if it must be cut:
    /// smoltcp wants it, or the path to the peer has become narrower than smoltcp knows.
    #[inline]
    fn piece(&self, len: usize) -> Option<usize> {
        let most = self.tcb.as_ref().map_or(usize::MAX, |tcb| tcb.mss.into());
        match self.size {
            Some(size) => Some(size.min(most)),
            None => (len - segmentation::HEADERS.min(len) > most).then_some(most),
        }
    }

    /// As [`TxToken::consume`], of a long segment that is cut here. Its first frame has room
    /// now.
    #[cold]
    fn begin<R>(self, len: usize, size: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let Some((segmenter, _)) = self.cutting else {
            return self.token.consume(len, f);
        };
        let room = segmenter.room(len);
        let result = f(room);
        if let Some(tcb) = self.tcb {
            tcb.leaves(room);
        }
        let begun = segmenter.begin(size, self.software);
        debug_assert!(begun.is_some(), "not a segment");
        if let Some(len) = segmenter.next_len() {
            self.token.consume(len, |frame| segmenter.next(frame));
        }
        result
    }
}

impl<T: TxToken> TxToken for Fill<'_, T> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        if let Some(size) = self.piece(len)
            && let Some((_, card)) = &self.cutting
        {
            if !card.takes(segmentation::HEADERS, size) {
                return self.begin(len, size, f);
            }
            let mut meta = PacketMeta::default();
            meta.segmentation_offload_size = NonZeroU16::new(size as u16);
            self.token.set_meta(meta);
        }
        self.token.consume(len, |frame| {
            let result = f(frame);
            if let Some(tcb) = self.tcb {
                tcb.leaves(frame);
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
