//! Virtual functions, on the 82576 recorded from QEMU with rules that silicon has added.

use super::*;
use core::cell::Cell;
use core::ops::Range;
use std::rc::Rc;

const PF: &str = "01:00.0";
const CAPABILITY: u16 = 0x160;
const CONTROL: u16 = CAPABILITY + 0x08;
const NUM: u16 = CAPABILITY + 0x10;
const OFFSET_STRIDE: u16 = CAPABILITY + 0x14;
const PAGE_SIZES: u16 = CAPABILITY + 0x1c;
const PAGE_SIZE: u16 = CAPABILITY + 0x20;
const BAR0: u16 = CAPABILITY + 0x24;
const VF_ENABLE: u32 = 1;

/// The recorded machine, whose 82576 turns virtual functions on and complains where a rule is broken.
struct Card {
    machine: Machine,
    /// Microseconds that were waited since they were turned on.
    waited: Rc<Cell<u32>>,
    /// Does not keep the bit that turns them on.
    refuses: bool,
    /// Their COMMAND has a bit for memory, as in QEMU 10.0.
    has_memory_bit: bool,
}

impl Card {
    fn new() -> Card {
        let mut machine = Machine::recorded(Q35, true);
        let space = machine.space(PF);
        for (offset, writable) in [
            (CONTROL, 0x1f),
            (NUM, 0xffff),
            (PAGE_SIZE, 0xffff_ffff),
            (BAR0, 0xffff_c000),
            (BAR0 + 4, !0),
            (BAR0 + 12, 0xffff_c000),
            (BAR0 + 16, !0),
        ] {
            space.writable[usize::from(offset) / 4] = writable;
        }
        // The root port forwards by ARI if it is told to.
        let port = machine.space("00:04.0");
        let express = 0x54;
        assert_eq!(port.registers[express / 4] as u8, 0x10, "its capability");
        port.writable[(express + 0x28) / 4] |= 1 << 5;
        Card {
            machine,
            waited: Rc::default(),
            refuses: false,
            has_memory_bit: true,
        }
    }

    fn register(&mut self, offset: u16) -> u32 {
        self.machine.space(PF).registers[usize::from(offset) / 4]
    }

    fn complain(&mut self, what: &str) {
        self.machine.complaints.push(what.to_string());
    }

    /// What the command line `nic.vfs=count` comes to.
    fn enable(&mut self, count: u16) -> Result<Virtual, SrIovError> {
        let found = scan(self);
        let capability = SrIov::of(self, at(&found, PF)).expect("SR-IOV");
        let windows: Vec<Range<u64>> = bridge_windows(self, address("00:04.0"))
            .into_iter()
            .flatten()
            .collect();
        let taken: Vec<Range<u64>> = at(&found, PF)
            .bars
            .iter()
            .flatten()
            .map(|bar| bar.address..bar.address + bar.size)
            .collect();
        let ari = forward_ari(self, at(&found, "00:04.0"));
        let waited = self.waited.clone();
        let mut delay = |us| waited.set(waited.get() + us);
        capability.enable(self, count, (&windows, &taken), ari, &mut delay)
    }

    fn set_virtual_functions(&mut self) {
        let (on, num) = (self.register(CONTROL) & VF_ENABLE, self.register(NUM));
        self.waited.set(0);
        let offset_stride = self.register(OFFSET_STRIDE);
        let pf = address(PF);
        for number in 0..8 {
            let routing = offset_stride as u16 + (offset_stride >> 16) as u16 * number;
            let Some(at) = pf.checked_add(routing) else {
                continue;
            };
            self.machine.functions.remove(&at);
            if on == 0 || u32::from(number) >= num {
                continue;
            }
            let mut space = Space::empty();
            space.set(0, !0);
            space.set(4, 0x0010_0000);
            space.set(8, 0x0200_0001);
            space.set(0x34, 0x70);
            space.set(0x70, 0x0002_a011);
            space.set(0x74, 3);
            space.set(0xa0, 0x0002_0010);
            space.writable[1] = if self.has_memory_bit { 0x0406 } else { 0x0404 };
            self.machine.functions.insert(at, space);
        }
    }
}

