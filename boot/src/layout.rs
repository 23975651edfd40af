//! The kernel's address space on paper: who has which addresses, before anything is mapped.
//!
//! The lowest 512 GiB belong to nobody: the page that switches page tables is there (its
//! addresses are physical ones), and the boot stage itself while it builds the rest.

use core::ops::Range;

use bootloader_api::config::Mapping;
use heapless::Vec;

use crate::error::Error;

/// Size of a page, in bytes.
pub const PAGE: u64 = 4096;
/// Where the higher half of the address space begins.
pub const HIGHER_HALF: u64 = 0xffff_8000_0000_0000;
/// The last page of the address space, which is never mapped: ends can be written as numbers.
pub const LAST_PAGE: u64 = 0xffff_ffff_ffff_f000;
/// Addresses of the boot stage.
const BOOT_STAGE: Range<u64> = 0..1 << 39;
/// Addresses that do not exist.
const HOLE: Range<u64> = 1 << 47..HIGHER_HALF;

/// The most ranges that can be claimed.
const MAX_CLAIMS: usize = 32;

/// A place asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What is to be there, for the error.
    pub what: &'static str,
    /// Where.
    pub mapping: Mapping,
    /// How long it is, in bytes; 0 asks for nothing.
    pub len: u64,
    /// What its address must be a multiple of: a power of two, at least [`PAGE`].
    pub align: u64,
}

/// Addresses claimed so far.
#[derive(Debug)]
pub struct Layout {
    claims: Vec<Range<u64>, MAX_CLAIMS>,
    dynamic: Range<u64>,
}

impl Layout {
    /// An empty address space. Places that nobody asked for are found within `start` (the
    /// higher half if not given) and `end`.
    pub fn new(start: Option<u64>, end: Option<u64>) -> Self {
        Self {
            claims: Vec::from_array([BOOT_STAGE, HOLE]),
            dynamic: start.unwrap_or(HIGHER_HALF)..end.unwrap_or(LAST_PAGE).min(LAST_PAGE),
        }
    }

    /// Takes whole pages for `what`.
    pub fn claim(&mut self, what: &'static str, pages: Range<u64>) -> Result<(), Error> {
        let wrong = |why| Error::Placement {
            what,
            addr: Some(pages.start),
            why,
        };
        if pages.end > LAST_PAGE {
            return Err(wrong("it would pass the end of the address space"));
        }
        if overlap(&pages, &BOOT_STAGE) {
            return Err(wrong("the lowest 512 GiB are the boot stage's"));
        }
        if self.claims.iter().any(|other| overlap(&pages, other)) {
            return Err(wrong("those addresses are taken or not canonical"));
        }
        self.claims.push(pages).map_err(|_| Error::Placement {
            what,
            addr: None,
            why: "too many parts",
        })
    }

    /// Finds places for all `requests`, the fixed ones first; answers their addresses.
    pub fn place<const N: usize>(&mut self, requests: &[Request; N]) -> Result<[u64; N], Error> {
        let mut places = [0; N];
        for (place, request) in places.iter_mut().zip(requests) {
            if let Mapping::FixedAddress(addr) = request.mapping
                && request.len != 0
            {
                *place = addr;
                self.claim(request.what, request.at(addr)?)?;
            }
        }
        for (place, request) in places.iter_mut().zip(requests) {
            if request.mapping == Mapping::Dynamic && request.len != 0 {
                *place = self.find(request)?;
                self.claim(request.what, request.at(*place)?)?;
            }
        }
        Ok(places)
    }

    /// The lowest dynamic address that fits.
    fn find(&self, request: &Request) -> Result<u64, Error> {
        let mut start = self.dynamic.start;
        // Every claim passes over at most once.
        for _ in 0..=self.claims.len() {
            let pages = start
                .checked_next_multiple_of(request.align)
                .and_then(|start| Some(start..start.checked_add(request.len)?))
                .filter(|pages| pages.end <= self.dynamic.end);
            let Some(pages) = pages else { break };
            match self.claims.iter().find(|other| overlap(&pages, other)) {
                None => return Ok(pages.start),
                Some(other) => start = other.end,
            }
        }
        Err(Error::Placement {
            what: request.what,
            addr: None,
            why: "the dynamic range is full",
        })
    }
}

impl Request {
    /// The pages it has if it is at `addr`.
    fn at(&self, addr: u64) -> Result<Range<u64>, Error> {
        let wrong = |why| Error::Placement {
            what: self.what,
            addr: Some(addr),
            why,
        };
        if !addr.is_multiple_of(self.align) {
            return Err(wrong(match self.align {
                PAGE => "it must be page-aligned",
                _ => "it must be aligned (2 MiB for physical memory, 512 GiB for page tables)",
            }));
        }
        addr.checked_add(self.len)
            .and_then(|end| Some(addr..end.checked_next_multiple_of(PAGE)?))
            .ok_or(wrong("it would pass the end of the address space"))
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
