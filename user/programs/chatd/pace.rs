//! How often something may happen: so often at once, and then once in a while.

/// When the next one may happen. It is the generic cell rate algorithm of ATM networks, which needs one number.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When the next would be due if all had come at the pace itself.
    due: u64,
    /// Nanoseconds for each.
    each: u64,
    /// How far ahead of its time one may be.
    ahead: u64,
}

impl Pace {
    /// One each so many nanoseconds, and so many at once after silence.
    pub const fn new(each: u64, at_once: u64) -> Self {
        Pace {
            due: 0,
            each,
            ahead: each * (at_once - 1),
        }
    }

    /// Whether one may happen.
    pub fn is_free(&self, now: u64) -> bool {
        self.free_at() <= now
    }

    /// When one may happen.
    pub fn free_at(&self) -> u64 {
        self.due.saturating_sub(self.ahead)
    }

    /// It happens, and counts for so many.
    pub fn take(&mut self, count: u64, now: u64) {
        self.due = self.due.max(now) + count * self.each;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_and_then_one_in_a_while() {
        let mut pace = Pace::new(100, 3);
        for now in [1000, 1000, 1001] {
            assert!(pace.is_free(now));
            pace.take(1, now);
        }
        assert!(!pace.is_free(1099) && pace.is_free(1100));
        assert_eq!(pace.free_at(), 1100);
        // One that counts for more costs the others their time.
        pace.take(5, 1100);
        assert_eq!(pace.free_at(), 1600);
        assert!(pace.is_free(5000));
        pace.take(1, 5000);
        pace.take(1, 5000);
        assert!(
            pace.is_free(5000),
            "silence is not saved up beyond the burst"
        );
        pace.take(1, 5000);
        assert!(!pace.is_free(5000));
    }
}
