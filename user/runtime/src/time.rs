//! Time since power-on, and sleeping. There is no wall clock.

use crate::{Error, Result, sys};
use core::time::Duration;

pub use crate::sys::time_msec;

/// Monotonic nanoseconds since the kernel started. Costs no system call, but the first time.
///
/// # Panics
/// If the kernel tells no time, which no kernel of this version does: a program that went on
/// with a wrong time would wait for ever, or not at all.
pub fn clock_ns() -> u64 {
    match clock() {
        Ok(clock) => clock.ns(sys::timestamp()),
        Err(error) => no_clock(error),
    }
}

#[cold]
fn no_clock(error: Error) -> ! {
    panic!("the kernel tells no time: {error}")
}

/// How the time-stamp counter tells the time.
///
/// # Errors
/// As [`sys::clock`].
pub fn clock() -> Result<&'static abi::clock::Clock> {
    static CLOCK: spin::Once<abi::clock::Clock> = spin::Once::new();
    CLOCK.try_call_once(sys::clock)
}

/// Sleeps until [`clock_ns`] is at least `deadline_ns`.
///
/// # Errors
/// As [`sys::wait`].
pub fn sleep_until(deadline_ns: u64) -> Result<()> {
    while clock_ns() < deadline_ns {
        // An empty mask: nothing but the deadline ends the wait.
        sys::wait(0, deadline_ns)?;
    }
    Ok(())
}

/// Sleeps for at least `duration`.
///
/// # Errors
/// As [`sys::wait`].
pub fn sleep(duration: Duration) -> Result<()> {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    sleep_until(clock_ns().saturating_add(nanoseconds))
}
