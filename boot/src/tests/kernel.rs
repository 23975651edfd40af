use std::string::ToString;

use bootloader_api::BootloaderConfig;
use bootloader_api::config::Mapping;
use elf::abi;

use super::model::{Chance, DATA, Elf, Header, TEXT};
use crate::config;
use crate::error::Error;
use crate::kernel::{Kernel, MAX_SEGMENTS};
use crate::layout::{HIGHER_HALF, LAST_PAGE};

fn small() -> Elf {
    Elf::small(&BootloaderConfig::new_default())
}

/// Why the kernel is refused.
fn refusal(elf: &Elf) -> std::string::String {
    match Kernel::parse(&elf.build()) {
        Ok(_) => panic!("it was taken"),
        Err(why) => why.to_string(),
    }
}

fn refused(change: impl Fn(&mut Elf), why: &str) {
    let mut elf = small();
    change(&mut elf);
    let text = refusal(&elf);
    assert!(text.contains(why), "{text}");
    assert!(!text.contains('\n'));
}

#[test]
fn a_good_kernel_is_read() {
    let mut elf = small();
    let mut tls = elf.headers[1].clone();
    tls.kind = abi::PT_TLS;
    tls.data = std::vec![];
    tls.addr = DATA + 16;
    tls.mem_len = 64;
    tls.file_range = Some((300, 32));
    elf.headers.push(tls);
    let file = elf.build();
    let kernel = Kernel::parse(&file).expect("a good kernel");
    assert_eq!(kernel.entry, TEXT + 16);
    let [text, data] = kernel.segments.as_slice() else {
        panic!("two segments")
    };
    assert!(text.executable && !text.writable && !data.executable && data.writable);
    assert_eq!(text.pages(), TEXT..TEXT + 4096);
    assert_eq!(data.pages(), DATA..DATA + 8192);
    assert_eq!(data.data, [0x77; 100]);
    let tls = kernel.tls.expect("a TLS template");
    assert_eq!(
        (tls.start_addr, tls.file_size, tls.mem_size),
        (DATA + 16, 32, 64)
    );
    assert_eq!(kernel.config, BootloaderConfig::new_default());
}

#[test]
fn other_files_are_refused() {
    refused(|elf| elf.kind = abi::ET_DYN, "-static -no-pie");
    refused(|elf| elf.kind = abi::ET_REL, "not an executable");
    refused(|elf| elf.machine = abi::EM_AARCH64, "not for x86-64");
    refused(|elf| elf.config = None, "no section .bootloader-config");
    refused(|elf| elf.headers.clear(), "entry");
    assert!(matches!(
        Kernel::parse(b"#!/bin/sh\n"),
        Err(Error::Kernel(_))
    ));
}

#[test]
fn entries_outside_of_code_are_refused() {
    for entry in [0, TEXT - 1, TEXT + 4096, DATA + 8, u64::MAX] {
        refused(|elf| elf.entry = entry, "entry");
    }
}

#[test]
fn hostile_segments_are_refused() {
    let with = |change: fn(&mut Header)| move |elf: &mut Elf| change(&mut elf.headers[1]);
    refused(with(|h| h.flags |= abi::PF_X), "writable and executable");
    refused(with(|h| h.mem_len = 99), "longer in the file");
    refused(
        with(|h| h.file_range = Some((1 << 40, 100))),
        "within the file",
    );
    refused(
        with(|h| h.file_range = Some((u64::MAX, 100))),
        "within the file",
    );
    refused(with(|h| h.addr = 0x40_0000), "higher half");
    refused(with(|h| h.addr = HIGHER_HALF - 4096), "higher half");
    refused(with(|h| h.addr = u64::MAX - 10), "higher half");
    refused(with(|h| h.addr = LAST_PAGE - 8), "higher half");
    refused(with(|h| h.mem_len = u64::MAX), "higher half");
    refused(with(|h| h.addr = TEXT + 4095), "shares a page");
    refused(with(|h| h.addr = TEXT), "shares a page");
    refused(with(|h| h.addr = TEXT - 100), "shares a page");
    refused(with(|h| h.kind = abi::PT_INTERP), "dynamic linker");
    refused(with(|h| h.kind = abi::PT_DYNAMIC), "dynamic linker");
    refused(with(|h| h.kind = abi::PT_TLS), "outside of what is loaded");
    refused(
        |elf| {
            for i in 0..MAX_SEGMENTS as u64 {
                let addr = DATA + (i + 4) * 4096;
                let header = Header::load(abi::PF_R, addr, std::vec![1], 1);
                elf.headers.push(header);
            }
        },
        "one too many",
    );
}

