//! The registers of one remapping unit.
//!
//! Source: VT-d §11.4 (registers), §6.5 (flushing by registers), §7 (faults).

use super::Error;
use crate::pci::Address;
use core::fmt;

/// Offsets of registers, in bytes. The wider ones are read and written in halves of 32 bits, of which the
/// upper one starts what a register is for.
pub(super) mod register {
    pub const CAP: usize = 0x08;
    pub const ECAP: usize = 0x10;
    pub const GCMD: usize = 0x18;
    pub const GSTS: usize = 0x1c;
    pub const RTADDR: usize = 0x20;
    pub const CCMD: usize = 0x28;
    pub const FSTS: usize = 0x34;
    pub const FECTL: usize = 0x38;
    pub const PMEN: usize = 0x64;
    /// Behind the offset that ECAP.IRO tells.
    pub const IOTLB: usize = 0x08;
}
use register::{CAP, CCMD, ECAP, FECTL, FSTS, GCMD, GSTS, IOTLB, PMEN, RTADDR};

/// Of GCMD, and of GSTS, which tells what is done (§11.4.4).
pub(super) const TRANSLATE: u32 = 1 << 31;
pub(super) const ROOT: u32 = 1 << 30;
pub(super) const FLUSH_WRITES: u32 = 1 << 27;
pub(super) const QUEUE: u32 = 1 << 26;
/// What GSTS tells that must be written again with each command.
const KEPT: u32 = 0x96ff_ffff;
/// Of CCMD and IOTLB, upper halves: go, and for all there is; IOTLB's has accesses under way done first.
pub(super) const GO: u32 = 1 << 31;
const ALL_CONTEXTS: u32 = 1 << 29;
const ALL_PAGES: u32 = 1 << 28;
const DRAIN: u32 = 0b11 << 16;
/// Of PMEN: memory that no card reaches, and whether that is so.
const PROTECT: u32 = 1 << 31;
const PROTECTED: u32 = 1 << 0;
/// Of FECTL: no interrupts.
const MASKED: u32 = 1 << 31;
/// Of FSTS: there was no record free, there are some, and which is first.
pub(super) const OVERFLOW: u32 = 1 << 0;
pub(super) const PENDING: u32 = 1 << 1;
const FIRST_SHIFT: u32 = 8;
/// Of a fault record's last word: it is one, and it is about a read.
pub(super) const FAULT: u32 = 1 << 31;
pub(super) const OF_READ: u32 = 1 << 30;
/// Bytes of a record.
const RECORD: usize = 16;

/// How often a unit is asked whether it has done something, with a pause after each time.
const LOOKS: u32 = 100_000;

/// The seam to the hardware: registers of 32 bits, by their offset, which is below [`Registers::size`].
pub trait Registers {
    /// Bytes of registers.
    fn size(&self) -> usize;
    /// Reads one.
    fn read(&mut self, offset: usize) -> u32;
    /// Writes one.
    fn write(&mut self, offset: usize, value: u32);
    /// Waits for some microseconds.
    fn pause(&mut self);
}

/// One unit.
pub struct Unit<R> {
    registers: R,
    base: u64,
    capabilities: u64,
    /// Offset of the flushing registers.
    iotlb: usize,
    /// Offset and number of fault records.
    records: (usize, usize),
}

impl<R: Registers> Unit<R> {
    /// The unit whose registers are at the physical address `base`.
    ///
    /// # Errors
    /// [`Error::NoRegisters`].
    pub fn new(mut registers: R, base: u64) -> Result<Self, Error> {
        let mut both = |offset| {
            let [low, high] = [0, 4].map(|half| u64::from(registers.read(offset + half)));
            high << 32 | low
        };
        let (capabilities, extended) = (both(CAP), both(ECAP));
        let unit = Unit {
            base,
            capabilities,
            iotlb: field(extended, 8, 10) * 16,
            records: (
                field(capabilities, 24, 10) * 16,
                field(capabilities, 40, 8) + 1,
            ),
            registers,
        };
        let ends = [
            unit.iotlb + IOTLB + 8,
            unit.records.0 + unit.records.1 * RECORD,
        ];
        let is_there = capabilities != !0 && capabilities != 0;
        match is_there && ends.iter().all(|end| *end <= unit.registers.size()) {
            true => Ok(unit),
            false => Err(Error::NoRegisters),
        }
    }

    /// Where its registers are.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Which widths of addresses it translates (CAP.SAGAW).
    pub fn widths(&self) -> u32 {
        field(self.capabilities, 8, 5) as u32
    }

    /// How many domains it tells apart (CAP.ND).
    pub fn domains(&self) -> u32 {
        1 << (4 + 2 * field(self.capabilities, 0, 3))
    }

