//! Why the boot stage stops: one line each, which says what to do next.

use core::fmt;

use tar_no_std::CorruptDataError;

use crate::kernel::KernelError;

/// What kept the kernel from being started.
#[derive(Debug)]
pub enum Error {
    /// The CPU has no such feature.
    CpuLacks(&'static str),
    /// The loader did not leave what its protocol says.
    Loader(&'static str),
    /// The memory map has more entries than [`crate::handoff::MAX_RAW_REGIONS`].
    MemoryMapTooLong(u32),
    /// The command line is longer than [`crate::handoff::MAX_CMDLINE`] bytes.
    CmdlineTooLong,
    /// There is no boot module.
    NoModule,
    /// The boot module is where it cannot be used.
    Module {
        /// Its physical address.
        addr: u64,
        /// Its length in bytes.
        len: u64,
        /// What is wrong with that.
        why: &'static str,
    },
    /// The boot module is not a whole tar archive.
    Archive(CorruptDataError),
    /// The archive has no `boot/kernel`.
    NoKernel,
    /// `boot/kernel` cannot be run.
    Kernel(KernelError),
    /// The kernel's `BootloaderConfig` asks for something that cannot be had.
    Config(&'static str),
    /// Something has no place in the kernel's address space.
    Placement {
        /// What was to be mapped.
        what: &'static str,
        /// The address asked for; `None` if any would have done.
        addr: Option<u64>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Memory is used up.
    TooLittleMemory {
        /// The machine's memory, in MiB.
        found_mib: u64,
        /// What it takes to reach the kernel, in MiB.
        needed_mib: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpuLacks(feature) => write!(
                f,
                "this CPU has no {feature}: use another one (QEMU: -cpu qemu64 or -cpu max)"
            ),
            Self::Loader(why) => write!(
                f,
                "the loader's PVH start info is unusable ({why}): start this with QEMU's -kernel"
            ),
            Self::MemoryMapTooLong(entries) => write!(
                f,
                "the memory map has {entries} entries, {} at most: report this machine",
                crate::handoff::MAX_RAW_REGIONS
            ),
            Self::CmdlineTooLong => write!(
                f,
                "the command line is longer than {} bytes: shorten -append",
                crate::handoff::MAX_CMDLINE
            ),
            Self::NoModule => {
                f.write_str("no boot module: give the tar to QEMU with -initrd build/wharf.tar")
            }
            Self::Module { addr, len, why } => write!(
                f,
                "the boot module ({len} bytes at {addr:#x}) {why}: load it elsewhere, or give the \
                 machine more memory"
            ),
            Self::Archive(why) => write!(
                f,
                "the boot module is damaged or not a tar ({why}): rebuild it with 'make image'"
            ),
            Self::NoKernel => {
                f.write_str("the boot module has no file boot/kernel: rebuild it with 'make image'")
            }
            Self::Kernel(why) => write!(f, "boot/kernel cannot be run: {why}"),
            Self::Config(why) => write!(f, "the kernel's BootloaderConfig: {why}"),
            Self::Placement { what, addr, why } => {
                write!(f, "the kernel's BootloaderConfig: no place for the {what}")?;
                if let Some(addr) = addr {
                    write!(f, " at {addr:#x}")?;
                }
                write!(f, ": {why}")
            }
            Self::TooLittleMemory {
                found_mib,
                needed_mib,
            } => write!(
                f,
                "too little memory: {found_mib} MiB found, at least {needed_mib} MiB needed to \
                 start the kernel (QEMU: -m)"
            ),
        }
    }
}

impl core::error::Error for Error {}

impl From<KernelError> for Error {
    fn from(why: KernelError) -> Self {
        Self::Kernel(why)
    }
}
