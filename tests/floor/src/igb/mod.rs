//! 82576: rings of advanced descriptors, one write of a ring's tail for many of them.

mod answer;
mod send;

pub use answer::answer_for_ever;
pub use send::send_for_ever;

use crate::pci::Bars;
use core::sync::atomic::{Ordering, fence};

/// Descriptors in a ring.
const RING: usize = 256;

/// Descriptors for one write of the tail.
const BATCH: usize = 16;

/// A ring's memory.
#[repr(C, align(128))]
struct Descriptors([[u64; 2]; RING]);

/// A descriptor's command and type (82576 datasheet §7.2.2.3): advanced data, extended; the end of a
/// frame, with a checksum.
const DATA: u64 = 0x3 << 20 | 0x23 << 24;
/// Report status.
const REPORT: u64 = 0x8 << 24;

/// Registers of transmission and their bits (§8.12), and of interrupts.
const IMC: u64 = 0xd8;
const TCTL: u64 = 0x400;
const TCTL_EN: u32 = 1 << 1;
const TDBAL: u64 = 0xe000;
const TDBAH: u64 = 0xe004;
const TDLEN: u64 = 0xe008;
const TDH: u64 = 0xe010;
const TDT: u64 = 0xe018;
const TXDCTL: u64 = 0xe028;
const TXDCTL_ENABLE: u32 = 1 << 25;

/// The card's registers.
struct Card {
    memory: u64,
}

impl Card {
    /// The card as the firmware leaves it, after reset; no interrupts.
    fn new(bars: &Bars) -> Card {
        let card = Card {
            memory: bars.memory,
        };
        card.write(IMC, !0);
        card
    }

    fn write(&self, register: u64, value: u32) {
        let address = (self.memory + register) as *mut u32;
        // SAFETY: the card's registers are mapped there (below 4 GiB), and nothing else is.
        // What they make the card do concerns only the rings and their frames.
        unsafe { address.write_volatile(value) };
    }

    fn read(&self, register: u64) -> u32 {
        let address = (self.memory + register) as *const u32;
        // SAFETY: as above; what is read is any number.
        unsafe { address.read_volatile() }
    }
}

/// The ring of what is to be sent.
struct Transmitter {
    descriptors: *mut [u64; 2],
    at: usize,
}

impl Transmitter {
    /// Sets the ring up; the caller makes only one.
    fn new(card: &Card) -> Transmitter {
        static mut DESCRIPTORS: Descriptors = Descriptors([[0; 2]; RING]);
        let descriptors = (&raw mut DESCRIPTORS).cast::<[u64; 2]>();
        card.write(TXDCTL, 0);
        card.write(TDBAL, descriptors as u32);
        card.write(TDBAH, 0);
        card.write(TDLEN, (RING * 16) as u32);
        card.write(TDH, 0);
        card.write(TDT, 0);
        card.write(TCTL, TCTL_EN);
        card.write(TXDCTL, TXDCTL_ENABLE);
        Transmitter { descriptors, at: 0 }
    }

    /// Puts a frame into the ring. Only the last of a batch is written back.
    fn put(&mut self, frame: *const u8, size: usize, is_last: bool) {
        let report = if is_last { REPORT } else { 0 };
        let words = [
            frame as u64,
            size as u64 | DATA | report | (size as u64) << 46, // with the length of it all
        ];
        // SAFETY: the descriptor is in the ring, and not the card's until the tail is
        // behind it; under QEMU it is the driver's again when that write returns.
        unsafe { self.descriptors.wrapping_add(self.at).write_volatile(words) };
        self.at = (self.at + 1) % RING;
    }

    /// Has the card send what was put.
    fn send(&self, card: &Card) {
        fence(Ordering::Release); // frames are written before
        card.write(TDT, self.at as u32);
    }
}