    /// Has it translate by these tables, and by nothing that firmware may have left.
    ///
    /// # Errors
    /// [`Error::Silent`].
    pub fn turn_on(&mut self, root: u64) -> Result<(), Error> {
        // While there is a queue of commands, the registers for flushing are dead (§6.5.2).
        self.command(QUEUE, false)?;
        self.write_both(RTADDR, root);
        self.command(ROOT, true)?;
        self.flush()?;
        // Faults are asked for at each tick.
        self.registers.write(FECTL, MASKED);
        self.command(TRANSLATE, true)?;
        // Firmware may have kept cards from memory until somebody translates (§11.4.8.1).
        if field(self.capabilities, 5, 2) != 0 {
            let kept = self.registers.read(PMEN) & !PROTECT;
            self.registers.write(PMEN, kept);
            self.wait(PMEN, PROTECTED, 0)?;
        }
        Ok(())
    }

    /// Has it forget whatever it remembers of its tables, so that it reads them anew.
    ///
    /// # Errors
    /// [`Error::Silent`].
    pub fn flush(&mut self) -> Result<(), Error> {
        // Some units keep what the processor has written to tables in buffers (CAP.RWBF).
        if field(self.capabilities, 4, 1) != 0 {
            let kept = self.kept();
            self.registers.write(GCMD, kept | FLUSH_WRITES);
            self.wait(GSTS, FLUSH_WRITES, 0)?;
        }
        self.registers.write(CCMD, 0);
        self.registers.write(CCMD + 4, GO | ALL_CONTEXTS);
        self.wait(CCMD + 4, GO, 0)?;
        let pages = self.iotlb + IOTLB;
        self.registers.write(pages, 0);
        self.registers.write(pages + 4, GO | ALL_PAGES | DRAIN);
        self.wait(pages + 4, GO, 0)
    }

    /// Reads the fault records, each once, and makes them free.
    pub fn faults(&mut self, tell: &mut dyn FnMut(Fault)) {
        let status = self.registers.read(FSTS);
        if status & (PENDING | OVERFLOW) == 0 {
            return;
        }
        let (start, count) = self.records;
        let first = (status >> FIRST_SHIFT & 0xff) as usize;
        for index in first..first + count {
            let record = start + index % count * RECORD;
            let words = [0, 4, 8, 12].map(|word| self.registers.read(record + word));
            if words[3] & FAULT != 0 {
                self.registers.write(record + 12, FAULT);
                tell(Fault::from_words(words));
            }
        }
        self.registers.write(FSTS, OVERFLOW);
    }

    fn kept(&mut self) -> u32 {
        self.registers.read(GSTS) & KEPT
    }

    /// Turns something on or off, one thing at a time (§11.4.4), and waits until it is.
    #[inline(never)]
    fn command(&mut self, bit: u32, on: bool) -> Result<(), Error> {
        let wanted = if on { bit } else { 0 };
        let kept = self.kept() & !bit;
        self.registers.write(GCMD, kept | wanted);
        self.wait(GSTS, bit, wanted)
    }

    #[inline(never)]
    fn wait(&mut self, offset: usize, mask: u32, wanted: u32) -> Result<(), Error> {
        for _ in 0..LOOKS {
            if self.registers.read(offset) & mask == wanted {
                return Ok(());
            }
            self.registers.pause();
        }
        Err(Error::Silent)
    }

    fn write_both(&mut self, offset: usize, value: u64) {
        self.registers.write(offset, value as u32);
        self.registers.write(offset + 4, (value >> 32) as u32);
    }
}

fn field(register: u64, shift: u32, bits: u32) -> usize {
    (register >> shift & ((1 << bits) - 1)) as usize
}

/// DMA that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose it was.
    pub function: Address,
    /// Which page it was about.
    pub page: u64,
    /// It was a write.
    pub is_write: bool,
    /// Why, by the unit's number (§7.1.3).
    pub reason: u8,
}

impl Fault {
    /// A fault record (§11.4.15).
    fn from_words([low, high, source, last]: [u32; 4]) -> Self {
        Fault {
            function: Address::of_routing_id(source as u16),
            page: u64::from(high) << 32 | u64::from(low & !0xfff),
            is_write: last & OF_READ == 0,
            reason: last as u8,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_write { "write to" } else { "read of" };
        write!(
            f,
            "DMA of {} stopped: {what} {:#x}, ",
            self.function, self.page
        )?;
        match self.reason {
            1 | 2 => f.write_str("it was given no memory"),
            4 => f.write_str("beyond all addresses"),
            5 | 6 => f.write_str("outside of what it was given"),
            other => write!(f, "reason {other:#x}"),
        }
    }
}
