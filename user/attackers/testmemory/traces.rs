//! What a program could leave to others: marks in segment registers, in frame buffers and in
//! memory, and a look for them.
//!
//! The memory is named by address, since what is looked for is what the kernel has just shown this
//! program, and no object of it.
#![allow(unsafe_code)]

use abi::layout::nic_window;
use core::arch::asm;
use core::ptr;
use runtime::{Result, sys};

/// What is left: a byte, again and again, so that it is found wherever it begins.
pub const MARK: u64 = u64::from_le_bytes([0xa7; 8]);

/// The selectors in DS, ES, FS and GS.
pub fn segments() -> [u16; 4] {
    let (ds, es, fs, gs): (u16, u16, u16, u16);
    // SAFETY: copies registers.
    unsafe {
        asm!(
            "mov {:x}, ds", "mov {:x}, es", "mov {:x}, fs", "mov {:x}, gs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs,
            options(nomem, nostack, preserves_flags),
        );
    }
    [ds, es, fs, gs]
}

/// Loads all four with the only selector of data that a program has, its stack's.
pub fn mark_segments() {
    // SAFETY: in 64-bit mode these four add a base to no address, but for FS and GS, in which that
    // of this segment is 0, as it was.
    unsafe {
        asm!(
            "mov {selector:x}, ss",
            "mov ds, {selector:x}", "mov es, {selector:x}",
            "mov fs, {selector:x}", "mov gs, {selector:x}",
            selector = out(reg) _,
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// The frame buffers of an endpoint of this process: those to send from, and what it receives into.
/// Where they are, and bytes of them.
///
/// # Errors
/// As [`sys::nic_map`].
pub fn buffers(endpoint: u8) -> Result<[(u64, u64); 2]> {
    let (memory, area) = sys::nic_map(endpoint)?;
    let [_, transmit, receive] = nic_window(area);
    let bytes = |(count, len): (u16, u32)| u64::from(count) * u64::from(len);
    let sent = bytes(memory.small) + bytes(memory.large);
    Ok([(transmit, sent), (receive, memory.receive_len.into())])
}

/// Adds memory of so many bytes to this process, behind its allocator's back: nothing may be
/// allocated afterwards.
///
/// # Errors
/// As [`sys::grow_heap`].
pub fn more_memory(bytes: usize) -> Result<(u64, u64)> {
    Ok((sys::grow_heap(bytes)?, bytes as u64))
}

/// Fills memory of this process with marks.
///
/// # Safety
/// It is mapped for it to write, and no object is in it.
pub unsafe fn mark((start, len): (u64, u64)) {
    for at in (start..start + len).step_by(8) {
        // SAFETY: as promised.
        unsafe { ptr::with_exposed_provenance_mut::<u64>(at as usize).write_volatile(MARK) };
    }
}

/// How many of the words of 8 bytes in memory of this process are as `is_found` says.
///
/// # Safety
/// It is mapped for it to read.
pub unsafe fn count((start, len): (u64, u64), is_found: impl Fn(u64) -> bool) -> usize {
    let words = (start..start + len).step_by(8);
    // SAFETY: as promised.
    let word =
        |at: u64| unsafe { ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() };
    words.filter(|&at| is_found(word(at))).count()
}
