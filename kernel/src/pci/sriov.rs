//! SR-IOV: a physical function (PF) that turns on virtual functions (VFs), each with registers, DMA and
//! interrupts of its own (PCIe 6.0 §9).
//!
//! A VF is not found by a scan: its vendor and device ids read as all ones (§9.3.4.1.1). Where it is
//! follows from two numbers of the PF's capability, and so do its ids and its memory ranges: the PF has one
//! set of BARs for all VFs, and VF n has the n-th piece of each. [`SrIov::enable`] does all of it in the
//! order that the specification asks for:
//!
//! ```text
//! 1  VFs off; ARI where the way to the card has it; page size; NumVFs       §9.3.3.3, §9.3.3.7
//! 2  VF BARs sized and placed, while nothing decodes them                   §9.3.3.14
//! 3  VF Enable and VF Memory Space Enable                                   §9.3.3.3.1, .4
//! 4  a wait of 100 ms, before which no VF may be asked anything             §9.3.3.3.1
//! 5  First VF Offset and VF Stride, which may depend on NumVFs and ARI      §9.3.3.9
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::bar::{BARS_MAX, Bars, size_bars};
use super::capability::{CapabilityId, ListProblem, read_capabilities};
use super::config::{Address, ConfigSpace, register};
use super::function::{Function, Header};

/// Number of the extended capability.
pub const SR_IOV: u16 = 0x0010;

/// How long VFs may need before they answer, in microseconds (PCIe 6.0 §9.3.3.3.1).
const SETTLE_US: u32 = 100_000;

/// Registers of the capability, in bytes from its start.
mod at {
    /// Control (low half) and Status.
    pub const CONTROL: u16 = 0x08;
    /// InitialVFs (low half) and TotalVFs.
    pub const TOTAL: u16 = 0x0c;
    /// NumVFs (low half) and Function Dependency Link.
    pub const NUM: u16 = 0x10;
    /// First VF Offset (low half) and VF Stride.
    pub const OFFSET_STRIDE: u16 = 0x14;
    /// VF Device ID, in the upper half.
    pub const DEVICE: u16 = 0x18;
    /// Supported Page Sizes: bit n is 4 KiB << n.
    pub const PAGE_SIZES: u16 = 0x1c;
    /// System Page Size: one of those bits.
    pub const PAGE_SIZE: u16 = 0x20;
    /// The first of six VF BARs.
    pub const BAR0: u16 = 0x24;
}

/// Bits of SR-IOV Control (PCIe 6.0 §9.3.3.3).
mod control {
    pub const VF_ENABLE: u32 = 1 << 0;
    pub const MEMORY_SPACE: u32 = 1 << 3;
    pub const ARI_HIERARCHY: u32 = 1 << 4;
    /// What software may write.
    pub const ALL: u32 = 0x1f;
}

/// A physical function's SR-IOV capability, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrIov {
    function: Address,
    offset: u16,
    vendor: u16,
    device: u16,
    /// How many VFs the card can have.
    pub total: u16,
}

/// VFs that are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Virtual {
    /// Each of them, as a scan would have described it, in the order of their numbers.
    pub functions: Vec<Function>,
    /// Where the pieces of their BARs are in memory.
    pub memory: Vec<Range<u64>>,
    /// What was odd in their lists of capabilities.
    pub problems: Vec<(Address, ListProblem)>,
}

/// Why VFs were not turned on. The card is then as it was: without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrIovError {
    /// More were asked for than there are.
    TooMany {
        /// How many were.
        asked: u16,
        /// How many there are.
        total: u16,
    },
    /// The card does not know pages of 4 KiB.
    PageSize,
    /// The BAR with this index makes no sense.
    Bar(u8),
    /// There is no such room among the memory that leads to the card.
    NoRoom {
        /// Bytes that are missing in one piece.
        bytes: u64,
    },
    /// They would be at addresses that do not exist, or behind another bridge.
    Addresses,
    /// The bit that turns them on, or their number, does not stick.
    Refused,
}

