//! The kernel as a test plays it.

use abi::error::to_register;
use abi::{Error, Result, Syscall};
use std::boxed::Box;
use std::cell::RefCell;

type Kernel = Box<dyn FnMut(Syscall, [u64; 4]) -> Result<u64>>;

thread_local! {
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// From now on `kernel` answers this thread's system calls.
pub fn install(kernel: impl FnMut(Syscall, [u64; 4]) -> Result<u64> + 'static) {
    KERNEL.set(Some(Box::new(kernel)));
}

/// Stands in for the instruction.
///
/// # Safety
/// As the real one.
pub unsafe fn enter(call: Syscall, arguments: [u64; 4]) -> u64 {
    KERNEL.with_borrow_mut(|kernel| {
        to_register(match kernel {
            Some(kernel) => kernel(call, arguments),
            None => Err(Error::NoSuchCall),
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
