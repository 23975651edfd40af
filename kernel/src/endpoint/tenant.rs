//! A part of a card: buffers that are one owner's alone, filled and emptied by copying.
//!
//! A tenant sees nothing of the card's own buffers, so it can neither read others' frames nor keep the
//! card from receiving: what it does not take in time is dropped from its own queue. What it sends is
//! copied once, into a buffer of the card's, and its headers are read there, where it cannot change them.

mod at_work;

pub use at_work::AtWork;

use super::filters::Own;
use super::memory::Shared;
use abi::endpoint::GROUPS_MAX;
use abi::layout::PAGE_SIZE;
use abi::nic::{Counter, Features, FrameMemory, MacAddress};
use heapless::Deque;
use nic::{Error, Events, FrameArea, Nic, Outgoing, Piece, Pool, ReceiveInfo, Refusals};

/// Buffers that a tenant has to send from, small and large ones at the most, and to receive into.
const SMALL: u16 = 64;
const LARGE: u16 = 4;
pub const RECEIVED: u16 = 64;
/// So many of those to receive into are for frames from the wire only, which other tenants cannot crowd out.
pub const FOR_WIRE: u16 = RECEIVED / 2;

/// How often in a second a tenant may change its groups where the card must be told of it, so that none takes
/// the others' turn.
pub const CHANGES: u8 = 8;

/// The groups of an endpoint.
pub type Groups = heapless::Vec<MacAddress, GROUPS_MAX>;

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
    /// Groups that it has joined.
    pub groups: Groups,
    /// How often it may change them until the next tick.
    pub changes: u8,
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
    rx_dropped_passed: u64,
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
            groups: Groups::new(),
            changes: CHANGES,
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

    /// Has other filters from now on.
    pub fn set_filters(&mut self, filters: Own) {
        self.filters = filters;
    }

    /// What its card does for it: it cannot change what others receive, and has no VLAN.
    pub fn features(card: Features) -> Features {
        Features {
            filters: false,
            vlan: false,
            ..card
        }
    }

    /// A frame of another tenant has come for it, as [`Tenant::deliver`] takes it.
    pub fn deliver_passed(
        &mut self,
        len: usize,
        info: ReceiveInfo,
        copy: impl FnOnce(&mut M, usize),
    ) {
        match self.receive.free_count() > FOR_WIRE.into() {
            true => self.deliver(len, info, copy),
            false => self.counters.rx_dropped_passed += 1,
        }
    }

    /// A frame of `len` bytes has come for it, which `copy` puts where it is told to. If all its buffers
    /// are in use, it is lost.
    pub fn deliver(&mut self, len: usize, info: ReceiveInfo, copy: impl FnOnce(&mut M, usize)) {
        let fits = len <= self.receive_len && !self.queue.is_full();
        let Some(buffer) = fits.then(|| self.receive.take()).flatten() else {
            self.counters.rx_dropped += 1;
            return;
        };
        let offset = usize::from(buffer) * self.receive_len;
        copy(&mut self.memory, self.area.receive.start + offset);
        self.receive.enter_ring(buffer);
        let piece = Piece {
            buffer,
            offset,
            len,
            more: false,
            continues: false,
            info,
        };
        // There is room: it was looked at.
        let _ = self.queue.push_back(piece);
        self.counters.rx_frames += 1;
        self.counters.rx_octets += len as u64;
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
            rx_dropped_passed,
            tx_frames,
            tx_octets,
            tx_dropped,
            refused,
        } = &self.counters;
        for (name, value) in [
            ("rx_frames", *rx_frames),
            ("rx_octets", *rx_octets),
            ("rx_dropped_no_buffer", *rx_dropped),
            ("rx_dropped_passed", *rx_dropped_passed),
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

    /// Whether this can be a frame in a buffer that the owner has.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&mut self, frame: &Outgoing) -> Result<(), Error> {
        let &Outgoing { buffer, len, .. } = frame;
        self.pool(buffer).check_held(buffer)?;
        let (_, room) = self.area.buffer(buffer).unwrap_or_default();
        (1..=room)
            .contains(&len)
            .then_some(())
            .ok_or(Error::BadLength { len })
    }

    /// Some of its buffers are free again.
    fn have_come_free(&mut self) {
        if core::mem::take(&mut self.wants_buffers) {
            self.events |= Events::TRANSMIT_SPACE;
        }
    }
}
