//! A program made byte by byte, a real executable, and both with bytes flipped.

use std::string::ToString;
use std::vec;

use elf::abi::PF_R;

use super::*;

/// Offsets in the file header.
const E_TYPE: usize = 16;
const E_ENTRY: usize = 24;
const E_PHNUM: usize = 56;
/// Where the program headers begin, how long one is, and offsets in one.
const PHDRS: usize = 64;
const PHDR: usize = 56;
const P_FLAGS: usize = 4;
const P_OFFSET: usize = 8;
const P_VADDR: usize = 16;
const P_FILESZ: usize = 32;
const P_MEMSZ: usize = 40;

const CODE: u64 = IMAGE_START + 0x1000;
pub(crate) const DATA: u64 = IMAGE_START + 0x2800;
pub(crate) const ENTRY: u64 = CODE + 4;
/// Where the table of relocations and the dynamic section are in the file.
const RELR: usize = 0x1c0;
const DYNAMIC: usize = 0x380;

/// Read-only data, code, and writable data that ends in zeros.
pub(crate) fn program() -> Vec<u8> {
    let mut file = vec![0; 0x400];
    file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&mut file, E_TYPE, &ET_DYN.to_le_bytes());
    put(&mut file, 18, &EM_X86_64.to_le_bytes());
    put(&mut file, 20, &1u32.to_le_bytes());
    put64(&mut file, E_ENTRY, ENTRY);
    put64(&mut file, 32, PHDRS as u64);
    put(&mut file, 52, &64u16.to_le_bytes());
    put(&mut file, 54, &(PHDR as u16).to_le_bytes());
    for (index, (flags, offset, address, in_file, in_memory)) in [
        (PF_R, 0u64, IMAGE_START, 0x200u64, 0x200u64),
        (PF_R | PF_X, 0x200, CODE, 0x10, 0x10),
        (PF_R | PF_W, 0x300, DATA, 0x20, 0x2000),
    ]
    .into_iter()
    .enumerate()
    {
        let at = PHDRS + index * PHDR;
        put(&mut file, at, &PT_LOAD.to_le_bytes());
        put(&mut file, at + P_FLAGS, &flags.to_le_bytes());
        put64(&mut file, at + P_OFFSET, offset);
        put64(&mut file, at + P_VADDR, address);
        put64(&mut file, at + P_FILESZ, in_file);
        put64(&mut file, at + P_MEMSZ, in_memory);
    }
    let dynamic = PHDRS + 3 * PHDR;
    put(&mut file, dynamic, &PT_DYNAMIC.to_le_bytes());
    put64(&mut file, dynamic + P_OFFSET, DYNAMIC as u64);
    put64(&mut file, dynamic + P_FILESZ, 0x40);
    put(&mut file, E_PHNUM, &4u16.to_le_bytes());
    let table = IMAGE_START + RELR as u64;
    let tags = [
        (DT_RELR, table),
        (DT_RELRSZ, 16),
        (DT_RELRENT, 8),
        (DT_NULL, 0),
    ];
    for (index, (tag, value)) in tags.into_iter().enumerate() {
        put64(&mut file, DYNAMIC + index * 16, tag as u64);
        put64(&mut file, DYNAMIC + index * 16 + 8, value);
    }
    // The first and the third word of the data.
    put64(&mut file, RELR, DATA);
    put64(&mut file, RELR + 8, 0b101);
    file[0x200..0x210].fill(0xcc);
    file[0x300..0x320].fill(0xda);
    file
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put64(file: &mut [u8], at: usize, value: u64) {
    put(file, at, &value.to_le_bytes());
}

fn get64(file: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*file[at..].first_chunk().expect("eight bytes"))
}

/// The error that a changed program gives.
fn error_of(change: impl FnOnce(&mut Vec<u8>)) -> ElfError {
    let mut file = program();
    change(&mut file);
    let error = Program::parse(&file).expect_err("an error");
    assert!(!error.to_string().is_empty());
    error
}

fn segment(index: usize, field: usize) -> usize {
    PHDRS + index * PHDR + field
}

