//! Where things lie in memory: where nobody can guess it, and where an emulator finds it fast. Nothing
//! else knows why they lie there, or depends on it but in its speed.
//!
//! QEMU translates the address of a page once and keeps the result in a table, its TLB, which a
//! switch between programs empties. The table has at least [`COLOURS`] places, and the number of a
//! page modulo that says which place is the page's: its colour. Two busy pages of one colour throw
//! each other out again and again. (A processor's TLB has a few pages in each place, and keeps
//! pages over a switch if it is asked to.) So there are two rules:
//!
//! - Pages that are busy together have colours of their own, as this table plans.
//! - Functions that are busy together are on few pages. `make placement` counts which functions run
//!   for each packet and lists them in `placement/kernel.ld` and `placement/programs.ld`, which the
//!   linker scripts include.
//!
//! | colours | of a program | of the kernel (`kernel/kernel.ld`) |
//! | --- | --- | --- |
//! | 0x00 to 0x0f | image, goes on | later pages of the heap; end of the trap stack, variables |
//! | 0x10 to 0x1d | heap's first pages, which the kernel uses too | |
//! | 0x1e, 0x1f | end of the stack, which the kernel uses too | |
//! | 0x20 to 0x2f | exchange area of the first card, from 0x28 | image: constants, data, |
//! | 0x30 to 0x37 | image: constants, data, | busy functions |
//! | 0x38 to 0x3f | busy functions | heap's first pages |
//!
//! The kernel sees a program's page in its mapping of all memory, where the page's frame decides
//! the colour: so the program gets a frame of the colour of its page.
//!
//! Each start of a program has its own places, which nobody can guess: all of them are in a
//! window of some GiB, which is one of 2^16, and in it each part is in one of 2^8 to 2^10 places.
//! From one place to the next there are [`COLOURS`] pages, so that a part has the same colours
//! wherever it is.
//!
//! ```text
//! window               the program's ELF image, which is linked to begin at 0x3_0000
//! window + 256 MiB     guard, then the stack, which grows downwards to it; another guard
//! window + 384 MiB     frame buffers of the first card that it has mapped
//! window + 512 MiB     the heap, which grows upwards by Syscall::GrowHeap
//! window + 2 GiB       frame buffers of other cards, 2 GiB from one to the next
//! ```
//!
//! The first four, which a program uses most, have one page table each and those above it in
//! common, if there is one card: each table is read anew after every switch between programs.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::layout::{
    IMAGE_END, IMAGE_START, NIC_RANGE_MAX, PAGE_SIZE, RAMDISK_START, STACK_SIZE, nic_window,
};

/// How many colours there are.
pub const COLOURS: u64 = 64;

/// The colour of the page, or frame, with this number.
pub const fn colour(page: u64) -> u64 {
    page % COLOURS
}

/// From one place to the next, in bytes.
pub const STEP: u64 = COLOURS * PAGE_SIZE;
/// The colour of a heap's first page.
const HEAP_COLOUR: u64 = 0x10;
/// The colour after that of a stack's last page.
const STACK_COLOUR: u64 = 0x20;
/// The colour of the first card's exchange area.
const NIC_COLOUR: u64 = 0x28;

/// From one window to the next, and the first. Windows overlap: each program has its own tables.
pub const WINDOW: u64 = 1 << 30;
const FIRST_WINDOW: u64 = 4 << 30;
const WINDOW_BITS: u32 = 16;
/// Offsets in a window, and how many bits the number of a place has there.
const IMAGE: (u64, u32) = (0, 9);
const STACK: (u64, u32) = (256 << 20, 9);
const NIC: (u64, u32) = (384 << 20, 8);
const HEAP: (u64, u32) = (512 << 20, 10);
/// Where a heap ends at the latest.
const HEAP_END: u64 = 2 << 30;
/// From one card to the next.
const NIC_STRIDE: u64 = 2 << 30;
/// Cards that can be mapped.
const NIC_MAX: u8 = 64;

/// Where the parts of a program are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// What is to be added to the addresses for which its image was linked.
    pub image: u64,
    /// End of the stack (exclusive).
    pub stack_end: u64,
    /// Where the heap begins.
    pub heap: u64,
    /// Where the heap ends at the latest.
    pub heap_max: u64,
    /// The first card's exchange area.
    nic: u64,
}

impl Places {
    /// For a debugger: always the same places, and the image where it was linked.
    pub const FIXED: Self = Self::in_window(0, 0);
    /// How many random bits there are in all.
    pub const BITS: u32 = WINDOW_BITS + IMAGE.1 + STACK.1 + NIC.1 + HEAP.1;

    /// Places chosen by the lower [`Places::BITS`] bits of a random number.
    pub const fn random(bits: u64) -> Self {
        let window = bits % (1 << WINDOW_BITS);
        Self::in_window(FIRST_WINDOW + window * WINDOW, bits >> WINDOW_BITS)
    }

