//! The stations of our neighbours: the one table that says where packets go, whoever sends them.
//!
//! **What is known.** A neighbour gets an entry by an ARP packet for us (RFC 826), or by an IP
//! packet of its own for us. An IP packet never changes an entry, it only shows that it is still
//! right; one from another station is a reason to ask (below). ARP changes entries.
//!
//! **Who stays.** An entry is [`Class::Confirmed`] once its neighbour has shown that it gets what
//! we send: it answered a question of ours, or acknowledged a segment. Until then it is
//! [`Class::Heard`]: anybody can say so under any name. Both classes have their own places, so
//! that a flood of invented senders pushes out other inventions, and no neighbour that we speak
//! with. In each, who was heard of the longest ago goes first.
//!
//! **Asking.** Who is not known is asked for by broadcast, once a second and [`TRIES`] times,
//! each on its own (RFC 1122 §2.3.2.1). An entry that has not been confirmed for
//! [`REACHABLE_NS`] is used, and if nothing is heard within [`DELAY_NS`] its station is asked
//! whether it is still there: RFC 4861 §7.3, with RFC 1122's unicast poll in the place of
//! neighbour solicitations. Nothing is sent for entries that nobody uses, and after [`IDLE_NS`]
//! they count as unknown.
//!
//! Of an address the table wants to know only whether it is another: IPv6's can be in it, too.

use crate::config::Limits;
use crate::deadlines::Deadlines;
use crate::index::Index;
use crate::link::ethernet::Station;
use crate::pace::Pace;
use crate::secret::Key;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use slab::Slab;

/// How often a neighbour is asked for, and how soon again: RFC 4861 §10 (`MAX_UNICAST_SOLICIT`,
/// `RETRANS_TIMER`), which is as often as RFC 1122 §2.3.2.1 allows.
pub(crate) const TRIES: u8 = 3;
const INTERVAL_NS: u64 = 1_000_000_000;
/// How long what was heard is good for: the least that RFC 4861 §6.3.4 draws, `REACHABLE_TIME`
/// (30 s) times `MIN_RANDOM_FACTOR`. With more, a connection whose time-outs double would use a
/// wrong station until it is given up.
const REACHABLE_NS: u64 = 15_000_000_000;
/// How long after a stale entry was used its station is asked: `DELAY_FIRST_PROBE_TIME`. An
/// answer to what was sent makes that needless.
const DELAY_NS: u64 = 5_000_000_000;
/// How long an entry is good for of which nothing is heard: as a minute is what RFC 1122
/// §2.3.2.1 suggests.
const IDLE_NS: u64 = 60_000_000_000;
/// What is heard is noted so often at the most: each packet would be work.
const NOTE_NS: u64 = 1_000_000_000;
/// A neighbour that sends by two stations is asked which is right once in this time.
const DOUBT_NS: u64 = 5_000_000_000;
/// Octets of buffers for each entry there may be: the table takes a twentieth of that.
const MEMORY_PER_ENTRY: usize = 2560;
/// There are at least so many.
const ENTRIES_MIN: usize = 64;

/// How sure an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Its station is being asked for.
    Wanted,
    /// It has spoken.
    Heard,
    /// It has answered.
    Confirmed,
}

struct Entry {
    address: Ipv4Addr,
    /// None that a station can have while it is wanted.
    station: Station,
    class: Class,
    /// When something was heard of it last, give or take [`NOTE_NS`].
    heard: u64,
    /// It is being asked, or will be: there is a time in [`Neighbors::asking`].
    is_asked: bool,
    /// All stations are to be asked, since another has sent under its address.
    is_doubted: bool,
    /// How often it was asked.
    tries: u8,
    /// When ARP said last where it is.
    told: Option<u64>,
    /// How often it asks for us.
    questions: Pace,
}

/// Events, counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct NeighborCounters {
    /// Requests that were sent.
    pub asked: u64,
    /// Neighbours that did not answer them.
    pub silent: u64,
    /// Neighbours that had to make room for others.
    pub evicted: u64,
}

