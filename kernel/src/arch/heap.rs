//! The kernel's heap: a first part in the kernel's image, and more from the frame allocator.
//!
//! Cards, names, and what the boot finds out are in it; frames, rings and page tables are not.
//! Where it is full it takes frames in a row, and gives them back when nothing is left in them. When
//! there are no frames an allocation fails, so what is allocated for a program or a card must be allowed to fail.

use super::paging;
use abi::layout::PAGE_SIZE;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;
use spin::Mutex;
use x86_64::PhysAddr;

/// Bytes of the first part: what one card of any kind, all processes and their names take.
const FIRST_SIZE: usize = 256 * 1024;
/// Bytes of each later part, if frames in a row allow it and one allocation does not want more.
const PART_SIZE: usize = 128 * 1024;
/// Parts at most. A machine has not so many cards.
const PARTS: usize = 64;
/// What a part needs for itself beside one allocation.
const OVERHEAD: usize = 64;

#[global_allocator]
static HEAP: Growing = Growing(Mutex::new([const { Heap::empty() }; PARTS]));

/// The first part is in the image, so that the linker script can place its first pages, which
/// are the busiest, where no other busy page of the kernel is in the way.
#[repr(align(4096))]
struct HeapMemory(UnsafeCell<[u8; FIRST_SIZE]>);

// SAFETY: nobody refers to it but the heap, which has a lock.
unsafe impl Sync for HeapMemory {}

static HEAP_MEMORY: HeapMemory = HeapMemory(UnsafeCell::new([0; FIRST_SIZE]));

/// The first part, and later ones where they have size.
struct Growing(Mutex<[Heap; PARTS]>);

/// Gives the kernel its heap, once.
pub fn init() {
    let first = HEAP_MEMORY.0.get().cast();
    // SAFETY: memory that is the heap's for ever.
    unsafe { HEAP.0.lock()[0].init(first, FIRST_SIZE) };
}

/// A part with room for `layout`, in place of one without memory.
fn grow(part: &mut Heap, layout: Layout) -> Option<()> {
    let needed = layout.size().checked_add(layout.align() + OVERHEAD)?;
    let sizes = [needed.max(PART_SIZE), needed];
    let run = |size: usize| paging::allocate_run(size, u64::MAX);
    let (_, memory) = sizes.into_iter().find_map(run)?;
    // Whole frames were taken, and whole frames are given back.
    let size = memory.len().next_multiple_of(PAGE_SIZE as usize);
    // SAFETY: fresh frames in a row, mapped, which are this part's until it gives them back.
    unsafe { part.init(memory.cast().as_ptr(), size) };
    Some(())
}

// SAFETY: every part is an allocator of its own, over memory that is nobody else's; a block goes back
// to the part in whose memory it is.
unsafe impl GlobalAlloc for Growing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut parts = self.0.lock();
        let in_use = parts.iter_mut().filter(|part| part.size() > 0);
        for part in in_use {
            if let Ok(block) = part.allocate_first_fit(layout) {
                return block.as_ptr();
            }
        }
        let unused = parts.iter_mut().find(|part| part.size() == 0);
        let grown = unused.and_then(|part| {
            grow(part, layout)?;
            part.allocate_first_fit(layout).ok()
        });
        grown.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut parts = self.0.lock();
        for (number, part) in parts.iter_mut().enumerate() {
            let (bottom, size) = (part.bottom(), part.size());
            if size == 0 || !(bottom..bottom.wrapping_add(size)).contains(&block) {
                continue;
            }
            // SAFETY: as promised by the caller, the block was given by this part; it is not null.
            unsafe { part.deallocate(NonNull::new_unchecked(block), layout) };
            if number > 0 && part.used() == 0 {
                *part = Heap::empty();
                paging::free_run(PhysAddr::new(paging::physical_of(bottom)), size);
            }
            return;
        }
    }
}
