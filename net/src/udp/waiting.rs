//! Sending datagrams: at once, or from the queue of a port.

use crate::ip::neighbors::Neighbors;
use crate::ip::outbound::Outbound;
use crate::link::ethernet::group;
use crate::memory::Memory;
use crate::names::DatagramId;
use crate::phy::Device;
use crate::udp::emit::{Destination, Waiting, packet};
use crate::udp::{AT_ONCE, Context, DATAGRAM_MAX, PER_HOP, Port, SLOTS, Udp};
use abi::socket::Ip;
use abi::{Error, Result};

impl Port {
    fn push(&mut self, waiting: Waiting) {
        self.waiting_octets += waiting.octets.len();
        self.waiting.push_back(waiting);
    }

    fn remove(&mut self, index: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(index)?;
        self.waiting_octets -= waiting.octets.len();
        Some(waiting)
    }

    /// How many datagrams wait for the card (`for_card`) or for a neighbour, and their octets.
    fn held(&self, for_card: bool, now: u64, neighbors: &Neighbors) -> (usize, usize) {
        let held = self.waiting.iter();
        let held = held.filter(|w| w.station(now, neighbors).is_some() == for_card);
        held.fold((0, 0), |(count, octets), w| {
            (count + 1, octets + w.octets.len())
        })
    }

    /// How many datagrams wait that have this next hop.
    fn count(&self, hop: Option<Ip>) -> usize {
        let to_hop = self.waiting.iter().filter(|w| w.destination.hop == hop);
        to_hop.count()
    }

    fn remove_oldest(&mut self, hop: Option<Ip>) -> Option<Waiting> {
        let mut waiting = self.waiting.iter();
        let index = waiting.position(|w| w.destination.hop == hop)?;
        self.remove(index)
    }
}

impl Udp {
    /// Sends a datagram, or queues it.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::NotConnected`] without such a port, [`Error::WouldBlock`] if there
    /// is no room to wait, [`Error::Unreachable`] if too many other neighbours are being asked for.
    pub fn send<D: Device>(
        &mut self,
        id: DatagramId,
        destination: Destination,
        octets: &[u8],
        cx: &mut Context<'_, D>,
    ) -> Result<()> {
        if octets.len() > DATAGRAM_MAX.min(self.limits.udp_transmit) {
            return Err(Error::TooLong);
        }
        let Destination { to, local, hop } = destination;
        let port = self.slots.get(id.0).ok_or(Error::NotConnected)?;
        let station = match hop {
            Some(hop) => cx.neighbors.use_station(hop, cx.now),
            None => Some(group(to.ip)),
        };
        if let Some(station) = station
            && Outbound::fits(&to.ip, octets.len(), self.packet_max)
            && self.at_once < AT_ONCE
            && !cx.link.full
            && (port.waiting.is_empty() || port.count(hop) == 0)
            && let Some((token, software)) = cx.link.transmit_bare(cx.now)
        {
            let from = (port.port, local);
            let packet = packet(from, to, station, octets, cx.own, software.udp.tx());
            let identification = self.identifications.next();
            packet.send(token, cx.own, software, identification);
            self.at_once += 1;
            self.counters.sent += 1;
            return Ok(());
        }
        self.queue(id, destination, octets, station.is_some(), cx)
    }

