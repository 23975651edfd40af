//! A card that several have: each received frame goes to the one whom a filter names.

use super::filters::{Filters, Own, Receivers, Refusal};
use super::memory::Shared;
use super::tenant::AtWork;
use super::wake::{Given, Ring};
use super::{Driver, Endpoint, Others, bits, exchange};
use crate::process::{Machine, Table};
use abi::Error;
use abi::endpoint::Filter;
use abi::nic::MacAddress;
use nic::{Events, FrameArea, Piece};

/// Pieces taken from the card before their buffers go back to it.
const AT_ONCE: usize = 32;
/// The most pieces of a frame.
const PIECES_MAX: usize = 8;

/// Buffers that go back to the card.
type Returns = heapless::Vec<u16, { AT_ONCE + PIECES_MAX }>;

/// How often in a second a card may be told of groups, which costs a virtual function a message to its card:
/// fewer than the card answers.
pub const TELLINGS: u8 = 48;

/// What a card that several have needs.
pub struct Switch {
    /// Who gets which frames.
    pub filters: Filters,
    /// The card receives what is for other stations than its own.
    pub takes_others: bool,
    /// The endpoints, a bit each.
    pub tenants: u64,
    /// Those that have frames of which they were not told.
    pub owed: u64,
    /// How often the card may be told of groups until the next tick.
    pub tellings: u8,
    /// Where the card's buffers are in its arena.
    pub area: FrameArea,
    /// A frame of which not all pieces have come yet.
    pieces: heapless::Vec<Piece, PIECES_MAX>,
    pub counters: Counters,
}

/// What is counted of frames that no endpoint counts, or several do.
#[derive(Default)]
pub struct Counters {
    pub unmatched: u64,
    /// Frames from one tenant to others.
    pub passed: u64,
    tagged: u64,
    broken: u64,
}

impl Switch {
    /// A switch without tenants, of a card with its buffers there.
    pub fn new(area: FrameArea, takes_others: bool) -> Self {
        Switch {
            filters: Filters::default(),
            takes_others,
            tenants: 0,
            owed: 0,
            tellings: TELLINGS,
            area,
            pieces: heapless::Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Adds the filters of an endpoint, of a card with this station.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn add_filters(
        &mut self,
        endpoint: u8,
        filters: &[Filter],
        mac: MacAddress,
    ) -> core::result::Result<Own, Refusal> {
        self.check_stations(filters, mac)?;
        self.filters.add(endpoint, filters, mac)
    }

    /// The same, instead of those that the endpoint has.
    pub fn replace_filters(
        &mut self,
        endpoint: u8,
        filters: &[Filter],
        mac: MacAddress,
    ) -> core::result::Result<Own, Refusal> {
        self.check_stations(filters, mac)?;
        self.filters.replace(endpoint, filters, mac)
    }

    fn check_stations(
        &self,
        filters: &[Filter],
        mac: MacAddress,
    ) -> core::result::Result<(), Refusal> {
        let mut stations = filters.iter().filter_map(|filter| filter.station);
        match !self.takes_others && stations.any(|station| station != mac) {
            true => Err(Refusal::Wrong(Error::NotSupported)),
            false => Ok(()),
        }
    }

    /// Visits its counters.
    pub fn statistics(&self, visit: &mut dyn FnMut(&str, u64)) {
        let Counters {
            unmatched,
            passed,
            tagged,
            broken,
        } = self.counters;
        visit("switch_passed_on", passed);
        visit("switch_dropped_unmatched", unmatched);
        visit("switch_dropped_vlan", tagged);
        visit("switch_dropped_piece", broken);
    }
}

/// The endpoints whose bits are set.
pub fn each(mut set: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (lowest < u64::BITS as usize).then_some(lowest)
    })
}

/// A switch at work.
pub struct Switching<'a, M, T: Machine> {
    /// The switch.
    pub switch: &'a mut Switch,
    /// Its card, and the arena of that.
    pub nic: &'a mut Driver,
    pub memory: &'a mut M,
    /// All endpoints, of other cards too.
    pub endpoints: &'a mut [Option<Endpoint<M>>],
    /// All processes.
    pub table: &'a mut Table<T>,
    /// Somebody has woken and was not asked after yet.
    pub woke: bool,
}

