//! Device memory: registers read and written exactly once, in program order.

use core::ptr::NonNull;
use volatile::VolatilePtr;

/// A mapped window of device registers.
pub struct Mmio {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the window belongs to whoever holds the value; nothing about it is tied to the
// place it was made.
unsafe impl Send for Mmio {}

impl Mmio {
    /// The window at `base`.
    ///
    /// # Safety
    /// `base..base + len` is mapped uncached for as long as the value lives, belongs to a
    /// device that nobody else drives, and is aligned to 8 bytes.
    pub unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Mmio { base, len }
    }

    /// Reads 8 bits.
    pub fn read8(&mut self, offset: usize) -> u8 {
        self.register(offset).read()
    }

    /// Reads 16 bits.
    pub fn read16(&mut self, offset: usize) -> u16 {
        self.register(offset).read()
    }

    /// Reads 32 bits.
    pub fn read32(&mut self, offset: usize) -> u32 {
        self.register(offset).read()
    }

    /// Writes 8 bits.
    pub fn write8(&mut self, offset: usize, value: u8) {
        self.register(offset).write(value);
    }

    /// Writes 16 bits.
    pub fn write16(&mut self, offset: usize, value: u16) {
        self.register(offset).write(value);
    }

    /// Writes 32 bits.
    pub fn write32(&mut self, offset: usize, value: u32) {
        self.register(offset).write(value);
    }

    /// # Panics
    /// If the register is outside the window or not aligned to its size: an error of the
    /// driver, never of the device.
    fn register<T: Copy>(&mut self, offset: usize) -> VolatilePtr<'_, T> {
        assert!(
            offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.len,
            "register {offset:#x} of a window of {:#x}",
            self.len
        );
        // SAFETY: inside the window that `new` was promised, and aligned.
        unsafe { VolatilePtr::new(self.base.add(offset).cast()) }
    }
}
