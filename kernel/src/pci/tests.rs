//! The scan on configuration space recorded from QEMU, and on hardware that lies.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use std::format;

use super::config::register;
use super::*;

mod sriov;

const PC: &str = include_str!("fixtures/pc.txt");
const Q35: &str = include_str!("fixtures/q35.txt");

const E100: (u16, u16) = (0x8086, 0x1209);
const IGB: (u16, u16) = (0x8086, 0x10c9);

/// The configuration space of one function: which bits are set, which of them stick when
/// written, and which are cleared by writing ones.
#[derive(Clone)]
struct Space {
    registers: [u32; 1024],
    writable: [u32; 1024],
    extended: bool,
}

/// A machine. It complains where the kernel breaks a rule that real hardware may punish.
#[derive(Clone, Default)]
struct Machine {
    functions: BTreeMap<Address, Space>,
    /// Whether offsets from 0x100 up can be reached.
    ecam: bool,
    complaints: Vec<String>,
    accesses: usize,
    /// After so many accesses, everything reads as all ones.
    removed_after: Option<usize>,
}

impl Machine {
    fn recorded(text: &str, ecam: bool) -> Machine {
        let mut machine = Machine {
            ecam,
            ..Machine::default()
        };
        let mut current = Address::new(0, 0, 0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((offset, bytes)) = line.split_once(": ") {
                let space = machine.functions.get_mut(&current).expect("a function");
                if offset == "ones" {
                    for (index, ones) in bytes.split(' ').enumerate() {
                        let ones = hex(ones);
                        // The low bits of a BAR say what it is and cannot be written.
                        let fixed = if space.registers[4 + index] & 1 == 1 {
                            3
                        } else {
                            0xf
                        };
                        let upper = index > 0 && space.registers[3 + index] & 7 == 4;
                        space.writable[4 + index] = if upper { ones } else { ones & !fixed };
                    }
                } else {
                    let offset = hex(offset) as usize;
                    space.extended |= offset >= 0x100;
                    for (index, byte) in bytes.split(' ').enumerate() {
                        let at = offset + index;
                        space.registers[at / 4] |= hex(byte) << (8 * (at % 4));
                    }
                }
            } else {
                current = address(line);
                machine.functions.insert(current, Space::empty());
            }
        }
        machine
    }

    /// One function on each of some addresses: (address, id, class, header type).
    fn made(functions: &[(&str, u32, u32, u8)]) -> Machine {
        let mut machine = Machine::default();
        for &(at, id, class, header) in functions {
            let mut space = Space::empty();
            space.registers[0] = id;
            space.registers[2] = class << 16;
            space.registers[3] = u32::from(header) << 16;
            machine.functions.insert(address(at), space);
        }
        machine
    }

    fn space(&mut self, at: &str) -> &mut Space {
        self.functions.get_mut(&address(at)).expect("a function")
    }

    fn gone(&mut self) -> bool {
        self.accesses += 1;
        self.removed_after
            .is_some_and(|limit| self.accesses > limit)
    }
}

impl Space {
    fn empty() -> Space {
        let mut writable = [0; 1024];
        writable[1] = 0x0547;
        Space {
            registers: [0; 1024],
            writable,
            extended: false,
        }
    }

    fn set(&mut self, offset: u16, value: u32) -> &mut Self {
        self.registers[usize::from(offset) / 4] = value;
        self
    }

    /// A BAR with this value, of which these bits can be written.
    fn bar(&mut self, index: usize, value: u32, writable: u32) -> &mut Self {
        self.registers[4 + index] = value;
        self.writable[4 + index] = writable;
        self
    }
}

