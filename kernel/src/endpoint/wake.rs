//! Who hears of the next frame of a card.
//!
//! A sleeper that waits for frames must be told of the next one, and there are three who can notice it:
//! the owner, which looks for itself whenever it exchanges; the kernel, which looks at the ring while it
//! has nothing else to do; and the card, which interrupts if it was armed. To arm a card and to silence
//! it again costs more than most programs run for, so a card is armed only when nobody else will look.
//!
//! ```text
//!                        sleeps, and expects frames
//!             Owner ----------------------------------> Kernel <--------+
//!               ^                                       |  |  |         | silence; or sleeps, and
//!               |      poll found frames, or arm did    |  |  | arm     | expects frames
//!               +<--------------------------------------+  |  v         |
//!               |      arm, but the owner is awake         | Card ------+
//!               +<-----------------------------------------+  |
//!               |      interrupt; or sleeps for something else|
//!               +<--------------------------------------------+
//! ```
//!
//! An owner that is woken by something else changes nothing: whoever listened does so until it sleeps
//! again, or the card is armed. This is a card that one owner has. A card that is shared has no owner who
//! would look for all: it rests with the kernel where the other one rests with its owner.
//!
//! What must hold, and is explored in `tests.rs` in all interleavings of program, kernel and card:
//!
//! 1. A frame for a sleeper who expects frames is noticed: by an interrupt that is under way, or by the
//!    kernel, which does not halt with a card that it has to look at, but for the millisecond that a
//!    flood is left alone.
//! 2. Frames are put into an owner's exchange area only while it sleeps: otherwise it is writing there.
//! 3. While the kernel looks, the card does not interrupt for the same frames.

/// Who notices the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listener {
    /// The owner, which is awake, or sleeps for something else. It may have asked for a notification.
    Owner,
    /// The kernel. Somebody sleeps whom the card would not wake.
    Kernel,
    /// The card, which interrupts.
    Card,
}

/// A card and who has it, as this protocol needs them.
pub trait Ring {
    /// Whether somebody sleeps who expects frames with the wake-up.
    fn is_awaited(&self) -> bool;
    /// Whether frames have come: a look at memory.
    fn has_received(&mut self) -> bool;
    /// Has the card not interrupt for frames.
    fn silence(&mut self);
    /// Gives frames that have come to the sleepers that they are for. With `arm`, once there are none,
    /// the card interrupts for the next one; it looks once more after that, so none falls in between.
    fn give(&mut self, arm: bool) -> Given;
    /// Tells whom they are for; returns whether somebody woke.
    fn tell(&mut self) -> bool;
}

/// What has come of giving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Somebody got something, and is to be told.
    pub is_any: bool,
    /// The card interrupts for the next frame.
    pub is_armed: bool,
}

/// The state of a card's wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wake {
    listener: Listener,
    /// Who listens when nobody sleeps who expects frames.
    rest: Listener,
}

impl Wake {
    /// Of a card that one owner has.
    pub const fn whole() -> Self {
        Wake {
            listener: Listener::Owner,
            rest: Listener::Owner,
        }
    }

    /// Of a card that several share.
    pub const fn shared() -> Self {
        Wake {
            listener: Listener::Kernel,
            rest: Listener::Kernel,
        }
    }

    /// Whether the kernel must look at the card, or arm it, before it halts.
    #[inline]
    pub fn is_kernels(&self) -> bool {
        self.listener == Listener::Kernel
    }

    /// An owner goes to sleep. It `expects` frames if it has just exchanged, got none, and asked to be
    /// woken with them. Of a card that is shared: it expects some that are there already.
    #[inline]
    pub fn sleeps(&mut self, expects: bool) {
        match expects {
            true => self.listener = Listener::Kernel,
            false => self.rest(),
        }
    }

    /// Whoever listened has done so: the owner looks for itself again.
    fn rest(&mut self) {
        self.listener = self.rest;
    }

    /// The kernel will not look any more: the card shall interrupt, if somebody sleeps.
    pub fn arm(&mut self, ring: &mut dyn Ring) {
        if !self.is_kernels() {
            return;
        }
        if !ring.is_awaited() {
            self.rest();
            return;
        }
        let Given { is_any, is_armed } = ring.give(true);
        match is_armed {
            true => self.listener = Listener::Card,
            false => self.rest(),
        }
        if is_any {
            ring.tell();
        }
    }

    /// The kernel begins to look all the time, for those who sleep; returns whether anybody does. The
    /// card may have been armed for a wait before this one.
    pub fn silence(&mut self, ring: &mut dyn Ring) -> bool {
        let is_awaited = ring.is_awaited();
        if is_awaited {
            ring.silence();
            self.listener = Listener::Kernel;
        }
        is_awaited
    }

    /// The kernel looks; returns whether somebody woke.
    #[inline]
    pub fn poll(&mut self, ring: &mut dyn Ring) -> bool {
        let found = self.is_kernels() && ring.is_awaited() && ring.has_received();
        if !found || !ring.give(false).is_any {
            return false;
        }
        self.rest();
        ring.tell()
    }

    /// The card has interrupted, or had frames that nobody noticed; returns whether somebody woke.
    pub fn interrupt(&mut self, ring: &mut dyn Ring) -> bool {
        if ring.is_awaited() {
            ring.give(false);
        }
        self.rest();
        ring.tell()
    }
}

#[cfg(test)]
mod tests;
