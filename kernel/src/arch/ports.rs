//! I/O ports, behind safe types that name the ports they may touch.

use crate::mmio::Register;
use x86_64::instructions::port::Port;

/// A window of I/O ports that a device decodes.
#[derive(Debug)]
pub struct PortWindow {
    base: u16,
    len: u16,
}

impl PortWindow {
    /// The ports `base..base + len`.
    ///
    /// # Safety
    /// They belong to a device that the caller alone drives, and no access to them can
    /// break memory safety other than by the DMA the caller sets up.
    pub unsafe fn new(base: u16, len: u16) -> Self {
        PortWindow { base, len }
    }

    /// The same window once more, for another part of the same driver.
    pub fn again(&self) -> Self {
        PortWindow { ..*self }
    }

    /// Reads a register of the size of `T`.
    ///
    /// # Panics
    /// If it is outside the window.
    pub fn read<T: Register>(&mut self, offset: u32) -> T {
        let port = self.port::<T>(offset);
        // SAFETY: inside the window that `new` was promised.
        unsafe { Port::new(port).read() }
    }

    /// Writes a register of the size of `T`.
    ///
    /// # Panics
    /// If it is outside the window.
    pub fn write<T: Register>(&mut self, offset: u32, value: T) {
        let port = self.port::<T>(offset);
        // SAFETY: inside the window that `new` was promised.
        unsafe { Port::new(port).write(value) }
    }

    fn port<T>(&self, offset: u32) -> u16 {
        let end = offset as usize + size_of::<T>();
        assert!(end <= usize::from(self.len), "port offset {offset:#x}");
        self.base + offset as u16
    }
}
