//! What a driver stands on.

use core::ops::Range;

/// An address as the card puts it on the bus, which need not be the processor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BusAddr(pub u64);

/// A driver's only way to the world: the registers of one card, and one DMA arena.
///
/// Registers are named by byte offset into the card's register window and are never cached or
/// merged. The arena is memory that the card may read and write at any moment; it is contiguous on
/// the bus, zeroed at first, and named by byte offset. Multi-byte values in it are little-endian.
///
/// Accesses to registers reach the card in program order, and no load from the arena is earlier than
/// an access to a register before it. But a [`Bus::fence`] is needed where a store to the arena must
/// be visible before a later store to the arena or write to a register, and where a load must not pass
/// an earlier load. Offsets that are out of range or not aligned to the access are
/// bugs of the driver: an implementation panics on them.
pub trait Bus {
    /// Reads an 8-bit register.
    fn read8(&mut self, register: u32) -> u8;
    /// Reads a 16-bit register.
    fn read16(&mut self, register: u32) -> u16;
    /// Reads a 32-bit register.
    fn read32(&mut self, register: u32) -> u32;
    /// Writes an 8-bit register.
    fn write8(&mut self, register: u32, value: u8);
    /// Writes a 16-bit register.
    fn write16(&mut self, register: u32, value: u16);
    /// Writes a 32-bit register.
    fn write32(&mut self, register: u32, value: u32);

    /// Length of the arena in bytes.
    fn arena_len(&self) -> usize;
    /// Where the card finds the byte at `offset`.
    fn bus_addr(&self, offset: usize) -> BusAddr;
    /// Loads 16 bits, once and whole.
    fn load16(&mut self, offset: usize) -> u16;
    /// Loads 32 bits, once and whole.
    fn load32(&mut self, offset: usize) -> u32;
    /// Stores 16 bits, once and whole, leaving the neighbouring bytes to the card.
    fn store16(&mut self, offset: usize, value: u16);
    /// Stores 32 bits, once and whole.
    fn store32(&mut self, offset: usize, value: u32);
    /// Loads pairs of 32 bits from an offset that is a multiple of 8, the first of each in the low
    /// half. The card may write between any two of them.
    fn load_quads<const N: usize>(&mut self, offset: usize) -> [u64; N] {
        core::array::from_fn(|index| {
            let offset = offset + 8 * index;
            let low = self.load32(offset);
            u64::from(low) | u64::from(self.load32(offset + 4)) << 32
        })
    }
    /// Stores pairs of 32 bits, in order, as [`Bus::load_quads`] loads them. The card may see any of
    /// them before the next.
    fn store_quads<const N: usize>(&mut self, offset: usize, quads: [u64; N]) {
        for (quad, offset) in quads.into_iter().zip((offset..).step_by(8)) {
            self.store32(offset, quad as u32);
            self.store32(offset + 4, (quad >> 32) as u32);
        }
    }
    /// Stores at `to`, as [`Bus::store_quads`] does, what it loads at `from`, which does not overlap.
    fn copy_quads<const N: usize>(&mut self, from: usize, to: usize) {
        let quads: [u64; N] = self.load_quads(from);
        self.store_quads(to, quads);
    }
    /// Copies `bytes` into the arena.
    fn copy_in(&mut self, offset: usize, bytes: &[u8]);
    /// Fills `bytes` from the arena.
    fn copy_out(&mut self, offset: usize, bytes: &mut [u8]);
    /// Clears the arena from `range.start` to before `range.end`.
    fn clear(&mut self, range: Range<usize>) {
        const ZEROS: [u8; 2048] = [0; 2048];
        for offset in range.clone().step_by(ZEROS.len()) {
            let len = ZEROS.len().min(range.end - offset);
            self.copy_in(offset, &ZEROS[..len]);
        }
    }
    /// Orders arena accesses: those before it are done, as the card sees it, before those after it.
    fn fence(&mut self);

    /// Waits at least `us` microseconds.
    fn delay_us(&mut self, us: u32);
}
