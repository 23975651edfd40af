use core::ops::Range;
use std::vec::Vec;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

use super::model::Chance;
use crate::handoff::RawRegion;
use crate::memory_map::{FRAME, Frames, MAX_REGIONS, MemoryMap, REACH};

const MIB: u64 = 1 << 20;

fn raw(start: u64, len: u64, kind: u32) -> RawRegion {
    RawRegion { start, len, kind }
}

fn usable(start: u64, end: u64) -> MemoryRegion {
    MemoryRegion {
        start,
        end,
        kind: MemoryRegionKind::Usable,
    }
}

fn assert_orderly(regions: &[MemoryRegion]) {
    for region in regions {
        assert!(region.start < region.end, "{region:x?}");
        assert!(region.start.is_multiple_of(FRAME) && region.end.is_multiple_of(FRAME));
    }
    for pair in regions.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{pair:x?}");
        assert!(
            pair[0].end < pair[1].start || pair[0].kind != pair[1].kind,
            "not merged: {pair:x?}"
        );
    }
}

#[test]
fn ram_is_what_nothing_else_claims() {
    // Unsorted, overlapping, unaligned: RAM from 1 MiB to 64 MiB, a reserved hole at 32 MiB
    // that ends within a page, ACPI tables over the end, the boot stage at 1 MiB.
    let map = MemoryMap::new(
        &[
            raw(63 * MIB, 2 * MIB, 3),
            raw(MIB - 10, 63 * MIB + 10, 1),
            raw(32 * MIB, 5000, 2),
            raw(0, 0x9fc00, 1),
        ],
        core::slice::from_ref(&(MIB..MIB + 0x1234)),
    );
    let kinds: Vec<_> = map
        .regions()
        .iter()
        .map(|r| (r.start, r.end, r.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (0, 0x9f000, MemoryRegionKind::Bootloader),
            (MIB, MIB + 0x2000, MemoryRegionKind::Bootloader),
            (MIB + 0x2000, 32 * MIB, MemoryRegionKind::Usable),
            (
                32 * MIB,
                32 * MIB + 0x2000,
                MemoryRegionKind::UnknownBios(2)
            ),
            (32 * MIB + 0x2000, 63 * MIB, MemoryRegionKind::Usable),
            (63 * MIB, 65 * MIB, MemoryRegionKind::UnknownBios(3)),
        ]
    );
    assert_eq!(map.ram(), 62 * MIB - 0x2000 + 0x9f000);
}

#[test]
fn absurd_entries_are_survived() {
    let map = MemoryMap::new(
        &[
            raw(u64::MAX, u64::MAX, 1),
            raw(u64::MAX - 5, 3, 2),
            raw(1 << 60, 1 << 60, 7),
            raw(0, u64::MAX, 1),
            raw(5 * MIB, 0, 2),
            raw(6 * MIB, 4095, 1),
        ],
        core::slice::from_ref(&(u64::MAX - 1..u64::MAX)),
    );
    assert_orderly(map.regions());
    assert_eq!(map.regions()[1], usable(MIB, 1 << 52));
    assert_eq!(map.mapping_end(), 1 << 52);
    assert_eq!(MemoryMap::new(&[], &[]).regions(), []);
    assert_eq!(MemoryMap::new(&[], &[]).mapping_end(), REACH);
}

#[test]
fn the_most_entries_fit() {
    // Alternating pages of RAM and reserved memory, each RAM page cut in three by a claim:
    // as many regions as there can be.
    let entries: Vec<_> = (0..128)
        .map(|i| raw(MIB + i * 16 * FRAME, 8 * FRAME, 1))
        .collect();
    let claims: Vec<Range<u64>> = (0..9)
        .map(|i| MIB + (i * 16 + 2) * FRAME..MIB + (i * 16 + 3) * FRAME)
        .collect();
    let map = MemoryMap::new(&entries, &claims);
    assert_eq!(map.regions().len(), 128 + 2 * 9);
    let mut frames = Frames::new(&map);
    frames.allocate();
    let regions = frames.regions();
    assert_eq!(regions.len(), 128 + 2 * 9 + 1);
    assert!(regions.len() <= MAX_REGIONS);
}

