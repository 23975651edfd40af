//! The neighbour table: the station of each neighbour, for everything that is sent.
//!
//! **Learning.** A neighbour gets an entry by an ARP packet for us (RFC 826), or by an IP packet for us
//! that it has sent itself. Only ARP changes the station of an entry. An IP packet shows that the entry
//! is still right; one that comes from another station is a reason to ask.
//!
//! **Classes.** An entry is [`Class::Confirmed`] once its neighbour has shown that it receives what we
//! send: it answered an ARP request of ours, or acknowledged a segment. Until then it is
//! [`Class::Heard`], since anybody can send a packet under any address. Each class has places of its
//! own, so that a flood of invented senders pushes out other invented senders, and no neighbour that we
//! communicate with. In each class, the entry that was heard from longest ago is pushed out first.
//!
//! **Asking.** An unknown neighbour is asked for by broadcast, once a second and [`TRIES`] times, each
//! neighbour on its own (RFC 1122 §2.3.2.1). An entry that was not confirmed for [`REACHABLE_NS`] is
//! stale. It can be used, but if nothing is heard within [`DELAY_NS`] after that, its station is asked
//! whether it is still there. This is RFC 4861 §7.3, with RFC 1122's unicast poll in the place of
//! neighbour solicitations. No requests are sent for entries that nobody uses, and after [`IDLE_NS`]
//! they count as unknown.
//!
//! The table only compares addresses for equality, so that it can hold IPv6's, too.

use crate::config::Limits;
use crate::counters::counters;
use crate::deadlines::Deadlines;
use crate::index::Index;
use crate::link::ethernet::Station;
use crate::pace::Pace;
use crate::secret::Key;
use abi::socket::Ip;
use alloc::vec::Vec;
use slab::Slab;

/// How often a neighbour is asked for, and the time between two requests: RFC 4861 §10
/// (`MAX_UNICAST_SOLICIT`, `RETRANS_TIMER`). RFC 1122 §2.3.2.1 allows no more.
pub(crate) const TRIES: u8 = 3;
const INTERVAL_NS: u64 = 1_000_000_000;
/// The time after which an entry is stale: the least that RFC 4861 §6.3.4 chooses, `REACHABLE_TIME`
/// (30 s) times `MIN_RANDOM_FACTOR`. If it were longer, a connection, whose time-outs double, would use a
/// wrong station until it is given up.
const REACHABLE_NS: u64 = 15_000_000_000;
/// The time between the use of a stale entry and the request to its station
/// (`DELAY_FIRST_PROBE_TIME`). If the neighbour answers what was sent, no request is needed.
const DELAY_NS: u64 = 5_000_000_000;
/// The time after which an entry counts as unknown if nothing is heard from its neighbour: RFC 1122
/// §2.3.2.1 suggests a minute.
const IDLE_NS: u64 = 60_000_000_000;
/// An entry is updated at most once in this time, since doing so for each packet would cost too much.
const NOTE_NS: u64 = 1_000_000_000;
/// If packets of a neighbour come from two stations, it is asked which one is right once in this time.
const DOUBT_NS: u64 = 5_000_000_000;
/// There may be an entry for each so many octets of buffers. The entry takes a twentieth of that.
const MEMORY_PER_ENTRY: usize = 2560;
/// The least number of entries that there may be.
const ENTRIES_MIN: usize = 64;

/// How sure an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The station is not known and is being asked for.
    Wanted,
    /// The neighbour has sent a packet.
    Heard,
    /// The neighbour has shown that it receives what we send.
    Confirmed,
}

struct Entry {
    address: Ip,
    /// All zero while the station is not known.
    station: Station,
    class: Class,
    /// When something was heard from the neighbour last; up to [`NOTE_NS`] too early.
    heard: u64,
    /// Whether it is being asked, or will be: then there is a time in [`Neighbors::asking`].
    is_asked: bool,
    /// Whether a packet with its address came from another station, so that all stations are asked.
    is_doubted: bool,
    /// How many requests were sent.
    tries: u8,
    /// When an ARP packet told its station last.
    told_at: Option<u64>,
    /// Limits the answers to its ARP requests.
    answers: Pace,
}

