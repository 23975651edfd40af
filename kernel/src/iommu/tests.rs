//! Tables walked as a unit walks them, and a unit that does what its registers say.

mod machine;
mod tables;

use super::*;
use crate::acpi::{AcpiError, PhysicalMemory};
use machine::{Machine, Verdict};

/// The table of QEMU 10.0.2 `-machine q35 -device intel-iommu`: a unit for all, which names the interrupt
/// controller.
const UNIT: [u8; 24] = [
    0, 0, 24, 0, 1, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0, 3, 8, 0, 0, 0, 0xff, 0, 0,
];
/// Memory from 0xd_0000 to 0xd_ffff that firmware keeps for 00:1d.0.
const RESERVED: [u8; 32] = [
    1, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0xd, 0, 0, 0, 0, 0, 0xff, 0xff, 0xd, 0, 0, 0, 0, 0, 1, 8, 0, 0,
    0, 0, 0x1d, 0,
];

/// Memory with an RSDP at 16, an RSDT at 64, and a DMAR at 128.
struct Memory(Vec<u8>);

impl PhysicalMemory for Memory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let bytes = self
            .0
            .get(address as usize..address as usize + buffer.len());
        bytes.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
    }
}

/// Reads a DMAR with these structures.
fn read(structures: &[u8]) -> Result<Dmar, AcpiError> {
    let table = |signature: &[u8; 4], rest: &[u8]| {
        let mut table = vec![0; 36];
        table[..4].copy_from_slice(signature);
        table[4..8].copy_from_slice(&(36 + rest.len() as u32).to_le_bytes());
        table.extend(rest);
        table[9] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
        table
    };
    let mut rsdp = *b"RSD PTR \0BOCHS \0\x40\0\0\0";
    rsdp[8] = rsdp.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    let mut memory = vec![0; 128];
    memory[16..36].copy_from_slice(&rsdp);
    memory[64..104].copy_from_slice(&table(b"RSDT", &128u32.to_le_bytes()));
    memory.extend(table(b"DMAR", &[&[38; 12][..], structures].concat()));
    Dmar::read(&Memory(memory), 16)
}

#[test]
fn units_and_reserved_memory_are_found_in_the_table() {
    // What is of no interest lies between: another kind of structure.
    let dmar = read(&[&UNIT[..], &[2, 0, 8, 0, 0, 0, 0, 0], &RESERVED].concat()).expect("a table");
    let [unit] = &dmar.units[..] else {
        panic!("{dmar:?}")
    };
    let place = (unit.base, unit.len, unit.segment, unit.is_for_all);
    assert_eq!(place, (0xfed9_0000, 4096, 0, true));
    assert_eq!(unit.scopes.to_string(), " ff:00.0");
    let [reserved] = &dmar.reserved[..] else {
        panic!("{dmar:?}")
    };
    assert_eq!((reserved.start, reserved.last), (0xd_0000, 0xd_ffff));
    assert_eq!(reserved.scopes.to_string(), " 00:1d.0");
    let larger = |size| {
        let mut unit = UNIT;
        unit[5] = size;
        read(&unit).map(|dmar| dmar.units[0].len)
    };
    assert_eq!(larger(2), Ok(4 * 4096));
    assert!(larger(5).is_err(), "more registers than there can be");
}

#[test]
fn a_table_that_makes_no_sense_is_an_error_that_says_where() {
    let bad = |at: usize, structures: &[u8]| {
        let error = AcpiError::BadStructure(*b"DMAR", at);
        assert_eq!(read(structures), Err(error), "{structures:?}");
    };
    // Every end that does not fit, of a structure and of a scope in it.
    for (whole, scope) in [(&UNIT[..], 17), (&RESERVED, 25)] {
        for cut in 1..whole.len() {
            bad(48, &whole[..cut]);
        }
        for length in (0..=255).filter(|length| usize::from(*length) != whole.len()) {
            let mut lies = whole.to_vec();
            lies[2] = length;
            assert!(read(&lies).is_err(), "a structure of {length}");
            let mut lies = whole.to_vec();
            lies[scope] = length;
            assert_eq!(read(&lies).is_ok(), length == 8, "a scope of {length}");
        }
    }
    bad(72, &[&UNIT[..], &UNIT[..10]].concat());
    // No address, one within a page, one beyond all memory, and memory that ends before it begins.
    for (byte, value) in [(10, 0), (8, 1), (14, 0x10)] {
        let mut unit = UNIT;
        if byte == 10 {
            unit[11] = 0;
        }
        unit[byte] = value;
        bad(48, &unit);
    }
    for (byte, value) in [(18, 0xc), (23, 1), (30, 32), (31, 8)] {
        let mut reserved = RESERVED;
        reserved[byte] = value;
        bad(48, &reserved);
    }
    assert_eq!(read(&UNIT.repeat(64)).map(|dmar| dmar.units.len()), Ok(64));
    bad(48 + 64 * 24, &UNIT.repeat(65));
    assert_eq!(read(&[]), Ok(Dmar::default()));
}

