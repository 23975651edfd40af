use super::*;
use crate::secret::{Purpose, Secret};
use alloc::vec::Vec;

const SECOND: u64 = 1_000_000_000;
const HERE: Station = Station([2, 0, 0, 0, 0, 1]);
const THERE: Station = Station([2, 0, 0, 0, 0, 2]);
/// When the tests begin.
const START: u64 = 100 * SECOND;

fn host(number: u32) -> Ip {
    Ip::v4(core::net::Ipv4Addr::from_bits(0x0a00_0000 + number))
}

/// The number of such a host.
fn number(host: Ip) -> u32 {
    host.halves().1 as u32 - 0x0a00_0000
}

fn station(number: u32) -> Station {
    let [a, b, c, d] = number.to_be_bytes();
    Station([2, 1, a, b, c, d])
}

fn table() -> Neighbors {
    Neighbors::new(&Limits::default(), Secret::from(1).key(Purpose::Tables))
}

impl Neighbors {
    /// Panics if the books disagree, or more is kept than may be.
    fn audit(&self) {
        assert_eq!(self.by_address.len(), self.entries.len());
        let mut counts = [0; 3];
        for (slot, entry) in &self.entries {
            assert_eq!(self.by_address.get(&entry.address), Some(&slot));
            counts[entry.class as usize] += 1;
            let list = &self.classes[entry.class as usize];
            assert_eq!(list.get(slot), Some(entry.heard));
            assert_eq!(self.asking.get(slot).is_some(), entry.is_asked);
            assert_eq!(entry.class == Class::Wanted, !entry.station.is_single());
        }
        assert_eq!(self.classes.each_ref().map(Deadlines::len), counts);
        assert!(
            counts
                .iter()
                .zip(self.max)
                .all(|(&count, max)| count <= max)
        );
    }

    fn class(&self, address: Ip) -> Option<Class> {
        Some(self.entries[self.find(address)?].class)
    }
}

/// What an entry is before something is heard.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    None,
    Wanted,
    Heard,
    Confirmed,
    /// It was confirmed, and is too old.
    Old,
}

/// What is heard, by the station `THERE`; what is known is `HERE`, unless it is `Same`.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// An IP packet, which answers or not.
    Ip(bool),
    Same(bool),
    /// An ARP packet: to us or not, a reply or not.
    Arp(bool, bool),
}

#[test]
fn the_rules_of_the_table() {
    use Before as B;
    use Event::{Arp, Ip, Same};
    let known = |station, class| Some((station, class));
    let (heard, confirmed) = (Class::Heard, Class::Confirmed);
    // What there was, what is heard, what there is, and whether all are asked.
    let rules = [
        (B::None, Ip(false), known(THERE, heard), false),
        (B::None, Ip(true), known(THERE, confirmed), false),
        (B::None, Arp(true, false), known(THERE, heard), false),
        // Who was not asked may say what it likes.
        (B::None, Arp(true, true), known(THERE, heard), false),
        (B::None, Arp(false, false), None, false),
        (B::Wanted, Ip(false), known(THERE, heard), false),
        (B::Wanted, Ip(true), known(THERE, confirmed), false),
        (B::Wanted, Arp(true, true), known(THERE, confirmed), false),
        (B::Wanted, Arp(true, false), known(THERE, heard), false),
        (B::Wanted, Arp(false, false), known(THERE, heard), false),
        (B::Heard, Same(false), known(HERE, heard), false),
        (B::Heard, Same(true), known(HERE, confirmed), false),
        // An IP packet changes nothing.
        (B::Heard, Ip(false), known(HERE, heard), true),
        (B::Heard, Ip(true), known(HERE, heard), true),
        (B::Heard, Arp(true, true), known(THERE, heard), false),
        (B::Heard, Arp(false, false), known(THERE, heard), false),
        (B::Confirmed, Same(false), known(HERE, confirmed), false),
        (B::Confirmed, Ip(false), known(HERE, confirmed), true),
        (B::Confirmed, Ip(true), known(HERE, confirmed), true),
        (
            B::Confirmed,
            Arp(true, false),
            known(THERE, confirmed),
            false,
        ),
        (
            B::Confirmed,
            Arp(false, false),
            known(THERE, confirmed),
            false,
        ),
        // It is as if it were not there, but for ARP (RFC 826: the table has it).
        (B::Old, Ip(false), known(THERE, heard), false),
        (B::Old, Ip(true), known(THERE, confirmed), false),
        (B::Old, Same(false), known(HERE, confirmed), false),
        (B::Old, Arp(false, false), known(THERE, confirmed), false),
    ];
    for (before, event, expected, doubted) in rules {
        let mut table = table();
        let (address, mut now) = (host(7), START);
        match before {
            B::None => {}
            B::Wanted => {
                assert!(table.ask(address, now));
                assert_eq!(table.due(now), Some((address, Station::BROADCAST)));
                table.request_sent(address, now);
            }
            B::Heard => assert!(!table.heard_from(address, HERE, false, now)),
            B::Confirmed | B::Old => assert!(!table.heard_from(address, HERE, true, now)),
        }
        now += match before {
            B::Old => IDLE_NS,
            _ => 2 * SECOND,
        };
        let has_station = matches!(before, B::Heard | B::Confirmed);
        assert_eq!(table.station(address, now).is_some(), has_station);
        table.audit();
        match event {
            Ip(answers) => {
                let wanted = table.heard_from(address, THERE, answers, now);
                assert_eq!(wanted, before == B::Wanted);
            }
            Same(answers) => assert!(!table.heard_from(address, HERE, answers, now)),
            Arp(to_us, replies) => {
                let told = table.learn(address, THERE, to_us, replies, now);
                let expected = match before {
                    B::None if !to_us => Learned::Nothing,
                    B::None | B::Wanted => Learned::Station,
                    _ => Learned::Moved,
                };
                assert_eq!(told, expected);
            }
        }
        let what = (before, event);
        let found = table.station(address, now);
        let found = found.map(|station| (station, table.class(address).unwrap()));
        assert_eq!(found, expected, "{what:?}");
        let due = doubted.then_some((address, Station::BROADCAST));
        assert_eq!(table.due(now), due, "{what:?}");
        table.audit();
    }
}

