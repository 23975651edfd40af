//! What the driver counts itself, by name.

use super::transmit::Transmit;
use super::{Igb, QUEUES, VECTORS, receive, transmit};
use crate::Bus;

impl<B: Bus> Igb<B> {
    /// Visits the sums over all queues, and then each vector and queue.
    pub(super) fn visit_own(&mut self, visit: &mut dyn FnMut(&str, u64)) {
        let mut waiting = 0;
        for queue in &self.receive {
            waiting += queue.waiting(&mut self.chip);
        }
        visit("rx_waiting", waiting as u64);
        let sent = |count: fn(&Transmit) -> u64| -> u64 { self.transmit.iter().map(count).sum() };
        let tx = |count: fn(&transmit::Counters) -> u64| -> u64 {
            self.transmit
                .iter()
                .map(|queue| count(&queue.counters))
                .sum()
        };
        let rx = |count: fn(&receive::Counters) -> u64| -> u64 {
            self.receive
                .iter()
                .map(|queue| count(&queue.counters))
                .sum()
        };
        let counters = &self.counters;
        for (name, value) in [
            ("tx_frames", sent(Transmit::frames)),
            ("tx_octets", tx(|queue| queue.octets)),
            ("tx_completed", tx(|queue| queue.completed)),
            ("tx_segmented", tx(|queue| queue.segmented)),
            ("tx_descriptors", sent(Transmit::descriptors)),
            ("tx_contexts", tx(|queue| queue.contexts)),
            ("tx_doorbells", tx(|queue| queue.doorbells)),
            ("tx_ring_full", counters.tx_ring_full),
            ("tx_dropped", counters.tx_dropped),
            ("tx_lost_in_reset", counters.tx_lost),
            ("tx_hangs", counters.tx_hangs),
            ("rx_frames", rx(|queue| queue.frames)),
            ("rx_octets", rx(|queue| queue.octets)),
            ("rx_descriptors", rx(|queue| queue.descriptors)),
            ("rx_doorbells", rx(|queue| queue.tail_writes)),
            ("rx_arms", counters.rx_arms),
            ("rx_wakes_for_nothing", counters.rx_wakes_for_nothing),
            ("rx_dropped_errors", rx(|queue| queue.dropped_errors)),
            ("rx_checksum_errors", rx(|queue| queue.checksum_errors)),
            ("rx_dropped_long", rx(|queue| queue.dropped_long)),
            (
                "rx_dropped_small_buffer",
                rx(|queue| queue.dropped_small_buffer),
            ),
            ("rx_lost_in_reset", counters.rx_lost),
            ("link_changes", counters.link_changes),
            ("resets", counters.resets),
            ("bad_descriptors", counters.bad_descriptors),
            ("interrupts", self.interrupts.counts.iter().sum()),
        ] {
            visit(name, value);
        }
        counters.tx_refused.visit(visit);
        let vectors = usize::from(self.interrupts.vectors());
        for (name, &count) in VECTOR_NAMES
            .iter()
            .zip(&self.interrupts.counts)
            .take(vectors)
        {
            visit(name, count);
        }
        for (name, queue) in RECEIVE_NAMES.iter().zip(&self.receive) {
            visit(name, queue.counters.frames);
        }
        for (name, queue) in TRANSMIT_NAMES.iter().zip(&self.transmit) {
            visit(name, queue.frames());
        }
    }
}

const VECTOR_NAMES: [&str; VECTORS as usize] = [
    "vector_0", "vector_1", "vector_2", "vector_3", "vector_4", "vector_5", "vector_6", "vector_7",
    "vector_8", "vector_9",
];
const RECEIVE_NAMES: [&str; QUEUES] = [
    "rx_queue_0",
    "rx_queue_1",
    "rx_queue_2",
    "rx_queue_3",
    "rx_queue_4",
    "rx_queue_5",
    "rx_queue_6",
    "rx_queue_7",
    "rx_queue_8",
    "rx_queue_9",
    "rx_queue_10",
    "rx_queue_11",
    "rx_queue_12",
    "rx_queue_13",
    "rx_queue_14",
    "rx_queue_15",
];
const TRANSMIT_NAMES: [&str; QUEUES] = [
    "tx_queue_0",
    "tx_queue_1",
    "tx_queue_2",
    "tx_queue_3",
    "tx_queue_4",
    "tx_queue_5",
    "tx_queue_6",
    "tx_queue_7",
    "tx_queue_8",
    "tx_queue_9",
    "tx_queue_10",
    "tx_queue_11",
    "tx_queue_12",
    "tx_queue_13",
    "tx_queue_14",
    "tx_queue_15",
];
