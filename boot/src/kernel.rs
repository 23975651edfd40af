//! The kernel's ELF file: checked whole before anything of it is loaded.

use core::fmt;
use core::ops::Range;

use bootloader_api::BootloaderConfig;
use bootloader_api::info::TlsTemplate;
use elf::endian::LittleEndian;
use elf::parse::ParseError;
use elf::segment::ProgramHeader;
use elf::{ElfBytes, abi, file::Class};
use heapless::Vec;

use crate::config;
use crate::error::Error;
use crate::layout::{HIGHER_HALF, LAST_PAGE, PAGE};

/// The most segments to load a kernel may have.
pub const MAX_SEGMENTS: usize = 16;

/// What is wrong with the kernel's file.
#[derive(Debug)]
pub enum KernelError {
    /// It is no ELF file, or a damaged one.
    Elf(ParseError),
    /// It is an ELF file of another kind.
    Kind(&'static str),
    /// A program header cannot be honoured.
    Segment {
        /// Its index among the program headers.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf(why) => write!(f, "it is damaged or not an ELF file ({why})"),
            Self::Kind(why) => f.write_str(why),
            Self::Segment { index, why } => write!(f, "program header {index} {why}"),
        }?;
        f.write_str(": rebuild it with 'make image'")
    }
}

impl From<ParseError> for KernelError {
    fn from(why: ParseError) -> Self {
        Self::Elf(why)
    }
}

/// A part of the kernel's image. No two share a page.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'k> {
    /// Its virtual address.
    pub start: u64,
    /// The bytes at its start, from the file; what follows them is zero.
    pub data: &'k [u8],
    /// Its length in memory, in bytes.
    pub len: u64,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it may be executed; never both.
    pub executable: bool,
}

impl Segment<'_> {
    /// The pages it is on, as addresses.
    pub fn pages(&self) -> Range<u64> {
        self.start & !(PAGE - 1)..(self.start + self.len).next_multiple_of(PAGE)
    }
}

/// A kernel that can be loaded.
#[derive(Debug)]
pub struct Kernel<'k> {
    /// Its file.
    pub file: &'k [u8],
    /// Virtual address of its `_start`.
    pub entry: u64,
    /// What to load.
    pub segments: Vec<Segment<'k>, MAX_SEGMENTS>,
    /// Its thread-local data, within one of the segments.
    pub tls: Option<TlsTemplate>,
    /// How it wants to be called.
    pub config: BootloaderConfig,
}

impl<'k> Kernel<'k> {
    /// Reads and checks the kernel.
    pub fn parse(file: &'k [u8]) -> Result<Self, Error> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(KernelError::Elf)?;
        check_kind(&elf)?;
        let config = read_config(&elf)?;
        let (segments, tls) = read_segments(&elf, file)?;
        let entry = elf.ehdr.e_entry;
        let holds_entry = |segment: &Segment<'_>| {
            segment.executable && (segment.start..segment.start + segment.len).contains(&entry)
        };
        if !segments.iter().any(holds_entry) {
            return Err(KernelError::Kind("its entry is not in an executable segment").into());
        }
        Ok(Self {
            file,
            entry,
            segments,
            tls,
            config,
        })
    }
}

/// Only a static x86-64 executable for fixed addresses will do.
fn check_kind(elf: &ElfBytes<'_, LittleEndian>) -> Result<(), KernelError> {
    let header = &elf.ehdr;
    let why = if header.class != Class::ELF64 || header.e_machine != abi::EM_X86_64 {
        "it is not for x86-64"
    } else if header.e_type == abi::ET_DYN {
        "it is position-independent, and nothing here relocates: link it with -static -no-pie"
    } else if header.e_type != abi::ET_EXEC {
        "it is not an executable"
    } else {
        return Ok(());
    };
    Err(KernelError::Kind(why))
}

