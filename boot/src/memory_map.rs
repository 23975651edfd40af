//! Physical memory: the loader's map made orderly, and the frames handed out from it.

use core::ops::Range;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use heapless::Vec;
use x86_64::PhysAddr;
use x86_64::structures::paging::PhysFrame;

use crate::handoff::{MAX_IN_USE, MAX_RAW_REGIONS, RawRegion};

/// Size of a frame, in bytes.
pub const FRAME: u64 = 4096;
/// End of the memory that the boot stage sees and takes frames from.
pub const REACH: u64 = 1 << 32;
/// The most regions a map can have: each raw region, each range in use (besides those of the
/// loader the module and the first MiB) and the allocator's cursor add at most two borders.
pub const MAX_REGIONS: usize = 2 * (MAX_RAW_REGIONS + MAX_IN_USE + 3);
/// End of what x86-64 can address physically.
const PHYSICAL_END: u64 = 1 << 52;
/// Firmware data is here, and further processors start here: nothing general is.
const LOW_MEMORY: Range<u64> = 0..1 << 20;

/// E820 types (ACPI specification, "Address Range Types").
const RAM: u32 = 1;
const ACPI_TABLES: u32 = 3;
const ACPI_NVS: u32 = 4;

/// Regions in ascending order that do not overlap, page-aligned, and merged where they touch
/// and are of one kind.
pub type Regions = Vec<MemoryRegion, MAX_REGIONS>;

/// The machine's memory: `Usable` is free, `Bootloader` is RAM in use, all else is not RAM.
#[derive(Debug)]
pub struct MemoryMap {
    regions: Regions,
}

impl MemoryMap {
    /// Orders `raw`. Where entries overlap, what is not RAM wins (the higher type if both are
    /// not); a page that is RAM only in part is not. RAM in the first MiB or touched by
    /// `in_use` counts as used.
    pub fn new(raw: &[RawRegion], in_use: &[Range<u64>]) -> Self {
        let raw = || raw.iter().filter_map(aligned);
        let in_use = || {
            let ranges = in_use.iter().chain([&LOW_MEMORY]);
            ranges.map(|range| outwards(range.start, range.end))
        };
        let mut borders: Vec<u64, { MAX_REGIONS }> = raw()
            .map(|(range, _)| range)
            .chain(in_use())
            .flat_map(|range| [range.start, range.end])
            .take(MAX_REGIONS)
            .collect();
        borders.sort_unstable();

        let mut regions = Regions::new();
        for border in borders.windows(2) {
            let (start, end) = (border[0], border[1]);
            let within = |range: &Range<u64>| range.start <= start && end <= range.end;
            let highest = raw()
                .filter_map(|(range, kind)| within(&range).then_some(kind))
                .max_by_key(|kind| (*kind != RAM, *kind));
            let kind = match highest {
                None => continue,
                Some(RAM) if in_use().any(|range| within(&range)) => MemoryRegionKind::Bootloader,
                Some(RAM) => MemoryRegionKind::Usable,
                Some(kind) => MemoryRegionKind::UnknownBios(kind),
            };
            push(&mut regions, MemoryRegion { start, end, kind });
        }
        Self { regions }
    }

    /// The regions.
    pub fn regions(&self) -> &[MemoryRegion] {
        &self.regions
    }

    /// Whether all of `range` is RAM that is in use.
    pub fn is_ram_in_use(&self, range: &Range<u64>) -> bool {
        self.regions.iter().any(|region| {
            region.kind == MemoryRegionKind::Bootloader
                && region.start <= range.start
                && range.end <= region.end
        })
    }

    /// How much RAM there is, in bytes.
    pub fn ram(&self) -> u64 {
        let is_ram = |region: &&MemoryRegion| {
            matches!(
                region.kind,
                MemoryRegionKind::Usable | MemoryRegionKind::Bootloader
            )
        };
        let regions = self.regions.iter().filter(is_ram);
        regions.map(|region| region.end - region.start).sum()
    }