/// What an ARP packet has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing: who is not known, and does not speak to us, gets no entry.
    Nothing,
    /// There is an entry, with that station.
    Known,
    /// There is one, and the neighbour was at another station.
    Moved,
}

/// The table of neighbours.
pub(crate) struct Neighbors {
    entries: Slab<Entry>,
    by_address: Index<Ipv4Addr, usize>,
    /// The entry that was found last: most packets are from or to the same neighbour.
    latest: usize,
    /// The entries of each class, by when they were heard of.
    heard: Deadlines,
    confirmed: Deadlines,
    /// When the next request is due.
    asking: Deadlines,
    wanted: usize,
    /// How many entries there may be of each class.
    wanted_max: usize,
    heard_max: usize,
    confirmed_max: usize,
    pub counters: NeighborCounters,
}

impl Neighbors {
    #[cold]
    pub fn new(limits: &Limits, key: Key) -> Self {
        let entries = limits.neighbors.min(limits.memory / MEMORY_PER_ENTRY);
        let entries = entries.max(ENTRIES_MIN);
        let (wanted_max, heard_max) = (entries / 16, entries / 4);
        Neighbors {
            entries: Slab::new(),
            by_address: Index::with_hasher(key),
            latest: 0,
            heard: Deadlines::default(),
            confirmed: Deadlines::default(),
            asking: Deadlines::default(),
            wanted: 0,
            wanted_max,
            heard_max,
            confirmed_max: entries - heard_max - wanted_max,
            counters: NeighborCounters::default(),
        }
    }

