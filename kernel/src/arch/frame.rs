//! What a trap saves, and how the kernel returns from it.

use super::gdt;
use kernel::process::{FpuState, Registers};
use x86_64::registers::control::Cr2;
use x86_64::registers::rflags::RFlags;

/// The first vector that is no exception.
pub const FIRST_INTERRUPT: u64 = 32;
/// The pseudo-vector of a system call.
pub const SYSCALL: u64 = 256;
/// The pseudo-vector of the first entry, from the end of the boot.
pub const START: u64 = 257;

/// What a trap saves, from the bottom of the trap stack up.
#[repr(C, align(16))]
pub struct Frame {
    /// Vector state; after a system call only its two control words, and nothing after an
    /// interrupt of the idle loop.
    pub fpu: FpuState,
    /// The rest.
    pub registers: Registers,
}

// trap_common and syscall_entry build it with 16-byte alignment for the call.
const _: () = assert!(size_of::<Frame>() == 688 && size_of::<Frame>().is_multiple_of(16));

/// How the kernel returns from a trap: which parts of its [`Frame`] are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TrapReturn {
    /// The system call returns at once. The program has kept its x87 registers; the kernel
    /// has used the others.
    Returning = 0,
    /// A program that was interrupted, or is new, goes on with all its registers.
    Interrupted = 1,
    /// A program that slept in a system call goes on; of its vector state the control words are restored.
    Woken = 2,
    /// The idle loop goes on, which has no vector state.
    Idle = 3,
}

impl Frame {
    /// Whether the trap came from a program.
    pub fn is_user(&self) -> bool {
        self.registers.cs & 3 == 3
    }

    /// Makes the frame one that waits for interrupts in ring 0: awake until the time-stamp
    /// counter is at `watch_until`, then halted.
    pub fn set_idle(&mut self, watch_until: u64) {
        self.registers = Registers {
            r8: watch_until,
            rip: idle_loop as *const () as u64,
            cs: gdt::KERNEL_CODE.0.into(),
            rflags: (RFlags::INTERRUPT_FLAG.bits()) | 2,
            rsp: gdt::trap_stack_end().as_u64(),
            ss: gdt::KERNEL_DATA.0.into(),
            ..Registers::default()
        };
    }
}

/// Registers of a program that begins at `entry` with its stack at `stack`.
pub fn user_registers(entry: u64, stack: u64) -> Registers {
    Registers {
        rip: entry,
        cs: gdt::USER_CODE.0.into(),
        rflags: RFlags::INTERRUPT_FLAG.bits() | 2,
        rsp: stack,
        ss: gdt::USER_DATA.0.into(),
        ..Registers::default()
    }
}

/// The address whose access caused the last page fault.
pub fn fault_address() -> u64 {
    Cr2::read_raw()
}

unsafe extern "C" {
    /// Where the processor is while nobody wants it: see [`super::traps`].
    fn idle_loop();
}