impl ConfigSpace for Card {
    fn read32(&mut self, at: Address, offset: u16) -> u32 {
        let is_virtual = at.bus() == 1 && at.device() >= 0x10;
        let on = self.register(CONTROL) & VF_ENABLE != 0;
        if is_virtual && on && self.waited.get() < 100_000 {
            self.complain("a virtual function was asked within 100 ms");
        }
        self.machine.read32(at, offset)
    }

    fn write32(&mut self, at: Address, offset: u16, value: u32) {
        let is_pf = at == address(PF);
        let on = self.register(CONTROL) & VF_ENABLE != 0;
        if is_pf && on && ((NUM..OFFSET_STRIDE).contains(&offset) || offset >= PAGE_SIZE) {
            self.complain("a setting was changed while virtual functions are on");
        }
        let value = match is_pf && offset == CONTROL && self.refuses {
            true => value & !VF_ENABLE,
            false => value,
        };
        self.machine.write32(at, offset, value);
        if is_pf && offset == CONTROL && (value & VF_ENABLE != 0) != on {
            self.set_virtual_functions();
        }
    }
}

#[test]
fn virtual_functions_are_found_by_arithmetic_and_placed_in_the_bridges_window() {
    for has_memory_bit in [true, false] {
        let mut card = Card::new();
        card.has_memory_bit = has_memory_bit;
        let on = card.enable(7).expect("on");
        let addresses = lines(on.functions.iter().map(|function| function.address));
        assert_eq!(
            addresses,
            [
                "01:10.0", "01:10.2", "01:10.4", "01:10.6", "01:11.0", "01:11.2", "01:11.4"
            ]
        );
        let found = scan(&mut card);
        assert!(
            found.functions.iter().all(|f| !f.is_virtual),
            "none answers to a scan"
        );
        let mut taken: Vec<Range<u64>> = Vec::new();
        for function in at(&found, PF).bars.iter().flatten() {
            taken.push(function.address..function.address + function.size);
        }
        let [memory, prefetchable] = bridge_windows(&mut card, address("00:04.0"));
        for function in &on.functions {
            assert_eq!((function.vendor, function.device), (0x8086, 0x10ca));
            assert_eq!((function.class, function.irq()), (2, None));
            assert!(function.is_virtual);
            assert_eq!(lines(&function.capabilities), ["MSI-X at 70", "PCIe at a0"]);
            let bars: Vec<Bar> = function.bars.iter().flatten().copied().collect();
            assert_eq!(bars.iter().map(|bar| bar.index).collect::<Vec<_>>(), [0, 3]);
            for bar in bars {
                let place = bar.address..bar.address + bar.size;
                assert_eq!((bar.size, place.start % 0x4000), (0x4000, 0));
                let is_in =
                    |window: &Range<u64>| window.start <= place.start && place.end <= window.end;
                assert!([&memory, &prefetchable].into_iter().flatten().any(is_in));
                let overlaps =
                    |other: &Range<u64>| other.start < place.end && place.start < other.end;
                assert!(!taken.iter().any(overlaps), "{place:x?} is taken");
                taken.push(place);
            }
            // Its registers are let through and it may do DMA, whatever becomes of its bit for memory.
            function.enable(&mut card).expect("enabled");
        }
        let bar0 = u64::from(card.register(BAR0) & !0xf);
        assert_eq!(on.functions[0].bars[0].expect("BAR0").address, bar0);
        assert_eq!(card.register(CONTROL) & 0x1f, 0x19, "VFE, MSE, ARI");
        assert_eq!(card.register(PAGE_SIZE), 1);
        assert_eq!(on.problems, []);
        assert_eq!(card.machine.complaints, [""; 0]);
    }
}

#[test]
fn as_many_are_on_as_were_asked_for_and_none_after_they_were_turned_off() {
    let mut card = Card::new();
    for count in [1, 2, 8] {
        let on = card.enable(count).expect("on");
        assert_eq!(on.functions.len(), usize::from(count));
        let last = on.functions.last().expect("one").address;
        assert!(card.machine.functions.contains_key(&last));
    }
    let found = scan(&mut card);
    let capability = SrIov::of(&mut card, at(&found, PF)).expect("SR-IOV");
    let waited = card.waited.clone();
    capability.disable(&mut card, &mut |us| waited.set(waited.get() + us));
    assert_eq!(waited.get(), 1_000_000);
    assert!(!card.machine.functions.contains_key(&address("01:10.0")));
}