/// What the loader relies on, whatever the file was.
fn check(program: &Program, file: &[u8]) {
    let mut page = 0;
    for segment in program.segments() {
        assert!(segment.address >= IMAGE_START);
        assert!(segment.len > 0 && segment.len <= IMAGE_END);
        assert!(segment.address + segment.len <= IMAGE_END);
        assert!(segment.data.len() as u64 <= segment.len);
        assert!(file.as_ptr_range().contains(&segment.data.as_ptr()) || segment.data.is_empty());
        assert!(!(segment.writable && segment.executable));
        assert!(segment.first_page() >= page);
        page = segment.end().next_multiple_of(PAGE_SIZE);
        assert!(page <= IMAGE_END);
    }
    for at in program.relocations().take(10_000) {
        let mut segments = program.segments().iter();
        let home = segments
            .find(|segment| segment.contains(at))
            .expect("a segment");
        let end = home.address + home.data.len() as u64;
        assert!(home.writable && at % 8 == 0 && at + 8 <= end);
    }
    let holds_entry = |segment: &&Region| segment.executable && segment.contains(program.entry());
    assert_eq!(program.segments().iter().filter(holds_entry).count(), 1);
}

#[test]
fn a_program_is_described() {
    let file = program();
    let program = Program::parse(&file).expect("a program");
    check(&program, &file);
    assert_eq!(program.entry(), CODE + 4);
    let [rodata, code, data] = program.segments() else {
        panic!("three segments");
    };
    assert!(!rodata.writable && !rodata.executable);
    assert!(!code.writable && code.executable);
    assert_eq!(code.data, [0xcc; 16]);
    assert!(data.writable && !data.executable);
    assert_eq!(data.data, [0xda; 32]);
    assert_eq!(data.len, 0x2000);
    assert_eq!(data.first_page(), IMAGE_START + 0x2000);
    assert_eq!(data.end(), IMAGE_START + 0x4800);
    assert_eq!(program.relocations().collect::<Vec<_>>(), [DATA, DATA + 16]);
}

/// As a linker encodes them (gABI 4.3, "Relative Relocation Table").
fn encoded(addresses: &[u64]) -> Vec<u8> {
    let (mut table, mut rest) = (Vec::new(), addresses);
    while let [first, others @ ..] = rest {
        table.extend(first.to_le_bytes());
        rest = others;
        let mut next = first + 8;
        loop {
            let here = rest.iter().take_while(|&&at| at < next + 63 * 8).count();
            let (covered, others) = rest.split_at(here);
            if covered.is_empty() {
                break;
            }
            let bits = covered.iter().map(|at| 2 << ((at - next) / 8));
            table.extend((1 | bits.sum::<u64>()).to_le_bytes());
            (rest, next) = (others, next + 63 * 8);
        }
    }
    table
}

#[test]
fn packed_relocations_are_those_that_were_packed() {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..300 {
        let mut addresses = Vec::new();
        let mut at = 0x1000;
        for _ in 0..round {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            at += 8 * (1 + random % [2, 70, 1000][round % 3]);
            addresses.push(at);
        }
        let table = encoded(&addresses);
        assert_eq!(relocations(&table).collect::<Vec<_>>(), addresses);
    }
}

#[test]
fn relocations_are_of_whole_words_of_data() {
    use ElfError::*;
    let first = |at: u64| error_of(|f| put64(f, RELR, at));
    for at in [
        0,
        CODE,
        DATA - 8,
        DATA + 4,
        DATA + 0x20,
        IMAGE_START + RELR as u64,
    ] {
        assert!(matches!(first(at), Relocation(bad) if bad == at), "{at:#x}");
    }
    // The fourth word is the last; zeros have no addresses, and go on where the file ends.
    let mut file = program();
    put64(&mut file, RELR + 8, 0b1111);
    assert_eq!(
        Program::parse(&file).expect("words").relocations().count(),
        4
    );
    let error = error_of(|f| put64(f, RELR + 8, 0b1_1111));
    assert!(matches!(error, Relocation(at) if at == DATA + 0x20));
    let error = error_of(|f| put64(f, RELR + 8, 1 << 63 | 1));
    assert!(matches!(error, Relocation(_)));

    let value = |index: usize| DYNAMIC + index * 16 + 8;
    for table in [0, CODE + 0x10, DATA + 0x18, u64::MAX, IMAGE_START + 0x1f8] {
        let error = error_of(|f| put64(f, value(0), table));
        assert!(matches!(error, Relocation(at) if at == table), "{table:#x}");
    }
    for size in [8 + 4, 0x200, u64::MAX] {
        assert!(matches!(
            error_of(|f| put64(f, value(1), size)),
            Relocation(_)
        ));
    }
    assert!(matches!(
        error_of(|f| put64(f, value(2), 24)),
        Relocation(24)
    ));
    // Without a table there are none.
    put64(&mut file, value(1), 0);
    assert_eq!(
        Program::parse(&file)
            .expect("no table")
            .relocations()
            .count(),
        0
    );
}

