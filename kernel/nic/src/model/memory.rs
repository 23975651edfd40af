//! The DMA arena, as either side sees it.
//!
//! ```text
//!    driver:  store ──▶ late stores ──▶ bytes ──▶ the card loads
//!             load  ◀── late stores over bytes as they are, or were a moment ago ◀── it stores
//! ```
//!
//! At [`Pace::Reordering`] a store of the driver is late: the card sees it sometime, before or after
//! others, and after all at a fence. And a load of the driver may have been done early: it brings what
//! was there some accesses ago, but not before a fence, an access to a register, or a pause. Stores to
//! the same place stay in order, and no load brings what is older than what a load of the same place
//! has brought, as on every processor.

use super::{Pace, Rng};
use crate::BusAddr;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// By how many accesses of the driver a load may be early.
const EARLY: u64 = 12;
/// Stores that are late at the same time.
const LATE: usize = 64;

/// The DMA arena: by offset for the driver, by bus address for the device.
#[derive(Debug)]
pub struct Memory {
    base: u64,
    bytes: Vec<u8>,
    disorder: Option<Disorder>,
}

/// What is out of order.
#[derive(Debug)]
struct Disorder {
    rng: Rng,
    /// Accesses of the driver so far.
    now: u64,
    /// No load is earlier.
    fence: u64,
    /// What the driver has stored and the card does not see yet, the oldest first.
    late: Vec<(usize, Vec<u8>)>,
    /// What the card has overwritten lately, the oldest first: when, where, and what was there.
    overwritten: VecDeque<(u64, usize, Vec<u8>)>,
    /// What the driver has seen lately: where, and as it was when.
    seen: VecDeque<(u64, Range<usize>)>,
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn range((offset, bytes): &(usize, Vec<u8>)) -> Range<usize> {
    *offset..offset + bytes.len()
}

impl Disorder {
    /// The late store that the card sees next: any, but for the same place the oldest.
    fn next(&mut self) -> Option<(usize, Vec<u8>)> {
        if self.late.is_empty() {
            return None;
        }
        let mut chosen = self.rng.below(self.late.len());
        while let Some(before) = (0..chosen)
            .find(|&before| overlap(&range(&self.late[before]), &range(&self.late[chosen])))
        {
            chosen = before;
        }
        Some(self.late.remove(chosen))
    }

    /// As when a load of this place, which is done now, may have been done.
    fn moment(&mut self, place: &Range<usize>) -> u64 {
        let oldest = self.fence.max(self.now.saturating_sub(EARLY));
        self.overwritten.retain(|&(when, ..)| when >= oldest);
        self.seen.retain(|&(when, _)| when >= oldest);
        let seen = self.seen.iter().filter(|(_, seen)| overlap(seen, place));
        let oldest = seen.map(|&(when, _)| when).fold(oldest, u64::max);
        self.now - self.rng.below((self.now - oldest + 1) as usize) as u64
    }
}

impl Memory {
    /// Zeroed memory that the device sees at `base`.
    pub fn new(base: BusAddr, len: usize) -> Self {
        Memory {
            base: base.0,
            bytes: vec![0; len],
            disorder: None,
        }
    }

    /// The same for a card of this pace.
    pub(super) fn paced(base: BusAddr, len: usize, pace: Pace, seed: u64) -> Self {
        let disorder = (pace == Pace::Reordering).then(|| Disorder {
            rng: Rng::new(!seed),
            now: 0,
            fence: 0,
            late: Vec::new(),
            overwritten: VecDeque::new(),
            seen: VecDeque::new(),
        });
        Memory {
            disorder,
            ..Memory::new(base, len)
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the device sees `offset`.
    pub fn bus_addr(&self, offset: usize) -> BusAddr {
        BusAddr(self.base + offset as u64)
    }

    /// The offset of a bus address the device wants to access.
    ///
    /// # Panics
    /// If those bytes are not all in the arena.
    pub fn offset(&self, address: u64, len: usize) -> usize {
        let offset = address.checked_sub(self.base).map(|offset| offset as usize);
        match offset {
            Some(offset) if offset + len <= self.bytes.len() => offset,
            _ => panic!("the device accesses {len} bytes at {address:#x}, outside the arena"),
        }
    }

    // --- the device's side ---

    /// `len` bytes at `offset`, as the device sees them.
    pub fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        &self.bytes[offset..offset + len]
    }

    /// The same, for the device to write.
    pub fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let bytes = &mut self.bytes[offset..offset + len];
        if let Some(disorder) = &mut self.disorder {
            let entry = (disorder.now, offset, bytes.to_vec());
            disorder.overwritten.push_back(entry);
        }
        bytes
    }

