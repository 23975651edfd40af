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
//! The newest block that the card was told of carries S, so the card suspends there. New blocks are
//! written whole, the last of a batch gets S, and only then loses the block before them its S (§8.2):
//! a card that is still busy runs on by itself, one that has suspended goes on by RESUME.
//!
//! A short frame is copied into its block, which the card fetches anyway; of a longer one the block
//! has a descriptor, and the card fetches block, descriptor and frame.

use super::csr::Csr;
use super::layout::{self, BLOCKS, NIL, SHORT, SHORT_QUADS, cb};
use super::regs;
use crate::pool::Buffers;
use crate::{Bus, Error, Outgoing};

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
#[derive(Default)]
pub struct Transmit {
    /// The block to fill next.
    next: usize,
    /// The oldest block in flight.
    clean: usize,
    /// Blocks in flight, from `clean` to before `next`.
    in_flight: usize,
    /// The oldest of them, which a command has announced to the card.
    told: usize,
    /// The block that carries S.
    suspending: usize,
    /// Blocks in flight that send from a buffer, one bit each.
    lent: u32,
    /// The buffer in each of those.
    buffers: [u16; BLOCKS],
    /// Blocks completed so far.
    pub completed: u64,
    /// Commands given to the card for them.
    pub kicks: u64,
}

