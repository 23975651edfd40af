//! Frames that are built and parsed where the card finds and puts them.
//!
//! Buffers are named by number, and belong to one side at a time: the driver, or whoever took one.
//! Their memory is all that a process may be shown of an arena: rings and descriptors are elsewhere.
//! What a process does to a buffer that it does not hold, it does to its own frames.

use crate::{Bus, BusAddr, Error, FrameMemory, SendOptions, reserve};
use alloc::vec::Vec;
use core::ops::Range;

/// Where frame buffers are in the arena. Both ranges begin and end on pages of 4096 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameArea {
    /// How many there are.
    pub memory: FrameMemory,
    /// Buffers to send from: first the small ones, then the large ones. The holder may write.
    pub transmit: Range<usize>,
    /// What the card receives into. Nobody but the card writes.
    pub receive: Range<usize>,
}

impl FrameArea {
    /// Where a buffer to send from is in the arena, and how many bytes it has; `None` if there is
    /// none of that number.
    pub fn buffer(&self, number: u16) -> Option<(usize, usize)> {
        let (offset, len) = self.memory.buffer(number)?;
        Some((self.transmit.start + offset, len))
    }

    /// Clears all buffers, for the next owner. The card must not be using them.
    pub(crate) fn clear<B: Bus>(&self, bus: &mut B) {
        bus.clear(self.transmit.clone());
        bus.clear(self.receive.clone());
    }
}

/// A frame's end that is not in its buffer: bytes anywhere the card can reach, contiguous on the
/// bus, which stay as they are until the frame was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where they are.
    pub address: BusAddr,
    /// How many.
    pub len: usize,
}

/// A frame that was built in a buffer, and shall be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Number of the buffer.
    pub buffer: u16,
    /// Bytes from its start.
    pub len: usize,
    /// What the card shall do.
    pub options: SendOptions,
    /// The frame's end, if that is not in the buffer.
    pub tail: Option<Tail>,
}

/// What a card found out about a frame that it received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveInfo {
    /// The card verified the checksum of the IPv4 header, and it is right. Otherwise it is wrong, or
    /// nobody looked.
    pub ipv4_checksum: bool,
    /// The same for the checksum of TCP or UDP.
    pub transport_checksum: bool,
    /// The VLAN tag (TCI, IEEE 802.1Q §9.6) that was taken out of the frame, by the card or by its
    /// driver; of several, the first.
    pub vlan: Option<u16>,
    /// The receive queue it came by.
    pub queue: u16,
    /// Hash of its flow (Toeplitz, over addresses and ports), if the card computed one.
    pub hash: Option<u32>,
}

/// A received frame, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of its buffer.
    pub buffer: u16,
    /// Where it starts, in bytes from the start of [`FrameArea::receive`].
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
    /// The frame goes on in the next piece.
    pub more: bool,
    /// It began in a piece before. The end of a frame that a reset took away never comes.
    pub continues: bool,
    /// What the card found out about the frame.
    pub info: ReceiveInfo,
}

/// Buffers to send from, of one size: which are free, and who has the others.
pub(crate) struct Pool {
    first: u16,
    free: Vec<u16>,
    places: Vec<Place>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Held,
    InRing,
}