impl ConfigSpace for Machine {
    fn read32(&mut self, address: Address, offset: u16) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 0x1000);
        if self.gone() {
            return !0;
        }
        match self.functions.get(&address) {
            Some(space) if offset < 0x100 || (self.ecam && space.extended) => {
                space.registers[usize::from(offset) / 4]
            }
            _ => !0,
        }
    }

    fn write32(&mut self, address: Address, offset: u16, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < 0x1000);
        if self.gone() {
            return;
        }
        let Some(space) = self.functions.get_mut(&address) else {
            return;
        };
        let index = usize::from(offset) / 4;
        let host_bridge = space.registers[2] >> 16 == 0x0600;
        if (0x10..0x28).contains(&offset) && space.registers[1] & 0b11 != 0 && !host_bridge {
            self.complaints
                .push(format!("{address}: BAR written while decoding"));
        }
        if offset == register::COMMAND_STATUS {
            if host_bridge && value & 0b10 == 0 {
                self.complaints
                    .push(format!("{address}: host bridge told not to decode"));
            }
            // STATUS: ones clear.
            space.registers[1] &= !(value & 0xf900_0000);
        }
        let writable = space.writable[index];
        space.registers[index] = space.registers[index] & !writable | value & writable;
    }
}

fn hex(digits: &str) -> u32 {
    u32::from_str_radix(digits, 16).expect("hexadecimal digits")
}

fn address(text: &str) -> Address {
    let (bus, rest) = text.split_once(':').expect("bus:device.function");
    let (device, function) = rest.split_once('.').expect("device.function");
    Address::new(
        hex(bus) as u8,
        hex(device) as u8,
        function.parse().expect("a digit"),
    )
}

fn at<'s>(scan: &'s Scan, text: &str) -> &'s Function {
    scan.functions
        .iter()
        .find(|function| function.address == address(text))
        .expect("a function there")
}

fn lines<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

#[test]
fn pc_is_listed_as_the_lab_printed_it() {
    let mut machine = Machine::recorded(PC, false);
    let scan = scan(&mut machine);
    assert_eq!(
        lines(&scan.functions),
        [
            "PCI: 00:00.0: 8086:1237: class: 6.0 (Bridge device) irq: 0",
            "PCI: 00:01.0: 8086:7000: class: 6.1 (Bridge device) irq: 0",
            "PCI: 00:01.1: 8086:7010: class: 1.1 (Storage controller) irq: 0",
            "PCI: 00:01.3: 8086:7113: class: 6.80 (Bridge device) irq: 9",
            "PCI: 00:03.0: 8086:1209: class: 2.0 (Network controller) irq: 11",
            "PCI: 00:04.0: 1b36:0001: class: 6.4 (Bridge device) irq: 11",
            "PCI: 01:05.0: 8086:10c9: class: 2.0 (Network controller) irq: 10",
            "PCI: 01:06.0: 1b36:0001: class: 6.4 (Bridge device) irq: 10",
            "PCI: 02:01.0: 8086:1209: class: 2.0 (Network controller) irq: 11",
        ]
    );
    assert_eq!(scan.problems, []);
}

#[test]
fn q35_is_listed_through_root_ports_and_bridges() {
    let mut machine = Machine::recorded(Q35, true);
    let scan = scan(&mut machine);
    assert_eq!(
        lines(&scan.functions),
        [
            "PCI: 00:00.0: 8086:29c0: class: 6.0 (Bridge device) irq: 0",
            "PCI: 00:03.0: 8086:1209: class: 2.0 (Network controller) irq: 11",
            "PCI: 00:04.0: 1b36:000c: class: 6.4 (Bridge device) irq: 10",
            "PCI: 01:00.0: 8086:10c9: class: 2.0 (Network controller) irq: 10",
            "PCI: 00:05.0: 1b36:000e: class: 6.4 (Bridge device) irq: 10",
            "PCI: 02:03.0: 8086:1209: class: 2.0 (Network controller) irq: 10",
            "PCI: 00:06.0: 1b36:000c: class: 6.4 (Bridge device) irq: 11",
            "PCI: 00:1f.0: 8086:2918: class: 6.1 (Bridge device) irq: 0",
            "PCI: 00:1f.2: 8086:2922: class: 1.6 (Storage controller) irq: 10",
            "PCI: 00:1f.3: 8086:2930: class: c.5 (Serial bus controller) irq: 10",
        ]
    );
    assert_eq!(scan.problems, []);
}

