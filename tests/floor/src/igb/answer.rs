//! A second ring for what is received. An answer is sent from the buffer that its question
//! was received into; then the buffer goes back to where it was.

use super::{BATCH, Card, Descriptors, RING, Transmitter};
use crate::{linger, pci::Bars, serial, stop};
use core::sync::atomic::{Ordering, fence};
use floor::answer::answer;

/// Bytes of a buffer: a frame fits into one.
const BUFFER: usize = 2048;

/// Registers of reception and their bits (82576 datasheet §8.10), of the link and its PHY (§8.2).
const STATUS: u64 = 0x8;
const STATUS_LU: u32 = 1 << 1;
const MDIC: u64 = 0x20;
/// A write to PHY 1's control register: negotiate, and begin anew.
const NEGOTIATE: u32 = 1 << 26 | 1 << 21 | 0x1340;
const RCTL: u64 = 0x100;
/// Enabled; broadcasts; without the frame's checksum.
const RCTL_EN_BAM_SECRC: u32 = 1 << 1 | 1 << 15 | 1 << 26;
const RDBAL: u64 = 0xc000;
const RDBAH: u64 = 0xc004;
const RDLEN: u64 = 0xc008;
const SRRCTL: u64 = 0xc00c;
/// One advanced descriptor per buffer, of 2 KiB.
const SRRCTL_ONE_BUFFER: u32 = 1 << 25 | 2;
const RDH: u64 = 0xc010;
const RDT: u64 = 0xc018;
const RXDCTL: u64 = 0xc028;
const RXDCTL_ENABLE: u32 = 1 << 25;

/// Of a descriptor that was written back: done.
const DONE: u64 = 1;

/// Looks at the link until it is up, half a second on QEMU's card: many seconds.
const PATIENCE: u32 = 50_000_000;

/// The ring of what is received.
struct Receiver {
    descriptors: *mut [u64; 2],
    buffers: *mut [u8; BUFFER],
    at: usize,
}

impl Receiver {
    /// Sets the ring up; the caller makes only one.
    fn new(card: &Card) -> Receiver {
        static mut DESCRIPTORS: Descriptors = Descriptors([[0; 2]; RING]);
        static mut BUFFERS: [[u8; BUFFER]; RING] = [[0; BUFFER]; RING];
        let receiver = Receiver {
            descriptors: (&raw mut DESCRIPTORS).cast(),
            buffers: (&raw mut BUFFERS).cast(),
            at: 0,
        };
        for at in 0..RING {
            receiver.make_room(at);
        }
        card.write(RXDCTL, 0);
        card.write(RDBAL, receiver.descriptors as u32);
        card.write(RDBAH, 0);
        card.write(RDLEN, (RING * 16) as u32);
        card.write(RDH, 0);
        card.write(RDT, 0);
        card.write(SRRCTL, SRRCTL_ONE_BUFFER);
        card.write(RXDCTL, RXDCTL_ENABLE);
        card.write(RCTL, RCTL_EN_BAM_SECRC);
        receiver
    }

    /// Gives a descriptor its buffer: the card overwrites both words.
    fn make_room(&self, at: usize) {
        let words = [self.buffers.wrapping_add(at) as u64, 0];
        // SAFETY: the descriptor is in the ring, and not the card's until the tail is behind it.
        unsafe { self.descriptors.wrapping_add(at).write_volatile(words) };
    }

    /// Shows the card all descriptors but the one that tells a full ring from an empty one.
    fn give_back(&self, card: &Card) {
        card.write(RDT, ((self.at + RING - 1) % RING) as u32);
    }

    /// The next frame that was received.
    fn take(&mut self) -> Option<&'static mut [u8]> {
        let second = self
            .descriptors
            .wrapping_add(self.at)
            .cast::<u64>()
            .wrapping_add(1);
        // SAFETY: the word is in the ring; what the card writes there is any number.
        let words = unsafe { second.read_volatile() };
        if words & DONE == 0 {
            return None;
        }
        fence(Ordering::Acquire); // the frame is read after
        let buffer = self.buffers.wrapping_add(self.at);
        self.at = (self.at + 1) % RING;
        // SAFETY: the buffer is in memory, and neither the card's nor anybody's until its
        // descriptor is given back, which is after the last use of this reference. The card
        // writes it before it says so in the descriptor.
        let buffer = unsafe { &mut *buffer };
        let len = (words >> 32 & 0xffff) as usize;
        Some(&mut buffer[..len.min(BUFFER)])
    }
}

/// Answers what it is asked.
pub fn answer_for_ever(bars: &Bars) -> ! {
    let card = Card::new(bars);
    let mut transmitter = Transmitter::new(&card);
    let mut receiver = Receiver::new(&card);
    card.write(MDIC, NEGOTIATE);
    if !(0..PATIENCE).any(|_| card.read(STATUS) & STATUS_LU != 0) {
        stop("the link does not come up");
    }
    receiver.give_back(&card);
    serial::print("floor: answering\r\n");
    let (mut taken, mut kept) = (0, 0);
    loop {
        let first = receiver.at;
        let mut answers: [(*const u8, usize); BATCH] = [(core::ptr::null(), 0); BATCH];
        let (mut made, mut looks) = (0, linger(taken));
        taken = 0;
        while taken < BATCH && looks > 0 {
            let Some(frame) = receiver.take() else {
                looks -= 1;
                continue;
            };
            taken += 1;
            if answer(frame) {
                answers[made] = (frame.as_ptr(), frame.len());
                made += 1;
            }
        }
        for (number, (frame, size)) in answers[..made].iter().enumerate() {
            transmitter.put(*frame, *size, number + 1 == made);
        }
        if made > 0 {
            transmitter.send(&card);
        }
        for number in first..first + taken {
            receiver.make_room(number % RING);
        }
        // This write is the dearest of all, since it wakes QEMU's main loop: seldom.
        kept += taken;
        if kept >= RING / 4 {
            receiver.give_back(&card);
            kept = 0;
        }
    }
}
