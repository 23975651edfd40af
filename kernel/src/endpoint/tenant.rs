//! A part of a card: buffers that are one owner's alone, filled and emptied by copying.
//!
//! A tenant sees nothing of the card's own buffers, so it can neither read others' frames nor keep the
//! card from receiving: what it does not take in time is dropped from its own queue. What it sends is
//! copied before its headers are read, so that they cannot change between the look and the card.

use super::exchange;
use super::filters::{Filters, Own};
use super::headers::{HEADERS_MAX, Headers};
use super::memory::Shared;
use crate::account::{Accounts, Counter as Clock};
use crate::runs::Runs;
use abi::layout::PAGE_SIZE;
use abi::nic::{Counter, Features, FrameMemory, MacAddress, SendOptions};
use heapless::Deque;
use nic::{
    Error, Events, FrameArea, FrameBuffers, Nic, Outgoing, Piece, Pool, ReceiveInfo, Refusals, Tail,
};

/// Buffers that a tenant has to send from, small and large ones at the most, and to receive into.
const SMALL: u16 = 64;
const LARGE: u16 = 4;
pub const RECEIVED: u16 = 64;

/// What a VLAN tag begins with (IEEE 802.1Q, 802.1ad).
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// The buffers of a part of a card.
pub struct Tenant<M> {
    memory: M,
    area: FrameArea,
    /// Bytes of a buffer to receive into.
    receive_len: usize,
    small: Pool,
    large: Pool,
    receive: Pool,
    /// Received frames that the owner has not taken.
    queue: Deque<Piece, { RECEIVED as usize }>,
    /// Where its frames come from and go to.
    filters: Own,
    /// A notification is owed with the next frame.
    armed: bool,
    /// The card had no room for a frame, or the owner has all buffers: a notification is owed.
    wants_room: bool,
    wants_buffers: bool,
    events: Events,
    counters: Counts,
}

#[derive(Default)]
struct Counts {
    rx_frames: u64,
    rx_octets: u64,
    rx_dropped: u64,
    tx_frames: u64,
    tx_octets: u64,
    tx_dropped: u64,
    refused: Refusals,
}

