//! Whether an idle processor polls the cards before it halts.
//!
//! A processor that halts takes a while to wake: some 20 microseconds under an emulator, where a
//! thread of the host has to be woken, and less on silicon. Where the next frame is about to come,
//! that is most of the time that an answer takes. So an idle processor polls for as long as the last
//! pauses were, and halts at once if they were long. This is what Linux's `haltpoll` governor
//! does for its guests (`drivers/cpuidle/governors/haltpoll.c`), with its figures.

/// The longest time that is polled, and the longest pause that is worth it, in nanoseconds.
pub const LONGEST_NS: u64 = 200_000;
/// How long is polled first after long pauses, in nanoseconds.
const FIRST_NS: u64 = 50_000;

/// How long to poll, from how long the last pauses were.
#[derive(Clone, Copy, Debug, Default)]
pub struct HaltPoll {
    window_ns: u64,
    /// When the pause began, if there is one.
    since: Option<u64>,
}

impl HaltPoll {
    /// A pause begins, or goes on; returns until when to poll.
    pub fn begin(&mut self, now: u64) -> u64 {
        *self.since.get_or_insert(now) + self.window_ns
    }

    /// There is something to do, so the pause is over.
    pub fn end(&mut self, now: u64) {
        let Some(since) = self.since.take() else {
            return;
        };
        let paused = now.saturating_sub(since);
        if paused > LONGEST_NS {
            self.window_ns /= 2;
            if self.window_ns < FIRST_NS {
                self.window_ns = 0;
            }
        } else if paused > self.window_ns {
            self.window_ns = (self.window_ns * 2).clamp(FIRST_NS, LONGEST_NS);
        }
    }
}

/// How long a program may run before frames for a sleeping program may interrupt it, in nanoseconds. Most
/// programs run for a shorter time, in which arming a card and silencing it again would cost more
/// than the program does: under an emulator each access to a register takes the emulator's lock.
pub const ARM_NS: u64 = 1_000_000;

/// When the idle kernel last polled the cards. While it polls often, no card needs to be armed for the
/// programs that run in between. The timer, at which the cards would be armed, is then put off before
/// it fires: a write to its register now and then is cheaper than its interrupt, the interrupt of the card
/// that it arms, and silencing that card again.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastPoll {
    last: u64,
}

impl LastPoll {
    /// The kernel has polled the cards.
    pub fn polled(&mut self, now: u64) {
        self.last = now;
    }

    /// Whether the kernel has polled so lately that a program may go on with silent cards.
    pub fn is_recent(&self, now: u64) -> bool {
        now < self.last + ARM_NS / 2
    }

    /// Whether the timer's interrupt that is due at `due` can come later, and is so near that it is time
    /// to put it off.
    pub fn can_put_off(&self, due: u64, now: u64) -> bool {
        self.is_recent(now) && (now..now + ARM_NS / 2).contains(&due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_is_put_off_while_the_kernel_looks_and_fires_soon_after_it_does_not() {
        let mut looks = LastPoll::default();
        let (mut due, mut written, mut now) = (u64::MAX, 0, 5_000_000);
        let mut run = |looks: &LastPoll, due: &mut u64, now: u64| {
            assert!(*due > now, "it fired");
            if *due == u64::MAX || looks.can_put_off(*due, now) {
                *due = now + ARM_NS;
                written += 1;
            }
        };
        for _ in 0..100 {
            looks.polled(now);
            run(&looks, &mut due, now + 10_000);
            run(&looks, &mut due, now + 30_000);
            now += 100_000;
        }
        // From now on others run without a pause, and nobody looks.
        let last = now - 100_000;
        while due > now {
            run(&looks, &mut due, now);
            now += 20_000;
        }
        assert!(due <= last + ARM_NS * 3 / 2);
        assert!(!looks.is_recent(due));
        assert!(written <= 21, "{written} writes for 10 ms");
    }

    /// Pauses of that length, one after the other; returns how long each was watched.
    fn pauses(watch: &mut HaltPoll, lengths: &[u64]) -> Vec<u64> {
        let mut now = 1_000_000;
        let mut watched = Vec::new();
        for length in lengths {
            now += 10_000;
            watched.push(watch.begin(now) - now);
            now += length;
            watch.end(now);
        }
        watched
    }

    #[test]
    fn short_pauses_are_watched_and_long_ones_are_not() {
        let mut watch = HaltPoll::default();
        let watched = pauses(&mut watch, &[70_000, 70_000, 70_000, 70_000]);
        assert_eq!(watched, [0, 50_000, 100_000, 100_000]);
        let watched = pauses(&mut watch, &[190_000, 190_000]);
        assert_eq!(watched, [100_000, 200_000]);
        let watched = pauses(&mut watch, &[10_000_000; 4]);
        assert_eq!(watched, [200_000, 100_000, 50_000, 0]);
        // A second between two looks at the cards costs nothing.
        assert_eq!(pauses(&mut watch, &[1_000_000_000; 3]), [0; 3]);
    }

    #[test]
    fn an_interrupt_with_nothing_to_do_does_not_begin_the_pause_anew() {
        let mut watch = HaltPoll::default();
        pauses(&mut watch, &[60_000]);
        let until = watch.begin(5_000_000);
        assert_eq!(until, 5_050_000);
        assert_eq!(watch.begin(5_040_000), until);
        watch.end(5_060_000);
        watch.end(9_000_000);
        assert_eq!(watch.begin(9_000_000), 9_100_000);
    }
}
