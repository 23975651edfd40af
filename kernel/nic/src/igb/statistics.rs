//! The card's counters (§8.18): cleared by reading, summed up in 64 bits here.

use super::csr::Csr;
use crate::{Bus, Error};

/// Counters of 32 bits: register and name. All that QEMU counts, and those by which silicon tells
/// why frames are missing.
const COUNTERS: [(u32, &str); 36] = [
    (0x4074, "rx_good_frames"),
    (0x4078, "rx_broadcasts"),
    (0x407c, "rx_multicasts"),
    (0x4080, "tx_good_frames"),
    (0x40d0, "rx_all_frames"),
    (0x40d4, "tx_all_frames"),
    (0x40f0, "tx_multicasts"),
    (0x40f4, "tx_broadcasts"),
    (0x40f8, "tx_segmented_by_card"),
    (0x405c, "rx_64"),
    (0x4060, "rx_65_to_127"),
    (0x4064, "rx_128_to_255"),
    (0x4068, "rx_256_to_511"),
    (0x406c, "rx_512_to_1023"),
    (0x4070, "rx_1024_and_more"),
    (0x40d8, "tx_64"),
    (0x40dc, "tx_65_to_127"),
    (0x40e0, "tx_128_to_255"),
    (0x40e4, "tx_256_to_511"),
    (0x40e8, "tx_512_to_1023"),
    (0x40ec, "tx_1024_and_more"),
    (0x40a4, "rx_undersize"),
    (0x40ac, "rx_oversize"),
    (0x4100, "interrupts_of_line"),
    (0x4000, "rx_crc_errors"),
    (0x4004, "rx_alignment_errors"),
    (0x400c, "rx_errors"),
    (0x4010, "rx_missed"),
    (0x4040, "rx_length_errors"),
    (0x40a0, "rx_no_buffer"),
    (0x40a8, "rx_fragments"),
    (0x40b0, "rx_jabbers"),
    (0x4048, "rx_pauses"),
    (0x404c, "tx_pauses"),
    (0x4020, "tx_late_collisions"),
    (0x4030, "tx_deferred"),
];

/// Counters of 64 bits: register of the low half, which must be read first, and name. They count
/// the checksum of each frame too.
const OCTETS: [(u32, &str); 4] = [
    (0x4088, "rx_good_octets"),
    (0x4090, "tx_good_octets"),
    (0x40c0, "rx_all_octets"),
    (0x40c8, "tx_all_octets"),
];

/// The sums.
pub struct Statistics {
    counters: [u64; COUNTERS.len()],
    octets: [u64; OCTETS.len()],
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics {
            counters: [0; COUNTERS.len()],
            octets: [0; OCTETS.len()],
        }
    }
}

impl Statistics {
    /// Adds what the card has counted since the last time.
    pub fn harvest<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let bus = &mut csr.bus;
        let counters = COUNTERS.map(|(register, _)| bus.read32(register));
        let octets = OCTETS.map(|(register, _)| {
            let low = bus.read32(register);
            u64::from(low) | u64::from(bus.read32(register + 4)) << 32
        });
        // A card that is gone reads as all ones, which is no count.
        csr.status()?;
        for (sum, count) in self.counters.iter_mut().zip(counters) {
            *sum += u64::from(count);
        }
        for (sum, count) in self.octets.iter_mut().zip(octets) {
            *sum = sum.wrapping_add(count);
        }
        Ok(())
    }

    /// Drops what the card has counted.
    pub fn discard<B: Bus>(&self, csr: &mut Csr<B>) -> Result<(), Error> {
        Statistics::default().harvest(csr)
    }

    /// The sums by name.
    pub fn visit(&self, visit: &mut dyn FnMut(&str, u64)) {
        for ((_, name), &sum) in COUNTERS.iter().zip(&self.counters) {
            visit(name, sum);
        }
        for ((_, name), &sum) in OCTETS.iter().zip(&self.octets) {
            visit(name, sum);
        }
    }
}