impl SrIov {
    /// The capability of a function, if it has it.
    pub fn of(config: &mut impl ConfigSpace, function: &Function) -> Option<SrIov> {
        let offset = function.extended_capability(SR_IOV)?.offset;
        let total = config.read32(function.address, offset + at::TOTAL);
        let device = config.read32(function.address, offset + at::DEVICE);
        // All ones is what a card answers that has gone.
        (total != !0).then_some(SrIov {
            function: function.address,
            offset,
            vendor: function.vendor,
            device: (device >> 16) as u16,
            total: (total >> 16) as u16,
        })
    }

    /// Where the physical function is.
    pub fn function(&self) -> Address {
        self.function
    }

    /// Turns `count` VFs on. `windows` are the ranges of memory that lead to the card's bus, of which
    /// `taken` is in use; `ari` says that the way to the card knows ARI. `delay_us` waits.
    ///
    /// # Errors
    /// [`SrIovError`]; no VF is on then.
    pub fn enable(
        &self,
        config: &mut impl ConfigSpace,
        count: u16,
        (windows, taken): (&[Range<u64>], &[Range<u64>]),
        ari: bool,
        delay_us: &mut dyn FnMut(u32),
    ) -> Result<Virtual, SrIovError> {
        if count == 0 || count > self.total {
            return Err(SrIovError::TooMany {
                asked: count,
                total: self.total,
            });
        }
        self.write_control(config, 0);
        if self.read(config, at::PAGE_SIZES) & 1 == 0 {
            return Err(SrIovError::PageSize);
        }
        self.write(config, at::PAGE_SIZE, 1);
        let hierarchy = if ari { control::ARI_HIERARCHY } else { 0 };
        self.write_control(config, hierarchy);
        self.write(config, at::NUM, count.into());
        if self.read(config, at::NUM) as u16 != count {
            return Err(SrIovError::Refused);
        }
        let (bars, memory) = self.place_bars(config, count, windows, taken)?;
        let on = hierarchy | control::VF_ENABLE | control::MEMORY_SPACE;
        self.write_control(config, on);
        let enabled = self.read(config, at::CONTROL);
        if enabled == !0 || enabled & control::VF_ENABLE == 0 {
            self.disable(config, delay_us);
            return Err(SrIovError::Refused);
        }
        delay_us(SETTLE_US);
        let described = self.describe(config, count, &bars, memory);
        if described.is_none() {
            self.disable(config, delay_us);
        }
        described.ok_or(SrIovError::Addresses)
    }

    /// Turns all VFs off, and waits until the card may be used again (PCIe 6.0 §9.3.3.3.1 allows it a
    /// second).
    pub fn disable(&self, config: &mut impl ConfigSpace, delay_us: &mut dyn FnMut(u32)) {
        let was_on = self.read(config, at::CONTROL) & control::VF_ENABLE != 0;
        self.write_control(config, 0);
        if was_on {
            delay_us(10 * SETTLE_US);
        }
    }

    /// Sizes the VF BARs, and gives each that is implemented room for `count` pieces. Returns them as
    /// VF 0 has them, and the ranges.
    fn place_bars(
        &self,
        config: &mut impl ConfigSpace,
        count: u16,
        windows: &[Range<u64>],
        taken: &[Range<u64>],
    ) -> Result<(Bars, Vec<Range<u64>>), SrIovError> {
        let mut problems = Vec::new();
        let first = self.offset + at::BAR0;
        let mut bars = size_bars(config, self.function, first, BARS_MAX, &mut problems);
        if let Some(&(index, _)) = problems.first() {
            return Err(SrIovError::Bar(index));
        }
        let mut taken = taken.to_vec();
        let mut placed = Vec::new();
        for bar in bars.iter_mut().flatten() {
            let register = first + 4 * u16::from(bar.index);
            if bar.is_io() {
                // VFs have no ports (PCIe 6.0 §9.3.3.14).
                return Err(SrIovError::Bar(bar.index));
            }
            let bytes = bar.size * u64::from(count);
            let base = free_place(windows, &taken, bytes, bar.size.max(PAGE))
                .ok_or(SrIovError::NoRoom { bytes })?;
            config.write32(self.function, register, base as u32);
            if let super::bar::BarKind::Memory64 { .. } = bar.kind {
                config.write32(self.function, register + 4, (base >> 32) as u32);
            }
            bar.address = base;
            taken.push(base..base + bytes);
            placed.push(base..base + bytes);
        }
        Ok((bars, placed))
    }

