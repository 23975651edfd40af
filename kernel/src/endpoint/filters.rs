//! Which endpoint a received frame is for, and whether an endpoint may send a frame.
//!
//! No frame is described by filters of two endpoints, so there is at most one to be found, in any
//! order: the filters that give the same fields are a table, sorted by what these fields have to be,
//! and a frame's fields are looked up in each table. So what a frame costs depends on how many different
//! sets of fields are given, and on the number of filters only by its logarithm. (The idea is that of
//! tuple space search: Srinivasan, Suri and Varghese, SIGCOMM 1999.)
//!
//! ARP packets, messages of neighbour discovery and frames to groups go to everybody whom they concern,
//! and all filters are gone through.

mod fields;
mod keys;

use self::fields::{
    agrees, check, concerns_group, may_come_from, overlap, resolution_concerns, resolves,
};
use self::keys::{Key, compare, given, key, mask};
use super::headers::{ARP, Flow, FlowV6, Headers, IPV4, IPV6, Part, is_group};
use super::memory::Shared;
use abi::Error;
use abi::endpoint::{FILTERS_MAX, Filter};
use abi::nic::MacAddress;
use alloc::vec::Vec;
use core::net::IpAddr;
use heapless::Deque;

/// What a VLAN tag begins with (IEEE 802.1Q, 802.1ad): behind one may be anything.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// The most sets of fields that can be given: the station always is.
const SETS_MAX: usize = 16;
/// Packets whose fragments are followed at the same time for one endpoint. Its oldest is forgotten.
const PACKETS_MAX: usize = 16;

/// The filters of an endpoint.
pub type Own = heapless::Vec<Filter, FILTERS_MAX>;

/// The filters of all endpoints of a card.
#[derive(Default)]
pub struct Filters {
    /// By their keys.
    sorted: Vec<Entry>,
    /// The stations that they give, sorted.
    stations: Vec<MacAddress>,
    /// For each set of fields that some filter gives: the bits of a key that they are.
    sets: heapless::Vec<Key, SETS_MAX>,
    /// The flow of which a frame was looked up last, and for whom that was.
    received: Option<(Flow, Receivers)>,
    /// The flow of which an endpoint sent a frame last, that endpoint, and where the frame went.
    sent: Option<(u8, Flow, Way)>,
    /// The same of IPv6.
    received_v6: Option<(FlowV6, Receivers)>,
    sent_v6: Option<(u8, FlowV6, Way)>,
    /// For each endpoint, packets whose first fragment had what the others do not have.
    followed: Vec<(u8, Deque<Packet, PACKETS_MAX>)>,
}

struct Entry {
    key: Key,
    filter: Filter,
    endpoint: u8,
}

/// What the fragments of a packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packet {
    station: MacAddress,
    addresses: [Option<IpAddr>; 2],
    /// Of IPv4. The fragments of an IPv6 packet need not agree about what follows.
    protocol: Option<u8>,
    number: u32,
}

/// For whom a received frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// For nobody.
    Nobody,
    /// For this endpoint.
    One(u8),
    /// For all of these, a bit each.
    Each(u64),
}

/// Where a frame goes that an endpoint sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// It goes to the card.
    pub leaves: bool,
    /// The other endpoints that it is for, a bit each.
    pub receivers: u64,
}

/// Why filters were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This filter, of another endpoint, describes frames that one of them describes, too, or has
    /// the same address at another station.
    Overlaps(Filter),
    /// One of them is wrong in itself, or there is no room.
    Wrong(Error),
}

impl Filters {
    /// Adds the filters of an endpoint, all or none. A filter that gives no station gets `station`.
    ///
    /// # Errors
    /// [`Refusal::Overlaps`]. [`Refusal::Wrong`] with [`Error::InvalidArgument`] for one that no frame
    /// to a station can meet, [`Error::TooLong`] for too many, [`Error::NoMemory`].
    pub fn add(
        &mut self,
        endpoint: u8,
        filters: &[Filter],
        station: MacAddress,
    ) -> core::result::Result<Own, Refusal> {
        let own = self.prepare(endpoint, filters, station)?;
        self.followed.push((endpoint, Deque::new()));
        self.insert(endpoint, &own);
        Ok(own)
    }

