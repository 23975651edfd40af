//! Sixteen blocks, the last of which suspends: one RESUME sends them all.

use super::{ALL, BATCH, Card, Ring, SUSPEND, TRANSMIT, TRANSMIT_RESUME, TRANSMIT_START};
use crate::{pci::Bars, serial};
use floor::frame;

/// Sends frames of `size` bytes.
pub fn send_for_ever(bars: &Bars, size: usize) -> ! {
    let ring = Ring::new(BATCH);
    for at in 0..BATCH {
        let suspend = if at == BATCH - 1 { SUSPEND } else { 0 };
        ring.set_command(at, TRANSMIT | suspend);
        ring.set_sizes(at, size as u16 | ALL, 0xe0);
        // SAFETY: the block is in memory, and the card does not know it yet.
        frame::fill(unsafe { &mut (&mut (*ring.block(at)).data)[..size] });
    }
    let mut card = Card::reset(bars);
    serial::print("floor: sending\r\n");
    card.start(TRANSMIT_START, ring.block(0));
    loop {
        for at in 0..BATCH {
            // A driver has to write this much per frame.
            // SAFETY: the block is in memory; the card is at rest.
            unsafe { (&raw mut (*ring.block(at)).status).write_volatile(0) };
        }
        card.command(TRANSMIT_RESUME);
    }
}
