//! What a driver must know of a chip, and what the two tell each other.

use crate::bus::Bus;
use crate::error::Error;
use crate::in_place::{FrameArea, Outgoing, Piece};
use crate::interface::Events;
use crate::refusals::Refusals;
use abi::nic::{Filters, Link};

/// Ticks without progress of a busy transmit ring before the card is reset.
const STUCK_TICKS: u32 = 3;

/// What only the driver of one kind of card knows.
///
/// Methods for work are called while the card runs and is sound, unless they say otherwise. Their errors
/// are what the hardware did, or what the calls of [`crate::Nic`] and [`crate::FrameBuffers`] name that
/// are made of them. One that [`Error::breaks_card`] ends all work until [`Chip::bring_up`] has
/// succeeded again.
pub trait Chip {
    /// How it reaches the world.
    type Bus: Bus;
    /// Whether it has a [`Chip::loop_back`].
    const HAS_LOOPBACK: bool = false;

    /// Its bus.
    fn bus(&mut self) -> &mut Self::Bus;

    /// Where its buffers are.
    fn frame_area(&self) -> &FrameArea;

    /// From any state to running, with empty rings, as is noted in [`Status::are_rings_laid`]. Buffers
    /// that somebody holds stay with their holder.
    fn bring_up(&mut self, status: &mut Status) -> Result<(), Error>;

    /// The same, but what is sent is received by the card itself, and not put on the wire.
    fn loop_back(&mut self, status: &mut Status) -> Result<(), Error> {
        let _ = status;
        Err(Error::Unsupported)
    }

    /// Ends the work of a card, as far as that goes without a reset.
    fn quiesce(&mut self);

    /// From any state to one without DMA and interrupts.
    fn halt(&mut self, status: &mut Status) -> Result<(), Error>;

    /// Frames in the rings, sent and received ones, which a reset will lose. In any state.
    fn in_rings(&mut self) -> (u64, u64);

    /// Takes all buffers of a halted card back: whoever held them is gone.
    fn forget(&mut self);

    /// Once a second: looks at the link, and after work that an interrupt should have announced. True
    /// if a transmit ring is stuck, by its [`Watchdog`].
    fn look_after(&mut self, status: &mut Status) -> Result<bool, Error>;

    /// The line that the card may share, or its only message, interrupts.
    fn on_interrupt(&mut self, status: &mut Status) -> Result<Option<Events>, Error>;

    /// A message of its own interrupts.
    fn on_vector(&mut self, vector: u16, status: &mut Status) -> Result<Option<Events>, Error> {
        let _ = vector;
        self.on_interrupt(status)
    }

    /// Chooses frames: for a card that `is_at_work` at once, for any other when it is brought up. True
    /// if this one must be brought up anew for it. In any state.
    fn set_filters(&mut self, filters: &Filters<'_>, is_at_work: bool) -> Result<bool, Error>;

    /// Adds up what the card has counted.
    fn harvest(&mut self) -> Result<(), Error>;

    /// Visits the counters of card and rings, and those of [`Status::counters`]. In any state.
    fn visit(&mut self, status: &Status, visit: &mut dyn FnMut(&str, u64));

    /// Gives buffers away. [`Chip::await_room`] follows if they are fewer than were asked for.
    fn take(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error>;

    /// Takes a buffer back that was given away. In any state.
    fn put_back(&mut self, buffer: u16) -> Result<(), Error>;

    /// Puts frames into the ring. [`Chip::await_room`] follows on [`Error::WouldBlock`].
    fn queue(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>);

    /// Tells the card of the frames in the ring.
    fn kick(&mut self) -> Result<(), Error>;

    /// A sender was refused for lack of room, and all frames are on their way. True if there is room by
    /// now; otherwise the card interrupts when there is.
    fn await_room(&mut self) -> Result<bool, Error>;

    /// Whether whatever has come interrupts, or has already, so that its reader may sleep without a
    /// look at the rings.
    fn will_interrupt(&mut self) -> bool {
        false
    }

    /// Lends received frames, if there are some; with `arm`, the card interrupts if there are no more.
    fn lend(&mut self, arm: bool, max: usize, take: &mut dyn FnMut(&Piece))
    -> Result<usize, Error>;

    /// A lent frame of `len` bytes, with this piece in it, was too long for its reader: it counts as
    /// dropped.
    fn count_unread(&mut self, piece: &Piece, len: usize);

    /// Takes lent buffers back. In any state.
    fn give_back(&mut self, buffers: &[u16]) -> Result<(), Error>;

    /// Has a card that ran out of buffers go on with those that were given back.
    fn go_on(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether something has come, by a look at memory alone.
    fn has_received(&mut self) -> bool;

    /// Silences what [`Chip::lend`] has armed.
    fn silence_receive(&mut self);
}

/// What chip and driver both know and change.
#[derive(Default)]
pub struct Status {
    /// The link, as last seen.
    pub link: Link,
    /// Events not yet told.
    pub pending: Events,
    /// What every card counts.
    pub counters: Counters,
    /// The rings hold frames that were not counted as lost.
    pub are_rings_laid: bool,
}

/// What every card counts.
#[derive(Default)]
pub struct Counters {
    /// Senders that found no room.
    pub tx_ring_full: u64,
    /// Frames that were given up by their sender.
    pub tx_dropped: u64,
    /// Frames that were refused, by reason.
    pub tx_refused: Refusals,
    /// What was in the rings at resets.
    pub tx_lost: u64,
    pub rx_lost: u64,
    /// Stuck transmit rings.
    pub tx_hangs: u64,
    pub link_changes: u64,
    pub resets: u64,
    /// Descriptors, or places in a ring, that cannot be.
    pub bad_descriptors: u64,
}

impl Status {
    /// Notes the link, and an event if it is another one.
    pub fn see_link(&mut self, link: Link) {
        if link != self.link {
            self.link = link;
            self.counters.link_changes += 1;
            self.pending |= Events::LINK;
        }
    }
}

/// Whether a transmit ring moves.
#[derive(Clone, Copy, Default)]
pub struct Watchdog {
    completed: u64,
    ticks: u32,
}

impl Watchdog {
    /// A ring of which so many frames were sent so far.
    pub fn new(completed: u64) -> Self {
        Watchdog {
            completed,
            ticks: 0,
        }
    }

    /// Once a second: whether a ring that `should_move` has stood for [`STUCK_TICKS`] of them.
    pub fn is_stuck(&mut self, should_move: bool, completed: u64) -> bool {
        let stands = should_move && completed == self.completed;
        self.ticks = if stands { self.ticks + 1 } else { 0 };
        self.completed = completed;
        self.ticks >= STUCK_TICKS
    }
}