    /// Gives an endpoint these filters instead of its own, all or none. What is followed for it goes on.
    ///
    /// # Errors
    /// As [`Filters::add`].
    pub fn replace(
        &mut self,
        endpoint: u8,
        filters: &[Filter],
        station: MacAddress,
    ) -> core::result::Result<Own, Refusal> {
        let own = self.prepare(endpoint, filters, station)?;
        self.sorted.retain(|entry| entry.endpoint != endpoint);
        self.insert(endpoint, &own);
        Ok(own)
    }

    /// Looks whether an endpoint may have these filters, and makes room for them.
    fn prepare(
        &mut self,
        endpoint: u8,
        filters: &[Filter],
        station: MacAddress,
    ) -> core::result::Result<Own, Refusal> {
        let mut own = Own::new();
        for filter in filters {
            let station = Some(filter.station.unwrap_or(station));
            let filter = Filter { station, ..*filter };
            check(&filter).map_err(Refusal::Wrong)?;
            let mut others = self.sorted.iter();
            let overlaps =
                |other: &&Entry| other.endpoint != endpoint && overlap(&other.filter, &filter);
            if let Some(other) = others.find(overlaps) {
                return Err(Refusal::Overlaps(other.filter));
            }
            let added = own.push(filter);
            added.map_err(|_| Refusal::Wrong(Error::TooLong))?;
        }
        let room = self.sorted.try_reserve(own.len());
        let room = room.and_then(|()| self.stations.try_reserve(own.len()));
        let room = room.and_then(|()| self.followed.try_reserve(1));
        room.map_err(|_| Refusal::Wrong(Error::NoMemory))?;
        Ok(own)
    }

    /// Puts the filters of an endpoint, for which there is room, to their places.
    fn insert(&mut self, endpoint: u8, own: &Own) {
        for filter in own {
            let entry = Entry {
                key: key(filter),
                filter: *filter,
                endpoint,
            };
            let place = self.sorted.partition_point(|other| other.key <= entry.key);
            self.sorted.insert(place, entry);
        }
        self.note_changed();
    }

    /// Takes the filters of an endpoint out.
    pub fn remove(&mut self, endpoint: u8) {
        self.sorted.retain(|entry| entry.endpoint != endpoint);
        self.followed.retain(|(of, _)| *of != endpoint);
        self.note_changed();
    }

    /// Makes anew what follows from the table. Stations, like entries, are inserted where they belong, because
    /// the code that sorts would be 24 KiB.
    fn note_changed(&mut self) {
        (self.received, self.sent) = (None, None);
        (self.received_v6, self.sent_v6) = (None, None);
        self.stations.clear();
        for station in self.sorted.iter().filter_map(|entry| entry.filter.station) {
            if let Err(place) = self.stations.binary_search(&station) {
                self.stations.insert(place, station);
            }
        }
        self.sets.clear();
        for entry in &self.sorted {
            let mask = mask(&entry.filter);
            if self.sets.last() != Some(&mask) {
                // There are no more sets than there is room for.
                let _ = self.sets.push(mask);
            }
        }
    }

    /// For whom the received frame of `len` bytes is that is in memory at `start`.
    #[inline]
    pub fn receivers_of(&mut self, memory: &impl Shared, start: usize, len: usize) -> Receivers {
        let flow = Flow::load(memory, start, len);
        if let (Some(flow), Some((latest, receivers))) = (flow, self.received)
            && flow == latest
        {
            return receivers;
        }
        if flow.is_none() {
            return self.receivers_beside(memory, start, len);
        }
        let headers = Headers::load(memory, start, len);
        let receivers = headers.map_or(Receivers::Nobody, |headers| self.receivers(&headers));
        self.received = flow.map(|flow| (flow, receivers));
        receivers
    }

    /// The same of a frame that is of no flow of IPv4.
    #[inline(never)]
    fn receivers_beside(&mut self, memory: &impl Shared, start: usize, len: usize) -> Receivers {
        let flow = FlowV6::load(memory, start, len);
        if let (Some(flow), Some((latest, receivers))) = (flow, self.received_v6)
            && flow == latest
        {
            return receivers;
        }
        let headers = Headers::load(memory, start, len);
        let receivers = headers.map_or(Receivers::Nobody, |headers| self.receivers(&headers));
        self.received_v6 = flow.map(|flow| (flow, receivers));
        receivers
    }