    const fn in_window(window: u64, bits: u64) -> Self {
        let (image, bits) = place(IMAGE, bits);
        let (stack, bits) = place(STACK, bits);
        let (nic, bits) = place(NIC, bits);
        let (heap, _) = place(HEAP, bits);
        Places {
            image: window + image,
            stack_end: window + stack + STACK_COLOUR * PAGE_SIZE,
            heap: window + heap + HEAP_COLOUR * PAGE_SIZE,
            heap_max: window + HEAP_END,
            nic: window + nic + NIC_COLOUR * PAGE_SIZE,
        }
    }

    /// The exchange area of a card, see [`abi::exchange`]; [`nic_window`] knows the rest.
    pub const fn nic(&self, card: u8) -> u64 {
        self.nic + card as u64 * NIC_STRIDE
    }
}

/// An offset of a part that begins at `start` and has so many `bits`, by the lowest of the random
/// ones; and the random ones that are left.
const fn place((start, bits): (u64, u32), random: u64) -> (u64, u64) {
    (start + random % (1 << bits) * STEP, random >> bits)
}

const _: () = {
    assert!(Places::BITS <= u64::BITS);
    // The last place of each part ends before the next part's first one, with room for a guard.
    const fn end((start, bits): (u64, u32), len: u64) -> u64 {
        start + (1 << bits) * STEP + len
    }
    assert!(end(IMAGE, IMAGE_END) < STACK.0 && end(STACK, 0) <= NIC.0);
    let [_, _, receive] = nic_window(0);
    assert!(end(NIC, receive + NIC_RANGE_MAX) <= HEAP.0 && end(HEAP, STEP) <= HEAP_END);
    assert!(NIC_STRIDE >= HEAP_END);
    let last = FIRST_WINDOW + (WINDOW << WINDOW_BITS) + NIC_MAX as u64 * NIC_STRIDE;
    assert!(last + HEAP_END <= RAMDISK_START);
    // A stack has a guard of at least its own length on both sides.
    assert!(STACK_COLOUR * PAGE_SIZE >= 2 * STACK_SIZE);
    assert!((COLOURS - STACK_COLOUR) * PAGE_SIZE >= STACK_SIZE);
    // The pages that a program has in every turn need colours of their own.
    let (stack, image) = (STACK_COLOUR - 2, colour(IMAGE_START / PAGE_SIZE));
    assert!(HEAP_COLOUR + 0xe <= stack && stack + 2 <= NIC_COLOUR && NIC_COLOUR < image);
};

#[cfg(test)]
mod tests {
    use super::*;
    use abi::layout::USER_END;
    use std::collections::HashSet;

    fn parts(places: &Places) -> [u64; 4] {
        [places.image, places.stack_end, places.heap, places.nic(0)]
    }

    fn windows() -> impl Iterator<Item = Places> {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let random = (0..20_000u64).map(|n| {
            let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word ^ word >> 27
        });
        let all = [0, u64::MAX].into_iter().chain(random).map(Places::random);
        all.chain([Places::FIXED])
    }

    #[test]
    fn wherever_the_parts_are_each_has_its_colours_and_none_is_in_anothers_way() {
        for places in windows() {
            assert_eq!(places.image % STEP, 0);
            assert_eq!(colour(places.stack_end / PAGE_SIZE), STACK_COLOUR);
            assert_eq!(colour(places.heap / PAGE_SIZE), HEAP_COLOUR);
            assert_eq!(colour(places.nic(0) / PAGE_SIZE), NIC_COLOUR);
            let stack = places.stack_end - STACK_SIZE;
            let [.., receive] = nic_window(places.nic(0));
            let ranges = [
                (places.image + IMAGE_START, places.image + IMAGE_END),
                (stack - STACK_SIZE, places.stack_end + STACK_SIZE),
                (places.nic(0), receive + NIC_RANGE_MAX),
                (places.heap, places.heap_max),
                (places.nic(1), places.nic(NIC_MAX)),
                (RAMDISK_START, USER_END),
            ];
            for pair in ranges.windows(2) {
                assert!(
                    pair[0].0 < pair[0].1 && pair[0].1 <= pair[1].0,
                    "{places:x?}"
                );
            }
            // A page table each, and the tables above those in common.
            let [image, others @ ..] = parts(&places);
            assert!(others.iter().all(|part| part >> 30 == image >> 30));
            // No small number is an address, but for a debugger's.
            assert!(image >= 1 << 32 || places == Places::FIXED);
        }
    }

    /// Each bit of the number moves one part, or all, and no two numbers are the same places.
    #[test]
    fn each_random_bit_moves_something_of_its_own() {
        let usual = Places::random(0);
        let mut seen = HashSet::from([parts(&usual)]);
        for bit in 0..Places::BITS {
            let places = Places::random(1 << bit);
            assert!(seen.insert(parts(&places)), "bit {bit}");
            let (now, before) = (parts(&places), parts(&usual));
            let moved = (0..4).filter(|&part| now[part] != before[part]).count();
            assert_eq!(moved, if bit < WINDOW_BITS { 4 } else { 1 }, "bit {bit}");
        }
        assert_eq!(Places::random(1 << Places::BITS), usual);
    }
}
