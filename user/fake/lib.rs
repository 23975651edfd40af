//! The kernel as a test plays it, for programs and the runtime that they are linked with: a test
//! says with [`install`] what the system calls of its thread are answered. And a ramdisk.

use abi::error::to_register;
use abi::{Error, Result, Syscall};
use std::cell::RefCell;

type Kernel = Box<dyn FnMut(Syscall, [u64; 4]) -> Result<u64>>;

thread_local! {
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// From now on `kernel` answers this thread's system calls.
pub fn install(kernel: impl FnMut(Syscall, [u64; 4]) -> Result<u64> + 'static) {
    replace(Box::new(kernel));
}

// In the same object file as `wharf_kernel`, so that a test that needs the one is linked with both.
fn replace(kernel: Kernel) {
    KERNEL.set(Some(kernel));
}

/// Stands in for the `syscall` instruction: see `sys` of the runtime.
#[unsafe(no_mangle)]
fn wharf_kernel(number: u64, arguments: [u64; 4]) -> u64 {
    KERNEL.with_borrow_mut(|kernel| {
        to_register(match (kernel, Syscall::from_number(number)) {
            (Some(kernel), Some(call)) => kernel(call, arguments),
            _ => Err(Error::NoSuchCall),
        })
    })
}

/// The bytes a program passed, as the kernel sees them.
///
/// # Safety
/// They are the arguments of the call being answered.
pub unsafe fn read(address: u64, len: u64) -> Vec<u8> {
    // SAFETY: the caller passes a live slice's address and length.
    unsafe { std::slice::from_raw_parts(address as *const u8, len as usize) }.to_vec()
}

/// Fills a program's buffer, as the kernel does.
///
/// # Safety
/// `address` is a buffer of the call being answered, at least as long as `bytes`.
pub unsafe fn write(address: u64, bytes: &[u8]) {
    // SAFETY: the caller passes a live buffer's address.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }
}

/// A ustar archive of these (path, contents, modification time).
pub fn tar(members: &[(&str, &[u8], u64)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, contents, modified) in members {
        let mut header = [0u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
        header[136..148].copy_from_slice(format!("{modified:011o}\0").as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = if path.ends_with('/') { b'5' } else { b'0' };
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(contents);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
