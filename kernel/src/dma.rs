//! Memory that a card reads and writes: a contiguous arena, named by offset.
//!
//! No reference into it is ever formed, since the card may change it at any moment: only
//! loads, stores and copies. That also holds for memory that a program writes while it
//! runs, such as the exchange area of a card.

use crate::arch::boot_memory::FREE_FOR_SERVERS;
use crate::arch::paging;
use abi::layout::PAGE_SIZE;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use kernel::endpoint::memory::Shared;
use x86_64::PhysAddr;

/// Cards with 32-bit addresses reach the memory below 4 GiB.
const BELOW_4_GIB: u64 = 1 << 32;

/// An arena, zeroed at first. It may be dropped only when its card writes to it no more, or was never told
/// of it.
pub struct Arena {
    physical: u64,
    base: NonNull<u8>,
    len: usize,
    /// Whether nobody else has this memory, and it is free with the value.
    is_own: bool,
}

// SAFETY: the arena belongs to whoever holds the value; nothing about it is tied to the
// place it was made.
unsafe impl Send for Arena {}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.is_own {
            paging::free_run(PhysAddr::new(self.physical), self.len);
        }
    }
}

impl Arena {
    /// Takes `len` bytes below 4 GiB; `None` if there is no such run of free memory.
    pub fn new(len: usize) -> Option<Self> {
        let (physical, memory) = paging::allocate_run(len, BELOW_4_GIB)?;
        Some(Arena {
            physical: physical.as_u64(),
            base: memory.cast(),
            len,
            is_own: true,
        })
    }

    /// No memory.
    pub fn none() -> Self {
        Arena {
            physical: 0,
            base: NonNull::dangling(),
            len: 0,
            is_own: false,
        }
    }

    /// The same memory once more, which is never freed from now on.
    pub fn for_ever(&mut self) -> Self {
        self.is_own = false;
        Arena { ..*self }
    }

    /// Whether an arena of `len` bytes would leave three quarters of the free memory to
    /// programs.
    pub fn is_affordable(len: usize) -> bool {
        let free = paging::free_frames() * PAGE_SIZE;
        free.saturating_sub(len as u64) >= (free / 4 * 3).max(FREE_FOR_SERVERS)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address a card uses for `offset`: the physical one, behind an IOMMU, too.
    pub fn bus_address(&self, offset: usize) -> u64 {
        if offset > self.len {
            outside(offset, 0);
        }
        self.physical + offset as u64
    }

    /// Loads a `T`, once and whole.
    pub fn load<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: inside the arena and aligned; any bits are a valid integer.
        unsafe { self.at::<T>(offset).read_volatile() }
    }

    /// Stores a `T`, once and whole.
    pub fn store<T: Copy>(&mut self, offset: usize, value: T) {
        // SAFETY: inside the arena and aligned.
        unsafe { self.at::<T>(offset).write_volatile(value) }
    }

    /// Loads some `T`s that follow each other, each once and whole: looks at the offset once.
    pub fn load_all<T: Copy, const N: usize>(&self, offset: usize) -> [T; N] {
        let first = self.at::<[T; N]>(offset).cast::<T>();
        // SAFETY: all inside the arena and aligned; any bits are a valid integer.
        core::array::from_fn(|index| unsafe { first.add(index).read_volatile() })
    }

    /// Stores some `T`s that follow each other, each once and whole.
    pub fn store_all<T: Copy, const N: usize>(&mut self, offset: usize, values: [T; N]) {
        let first = self.at::<[T; N]>(offset).cast::<T>();
        for (index, value) in values.into_iter().enumerate() {
            // SAFETY: all inside the arena and aligned.
            unsafe { first.add(index).write_volatile(value) }
        }
    }

    /// Stores at `to` some `T`s that it loads at `from`, each once and whole.
    pub fn copy_all<T: Copy, const N: usize>(&mut self, from: usize, to: usize) {
        let from = self.at::<[T; N]>(from).cast::<T>();
        let to = self.at::<[T; N]>(to).cast::<T>();
        for index in 0..N {
            // SAFETY: all inside the arena and aligned; any bits are a valid integer.
            unsafe {
                to.add(index)
                    .write_volatile(from.add(index).read_volatile())
            }
        }
    }

    /// Copies `bytes` in.
    pub fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        let target = self.range(offset, bytes.len());
        // SAFETY: inside the arena, to which no reference exists.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Fills `bytes` from it.
    pub fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        let source = self.range(offset, bytes.len());
        // SAFETY: inside the arena, to which no reference exists.
        unsafe { source.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Orders accesses to the arena as a card sees them.
    pub fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        if !offset.is_multiple_of(align_of::<T>()) {
            outside(offset, size_of::<T>());
        }
        self.range(offset, size_of::<T>()).cast()
    }

    fn range(&self, offset: usize, len: usize) -> *mut u8 {
        if self.len.checked_sub(len).is_none_or(|last| offset > last) {
            outside(offset, len);
        }
        // SAFETY: inside the arena.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Shared for Arena {
    fn allocate(len: usize) -> Option<Self> {
        Arena::new(len)
    }

    fn address(&self) -> u64 {
        self.physical
    }

    fn size(&self) -> usize {
        self.len
    }

    fn load_words<const N: usize>(&self, offset: usize) -> [u32; N] {
        self.load_all(offset)
    }

    fn store_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) {
        self.store_all(offset, words);
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.copy_in(offset, bytes);
    }

    fn get(&self, offset: usize, bytes: &mut [u8]) {
        self.copy_out(offset, bytes);
    }

    fn copy(&mut self, offset: usize, from: &Self, start: usize, len: usize) {
        let (target, source) = (self.range(offset, len), from.range(start, len));
        // SAFETY: each inside its arena, to which no reference exists; they may be the same.
        unsafe { target.copy_from(source, len) }
    }
}

/// Ends it: an error of a driver. Out of the way, for all its frames come past it.
#[cold]
#[inline(never)]
fn outside(offset: usize, len: usize) -> ! {
    panic!("arena range {offset:#x}+{len:#x}: outside, or not aligned")
}
