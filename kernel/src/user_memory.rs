//! Programs' memory, as the kernel reads and writes it.
//!
//! A user pointer is never dereferenced. Each page it covers is looked up in the program's
//! own table, checked for user access, and reached through the mapping of all physical
//! memory. So no pointer can fault the kernel, SMAP stays on, and memory of a process that
//! does not run is reached the same way.

use crate::arch::space::Space;
use abi::layout::{PAGE_SIZE, USER_END};
use abi::{Error, Result};
use core::ptr::NonNull;
use kernel::process::Machine;

/// The machine's side of the process table.
pub struct UserMemory;

/// The pages of `address..address + len`: for each, where it is and how many bytes of the
/// range are in it.
fn pages(
    space: &Space,
    address: u64,
    len: usize,
    write: bool,
) -> Result<impl Iterator<Item = Result<(NonNull<u8>, usize)>>> {
    let end = address.checked_add(len as u64).ok_or(Error::BadAddress)?;
    if end > USER_END {
        return Err(Error::BadAddress);
    }
    let mut at = address;
    Ok(core::iter::from_fn(move || {
        if at == end {
            return None;
        }
        let here = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
        let page = space.user_page(at, write).ok_or(Error::BadAddress);
        at += here;
        Some(page.map(|page| (page, here as usize)))
    }))
}

/// As [`pages`], of what is in one page, as most is.
fn one_page(space: &Space, address: u64, len: usize, write: bool) -> Option<NonNull<u8>> {
    let fits = address % PAGE_SIZE + len as u64 <= PAGE_SIZE && address < USER_END;
    fits.then(|| space.user_page(address, write)).flatten()
}

impl Machine for UserMemory {
    type Space = Space;

    fn can_write(&self, space: &Space, address: u64, len: usize) -> Result<()> {
        if one_page(space, address, len, true).is_some() {
            return Ok(());
        }
        pages(space, address, len, true)?.try_for_each(|page| page.map(|_| ()))
    }

    fn read(&self, space: &Space, address: u64, buffer: &mut [u8]) -> Result<()> {
        if let Some(page) = one_page(space, address, buffer.len(), false) {
            // SAFETY: as below.
            unsafe {
                buffer
                    .as_mut_ptr()
                    .copy_from_nonoverlapping(page.as_ptr(), buffer.len())
            };
            return Ok(());
        }
        let mut rest = buffer;
        for page in pages(space, address, rest.len(), false)? {
            let (page, len) = page?;
            let part = rest.split_off_mut(..len).ok_or(Error::BadAddress)?;
            // SAFETY: `len` bytes of one mapped user page; the kernel holds no reference
            // to user pages, and nothing else runs meanwhile.
            unsafe {
                part.as_mut_ptr()
                    .copy_from_nonoverlapping(page.as_ptr(), len)
            };
        }
        Ok(())
    }

    fn write(&self, space: &Space, address: u64, bytes: &[u8]) -> Result<()> {
        if let Some(page) = one_page(space, address, bytes.len(), true) {
            // SAFETY: as below.
            unsafe {
                page.as_ptr()
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
            };
            return Ok(());
        }
        let mut rest = bytes;
        for page in pages(space, address, rest.len(), true)? {
            let (page, len) = page?;
            let part;
            (part, rest) = rest.split_at(len);
            // SAFETY: `len` bytes of one mapped, writable user page, to which the kernel
            // holds no reference; nothing else runs meanwhile.
            unsafe { page.as_ptr().copy_from_nonoverlapping(part.as_ptr(), len) };
        }
        Ok(())
    }

    fn copy(&self, from: (&Space, u64), to: (&Space, u64), len: usize) -> Result<()> {
        let mut sources = pages(from.0, from.1, len, false)?;
        let mut targets = pages(to.0, to.1, len, true)?;
        let mut source: Option<(NonNull<u8>, usize)> = None;
        let mut target: Option<(NonNull<u8>, usize)> = None;
        let mut left = len;
        while left > 0 {
            let (src, src_len) = match source.take() {
                Some(rest) => rest,
                None => sources.next().ok_or(Error::BadAddress)??,
            };
            let (dst, dst_len) = match target.take() {
                Some(rest) => rest,
                None => targets.next().ok_or(Error::BadAddress)??,
            };
            let here = src_len.min(dst_len);
            // SAFETY: both ranges are within mapped user pages of the right access. They
            // may be the same frame (the ramdisk, or one space on both sides), so `copy`.
            unsafe { src.copy_to(dst, here) };
            if src_len > here {
                // SAFETY: still within the page.
                source = Some((unsafe { src.add(here) }, src_len - here));
            }
            if dst_len > here {
                // SAFETY: still within the page.
                target = Some((unsafe { dst.add(here) }, dst_len - here));
            }
            left -= here;
        }
        Ok(())
    }
}
