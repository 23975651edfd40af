//! A card's frames in place: built where the card sends them from, parsed where it put them.
//!
//! What is unsafe here is one thing: memory that the card and this process share is seen as
//! slices. It is sound because a buffer has one holder. The kernel gives each to this process
//! at most once until it was given back ([`abi::exchange`]); here it becomes a token that
//! cannot be copied, and only the token makes a slice.
#![allow(unsafe_code)]

use super::{Card, SendOptions};
use crate::{Error, Result, sys};
use abi::exchange::{self, NicMemory, Received, Send, WORDS};
use abi::layout::nic_window;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ptr::NonNull;

/// Buffers to send from that are kept at hand, small and large.
const AT_HAND: (usize, usize) = (32, 4);

/// Buffers to be given back that are worth an exchange for their own sake.
const OWED: usize = 32;

/// An attached card whose buffers are shown to this process.
pub struct Mapped {
    card: Card,
    area: NonNull<[u32; WORDS]>,
    /// What it has received.
    pub receiving: Receiving,
    /// What it shall send.
    pub sending: Sending,
}

/// The receiving half.
pub struct Receiving {
    start: NonNull<u8>,
    len: usize,
    waiting: VecDeque<Received>,
    returned: Vec<u16>,
    /// A frame of several pieces, put together.
    assembled: Vec<u8>,
    /// The last look found all that there was.
    dry: bool,
    /// A wake-up was asked for and has not come: there is nothing to look for.
    armed: bool,
    /// Pieces that made no sense.
    refused: u64,
}

/// The sending half.
pub struct Sending {
    start: NonNull<u8>,
    memory: NicMemory,
    small: Vec<SendBuffer>,
    large: Vec<SendBuffer>,
    queued: VecDeque<Send>,
}