impl<M: Shared> Tenant<M> {
    /// Buffers as large as those of a card, for one who has these filters.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(nic: &dyn Nic, filters: Own) -> Result<Self, Error> {
        let page = PAGE_SIZE as usize;
        let FrameMemory { small, large, .. } = nic.frame_area().memory;
        let small = (small.0.min(SMALL), small.1);
        let large = (large.0.min(LARGE), large.1);
        let transmit =
            usize::from(small.0) * small.1 as usize + usize::from(large.0) * large.1 as usize;
        let transmit = transmit.next_multiple_of(page);
        let receive_len = nic.facts().frame_max.next_multiple_of(page / 2);
        let receive = usize::from(RECEIVED) * receive_len;
        let end = transmit + receive.next_multiple_of(page);
        let memory = M::allocate(end).ok_or(Error::NoMemory)?;
        Ok(Tenant {
            memory,
            area: FrameArea {
                memory: FrameMemory {
                    small,
                    large,
                    receive_len: (end - transmit) as u32,
                },
                transmit: 0..transmit,
                receive: transmit..end,
            },
            receive_len,
            small: Pool::new(0..small.0)?,
            large: Pool::new(small.0..small.0 + large.0)?,
            receive: Pool::new(0..RECEIVED)?,
            queue: Deque::new(),
            filters,
            armed: false,
            wants_room: false,
            wants_buffers: false,
            events: Events::empty(),
            counters: Counts::default(),
        })
    }

    /// Where its buffers are in physical memory.
    pub fn address(&self) -> u64 {
        self.memory.address()
    }

    /// Bytes of its buffers.
    pub fn size(&self) -> usize {
        self.memory.size()
    }

    /// Where the buffers are among these bytes.
    pub fn area(&self) -> &FrameArea {
        &self.area
    }

    /// The station that its frames come from.
    pub fn station(&self) -> MacAddress {
        let first = self.filters.first().and_then(|filter| filter.station);
        first.unwrap_or_default()
    }

    /// What its card does for it: it cannot change what others receive, and has no VLAN.
    pub fn features(card: Features) -> Features {
        Features {
            filters: false,
            vlan: false,
            ..card
        }
    }

    /// A frame has come for it. If all its buffers are in use, it is lost.
    pub fn deliver(&mut self, frame: &[u8], info: ReceiveInfo) {
        let fits = frame.len() <= self.receive_len && !self.queue.is_full();
        let Some(buffer) = fits.then(|| self.receive.take()).flatten() else {
            self.counters.rx_dropped += 1;
            return;
        };
        let offset = usize::from(buffer) * self.receive_len;
        self.memory.put(self.area.receive.start + offset, frame);
        self.receive.enter_ring(buffer);
        let piece = Piece {
            buffer,
            offset,
            len: frame.len(),
            more: false,
            continues: false,
            info,
        };
        // There is room: it was looked at.
        let _ = self.queue.push_back(piece);
        self.counters.rx_frames += 1;
        self.counters.rx_octets += frame.len() as u64;
        if core::mem::take(&mut self.armed) {
            self.events |= Events::RECEIVE;
        }
    }

    /// Whether frames wait for the owner.
    pub fn has_received(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The card has room again.
    pub fn has_room(&mut self) {
        if core::mem::take(&mut self.wants_room) {
            self.events |= Events::TRANSMIT_SPACE;
        }
    }

    /// What the owner is to be told of.
    pub fn take_events(&mut self) -> Events {
        core::mem::take(&mut self.events)
    }

    /// Visits its counters. Their names say that they are the endpoint's: the card has its own.
    pub fn statistics(&self, visit: &mut dyn FnMut(&str, u64)) {
        let mut visit = |name: &str, value| {
            let mut whole = heapless::String::<{ Counter::NAME_MAX }>::new();
            // The longest of these names fits.
            let _ = whole.push_str("endpoint_").and(whole.push_str(name));
            visit(&whole, value);
        };
        let Counts {
            rx_frames,
            rx_octets,
            rx_dropped,
            tx_frames,
            tx_octets,
            tx_dropped,
            refused,
        } = &self.counters;
        for (name, value) in [
            ("rx_frames", *rx_frames),
            ("rx_octets", *rx_octets),
            ("rx_dropped_no_buffer", *rx_dropped),
            ("tx_frames", *tx_frames),
            ("tx_octets", *tx_octets),
            ("tx_dropped", *tx_dropped),
        ] {
            visit(name, value);
        }
        refused.visit(&mut visit);
    }

    /// The pool that a buffer to send from is of.
    fn pool(&mut self, buffer: u16) -> &mut Pool {
        match buffer < self.area.memory.small.0 {
            true => &mut self.small,
            false => &mut self.large,
        }
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.pool(buffer).put_back(buffer)?;
        if core::mem::take(&mut self.wants_buffers) {
            self.events |= Events::TRANSMIT_SPACE;
        }
        Ok(())
    }
}

/// A tenant at work: what it exchanges passes between its buffers and the card's.
pub struct AtWork<'a, M> {
    /// The tenant.
    pub tenant: &'a mut Tenant<M>,
    /// The card.
    pub nic: &'a mut dyn Nic,
    /// The filters of all tenants of the card.
    pub filters: &'a Filters,
    /// Room for the longest frame, on its way.
    pub frame: &'a mut [u8],
}

