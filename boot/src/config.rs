//! The kernel's [`BootloaderConfig`]: is it one, and is it one that can be honoured?
//!
//! Honoured: `kernel_stack_size`, and of `mappings` all but these:
//! - `kernel_base` places a position-independent kernel; ours has fixed addresses, so it must
//!   be left `Dynamic`.
//! - `aslr` would need a source of randomness before there is any: refused, because a kernel
//!   that asks for it must not believe that it has it.
//! - `framebuffer` is without effect: there is none (`BootInfo::framebuffer` is `None`).

use bootloader_api::BootloaderConfig;
use bootloader_api::config::Mapping;

use crate::error::Error;

/// The section in the kernel's file that `bootloader_api::entry_point!` makes.
pub const SECTION: &str = ".bootloader-config";
/// The largest stack a kernel may ask for, in bytes.
const MAX_STACK: u64 = 64 << 20;
/// Where a serialized config has its API version: major, minor and patch as u16, and whether
/// it is a pre-release (the field has no accessor).
const MAJOR_MINOR: core::ops::Range<usize> = 16..20;
const PATCH: core::ops::Range<usize> = 20..22;
const PRE_RELEASE: usize = 22;

/// Reads the content of [`SECTION`].
pub fn read(section: &[u8]) -> Result<BootloaderConfig, Error> {
    let config = BootloaderConfig::deserialize(section).map_err(Error::Config)?;
    let ours = BootloaderConfig::new_default().serialize();
    // The fields of BootInfo grow at its end with the patch version: a kernel may be older,
    // but it must not read fields that are not written.
    let patch = |bytes: &[u8]| {
        bytes[PATCH]
            .first_chunk()
            .map(|field| u16::from_le_bytes(*field))
    };
    if section[MAJOR_MINOR] != ours[MAJOR_MINOR]
        || section[PRE_RELEASE] != ours[PRE_RELEASE]
        || patch(section) > patch(&ours)
    {
        return Err(Error::Config(
            "it has another version of bootloader_api than the boot stage: build both together",
        ));
    }
    if config.mappings.aslr {
        return Err(Error::Config(
            "mappings.aslr is not available: set it to false",
        ));
    }
    if config.mappings.kernel_base != Mapping::Dynamic {
        return Err(Error::Config(
            "mappings.kernel_base is for position-independent kernels: leave it Dynamic, and set \
             the address in the linker script",
        ));
    }
    if config.kernel_stack_size == 0 || config.kernel_stack_size > MAX_STACK {
        return Err(Error::Config(
            "kernel_stack_size must be above 0 and at most 64 MiB",
        ));
    }
    Ok(config)
}
