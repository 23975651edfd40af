//! The same frame in all descriptors.

use super::{BATCH, Card, Transmitter};
use crate::{pci::Bars, serial};
use floor::frame;

/// Sends frames of `size` bytes.
pub fn send_for_ever(bars: &Bars, size: usize) -> ! {
    static mut FRAME: [u8; frame::MAX] = [0; frame::MAX];
    let frame = &raw mut FRAME;
    // SAFETY: the only reference to the frame, which the card does not know yet.
    frame::fill(&mut unsafe { &mut *frame }[..size]);
    let card = Card::new(bars);
    let mut transmitter = Transmitter::new(&card);
    serial::print("floor: sending\r\n");
    loop {
        for number in 1..=BATCH {
            transmitter.put(frame.cast(), size, number == BATCH);
        }
        transmitter.send(&card);
    }
}
