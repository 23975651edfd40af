//! The files that are served: everything below a folder of the ramdisk.

use super::conditions::Validators;
use super::date::HttpDate;
use super::media;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::fmt::Write;
use runtime::ramdisk::Ramdisk;

/// A file, and what is said of it in every response.
#[derive(Debug)]
pub struct Page<'a> {
    /// Path below the folder, without a leading slash.
    path: &'a str,
    /// The contents.
    pub bytes: &'a [u8],
    modified: u64,
    described: OnceCell<Described>,
}

/// Made on the first request: it takes a pass over the contents.
#[derive(Debug)]
struct Described {
    /// What caches want to know in any case: [`Page::cache_fields`].
    cache: String,
    /// Fields that do not depend on the request.
    fields: String,
    /// Those, the length of all of it, and the end of the head.
    whole: String,
    etag: String,
}

impl Page<'_> {
    /// `Content-Type`, `ETag`, `Last-Modified` and the like, complete lines.
    pub fn fields(&self) -> &str {
        &self.described().fields
    }

    /// Those of [`Page::fields`] that are said to one who has the page, or part of it,
    /// already (RFC 9110 §15.4.5, §15.3.7).
    pub fn cache_fields(&self) -> &str {
        &self.described().cache
    }

    /// [`Page::fields`] and what ends the head of a response with all of it.
    pub fn whole(&self) -> &str {
        &self.described().whole
    }

    /// The entity tag, with its quotes.
    pub fn etag(&self) -> &str {
        &self.described().etag
    }

    /// What conditions are checked against.
    pub fn validators(&self) -> Validators<'_> {
        Validators {
            etag: Some(self.etag().as_bytes()),
            modified: (self.modified > 0).then_some(self.modified),
        }
    }

    fn described(&self) -> &Described {
        self.described.get_or_init(|| {
            // The contents and nothing else, so that it is a strong validator across
            // restarts and however the tar was made.
            let etag = alloc::format!("\"{:016x}\"", hash(self.bytes));
            let cache = alloc::format!("ETag: {etag}\r\nCache-Control: no-cache\r\n");
            let mut fields = alloc::format!(
                "Content-Type: {}\r\n{cache}Accept-Ranges: bytes\r\n",
                media::of(self.path)
            );
            if self.modified > 0 {
                // Writing to memory does not fail.
                let _ = write!(fields, "Last-Modified: {}\r\n", HttpDate(self.modified));
            }
            let whole = alloc::format!("{fields}Content-Length: {}\r\n\r\n", self.bytes.len());
            Described {
                cache,
                fields,
                whole,
                etag,
            }
        })
    }
}

/// A 64-bit hash that takes eight bytes at a time; not against an adversary, who would
/// have to be whoever wrote the files.
fn hash(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 over the golden ratio
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93; // odd, about half its bits set
    // Both halves of the product, so that every bit reaches every other.
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word ^ SEED) * u128::from(FACTOR);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, tail) = bytes.as_chunks::<8>();
    let state = words.iter().fold(bytes.len() as u64, |state, word| {
        mix(state, u64::from_le_bytes(*word))
    });
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    mix(mix(state, u64::from_le_bytes(last)), SEED)
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found<'s, 'a> {
    /// A file.
    Page(&'s Page<'a>),
    /// A folder that was named without its slash.
    Folder,
    /// Nothing.
    Nothing,
}

/// The site: pages by path.
#[derive(Debug)]
pub struct Site<'a> {
    /// Sorted by path.
    pages: Vec<Page<'a>>,
}

impl<'a> Site<'a> {
    /// The files below `folder` (`www/`).
    pub fn new(ramdisk: &'a Ramdisk<'_>, folder: &'a str) -> Self {
        let pages = ramdisk.under(folder).map(|(path, file)| Page {
            path,
            bytes: file.bytes,
            modified: file.modified,
            described: OnceCell::new(),
        });
        Site {
            pages: pages.collect(),
        }
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// What a normal path ([`super::target::Target::path`]) leads to; a folder's page is
    /// its `index.html`.
    pub fn find(&self, path: &str) -> Found<'_, 'a> {
        if path.is_empty() || path.ends_with('/') {
            let index = || path.bytes().chain("index.html".bytes());
            let at = self
                .pages
                .binary_search_by(|page| page.path.bytes().cmp(index()));
            return at.map_or(Found::Nothing, |at| Found::Page(&self.pages[at]));
        }
        if let Some(page) = self.page(path) {
            return Found::Page(page);
        }
        let below = alloc::format!("{path}/");
        let next = self
            .pages
            .partition_point(|page| page.path < below.as_str());
        match self.pages.get(next) {
            Some(page) if page.path.starts_with(&below) => Found::Folder,
            _ => Found::Nothing,
        }
    }

    /// The page at exactly this path.
    pub fn page(&self, path: &str) -> Option<&Page<'a>> {
        let at = self.pages.binary_search_by(|page| page.path.cmp(path));
        at.ok().map(|at| &self.pages[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake::tar;

    #[test]
    fn paths_lead_to_pages_folders_or_nothing() {
        let tar = tar(&[
            ("www/index.html", b"home", 784_111_777),
            ("www/a/index.html", b"a", 0),
            ("www/a/x.css", b"x", 0),
            ("www/a.txt", b"text", 0),
            ("bin/secret", b"no", 0),
        ]);
        let disk = Ramdisk::new(&tar).unwrap();
        let site = Site::new(&disk, "www/");
        let found = |path: &str| match site.find(path) {
            Found::Page(page) => String::from_utf8_lossy(page.bytes).into_owned(),
            Found::Folder => "folder".into(),
            Found::Nothing => "nothing".into(),
        };
        for (path, what) in [
            ("", "home"),
            ("index.html", "home"),
            ("a/", "a"),
            ("a", "folder"),
            ("a/x.css", "x"),
            ("a/x.css/", "nothing"),
            ("a.txt", "text"),
            ("a.tx", "nothing"),
            ("b/", "nothing"),
            ("bin/secret", "nothing"),
            ("../bin/secret", "nothing"),
        ] {
            assert_eq!(found(path), what, "{path}");
        }
        assert_eq!(site.len(), 4);
        let home = site.page("index.html").unwrap();
        let last = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        assert!(home.fields().ends_with(last));
        assert!(home.fields().contains(home.etag()));
        assert!(!site.page("a.txt").unwrap().fields().contains("Modified"));
    }

    #[test]
    fn a_tag_follows_every_byte() {
        let base: Vec<u8> = (0..100).collect();
        let mut seen = std::collections::HashSet::from([hash(&base)]);
        for at in 0..base.len() {
            for bit in 0..8 {
                let mut changed = base.clone();
                changed[at] ^= 1 << bit;
                assert!(seen.insert(hash(&changed)), "byte {at} bit {bit}");
            }
            assert!(seen.insert(hash(&base[..at])), "length {at}");
        }
        for len in 101..200 {
            assert!(seen.insert(hash(&vec![0; len])), "zeros {len}");
        }
    }
}
