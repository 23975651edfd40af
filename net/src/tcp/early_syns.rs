//! SYNs that arrive before the programs that will listen have opened their sockets.
//!
//! A server that has just started, perhaps in the place of one that died, has no listeners yet. A
//! RST would tell a client wrongly that nobody will listen. So for a while after the start
//! ([`crate::Timers::opening`]) a SYN to a port without a listener is kept. It is processed as soon as
//! a listener is there, where the client would repeat its SYN only after a second.

use alloc::vec::Vec;

/// The most frames that are kept. Clients whose SYNs find no room repeat them.
const FRAMES_MAX: usize = 64;

/// The SYNs that wait for a listener.
pub(crate) struct EarlySyns {
    /// SYNs may wait until this time.
    until: u64,
    frames: Vec<Vec<u8>>,
    /// Whether a listener was added since the frames were processed last.
    has_new_listener: bool,
}

impl EarlySyns {
    pub fn new(until: u64) -> Self {
        EarlySyns {
            until,
            frames: Vec::new(),
            has_new_listener: false,
        }
    }

    /// Whether the time in which SYNs are kept is not over.
    #[inline]
    pub fn is_early(&self, now: u64) -> bool {
        now < self.until
    }

    /// Keeps a frame, if there is room. A repetition of one that is kept needs none. Returns whether
    /// the frame is kept.
    #[cold]
    pub fn keep(&mut self, frame: &[u8]) -> bool {
        let is_known = self.frames.iter().any(|kept| kept == frame);
        let has_room = self.frames.len() < FRAMES_MAX;
        if !is_known && has_room {
            self.frames.push(frame.to_vec());
        }
        is_known || has_room
    }

    /// Notes that a listener was added.
    pub fn listener_added(&mut self) {
        self.has_new_listener = true;
    }

    /// Takes the frames that are to be processed now: all, if a listener was added or the time is
    /// over.
    #[inline]
    pub fn take(&mut self, now: u64) -> Vec<Vec<u8>> {
        let is_due = self.has_new_listener || !self.is_early(now);
        match is_due && !self.frames.is_empty() {
            true => self.take_all(),
            false => Vec::new(),
        }
    }

    #[cold]
    fn take_all(&mut self) -> Vec<Vec<u8>> {
        self.has_new_listener = false;
        core::mem::take(&mut self.frames)
    }

    /// When the kept frames are to be processed at the latest.
    pub fn deadline(&self) -> Option<u64> {
        (!self.frames.is_empty()).then_some(self.until)
    }
}
