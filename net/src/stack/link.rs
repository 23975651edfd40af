//! The two devices that smoltcp sees: the card, and one received frame.

use super::card::Card;
use super::segmentation::{self, Segmenter};
use super::{checksum, instant};
use abi::nic::Segmentation;
use core::num::NonZeroUsize;
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities};
use smoltcp::phy::{PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// The card, and for smoltcp one that does checksums and cuts segments: see [`checksum`] and
/// [`segmentation`].
pub(super) struct Port<D> {
    pub device: D,
    /// Set when a frame found no room; cleared at the start of a poll.
    pub full: bool,
    /// Frames since that was set to 0.
    pub frames: usize,
    /// What the card leaves to software.
    pub software: ChecksumCapabilities,
    /// Octets of data in the longest segment that fits a frame (RFC 9293 §3.7.1).
    pub mss: usize,
    /// The segment that is being cut.
    segmenter: Segmenter,
    /// What the card cuts itself.
    segmentation: Segmentation,
}

impl<D: Device> Port<D> {
    pub fn new(device: D) -> Self
    where
        D: Card,
    {
        let capabilities = device.capabilities();
        Port {
            full: false,
            frames: 0,
            segmentation: device.segmentation(),
            mss: capabilities
                .max_transmission_unit
                .saturating_sub(segmentation::HEADERS),
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
        self.frames += 1;
        Some((token?, &self.software))
    }
}

impl<D: Device> Device for Port<D> {
    type RxToken<'a>
        = D::RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Fill<'a, D::TxToken<'a>>
    where
        Self: 'a;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        if !self.finish(now) {
            return None;
        }
        let (frame, reply) = self.device.receive(now)?;
        Some((frame, Fill::new(reply, &self.software)))
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        if !self.finish(now) {
            return None;
        }
        let token = self.device.transmit(now);
        self.full |= token.is_none();
        self.frames += 1;
        Some(Fill {
            cutting: Some((&mut self.segmenter, &self.segmentation)),
            ..Fill::new(token?, &self.software)
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.device.capabilities();
        capabilities.checksum.ipv4 = Checksum::None;
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.udp = Checksum::None;
        let most = match self.segmentation.frame_max {
            0 => usize::MAX,
            most => most as usize,
        };
        let longest = segmentation::longest(capabilities.max_transmission_unit, most);
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(longest);
        capabilities
    }
}

/// Room for a frame, in which checksums are filled in; or for the first one of a segment that
/// is cut.
pub(super) struct Fill<'a, T> {
    token: T,
    software: &'a ChecksumCapabilities,
    /// What cuts a segment here, and which ones the card cuts.
    cutting: Option<(&'a mut Segmenter, &'a Segmentation)>,
    /// Octets in each frame of a segment that is to be cut here.
    size: Option<usize>,
}

impl<'a, T> Fill<'a, T> {
    /// Room for a reply: that is no fragment, and short.
    pub fn new(token: T, software: &'a ChecksumCapabilities) -> Self {
        Fill {
            token,
            software,
            cutting: None,
            size: None,
        }
    }
}

impl<T: TxToken> Fill<'_, T> {
    /// As [`TxToken::consume`], of a long segment. Its first frame has room now.
    #[cold]
    fn begin<R>(self, len: usize, size: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let Some((segmenter, _)) = self.cutting else {
            return self.token.consume(len, f);
        };
        let result = f(segmenter.room(len));
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
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        if let Some(size) = self.size {
            return self.begin(len, size, f);
        }
        self.token.consume(len, |frame| {
            let result = f(frame);
            checksum::fill(frame, self.software);
            result
        })
    }

    #[inline]
    fn set_meta(&mut self, mut meta: PacketMeta) {
        if let Some(size) = meta.segmentation_offload_size
            && let Some((_, card)) = self.cutting
            && !card.takes(segmentation::HEADERS, size.get().into())
        {
            meta.segmentation_offload_size = None;
            self.size = Some(size.get().into());
        }
        self.token.set_meta(meta);
    }
}

/// A frame that was looked at, on its way to smoltcp; and room for the reply, which is
/// still there afterwards if smoltcp had none.
pub(super) struct OneFrame<'f, T> {
    pub frame: Option<&'f [u8]>,
    pub reply: Option<T>,
}

impl<'f, T: TxToken> Device for OneFrame<'f, T> {
    type RxToken<'a>
        = Looked<'f>
    where
        Self: 'a;
    type TxToken<'a>
        = Reply<'a, T>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Looked<'f>, Reply<'_, T>)> {
        Some((Looked(self.frame.take()?), Reply(&mut self.reply)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Reply<'_, T>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities::default()
    }
}

pub(super) struct Looked<'f>(&'f [u8]);

impl RxToken for Looked<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Reply<'a, T>(&'a mut Option<T>);

impl<T: TxToken> TxToken for Reply<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match self.0.take() {
            Some(token) => token.consume(len, f),
            // smoltcp sends at most one reply, so this is for completeness: it is lost.
            None => f(&mut alloc::vec![0; len]),
        }
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        if let Some(token) = &mut self.0 {
            token.set_meta(meta);
        }
    }
}