#[test]
fn bars_have_the_sizes_of_the_chips() {
    let scan = scan(&mut Machine::recorded(PC, false));
    assert_eq!(
        lines(at(&scan, "00:03.0").bars.iter().flatten()),
        [
            "BAR0 mem32 0xfea00000+0x1000 prefetchable",
            "BAR1 io 0xe000+0x40",
            "BAR2 mem32 0xfe600000+0x20000",
        ]
    );
    assert_eq!(
        lines(at(&scan, "01:05.0").bars.iter().flatten()),
        [
            "BAR0 mem32 0xfe400000+0x20000",
            "BAR1 mem32 0xfe420000+0x20000",
            "BAR2 io 0xd000+0x20",
            "BAR3 mem64 0xfe440000+0x4000",
        ]
    );
    // A bridge has two registers there; those behind them are its bus numbers and windows.
    assert_eq!(
        lines(at(&scan, "00:04.0").bars.iter().flatten()),
        ["BAR0 mem64 0xfe620000+0x100"]
    );
    assert_eq!(at(&scan, "00:00.0").bars, Bars::default());
}

#[test]
fn scanning_leaves_everything_as_it_was() {
    for (text, ecam) in [(PC, false), (Q35, true)] {
        let mut machine = Machine::recorded(text, ecam);
        // Errors that somebody else wants to read later, reported in STATUS.
        for space in machine.functions.values_mut() {
            space.registers[1] |= 0xf900_0000;
        }
        let before: Vec<_> = machine.functions.values().map(|s| s.registers).collect();
        scan(&mut machine);
        let after: Vec<_> = machine.functions.values().map(|s| s.registers).collect();
        assert!(before == after);
        assert_eq!(machine.complaints, [""; 0]);
    }
}

#[test]
fn the_model_catches_a_bar_written_while_decoding() {
    let mut machine = Machine::recorded(PC, false);
    machine.write32(address("00:03.0"), register::BAR0, !0);
    assert_eq!(machine.complaints.len(), 1);
}

#[test]
fn capabilities_are_listed() {
    let found = scan(&mut Machine::recorded(Q35, true));
    let igb = at(&found, "01:00.0");
    assert_eq!(
        lines(&igb.capabilities),
        ["PM at 40", "MSI at 50", "MSI-X at 70", "PCIe at a0"]
    );
    assert_eq!(
        lines(&igb.extended_capabilities),
        [
            "extended 0001 at 100",
            "extended 000e at 150",
            "extended 0010 at 160"
        ]
    );
    let msi_x = igb.capability(CapabilityId::MSI_X).expect("MSI-X");
    assert_eq!(msi_x.offset, 0x70);
    assert_eq!(igb.extended_capability(0x10).expect("SR-IOV").offset, 0x160);
    assert_eq!(lines(&at(&found, "00:03.0").capabilities), ["PM at dc"]);

    // Without ECAM the rest of the list is out of reach, which is no error.
    let found = scan(&mut Machine::recorded(Q35, false));
    assert_eq!(at(&found, "01:00.0").extended_capabilities, []);
    assert_eq!(at(&found, "01:00.0").capabilities.len(), 4);
    assert_eq!(found.problems, []);
}

#[test]
fn enabling_sets_three_bits_and_clears_no_status() {
    let mut machine = Machine::recorded(PC, false);
    let scan = scan(&mut machine);
    let e100 = at(&scan, "00:03.0");
    let space = machine.space("00:03.0");
    // INTx off, decoding off, and a master abort that was recorded.
    space.set(register::COMMAND_STATUS, 0x2290_0400);
    assert_eq!(e100.enable(&mut machine), Ok(()));
    assert_eq!(e100.label().to_string(), "00:03.0 (8086:1209)");
    assert_eq!(machine.space("00:03.0").registers[1], 0x2290_0007);
}

