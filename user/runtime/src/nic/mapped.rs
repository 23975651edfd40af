//! A card's frames in place: built where the card sends them from, parsed where it put them.
//!
//! What is unsafe here is one thing: memory that the card and this process share is seen as
//! slices. It is sound because a buffer has one holder. The kernel gives each to this process
//! at most once until it was given back ([`abi::exchange`]); here it becomes a token that
//! cannot be copied, and only the token makes a slice.
//!
//! The exchange area is no third copy of what is said: frames to send are written into it when
//! they are queued, and received ones read from it when they are taken.
#![allow(unsafe_code)]

use super::{Card, FrameMemory, SendOptions};
use crate::ipc::{Event, Inbox};
use crate::{Error, Result, sys};
use abi::exchange::{self, Received, Send, WORDS};
use abi::layout::nic_window;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ptr::NonNull;

/// Buffers to send from that are kept at hand, small and large; but no more than half of the small.
const AT_HAND: (usize, usize) = (exchange::SENDS_MAX, 4);

/// Buffers to be given back that are worth an exchange for their own sake.
const OWED: usize = 32;

/// An attached card whose buffers are shown to this process.
pub struct Mapped {
    card: Card,
    area: Area,
    /// What it has received.
    pub receiving: Receiving,
    /// What it shall send.
    pub sending: Sending,
}

// SAFETY: what it points to is mapped in the whole process, which has one thread; the promise is
// for statics, which want it.
unsafe impl core::marker::Send for Mapped {}

/// The exchange area, of which each half of a card touches its own words.
#[derive(Clone, Copy)]
struct Area(NonNull<[u32; WORDS]>);

impl Area {
    /// The words from `first` on.
    #[inline]
    fn read<const N: usize>(self, first: usize) -> [u32; N] {
        assert!(first + N <= WORDS);
        // SAFETY: inside the area, which is mapped for as long as the card is attached. No
        // reference to it exists outside of `Mapped::hand_over`.
        unsafe { self.0.cast::<u32>().add(first).cast::<[u32; N]>().read() }
    }

    /// Writes the words from `first` on.
    #[inline]
    fn write<const N: usize>(self, first: usize, words: [u32; N]) {
        assert!(first + N <= WORDS);
        // SAFETY: as for `read`.
        unsafe { self.0.cast::<u32>().add(first).cast().write(words) }
    }

    fn word(self, word: usize) -> u32 {
        self.read::<1>(word)[0]
    }
}

/// The receiving half.
pub struct Receiving {
    area: Area,
    start: NonNull<u8>,
    len: usize,
    /// Pieces in the area, and how many of them were taken.
    brought: usize,
    taken: usize,
    returned: Vec<u16>,
    /// A frame of several pieces, put together: as far as they have come, if it is not whole.
    assembled: Vec<u8>,
    is_half: bool,
    /// The last look found all that there was.
    dry: bool,
    /// A wake-up was asked for and has not come: there is nothing to look for.
    armed: bool,
    /// Pieces that made no sense, and frames whose end or beginning never came.
    refused: u64,
}

/// The sending half.
pub struct Sending {
    area: Area,
    start: NonNull<u8>,
    memory: FrameMemory,
    small: Vec<SendBuffer>,
    large: Vec<SendBuffer>,
    /// Frames in the area, and those that found no room there.
    queued: usize,
    behind: VecDeque<Send>,
}

/// A buffer to build a frame in, held by this process.
#[derive(Debug)]
#[must_use = "it is lost unless it is sent or put back"]
pub struct SendBuffer(u16);

impl SendBuffer {
    /// Its number, by which one knows it again when it comes back.
    pub fn number(&self) -> u16 {
        self.0
    }
}

/// A received frame, held by this process.
#[derive(Debug)]
#[must_use = "its buffer is lost unless it is given back"]
pub struct Incoming {
    received: Received,
    /// Its bytes are in [`Receiving::assembled`], and its buffers were given back.
    is_assembled: bool,
}

impl Incoming {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.received.len as usize
    }

    /// Whether it has no bytes; no card delivers such.
    pub fn is_empty(&self) -> bool {
        self.received.len == 0
    }

    /// The card found the checksums of its IPv4 header and of TCP or UDP right.
    pub fn checksums_right(&self) -> bool {
        self.received.checksums_right
    }

    /// The VLAN tag that the card took out of it.
    pub fn vlan(&self) -> Option<u16> {
        self.received.vlan
    }
}

