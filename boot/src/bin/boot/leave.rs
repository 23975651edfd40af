//! The way out: the kernel's `BootInfo`, its page tables, its stack, its entry.
//!
//! The code that loads CR3 must be mapped before and after, so it has a page of its own at
//! its physical address in both sets of tables. The GDT is there too, because the kernel runs
//! on it until it loads its own.

use boot::load::{Loaded, REGIONS_OFFSET};
use boot::paging::Memory;
use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegion;
use x86_64::PhysAddr;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Efer, EferFlags};
use x86_64::structures::paging::{PageTable, PhysFrame};

use crate::physical::Frames;

// The descriptors are marked accessed, so that the CPU does not write to this page.
core::arch::global_asm!(
    ".section .switch, \"ax\"",
    ".global boot_gdt_pointer", // for the entry
    ".global switch_to_kernel",
    ".balign 8",
    "boot_gdt:",
    ".quad 0",
    ".quad 0x00af9b000000ffff", // code, 64-bit, ring 0
    ".quad 0x00cf93000000ffff", // data
    "boot_gdt_pointer:",
    ".word boot_gdt_pointer - boot_gdt - 1",
    ".quad boot_gdt",
    ".balign 16",
    "switch_to_kernel:", // (rdi: table, rsi: entry, rdx: stack, rcx: BootInfo)
    "mov cr3, rdi",
    "mov rsp, rdx",
    "mov rdi, rcx",
    "xor ebp, ebp", // the end of any backtrace
    "push 0",       // where a return address would be: nobody to return to
    "jmp rsi",
    ".text",
);

unsafe extern "C" {
    // By boot.ld: the page with the code above.
    static switch_start: u8;
    static mut boot_pml4: PageTable;
    fn switch_to_kernel(table: u64, entry: u64, stack: u64, boot_info: u64) -> !;
}

/// The page that must stay mapped at its physical address.
pub fn switch_page() -> PhysFrame {
    PhysFrame::containing_address(PhysAddr::new((&raw const switch_start).addr() as u64))
}

/// Calls the kernel.
pub fn enter(kernel: &Loaded, frames: &mut Frames) -> ! {
    // SAFETY: NX was checked for; the boot stage's own tables leave that bit clear.
    unsafe { Efer::update(|efer| *efer |= EferFlags::NO_EXECUTE_ENABLE) };

    // From here on the kernel's addresses can be used: all but the lowest 512 GiB.
    let table = frames.table(kernel.page_table).clone();
    let active = &raw mut boot_pml4;
    // SAFETY: nothing else refers to the table that CR3 points to; its first entry, which maps
    // the boot stage, stays as it is, and the others were not present.
    let active = unsafe { &mut *active };
    for (active, kernel) in active.iter_mut().zip(table.iter()).skip(1) {
        active.clone_from(kernel);
    }
    // Also keeps the compiler from moving the stores above past the use of what they map.
    tlb::flush_all();

    // SAFETY: the kernel's tables map fresh memory for both at these addresses, aligned, large
    // enough (`load::REGIONS_OFFSET`) and writable; nothing else refers to it.
    unsafe {
        let at = (kernel.boot_info + REGIONS_OFFSET) as *mut MemoryRegion;
        at.copy_from_nonoverlapping(kernel.regions.as_ptr(), kernel.regions.len());
        let regions = core::slice::from_raw_parts_mut(at, kernel.regions.len());
        let mut info = BootInfo::new(regions.into());
        kernel.fill(&mut info);
        (kernel.boot_info as *mut BootInfo).write(info);
    }

    // SAFETY: the tables map the switch page, the stack and the kernel, which is entered as
    // `bootloader_api::entry_point!` wants it: BootInfo's address in rdi, the stack aligned to
    // 16 bytes before a return address.
    unsafe {
        switch_to_kernel(
            kernel.page_table.start_address().as_u64(),
            kernel.entry,
            kernel.stack.end,
            kernel.boot_info,
        )
    }
}