    /// Where the frame of `len` bytes goes that is in memory at `start`, and that an endpoint with the
    /// filters `own` sends. What goes to a station of others does not leave.
    ///
    /// # Errors
    /// [`nic::Error::BadHeaders`]; [`nic::Error::BadSource`] if it may not.
    #[inline]
    pub fn way_of(
        &mut self,
        (endpoint, own): (u8, &[Filter]),
        memory: &impl Shared,
        start: usize,
        len: usize,
    ) -> core::result::Result<Way, nic::Error> {
        let flow = Flow::load(memory, start, len);
        if let (Some(flow), Some((sender, latest, way))) = (flow, self.sent)
            && flow == latest
            && sender == endpoint
        {
            return Ok(way);
        }
        if flow.is_none() {
            return self.way_beside((endpoint, own), memory, start, len);
        }
        let way = self.way_by_headers((endpoint, own), memory, start, len)?;
        self.sent = flow.map(|flow| (endpoint, flow, way));
        Ok(way)
    }

    /// The same of a frame that is of no flow of IPv4.
    #[inline(never)]
    fn way_beside(
        &mut self,
        (endpoint, own): (u8, &[Filter]),
        memory: &impl Shared,
        start: usize,
        len: usize,
    ) -> core::result::Result<Way, nic::Error> {
        let flow = FlowV6::load(memory, start, len);
        if let (Some(flow), Some((sender, latest, way))) = (flow, self.sent_v6)
            && flow == latest
            && sender == endpoint
        {
            return Ok(way);
        }
        let way = self.way_by_headers((endpoint, own), memory, start, len)?;
        self.sent_v6 = flow.map(|flow| (endpoint, flow, way));
        Ok(way)
    }

    fn way_by_headers(
        &mut self,
        (endpoint, own): (u8, &[Filter]),
        memory: &impl Shared,
        start: usize,
        len: usize,
    ) -> core::result::Result<Way, nic::Error> {
        let headers = Headers::load(memory, start, len).ok_or(nic::Error::BadHeaders)?;
        match self.may_send(own, &headers) {
            true => Ok(self.way(endpoint, &headers)),
            false => Err(nic::Error::BadSource),
        }
    }

    /// For whom a frame is.
    fn receivers(&mut self, headers: &Headers) -> Receivers {
        if headers.resolves {
            return self.each(|filter| resolution_concerns(filter, headers));
        }
        if headers.is_to_group() {
            let target = specified(headers.destination.address);
            let is_owned = |filter: &Filter| filter.address == target;
            let is_owned =
                target.is_some() && self.sorted.iter().any(|entry| is_owned(&entry.filter));
            return self.each(|filter| concerns_group(filter, headers, is_owned));
        }
        let found = self.find(headers);
        let receiver = found.map(|entry| entry.endpoint);
        let receiver = match headers.part {
            Part::Whole => receiver,
            Part::First(number) => {
                // The others show no port, and perhaps another protocol.
                let is_hidden =
                    |filter: &Filter| filter.port.is_some() || filter.protocol.is_some();
                let follower = found.filter(|entry| is_hidden(&entry.filter));
                let follower = follower.map(|entry| entry.endpoint);
                self.follow(Packet::of(headers, number), follower);
                receiver
            }
            Part::Later(number) => {
                let packet = Packet::of(headers, number);
                let mut followed = self.followed.iter();
                let known = followed.find(|(_, packets)| packets.iter().any(|it| *it == packet));
                receiver.or(known.map(|(endpoint, _)| *endpoint))
            }
        };
        receiver.map_or(Receivers::Nobody, Receivers::One)
    }

    fn way(&mut self, endpoint: u8, headers: &Headers) -> Way {
        let station = &headers.destination.station;
        let is_to_group = is_group(station);
        let leaves = is_to_group || self.stations.binary_search(station).is_err();
        let receivers = match leaves && !is_to_group {
            true => Receivers::Nobody,
            false => self.receivers(headers),
        };
        let receivers = match receivers {
            Receivers::Nobody => 0,
            Receivers::One(receiver) => 1 << receiver,
            Receivers::Each(receivers) => receivers,
        };
        Way {
            leaves,
            receivers: receivers & !(1 << endpoint),
        }
    }

