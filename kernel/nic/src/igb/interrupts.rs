//! Interrupts: which cause has which message, and what silences and wakes it (§7.3).
//!
//! A cause of the rings interrupts once. It is silent then until it is armed again, which is done
//! when its rings are found empty, and followed by another look at them:
//!
//! ```text
//!   armed --interrupt--> silent, the rings are polled --all empty--> armed, one more look
//! ```
//!
//! To arm is to clear what is past, to unmask, and to read any register: on silicon the first two
//! are on their way until the read has come back, and a frame that came meanwhile would be lost to
//! a look that came too early.
//!
//! With MSI-X, an extended cause whose message does not clear it (EIAC) sends no other until it is
//! cleared, so that silence costs no register access. Silicon also masks it (EIAM), QEMU does not:
//! either is woken in the same way. Otherwise, all rings share two causes, masked by hand.

use super::chip::Chip;
use super::config::{Config, InterruptMode};
use super::regs;
use crate::{Bus, Error};

/// Entries in the card's MSI-X table.
pub const VECTORS: u16 = 10;
/// Vector of what belongs to no ring.
const OTHER: u16 = 0;
/// Vector of all transmit rings. One is enough: it is silent unless somebody waits for space.
const TRANSMIT: u16 = 1;
/// The first vector of receive rings.
const RECEIVE: u16 = 2;
/// Units of EITR's interval field in a microsecond, and the field's position.
const EITR_SHIFT: u32 = 2;

/// Parts of the card that ask for attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    pub receive: bool,
    pub transmit: bool,
    pub other: bool,
}

/// Which causes are armed.
pub struct Interrupts {
    mode: InterruptMode,
    vectors: u16,
    queues: u16,
    moderation_us: u16,
    /// Bits of the causes that may interrupt: of EICR with messages of their own, or of ICR.
    armed: u32,
    /// Messages, or interrupts of the line, by vector.
    pub counts: [u64; VECTORS as usize],
}

impl Interrupts {
    pub fn new(config: &Config) -> Self {
        Interrupts {
            mode: config.interrupts,
            vectors: config.vectors(),
            queues: config.queues as u16,
            moderation_us: config.moderation_us,
            armed: 0,
            counts: [0; VECTORS as usize],
        }
    }

    /// Whether the parts of the card have vectors of their own.
    pub fn many(&self) -> bool {
        self.vectors > 1
    }

    /// Vectors in use.
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    fn receive_vector(&self, queue: u16) -> u16 {
        if self.many() {
            RECEIVE + queue % (self.vectors - RECEIVE)
        } else {
            OTHER
        }
    }

    fn receive_cause(&self, queue: u16) -> u32 {
        if self.many() {
            1 << self.receive_vector(queue)
        } else {
            regs::ICR_RXDW
        }
    }

    fn receive_causes(&self) -> u32 {
        (0..self.queues).fold(0, |all, queue| all | self.receive_cause(queue))
    }

    fn transmit_cause(&self) -> u32 {
        if self.many() {
            1 << TRANSMIT
        } else {
            regs::ICR_TXDW
        }
    }

