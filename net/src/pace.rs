//! How often something may happen.

use crate::secret::Key;

/// So many times at once, and then once in each interval. It holds when the next one would be due
/// if all had kept their distance: the virtual clock of the generic cell rate algorithm (ITU-T
/// I.371).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace(u64);

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

/// [`Quota`]'s least number, in a second.
const LEAST: u64 = 1000;
const SECOND_NS: u64 = 1_000_000_000;

/// In each second another number of times, from [`LEAST`] to twice as many, which only this server
/// knows: for what strangers draw answers by.
///
/// Were the number known, an attacker that counts its own answers could tell how many went to
/// addresses that it has forged: which ends are connected (by challenge ACKs: Cao et al., USENIX
/// Security 2016), or which ports are open to them (by ICMP errors: CVE-2020-25705). Each answer
/// that it lacks would tell of one. So it must forge the same question a thousand times in a second
/// until the difference shows.
pub(crate) struct Quota {
    key: Key,
    second: u64,
    /// How often it may still happen in this second.
    left: u64,
}

impl Quota {
    pub fn new(key: Key) -> Self {
        Quota {
            key,
            second: u64::MAX,
            left: 0,
        }
    }

    /// Whether one more may happen now. It is counted if so.
    pub fn allows(&mut self, now: u64) -> bool {
        let second = now / SECOND_NS;
        if self.second != second {
            self.second = second;
            self.left = LEAST + self.key.hash(&[second]) % LEAST;
        }
        let allowed = self.left > 0;
        self.left -= u64::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Purpose, Secret};

    #[test]
    fn each_second_has_a_number_of_its_own() {
        let numbers = |seed: u64| -> alloc::vec::Vec<usize> {
            let mut quota = Quota::new(Secret::from(seed).key(Purpose::Resets));
            let mut count = |second: u64| {
                let asked = (0..5000).map(|n| second * SECOND_NS + n * 200_000);
                asked.filter(|&now| quota.allows(now)).count()
            };
            (0..50).map(&mut count).collect()
        };
        let (one, other) = (numbers(1), numbers(2));
        assert!(one.iter().all(|count| (1000..2000).contains(count)));
        let different = alloc::collections::BTreeSet::from_iter(&one).len();
        assert!(different > 40, "{different} of 50");
        assert_ne!(one, other);
    }

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
