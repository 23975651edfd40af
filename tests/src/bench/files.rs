//! The files that every guest of the benchmark serves.

use crate::pattern;

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name below `www`.
    pub name: &'static str,
    /// How to ask for it.
    pub target: &'static str,
    seed: u64,
    /// Its length.
    pub len: usize,
}

impl File {
    /// Its contents, the same every time.
    pub fn contents(self) -> Vec<u8> {
        pattern(self.seed, self.len)
    }
}

/// What is asked for again and again: 1 KiB.
pub const INDEX: File = File {
    name: "index.html",
    target: "/",
    seed: 0x1d,
    len: 1 << 10,
};

/// What is downloaded: 10 MiB. Only guests that are measured with it carry it.
pub const BIG: File = File {
    name: "10m.bin",
    target: "/10m.bin",
    seed: 0xb1,
    len: 10 << 20,
};

/// The file that Linux's init asks for as `index` or `big`.
pub fn named(name: &str) -> Option<File> {
    match name {
        "index" => Some(INDEX),
        "big" => Some(BIG),
        _ => None,
    }
}