    /// How many stations are known, or being asked for.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    fn find(&self, address: Ipv4Addr) -> Option<usize> {
        match self.entries.get(self.latest) {
            Some(entry) if entry.address == address => Some(self.latest),
            _ => self.search(address),
        }
    }

    #[inline(never)]
    fn search(&self, address: Ipv4Addr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    // --- sending ----------------------------------------------------------------------

    /// Whether this is the neighbour that was heard of or used last.
    #[inline]
    pub fn is_latest(&self, address: Ipv4Addr) -> bool {
        let entry = self.entries.get(self.latest);
        entry.is_some_and(|entry| entry.address == address)
    }

    /// The station of a neighbour, if it is known.
    pub fn station(&self, address: Ipv4Addr, now: u64) -> Option<Station> {
        let entry = self.entries.get(self.find(address)?)?;
        entry.is_good(now).then_some(entry.station)
    }

    /// The same, for a packet that leaves now.
    #[inline]
    pub fn use_station(&mut self, address: Ipv4Addr, now: u64) -> Option<Station> {
        match self.entries.get(self.latest) {
            Some(entry) if entry.address == address && entry.is_fresh(now, REACHABLE_NS) => {
                Some(entry.station)
            }
            _ => self.use_other(address, now),
        }
    }

    /// The same, of an entry that is not the latest, or stale.
    #[inline(never)]
    fn use_other(&mut self, address: Ipv4Addr, now: u64) -> Option<Station> {
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

    /// Starts to ask for a neighbour, unless it is known. `false` if too many others are being
    /// asked for.
    #[cold]
    pub fn ask(&mut self, address: Ipv4Addr, now: u64) -> bool {
        if let Some(slot) = self.find(address) {
            match self.entries.get(slot) {
                Some(entry) if entry.class == Class::Wanted || entry.is_good(now) => return true,
                _ => self.remove(slot),
            }
        }
        if self.wanted >= self.wanted_max {
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

    /// The next neighbour to send a request for, if one is due, and the stations to send it to.
    pub fn due(&self, now: u64) -> Option<(Ipv4Addr, Station)> {
        let entry = self.entries.get(self.asking.due(now)?)?;
        let to = match entry.is_doubted || entry.class == Class::Wanted {
            true => Station::BROADCAST,
            false => entry.station,
        };
        (entry.tries < TRIES).then_some((entry.address, to))
    }

    /// That request was sent.
    pub fn sent(&mut self, address: Ipv4Addr, now: u64) {
        let slot = self.find(address);
        if let Some((slot, entry)) = slot.and_then(|s| Some((s, self.entries.get_mut(s)?))) {
            entry.tries += 1;
            self.counters.asked += 1;
            self.asking.set(slot, now.saturating_add(INTERVAL_NS));
        }
    }

    /// Takes a neighbour that was asked for often enough in vain: it is not known any more.
    pub fn given_up(&mut self, now: u64) -> Option<Ipv4Addr> {
        let slot = self.asking.due(now)?;
        let entry = self.entries.get(slot)?;
        let (address, is_over) = (entry.address, entry.tries >= TRIES);
        is_over.then(|| {
            self.counters.silent += 1;
            self.remove(slot);
            address
        })
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<u64> {
        self.asking.first().map(|(at, _)| at)
    }

    // --- what is heard ----------------------------------------------------------------

    /// Whether it would change nothing that a packet has come from this neighbour by this station,
    /// as is so with most.
    #[inline]
    pub fn is_no_news(&self, address: Ipv4Addr, station: Station, answers: bool, now: u64) -> bool {
        self.entries.get(self.latest).is_some_and(|entry| {
            entry.address == address
                && entry.station == station
                && (entry.class == Class::Confirmed || !answers)
                && entry.is_fresh(now, NOTE_NS)
        })
    }

    /// An IP packet for us has come from a neighbour by this station, both of which can be.
    /// `answers`: it shows that the neighbour gets what we send. Returns whether the station was
    /// wanted.
    #[inline(never)]
    pub fn spoke(&mut self, address: Ipv4Addr, station: Station, answers: bool, now: u64) -> bool {
        let class = match answers {
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
            // What is known of it is too old to be used.
            _ if !entry.is_good(now) => {
                self.remove(slot);
                self.latest = self.insert(address, station, class, now);
            }
            // It is at another station as far as we know: whoever is right will say so.
            _ => {
                let lately = |told: u64| now < told.saturating_add(DOUBT_NS);
                if !entry.is_doubted && !entry.told.is_some_and(lately) {
                    entry.is_doubted = true;
                    self.ask_now(slot, now);
                }
            }
        }
        false
    }

    /// A packet has come that a router passes on: this neighbour, if it is at that station.
    pub fn passed_on(&mut self, router: Ipv4Addr, station: Station, answers: bool, now: u64) {
        if self.station(router, now) == Some(station) {
            self.spoke(router, station, answers, now);
        }
    }

    /// An ARP packet says where a neighbour is. `to_us`: it speaks to us, and gets an entry if it
    /// has none; `replies`: it is a reply to us.
    #[cold]
    pub fn told(
        &mut self,
        address: Ipv4Addr,
        station: Station,
        (to_us, replies): (bool, bool),
        now: u64,
    ) -> Told {
        let slot = match self.find(address) {
            Some(slot) => slot,
            None if to_us => self.insert(address, station, Class::Heard, now),
            None => return Told::Nothing,
        };
        let Some(entry) = self.entries.get_mut(slot) else {
            return Told::Nothing;
        };
        let before = (entry.class, entry.station);
        let class = match before.0 {
            // To what we have asked, or else anybody could have said it without being there.
            _ if replies && entry.is_asked && entry.tries > 0 => Class::Confirmed,
            Class::Wanted => Class::Heard,
            class => class,
        };
        entry.told = Some(now);
        self.settle(slot, station, class, now);
        match before {
            (Class::Heard | Class::Confirmed, before) if before != station => Told::Moved,
            _ => Told::Known,
        }
    }

    /// Whether a request of this neighbour may be answered now, which has an entry.
    pub fn may_be_answered(&mut self, address: Ipv4Addr, pace: impl Fn(&mut Pace) -> bool) -> bool {
        let slot = self.find(address);
        let entry = slot.and_then(|slot| self.entries.get_mut(slot));
        entry.is_some_and(|entry| pace(&mut entry.questions))
    }

    /// Whether this neighbour has shown that it gets what we send.
    pub fn is_confirmed(&self, address: Ipv4Addr) -> bool {
        let entry = self.find(address).and_then(|slot| self.entries.get(slot));
        entry.is_some_and(|entry| entry.class == Class::Confirmed)
    }

    // --- the books --------------------------------------------------------------------

    /// The neighbour is at this station, now: it need not be asked any more.
    fn settle(&mut self, slot: usize, station: Station, class: Class, now: u64) {
        let Some(entry) = self.entries.get_mut(slot) else {
            return;
        };
        let before = core::mem::replace(&mut entry.class, class);
        (entry.station, entry.heard) = (station, now);
        (entry.is_asked, entry.is_doubted) = (false, false);
        self.asking.clear(slot);
        if before != class {
            self.leave(slot, before);
            // It is in no list, so that it cannot be the one that makes room.
            self.make_room(class, now);
        }
        self.enter(slot, class, now);
    }

    fn insert(&mut self, address: Ipv4Addr, station: Station, class: Class, now: u64) -> usize {
        self.make_room(class, now);
        let slot = self.entries.insert(Entry {
            address,
            station,
            class,
            heard: now,
            is_asked: false,
            is_doubted: false,
            tries: 0,
            told: None,
            questions: Pace::default(),
        });
        self.by_address.insert(address, slot);
        self.enter(slot, class, now);
        slot
    }

    fn remove(&mut self, slot: usize) {
        if let Some(entry) = self.entries.try_remove(slot) {
            self.by_address.remove(&entry.address);
            self.asking.clear(slot);
            self.leave(slot, entry.class);
        }
    }

    /// Forgets all.
    #[cold]
    pub fn drop_all(&mut self) {
        let all: Vec<usize> = self.entries.iter().map(|(slot, _)| slot).collect();
        for slot in all {
            self.remove(slot);
        }
    }

    /// Notes, or notes again, when an entry of this class was heard of.
    fn enter(&mut self, slot: usize, class: Class, now: u64) {
        match class {
            Class::Wanted => self.wanted += 1,
            Class::Heard => self.heard.set(slot, now),
            Class::Confirmed => self.confirmed.set(slot, now),
        }
    }

    fn leave(&mut self, slot: usize, class: Class) {
        match class {
            Class::Wanted => self.wanted -= 1,
            Class::Heard => self.heard.clear(slot),
            Class::Confirmed => self.confirmed.clear(slot),
        }
    }

    /// Sees to it that there is a place for one more of this class. What is too old to be used
    /// goes besides, so that the table becomes smaller again.
    fn make_room(&mut self, class: Class, now: u64) {
        for class in [Class::Heard, Class::Confirmed] {
            if let Some((heard, slot)) = self.oldest(class)
                && heard.saturating_add(IDLE_NS) <= now
            {
                self.remove(slot);
            }
        }
        let (len, max) = match class {
            Class::Wanted => return,
            Class::Heard => (self.heard.len(), self.heard_max),
            Class::Confirmed => (self.confirmed.len(), self.confirmed_max),
        };
        if len >= max
            && let Some((_, slot)) = self.oldest(class)
        {
            self.counters.evicted += 1;
            self.remove(slot);
        }
    }

    fn oldest(&self, class: Class) -> Option<(u64, usize)> {
        match class {
            Class::Wanted => None,
            Class::Heard => self.heard.first(),
            Class::Confirmed => self.confirmed.first(),
        }
    }
}

impl Entry {
    /// Whether its station can be sent to.
    fn is_good(&self, now: u64) -> bool {
        self.is_fresh(now, IDLE_NS)
    }

    /// Whether something was heard of it within that time.
    #[inline]
    fn is_fresh(&self, now: u64, time_ns: u64) -> bool {
        self.class != Class::Wanted && now.wrapping_sub(self.heard) < time_ns
    }
}

#[cfg(test)]
mod tests;
