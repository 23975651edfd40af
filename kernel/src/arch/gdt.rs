//! Segments, and the stacks the processor switches to.

use core::cell::UnsafeCell;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::model_specific::{FsBase, GsBase, KernelGsBase, LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

const PAGE: usize = 4096;
/// The stack every trap from ring 3 and the idle loop starts on. A fault report demangles
/// names of a program's choice, which may nest 500 deep (`symbols.rs`).
const KERNEL_STACK: usize = 256 * 1024;
/// The stack of each exception that may strike while the kernel stack is not usable.
const EXCEPTION_STACK: usize = 16 * 1024;

/// Stack memory, with a page below it that is unmapped, so that an overflow is a double
/// fault and not silent damage.
#[repr(C, align(4096))]
struct Stack<const SIZE: usize> {
    guard: UnsafeCell<[u8; PAGE]>,
    stack: UnsafeCell<[u8; SIZE]>,
}

// SAFETY: only the processor touches the bytes, as the stack of one trap at a time.
unsafe impl<const SIZE: usize> Sync for Stack<SIZE> {}

impl<const SIZE: usize> Stack<SIZE> {
    const fn new() -> Self {
        Stack {
            guard: UnsafeCell::new([0; PAGE]),
            stack: UnsafeCell::new([0; SIZE]),
        }
    }

    fn end(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.stack.get()) + SIZE as u64
    }
}

static TRAP_STACK: Stack<KERNEL_STACK> = Stack::new();
static EXCEPTION_STACKS: [Stack<EXCEPTION_STACK>; 4] = [const { Stack::new() }; 4];

static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<GlobalDescriptorTable> = Once::new();

/// Selectors in the order that `syscall` and `sysret` fix: user data before user code.
pub const KERNEL_CODE: SegmentSelector = SegmentSelector::new(1, x86_64::PrivilegeLevel::Ring0);
/// Kernel data and stack.
pub const KERNEL_DATA: SegmentSelector = SegmentSelector::new(2, x86_64::PrivilegeLevel::Ring0);
/// User data and stack.
pub const USER_DATA: SegmentSelector = SegmentSelector::new(3, x86_64::PrivilegeLevel::Ring3);
/// User code.
pub const USER_CODE: SegmentSelector = SegmentSelector::new(4, x86_64::PrivilegeLevel::Ring3);

/// Exceptions with a stack of their own, and which: they can strike between `syscall` and
/// the first instruction that changes the stack pointer, or when the stack is gone.
pub const OWN_STACK: [(u8, u16); 4] = [(1, 0), (2, 1), (8, 2), (18, 3)];

/// Where the trap stack ends.
pub fn trap_stack_end() -> VirtAddr {
    TRAP_STACK.end()
}

/// Pages below the stacks, to be unmapped.
pub fn guard_pages() -> impl Iterator<Item = VirtAddr> {
    let exceptions = EXCEPTION_STACKS.iter().map(|s| s.guard.get());
    core::iter::once(TRAP_STACK.guard.get())
        .chain(exceptions)
        .map(|guard| VirtAddr::from_ptr(guard))
}

/// Loads the segments and the task state, and points `syscall` at `entry`.
pub fn load(entry: VirtAddr) {
    let tss = TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        tss.privilege_stack_table[0] = trap_stack_end();
        let mut ends = tss.interrupt_stack_table;
        for (end, stack) in ends.iter_mut().zip(&EXCEPTION_STACKS) {
            *end = stack.end();
        }
        tss.interrupt_stack_table = ends;
        tss
    });
    let mut tss_selector = SegmentSelector::NULL;
    let gdt = GDT.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        gdt.append(Descriptor::kernel_code_segment());
        gdt.append(Descriptor::kernel_data_segment());
        gdt.append(Descriptor::user_data_segment());
        gdt.append(Descriptor::user_code_segment());
        tss_selector = gdt.append(Descriptor::tss_segment(tss));
        gdt
    });
    gdt.load();
    // SAFETY: the selectors name descriptors of the table just loaded, of the right kind.
    unsafe {
        CS::set_reg(KERNEL_CODE);
        SS::set_reg(KERNEL_DATA);
        load_tss(tss_selector);
    }
    clear_data_segments();
    // Without CR4.FSGSBASE a program cannot change these: their bases are 0 for good.
    FsBase::write(VirtAddr::zero());
    GsBase::write(VirtAddr::zero());
    KernelGsBase::write(VirtAddr::zero());
    Star::write(USER_CODE, USER_DATA, KERNEL_CODE, KERNEL_DATA)
        .unwrap_or_else(|error| panic!("segments out of order: {error:?}"));
    LStar::write(entry);
    // The kernel runs with interrupts off, and with what a program left in these clear.
    SFMask::write(
        RFlags::INTERRUPT_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::ALIGNMENT_CHECK
            | RFlags::NESTED_TASK,
    );
}

/// Clears DS, ES, FS and GS, which neither the kernel nor its programs use. A program can load them
/// with its data segment all the same, and no other program is to see that it did. They are read
/// first, since reading is much cheaper than loading, and hardly a program loads them.
pub fn clear_data_segments() {
    let loaded = DS::get_reg().0 | ES::get_reg().0 | FS::get_reg().0 | GS::get_reg().0;
    if loaded != 0 {
        // SAFETY: in 64-bit mode a null selector is good in all four (Intel SDM vol. 3, §3.4.4); in
        // none of them is there a base that anybody uses.
        unsafe {
            DS::set_reg(SegmentSelector::NULL);
            ES::set_reg(SegmentSelector::NULL);
            FS::set_reg(SegmentSelector::NULL);
            GS::set_reg(SegmentSelector::NULL);
        }
    }
}
