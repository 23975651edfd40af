//! smoltcp's interface, always with one socket or none ([`super::solo`]): whose frame it is was
//! decided before ([`super::receive`]), and who is asked for frames is decided by [`super::agenda`].

use super::agenda::Next;
use super::ethernet::Header;
use super::link::{Arriving, Port, Receiving, Sending};
use super::tcp::tcb::Tcb;
use super::{RETRY_NEIGHBOR_NS, RETRY_NS, instant};
use crate::config::Config;
use alloc::boxed::Box;
use smoltcp::iface::{Interface, PollResult, SocketSet};
use smoltcp::phy::{Device, TxToken};
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Cidr};

/// smoltcp's interface, and what it is asked besides.
pub(crate) struct Engine {
    /// Boxed: it holds tables and would be moved over a small stack.
    interface: Box<Interface>,
    /// How often smoltcp was given a socket to look at.
    pub looks: u64,
}

impl Engine {
    pub fn new<D: Device>(config: &Config, port: &mut Port<D>, now: u64) -> Self {
        // What it draws from its seed is not used: connections begin in `opening`.
        let settings = smoltcp::iface::Config::new(HardwareAddress::Ip);
        let mut card = Sending {
            port,
            tcb: None,
            header: None,
        };
        let mut interface = Box::new(Interface::new(settings, &mut card, instant(now)));
        interface.update_ip_addrs(|addresses| {
            // The list is empty and holds at least one.
            let cidr = Ipv4Cidr::new(config.address, config.prefix_len);
            let _ = addresses.push(IpCidr::Ipv4(cidr));
        });
        Engine {
            interface,
            looks: 0,
        }
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
        port: &mut Port<D>,
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
        let mut sending = Sending { port, tcb, header };
        let result = self.interface.poll_egress(instant(now), &mut sending, set);
        port.finish(instant(now));
        let sent = result != PollResult::None;
        let next = match self.wants(set, now) {
            Next::Turn if header.is_none() => Next::Neighbor(now.saturating_add(RETRY_NEIGHBOR_NS)),
            Next::Turn if port.full => Next::Room,
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
