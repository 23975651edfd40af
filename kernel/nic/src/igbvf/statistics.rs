//! The VF's counters (82576 datasheet §8.18.75 to §8.18.79): of 32 bits, not cleared by reading. They go
//! round, octets in half a minute, so they are looked at every second.

use crate::igb::csr::Csr;
use crate::{Bus, Error};

const COUNTERS: [(u32, &str); 5] = [
    (0x0f10, "rx_good_frames"),
    (0x0f14, "tx_good_frames"),
    (0x0f18, "rx_good_octets"),
    (0x0f34, "tx_good_octets"),
    (0x0f3c, "rx_multicasts"),
];

/// The sums, and what the counters were when they were last read.
#[derive(Default)]
pub struct Statistics {
    sums: [u64; COUNTERS.len()],
    last: [u32; COUNTERS.len()],
}

impl Statistics {
    /// Adds what the card has counted since the last time.
    pub fn harvest<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let last = self.last;
        self.begin(csr)?;
        for (sum, (now, last)) in self.sums.iter_mut().zip(self.last.iter().zip(last)) {
            *sum += u64::from(now.wrapping_sub(last));
        }
        Ok(())
    }

    /// Counts on from what the counters are now.
    pub fn begin<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let now = COUNTERS.map(|(register, _)| csr.bus.read32(register));
        // A card that is gone reads as all ones, which is no count.
        csr.status()?;
        self.last = now;
        Ok(())
    }

    /// The sums by name.
    pub fn visit(&self, visit: &mut dyn FnMut(&str, u64)) {
        for ((_, name), &sum) in COUNTERS.iter().zip(&self.sums) {
            visit(name, sum);
        }
    }
}
