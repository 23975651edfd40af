//! Programs' memory, as the kernel reads and writes it.
//!
//! A user pointer is never dereferenced. Each page it covers is looked up in the program's
//! own table, checked for user access, and reached through the mapping of all physical
//! memory. So no pointer can fault the kernel, SMAP stays on, and memory of a process that
//! does not run is reached the same way.

use crate::arch::frame;
use crate::arch::space::{self, Space};
use abi::layout::{PAGE_SIZE, USER_END};
use abi::{Error, Result};
use core::ptr::NonNull;
use kernel::process::{Machine, Registers};
use kernel::space::{Region, Shown};

/// The machine's side of the process table.
pub struct UserMemory;

/// The pieces that `address..address + len` is in: for each, where it is and how many bytes of
/// the range are in it.
fn pieces(
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
        let Some((start, here)) = space::user_run(space, at, end - at, write) else {
            return Some(Err(Error::BadAddress));
        };
        at += here;
        Some(Ok((start, here as usize)))
    }))
}

/// Where `address..address + len` is, if it is all in one page, as most is.
fn one_page(space: &Space, address: u64, len: usize, write: bool) -> Option<NonNull<u8>> {
    let fits = address % PAGE_SIZE + len as u64 <= PAGE_SIZE && address < USER_END;
    fits.then(|| space::user_page(space, address, write))
        .flatten()
}

/// Reads what may lie in several pages.
#[cold]
fn read_pages(space: &Space, address: u64, buffer: &mut [u8]) -> Result<()> {
    let mut rest = buffer;
    for piece in pieces(space, address, rest.len(), false)? {
        let (start, len) = piece?;
        let part = rest.split_off_mut(..len).ok_or(Error::BadAddress)?;
        // SAFETY: `len` bytes of mapped user pages in a row; the kernel holds no
        // reference to user pages, and nothing else runs meanwhile.
        unsafe {
            part.as_mut_ptr()
                .copy_from_nonoverlapping(start.as_ptr(), len)
        };
    }
    Ok(())
}

/// Writes what may lie in several pages.
#[cold]
fn write_pages(space: &Space, address: u64, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    for piece in pieces(space, address, rest.len(), true)? {
        let (start, len) = piece?;
        let part;
        (part, rest) = rest.split_at(len);
        // SAFETY: `len` bytes of mapped, writable user pages in a row, to which the kernel
        // holds no reference; nothing else runs meanwhile.
        unsafe { start.as_ptr().copy_from_nonoverlapping(part.as_ptr(), len) };
    }
    Ok(())
}

impl Machine for UserMemory {
    type Space = Space;

    fn new_space(&self) -> Result<Space> {
        Space::new(space::Machine)
    }

    #[cold]
    fn add_memory(&self, space: &mut Space, region: &Region) -> Result<()> {
        space.add_memory(region)
    }

    fn entry_registers(&self, entry: u64, stack: u64) -> Registers {
        frame::user_registers(entry, stack)
    }

    fn memory(&self, space: &Space) -> u64 {
        space.memory()
    }

    fn set_limit(&self, space: &mut Space, bytes: u64) {
        space.set_limit(bytes);
    }

    fn show(&self, space: &mut Space, pieces: [Shown; 3]) -> Result<()> {
        space.show(pieces)
    }

    fn charge(&self, space: &mut Space, bytes: u64) -> Result<()> {
        space.charge(bytes)
    }

    fn can_write(&self, space: &Space, address: u64, len: usize) -> Result<()> {
        if one_page(space, address, len, true).is_some() {
            return Ok(());
        }
        pieces(space, address, len, true)?.try_for_each(|piece| piece.map(|_| ()))
    }

    fn read(&self, space: &Space, address: u64, buffer: &mut [u8]) -> Result<()> {
        if let Some(page) = one_page(space, address, buffer.len(), false) {
            // SAFETY: as in `read_pages`.
            unsafe {
                buffer
                    .as_mut_ptr()
                    .copy_from_nonoverlapping(page.as_ptr(), buffer.len())
            };
            return Ok(());
        }
        read_pages(space, address, buffer)
    }

    fn write(&self, space: &Space, address: u64, bytes: &[u8]) -> Result<()> {
        if let Some(page) = one_page(space, address, bytes.len(), true) {
            // SAFETY: as in `write_pages`.
            unsafe {
                page.as_ptr()
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
            };
            return Ok(());
        }
        write_pages(space, address, bytes)
    }

    fn copy(&self, from: (&Space, u64), to: (&Space, u64), len: usize) -> Result<()> {
        let mut sources = pieces(from.0, from.1, len, false)?;
        let mut targets = pieces(to.0, to.1, len, true)?;
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
                // SAFETY: still within the piece.
                source = Some((unsafe { src.add(here) }, src_len - here));
            }
            if dst_len > here {
                // SAFETY: still within the piece.
                target = Some((unsafe { dst.add(here) }, dst_len - here));
            }
            left -= here;
        }
        Ok(())
    }
}
