//! What a driver must know of a chip, and what the two tell each other.

use crate::bus::Bus;
use crate::error::Error;
use crate::in_place::{Outgoing, Piece};
use crate::interface::Events;
use crate::pool::Buffers;
use crate::refusals::Refusals;
use abi::nic::{Filters, Link};

/// Ticks without progress of a busy transmit ring before the card is reset.
const STUCK_TICKS: u32 = 3;

/// What only the driver of one kind of card knows.
///
/// The driver calls these methods while the card runs and is sound, unless they say otherwise. Their
/// errors are what the hardware did, or those that the calls of [`crate::Nic`] and
/// [`crate::FrameBuffers`] name that are made of them. After one that [`Error::breaks_card`] no work is
/// done until [`Chip::bring_up`] has succeeded again.
pub trait Chip {
    /// How the chip reaches the world.
    type Bus: Bus;

    /// The chip's bus.
    fn bus(&mut self) -> &mut Self::Bus;

    /// From any state to running, with empty rings. Received buffers that somebody holds stay with
    /// their holder.
    fn bring_up(&mut self, status: &mut Status) -> Result<(), Error>;

    /// The same, but the card receives what it sends, and puts nothing on the wire.
    fn loop_back(&mut self, status: &mut Status) -> Result<(), Error> {
        let _ = status;
        Err(Error::Unsupported)
    }

    /// Ends the work of the card, as far as that goes without a reset.
    fn quiesce(&mut self);

    /// From any state to one without DMA and interrupts.
    fn halt(&mut self, status: &mut Status) -> Result<(), Error>;

    /// How many frames are in the rings, sent and received ones, which a reset will lose. In any state.
    fn in_rings(&mut self) -> (u64, u64);

    /// Takes all received buffers of a halted card back: whoever held them is gone.
    fn forget(&mut self);

    /// Once a second: looks at the link, and whether frames have come that an interrupt should have
    /// announced.
    fn look_after(&mut self, status: &mut Status) -> Result<(), Error>;

    /// Once a second: whether a transmit ring is stuck, by its [`Watchdog`].
    fn is_stuck(&mut self, has_link: bool) -> bool;

    /// The card interrupts: by this one of its messages, or by the line that it may share. `None` if the
    /// card did not ask for attention. [`Events::TRANSMIT_SPACE`] means that the card has sent frames.
    fn on_interrupt(
        &mut self,
        message: Option<u16>,
        status: &mut Status,
    ) -> Result<Option<Events>, Error>;

    /// While the card is stopped: it has interrupted, or a second is over. Serves what goes on without its
    /// owner: other functions of the card.
    fn attend(&mut self, is_tick: bool) -> Result<(), Error> {
        let _ = is_tick;
        Ok(())
    }

    /// Chooses frames: at once for a card that `is_at_work`, and otherwise when it is brought up. True
    /// if this card must be brought up anew for it. In any state.
    fn set_filters(&mut self, filters: &Filters<'_>, is_at_work: bool) -> Result<bool, Error>;

    /// Adds up what the card has counted.
    fn harvest(&mut self) -> Result<(), Error>;

    /// Visits the counters of the card and of its rings, which do not know what became of the frames
    /// that they handed over. In any state.
    fn visit(&mut self, common: &Counters, visit: &mut dyn FnMut(&str, u64));

    /// Puts frames into the ring, in order, until one fails, and notes their buffers as being there.
    /// Returns how many frames there were, and why the next was refused.
    fn queue(&mut self, frames: &[Outgoing], buffers: &mut Buffers) -> (usize, Result<(), Error>);

    /// Tells the card of the frames in the ring.
    fn kick(&mut self) -> Result<(), Error>;

    /// Takes frames that were sent out of the ring, and their buffers back. In any state.
    fn reclaim(&mut self, buffers: &mut Buffers);

    /// Whether no frame is in a transmit ring.
    fn is_idle(&self) -> bool;

    /// Whether the ring that refused a frame last has so much room again that it is worth waking the
    /// sender.
    fn has_room(&self, buffers: &mut Buffers) -> bool;

    /// Has the card interrupt, once, when it has sent some of the frames that it was told of.
    fn arm_transmit(&mut self) -> Result<(), Error>;

    /// Nobody waits any more for what [`Chip::arm_transmit`] has asked for. The interrupt may come all the
    /// same.
    fn silence_transmit(&mut self) {}

    /// Whether whatever has come interrupts, or has already, so that the reader may sleep without a
    /// look at the rings.
    fn will_interrupt(&mut self) -> bool {
        false
    }

    /// Lends received frames, if there are some; with `arm`, the card interrupts if there are no more.
    fn lend(&mut self, arm: bool, max: usize, take: &mut dyn FnMut(&Piece))
    -> Result<usize, Error>;

    /// Takes lent buffers back. In any state; a card that `is_at_work` goes on if it ran out of them.
    fn give_back(&mut self, buffers: &[u16], is_at_work: bool) -> Result<(), Error>;

    /// Whether something has come, by a look at memory alone.
    fn has_received(&mut self) -> bool;

    /// Takes back that [`Chip::lend`] has armed the interrupt.
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
    /// Frames, and their bytes, that the rings handed over, but that were too long for their reader.
    pub rx_unread: u64,
    pub rx_unread_octets: u64,
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

impl Counters {
    /// Visits the counters by name.
    pub fn visit(&self, visit: &mut dyn FnMut(&str, u64)) {
        for (name, value) in [
            ("tx_ring_full", self.tx_ring_full),
            ("tx_dropped", self.tx_dropped),
            ("tx_lost_in_reset", self.tx_lost),
            ("tx_hangs", self.tx_hangs),
            ("rx_dropped_small_buffer", self.rx_unread),
            ("rx_lost_in_reset", self.rx_lost),
            ("link_changes", self.link_changes),
            ("resets", self.resets),
            ("bad_descriptors", self.bad_descriptors),
        ] {
            visit(name, value);
        }
        self.tx_refused.visit(visit);
    }
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
    /// The watchdog of a ring of which so many frames were sent so far.
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