/// Two cards with 40 KiB each, and a ramdisk of two pieces.
const CARD: Address = Address::new(1, 0, 0);
const VIRTUAL: Address = Address::new(1, 0x10, 2);
const ARENA: (u64, usize) = (0x20_0000, 40 << 10);
const OTHER: (u64, usize) = (0x40_0000, 40 << 10);

fn ramdisk() -> Runs {
    let mut runs = Runs::default();
    runs.push(0x10_0800, 100);
    runs.push(0x13_0000, 0x2000);
    runs
}

fn started(machine: &Machine) -> Iommu<machine::Memory, machine::Port> {
    let unit = Unit::new(machine.port(), 0xfed9_0000).expect("a unit");
    Iommu::start(vec![unit], machine.memory(), ramdisk()).expect("started")
}

#[test]
fn a_card_reaches_what_it_was_given_and_nothing_else() {
    for caching in [false, true] {
        let machine = Machine::new(|unit| unit.is_caching = caching);
        assert_eq!(machine.dma(CARD, 0x5000, true), Verdict::Reached(0x5000));
        let mut iommu = started(&machine);
        // In caching mode these faults are remembered until the unit is flushed.
        for function in [CARD, VIRTUAL] {
            assert_ne!(
                machine.dma(function, ARENA.0, true),
                Verdict::Reached(ARENA.0)
            );
        }
        iommu.give(CARD, ARENA.0, ARENA.1).expect("an arena");
        iommu.give(VIRTUAL, OTHER.0, OTHER.1).expect("another");
        for (function, own, other) in [(CARD, ARENA.0, OTHER.0), (VIRTUAL, OTHER.0, ARENA.0)] {
            let reaches = |address, is_write| {
                machine.dma(function, address, is_write) == Verdict::Reached(address)
            };
            for address in [own, own + 5, own + 0x9fff] {
                assert!(
                    reaches(address, true) && reaches(address, false),
                    "{address:#x}"
                );
            }
            for address in [0x10_0800, 0x13_0000, 0x13_1fff] {
                assert!(reaches(address, false), "{address:#x}");
                assert!(!reaches(address, true), "{address:#x} is written");
            }
            for address in [0, own - 1, own + 0xa000, other, 0x13_2000, 1 << 39, !0xfff] {
                assert!(
                    !reaches(address, false) && !reaches(address, true),
                    "{address:#x}"
                );
            }
        }
        let unknown = Address::new(1, 0, 1);
        assert_eq!(machine.dma(unknown, ARENA.0, false), Verdict::Stopped(2));
        let on_another_bus = Address::new(2, 0, 0);
        assert_eq!(
            machine.dma(on_another_bus, ARENA.0, false),
            Verdict::Stopped(1)
        );
        // Messages are not memory.
        let message = machine.dma(unknown, 0xfee0_0000, true);
        assert_eq!(message, Verdict::Reached(0xfee0_0000));
    }
}

#[test]
fn what_is_taken_back_is_out_of_reach_and_its_frames_are_free() {
    let machine = Machine::new(|_| {});
    let mut iommu = started(&machine);
    iommu.give(VIRTUAL, OTHER.0, OTHER.1).expect("another");
    let before = machine.frames_left();
    for _ in 0..2 {
        iommu.give(CARD, ARENA.0, ARENA.1).expect("an arena");
        assert_eq!(machine.dma(CARD, ARENA.0, true), Verdict::Reached(ARENA.0));
        iommu.take_back(CARD);
        assert_eq!(machine.dma(CARD, ARENA.0, true), Verdict::Stopped(2));
        assert_eq!(machine.frames_left(), before);
    }
    iommu.take_back(CARD);
    iommu.take_back(Address::new(9, 0, 0));
    assert_eq!(
        machine.dma(VIRTUAL, OTHER.0, true),
        Verdict::Reached(OTHER.0)
    );
    // A unit that answers no more may still remember.
    machine.die(machine::Dead::Pages);
    iommu.take_back(VIRTUAL);
    assert_eq!(machine.frames_left(), before);
}

