//! Endpoints are taken and given back in any order, or not at all.

use super::frames::{ADDRESSES, Packet, STATIONS, v4};
use super::*;
use crate::endpoint::headers::UDP;
use nic::model::Rng;

fn at(host: u8) -> Filter {
    Filter {
        address: Some(v4(host)),
        ..Filter::default()
    }
}

fn wrong<T>(error: Error) -> core::result::Result<T, Refusal> {
    Err(Refusal::Wrong(error))
}

#[test]
fn a_card_has_one_owner_or_several_tenants() {
    for mut world in [
        World::e100(Pace::Doorbell, 1),
        World::igb(Pace::Doorbell, 1),
    ] {
        let [one, two, three] = [(); 3].map(|()| world.start(PLENTY));
        assert_eq!(world.attach(one, &[]), Ok(0));
        for filters in [&[][..], &[at(1)]] {
            assert_eq!(world.attach(two, filters), wrong(Error::Busy));
        }
        world.end(one);
        assert_eq!(world.attach(two, &[at(1)]), Ok(0));
        assert_eq!(world.attach(three, &[]), wrong(Error::Busy));
        let own = Filter {
            station: Some(MAC),
            ..at(1)
        };
        assert_eq!(world.attach(three, &[at(1)]), Err(Refusal::Overlaps(own)));
        assert_eq!(world.attach(three, &[at(2), at(3)]), Ok(0));
        // Each process numbers its own, so that one may have two parts of a card.
        assert_eq!(world.attach(three, &[at(4)]), Ok(1));
        assert_eq!(world.table.endpoint(three, 2), Err(Error::BadHandle));
        world.end(two);
        let one = world.start(PLENTY);
        assert_eq!(world.attach(one, &[]), wrong(Error::Busy));
        assert_eq!(world.attach(one, &[at(1)]), Ok(0));
        world.end(one);
        world.end(three);
        let one = world.start(PLENTY);
        assert_eq!(world.attach(one, &[]), Ok(0));
        let missing = world.cards.attach(1, one, &[], &mut world.table, |_| ());
        assert_eq!(missing, wrong(Error::NotFound));
    }
}

/// A card with so many virtual functions, the driver of the card, and what serves the functions.
fn hosting(vfs: usize) -> Hosting {
    hosting_as(Config {
        vfs,
        ..Config::small(InterruptMode::MsiX { vectors: 10 })
    })
}

type Hosting = (
    igb::IgbModel,
    Igb<igb::IgbBus>,
    nic::igb::SharedHost<igb::IgbBus>,
);

fn hosting_as(config: Config) -> Hosting {
    let (vfs, mode) = (config.vfs, config.interrupts);
    let arena = config.arena_size().unwrap();
    let model = igb::IgbModel::new(igb::Behaviour::Silicon, Pace::Doorbell, 1, MAC, arena, mode);
    model.set_vfs(vfs, arena);
    (0..vfs).for_each(|vf| model.set_vf_master(vf, true));
    let host = nic::igb::Host::new(model.bus(), &config).unwrap();
    let host = Box::leak(Box::new(spin::Mutex::new(host)));
    let pf = match vfs {
        0 => Igb::new(model.bus(), config),
        _ => Igb::hosting(model.bus(), config, host),
    };
    (model, pf.unwrap(), host)
}

#[test]
fn a_virtual_function_is_shared_by_stacks_with_its_station_only() {
    let (model, _, host) = hosting(1);
    let bus = model.vf_bus(0).meanwhile(|| host.lock().attend());
    let config = Config::small(InterruptMode::MsiX { vectors: 3 });
    let place = bus.bus_addr(0);
    let vf = nic::igbvf::driver(bus, config).unwrap();
    let own = vf.facts().mac;
    let mut world = World::new(Box::leak(Box::new(vf)), place, model.clone(), || false);
    let tenants = [(); 3].map(|()| world.start(PLENTY));
    let of = |station, host| Filter {
        station: Some(station),
        ..at(host)
    };
    assert_eq!(world.attach(tenants[0], &[at(1)]), Ok(0));
    assert_eq!(world.attach(tenants[1], &[of(own, 2)]), Ok(0));
    let other = [2, 0, 0, 0, 0, 7];
    let refused = world.attach(tenants[2], &[at(3), of(other, 4)]);
    assert_eq!(refused, wrong(Error::NotSupported));
    let refused = world.refilter(tenants[0], &[of(other, 1)]);
    assert_eq!(refused, wrong(Error::NotSupported));
}