#[test]
fn a_flood_of_invented_senders_leaves_who_has_answered_in_place() {
    let mut table = table();
    let mut now = START;
    for number in 0..500 {
        table.heard_from(host(number), station(number), true, now);
    }
    for number in 500..100_500 {
        now += 50_000;
        match number % 3 {
            0 => drop(table.learn(host(number), station(number), true, false, now)),
            1 => drop(table.learn(host(number), station(number), true, true, now)),
            _ => drop(table.heard_from(host(number), station(number), false, now)),
        }
        if number % 1000 == 0 {
            table.audit();
        }
    }
    for number in 0..500 {
        assert_eq!(table.station(host(number), now), Some(station(number)));
    }
    // Nor does one under their names, which only has them asked, once in a while.
    for round in 0..100_000 {
        table.heard_from(host(round % 500), station(round), false, now);
        while let Some((address, to)) = table.due(now) {
            assert_eq!(to, Station::BROADCAST);
            let number = number(address);
            table.request_sent(address, now);
            table.learn(address, station(number), true, true, now);
        }
        now += 10_000;
    }
    for number in 0..500 {
        assert_eq!(table.station(host(number), now), Some(station(number)));
    }
    assert_eq!(table.counters.asked, 500);
    // The inventions that are too old go as others come.
    now += IDLE_NS;
    for number in 0..3000 {
        table.heard_from(host(1_000_000 + number), HERE, false, now);
    }
    assert!(
        table.len() <= table.max[Class::Heard as usize],
        "{}",
        table.len()
    );
    table.audit();
}

#[test]
fn the_table_is_bounded_and_who_was_heard_of_last_stays() {
    for memory in [64 << 10, 1 << 20, 64 << 20] {
        let limits = Limits {
            memory,
            ..Limits::default()
        };
        let mut table = Neighbors::new(&limits, Secret::from(1).key(Purpose::Tables));
        let most = (memory / MEMORY_PER_ENTRY).clamp(ENTRIES_MIN, 4096);
        for number in 0..10_000 {
            let now = START + u64::from(number) * 1_000_000;
            table.heard_from(host(number), HERE, true, now);
            // The first one goes on.
            table.heard_from(host(0), HERE, true, now);
            table.heard_from(host(100_000 + number), HERE, false, now);
            table.ask(host(200_000 + number), now);
        }
        let now = START + 10 * SECOND;
        assert_eq!(table.len(), most);
        table.audit();
        for number in [0, 9_999, 9_990, 109_999] {
            assert!(table.station(host(number), now).is_some(), "{number}");
        }
        assert_eq!(table.station(host(1), now), None);
        // About so many octets for each, with what vectors and tables have to spare.
        let entry = 2 * (size_of::<Entry>() + 8) + 2 * 24 + 3 * 2 * 24;
        assert!(entry <= 2 * MEMORY_PER_ENTRY / 10, "{entry}");
    }
}

