//! Processor features: what is switched on once, at the start.

use kernel::random::Generator;
use raw_cpuid::CpuId;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};

/// Switches on write protection and no-execute, and SMEP, SMAP and UMIP where the
/// processor has them. Returns the names of what is on, for the boot log.
pub fn enable_protections() -> [&'static str; 5] {
    let features = CpuId::new().get_extended_feature_info();
    let has =
        |present: fn(&raw_cpuid::ExtendedFeatures) -> bool| features.as_ref().is_some_and(present);
    let optional = [
        (
            "SMEP",
            has(|f| f.has_smep()),
            Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION,
        ),
        (
            "SMAP",
            has(|f| f.has_smap()),
            Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION,
        ),
        (
            "UMIP",
            has(|f| f.has_umip()),
            Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION,
        ),
    ];
    // SSE with FXSAVE and unmasked SIMD exceptions as #XM: compiled code uses SSE2. No
    // XSAVE: programs have no AVX, so that 512 bytes are a process's whole vector state.
    let mut cr4 = Cr4::read() | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
    cr4 |= Cr4Flags::PAGE_GLOBAL;
    let mut names = ["WP", "NX", "", "", ""];
    for (name, (title, present, flag)) in names[2..].iter_mut().zip(optional) {
        if present {
            cr4 |= flag;
            *name = title;
        }
    }
    // SAFETY: each bit is one the processor reports or that x86_64 always has; none
    // changes how memory the kernel uses is mapped, and the kernel never runs or touches
    // user pages by their user addresses.
    unsafe {
        Efer::update(|efer| {
            efer.insert(EferFlags::NO_EXECUTE_ENABLE | EferFlags::SYSTEM_CALL_EXTENSIONS);
        });
        Cr0::update(|cr0| {
            cr0.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
            cr0.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::MONITOR_COPROCESSOR);
        });
        Cr4::write(cr4);
    }
    names
}

/// The time-stamp counter.
pub fn timestamp() -> u64 {
    // SAFETY: every x86_64 processor has RDTSC, and it changes nothing.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The processor's generators of random numbers, as CPUID tells of them.
pub fn generators() -> [Option<Generator>; 2] {
    use core::arch::x86_64::{_rdrand64_step, _rdseed64_step};
    let cpuid = CpuId::new();
    let seeds = cpuid
        .get_extended_feature_info()
        .is_some_and(|f| f.has_rdseed());
    let rands = cpuid.get_feature_info().is_some_and(|f| f.has_rdrand());
    let rdseed = Generator {
        name: "RDSEED",
        step: || {
            let mut word = 0;
            // SAFETY: only asked where the processor has the instruction, which changes
            // nothing but the word.
            (unsafe { _rdseed64_step(&mut word) } == 1).then_some(word)
        },
    };
    let rdrand = Generator {
        name: "RDRAND",
        step: || {
            let mut word = 0;
            // SAFETY: as above.
            (unsafe { _rdrand64_step(&mut word) } == 1).then_some(word)
        },
    };
    [seeds.then_some(rdseed), rands.then_some(rdrand)]
}

/// Stops this processor for good.
pub fn halt_forever() -> ! {
    x86_64::instructions::interrupts::disable();
    loop {
        x86_64::instructions::hlt();
    }
}

/// The frame pointer of the caller.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let value;
    // SAFETY: copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) value, options(nomem, nostack)) };
    value
}

/// Two words of the kernel's stack, for a backtrace of a kernel that is about to stop.
/// `None` for an address that no kernel stack can have.
pub fn read_kernel_stack(address: u64) -> Option<[u64; 2]> {
    if !address.is_multiple_of(8)
        || !super::paging::is_mapped(address)
        || !super::paging::is_mapped(address + 15)
    {
        return None;
    }
    let words = address as *const u64;
    // SAFETY: both words are mapped kernel memory; reading has no side effect, as device
    // registers are never on a stack's chain of frame pointers that starts in a stack.
    Some(unsafe { [words.read_volatile(), words.add(1).read_volatile()] })
}
