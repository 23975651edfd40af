use std::string::{String, ToString};
use std::vec::Vec;

use crate::Handoff;
use crate::error::Error;
use crate::handoff::RawRegion;
use crate::pvh::handoff;

const START: u64 = 0x1000;
const MEMMAP: u64 = 0x2000;
const MODULES: u64 = 0x4000;
const CMDLINE: u64 = 0x5000;
const MODULE: u64 = 0x8000;
const LEN: usize = 0x9000;

/// Memory as a PVH loader leaves it.
struct Machine(Vec<u8>);

impl Machine {
    fn new() -> Self {
        let mut machine = Self(std::vec![0; LEN]);
        let header = [0x336e_c578, 1, 0, 1].map(u32::to_le_bytes);
        machine.put(START, &header.concat());
        let pointers = [MODULES, CMDLINE, 0xf5678, MEMMAP].map(u64::to_le_bytes);
        machine.put(START + 16, &pointers.concat());
        machine.put(START + 48, &2u32.to_le_bytes());
        for (at, start, len, kind) in [(0, 0u64, 0x9fc00u64, 1u32), (24, 1 << 32, 1 << 20, 2)] {
            machine.put(MEMMAP + at, &start.to_le_bytes());
            machine.put(MEMMAP + at + 8, &len.to_le_bytes());
            machine.put(MEMMAP + at + 16, &kind.to_le_bytes());
        }
        machine.put(MODULES, &[MODULE, 0x200].map(u64::to_le_bytes).concat());
        machine.put(CMDLINE, b"run=hello x\0rubbish");
        machine.put(MODULE, b"module");
        machine
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.0[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn handoff(&self) -> Result<Handoff<'_>, Error> {
        handoff(START, 0x10_0000..0x12_0000, |addr, len| {
            self.0.get(addr as usize..addr.checked_add(len)? as usize)
        })
    }

    fn refusal(&self) -> String {
        self.handoff().expect_err("unusable").to_string()
    }
}

#[test]
fn everything_is_read() {
    let machine = Machine::new();
    let handoff = machine.handoff().expect("usable");
    assert_eq!(handoff.rsdp, Some(0xf5678));
    assert_eq!(handoff.cmdline, b"run=hello x");
    let module = handoff.module.expect("a module");
    assert_eq!((module.addr, module.bytes.len()), (MODULE, 0x200));
    assert_eq!(&module.bytes[..6], b"module");
    let raw = |start, len, kind| RawRegion { start, len, kind };
    assert_eq!(
        handoff.memory_map,
        [raw(0, 0x9fc00, 1), raw(1 << 32, 1 << 20, 2)]
    );
    for used in [START, START + 55, MEMMAP + 47, CMDLINE + 11, 0x11_ffff] {
        assert!(
            handoff.in_use.iter().any(|range| range.contains(&used)),
            "{used:#x}"
        );
    }
}

#[test]
fn what_may_be_missing_may_be_missing() {
    let mut machine = Machine::new();
    machine.put(START + 12, &0u32.to_le_bytes());
    machine.put(START + 24, &0u64.to_le_bytes());
    machine.put(START + 32, &0u64.to_le_bytes());
    let handoff = machine.handoff().expect("usable");
    assert!(handoff.module.is_none() && handoff.rsdp.is_none());
    assert_eq!(handoff.cmdline, b"");
}

#[test]
fn what_must_be_there_is_asked_for() {
    let with = |at: u64, value: u32| {
        let mut machine = Machine::new();
        machine.put(at, &value.to_le_bytes());
        machine.refusal()
    };
    assert!(with(START, 0).contains("magic"));
    assert!(with(START + 4, 0).contains("no memory map"), "version 0");
    assert!(with(START + 48, 0).contains("no memory map"), "no entries");
    assert!(with(START + 48, 129).contains("129 entries, 128 at most"));
    assert!(with(START + 48, u32::MAX).contains("entries"));
    assert!(with(START + 40, 0x9000_0000).contains("out of reach"));
    assert!(with(START + 16, 0x9000_0000).contains("out of reach"));
    assert!(with(START + 24, 0x9000_0000).contains("out of reach"));
    assert!(with(MODULES, 0x9000_0000).contains("boot module"));
    assert!(with(MODULES + 12, 1).contains("boot module"), "length");
    let far = handoff(1 << 40, 0..1, |_, _| None).expect_err("out of reach");
    assert!(far.to_string().contains("out of reach"));
}

#[test]
fn the_longest_command_line_fits_and_no_longer_one() {
    let mut machine = Machine::new();
    machine.put(START + 24, &(LEN as u64 - 4096).to_le_bytes());
    machine.put(LEN as u64 - 4096, &[b'a'; 4096]);
    assert!(machine.refusal().contains("longer than 4095 bytes"));
    machine.put(LEN as u64 - 1, b"\0");
    machine.put(MODULES, &0u64.to_le_bytes());
    let handoff = machine.handoff().expect("it ends where memory ends");
    assert_eq!(handoff.cmdline, [b'a'; 4095]);
    machine.put(START + 24, &(LEN as u64 - 4).to_le_bytes());
    machine.put(LEN as u64 - 1, b"a");
    assert!(machine.refusal().contains("out of reach"));
}
