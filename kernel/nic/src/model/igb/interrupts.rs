//! Causes, masks, vectors (datasheet §7.3, §8.8).

use super::functions::{Function, POOLS, VF_VECTORS};
use super::{Behaviour, Card};
use crate::igb::InterruptMode;
use alloc::collections::VecDeque;

/// The link changed.
pub(super) const LSC: u32 = 1 << 2;
/// A mailbox, or the reset of a VF.
pub(super) const VMMB: u32 = 1 << 8;
const TXDW: u32 = 1;
const RXDW: u32 = 1 << 7;
/// A frame was dropped because its queue was full.
pub(super) const RXO: u32 = 1 << 6;
const INT_ASSERTED: u32 = 1 << 31;
const NSICR: u32 = 1;
const MSIX: u32 = 1 << 4;
const EIAME: u32 = 1 << 30;
const PBA: u32 = 1 << 31;
/// Entries of the MSI-X table.
const VECTORS: u32 = 10;

/// The first of a VF's bits among those of the whole card.
const fn first(vf: usize) -> u32 {
    22 - VF_VECTORS * vf as u32
}

/// The interrupt part of the card.
#[derive(Debug)]
pub(super) struct Interrupts {
    mode: InterruptMode,
    icr: u32,
    ims: u32,
    eicr: u32,
    eims: u32,
    eiac: u32,
    eiam: u32,
    gpie: u32,
    ivar: [u32; 8],
    ivar_misc: u32,
    /// Those of the VFs: VTIVAR and VTIVAR_MISC.
    vtivar: [u32; POOLS],
    vtivar_misc: [u32; POOLS],
    /// Outlives a reset.
    eitr: [u32; 25],
    messages: VecDeque<u16>,
}

impl Interrupts {
    pub(super) fn new(mode: InterruptMode) -> Self {
        Interrupts {
            mode,
            icr: 0,
            ims: 0,
            eicr: 0,
            eims: 0,
            eiac: 0,
            eiam: 0,
            gpie: 0,
            ivar: [0; 8],
            ivar_misc: 0,
            vtivar: [0; POOLS],
            vtivar_misc: [0; POOLS],
            eitr: [0; 25],
            messages: VecDeque::new(),
        }
    }

    pub(super) fn reset(&mut self) {
        let eitr = self.eitr;
        *self = Interrupts {
            eitr,
            ..Interrupts::new(self.mode)
        };
    }

    pub(super) fn leave_unmasked(&mut self) {
        self.ims = LSC | RXDW;
        self.eims = 1;
        self.eitr[2] = 0x1000;
    }

    /// Whether all is masked that belongs to the PF of a card with so many VFs.
    pub(super) fn masked(&self, vfs: usize) -> bool {
        self.ims == 0 && self.eims & ((1 << (25 - VF_VECTORS * vfs as u32)) - 1) == 0
    }

    pub(super) fn unmasked(&self) -> u32 {
        self.eims
    }

    pub(super) fn line(&self) -> bool {
        self.mode == InterruptMode::Intx && self.icr & self.ims != 0
    }

    pub(super) fn take_message(&mut self) -> Option<u16> {
        self.messages.pop_front()
    }

    pub(super) fn moderation(&self, vector: usize) -> u32 {
        self.eitr[vector]
    }

    fn many(&self) -> bool {
        self.gpie & MSIX != 0
    }

    /// The bit of EICR of a queue, which belongs to a VF or not.
    fn entry(&self, queue: usize, transmit: bool, is_virtual: bool) -> Option<u32> {
        let byte = queue / 8 * 2 + usize::from(transmit);
        let vf = queue % POOLS;
        let entries = if is_virtual {
            self.vtivar[vf]
        } else {
            self.ivar[vf]
        };
        let entry = entries >> (8 * byte) & 0xff;
        let first = if is_virtual { first(vf) } else { 0 };
        (entry & 0x80 != 0).then_some(first + (entry & 0x1f))
    }
}

