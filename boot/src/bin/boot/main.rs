//! The boot stage's binary: the parts of it that touch the machine.
//!
//! [`pvh`] is entered by the loader and calls [`start`] with what it found; the library
//! decides, [`leave`] goes to the kernel. Interrupts are off throughout, and physical memory
//! below 4 GiB is mapped at its own addresses.
#![no_std]
#![no_main]

mod leave;
mod physical;
mod pvh;
mod serial;

use core::panic::PanicInfo;

use boot::load::{self, Loaded, Machine};
use boot::{Error, Handoff};
use raw_cpuid::{CpuId, ExtendedProcessorFeatureIdentifiers};

use crate::physical::Frames;

abi::c_memory_functions!();

/// From here on it no longer matters how we were booted.
fn start(handoff: Result<Handoff<'static>, Error>) -> ! {
    // SAFETY: a loader enters once, and only once do we get here.
    let mut frames = unsafe { Frames::new() };
    match prepare(handoff, &mut frames) {
        Ok(kernel) => leave::enter(&kernel, &mut frames),
        Err(error) => stop(format_args!("{error}")),
    }
}

fn prepare(handoff: Result<Handoff<'static>, Error>, frames: &mut Frames) -> Result<Loaded, Error> {
    let features = check_cpu()?;
    let machine = Machine {
        switch_page: leave::switch_page(),
        huge_pages: features.has_1gib_pages(),
    };
    let handoff = handoff?;
    load::load(&handoff, machine, frames)
}

/// Whether the processor has what the kernel needs, besides 64 bits and SSE2, which the entry
/// looks for. x86_64 processors all do; an emulator's can be told not to, and a hypervisor's.
fn check_cpu() -> Result<ExtendedProcessorFeatureIdentifiers, Error> {
    let cpu = CpuId::new();
    let features = cpu.get_feature_info().ok_or(Error::CpuLacks("CPUID 1"))?;
    let extended = cpu.get_extended_processor_and_feature_identifiers();
    let extended = extended.ok_or(Error::CpuLacks("CPUID 0x8000_0001"))?;
    for (has, feature) in [
        (extended.has_execute_disable(), "NX (no-execute pages)"),
        (extended.has_syscall_sysret(), "SYSCALL"),
        (features.has_tsc(), "TSC (the time-stamp counter)"),
        (features.has_msr(), "MSR (model-specific registers)"),
        (features.has_apic(), "APIC (a local interrupt controller)"),
        (features.has_pge(), "PGE (global pages)"),
    ] {
        if !has {
            return Err(Error::CpuLacks(feature));
        }
    }
    Ok(extended)
}

/// Says why, in one line, and halts for good.
fn stop(why: core::fmt::Arguments<'_>) -> ! {
    serial::line(format_args!("boot: {why}; halted"));
    loop {
        x86_64::instructions::hlt();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    stop(format_args!("bug in the boot stage: {info}"))
}
