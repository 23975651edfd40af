//! The symbols of this very test, and tables made to confuse.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;
use std::{format, thread};

use elf::abi::{SHT_PROGBITS, SHT_STRTAB, SHT_SYMTAB, STT_OBJECT};

use super::*;

const TEXT: u64 = 0x40_1000;
const TEXT_SIZE: u64 = 0x1000;
const FUNC: u8 = STT_FUNC;
const LABEL: u8 = STT_NOTYPE;

/// An ELF file with a section of code, one of data, and these symbols: (name, type,
/// section, value, size). Section 1 is code, 2 data.
fn file(symbols: &[(&[u8], u8, u16, u64, u64)]) -> Vec<u8> {
    let mut names = vec![0];
    let mut table = vec![0; 24];
    for &(name, kind, section, value, size) in symbols {
        table.extend((names.len() as u32).to_le_bytes());
        table.extend([kind, 0]);
        table.extend(section.to_le_bytes());
        table.extend(value.to_le_bytes());
        table.extend(size.to_le_bytes());
        names.extend(name);
        names.push(0);
    }
    let table_at = 64u64;
    let names_at = table_at + table.len() as u64;
    let sections_at = names_at + names.len() as u64;
    let exec = u64::from(SHF_ALLOC | SHF_EXECINSTR);

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    file.extend(TEXT.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(sections_at.to_le_bytes());
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0, 5, 0, 0, 0]);
    file.extend(&table);
    file.extend(&names);
    // (type, flags, address, offset, size, link, entry size)
    for (kind, flags, address, offset, size, link, entry) in [
        (0, 0, 0, 0, 0, 0, 0),
        (SHT_PROGBITS, exec, TEXT, 0, TEXT_SIZE, 0, 0),
        (
            SHT_PROGBITS,
            u64::from(SHF_ALLOC),
            0x40_3000,
            0,
            0x1000,
            0,
            0,
        ),
        (SHT_SYMTAB, 0, 0, table_at, table.len() as u64, 4, 24),
        (SHT_STRTAB, 0, 0, names_at, names.len() as u64, 0, 0),
    ] {
        file.extend([0; 4]);
        file.extend(kind.to_le_bytes());
        for field in [flags, address, offset, size] {
            file.extend(field.to_le_bytes());
        }
        file.extend(u32::to_le_bytes(link));
        file.extend([0; 12]);
        file.extend(u64::to_le_bytes(entry));
    }
    file
}

fn found(file: &[u8], address: u64) -> Option<String> {
    let symbols = Symbols::new(file).expect("a symbol table");
    symbols.find(address).map(|symbol| symbol.to_string())
}

fn shown(name: &str) -> String {
    Symbol { name, offset: 0x12 }.to_string()
}

#[test]
fn the_function_that_contains_the_address_is_named() {
    let file = file(&[
        (b"first", FUNC, 1, TEXT, 0x10),
        (b"second", FUNC, 1, TEXT + 0x10, 0x20),
        (b"table", STT_OBJECT, 2, 0x40_3000, 0x100),
    ]);
    assert_eq!(found(&file, TEXT).as_deref(), Some("first+0x0"));
    assert_eq!(found(&file, TEXT + 0xf).as_deref(), Some("first+0xf"));
    assert_eq!(found(&file, TEXT + 0x10).as_deref(), Some("second+0x0"));
    assert_eq!(found(&file, TEXT + 0x22).as_deref(), Some("second+0x12"));
    assert_eq!(found(&file, 0x40_3004), None);
    for address in [0, TEXT - 1, TEXT + TEXT_SIZE, u64::MAX] {
        assert_eq!(found(&file, address), None, "{address:#x}");
    }
}

#[test]
fn without_a_size_the_nearest_one_below_in_the_same_section_counts() {
    let file = file(&[
        (b"far", FUNC, 1, TEXT + 0x10, 0),
        (b"entry", LABEL, 1, TEXT + 0x40, 0),
        (b"sized", FUNC, 1, TEXT + 0x80, 0x10),
        (b"elsewhere", FUNC, 2, TEXT + 0xa0, 0),
        (b"undefined", FUNC, 0, TEXT + 0xa0, 0x100),
        (b"", LABEL, 1, TEXT + 0xa0, 0),
    ]);
    assert_eq!(found(&file, TEXT + 0x8), None);
    assert_eq!(found(&file, TEXT + 0x3f).as_deref(), Some("far+0x2f"));
    assert_eq!(found(&file, TEXT + 0x41).as_deref(), Some("entry+0x1"));
    assert_eq!(found(&file, TEXT + 0x8f).as_deref(), Some("sized+0xf"));
    assert_eq!(found(&file, TEXT + 0xb0).as_deref(), Some("sized+0x30"));
    assert_eq!(found(&file, TEXT + TEXT_SIZE), None);
}

#[test]
fn a_function_inside_another_comes_first() {
    let file = file(&[
        (b"inner", FUNC, 1, TEXT + 0x20, 0x10),
        (b"outer", FUNC, 1, TEXT, 0x100),
        (b"label", LABEL, 1, TEXT + 0x28, 0),
    ]);
    assert_eq!(found(&file, TEXT + 0x2c).as_deref(), Some("inner+0xc"));
    assert_eq!(found(&file, TEXT + 0x30).as_deref(), Some("outer+0x30"));
}