/// What a page is, worked out the slow way.
fn oracle(raw: &[RawRegion], in_use: &[Range<u64>], page: u64) -> Option<MemoryRegionKind> {
    let end = page + FRAME;
    let touches = |r: &&RawRegion| r.len != 0 && r.start < end && page < r.start + r.len;
    let other = raw.iter().filter(|r| r.kind != 1).filter(touches);
    if let Some(kind) = other.map(|r| r.kind).max() {
        return Some(MemoryRegionKind::UnknownBios(kind));
    }
    // Entries of RAM count one by one: two that share a page do not make it whole.
    let is_ram = raw
        .iter()
        .any(|r| r.kind == 1 && r.start <= page && end <= r.start + r.len);
    let is_used = page < MIB || in_use.iter().any(|r| r.start < end && page < r.end);
    is_ram.then_some(match is_used {
        true => MemoryRegionKind::Bootloader,
        false => MemoryRegionKind::Usable,
    })
}

#[test]
fn any_map_agrees_with_the_slow_way() {
    for seed in 0..200 {
        let mut chance = Chance::new(seed);
        let base = MIB - 16 * FRAME;
        let mut place = || {
            (
                base + chance.below(64 * FRAME),
                1 + chance.below(12 * FRAME),
            )
        };
        let entries: Vec<_> = (0..12)
            .map(|i| {
                let (start, len) = place();
                raw(start, len, [1, 1, 2, 1, 4, 3][i % 6])
            })
            .collect();
        let claims: Vec<_> = (0..3)
            .map(|_| {
                let (start, len) = place();
                start..start + len
            })
            .collect();
        let map = MemoryMap::new(&entries, &claims);
        assert_orderly(map.regions());
        for page in (base - FRAME..base + 80 * FRAME).step_by(FRAME as usize) {
            let mut regions = map.regions().iter();
            let found = regions.find(|r| r.start <= page && page < r.end);
            assert_eq!(
                found.map(|r| r.kind),
                oracle(&entries, &claims, page),
                "seed {seed}, page {page:#x}"
            );
        }
    }
}

#[test]
fn frames_are_handed_out_once_and_accounted_for() {
    let map = MemoryMap::new(
        &[
            raw(MIB, 4 * FRAME, 1),
            raw(MIB + 8 * FRAME, 2 * FRAME, 1),
            raw(REACH - FRAME, 4 * FRAME, 1),
            raw(REACH + MIB, MIB, 1),
        ],
        core::slice::from_ref(&(MIB + FRAME..MIB + 2 * FRAME)),
    );
    let mut frames = Frames::new(&map);
    let want = [0, 2, 3, 8, 9]
        .map(|page| MIB + page * FRAME)
        .into_iter()
        .chain([REACH - FRAME]);
    let mut left = 6;
    for addr in want {
        assert_eq!(frames.left(), left);
        let frame = frames.allocate().expect("frames are left");
        assert_eq!(frame.start_address().as_u64(), addr);
        left -= 1;

        let regions = frames.regions();
        assert_orderly(&regions);
        let free: u64 = regions
            .iter()
            .filter(|r| r.kind == MemoryRegionKind::Usable)
            .map(|r| (r.end - r.start) / FRAME)
            .sum();
        assert_eq!(free, left + 3 + MIB / FRAME, "those above 4 GiB stay free");
    }
    assert_eq!(frames.left(), 0);
    assert_eq!(frames.allocate(), None);
    assert_eq!(frames.allocate(), None);
    let last_two: Vec<_> = frames.regions().iter().rev().take(2).copied().collect();
    assert_eq!(
        last_two,
        [
            usable(REACH + MIB, REACH + 2 * MIB),
            usable(REACH, REACH + 3 * FRAME)
        ]
    );
}

#[test]
fn reserved_space_far_up_is_not_mapped() {
    let hyper_transport = raw(0xfd_0000_0000, 3 << 30, 2);
    let map = MemoryMap::new(&[raw(0, 16 * MIB, 1), hyper_transport], &[]);
    assert_eq!(map.mapping_end(), REACH);
    let map = MemoryMap::new(&[raw(REACH, 5 * MIB, 1), hyper_transport], &[]);
    assert_eq!(map.mapping_end(), REACH + 5 * MIB);
    let map = MemoryMap::new(&[raw(REACH, MIB, 1), raw(REACH + MIB, MIB, 3)], &[]);
    assert_eq!(map.mapping_end(), REACH + 2 * MIB);
}
