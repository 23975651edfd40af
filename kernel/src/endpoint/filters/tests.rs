//! Filters against all frames of a small world, and against a matcher that only knows what the filters'
//! documentation says.

use super::*;
use crate::endpoint::headers::{
    End, HEADERS_MAX, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, REDIRECT,
    ROUTER_SOLICITATION, Resolution, TCP, UDP,
};
use crate::endpoint::tests::Area;
use crate::endpoint::tests::frames::{
    self, ADDRESSES, EVERYBODY, GROUP, ICMP, OTHER, PORTS, Packet, STATIONS, arp, v4, v6,
};
use core::net::{Ipv4Addr, Ipv6Addr};
use nic::model::Rng;
use std::cell::Cell;

thread_local! {
    static COMPARED: Cell<u32> = const { Cell::new(0) };
}

/// Two keys were compared.
pub fn compared() {
    COMPARED.set(COMPARED.get() + 1);
}

/// Of who has no address yet.
const NOWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];
/// The card's own station.
const OWN: MacAddress = STATIONS[0];

fn some<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    let given = values.iter().copied().map(Some);
    [None].into_iter().chain(given).collect()
}

/// All filters of a small world, whether frames can meet them or not.
fn all_filters() -> Vec<Filter> {
    let mut all = Vec::new();
    for station in STATIONS[..2].iter().copied().map(Some) {
        for ethertype in some(&[IPV4, IPV6, ARP, OTHER]) {
            for address in some(&[v4(1), v4(2), v6(1)]) {
                for protocol in some(&[TCP, UDP, ICMP]) {
                    for port in some(&PORTS[..2]) {
                        all.push(Filter {
                            station,
                            ethertype,
                            address,
                            protocol,
                            port,
                        });
                    }
                }
            }
        }
    }
    all
}

/// All frames to a station in that world, of which some filter may speak.
fn all_frames() -> Vec<Headers> {
    let mut all = Vec::new();
    for station in STATIONS[..2].iter().copied() {
        let mut push = |ethertype, address, protocol, port| {
            all.push(Headers {
                destination: End {
                    station,
                    address,
                    port,
                },
                ethertype,
                protocol,
                ..Headers::default()
            });
        };
        push(OTHER, None, None, None);
        push(OTHER + 1, None, None, None);
        for (ethertype, addresses) in [(IPV4, [v4(1), v4(2)]), (IPV6, [v6(1), v6(2)])] {
            push(ethertype, None, None, None);
            for address in addresses.map(Some) {
                push(ethertype, address, None, None);
                for protocol in [TCP, UDP, ICMP, 89] {
                    push(ethertype, address, Some(protocol), None);
                    for port in PORTS {
                        if protocol == TCP || protocol == UDP {
                            push(ethertype, address, Some(protocol), Some(port));
                        }
                    }
                }
            }
        }
    }
    all
}

/// What the documentation of a filter says of a frame to a station that is not ARP.
fn meets(filter: &Filter, headers: &Headers) -> bool {
    filter.station == Some(headers.destination.station)
        && filter.ethertype.is_none_or(|it| it == headers.ethertype)
        && (filter.address.is_none() || filter.address == headers.destination.address)
        && (filter.protocol.is_none() || filter.protocol == headers.protocol)
        && (filter.port.is_none() || filter.port == headers.destination.port)
}

fn add(filters: &mut Filters, endpoint: u8, filter: Filter) -> core::result::Result<Own, Refusal> {
    filters.add(endpoint, &[filter], OWN)
}

fn with(own: &[(u8, Filter)]) -> Filters {
    let mut filters = Filters::default();
    for (endpoint, filter) in own {
        add(&mut filters, *endpoint, *filter).expect("no other is like it");
    }
    filters
}

/// For IPv4 address `host` at the card's own station.
fn at(host: u8) -> Filter {
    Filter {
        address: Some(v4(host)),
        ..Filter::default()
    }
}

fn receivers(filters: &mut Filters, frame: &[u8]) -> Receivers {
    filters.receivers(&Headers::read(frame).expect("an Ethernet header"))
}