    /// Tells a card that was just reset which cause has which vector, and lets it say that the link
    /// changed. No ring interrupts yet.
    pub fn start<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        self.armed = 0;
        let many = self.many();
        let mode = if many {
            regs::GPIE_MSIX | regs::GPIE_EIAME | regs::GPIE_PBA
        } else {
            0
        };
        chip.write(regs::GPIE, mode | regs::GPIE_NSICR);
        // QEMU says nothing of transmission, with whatever kind of interrupt, without an entry.
        for low in 0..self.queues.min(8) {
            let mut entries = 0;
            for queue in (low..self.queues).step_by(8) {
                let transmit = if many { TRANSMIT } else { OTHER };
                let receive = u32::from(self.receive_vector(queue)) | regs::IVAR_VALID;
                let transmit = u32::from(transmit) | regs::IVAR_VALID;
                entries |= (receive | transmit << 8) << (queue / 8 * 16);
            }
            chip.write(regs::ivar(low.into()), entries);
        }
        chip.write(regs::IVAR_MISC, (u32::from(OTHER) | regs::IVAR_VALID) << 8);
        if many {
            let rings = self.receive_causes() | self.transmit_cause();
            chip.write(regs::EIAC, 1 << OTHER);
            chip.write(regs::EIAM, rings);
            // This register outlives a reset on QEMU.
            for vector in 0..self.vectors {
                let us = if vector < RECEIVE {
                    0
                } else {
                    self.moderation_us
                };
                chip.write(regs::eitr(vector.into()), u32::from(us) << EITR_SHIFT);
            }
            chip.write(regs::EICR, u32::MAX);
            chip.write(regs::EIMS, 1 << OTHER);
        }
        chip.read(regs::ICR)?;
        chip.write(regs::IMS, regs::ICR_LSC);
        Ok(())
    }

    /// Arms all receive rings that are silent; false if none was. The caller looks again then.
    pub fn arm_receive<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<bool, Error> {
        self.arm(chip, self.receive_causes())
    }

    /// Arms the transmit rings, if they are silent. The caller looks again in any case.
    pub fn arm_transmit<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        self.arm(chip, self.transmit_cause()).map(drop)
    }

    fn arm<B: Bus>(&mut self, chip: &mut Chip<B>, causes: u32) -> Result<bool, Error> {
        let silent = causes & !self.armed;
        if silent == 0 {
            return Ok(false);
        }
        let (cause, mask) = if self.many() {
            (regs::EICR, regs::EIMS)
        } else {
            (regs::ICR, regs::IMS)
        };
        chip.write(cause, silent);
        chip.write(mask, silent);
        chip.status()?;
        self.armed |= silent;
        Ok(true)
    }

    /// Whether a receive ring would interrupt.
    pub fn is_armed(&self, queue: usize) -> bool {
        self.armed & self.receive_cause(queue as u16) != 0
    }

    /// Counts a ring's interrupt as come, which it did not.
    pub fn forget(&mut self, queue: usize) {
        self.armed &= !self.receive_cause(queue as u16);
    }

    /// A message of the card's own came. Needs no register.
    pub fn message(&mut self, vector: u16) -> Option<Causes> {
        let count = self.counts.get_mut(usize::from(vector))?;
        if vector >= self.vectors {
            return None;
        }
        *count += 1;
        if vector != OTHER {
            self.armed &= !(1 << vector);
        }
        Some(Causes {
            receive: vector >= RECEIVE,
            transmit: vector == TRANSMIT,
            other: vector == OTHER,
        })
    }

    /// The line, or a message that does not say whose, came: asks the card. `None` if it did not.
    pub fn asked<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<Option<Causes>, Error> {
        if self.many() {
            return self.asked_among_many(chip);
        }
        // The read clears the causes and lowers the line.
        let causes = chip.read(regs::ICR)?;
        if causes & regs::ICR_INT_ASSERTED == 0 && self.mode == InterruptMode::Intx {
            return Ok(None);
        }
        self.counts[usize::from(OTHER)] += 1;
        let silenced = causes & self.armed;
        if silenced != 0 {
            chip.write(regs::IMC, silenced);
            self.armed &= !silenced;
        }
        Ok(Some(Causes {
            receive: silenced & regs::ICR_RXDW != 0,
            transmit: silenced & regs::ICR_TXDW != 0,
            other: causes & regs::ICR_LSC != 0,
        }))
    }

    fn asked_among_many<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<Option<Causes>, Error> {
        let known = self.armed;
        // The read clears all of them: what was set now counts as come.
        let causes = chip.read(regs::EICR)?;
        let come = causes & known;
        chip.write(regs::EIMC, come);
        self.armed &= !come;
        self.counts[usize::from(OTHER)] += 1;
        Ok(Some(Causes {
            receive: come & self.receive_causes() != 0,
            transmit: come & self.transmit_cause() != 0,
            // Its message has cleared it.
            other: true,
        }))
    }

    /// What the card says of itself, rings apart: whether its link changed. Clears it.
    pub fn link_changed<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<bool, Error> {
        if !self.many() {
            return Ok(true);
        }
        Ok(chip.read(regs::ICR)? & regs::ICR_LSC != 0)
    }
}
