//! Time since power-on, and sleeping. There is no wall clock.

use core::time::Duration;

pub use crate::sys::{clock_ns, time_msec};

/// Sleeps until [`clock_ns`] is at least `deadline_ns`.
pub fn sleep_until(deadline_ns: u64) {
    while clock_ns() < deadline_ns {
        // An empty mask: nothing but the deadline ends the wait.
        if crate::sys::wait(0, deadline_ns).is_err() {
            crate::sys::yield_now();
        }
    }
}

/// Sleeps for at least `duration`.
pub fn sleep(duration: Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    sleep_until(clock_ns().saturating_add(nanoseconds));
}