#[test]
fn two_endpoints_have_filters_exactly_if_no_frame_is_for_both() {
    let frames = all_frames();
    assert!(frames.len() <= 128);
    // Which frames a filter describes, a bit each.
    let describes = |filter: &Filter| {
        let numbered = frames.iter().enumerate();
        let met = numbered.filter(|(_, frame)| meets(filter, frame));
        met.fold(0_u128, |all, (number, _)| all | 1 << number)
    };
    let mut possible = Vec::new();
    for filter in all_filters() {
        let is_arp = filter.ethertype == Some(ARP)
            && (filter.protocol, filter.port) == (None, None)
            && !matches!(filter.address, Some(IpAddr::V6(_)));
        let described = describes(&filter);
        let added = add(&mut Filters::default(), 0, filter);
        if described == 0 && !is_arp {
            assert_eq!(added, Err(Refusal::Wrong(Error::InvalidArgument)));
        } else {
            assert_eq!(added.as_deref(), Ok(&[filter][..]));
            possible.push((filter, described));
        }
    }
    let mut refused = 0;
    for (one, described) in &possible {
        let mut filters = with(&[(0, *one)]);
        for (other, also_described) in &possible {
            let two_stations = one.address.is_some()
                && one.address == other.address
                && one.station != other.station;
            let added = add(&mut filters, 1, *other);
            if described & also_described != 0 || two_stations {
                assert_eq!(added, Err(Refusal::Overlaps(*one)), "{other:?}");
                refused += 1;
            } else {
                assert!(added.is_ok(), "{one:?} {other:?}");
                filters.remove(1);
            }
        }
    }
    assert!(refused > 1000 && refused < possible.len().pow(2) / 2);
}

#[test]
fn addresses_that_no_host_has_and_stations_that_are_none_are_refused() {
    let wrong = Err(Refusal::Wrong(Error::InvalidArgument));
    for address in ["255.255.255.255", "224.0.0.251", "ff02::1"] {
        let address = Some(address.parse().expect("an address"));
        let filter = Filter {
            address,
            ..Filter::default()
        };
        assert_eq!(add(&mut Filters::default(), 0, filter), wrong);
    }
    for station in [[0; 6], EVERYBODY, GROUP] {
        let filter = Filter {
            station: Some(station),
            ..Filter::default()
        };
        assert_eq!(add(&mut Filters::default(), 0, filter), wrong);
    }
    // A length, which is no type (IEEE 802.3 §3.2.6).
    let filter = Filter {
        ethertype: Some(0x5ff),
        ..Filter::default()
    };
    assert_eq!(add(&mut Filters::default(), 0, filter), wrong);
}

#[test]
fn who_has_no_address_yet_gets_what_is_for_all_and_says_so() {
    let [v4_nowhere, v6_nowhere] = NOWHERE.map(|address| Filter {
        station: Some(OWN),
        address: Some(address),
        ..Filter::default()
    });
    // Many have none, beside one who has all of the station, and beside one who has an address.
    let mut filters = with(&[
        (0, at(1)),
        (1, v4_nowhere),
        (2, v4_nowhere),
        (3, v6_nowhere),
    ]);
    let peer = [2, 9, 9, 9, 9, 9];
    let offer = |to: MacAddress, address| {
        Packet::new([v4(9), address], UDP, [67, 68])
            .between(peer, to)
            .bytes()
    };
    let all = IpAddr::V4(Ipv4Addr::BROADCAST);
    assert_eq!(
        receivers(&mut filters, &offer(EVERYBODY, all)),
        Receivers::Each(0b111)
    );
    assert_eq!(
        receivers(&mut filters, &offer(EVERYBODY, NOWHERE[0])),
        Receivers::Each(0b111)
    );
    assert_eq!(
        receivers(&mut filters, &offer(OWN, v4(2))),
        Receivers::Nobody
    );
    assert_eq!(
        receivers(&mut filters, &offer(OWN, NOWHERE[0])),
        Receivers::Nobody
    );
    // The answer to an address probe (RFC 5227 §1.1), and an announcement.
    let answer = arp([peer, OWN], v4(2), NOWHERE[0]);
    assert_eq!(receivers(&mut filters, &answer), Receivers::Each(0b110));
    let announcement = arp([peer, EVERYBODY], v4(2), v4(2));
    assert_eq!(
        receivers(&mut filters, &announcement),
        Receivers::Each(0b111)
    );
    let router = frames::neighbour(
        ROUTER_SOLICITATION + 1,
        [peer, [0x33, 0x33, 0, 0, 0, 1]],
        [v6(9), "ff02::1".parse().expect("an address")],
        v6(9),
        &[],
    );
    assert_eq!(receivers(&mut filters, &router), Receivers::Each(0b1000));
    // Each may send from no address, and none from one of another's.
    let request = |source| {
        let packet = Packet::new([source, all], UDP, [68, 67]).between(OWN, EVERYBODY);
        Headers::read(&packet.bytes()).expect("an Ethernet header")
    };
    for own in [at(1), v4_nowhere] {
        let own = [Filter {
            station: Some(OWN),
            ..own
        }];
        assert!(filters.may_send(&own, &request(NOWHERE[0])));
        assert!(!filters.may_send(&own, &request(v4(2))));
    }
    assert!(!filters.may_send(&[v4_nowhere], &request(v4(1))));
    let probe = Headers::read(&arp([OWN, EVERYBODY], NOWHERE[0], v4(2)));
    assert!(filters.may_send(&[v4_nowhere], &probe.expect("an Ethernet header")));
}

