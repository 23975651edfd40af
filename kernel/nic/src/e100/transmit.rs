//! The command ring: its first blocks set the card up, all others send.
//!
//! ```text
//!            clean                           next
//!              v                               v
//!    ... | C  |    |    |    |    | S  |       |  C  | ...       S: the card suspends here
//!              `--- in flight ---'  ^newest    `- free, one always kept back
//!                        `-- new --'
//!                          not kicked
//! ```
//!
//! The newest block carries S, so the card suspends there. A new block is written whole, with S,
//! and only then loses the one before it its S (§8.2): a card that is still busy runs on by itself,
//! one that has suspended goes on by RESUME.

use super::chip::Chip;
use super::layout::{self, BLOCKS, BUFFERS, cb};
use super::regs;
use crate::in_place::Pool;
use crate::{Bus, Error, Tail};

/// Frames in flight at most. The block at which the card is suspended is still its own (it looks at
/// S and the link again on RESUME), so one block is kept back.
pub const CAPACITY: usize = BLOCKS - 1;
/// Free blocks that are worth waking a sender for.
const SPACE: usize = BLOCKS / 4;
/// QEMU executes at most this many blocks per START or RESUME, and then stays silently "active".
const QEMU_BLOCKS_PER_COMMAND: usize = 16;
/// Bound of the wait for a set-up block, which takes the card some microseconds.
const BLOCK_BOUND_US: u32 = 20_000;
/// Length of a wait between two looks at such a block.
const POLL_US: u32 = 5;

/// Where the driver stands in the ring.
pub struct Transmit {
    /// The block to fill next.
    next: usize,
    /// The oldest block in flight.
    clean: usize,
    /// Blocks in flight, from `clean` to before `next`.
    in_flight: usize,
    /// The newest of them, which no command has announced to the card yet.
    new: usize,
    /// A sender waits for space.
    wanted: bool,
    /// Who has the buffers, and which of them is in each block.
    pub pool: Pool,
    buffers: [u16; BLOCKS],
    /// Blocks completed so far.
    pub completed: u64,
    /// Commands given to the card for them.
    pub kicks: u64,
}

impl Default for Transmit {
    fn default() -> Self {
        Transmit {
            next: 0,
            clean: 0,
            in_flight: 0,
            new: 0,
            wanted: false,
            pool: Pool::new(0..BUFFERS as u16),
            buffers: [0; BLOCKS],
            completed: 0,
            kicks: 0,
        }
    }
}

impl Transmit {
    /// Lays out the ring, executes the set-up commands in its first blocks, and leaves the command
    /// unit suspended after them, so that all that follows is started by RESUME.
    pub fn start<B: Bus>(
        &mut self,
        chip: &mut Chip<B>,
        commands: &[(u16, &[u8])],
    ) -> Result<(), Error> {
        for index in 0..BLOCKS {
            let block = layout::block(index);
            let link = chip.address(layout::block((index + 1) % BLOCKS));
            // C set, and no command: a block that was never filled is nobody's work.
            chip.bus.store32(block + cb::STATUS, cb::C.into());
            chip.bus.store32(block + cb::LINK, link);
        }
        for (index, &(command, argument)) in commands.iter().enumerate() {
            let block = layout::block(index);
            let suspend = if index + 1 == commands.len() {
                cb::S
            } else {
                0
            };
            chip.bus.copy_in(block + cb::ARGUMENT, argument);
            let word = u32::from(command | suspend) << 16;
            chip.bus.store32(block + cb::STATUS, word);
        }
        (self.next, self.clean) = (commands.len(), commands.len());
        (self.in_flight, self.new, self.wanted) = (0, 0, false);
        self.pool.empty_rings();
        chip.bus.fence();
        let first = chip.address(layout::block(0));
        chip.command_with(regs::CUC_START, first)?;
        for (index, &(command, _)) in commands.iter().enumerate() {
            let status = wait_for_block(chip, index).ok_or(Error::BlockTimeout { command })?;
            if status & cb::OK == 0 {
                return Err(Error::BlockTimeout { command });
            }
        }
        Ok(())
    }

