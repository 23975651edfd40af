//! Interrupts: which cause has which message, and what silences and wakes it (§7.3).
//!
//! A cause of the rings interrupts once. It is silent then until it is armed again, which is done
//! when its rings are found empty, and followed by another look at them:
//!
//! ```text
//!   armed --interrupt--> silent, the rings are polled --all empty--> armed, one more look
//! ```
//!
//! With messages for the parts of the card, a message clears its cause (EIAC) and masks it (EIAM;
//! by hand as well, for QEMU does not). What happens in silence is remembered, and sends a message
//! when the cause is armed, which is to unmask it: no wake-up is lost, and no register is read. The
//! message may be about frames that were read long since; one look at the rings tells, and arms
//! anew without waking anybody.
//!
//! Otherwise all rings share two causes. To arm them is to clear what is past, to unmask, and to
//! read any register: on silicon the first two are on their way until the read has come back, and a
//! frame that came meanwhile would be lost to a look that came too early.

use super::bits::bits;
use super::config::{CAUSES, Config, InterruptMode, VECTORS, VF_VECTORS};
use super::csr::Csr;
use super::regs;
use crate::{Bus, Error, Events};

/// Vector of what belongs to no ring.
const OTHER: u16 = 0;
/// Vector of all transmit rings. One is enough: it is silent unless somebody waits for space.
const TRANSMIT: u16 = 1;
/// The first vector of receive rings.
const RECEIVE: u16 = 2;
/// Units of EITR's interval field in a microsecond, and the field's position.
const EITR_SHIFT: u32 = 2;

/// The function that interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The physical one, beside so many virtual ones.
    Physical { vfs: usize },
    /// A virtual one.
    Virtual,
}

impl Function {
    /// The bits of EICR that are its own. (To QEMU, those of the whole card are the PF's.)
    pub fn causes(self) -> u32 {
        match self {
            Function::Physical { vfs: 0 } => u32::MAX,
            Function::Physical { vfs } => (1 << (CAUSES - VF_VECTORS * vfs as u16)) - 1,
            Function::Virtual => (1 << VF_VECTORS) - 1,
        }
    }

    /// The card's number for its queue of this number, of which there is one or, in the pool of a PF that has
    /// VFs, two.
    fn number(self, queue: u16) -> u16 {
        match self {
            Function::Physical { vfs } if vfs > 0 => vfs as u16 + 8 * queue,
            _ => queue,
        }
    }
}

/// Parts of the card that ask for attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    pub receive: bool,
    pub transmit: bool,
    pub other: bool,
}

impl Causes {
    /// What they are to a driver, but for what belongs to no ring.
    pub fn events(self) -> Events {
        let receive = if self.receive {
            Events::RECEIVE
        } else {
            Events::empty()
        };
        let transmit = if self.transmit {
            Events::TRANSMIT_SPACE
        } else {
            Events::empty()
        };
        receive | transmit
    }
}

/// Which causes are armed.
pub struct Interrupts {
    function: Function,
    mode: InterruptMode,
    vectors: u16,
    queues: u16,
    moderation_us: u16,
    /// Bits of the causes that may interrupt: of EICR with messages of their own, or of ICR.
    armed: u32,
    /// The receive rings that would not, one bit each.
    silent: u32,
    /// The causes of receive rings, and the rings of each cause, one bit each.
    receive_causes: u32,
    rings: [u32; VECTORS as usize],
    /// Messages, or interrupts of the line, by vector.
    pub counts: [u64; VECTORS as usize],
    /// Messages about frames that were read before.
    pub wakes_for_nothing: u64,
}

impl Interrupts {
    pub fn new(function: Function, config: &Config) -> Self {
        let mut interrupts = Interrupts {
            function,
            mode: config.interrupts,
            vectors: config.vectors(),
            queues: config.queues as u16,
            moderation_us: config.moderation_us,
            armed: 0,
            silent: 0,
            receive_causes: 0,
            rings: [0; VECTORS as usize],
            counts: [0; VECTORS as usize],
            wakes_for_nothing: 0,
        };
        for queue in 0..interrupts.queues {
            let cause = interrupts.receive_cause(queue);
            interrupts.receive_causes |= cause;
            interrupts.rings[cause.trailing_zeros() as usize] |= 1 << queue;
        }
        interrupts
    }

    /// Whether the parts of the card have vectors of their own.
    pub fn many(&self) -> bool {
        self.vectors > 1
    }

    /// The function that they are of.
    pub fn function(&self) -> Function {
        self.function
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

    fn transmit_cause(&self) -> u32 {
        if self.many() {
            1 << TRANSMIT
        } else {
            regs::ICR_TXDW
        }
    }

    /// Tells a card that was just reset which cause has which vector. No ring interrupts yet.
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) {
        self.armed = 0;
        self.note_silent();
        let many = self.many();
        // QEMU says nothing of transmission, with whatever kind of interrupt, without an entry.
        let mut entries = [0; 8];
        for queue in 0..self.queues {
            let transmit = if many { TRANSMIT } else { OTHER };
            let receive = u32::from(self.receive_vector(queue)) | regs::IVAR_VALID;
            let transmit = u32::from(transmit) | regs::IVAR_VALID;
            let number = self.function.number(queue);
            entries[usize::from(number % 8)] |= (receive | transmit << 8) << (number / 8 * 16);
        }
        for (low, &entries) in (0..).zip(&entries).filter(|(_, entries)| **entries != 0) {
            csr.write(regs::ivar(low), entries);
        }
        let other = u32::from(OTHER) | regs::IVAR_VALID;
        let misc = match self.function {
            Function::Physical { .. } => other << 8,
            Function::Virtual => other,
        };
        csr.write(regs::IVAR_MISC, misc);
        if many {
            let rings = self.receive_causes | self.transmit_cause();
            csr.write(regs::EIAC, rings | 1 << OTHER);
            csr.write(regs::EIAM, rings);
            // This register outlives a reset on QEMU.
            for vector in 0..self.vectors {
                let us = if vector < RECEIVE {
                    0
                } else {
                    self.moderation_us
                };
                csr.write(regs::eitr(vector.into()), u32::from(us) << EITR_SHIFT);
            }
            csr.write(regs::EICR, self.function.causes());
            csr.write(regs::EIMS, 1 << OTHER);
        }
    }