impl Card {
    fn send_message(&mut self, vector: u32) {
        if self.defects.line_cut || self.defects.gone {
            return;
        }
        let vectors = match self.interrupts.mode {
            InterruptMode::MsiX { vectors } => u32::from(vectors),
            InterruptMode::Msi => 1,
            InterruptMode::Intx => return,
        };
        let vf =
            (0..self.vfs.len()).find(|&vf| (first(vf)..first(vf) + VF_VECTORS).contains(&vector));
        if let Some(vf) = vf {
            let messages = &mut self.vfs[vf].messages;
            // A VF that never looks: a message that is pending is sent once (PBA).
            if messages.len() < 64 {
                messages.push_back((vector - first(vf)) as u16);
            }
            return;
        }
        assert!(
            vector < vectors.min(VECTORS),
            "vector {vector} is not in the table"
        );
        self.interrupts.messages.push_back(vector as u16);
    }

    /// Interrupts a VF for its mailbox.
    pub(super) fn mail_for_vf(&mut self, vf: usize) {
        let entry = self.interrupts.vtivar_misc[vf];
        if entry & 0x80 == 0 {
            return;
        }
        let bits = match self.behaviour {
            Behaviour::Silicon => 1 << (entry & 3),
            // It takes the number for a set.
            Behaviour::Qemu => entry & 3,
        };
        self.raise_extended(bits << first(vf));
    }

    /// A VF is reset: its causes are masked and cleared, but on QEMU.
    pub(super) fn reset_vf_interrupts(&mut self, vf: usize) {
        if self.behaviour == Behaviour::Silicon {
            let interrupts = &mut self.interrupts;
            let own = 7 << first(vf);
            interrupts.eims &= !own;
            interrupts.eicr &= !own;
            (interrupts.vtivar[vf], interrupts.vtivar_misc[vf]) = (0, 0);
        }
    }

    /// Registers of this part as a VF sees them; false if it is none.
    pub(super) fn write_vf_interrupts(&mut self, vf: usize, register: u32, value: u32) -> bool {
        let own = (value & 7) << first(vf);
        let interrupts = &mut self.interrupts;
        match register {
            0x1524 => {
                let before = interrupts.eicr & interrupts.eims;
                interrupts.eims |= own;
                self.extended_edges(before);
            }
            0x1528 => interrupts.eims &= !own,
            0x152c => interrupts.eiac |= if interrupts.many() { own } else { 0 },
            0x1530 => interrupts.eiam = interrupts.eiam & !(7 << first(vf)) | own,
            0x1580 => interrupts.eicr &= !own,
            0x1680..=0x1688 => {
                let vector = first(vf) + (register - 0x1680) / 4;
                interrupts.eitr[vector as usize] = value;
            }
            0x1700 => {
                interrupts.vtivar[vf] = value;
                // QEMU has but the PF's register, into which this is ORed.
                let entry = |byte: u32| match value >> (8 * byte) & 0xff {
                    entry if entry & 0x80 != 0 => (0x80 | (first(vf) + (entry & 7))) << (8 * byte),
                    _ => 0,
                };
                if self.behaviour == Behaviour::Qemu {
                    interrupts.ivar[vf] |= entry(0) | entry(1);
                }
            }
            0x1740 => interrupts.vtivar_misc[vf] = value,
            _ => return false,
        }
        true
    }

    /// Causes come up, or are unmasked: sends what must be sent.
    pub(super) fn raise(&mut self, causes: u32) {
        let before = self.interrupts.icr & self.interrupts.ims;
        self.interrupts.icr |= causes;
        self.edges(before);
    }

    fn unmask(&mut self, causes: u32) {
        let before = self.interrupts.icr & self.interrupts.ims;
        self.interrupts.ims |= causes;
        self.edges(before);
    }

    fn edges(&mut self, before: u32) {
        let new = self.interrupts.icr & self.interrupts.ims & !before;
        if new == 0 {
            return;
        }
        if !self.interrupts.many() {
            self.send_message(0);
            return;
        }
        let misc = self.interrupts.ivar_misc >> 8 & 0xff;
        if misc & 0x80 != 0 {
            self.raise_extended(1 << (misc & 0x1f));
        }
    }

