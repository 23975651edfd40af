//! Signs of life of a connection without a socket.

use crate::config::Timers;
use crate::deadlines::nanoseconds;

/// When a dormant connection was last heard of, and asked; and when its program may try again
/// to send, if it waits for that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    pub heard: u64,
    pub asked: u64,
    pub retry: Option<u64>,
}

impl Signs {
    /// The peer has said something.
    pub fn hear(&mut self, now: u64) {
        self.heard = now;
    }

    /// When something is due: the peer is asked each `keep_alive`, and given up after `silence`.
    pub fn next(&self, timers: &Timers) -> u64 {
        let ask = self
            .heard
            .max(self.asked)
            .saturating_add(nanoseconds(timers.keep_alive));
        let end = self.heard.saturating_add(nanoseconds(timers.silence));
        ask.min(end).min(self.retry.unwrap_or(u64::MAX))
    }
}