#[test]
fn filters_are_replaced_all_or_none() {
    let mut filters = with(&[(3, at(1)), (4, at(2))]);
    let to = |host| {
        Packet::new([v4(9), v4(host)], UDP, [1, 2])
            .between(STATIONS[1], OWN)
            .bytes()
    };
    let at_own = Filter {
        station: Some(OWN),
        ..at(1)
    };
    assert_eq!(
        filters.replace(4, &[at(3), at(1)], OWN),
        Err(Refusal::Overlaps(at_own))
    );
    assert_eq!(
        filters.replace(4, &[at(3); FILTERS_MAX + 1], OWN),
        Err(Refusal::Wrong(Error::TooLong))
    );
    assert_eq!(receivers(&mut filters, &to(2)), Receivers::One(4));
    assert_eq!(receivers(&mut filters, &to(3)), Receivers::Nobody);
    // Its own are no others'.
    let own = filters.replace(4, &[at(3), at(2)], OWN);
    assert_eq!(own.map(|own| own.len()), Ok(2));
    assert_eq!(receivers(&mut filters, &to(2)), Receivers::One(4));
    filters.replace(4, &[at(3)], OWN).expect("nobody has it");
    assert_eq!(receivers(&mut filters, &to(3)), Receivers::One(4));
    assert_eq!(receivers(&mut filters, &to(2)), Receivers::Nobody);
    filters.replace(3, &[at(2)], OWN).expect("it is free");
    // What was found out of a flow holds no longer.
    let mut memory = Area::allocate(4096).expect("memory");
    memory.put(0, &to(3));
    assert_eq!(filters.receivers_of(&memory, 0, 46), Receivers::One(4));
    filters.replace(4, &[at(4)], OWN).expect("nobody has it");
    assert_eq!(filters.receivers_of(&memory, 0, 46), Receivers::Nobody);
    filters.remove(3);
    filters.remove(4);
    for host in 1..5 {
        assert_eq!(receivers(&mut filters, &to(host)), Receivers::Nobody);
    }
}

#[test]
fn filters_are_added_all_or_none() {
    let mut filters = with(&[(3, at(1))]);
    let station = Some(OWN);
    let taken = Filter { station, ..at(1) };
    // The endpoint's own may overlap each other.
    let own = [at(2), at(2), at(3)];
    assert_eq!(
        filters.add(4, &[at(2), at(1)], OWN),
        Err(Refusal::Overlaps(taken))
    );
    let nowhere = at(0xff);
    let nobody = Filter {
        port: Some(1),
        protocol: Some(ICMP),
        ..nowhere
    };
    assert_eq!(
        filters.add(4, &[at(2), nobody], OWN),
        Err(Refusal::Wrong(Error::InvalidArgument))
    );
    assert_eq!(
        filters.add(4, &[at(2); FILTERS_MAX + 1], OWN),
        Err(Refusal::Wrong(Error::TooLong))
    );
    let to = |host| Packet::new([v4(9), v4(host)], UDP, [1, 2]).between(STATIONS[1], OWN);
    assert_eq!(
        receivers(&mut filters, &to(2).bytes()),
        Receivers::Nobody,
        "of what was refused nothing stays"
    );
    filters.add(4, &own, OWN).expect("nobody has these");
    assert_eq!(receivers(&mut filters, &to(2).bytes()), Receivers::One(4));
    assert_eq!(receivers(&mut filters, &to(1).bytes()), Receivers::One(3));
    filters.remove(3);
    assert_eq!(receivers(&mut filters, &to(1).bytes()), Receivers::Nobody);
    assert_eq!(receivers(&mut filters, &to(3).bytes()), Receivers::One(4));
    filters.add(5, &[at(1)], OWN).expect("it is free again");
}

/// Filters as their documentation has them, without tables.
#[derive(Default)]
struct Naive {
    filters: Vec<(u8, Filter)>,
    /// First fragments, the latest last, and whose they were by port.
    firsts: Vec<(Headers, u32, Option<u8>)>,
}

impl Naive {
    fn each(&self, concerns: impl Fn(&Filter) -> bool) -> Receivers {
        let concerned = self.filters.iter().filter(|(_, filter)| concerns(filter));
        match concerned.fold(0, |all, (endpoint, _)| all | 1 << endpoint) {
            0 => Receivers::Nobody,
            all => Receivers::Each(all),
        }
    }