#[test]
fn extreme_values_and_bad_names_are_passed_over() {
    let file = file(&[
        (b"good", FUNC, 1, TEXT, 0x10),
        (b"\xff\xfe", FUNC, 1, TEXT + 1, 0x10),
        (b"all", FUNC, 1, 0, u64::MAX),
        (b"last", FUNC, 1, u64::MAX, u64::MAX),
    ]);
    assert_eq!(found(&file, TEXT + 2).as_deref(), Some("good+0x2"));
    assert_eq!(found(&file, TEXT - 1).as_deref(), Some("all+0x400fff"));
    assert_eq!(found(&file, u64::MAX).as_deref(), Some("last+0x0"));
}

#[test]
fn names_are_demangled_and_made_printable() {
    assert_eq!(shown("plain"), "plain+0x12");
    assert_eq!(
        shown("_ZN6kernel4main17h0123456789abcdefE"),
        "kernel::main+0x12"
    );
    assert_eq!(
        shown("_RNvMsi_CsgEmfK2I1SDS_4coreh4wrap"),
        "<u8>::wrap+0x12"
    );
    assert_eq!(shown("\u{1b}[2Jgone\n"), "?[2Jgone?+0x12");
    let long = "x".repeat(MANGLED_MAX + 1);
    assert_eq!(shown(&long), format!("{}...+0x12", "x".repeat(SHOWN_MAX)));
}

#[test]
fn names_made_to_exhaust_the_demangler_do_not() {
    let hostile = || {
        let deep = [
            format!("_RIC1a{}jE", "R".repeat(500)),
            format!("_R{}jC1a", "Y".repeat(500)),
            format!("_R{}C1a{}", "Nv".repeat(120), "1b".repeat(120)),
            format!("_R{}{}", "IC1a".repeat(100), "E".repeat(100)),
            // References to what encloses them.
            "_RNvNvNvNvB_1a1a1a1a".to_string(),
            "_RIC1aTB4_B4_EE".to_string(),
            "_RIC1aTTB4_B4_EB4_EE".to_string(),
            "_RIC1aFG_EB_B_B_B_B_B_B_B_B_jE".to_string(),
            "_ZN99999999999999999999aE".to_string(),
        ];
        for name in deep {
            let shown = shown(&name);
            assert!(shown.chars().count() <= SHOWN_MAX + 16, "{shown}");
        }
    };
    thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(hostile)
        .expect("a thread")
        .join()
        .expect("no panic");
}

#[inline(never)]
fn here() -> usize {
    here as fn() -> usize as usize
}

#[inline(never)]
fn there() -> usize {
    there as fn() -> usize as usize + 1
}

#[test]
fn functions_of_a_real_executable_are_found() {
    let file = std::fs::read(std::env::current_exe().expect("a path")).expect("a file");
    let symbols = Symbols::new(&file).expect("a symbol table");
    // The executable was loaded somewhere: see where one function ended up.
    let linked = symbols
        .symbols
        .iter()
        .find(|symbol| {
            let name = symbols.names.get(symbol.st_name as usize);
            name.is_ok_and(|name| format!("{:#}", demangle(name)).ends_with("symbols::tests::here"))
        })
        .expect("its symbol");
    let bias = here() as u64 - linked.st_value;
    let symbol = symbols.find(there() as u64 - bias).expect("a symbol");
    let shown = symbol.to_string();
    assert!(shown.ends_with("symbols::tests::there+0x1"), "{shown}");
}

#[test]
fn stripped_and_damaged_files_have_no_symbols() {
    assert!(Symbols::new(b"").is_none());
    assert!(Symbols::new(b"\x7fELF").is_none());
    let file = file(&[(b"first", FUNC, 1, TEXT, 0x10)]);
    for length in 0..file.len() {
        assert!(Symbols::new(&file[..length]).is_none(), "{length}");
    }
}

#[test]
fn any_flipped_byte_gives_some_answer() {
    let whole = file(&[
        (b"_ZN6kernel4main17h0123456789abcdefE", FUNC, 1, TEXT, 0x10),
        (b"entry", LABEL, 1, TEXT + 0x40, 0),
        (
            b"_RNvMsi_CsgEmfK2I1SDS_4coreh4wrap",
            FUNC,
            1,
            TEXT + 0x80,
            0x10,
        ),
    ]);
    let mut found = 0;
    for at in 0..whole.len() {
        for bits in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            let mut file = whole.clone();
            file[at] ^= bits;
            let Some(symbols) = Symbols::new(&file) else {
                continue;
            };
            for address in [0, TEXT + 1, TEXT + 0x50, TEXT + 0x88, u64::MAX] {
                if let Some(symbol) = symbols.find(address) {
                    assert!(symbol.to_string().contains("+0x"));
                    found += 1;
                }
            }
        }
    }
    assert!(found > 1000, "{found}");
}