#[test]
fn what_needs_a_dynamic_linker_is_refused() {
    for tag in [DT_NEEDED, DT_REL, DT_RELA, DT_JMPREL, DT_TEXTREL] {
        let error = error_of(|f| put64(f, DYNAMIC + 32, tag as u64));
        assert!(matches!(error, ElfError::Dynamic));
    }
    let section = segment(3, P_OFFSET);
    let error = error_of(|f| put64(f, section, 0x3c8));
    assert!(matches!(error, ElfError::OutsideFile(_)));
}

#[test]
fn other_kinds_of_files_are_refused() {
    use ElfError::*;
    assert!(matches!(Program::parse(b""), Err(Malformed(_))));
    assert!(matches!(
        Program::parse(b"#!/bin/sh\nexit\n"),
        Err(Malformed(_))
    ));
    assert!(matches!(error_of(|f| f[5] = 2), Malformed(_))); // big endian
    assert!(matches!(error_of(|f| f[18] = 183), WrongMachine(183)));
    assert!(matches!(error_of(|f| f[E_TYPE] = 2), Fixed));
    assert!(matches!(error_of(|f| f[E_TYPE] = 1), NotExecutable(1)));
    assert!(matches!(error_of(|f| f.truncate(100)), Malformed(_)));
    assert!(matches!(error_of(|f| f[32] = 0), NoSegments));
    assert!(matches!(error_of(|f| f[E_PHNUM] = 0), NoSegments));
    assert!(matches!(
        error_of(|f| {
            f.resize(0x2000, 0);
            f[E_PHNUM] = 65;
        }),
        TooManyHeaders(65)
    ));
    for (kind, message) in [
        (PT_INTERP, "wants a dynamic linker"),
        (PT_TLS, "thread-local"),
    ] {
        let error = error_of(|f| put(f, segment(0, 0), &kind.to_le_bytes()));
        assert!(error.to_string().contains(message), "{error}");
    }
    // 32 bits: the header is laid out differently, so make a whole one.
    let mut small = vec![0; 52];
    small[..8].copy_from_slice(b"\x7fELF\x01\x01\x01\0");
    assert!(matches!(Program::parse(&small), Err(WrongMachine(_))));
}

#[test]
fn segments_must_be_where_programs_are() {
    use ElfError::*;
    let moved = |to: u64| error_of(|f| put64(f, segment(0, P_VADDR), to));
    assert!(matches!(moved(0), OutsideImage(0)));
    assert!(matches!(moved(IMAGE_START - 1), OutsideImage(_)));
    assert!(matches!(moved(IMAGE_END - 0x1ff), OutsideImage(_)));
    assert!(matches!(moved(u64::MAX - 0xff), OutsideImage(_)));
    assert!(matches!(moved(0xffff_8000_0000_0000), OutsideImage(_)));
    let error = error_of(|f| put64(f, segment(2, P_MEMSZ), u64::MAX));
    assert!(matches!(error, OutsideImage(DATA)));
    let error = error_of(|f| put64(f, segment(2, P_MEMSZ), IMAGE_END - DATA + 1));
    assert!(matches!(error, OutsideImage(DATA)));

    let mut file = program();
    put64(&mut file, segment(2, P_MEMSZ), IMAGE_END - DATA);
    check(&Program::parse(&file).expect("just fits"), &file);
}

#[test]
fn pages_are_not_shared() {
    use ElfError::*;
    // Code begins on the page on which the read-only data end.
    let error = error_of(|f| put64(f, segment(0, P_MEMSZ), 0x1001));
    assert!(matches!(error, Overlap(CODE)));
    let error = error_of(|f| put64(f, segment(2, P_VADDR), CODE + 0x800));
    assert!(matches!(error, Overlap(_)));
    // In descending order.
    let error = error_of(|f| put64(f, segment(0, P_VADDR), IMAGE_START + 0x10000));
    assert!(matches!(error, Overlap(CODE)));

    let mut file = program();
    put64(&mut file, segment(0, P_MEMSZ), 0x1000);
    check(&Program::parse(&file).expect("a whole page"), &file);
}

