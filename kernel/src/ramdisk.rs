//! The tar archive that came with the kernel, as a file system: a file is a slice of it.
//!
//! The archive is in the `ustar` format (`tar --format=ustar`), which keeps a long path in two parts. It is
//! checked as a whole when it is opened, so that no later look-up can fail. Where a path occurs twice the
//! first file counts: so the command line, which the boot stage puts before everything else, cannot be
//! replaced from inside the archive.

use tar_no_std::{PosixHeader, TarArchiveRef};

pub use tar_no_std::CorruptDataError;

/// The member that holds the kernel's command line.
const COMMAND_LINE: &str = "cmdline";
/// What an archive ends with: zeros.
pub const TERMINATOR: usize = 2 * BLOCK;
/// Size of a header and of the unit in which contents are padded, in bytes.
const BLOCK: usize = 512;

/// A whole, checked archive.
#[derive(Clone, Debug)]
pub struct Ramdisk<'a> {
    bytes: &'a [u8],
    archive: TarArchiveRef<'a>,
}

/// A file of the ramdisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// The directory part of its path that did not fit into `name`, or nothing.
    directory: &'a str,
    /// The rest of its path.
    name: &'a str,
    /// Its contents.
    pub data: &'a [u8],
}

impl<'a> Ramdisk<'a> {
    /// Opens an archive: every header is checked, and that all contents are there.
    ///
    /// # Errors
    /// What is damaged, and in which block of 512 bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Ramdisk<'a>, CorruptDataError> {
        let archive = TarArchiveRef::new(bytes)?;
        Ok(Ramdisk { bytes, archive })
    }

    /// Where the last member begins, if that is the file with this path. With [`TERMINATOR`] bytes of zeros
    /// there, what is before it is an archive.
    pub fn start_of_last(&self, path: &str) -> Option<usize> {
        let (block, header) = self.archive.headers().last()?;
        let last = File::of(self.bytes, block, header)?;
        last.path().eq(path.bytes()).then_some(block * BLOCK)
    }

    /// The whole archive.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The contents of a file. The path may begin with `/`.
    pub fn file(&self, path: &str) -> Option<&'a [u8]> {
        self.find(path).map(|file| file.data)
    }

    /// A file. The path may begin with `/`.
    pub fn find(&self, path: &str) -> Option<File<'a>> {
        let path = relative(path);
        self.files().find(|file| file.path().eq(path.bytes()))
    }

    /// All regular files, in the order of the archive. (Not by `tar_no_std`'s own iterator, which logs a
    /// warning for each directory, each time.)
    pub fn files(&self) -> impl Iterator<Item = File<'a>> + use<'a> {
        let bytes = self.bytes;
        let headers = self.archive.headers();
        headers.filter_map(move |(block, header)| File::of(bytes, block, header))
    }

    /// The kernel's command line, without white space around it; empty if there is none or
    /// if it is not UTF-8.
    pub fn command_line(&self) -> &'a str {
        self.file(COMMAND_LINE)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .map_or("", |text| text.trim_matches(['\0', ' ', '\t', '\r', '\n']))
    }
}

impl<'a> File<'a> {
    /// The file with this header. A member that is no file, or has a name that is not UTF-8, cannot be
    /// asked for: it is `None`.
    fn of(bytes: &'a [u8], block: usize, header: &'a PosixHeader) -> Option<Self> {
        if !header.typeflag.try_to_type_flag().ok()?.is_regular_file() {
            return None;
        }
        let size = header.size.as_number::<usize>().ok()?;
        let data = bytes.get((block + 1) * BLOCK..)?.get(..size)?;
        let name = header.name.as_str().ok()?;
        // GNU's own format says "ustar " and keeps other things where the prefix would be.
        let is_posix = header.magic.as_str() == Ok("ustar") && header.version.as_str() == Ok("00");
        let directory = match is_posix {
            true => relative(header.prefix.as_str().ok()?),
            false => "",
        };
        let name = if directory.is_empty() {
            relative(name)
        } else {
            name
        };
        Some(File {
            directory,
            name,
            data,
        })
    }

    /// The bytes of its path, from the root, without a leading `/` or `./`.
    pub fn path(&self) -> impl Iterator<Item = u8> + use<'a> {
        let slash = if self.directory.is_empty() { "" } else { "/" };
        let parts = [self.directory, slash, self.name];
        parts.into_iter().flat_map(str::bytes)
    }

    /// What comes after the last `/` of its path.
    pub fn file_name(&self) -> &'a str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

/// A path without what only says "from the root".
fn relative(path: &str) -> &str {
    let path = path.strip_prefix("./").unwrap_or(path);
    path.trim_start_matches('/')
}

#[cfg(test)]
pub(crate) mod tests;