#[test]
fn each_is_asked_for_at_its_own_pace_and_given_up() {
    let mut table = table();
    // Each a tenth of a second after the one before.
    let first = |number: u32| START + u64::from(number) * SECOND / 10;
    let mut asked: Vec<(u32, u64)> = Vec::new();
    let mut over: Vec<(u32, u64)> = Vec::new();
    for tick in 0..500 {
        let now = START + tick * SECOND / 100;
        for number in 0..10 {
            if now == first(number) {
                assert!(table.ask(host(number), now) && table.ask(host(number), now));
            }
        }
        while let Some(address) = table.take_failed(now) {
            over.push((number(address), now));
        }
        while let Some((address, to)) = table.due(now) {
            assert_eq!(to, Station::BROADCAST);
            asked.push((number(address), now));
            table.request_sent(address, now);
        }
        assert!(table.deadline().is_none_or(|at| at > now));
    }
    for number in 0..10 {
        let times = |list: &[(u32, u64)]| -> Vec<u64> {
            let own = list.iter().filter(|(n, _)| *n == number);
            own.map(|(_, at)| at - first(number)).collect()
        };
        assert_eq!(times(&asked), [0, SECOND, 2 * SECOND]);
        assert_eq!(times(&over), [3 * SECOND]);
    }
    assert_eq!((table.len(), table.counters.silent), (0, 10));
    assert_eq!((table.counters.asked, table.deadline()), (30, None));
    // Of so many at once, one more is not asked for.
    let most = table.max[Class::Wanted as usize] as u32;
    let wanted = (0..most).map(|number| table.ask(host(number), START));
    assert!(wanted.fold(true, |all, each| all & each));
    assert!(!table.ask(host(most), START) && table.ask(host(3), START));
    table.audit();
}

/// RFC 4861 §7.3.3 and RFC 1122 §2.3.2.1 (2).
#[test]
fn a_stale_entry_is_used_and_its_station_is_asked() {
    for answered in [None, Some(false), Some(true)] {
        let mut table = table();
        let address = host(7);
        table.heard_from(address, HERE, true, START);
        let fresh = START + REACHABLE_NS - 1;
        assert_eq!(table.use_station(address, fresh), Some(HERE));
        assert_eq!(table.deadline(), None);
        let used = fresh + 1;
        assert_eq!(table.use_station(address, used), Some(HERE));
        // An answer to what was sent would make the question needless.
        assert_eq!(
            (table.deadline(), table.due(used)),
            (Some(used + DELAY_NS), None)
        );
        if answered == Some(false) {
            table.heard_from(address, HERE, false, used + SECOND);
            assert_eq!(table.deadline(), None);
            continue;
        }
        let mut now = used + DELAY_NS;
        for _ in 0..TRIES {
            assert_eq!(table.take_failed(now), None);
            assert_eq!(table.due(now), Some((address, HERE)));
            table.request_sent(address, now);
            assert_eq!(
                (table.due(now), table.use_station(address, now)),
                (None, Some(HERE))
            );
            now += INTERVAL_NS;
        }
        if answered == Some(true) {
            assert_eq!(
                table.learn(address, HERE, true, true, now),
                Learned::Station
            );
            assert_eq!((table.take_failed(now), table.deadline()), (None, None));
            assert_eq!(table.use_station(address, now + SECOND), Some(HERE));
        } else {
            assert_eq!(table.take_failed(now), Some(address));
            assert_eq!((table.use_station(address, now), table.len()), (None, 0));
        }
        table.audit();
    }
    // Who is not sent to is not asked, and is unknown after a while.
    let mut table = table();
    table.heard_from(host(7), HERE, true, START);
    assert_eq!(table.station(host(7), START + IDLE_NS - 1), Some(HERE));
    assert_eq!(table.use_station(host(7), START + IDLE_NS), None);
    assert_eq!(table.deadline(), None);
    assert!(table.ask(host(7), START + IDLE_NS));
    assert_eq!(table.class(host(7)), Some(Class::Wanted));
    table.audit();
}

#[test]
fn two_stations_of_one_neighbour_are_a_question_once_in_a_while() {
    let mut table = table();
    let address = host(7);
    table.heard_from(address, HERE, true, START);
    let mut asked = 0;
    for tick in 0..2000 {
        let now = START + tick * SECOND / 100;
        table.heard_from(address, THERE, true, now);
        table.heard_from(address, HERE, true, now);
        table.heard_from(address, THERE, true, now);
        if let Some((_, to)) = table.due(now) {
            asked += 1;
            table.request_sent(address, now);
            assert_eq!(to, Station::BROADCAST);
            assert_eq!(
                table.learn(address, HERE, true, true, now),
                Learned::Station
            );
        }
        assert_eq!(table.station(address, now), Some(HERE));
    }
    assert_eq!(asked, 4, "of 20 s");
    table.audit();
}

#[test]
fn a_neighbour_that_has_answered_is_doubted_again_after_that_time() {
    for (later, doubted) in [(DOUBT_NS - 1, false), (DOUBT_NS, true)] {
        let mut table = table();
        table.learn(host(7), HERE, true, true, START);
        table.heard_from(host(7), THERE, true, START + later);
        assert_eq!(table.due(START + later).is_some(), doubted);
    }
}