    /// Describes VFs that are on. `None` if their addresses make no sense.
    fn describe(
        &self,
        config: &mut impl ConfigSpace,
        count: u16,
        bars: &Bars,
        memory: Vec<Range<u64>>,
    ) -> Option<Virtual> {
        let offset_stride = self.read(config, at::OFFSET_STRIDE);
        let (offset, stride) = (offset_stride as u16, (offset_stride >> 16) as u16);
        // With one VF the stride says nothing (PCIe 6.0 §9.3.3.9).
        if offset == 0 || (stride == 0 && count > 1) {
            return None;
        }
        let mut functions = Vec::new();
        let mut problems = Vec::new();
        for number in 0..count {
            let address = self
                .function
                .checked_add(offset)?
                .checked_add(stride.checked_mul(number)?)?;
            // Another bus would need a bridge that firmware has given more than one (§9.2.1.2).
            if address.bus() != self.function.bus() {
                return None;
            }
            let mut bars = *bars;
            for bar in bars.iter_mut().flatten() {
                bar.address += bar.size * u64::from(number);
            }
            let (function, odd) = self.read_virtual(config, address, bars);
            problems.extend(odd.into_iter().map(|problem| (address, problem)));
            functions.push(function);
        }
        Some(Virtual {
            functions,
            memory,
            problems,
        })
    }

    /// A VF: its ids are the PF's capability's, its ranges are pieces of the PF's VF BARs, and it has no
    /// INTx pin (PCIe 6.0 §9.3.4.1.17); the rest is read from it.
    fn read_virtual(
        &self,
        config: &mut impl ConfigSpace,
        address: Address,
        bars: Bars,
    ) -> (Function, Vec<ListProblem>) {
        let mut problems = Vec::new();
        let status = (config.read32(address, register::COMMAND_STATUS) >> 16) as u16;
        let [_, _, subclass, class] = config
            .read32(address, register::CLASS_REVISION)
            .to_le_bytes();
        let function = Function {
            address,
            vendor: self.vendor,
            device: self.device,
            class,
            subclass,
            header: Header::Device,
            interrupt_pin: 0,
            interrupt_line: 0,
            bars,
            capabilities: read_capabilities(config, address, status, &mut problems),
            extended_capabilities: Vec::new(),
            is_virtual: true,
        };
        (function, problems)
    }

    fn read(&self, config: &mut impl ConfigSpace, register: u16) -> u32 {
        config.read32(self.function, self.offset + register)
    }

    fn write(&self, config: &mut impl ConfigSpace, register: u16, value: u32) {
        config.write32(self.function, self.offset + register, value);
    }

    /// Writes Control. Status shares the 32 bits, and a one written there clears what it reports: so
    /// zeros go there.
    fn write_control(&self, config: &mut impl ConfigSpace, bits: u32) {
        self.write(config, at::CONTROL, bits & control::ALL);
    }
}

/// Pages of this size are what each VF's ranges are whole numbers of.
const PAGE: u64 = 4096;