#[test]
fn what_cannot_be_is_refused_and_leaves_none_on() {
    let too_many = |asked| SrIovError::TooMany { asked, total: 8 };
    type Break = fn(&mut Card);
    let cases: [(u16, Break, SrIovError); 9] = [
        (0, |_| {}, too_many(0)),
        (9, |_| {}, too_many(9)),
        (0xffff, |_| {}, too_many(0xffff)),
        (2, |card| card.refuses = true, SrIovError::Refused),
        (
            2,
            |card| card.machine.space(PF).writable[usize::from(NUM) / 4] = 0,
            SrIovError::Refused,
        ),
        (
            2,
            |card| {
                card.machine.space(PF).set(PAGE_SIZES, 0x552);
            },
            SrIovError::PageSize,
        ),
        (
            2,
            // No stride.
            |card| {
                card.machine.space(PF).set(OFFSET_STRIDE, 0x80);
            },
            SrIovError::Addresses,
        ),
        (
            2,
            // The second one would be on another bus.
            |card| {
                card.machine.space(PF).set(OFFSET_STRIDE, 0xff_0080);
            },
            SrIovError::Addresses,
        ),
        (
            8,
            // The bridge's windows are closed: their limits are below their bases.
            |card| {
                let bridge = card.machine.space("00:04.0");
                bridge.set(0x20, 0x0000_fff0).set(0x24, 0x0001_fff1);
                bridge.set(0x28, 0).set(0x2c, 0);
            },
            SrIovError::NoRoom { bytes: 0x2_0000 },
        ),
    ];
    for (count, make_wrong, error) in cases {
        let mut card = Card::new();
        make_wrong(&mut card);
        assert_eq!(card.enable(count), Err(error));
        assert_eq!(card.register(CONTROL) & VF_ENABLE, 0, "{error}");
        assert_eq!(card.machine.complaints, [""; 0]);
    }
}

#[test]
fn a_bar_that_makes_no_sense_is_refused() {
    // A reserved type; ports, behind which the upper half of what was one range of memory stands alone.
    for (value, index) in [(0b110, 0), (1, 1)] {
        let mut card = Card::new();
        card.machine.space(PF).set(BAR0, value);
        assert_eq!(card.enable(1), Err(SrIovError::Bar(index)));
    }
}

#[test]
fn a_card_that_vanishes_at_any_moment_ends_in_an_error() {
    let mut last = 0;
    for limit in (0..).step_by(3) {
        let mut card = Card::new();
        let found = scan(&mut card);
        let capability = SrIov::of(&mut card, at(&found, PF)).expect("SR-IOV");
        card.machine.accesses = 0;
        card.machine.removed_after = Some(limit);
        let window = 0xe000_0000..0xe100_0000;
        let waited = card.waited.clone();
        let mut delay = |us| waited.set(waited.get() + us);
        let result = capability.enable(
            &mut card,
            3,
            (core::slice::from_ref(&window), &[]),
            false,
            &mut delay,
        );
        last = limit;
        if card.machine.accesses <= limit {
            assert!(result.is_ok());
            break;
        }
    }
    assert!(last > 20, "it went away {last} times too early");
}

#[test]
fn a_port_that_does_not_know_ari_is_left_alone() {
    let mut card = Card::new();
    let found = scan(&mut card);
    assert!(forward_ari(&mut card, at(&found, "00:04.0")));
    assert_eq!(
        card.machine.space("00:04.0").registers[0x7c / 4] & 0x20,
        0x20
    );
    let mut card = Card::new();
    card.machine.space("00:04.0").registers[0x78 / 4] &= !0x20;
    assert!(!forward_ari(&mut card, at(&found, "00:04.0")));
    assert!(
        !forward_ari(&mut card, at(&found, "00:03.0")),
        "no PCI Express"
    );
}
