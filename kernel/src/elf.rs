//! A user program's ELF file, checked before a byte of it is loaded.
//!
//! What is accepted is exactly what the build produces: a static position-independent executable for
//! x86_64 whose segments are in the part of the address space that [`abi::layout`] gives to images. Of
//! relocations it may have the packed relative ones only (`DT_RELR`), which name the words of its data
//! that hold addresses in the program itself. The file may be anything at all; a bad one is an
//! [`ElfError`]. The `elf` crate decodes the structures, and this file checks what they say.
//!
//! Sources: System V gABI chapters 4 and 5, `DT_RELR` as in version 4.3; x86-64 psABI.

use core::fmt;

use crate::space::Region;
use abi::layout::{IMAGE_END, IMAGE_START, PAGE_SIZE};
use elf::ElfBytes;
use elf::abi::{
    DT_JMPREL, DT_NEEDED, DT_NULL, DT_REL, DT_RELA, DT_TEXTREL, EM_X86_64, ET_DYN, ET_EXEC, PF_W,
    PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_TLS,
};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::parse::ParseError;
use elf::segment::ProgramHeader;

/// The most program headers a file may have. Linkers make about ten.
pub const HEADERS_MAX: usize = 64;

/// Tags of the dynamic section that the `elf` crate has not (gABI 4.3, "Dynamic Section").
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;
const DT_RELRENT: i64 = 37;

/// Bytes of a word, which holds an address.
const WORD: u64 = 8;

/// A program that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    entry: u64,
    segments: heapless::Vec<Region<'a>, HEADERS_MAX>,
    /// The table of relocations.
    relr: &'a [u8],
}

impl<'a> Program<'a> {
    /// Checks a whole ELF file.
    ///
    /// # Errors
    /// What is wrong with it, see [`ElfError`].
    pub fn parse(file: &'a [u8]) -> Result<Program<'a>, ElfError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(ElfError::Malformed)?;
        if elf.ehdr.class != Class::ELF64 || elf.ehdr.e_machine != EM_X86_64 {
            return Err(ElfError::WrongMachine(elf.ehdr.e_machine));
        }
        match elf.ehdr.e_type {
            ET_DYN => {}
            ET_EXEC => return Err(ElfError::Fixed),
            other => return Err(ElfError::NotExecutable(other)),
        }
        let headers = elf.segments().ok_or(ElfError::NoSegments)?;
        if headers.len() > HEADERS_MAX {
            return Err(ElfError::TooManyHeaders(headers.len()));
        }

        let mut segments: heapless::Vec<Region, HEADERS_MAX> = heapless::Vec::new();
        let mut dynamic: &[u8] = &[];
        for header in headers.iter() {
            match header.p_type {
                PT_INTERP => return Err(ElfError::Interpreter),
                PT_DYNAMIC => {
                    let section = bytes(file, header.p_offset, header.p_filesz);
                    dynamic = section.ok_or(ElfError::OutsideFile(header.p_vaddr))?;
                }
                PT_TLS if header.p_memsz != 0 => return Err(ElfError::ThreadLocal),
                PT_LOAD if header.p_memsz != 0 || header.p_filesz != 0 => {
                    let segment = read_segment(file, &header)?;
                    // The gABI wants them in ascending order, which makes overlap easy to see.
                    let free = segments.last().map_or(0, Region::end);
                    if free.next_multiple_of(PAGE_SIZE) > segment.first_page() {
                        return Err(ElfError::Overlap(segment.address));
                    }
                    let pushed = segments.push(segment);
                    pushed.map_err(|_| ElfError::TooManyHeaders(headers.len()))?;
                }
                _ => {}
            }
        }
        if segments.is_empty() {
            return Err(ElfError::NoSegments);
        }
        let entry = elf.ehdr.e_entry;
        if !segments
            .iter()
            .any(|segment| segment.executable && segment.contains(entry))
        {
            return Err(ElfError::Entry(entry));
        }
        let relr = relocation_table(dynamic, &segments)?;
        let program = Program {
            entry,
            segments,
            relr,
        };
        for at in program.relocations() {
            let is_data = |segment: &Region| segment.writable && has_word(segment, at);
            if !program.segments.iter().any(is_data) {
                return Err(ElfError::Relocation(at));
            }
        }
        Ok(program)
    }

    /// The addresses of the 8-byte words to which the loader adds what it adds to the segments'
    /// addresses. Each word is aligned, and inside the data of a writable segment.
    pub fn relocations(&self) -> impl Iterator<Item = u64> + use<'a> {
        relocations(self.relr)
    }

    /// Where it begins to run.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Its segments, in ascending order, at least one.
    pub fn segments(&self) -> &[Region<'a>] {
        &self.segments
    }
}

fn read_segment<'a>(file: &'a [u8], header: &ProgramHeader) -> Result<Region<'a>, ElfError> {
    let at = header.p_vaddr;
    if header.p_filesz > header.p_memsz {
        return Err(ElfError::FileLargerThanMemory(at));
    }
    let end = at.checked_add(header.p_memsz);
    if at < IMAGE_START || end.is_none_or(|end| end > IMAGE_END) {
        return Err(ElfError::OutsideImage(at));
    }
    let (writable, executable) = (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0);
    if writable && executable {
        return Err(ElfError::WritableAndExecutable(at));
    }
    let data = bytes(file, header.p_offset, header.p_filesz).ok_or(ElfError::OutsideFile(at))?;
    Ok(Region {
        address: at,
        len: header.p_memsz,
        data,
        writable,
        executable,
    })
}

