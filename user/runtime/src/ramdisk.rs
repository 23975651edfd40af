//! The files: a tar, mapped read-only into every program. Opening a file is a lookup in a
//! sorted index that is built on first use; reading it is a slice.

use abi::{Error, Result};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use spin::Once;
use tar_no_std::{ArchiveEntry, TarArchiveRef};

/// A file's contents and what the tar knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// The contents.
    pub bytes: &'a [u8],
    /// When it was last modified, in seconds since 1970-01-01 UTC; 0 if unknown.
    pub modified: u64,
}

/// All regular files of a tar, by path.
#[derive(Debug)]
pub struct Ramdisk<'a> {
    /// Sorted by path, each path once.
    files: Vec<(String, File<'a>)>,
}

impl<'a> Ramdisk<'a> {
    /// Indexes a tar. Paths lose a leading `./`; of members with the same path the first
    /// counts, as for the kernel, which looks for programs from the front.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no intact tar in the ustar format.
    pub fn new(tar: &'a [u8]) -> Result<Self> {
        let archive = TarArchiveRef::new(tar).map_err(|_| Error::Malformed)?;
        let mut files: Vec<_> = archive.entries().filter_map(file).collect();
        // Both stable: the first member stays in front of its namesakes.
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        files.dedup_by(|(later, _), (first, _)| later == first);
        Ok(Ramdisk { files })
    }

    /// The file at exactly this path (`www/index.html`).
    pub fn open(&self, path: &str) -> Option<File<'a>> {
        let at = self.position(path).ok()?;
        Some(self.files[at].1)
    }

    /// Whether there are files below this path (`www`, without the slash at the end).
    pub fn is_folder(&self, path: &str) -> bool {
        let mut below = String::with_capacity(path.len() + 1);
        below.push_str(path);
        below.push('/');
        self.under(&below).next().is_some()
    }

    /// The files whose path begins with `prefix`, in order, without it.
    pub fn under<'b>(&'b self, prefix: &'b str) -> impl Iterator<Item = (&'b str, File<'a>)> {
        let start = self.position(prefix).unwrap_or_else(|place| place);
        self.files[start..]
            .iter()
            .map_while(move |(path, file)| Some((path.strip_prefix(prefix)?, *file)))
    }

    fn position(&self, path: &str) -> core::result::Result<usize, usize> {
        self.files
            .binary_search_by(|(candidate, _)| candidate.as_str().cmp(path))
    }
}

/// One member; `None` if its path is not UTF-8, since nothing could name it.
fn file<'a>(entry: ArchiveEntry<'a>) -> Option<(String, File<'a>)> {
    let name = entry.filename();
    let path = name.as_str().ok()?;
    let path = path.strip_prefix("./").unwrap_or(path);
    // tar-no-std types the field as decimal; in a tar it is octal like the others.
    let modified = entry.posix_header().mtime.as_inner().as_str().unwrap_or("");
    let file = File {
        bytes: entry.data(),
        modified: u64::from_str_radix(modified.trim(), 8).unwrap_or(0),
    };
    Some((path.into(), file))
}

/// The ramdisk of this system.
///
/// # Errors
/// [`Error::Malformed`] if the boot module is damaged.
pub fn ramdisk() -> Result<&'static Ramdisk<'static>> {
    static RAMDISK: Once<Ramdisk<'static>> = Once::new();
    RAMDISK.try_call_once(|| Ramdisk::new(crate::start::raw_ramdisk()))
}

/// All of it, as the tar it is. The contents of its files are slices of these bytes.
pub fn bytes() -> &'static [u8] {
    crate::start::raw_ramdisk()
}

/// The file at `path` of this system's ramdisk.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Malformed`] if the ramdisk is damaged.
pub fn open(path: &str) -> Result<File<'static>> {
    ramdisk()?.open(path).ok_or(Error::NotFound)
}

/// Where the bytes of the file at `path` are in [`bytes`].
///
/// # Errors
/// As [`open`].
pub fn place(path: &str) -> Result<Range<u32>> {
    let file = open(path)?.bytes;
    // The file is a part of the whole: only how far apart they begin is asked.
    let start = (file.as_ptr() as usize).checked_sub(bytes().as_ptr() as usize);
    let start = start.ok_or(Error::Malformed)?;
    let number = |at: usize| u32::try_from(at).map_err(|_| Error::TooLong);
    Ok(number(start)?..number(start + file.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake::tar;

    #[test]
    fn files_are_found_by_path() {
        let tar = tar(&[
            ("cmdline", b"run=hello", 0),
            ("www/", b"", 0),
            ("www/index.html", b"<p>", 1_000_000_000),
            ("./www/a/b.css", b"p {}", 7),
            ("bin/hello", b"ELF", 8),
            ("cmdline", b"later", 9),
        ]);
        let disk = Ramdisk::new(&tar).unwrap();
        let page = disk.open("www/index.html").unwrap();
        assert_eq!((page.bytes, page.modified), (&b"<p>"[..], 1_000_000_000));
        assert_eq!(disk.open("www/a/b.css").unwrap().bytes, b"p {}");
        assert_eq!(disk.open("cmdline").unwrap().bytes, b"run=hello");
        assert_eq!(disk.open("www/"), None);
        assert_eq!(disk.open("www"), None);
        assert_eq!(disk.open("www/index.htm"), None);
        assert_eq!(disk.open(""), None);
    }

    #[test]
    fn folders_are_where_files_are() {
        let tar = tar(&[
            ("www/a/b", b"", 0),
            ("www/ab", b"", 0),
            ("www-old/x", b"", 0),
        ]);
        let disk = Ramdisk::new(&tar).unwrap();
        assert!(disk.is_folder("www") && disk.is_folder("www/a"));
        assert!(!disk.is_folder("www/ab") && !disk.is_folder("ww") && !disk.is_folder("www/a/b"));
        let names: Vec<_> = disk.under("www/").map(|(name, _)| name).collect();
        assert_eq!(names, ["a/b", "ab"]);
    }

    #[test]
    fn a_damaged_tar_is_refused() {
        let whole = tar(&[("a", &[7; 600], 0)]);
        assert!(Ramdisk::new(&whole).is_ok());
        assert!(Ramdisk::new(&[]).is_err());
        assert!(Ramdisk::new(&whole[..1024]).is_err());
        for byte in 0..512 {
            let mut bad = whole.clone();
            bad[byte] ^= 0x15;
            // All of the header is under the checksum but what ends the checksum itself.
            let padding = (154..156).contains(&byte);
            assert!(Ramdisk::new(&bad).is_err() || padding, "byte {byte}");
        }
    }
}