    fn raise_extended(&mut self, causes: u32) {
        let before = self.interrupts.eicr & self.interrupts.eims;
        self.interrupts.eicr |= causes;
        self.extended_edges(before);
    }

    fn extended_edges(&mut self, before: u32) {
        let new = self.interrupts.eicr & self.interrupts.eims & !before;
        for vector in (0..25).filter(|vector| new >> vector & 1 != 0) {
            self.send_message(vector);
            let bit = 1 << vector;
            let interrupts = &mut self.interrupts;
            if interrupts.eiac & bit != 0 {
                interrupts.eicr &= !bit;
            }
            let masks = interrupts.gpie & EIAME != 0 && interrupts.eiam & bit != 0;
            if masks && self.behaviour == Behaviour::Silicon {
                interrupts.eims &= !bit;
            }
        }
    }

    /// A descriptor of a queue was written back, and the driver shall hear of it.
    pub(super) fn written_back(&mut self, queue: usize, transmit: bool) {
        let is_virtual = self.owner(queue) != Function::Physical;
        let has_own = is_virtual && self.behaviour == Behaviour::Silicon;
        let entry = self.interrupts.entry(queue, transmit, has_own);
        if self.interrupts.many() {
            assert!(entry.is_some() || is_virtual, "a queue without a vector");
            self.raise_extended(entry.map_or(0, |entry| 1 << entry));
        }
        if has_own {
            return;
        }
        let cause = if transmit { TXDW } else { RXDW };
        // QEMU forgets transmission without a vector, whatever the kind of interrupt.
        if !transmit || entry.is_some() || self.behaviour == Behaviour::Silicon {
            self.raise(cause);
        }
    }

    pub(super) fn read_icr(&mut self) -> u32 {
        let interrupts = &mut self.interrupts;
        let asserted = !interrupts.many() && interrupts.icr & interrupts.ims != 0;
        let value = interrupts.icr | if asserted { INT_ASSERTED } else { 0 };
        if interrupts.gpie & NSICR != 0 || asserted || interrupts.ims == 0 {
            interrupts.icr = 0;
        }
        value
    }

    pub(super) fn read_eicr(&mut self) -> u32 {
        core::mem::take(&mut self.interrupts.eicr)
    }

    /// Registers of this part; false if it is none.
    pub(super) fn write_interrupts(&mut self, register: u32, value: u32) -> bool {
        let own = (1 << (25 - VF_VECTORS * self.vfs.len() as u32)) - 1;
        let are_own = value & !own == 0 || self.vfs.is_empty();
        let interrupts = &mut self.interrupts;
        match register {
            0xc0 => interrupts.icr &= !value,
            0xd0 => self.unmask(value),
            0xd8 => interrupts.ims &= !value,
            0x1514 => {
                assert!(
                    value & MSIX == 0 || value & PBA != 0,
                    "messages whose pending bits nobody clears (GPIE.PBA)"
                );
                interrupts.gpie = value;
            }
            0x1524 => {
                let before = interrupts.eicr & interrupts.eims;
                interrupts.eims |= value;
                self.extended_edges(before);
            }
            0x1528 => interrupts.eims &= !value,
            0x152c => {
                assert!(interrupts.many(), "EIAC before GPIE (QEMU drops it)");
                interrupts.eiac |= value;
            }
            0x1530 => interrupts.eiam = value,
            0x1580 => {
                assert!(
                    are_own,
                    "causes of a VF cleared by the PF (on QEMU they are)"
                );
                interrupts.eicr &= !value;
            }
            0x1680..=0x16e0 => interrupts.eitr[(register as usize - 0x1680) / 4] = value,
            0x1700..=0x171c => interrupts.ivar[(register as usize - 0x1700) / 4] = value,
            0x1740 => interrupts.ivar_misc = value,
            _ => return false,
        }
        true
    }
}
