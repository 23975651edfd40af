//! The two devices that smoltcp sees: the card, and one received frame.

use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// The card, remembering whether it ran out of room.
pub(super) struct Port<D> {
    pub device: D,
    /// Set when a frame found no room; cleared at the start of a poll.
    pub full: bool,
}

impl<D: Device> Device for Port<D> {
    type RxToken<'a>
        = D::RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = D::TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.device.receive(now)
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        let token = self.device.transmit(now);
        self.full |= token.is_none();
        token
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
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
