//! The PVH boot protocol: from `hvm_start_info` to [`Handoff`].
//!
//! Source: Xen `public/arch-x86/hvm/start_info.h`; all fields are little-endian.
//!
//! ```text
//! hvm_start_info                    modlist entry     memmap entry (version ≥ 1)
//!  0 magic         4 version         0 paddr           0 addr
//!  8 flags        12 nr_modules      8 size            8 size
//! 16 modlist      24 cmdline        16 cmdline        16 type
//! 32 rsdp         40 memmap         24 reserved       20 reserved
//! 48 memmap_entries
//! ```

use core::ops::Range;

use heapless::Vec;

use crate::error::Error;
use crate::handoff::{Handoff, MAX_CMDLINE, MAX_RAW_REGIONS, Module, RawRegion};

const MAGIC: u32 = 0x336e_c578;
const START_INFO_LEN: u64 = 56;
const MODULE_LEN: u64 = 32;
const REGION_LEN: u64 = 24;

/// Reads what the loader left.
///
/// `start_info` is the physical address that the loader put into `ebx`; `image` is the memory
/// of the boot stage itself. `memory` shows physical memory, by address and length, or
/// nothing where that cannot be read.
pub fn handoff<'m>(
    start_info: u64,
    image: Range<u64>,
    memory: impl Fn(u64, u64) -> Option<&'m [u8]>,
) -> Result<Handoff<'m>, Error> {
    let info = memory(start_info, START_INFO_LEN).ok_or(Error::Loader("it is out of reach"))?;
    if u32_at(info, 0) != MAGIC {
        return Err(Error::Loader(
            "it has no magic number, which in QEMU comes of more than 4095 bytes of -append",
        ));
    }
    if u32_at(info, 4) == 0 || u32_at(info, 48) == 0 {
        return Err(Error::Loader("it has no memory map"));
    }
    let [modules, cmdline, rsdp, memmap] = [16, 24, 32, 40].map(|at| u64_at(info, at));
    let entries = u32_at(info, 48);
    if entries as usize > MAX_RAW_REGIONS {
        return Err(Error::MemoryMapTooLong(entries));
    }

    let mut in_use = Vec::new();
    let mut keep = |addr: u64, len: u64| {
        in_use
            .push(addr..addr.saturating_add(len))
            .map_err(|_| Error::Loader("it has too many parts"))
    };
    keep(image.start, image.end - image.start)?;
    keep(start_info, START_INFO_LEN)?;

    let table_len = u64::from(entries) * REGION_LEN;
    let table = memory(memmap, table_len).ok_or(Error::Loader("its memory map is out of reach"))?;
    keep(memmap, table_len)?;
    let memory_map = table
        .chunks_exact(REGION_LEN as usize)
        .map(|entry| RawRegion {
            start: u64_at(entry, 0),
            len: u64_at(entry, 8),
            kind: u32_at(entry, 16),
        })
        .collect();

    let cmdline = match cmdline {
        0 => &[],
        addr => {
            let text = cmdline_at(addr, &memory)?;
            keep(addr, text.len() as u64 + 1)?;
            text
        }
    };

    let module = match u32_at(info, 12) {
        0 => None,
        _ => {
            let entry = memory(modules, MODULE_LEN)
                .ok_or(Error::Loader("its module list is out of reach"))?;
            let (addr, len) = (u64_at(entry, 0), u64_at(entry, 8));
            let bytes = memory(addr, len).ok_or(Error::Module {
                addr,
                len,
                why: "is not in memory below 4 GiB",
            })?;
            Some(Module { addr, bytes })
        }
    };

    Ok(Handoff {
        memory_map,
        rsdp: (rsdp != 0).then_some(rsdp),
        cmdline,
        module,
        in_use,
    })
}

/// The text at `addr` up to its NUL.
fn cmdline_at<'m>(
    addr: u64,
    memory: &impl Fn(u64, u64) -> Option<&'m [u8]>,
) -> Result<&'m [u8], Error> {
    // Asked for in small steps: what follows the text need not be memory.
    for len in 1..=MAX_CMDLINE as u64 + 1 {
        let text = memory(addr, len).ok_or(Error::Loader("its command line is out of reach"))?;
        if let [text @ .., 0] = text {
            return Ok(text);
        }
    }
    Err(Error::CmdlineTooLong)
}

/// The field at `at`, which the caller knows to be within `bytes`.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |field| u32::from_le_bytes(*field))
}

/// The field at `at`, which the caller knows to be within `bytes`.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |field| u64::from_le_bytes(*field))
}