impl Transmit {
    /// Lays out the ring, executes the set-up commands in its first blocks, and leaves the command
    /// unit suspended after them, so that all that follows is started by RESUME.
    pub fn start<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        commands: &[(u16, &[u8])],
    ) -> Result<(), Error> {
        for index in 0..BLOCKS {
            let block = layout::block(index);
            let link = csr.address(layout::block((index + 1) % BLOCKS));
            // C set, and no command: a block that was never filled is nobody's work.
            set_status(csr, index, cb::C.into());
            csr.bus.store32(block + cb::LINK, link);
        }
        for (index, &(command, argument)) in commands.iter().enumerate() {
            let block = layout::block(index);
            let suspend = if index + 1 == commands.len() {
                cb::S
            } else {
                0
            };
            csr.bus.copy_in(block + cb::ARGUMENT, argument);
            set_status(csr, index, u32::from(command | suspend) << 16);
        }
        (self.next, self.clean) = (commands.len(), commands.len());
        (self.in_flight, self.told) = (0, 0);
        (self.suspending, self.lent) = (before(self.next), 0);
        csr.bus.fence();
        let first = csr.address(layout::block(0));
        csr.command_with(regs::CUC_START, first)?;
        for (index, &(command, _)) in commands.iter().enumerate() {
            let status = wait_for_block(csr, index).ok_or(Error::BlockTimeout { command })?;
            if status & cb::OK == 0 {
                return Err(Error::BlockTimeout { command });
            }
        }
        Ok(())
    }

    /// Puts a frame into the ring, without telling the card, if it is short and in one piece, there is
    /// room, and its buffer is held, which then is free. Otherwise does nothing.
    #[inline]
    pub fn queue_short<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frame: &Outgoing,
        buffers: &mut Buffers,
    ) -> bool {
        let &Outgoing {
            buffer, len, tail, ..
        } = frame;
        let is_short = len.wrapping_sub(1) < SHORT && tail.is_none();
        if !is_short || !self.has_block(csr, buffers) || buffers.small.put_back(buffer).is_err() {
            return false;
        }
        let block = layout::block(self.next);
        let counts = quad(NIL, cb::TRANSMIT_COUNTS | cb::EOF | len as u32);
        csr.bus.store_quads(block + cb::TBD_ARRAY, [counts]);
        // Always as much, for speed: what follows the frame in its buffer is not sent.
        csr.bus
            .copy_quads::<SHORT_QUADS>(data(buffer), block + cb::FRAME);
        self.finish(csr, cb::TRANSMIT);
        true
    }

    /// Whether there is a free block.
    #[inline]
    fn has_block<B: Bus>(&mut self, csr: &mut Csr<B>, buffers: &mut Buffers) -> bool {
        if self.in_flight >= CAPACITY {
            self.reclaim(csr, buffers);
        }
        self.in_flight < CAPACITY
    }

    /// Puts a frame, whose buffer was taken from the pool, into the ring, without telling the card.
    /// False if the ring is full.
    pub fn queue<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        frame: &Outgoing,
        buffers: &mut Buffers,
    ) -> bool {
        let &Outgoing {
            buffer, len, tail, ..
        } = frame;
        if !self.has_block(csr, buffers) {
            return false;
        }
        let block = layout::block(self.next);
        let array = csr.address(block + cb::TBDS);
        let counts = |tbds: u32| quad(array, cb::TRANSMIT_COUNTS | tbds << cb::TBD_COUNT_SHIFT);
        let (first, len) = (csr.address(data(buffer)), len as u32);
        let place = block + cb::TBD_ARRAY;
        match tail {
            None => {
                let first = quad(first, len | cb::TBD_EL);
                csr.bus.store_quads(place, [counts(1), first]);
            }
            Some(tail) => {
                // Below 4 GiB: the caller has looked.
                let second = quad(tail.address.0 as u32, tail.len as u32 | cb::TBD_EL);
                let quads = [counts(2), quad(first, len), second];
                csr.bus.store_quads(place, quads);
            }
        }
        self.lent |= 1 << self.next;
        buffers.small.enter_ring(buffer);
        self.buffers[self.next] = buffer;
        // SF because of the manual; QEMU looks at the TBD array address alone.
        self.finish(csr, cb::TRANSMIT | cb::SF);
        true
    }

    /// Makes the next block, which is filled, new.
    #[inline]
    fn finish<B: Bus>(&mut self, csr: &mut Csr<B>, command: u16) {
        // Each quarter of the ring asks for an interrupt; it is masked unless a sender waits.
        let interrupt = if self.next % SPACE == SPACE - 1 {
            cb::I
        } else {
            0
        };
        // The status is zeroed with it: QEMU keeps old bits when it completes the block.
        set_status(csr, self.next, u32::from(command | interrupt) << 16);
        self.next = (self.next + 1) % BLOCKS;
        self.in_flight += 1;
    }

    /// Tells the card of the new blocks: one RESUME.
    pub fn kick<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let new = self.in_flight - self.told;
        if new == 0 {
            return Ok(());
        }
        let newest = before(self.next);
        if newest != self.suspending {
            // 16 bits only: the card may be writing the status of the other beside it.
            let bus = &mut csr.bus;
            let command = layout::block(newest) + cb::COMMAND;
            let suspended = bus.load16(command) | cb::S;
            bus.store16(command, suspended);
            bus.fence();
            let command = layout::block(self.suspending) + cb::COMMAND;
            let resumed = bus.load16(command) & !cb::S;
            bus.store16(command, resumed);
            bus.fence();
            self.suspending = newest;
        }
        // On QEMU a batch of more than 16 needs as many commands as it has sixteens. On silicon
        // "active" means at work, and a RESUME then makes the card look at S once more when it
        // gets there, which does no harm. But without a new block, RESUME would be wrong: QEMU
        // would execute the old block that follows and send its frame again. Hence the look at C,
        // and that after the wait, during which the card may get so far by an earlier command.
        for _ in 0..new.div_ceil(QEMU_BLOCKS_PER_COMMAND) {
            csr.wait_for_command_byte()?;
            if is_complete(csr, newest) {
                break;
            }
            csr.issue(regs::CUC_RESUME);
            self.kicks += 1;
        }
        self.told = self.in_flight;
        Ok(())
    }

    /// Takes back the blocks that the card has completed.
    pub fn reclaim<B: Bus>(&mut self, csr: &mut Csr<B>, buffers: &mut Buffers) {
        // In the order of the ring: if the last that it was told of is complete, all are.
        let at = |ahead: usize| (self.clean + ahead) % BLOCKS;
        let complete = match self.told.checked_sub(1) {
            None => 0,
            Some(last) if is_complete(csr, at(last)) => self.told,
            Some(last) => (0..last)
                .take_while(|&ahead| is_complete(csr, at(ahead)))
                .count(),
        };
        let blocks = ((1 << complete) - 1_u32).rotate_left(self.clean as u32);
        let mut back = self.lent & blocks;
        while back != 0 {
            let buffer = self.buffers[back.trailing_zeros() as usize];
            buffers.small.leave_ring(buffer);
            back &= back - 1;
        }
        self.lent &= !blocks;
        self.clean = at(complete);
        self.in_flight -= complete;
        self.told -= complete;
        self.completed += complete as u64;
    }

    /// Whether there are so many free blocks that a sender is worth waking.
    pub fn has_room(&self) -> bool {
        CAPACITY - self.in_flight >= SPACE
    }

    /// Blocks in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

/// Where a buffer is in the arena: those of the pool are all small ones.
fn data(buffer: u16) -> usize {
    layout::FRAMES.transmit.start + usize::from(buffer) * layout::BUFFER
}

fn before(index: usize) -> usize {
    (index + BLOCKS - 1) % BLOCKS
}

/// Two words that follow each other.
fn quad(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

/// Writes a block's status, and in the upper half its command.
#[inline]
fn set_status<B: Bus>(csr: &mut Csr<B>, index: usize, word: u32) {
    csr.bus.store32(layout::block(index) + cb::STATUS, word);
}

#[inline]
fn status<B: Bus>(csr: &mut Csr<B>, index: usize) -> u16 {
    csr.bus.load16(layout::block(index) + cb::STATUS)
}

fn is_complete<B: Bus>(csr: &mut Csr<B>, index: usize) -> bool {
    status(csr, index) & cb::C != 0
}

/// The status of a set-up block once it is complete.
fn wait_for_block<B: Bus>(csr: &mut Csr<B>, index: usize) -> Option<u16> {
    for _ in 0..BLOCK_BOUND_US / POLL_US {
        let status = status(csr, index);
        if status & cb::C != 0 {
            return Some(status);
        }
        csr.bus.delay_us(POLL_US);
    }
    None
}
