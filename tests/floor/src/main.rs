//! The floor of `make bench`: what is left when there is no operating system. No interrupts,
//! no processes, one program that looks at the card's memory again and again; the fastest that
//! a guest can make QEMU's card send, and answer.
//!
//! It drives the first E100 or 82576 it finds on bus 0. With the size of frames on the command
//! line it sends the same frame for ever, and who receives counts; with `answer` it answers ARP
//! and the echoes of ICMP and UDP.
#![no_std]
#![no_main]

mod e100;
mod igb;
mod pci;
mod serial;

use floor::role::Role;

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
    let mut line = [0; Role::LINE + 1];
    let Some(role) = Role::parse(command_line(start_info, &mut line)) else {
        stop("the command line is `answer`, or the size of the frames to send");
    };
    let Some((card, bars)) = pci::find() else {
        stop("no card that it knows");
    };
    match (card, role) {
        (pci::Card::E100, Role::Send(size)) => e100::send_for_ever(&bars, size),
        (pci::Card::E100, Role::Answer) => e100::answer_for_ever(&bars),
        (pci::Card::Igb, Role::Send(size)) => igb::send_for_ever(&bars, size),
        (pci::Card::Igb, Role::Answer) => igb::answer_for_ever(&bars),
    }
}

/// The command line, or as much of it as `line` holds: `cmdline_paddr`, at offset 24 of the
/// `hvm_start_info` (Xen, arch-x86/hvm/start_info.h).
fn command_line(start_info: u64, line: &mut [u8]) -> &[u8] {
    // SAFETY: PVH hands over the address of this structure, which is below 4 GiB and so
    // mapped; it need not be aligned.
    let text = unsafe { ((start_info + 24) as *const u64).read_unaligned() };
    let mut len = 0;
    while text != 0 && len < line.len() {
        // SAFETY: the text ends with a zero byte, at which this stops.
        match unsafe { ((text + len as u64) as *const u8).read() } {
            0 => break,
            byte => line[len] = byte,
        }
        len += 1;
    }
    &line[..len]
}

/// How often to look in vain before what there is is answered. Where several frames were there at
/// once, as `before` says, more are on their way: some microseconds make the batch larger, and
/// what is done for each batch is dear.
fn linger(before: usize) -> u32 {
    if before > 1 { 2000 } else { 1 }
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
