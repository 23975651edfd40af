//! For the tests: whether the tables agree with the sockets, by looking at all of these.

use crate::ip::neighbors::Neighbors;
use crate::ip::outbound::HEAD;
use crate::link::ethernet::IPV4_HEADER;
use crate::names::DatagramId;
use crate::udp::{SLOTS, Udp};

impl Udp {
    /// Whether a datagram of ordinary size would be taken.
    pub fn can_send(&self, id: DatagramId) -> bool {
        let ordinary = self.packet_max.saturating_sub(IPV4_HEADER + HEAD);
        self.get(id).is_some_and(|port| {
            port.waiting.len() < SLOTS && port.waiting_octets + ordinary <= self.limits.udp_transmit
        })
    }

    pub fn audit(&self, neighbors: &Neighbors, now: u64) {
        assert_eq!(self.by_port.len(), self.slots.len());
        let mut lingering = 0;
        for (slot, port) in &self.slots {
            assert_eq!(self.by_port.get(&port.port), Some(&slot));
            let octets = port.waiting.iter().map(|outgoing| outgoing.octets.len());
            assert_eq!(port.waiting_octets, octets.sum::<usize>());
            let waits = self.waiting.contains(&slot);
            assert!(waits || port.waiting.is_empty());
            assert!(!port.waiting.is_empty() || !waits || self.turns.contains(slot));
            if port.lingers {
                lingering += 1;
                let over = port.waiting.is_empty();
                assert!(!over || self.turns.contains(slot), "{slot} is over");
            }
            let could = port
                .waiting
                .iter()
                .any(|o| o.station(now, neighbors).is_some());
            let has_turn = self.turns.contains(slot);
            assert!(has_turn || !could, "{slot} has a datagram that could leave");
        }
        assert_eq!(self.lingering.len(), lingering);
    }
}