#[test]
fn a_virtual_function_receives_the_groups_of_all_its_stacks() {
    let (model, _, host) = hosting(1);
    let bus = model.vf_bus(0).meanwhile(|| host.lock().attend());
    let config = Config::small(InterruptMode::MsiX { vectors: 3 });
    let place = bus.bus_addr(0);
    let vf = nic::igbvf::driver(bus, config).unwrap();
    let mut world = World::new(Box::leak(Box::new(vf)), place, model.clone(), || false);
    let tenants = [1, 2].map(|host| {
        let pid = world.start(PLENTY);
        world.attach(pid, &[at(host)]).expect("nobody has it");
        pid
    });
    // The card tells groups apart by bits 47:36 of their addresses (82576 datasheet §7.1.1.3).
    let group = |number: u8| [0x33, 0x33, 0, 0, number, 0];
    let join = |world: &mut World, tenant: usize, groups: &[MacAddress]| {
        let filters = Filters {
            multicast: groups,
            ..Filters::default()
        };
        world.filter(tenants[tenant], &filters)
    };
    let told = || {
        let bits = (0..128).flat_map(|word| {
            let bits = model.register(0x5200 + 4 * word);
            (0..32)
                .filter(move |bit| bits >> bit & 1 == 1)
                .map(move |bit| 32 * word + bit)
        });
        bits.collect::<Vec<u32>>()
    };
    assert_eq!(told(), []);
    let [one, two, three] = [0x10, 0x20, 0x30].map(group);
    assert_eq!(join(&mut world, 0, &[one, two]), Ok(0));
    assert_eq!(join(&mut world, 1, &[two, three]), Ok(0));
    assert_eq!(told(), [1, 2, 3]);
    // Who wants too many, or no group, has what it had.
    let many: Vec<MacAddress> = (0..32)
        .map(|number| [0x33, 0x33, 0, 0, 0, number])
        .collect();
    assert_eq!(join(&mut world, 1, &many), Err(Error::TooLong));
    assert_eq!(join(&mut world, 1, &[[0x33; 6]; 33]), Err(Error::TooLong));
    assert_eq!(join(&mut world, 1, &[MAC]), Err(Error::InvalidArgument));
    assert_eq!(told(), [1, 2, 3]);
    assert_eq!(join(&mut world, 0, &[]), Ok(0));
    assert_eq!(told(), [2, 3]);
    assert_eq!(join(&mut world, 0, &[one]), Ok(0));
    // Nobody keeps the card busy with it: neither others, nor its host, hear of more in a second.
    let asked = (0..100).filter(|_| join(&mut world, 1, &[two]) != Err(Error::Busy));
    assert!(asked.count() < 8);
    assert_eq!(join(&mut world, 0, &[one]), Ok(0));
    world.cards.tick(&mut world.table, |_| ());
    assert_eq!(join(&mut world, 1, &[two, three]), Ok(0));
    world.end(tenants[1]);
    assert_eq!(told(), [1]);
    world.end(tenants[0]);
    assert_eq!(told(), []);
}

#[test]
fn a_part_of_a_card_gets_other_filters_at_run_time() {
    for mut world in [
        World::e100(Pace::Doorbell, 1),
        World::igb(Pace::Doorbell, 1),
    ] {
        let [one, two] = [1, 2].map(|host| world.owner(&[at(host)]));
        let taken = Filter {
            station: Some(MAC),
            ..at(2)
        };
        let refused = world.refilter(one, &[at(3), at(2)]);
        assert_eq!(refused, Err(Refusal::Overlaps(taken)));
        assert_eq!(world.refilter(one, &[]), wrong(Error::InvalidArgument));
        let v6 = Filter {
            address: Some(ADDRESSES[3]),
            ..Filter::default()
        };
        assert_eq!(world.refilter(one, &[at(3), v6]), Ok(()));
        // What comes for the new ones, and what may be sent from them, is looked up anew.
        for (address, to) in [(v4(3), one), (ADDRESSES[3], one), (v4(2), two)] {
            let other = if address.is_ipv4() {
                v4(9)
            } else {
                ADDRESSES[4]
            };
            let packet = Packet::new([other, address], UDP, [1, 2]);
            let mut frame = packet.between(STATIONS[2], MAC).bytes();
            frame.resize(80, 0);
            let before = world.count(to, "endpoint_rx_frames");
            world.model.arrive(&frame);
            world.settle();
            world.idle();
            let ask = Ask {
                receive: 64,
                ..Ask::default()
            };
            assert_eq!(world.exchange(to, &ask).0, Ok(1));
            assert_eq!(world.count(to, "endpoint_rx_frames"), before + 1);
        }
        world.end(one);
        let next = world.start(PLENTY);
        assert_eq!(world.attach(next, &[at(3), v6]), Ok(0));
    }
    let mut world = World::e100(Pace::Doorbell, 1);
    let whole = world.owner(&[]);
    assert_eq!(world.refilter(whole, &[at(1)]), wrong(Error::NotSupported));
}

