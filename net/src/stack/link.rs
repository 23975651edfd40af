//! The two devices that smoltcp sees: the card, and one received frame.

use super::{checksum, instant};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities};
use smoltcp::phy::{PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// The card, and for smoltcp one that does checksums: see [`checksum`].
pub(super) struct Port<D> {
    pub device: D,
    /// Set when a frame found no room; cleared at the start of a poll.
    pub full: bool,
    /// What the card leaves to software.
    pub software: ChecksumCapabilities,
    /// The checksum of the UDP datagram that smoltcp fragments, or will next.
    pub large: u16,
}

impl<D: Device> Port<D> {
    pub fn new(device: D) -> Self {
        Port {
            full: false,
            software: device.capabilities().checksum,
            large: 0,
            device,
        }
    }
}

impl<D: Device> Port<D> {
    /// Room for a frame whose checksums its maker fills in, as far as they are software's.
    pub fn frame(&mut self, now: u64) -> Option<(D::TxToken<'_>, &ChecksumCapabilities)> {
        let token = self.device.transmit(instant(now));
        self.full |= token.is_none();
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
        let (frame, reply) = self.device.receive(now)?;
        Some((frame, Fill::new(reply, &self.software, self.large)))
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        let token = self.device.transmit(now);
        self.full |= token.is_none();
        Some(Fill::new(token?, &self.software, self.large))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.device.capabilities();
        capabilities.checksum.ipv4 = Checksum::None;
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.udp = Checksum::None;
        capabilities
    }
}

/// Room for a frame, in which checksums are filled in.
pub(super) struct Fill<'a, T> {
    token: T,
    software: &'a ChecksumCapabilities,
    large: u16,
}

impl<'a, T> Fill<'a, T> {
    pub fn new(token: T, software: &'a ChecksumCapabilities, large: u16) -> Self {
        Fill {
            token,
            software,
            large,
        }
    }
}

impl<T: TxToken> TxToken for Fill<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.token.consume(len, |frame| {
            let result = f(frame);
            checksum::fill(frame, self.software, self.large);
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
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