    /// End of the physical addresses to map: that of RAM and ACPI tables, and 4 GiB at least,
    /// because device registers are below that.
    ///
    /// Reserved regions do not count: QEMU reserves 12 GiB just below 1 TiB on AMD CPUs, where
    /// nothing is, and tables for so much would take 4 MiB.
    pub fn mapping_end(&self) -> u64 {
        let is_memory = |region: &&MemoryRegion| match region.kind {
            MemoryRegionKind::UnknownBios(kind) => matches!(kind, ACPI_TABLES | ACPI_NVS),
            _ => true,
        };
        let last = self.regions.iter().rev().find(is_memory);
        last.map_or(REACH, |region| region.end.max(REACH))
    }
}

/// `raw` as whole pages: RAM shrinks to them, all else grows.
fn aligned(raw: &RawRegion) -> Option<(Range<u64>, u32)> {
    let end = raw.start.saturating_add(raw.len).min(PHYSICAL_END);
    let start = raw.start.min(PHYSICAL_END);
    let range = match raw.kind {
        RAM => start.next_multiple_of(FRAME)..end & !(FRAME - 1),
        _ if raw.len == 0 => return None,
        _ => outwards(start, end),
    };
    (range.start < range.end).then_some((range, raw.kind))
}

/// The pages that `start..end` touches.
fn outwards(start: u64, end: u64) -> Range<u64> {
    let end = end.min(PHYSICAL_END).next_multiple_of(FRAME);
    start.min(PHYSICAL_END) & !(FRAME - 1)..end
}

/// Appends `region`, merged with the last one if they are one. Regions are disjoint and lie
/// between borders, so [`MAX_REGIONS`] is enough for all.
fn push(regions: &mut Regions, region: MemoryRegion) {
    if region.start >= region.end {
        return;
    }
    match regions.last_mut() {
        Some(last) if last.end == region.start && last.kind == region.kind => last.end = region.end,
        _ => {
            let fits = regions.push(region).is_ok();
            debug_assert!(fits, "MAX_REGIONS is too low");
        }
    }
}

/// Hands out usable frames below [`REACH`], each once, in ascending order. Nothing is ever
/// given back, so a cursor is all there is to know.
#[derive(Debug)]
pub struct Frames<'m> {
    map: &'m MemoryMap,
    region: usize,
    next: u64,
}

impl<'m> Frames<'m> {
    /// All usable frames of `map` are free.
    pub fn new(map: &'m MemoryMap) -> Self {
        Self {
            map,
            region: 0,
            next: 0,
        }
    }

    /// The next frame; `None` if there is none left. Its content is undefined.
    pub fn allocate(&mut self) -> Option<PhysFrame> {
        while let Some(region) = self.map.regions.get(self.region) {
            let start = self.next.max(region.start);
            if region.kind == MemoryRegionKind::Usable && start < region.end.min(REACH) {
                self.next = start + FRAME;
                return Some(PhysFrame::containing_address(PhysAddr::new(start)));
            }
            if region.end >= REACH {
                return None;
            }
            self.region += 1;
        }
        None
    }

    /// How many frames are left.
    pub fn left(&self) -> u64 {
        let rest = self.map.regions.get(self.region..).unwrap_or_default();
        let usable = rest.iter().filter(|r| r.kind == MemoryRegionKind::Usable);
        usable
            .map(|r| r.end.min(REACH).saturating_sub(r.start.max(self.next)) / FRAME)
            .sum()
    }

    /// The map as the kernel gets it: frames handed out are `Bootloader`.
    pub fn regions(&self) -> Regions {
        let mut regions = Regions::new();
        for &region in &self.map.regions {
            if region.kind != MemoryRegionKind::Usable {
                push(&mut regions, region);
                continue;
            }
            let border = self.next.clamp(region.start, region.end);
            let taken = MemoryRegion {
                end: border,
                kind: MemoryRegionKind::Bootloader,
                ..region
            };
            push(&mut regions, taken);
            let free = MemoryRegion {
                start: border,
                ..region
            };
            push(&mut regions, free);
        }
        regions
    }
}
