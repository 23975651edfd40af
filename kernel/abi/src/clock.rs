//! Time: from counts of the time-stamp counter to nanoseconds. The kernel has measured the
//! counter, and programs read it themselves: a system call costs ten times as much.

use core::num::NonZeroU64;

crate::record! {
    /// A counter of known frequency, read as nanoseconds since `start`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Clock {
        start: u64,
        /// Nanoseconds per count, times 2^32.
        scale: NonZeroU64,
    }
}

impl Clock {
    /// A clock that stands at 0 when the counter stands at `start`, `counts` of which
    /// passed in `elapsed_ns`.
    pub fn calibrated(start: u64, counts: u64, elapsed_ns: u64) -> Self {
        let scale = (u128::from(elapsed_ns) << 32) / u128::from(counts.max(1));
        Clock {
            start,
            scale: u64::try_from(scale).map_or(NonZeroU64::MAX, |scale| {
                NonZeroU64::new(scale).unwrap_or(NonZeroU64::MIN)
            }),
        }
    }

    /// Nanoseconds since the start at this count.
    pub fn ns(&self, count: u64) -> u64 {
        let counts = u128::from(count.saturating_sub(self.start));
        ((counts * u128::from(self.scale.get())) >> 32) as u64
    }

    /// How many nanoseconds `counts` are.
    pub fn duration_ns(&self, counts: u64) -> u64 {
        let ns = (u128::from(counts) * u128::from(self.scale.get())) >> 32;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// The counter's value at `ns` nanoseconds.
    pub fn count_at(&self, ns: u64) -> u64 {
        let counts = (u128::from(ns) << 32) / u128::from(self.scale.get());
        self.start.saturating_add(counts as u64)
    }

    /// How many counts are `ns` nanoseconds, at most `u32::MAX`.
    pub fn counts(&self, ns: u64) -> u32 {
        let counts = (u128::from(ns) << 32) / u128::from(self.scale.get());
        u32::try_from(counts).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: u64 = 10_000_000;

    #[test]
    fn a_gigahertz_counts_nanoseconds() {
        let clock = Clock::calibrated(1_000, 10_000_000, 10_000_000);
        assert_eq!(clock.ns(1_000), 0);
        assert_eq!(clock.ns(500), 0);
        assert_eq!(clock.ns(1_000_001_000), 1_000_000_000);
        assert_eq!(clock.counts(1_000), 1_000);
        assert_eq!(clock.duration_ns(1_000), 1_000);
        assert_eq!(clock.count_at(5_000_000_000), 5_000_001_000);
    }

    #[test]
    fn a_year_does_not_overflow_and_stays_exact_to_a_millionth() {
        let hertz = 3_600_000_000;
        let clock = Clock::calibrated(0, hertz / 100, TICK_NS);
        let year = 365 * 24 * 3600;
        let ns = clock.ns(year * hertz);
        assert!(ns.abs_diff(year * 1_000_000_000) < year * 1_000);
    }

    #[test]
    fn clock_round_trip() {
        let clock = Clock::calibrated(77, 2_500_000, 1_000_000);
        assert_eq!(Clock::from_bytes(&clock.to_bytes()), Ok(clock));
        for bad in [&[0; 16][..], &[1; 15]] {
            assert_eq!(Clock::from_bytes(bad), Err(crate::Error::Malformed));
        }
    }

    #[test]
    fn a_stopped_counter_does_not_divide_by_zero() {
        let clock = Clock::calibrated(0, 0, 1);
        assert!(clock.ns(1) > 0);
        assert_eq!(clock.duration_ns(u64::MAX), u64::MAX);
        assert_eq!(Clock::calibrated(0, 1, 1).counts(u64::MAX), u32::MAX);
    }
}
