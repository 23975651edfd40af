//! Limits on how often something may happen.

use crate::secret::Key;

/// A rate limit with bursts, by the generic cell rate algorithm (ITU-T I.371). It holds the time at which
/// the next event would be due if all events had come one interval apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace(u64);

impl Pace {
    /// Whether one more event may happen now. It is counted if so. There may be `burst` events at once,
    /// and then one in each interval.
    pub fn allows(&mut self, now: u64, interval_ns: u64, burst: u64) -> bool {
        let next = self.0.max(now);
        let allowed = next - now <= interval_ns.saturating_mul(burst.saturating_sub(1));
        if allowed {
            self.0 = next.saturating_add(interval_ns);
        }
        allowed
    }
}

/// The least number of events that a [`Quota`] allows in a second.
const LEAST: u64 = 1000;
const SECOND_NS: u64 = 1_000_000_000;

/// A limit for answers that anybody can cause. The number of events that are allowed differs from second
/// to second, between [`LEAST`] and twice as many, and only this server knows it.
///
/// If an attacker knew the number, he could count the answers to his own packets and so find out how
/// many answers his forged packets have caused. From challenge ACKs he would learn which ends are
/// connected (Cao et al., USENIX Security 2016), and from ICMP errors which ports are open
/// (CVE-2020-25705). With a secret number, he must forge the same packet a thousand times in a second
/// before he sees a difference.
pub(crate) struct Quota {
    key: Key,
    second: u64,
    /// How many events are still allowed in this second.
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

    /// Whether one more event may happen now. It is counted if so.
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
