//! Ephemeral ports (RFC 6056): which one to try first.

use crate::secret::{Key, Purpose, Random, Secret};
use abi::socket::Address;
use core::ops::RangeInclusive;

/// Ports for those who do not care (RFC 6335 §6).
const EPHEMERAL: RangeInclusive<u16> = 49152..=65535;
/// How many there are: a power of two.
pub(crate) const COUNT: u16 = 1 << 14;
/// Counters of connections: as RFC 6056 §3.3.4 has for example.
const COUNTERS: usize = 10;

/// Where a search begins, and whose counter it moves.
pub(crate) struct Search {
    first: u16,
    counter: Option<usize>,
}

impl Search {
    /// The port to try after so many others.
    pub fn port(&self, step: u16) -> u16 {
        EPHEMERAL.start() + (self.first.wrapping_add(step)) % COUNT
    }
}

/// The state of all searches.
pub(crate) struct Ports {
    offsets: Key,
    indices: Key,
    counters: [u16; COUNTERS],
    random: Random,
}

impl Ports {
    #[cold]
    pub fn new(secret: &Secret) -> Self {
        let mut random = Random::new(secret.key(Purpose::Ports));
        Ports {
            offsets: secret.key(Purpose::PortOffsets),
            indices: secret.key(Purpose::PortCounters),
            counters: core::array::from_fn(|_| random.next() as u16),
            random,
        }
    }

    /// Begins a search: for a connection to a peer by double hashing (RFC 6056 §3.3.4), so that the
    /// same ends come again late, and nobody else can tell which come next; else anywhere (§3.3.1),
    /// since to datagrams a port that a peer cannot foresee either is worth more (RFC 5452 §9.2).
    #[cold]
    pub fn search(&mut self, peer: Option<Address>) -> Search {
        let Some(peer) = peer else {
            return Search {
                first: self.random.next() as u16,
                counter: None,
            };
        };
        let (high, low) = peer.ip.halves();
        let peer = [high, low, peer.port.into()];
        let index = self.indices.hash(&peer) as usize % COUNTERS;
        let offset = self.offsets.hash(&peer) as u16;
        Search {
            first: offset.wrapping_add(self.counters[index]),
            counter: Some(index),
        }
    }

    /// A search ended at this step.
    pub fn found(&mut self, search: &Search, step: u16) {
        let counter = search
            .counter
            .and_then(|index| self.counters.get_mut(index));
        if let Some(counter) = counter {
            *counter = counter.wrapping_add(step).wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, SocketAddrV4};
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn peer(n: u8) -> Address {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, n), 80).into()
    }

    fn ports(ports: &mut Ports, peer: Option<Address>, count: usize) -> Vec<u16> {
        (0..count)
            .map(|_| {
                let search = ports.search(peer);
                ports.found(&search, 0);
                search.port(0)
            })
            .collect()
    }

    #[test]
    fn each_search_goes_through_all_ports_once() {
        let mut all = Ports::new(&Secret::from(1));
        for peer in [None, Some(peer(1))] {
            let search = all.search(peer);
            let ports: BTreeSet<u16> = (0..COUNT).map(|step| search.port(step)).collect();
            assert!(ports.into_iter().eq(EPHEMERAL));
        }
    }

    #[test]
    fn a_connection_to_the_same_peer_gets_a_port_again_only_after_all_others() {
        let mut all = Ports::new(&Secret::from(2));
        let drawn = ports(&mut all, Some(peer(1)), COUNT.into());
        let distinct: BTreeSet<u16> = drawn.iter().copied().collect();
        assert_eq!(distinct.len(), usize::from(COUNT));
        // One that was found late moves on as far as it has looked.
        let search = all.search(Some(peer(1)));
        all.found(&search, 99);
        assert_eq!(all.search(Some(peer(1))).port(0), search.port(100));
    }

    #[test]
    fn peers_begin_anywhere_and_datagrams_go_on_anywhere() {
        let mut all = Ports::new(&Secret::from(3));
        let first: Vec<u16> = (0..200)
            .flat_map(|n| ports(&mut all, Some(peer(n)), 1))
            .collect();
        let random = ports(&mut all, None, 200);
        for drawn in [first, random] {
            let distinct: BTreeSet<u16> = drawn.iter().copied().collect();
            assert!(distinct.len() > 190);
            let near = drawn
                .windows(2)
                .filter(|pair| pair[0].abs_diff(pair[1]) < 100);
            assert!(near.count() < 10);
            let low = drawn
                .iter()
                .filter(|&&port| port < 49152 + COUNT / 2)
                .count();
            assert!((70..130).contains(&low), "{low}");
        }
    }
}