#[test]
fn enabling_fails_where_it_would_not_work() {
    let mut machine = Machine::recorded(PC, false);
    machine.space("00:03.0").bar(1, 1, !0x3f);
    let found = scan(&mut machine);
    let before = machine.space("00:03.0").registers[1];
    let said = at(&found, "00:03.0")
        .enable(&mut machine)
        .expect_err("no address");
    assert_eq!(said.to_string(), "firmware gave BAR1 no address");
    assert_eq!(machine.space("00:03.0").registers[1], before);

    let mut machine = Machine::recorded(PC, false);
    let found = scan(&mut machine);
    machine.space("00:03.0").writable[1] = 0;
    machine.space("00:03.0").set(register::COMMAND_STATUS, 0);
    let said = at(&found, "00:03.0")
        .enable(&mut machine)
        .expect_err("wired to 0");
    assert!(said.to_string().contains("COMMAND stays 0000"));

    machine.functions.remove(&address("00:03.0"));
    let said = at(&found, "00:03.0")
        .enable(&mut machine)
        .expect_err("pulled out");
    assert!(said.to_string().contains("COMMAND stays ffff"));
}

#[test]
fn interrupt_lines_that_mean_nothing_are_none() {
    let scan = scan(&mut Machine::recorded(PC, false));
    assert_eq!(at(&scan, "00:03.0").irq(), Some(11));
    assert_eq!(at(&scan, "00:01.0").irq(), None);
    let mut function = at(&scan, "00:03.0").clone();
    function.interrupt_line = 0xff;
    assert_eq!(function.irq(), None);
    function.interrupt_line = 11;
    function.interrupt_pin = 0;
    assert_eq!(function.irq(), None);
}

#[test]
fn a_card_without_a_driver_is_named_and_those_with_one_are_listed() {
    let made = [
        ("00:03.0", 0x100e_8086, 0x0200, 0),
        ("00:04.0", 0xabcd_1234, 0x0280, 0),
    ];
    let scan = scan(&mut Machine::made(&made));
    let words: Vec<String> = scan
        .functions
        .iter()
        .filter(|function| function.class == NETWORK)
        .map(|function| NoDriver(function).to_string())
        .collect();
    let begin = "no driver for the network controller at";
    let expected = [
        format!("{begin} 00:03.0: 8086:100e, Intel 82540EM (QEMU's e1000)"),
        format!("{begin} 00:04.0: 1234:abcd"),
    ];
    assert_eq!(words, expected);
    let row = |name, chip, qemu, id| Driver {
        name,
        chip,
        qemu,
        id,
        attach: (),
    };
    let table = [
        row("e100", "Intel 82559ER", "i82559er", E100),
        row("igb", "Intel 82576", "igb", IGB),
    ];
    let recorded = super::scan(&mut Machine::recorded(PC, false));
    let taken_by = |at_: &str| driver(&table, at(&recorded, at_)).map(|driver| driver.name);
    assert_eq!(taken_by("00:03.0"), Some("e100"));
    assert_eq!(taken_by("01:05.0"), Some("igb"));
    assert_eq!(taken_by("00:00.0"), None);
    let words = table.map(|driver| Drives(&driver).to_string());
    assert_eq!(
        words,
        [
            "Intel 82559ER (8086:1209): `make qemu NIC=e100`, or QEMU's `-device i82559er`",
            "Intel 82576 (8086:10c9): `make qemu NIC=igb`, or QEMU's `-device igb`",
        ]
    );
}

