//! The two 8259A interrupt controllers (Intel 8259A data sheet), and their spurious
//! interrupts.

use pic8259::ChainedPics;
use x86_64::instructions::port::Port;

/// Vector of IRQ 0; IRQ 15 is 15 above it.
pub const FIRST_VECTOR: u8 = 32;
/// The line by which the second controller reaches the first.
const CASCADE_IRQ: u8 = 2;

/// OCW3: read the in-service register.
const READ_ISR: u8 = 0x0b;
/// Command ports of the two controllers.
const COMMAND: [u16; 2] = [0x20, 0xa0];

/// Both controllers, in cascade.
pub struct Pic {
    pics: ChainedPics,
    mask: u16,
    /// Whether they are there: a machine may have an I/O APIC only.
    is_there: bool,
}

impl Pic {
    /// Initialises both, all lines masked, vectors from [`FIRST_VECTOR`].
    pub fn new() -> Self {
        // SAFETY: the PC has its controllers at these ports, and the vectors do not
        // overlap the exceptions.
        let mut pics = unsafe { ChainedPics::new_contiguous(FIRST_VECTOR) };
        let mask: u16 = !(1 << CASCADE_IRQ);
        // SAFETY: called once, with interrupts off and every vector handled.
        let read_back = unsafe {
            pics.initialize();
            let [first, second] = mask.to_le_bytes();
            pics.write_masks(first, second);
            pics.read_masks()
        };
        Pic {
            pics,
            mask,
            is_there: read_back == mask.to_le_bytes(),
        }
    }

    /// Whether lines can interrupt at all.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// Lets a line interrupt, or stops it.
    pub fn set_enabled(&mut self, irq: u8, enabled: bool) {
        let bit = 1 << (irq & 15);
        match enabled {
            true => self.mask &= !bit,
            false => self.mask |= bit,
        }
        let [first, second] = self.mask.to_le_bytes();
        // SAFETY: every vector has a handler.
        unsafe { self.pics.write_masks(first, second) };
    }

    /// Whether this interrupt is no real one: lines 7 and 15 are raised when a request went
    /// away before it was acknowledged, and then have no bit in the in-service register.
    pub fn is_spurious(&mut self, irq: u8) -> bool {
        let chip = match irq {
            7 => 0,
            15 => 1,
            _ => return false,
        };
        let mut command = Port::<u8>::new(COMMAND[chip]);
        // SAFETY: OCW3 selects what the next read returns, and changes nothing else.
        let in_service = unsafe {
            command.write(READ_ISR);
            command.read()
        };
        let is_spurious = in_service & 0x80 == 0;
        if is_spurious && chip == 1 {
            // The first controller did see a real interrupt on the cascade line.
            self.end_of_interrupt(CASCADE_IRQ);
        }
        is_spurious
    }

    /// Tells the controllers that the interrupt of `irq` was handled.
    pub fn end_of_interrupt(&mut self, irq: u8) {
        // SAFETY: the vector is one of ours, and its handler is done.
        unsafe { self.pics.notify_end_of_interrupt(FIRST_VECTOR + irq) };
    }
}
