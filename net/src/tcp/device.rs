//! The two devices that smoltcp sees: the card, and one received datagram.
//!
//! Both carry IPv4 packets, so that smoltcp knows no stations and asks for none. The header of
//! the frame is put in front here, in the place where the card sends from: that of an answer is
//! turned round, that of what a connection sends names the station of its next hop
//! ([`crate::ip::neighbors`]).

use crate::ip::interface::Interface;
use crate::link::ethernet::{self, ETHERNET, Header, Station};
use crate::link::{Fill, Link};
use crate::tcp::tcb::Tcb;
use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// The card as smoltcp sees it when it may send.
pub(crate) struct Sending<'p, D> {
    pub link: &'p mut Link<D>,
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
        let room = self.link.room(now, self.tcb.as_deref_mut())?;
        Some(Framed { header, room })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.link.capabilities()
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
    pub fn new(
        datagram: &'f [u8],
        station: Station,
        (own, reply): (&Interface, Option<T>),
    ) -> Self {
        Arriving {
            datagram: Some(datagram),
            header: own.station.header(station, ethernet::IPV4),
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
