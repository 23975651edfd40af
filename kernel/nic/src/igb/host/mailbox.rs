//! The PF's side of a mailbox (82576 datasheet §8.14.2). Both sides write the same 16 words, each only
//! while it has the lock; whoever has a VF may keep that for ever.

use crate::igb::csr::Csr;
use crate::igb::mail::WORDS;
use crate::igb::regs;
use crate::{Bus, Error};

/// The lock of a mailbox, which ends with the message.
pub struct Locked(usize);

/// Locks the mailbox of a VF; `None` if the VF has the lock. With `force` it loses it (RVFU); on QEMU the
/// PF goes on seeing it until the VF writes again.
pub fn lock<B: Bus>(csr: &mut Csr<B>, vf: usize, force: bool) -> Result<Option<Locked>, Error> {
    let register = regs::p2v_mailbox(vf);
    if force {
        csr.write(register, regs::P2V_RVFU);
    }
    csr.write(register, regs::P2V_PFU);
    let has_it = csr.read(register)? & regs::P2V_PFU != 0;
    Ok(has_it.then_some(Locked(vf)))
}

impl Locked {
    /// Reads the message in the mailbox: as many words as `len` says of the first one.
    pub fn read<B: Bus>(&self, csr: &mut Csr<B>, len: fn(u32) -> usize) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        // Any value may be in it, all ones too.
        words[0] = csr.bus.read32(regs::vmbmem(self.0, 0));
        let len = len(words[0]);
        for (number, word) in words.iter_mut().enumerate().take(len).skip(1) {
            *word = csr.bus.read32(regs::vmbmem(self.0, number));
        }
        words
    }

    /// Says that the message was read, and answers it.
    pub fn answer<B: Bus>(self, csr: &mut Csr<B>, words: &[u32]) {
        csr.write(regs::p2v_mailbox(self.0), regs::P2V_PFU | regs::P2V_ACK);
        self.send(csr, words);
    }

    /// Says that the message was read; it is not answered.
    pub fn ignore<B: Bus>(self, csr: &mut Csr<B>) {
        csr.write(regs::p2v_mailbox(self.0), regs::P2V_ACK);
    }

    /// Sends a message.
    pub fn send<B: Bus>(self, csr: &mut Csr<B>, words: &[u32]) {
        for (number, word) in words.iter().enumerate() {
            csr.write(regs::vmbmem(self.0, number), *word);
        }
        csr.write(regs::p2v_mailbox(self.0), regs::P2V_STS);
    }
}