/// A buffer to build a frame in, held by this process.
#[derive(Debug)]
#[must_use = "it is lost unless it is sent or put back"]
pub struct SendBuffer(u16);

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
        let memory = sys::nic_map(card.number())?;
        let [area, transmit, receive] = nic_window(card.number());
        let place = |address: u64| NonNull::new(address as *mut u8).ok_or(Error::BadAddress);
        Ok(Mapped::at(
            card,
            memory,
            place(area)?.cast(),
            [place(transmit)?, place(receive)?],
        ))
    }

    fn at(
        card: Card,
        memory: NicMemory,
        area: NonNull<[u32; WORDS]>,
        [transmit, receive]: [NonNull<u8>; 2],
    ) -> Self {
        Mapped {
            card,
            area,
            receiving: Receiving {
                start: receive,
                len: memory.receive_len as usize,
                waiting: VecDeque::with_capacity(exchange::RECEIVED_MAX),
                returned: Vec::with_capacity(exchange::RETURNS_MAX),
                assembled: Vec::new(),
                dry: false,
                armed: false,
                refused: 0,
            },
            sending: Sending {
                start: transmit,
                memory,
                small: Vec::with_capacity(AT_HAND.0),
                large: Vec::with_capacity(AT_HAND.1),
                queued: VecDeque::with_capacity(exchange::SENDS_MAX),
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
        let Mapped {
            card,
            area,
            receiving,
            sending,
        } = self;
        // SAFETY: the area is mapped for as long as the card is attached, and the only other
        // reference to it was the last call's.
        let area = unsafe { area.as_mut() };
        receiving.ask(area, arm);
        sending.ask(area);
        let result = sys::nic_exchange(card.number(), area);
        if let Err(Error::BadHandle | Error::InvalidArgument | Error::NoSuchCall) = result {
            // Nothing was done.
            return result;
        }
        receiving.done(area);
        sending.done(area);
        result
    }
}

impl Receiving {
    fn ask(&mut self, area: &mut [u32; WORDS], arm: bool) {
        let returned = self.returned.len().min(exchange::RETURNS_MAX);
        for (index, buffer) in self.returned.drain(..returned).enumerate() {
            area[exchange::return_at(index)] = buffer.into();
        }
        area[exchange::RETURN_COUNT] = returned as u32;
        let room = exchange::RECEIVED_MAX - self.waiting.len().min(exchange::RECEIVED_MAX);
        area[exchange::RECEIVE_WANTED] = if self.armed { 0 } else { room as u32 };
        area[exchange::ARM] = arm.into();
        area[exchange::RECEIVED] = 0;
    }

    fn done(&mut self, area: &[u32; WORDS]) {
        let wanted = area[exchange::RECEIVE_WANTED];
        if wanted == 0 {
            return;
        }
        let count = area[exchange::RECEIVED].min(wanted);
        self.dry = count < wanted;
        self.armed = self.dry && area[exchange::ARM] != 0;
        for index in 0..count as usize {
            let first = exchange::received_at(index);
            let words = core::array::from_fn(|word| area[first + word]);
            let received = Received::from_words(words);
            let end = (received.offset as usize).checked_add(received.len as usize);
            match end.is_some_and(|end| end <= self.len) {
                true => self.waiting.push_back(received),
                // The kernel does not say such things.
                false => self.refused += 1,
            }
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
    pub fn has_frame(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many pieces of frames wait here.
    pub fn count(&self) -> usize {
        self.waiting.len()
    }

    /// A frame that waits here, by its place among them, and its bytes. `None` if there are
    /// not so many, or from the first on that came in several pieces: those are put together
    /// when they are taken.
    pub fn see(&self, index: usize) -> Option<(&Received, &[u8])> {
        let received = self.waiting.get(index)?;
        (!received.more).then(|| (received, self.slice(received)))
    }

    /// Gives the buffer of a frame back that was seen, without taking it.
    #[inline]
    pub fn skip(&mut self, index: usize) {
        let skipped = match index {
            0 => self.waiting.pop_front(),
            _ => self.waiting.remove(index),
        };
        if let Some(received) = skipped {
            self.returned.push(received.buffer);
        }
    }

    /// The next frame that was brought.
    pub fn take(&mut self) -> Option<Incoming> {
        let received = self.waiting.pop_front()?;
        match received.more {
            true => self.assemble(received),
            false => Some(Incoming {
                received,
                is_assembled: false,
            }),
        }
    }

    /// Puts a frame together that begins with this piece. `None` if its end has not come.
    fn assemble(&mut self, first: Received) -> Option<Incoming> {
        if !self.waiting.iter().any(|piece| !piece.more) {
            // The rest comes with the next exchange.
            self.waiting.push_front(first);
            return None;
        }
        let mut whole = core::mem::take(&mut self.assembled);
        whole.clear();
        let mut piece = first;
        loop {
            let held = Incoming {
                received: piece,
                is_assembled: false,
            };
            whole.extend_from_slice(self.bytes(&held));
            self.give_back(held);
            if !piece.more {
                break;
            }
            piece = self.waiting.pop_front()?;
        }
        let received = Received {
            len: whole.len() as u32,
            more: false,
            ..first
        };
        self.assembled = whole;
        Some(Incoming {
            received,
            is_assembled: true,
        })
    }

    /// Its bytes.
    pub fn bytes(&self, frame: &Incoming) -> &[u8] {
        let received = &frame.received;
        match frame.is_assembled {
            true => self.assembled.get(..received.len as usize),
            false => Some(self.slice(received)),
        }
        .unwrap_or_default()
    }

    /// The bytes of a piece that waits here, or that a token holds.
    fn slice(&self, piece: &Received) -> &[u8] {
        // SAFETY: inside the mapped range, which `done` has checked. The buffer is this
        // process's while the piece waits or its token lives, so neither the card nor anybody
        // else writes to it; it is given back by what wants this exclusively.
        unsafe {
            let start = self.start.add(piece.offset as usize);
            core::slice::from_raw_parts(start.as_ptr(), piece.len as usize)
        }
    }

    /// Gives the frame's buffer back to the card, by the next exchange.
    pub fn give_back(&mut self, frame: Incoming) {
        if !frame.is_assembled {
            self.returned.push(frame.received.buffer);
        }
    }
}

impl Sending {
    fn ask(&mut self, area: &mut [u32; WORDS]) {
        let sends = self.queued.len().min(exchange::SENDS_MAX);
        for (index, send) in self.queued.iter().take(sends).enumerate() {
            let first = exchange::send_at(index);
            area[first..first + exchange::SEND_WORDS].copy_from_slice(&send.to_words());
        }
        area[exchange::SEND_COUNT] = sends as u32;
        area[exchange::SENT] = 0;
        let missing = |at_hand: usize, have: &[SendBuffer], all: u16| {
            at_hand.min(all.into()).saturating_sub(have.len()) as u32
        };
        let (small, large) = (self.memory.small.0, self.memory.large.0);
        area[exchange::SMALL_WANTED] = missing(AT_HAND.0, &self.small, small);
        area[exchange::LARGE_WANTED] = missing(AT_HAND.1, &self.large, large);
        area[exchange::TAKEN] = 0;
    }

    fn done(&mut self, area: &[u32; WORDS]) {
        let sent = area[exchange::SENT].min(area[exchange::SEND_COUNT]);
        self.queued.drain(..sent as usize);
        let wanted = area[exchange::SMALL_WANTED] + area[exchange::LARGE_WANTED];
        for index in 0..area[exchange::TAKEN].min(wanted) as usize {
            let number = area[exchange::taken_at(index)] as u16;
            match number < self.memory.small.0 {
                true => self.small.push(SendBuffer(number)),
                false => self.large.push(SendBuffer(number)),
            }
        }
    }

    /// Whether frames are queued that [`Mapped::exchange`] would send.
    pub fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Whether a batch of them waits, so that no more should be queued before an exchange.
    pub fn has_batch(&self) -> bool {
        self.queued.len() >= exchange::SENDS_MAX
    }

    /// Whether there is a buffer of each size at hand.
    pub fn has_buffers(&self) -> bool {
        let has_large = self.memory.large.0 == 0 || !self.large.is_empty();
        !self.small.is_empty() && has_large
    }

    /// A buffer for a frame of `len` bytes, if one is at hand.
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
    pub fn put_back(&mut self, buffer: SendBuffer) {
        match buffer.0 < self.memory.small.0 {
            true => self.small.push(buffer),
            false => self.large.push(buffer),
        }
    }

    /// The first `len` bytes of a buffer, or all if it has fewer.
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
    pub fn queue(
        &mut self,
        buffer: SendBuffer,
        len: usize,
        options: SendOptions,
        tail: Option<(u32, u32)>,
    ) {
        self.queued.push_back(Send {
            buffer: buffer.0,
            len: len as u32,
            options,
            tail,
        });
    }
}

#[cfg(test)]
mod tests;