#[test]
fn a_router_is_heard_by_what_it_passes_on() {
    let mut table = table();
    let router = host(1);
    table.forwarded(router, HERE, true, START);
    assert_eq!(table.len(), 0, "which of its stations that is nobody knows");
    table.learn(router, HERE, true, true, START);
    let late = START + IDLE_NS - SECOND;
    // Another router may pass packets on, too.
    table.forwarded(router, THERE, true, late);
    assert_eq!(
        (table.class(router), table.deadline()),
        (Some(Class::Heard), None)
    );
    table.forwarded(router, HERE, true, late);
    assert_eq!(table.class(router), Some(Class::Confirmed));
    assert_eq!(table.station(router, late + SECOND), Some(HERE));
    table.audit();
}

#[test]
fn anything_in_any_order_keeps_the_books() {
    let mut chance = crate::tests::world::Chance(5);
    let limits = Limits {
        neighbors: ENTRIES_MIN,
        ..Limits::default()
    };
    let mut table = Neighbors::new(&limits, Secret::from(1).key(Purpose::Tables));
    let mut now = START;
    for round in 0..200_000 {
        let address = host(chance.below(120) as u32);
        let from = station(chance.below(2) as u32);
        let (one, other) = (chance.percent(50), chance.percent(50));
        match chance.below(9) {
            0 => drop(table.heard_from(address, from, one, now)),
            1 => table.forwarded(address, from, one, now),
            2 => drop(table.learn(address, from, one, one && other, now)),
            3 => drop(table.ask(address, now)),
            4 => drop(table.use_station(address, now)),
            5 => drop(table.take_failed(now)),
            6 => {
                if let Some((address, _)) = table.due(now) {
                    table.request_sent(address, now);
                }
            }
            7 => drop(table.may_be_answered(address, |pace| pace.allows(now, 9, 9))),
            _ => now += chance.below(SECOND / 2),
        }
        if round % 100 == 0 {
            table.audit();
        }
    }
    assert!(table.counters.evicted > 100 && table.counters.silent > 100);
}

#[test]
fn no_news_is_what_would_change_nothing() {
    let mut neighbors = table();
    neighbors.heard_from(host(1), station(1), false, START);
    let is_no_news = |neighbors: &Neighbors, answers, at| {
        [(1, 1), (1, 2), (2, 1)]
            .map(|(at_host, at)| (host(at_host), station(at)))
            .map(|(host, station)| neighbors.is_no_news(host, station, answers, at))
    };
    // That it gets what we send would be news of one that was only heard.
    assert_eq!(is_no_news(&neighbors, false, START), [true, false, false]);
    assert_eq!(is_no_news(&neighbors, true, START), [false; 3]);
    neighbors.heard_from(host(1), station(1), true, START);
    for answers in [false, true] {
        let at = START + NOTE_NS - 1;
        assert_eq!(is_no_news(&neighbors, answers, at), [true, false, false]);
        assert_eq!(is_no_news(&neighbors, answers, at + 1), [false; 3]);
    }
}

#[test]
fn only_who_was_asked_confirms_by_a_reply() {
    let mut neighbors = table();
    let (to_us, replies) = (true, true);
    neighbors.learn(host(1), station(1), to_us, replies, START);
    // The request has not left yet.
    neighbors.ask(host(2), START);
    neighbors.learn(host(2), station(2), to_us, replies, START);
    neighbors.ask(host(3), START);
    neighbors.request_sent(host(3), START);
    neighbors.learn(host(3), station(3), to_us, !replies, START);
    neighbors.ask(host(4), START);
    neighbors.request_sent(host(4), START);
    neighbors.learn(host(4), station(4), to_us, replies, START);
    let is_confirmed = [1, 2, 3, 4, 5].map(|n| neighbors.is_confirmed(host(n)));
    assert_eq!(is_confirmed, [false, false, false, true, false]);
}

#[test]
fn who_does_not_answer_is_asked_so_often_and_given_up() {
    let mut neighbors = table();
    let mut now = START;
    neighbors.ask(host(1), now);
    for _ in 0..TRIES {
        assert_eq!(neighbors.take_failed(now), None);
        assert_eq!(neighbors.due(now), Some((host(1), Station::BROADCAST)));
        neighbors.request_sent(host(1), now);
        assert_eq!(
            (neighbors.due(now), neighbors.take_failed(now)),
            (None, None)
        );
        now += INTERVAL_NS;
    }
    assert_eq!(neighbors.due(now), None);
    assert_eq!(neighbors.take_failed(now), Some(host(1)));
    assert_eq!(neighbors.deadline(), None);
}
