//! The VF's side of its mailbox (82576 datasheet §8.14.1).
//!
//! The register's bits that say what the PF has done are cleared as they are read: what was read and not
//! used yet is kept here.

use crate::igb::csr::Csr;
use crate::igb::mail::{self, WORDS};
use crate::igb::regs;
use crate::{Bus, Error};

/// Bound of each wait for the PF, and of one between two looks.
const BOUND_US: u32 = 20_000;
const POLL_US: u32 = 50;

/// Bits that a read clears.
const FLEETING: u32 = regs::V2P_PFSTS | regs::V2P_PFACK | regs::V2P_RSTD;
/// Bits that say that the PF, and with it the card, was reset.
const RESET: u32 = regs::V2P_RSTI | regs::V2P_RSTD;

/// The mailbox.
#[derive(Default)]
pub struct Mailbox {
    /// Bits that were read, and so cleared, and not used.
    seen: u32,
    /// Requests that were answered, and refused ones.
    pub answered: u64,
    pub refused: u64,
    /// What the PF has said by itself.
    pub notices: u64,
}

impl Mailbox {
    fn look<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<u32, Error> {
        let state = csr.read(regs::V2P_MAILBOX)?;
        self.seen |= state & FLEETING;
        Ok(state | self.seen)
    }

    /// Looks until `done`, for a while.
    fn wait<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        mut done: impl FnMut(&mut Csr<B>, u32) -> bool,
    ) -> Result<(), Error> {
        for _ in 0..BOUND_US / POLL_US {
            let state = self.look(csr)?;
            if done(csr, state) {
                return Ok(());
            }
            csr.bus.delay_us(POLL_US);
        }
        Err(Error::HostSilent)
    }

    /// This function was reset: waits until the PF's own reset is done, if there is one.
    pub fn begin<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.seen = 0;
        self.wait(csr, |_, state| state & regs::V2P_RSTI == 0)?;
        // Whatever was before is past.
        self.look(csr)?;
        self.seen = 0;
        Ok(())
    }

    fn lock<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.wait(csr, |csr, state| {
            let has_it = state & regs::V2P_VFU != 0;
            if !has_it {
                csr.write(regs::V2P_MAILBOX, regs::V2P_VFU);
            }
            has_it
        })
    }

    /// Reads the message in the mailbox.
    fn read<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<[u32; 3], Error> {
        self.lock(csr)?;
        self.seen &= !regs::V2P_PFSTS;
        let words = [0, 1, 2].map(|word| csr.bus.read32(regs::VF_VMBMEM + 4 * word));
        csr.write(regs::V2P_MAILBOX, regs::V2P_ACK);
        Ok(words)
    }

    /// Asks the PF for something, and waits for the answer, which it returns.
    ///
    /// # Errors
    /// [`Error::HostRefused`], [`Error::HostSilent`], [`Error::HostReset`].
    pub fn ask<B: Bus>(&mut self, csr: &mut Csr<B>, words: &[u32]) -> Result<[u32; 3], Error> {
        debug_assert!(words.len() <= WORDS);
        self.lock(csr)?;
        // What was in it is written over.
        self.seen &= !(regs::V2P_PFSTS | regs::V2P_PFACK);
        for (register, word) in (regs::VF_VMBMEM..).step_by(4).zip(words) {
            csr.write(register, *word);
        }
        csr.write(regs::V2P_MAILBOX, regs::V2P_REQ);
        let asked = words[0] & mail::OPCODE;
        loop {
            let mut was_reset = false;
            self.wait(csr, |_, state| {
                was_reset = state & RESET != 0;
                was_reset || state & regs::V2P_PFSTS != 0
            })?;
            if was_reset {
                return Err(Error::HostReset);
            }
            let answer = self.read(csr)?;
            if answer[0] & mail::OPCODE != asked {
                // The PF has said something else meanwhile.
                self.notices += 1;
                continue;
            }
            self.answered += 1;
            if answer[0] & mail::NACK != 0 {
                self.refused += 1;
                let request = asked as u16;
                return Err(Error::HostRefused { request });
            }
            return Ok(answer);
        }
    }

    /// Whether the PF still knows this function: it has neither been reset, nor says that it does not
    /// listen.
    ///
    /// # Errors
    /// [`Error::HostReset`].
    pub fn check<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let state = self.look(csr)?;
        if state & RESET != 0 {
            return Err(Error::HostReset);
        }
        if state & regs::V2P_PFSTS == 0 {
            return Ok(());
        }
        let [first, ..] = self.read(csr)?;
        self.notices += 1;
        match first & mail::CLEAR_TO_SEND {
            0 => Err(Error::HostReset),
            _ => Ok(()),
        }
    }
}
