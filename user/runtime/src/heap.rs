//! The heap: a first-fit free list over memory that the kernel adds on demand.
#![allow(unsafe_code)]

use abi::layout::PAGE_SIZE;
use abi::syscall::GROW_MAX;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;
use spin::Mutex;

/// The least that is asked of the kernel at once, in bytes.
const GROW_MIN: usize = 64 * 1024;

/// The allocator of a program, which [`crate::entry!`] gives it. A program has one thread, so the
/// lock is never contended; it makes the static sound.
pub struct Growing(Mutex<Heap>);

impl Growing {
    /// Without any memory yet.
    pub const fn empty() -> Self {
        Growing(Mutex::new(Heap::empty()))
    }
}

/// Adds room for `layout`; false if the kernel refuses.
fn grow(heap: &mut Heap, layout: Layout) -> bool {
    // Room for the block, its alignment, and the list's own bookkeeping.
    let Some(wanted) = layout.size().checked_add(layout.align().max(64)) else {
        return false;
    };
    let page = PAGE_SIZE as usize;
    let Some(mut wanted) = wanted.max(GROW_MIN).checked_next_multiple_of(page) else {
        return false;
    };
    // What was given before a refusal stays, for smaller blocks.
    while wanted > 0 {
        let part = wanted.min(GROW_MAX as usize);
        if !add(heap, part) {
            return false;
        }
        wanted -= part;
    }
    true
}

/// Adds that many bytes, whole pages.
fn add(heap: &mut Heap, len: usize) -> bool {
    let Ok(start) = crate::sys::grow_heap(len) else {
        return false;
    };
    if heap.size() == 0 {
        // SAFETY: the kernel has just mapped [start, start + len) for us alone.
        unsafe { heap.init(start as *mut u8, len) };
    } else {
        // SAFETY: as above; the heap is contiguous and only this function grows it, so
        // the new part begins where the old one ends.
        unsafe { heap.extend(len) };
    }
    true
}

// SAFETY: blocks come from a correct allocator over memory that is ours alone, under a
// lock; failing is a null pointer.
unsafe impl GlobalAlloc for Growing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heap = self.0.lock();
        loop {
            if let Ok(block) = heap.allocate_first_fit(layout) {
                return block.as_ptr();
            }
            if !grow(&mut heap, layout) {
                return ptr::null_mut();
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller passes what `alloc` gave for the same layout.
            unsafe { self.0.lock().deallocate(block, layout) };
        }
    }
}
