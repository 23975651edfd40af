//! smoltcp's interface, always with one socket or none ([`crate::tcp::solo`]): whose frame it is was
//! decided before ([`crate::stack::receive`]), and who is asked for frames is decided by [`crate::tcp::agenda`].

use crate::ip::interface::Interface;
use crate::link::Link;
use crate::link::ethernet::Header;
use crate::phy::instant;
use crate::tcp::agenda::Next;
use crate::tcp::device::{Arriving, Receiving, Sending};
use crate::tcp::tcb::Tcb;
use alloc::boxed::Box;
use smoltcp::iface::{self, PollResult, SocketSet};
use smoltcp::phy::{Device, TxToken};
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Cidr};

/// How soon to look again when smoltcp wants to send at once but could not just now.
pub(crate) const RETRY_NS: u64 = 1_000_000;
/// As [`RETRY_NS`], when the next hop's station is not known: who waits for it is woken when it is.
pub(crate) const RETRY_NEIGHBOR_NS: u64 = 1_000_000_000;

/// smoltcp's interface, and what it is asked besides.
pub(crate) struct Engine {
    /// Boxed: it holds tables and would be moved over a small stack.
    interface: Box<iface::Interface>,
    /// How often smoltcp was given a socket to look at.
    pub looks: u64,
}

impl Engine {
    pub fn new<D: Device>(own: &Interface, link: &mut Link<D>, now: u64) -> Self {
        // What it draws from its seed is not used: connections begin in `opening`.
        let settings = iface::Config::new(HardwareAddress::Ip);
        let mut card = Sending {
            link,
            tcb: None,
            header: None,
        };
        let mut interface = Box::new(iface::Interface::new(settings, &mut card, instant(now)));
        set_address(&mut interface, own);
        Engine {
            interface,
            looks: 0,
        }
    }

    /// Our address is another one now.
    #[cold]
    pub fn set_address(&mut self, own: &Interface) {
        set_address(&mut self.interface, own);
    }

    /// Processes a datagram for a socket; nothing happens if that is gone.
    pub fn ingress<T: TxToken>(
        &mut self,
        arriving: &mut Arriving<'_, T>,
        socket: Option<(&mut SocketSet<'static>, &mut Tcb)>,
        now: u64,
    ) {
        let Some((set, tcb)) = socket else {
            return;
        };
        self.looks += 1;
        let mut receiving = Receiving { arriving, tcb };
        self.interface
            .poll_ingress_single(instant(now), &mut receiving, set);
    }

    /// Gives the socket of `set`, with these variables, its turn: it sends one frame or long
    /// segment at most, behind the header that `way` makes if the next hop's station is known.
    /// Its time-outs pass all the same if it is not. Returns whether it sent one.
    pub fn egress<D: Device>(
        &mut self,
        link: &mut Link<D>,
        (set, tcb): (&mut SocketSet<'static>, &mut Tcb),
        way: impl FnOnce() -> Option<Header>,
        now: u64,
    ) -> (bool, Next) {
        self.looks += 1;
        match self.wants(set, now) {
            Next::Turn => {}
            next => return (false, next),
        }
        let (tcb, header) = (Some(tcb), way());
        let mut sending = Sending { link, tcb, header };
        let result = self.interface.poll_egress(instant(now), &mut sending, set);
        link.finish(instant(now));
        let sent = result != PollResult::None;
        let next = match self.wants(set, now) {
            Next::Turn if header.is_none() => Next::Neighbor(now.saturating_add(RETRY_NEIGHBOR_NS)),
            Next::Turn if link.full => Next::Room,
            // It must not spin if smoltcp does not do what it wants to.
            Next::Turn if !sent => Next::Time(now.saturating_add(RETRY_NS)),
            next => next,
        };
        (sent, next)
    }

    pub fn wants(&mut self, set: &SocketSet<'static>, now: u64) -> Next {
        let Some(at) = self.interface.poll_at(instant(now), set) else {
            return Next::Nothing;
        };
        let at = u64::try_from(at.total_micros()).unwrap_or(0) * 1000;
        match at <= now {
            true => Next::Turn,
            false => Next::Time(at),
        }
    }
}

/// Tells smoltcp our address.
pub(crate) fn set_address(interface: &mut iface::Interface, own: &Interface) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        if let Some(network) = own.network() {
            // The list is empty and holds at least one.
            let cidr = Ipv4Cidr::new(network.address, network.prefix_len);
            let _ = addresses.push(IpCidr::Ipv4(cidr));
        }
    });
}
