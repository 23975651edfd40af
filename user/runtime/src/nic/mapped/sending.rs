//! The sending half: buffers to build frames in, and frames that wait for the next exchange.
#![allow(unsafe_code)]

use super::{AT_HAND, SendBuffer, Sending};
use crate::nic::SendOptions;
use abi::exchange::{self, Send};

impl Sending {
    pub(super) fn ask(&mut self) {
        let missing =
            |at_hand: usize, have: &[SendBuffer]| at_hand.saturating_sub(have.len()) as u32;
        let (smalls, larges) = (self.memory.small.0, self.memory.large.0);
        let small = missing(AT_HAND.0.min(usize::from(smalls.div_ceil(2))), &self.small);
        let large = missing(AT_HAND.1.min(larges.into()), &self.large);
        self.area.write(exchange::SEND_COUNT, [self.queued as u32]);
        self.area.write(exchange::SMALL_WANTED, [small, large]);
        self.area.write(exchange::SENT, [0; 2]);
    }

    pub(super) fn done(&mut self) {
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

    /// Whether frames are queued that [`super::Mapped::exchange`] would send.
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