    fn receivers(&mut self, headers: &Headers) -> Receivers {
        let (source, target) = (headers.source.address, headers.destination.address);
        if headers.resolves {
            let types = match headers.ethertype {
                ARP => [ARP, IPV4],
                _ => [IPV6, IPV6],
            };
            return self.each(|filter| {
                let of_family = |address: IpAddr| address.is_ipv6() == (types[0] == IPV6);
                let address = match (filter.address, headers.resolution) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (own, Some(Resolution { concerns, .. })) => {
                        concerns.is_none() || concerns == own
                    }
                };
                (headers.is_to_group() || filter.station == Some(headers.destination.station))
                    && filter.ethertype.is_none_or(|it| types.contains(&it))
                    && filter.address.is_none_or(of_family)
                    && address
            });
        }
        if headers.is_to_group() {
            let is_owned = |target: IpAddr| {
                !target.is_unspecified()
                    && self
                        .filters
                        .iter()
                        .any(|(_, it)| it.address == Some(target))
            };
            return self.each(|filter| {
                let mut alike = Headers {
                    destination: End {
                        station: filter.station.expect("given"),
                        ..headers.destination
                    },
                    ..*headers
                };
                let has_ports = matches!(headers.protocol, Some(TCP | UDP));
                if has_ports && matches!(headers.part, Part::Later(_)) {
                    alike.destination.port = filter.port;
                }
                if let (Some(own), Some(target)) = (filter.address, target)
                    && own.is_ipv4() == target.is_ipv4()
                    && !is_owned(target)
                {
                    alike.destination.address = filter.address;
                }
                meets(filter, &alike)
            });
        }
        let met = self.filters.iter().filter(|(_, filter)| {
            let has_address = !filter.address.is_some_and(|it| it.is_unspecified());
            has_address && meets(filter, headers)
        });
        let endpoints: Vec<u8> = met.map(|(endpoint, _)| *endpoint).collect();
        assert!(
            endpoints.iter().all(|it| *it == endpoints[0]),
            "one at most"
        );
        let mut receiver = endpoints.first().copied();
        match headers.part {
            Part::Whole => {}
            Part::First(number) => self.firsts.push((*headers, number, receiver)),
            Part::Later(number) => {
                let mut firsts = self.firsts.iter().rev();
                let first = firsts.find(|(first, its, _)| {
                    *its == number
                        && (first.ethertype, first.source.address) == (headers.ethertype, source)
                        && first.destination.station == headers.destination.station
                        && first.destination.address == target
                        && (first.ethertype == IPV6 || first.protocol == headers.protocol)
                });
                receiver = receiver.or(first.and_then(|(_, _, endpoint)| *endpoint));
            }
        }
        receiver.map_or(Receivers::Nobody, Receivers::One)
    }

    fn remove(&mut self, endpoint: u8) {
        self.filters.retain(|(of, _)| *of != endpoint);
        for (_, _, of) in &mut self.firsts {
            of.take_if(|of| *of == endpoint);
        }
    }
}

fn any_filter(rng: &mut Rng) -> Filter {
    let mut given = |one_in: usize| !rng.one_in(one_in);
    let [ethertype, address, protocol, port] = [given(2), given(8), given(2), given(2)];
    Filter {
        station: Some(STATIONS[rng.below(3)]),
        ethertype: ethertype.then(|| [IPV4, IPV6, ARP, OTHER][rng.below(4)]),
        address: address.then(|| match rng.one_in(10) {
            true => NOWHERE[rng.below(2)],
            false => ADDRESSES[rng.below(6)],
        }),
        protocol: protocol.then(|| [TCP, UDP, ICMP][rng.below(3)]),
        port: port.then(|| PORTS[rng.below(3)]),
    }
}

#[test]
fn frames_go_where_a_matcher_without_tables_sends_them() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (mut filters, mut naive) = (Filters::default(), Naive::default());
        let mut memory = Area::allocate(4096).expect("memory");
        let mut frame = Vec::new();
        let mut counts = [0; 3];
        for _ in 0..4000 {
            if rng.one_in(20) {
                let endpoint = rng.below(64) as u8;
                filters.remove(endpoint);
                naive.remove(endpoint);
                let own: Vec<Filter> = (0..1 + rng.below(3))
                    .map(|_| any_filter(&mut rng))
                    .collect();
                if let Ok(own) = filters.add(endpoint, &own, OWN) {
                    naive.filters.extend(own.iter().map(|it| (endpoint, *it)));
                }
            }
            // What the tables forget, the other remembers; so few packets they do not forget.
            if naive.firsts.len() == PACKETS_MAX {
                naive.firsts.clear();
                for (_, packets) in &mut filters.followed {
                    packets.clear();
                }
            }
            // Frames of a flow follow each other; what may differ in them does.
            let is_next = rng.one_in(2) && !frame.is_empty();
            match is_next {
                true => {
                    let at = [15, 16, 18, 22, 24, 38][rng.below(6)];
                    let at_v6 = [15, 16, 17, 20, 21, 53, 57, 59][rng.below(8)];
                    match frame[12..15] {
                        [8, 0, 0x45] => frame[at] = rng.next() as u8,
                        [0x86, 0xdd, 0x60] => frame[at_v6] = rng.next() as u8,
                        _ => {}
                    }
                }
                false => frame = frames::any(&mut rng),
            }
            memory.put(8, &frame);
            let headers = Headers::read(&frame).expect("an Ethernet header");
            let found = filters.receivers_of(&memory, 8, frame.len());
            assert_eq!(found, naive.receivers(&headers), "{seed}: {headers:?}");
            counts[match found {
                Receivers::Nobody => 0,
                Receivers::One(_) => 1,
                Receivers::Each(_) => 2,
            }] += 1;
        }
        assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    }
}

