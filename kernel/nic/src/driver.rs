//! The driver of any card: what does not depend on the chip, written once.
//!
//! ```text
//!                  start                        breaks
//!     stopped ----------------> running, sound -------> running, broken: work fails with the fault
//!        ^                        |    ^                   |   |
//!        |          stop          |    `---- tick mends ---'   |
//!        `------------------------+----------------------------'
//! ```
//!
//! A [`Driver`] keeps that state, knows who has which buffer to send from, wakes senders that wait for
//! room, tells events, counts what every card counts, and copies frames for callers that want no buffers
//! of their own. A [`Chip`] knows registers, rings and descriptors of one kind of card. The driver asks it
//! for work only while the card runs and is sound.

use crate::bus::Bus;
use crate::chip::{Chip, Status};
use crate::error::Error;
use crate::in_place::{FrameArea, Outgoing, Piece, ReceiveInfo};
use crate::interface::{Events, Facts, FrameBuffers, Nic};
use crate::pool::Buffers;
use abi::nic::{Filters, Link, SendOptions};

/// Buffers that are out before it is worth a look which of them are free again.
const REUSED: usize = 64;

/// What a sender waits for.
#[derive(Clone, Copy)]
enum Wanted {
    /// Buffers for frames of that length.
    Buffers(usize),
    /// Room in the ring that refused its frame.
    Ring,
}

mod self_test;

/// The driver of a card with such a chip.
pub struct Driver<C> {
    chip: C,
    facts: Facts,
    area: FrameArea,
    buffers: Buffers,
    /// What the sender waits for that was refused last.
    wanted: Option<Wanted>,
    status: Status,
    running: bool,
    /// The rings hold frames that were not counted as lost.
    are_rings_laid: bool,
    /// What broke the card; `tick` tries to mend it.
    fault: Option<Error>,
}

