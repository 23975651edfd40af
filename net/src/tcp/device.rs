//! The two devices that smoltcp's interface gets: the card, and one received datagram.
//!
//! Both carry IPv4 packets without a link layer (`Medium::Ip`), so that smoltcp has no neighbour
//! table and sends no ARP requests. The Ethernet header is put in front here, in the buffer that the
//! card sends from. A reply goes to the station that the received frame came from. What a connection
//! sends goes to the station of its next hop ([`crate::ip::neighbors`]).

use crate::link::ethernet::{ETHERNET, Header, IPV6_HEADER};
use crate::link::{Link, LinkToken};
use crate::tcp::sequence::SequenceVariables;
use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// The card, for smoltcp to send a segment of one connection.
pub(crate) struct Sending<'p, D> {
    pub link: &'p mut Link<D>,
    /// Whether the capabilities are those for IPv6, which smoltcp asks for when its interface is made.
    pub is_v6: bool,
    /// The variables of the connection whose turn it is.
    pub sequence: Option<&'p mut SequenceVariables>,
    /// The Ethernet header of the frames. If the next hop's station is not known, there is none, and
    /// smoltcp is told that the card has no room.
    pub header: Option<Header>,
}

impl<D: Device> Device for Sending<'_, D> {
    type RxToken<'a>
        = D::RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = FramedToken<LinkToken<'a, D::TxToken<'a>>>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        let header = self.header?;
        let token = self.link.transmit(now, self.sequence.as_deref_mut())?;
        let token = token.behind(&header);
        Some(FramedToken { header, token })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.link.capabilities();
        if self.is_v6 {
            capabilities.max_transmission_unit = IPV6_HEADER + usize::from(u16::MAX);
        }
        capabilities
    }
}

/// A token for IPv4 packets: it puts an Ethernet header in front.
pub(crate) struct FramedToken<T> {
    header: Header,
    token: T,
}

impl<T: TxToken> TxToken for FramedToken<T> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.token.consume(ETHERNET + len, |frame| {
            let (header, packet) = frame.split_at_mut(ETHERNET);
            header.copy_from_slice(&self.header);
            f(packet)
        })
    }

    #[inline]
    fn set_meta(&mut self, meta: PacketMeta) {
        self.token.set_meta(meta);
    }
}

/// A received IPv4 datagram for smoltcp, and the token for its reply.
pub(crate) struct Arriving<'a, T> {
    pub datagram: &'a [u8],
    /// The Ethernet header of the reply.
    pub reply_header: Header,
    /// smoltcp takes it if it replies.
    pub reply: &'a mut Option<T>,
}

/// The device on which such a datagram arrives, for the connection with these variables.
pub(crate) struct Receiving<'a, T> {
    pub datagram: Option<&'a [u8]>,
    pub reply_header: Header,
    pub reply: &'a mut Option<T>,
    pub sequence: &'a mut SequenceVariables,
}

impl<'d, T: TxToken> Device for Receiving<'d, T> {
    type RxToken<'a>
        = ReceivedToken<'d>
    where
        Self: 'a;
    type TxToken<'a>
        = FramedToken<ReplyToken<'a, T>>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(ReceivedToken<'d>, Self::TxToken<'_>)> {
        let datagram = self.datagram.take()?;
        let header = self.reply_header;
        let token = ReplyToken {
            reply: self.reply,
            sequence: self.sequence,
        };
        Some((ReceivedToken(datagram), FramedToken { header, token }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        None
    }

    /// smoltcp asked for the card's capabilities when its interface was made.
    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities::default()
    }
}

/// The token of a received datagram.
pub(crate) struct ReceivedToken<'f>(pub &'f [u8]);

impl RxToken for ReceivedToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// The token for a reply. The stack has it back if smoltcp sends none.
pub(crate) struct ReplyToken<'a, T> {
    reply: &'a mut Option<T>,
    sequence: &'a mut SequenceVariables,
}

impl<T: TxToken> TxToken for ReplyToken<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let make = |frame: &mut [u8]| {
            let result = f(frame);
            self.sequence.note_sent(frame);
            result
        };
        match self.reply.take() {
            Some(token) => token.consume(len, make),
            // smoltcp sends at most one reply. A second one would be lost.
            None => make(&mut alloc::vec![0; len]),
        }
    }
}