#[test]
fn arp_goes_to_whom_it_concerns() {
    let station = Some(STATIONS[1]);
    let mut filters = with(&[
        (0, at(1)),
        (
            1,
            Filter {
                port: Some(53),
                ..at(2)
            },
        ),
        (
            2,
            Filter {
                port: Some(80),
                ..at(2)
            },
        ),
        (3, Filter { station, ..at(3) }),
        (
            4,
            Filter {
                address: Some(v6(1)),
                ..Filter::default()
            },
        ),
    ]);
    let peer = [2, 9, 9, 9, 9, 9];
    let mut to = |destination, source, target| {
        receivers(&mut filters, &arp([peer, destination], source, target))
    };
    assert_eq!(to(EVERYBODY, v4(99), v4(1)), Receivers::Each(1));
    // Whoever has the address, whatever the port; but not who has another one.
    assert_eq!(to(EVERYBODY, v4(99), v4(2)), Receivers::Each(0b110));
    assert_eq!(to(OWN, v4(99), v4(2)), Receivers::Each(0b110));
    assert_eq!(to(EVERYBODY, v4(99), v4(3)), Receivers::Each(0b1000));
    // To another's station, and for an address that nobody has.
    assert_eq!(to(OWN, v4(99), v4(3)), Receivers::Nobody);
    assert_eq!(to(EVERYBODY, v4(99), v4(50)), Receivers::Nobody);
    // Somebody announces himself.
    assert_eq!(to(EVERYBODY, v4(99), v4(99)), Receivers::Each(0b1111));
    let mut unreadable = arp([peer, EVERYBODY], v4(99), v4(1));
    unreadable.truncate(30);
    assert_eq!(receivers(&mut filters, &unreadable), Receivers::Nobody);
}