impl<C: Chip> Driver<C> {
    /// The driver of a card that is halted, with its buffers there.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub(crate) fn stopped(
        chip: C,
        facts: Facts,
        area: FrameArea,
        link: Link,
    ) -> Result<Self, Error> {
        let status = Status {
            link,
            ..Status::default()
        };
        Ok(Driver {
            chip,
            facts,
            buffers: Buffers::new(area.memory)?,
            area,
            wanted: None,
            status,
            running: false,
            are_rings_laid: false,
            fault: None,
        })
    }

    /// What it reaches its card by.
    pub fn bus(&mut self) -> &mut C::Bus {
        self.chip.bus()
    }

    /// Refuses work while stopped or broken.
    #[inline]
    fn ready(&self) -> Result<(), Error> {
        match self.fault {
            _ if !self.running => Err(Error::Stopped),
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Remembers a breakdown, so that the next call fails at once instead of waiting again.
    #[inline]
    fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = result
            && error.breaks_card()
        {
            self.break_down(error);
        }
        result
    }

    #[cold]
    fn break_down(&mut self, error: Error) {
        self.count_lost();
        if self.fault.replace(error).is_none() {
            let lies = matches!(error, Error::BadDescriptor { .. } | Error::BadHead { .. });
            self.status.counters.bad_descriptors += u64::from(lies);
            self.status.link = Link::default();
            // All who wait for this card shall hear of it.
            self.status.pending |= Events::all();
        }
    }

    /// Resets a running card that does not work; what was in the rings is lost.
    #[cold]
    fn mend(&mut self) {
        self.count_lost();
        match self.bring_up(C::bring_up) {
            Ok(()) => {
                self.fault = None;
                self.status.pending |= Events::all();
            }
            Err(error) => self.break_down(error),
        }
    }

    /// Has the chip bring itself up, with empty rings.
    fn bring_up(&mut self, by: fn(&mut C, &mut Status) -> Result<(), Error>) -> Result<(), Error> {
        self.wanted = None;
        self.buffers.empty_rings();
        by(&mut self.chip, &mut self.status)?;
        self.are_rings_laid = true;
        Ok(())
    }

    fn halt(&mut self) -> Result<(), Error> {
        if self.ready().is_ok() {
            self.chip.quiesce();
        }
        self.count_lost();
        self.running = false;
        self.status.pending = Events::empty();
        self.chip.halt(&mut self.status)
    }

    /// Counts the frames in the rings, which a reset follows: once, however often that is tried.
    fn count_lost(&mut self) {
        if core::mem::take(&mut self.are_rings_laid) {
            self.chip.reclaim(&mut self.buffers);
            let (sent, received) = self.chip.in_rings();
            self.status.counters.tx_lost += sent;
            self.status.counters.rx_lost += received;
        }
    }

    /// Copies a frame that begins with this piece.
    fn copy_frame(
        &mut self,
        mut piece: Piece,
        into: &mut [u8],
    ) -> Result<(usize, ReceiveInfo), Error> {
        let mut len = 0;
        loop {
            let room = into.get_mut(len..len + piece.len);
            let fits = room.is_some();
            if let Some(room) = room {
                self.read_received(piece.offset, room);
            }
            len += piece.len;
            self.return_buffer(piece.buffer)?;
            if piece.more {
                piece = self.receive_piece(false)?;
            } else if fits {
                return Ok((len, piece.info));
            } else {
                self.status.counters.rx_unread += 1;
                self.status.counters.rx_unread_octets += len as u64;
                return Err(Error::BufferTooSmall { len });
            }
        }
    }

    /// Looks after a running card; whether it is stuck.
    fn look_after(&mut self) -> Result<bool, Error> {
        self.chip.look_after(&mut self.status)?;
        self.chip.kick()?;
        self.chip.reclaim(&mut self.buffers);
        self.look_for_room();
        Ok(self.chip.is_stuck(self.status.link.up))
    }

    /// A sender finds no room: has all that is queued sent, and sees to the event.
    fn want_room(&mut self, wanted: Wanted) -> Result<(), Error> {
        self.status.counters.tx_ring_full += 1;
        self.chip.kick()?;
        self.wanted = Some(wanted);
        self.await_room()
    }

    /// Tells a sender that waits of room, or has the card interrupt when there may be some.
    fn await_room(&mut self) -> Result<(), Error> {
        self.look_for_room();
        if self.wanted.is_some() {
            self.chip.arm_transmit()?;
            self.look_for_room();
        }
        Ok(())
    }

    /// Tells a sender that waits if there is room for it: a quarter of what there is, since a wake-up is
    /// worth it for that.
    fn look_for_room(&mut self) {
        let Some(wanted) = self.wanted else {
            return;
        };
        self.chip.reclaim(&mut self.buffers);
        let ring = self.facts.transmit_ring;
        let has_room = match wanted {
            Wanted::Ring => self.chip.has_room(&mut self.buffers),
            Wanted::Buffers(len) => self.buffers.that_hold(len).is_ok_and(|pool| {
                let quarter = pool.capacity().min(ring) / 4;
                pool.free_count() >= quarter.max(1)
            }),
        };
        // With nothing in flight no more comes free but what the sender holds itself.
        if has_room || self.chip.is_idle() {
            self.wanted = None;
            self.chip.silence_transmit();
            self.status.pending |= Events::TRANSMIT_SPACE;
        }
    }

    /// Why a sender is refused, which is counted.
    #[cold]
    fn refused(&mut self, mut error: Error) -> Error {
        if matches!(error, Error::WouldBlock)
            && let Err(worse) = self.want_room(Wanted::Ring)
        {
            error = worse;
        }
        self.status.counters.tx_refused.note(&error);
        if error.breaks_card() {
            self.break_down(error);
        }
        error
    }
}

impl<C: Chip> FrameBuffers for Driver<C> {
    fn frame_area(&self) -> FrameArea {
        self.area.clone()
    }

    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        self.ready()?;
        let pool = match self.buffers.that_hold(len) {
            Ok(pool) => pool,
            Err(error) => return Err(self.refused(error)),
        };
        // Those that were in use a moment ago are at hand in the processor's caches.
        let (free, all) = (pool.free_count(), pool.capacity());
        if free < into.len() || free + REUSED < all {
            self.chip.reclaim(&mut self.buffers);
        }
        let taken = self.buffers.that_hold(len)?.take_all(into);
        if taken < into.len()
            && let Err(error) = self.want_room(Wanted::Buffers(len))
        {
            return Err(self.refused(error));
        }
        Ok(taken)
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.buffers.of(buffer).put_back(buffer)
    }

    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.put_back(buffer)?;
        self.status.counters.tx_dropped += 1;
        Ok(())
    }

    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>) {
        if let Err(error) = self.ready() {
            return (0, Err(self.refused(error)));
        }
        let (sent, result) = self.chip.queue(frames, &mut self.buffers);
        (sent, result.map_err(|error| self.refused(error)))
    }

    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        self.ready()?;
        if arm && self.chip.will_interrupt() {
            // To look for it would touch all rings, and leave an interrupt that is about nothing.
            return Ok(0);
        }
        let result = self.chip.lend(arm, max, take);
        self.note(result)
    }

    fn return_buffers(&mut self, buffers: &[u16]) -> Result<(), Error> {
        let is_at_work = self.ready().is_ok();
        let result = self.chip.give_back(buffers, is_at_work);
        self.note(result)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.ready()?;
        let result = self.chip.kick();
        self.note(result)
    }

    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]) {
        if let Some((offset, room)) = self.area.buffer(buffer) {
            let len = bytes.len().min(room);
            self.chip.bus().copy_in(offset, &bytes[..len]);
        }
    }

    fn read_received(&mut self, offset: usize, into: &mut [u8]) {
        let start = self.area.receive.start + offset;
        self.chip.bus().copy_out(start, into);
    }
}

