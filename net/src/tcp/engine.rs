//! smoltcp's interface. It is never given more than one socket ([`crate::tcp::sole_socket`]): the
//! socket that a frame is for was found before ([`crate::stack::receive`]), and
//! [`crate::tcp::schedule`] knows the sockets that may have something to send.

use crate::ip::interface::Interface;
use crate::link::Link;
use crate::link::ethernet::Header;
use crate::phy::instant;
use crate::tcp::device::{Arriving, Receiving, Sending};
use crate::tcp::schedule::WaitsFor;
use crate::tcp::sequence::SequenceVariables;
use abi::socket::Ip;
use alloc::boxed::Box;
use smoltcp::iface::{self, PollResult, SocketSet};
use smoltcp::phy::{Device, TxToken};
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Cidr, Ipv6Cidr};

/// How soon a socket is looked at again that wants to send at once but could not just now.
pub(crate) const RETRY_NS: u64 = 1_000_000;
/// The same for a socket whose next hop's station is not known. It is looked at earlier if the
/// station becomes known.
pub(crate) const RETRY_NEIGHBOR_NS: u64 = 1_000_000_000;

/// A connection as smoltcp takes it: the set with its socket, and its sequence variables.
pub(crate) type SocketParts<'a> = (&'a mut SocketSet<'static>, &'a mut SequenceVariables);

/// The interfaces of both families.
///
/// They differ in the MTU that smoltcp is told. It sends no IPv6 packet that is longer, not even one that
/// is to be cut (0.14.0, `dispatch_ip`; of IPv4 it does). So that of IPv6 is the longest there is. The
/// segments are as short as the peer's MSS all the same, and as [`crate::link`] cuts them.
pub(crate) struct Engines {
    v4: Engine,
    v6: Engine,
}

impl Engines {
    pub fn new<D: Device>(own: &Interface, link: &mut Link<D>, now: u64) -> Self {
        Engines {
            v4: Engine::new(own, link, false, now),
            v6: Engine::new(own, link, true, now),
        }
    }

    /// The interface for connections to this host.
    #[inline]
    pub fn of(&mut self, host: &Ip) -> &mut Engine {
        match host.is_v4() {
            true => &mut self.v4,
            false => &mut self.v6,
        }
    }

    /// How often smoltcp was given a socket to look at.
    pub fn looks(&self) -> u64 {
        self.v4.looks + self.v6.looks
    }

    /// Tells smoltcp that our addresses have changed.
    #[cold]
    pub fn set_address(&mut self, own: &Interface) {
        set_address(&mut self.v4.interface, own);
        set_address(&mut self.v6.interface, own);
    }
}

/// smoltcp's interface.
pub(crate) struct Engine {
    /// Boxed, since it is large and would otherwise be moved over a small stack.
    interface: Box<iface::Interface>,
    /// How often smoltcp was given a socket to look at.
    pub looks: u64,
}

impl Engine {
    fn new<D: Device>(own: &Interface, link: &mut Link<D>, is_v6: bool, now: u64) -> Self {
        // The random seed stays 0: connections that need random numbers begin in `opening`.
        let settings = iface::Config::new(HardwareAddress::Ip);
        let mut card = Sending {
            link,
            is_v6,
            sequence: None,
            header: None,
        };
        let mut interface = Box::new(iface::Interface::new(settings, &mut card, instant(now)));
        set_address(&mut interface, own);
        Engine {
            interface,
            looks: 0,
        }
    }

    /// Processes a datagram for a socket. If the socket is gone, nothing happens.
    pub fn ingress<T: TxToken>(
        &mut self,
        arriving: Arriving<'_, T>,
        socket: Option<SocketParts<'_>>,
        now: u64,
    ) {
        let Some((set, sequence)) = socket else {
            return;
        };
        self.looks += 1;
        let mut receiving = Receiving {
            datagram: Some(arriving.datagram),
            reply_header: arriving.reply_header,
            reply: arriving.reply,
            sequence,
        };
        self.interface
            .poll_ingress_single(instant(now), &mut receiving, set);
    }

    /// Gives a socket its turn: it sends at most one frame or one long segment. `header` makes the
    /// Ethernet header, if the next hop's station is known. If it is not, nothing is sent, but the
    /// socket's time-outs pass all the same. Returns what the socket waits for next.
    pub fn egress<D: Device>(
        &mut self,
        link: &mut Link<D>,
        (set, sequence): SocketParts<'_>,
        header: impl FnOnce() -> Option<Header>,
        now: u64,
    ) -> WaitsFor {
        self.looks += 1;
        match self.waits_for(set, now) {
            WaitsFor::Turn => {}
            next => return next,
        }
        let (sequence, header) = (Some(sequence), header());
        let mut sending = Sending {
            link,
            is_v6: false,
            sequence,
            header,
        };
        let result = self.interface.poll_egress(instant(now), &mut sending, set);
        link.finish(instant(now));
        let sent = result != PollResult::None;
        match self.waits_for(set, now) {
            WaitsFor::Turn if header.is_none() => {
                WaitsFor::Neighbor(now.saturating_add(RETRY_NEIGHBOR_NS))
            }
            WaitsFor::Turn if link.full => WaitsFor::Room,
            // smoltcp does not do what it wants to do. Without a pause this would go on for ever.
            WaitsFor::Turn if !sent => WaitsFor::Time(now.saturating_add(RETRY_NS)),
            next => next,
        }
    }

    /// What smoltcp waits for with this socket: nothing, a time, or its turn.
    pub fn waits_for(&mut self, set: &SocketSet<'static>, now: u64) -> WaitsFor {
        let Some(at) = self.interface.poll_at(instant(now), set) else {
            return WaitsFor::Nothing;
        };
        let at = u64::try_from(at.total_micros()).unwrap_or(0) * 1000;
        match at <= now {
            true => WaitsFor::Turn,
            false => WaitsFor::Time(at),
        }
    }
}

/// Gives an interface our addresses.
fn set_address(interface: &mut iface::Interface, own: &Interface) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        // There is room for all of them ([`crate::ip::interface::ADDRESSES`]).
        let v4 = own.network().map(|network| Ip::v4(network.address));
        for address in v4.into_iter().chain(own.v6().map(|(_, address)| address)) {
            let _ = addresses.push(host(address));
        }
    });
}

/// An address as smoltcp takes it. Which hosts are on our link it need not know.
pub(super) fn host(address: Ip) -> IpCidr {
    match address.as_v4() {
        Some(address) => Ipv4Cidr::new(address, 32).into(),
        None => Ipv6Cidr::new(address.0.into(), 128).into(),
    }
}