impl Pool {
    /// The buffers with these numbers.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(numbers: Range<u16>) -> Result<Self, Error> {
        let count = numbers.len();
        let mut pool = Pool {
            first: numbers.start,
            free: reserve::with_room(count)?,
            places: reserve::filled(Place::Free, count)?,
        };
        pool.refill();
        Ok(pool)
    }

    /// Takes all buffers back, whoever has them.
    pub fn refill(&mut self) {
        self.places.fill(Place::Free);
        self.collect();
    }

    /// Takes the buffers back that were in rings, which are no more.
    pub fn empty_rings(&mut self) {
        for place in &mut self.places {
            if *place == Place::InRing {
                *place = Place::Free;
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        self.free.clear();
        let numbered = (self.first..).zip(&self.places);
        let free = numbered.filter(|(_, place)| **place == Place::Free);
        self.free.extend(free.map(|(number, _)| number));
    }

    /// Free buffers.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// All buffers.
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// Gives buffers away, as many as there is room for in `into` or else all; returns how many.
    pub fn take_all(&mut self, into: &mut [u16]) -> usize {
        let left = self.free.len().saturating_sub(into.len());
        let taken = self.free.len() - left;
        for (room, number) in into.iter_mut().zip(self.free.drain(left..)) {
            *room = number;
            if let Some(place) = self.places.get_mut(index(self.first, number)) {
                *place = Place::Held;
            }
        }
        taken
    }

    /// Gives a buffer away.
    pub fn take(&mut self) -> Option<u16> {
        let number = self.free.pop()?;
        *self.place(number)? = Place::Held;
        Some(number)
    }

    /// Whether somebody has this buffer.
    pub fn check_held(&mut self, buffer: u16) -> Result<(), Error> {
        match self.place(buffer) {
            Some(Place::Held) => Ok(()),
            _ => Err(Error::BadBuffer { buffer }),
        }
    }

    /// Takes a buffer back from who has it.
    pub fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.check_held(buffer)?;
        self.free(buffer);
        Ok(())
    }

    /// Notes that a buffer that somebody had is in a ring now.
    pub fn enter_ring(&mut self, buffer: u16) {
        if let Some(place) = self.place(buffer) {
            *place = Place::InRing;
        }
    }

    /// Takes a buffer out of a ring.
    pub fn leave_ring(&mut self, buffer: u16) {
        if self
            .place(buffer)
            .is_some_and(|place| *place == Place::InRing)
        {
            self.free(buffer);
        }
    }

    fn free(&mut self, buffer: u16) {
        if let Some(place) = self.place(buffer) {
            *place = Place::Free;
            self.free.push(buffer);
        }
    }

    fn place(&mut self, buffer: u16) -> Option<&mut Place> {
        self.places.get_mut(index(self.first, buffer))
    }
}

/// Which of a pool's places is a buffer's; a number below the first is behind the last.
fn index(first: u16, buffer: u16) -> usize {
    buffer.wrapping_sub(first).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_one_holder_at_a_time() {
        let mut pool = Pool::new(10..13).unwrap();
        let held: Vec<u16> = core::iter::from_fn(|| pool.take()).collect();
        assert_eq!((held.len(), pool.len(), pool.capacity()), (3, 0, 3));
        assert!(held.iter().all(|number| (10..13).contains(number)));
        pool.put_back(10).unwrap();
        for bad in [10, 9, 13, u16::MAX] {
            let refused = Err(Error::BadBuffer { buffer: bad });
            assert_eq!(pool.put_back(bad), refused);
            assert_eq!(pool.check_held(bad), refused);
        }
        pool.enter_ring(11);
        assert_eq!(pool.put_back(11), Err(Error::BadBuffer { buffer: 11 }));
        pool.leave_ring(11);
        // What is not in a ring cannot leave one.
        pool.leave_ring(11);
        pool.leave_ring(12);
        assert_eq!(pool.len(), 2);
        pool.check_held(12).unwrap();
    }

    #[test]
    fn a_reset_takes_what_was_in_the_rings_and_a_new_owner_everything() {
        let mut pool = Pool::new(0..3).unwrap();
        let held = pool.take().unwrap();
        let sent = pool.take().unwrap();
        pool.enter_ring(sent);
        pool.empty_rings();
        assert_eq!(pool.len(), 2);
        pool.check_held(held).unwrap();
        pool.refill();
        assert_eq!(pool.len(), 3);
        assert!(pool.check_held(held).is_err());
    }

    #[test]
    fn buffers_of_both_sizes_are_where_they_should_be() {
        let frames = FrameArea {
            memory: FrameMemory {
                small: (2, 2048),
                large: (2, 65536),
                receive_len: 8192,
            },
            transmit: 8192..8192 + 2 * 2048 + 2 * 65536,
            receive: 0..8192,
        };
        assert_eq!(frames.buffer(1), Some((8192 + 2048, 2048)));
        assert_eq!(frames.buffer(2), Some((8192 + 4096, 65536)));
        assert_eq!(frames.buffer(3), Some((8192 + 4096 + 65536, 65536)));
        assert_eq!(frames.buffer(4), None);
    }
}
