//! Memory that a program, or a card, may write at any time, so that no reference into it is ever formed.

/// Such memory: contiguous, named by byte offset. Offsets that are out of range or not aligned are bugs
/// of the kernel: an implementation panics on them.
pub trait Shared: Sized {
    /// Takes `len` bytes, zeroed; `None` if there are none in a row.
    fn allocate(len: usize) -> Option<Self>;
    /// Where it is in physical memory.
    fn address(&self) -> u64;
    /// Its length in bytes.
    fn size(&self) -> usize;
    /// Loads words that follow each other, each once and whole.
    fn load_words<const N: usize>(&self, offset: usize) -> [u32; N];
    /// Stores words that follow each other, each once and whole.
    fn store_words<const N: usize>(&mut self, offset: usize, words: [u32; N]);
    /// Copies `bytes` in.
    fn put(&mut self, offset: usize, bytes: &[u8]);
    /// Fills `bytes` from it.
    fn get(&self, offset: usize, bytes: &mut [u8]);
    /// Copies `len` bytes in from `start` of another such memory.
    fn copy(&mut self, offset: usize, from: &Self, start: usize, len: usize);
}
