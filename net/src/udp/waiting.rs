//! Datagrams on their way out: at once, or in a queue.

use crate::ip::interface::Interface;
use crate::ip::neighbors::Neighbors;
use crate::ip::outbound::{HEAD, Progress};
use crate::link::Link;
use crate::memory::Memory;
use crate::names::DatagramId;
use crate::phy::Device;
use crate::udp::emit::{Datagram, Outgoing, group};
use crate::udp::{AT_ONCE, DATAGRAM_MAX, PER_HOP, Port, SLOTS, Udp};
use abi::{Error, Result};
use core::net::{Ipv4Addr, SocketAddrV4};

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

    /// How many wait for a neighbour, or for the card, and their octets.
    fn held(&self, for_card: bool, now: u64, neighbors: &Neighbors) -> (usize, usize) {
        let held = self.waiting.iter();
        let held = held.filter(|o| o.station(now, neighbors).is_some() == for_card);
        held.fold((0, 0), |(count, octets), o| {
            (count + 1, octets + o.octets.len())
        })
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
    /// Sends a datagram, or queues it. `hop` is the neighbour it goes to; `None` for a group.
    pub fn send<D: Device>(
        &mut self,
        id: DatagramId,
        (to, hop): (SocketAddrV4, Option<Ipv4Addr>),
        octets: &[u8],
        now: u64,
        (own, neighbors, link): (&Interface, &mut Neighbors, &mut Link<D>),
    ) -> Result<()> {
        if octets.len() > DATAGRAM_MAX.min(self.limits.udp_transmit) {
            return Err(Error::TooLong);
        }
        let port = self.slots.get(id.0).ok_or(Error::NotConnected)?;
        let station = match hop {
            Some(hop) => neighbors.use_station(hop, now),
            None => Some(group(*to.ip())),
        };
        if let Some(station) = station
            && HEAD + octets.len() <= self.payload_max
            && self.at_once < AT_ONCE
            && !link.full
            && (port.waiting.is_empty() || port.count(hop) == 0)
            && let Some((token, software)) = link.frame(now)
        {
            let datagram = Datagram {
                port: port.port,
                to,
                station,
                octets,
            };
            let packet = datagram.packet(own, software.udp.tx());
            let identification = self.identifications.next();
            packet.send(token, own, software, identification);
            self.at_once += 1;
            self.counters.sent += 1;
            return Ok(());
        }
        self.queue(id, (to, hop), octets, (now, station.is_some()), neighbors)
    }

    /// Queues a datagram.
    #[cold]
    fn queue(
        &mut self,
        id: DatagramId,
        (to, hop): (SocketAddrV4, Option<Ipv4Addr>),
        octets: &[u8],
        (now, reachable): (u64, bool),
        neighbors: &mut Neighbors,
    ) -> Result<()> {
        let limit = self.limits.udp_transmit;
        let port = self.slots.get_mut(id.0).ok_or(Error::NotConnected)?;
        // Those that wait for a neighbour do not take the place of those that need not.
        let (held, held_octets) = port.held(reachable, now, neighbors);
        if let Some(hop) = hop
            && !reachable
        {
            if !neighbors.ask(hop, now) {
                return Err(Error::Unreachable);
            }
            let mut room = limit.saturating_sub(held_octets);
            while room < octets.len() || port.count(Some(hop)) >= PER_HOP {
                self.counters.dropped_unresolved += 1;
                let Some(oldest) = port.remove_oldest(Some(hop)) else {
                    // All the room is other neighbours': it is lost itself.
                    return Ok(());
                };
                room += oldest.octets.len();
                self.changed.push(id.0);
            }
        } else if held_octets + octets.len() > limit || held >= SLOTS {
            return Err(Error::WouldBlock);
        }
        let octets = octets.to_vec();
        port.push(Outgoing {
            hop,
            to,
            octets,
            fragment: None,
        });
        self.waiting.insert(id.0);
        self.turns.push(id.0);
        Ok(())
    }

    /// Gives the next port its turn: it sends a frame, if one of its datagrams can leave.
    /// Returns whether there was such a port.
    pub fn take_turn<D: Device>(
        &mut self,
        now: u64,
        memory: &mut Memory,
        (own, neighbors, link): (&Interface, &Neighbors, &mut Link<D>),
    ) -> bool {
        let Some(slot) = self.turns.pop() else {
            return false;
        };
        let Some(port) = self.slots.get_mut(slot) else {
            return true;
        };
        let mut waiting = port.waiting.iter_mut().enumerate();
        let next = waiting.find_map(|(index, outgoing)| {
            let station = outgoing.station(now, neighbors)?;
            Some((index, outgoing, station))
        });
        if let Some((index, outgoing, station)) = next {
            let Some((token, software)) = link.frame(now) else {
                self.turns.push_front(slot);
                return true;
            };
            let datagram = Datagram {
                port: port.port,
                to: outgoing.to,
                station,
                octets: &outgoing.octets,
            };
            let left = if HEAD + datagram.octets.len() <= self.payload_max {
                let packet = datagram.packet(own, software.udp.tx());
                let identification = self.identifications.next();
                packet.send(token, own, software, identification);
                true
            } else {
                let fragment = outgoing.fragment.get_or_insert_with(|| {
                    let identification = self.identifications.next();
                    Progress {
                        identification,
                        sent: 0,
                    }
                });
                // The first carries the header, and so the checksum of the whole.
                let packet = datagram.packet(own, fragment.sent == 0);
                packet.send_fragment(token, own, software, fragment, self.payload_max)
            };
            if left {
                port.remove(index);
                self.counters.sent += 1;
                self.changed.push(slot);
            }
            if !port.waiting.is_empty() {
                self.turns.push(slot);
            }
        }
        if port.waiting.is_empty() {
            self.waiting.remove(&slot);
            if port.lingers {
                self.remove(slot, memory);
            }
        }
        true
    }

    /// A neighbour does not answer: what waits for it is dropped.
    #[cold]
    pub fn give_up(&mut self, hop: Ipv4Addr) {
        for &slot in &self.waiting {
            let Some(port) = self.slots.get_mut(slot) else {
                continue;
            };
            while port.remove_oldest(Some(hop)).is_some() {
                self.counters.dropped_unresolved += 1;
                self.changed.push(slot);
                // In which it is found empty, perhaps.
                self.turns.push(slot);
            }
        }
    }

    /// Drops all that wait.
    #[cold]
    pub fn drop_waiting(&mut self) {
        for &slot in &self.waiting {
            let Some(port) = self.slots.get_mut(slot) else {
                continue;
            };
            while port.remove(0).is_some() {
                self.counters.dropped_unresolved += 1;
                self.changed.push(slot);
                self.turns.push(slot);
            }
        }
    }

    /// Whether datagrams wait.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Makes sure that a neighbour that datagrams wait for is being asked for: it may
    /// have been known when they were queued.
    pub fn ask_again(&self, now: u64, neighbors: &mut Neighbors) {
        let ports = self.waiting.iter().filter_map(|&slot| self.slots.get(slot));
        for outgoing in ports.flat_map(|port| &port.waiting) {
            if let Some(hop) = outgoing.hop
                && neighbors.station(hop, now).is_none()
            {
                neighbors.ask(hop, now);
            }
        }
    }
}
