//! Which function an address is in, for backtraces: of the kernel's own ELF file and of
//! programs'.
//!
//! This runs while something is being reported as broken, so it allocates nothing,
//! panics on nothing, and gives up (`None`) rather than fail. A program's symbols are
//! the program's word: what is printed of a name is bounded, and control characters do
//! not reach the console. The demangler recurses up to 500 levels on names made for that,
//! which took up to 80 KiB of stack in release builds: have 256 KiB.

use core::fmt::{self, Write};

use elf::ElfBytes;
use elf::abi::{SHF_ALLOC, SHF_EXECINSTR, STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;
use elf::section::SectionHeaderTable;
use elf::string_table::StringTable;
use elf::symbol::SymbolTable;
use rustc_demangle::demangle;

/// The longest mangled name that is demangled; longer ones are shown as they are.
const MANGLED_MAX: usize = 512;
/// The most characters shown of a name.
const SHOWN_MAX: usize = 256;

/// The symbol table of an ELF file.
pub struct Symbols<'a> {
    symbols: SymbolTable<'a, LittleEndian>,
    names: StringTable<'a>,
    sections: SectionHeaderTable<'a, LittleEndian>,
}

/// A place in a function. Shown as `name+0x12`, the name demangled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// The function's name as it is in the file, mangled.
    pub name: &'a str,
    /// How many bytes into the function.
    pub offset: u64,
}

impl<'a> Symbols<'a> {
    /// Finds the symbol table of an ELF file, or nothing if it was stripped or is damaged.
    pub fn new(file: &'a [u8]) -> Option<Symbols<'a>> {
        let elf = ElfBytes::minimal_parse(file).ok()?;
        let (symbols, names) = elf.symbol_table().ok()??;
        Some(Symbols {
            symbols,
            names,
            sections: elf.section_headers()?,
        })
    }

    /// The function that contains an address of the linked image; if none says so, the
    /// nearest symbol below it in the same section of code, as assembly often leaves the
    /// size out.
    ///
    /// A return address is after its call, perhaps after the whole function: look up the
    /// byte before it.
    pub fn find(&self, address: u64) -> Option<Symbol<'a>> {
        let section = self.code_section(address);
        // The innermost function is the one that begins last.
        let mut containing: Option<Symbol> = None;
        let mut nearest: Option<Symbol> = None;
        for symbol in self.symbols.iter() {
            let kind = symbol.st_symtype();
            if symbol.is_undefined() || (kind != STT_FUNC && kind != STT_NOTYPE) {
                continue;
            }
            let Some(offset) = address.checked_sub(symbol.st_value) else {
                continue;
            };
            let inside = kind == STT_FUNC && offset < symbol.st_size;
            let below = section.is_some_and(|section| section == usize::from(symbol.st_shndx));
            let best = match (inside, below) {
                (true, _) => &mut containing,
                (false, true) => &mut nearest,
                (false, false) => continue,
            };
            if best.is_none_or(|best| offset < best.offset)
                && let Ok(name) = self.names.get(symbol.st_name as usize)
                && !name.is_empty()
            {
                *best = Some(Symbol { name, offset });
            }
        }
        containing.or(nearest)
    }

    /// Index of the section of code that an address is in.
    fn code_section(&self, address: u64) -> Option<usize> {
        let wanted = u64::from(SHF_ALLOC | SHF_EXECINSTR);
        self.sections.iter().position(|section| {
            section.sh_flags & wanted == wanted
                && address
                    .checked_sub(section.sh_addr)
                    .is_some_and(|offset| offset < section.sh_size)
        })
    }
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut output = Printable {
            output: f,
            left: SHOWN_MAX,
        };
        // An error from here only says that enough was written.
        let complete = if self.name.len() <= MANGLED_MAX {
            write!(output, "{:#}", demangle(self.name))
        } else {
            output.write_str(self.name)
        };
        if complete.is_err() {
            f.write_str("...")?;
        }
        write!(f, "+{:#x}", self.offset)
    }
}

/// Passes on a limited number of printable characters, then fails.
struct Printable<'a, 'f> {
    output: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl fmt::Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.output.write_char(if character.is_control() {
                '?'
            } else {
                character
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
