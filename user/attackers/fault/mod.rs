//! Ways for a program to be killed by the processor, for the tests that see to it that
//! only that program dies.
#![allow(unsafe_code)]

use core::arch::asm;

/// How to call the program.
pub const USAGE: &str = "\
usage: fault[,KIND]
  does what the processor refuses, to show that only this program is ended
  null        writes to address 0; this if not said
  execute     calls code in a page of data
  divide      divides by zero
  stack       calls itself without end
  kernel      reads the kernel's memory
  undefined   an instruction that does not exist
  privileged  an instruction of the kernel's
  code        writes to its own code
  panic       not the processor but the program itself: a Rust panic";

abi::numbered! {
    /// A way to go.
    #[repr(u8)]
    pub enum Fault {
        /// Writing to address 0: page fault.
        Null = 0 => "null",
        /// Calling code in a page of data: page fault (NX).
        Execute = 1 => "execute",
        /// Dividing by zero: divide error.
        Divide = 2 => "divide",
        /// Calling without end: page fault in the guard page below the stack.
        Stack = 3 => "stack",
        /// Reading kernel memory: page fault.
        Kernel = 4 => "kernel",
        /// An instruction that does not exist: invalid opcode.
        Undefined = 5 => "undefined",
        /// An instruction of ring 0: general protection fault.
        Privileged = 6 => "privileged",
        /// Writing to the program's own code: page fault (W^X).
        Code = 7 => "code",
        /// Not the processor but the program itself: a Rust panic, exit code 101.
        Panic = 8 => "panic",
    }
}

impl Fault {
    /// Does it. Comes back only if the system did not stop it.
    pub fn provoke(self) {
        // SAFETY: none of these is sound, and that is their purpose: each stops at an
        // instruction that the processor refuses before it has any effect.
        unsafe {
            match self {
                Fault::Null => asm!("mov byte ptr [{zero}], 1", zero = in(reg) 0u64),
                Fault::Execute => {
                    static mut DATA: u8 = 0xc3; // a `ret`, if it were executable
                    asm!("call {data}", data = in(reg) &raw mut DATA, clobber_abi("C"));
                }
                Fault::Divide => asm!("div {zero:e}", zero = in(reg) 0u32,
                    inout("eax") 1u32 => _, inout("edx") 0u32 => _),
                Fault::Stack => {
                    core::hint::black_box(descend(0));
                }
                Fault::Kernel => {
                    asm!("mov al, [{kernel}]", kernel = in(reg) 0xffff_ff80_0000_0000u64, out("al") _);
                }
                Fault::Undefined => asm!("ud2"),
                Fault::Privileged => asm!("cli"),
                Fault::Code => {
                    asm!("mov byte ptr [{code}], 0x90", code = in(reg) Fault::provoke as *const ());
                }
                Fault::Panic => panic!("as asked"),
            }
        }
    }
}

/// Uses more stack than there is: a kilobyte a call, for more calls than fit.
#[expect(unconditional_recursion, reason = "the guard page ends it")]
fn descend(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 128]);
    descend(depth + 1) + frame[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
            let line = alloc::format!("\n  {} ", fault.name());
            assert!(USAGE.contains(&line), "no line {line:?}");
        }
        assert!("nul".parse::<Fault>().is_err());
        assert!("".parse::<Fault>().is_err());
    }

    #[test]
    #[should_panic(expected = "as asked")]
    fn a_panic_is_a_panic() {
        Fault::Panic.provoke();
    }
}
