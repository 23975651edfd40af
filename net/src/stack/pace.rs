//! How often something may happen: so many times at once, and then once in each interval.

/// When the next one would be due if all had kept their distance: the virtual clock of the
/// generic cell rate algorithm (ITU-T I.371).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace(u64);

impl Pace {
    /// Whether one more may happen now. It is counted if so.
    pub fn allows(&mut self, now: u64, interval_ns: u64, burst: u64) -> bool {
        let next = self.0.max(now);
        let allowed = next - now <= interval_ns.saturating_mul(burst.saturating_sub(1));
        if allowed {
            self.0 = next.saturating_add(interval_ns);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_an_interval() {
        let mut pace = Pace::default();
        let mut allowed = |now| pace.allows(now, 10, 3);
        assert_eq!([100; 4].map(&mut allowed), [true, true, true, false]);
        assert_eq!([109, 110, 110].map(&mut allowed), [false, true, false]);
        // What was not used is saved up, but no more than the burst.
        assert_eq!([900; 4].map(&mut allowed), [true, true, true, false]);
    }
}
