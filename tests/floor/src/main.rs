//! The floor of `make bench`: what is left of raw transmission when there is no operating
//! system. No interrupts, no processes, one ring that always holds the same frame; the
//! fastest that a guest can make QEMU's card send.
//!
//! The command line is the size of the frames. It drives the first E100 or 82576 it finds on
//! bus 0 and sends for ever; who receives counts.
#![no_std]
#![no_main]

mod e100;
mod frame;
mod igb;
mod pci;
mod serial;

abi::c_memory_functions!();

// The same way in as the boot stage's: long mode, memory below 4 GiB at its own addresses.
core::arch::global_asm!(include_str!("../../../boot/src/bin/boot/pvh.s"), entry = sym enter);

// What that expects of whoever it is part of: a GDT.
core::arch::global_asm!(
    ".section .rodata.gdt, \"a\"",
    ".balign 8",
    "floor_gdt:",
    ".quad 0",
    ".quad 0x00af9b000000ffff", // code, 64-bit, ring 0
    ".quad 0x00cf93000000ffff", // data
    ".global boot_gdt_pointer",
    "boot_gdt_pointer:",
    ".word boot_gdt_pointer - floor_gdt - 1",
    ".quad floor_gdt",
    ".text",
);

/// Called once by `pvh.s`, with the address of the loader's `hvm_start_info`.
extern "C" fn enter(start_info: u64) -> ! {
    let size = size(start_info).clamp(frame::HEADERS, frame::MAX);
    match pci::find() {
        Some((pci::Card::E100, bars)) => e100::send_for_ever(bars, size),
        Some((pci::Card::Igb, bars)) => igb::send_for_ever(bars, size),
        None => stop("no card that it knows"),
    }
}

/// The number on the command line: `cmdline_paddr`, at offset 24 of the `hvm_start_info`
/// (Xen, arch-x86/hvm/start_info.h); 60 if there is none.
fn size(start_info: u64) -> usize {
    // SAFETY: PVH hands over the address of this structure, which is below 4 GiB and so
    // mapped; it need not be aligned.
    let text = unsafe { ((start_info + 24) as *const u64).read_unaligned() };
    let mut size = 0;
    for at in 0..4 {
        if text == 0 {
            break;
        }
        // SAFETY: the text ends with a zero byte, at which this stops.
        let byte = unsafe { ((text + at) as *const u8).read() };
        match byte {
            b'0'..=b'9' => size = size * 10 + usize::from(byte - b'0'),
            _ => break,
        }
    }
    if size == 0 { 60 } else { size }
}

fn stop(why: &str) -> ! {
    serial::print("floor: ");
    serial::print(why);
    serial::print("; halted\r\n");
    loop {
        x86_64::instructions::hlt();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    stop("panic")
}
