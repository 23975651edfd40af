//! Endpoints are taken and given back in any order, or not at all.

use super::frames::v4;
use super::*;
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
fn dma_that_was_stopped_wakes_who_has_the_card_and_is_counted() {
    for filters in [vec![], vec![at(1)]] {
        let mut world = World::e100(Pace::Doorbell, 1);
        let pid = world.owner(&filters);
        assert_eq!(world.wait(pid, false), None);
        let (card, other) = (Address::new(0, 3, 0), Address::new(0, 3, 1));
        world.cards.dma_stopped(other, &mut world.table);
        assert_eq!((world.bits(pid), world.count(pid, "dma_faults")), (0, 0));
        for count in 1..=2 {
            world.cards.dma_stopped(card, &mut world.table);
            assert_eq!(world.count(pid, "dma_faults"), count);
        }
        // For tenants the kernel looks itself.
        assert_eq!(world.bits(pid) != 0, filters.is_empty());
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