impl<C: Chip> Nic for Driver<C> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn state(&self) -> Result<Link, Error> {
        self.fault.map_or(Ok(self.status.link), Err)
    }

    fn start(&mut self) -> Result<(), Error> {
        let stopped = self.halt();
        self.fault = None;
        // The last owner is gone, and what is in the buffers that it held was its own.
        self.chip.forget();
        self.buffers.refill();
        let cleared = stopped.map(|()| self.area.clear(self.chip.bus()));
        if let Err(error) = cleared.and_then(|()| self.bring_up(C::bring_up)) {
            self.stop();
            return Err(error);
        }
        self.running = true;
        Ok(())
    }

    fn stop(&mut self) {
        // A card that does not come out of reset cannot be helped here; `start` reports it.
        let _ = self.halt();
    }

    fn send(&mut self, frame: &[u8], options: &SendOptions, more: bool) -> Result<(), Error> {
        let buffer = self.take_buffer(frame.len())?;
        self.fill_buffer(buffer, frame);
        if let Err(error) = self.send_buffer(buffer, frame.len(), None, options) {
            // The caller still has the frame, and is told: it is refused, not dropped.
            self.put_back(buffer)?;
            return Err(error);
        }
        if more { Ok(()) } else { self.flush() }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, ReceiveInfo), Error> {
        self.ready()?;
        // If the card will interrupt, too: who asks for a frame gets it if it is there.
        let mut first = None;
        let result = self.chip.lend(true, 1, &mut |piece| first = Some(*piece));
        self.note(result)?;
        self.copy_frame(first.ok_or(Error::WouldBlock)?, buffer)
    }

    fn has_received(&mut self) -> bool {
        self.ready().is_ok() && self.chip.has_received()
    }

    fn silence_receive(&mut self) {
        if self.ready().is_ok() {
            self.chip.silence_receive();
        }
    }

    fn on_interrupt(&mut self, message: Option<u16>) -> Option<Events> {
        if !self.running {
            // A stopped card is masked, and asks for nothing on its own behalf.
            let _ = self.chip.attend(false);
        }
        self.ready().ok()?;
        let result = self.chip.on_interrupt(message, &mut self.status);
        let mut events = match self.note(result) {
            Ok(events) => events?,
            Err(_) => Events::empty(),
        };
        if events.contains(Events::TRANSMIT_SPACE) {
            events -= Events::TRANSMIT_SPACE;
            let result = self.await_room();
            // The event tells of an error, too.
            let _ = self.note(result);
        }
        Some(events | self.take_events())
    }

    fn tick(&mut self) -> Events {
        if self.running && self.fault.is_some() {
            self.mend();
        } else if self.running {
            let result = self.look_after();
            // An error is kept in `fault`, told by the next call, and mended at the next tick.
            if let Ok(true) = self.note(result) {
                self.status.counters.tx_hangs += 1;
                self.mend();
            }
        } else {
            // What is wrong with a stopped card, `start` reports.
            let _ = self.chip.attend(true);
        }
        self.take_events()
    }

    fn dma_stopped(&mut self) {
        if self.running {
            self.break_down(Error::DmaStopped);
        }
    }

    fn take_events(&mut self) -> Events {
        core::mem::take(&mut self.status.pending)
    }

    fn set_filters(&mut self, filters: &Filters<'_>) -> Result<(), Error> {
        let is_at_work = self.ready().is_ok();
        if self.chip.set_filters(filters, is_at_work)? && is_at_work {
            self.mend();
        }
        Ok(())
    }

    fn self_test(&mut self) -> Result<(), Error> {
        self.test_loopback()
    }

    fn statistics(&mut self, visit: &mut dyn FnMut(&str, u64)) {
        if self.ready().is_ok() {
            let result = self.chip.harvest();
            // The sums so far are still worth telling.
            let _ = self.note(result);
        }
        self.chip.visit(&self.status.counters, visit);
        self.status.counters.visit(visit);
    }
}
