//! Every way into the kernel, and the one way out.
//!
//! An exception, an interrupt or a system call pushes a [`Frame`] on the trap stack and
//! calls [`trap_entry`]. The kernel never blocks and never nests: it handles the trap,
//! leaves in the frame whoever runs next, and returns through it. Interrupts stay off all
//! the way, and the idle loop is just a frame that halts in ring 0.
//!
//! ```text
//!   ring 3 --int--> stub n --+                      +--> Interrupted: fxrstor, iretq
//!   idle   --int--> stub n --+--> Frame, trap_entry --+--> Idle: iretq
//!   ring 3 --syscall---------+                      +--> Returning: xmm := 0, sysretq
//!                                                   +--> Woken: all := clear, sysretq
//! ```

use super::frame::{FIRST_INTERRUPT, Frame, START, SYSCALL, TrapReturn};
use super::gdt;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::process::{ControlWords, FpuState};
use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::idt::InterruptDescriptorTable;

static IDT: Once<InterruptDescriptorTable> = Once::new();
/// The user's stack pointer between `syscall` and the first push.
static USER_STACK: AtomicU64 = AtomicU64::new(0);
/// End of the trap stack, for `syscall`, which does not switch stacks itself.
static TRAP_STACK_END: AtomicU64 = AtomicU64::new(0);
/// MXCSR as the kernel's own code expects it.
static KERNEL_MXCSR: u32 = ControlWords::NEW.mxcsr;
/// What a program that is woken finds in its vector registers.
static CLEAR: FpuState = FpuState::CLEAR;

unsafe extern "C" {
    static trap_stubs: u8;
    fn syscall_entry();
    fn first_trap() -> !;
}

/// Bytes from one stub to the next.
const STUB_SIZE: u64 = 16;

/// Sets up the segments, the vectors and `syscall`.
pub fn init() {
    TRAP_STACK_END.store(gdt::trap_stack_end().as_u64(), Ordering::Relaxed);
    gdt::load(VirtAddr::from_ptr(syscall_entry as *const ()));
    IDT.call_once(|| {
        let mut idt = InterruptDescriptorTable::new();
        let stub =
            |vector: u8| VirtAddr::from_ptr(&raw const trap_stubs) + u64::from(vector) * STUB_SIZE;
        let stack_of = |vector: u8| {
            let own = gdt::OWN_STACK.iter().find(|(v, _)| *v == vector);
            own.map(|(_, stack)| *stack)
        };
        // SAFETY: each stub saves everything, calls trap_entry and returns by iretq, as
        // its vector needs; the stacks named are set in the TSS.
        unsafe {
            macro_rules! exceptions {
                ($($vector:literal $entry:ident),* $(,)?) => { $(
                    let options = idt.$entry.set_handler_addr(stub($vector));
                    if let Some(stack) = stack_of($vector) {
                        options.set_stack_index(stack);
                    }
                )* };
            }
            exceptions! {
                0 divide_error, 1 debug, 2 non_maskable_interrupt, 3 breakpoint, 4 overflow,
                5 bound_range_exceeded, 6 invalid_opcode, 7 device_not_available,
                8 double_fault, 10 invalid_tss, 11 segment_not_present,
                12 stack_segment_fault, 13 general_protection_fault, 14 page_fault,
                16 x87_floating_point, 17 alignment_check, 18 machine_check,
                19 simd_floating_point, 20 virtualization, 21 cp_protection_exception,
                28 hv_injection_exception, 29 vmm_communication_exception,
                30 security_exception,
            }
            // INT3 and INTO are the program's to execute.
            idt.breakpoint
                .set_handler_addr(stub(3))
                .set_privilege_level(x86_64::PrivilegeLevel::Ring3);
            idt.overflow
                .set_handler_addr(stub(4))
                .set_privilege_level(x86_64::PrivilegeLevel::Ring3);
            for vector in 32..=255u8 {
                idt[vector].set_handler_addr(stub(vector));
            }
        }
        idt
    })
    .load();
}

/// Ends the boot: enters the kernel as if by a trap, to run whoever is ready.
pub fn start() -> ! {
    // SAFETY: init has run; first_trap makes a frame on the trap stack, which is empty.
    unsafe { first_trap() }
}

/// Called by the stubs.
extern "C" fn trap_entry(frame: &mut Frame) -> TrapReturn {
    crate::kernel::trap(frame)
}

