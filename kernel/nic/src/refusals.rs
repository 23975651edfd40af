//! Why frames were not sent: a counter for each reason that a driver gives.

use crate::Error;

/// Names of the counters, in the order of [`Refusals::index`].
const NAMES: [&str; 8] = [
    "tx_bad_length",
    "tx_bad_headers",
    "tx_bad_vlan",
    "tx_bad_buffer",
    "tx_unsupported",
    "tx_unreachable",
    "tx_bad_source",
    "tx_card_broken",
];

/// The counters.
#[derive(Default)]
pub struct Refusals([u64; NAMES.len()]);

impl Refusals {
    /// Counts the error with which a frame was refused. One that waits for room is not refused.
    #[cold]
    pub fn note(&mut self, error: &Error) {
        if let Some(index) = Self::index(error) {
            self.0[index] += 1;
        }
    }

    fn index(error: &Error) -> Option<usize> {
        Some(match error {
            Error::WouldBlock => return None,
            Error::BadLength { .. } => 0,
            Error::BadHeaders => 1,
            Error::BadVlan { .. } => 2,
            Error::BadBuffer { .. } => 3,
            Error::Unsupported => 4,
            Error::ArenaUnreachable { .. } => 5,
            Error::BadSource => 6,
            // What the hardware did, or that it is stopped.
            _ => 7,
        })
    }

    /// Visits the counters by name.
    pub fn visit(&self, visit: &mut dyn FnMut(&str, u64)) {
        for (name, &count) in NAMES.iter().zip(&self.0) {
            visit(name, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BusAddr;
    use std::vec::Vec;

    #[test]
    fn each_reason_has_its_own_counter_and_to_wait_has_none() {
        let reasons = [
            Error::BadLength { len: 0 },
            Error::BadHeaders,
            Error::BadVlan { vlan: 4095 },
            Error::BadBuffer { buffer: 9 },
            Error::Unsupported,
            Error::ArenaUnreachable { start: BusAddr(0) },
            Error::BadSource,
            Error::DeviceGone,
        ];
        for (number, reason) in reasons.iter().enumerate() {
            let mut refusals = Refusals::default();
            refusals.note(&Error::WouldBlock);
            refusals.note(reason);
            let mut counts = Vec::new();
            refusals.visit(&mut |_, count| counts.push(count));
            let expected: Vec<u64> = (0..NAMES.len()).map(|at| u64::from(at == number)).collect();
            assert_eq!(counts, expected);
        }
    }
}