#[test]
fn nothing_is_both_writable_and_executable() {
    let error = error_of(|f| f[segment(1, P_FLAGS)] |= PF_W as u8);
    assert!(matches!(error, ElfError::WritableAndExecutable(CODE)));
}

#[test]
fn bytes_come_from_inside_the_file() {
    use ElfError::*;
    for (offset, size) in [
        (0x400, 1),
        (0x3f0, 0x20),
        (u64::MAX, 0x20),
        (u64::MAX - 0x1f, 0x20),
    ] {
        let error = error_of(|f| {
            put64(f, segment(2, P_OFFSET), offset);
            put64(f, segment(2, P_FILESZ), size);
        });
        assert!(matches!(error, OutsideFile(DATA)), "{offset:#x}");
    }
    let error = error_of(|f| put64(f, segment(2, P_FILESZ), 0x2001));
    assert!(matches!(error, FileLargerThanMemory(DATA)));
}

#[test]
fn the_entry_point_is_code() {
    for entry in [0, IMAGE_START, CODE - 1, CODE + 0x10, DATA, u64::MAX] {
        let error = error_of(|f| put64(f, E_ENTRY, entry));
        assert!(matches!(error, ElfError::Entry(at) if at == entry));
    }
}

#[test]
fn segments_without_memory_are_passed_over() {
    let mut file = program();
    put64(&mut file, segment(0, P_FILESZ), 0);
    put64(&mut file, segment(0, P_MEMSZ), 0);
    put64(&mut file, segment(0, P_VADDR), 0);
    put64(&mut file, DYNAMIC + 16 + 8, 0); // the relocations were in it
    let program = Program::parse(&file).expect("two segments");
    assert_eq!(program.segments().len(), 2);
}

/// This test itself, with what a static link would have done differently undone.
fn real_program() -> Vec<u8> {
    let mut file = std::fs::read(std::env::current_exe().expect("a path")).expect("a file");
    let entry = get64(&file, E_ENTRY);
    put64(&mut file, E_ENTRY, entry + IMAGE_START);
    for index in 0..usize::from(file[E_PHNUM]) {
        let kind = u32::from_le_bytes(*file[segment(index, 0)..].first_chunk().expect("a word"));
        if matches!(kind, PT_INTERP | PT_DYNAMIC | PT_TLS) {
            put(&mut file, segment(index, 0), &0u32.to_le_bytes());
        }
        let address = get64(&file, segment(index, P_VADDR));
        put64(&mut file, segment(index, P_VADDR), address + IMAGE_START);
    }
    file
}

#[test]
fn a_real_executable_is_accepted_once_it_is_static() {
    let file = std::fs::read(std::env::current_exe().expect("a path")).expect("a file");
    assert!(matches!(Program::parse(&file), Err(ElfError::Interpreter)));
    let file = real_program();
    let program = Program::parse(&file).expect("a program");
    check(&program, &file);
    assert!(program.segments().len() >= 3);
}

#[test]
fn any_flipped_bytes_give_a_checked_program_or_an_error() {
    for mut file in [program(), real_program()] {
        let headers = PHDRS + usize::from(file[E_PHNUM]) * PHDR;
        let (mut accepted, mut refused) = (0, 0);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        for round in 0..40_000usize {
            // First every bit of the headers, then several bytes at once.
            let mut changes = Vec::new();
            for change in 0..1 + round / (headers * 8) % 4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let (at, bits) = if round < headers * 8 {
                    (round / 8, 1 << (round % 8))
                } else {
                    let at = (random >> 8) as usize % headers;
                    (at, if change % 2 == 0 { random as u8 } else { 0xff })
                };
                changes.push((at, file[at]));
                file[at] ^= bits;
            }
            match Program::parse(&file) {
                Ok(program) => {
                    check(&program, &file);
                    accepted += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
            for (at, byte) in changes.into_iter().rev() {
                file[at] = byte;
            }
        }
        assert!(accepted > 100 && refused > 100, "{accepted} {refused}");
        Program::parse(&file).expect("all changes undone");
    }
}

#[test]
fn any_truncated_file_is_an_error() {
    let file = program();
    for length in 0..0x3c0 {
        assert!(Program::parse(&file[..length]).is_err(), "{length}");
    }
    Program::parse(&file[..0x3c0]).expect("all that is needed");
}
