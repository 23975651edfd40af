//! Buffers, counted; and the sockets of connections that ended, for those that begin.
//!
//! A connection's buffers are large and must be cleared when they are new, which costs
//! more than all segments of a short connection. So some sockets are kept with theirs, and
//! the buffer in which segments are joined. They give way to whatever else needs the memory.

use crate::tcp::solo::Stream;
use alloc::vec::Vec;

/// Sockets that are kept.
const SPARE_MAX: usize = 32;

/// Octets of the longest receive buffer: what a window can say without being scaled.
///
/// A scaled window is rounded down, so its right edge moves left when an odd number of octets
/// arrives (RFC 7323 §2.4), and a peer that had filled the window loses what it sent there.
pub(crate) const RECEIVE_MAX: usize = u16::MAX as usize;

/// How many octets of buffers exist, and may.
pub(crate) struct Memory {
    used: usize,
    limit: usize,
    spare: Vec<Stream>,
    /// The buffer for a long frame; empty if there is none.
    spare_frame: Vec<u8>,
    /// Octets of all that is kept.
    spare_octets: usize,
}

impl Memory {
    pub fn new(limit: usize) -> Self {
        Memory {
            used: 0,
            limit,
            spare: Vec::new(),
            spare_frame: Vec::new(),
            spare_octets: 0,
        }
    }

    /// Octets in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Octets that may be in use.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether that much more may be used.
    pub fn has(&self, len: usize) -> bool {
        self.limit - self.used >= len
    }

    /// A zeroed buffer; `None` if the limit or the heap is reached.
    #[cold]
    pub fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        if !self.reserve(len) {
            return None;
        }
        let mut buffer = Vec::new();
        while buffer.try_reserve_exact(len).is_err() {
            if !self.drop_spare() {
                self.give_back(len);
                return None;
            }
        }
        buffer.resize(len, 0);
        Some(buffer)
    }

    /// Counts octets that may be needed as used. `false` if that would be too many.
    pub fn reserve(&mut self, len: usize) -> bool {
        if !self.has(len) {
            return false;
        }
        while self.limit - self.used - self.spare_octets < len {
            self.drop_spare();
        }
        self.used += len;
        true
    }

    /// A buffer for a frame of that many octets, which is always the same number.
    pub fn take_frame(&mut self, len: usize) -> Option<Vec<u8>> {
        if self.spare_frame.is_empty() {
            return self.take(len);
        }
        self.spare_octets -= len;
        self.used += len;
        Some(core::mem::take(&mut self.spare_frame))
    }

    /// Keeps it for the next one.
    pub fn give_back_frame(&mut self, buffer: Vec<u8>) {
        self.give_back(buffer.len());
        self.spare_octets += buffer.len();
        self.spare_frame = buffer;
    }

    /// Counts a buffer as freed.
    pub fn give_back(&mut self, len: usize) {
        debug_assert!(len <= self.used);
        self.used = self.used.saturating_sub(len);
    }

    /// A closed socket with buffers of that many octets; for reception [`RECEIVE_MAX`] at most.
    pub fn take_socket(&mut self, receive: usize, transmit: usize) -> Option<Stream> {
        let receive = receive.min(RECEIVE_MAX);
        let fits = |solo: &Stream| {
            let socket = solo.get();
            (socket.recv_capacity(), socket.send_capacity()) == (receive, transmit)
        };
        if let Some(place) = self.spare.iter().rposition(fits) {
            let mut solo = self.spare.swap_remove(place);
            let octets = octets(&solo);
            self.spare_octets -= octets;
            self.used += octets;
            solo.get_mut().set_timeout(None);
            return Some(solo);
        }
        let receive = self.take(receive)?;
        let Some(transmit) = self.take(transmit) else {
            self.give_back(receive.len());
            return None;
        };
        Some(Stream::with_buffers(receive, transmit))
    }

    /// Keeps a socket that is not needed any more, or frees it.
    pub fn give_back_socket(&mut self, mut solo: Stream) {
        let octets = octets(&solo);
        self.give_back(octets);
        if self.spare.len() < SPARE_MAX {
            // It forgets what it was when it listens or connects; it must be closed for that.
            solo.get_mut().abort();
            self.spare.push(solo);
            self.spare_octets += octets;
        }
    }

    #[cold]
    fn drop_spare(&mut self) -> bool {
        if let Some(solo) = self.spare.pop() {
            self.spare_octets -= octets(&solo);
            return true;
        }
        let frame = core::mem::take(&mut self.spare_frame);
        self.spare_octets -= frame.len();
        !frame.is_empty()
    }
}

