//! Time since power-on, and sleeping. There is no wall clock.

use core::time::Duration;

#[cfg(test)]
pub use crate::sys::clock_ns;
pub use crate::sys::time_msec;

/// Monotonic nanoseconds since the kernel started. Costs no system call, but the first time.
#[cfg(not(test))]
pub fn clock_ns() -> u64 {
    use crate::sys;
    static CLOCK: spin::Once<abi::clock::Clock> = spin::Once::new();
    match CLOCK.try_call_once(sys::clock) {
        Ok(clock) => clock.ns(sys::timestamp()),
        Err(_) => sys::clock_ns(),
    }
}

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