impl Mapped {
    /// Maps the buffers of a card.
    ///
    /// # Errors
    /// As [`sys::nic_map`].
    pub fn new(card: Card) -> Result<Self> {
        let (memory, area) = sys::nic_map(card.number())?;
        let [area, transmit, receive] = nic_window(area);
        let place = |address: u64| NonNull::new(address as *mut u8).ok_or(Error::BadAddress);
        let area = place(area)?.cast();
        let buffers = [place(transmit)?, place(receive)?];
        // SAFETY: the kernel has mapped them there for as long as the card is attached, and hands
        // over each buffer to one holder at a time.
        Ok(unsafe { Mapped::at(card, memory, area, buffers) })
    }

    /// The same, with everything at these addresses: the exchange area, the buffers to send from,
    /// and what is received into.
    ///
    /// # Safety
    /// They are as `memory` says and stay for good; who plays the kernel gives each buffer to one
    /// holder at a time, and touches the area during calls only.
    pub unsafe fn at(
        card: Card,
        memory: FrameMemory,
        area: NonNull<[u32; WORDS]>,
        [transmit, receive]: [NonNull<u8>; 2],
    ) -> Self {
        let area = Area(area);
        Mapped {
            card,
            area,
            receiving: Receiving {
                area,
                start: receive,
                len: memory.receive_len as usize,
                brought: 0,
                taken: 0,
                returned: Vec::with_capacity(exchange::RETURNS_MAX),
                assembled: Vec::new(),
                is_half: false,
                dry: false,
                armed: false,
                refused: 0,
            },
            sending: Sending {
                area,
                start: transmit,
                memory,
                small: Vec::with_capacity(AT_HAND.0),
                large: Vec::with_capacity(AT_HAND.1),
                queued: 0,
                behind: VecDeque::new(),
            },
        }
    }

    /// The card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Sends what is queued, gives back what was read, takes buffers to send from, and what
    /// was received; with `arm`, if that is nothing, a wake-up follows
    /// ([`crate::ipc::mask::NIC_RECEIVE`]).
    ///
    /// # Errors
    /// [`Error::DeviceFailed`]: what was queued is lost, and a wake-up follows when the card
    /// works again. [`Error::BadFrame`] and the like: a frame could not be sent and was
    /// dropped; all else was done.
    pub fn exchange(&mut self, arm: bool) -> Result<()> {
        let number = self.card.number();
        let wanted = match self.receiving.armed {
            true => 0,
            false => exchange::RECEIVED_MAX,
        };
        self.hand_over((wanted, arm), |words| sys::nic_exchange(number, words))
    }

    /// Exchanges, and then waits as [`Inbox::wait`] does, but only looks if frames were
    /// received; when it is the card that wakes it, it has brought what was received then.
    ///
    /// # Errors
    /// As [`Mapped::exchange`]; it has not waited then.
    pub fn wait(
        &mut self,
        arm: bool,
        (mask, deadline_ns): (u32, u64),
        inbox: &mut Inbox,
    ) -> Result<(Event, bool)> {
        let number = self.card.number();
        self.hand_over((exchange::RECEIVED_MAX, arm), |words| {
            inbox.wait_exchanging(mask, deadline_ns, (number, words))
        })
    }

    /// Writes into the area what is asked for, lets the kernel do it, and reads what was done.
    fn hand_over<T>(
        &mut self,
        (wanted, arm): (usize, bool),
        enter: impl FnOnce(&mut [u32; WORDS]) -> Result<T>,
    ) -> Result<T> {
        self.receiving.ask(wanted, arm);
        self.sending.ask();
        // SAFETY: the area is mapped for as long as the card is attached, and this is the only
        // reference to it.
        let words = unsafe { self.area.0.as_mut() };
        let result = enter(words);
        if let Err(Error::BadHandle | Error::InvalidArgument | Error::NoSuchCall) = result {
            // Nothing was done.
            return result;
        }
        self.receiving.done();
        self.sending.done();
        result
    }
}

