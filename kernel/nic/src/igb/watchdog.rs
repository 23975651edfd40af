//! What `tick` does: looks for work that was overlooked, and mends what is broken.

use super::Igb;
use crate::{Bus, Error, Events, Link};

/// Ticks without progress of a busy transmit queue before the card is reset.
const STUCK_TICKS: u32 = 3;
/// Ticks between two harvests of the counters, of which the fastest overflows in 48 minutes.
const HARVEST_TICKS: u32 = 60;

impl<B: Bus> Igb<B> {
    /// Remembers a breakdown, so that all work ends until the card is reset.
    pub(super) fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(
            error @ (Error::DeviceGone | Error::BadDescriptor { .. } | Error::BadHead { .. }),
        ) = result
        {
            self.break_down(error);
        }
        result
    }

    fn break_down(&mut self, error: Error) {
        self.count_lost();
        if self.fault.replace(error).is_none() {
            let lies = matches!(error, Error::BadDescriptor { .. } | Error::BadHead { .. });
            self.counters.bad_descriptors += u64::from(lies);
            self.link = Link::default();
            // Whoever waits for this card shall hear of it.
            self.pending |= Events::all();
        }
    }

    /// Resets a running card that does not work; what was in the rings is lost.
    pub(super) fn mend(&mut self) {
        self.count_lost();
        match self.bring_up(false) {
            Ok(()) => {
                self.fault = None;
                self.pending |= Events::all();
            }
            Err(error) => self.break_down(error),
        }
    }

    /// Once a second, of a card that works.
    pub(super) fn look_after(&mut self) -> Result<(), Error> {
        self.look_at_link()?;
        for queue in &self.receive {
            queue.check(&mut self.chip)?;
        }
        for queue in &self.transmit {
            queue.check(&mut self.chip)?;
        }
        for (number, queue) in self.receive.iter_mut().enumerate() {
            if self.interrupts.is_armed(number) && queue.has_frame(&mut self.chip) {
                self.interrupts.silence(&mut self.chip, number);
                self.pending |= Events::RECEIVE;
            }
        }
        self.kick();
        self.reclaim();
        if self.has_space() {
            self.pending |= Events::TRANSMIT_SPACE;
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(HARVEST_TICKS) {
            self.statistics.harvest(&mut self.chip)?;
        }
        if self.is_hung() {
            self.counters.tx_hangs += 1;
            self.mend();
        }
        Ok(())
    }

    /// Whether a transmit queue has work and does none. Without a link the card may rightly hold
    /// its frames back.
    fn is_hung(&mut self) -> bool {
        let mut hung = false;
        for ((last, ticks), queue) in self.last_completed.iter_mut().zip(&self.transmit) {
            let completed = queue.counters.completed;
            let stands = queue.is_busy() && self.link.up && completed == *last;
            *ticks = if stands { *ticks + 1 } else { 0 };
            *last = completed;
            hung |= *ticks >= STUCK_TICKS;
        }
        hung
    }
}