impl<M: Shared> AtWork<'_, M> {
    /// Does what the exchange area asks for, by [`exchange::hand_over`]. This function is apart, so that
    /// what the owner of a whole card needs is on few pages.
    ///
    /// # Errors
    /// Those of [`exchange::hand_over`].
    #[inline(never)]
    pub fn exchange<C: Clock>(
        mut self,
        area: &mut M,
        may_arm: bool,
        ramdisk: &Runs,
        accounts: &mut Accounts<C>,
    ) -> abi::Result<usize> {
        exchange::hand_over(area, &mut self, may_arm, ramdisk, accounts)
    }

    /// Sends one frame out of the tenant's buffer.
    fn send(&mut self, outgoing: &Outgoing) -> Result<(), Error> {
        let Outgoing {
            buffer,
            len,
            options,
            tail,
        } = *outgoing;
        self.tenant.pool(buffer).check_held(buffer)?;
        let (offset, room) = self.tenant.area.buffer(buffer).unwrap_or_default();
        let frame = self.frame.get_mut(..len).filter(|_| len <= room);
        let frame = frame.ok_or(Error::BadLength { len })?;
        self.tenant.memory.get(offset, frame);
        self.send_copied(len, &options, tail)?;
        self.tenant.put_back(buffer)
    }

    /// Sends the first `len` bytes of the frame on its way, and `tail` behind them.
    ///
    /// # Errors
    /// Those of [`FrameBuffers::send_buffer`], and [`Error::BadSource`].
    pub fn send_copied(
        &mut self,
        len: usize,
        options: &SendOptions,
        tail: Option<Tail>,
    ) -> Result<(), Error> {
        let frame = self.frame.get(..len).ok_or(Error::BadLength { len })?;
        if options.vlan.is_some() {
            return Err(Error::Unsupported);
        }
        let headers = Headers::read(&frame[..len.min(HEADERS_MAX)]).ok_or(Error::BadHeaders)?;
        let is_own = self.filters.may_send(&self.tenant.filters, &headers);
        if !is_own || TAGS.contains(&headers.ethertype) {
            return Err(Error::BadSource);
        }
        let buffer = self.nic.take_buffer(len)?;
        self.nic.fill_buffer(buffer, frame);
        let sent = self.nic.send_buffer(buffer, len, tail, options);
        if sent.is_err() {
            // The tenant still has the frame.
            self.nic.put_back(buffer)?;
        }
        sent
    }

    /// Counts what became of a frame that was to be sent.
    fn note(&mut self, result: &Result<(), Error>, octets: usize) {
        match result {
            Ok(()) => {
                self.tenant.counters.tx_frames += 1;
                self.tenant.counters.tx_octets += octets as u64;
            }
            Err(Error::WouldBlock) => self.tenant.wants_room = true,
            Err(error) => self.tenant.counters.refused.note(error),
        }
    }

    /// Sends the first `len` bytes of the frame on its way, which comes from none of the tenant's buffers,
    /// and counts it.
    ///
    /// # Errors
    /// Those of [`AtWork::send_copied`].
    pub fn send_alone(&mut self, len: usize, options: &SendOptions) -> Result<(), Error> {
        let result = self.send_copied(len, options, None);
        self.note(&result, len);
        result
    }

    /// The next frame that was received, copied to the front of `frame`: its length, and what the card
    /// found out.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and a notification follows; [`Error::BufferTooSmall`], and it is lost.
    pub fn receive_alone(&mut self, capacity: usize) -> Result<(usize, ReceiveInfo), Error> {
        let Piece {
            buffer,
            offset,
            len,
            info,
            ..
        } = self.receive_piece(true)?;
        let frame = self.frame.get_mut(..len).filter(|_| len <= capacity);
        let result = match frame {
            Some(frame) => {
                let start = self.tenant.area.receive.start;
                self.tenant.memory.get(start + offset, frame);
                Ok((len, info))
            }
            None => {
                self.tenant.counters.rx_dropped += 1;
                Err(Error::BufferTooSmall { len })
            }
        };
        self.return_buffer(buffer)?;
        result
    }
}

impl<M: Shared> FrameBuffers for AtWork<'_, M> {
    fn frame_area(&self) -> FrameArea {
        self.tenant.area.clone()
    }

    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        let FrameMemory { small, large, .. } = self.tenant.area.memory;
        let pool = match len {
            0 => return Err(Error::BadLength { len }),
            _ if len <= small.1 as usize => &mut self.tenant.small,
            _ if len <= large.1 as usize => &mut self.tenant.large,
            _ => return Err(Error::BadLength { len }),
        };
        let taken = pool.take_all(into);
        self.tenant.wants_buffers |= taken < into.len();
        Ok(taken)
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.tenant.put_back(buffer)
    }

    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.put_back(buffer)?;
        self.tenant.counters.tx_dropped += 1;
        Ok(())
    }

    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>) {
        for (sent, frame) in frames.iter().enumerate() {
            let result = self.send(frame);
            self.note(&result, frame.len + frame.tail.map_or(0, |tail| tail.len));
            if result.is_err() {
                return (sent, result);
            }
        }
        (frames.len(), Ok(()))
    }

    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        let mut count = 0;
        while count < max
            && let Some(piece) = self.tenant.queue.pop_front()
        {
            self.tenant.receive.hand_out(piece.buffer);
            take(&piece);
            count += 1;
        }
        self.tenant.armed = arm && count < max;
        Ok(count)
    }

    fn return_buffers(&mut self, buffers: &[u16]) -> Result<(), Error> {
        buffers
            .iter()
            .try_for_each(|buffer| self.tenant.receive.put_back(*buffer))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.nic.flush()
    }

    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]) {
        if let Some((offset, room)) = self.tenant.area.buffer(buffer) {
            let len = bytes.len().min(room);
            self.tenant.memory.put(offset, &bytes[..len]);
        }
    }

    fn read_received(&mut self, offset: usize, into: &mut [u8]) {
        let start = self.tenant.area.receive.start + offset;
        self.tenant.memory.get(start, into);
    }
}

#[cfg(test)]
mod tests;
