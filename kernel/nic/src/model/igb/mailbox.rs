//! The mailboxes between the PF and each VF: 16 words that both write, a lock, and bits that say what
//! happened (datasheet §7.10.2.9, §8.14).

use super::functions::{Function, POOLS, VFRE, VFTE};
use super::interrupts::VMMB;
use super::rings::{rx_base, tx_base};
use super::{Behaviour, Card};

/// V2PMAILBOX: a request, an acknowledgement, the VF's lock, the PF's lock.
const REQ: u32 = 1;
const ACK: u32 = 1 << 1;
const VFU: u32 = 1 << 2;
const PFU: u32 = 1 << 3;
/// V2PMAILBOX: the PF has sent a message, has read one; cleared as they are read.
const PFSTS: u32 = 1 << 4;
const PFACK: u32 = 1 << 5;
/// V2PMAILBOX: the PF is being reset; its reset is done (cleared as it is read).
const RSTI: u32 = 1 << 6;
const RSTD: u32 = 1 << 7;
/// P2VMAILBOX: a message, an acknowledgement (bits 0 and 1), the VF's lock is to be taken away.
const RVFU: u32 = 1 << 4;
/// CTRL_EXT: the PF's reset is done.
const PFRSTD: u32 = 1 << 14;
/// Words of a message.
const WORDS: usize = 16;

/// All mailboxes.
#[derive(Debug)]
pub(super) struct Mailboxes {
    words: [[u32; WORDS]; POOLS],
    /// V2PMAILBOX as it reads.
    v2p: [u32; POOLS],
    /// P2VMAILBOX as it reads: both locks.
    p2v: [u32; POOLS],
    /// MBVFICR, MBVFIMR, VFLRE.
    causes: u32,
    mask: u32,
    resets: u32,
}

impl Mailboxes {
    /// As a reset of the card leaves them.
    pub fn new() -> Self {
        Mailboxes {
            words: [[0; WORDS]; POOLS],
            v2p: [RSTI; POOLS],
            p2v: [0; POOLS],
            causes: 0,
            mask: 0xff,
            resets: 0,
        }
    }

    pub fn note_reset(&mut self, vf: usize) {
        self.resets |= 1 << vf;
    }
}

impl Card {
    /// Interrupts the PF for a mailbox, or a VF's reset.
    pub(super) fn mail_for_pf(&mut self) {
        let mailbox = &self.mailbox;
        let mail = (mailbox.causes | mailbox.causes >> 16) & mailbox.mask | mailbox.resets;
        // QEMU does not look at MBVFIMR.
        if mail & 0xff != 0 || self.behaviour == Behaviour::Qemu {
            self.raise(VMMB);
        }
    }

    /// Reads a register of the mailboxes; `None` if it is none.
    pub(super) fn read_mailbox(&mut self, function: Function, register: u32) -> Option<u32> {
        let mailbox = &mut self.mailbox;
        match (function, register) {
            (Function::Virtual(vf), 0xc40) => {
                let value = mailbox.v2p[vf];
                mailbox.v2p[vf] &= !(PFSTS | PFACK | RSTD);
                Some(value)
            }
            (Function::Virtual(vf), 0x800..=0x83f) => {
                // A VF that somebody else has reset may have lost it without knowing.
                let has_lock = mailbox.v2p[vf] & VFU != 0 || self.vfs[vf].is_lost;
                assert!(has_lock, "a message read without the lock");
                Some(mailbox.words[vf][(register as usize - 0x800) / 4])
            }
            (Function::Physical, 0xc00..=0xc1f) => {
                Some(mailbox.p2v[(register as usize - 0xc00) / 4])
            }
            (Function::Physical, 0x800..=0x9ff) => {
                let vf = (register as usize - 0x800) / 64;
                Some(mailbox.words[vf][register as usize % 64 / 4])
            }
            (Function::Physical, 0xc80) => Some(mailbox.causes),
            (Function::Physical, 0xc88) => Some(mailbox.resets),
            (Function::Physical, VFRE | VFTE) => Some(self.register(register)),
            _ => None,
        }
    }

