//! What becomes of a machine's memory when functions are given some.

use super::machine::{CAP, Machine, Verdict};
use super::*;

/// What CAP says of widths: 39 bits of address, and 48.
const WIDTHS: [(u32, u32); 2] = [(1 << 1, 39), (1 << 2, 48)];

/// Tables in a machine's memory, of which a model of a unit is told.
fn tables(machine: &Machine, widths: u32, domains: u32) -> Tables<machine::Memory> {
    Tables::new(machine.memory(), widths, domains).expect("a root table")
}

#[test]
fn each_width_has_its_levels_and_its_end() {
    for (widths, bits) in WIDTHS {
        let machine = Machine::new(|unit| {
            unit.capabilities[0] = CAP[0] & !(0x1f << 8) | widths << 8;
        });
        let mut tables = tables(&machine, widths, 16);
        let last = (1u64 << bits) - 4096;
        let range = |start| [(start, 4096, Access::ReadWrite)].into_iter();
        assert_eq!(tables.give(CARD, range(last)), Ok(()), "{bits} bits");
        let walked = machine.walk(tables.root(), CARD, last + 7, true);
        assert_eq!(walked, Verdict::Reached(last + 7), "{bits} bits");
        for start in [last + 1, last + 4096, !0xfff] {
            let given = tables.give(VIRTUAL, range(start));
            assert_eq!(given, Err(Error::OutOfReach), "{start:#x}");
        }
    }
    assert_eq!(
        Tables::new(Machine::new(|_| {}).memory(), 1 << 3 | 1, 16).err(),
        Some(Error::NoWidth)
    );
}

#[test]
fn the_narrowest_width_is_taken_and_the_domains_are_apart() {
    let machine = Machine::new(|_| {});
    let mut tables = tables(&machine, 0b1110, 16);
    for number in 1..16 {
        let function = Address::new(number, number, 3);
        let range = [(0x1000 * u64::from(number), 1, Access::ReadWrite)];
        assert_eq!(tables.give(function, range.into_iter()), Ok(()));
        let (domain, levels) = machine.context(tables.root(), function);
        assert_eq!((domain, levels), (u64::from(number), 3));
    }
    let given = tables.give(CARD, [].into_iter());
    assert_eq!(given, Err(Error::NoDomain));
}

#[test]
fn whoever_has_a_domain_gets_no_other() {
    let machine = Machine::new(|_| {});
    let mut tables = tables(&machine, 0b10, 16);
    let arena = [(ARENA.0, ARENA.1, Access::ReadWrite)];
    assert_eq!(tables.give(CARD, arena.into_iter()), Ok(()));
    let other = [(OTHER.0, OTHER.1, Access::ReadWrite)];
    assert_eq!(tables.give(CARD, other.into_iter()), Err(Error::Taken));
    let walked = machine.walk(tables.root(), CARD, OTHER.0, false);
    assert_eq!(walked, Verdict::Stopped(6));
}

#[test]
fn without_memory_nothing_has_changed_and_all_frames_come_back() {
    // An arena that three tables of the last level are for.
    let ranges = || [(0x1f_f000, (2 << 20) + 8192, Access::ReadWrite)].into_iter();
    let mut frames = 1;
    loop {
        let machine = Machine::new(|unit| unit.frames = frames);
        let mut tables = tables(&machine, 0b10, 16);
        let given = tables.give(CARD, ranges());
        if given.is_ok() {
            // Root, contexts, and a table of each level, but of the last three.
            assert_eq!((frames, machine.frames_left()), (1 + 1 + 2 + 3, 0));
            return;
        }
        assert_eq!(given, Err(Error::NoMemory));
        // The bus's table stays for its other functions.
        assert_eq!(machine.frames_left(), frames.saturating_sub(2));
        let walked = machine.walk(tables.root(), CARD, 0x20_0000, true);
        assert!(matches!(walked, Verdict::Stopped(1 | 2)), "{walked:?}");
        frames += 1;
    }
}