/// The table of relative relocations, from what the dynamic section says of it.
fn relocation_table<'a>(dynamic: &'a [u8], segments: &[Region<'a>]) -> Result<&'a [u8], ElfError> {
    let (mut at, mut size) = (0, 0);
    for entry in dynamic.as_chunks::<16>().0 {
        let (tag, value) = entry.split_at(8);
        let (tag, value) = (word(tag), word(value));
        match tag as i64 {
            DT_NULL => break,
            DT_RELR => at = value,
            DT_RELRSZ => size = value,
            DT_RELRENT if value != WORD => return Err(ElfError::Relocation(value)),
            // Only a dynamic linker could do these.
            DT_NEEDED | DT_REL | DT_RELA | DT_JMPREL | DT_TEXTREL => {
                return Err(ElfError::Dynamic);
            }
            _ => {}
        }
    }
    if size == 0 {
        return Ok(&[]);
    }
    let home = segments.iter().find(|segment| segment.contains(at));
    let table = home.and_then(|home| bytes(home.data, at - home.address, size));
    table
        .filter(|table| (table.len() as u64).is_multiple_of(WORD))
        .ok_or(ElfError::Relocation(at))
}

/// Decodes a table of relative relocations. An even entry is an address; an odd one has a bit for each of
/// the 63 words that follow the last word that the table has spoken of.
fn relocations(table: &[u8]) -> impl Iterator<Item = u64> {
    const FOLLOWING: u64 = u64::BITS as u64 - 1;
    let mut next = 0u64;
    table.as_chunks::<8>().0.iter().flat_map(move |entry| {
        let entry = u64::from_le_bytes(*entry);
        // An address is decoded as a bitmap that covers its own word only.
        let (first, bits, covered) = match entry & 1 {
            0 => (entry, 1, 1),
            _ => (next, entry >> 1, FOLLOWING),
        };
        next = first.wrapping_add(covered * WORD);
        let is_set = move |index: &u64| bits >> index & 1 == 1;
        (0..covered)
            .filter(is_set)
            .map(move |index| first.wrapping_add(index * WORD))
    })
}

/// Whether the data of a segment has a whole, aligned word at that address.
fn has_word(segment: &Region, address: u64) -> bool {
    let end = segment.address + segment.data.len() as u64;
    address.is_multiple_of(WORD)
        && address >= segment.address
        && end.checked_sub(address).is_some_and(|rest| rest >= WORD)
}

/// Eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}

fn bytes(file: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    file.get(usize::try_from(offset).ok()?..)?
        .get(..usize::try_from(size).ok()?)
}

/// Why a file is not a program that can be loaded. Addresses are those of the segment.
#[derive(Debug)]
pub enum ElfError {
    /// It is no ELF file of ours, or its tables lead out of it.
    Malformed(ParseError),
    /// It is for this machine (`e_machine`), or for 32 bits.
    WrongMachine(u16),
    /// It can be in one place only.
    Fixed,
    /// It is an object file, a core dump or worse (`e_type`).
    NotExecutable(u16),
    /// It has more than [`HEADERS_MAX`] program headers: this many.
    TooManyHeaders(usize),
    /// It wants a dynamic linker.
    Interpreter,
    /// It has relocations that only a dynamic linker understands.
    Dynamic,
    /// There can be no relocation, or no table of them, at this address; or an entry of the table
    /// cannot have this size.
    Relocation(u64),
    /// It has thread-local variables.
    ThreadLocal,
    /// There is nothing to load in it.
    NoSegments,
    /// A segment has more bytes in the file than in memory.
    FileLargerThanMemory(u64),
    /// A segment is not between [`IMAGE_START`] and [`IMAGE_END`].
    OutsideImage(u64),
    /// A segment is both writable and executable.
    WritableAndExecutable(u64),
    /// The bytes of a segment are not in the file.
    OutsideFile(u64),
    /// A segment shares a page with the one before it, or is below it.
    Overlap(u64),
    /// The entry point is not in an executable segment.
    Entry(u64),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElfError::Malformed(error) => write!(f, "not a usable ELF file: {error}"),
            ElfError::WrongMachine(machine) => {
                write!(f, "not for 64-bit x86 (machine {machine})")
            }
            ElfError::Fixed => f.write_str("for fixed addresses: link with -static-pie"),
            ElfError::NotExecutable(kind) => write!(f, "no executable (ELF type {kind})"),
            ElfError::TooManyHeaders(count) => {
                write!(f, "{count} program headers, {HEADERS_MAX} are allowed")
            }
            ElfError::Interpreter => f.write_str("wants a dynamic linker: link with -static"),
            ElfError::Dynamic => {
                f.write_str("dynamically linked: link with -static-pie and -z pack-relative-relocs")
            }
            ElfError::Relocation(at) => write!(f, "no relocation can be at {at:#x}"),
            ElfError::ThreadLocal => f.write_str("has thread-local variables, which have no place"),
            ElfError::NoSegments => f.write_str("has nothing to load"),
            ElfError::FileLargerThanMemory(at) => {
                write!(f, "segment at {at:#x} is larger in the file than in memory")
            }
            ElfError::OutsideImage(at) => write!(
                f,
                "segment at {at:#x} is outside {IMAGE_START:#x} to {IMAGE_END:#x}"
            ),
            ElfError::WritableAndExecutable(at) => {
                write!(f, "segment at {at:#x} is both writable and executable")
            }
            ElfError::OutsideFile(at) => write!(f, "segment at {at:#x} is cut off in the file"),
            ElfError::Overlap(at) => write!(
                f,
                "segment at {at:#x} shares a page with the one before, or is below it"
            ),
            ElfError::Entry(at) => write!(f, "entry point {at:#x} is not in executable memory"),
        }
    }
}

impl core::error::Error for ElfError {}

#[cfg(test)]
pub(crate) mod tests;
