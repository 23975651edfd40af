//! Datagrams on their way into smoltcp's queue.

use super::{DATAGRAM_MAX, PER_HOP, Port, SLOTS, Udp};
use crate::stack::checksum::{Sum, of_udp};
use crate::stack::neighbors::Neighbors;
use crate::stack::{DatagramId, ip_endpoint};
use abi::{Error, Result};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use smoltcp::wire::IpProtocol;

/// A datagram that waits.
pub(super) struct Outgoing {
    hop: Option<Ipv4Addr>,
    to: SocketAddrV4,
    octets: Vec<u8>,
}

impl Outgoing {
    /// Whether the neighbour that it goes to is known.
    pub(super) fn could_leave(&self, now: u64, neighbors: &Neighbors) -> bool {
        self.hop.is_none_or(|hop| neighbors.knows(hop, now))
    }

    /// UDP's checksum (RFC 768).
    fn checksum(&self, own: Ipv4Addr, port: u16) -> u16 {
        let len = 8 + self.octets.len();
        let [from, to, octets] = [port, self.to.port(), len as u16].map(u16::to_be_bytes);
        let sum = Sum::default()
            .pseudo(own, *self.to.ip(), IpProtocol::Udp, len)
            .add(&from)
            .add(&to)
            .add(&octets)
            .add(&self.octets);
        of_udp(sum)
    }
}

impl Port {
    fn push(&mut self, outgoing: Outgoing) {
        self.waiting_octets += outgoing.octets.len();
        self.waiting.push_back(outgoing);
    }

    fn remove(&mut self, index: usize) -> Option<Outgoing> {
        let outgoing = self.waiting.remove(index)?;
        self.waiting_octets -= outgoing.octets.len();
        Some(outgoing)
    }

    fn count(&self, hop: Option<Ipv4Addr>) -> usize {
        self.waiting.iter().filter(|o| o.hop == hop).count()
    }

    fn remove_oldest(&mut self, hop: Option<Ipv4Addr>) -> Option<Outgoing> {
        let index = self.waiting.iter().position(|o| o.hop == hop)?;
        self.remove(index)
    }
}

impl Udp {
    /// Queues a datagram. `hop` is the neighbour it goes to; `None` for a group.
    pub fn send(
        &mut self,
        id: DatagramId,
        (to, hop): (SocketAddrV4, Option<Ipv4Addr>),
        octets: &[u8],
        now: u64,
        neighbors: &mut Neighbors,
    ) -> Result<()> {
        let (limit, single) = (self.limits.udp_transmit, self.unfragmented_max);
        if octets.len() > DATAGRAM_MAX.min(limit) {
            return Err(Error::TooLong);
        }
        let port = self.slots.get_mut(id.0).ok_or(Error::NotConnected)?;
        let reachable = hop.is_none_or(|hop| neighbors.knows(hop, now));
        if reachable && octets.len() <= single && port.count(hop) == 0 {
            let socket = port.solo.get_mut();
            socket
                .send_slice(octets, ip_endpoint(to))
                .map_err(|_| Error::WouldBlock)?;
            self.counters.sent += 1;
            self.agenda.touch(id.0);
            return Ok(());
        }
        let full = |port: &Port| port.waiting_octets + octets.len() > limit;
        if let Some(hop) = hop
            && !reachable
        {
            if !neighbors.ask(hop, now) {
                return Err(Error::Unreachable);
            }
            let mut dropped = 0;
            while full(port) || port.count(Some(hop)) >= PER_HOP {
                if port.remove_oldest(Some(hop)).is_none() {
                    break;
                }
                dropped += 1;
                self.changed.push(id.0);
            }
            if full(port) {
                self.counters.dropped_unresolved += dropped + 1;
                return Ok(());
            }
            self.counters.dropped_unresolved += dropped;
        } else if full(port) || port.waiting.len() >= SLOTS {
            return Err(Error::WouldBlock);
        }
        let port = self.get_mut(id).ok_or(Error::NotConnected)?;
        let octets = octets.to_vec();
        port.push(Outgoing { hop, to, octets });
        self.waiting.insert(id.0);
        self.hungry.push(id.0);
        Ok(())
    }

    /// Hands smoltcp the datagrams that can leave. Its fragmentation buffer must be free.
    /// Returns the checksum of the datagram that will be fragmented, if one was handed over:
    /// none of its fragments is all of it.
    pub fn feed(&mut self, now: u64, own: Ipv4Addr, neighbors: &Neighbors) -> Option<u16> {
        let mut large_checksum = None;
        while let Some(slot) = self.hungry.pop() {
            let Some(port) = self.slots.get_mut(slot) else {
                continue;
            };
            let mut index = 0;
            while let Some(outgoing) = port.waiting.get(index) {
                if !outgoing.could_leave(now, neighbors) {
                    index += 1;
                    continue;
                }
                let large = outgoing.octets.len() > self.unfragmented_max;
                if large && self.fragmenting.is_some() {
                    break;
                }
                let socket = port.solo.get_mut();
                let to = ip_endpoint(outgoing.to);
                if socket.send_slice(&outgoing.octets, to).is_err() {
                    break;
                }
                if large {
                    large_checksum = Some(outgoing.checksum(own, port.port));
                    self.fragmenting = Some(slot);
                }
                self.counters.sent += 1;
                port.remove(index);
                self.agenda.touch(slot);
                self.changed.push(slot);
            }
            if port.waiting.is_empty() {
                self.waiting.remove(&slot);
            }
        }
        large_checksum
    }

    /// A neighbour does not answer: what waits for it is dropped.
    pub fn give_up(&mut self, hop: Ipv4Addr) {
        for &slot in &self.waiting {
            let Some(port) = self.slots.get_mut(slot) else {
                continue;
            };
            while port.remove_oldest(Some(hop)).is_some() {
                self.counters.dropped_unresolved += 1;
                self.changed.push(slot);
                self.agenda.touch(slot);
            }
        }
        let slots = &self.slots;
        let waits = |port: &Port| !port.waiting.is_empty();
        self.waiting
            .retain(|&slot| slots.get(slot).is_some_and(waits));
    }

    /// Makes sure that a neighbour that datagrams wait for is being asked for: it may
    /// have been known when they were queued.
    pub fn ask_again(&self, now: u64, neighbors: &mut Neighbors) {
        let ports = self.waiting.iter().filter_map(|&slot| self.slots.get(slot));
        for outgoing in ports.flat_map(|port| &port.waiting) {
            if let Some(hop) = outgoing.hop
                && !neighbors.knows(hop, now)
            {
                neighbors.ask(hop, now);
            }
        }
    }
}
