//! The tar archive that came with the kernel, as a file system: a file is a slice of it.
//!
//! The archive is in the `ustar` format (`tar --format=ustar`), which keeps a long path in
//! two parts, and is checked as a whole when it is opened; later look-ups cannot fail.
//! Directories are implied by paths. Where a path occurs twice the first file counts: so
//! the command line, which the boot stage puts before everything else, cannot be replaced
//! from inside the archive.

use core::fmt;

use tar_no_std::{ArchiveHeaderIterator, PosixHeader, TarArchiveRef};

pub use tar_no_std::CorruptDataError;

/// The member that holds the kernel's command line.
const COMMAND_LINE: &str = "cmdline";
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
    /// Where it is.
    pub path: Path<'a>,
    /// What is in it.
    pub data: &'a [u8],
}

/// The path of a file, from the root, without a leading `/` or `./`.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// The directory part that did not fit into `name`, or nothing.
    directory: &'a str,
    /// The rest.
    name: &'a str,
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
        self.all().find(|file| file.path == *path)
    }

    /// All files whose path begins with `prefix`, in the order of the archive.
    pub fn files<'p>(&self, prefix: &'p str) -> impl Iterator<Item = File<'a>> + use<'a, 'p> {
        let prefix = relative(prefix);
        self.all().filter(move |file| file.path.starts_with(prefix))
    }

    /// The kernel's command line, without white space around it; empty if there is none or
    /// if it is not UTF-8.
    pub fn command_line(&self) -> &'a str {
        self.file(COMMAND_LINE)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .map_or("", |text| text.trim_matches(['\0', ' ', '\t', '\r', '\n']))
    }

    /// The values of an option of the command line: of each word `key=value`, in order. A
    /// word that is just `key` has an empty value.
    pub fn option<'k>(&self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.command_line()
            .split_ascii_whitespace()
            .filter_map(move |word| {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                (name == key).then_some(value)
            })
    }

    fn all(&self) -> Files<'a> {
        Files {
            bytes: self.bytes,
            headers: self.archive.headers(),
        }
    }
}

/// The regular files of an archive. (Not `tar_no_std`'s own iterator over them: that one
/// logs a warning for each directory, each time.)
struct Files<'a> {
    bytes: &'a [u8],
    headers: ArchiveHeaderIterator<'a>,
}

impl<'a> Iterator for Files<'a> {
    type Item = File<'a>;

    fn next(&mut self) -> Option<File<'a>> {
        // A member that is no file, or has a name that is not UTF-8, cannot be asked for.
        self.headers.by_ref().find_map(|(block, header)| {
            let regular = header.typeflag.try_to_type_flag().ok()?.is_regular_file();
            let path = regular.then(|| Path::of(header))??;
            let size = header.size.as_number::<usize>().ok()?;
            let data = self.bytes.get((block + 1) * BLOCK..)?.get(..size)?;
            Some(File { path, data })
        })
    }
}

impl<'a> Path<'a> {
    fn of(header: &'a PosixHeader) -> Option<Path<'a>> {
        let name = header.name.as_str().ok()?;
        // GNU's own format says "ustar " and keeps other things where the prefix would be.
        let posix = header.magic.as_str() == Ok("ustar") && header.version.as_str() == Ok("00");
        let directory = if posix {
            header.prefix.as_str().ok()?
        } else {
            ""
        };
        Some(if directory.is_empty() {
            Path {
                directory,
                name: relative(name),
            }
        } else {
            Path {
                directory: relative(directory),
                name,
            }
        })
    }

    /// What comes after the last `/`.
    pub fn file_name(self) -> &'a str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }

    fn bytes(self) -> impl Iterator<Item = u8> {
        let slash = if self.directory.is_empty() { "" } else { "/" };
        self.directory
            .bytes()
            .chain(slash.bytes())
            .chain(self.name.bytes())
    }

    /// Whether the path begins with this text.
    pub fn starts_with(self, prefix: &str) -> bool {
        let mut bytes = self.bytes();
        prefix.bytes().all(|byte| bytes.next() == Some(byte))
    }
}

impl PartialEq<str> for Path<'_> {
    fn eq(&self, other: &str) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl PartialEq for Path<'_> {
    fn eq(&self, other: &Path<'_>) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Path<'_> {}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.directory.is_empty() {
            write!(f, "{}/", self.directory)?;
        }
        f.write_str(self.name)
    }
}

/// A path without what only says "from the root".
fn relative(path: &str) -> &str {
    let path = path.strip_prefix("./").unwrap_or(path);
    path.trim_start_matches('/')
}

#[cfg(test)]
pub(crate) mod tests;