counters! {
    /// Events, counted since the start.
    NeighborCounters {
        /// ARP requests that were sent.
        asked = "arp_asked",
        /// Neighbours that did not answer them.
        silent = "neighbors_silent",
        /// Entries that were pushed out by others.
        evicted = "neighbors_evicted",
    }
}

/// What the table has learned from an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// Nothing: the neighbour has no entry, and the packet is not for us.
    Nothing,
    /// The station of a neighbour.
    Station,
    /// That a neighbour has another station than before.
    Moved,
}

/// The neighbour table.
pub(crate) struct Neighbors {
    entries: Slab<Entry>,
    by_address: Index<Ip, usize>,
    /// The slot that was used last: most packets are from or to the same neighbour.
    latest: usize,
    /// The entries of each class, by the time when they were heard from.
    classes: [Deadlines; 3],
    /// How many entries there may be of each class.
    max: [usize; 3],
    /// When the next request is due.
    asking: Deadlines,
    pub counters: NeighborCounters,
}

impl Neighbors {
    #[cold]
    pub fn new(limits: &Limits, key: Key) -> Self {
        let entries = limits.neighbors.min(limits.memory / MEMORY_PER_ENTRY);
        let entries = entries.max(ENTRIES_MIN);
        let (wanted, heard) = (entries / 16, entries / 4);
        Neighbors {
            entries: Slab::new(),
            by_address: Index::with_hasher(key),
            latest: 0,
            classes: Default::default(),
            max: [wanted, heard, entries - heard - wanted],
            asking: Deadlines::default(),
            counters: NeighborCounters::default(),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    fn find(&self, address: Ip) -> Option<usize> {
        match self.entries.get(self.latest) {
            Some(entry) if entry.address == address => Some(self.latest),
            _ => self.search(address),
        }
    }

    #[inline(never)]
    fn search(&self, address: Ip) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    // --- sending ----------------------------------------------------------------------

    /// Whether the entry that was used last is that of this neighbour.
    #[inline]
    pub fn is_latest(&self, address: Ip) -> bool {
        let entry = self.entries.get(self.latest);
        entry.is_some_and(|entry| entry.address == address)
    }

    /// The station of a neighbour, if it is known.
    pub fn station(&self, address: Ip, now: u64) -> Option<Station> {
        let entry = self.entries.get(self.find(address)?)?;
        entry.is_good(now).then_some(entry.station)
    }

    /// The station of a neighbour, if it is known, for a packet that is sent now: if the entry is
    /// stale, the neighbour will be asked.
    #[inline]
    pub fn use_station(&mut self, address: Ip, now: u64) -> Option<Station> {
        match self.entries.get(self.latest) {
            Some(entry) if entry.address == address && entry.is_fresh(now, REACHABLE_NS) => {
                Some(entry.station)
            }
            _ => self.use_other(address, now),
        }
    }

    /// The same for an entry that was not the last one used, or is stale.
    #[inline(never)]
    fn use_other(&mut self, address: Ip, now: u64) -> Option<Station> {
        let slot = self.find(address)?;
        self.latest = slot;
        let entry = self.entries.get_mut(slot)?;
        if !entry.is_good(now) {
            return None;
        }
        if !entry.is_fresh(now, REACHABLE_NS) && !entry.is_asked {
            (entry.is_asked, entry.tries) = (true, 0);
            self.asking.set(slot, now.saturating_add(DELAY_NS));
        }
        Some(entry.station)
    }

    /// Starts to ask for a neighbour, unless its station is known. Returns `false` if too many others
    /// are being asked for.
    #[cold]
    pub fn ask(&mut self, address: Ip, now: u64) -> bool {
        if let Some(slot) = self.find(address) {
            match self.entries.get(slot) {
                Some(entry) if entry.class == Class::Wanted || entry.is_good(now) => return true,
                _ => self.remove(slot),
            }
        }
        let wanted = Class::Wanted as usize;
        if self.classes[wanted].len() >= self.max[wanted] {
            return false;
        }
        let slot = self.insert(address, Station([0; 6]), Class::Wanted, now);
        self.ask_now(slot, now);
        true
    }

    /// Has a request sent by the next poll.
    fn ask_now(&mut self, slot: usize, now: u64) {
        if let Some(entry) = self.entries.get_mut(slot) {
            (entry.is_asked, entry.tries) = (true, 0);
            self.asking.set(slot, now);
        }
    }

    /// The next neighbour for which a request is due, and the station that the request goes to.
    pub fn due(&self, now: u64) -> Option<(Ip, Station)> {
        let entry = self.entries.get(self.asking.due(now)?)?;
        let to = match entry.is_doubted || entry.class == Class::Wanted {
            true => Station::BROADCAST,
            false => entry.station,
        };
        (entry.tries < TRIES).then_some((entry.address, to))
    }

    /// Notes that the request of [`Neighbors::due`] was sent.
    pub fn request_sent(&mut self, address: Ip, now: u64) {
        let slot = self.find(address);
        if let Some((slot, entry)) = slot.and_then(|s| Some((s, self.entries.get_mut(s)?))) {
            entry.tries += 1;
            self.counters.asked += 1;
            self.asking.set(slot, now.saturating_add(INTERVAL_NS));
        }
    }

    /// Removes a neighbour that has not answered [`TRIES`] requests, and returns it.
    pub fn take_failed(&mut self, now: u64) -> Option<Ip> {
        let slot = self.asking.due(now)?;
        let entry = self.entries.get(slot)?;
        let (address, is_over) = (entry.address, entry.tries >= TRIES);
        is_over.then(|| {
            self.counters.silent += 1;
            self.remove(slot);
            address
        })
    }

    /// When the next request or failure is due.
    pub fn deadline(&self) -> Option<u64> {
        self.asking.first().map(|(at, _)| at)
    }

    // --- receiving --------------------------------------------------------------------

    /// Whether a packet from this neighbour and station changes nothing, as is the case for most
    /// packets. `confirms` is as in [`Neighbors::heard_from`].
    #[inline]
    pub fn is_no_news(&self, address: Ip, station: Station, confirms: bool, now: u64) -> bool {
        self.entries.get(self.latest).is_some_and(|entry| {
            entry.address == address
                && entry.station == station
                && (entry.class == Class::Confirmed || !confirms)
                && entry.is_fresh(now, NOTE_NS)
        })
    }

    /// Notes an IP packet for us from a neighbour and its station, which both must be possible ones.
    /// `confirms`: the packet shows that the neighbour receives what we send. Returns whether the station
    /// was wanted.
    #[inline(never)]
    pub fn heard_from(&mut self, address: Ip, station: Station, confirms: bool, now: u64) -> bool {
        let class = match confirms {
            true => Class::Confirmed,
            false => Class::Heard,
        };
        let slot = self.find(address);
        let Some((slot, entry)) = slot.and_then(|s| Some((s, self.entries.get_mut(s)?))) else {
            self.latest = self.insert(address, station, class, now);
            return false;
        };
        self.latest = slot;
        match entry.class {
            Class::Wanted => {
                self.settle(slot, station, class, now);
                return true;
            }
            _ if entry.station == station => {
                let class = match entry.class {
                    Class::Heard => class,
                    confirmed => confirmed,
                };
                self.settle(slot, station, class, now);
            }
            // The entry is too old to be used.
            _ if !entry.is_good(now) => {
                self.remove(slot);
                self.latest = self.insert(address, station, class, now);
            }
            // The packet has come from another station. Whichever is right will answer a request.
            _ => {
                let lately = |at: u64| now < at.saturating_add(DOUBT_NS);
                if !entry.is_doubted && !entry.told_at.is_some_and(lately) {
                    entry.is_doubted = true;
                    self.ask_now(slot, now);
                }
            }
        }
        false
    }

    /// Notes a packet of another network: the router has forwarded it, if it comes from its station.
    pub fn forwarded(&mut self, router: Ip, station: Station, confirms: bool, now: u64) {
        if self.station(router, now) == Some(station) {
            self.heard_from(router, station, confirms, now);
        }
    }

    /// Learns the station of a neighbour from an ARP packet. `is_for_us`: the packet is for us, so that
    /// the neighbour gets an entry if it has none. `is_reply`: it is a reply to us.
    #[cold]
    pub fn learn(
        &mut self,
        address: Ip,
        station: Station,
        is_for_us: bool,
        is_reply: bool,
        now: u64,
    ) -> Learned {
        let slot = match self.find(address) {
            Some(slot) => slot,
            None if is_for_us => self.insert(address, station, Class::Heard, now),
            None => return Learned::Nothing,
        };
        let Some(entry) = self.entries.get_mut(slot) else {
            return Learned::Nothing;
        };
        let before = (entry.class, entry.station);
        let class = match before.0 {
            // Only a reply to a request of ours confirms: anybody can send another one under any address.
            _ if is_reply && entry.is_asked && entry.tries > 0 => Class::Confirmed,
            Class::Wanted => Class::Heard,
            class => class,
        };
        entry.told_at = Some(now);
        self.settle(slot, station, class, now);
        match before {
            (Class::Heard | Class::Confirmed, before) if before != station => Learned::Moved,
            _ => Learned::Station,
        }
    }

    /// Whether a request of a neighbour, which must have an entry, may be answered now.
    pub fn may_be_answered(&mut self, address: Ip, pace: impl Fn(&mut Pace) -> bool) -> bool {
        let slot = self.find(address);
        let entry = slot.and_then(|slot| self.entries.get_mut(slot));
        entry.is_some_and(|entry| pace(&mut entry.answers))
    }

    /// Whether this neighbour has shown that it receives what we send.
    pub fn is_confirmed(&self, address: Ip) -> bool {
        let entry = self.find(address).and_then(|slot| self.entries.get(slot));
        entry.is_some_and(|entry| entry.class == Class::Confirmed)
    }

    // --- entries ----------------------------------------------------------------------

    /// Notes the station and the class of an entry. It need not be asked for any more.
    fn settle(&mut self, slot: usize, station: Station, class: Class, now: u64) {
        let Some(entry) = self.entries.get_mut(slot) else {
            return;
        };
        let before = core::mem::replace(&mut entry.class, class);
        (entry.station, entry.heard) = (station, now);
        (entry.is_asked, entry.is_doubted) = (false, false);
        self.asking.clear(slot);
        if before != class {
            self.classes[before as usize].clear(slot);
            // The entry is in no list now, so that it cannot be pushed out itself.
            self.make_room(class, now);
        }
        self.classes[class as usize].set(slot, now);
    }

    fn insert(&mut self, address: Ip, station: Station, class: Class, now: u64) -> usize {
        self.make_room(class, now);
        let slot = self.entries.insert(Entry {
            address,
            station,
            class,
            heard: now,
            is_asked: false,
            is_doubted: false,
            tries: 0,
            told_at: None,
            answers: Pace::default(),
        });
        self.by_address.insert(address, slot);
        self.classes[class as usize].set(slot, now);
        slot
    }

    fn remove(&mut self, slot: usize) {
        if let Some(entry) = self.entries.try_remove(slot) {
            self.by_address.remove(&entry.address);
            self.asking.clear(slot);
            self.classes[entry.class as usize].clear(slot);
        }
    }

    /// Removes all entries.
    #[cold]
    pub fn drop_all(&mut self) {
        let all: Vec<usize> = self.entries.iter().map(|(slot, _)| slot).collect();
        for slot in all {
            self.remove(slot);
        }
    }

    /// Makes room for one more entry of a class. Entries that are too old to be used are removed, too,
    /// so that the table becomes smaller again.
    fn make_room(&mut self, class: Class, now: u64) {
        for class in [Class::Heard, Class::Confirmed] {
            if let Some((heard, slot)) = self.classes[class as usize].first()
                && heard.saturating_add(IDLE_NS) <= now
            {
                self.remove(slot);
            }
        }
        let list = &self.classes[class as usize];
        // The number of wanted entries was checked before: they are not pushed out.
        if class != Class::Wanted
            && list.len() >= self.max[class as usize]
            && let Some((_, slot)) = list.first()
        {
            self.counters.evicted += 1;
            self.remove(slot);
        }
    }
}

impl Entry {
    /// Whether the station is known and not too old to be used.
    fn is_good(&self, now: u64) -> bool {
        self.is_fresh(now, IDLE_NS)
    }

    /// Whether the station is known and something was heard within `time_ns`.
    #[inline]
    fn is_fresh(&self, now: u64, time_ns: u64) -> bool {
        self.class != Class::Wanted && now.wrapping_sub(self.heard) < time_ns
    }
}

#[cfg(test)]
mod tests;
