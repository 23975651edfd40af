//! The two devices that smoltcp sees: the card, and one received datagram.
//!
//! Both carry IPv4 packets, so that smoltcp knows no stations and asks for none. The header of
//! the frame is put in front here, in the place where the card sends from: that of an answer is
//! turned round, that of what a connection sends names the station of its next hop
//! ([`super::neighbors`]).

use super::card::Card;
use super::ethernet::{self, ETHERNET, Header, Station};
use super::segmentation::{self, Segmenter};
use super::tcp::tcb::Tcb;
use super::{checksum, instant};
use crate::config::Config;
use abi::nic::Segmentation;
use core::num::{NonZeroU16, NonZeroUsize};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities};
use smoltcp::phy::{Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// The card, and for smoltcp one that does checksums and cuts segments: see [`checksum`] and
/// [`segmentation`].
pub(crate) struct Port<D> {
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

impl<D: Device> Port<D> {
    pub fn new(device: D) -> Self
    where
        D: Card,
    {
        let capabilities = device.capabilities();
        let frame_max = capabilities.max_transmission_unit;
        Port {
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

/// The card as smoltcp sees it when it may send.
pub(crate) struct Sending<'p, D> {
    pub port: &'p mut Port<D>,
    /// The variables of the connection whose turn it is.
    pub tcb: Option<&'p mut Tcb>,
    /// The header of its frames. Without one there is no room, whatever the card has.
    pub header: Option<Header>,
}

impl<D: Device> Device for Sending<'_, D> {
    type RxToken<'a>
        = D::RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Framed<Fill<'a, D::TxToken<'a>>>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        let header = self.header?;
        let room = self.port.room(now, self.tcb.as_deref_mut())?;
        Some(Framed { header, room })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.port.capabilities()
    }
}

/// Room for a packet, behind the header of its frame.
pub(crate) struct Framed<T> {
    header: Header,
    room: T,
}

impl<T: TxToken> TxToken for Framed<T> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.room.consume(ETHERNET + len, |frame| {
            let (header, packet) = frame.split_at_mut(ETHERNET);
            header.copy_from_slice(&self.header);
            f(packet)
        })
    }

    #[inline]
    fn set_meta(&mut self, meta: PacketMeta) {
        self.room.set_meta(meta);
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

/// An IPv4 datagram that was parsed, on its way to smoltcp; and room for the reply, which is
/// still there afterwards if smoltcp had none.
pub(crate) struct Arriving<'f, T> {
    datagram: Option<&'f [u8]>,
    /// The header of the reply's frame: it goes where the datagram has come from.
    header: Header,
    pub reply: Option<T>,
}

impl<'f, T> Arriving<'f, T> {
    /// A datagram that has come from this station.
    pub fn new(datagram: &'f [u8], station: Station, (own, reply): (&Config, Option<T>)) -> Self {
        Arriving {
            datagram: Some(datagram),
            header: Station(own.mac).header(station, ethernet::IPV4),
            reply,
        }
    }
}

/// The device on which such a datagram arrives, for the connection with these variables.
pub(crate) struct Receiving<'o, 'f, T> {
    pub arriving: &'o mut Arriving<'f, T>,
    pub tcb: &'o mut Tcb,
}

impl<'f, T: TxToken> Device for Receiving<'_, 'f, T> {
    type RxToken<'a>
        = Looked<'f>
    where
        Self: 'a;
    type TxToken<'a>
        = Framed<Reply<'a, T>>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Looked<'f>, Self::TxToken<'_>)> {
        let datagram = self.arriving.datagram.take()?;
        let header = self.arriving.header;
        let room = Reply(&mut self.arriving.reply, self.tcb);
        Some((Looked(datagram), Framed { header, room }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        None
    }

    /// smoltcp has asked the card, when the interface was made.
    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities::default()
    }
}

pub(crate) struct Looked<'f>(&'f [u8]);

impl RxToken for Looked<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(crate) struct Reply<'a, T>(&'a mut Option<T>, &'a mut Tcb);

impl<T: TxToken> TxToken for Reply<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let make = |frame: &mut [u8]| {
            let result = f(frame);
            self.1.leaves(frame);
            result
        };
        match self.0.take() {
            Some(token) => token.consume(len, make),
            // smoltcp sends at most one reply, so this is for completeness: it is lost.
            None => make(&mut alloc::vec![0; len]),
        }
    }
}