    /// Puts the first `len` bytes of a buffer that was taken from the pool, and the tail, into the
    /// ring, without telling the card.
    ///
    /// [`Error::WouldBlock`] if the ring is full.
    pub fn queue<B: Bus>(
        &mut self,
        chip: &mut Chip<B>,
        (buffer, len): (u16, usize),
        tail: Option<Tail>,
    ) -> Result<(), Error> {
        let Some((data, _)) = layout::MEMORY.buffer(buffer) else {
            return Err(Error::BadBuffer { buffer });
        };
        if self.in_flight == CAPACITY {
            self.reclaim(chip);
            if self.in_flight == CAPACITY {
                return Err(Error::WouldBlock);
            }
        }
        let block = layout::block(self.next);
        let previous = layout::block(before(self.next));
        // Each quarter of the ring asks for an interrupt; it is masked unless a sender waits.
        let interrupt = if self.next % SPACE == SPACE - 1 {
            cb::I
        } else {
            0
        };
        // SF because of the manual; QEMU looks at the TBD array address alone.
        let command = cb::TRANSMIT | cb::SF | cb::S | interrupt;
        let tbd_array = chip.address(block + cb::TBDS);
        let pieces = [
            Some((chip.address(data), len)),
            // Below 4 GiB: `send_buffer` has looked.
            tail.map(|tail| (tail.address.0 as u32, tail.len)),
        ];
        let count = pieces.iter().flatten().count();
        let bus = &mut chip.bus;
        for (index, (address, len)) in pieces.into_iter().flatten().enumerate() {
            let tbd = block + cb::TBDS + index * cb::TBD_LEN;
            let last = if index + 1 == count { cb::TBD_EL } else { 0 };
            bus.store32(tbd, address);
            bus.store32(tbd + 4, len as u32 | last);
        }
        let counts = cb::TRANSMIT_COUNTS | (count as u32) << cb::TBD_COUNT_SHIFT;
        bus.store32(block + cb::TBD_ARRAY, tbd_array);
        bus.store32(block + cb::COUNTS, counts);
        // The status is zeroed with it: QEMU keeps old bits when it completes the block.
        bus.store32(block + cb::STATUS, u32::from(command) << 16);
        bus.fence();
        // Clears S and nothing else; 16 bits, for the card may be writing the status beside it.
        let earlier = bus.load16(previous + cb::COMMAND);
        bus.store16(previous + cb::COMMAND, earlier & !cb::S);
        bus.fence();
        self.pool.enter_ring(buffer);
        self.buffers[self.next] = buffer;
        self.next = (self.next + 1) % BLOCKS;
        self.in_flight += 1;
        self.new += 1;
        Ok(())
    }

    /// Tells the card of the new blocks: one RESUME.
    pub fn kick<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<(), Error> {
        let newest = before(self.next);
        // On QEMU a batch of more than 16 needs as many commands as it has sixteens. On silicon
        // "active" means at work, and a RESUME then makes the card look at S once more when it
        // gets there, which does no harm. But without a new block, RESUME would be wrong: QEMU
        // would execute the old block that follows and send its frame again. Hence the look at C.
        for _ in 0..self.new.div_ceil(QEMU_BLOCKS_PER_COMMAND) {
            if is_complete(chip, newest) {
                break;
            }
            chip.command(regs::CUC_RESUME)?;
            self.kicks += 1;
        }
        self.new = 0;
        Ok(())
    }

    /// Takes back the blocks that the card has completed.
    pub fn reclaim<B: Bus>(&mut self, chip: &mut Chip<B>) {
        while self.in_flight > 0 && is_complete(chip, self.clean) {
            self.pool.leave_ring(self.buffers[self.clean]);
            self.clean = (self.clean + 1) % BLOCKS;
            self.in_flight -= 1;
            self.completed += 1;
        }
        self.new = self.new.min(self.in_flight);
    }

    /// Remembers that a sender waits, and has the card interrupt when it completes blocks. True if
    /// there is space already.
    pub fn want<B: Bus>(&mut self, chip: &mut Chip<B>) -> Result<bool, Error> {
        self.wanted = true;
        if self.has_space(chip) {
            return Ok(true);
        }
        // Causes of the past go first, so that none of them interrupts for nothing. What completed
        // before the acknowledgement is visible after the register read: no wake-up is lost.
        let unmasked = chip.mask() & !(regs::CX | regs::CNA);
        chip.acknowledge_and_mask(regs::CX | regs::CNA, unmasked);
        chip.status()?;
        Ok(self.has_space(chip))
    }

    /// Whether a sender waits and now has space; it waits no longer then.
    pub fn has_space<B: Bus>(&mut self, chip: &mut Chip<B>) -> bool {
        if !self.wanted {
            return false;
        }
        self.reclaim(chip);
        let blocks = CAPACITY - self.in_flight >= SPACE;
        // With nothing in flight no more buffers come free but those that the sender has.
        let buffers = self.pool.len() >= SPACE || self.in_flight == 0;
        if !blocks || !buffers {
            return false;
        }
        self.wanted = false;
        let masked = chip.mask() | regs::CX | regs::CNA;
        if masked != chip.mask() {
            chip.set_mask(masked);
        }
        true
    }

    /// Whether blocks are in flight.
    pub fn is_busy(&self) -> bool {
        self.in_flight > 0
    }
}

fn before(index: usize) -> usize {
    (index + BLOCKS - 1) % BLOCKS
}

fn is_complete<B: Bus>(chip: &mut Chip<B>, index: usize) -> bool {
    chip.bus.load16(layout::block(index) + cb::STATUS) & cb::C != 0
}

/// The status of a set-up block once it is complete.
fn wait_for_block<B: Bus>(chip: &mut Chip<B>, index: usize) -> Option<u16> {
    for _ in 0..BLOCK_BOUND_US / POLL_US {
        let status = chip.bus.load16(layout::block(index) + cb::STATUS);
        if status & cb::C != 0 {
            return Some(status);
        }
        chip.bus.delay_us(POLL_US);
    }
    None
}
