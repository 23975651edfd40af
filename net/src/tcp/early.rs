//! SYNs that come before the programs that are about to listen.
//!
//! A server that has just started, perhaps in the place of one that died, has no listeners yet:
//! its programs open their sockets in the next moments. A client that was told meanwhile that
//! nobody listens would believe it. So for a while ([`crate::Timers::opening`]) a SYN to a port
//! without a listener waits for one, as in its peer's next SYN it would a second later.

use alloc::vec::Vec;

/// Frames that are kept; the peers of more ask again.
const FRAMES_MAX: usize = 64;

/// The SYNs that wait for a listener, and until when they may.
pub(crate) struct Early {
    until: u64,
    frames: Vec<Vec<u8>>,
    /// A listener was added since the frames were looked at.
    is_news: bool,
}

impl Early {
    pub fn new(until: u64) -> Self {
        Early {
            until,
            frames: Vec::new(),
            is_news: false,
        }
    }

    /// Whether programs may be about to open their sockets.
    #[inline]
    pub fn is_early(&self, now: u64) -> bool {
        now < self.until
    }

    /// Keeps a frame, if there is room; a second one that is the same is the first, repeated.
    #[cold]
    pub fn keep(&mut self, frame: &[u8]) -> bool {
        let is_known = self.frames.iter().any(|kept| kept == frame);
        let has_room = self.frames.len() < FRAMES_MAX;
        if !is_known && has_room {
            self.frames.push(frame.to_vec());
        }
        is_known || has_room
    }

    /// Somebody listens.
    pub fn heard(&mut self) {
        self.is_news = true;
    }

    /// Takes what is to be looked at again: a listener has come, or the time is over.
    #[inline]
    pub fn take(&mut self, now: u64) -> Vec<Vec<u8>> {
        let is_due = self.is_news || !self.is_early(now);
        match is_due && !self.frames.is_empty() {
            true => self.take_all(),
            false => Vec::new(),
        }
    }

    #[cold]
    fn take_all(&mut self) -> Vec<Vec<u8>> {
        self.is_news = false;
        core::mem::take(&mut self.frames)
    }

    /// When the time of those that are kept is over.
    pub fn deadline(&self) -> Option<u64> {
        (!self.frames.is_empty()).then_some(self.until)
    }
}