fn octets(solo: &Stream) -> usize {
    let socket = solo.get();
    socket.recv_capacity() + socket.send_capacity()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_kept_within_the_limit_and_give_way() {
        let mut memory = Memory::new(1000);
        let sockets: Vec<_> = (0..3).map_while(|_| memory.take_socket(100, 200)).collect();
        assert_eq!((sockets.len(), memory.used()), (3, 900));
        assert!(memory.take_socket(100, 200).is_none());
        assert_eq!(memory.used(), 900);
        for socket in sockets {
            memory.give_back_socket(socket);
        }
        assert_eq!((memory.used(), memory.spare.len()), (0, 3));
        let socket = memory.take_socket(100, 200).unwrap();
        assert_eq!((memory.used(), memory.spare.len()), (300, 2));
        // 100 octets are free beside the two that are kept.
        let buffer = memory.take(100).unwrap();
        assert_eq!((memory.used(), memory.spare.len()), (400, 2));
        assert!(memory.take(601).is_none() && memory.take(500).is_some());
        assert_eq!((memory.used(), memory.spare.len()), (900, 0));
        memory.give_back_socket(socket);
        memory.give_back(buffer.len());
        assert_eq!((memory.used(), memory.spare_octets), (500, 300));
    }

    #[test]
    fn the_buffer_for_frames_is_the_last_to_give_way_and_is_counted() {
        let mut memory = Memory::new(1000);
        let socket = memory.take_socket(100, 200).unwrap();
        let frame = memory.take_frame(600).unwrap();
        assert_eq!((frame.len(), memory.used()), (600, 900));
        assert!(memory.take(200).is_none());
        let place = frame.as_ptr();
        memory.give_back_frame(frame);
        memory.give_back_socket(socket);
        assert_eq!((memory.used(), memory.spare_octets), (0, 900));
        let frame = memory.take_frame(600).unwrap();
        assert_eq!((memory.used(), frame.as_ptr()), (600, place));
        memory.give_back_frame(frame);
        let buffer = memory.take(400).unwrap();
        assert_eq!((memory.spare.len(), memory.spare_octets), (0, 600));
        assert!(memory.take(500).is_some() && memory.spare_octets == 0);
        assert!(memory.take_frame(600).is_none());
        memory.give_back(buffer.len());
    }

    #[test]
    fn what_the_heap_does_not_have_is_refused_once_all_that_is_kept_has_given_way() {
        let mut memory = Memory::new(usize::MAX);
        assert!(memory.take(usize::MAX / 2 + 1).is_none());
        for kept in 0..3 {
            let sockets: Vec<_> = (0..kept).map_while(|_| memory.take_socket(8, 8)).collect();
            let frame = memory.take_frame(600).unwrap();
            memory.give_back_frame(frame);
            for socket in sockets {
                memory.give_back_socket(socket);
            }
            assert!(memory.take(usize::MAX / 2 + 1).is_none());
            assert_eq!((memory.used(), memory.spare_octets), (0, 0));
        }
    }

    #[test]
    fn no_more_are_kept_than_are_worth_it() {
        let mut memory = Memory::new(1 << 20);
        let sockets: Vec<_> = (0..100).map_while(|_| memory.take_socket(8, 8)).collect();
        for socket in sockets {
            memory.give_back_socket(socket);
        }
        assert_eq!((memory.used(), memory.spare.len()), (0, SPARE_MAX));
    }
}
