//! Device memory: registers read and written exactly once, in program order.

use core::ptr::NonNull;
use volatile::VolatilePtr;
use x86_64::structures::port::{PortRead, PortWrite};

/// The contents of a register, whether it is in memory or behind an I/O port: 8, 16 or 32 bits.
pub trait Register: Copy + PortRead + PortWrite {}
impl Register for u8 {}
impl Register for u16 {}
impl Register for u32 {}

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

    /// The same window once more, for another part of the same driver.
    pub fn again(&self) -> Self {
        Mmio { ..*self }
    }

    /// Reads a register of the size of `T`.
    pub fn read<T: Register>(&mut self, offset: usize) -> T {
        self.register(offset).read()
    }

    /// Writes a register of the size of `T`.
    pub fn write<T: Register>(&mut self, offset: usize, value: T) {
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