#[test]
fn what_firmware_left_on_is_taken_over() {
    let machine = Machine::new(|unit| {
        unit.has_queue = true;
        unit.protects = true;
        unit.buffers_writes = true;
    });
    let mut iommu = started(&machine);
    iommu.give(CARD, ARENA.0, ARENA.1).expect("an arena");
    assert_eq!(machine.dma(CARD, ARENA.0, true), Verdict::Reached(ARENA.0));
}

#[test]
fn a_unit_that_does_not_answer_is_left_out_in_bounded_time() {
    let start = |machine: &Machine| {
        let unit = Unit::new(machine.port(), 0xfed9_0000)?;
        Iommu::start(vec![unit], machine.memory(), ramdisk()).map(drop)
    };
    assert_eq!(start(&Machine::new(|_| {})), Ok(()));
    for dead in [
        machine::Dead::Commands,
        machine::Dead::Contexts,
        machine::Dead::Pages,
    ] {
        let machine = Machine::new(|unit| unit.dead = Some(dead));
        assert_eq!(start(&machine), Err(Error::Silent), "{dead:?}");
        assert!(machine.pauses() <= 100_000, "{dead:?}");
    }
    for [low, high] in [[!0; 2], [0; 2], [machine::CAP[0], 0x3f]] {
        let machine = Machine::new(|unit| unit.capabilities = [low, high]);
        assert_eq!(
            start(&machine),
            Err(Error::NoRegisters),
            "{low:#x} {high:#x}"
        );
    }
    let narrow = Machine::new(|unit| unit.capabilities[0] &= !(0x1f << 8));
    assert_eq!(start(&narrow), Err(Error::NoWidth));
    let full = Machine::new(|unit| unit.frames = 0);
    assert_eq!(start(&full), Err(Error::NoMemory));
}

#[test]
fn one_unit_that_is_dead_does_not_take_the_other_with_it() {
    let (machine, dead) = (
        Machine::new(|_| {}),
        Machine::new(|unit| unit.dead = Some(machine::Dead::Commands)),
    );
    let units = [dead.port(), machine.port()].map(|port| Unit::new(port, 1).expect("a unit"));
    let iommu = Iommu::start(units.into(), machine.memory(), ramdisk());
    let given = iommu.expect("started").give(CARD, ARENA.0, ARENA.1);
    assert_eq!(given, Ok(()));
    assert_eq!(machine.dma(CARD, ARENA.0, true), Verdict::Reached(ARENA.0));
    assert_eq!(machine.dma(CARD, OTHER.0, true), Verdict::Stopped(5));
}

#[test]
fn faults_are_told_once_each_with_function_address_and_reason() {
    let machine = Machine::new(|unit| unit.records = 3);
    let mut iommu = started(&machine);
    iommu.give(CARD, ARENA.0, ARENA.1).expect("an arena");
    let mut told = || {
        let mut faults = Vec::new();
        iommu.faults(&mut |fault| faults.push(fault.to_string()));
        faults
    };
    assert_eq!(told(), [""; 0]);
    machine.dma(CARD, 0x5123, true);
    machine.dma(VIRTUAL, 0x1_2345_6000, false);
    let first = [
        "DMA of 01:00.0 stopped: write to 0x5000, outside of what it was given",
        "DMA of 01:10.2 stopped: read of 0x123456000, it was given no memory",
    ];
    assert_eq!(told(), first);
    assert_eq!(told(), [""; 0]);
    // The records are a ring, and what comes when all are taken is lost, until they are read.
    for address in [0x6000, 0x7000, 0x8000, 0x9000] {
        machine.dma(CARD, address, false);
    }
    let read = |page: u64| {
        format!("DMA of 01:00.0 stopped: read of {page:#x}, outside of what it was given")
    };
    assert_eq!(told(), [0x6000, 0x7000, 0x8000].map(read));
    machine.dma(CARD, 1 << 39, false);
    let beyond = "DMA of 01:00.0 stopped: read of 0x8000000000, beyond all addresses";
    assert_eq!(told(), [beyond]);
}