impl<M: Shared, T: Machine> Switching<'_, M, T> {
    /// Passes on what the card has received, but no more than twice its ring: whoever floods it must
    /// not keep the kernel. With `arm` the card interrupts for the next frame, if nothing is left.
    fn pass_on(&mut self, arm: bool) -> Given {
        let mut reached = core::mem::take(&mut self.switch.owed);
        let mut is_drained = false;
        let mut room = 2 * self.nic.facts().receive_ring;
        while !is_drained && room > 0 {
            let mut pieces = heapless::Vec::<Piece, AT_ONCE>::new();
            let received = self.nic.receive_pieces(arm, AT_ONCE, &mut |piece| {
                // There is room for all that were asked for.
                let _ = pieces.push(*piece);
            });
            // A card that fails tells all when it works again.
            is_drained = received.is_err() || pieces.len() < AT_ONCE;
            room = room.saturating_sub(pieces.len());
            let mut returns = Returns::new();
            for piece in &pieces {
                reached |= self.take_in(piece, &mut returns);
            }
            // They are the kernel's; if the card fails, see above.
            let _ = self.nic.return_buffers(&returns);
        }
        for endpoint in each(reached) {
            self.offer(endpoint);
        }
        Given {
            is_any: reached != 0,
            is_armed: arm && is_drained,
        }
    }

    /// Takes a frame, or a piece of one. Returns who got something. Buffers that are done with go to
    /// `returns`, in which there is room for them.
    fn take_in(&mut self, piece: &Piece, returns: &mut Returns) -> u64 {
        let Switch {
            pieces, counters, ..
        } = &mut *self.switch;
        if piece.continues == pieces.is_empty() {
            // Its beginning, or the end of the last one, was lost with a reset of the card.
            counters.broken += 1;
            returns.extend(pieces.iter().map(|piece| piece.buffer));
            pieces.clear();
        }
        if !piece.continues && !piece.more {
            let _ = returns.push(piece.buffer);
            return self.route(core::slice::from_ref(piece));
        }
        let is_lost = piece.continues && pieces.is_empty();
        if is_lost || pieces.push(*piece).is_err() {
            counters.broken += u64::from(!is_lost);
            returns.extend(pieces.iter().chain([piece]).map(|piece| piece.buffer));
            pieces.clear();
            return 0;
        }
        if piece.more {
            return 0;
        }
        let pieces = core::mem::take(pieces);
        returns.extend(pieces.iter().map(|piece| piece.buffer));
        self.route(&pieces)
    }

    /// Gives a frame of these pieces to whom it is for. Returns who that is.
    fn route(&mut self, pieces: &[Piece]) -> u64 {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
            return 0;
        };
        let Switch {
            filters,
            area,
            counters,
            ..
        } = &mut *self.switch;
        // Number 0 is no VLAN (IEEE 802.1Q §9.6), and only a priority.
        if last.info.vlan.is_some_and(|tag| tag & 0xfff != 0) {
            counters.tagged += 1;
            return 0;
        }
        // A piece that others follow is longer than all headers.
        let start = area.receive.start + first.offset;
        let receivers = match filters.receivers_of(self.memory, start, first.len) {
            Receivers::Nobody => {
                counters.unmatched += 1;
                0
            }
            Receivers::One(endpoint) => 1 << endpoint,
            Receivers::Each(endpoints) => endpoints,
        };
        let len = pieces.iter().map(|piece| piece.len).sum();
        for endpoint in each(receivers) {
            let endpoint = self.endpoints.get_mut(endpoint).and_then(Option::as_mut);
            if let Some(tenant) = endpoint.and_then(|endpoint| endpoint.tenant.as_mut()) {
                tenant.deliver(len, last.info, |memory, mut at| {
                    for piece in pieces {
                        let start = area.receive.start + piece.offset;
                        memory.copy(at, self.memory, start, piece.len);
                        at += piece.len;
                    }
                });
            }
        }
        receivers
    }

    /// Gives an endpoint whose owner sleeps what has come for it, and tells the owner.
    fn offer(&mut self, index: usize) {
        let Some((endpoint, others)) = Others::than(index, self.endpoints) else {
            return;
        };
        let Some(tenant) = endpoint.tenant.as_mut() else {
            return;
        };
        let mut events = Events::empty();
        if endpoint.expects && self.table.is_waiting(endpoint.owner) && tenant.has_received() {
            endpoint.expects = false;
            let mut at_work = AtWork {
                place: index as u8,
                tenant,
                others,
                nic: self.nic,
                memory: self.memory,
                switch: self.switch,
            };
            if exchange::give_to_sleeper(&mut endpoint.area, &mut at_work, false) {
                events = Events::RECEIVE;
            }
        }
        let tenant = endpoint.tenant.as_mut();
        events |= tenant.map_or(Events::empty(), |tenant| tenant.take_events());
        self.notify(index, events);
    }

    fn notify(&mut self, index: usize, events: Events) {
        if let Some(Some(endpoint)) = self.endpoints.get(index)
            && !events.is_empty()
        {
            let bits = bits(events, endpoint.number);
            self.woke |= self.table.notify(endpoint.owner, bits, true) == Ok(true);
        }
    }

    /// Tells the tenants of what the card has to say, but for received frames.
    pub fn tell_all(&mut self, events: Events) {
        for index in each(self.switch.tenants) {
            let endpoint = self.endpoints.get_mut(index).and_then(Option::as_mut);
            let Some(tenant) = endpoint.and_then(|endpoint| endpoint.tenant.as_mut()) else {
                continue;
            };
            if events.contains(Events::TRANSMIT_SPACE) {
                tenant.has_room();
            }
            let events = tenant.take_events() | events & Events::LINK;
            self.notify(index, events);
        }
    }
}

impl<M: Shared, T: Machine> Ring for Switching<'_, M, T> {
    fn is_awaited(&self) -> bool {
        self.switch.tenants != 0
    }

    fn has_received(&mut self) -> bool {
        self.switch.owed != 0 || self.nic.has_received()
    }

    fn silence(&mut self) {
        self.nic.silence_receive();
    }

    fn give(&mut self, arm: bool) -> Given {
        self.pass_on(arm)
    }

    fn tell(&mut self) -> bool {
        core::mem::take(&mut self.woke)
    }
}
