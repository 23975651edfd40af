//! The receiving half: frames are taken one by one, or looked at ahead, where the card has put them.
#![allow(unsafe_code)]

use super::{Incoming, OWED, Receiving};
use abi::exchange::{self, Received};

impl Receiving {
    pub(super) fn ask(&mut self, wanted: usize, arm: bool) {
        let returned = self.returned.len().min(exchange::RETURNS_MAX);
        for (index, &buffer) in self.returned.iter().take(returned).enumerate() {
            self.area.write(exchange::return_at(index), [buffer.into()]);
        }
        match returned == self.returned.len() {
            true => self.returned.clear(),
            false => drop(self.returned.drain(..returned)),
        }
        // What was brought must be taken before it is overwritten.
        let (wanted, woken) = match self.has_frame() {
            true => (0, 0),
            false => (wanted as u32, exchange::RECEIVED_MAX as u32),
        };
        self.area.write(exchange::RETURN_COUNT, [returned as u32]);
        self.area
            .write(exchange::RECEIVE_WANTED, [wanted, arm.into(), woken]);
        self.area.write(exchange::RECEIVED, [0, 0]);
    }

    pub(super) fn done(&mut self) {
        let [wanted, arm, woken] = self.area.read(exchange::RECEIVE_WANTED);
        let [received, came] = self.area.read(exchange::RECEIVED);
        let (wanted, arm) = match came {
            0 => (wanted, arm != 0),
            _ => (woken, false),
        };
        if wanted > 0 {
            let count = received.min(wanted);
            self.dry = count < wanted;
            self.armed = self.dry && arm;
            (self.brought, self.taken) = (count as usize, 0);
        } else if came != 0 {
            self.look_again();
        }
    }

    /// Whether there may be frames at the card that [`super::Mapped::exchange`] would bring.
    pub fn may_have_more(&self) -> bool {
        !self.dry
    }

    /// The wake-up has come, and with it something to look for.
    pub fn look_again(&mut self) {
        self.dry = false;
        self.armed = false;
    }

    /// Whether a wake-up follows when a frame comes.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether so many buffers are to be given back that it is worth an exchange.
    pub fn owes_many(&self) -> bool {
        self.returned.len() >= OWED
    }

    /// Whether frames wait here to be taken by [`Receiving::take`].
    #[inline]
    pub fn has_frame(&self) -> bool {
        self.taken < self.brought
    }

    /// How many frames, or pieces of such, wait here.
    #[inline]
    pub fn count(&self) -> usize {
        self.brought - self.taken
    }

    /// A frame that waits here, by its place among them, and its bytes. `None` if there are
    /// not so many, or if it came in pieces: those are put together when they are taken.
    #[inline(always)]
    pub fn see(&self, index: usize) -> Option<(Received, &[u8])> {
        let at = self.taken + index;
        if at >= self.brought || self.is_half {
            return None;
        }
        let received = Received::from_words(self.area.read(exchange::received_at(at)));
        let is_whole = self.is_inside(&received) && !received.more && !received.continues;
        is_whole.then(|| (received, self.slice(&received)))
    }

    /// Gives back the buffer of the first frame that waits here, which was seen; one that could
    /// not be stays.
    #[inline]
    pub fn skip(&mut self) {
        if !self.has_frame() || self.is_half {
            return;
        }
        let [first] = self.area.read(exchange::received_at(self.taken));
        let Received { buffer, more, .. } = Received::from_words([first, 0, 0, 0]);
        if !more {
            self.taken += 1;
            self.returned.push(buffer);
        }
    }

    /// Whether a piece lies where frames are received. The kernel does not say others.
    fn is_inside(&self, piece: &Received) -> bool {
        let end = (piece.offset as usize).checked_add(piece.len as usize);
        end.is_some_and(|end| end <= self.len)
    }

    /// The next frame that was brought.
    #[inline]
    pub fn take(&mut self) -> Option<Incoming> {
        while self.has_frame() {
            let words = self.area.read(exchange::received_at(self.taken));
            self.taken += 1;
            let received = Received::from_words(words);
            if !self.is_inside(&received) {
                self.refused += 1;
                continue;
            }
            if received.more || received.continues || self.is_half {
                if let Some(whole) = self.assemble(received) {
                    return Some(whole);
                }
                continue;
            }
            return Some(Incoming {
                received,
                is_assembled: false,
            });
        }
        None
    }

    /// How many pieces made no sense, or had lost the rest of their frame, and were not taken.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Puts a frame together, piece by piece. `None` if its end has not come, or if it has no
    /// beginning: a reset of the card may take the rest of a frame away.
    #[cold]
    fn assemble(&mut self, received: Received) -> Option<Incoming> {
        let mut whole = core::mem::take(&mut self.assembled);
        if received.continues != self.is_half {
            self.refused += 1;
        }
        if !received.continues {
            whole.clear();
        } else if !self.is_half {
            self.returned.push(received.buffer);
            self.assembled = whole;
            return None;
        }
        let piece = Incoming {
            received,
            is_assembled: false,
        };
        whole.extend_from_slice(self.bytes(&piece));
        self.give_back(piece);
        self.is_half = received.more;
        let received = Received {
            len: whole.len() as u32,
            ..received
        };
        self.assembled = whole;
        (!self.is_half).then_some(Incoming {
            received,
            is_assembled: true,
        })
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self, frame: &Incoming) -> &[u8] {
        let received = &frame.received;
        match frame.is_assembled {
            true => self.assembled.get(..received.len as usize),
            false => Some(self.slice(received)),
        }
        .unwrap_or_default()
    }

    /// The bytes of a piece that waits here, or that a token holds; it was found inside.
    fn slice(&self, piece: &Received) -> &[u8] {
        // SAFETY: inside the mapped range, which `see` and `take` have checked. The buffer is this
        // process's while the piece waits or its token lives, so neither the card nor anybody
        // else writes to it; it is given back by what wants this exclusively.
        unsafe {
            let start = self.start.add(piece.offset as usize);
            core::slice::from_raw_parts(start.as_ptr(), piece.len as usize)
        }
    }

    /// Gives the frame's buffer back to the card, by the next exchange.
    #[inline]
    pub fn give_back(&mut self, frame: Incoming) {
        if !frame.is_assembled {
            self.returned.push(frame.received.buffer);
        }
    }
}