#[test]
fn addresses_are_spelled_in_hexadecimal_and_encoded_for_both_mechanisms() {
    let last = Address::new(0xff, 31, 7);
    assert_eq!(last.to_string(), "ff:1f.7");
    assert_eq!((last.bus(), last.device(), last.function()), (0xff, 31, 7));
    assert_eq!(last.mechanism_1(0xfc), Some(0x80ff_fffc));
    assert_eq!(last.mechanism_1(0x100), None);
    assert_eq!(last.ecam_offset(0xffc), Some(0xf_fffc));
    assert_eq!(last.ecam_offset(0x1000), None);
    assert_eq!(Address::new(1, 3, 2).mechanism_1(0x10), Some(0x8001_1a10));
    assert_eq!(Address::new(1, 3, 2).ecam_offset(0x10), Some(0x1_a010));
}

#[test]
fn functions_are_looked_for_only_where_the_header_says_so() {
    let mut machine = Machine::made(&[
        ("00:02.0", 0x1_1234, 0x0200, 0x00),
        ("00:02.1", 0x1_1234, 0x0200, 0x00),
        ("00:03.0", 0x1_1234, 0x0200, 0x80),
        ("00:03.7", 0x1_1234, 0x0200, 0x80),
        ("00:04.1", 0x1_1234, 0x0200, 0x80),
    ]);
    let scan = scan(&mut machine);
    let found = scan.functions.iter().map(|function| function.address);
    assert_eq!(lines(found), ["00:02.0", "00:03.0", "00:03.7"]);
}

#[test]
fn each_function_of_the_host_bridge_is_a_root_bus() {
    let mut machine = Machine::made(&[
        ("00:00.0", 0x1_1234, 0x0600, 0x80),
        ("00:00.1", 0x1_1234, 0x0600, 0x80),
        ("00:00.2", 0x1_1234, 0x0806, 0x80),
        ("01:05.0", 0x1_1234, 0x0200, 0x00),
        ("02:05.0", 0x1_1234, 0x0200, 0x00),
    ]);
    machine.space("00:00.0").set(register::COMMAND_STATUS, 7);
    machine.space("00:00.1").set(register::COMMAND_STATUS, 7);
    let scan = scan(&mut machine);
    let found = scan.functions.iter().map(|function| function.address);
    // The IOMMU at 00:00.2 is no host bridge.
    assert_eq!(lines(found), ["00:00.0", "00:00.1", "00:00.2", "01:05.0"]);
    assert_eq!(machine.complaints, [""; 0]);
}

/// As QEMU's pxb is: a host bridge among the devices, its bus somewhere, and a bridge on that.
#[test]
fn another_host_bridge_has_the_other_root_buses_looked_for() {
    let functions = [
        ("00:00.0", 0x1_1234, 0x0600, 0x00),
        ("00:02.0", 0x9_1b36, 0x0600, 0x00),
        ("04:03.0", 0x1_1b36, 0x0604, 0x01),
        ("05:01.0", 0x1_1234, 0x0200, 0x00),
        ("ff:1f.0", 0x1_1234, 0x0200, 0x00),
    ];
    let found = |functions: &[_]| {
        let mut machine = Machine::made(functions);
        let buses = machine.space("04:03.0");
        buses.set(register::BUS_NUMBERS, 0x0005_0504);
        let scan = scan(&mut machine);
        assert_eq!((scan.problems.len(), machine.complaints.len()), (0, 0));
        lines(scan.functions.iter().map(|function| function.address))
    };
    // Each once, and what is behind a bridge right after it.
    assert_eq!(found(&functions), functions.map(|(at, ..)| at));
    // Without such a sign nobody spends the time.
    let mut usual = functions;
    usual[1].2 = 0x0680;
    assert_eq!(found(&usual), ["00:00.0", "00:02.0"]);
}

/// The scan of other root buses ends when there are too many functions, and says so once.
#[test]
fn too_many_functions_on_many_root_buses_are_told_once() {
    let mut machine = Machine::default();
    for bus in 0..=u8::MAX {
        for device in 0..8 {
            let mut space = Space::empty();
            space
                .set(register::ID, 0x1_1234)
                .set(register::CLASS_REVISION, 0x0600_0000);
            machine
                .functions
                .insert(Address::new(bus, device, 0), space);
        }
    }
    let scan = scan(&mut machine);
    assert_eq!(scan.functions.len(), FUNCTIONS_MAX);
    assert!(matches!(scan.problems[..], [Problem::TooMany(_)]));
}

