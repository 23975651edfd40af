//! The card's counters: 32 bits wide there, dumped and reset in one command, summed up in 64 here.

use super::csr::Csr;
use super::layout::{DUMP_MARKER, DUMP_RESET_DONE, STATISTICS};
use super::regs;
use crate::{Bus, Error};

/// The counters in the order of the dump (§6.4.2.7, standard format).
const NAMES: [&str; 16] = [
    "tx_good_frames",
    "tx_max_collisions",
    "tx_late_collisions",
    "tx_underruns",
    "tx_lost_carrier",
    "tx_deferred",
    "tx_single_collisions",
    "tx_multiple_collisions",
    "tx_total_collisions",
    "rx_good_frames",
    "rx_crc_errors",
    "rx_alignment_errors",
    "rx_resource_errors",
    "rx_overrun_errors",
    "rx_collision_errors",
    "rx_short_frames",
];
/// Bound of the wait for a dump, which is a short burst on the bus.
const BOUND_US: u32 = 1_000;

/// The sums.
#[derive(Default)]
pub struct Statistics {
    sums: [u64; NAMES.len()],
    /// The last dump has not arrived yet.
    is_late: bool,
    /// How often one was waited for in vain; its counts are added the next time.
    pub timeouts: u64,
}

impl Statistics {
    /// Tells the card where to dump. A first dump drops what was counted before.
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let address = csr.address(STATISTICS);
        csr.command_with(regs::CUC_LOAD_DUMP, address)?;
        self.is_late = !dump(csr)?;
        Ok(())
    }

    /// Adds what the card has counted since the last time.
    pub fn harvest<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        // Another dump would overwrite what the late one brings, and the card counts it no more.
        let has_arrived = match self.is_late {
            true => has_arrived(csr),
            false => dump(csr)?,
        };
        self.is_late = !has_arrived;
        if !has_arrived {
            self.timeouts += 1;
            return Ok(());
        }
        for (index, sum) in self.sums.iter_mut().enumerate() {
            *sum += u64::from(csr.bus.load32(STATISTICS + 4 * index));
        }
        Ok(())
    }

    /// The sums by name.
    pub fn visit(&self, visit: &mut dyn FnMut(&str, u64)) {
        for (name, &sum) in NAMES.iter().zip(&self.sums) {
            visit(name, sum);
        }
    }
}

/// Has the counters dumped and reset; false if they did not arrive in time.
fn dump<B: Bus>(csr: &mut Csr<B>) -> Result<bool, Error> {
    let marker = STATISTICS + DUMP_MARKER;
    csr.bus.store32(marker, 0);
    csr.bus.fence();
    csr.command(regs::CUC_DUMP_RESET)?;
    for _ in 0..BOUND_US {
        if has_arrived(csr) {
            return Ok(true);
        }
        csr.bus.delay_us(1);
    }
    Ok(false)
}

/// Whether the dump is there.
fn has_arrived<B: Bus>(csr: &mut Csr<B>) -> bool {
    let has_arrived = csr.bus.load32(STATISTICS + DUMP_MARKER) == DUMP_RESET_DONE;
    csr.bus.fence();
    has_arrived
}
