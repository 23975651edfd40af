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
//! A [`Driver`] keeps that state, tells events, counts what every card counts, and copies frames for
//! callers that want no buffers of their own. It has all of that from a [`Chip`], which knows
//! registers, rings and descriptors of one kind of card, and which is asked for work only while it
//! runs and is sound.

use crate::bus::Bus;
use crate::chip::{Chip, Status};
use crate::error::Error;
use crate::in_place::{FrameArea, Outgoing, Piece, ReceiveInfo};
use crate::interface::{Events, Facts, FrameBuffers, Nic};
use crate::reserve;
use abi::nic::{Filters, Link, SendOptions};

/// Bound of the wait for a frame that the card sends to itself, and of one between two looks.
const LOOPBACK_US: u32 = 100_000;
const POLL_US: u32 = 1_000;
/// EtherType for experiments (IEEE 802, local experimental 1).
const ETHERTYPE_EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// The driver of a card with such a chip.
pub struct Driver<C> {
    chip: C,
    facts: Facts,
    status: Status,
    running: bool,
    /// What broke the card; `tick` tries to mend it.
    fault: Option<Error>,
}

impl<C: Chip> Driver<C> {
    /// The driver of a card that is halted.
    pub(crate) fn stopped(chip: C, facts: Facts, link: Link) -> Self {
        Driver {
            chip,
            facts,
            status: Status {
                link,
                ..Status::default()
            },
            running: false,
            fault: None,
        }
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
            // Whoever waits for this card shall hear of it.
            self.status.pending |= Events::all();
        }
    }

    /// Resets a running card that does not work; what was in the rings is lost.
    #[cold]
    fn mend(&mut self) {
        self.count_lost();
        match self.chip.bring_up(&mut self.status) {
            Ok(()) => {
                self.fault = None;
                self.status.pending |= Events::all();
            }
            Err(error) => self.break_down(error),
        }
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
        if core::mem::take(&mut self.status.are_rings_laid) {
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
                self.chip.count_unread(&piece, len);
                return Err(Error::BufferTooSmall { len });
            }
        }
    }

    /// Has the card, in loopback, send a frame to itself.
    fn send_to_itself(&mut self, len: usize) -> Result<(), Error> {
        let mut frame = reserve::filled(0, len)?;
        for (index, byte) in frame.iter_mut().enumerate() {
            *byte = (index * 7 + index / 256) as u8;
        }
        frame[..6].copy_from_slice(&self.mac());
        frame[6..12].copy_from_slice(&self.mac());
        frame[12..14].copy_from_slice(&ETHERTYPE_EXPERIMENT);
        self.send(&frame, &SendOptions::default(), false)?;
        let mut received = reserve::filled(0, self.frame_max())?;
        for _ in 0..LOOPBACK_US / POLL_US {
            match self.receive_piece(false) {
                Err(Error::WouldBlock) => self.chip.bus().delay_us(POLL_US),
                first => {
                    // Else it is somebody else's, or its own but spoilt.
                    let (len, _) = self.copy_frame(first?, &mut received)?;
                    if received[..len] == frame[..] {
                        return Ok(());
                    }
                }
            }
        }
        Err(Error::SelfTest)
    }

    /// What an interrupt brought, with what was found before; `None` if the card did not ask.
    fn interrupted(&mut self, result: Result<Option<Events>, Error>) -> Option<Events> {
        match self.note(result) {
            Ok(events) => events.map(|events| events | self.take_events()),
            Err(_) => Some(self.take_events()),
        }
    }

    /// A sender finds no room: has all that is queued sent, and sees to the event.
    fn want_room(&mut self) -> Result<(), Error> {
        self.status.counters.tx_ring_full += 1;
        self.chip.kick()?;
        if self.chip.await_room()? {
            self.status.pending |= Events::TRANSMIT_SPACE;
        }
        Ok(())
    }

    /// Why a sender is refused, which is counted.
    #[cold]
    fn refused(&mut self, mut error: Error) -> Error {
        if matches!(error, Error::WouldBlock)
            && let Err(worse) = self.want_room()
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
        self.chip.frame_area().clone()
    }

    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        self.ready()?;
        let taken = self.chip.take(len, into);
        let taken = taken.map_err(|error| self.refused(error))?;
        if taken < into.len()
            && let Err(error) = self.want_room()
        {
            return Err(self.refused(error));
        }
        Ok(taken)
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.chip.put_back(buffer)
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
        let (sent, result) = self.chip.queue(frames);
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
        let returned = self.chip.give_back(buffers);
        if self.ready().is_ok() {
            let result = self.chip.go_on();
            self.note(result)?;
        }
        returned
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.ready()?;
        let result = self.chip.kick();
        self.note(result)
    }

    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]) {
        if let Some((offset, room)) = self.chip.frame_area().buffer(buffer) {
            let len = bytes.len().min(room);
            self.chip.bus().copy_in(offset, &bytes[..len]);
        }
    }

    fn read_received(&mut self, offset: usize, into: &mut [u8]) {
        let start = self.chip.frame_area().receive.start + offset;
        self.chip.bus().copy_out(start, into);
    }
}

impl<C: Chip> Nic for Driver<C> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn link(&self) -> Link {
        self.status.link
    }

    fn fault(&self) -> Option<Error> {
        self.fault
    }

    fn start(&mut self) -> Result<(), Error> {
        let stopped = self.halt();
        self.fault = None;
        // Whoever has buffers is gone, and what is in them was theirs.
        self.chip.forget();
        let frames = self.chip.frame_area().clone();
        let cleared = stopped.map(|()| frames.clear(self.chip.bus()));
        if let Err(error) = cleared.and_then(|()| self.chip.bring_up(&mut self.status)) {
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

    fn on_interrupt(&mut self) -> Option<Events> {
        // A stopped card is masked: it does not ask, and no register needs to be read.
        self.ready().ok()?;
        let result = self.chip.on_interrupt(&mut self.status);
        self.interrupted(result)
    }

    fn on_vector(&mut self, vector: u16) -> Option<Events> {
        self.ready().ok()?;
        let result = self.chip.on_vector(vector, &mut self.status);
        self.interrupted(result)
    }

    fn tick(&mut self) -> Events {
        if self.running && self.fault.is_some() {
            self.mend();
        } else if self.running {
            let result = self.chip.look_after(&mut self.status);
            // An error is kept in `fault`, told by the next call, and mended at the next tick.
            if let Ok(true) = self.note(result) {
                self.status.counters.tx_hangs += 1;
                self.mend();
            }
        }
        self.take_events()
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
        if !C::HAS_LOOPBACK {
            return Err(Error::Unsupported);
        }
        self.stop();
        self.fault = None;
        let result = self.chip.loop_back(&mut self.status).and_then(|()| {
            self.running = true;
            self.send_to_itself(60)?;
            self.send_to_itself(self.frame_max())
        });
        // The driver has counted its frames too. Without the card's, the sums are right so far.
        let _ = self.chip.harvest();
        // Not as a sound card, which would keep its link.
        (self.running, self.fault) = (false, None);
        self.stop();
        result
    }

    fn statistics(&mut self, visit: &mut dyn FnMut(&str, u64)) {
        if self.ready().is_ok() {
            let result = self.chip.harvest();
            // The sums so far are still worth telling.
            let _ = self.note(result);
        }
        self.chip.visit(&self.status, visit);
    }
}