    /// Queues a datagram. `is_reachable`: the station of its next hop is known.
    #[cold]
    fn queue<D: Device>(
        &mut self,
        id: DatagramId,
        destination: Destination,
        octets: &[u8],
        is_reachable: bool,
        cx: &mut Context<'_, D>,
    ) -> Result<()> {
        let limit = self.limits.udp_transmit;
        let port = self.slots.get_mut(id.0).ok_or(Error::NotConnected)?;
        // Datagrams that wait for a neighbour and those that wait for the card have room of their own.
        let (held, held_octets) = port.held(is_reachable, cx.now, cx.neighbors);
        if let Some(hop) = destination.hop
            && !is_reachable
        {
            if !cx.neighbors.ask(hop, cx.now) {
                return Err(Error::Unreachable);
            }
            let mut room = limit.saturating_sub(held_octets);
            while room < octets.len() || port.count(Some(hop)) >= PER_HOP {
                self.counters.dropped_unresolved += 1;
                let Some(oldest) = port.remove_oldest(Some(hop)) else {
                    // Datagrams to other neighbours have all the room, so that this one is lost.
                    return Ok(());
                };
                room += oldest.octets.len();
                self.changed.push(id.0);
            }
        } else if held_octets + octets.len() > limit || held >= SLOTS {
            return Err(Error::WouldBlock);
        }
        let octets = octets.to_vec();
        port.push(Waiting {
            destination,
            octets,
            progress: None,
        });
        self.waiting.insert(id.0);
        self.turns.push(id.0);
        Ok(())
    }

    /// Gives the next port its turn: it sends one frame, if the station for one of its datagrams is
    /// known. Returns whether there was a port.
    pub fn take_turn<D: Device>(&mut self, memory: &mut Memory, cx: &mut Context<'_, D>) -> bool {
        let Some(slot) = self.turns.pop() else {
            return false;
        };
        let Some(port) = self.slots.get_mut(slot) else {
            return true;
        };
        let mut waiting = port.waiting.iter_mut().enumerate();
        let next = waiting.find_map(|(index, waiting)| {
            let station = waiting.station(cx.now, cx.neighbors)?;
            Some((index, waiting, station))
        });
        if let Some((index, waiting, station)) = next {
            let Some((token, software)) = cx.link.transmit_bare(cx.now) else {
                self.turns.push_front(slot);
                return true;
            };
            let Destination { to, local, .. } = waiting.destination;
            let (from, octets) = ((port.port, local), &waiting.octets);
            let packet = |sums| packet(from, to, station, octets, cx.own, sums);
            let is_sent = if Outbound::fits(&to.ip, octets.len(), self.packet_max) {
                let packet = packet(software.udp.tx());
                let identification = self.identifications.next();
                packet.send(token, cx.own, software, identification);
                true
            } else {
                let progress = waiting
                    .progress
                    .get_or_insert_with(|| self.identifications.begin());
                // The first fragment carries the header, with the checksum of the whole datagram.
                let packet = packet(progress.sent == 0);
                packet.send_fragment(token, cx.own, software, progress, self.packet_max)
            };
            if is_sent {
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

    /// Drops the datagrams that wait for a neighbour, since it does not answer.
    #[cold]
    pub fn neighbor_failed(&mut self, hop: Ip) {
        self.drop_each(|port| port.remove_oldest(Some(hop)));
    }

    /// Drops all datagrams that wait.
    #[cold]
    pub fn drop_waiting(&mut self) {
        self.drop_each(|port| port.remove(0));
    }

    /// Drops the datagrams that `remove` removes from each port, until it removes none.
    fn drop_each(&mut self, remove: impl Fn(&mut Port) -> Option<Waiting>) {
        for &slot in &self.waiting {
            let Some(port) = self.slots.get_mut(slot) else {
                continue;
            };
            while remove(port).is_some() {
                self.counters.dropped_unresolved += 1;
                self.changed.push(slot);
                // If nothing waits any more, this is found in the port's next turn.
                self.turns.push(slot);
            }
        }
    }

    /// Whether datagrams wait.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Asks for the neighbours that datagrams wait for, unless that is being done. Their stations may
    /// have been known when the datagrams were queued, and be unknown now.
    pub fn ask_again(&self, now: u64, neighbors: &mut Neighbors) {
        let ports = self.waiting.iter().filter_map(|&slot| self.slots.get(slot));
        for waiting in ports.flat_map(|port| &port.waiting) {
            if let Some(hop) = waiting.destination.hop
                && neighbors.station(hop, now).is_none()
            {
                neighbors.ask(hop, now);
            }
        }
    }
}
