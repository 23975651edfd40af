//! Limits are split and come back, whatever processes do, and rights only become fewer.

use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % bound
    }
}

fn amounts(memory: u64, processes: u64) -> Limits {
    Limits::NONE
        .with(Resource::Memory, memory)
        .with(Resource::Processes, processes)
}

/// A process of the test: what it uses, and whether it has ended.
#[derive(Clone, Copy)]
struct Living {
    used: Limits,
    has_ended: bool,
}

const ROOT: Limits = Limits::PROGRAM
    .with(Resource::Memory, 1 << 20)
    .with(Resource::Processes, 40);

/// What holds at any moment.
fn check(quotas: &Quotas, living: &[Option<Living>; PROCESS_MAX], seed: u64) {
    for (slot, process) in living.iter().enumerate() {
        let Some(quota) = quotas.get(slot) else {
            assert!(process.is_none(), "seed {seed}: slot {slot} has no quota");
            continue;
        };
        let mut given = Limits::NONE;
        for child in quotas.0.iter().flatten() {
            if child.payer == Some(slot) {
                given = given.plus(&child.limit).unwrap();
            }
        }
        assert_eq!(
            quota.given, given,
            "seed {seed}: what slot {slot} has given"
        );
        let used = process.unwrap().used;
        let all = given.plus(&used).unwrap();
        assert!(
            quota.limit.covers(&all),
            "seed {seed}: slot {slot}: {quota:?}, {used:?}"
        );
    }
}

/// Runs a world of processes that start children, use what they have, and end.
fn live(seed: u64) {
    let mut random = Random(seed);
    let mut quotas = Quotas::default();
    let mut living = [None; PROCESS_MAX];
    quotas.give(None, ROOT, 0).unwrap();
    // The reserve: a server's quota, given before anybody else has something.
    let reserve = amounts(1 << 18, 3);
    let itself = amounts(0, 1);
    let own = |used: Limits| Living {
        used,
        has_ended: false,
    };
    living[0] = Some(own(itself));
    quotas.give(Some((0, &itself)), reserve, 1).unwrap();
    living[1] = Some(own(itself));
    for _ in 0..400 {
        let slot = random.below(PROCESS_MAX as u64) as usize;
        match (living[slot], random.below(4)) {
            (None, _) => {
                let parent = random.below(PROCESS_MAX as u64) as usize;
                let Some(Living {
                    used,
                    has_ended: false,
                }) = living[parent]
                else {
                    continue;
                };
                if parent == 1 {
                    continue;
                }
                let wanted = amounts(random.below(1 << 19), random.below(6));
                let left = quotas.get(parent).unwrap().own().minus(&used);
                let given = quotas.give(Some((parent, &used)), wanted, slot);
                let expected = match wanted.get(Resource::Processes) {
                    0 => Err(Error::InvalidArgument),
                    _ if left.covers(&wanted) => Ok(()),
                    _ => Err(Error::QuotaExceeded),
                };
                assert_eq!(given, expected, "seed {seed}");
                if given.is_ok() {
                    living[slot] = Some(own(itself));
                }
            }
            (Some(process), 0) if slot > 1 && !process.has_ended => {
                quotas.end(slot);
                living[slot] = Some(Living {
                    used: itself,
                    has_ended: true,
                });
            }
            (Some(process), 1) if slot > 1 && process.has_ended => {
                quotas.forget(slot);
                living[slot] = None;
            }
            (Some(process), _) if !process.has_ended => {
                let most = quotas.get(slot).unwrap().own();
                let used = amounts(random.below(most.get(Resource::Memory) + 1), 1);
                living[slot] = Some(own(used));
            }
            _ => {}
        }
        check(&quotas, &living, seed);
        // Nobody has touched the reserve.
        assert_eq!(quotas.get(1).unwrap().own(), reserve, "seed {seed}");
    }
    for slot in (1..PROCESS_MAX).rev() {
        if living[slot].is_some() {
            quotas.end(slot);
            quotas.forget(slot);
            living[slot] = None;
        }
    }
    let root = quotas.get(0).unwrap();
    assert_eq!(
        (root.limit, root.given),
        (ROOT, Limits::NONE),
        "seed {seed}"
    );
}

#[test]
fn what_is_given_is_never_more_than_there_was_and_all_of_it_comes_back() {
    for seed in 0..500 {
        live(seed);
    }
}

#[test]
fn what_a_process_uses_it_cannot_give() {
    let mut quotas = Quotas::default();
    quotas.give(None, amounts(100, 10), 0).unwrap();
    let used = amounts(60, 1);
    let give = |quotas: &mut Quotas, memory, processes| {
        quotas.give(Some((0, &used)), amounts(memory, processes), 1)
    };
    assert_eq!(give(&mut quotas, 41, 1), Err(Error::QuotaExceeded));
    assert_eq!(give(&mut quotas, 1, 10), Err(Error::QuotaExceeded));
    assert_eq!(give(&mut quotas, u64::MAX, 1), Err(Error::QuotaExceeded));
    assert_eq!(give(&mut quotas, 40, 9), Ok(()));
    assert_eq!(quotas.get(0).unwrap().own(), amounts(60, 1));
}

#[test]
fn children_of_the_dead_keep_what_they_have() {
    let mut quotas = Quotas::default();
    let itself = amounts(0, 1);
    quotas.give(None, amounts(100, 10), 0).unwrap();
    quotas.give(Some((0, &itself)), amounts(50, 5), 1).unwrap();
    quotas.give(Some((1, &itself)), amounts(20, 2), 2).unwrap();
    quotas.end(1);
    // The grandchild's 20 and the place of the dead are out, and nothing else.
    assert_eq!(quotas.get(0).unwrap().given, amounts(20, 3));
    assert_eq!(quotas.get(2).unwrap().own(), amounts(20, 2));
    quotas.forget(1);
    quotas.end(2);
    quotas.forget(2);
    assert_eq!(quotas.get(0).unwrap().given, Limits::NONE);
}

#[test]
fn rights_are_passed_on_in_part_and_never_made() {
    let all = Rights::all();
    assert!(all.allows_name("net0"));
    assert!(all.allows_card(63, true) && !all.allows_card(64, false));
    assert!(all.covers(&grant("net0 web", 0b11, true)) && all.covers(&grant("*", u64::MAX, true)));
    let some = Rights {
        names: "net0 web".into(),
        all_names: false,
        cards: 0b10,
        parts_only: true,
        is_server: false,
    };
    assert!(some.allows_name("web") && !some.allows_name("net1"));
    // Neither a part of a name, nor two, nor none, nor the star is one.
    for name in ["net", "net0 web", "", "*", " "] {
        assert!(!some.allows_name(name), "{name:?}");
    }
    assert!(some.allows_card(1, false) && !some.allows_card(0, false));
    assert!(!some.allows_card(1, true));
    assert!(some.covers(&grant("", 0, false)) && some.covers(&grant(" web  net0", 0b10, false)));
    assert!(!some.covers(&grant("init", 0, false)) && !some.covers(&grant("*", 0, false)));
    assert!(!some.covers(&grant("", 0b1, false)) && !some.covers(&grant("", 0, true)));
    assert!(!Rights::default().covers(&grant("net0", 0, false)));
}

fn grant(names: &str, cards: u64, is_server: bool) -> Grant<'_> {
    Grant {
        names,
        cards,
        flags: if is_server { spawn::SERVER } else { 0 },
        ..Grant::default()
    }
}
