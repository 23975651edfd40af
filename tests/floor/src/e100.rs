//! 82559ER: sixteen command blocks in a circle, the last of which suspends. One RESUME sends
//! them all, and QEMU carries out no more than sixteen per command.

use crate::{frame, pci::Bars, serial};
use x86_64::instructions::port::Port;

const BLOCKS: usize = 16;

/// A command block for transmission in simplified mode (8255x OSDM §6.4.2.5): the frame
/// follows in the block.
#[repr(C, align(16))]
struct Block {
    status: u16,
    command: u16,
    link: u32,
    buffers: u32,
    /// Bytes, with the bit that says that they are all.
    count: u16,
    threshold: u8,
    buffer_count: u8,
    data: [u8; frame::MAX],
}

const EMPTY: Block = Block {
    status: 0,
    command: 0,
    link: 0,
    buffers: !0,
    count: 0,
    threshold: 0xe0,
    buffer_count: 0,
    data: [0; frame::MAX],
};

static mut RING: [Block; BLOCKS] = [EMPTY; BLOCKS];

const TRANSMIT: u16 = 4;
const SUSPEND: u16 = 1 << 14;
const START: u8 = 0x10;
const RESUME: u8 = 0x20;

/// Sends frames of `size` bytes.
pub fn send_for_ever(bars: Bars, size: usize) -> ! {
    let ring = (&raw mut RING).cast::<Block>();
    for at in 0..BLOCKS {
        let next = ring.wrapping_add((at + 1) % BLOCKS);
        // SAFETY: this is the only reference to the ring, which the card does not know yet.
        let block = unsafe { &mut *ring.wrapping_add(at) };
        block.command = TRANSMIT | if at == BLOCKS - 1 { SUSPEND } else { 0 };
        block.link = next as u32;
        block.count = size as u16 | 1 << 15;
        frame::fill(&mut block.data[..size]);
    }
    let mut reset = Port::new(bars.ports + 8);
    let mut pointer = Port::new(bars.ports + 4);
    let mut mask = Port::new(bars.ports + 3);
    let mut command = Port::new(bars.ports + 2);
    // SAFETY: these are the ports of the card that was found (OSDM §6.3): PORT's software
    // reset, no interrupts, bases of 0 as after reset, and the ring as it is in memory.
    unsafe {
        reset.write(0_u32);
        mask.write(1_u8);
        pointer.write(ring as u32);
    }
    serial::print("floor: sending\r\n");
    let mut next = START;
    loop {
        // SAFETY: as above; the blocks stay as they are while the card has them, which under
        // QEMU is until the write returns.
        unsafe { command.write(next) };
        next = RESUME;
        for at in 0..BLOCKS {
            // A driver has to write this much per frame.
            // SAFETY: the block is in memory; the card is at rest again.
            unsafe { (&raw mut (*ring.wrapping_add(at)).status).write_volatile(0) };
        }
    }
}