    /// Arms all receive rings that are silent; false if none was. The caller looks again then.
    pub fn arm_receive<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<bool, Error> {
        self.arm(csr, self.receive_causes)
    }

    /// Arms the receive rings of a vector, if they are silent. The caller has looked before.
    pub fn arm_vector<B: Bus>(&mut self, csr: &mut Csr<B>, vector: u16) -> Result<(), Error> {
        self.arm(csr, 1 << vector).map(drop)
    }

    /// Arms the transmit rings, if they are silent. The caller looks again in any case.
    pub fn arm_transmit<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        self.arm(csr, self.transmit_cause()).map(drop)
    }

    fn arm<B: Bus>(&mut self, csr: &mut Csr<B>, causes: u32) -> Result<bool, Error> {
        let silent = causes & !self.armed;
        if silent == 0 {
            return Ok(false);
        }
        if self.many() {
            csr.write(regs::EIMS, silent);
        } else {
            csr.write(regs::ICR, silent);
            csr.write(regs::IMS, silent);
            csr.status()?;
        }
        self.armed |= silent;
        self.note_silent();
        Ok(true)
    }

    fn note_silent(&mut self) {
        let silent = self.receive_causes & !self.armed;
        self.silent = bits(silent).fold(0, |all, cause| all | self.rings[cause]);
    }

    /// The receive rings to be polled, one bit each: those that would not interrupt, or all if
    /// all would, for somebody polls who was not told to.
    pub fn polled_rings(&self) -> u32 {
        match self.silent {
            0 => u32::MAX,
            silent => silent,
        }
    }

    /// Whether all receive rings would interrupt.
    pub fn are_all_armed(&self) -> bool {
        self.silent == 0
    }

    /// Whether a receive ring would interrupt.
    pub fn is_armed(&self, queue: usize) -> bool {
        self.silent & 1 << queue == 0
    }

    /// Silences a receive ring, as its interrupt would have.
    pub fn silence<B: Bus>(&mut self, csr: &mut Csr<B>, queue: usize) {
        self.mask(csr, self.receive_cause(queue as u16));
    }

    /// Silences all receive rings.
    pub fn silence_receive<B: Bus>(&mut self, csr: &mut Csr<B>) {
        let armed = self.receive_causes & self.armed;
        if armed != 0 {
            self.mask(csr, armed);
        }
    }

    /// Masks all rings; the rest of the card may interrupt.
    pub fn silence_rings<B: Bus>(&mut self, csr: &mut Csr<B>) {
        self.mask(csr, self.receive_causes | self.transmit_cause());
    }

    fn mask<B: Bus>(&mut self, csr: &mut Csr<B>, causes: u32) {
        let mask = if self.many() { regs::EIMC } else { regs::IMC };
        csr.write(mask, causes);
        self.armed &= !causes;
        self.note_silent();
    }

    /// The receive rings that share a vector.
    pub fn rings_of(&self, vector: u16) -> impl Iterator<Item = usize> + use<> {
        let rings = self.rings.get(usize::from(vector));
        bits(rings.copied().unwrap_or_default())
    }

    /// A message of the card's own came. `None` if the card has no such message.
    pub fn message<B: Bus>(&mut self, csr: &mut Csr<B>, vector: u16) -> Option<Causes> {
        let count = self.counts.get_mut(usize::from(vector))?;
        if vector >= self.vectors {
            return None;
        }
        *count += 1;
        // One that is silent already was on its way when it was masked.
        let come = vector == OTHER || self.armed & 1 << vector != 0;
        if come && vector != OTHER {
            self.mask(csr, 1 << vector);
        }
        Some(Causes {
            receive: come && vector >= RECEIVE,
            transmit: come && vector == TRANSMIT,
            other: vector == OTHER,
        })
    }

    /// The line, or the only message, came: asks the card. `None` if the card did not interrupt.
    pub fn asked<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<Option<Causes>, Error> {
        if self.many() {
            // The messages have cleared their causes: it may be any of them.
            self.counts[usize::from(OTHER)] += 1;
            self.mask(csr, self.armed);
            let all = Causes {
                receive: true,
                transmit: true,
                other: true,
            };
            return Ok(Some(all));
        }
        // The read clears the causes and lowers the line.
        let causes = csr.read(regs::ICR)?;
        if causes & regs::ICR_INT_ASSERTED == 0 && self.mode == InterruptMode::Intx {
            return Ok(None);
        }
        self.counts[usize::from(OTHER)] += 1;
        let silenced = causes & self.armed;
        if silenced != 0 {
            self.mask(csr, silenced);
        }
        Ok(Some(Causes {
            receive: silenced & regs::ICR_RXDW != 0,
            transmit: silenced & regs::ICR_TXDW != 0,
            other: causes & regs::ICR_LSC != 0,
        }))
    }
}