#[test]
fn empty_segments_are_skipped() {
    let mut elf = small();
    elf.headers.push(Header::load(abi::PF_R, 0, std::vec![], 0));
    let file = elf.build();
    assert_eq!(Kernel::parse(&file).expect("good").segments.len(), 2);
}

#[test]
fn no_cut_kernel_is_taken() {
    let file = small().build();
    for len in 0..file.len() {
        assert!(Kernel::parse(&file[..len]).is_err(), "cut to {len}");
    }
}

#[test]
fn no_damage_is_a_panic_and_what_is_taken_is_sound() {
    let good = small().build();
    let headers = 64 + 2 * 56;
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..50_000 {
        let mut chance = Chance::new(seed);
        let mut bad = good.clone();
        for _ in 0..=chance.below(6) {
            // Mostly where it hurts: the headers at the start and the sections at the end.
            let at = match chance.below(3) {
                0 => chance.below(headers),
                1 => bad.len() as u64 - 1 - chance.below(360),
                _ => chance.below(bad.len() as u64),
            };
            bad[at as usize] = match chance.below(3) {
                0 => 0xff,
                1 => 0,
                _ => chance.below(256) as u8,
            };
        }
        let Ok(kernel) = Kernel::parse(&bad) else {
            refused += 1;
            continue;
        };
        taken += 1;
        for (index, segment) in kernel.segments.iter().enumerate() {
            assert!(segment.data.len() as u64 <= segment.len);
            assert!(segment.start >= HIGHER_HALF);
            assert!(segment.pages().end <= LAST_PAGE && !segment.pages().is_empty());
            assert!(!(segment.writable && segment.executable));
            for other in &kernel.segments[..index] {
                let (a, b) = (segment.pages(), other.pages());
                assert!(a.end <= b.start || b.end <= a.start);
            }
        }
    }
    assert!(taken > 1000 && refused > 10_000, "{taken} {refused}");
}

#[test]
fn configs_that_cannot_be_honoured_are_refused() {
    let refused = |change: fn(&mut BootloaderConfig), why: &str| {
        let mut config = BootloaderConfig::new_default();
        change(&mut config);
        let text = refusal(&Elf::small(&config));
        assert!(text.contains(why), "{text}");
    };
    refused(|c| c.mappings.aslr = true, "aslr");
    refused(
        |c| c.mappings.kernel_base = Mapping::FixedAddress(HIGHER_HALF),
        "kernel_base",
    );
    refused(|c| c.kernel_stack_size = 0, "kernel_stack_size");
    refused(|c| c.kernel_stack_size = u64::MAX, "kernel_stack_size");
}

#[test]
fn other_versions_of_the_api_are_refused() {
    let good = BootloaderConfig::new_default().serialize();
    assert!(config::read(&good).is_ok());
    let is_refused = |at: usize, by: u8| {
        let mut bytes = good;
        bytes[at] = bytes[at].wrapping_add(by);
        match config::read(&bytes) {
            Ok(_) => false,
            Err(why) => {
                assert!(why.to_string().contains("version"), "{why}");
                true
            }
        }
    };
    assert!(is_refused(16, 1), "major");
    assert!(is_refused(18, 1) && is_refused(18, 255), "minor");
    assert!(
        is_refused(20, 1),
        "a later patch: its BootInfo may be longer"
    );
    assert!(!is_refused(20, 255), "an earlier patch");
    assert!(is_refused(22, 1), "a pre-release");
    for len in 0..good.len() {
        assert!(config::read(&good[..len]).is_err());
    }
    assert!(config::read(&[0; BootloaderConfig::SERIALIZED_LEN]).is_err());
}
