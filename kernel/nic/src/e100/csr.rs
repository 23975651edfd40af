//! The control block and the reset: how every command reaches the card, and is waited for.

use super::regs;
use crate::{Bus, BusAddr, Error};

/// How often the command byte is polled before the driver starts to wait between polls.
const EAGER_POLLS: u32 = 20;
/// Length of such a wait.
const POLL_US: u32 = 5;
/// Bound of the wait for a command to be taken. Some chips of the family need nearly this long.
const COMMAND_BOUND_US: u32 = 100_000;
/// The manual's 10 us after a PORT reset, doubled (§6.3.3).
const RESET_US: u32 = 20;
/// Bound of the wait for both units to be idle after a reset.
const RESET_BOUND_US: u32 = 10_000;

/// The card's registers, and what is written into its mask.
pub struct Csr<B> {
    pub bus: B,
    mask: u8,
}

impl<B: Bus> Csr<B> {
    pub fn new(bus: B) -> Self {
        Csr { bus, mask: regs::M }
    }

    /// The card's address of an offset in the arena. The driver loads both bases with 0, so that
    /// all its addresses are plain 32-bit ones.
    pub fn address(&self, offset: usize) -> u32 {
        let BusAddr(address) = self.bus.bus_addr(offset);
        address as u32
    }

    /// Resets the card and leaves it silent: both units idle, all interrupts masked.
    ///
    /// The selective reset first makes the card let go of the bus (§6.3.3).
    pub fn reset(&mut self) -> Result<(), Error> {
        for kind in [regs::PORT_SELECTIVE_RESET, regs::PORT_SOFTWARE_RESET] {
            self.bus.write32(regs::PORT, kind);
            self.bus.delay_us(RESET_US);
        }
        // A reset unmasks the interrupt. QEMU also keeps the line asserted across it until an
        // acknowledgement arrives, even though no cause can be read any more: hence all ones.
        self.acknowledge_and_mask(0xff, regs::M);
        for _ in 0..RESET_BOUND_US / RESET_US {
            let status = self.status()?;
            if status == 0 && self.bus.read8(regs::COMMAND) == 0 {
                return Ok(());
            }
            self.bus.delay_us(RESET_US);
        }
        Err(Error::ResetTimeout)
    }

    /// State of the units. One read, which also is a fence: what the card had written to memory
    /// before it is visible after it.
    pub fn status(&mut self) -> Result<u8, Error> {
        let status = self.bus.read8(regs::STATUS);
        if status == 0xff {
            return Err(Error::DeviceGone);
        }
        Ok(status)
    }

    /// Pending interrupt causes that the mask of a running card lets through, and all of them.
    pub fn causes(&mut self) -> Result<(u8, u8), Error> {
        let word = self.bus.read16(regs::STATUS);
        if word == 0xffff {
            return Err(Error::DeviceGone);
        }
        let [_, causes] = word.to_le_bytes();
        // Causes that have no bit in the mask are let through.
        Ok((causes & !self.mask, causes))
    }

    /// The mask now.
    pub fn mask(&self) -> u8 {
        self.mask
    }

    /// Changes the mask. The card evaluates its line at once.
    pub fn set_mask(&mut self, mask: u8) {
        self.mask = mask;
        self.bus.write8(regs::MASK, mask);
    }

    /// Masks these causes, too, if they are not masked.
    pub fn mask_more(&mut self, causes: u8) {
        if self.mask & causes != causes {
            self.set_mask(self.mask | causes);
        }
    }

    /// Acknowledges causes, and changes the mask.
    pub fn acknowledge_and_mask(&mut self, causes: u8, mask: u8) {
        self.bus.write8(regs::ACK, causes);
        // QEMU lowers the line only when no cause is left, masked ones included; it evaluates
        // anew when the mask is written. So the mask is written after each acknowledgement.
        self.set_mask(mask);
    }

    /// Acknowledges causes.
    pub fn acknowledge(&mut self, causes: u8) {
        self.acknowledge_and_mask(causes, self.mask);
    }

    /// Issues a command without argument.
    pub fn command(&mut self, command: u8) -> Result<(), Error> {
        self.wait_for_command_byte()?;
        self.issue(command);
        Ok(())
    }

    /// Issues a command whose argument is an address.
    pub fn command_with(&mut self, command: u8, pointer: u32) -> Result<(), Error> {
        // The pointer belongs to the command before until that is taken (§6.3.2.2).
        self.wait_for_command_byte()?;
        self.bus.write32(regs::POINTER, pointer);
        self.bus.write8(regs::COMMAND, command);
        Ok(())
    }

    /// Issues a command, after [`Csr::wait_for_command_byte`].
    pub fn issue(&mut self, command: u8) {
        self.bus.write8(regs::COMMAND, command);
    }

    /// Waits until the last command is taken.
    pub fn wait_for_command_byte(&mut self) -> Result<(), Error> {
        let mut command = 0;
        for poll in 0..EAGER_POLLS + COMMAND_BOUND_US / POLL_US {
            command = self.bus.read8(regs::COMMAND);
            if command == 0 {
                return Ok(());
            }
            if command == 0xff {
                self.status()?;
            }
            if poll >= EAGER_POLLS {
                self.bus.delay_us(POLL_US);
            }
        }
        Err(Error::CommandTimeout { command })
    }
}
