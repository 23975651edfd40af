//! The functions of a binary, and which binary some code is of.

use crate::{During, Failure, Outcome};
use abi::layout::IMAGE_END;
use elf::ElfBytes;
use elf::abi::{PF_X, PT_LOAD, STT_FUNC};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use std::cmp::Reverse;
use std::ops::Range;
use std::path::Path;

/// Addresses from here on are the kernel's.
pub const KERNEL_START: u64 = 0xffff_8000_0000_0000;

/// The first byte of a direct call, of five.
const CALL: u8 = 0xe8;
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// The functions of a binary, by the addresses for which it was linked.
pub struct Binary {
    functions: Vec<(Range<u64>, String)>,
    /// Where its code begins, and the code.
    code: (u64, Vec<u8>),
}

impl Binary {
    /// Reads the symbol table of an ELF file.
    ///
    /// # Errors
    /// If there is none.
    pub fn read(path: &Path) -> Outcome<Binary> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).during(&name)?;
        Binary::parse(&bytes).ok_or(Failure(format!("{name} has no symbol table")))
    }

    fn parse(bytes: &[u8]) -> Option<Binary> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).ok()?;
        let (symbols, names) = file.symbol_table().ok()??;
        let functions = symbols
            .iter()
            .filter(|symbol| symbol.st_symtype() == STT_FUNC && symbol.st_size > 0)
            .filter_map(|symbol| {
                let name = names.get(symbol.st_name as usize).ok()?;
                let range = symbol.st_value..symbol.st_value + symbol.st_size;
                Some((range, name.to_owned()))
            });
        let is_code =
            |segment: &ProgramHeader| segment.p_type == PT_LOAD && segment.p_flags & PF_X != 0;
        let code = file.segments()?.iter().find(is_code)?;
        let bytes = file.segment_data(&code).ok()?.to_vec();
        Some(Binary::new(functions.collect(), (code.p_vaddr, bytes)))
    }

    pub(super) fn new(mut functions: Vec<(Range<u64>, String)>, code: (u64, Vec<u8>)) -> Binary {
        functions.sort_unstable_by_key(|(range, _)| range.start);
        Binary { functions, code }
    }

    /// The symbol of the function that has code at this address.
    pub fn function_at(&self, address: u64) -> Option<&str> {
        let after = self
            .functions
            .partition_point(|(range, _)| range.start <= address);
        let (range, name) = self.functions.get(after.checked_sub(1)?)?;
        range.contains(&address).then_some(name)
    }

    /// Whether a block that begins here is one that is called or returned to: at the beginning of a
    /// function, after a call, or after a system call.
    fn is_entry(&self, address: u64) -> bool {
        let before = |len: usize| {
            let end = (address - self.code.0) as usize;
            self.code.1.get(end.checked_sub(len)?..end)
        };
        let function = self
            .functions
            .binary_search_by_key(&address, |(range, _)| range.start);
        function.is_ok()
            || before(5).is_some_and(|bytes| bytes[0] == CALL)
            || before(2).is_some_and(|bytes| bytes == SYSCALL)
    }

    /// How many of these blocks are entries, if the program was placed at `base`; none, if one is
    /// where it has no code.
    fn fits(&self, blocks: &[u64], base: u64) -> usize {
        let start = base + self.code.0;
        let code = start..start + self.code.1.len() as u64;
        let inside = blocks.iter().all(|block| code.contains(block));
        let entries = blocks
            .iter()
            .filter(|block| inside && self.is_entry(**block - base));
        entries.count()
    }
}

/// Which of these programs has its code at these addresses (sorted), and what was added to those it
/// was linked for: that which has the most entries there. A wrong one has hardly any, so it is none
/// if another comes near.
pub fn base<'a>(blocks: &[u64], programs: &'a [Binary]) -> Option<(&'a Binary, u64)> {
    let last = blocks.last()? / placement::STEP;
    let first = last.saturating_sub(IMAGE_END / placement::STEP);
    let bases = (first..=last).map(|place| place * placement::STEP);
    let candidates = bases.flat_map(|base| programs.iter().map(move |program| (program, base)));
    let mut fitting: Vec<_> = candidates
        .map(|(program, base)| (program.fits(blocks, base), (program, base)))
        .collect();
    fitting.sort_by_key(|(fits, _)| Reverse(*fits));
    match fitting[..] {
        [(most, best), (next, _), ..] if most > 2 * next => Some(best),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With code from 0x3_2000 on, functions of 8 bytes, and calls that return to some places.
    fn binary(starts: &[u64], returns: &[u64]) -> Binary {
        let functions = starts.iter().map(|&at| (at..at + 8, format!("at_{at:x}")));
        let mut code = vec![0x90; 0x4000];
        for at in returns {
            code[(at - 0x3_2005) as usize] = CALL;
        }
        Binary::new(functions.collect(), (0x3_2000, code))
    }

    #[test]
    fn a_function_ends_before_what_is_behind_it() {
        let binary = binary(&[0x4_0010, 0x4_0000], &[]);
        assert_eq!(binary.function_at(0x4_0007), Some("at_40000"));
        assert_eq!(binary.function_at(0x4_0010), Some("at_40010"));
        for address in [0, 0x3_ffff, 0x4_0008, 0x4_000f, 0x4_0018, u64::MAX] {
            assert_eq!(binary.function_at(address), None, "{address:#x}");
        }
    }

    #[test]
    fn a_program_is_known_by_where_its_functions_begin() {
        let programs = [
            binary(&[0x3_2000, 0x3_2100, 0x3_2200], &[]),
            binary(&[0x3_2000, 0x3_2180], &[0x3_2280]),
        ];
        let base_of = |blocks: &[u64]| {
            let (binary, base) = base(blocks, &programs)?;
            Some((std::ptr::eq(binary, &programs[1]), base))
        };
        let placed = 0x7_4000_0000 + 5 * placement::STEP;
        let blocks = [0x3_2000, 0x3_2004, 0x3_2180, 0x3_2280].map(|at| at + placed);
        assert_eq!(base_of(&blocks), Some((true, placed)));
        // What both have in common, and code of another program, says nothing.
        assert_eq!(base_of(&blocks[..2]), None);
        assert_eq!(base_of(&[blocks[0], blocks[2] + 0x1_0000]), None);
        assert_eq!(base_of(&[]), None);
    }

    #[test]
    fn the_symbols_of_a_real_file_are_read() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let binary = Binary::parse(&own).unwrap();
        let name = binary
            .functions
            .iter()
            .find(|(_, name)| name.contains("real_file_are_read"));
        let (range, name) = name.unwrap();
        assert_eq!(binary.function_at(range.start), Some(&**name));
        assert!(Binary::parse(&own[..own.len() / 2]).is_none());
    }
}
