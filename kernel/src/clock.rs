//! Time: the clock that the kernel and its programs share, and how long things take.

pub use abi::clock::Clock;

/// How long a program has the processor while others want it, in milliseconds: a tick of the
/// lab's 100 Hz clock.
pub const QUANTUM_MS: u64 = 10;
/// A millisecond.
pub const MILLISECOND_NS: u64 = 1_000_000;
/// How often the cards are looked after.
pub const SECOND_NS: u64 = 1_000_000_000;
