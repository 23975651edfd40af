//! 82559ER: blocks in a circle. A command block for transmission in simplified mode (8255x
//! OSDM §6.4.2.5) and a receive frame descriptor (§6.4.3.1) are the same sixteen bytes in front of
//! the frame; so an answer is sent from the block that its question was received into.

mod answer;
mod send;

pub use answer::answer_for_ever;
pub use send::send_for_ever;

use crate::pci::Bars;
use core::sync::atomic::{Ordering, fence};
use floor::frame;
use x86_64::instructions::port::Port;

/// QEMU carries out no more commands than these when it is told to.
const BATCH: usize = 16;

/// Blocks that there are.
const BLOCKS: usize = 256;

/// Bytes for a frame, with the checksum that QEMU leaves out.
const DATA: usize = (frame::MAX + 4).next_multiple_of(16);

#[repr(C, align(16))]
struct Block {
    status: u16,
    command: u16,
    /// Where the next block is.
    link: u32,
    /// All ones: the frame follows in the block.
    buffers: u32,
    /// Bytes that were received, or are to be sent, with the bit that says that they are all.
    count: u16,
    /// Of a frame to be received: bytes there is room for. Of one to be sent: after how many
    /// times 8 bytes the card may begin.
    size: u16,
    data: [u8; DATA],
}

const EMPTY: Block = Block {
    status: 0,
    command: 0,
    link: 0,
    buffers: 0,
    count: 0,
    size: 0,
    data: [0; DATA],
};

/// Bits of a status.
const COMPLETE: u16 = 1 << 15;
/// Commands and their bits.
const NOTHING: u16 = 0;
const TRANSMIT: u16 = 4;
const SUSPEND: u16 = 1 << 14;
const END: u16 = 1 << 15;
/// Bit of a count.
const ALL: u16 = 1 << 15;

/// The blocks, of which the first so many make the circle.
struct Ring {
    first: *mut Block,
    len: usize,
}

impl Ring {
    /// Makes the circle of `len` blocks; the caller makes only one.
    fn new(len: usize) -> Ring {
        static mut MEMORY: [Block; BLOCKS] = [EMPTY; BLOCKS];
        let ring = Ring {
            first: (&raw mut MEMORY).cast(),
            len: len.min(BLOCKS),
        };
        for at in 0..ring.len {
            let next = ring.block(at + 1) as u32; // below 4 GiB, where all of this guest is
            let block = ring.block(at);
            // SAFETY: the block is in `MEMORY`, and the card does not know it yet.
            unsafe {
                (*block).link = next;
                (*block).buffers = !0;
            }
        }
        ring
    }

    /// Block `at`, counted round and round.
    fn block(&self, at: usize) -> *mut Block {
        self.first.wrapping_add(at % self.len)
    }

    fn status(&self, at: usize) -> u16 {
        // SAFETY: the block is in `MEMORY`; what the card writes there is any number.
        unsafe { (&raw const (*self.block(at)).status).read_volatile() }
    }

    /// Gives the block a command, not yet carried out.
    fn set_command(&self, at: usize, command: u16) {
        let block = self.block(at);
        // SAFETY: the block is in `MEMORY`, and has not been begun with by the card.
        unsafe {
            (&raw mut (*block).status).write_volatile(0);
            (&raw mut (*block).command).write_volatile(command);
        }
    }

    /// Says how many bytes there are to be sent, or room for.
    fn set_sizes(&self, at: usize, count: u16, size: u16) {
        let block = self.block(at);
        // SAFETY: as above.
        unsafe {
            (&raw mut (*block).count).write_volatile(count);
            (&raw mut (*block).size).write_volatile(size);
        }
    }
}

/// The card's ports that are needed (OSDM §6.3).
struct Card {
    status: Port<u8>,
    command: Port<u8>,
    pointer: Port<u32>,
}

impl Card {
    /// The card after PORT's software reset: bases are 0; no interrupts.
    fn reset(bars: &Bars) -> Card {
        // SAFETY: these are the ports of the card that was found; it is at rest after it.
        unsafe {
            Port::new(bars.ports + 8).write(0_u32);
            Port::new(bars.ports + 3).write(1_u8);
        }
        Card {
            status: Port::new(bars.ports),
            command: Port::new(bars.ports + 2),
            pointer: Port::new(bars.ports + 4),
        }
    }

    /// The status. What is read in memory after it was not read before.
    fn status(&mut self) -> u8 {
        // SAFETY: reading the status has no effect.
        let status = unsafe { self.status.read() };
        fence(Ordering::Acquire);
        status
    }

    /// Has the card carry out the blocks that follow the last one it did, up to the next that
    /// suspends.
    fn command(&mut self, command: u8) {
        fence(Ordering::Release); // frames are written before
        // SAFETY: the blocks of the circle are the only ones the card knows; under QEMU it is
        // done with those that are to be sent when the write returns.
        unsafe { self.command.write(command) };
    }

    /// Has the card begin at `block`.
    fn start(&mut self, command: u8, block: *mut Block) {
        // SAFETY: the block is in the circle, as `command` wants it.
        unsafe { self.pointer.write(block as u32) };
        self.command(command);
    }
}

/// Commands to the card: to transmit, and to receive.
const TRANSMIT_START: u8 = 0x10;
const TRANSMIT_RESUME: u8 = 0x20;
const RECEIVE_START: u8 = 0x01;

/// The receiver's state in the status, and that in which it had no block left.
const RECEIVER: u8 = 0x3c;
const NO_BLOCKS: u8 = 0x08;
