//! What the driver counts itself, by name.

use super::E100;
use crate::Bus;
use crate::refusals::Refusals;

/// What the driver counts itself, besides the rings.
#[derive(Default)]
pub struct Counters {
    pub tx_frames: u64,
    pub tx_octets: u64,
    pub tx_ring_full: u64,
    pub tx_dropped: u64,
    pub tx_refused: Refusals,
    /// What was in the rings at resets.
    pub tx_lost: u64,
    pub rx_lost: u64,
    pub interrupts: u64,
    pub resets: u64,
    pub tx_hangs: u64,
    pub mdi_timeouts: u64,
}

impl<B: Bus> E100<B> {
    /// Visits the counters of the driver and of its rings.
    pub(super) fn visit_own(&mut self, visit: &mut dyn FnMut(&str, u64)) {
        let waiting = self.receive.waiting(&mut self.chip);
        let (counters, receive) = (&self.counters, &self.receive);
        for (name, value) in [
            ("tx_frames", counters.tx_frames),
            ("tx_octets", counters.tx_octets),
            ("tx_completed", self.transmit.completed),
            ("tx_doorbells", self.transmit.kicks),
            ("tx_ring_full", counters.tx_ring_full),
            ("rx_waiting", waiting as u64),
            ("tx_dropped", counters.tx_dropped),
            ("tx_lost_in_reset", counters.tx_lost),
            ("tx_hangs", counters.tx_hangs),
            ("rx_frames", receive.frames),
            ("rx_octets", receive.octets),
            ("rx_batches", receive.batches),
            ("rx_restarts", receive.restarts),
            ("rx_dropped_errors", receive.dropped_errors),
            ("rx_dropped_long", receive.dropped_long),
            ("rx_dropped_small_buffer", receive.dropped_small_buffer),
            ("rx_lost_in_reset", counters.rx_lost),
            ("interrupts", counters.interrupts),
            ("resets", counters.resets),
            ("mdi_timeouts", counters.mdi_timeouts),
            ("statistics_timeouts", self.statistics.timeouts),
        ] {
            visit(name, value);
        }
        counters.tx_refused.visit(visit);
    }
}
