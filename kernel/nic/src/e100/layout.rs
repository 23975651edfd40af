//! What lies in the DMA arena, as the card sees it: formats, offsets and sizes.
//!
//! These structures are never instantiated, for no reference into memory that the card writes may
//! exist: they are maps, from which the compiler computes the offsets that the driver hands to
//! [`crate::Bus`]. All values are little-endian.

use crate::{FrameArea, FrameMemory};
use core::mem::{offset_of, size_of};

/// Command blocks. At least one is always kept back: see `transmit.rs`.
pub const BLOCKS: usize = 32;
/// Receive frame descriptors. 128 stood a burst of 100 datagrams on QEMU, 64 did not.
pub const RFDS: usize = 256;
/// Longest frame to send or receive, in bytes: header and 1500, without the checksum.
pub const FRAME_MAX: usize = 1514;
/// Room for a received frame: even (§6.4.3.1), and more than the card may store.
const RFD_DATA: usize = 1520;
/// Buffers to send from, and bytes of each: as many as an exchange sends, and as many again, so that
/// frames can be built while others are sent.
pub const BUFFERS: usize = 128;
pub const BUFFER: usize = 2048;
/// No address.
pub const NIL: u32 = 0xffff_ffff;

/// The whole arena.
#[repr(C)]
pub struct Arena {
    /// Shown to the card's owner, to read: a frame carries its descriptor.
    receive: [Rfd; RFDS],
    /// Shown to the card's owner, to write.
    buffers: [[u8; BUFFER]; BUFFERS],
    /// The driver's.
    transmit: [Block; BLOCKS],
    statistics: Dump,
}

/// Bytes of DMA memory that the driver needs.
pub const ARENA_SIZE: usize = size_of::<Arena>();

/// Offset of a command block in the arena.
pub const fn block(index: usize) -> usize {
    offset_of!(Arena, transmit) + index * size_of::<Block>()
}

/// Offset of a receive frame descriptor in the arena.
pub const fn rfd(index: usize) -> usize {
    offset_of!(Arena, receive) + index * size_of::<Rfd>()
}

/// What the owner is shown.
pub const FRAMES: FrameArea = FrameArea {
    memory: FrameMemory {
        small: (BUFFERS as u16, BUFFER as u32),
        large: (0, 0),
        receive_len: offset_of!(Arena, buffers) as u32,
    },
    transmit: offset_of!(Arena, buffers)..offset_of!(Arena, transmit),
    receive: 0..offset_of!(Arena, buffers),
};

/// Offset of the counters in the arena.
pub const STATISTICS: usize = offset_of!(Arena, statistics);

/// A command block (§6.4.2), here as transmit command block (§6.4.2.5): in simplified mode with the
/// frame in it, in flexible mode with its own array of buffer descriptors.
#[repr(C)]
struct Block {
    status: u16,
    command: u16,
    link: u32,
    tbd_array: u32,
    /// Bytes in the block itself (15:0, none in flexible mode), transmit threshold (23:16), number
    /// of buffer descriptors (31:24).
    counts: u32,
    content: Content,
}

#[repr(C)]
union Content {
    /// One for the buffer, one for a tail that is elsewhere.
    tbds: [Tbd; 2],
    frame: [u64; SHORT_QUADS],
}

/// Longest frame that is sent from the block itself, in units of 8 bytes, and in bytes.
pub const SHORT_QUADS: usize = 8;
pub const SHORT: usize = size_of::<[u64; SHORT_QUADS]>();

/// A transmit buffer descriptor (§6.4.2.5).
#[repr(C)]
#[derive(Clone, Copy)]
struct Tbd {
    /// Where the data are.
    buffer: u32,
    /// How many (15:0), and whether this is the last buffer (16).
    size: u32,
}

/// Offsets and bits of a command block.
pub mod cb {
    use super::{Block, offset_of};

    /// Status, 16 bits: [`C`], [`OK`].
    pub const STATUS: usize = offset_of!(Block, status);
    /// Command, 16 bits: what to do, and [`EL`], [`S`], [`I`].
    pub const COMMAND: usize = offset_of!(Block, command);
    /// Bus address of the next block, 32 bits.
    pub const LINK: usize = offset_of!(Block, link);
    /// Where the argument of a command other than transmit starts.
    pub const ARGUMENT: usize = offset_of!(Block, tbd_array);
    /// Bus address of the buffer descriptors, or [`super::NIL`] in simplified mode, and
    /// [`TRANSMIT_COUNTS`], 32 bits each.
    pub const TBD_ARRAY: usize = offset_of!(Block, tbd_array);
    /// The first buffer descriptor: bus address, then size and [`TBD_EL`], 32 bits each.
    pub const TBDS: usize = offset_of!(Block, content);
    /// In simplified mode, the frame.
    pub const FRAME: usize = offset_of!(Block, content);