    /// The filter that describes a frame to a station.
    fn find(&self, headers: &Headers) -> Option<&Entry> {
        let all = key(&Filter {
            station: Some(headers.destination.station),
            ethertype: Some(headers.ethertype),
            // Nobody is at the unspecified address, though filters have it.
            address: specified(headers.destination.address),
            protocol: headers.protocol,
            port: headers.destination.port,
        });
        for set in &self.sets {
            // A set that gives what the frame does not have describes it not.
            if given(set) & !given(&all) == 0 {
                let key = core::array::from_fn(|word| all[word] & set[word]);
                let place = self
                    .sorted
                    .binary_search_by(|entry| compare(&entry.key, &key));
                if let Ok(place) = place {
                    return self.sorted.get(place);
                }
            }
        }
        None
    }

    /// The later fragments of a packet go where the first one went: to this endpoint, or to nobody.
    /// Another packet may have had the same number before.
    fn follow(&mut self, packet: Packet, endpoint: Option<u8>) {
        for (of, packets) in &mut self.followed {
            packets.retain(|known| *known != packet);
            if Some(*of) == endpoint {
                if packets.is_full() {
                    packets.pop_front();
                }
                // There is room now.
                let _ = packets.push_back(packet);
            }
        }
    }

    fn each(&self, concerns: impl Fn(&Filter) -> bool) -> Receivers {
        let entries = self.sorted.iter();
        let concerned = entries.filter(|entry| concerns(&entry.filter));
        match concerned.fold(0, |all, entry| all | 1 << entry.endpoint) {
            0 => Receivers::Nobody,
            endpoints => Receivers::Each(endpoints),
        }
    }

    /// Whether the endpoint with the filters `own` may send a frame: whether an answer to it would be
    /// the endpoint's. A packet may come from no address yet, as those that ask for one do. What cannot
    /// be read may not be sent: a peer might read it.
    fn may_send(&self, own: &[Filter], headers: &Headers) -> bool {
        let source = &headers.source;
        let is_readable = match headers.ethertype {
            ARP | IPV4 => source.address.is_some(),
            // A message of neighbour discovery may be behind any number of headers.
            IPV6 => source.address.is_some() && headers.protocol.is_some(),
            ethertype => !TAGS.contains(&ethertype),
        };
        let resolution = headers.resolution.unwrap_or_default();
        let says_itself = resolution.claimed.is_some()
            && resolution.station.is_none_or(|it| it == source.station);
        is_readable
            && self.may_claim(own, headers, source.address)
            && (!headers.resolves
                || says_itself
                    && (resolution.claimed == source.address
                        || self.may_claim(own, headers, resolution.claimed)))
    }

    /// Whether the endpoint with the filters `own` may send a frame that says it has this address.
    fn may_claim(&self, own: &[Filter], headers: &Headers, address: Option<IpAddr>) -> bool {
        // The unspecified address is nobody's.
        let taken = specified(address);
        let takes = |filter: &Filter| filter.address.is_some() && filter.address == taken;
        let (mut is_own, mut is_taken) = (false, false);
        for filter in own {
            is_taken |= takes(filter);
            is_own |= filter.station == Some(headers.source.station)
                && may_come_from(filter, address)
                && match headers.resolves {
                    true => resolves(filter, headers),
                    false => agrees(filter, headers, headers.source.port),
                };
        }
        // Who gives no address may not take one that another gives.
        is_own && (is_taken || !self.sorted.iter().any(|entry| takes(&entry.filter)))
    }
}

impl Packet {
    fn of(headers: &Headers, number: u32) -> Self {
        Packet {
            station: headers.destination.station,
            addresses: [headers.source.address, headers.destination.address],
            protocol: headers.protocol.filter(|_| headers.ethertype == IPV4),
            number,
        }
    }
}

/// An address, unless it is the unspecified one.
fn specified(address: Option<IpAddr>) -> Option<IpAddr> {
    address.filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests;
