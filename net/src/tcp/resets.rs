//! What is said to segments that are for no connection, or not acceptable: RSTs and challenge
//! ACKs are bounded, so that an attacker cannot have us send as many to others as it sends to us.

use crate::tcp::arrives::Pace;
use crate::tcp::tcb::Challenges;
use crate::tcp::{Course, Tcp, TcpCounters};
use crate::verdict::DropReason;

impl Tcp {
    /// Refuses a segment that is for no connection, or drops it.
    #[cold]
    pub(super) fn reset(&mut self, why: DropReason, now: u64) -> Course {
        match self.resets.allows(now) {
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