    /// Writes a register of the mailboxes; false if it is none.
    pub(super) fn write_mailbox(&mut self, function: Function, register: u32, value: u32) -> bool {
        let mailbox = &mut self.mailbox;
        match (function, register) {
            (Function::Virtual(vf), 0xc40) => self.write_v2p(vf, value),
            (Function::Virtual(vf), 0x800..=0x83f) => {
                let has_lock = mailbox.v2p[vf] & VFU != 0 || self.vfs[vf].is_lost;
                assert!(has_lock, "a VF's message written without the lock");
                mailbox.words[vf][(register as usize - 0x800) / 4] = value;
            }
            (Function::Physical, 0xc00..=0xc1f) => {
                self.write_p2v((register as usize - 0xc00) / 4, value);
            }
            (Function::Physical, 0x800..=0x9ff) => {
                let vf = (register as usize - 0x800) / 64;
                let may = mailbox.p2v[vf] & PFU != 0;
                assert!(may, "a message of the PF written without the lock");
                mailbox.words[vf][register as usize % 64 / 4] = value;
            }
            (Function::Physical, 0xc80) => mailbox.causes &= !value,
            (Function::Physical, 0xc84) => {
                let unmasks = value & !mailbox.mask != 0;
                mailbox.mask = value;
                if unmasks && self.behaviour == Behaviour::Silicon {
                    self.mail_for_pf();
                }
            }
            (Function::Physical, 0xc88) => mailbox.resets &= !value,
            (Function::Physical, VFRE | VFTE) => self.allow(register, value),
            (Function::Physical, 0x18) => {
                *self.register_mut(register) = value;
                if value & PFRSTD != 0 {
                    for status in &mut self.mailbox.v2p {
                        *status = *status & !RSTI | RSTD;
                    }
                }
            }
            _ => return false,
        }
        true
    }

    fn write_v2p(&mut self, vf: usize, value: u32) {
        let mailbox = &mut self.mailbox;
        if value & VFU == 0 {
            mailbox.v2p[vf] &= !VFU;
            mailbox.p2v[vf] &= !VFU;
        } else if mailbox.v2p[vf] & PFU == 0 {
            mailbox.v2p[vf] |= VFU;
            mailbox.p2v[vf] |= VFU;
        }
        let causes = (value & REQ) << vf | (value & ACK) >> 1 << (16 + vf);
        mailbox.causes |= causes;
        if causes != 0 {
            self.mail_for_pf();
        }
    }

    fn write_p2v(&mut self, vf: usize, value: u32) {
        let mailbox = &mut self.mailbox;
        if value & RVFU != 0 {
            mailbox.v2p[vf] &= !VFU;
            mailbox.causes &= !(1 << vf | 1 << (16 + vf));
            // QEMU's PF goes on seeing the lock that it has taken.
            if self.behaviour == Behaviour::Silicon {
                mailbox.p2v[vf] &= !VFU;
            }
        }
        if value & PFU == 0 {
            mailbox.v2p[vf] &= !PFU;
            mailbox.p2v[vf] &= !PFU;
        } else if mailbox.p2v[vf] & VFU == 0 {
            mailbox.v2p[vf] |= PFU;
            mailbox.p2v[vf] |= PFU;
        }
        if value & REQ != 0 {
            mailbox.v2p[vf] |= PFSTS;
        }
        if value & ACK != 0 {
            mailbox.v2p[vf] |= PFACK;
        }
        if value & (REQ | ACK) != 0 && vf < self.vfs.len() {
            self.mail_for_vf(vf);
        }
    }

    /// The PF lets pools receive, or send. The card keeps what a VF's last owner has told its queues, so
    /// that is to be cleared before.
    fn allow(&mut self, register: u32, value: u32) {
        let new = value & !self.register(register);
        for vf in (0..self.vfs.len()).filter(|vf| new >> vf & 1 != 0) {
            for queue in [vf, vf + POOLS] {
                let (rx, tx) = (rx_base(queue), tx_base(queue));
                let left = [rx + 0xc, tx + 0x14, tx + 0x38, tx + 0x3c];
                let left = left.map(|register| self.register(register));
                assert_eq!(
                    left, [0; 4],
                    "settings of the last owner of queue {queue} (SRRCTL, TXCTRL, TDWBAL)"
                );
            }
        }
        *self.register_mut(register) = value;
    }
}