impl Receiving {
    fn ask(&mut self, wanted: usize, arm: bool) {
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

    fn done(&mut self) {
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

    /// Whether there may be frames at the card that [`Mapped::exchange`] would bring.
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

impl Sending {
    fn ask(&mut self) {
        let missing =
            |at_hand: usize, have: &[SendBuffer]| at_hand.saturating_sub(have.len()) as u32;
        let (smalls, larges) = (self.memory.small.0, self.memory.large.0);
        let small = missing(AT_HAND.0.min(usize::from(smalls.div_ceil(2))), &self.small);
        let large = missing(AT_HAND.1.min(larges.into()), &self.large);
        self.area.write(exchange::SEND_COUNT, [self.queued as u32]);
        self.area.write(exchange::SMALL_WANTED, [small, large]);
        self.area.write(exchange::SENT, [0; 2]);
    }

    fn done(&mut self) {
        let [sent, taken] = self.area.read(exchange::SENT);
        let [small, large] = self.area.read(exchange::SMALL_WANTED);
        for index in 0..taken.min(small + large) as usize {
            let number = self.area.word(exchange::taken_at(index)) as u16;
            self.put_back(SendBuffer(number));
        }
        let sent = (sent as usize).min(self.queued);
        let left = self.queued - sent;
        if sent > 0 {
            for index in 0..left {
                let words: [u32; exchange::SEND_WORDS] =
                    self.area.read(exchange::send_at(sent + index));
                self.area.write(exchange::send_at(index), words);
            }
        }
        self.queued = left;
        while self.queued < exchange::SENDS_MAX
            && let Some(send) = self.behind.pop_front()
        {
            self.write(send);
        }
    }

    /// Puts a frame into the area, where there is room.
    #[inline]
    fn write(&mut self, send: Send) {
        let words = send.to_words();
        let at = exchange::send_at(self.queued);
        match Send::is_brief(words[0]) {
            true => self.area.write(at, [words[0], words[1]]),
            false => self.area.write(at, words),
        }
        self.queued += 1;
    }

    /// Whether frames are queued that [`Mapped::exchange`] would send.
    pub fn has_queued(&self) -> bool {
        self.queued > 0
    }

    /// Whether a batch of them waits, so that no more should be queued before an exchange.
    #[inline]
    pub fn has_batch(&self) -> bool {
        self.queued == exchange::SENDS_MAX
    }

    /// Whether there is a buffer of each size at hand.
    pub fn has_buffers(&self) -> bool {
        let has_large = self.memory.large.0 == 0 || !self.large.is_empty();
        !self.small.is_empty() && has_large
    }

    /// A buffer for a frame of `len` bytes, if one is at hand.
    #[inline]
    pub fn take(&mut self, len: usize) -> Option<SendBuffer> {
        if len <= self.memory.small.1 as usize {
            return self.small.pop().or_else(|| self.large.pop());
        }
        match len <= self.memory.large.1 as usize {
            true => self.large.pop(),
            false => None,
        }
    }

    /// Keeps a buffer for another frame.
    #[inline]
    pub fn put_back(&mut self, buffer: SendBuffer) {
        match buffer.0 < self.memory.small.0 {
            true => self.small.push(buffer),
            false => self.large.push(buffer),
        }
    }

    /// The first `len` bytes of a buffer, or all if it has fewer.
    #[inline]
    pub fn bytes_mut(&mut self, buffer: &mut SendBuffer, len: usize) -> &mut [u8] {
        let Some((offset, room)) = self.memory.buffer(buffer.0) else {
            return &mut [];
        };
        // SAFETY: inside the mapped range, as the kernel has described it. The buffer is this
        // process's while the token lives: the card reads it only after it was sent, and only
        // the token, borrowed here, makes a slice of it.
        unsafe {
            let start = self.start.add(offset);
            core::slice::from_raw_parts_mut(start.as_ptr(), len.min(room))
        }
    }

    /// Queues the first `len` bytes of a buffer, and then `tail` (see [`Send::tail`]).
    #[inline]
    pub fn queue(
        &mut self,
        buffer: SendBuffer,
        len: usize,
        options: SendOptions,
        tail: Option<(u32, u32)>,
    ) {
        let send = Send {
            buffer: buffer.0,
            len: len as u32,
            options,
            tail,
        };
        match self.has_batch() {
            true => self.behind.push_back(send),
            false => self.write(send),
        }
    }
}

#[cfg(test)]
mod tests;
