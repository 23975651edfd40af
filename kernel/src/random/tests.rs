//! What must hold however little a machine has.

use super::*;
use std::cell::Cell;
use std::collections::HashSet;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn next() -> u64 {
    COUNT.with(|count| {
        count.set(count.get() + 1);
        count.get()
    })
}

/// Generators of every kind.
fn works() -> Option<u64> {
    Some(next().wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
fn ones() -> Option<u64> {
    Some(u64::MAX)
}
fn zeros() -> Option<u64> {
    Some(0)
}
fn same() -> Option<u64> {
    Some(0x1234_5678_9abc_def0)
}
fn nothing() -> Option<u64> {
    next();
    None
}
/// Has a word at the last try of each.
fn slow() -> Option<u64> {
    next()
        .is_multiple_of(u64::from(TRIES))
        .then(works)
        .flatten()
}

fn generator(step: Step) -> Generator {
    Generator { name: "G", step }
}

fn with(steps: [Option<Step>; 2]) -> (Random, Vec<Fault>) {
    COUNT.with(|count| count.set(0));
    let mut faults = Vec::new();
    let random = Random::new(steps.map(|step| step.map(generator)), |name, fault| {
        assert_eq!(name, "G");
        faults.push(fault);
    });
    (random, faults)
}

fn bare() -> Random {
    with([None, None]).0
}

fn bytes(random: &mut Random) -> [u8; 64] {
    let mut bytes = [0; 64];
    random.fill(0, &mut bytes);
    bytes
}

/// How many of the bits differ.
fn distance(a: &[u8; 64], b: &[u8; 64]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// Of 512 bits between independent strings 256 differ, give or take 11.3 (one standard
/// deviation): six of those are one in 10^9.
fn assert_unrelated(a: &[u8; 64], b: &[u8; 64]) {
    let distance = distance(a, b);
    assert!((188..=324).contains(&distance), "{distance} bits differ");
}

#[test]
fn a_stuck_generator_is_found_and_not_used() {
    for step in [ones, zeros, same] {
        let (mut random, faults) = with([Some(step), None]);
        assert_eq!(faults, [Fault::Stuck]);
        assert_eq!(random.generators().count(), 0);
        // It is as if it were not there.
        assert_eq!(bytes(&mut random), bytes(&mut bare()));
    }
}

#[test]
fn a_generator_that_is_short_is_asked_a_bounded_number_of_times_and_again_later() {
    let (mut random, faults) = with([Some(nothing), None]);
    assert_eq!(faults, [Fault::Short]);
    assert_eq!(random.generators().count(), 1);
    let asked = COUNT.with(Cell::get);
    bytes(&mut random);
    assert_eq!(COUNT.with(Cell::get) - asked, u64::from(TRIES));

    let (random, faults) = with([Some(slow), None]);
    assert_eq!((faults.len(), random.generators().count()), (0, 1));
}

#[test]
fn one_generator_fails_and_the_other_counts() {
    let (mut one, faults) = with([Some(zeros), Some(works)]);
    assert_eq!(faults, [Fault::Stuck]);
    assert_eq!(one.generators().count(), 1);
    assert_unrelated(&bytes(&mut one), &bytes(&mut bare()));
}

#[test]
fn a_generator_that_gets_stuck_later_leaves_the_key_as_it_was() {
    fn breaks() -> Option<u64> {
        // Eight words: the test of the boot and the first draw.
        let count = next();
        (count <= 8)
            .then(|| count.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .or(Some(u64::MAX))
    }
    let (mut random, faults) = with([Some(breaks), None]);
    assert!(faults.is_empty());
    let (first, second) = (bytes(&mut random), bytes(&mut random));
    assert_unrelated(&first, &second);
    assert_unrelated(&first, &bytes(&mut bare()));
}

/// Two machines that differ in one bit of anything have nothing in common.
#[test]
fn one_bit_of_what_is_absorbed_changes_everything() {
    let seen = [0u8; 40];
    let draw = |change: Option<usize>, time: u64, now: u64| {
        let mut random = bare();
        let mut seen = seen;
        if let Some(bit) = change {
            seen[bit / 8] ^= 1 << (bit % 8);
        }
        random.absorb(&seen);
        random.happened(time);
        random.happened(0);
        let mut bytes = [0; 64];
        random.fill(now, &mut bytes);
        bytes
    };
    let usual = draw(None, 0, 0);
    assert_eq!(usual, draw(None, 0, 0), "nothing else may be in it");
    for bit in 0..seen.len() * 8 {
        assert_unrelated(&usual, &draw(Some(bit), 0, 0));
    }
    for bit in 0..64 {
        assert_unrelated(&usual, &draw(None, 1 << bit, 0));
        assert_unrelated(&usual, &draw(None, 0, 1 << bit));
    }
}

/// The order and the borders of what is absorbed count.
#[test]
fn absorbing_is_not_commutative_and_not_concatenation() {
    let draw = |parts: &[&[u8]]| {
        let mut random = bare();
        parts.iter().for_each(|part| random.absorb(part));
        bytes(&mut random)
    };
    let all = [
        draw(&[b"ab"]),
        draw(&[b"a", b"b"]),
        draw(&[b"b", b"a"]),
        draw(&[b"ab", b""]),
        draw(&[]),
    ];
    assert_eq!(HashSet::from(all).len(), all.len());
}

#[test]
fn no_output_comes_again_and_its_length_is_what_was_asked_for() {
    let mut random = bare();
    let mut seen = HashSet::new();
    for _ in 0..1000 {
        let bytes = bytes(&mut random);
        assert!(seen.insert(<[u8; 32]>::try_from(&bytes[..32]).unwrap()));
        assert!(seen.insert(<[u8; 32]>::try_from(&bytes[32..]).unwrap()));
    }
    for len in 0..64 {
        let mut buffer = [0x55; 80];
        bare().fill(0, &mut buffer[..len]);
        assert_eq!(buffer[len..], [0x55; 80][len..]);
        // A shorter request is the beginning of a longer one.
        assert_eq!(buffer[..len], bytes(&mut bare())[..len]);
    }
}

/// What was given out cannot be computed from the state that is left: the key that made it
/// is gone.
#[test]
fn the_key_that_made_an_output_is_replaced() {
    let mut random = bare();
    let before = random.key;
    let output = bytes(&mut random);
    assert_ne!(random.key, before);
    for index in 0..4u64 {
        let again = random.hash(OUTPUT, &index.to_le_bytes());
        assert!(output.chunks(KEY).all(|block| block != again));
    }
}

/// After somebody has read the key, fresh words of the processor shut him out again.
#[test]
fn the_processor_reseeds_with_each_request() {
    let (mut one, _) = with([Some(works), None]);
    let (mut other, _) = with([Some(works), None]);
    let stolen = [7; KEY];
    (one.key, other.key) = (stolen, stolen);
    let (a, b) = (bytes(&mut one), bytes(&mut other));
    assert_unrelated(&a, &b);
    // Without a generator, times do, as far as they are unknown.
    let (mut one, mut other) = (bare(), bare());
    one.happened(12345);
    assert_unrelated(&bytes(&mut one), &bytes(&mut other));
}

/// Ones are as many as zeros, at every place.
#[test]
fn every_bit_is_even() {
    let mut random = bare();
    let mut ones = [0u32; 512];
    const DRAWS: u32 = 4000;
    for _ in 0..DRAWS {
        let bytes = bytes(&mut random);
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(bytes[bit / 8] >> (bit % 8) & 1);
        }
    }
    // 2000 give or take 31.6: six standard deviations.
    for count in ones {
        assert!((1810..=2190).contains(&count), "{count} of {DRAWS}");
    }
}
