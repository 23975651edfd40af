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

use super::{Card, FrameMemory};
use crate::ipc::{Event, Inbox};
use crate::{Error, Result, sys};
use abi::exchange::{self, Received, Send, WORDS};
use abi::layout::nic_window;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ptr::NonNull;

mod receiving;
mod sending;

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

#[cfg(test)]
mod tests;