    /// 16 bits at an aligned offset.
    ///
    /// # Panics
    /// If it is not aligned, or outside.
    pub fn load16(&self, offset: usize) -> u16 {
        assert!(offset.is_multiple_of(2), "unaligned 16 bits at {offset:#x}");
        u16::from_le_bytes([self.bytes[offset], self.bytes[offset + 1]])
    }

    /// 32 bits at an aligned offset.
    ///
    /// # Panics
    /// If it is not aligned, or outside.
    pub fn load32(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4), "unaligned 32 bits at {offset:#x}");
        u32::from(self.load16(offset)) | u32::from(self.load16(offset + 2)) << 16
    }

    /// Stores 16 bits at an aligned offset.
    ///
    /// # Panics
    /// If it is not aligned, or outside.
    pub fn store16(&mut self, offset: usize, value: u16) {
        assert!(offset.is_multiple_of(2), "unaligned 16 bits at {offset:#x}");
        self.bytes_mut(offset, 2)
            .copy_from_slice(&value.to_le_bytes());
    }

    /// Stores 32 bits at an aligned offset.
    ///
    /// # Panics
    /// If it is not aligned, or outside.
    pub fn store32(&mut self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4), "unaligned 32 bits at {offset:#x}");
        self.bytes_mut(offset, 4)
            .copy_from_slice(&value.to_le_bytes());
    }

    // --- the driver's side ---

    /// The driver loads so many bytes at an offset that is a multiple of that.
    ///
    /// # Panics
    /// If it is none, or outside.
    pub(super) fn driver_load<const N: usize>(&mut self, offset: usize) -> [u8; N] {
        assert!(offset.is_multiple_of(N), "unaligned load at {offset:#x}");
        let mut bytes = [0; N];
        self.driver_copy_out(offset, &mut bytes);
        bytes
    }

    /// The driver loads bytes.
    pub(super) fn driver_copy_out(&mut self, offset: usize, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.bytes[offset..offset + bytes.len()]);
        let Some(disorder) = &mut self.disorder else {
            return;
        };
        let place = offset..offset + bytes.len();
        let mut lay = |at: usize, over: &[u8]| {
            for (at, &byte) in (at..).zip(over).filter(|(at, _)| place.contains(at)) {
                bytes[at - offset] = byte;
            }
        };
        let moment = disorder.moment(&place);
        let undone = disorder.overwritten.iter().rev();
        for (_, at, before) in undone.take_while(|&&(when, ..)| when > moment) {
            lay(*at, before);
        }
        // Its own stores it always sees.
        for (at, stored) in &disorder.late {
            lay(*at, stored);
        }
        disorder.seen.push_back((moment, place));
        self.step();
    }

    /// The driver stores bytes.
    pub(super) fn driver_store(&mut self, offset: usize, bytes: &[u8]) {
        let Some(disorder) = &mut self.disorder else {
            self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
            return;
        };
        let place = offset..offset + bytes.len();
        assert!(place.end <= self.bytes.len(), "a store outside the arena");
        disorder.late.push((offset, bytes.to_vec()));
        // What was there before is nothing to be seen again.
        disorder.seen.push_back((disorder.now + 1, place));
        self.step();
    }

    /// The driver has made an access: the card may see more of what it stored.
    fn step(&mut self) {
        let Some(disorder) = &mut self.disorder else {
            return;
        };
        disorder.now += 1;
        if disorder.late.len() > LATE || disorder.rng.one_in(2) {
            self.arrive();
        }
    }

    /// One late store arrives. False if there is none.
    fn arrive(&mut self) -> bool {
        let next = self.disorder.as_mut().and_then(Disorder::next);
        let Some((offset, bytes)) = next else {
            return false;
        };
        self.bytes[offset..offset + bytes.len()].copy_from_slice(&bytes);
        true
    }

    /// All that the driver has stored is there, and what it loads from now on is not older than this.
    pub(super) fn fence(&mut self) {
        while self.arrive() {}
        self.order_loads();
    }

    /// What the driver loads from now on is not older than this.
    pub(super) fn order_loads(&mut self) {
        if let Some(disorder) = &mut self.disorder {
            disorder.fence = disorder.now;
            disorder.now += 1;
        }
    }
}