#[test]
fn a_port_has_one_device_behind_it() {
    let mut machine = Machine::recorded(Q35, true);
    // Some cards answer at every device number of the link.
    let card = machine.space("01:00.0").clone();
    for device in 1..32 {
        machine
            .functions
            .insert(Address::new(1, device, 0), card.clone());
    }
    let scan = scan(&mut machine);
    let behind = scan.functions.iter().filter(|f| f.address.bus() == 1);
    assert_eq!(behind.count(), 1);
}

#[test]
fn bridges_without_buses_are_reported() {
    let mut machine = Machine::recorded(PC, false);
    machine.space("00:04.0").set(register::BUS_NUMBERS, 0);
    machine.space("00:04.0").set(0x1c, 0);
    let scan = scan(&mut machine);
    assert_eq!(scan.functions.len(), 6);
    assert_eq!(
        lines(&scan.problems),
        [
            "PCI: 00:04.0: firmware gave this bridge no buses (secondary 00, subordinate 00): \
          what is behind it cannot be reached"
        ]
    );
}

#[test]
fn bridges_that_lead_back_are_not_entered() {
    let bridge = (0x1_1234, 0x0604, 0x01);
    let mut machine = Machine::made(&[
        ("00:01.0", bridge.0, bridge.1, bridge.2),
        ("05:01.0", bridge.0, bridge.1, bridge.2),
        ("06:01.0", bridge.0, bridge.1, bridge.2),
    ]);
    machine
        .space("00:01.0")
        .set(register::BUS_NUMBERS, 0x0006_0500);
    machine
        .space("05:01.0")
        .set(register::BUS_NUMBERS, 0x0006_0605);
    machine
        .space("06:01.0")
        .set(register::BUS_NUMBERS, 0x0006_0506);
    let found = scan(&mut machine);
    assert_eq!(found.functions.len(), 3);
    assert_eq!(found.problems, [Problem::BusTwice(address("06:01.0"), 5)]);

    // Subordinate below secondary: nothing is forwarded there.
    machine
        .space("00:01.0")
        .set(register::BUS_NUMBERS, 0x0004_0500);
    let found = scan(&mut machine);
    assert!(matches!(found.problems[..], [Problem::NoBuses(..)]));
}

#[test]
fn the_deepest_chain_of_bridges_is_followed() {
    let mut machine = Machine::default();
    for bus in 0..=255u8 {
        let mut space = Space::empty();
        let behind = u32::from(bus.wrapping_add(1));
        space
            .set(register::ID, 0x1_1234)
            .set(register::CLASS_REVISION, 0x0604_0000)
            .set(register::HEADER_TYPE, 0x0001_0000)
            .set(register::BUS_NUMBERS, 0x00ff_0000 | behind << 8);
        machine.functions.insert(Address::new(bus, 31, 0), space);
    }
    let scan = scan(&mut machine);
    assert_eq!(scan.functions.len(), 256);
    // The last one claims bus 0.
    assert!(matches!(scan.problems[..], [Problem::NoBuses(..)]));
}

#[test]
fn a_bus_where_everything_answers_ends() {
    let mut machine = Machine::default();
    for bus in 0..4 {
        for device in 0..32 {
            for function in 0..8 {
                let mut space = Space::empty();
                space
                    .set(register::ID, 0x1_1234)
                    .set(register::HEADER_TYPE, 0x0081_0000)
                    .set(register::BUS_NUMBERS, 0x00ff_0000 | (bus + 1) << 8);
                let address = Address::new(bus as u8, device, function);
                machine.functions.insert(address, space);
            }
        }
    }
    let scan = scan(&mut machine);
    assert_eq!(scan.functions.len(), FUNCTIONS_MAX);
    assert!(matches!(scan.problems.last(), Some(Problem::TooMany(_))));
}