#[test]
fn a_card_that_nobody_has_serves_its_virtual_functions_once_a_second() {
    /// Registers of a VF, and bits of its mailbox (82576 datasheet §8.14.1).
    const CTRL: (u32, u32) = (0x0, 1 << 26);
    const MAILBOX: u32 = 0xc40;
    const MEMORY: u32 = 0x800;
    const REQUEST: u32 = 1;
    const LOCK: u32 = 4;
    const ANSWERED: u32 = 0x10;
    const RESET: u32 = 1;
    let (model, pf, _) = hosting(1);
    let place = model.bus().bus_addr(0);
    let mut world = World::new(Box::leak(Box::new(pf)), place, model.clone(), || false);
    let mut vf = model.vf_bus(0);
    for (register, value) in [CTRL, (MAILBOX, LOCK), (MEMORY, RESET), (MAILBOX, REQUEST)] {
        vf.write32(register, value);
    }
    // No message of the card's is delivered here.
    assert_eq!(vf.read32(MAILBOX) & ANSWERED, 0);
    world.cards.tick(&mut world.table, |_| ());
    assert_eq!(vf.read32(MAILBOX) & ANSWERED, ANSWERED);
}

#[test]
fn a_program_has_no_more_endpoints_than_it_may() {
    let mut world = World::e100(Pace::Doorbell, 1);
    let pid = world.start(PLENTY);
    for number in 0..abi::endpoint::ENDPOINTS_MAX as u8 {
        assert_eq!(world.attach(pid, &[at(number + 1)]), Ok(number));
    }
    assert_eq!(world.attach(pid, &[at(99)]), wrong(Error::QuotaExceeded));
    // They are handles, and their buffers are memory.
    let used = world.table.used(pid);
    assert_eq!(used.get(Resource::Handles), 6);
    let few = world.start(PLENTY.with(Resource::Handles, 1));
    assert_eq!(world.attach(few, &[at(50)]), Ok(0));
    assert_eq!(world.attach(few, &[at(51)]), wrong(Error::QuotaExceeded));
    let charged = world.table.used(few).get(Resource::Memory) - SIZE as u64;
    assert!(charged > 128 * 1024);
    let pieces = pieces();
    let enough = PLENTY.with(Resource::Memory, SIZE as u64 + charged);
    let scanty = PLENTY.with(Resource::Memory, SIZE as u64 + charged - 1);
    let small = world.start(scanty);
    assert_eq!(world.attach(small, &[at(52)]), wrong(Error::QuotaExceeded));
    assert_eq!(super::pieces(), pieces);
    let large = world.start(enough);
    assert_eq!(
        world.attach(large, &[at(52)]),
        Ok(0),
        "what was refused is free"
    );
    assert_eq!(world.attach(large, &[at(53)]), wrong(Error::QuotaExceeded));
}

#[test]
fn without_memory_nothing_is_attached_and_nothing_changed() {
    for has_tenant in [false, true] {
        let mut world = World::e100(Pace::Doorbell, 1);
        let other = world.start(PLENTY);
        if has_tenant {
            assert_eq!(world.attach(other, &[at(1)]), Ok(0));
        }
        let pid = world.start(PLENTY);
        let before = (pieces(), world.table.used(pid));
        let mut refused = 0;
        loop {
            leave(refused);
            let attached = world.attach(pid, &[at(2)]);
            leave(usize::MAX);
            if attached == Ok(0) {
                break;
            }
            assert_eq!(attached, wrong(Error::NoMemory));
            assert_eq!((pieces(), world.table.used(pid)), before);
            if !has_tenant {
                // The card is free, for a whole owner, too.
                let owner = world.start(PLENTY);
                assert_eq!(world.attach(owner, &[]), Ok(0));
                world.end(owner);
            }
            refused += 1;
        }
        assert_eq!(refused, 2, "an area and the buffers");
        // The owner of a whole card needs none.
        world.end(pid);
        if has_tenant {
            world.end(other);
        }
        leave(0);
        let owner = world.start(PLENTY);
        assert_eq!(world.attach(owner, &[]), Ok(0));
    }
}

#[test]
fn a_card_that_does_not_start_is_nobodys() {
    let model = e100::E100Model::new(e100::Behaviour::Qemu, Pace::Doorbell, 1, MAC);
    let mut world = World::of(&model);
    let pid = world.start(PLENTY);
    let gone = |gone| e100::Defects {
        gone,
        ..e100::Defects::default()
    };
    model.set_defects(gone(true));
    for filters in [&[at(1)][..], &[]] {
        assert_eq!(world.attach(pid, filters), wrong(Error::DeviceFailed));
    }
    model.set_defects(gone(false));
    let owner = world.owner(&[]);
    // The owner of all of it gets what is for the card's station, and nothing else.
    for station in [[2, 0, 0, 0, 0, 9], MAC] {
        let frame = [&station[..], &[2; 6], &[0x88, 0xb5], &[0; 46]].concat();
        world.model.arrive(&frame);
    }
    world.settle();
    let (result, _) = world.exchange(
        owner,
        &Ask {
            receive: 9,
            ..Ask::default()
        },
    );
    assert_eq!(result, Ok(1));
}

