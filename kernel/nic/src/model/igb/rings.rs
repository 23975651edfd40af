//! What both kinds of rings have in common, and whose each part of the memory is.

use super::Card;
use alloc::boxed::Box;
use alloc::vec;

/// Bytes of a descriptor.
pub(super) const SIZE: usize = 16;
/// Bytes that have the same owner.
const UNIT: usize = 16;

/// Who may touch which part of the arena, in units of 16 bytes: how often the card was given it.
/// Frames may share bytes that the card only reads.
#[derive(Debug)]
pub(super) struct Owners {
    card: Box<[u8]>,
}

impl Owners {
    pub(super) fn new(arena: usize) -> Self {
        Owners {
            card: vec![0; arena.div_ceil(UNIT)].into_boxed_slice(),
        }
    }

    pub(super) fn release_all(&mut self) {
        self.card.fill(0);
    }

    fn units(offset: usize, len: usize) -> core::ops::Range<usize> {
        offset / UNIT..(offset + len).div_ceil(UNIT)
    }

    /// What the card will write.
    fn give(&mut self, offset: usize, len: usize) {
        for unit in Self::units(offset, len) {
            assert_eq!(
                self.card[unit],
                0,
                "{:#x} was given to the card twice",
                unit * UNIT
            );
            self.card[unit] = 1;
        }
    }

    /// What the card will read.
    fn show(&mut self, offset: usize, len: usize) {
        for unit in &mut self.card[Self::units(offset, len)] {
            *unit += 1;
        }
    }

    pub(super) fn release(&mut self, offset: usize, len: usize) {
        for unit in &mut self.card[Self::units(offset, len)] {
            *unit -= 1;
        }
    }

    pub(super) fn check(&self, offset: usize, len: usize) {
        let touched = Self::units(offset, len).find(|&unit| self.card[unit] > 0);
        assert!(
            touched.is_none(),
            "{offset:#x} is the card's, and was touched"
        );
    }
}

pub(super) const fn rx_base(queue: usize) -> u32 {
    0xc000 + 0x40 * queue as u32
}

pub(super) const fn tx_base(queue: usize) -> u32 {
    0xe000 + 0x40 * queue as u32
}

/// The queue whose registers start there.
pub(super) const fn queue_of(base: u32) -> usize {
    (base as usize & 0xfff) / 0x40
}

impl Card {
    pub(super) fn enabled(&self, base: u32) -> bool {
        self.register(base + 0x28) & 1 << 25 != 0
    }

    pub(super) fn ring_len(&self, base: u32) -> u32 {
        self.register(base + 8) / SIZE as u32
    }

    pub(super) fn descriptor(&self, base: u32, index: u32) -> usize {
        let start = u64::from(self.register(base)) | u64::from(self.register(base + 4)) << 32;
        self.arena(self.owner(queue_of(base)))
            .memory
            .offset(start + u64::from(index) * SIZE as u64, SIZE)
    }

    /// A descriptor of this queue.
    pub(super) fn words(&self, queue: usize, descriptor: usize) -> [u32; 4] {
        let memory = &self.arena(self.owner(queue)).memory;
        [0, 4, 8, 12].map(|at| memory.load32(descriptor + at))
    }

    /// The offset of the buffer in a descriptor.
    pub(super) fn buffer(&self, queue: usize, words: [u32; 4], len: usize) -> usize {
        let address = u64::from(words[0]) | u64::from(words[1]) << 32;
        assert_ne!(address, 0, "a descriptor without buffer");
        let memory = &self.arena(self.owner(queue)).memory;
        memory.offset(address, len)
    }

    /// Whether a queue may be enabled like this.
    pub(super) fn check_ring(&self, base: u32) {
        assert_eq!(
            self.register(base) % 128,
            0,
            "a ring must start on 128 bytes (8.10.5)"
        );
        let len = self.register(base + 8);
        assert!(
            len > 0 && len.is_multiple_of(128),
            "a ring has a multiple of 128 bytes (8.10.7)"
        );
        self.descriptor(base, self.ring_len(base) - 1);
        if base < 0xe000 {
            let control = self.register(base + 0xc);
            assert_eq!(
                control >> 25 & 7,
                1,
                "only advanced descriptors with one buffer"
            );
            assert_eq!(control & 0x7f, 2, "only buffers of 2 KiB are modelled");
        }
    }

    /// The driver disables a queue: a frame that is being stored is completed, and then nothing
    /// of the queue is the card's any more (4.5.9.2, 4.5.10.2).
    pub(super) fn disable(&mut self, base: u32) {
        let transmit = base >= 0xe000;
        let queue = queue_of(base);
        let (head, told) = if transmit {
            let state = core::mem::take(&mut self.tx[queue]);
            assert_eq!(
                state.head, state.tail,
                "frames wait in a queue that is disabled"
            );
            (state.head, state.told)
        } else {
            self.finish(queue);
            let state = core::mem::take(&mut self.rx[queue]);
            (state.head, state.told)
        };
        let mut index = head;
        while index != told {
            let descriptor = self.descriptor(base, index);
            let buffer = self.buffer(queue, self.words(queue, descriptor), 2048);
            self.of(queue).owners.release(buffer, 2048);
            self.of(queue).owners.release(descriptor, SIZE);
            index = (index + 1) % self.ring_len(base);
        }
    }

    /// The driver has written a tail, which may be on its way: what is before it is the card's.
    pub(super) fn tail_written(&mut self, base: u32, tail: u32) {
        let transmit = base >= 0xe000;
        let queue = queue_of(base);
        let len = self.ring_len(base);
        assert!(self.enabled(base), "a tail for a queue that is not enabled");
        assert!(tail < len, "tail {tail} is outside a ring of {len}");
        let told = if transmit {
            &mut self.tx[queue].told
        } else {
            &mut self.rx[queue].told
        };
        let mut index = core::mem::replace(told, tail);
        while index != tail {
            let descriptor = self.descriptor(base, index);
            let words = self.words(queue, descriptor);
            self.of(queue).owners.give(descriptor, SIZE);
            if !transmit {
                assert_eq!(
                    words[2] | words[3],
                    0,
                    "a descriptor that was not rewritten"
                );
                let buffer = self.buffer(queue, words, 2048);
                self.of(queue).owners.give(buffer, 2048);
            } else if words[2] >> 20 & 15 == 3 {
                let len = words[2] as usize & 0xffff;
                let buffer = self.buffer(queue, words, len);
                self.of(queue).owners.show(buffer, len);
            }
            index = (index + 1) % len;
        }
        let (head, full) = if transmit {
            (
                self.tx[queue].head,
                "a full ring looks empty: the tail met the head",
            )
        } else {
            (self.rx[queue].head, "a full ring looks empty: RDT met RDH")
        };
        let given = (0..len).any(|index| {
            let descriptor = self.descriptor(base, index);
            self.arena(self.owner(queue)).owners.card[descriptor / UNIT] > 0
        });
        assert!(!given || head != tail, "{full}");
    }
}

/// The counter of frames of this length, which does not include the checksum; from the first.
pub(super) fn bin(len: usize) -> u32 {
    let ends = [64, 127, 255, 511, 1023];
    4 * ends.iter().filter(|&&end| len + 4 > end).count() as u32
}