fn read_config(elf: &ElfBytes<'_, LittleEndian>) -> Result<BootloaderConfig, Error> {
    let section = elf
        .section_header_by_name(config::SECTION)
        .map_err(KernelError::Elf)?
        .ok_or(KernelError::Kind(
            "it has no section .bootloader-config (it is no bootloader_api kernel, or stripped of \
             its section headers)",
        ))?;
    let (bytes, compression) = elf.section_data(&section).map_err(KernelError::Elf)?;
    if compression.is_some() {
        return Err(KernelError::Kind("its section .bootloader-config is compressed").into());
    }
    config::read(bytes)
}

type Segments<'k> = Vec<Segment<'k>, MAX_SEGMENTS>;

fn read_segments<'k>(
    elf: &ElfBytes<'_, LittleEndian>,
    file: &'k [u8],
) -> Result<(Segments<'k>, Option<TlsTemplate>), KernelError> {
    let headers = elf
        .segments()
        .ok_or(KernelError::Kind("it has no program headers"))?;
    let mut segments = Segments::new();
    let mut tls = None;
    for (index, header) in headers.iter().enumerate() {
        let wrong = |why| KernelError::Segment { index, why };
        match header.p_type {
            abi::PT_LOAD if header.p_memsz != 0 => {
                let segment = read_segment(&header, file).map_err(wrong)?;
                let pages = segment.pages();
                if segments.iter().any(|other| {
                    let other = other.pages();
                    pages.start < other.end && other.start < pages.end
                }) {
                    return Err(wrong("shares a page with another one"));
                }
                segments
                    .push(segment)
                    .map_err(|_| wrong("is one too many"))?;
            }
            abi::PT_TLS if tls.is_some() => return Err(wrong("is a second PT_TLS")),
            abi::PT_TLS => tls = Some((header, index)),
            abi::PT_INTERP | abi::PT_DYNAMIC => {
                return Err(wrong(
                    "asks for a dynamic linker: link with -static -no-pie",
                ));
            }
            _ => {}
        }
    }
    let tls = match tls {
        None => None,
        Some((header, index)) => {
            Some(read_tls(&header, &segments).map_err(|why| KernelError::Segment { index, why })?)
        }
    };
    Ok((segments, tls))
}

fn read_segment<'k>(header: &ProgramHeader, file: &'k [u8]) -> Result<Segment<'k>, &'static str> {
    if header.p_filesz > header.p_memsz {
        return Err("is longer in the file than in memory");
    }
    let data = header
        .p_offset
        .checked_add(header.p_filesz)
        .and_then(|end| file.get(header.p_offset.try_into().ok()?..end.try_into().ok()?))
        .ok_or("is not within the file")?;
    let end = header.p_vaddr.checked_add(header.p_memsz);
    if header.p_vaddr < HIGHER_HALF || end.is_none_or(|end| end > LAST_PAGE) {
        return Err("is not in the higher half of the address space");
    }
    let writable = header.p_flags & abi::PF_W != 0;
    let executable = header.p_flags & abi::PF_X != 0;
    if writable && executable {
        return Err("is both writable and executable");
    }
    Ok(Segment {
        start: header.p_vaddr,
        data,
        len: header.p_memsz,
        writable,
        executable,
    })
}

fn read_tls(header: &ProgramHeader, segments: &Segments<'_>) -> Result<TlsTemplate, &'static str> {
    let end = header.p_vaddr.checked_add(header.p_filesz);
    let is_loaded = |segment: &Segment<'_>| {
        segment.start <= header.p_vaddr && end.is_some_and(|end| end <= segment.start + segment.len)
    };
    if header.p_filesz > header.p_memsz {
        return Err("is longer in the file than in memory");
    }
    if header.p_filesz != 0 && !segments.iter().any(is_loaded) {
        return Err("is a TLS template outside of what is loaded");
    }
    Ok(TlsTemplate {
        start_addr: header.p_vaddr,
        file_size: header.p_filesz,
        mem_size: header.p_memsz,
    })
}