    /// Status: the card is done with the block.
    pub const C: u16 = 0x8000;
    /// Status: without error.
    pub const OK: u16 = 0x2000;

    /// Command: suspend after this block.
    pub const S: u16 = 0x4000;
    /// Command: interrupt (CX) when this block is complete.
    pub const I: u16 = 0x2000;
    /// Command: the transmit block points at buffer descriptors (flexible mode).
    pub const SF: u16 = 0x0008;
    /// Command: set the individual address (§6.4.2.2).
    pub const IA_SETUP: u16 = 1;
    /// Command: configure (§6.4.2.3).
    pub const CONFIGURE: u16 = 2;
    /// Command: set the multicast list (§6.4.2.4).
    pub const MULTICAST_SETUP: u16 = 3;
    /// Command: transmit (§6.4.2.5).
    pub const TRANSMIT: u16 = 4;

    /// A threshold of 0xe0 times 8 bytes, which is the whole frame, so
    /// that the card never runs dry in the middle of one.
    pub const TRANSMIT_COUNTS: u32 = 0xe0 << 16;
    /// The bytes in the block are the whole frame.
    pub const EOF: u32 = 1 << 15;
    /// Position of the number of buffer descriptors.
    pub const TBD_COUNT_SHIFT: u32 = 24;
    /// The last buffer of the frame.
    pub const TBD_EL: u32 = 1 << 16;
}

/// A receive frame descriptor in simplified mode: the data follow it (§6.4.3.1).
#[repr(C)]
struct Rfd {
    status: u16,
    command: u16,
    link: u32,
    /// For flexible mode, which the 82559ER lacks.
    rbd: u32,
    /// Bytes received (13:0), F (14) and EOF (15).
    count: u16,
    /// Room in `data`.
    size: u16,
    data: [u8; RFD_DATA],
}

/// Offsets and bits of a receive frame descriptor; `C` and `OK` are as in [`cb`].
pub mod rfd {
    use super::{NIL, RFD_DATA, Rfd, offset_of};

    /// Status, 16 bits.
    pub const STATUS: usize = offset_of!(Rfd, status);
    /// Command, 16 bits: [`EL`].
    pub const COMMAND: usize = offset_of!(Rfd, command);
    /// Bus address of the next descriptor, 32 bits.
    pub const LINK: usize = offset_of!(Rfd, link);
    /// Unused in simplified mode, 32 bits; then count (15:0) and size (31:16), 32 bits.
    pub const RBD_AND_COUNT: usize = offset_of!(Rfd, rbd);
    /// The frame.
    pub const DATA: usize = offset_of!(Rfd, data);

    /// Command: the receive unit stops after this descriptor.
    pub const EL: u16 = 0x8000;
    /// Where the count is in those 64 bits, and the number of bytes in it; above that are EOF and F,
    /// which QEMU never sets.
    pub const COUNT_SHIFT: u32 = 32;
    pub const COUNT_MASK: usize = 0x3fff;
    /// An empty descriptor's, without RBD.
    pub const EMPTY: u64 = NIL as u64 | (RFD_DATA as u64) << 48;
}

/// The counters (§6.4.2.7 and "statistical counters"): 16 of them in the standard format, then the
/// marker; the longest format of the family has 21 words.
#[repr(C)]
struct Dump {
    counters: [u32; 16],
    marker: u32,
    reserved: [u32; 4],
}

/// Offset of the marker from the start of the counters, in standard format.
pub const DUMP_MARKER: usize = offset_of!(Dump, marker);
/// The marker after [`super::regs::CUC_DUMP_RESET`].
pub const DUMP_RESET_DONE: u32 = 0xa007;

// The card demands even addresses everywhere, and 16-byte alignment for the counters.
const _: () = {
    // CONFIGURE's 22 bytes are the longest argument.
    assert!(size_of::<Block>().is_multiple_of(16) && cb::ARGUMENT + 22 <= size_of::<Block>());
    // These are written in pairs.
    assert!(cb::TBD_ARRAY.is_multiple_of(8) && cb::TBDS.is_multiple_of(8));
    assert!(rfd::RBD_AND_COUNT.is_multiple_of(8) && align_of::<Tbd>() <= 8);
    assert!(offset_of!(Arena, buffers).is_multiple_of(4096));
    assert!(offset_of!(Arena, transmit).is_multiple_of(4096));
    assert!(offset_of!(Rfd, data) == 16 && size_of::<Rfd>() == 1536);
    assert!(size_of::<Dump>() == 84 && STATISTICS.is_multiple_of(16));
    assert!(
        FRAME_MAX <= BUFFER
            && BUFFERS >= BLOCKS
            && RFD_DATA.is_multiple_of(2)
            && FRAME_MAX + 4 <= RFD_DATA
    );
    assert!(BLOCKS == u32::BITS as usize && RFDS >= 128);
};
