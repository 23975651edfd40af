//! Frames that are built and parsed where the card finds and puts them.
//!
//! Buffers are named by number, and belong to one side at a time: the driver, or whoever took one.
//! Their memory is all that a process may be shown of an arena: rings and descriptors are elsewhere.
//! What a process does to a buffer that it does not hold, it does to its own frames.

use crate::bus::{Bus, BusAddr};
use abi::nic::{FrameMemory, SendOptions};
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
    /// The card verified the checksum of the IPv4 header, and it is right; or the packet is IPv6, whose
    /// header has none. Otherwise it is wrong, or nobody looked.
    pub header_checksum: bool,
    /// The same for the checksum of TCP or UDP.
    pub transport_checksum: bool,
    /// The VLAN tag (TCI, IEEE 802.1Q §9.6) that was taken out of the frame, by the card or by its
    /// driver; of several, the first.
    pub vlan: Option<u16>,
    /// The receive queue it came by.
    pub queue: u16,
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

#[cfg(test)]
mod tests {
    use super::*;

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
