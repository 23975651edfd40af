//! The boot module, a tar archive: the kernel in it, and the member put before it.
//!
//! `BootInfo` has no field for a command line, so the kernel finds it as the file `cmdline`
//! at the head of the ramdisk. The member is laid so that it ends where the module's first
//! page begins; the module itself is not copied.
//!
//! ```text
//!      fresh page(s)                         the module's own pages
//! ┌────────────┬────────┬──────────────────┬───────────────────────────────┐
//! │ zero       │ header │ text, padded     │ header │ boot/kernel │ ...     │
//! └────────────┴────────┴──────────────────┴───────────────────────────────┘
//!              ↑ ramdisk_addr
//! ```

use tar_no_std::TarArchiveRef;

use crate::error::Error;

/// The kernel's name in the archive.
pub const KERNEL: &str = "boot/kernel";
/// The command line's name in the archive.
pub const CMDLINE: &str = "cmdline";
/// Tar counts in blocks of so many bytes.
pub const BLOCK: usize = 512;

/// The kernel's file. Every header of the archive is checked, no file's content is read.
pub fn find_kernel(archive: &[u8]) -> Result<&[u8], Error> {
    let archive = TarArchiveRef::new(archive).map_err(Error::Archive)?;
    archive
        .entries()
        .find(|entry| entry.filename().as_str() == Ok(KERNEL))
        .map(|entry| entry.data())
        .ok_or(Error::NoKernel)
}

/// A tar member with the command line.
#[derive(Debug)]
pub struct CmdlineMember<'m> {
    header: [u8; BLOCK],
    text: &'m [u8],
}

impl<'m> CmdlineMember<'m> {
    /// The member with `text` as it is: POSIX ustar, mode 0444, all times and owners 0.
    pub fn new(text: &'m [u8]) -> Self {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
        put(0, CMDLINE.as_bytes());
        put(100, b"0000444\0"); // mode
        put(108, b"0000000\0"); // uid
        put(116, b"0000000\0"); // gid
        put(124, &octal::<12>(text.len())); // size
        put(136, &octal::<12>(0)); // mtime
        put(148, b"        "); // the checksum counts itself as spaces
        put(156, b"0"); // typeflag: a regular file
        put(257, b"ustar\x0000"); // magic, version
        let sum = header.iter().map(|&byte| usize::from(byte)).sum();
        header[148..155].copy_from_slice(&octal::<7>(sum));
        Self { header, text }
    }

    /// The member's length in bytes, a multiple of [`BLOCK`].
    #[expect(
        clippy::len_without_is_empty,
        reason = "its header makes it never empty"
    )]
    pub fn len(&self) -> usize {
        BLOCK + self.text.len().next_multiple_of(BLOCK)
    }

    /// Fills `page`, a zeroed page at `page_at` of a run in which the member starts at `at`.
    pub fn lay(&self, page: &mut [u8], page_at: u64, at: u64) {
        lay(page, page_at, &self.header, at);
        lay(page, page_at, self.text, at + BLOCK as u64);
    }
}

/// `value` in octal digits that end with a NUL.
fn octal<const N: usize>(mut value: usize) -> [u8; N] {
    let mut field = [0; N];
    for digit in field[..N - 1].iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field
}

/// Copies what of `piece`, which starts at `piece_at`, lies in `page`, which starts at
/// `page_at`, into it.
pub fn lay(page: &mut [u8], page_at: u64, piece: &[u8], piece_at: u64) {
    let page_end = page_at + page.len() as u64;
    let piece_end = piece_at + piece.len() as u64;
    let (start, end) = (page_at.max(piece_at), page_end.min(piece_end));
    if start < end {
        let piece = &piece[(start - piece_at) as usize..(end - piece_at) as usize];
        page[(start - page_at) as usize..(end - page_at) as usize].copy_from_slice(piece);
    }
}
