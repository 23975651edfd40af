//! What a program's exit code means to the program that started it.

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