#[test]
fn frames_to_groups_go_to_all_of_the_kind() {
    let mut filters = with(&[
        (0, at(1)),
        (
            1,
            Filter {
                protocol: Some(UDP),
                ..at(2)
            },
        ),
        (
            2,
            Filter {
                protocol: Some(TCP),
                ..at(3)
            },
        ),
        (
            3,
            Filter {
                address: Some(v6(1)),
                ..Filter::default()
            },
        ),
        (
            4,
            Filter {
                ethertype: Some(OTHER),
                ..Filter::default()
            },
        ),
    ]);
    let peer = [2, 9, 9, 9, 9, 9];
    let all = "10.0.2.255".parse().expect("an address");
    let mut to = |station, target, protocol| {
        let packet = Packet::new([v4(99), target], protocol, [1, 2]);
        receivers(&mut filters, &packet.between(peer, station).bytes())
    };
    assert_eq!(to(EVERYBODY, all, UDP), Receivers::Each(0b11));
    assert_eq!(to(GROUP, all, ICMP), Receivers::Each(0b1));
    // To one endpoint's address, though to all stations.
    assert_eq!(to(EVERYBODY, v4(2), UDP), Receivers::Each(0b10));
    assert_eq!(to(EVERYBODY, v4(2), TCP), Receivers::Nobody);
    let nodes = "ff02::1".parse().expect("an address");
    let packet = Packet::new([v6(99), nodes], ICMP, [1, 2]).between(peer, [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(
        receivers(&mut filters, &packet.bytes()),
        Receivers::Each(0b1000)
    );
    let other = [&EVERYBODY[..], &peer, &OTHER.to_be_bytes(), &[0; 46]].concat();
    assert_eq!(receivers(&mut filters, &other), Receivers::Each(0b10000));
}

#[test]
fn later_fragments_follow_the_first() {
    let port = |port| Filter {
        port: Some(port),
        ..at(1)
    };
    let peer = [2, 9, 9, 9, 9, 9];
    for (addresses, numbers) in [
        ([v4(99), v4(1)], 0..0x1_0000),
        ([v6(99), v6(1)], 0x10_0000..0x20_0000),
    ] {
        let address = Some(addresses[1]);
        let of = |number| Filter {
            address,
            ..port(number)
        };
        let mut filters = with(&[(0, of(53)), (1, of(80))]);
        let send = |filters: &mut Filters, offset, to, number| {
            let packet = Packet::new(addresses, UDP, [7, to]).between(peer, OWN);
            receivers(
                filters,
                &packet.with_fragment(offset, offset < 9, number).bytes(),
            )
        };
        let number = numbers.start;
        // Before the first one nobody knows.
        assert_eq!(send(&mut filters, 1, 0, number), Receivers::Nobody);
        assert_eq!(send(&mut filters, 0, 53, number), Receivers::One(0));
        assert_eq!(send(&mut filters, 1, 0, number), Receivers::One(0));
        assert_eq!(send(&mut filters, 1, 0, number + 1), Receivers::Nobody);
        // The number is used again, for a packet of another's, and for one of nobody's.
        assert_eq!(send(&mut filters, 0, 80, number), Receivers::One(1));
        assert_eq!(send(&mut filters, 9, 0, number), Receivers::One(1));
        assert_eq!(send(&mut filters, 0, 99, number), Receivers::Nobody);
        assert_eq!(send(&mut filters, 9, 0, number), Receivers::Nobody);
        // Who goes takes them along.
        assert_eq!(send(&mut filters, 0, 53, number), Receivers::One(0));
        filters.remove(0);
        assert_eq!(send(&mut filters, 1, 0, number), Receivers::Nobody);
        // So many are followed at the same time, and the oldest is forgotten.
        let last = number + PACKETS_MAX as u32;
        for number in number..=last {
            send(&mut filters, 0, 80, number);
        }
        assert_eq!(send(&mut filters, 1, 0, number), Receivers::Nobody);
        for number in number + 1..=last {
            assert_eq!(send(&mut filters, 1, 0, number), Receivers::One(1));
        }
        assert!(last < numbers.end);
        // But only for the endpoint that is sent so many.
        filters.add(0, &[of(53)], OWN).expect("it is free again");
        send(&mut filters, 0, 53, number);
        for number in last + 1..=last + 2 * PACKETS_MAX as u32 {
            send(&mut filters, 0, 80, number);
        }
        assert_eq!(send(&mut filters, 1, 0, number), Receivers::One(0));
        // Who takes all ports needs no first one.
        let mut filters = with(&[(
            5,
            Filter {
                address,
                ..Filter::default()
            },
        )]);
        assert_eq!(send(&mut filters, 1, 0, number), Receivers::One(5));
    }
}

/// The fragment header of the first names what follows it, and so does that of the others: which need
/// not be the transport.
#[test]
fn fragments_behind_extension_headers_follow_too() {
    let filter = Filter {
        address: Some(v6(1)),
        port: Some(53),
        ..Filter::default()
    };
    let mut filters = with(&[(0, filter)]);
    let mut packet = Packet::new([v6(2), v6(1)], UDP, [7, 53]).between(STATIONS[1], OWN);
    packet.extension = 8;
    let first = packet.clone().with_fragment(0, true, 7).bytes();
    assert_eq!(receivers(&mut filters, &first), Receivers::One(0));
    let later = packet.with_fragment(5, false, 7).bytes();
    assert_eq!(receivers(&mut filters, &later), Receivers::One(0));
}

#[test]
fn nobody_sends_what_would_be_answered_to_another() {
    let mut allowed = 0;
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut filters = Filters::default();
        let mut owns = Vec::new();
        let mut memory = Area::allocate(4096).expect("memory");
        for endpoint in 0..12 {
            let own: Vec<Filter> = (0..1 + rng.below(2))
                .map(|_| any_filter(&mut rng))
                .collect();
            if let Ok(own) = filters.add(endpoint, &own, OWN) {
                owns.push((endpoint, own));
            }
        }
        for _ in 0..2000 {
            let frame = frames::any(&mut rng);
            let headers = Headers::read(&frame).expect("an Ethernet header");
            memory.put(0, &frame);
            for (endpoint, own) in &owns {
                let way = filters.way_of((*endpoint, own), &memory, 0, frame.len());
                assert_eq!(way.is_ok(), filters.may_send(own, &headers));
                if way.is_err() {
                    continue;
                }
                allowed += 1;
                let source = headers.source;
                let is_given = |own: &Own| own.iter().any(|it| it.address == source.address);
                if source.address.is_none() {
                    assert!(!matches!(headers.ethertype, ARP | IPV4 | IPV6));
                } else if source
                    .address
                    .is_some_and(|address| address.is_unspecified())
                {
                    continue;
                } else if !is_given(own) {
                    assert!(owns.iter().all(|(_, other)| !is_given(other)));
                }
                let answer = Headers {
                    destination: source,
                    source: headers.destination,
                    part: Part::Whole,
                    resolution: headers.resolution.map(|said| Resolution {
                        concerns: said.claimed,
                        ..said
                    }),
                    ..headers
                };
                let ports = match headers.part {
                    Part::Later(_) => some(&PORTS),
                    _ => vec![source.port],
                };
                let comes = ports.into_iter().any(|port| {
                    let mut answer = answer;
                    answer.destination.port = port;
                    match filters.receivers(&answer) {
                        Receivers::Nobody => false,
                        Receivers::One(receiver) => receiver == *endpoint,
                        Receivers::Each(all) => all >> endpoint & 1 == 1,
                    }
                });
                assert!(comes, "{seed}: {own:?} {headers:?}");
            }
        }
    }
    assert!(allowed > 1000, "{allowed}");
}

#[test]
fn what_a_tenant_may_send_and_what_not() {
    let http = Filter {
        protocol: Some(TCP),
        port: Some(80),
        ..at(1)
    };
    let mut filters = with(&[(0, http), (1, at(2))]);
    let other = Filter {
        ethertype: Some(OTHER),
        ..Filter::default()
    };
    let own = filters.add(2, &[other], OWN).expect("nobody has it");
    let owns = [
        vec![Filter {
            station: Some(OWN),
            ..http
        }],
        vec![Filter {
            station: Some(OWN),
            ..at(2)
        }],
        own.to_vec(),
    ];
    let may = |endpoint: usize, frame: &[u8]| {
        let headers = Headers::read(frame).expect("an Ethernet header");
        filters.may_send(&owns[endpoint], &headers)
    };
    let peer = STATIONS[2];
    let tcp = |from, port| Packet::new([v4(from), v4(99)], TCP, [port, 7]).between(OWN, peer);
    assert!(may(0, &tcp(1, 80).bytes()) && may(1, &tcp(2, 80).bytes()));
    assert!(!may(0, &tcp(1, 81).bytes()) && !may(0, &tcp(2, 80).bytes()));
    assert!(!may(1, &tcp(1, 80).bytes()) && !may(1, &tcp(3, 80).bytes()));
    let elsewhere = tcp(2, 80).between(peer, OWN);
    assert!(!may(1, &elsewhere.bytes()), "from another station");
    // A later fragment has no port.
    assert!(may(0, &tcp(1, 81).with_fragment(5, false, 1).bytes()));
    // Who asks for an address has none.
    let nobody = "0.0.0.0".parse().expect("an address");
    let asks = Packet::new([nobody, v4(99)], UDP, [68, 67]).between(OWN, EVERYBODY);
    assert!(may(1, &asks.bytes()) && !may(2, &asks.bytes()));
    // ARP, from one's own station and for one's own address only.
    let claim = |endpoint, address| may(endpoint, &arp([OWN, EVERYBODY], address, v4(99)));
    assert!(claim(0, v4(1)) && claim(1, v4(2)) && claim(1, nobody));
    assert!(!claim(0, v4(2)) && !claim(1, v4(1)) && !claim(2, v4(1)) && !claim(2, v4(99)));
    let mut forged = arp([OWN, EVERYBODY], v4(2), v4(99));
    forged[14 + 8] ^= 2;
    assert!(!may(1, &forged), "the sender is another station");
    // ARP of IEEE 802 networks (RFC 826), which some take for Ethernet's; and what a tail would go on
    // with.
    let mut strange = arp([OWN, EVERYBODY], v4(1), v4(99));
    strange[15] = 6;
    assert!(!may(1, &strange) && !may(1, &strange[..14]) && !may(1, &strange[..24]));
    let whole = tcp(2, 80).bytes();
    assert!(!may(1, &whole[..14]) && !may(1, &whole[..33]) && may(1, &whole[..34]));
    let mut broken = whole.clone();
    broken[14] = 0x55;
    assert!(!may(1, &broken));
    // What is no packet at all: by who gets the answer.
    let raw = [&peer[..], &OWN, &OTHER.to_be_bytes(), &[0; 46]].concat();
    assert!(may(2, &raw) && !may(1, &raw) && !may(0, &raw));
}

/// Neighbour discovery (RFC 4861), as ARP: nobody says that another's address is his, nor that his own is at
/// another's station.
#[test]
fn what_a_tenant_may_say_of_neighbours_and_what_not() {
    let at = |host, port| Filter {
        station: Some(OWN),
        address: Some(v6(host)),
        port,
        ..Filter::default()
    };
    let owns = [at(1, Some(80)), at(2, None)].map(|filter| vec![filter]);
    let mut filters = Filters::default();
    for (endpoint, own) in (0..).zip(&owns) {
        filters.add(endpoint, own, OWN).expect("nobody has it");
    }
    let [nodes, routers, nobody] = ["ff02::1", "ff02::2", "::"].map(|it| it.parse().expect("good"));
    let may = |endpoint: usize, kind, source, target, options: &[(u8, MacAddress)]| {
        let stations = [OWN, [0x33, 0x33, 0, 0, 0, 1]];
        let frame = frames::neighbour(kind, stations, [source, nodes], target, options);
        let headers = Headers::read(&frame).expect("an Ethernet header");
        filters.may_send(&owns[endpoint], &headers)
    };
    let asks = |endpoint, source, target| {
        may(
            endpoint,
            NEIGHBOUR_SOLICITATION,
            source,
            target,
            &[(1, OWN)],
        )
    };
    // Whatever the port: it concerns who has the address.
    assert!(asks(0, v6(1), v6(9)) && asks(1, v6(2), v6(1)));
    assert!(!asks(0, v6(2), v6(9)) && !asks(1, v6(9), v6(1)));
    // Who has no address yet asks whether it may have its own.
    let wants = |endpoint, target| may(endpoint, NEIGHBOUR_SOLICITATION, nobody, target, &[]);
    assert!(wants(0, v6(1)) && wants(1, v6(2)));
    assert!(!wants(0, v6(2)) && !wants(1, v6(1)) && !wants(1, v6(9)));
    let says = |endpoint, source, target, station| {
        may(
            endpoint,
            NEIGHBOUR_ADVERTISEMENT,
            source,
            target,
            &[(2, station)],
        )
    };
    assert!(says(0, v6(1), v6(1), OWN));
    assert!(!says(0, v6(1), v6(2), OWN) && !says(0, v6(2), v6(1), OWN));
    assert!(!says(0, v6(1), v6(1), STATIONS[1]));
    let router = |kind, source| may(1, kind, source, routers, &[]);
    assert!(router(ROUTER_SOLICITATION, v6(2)) && router(ROUTER_SOLICITATION, nobody));
    assert!(!router(ROUTER_SOLICITATION, v6(1)));
    // A tenant is a host: it advertises no routes, and redirects nobody.
    assert!(!router(ROUTER_SOLICITATION + 1, v6(2)) && !router(REDIRECT, v6(2)));
    // What is behind more headers than are read may be anything.
    let mut hidden = Packet::new([v6(2), v6(1)], UDP, [1, 2]).between(OWN, STATIONS[1]);
    let may_hide = |packet: &Packet| {
        // So much of a frame is looked at.
        let mut bytes = packet.bytes();
        bytes.truncate(HEADERS_MAX);
        let headers = Headers::read(&bytes).expect("an Ethernet header");
        filters.may_send(&owns[1], &headers)
    };
    assert!(may_hide(&hidden));
    hidden.extension = 96;
    assert!(!may_hide(&hidden));
}

#[test]
fn neighbour_discovery_goes_to_whom_it_concerns() {
    let at = |host, port| Filter {
        address: Some(v6(host)),
        port,
        ..Filter::default()
    };
    let other = Filter {
        address: Some(v4(1)),
        ..Filter::default()
    };
    let mut filters = with(&[
        (0, at(1, None)),
        (1, at(2, Some(53))),
        (2, at(2, Some(80))),
        (3, other),
    ]);
    let peer = [2, 9, 9, 9, 9, 9];
    let nodes: IpAddr = "ff02::1".parse().expect("an address");
    let nobody: IpAddr = "::".parse().expect("an address");
    let mut to = |kind, station, [source, destination]: [IpAddr; 2], target| {
        let frame = frames::neighbour(kind, [peer, station], [source, destination], target, &[]);
        receivers(&mut filters, &frame)
    };
    let group = [0x33, 0x33, 0, 0, 0, 1];
    for (source, target, concerned) in [
        (v6(9), v6(1), Receivers::Each(0b1)),
        (nobody, v6(2), Receivers::Each(0b110)),
        (v6(9), v6(3), Receivers::Nobody),
    ] {
        let asked = to(NEIGHBOUR_SOLICITATION, group, [source, nodes], target);
        assert_eq!(asked, concerned);
    }
    // Somebody looks whether it is still there, and answers who has asked.
    let probes = to(NEIGHBOUR_SOLICITATION, OWN, [v6(9), v6(2)], v6(2));
    assert_eq!(probes, Receivers::Each(0b110));
    let answers = to(NEIGHBOUR_ADVERTISEMENT, OWN, [v6(9), v6(2)], v6(9));
    assert_eq!(answers, Receivers::Each(0b110));
    let elsewhere = to(NEIGHBOUR_ADVERTISEMENT, peer, [v6(9), v6(2)], v6(9));
    assert_eq!(elsewhere, Receivers::Nobody);
    // A neighbour, or a router, tells all.
    for kind in [NEIGHBOUR_ADVERTISEMENT, ROUTER_SOLICITATION + 1] {
        let told = to(kind, group, [v6(9), nodes], v6(9));
        assert_eq!(told, Receivers::Each(0b111));
    }
}

/// A frame costs by the sets of fields that are given, and hardly by the number of filters.
#[test]
fn a_lookup_costs_little_more_with_many_filters() {
    let cost = |count: u8| {
        let own: Vec<(u8, Filter)> = (0..count).map(|host| (host, at(host + 1))).collect();
        let mut filters = with(&own);
        assert_eq!(filters.sets.len(), 1);
        let mut most = 0;
        for (host, _) in own {
            let packet = Packet::new([v4(99), v4(host + 1)], UDP, [7, 53]);
            let frame = packet.between(STATIONS[1], OWN).bytes();
            COMPARED.set(0);
            assert_eq!(receivers(&mut filters, &frame), Receivers::One(host));
            most = most.max(COMPARED.get());
        }
        most
    };
    // Each is a few instructions, mostly of the first word; a frame costs more than a thousand.
    assert_eq!([1, 16, 64].map(cost), [1, 5, 7]);
}
