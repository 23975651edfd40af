//! How many segments that are for no connection are refused: RSTs are bounded, so that an
//! attacker cannot have us send as many to others as it sends to us.

use super::arrives::Pace;
use super::tcb::Challenges;
use super::{Course, Tcp, TcpCounters};
use crate::secret::{Key, Purpose, Secret};
use crate::stack::verdict::DropReason;

/// RSTs in a second at the least; at the most twice as many. If the number were known, an
/// attacker that counts the RSTs to itself could tell how many others got, and so which ends are connected
/// (as by challenge ACKs: Cao et al., USENIX Security 2016).
const LEAST: u64 = 1000;
const SECOND_NS: u64 = 1_000_000_000;

/// How many RSTs may still be sent in this second.
pub(super) struct Resets {
    key: Key,
    second: u64,
    left: u64,
}

impl Resets {
    #[cold]
    pub fn new(secret: &Secret) -> Self {
        Resets {
            key: secret.key(Purpose::Resets),
            second: u64::MAX,
            left: 0,
        }
    }

    fn allow(&mut self, now: u64) -> bool {
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

impl Tcp {
    /// Refuses a segment that is for no connection, or drops it.
    #[cold]
    pub(super) fn reset(&mut self, why: DropReason, now: u64) -> Course {
        match self.resets.allow(now) {
            true => {
                self.counters.resets_sent += 1;
                Course::Reset(why)
            }
            false => {
                self.counters.resets_held += 1;
                Course::Drop(why)
            }
        }
    }
}

impl TcpCounters {
    /// Whether a segment may be answered with an acknowledgement.
    #[cold]
    pub(super) fn allow(&mut self, challenges: &mut Challenges, pace: Pace, now: u64) -> bool {
        if pace == Pace::Each {
            return true;
        }
        let allowed = challenges.allow(now);
        self.challenges_sent += u64::from(allowed);
        self.challenges_held += u64::from(!allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_a_number_of_its_own() {
        let mut resets = Resets::new(&Secret::from(1));
        let mut counts = alloc::collections::BTreeSet::new();
        for second in 0..50 {
            let asked = (0..5000).map(|n| second * SECOND_NS + n * 200_000);
            let count = asked.filter(|&now| resets.allow(now)).count();
            assert!((1000..2000).contains(&count));
            counts.insert(count);
        }
        assert!(counts.len() > 40);
    }
}