#[test]
fn odd_bars_are_passed_over() {
    let mut machine = Machine::made(&[
        ("00:01.0", 0x1_1234, 0x0200, 0),
        ("00:02.0", 0x1_1234, 0x0200, 0),
        ("00:03.0", 0x1_1234, 0x0200, 0),
    ]);
    machine
        .space("00:01.0")
        // The largest there are: 2 GiB of memory, and 8 EiB behind a 64-bit register.
        .bar(0, 0x8000_0000, 0x8000_0000)
        .bar(1, 0xc, 0)
        .bar(2, 0x8000_0000, 0x8000_0000)
        // Ports decoded to 16 bits; an unassigned one.
        .bar(3, 0xe001, 0xfff0)
        .bar(4, 1, 0xffff_fffc)
        // A 64-bit one with nowhere to go.
        .bar(5, 0xf000_0004, 0xffff_f000);
    machine
        .space("00:02.0")
        // Below 1 MiB, and the reserved type.
        .bar(0, 0x000f_0002, 0x000f_f000)
        .bar(1, 0xf000_0006, 0xffff_f000)
        .bar(3, 0xf000_0000, 0xffff_f000);
    // Nothing that could be written, but not nothing.
    machine.space("00:03.0").bar(0, 0xffff_f000, 0).bar(1, 1, 0);
    let scan = scan(&mut machine);
    assert_eq!(
        lines(at(&scan, "00:01.0").bars.iter().flatten()),
        [
            "BAR0 mem32 0x80000000+0x80000000",
            "BAR1 mem64 0x8000000000000000+0x8000000000000000 prefetchable",
            "BAR3 io 0xe000+0x10",
            "BAR4 io 0x0+0x4",
        ]
    );
    assert_eq!(
        lines(at(&scan, "00:02.0").bars.iter().flatten()),
        ["BAR3 mem32 0xf0000000+0x1000"]
    );
    assert_eq!(
        lines(&scan.problems),
        [
            "PCI: 00:01.0: BAR5 not usable: 64 bits wide, but the last one",
            "PCI: 00:02.0: BAR0 not usable: reserved memory type 01",
            "PCI: 00:02.0: BAR1 not usable: reserved memory type 11",
        ]
    );
    let (unwritable, also) = (at(&scan, "00:03.0").bars[0], at(&scan, "00:03.0").bars[1]);
    assert_eq!(unwritable.map(|bar| bar.size), Some(4096));
    assert_eq!(also, None);
    assert_eq!(machine.complaints, [""; 0]);
}

#[test]
fn a_list_of_capabilities_that_never_ends_ends() {
    for (next, problem) in [
        (0x40, ListProblem::Loop(0x40)),
        (0x50, ListProblem::Loop(0x50)),
        (0x20, ListProblem::OutOfPlace(0x20)),
        (0xfc, ListProblem::AllOnes(0xfc)),
    ] {
        let mut machine = Machine::made(&[("00:01.0", 0x1_1234, 0x0200, 0)]);
        machine
            .space("00:01.0")
            .set(register::COMMAND_STATUS, 0x0010_0000)
            .set(register::CAPABILITIES, 0x43) // the low two bits are to be masked
            .set(0x40, 0x5001)
            .set(0x50, next << 8 | 0x09)
            .set(0xfc, !0);
        let scan = scan(&mut machine);
        assert_eq!(
            lines(&scan.functions[0].capabilities),
            ["PM at 40", "vendor at 50"]
        );
        assert_eq!(
            scan.problems,
            [Problem::Capabilities(address("00:01.0"), problem)]
        );
    }
}

