//! The memory for buffers: how much is used, and sockets that are kept for the next connections.
//!
//! A connection's buffers are large, and new ones must be cleared, which costs more than all segments
//! of a short connection. So some sockets of connections that have ended are kept with their buffers,
//! and so is the buffer in which segments are joined. All of them are freed when something else needs
//! the memory.

use crate::tcp::sole_socket::SoleSocket;
use alloc::vec::Vec;

/// The most sockets that are kept.
const SPARE_MAX: usize = 32;

/// Octets of the longest receive buffer: the largest window that needs no scaling.
///
/// A scaled window is rounded down, so that its right edge moves left when an odd number of octets
/// arrives (RFC 7323 §2.4). A peer that had filled the window then loses the octets behind the edge.
pub(crate) const RECEIVE_MAX: usize = u16::MAX as usize;

/// The memory for buffers, counted in octets.
pub(crate) struct Memory {
    used: usize,
    limit: usize,
    /// Closed sockets that are kept.
    spare: Vec<SoleSocket>,
    /// The kept buffer for a long frame; empty if there is none.
    spare_frame: Vec<u8>,
    /// Octets of all kept buffers, which do not count as used.
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

    /// Whether `len` octets more may be used.
    pub fn has(&self, len: usize) -> bool {
        self.limit - self.used >= len
    }

    /// A zeroed buffer of `len` octets; `None` if the limit or the heap is exhausted.
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

    /// Counts `len` octets as used. Returns `false`, and counts nothing, if that would be too many.
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

    /// A buffer for a frame of `len` octets, which must be the same number in every call.
    pub fn take_frame(&mut self, len: usize) -> Option<Vec<u8>> {
        if self.spare_frame.is_empty() {
            return self.take(len);
        }
        self.spare_octets -= len;
        self.used += len;
        Some(core::mem::take(&mut self.spare_frame))
    }

    /// Takes the buffer of a frame back, and keeps it for the next frame.
    pub fn give_back_frame(&mut self, buffer: Vec<u8>) {
        self.give_back(buffer.len());
        self.spare_octets += buffer.len();
        self.spare_frame = buffer;
    }

    /// Counts `len` octets as free.
    pub fn give_back(&mut self, len: usize) {
        debug_assert!(len <= self.used);
        self.used = self.used.saturating_sub(len);
    }

    /// A closed socket with buffers of these lengths in octets; the receive buffer has no more than
    /// [`RECEIVE_MAX`]. `None` if the limit or the heap is exhausted.
    pub fn take_socket(&mut self, receive: usize, transmit: usize) -> Option<SoleSocket> {
        let receive = receive.min(RECEIVE_MAX);
        let fits = |spare: &SoleSocket| {
            let socket = spare.get();
            (socket.recv_capacity(), socket.send_capacity()) == (receive, transmit)
        };
        if let Some(place) = self.spare.iter().rposition(fits) {
            let mut socket = self.spare.swap_remove(place);
            let octets = socket.buffer_octets();
            self.spare_octets -= octets;
            self.used += octets;
            socket.get_mut().set_timeout(None);
            return Some(socket);
        }
        let receive = self.take(receive)?;
        let Some(transmit) = self.take(transmit) else {
            self.give_back(receive.len());
            return None;
        };
        Some(SoleSocket::new(receive, transmit))
    }

    /// Takes a socket back, and keeps it for the next connection or frees it.
    pub fn give_back_socket(&mut self, mut socket: SoleSocket) {
        let octets = socket.buffer_octets();
        self.give_back(octets);
        if self.spare.len() < SPARE_MAX {
            // A closed socket forgets its old connection when it listens or connects.
            socket.get_mut().abort();
            self.spare.push(socket);
            self.spare_octets += octets;
        }
    }

    /// Frees one of the kept buffers. Returns whether there was one.
    #[cold]
    fn drop_spare(&mut self) -> bool {
        if let Some(socket) = self.spare.pop() {
            self.spare_octets -= socket.buffer_octets();
            return true;
        }
        let frame = core::mem::take(&mut self.spare_frame);
        self.spare_octets -= frame.len();
        !frame.is_empty()
    }
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
