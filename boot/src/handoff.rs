//! What a loader hands to the boot stage, whatever its protocol.

use core::ops::Range;

use heapless::Vec;

/// The most entries a loader's memory map may have (E820 tables end at 128).
pub const MAX_RAW_REGIONS: usize = 128;
/// The longest command line, in bytes without its NUL (QEMU's PVH loader ends there too).
pub const MAX_CMDLINE: usize = 4095;
/// The most ranges of memory that a loader's protocol may ask to be left alone.
pub const MAX_IN_USE: usize = 8;

/// One entry of the loader's memory map, as found: unsorted, unaligned, perhaps overlapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRegion {
    /// Physical address of its first byte.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its E820 type (ACPI specification, "Address Range Types"): 1 is RAM.
    pub kind: u32,
}

/// The boot module: the tar with the kernel, the programs and the files.
#[derive(Clone, Copy, Debug)]
pub struct Module<'m> {
    /// Its physical address.
    pub addr: u64,
    /// Its content.
    pub bytes: &'m [u8],
}

/// What the boot stage needs to know of the machine, in no loader's terms.
#[derive(Clone, Debug)]
pub struct Handoff<'m> {
    /// The memory map.
    pub memory_map: Vec<RawRegion, MAX_RAW_REGIONS>,
    /// Physical address of the ACPI root pointer, if the loader found one.
    pub rsdp: Option<u64>,
    /// The kernel's command line, without NUL.
    pub cmdline: &'m [u8],
    /// The boot module, if there is one.
    pub module: Option<Module<'m>>,
    /// Memory to leave alone besides the module: the boot stage itself and what the loader
    /// wrote for it.
    pub in_use: Vec<Range<u64>, MAX_IN_USE>,
}