#[test]
fn the_longest_lists_of_capabilities_are_read() {
    let mut machine = Machine::made(&[("00:01.0", 0x1_1234, 0x0200, 0)]);
    machine.ecam = true;
    let space = machine.space("00:01.0");
    space.extended = true;
    space
        .set(register::COMMAND_STATUS, 0x0010_0000)
        .set(register::CAPABILITIES, 0x40);
    for offset in (0x40..0x100).step_by(4) {
        space.set(offset, (u32::from(offset + 4) % 0x100) << 8 | 0x10);
    }
    for offset in (0x100..0x1000).step_by(8) {
        space.set(offset, (u32::from(offset + 8) % 0x1000) << 20 | 0x1000b);
    }
    let scan = scan(&mut machine);
    assert_eq!(scan.functions[0].capabilities.len(), 48);
    assert_eq!(scan.functions[0].extended_capabilities.len(), 480);
    assert_eq!(scan.problems, []);
}

#[test]
fn a_list_of_extended_capabilities_that_never_ends_ends() {
    for (next, problem) in [
        (0x160, Some(ListProblem::Loop(0x160))),
        (0x100, Some(ListProblem::Loop(0x100))),
        (0x040, Some(ListProblem::OutOfPlace(0x40))),
        (0xffc, Some(ListProblem::AllOnes(0xffc))),
        (0x200, None), // an entry of zeros
    ] {
        let mut machine = Machine::recorded(Q35, true);
        machine
            .space("01:00.0")
            .set(0x160, next << 20 | 0x1_0010)
            .set(0xffc, !0);
        let scan = scan(&mut machine);
        assert_eq!(at(&scan, "01:00.0").extended_capabilities.len(), 3);
        let expected = problem.map(|problem| Problem::Capabilities(address("01:00.0"), problem));
        assert_eq!(scan.problems, Vec::from_iter(expected));
    }
}

#[test]
fn unknown_headers_are_described_without_touching_them() {
    let mut machine = Machine::made(&[("00:01.0", 0x1_1234, 0x0607, 2)]);
    machine.space("00:01.0").bar(0, 0xf000_0000, 0xffff_f000);
    let scan = scan(&mut machine);
    assert_eq!(scan.functions[0].header, Header::Other(2));
    assert_eq!(scan.functions[0].bars, Bars::default());
    assert_eq!(
        lines(&scan.problems),
        ["PCI: 00:01.0: unknown header type 02"]
    );
}

#[test]
fn a_machine_that_vanishes_at_any_moment_ends_the_scan() {
    let mut machine = Machine::recorded(Q35, true);
    let whole = scan(&mut machine).functions.len();
    let accesses = machine.accesses;
    let mut noticed = 0;
    for removed_after in 0..accesses {
        let mut machine = Machine::recorded(Q35, true);
        machine.removed_after = Some(removed_after);
        let scan = scan(&mut machine);
        assert!(scan.functions.len() <= whole);
        // What is described all the same stays printable and in its bounds.
        for function in &scan.functions {
            assert!(!function.to_string().is_empty());
            for bar in function.bars.iter().flatten() {
                assert!(bar.address.checked_add(bar.size - 1).is_some());
            }
        }
        noticed += scan
            .problems
            .iter()
            .filter(|problem| matches!(problem, Problem::Bar(_, _, BarProblem::AllOnes)))
            .count();
    }
    assert!(noticed > 0);
}

#[test]
fn the_82576_has_ten_msi_x_entries_in_its_fourth_range() {
    let mut machine = Machine::recorded(Q35, true);
    let found = scan(&mut machine);
    let igb = found
        .functions
        .iter()
        .find(|function| (function.vendor, function.device) == IGB)
        .expect("recorded");
    let msi_x = MsiX::of(&mut machine, igb).expect("it has the capability");
    assert_eq!((msi_x.entries, msi_x.bar, msi_x.table), (10, 3, 0));
    assert!(Msi::of(igb).is_some());
    let e100 = found
        .functions
        .iter()
        .find(|f| (f.vendor, f.device) == E100);
    assert_eq!(MsiX::of(&mut machine, e100.expect("recorded")), None);
}