global_asm!(
    r#"
    .pushsection .text.trap_stubs, "ax", @progbits

    // One stub a vector, 16 bytes apart. Each leaves vector and error code on the stack.
    .balign 16
    .global trap_stubs
    // For a debugger: these stubs have no caller, so a backtrace ends with them.
    .cfi_startproc
    .cfi_undefined rip
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr
    .cfi_endproc
    .popsection

    .pushsection .text.trap, "ax", @progbits
    .cfi_startproc
    .cfi_undefined rip

    .macro push_general
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .endm

    .macro pop_general
    addq $512, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    .endm

    // AMD's fxsave and fxrstor leave the last x87 instruction's and operand's addresses alone while
    // no exception is pending (APM vol. 5, FXRSTOR), so they would be the last program's: have the
    // kernel's own there instead.
    .macro forget_x87_pointers
    fnclex
    emms
    fildl {mxcsr}(%rip)
    .endm

trap_common:
    push_general
    subq $512, %rsp
    // An interrupt in ring 0 is one of the idle loop; only exceptions strike the kernel.
    cmpq ${first_interrupt}, {vector_offset}(%rsp)
    jb 1f
    testb $3, {cs_offset}(%rsp)
    jz 2f
1:  fxsave64 (%rsp)
2:  // Interrupt gates leave DF and AC as the program had them.
    pushfq
    andq $~0x40400, (%rsp)
    popfq
    ldmxcsr {mxcsr}(%rip)
    movq %rsp, %rdi
    call {entry}
trap_return:
    cmpb ${woken}, %al
    je 3f
    ja 2f
    cmpb ${interrupted}, %al
    je 1f
    // The same program's system call returns: nothing of the kernel's may show in xmm.
    ldmxcsr 24(%rsp)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    pxor %xmm\n, %xmm\n
    .endr
    jmp 4f
1:  forget_x87_pointers
    fxrstor64 (%rsp)
2:  pop_general
    addq $16, %rsp
    iretq
3:  // Nothing of another program's may show, in x87 registers either.
    forget_x87_pointers
    fxrstor64 {clear}(%rip)
    fldcw (%rsp)
    ldmxcsr 24(%rsp)
4:  pop_general
    movq 16(%rsp), %rcx
    movq 32(%rsp), %r11
    movq 40(%rsp), %rsp
    sysretq

    .global syscall_entry
syscall_entry:
    movq %rsp, {user_stack}(%rip)
    movq {stack_end}(%rip), %rsp
    pushq ${user_data}
    pushq {user_stack}(%rip)
    pushq %r11
    pushq ${user_code}
    pushq %rcx
    pushq $0
    pushq ${syscall}
    push_general
    subq $512, %rsp
    fnstcw (%rsp)
    stmxcsr 24(%rsp)
    ldmxcsr {mxcsr}(%rip)
    movq %rsp, %rdi
    call {entry}
    jmp trap_return

    .global first_trap
first_trap:
    movq {stack_end}(%rip), %rsp
    subq ${frame_size}, %rsp
    movq ${start}, {vector_offset}(%rsp)
    movq $0, {cs_offset}(%rsp)
    movq %rsp, %rdi
    xorl %ebp, %ebp
    call {entry}
    jmp trap_return

    .global idle_loop
idle_loop:
    // No pause: an emulator takes it as an invitation to leave.
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    cmpq %r8, %rax
    jb idle_loop
    hlt
    jmp idle_loop
    .cfi_endproc

    .popsection
    "#,
    entry = sym trap_entry,
    mxcsr = sym KERNEL_MXCSR,
    clear = sym CLEAR,
    interrupted = const TrapReturn::Interrupted as u8,
    woken = const TrapReturn::Woken as u8,
    first_interrupt = const FIRST_INTERRUPT,
    user_stack = sym USER_STACK,
    stack_end = sym TRAP_STACK_END,
    user_data = const gdt::USER_DATA.0,
    user_code = const gdt::USER_CODE.0,
    syscall = const SYSCALL,
    start = const START,
    frame_size = const size_of::<Frame>(),
    vector_offset = const core::mem::offset_of!(Frame, registers.vector),
    cs_offset = const core::mem::offset_of!(Frame, registers.cs),
    options(att_syntax)
);