/// Where in `windows` a range of `bytes` bytes lies free of all that is `taken`, at a multiple of
/// `align`, a power of two: the lowest place below 4 GiB. (QEMU 10.0 ignores the upper half of a VF BAR, and
/// silicon reaches everything below.)
fn free_place(windows: &[Range<u64>], taken: &[Range<u64>], bytes: u64, align: u64) -> Option<u64> {
    const LIMIT: u64 = 1 << 32;
    let mut best: Option<u64> = None;
    for window in windows {
        let end = window.end.min(LIMIT);
        // A place begins where the window does, or where something ends.
        let starts = taken.iter().map(|range| range.end).chain([window.start]);
        for start in starts {
            let Some(start) = start.max(window.start).checked_next_multiple_of(align) else {
                continue;
            };
            let fits = start.checked_add(bytes).is_some_and(|last| last <= end);
            let place = start..start.saturating_add(bytes);
            let overlaps = |range: &Range<u64>| range.start < place.end && place.start < range.end;
            if fits && start != 0 && !taken.iter().any(overlaps) {
                best = Some(best.map_or(start, |best| best.min(start)));
            }
        }
    }
    best
}

/// The memory that a bridge passes on: its window, and its prefetchable one (PCI-to-PCI Bridge 1.2
/// §3.2.5.8, .10). One whose limit is below its base is closed.
pub fn bridge_windows(config: &mut impl ConfigSpace, bridge: Address) -> [Option<Range<u64>>; 2] {
    const MEMORY: u16 = 0x20;
    const PREFETCHABLE: u16 = 0x24;
    const MIB: u64 = 1 << 20;
    let memory = config.read32(bridge, MEMORY);
    let prefetchable = config.read32(bridge, PREFETCHABLE);
    let (mut upper_base, mut upper_limit) = (0, 0);
    // Bits 3:0 of both halves say whether there are registers for the upper 32 bits.
    if prefetchable & 0xf == 1 {
        upper_base = config.read32(bridge, PREFETCHABLE + 4);
        upper_limit = config.read32(bridge, PREFETCHABLE + 8);
    }
    let window = |register: u32, upper_base: u32, upper_limit: u32| {
        let base = u64::from(upper_base) << 32 | u64::from(register & 0xfff0) << 16;
        let limit = u64::from(upper_limit) << 32 | u64::from(register & 0xfff0_0000);
        (register != !0 && base <= limit && limit != 0).then(|| base..limit + MIB)
    };
    [
        window(memory, 0, 0),
        window(prefetchable, upper_base, upper_limit),
    ]
}

/// Whether a function, which is the port above a card, forwards by ARI, so that a device may have more
/// than eight functions; turns that on where it can be (PCIe 6.0 §7.5.3.15, §7.5.3.16).
pub fn forward_ari(config: &mut impl ConfigSpace, port: &Function) -> bool {
    const CAPABILITIES_2: u16 = 0x24;
    const CONTROL_2: u16 = 0x28;
    const ARI_FORWARDING: u32 = 1 << 5;
    let Some(capability) = port.capability(CapabilityId::PCI_EXPRESS) else {
        return false;
    };
    let version = config.read32(port.address, capability.offset) >> 16 & 0xf;
    let can = config.read32(port.address, capability.offset + CAPABILITIES_2);
    if version < 2 || can == !0 || can & ARI_FORWARDING == 0 {
        return false;
    }
    let register = capability.offset + CONTROL_2;
    // The upper half is Device Status 2, of reserved bits, which are written as zeros.
    let was = config.read32(port.address, register) & 0xffff;
    config.write32(port.address, register, was | ARI_FORWARDING);
    config.read32(port.address, register) & ARI_FORWARDING != 0
}

impl fmt::Display for SrIovError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SrIovError::TooMany { asked, total } => {
                write!(f, "{asked} virtual functions asked for, of {total}")
            }
            SrIovError::PageSize => f.write_str("it knows no pages of 4 KiB"),
            SrIovError::Bar(index) => write!(f, "VF BAR{index} makes no sense"),
            SrIovError::NoRoom { bytes } => write!(f, "no room for {bytes:#x} bytes"),
            SrIovError::Addresses => f.write_str("they would be out of reach"),
            SrIovError::Refused => f.write_str("it does not turn them on"),
        }
    }
}

impl core::error::Error for SrIovError {}