/// In any order; each time all buffers are there, and what was the last one's is nobody's.
#[test]
fn endpoints_come_and_go_in_any_order() {
    let mut rng = Rng::new(1);
    let mut world = World::e100(Pace::Doorbell, 1);
    let before = pieces();
    let mut owners: Vec<(u8, Pid)> = Vec::new();
    for _ in 0..600 {
        let host = 1 + rng.below(20) as u8;
        match owners.iter().position(|(of, _)| *of == host) {
            Some(place) => {
                let (_, pid) = owners.swap_remove(place);
                world.end(pid);
            }
            None => {
                let pid = world.owner(&[at(host)]);
                let ask = Ask {
                    small: 80,
                    receive: 64,
                    ..Ask::default()
                };
                let (result, done) = world.exchange(pid, &ask);
                assert_eq!((result, done.taken.len()), (Ok(0), 64));
                owners.push((host, pid));
            }
        }
        assert_eq!(pieces(), before + 2 * owners.len());
    }
    for (_, pid) in owners {
        world.end(pid);
    }
    assert_eq!(pieces(), before);
    world.owner(&[]);
}

#[test]
fn the_next_owner_finds_nothing_in_the_area() {
    for filters in [vec![], vec![at(1)]] {
        let mut world = World::e100(Pace::Doorbell, 1);
        let first = world.owner(&filters);
        world.set_words(first, 0, &[0x5ec7e7; WORDS]);
        world.end(first);
        let next = world.owner(&filters);
        assert_eq!(world.words(next), [0; WORDS]);
        // It is mapped once, however often one asks.
        world.set_words(next, 7, &[1]);
        world.map(next, 0);
        assert_eq!(world.words(next)[7], 1);
    }
}

#[test]
fn dma_that_was_stopped_is_told_to_all_owners_and_counted_and_the_card_is_reset() {
    for filters in [vec![], vec![at(1)]] {
        let mut world = World::e100(Pace::Doorbell, 1);
        let pid = world.owner(&filters);
        assert_eq!(world.wait(pid, false), None);
        let (card, other) = (Address::new(0, 3, 0), Address::new(0, 3, 1));
        world.cards.dma_stopped(other, &mut world.table);
        assert_eq!((world.bits(pid), world.count(pid, "dma_faults")), (0, 0));
        let resets = world.count(pid, "resets");
        for count in 1..=2 {
            world.cards.dma_stopped(card, &mut world.table);
            assert_eq!(world.count(pid, "dma_faults"), count);
        }
        assert_ne!(world.bits(pid), 0);
        assert_eq!(world.count(pid, "resets"), resets);
        world.cards.tick(&mut world.table, |_| ());
        assert_eq!(world.count(pid, "resets"), resets + 1);
    }
}

#[test]
fn statistics_are_as_many_as_there_is_room_for() {
    let mut world = World::e100(Pace::Doorbell, 1);
    let pid = world.owner(&[at(1)]);
    let count =
        |world: &mut World, to, room| world.cards.statistics(0, pid, &world.table, (to, room));
    let all = count(&mut world, HERE, u64::MAX).expect("attached");
    assert!((30..=Counter::COUNT_MAX as u64).contains(&all), "{all}");
    assert_eq!(count(&mut world, HERE, 3), Ok(3));
    assert_eq!(count(&mut world, HERE, 0), Ok(0));
    assert_eq!(count(&mut world, u64::MAX, 3), Err(Error::BadAddress));
}

#[test]
fn no_card_has_more_counters_than_a_program_can_ask_for() {
    // With queues, or with virtual functions.
    let all = Config {
        queues: 16,
        vfs: 0,
        ..Config::small(InterruptMode::MsiX { vectors: 10 })
    };
    let hosting = Config {
        queues: 2,
        vfs: 7,
        ..all
    };
    for config in [all, hosting] {
        let (model, nic, _) = hosting_as(config);
        let place = model.bus().bus_addr(0);
        let mut world = World::new(Box::leak(Box::new(nic)), place, model.clone(), || false);
        let pid = world.owner(&[at(1)]);
        let told = world
            .cards
            .statistics(0, pid, &world.table, (HERE, u64::MAX));
        assert!(
            told.is_ok_and(|told| told < Counter::COUNT_MAX as u64),
            "{told:?}"
        );
    }
}
