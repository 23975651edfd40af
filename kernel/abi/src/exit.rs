//! What a program's end means to the program that started it: exit codes, and exceptions by name.

/// It ended because it was done.
pub const DONE: u32 = 0;
/// It could not do its work, and has said why. Started again, it may do better.
pub const FAILED: u32 = 1;
/// Its arguments make no sense. The same ones will make none next time.
pub const BAD_USAGE: u32 = 2;
/// It can never do its work on this machine, for example without a card.
pub const IN_VAIN: u32 = 3;
/// It panicked, as Rust's programs say.
pub const PANICKED: u32 = 101;

/// The name of an exception vector, by which [`crate::ipc::Exit::Fault`] tells of a fault (Intel SDM vol. 3,
/// table 6-1).
pub const fn exception_name(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point exception",
        20 => "virtualization exception",
        21 => "control protection exception",
        28 => "hypervisor injection exception",
        29 => "VMM communication exception",
        30 => "security exception",
        _ => "reserved exception",
    }
}
