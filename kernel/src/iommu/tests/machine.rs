//! A machine with a unit: memory for tables, a walker that reads them as VT-d §3 and §9 say, and registers.

use crate::iommu::unit::{
    FAULT, FLUSH_WRITES, GO, OF_READ, OVERFLOW, PENDING, QUEUE, ROOT, TRANSLATE, register,
};
use crate::iommu::{Frames, Registers};
use crate::pci::Address;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// QEMU's capabilities: 39 and 48 bits, 65,536 domains, one fault record at 0x220; flushing at 0xf0.
pub const CAP: [u32; 2] = [0x222f_0606, 0x00d2_0008];
const ECAP: [u32; 2] = [0x00f0_0f5a, 0];
/// Bits of CAP: writes are buffered, there is protected memory, and caching mode.
const RWBF: u32 = 1 << 4;
const PROTECTS: u32 = 1 << 5;
const CACHING: u32 = 1 << 7;
const FAULTS: usize = 0x220;
const PAGES: usize = 0xf0 + register::IOTLB;

/// What becomes of DMA: it reaches this address, or is stopped for this reason (§7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Reached(u64),
    Stopped(u8),
}

/// What does not do what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    Commands,
    Contexts,
    Pages,
}

/// The unit, as it is made, and its registers.
pub struct Model {
    pub capabilities: [u32; 2],
    pub frames: usize,
    pub is_caching: bool,
    pub has_queue: bool,
    pub protects: bool,
    pub buffers_writes: bool,
    pub records: usize,
    pub dead: Option<Dead>,
    pauses: usize,
    tables: Vec<Option<[u64; 512]>>,
    registers: HashMap<usize, u32>,
    root: Option<u64>,
    /// What it remembers, which only flushing ends.
    remembered: HashMap<(u16, u64, bool), Verdict>,
    next_record: usize,
}

/// The machine.
#[derive(Clone)]
pub struct Machine(Rc<RefCell<Model>>);

/// Its memory and the unit's registers, as the kernel has them.
pub struct Memory(Machine);
pub struct Port(Machine);

impl Machine {
    pub fn new(change: impl FnOnce(&mut Model)) -> Self {
        let mut model = Model {
            capabilities: CAP,
            frames: 1000,
            is_caching: false,
            has_queue: false,
            protects: false,
            buffers_writes: false,
            records: 1,
            dead: None,
            pauses: 0,
            tables: Vec::new(),
            registers: HashMap::new(),
            root: None,
            remembered: HashMap::new(),
            next_record: 0,
        };
        change(&mut model);
        let [low, high] = &mut model.capabilities;
        for (has, bit) in [
            (model.buffers_writes, RWBF),
            (model.protects, PROTECTS),
            (model.is_caching, CACHING),
        ] {
            *low |= if has { bit } else { 0 };
        }
        *high |= (model.records as u32 - 1) << 8;
        let queue = if model.has_queue { QUEUE } else { 0 };
        let protected = if model.protects { 1 << 31 | 1 } else { 0 };
        model.registers = HashMap::from([
            (register::CAP, *low),
            (register::CAP + 4, *high),
            (register::ECAP, ECAP[0]),
            (register::ECAP + 4, ECAP[1]),
            (register::GSTS, queue),
            (register::PMEN, protected),
        ]);
        Machine(Rc::new(RefCell::new(model)))
    }

    pub fn memory(&self) -> Memory {
        Memory(self.clone())
    }

    pub fn port(&self) -> Port {
        Port(self.clone())
    }

    pub fn pauses(&self) -> usize {
        self.0.borrow().pauses
    }

    /// From now on something does not do what it is told.
    pub fn die(&self, dead: Dead) {
        self.0.borrow_mut().dead = Some(dead);
    }

    pub fn frames_left(&self) -> usize {
        let model = self.0.borrow();
        let taken = model.tables.iter().flatten().count();
        model.frames - taken
    }

    /// A card's access.
    pub fn dma(&self, function: Address, address: u64, is_write: bool) -> Verdict {
        self.0.borrow_mut().dma(function, address, is_write)
    }

    /// What the tables say.
    pub fn walk(&self, root: u64, function: Address, address: u64, is_write: bool) -> Verdict {
        self.0.borrow().walk(root, function, address, is_write)
    }

    /// The number of a function's domain, and the levels of its tables.
    pub fn context(&self, root: u64, function: Address) -> (u64, u64) {
        let model = self.0.borrow();
        let context = model.context(root, function).expect("a context");
        (context[1] >> 8 & 0xffff, (context[1] & 7) + 2)
    }
}

/// Frames have the addresses from here on.
const FIRST_FRAME: u64 = 0x7000_0000;

impl Model {
    fn word(&self, frame: u64, index: usize) -> u64 {
        let number = (frame - FIRST_FRAME) / 4096;
        self.tables[number as usize].expect("a frame that was given back")[index]
    }

    /// The context entry of a function, or why there is none.
    fn context(&self, root: u64, function: Address) -> Result<[u64; 2], u8> {
        let bus = self.word(root, usize::from(function.bus()) * 2);
        if bus & 1 == 0 {
            return Err(1);
        }
        assert_eq!(bus & 0xffe, 0, "reserved bits of a root entry");
        let index = usize::from(function.device()) * 8 + usize::from(function.function());
        let context = [0, 1].map(|half| self.word(bus & !0xfff, index * 2 + half));
        if context[0] & 1 == 0 {
            return Err(2);
        }
        assert_eq!(context[0] & 0xffe, 0, "translated, and faults are told");
        Ok(context)
    }

    fn walk(&self, root: u64, function: Address, address: u64, is_write: bool) -> Verdict {
        let context = match self.context(root, function) {
            Ok(context) => context,
            Err(reason) => return Verdict::Stopped(reason),
        };
        let width = context[1] & 7;
        if self.capabilities[0] >> 8 >> width & 1 == 0 {
            return Verdict::Stopped(3);
        }
        if address >> (30 + 9 * width) != 0 {
            return Verdict::Stopped(4);
        }
        let mut table = context[0] & !0xfff;
        for level in (0..width + 2).rev() {
            let entry = self.word(table, (address >> (12 + 9 * level)) as usize & 511);
            let (right, reason) = if is_write { (2, 5) } else { (1, 6) };
            if entry & right == 0 {
                return Verdict::Stopped(reason);
            }
            assert_eq!(entry & 0xffc, 0, "no large pages, nothing reserved");
            table = entry & !0xfff;
        }
        Verdict::Reached(table + address % 4096)
    }

    fn dma(&mut self, function: Address, address: u64, is_write: bool) -> Verdict {
        if is_write && address >> 20 == 0xfee {
            return Verdict::Reached(address);
        }
        let (status, protected) = (self.get(register::GSTS), self.get(register::PMEN) & 1);
        if protected != 0 {
            return Verdict::Stopped(0xff);
        }
        let Some(root) = self.root.filter(|_| status & TRANSLATE != 0) else {
            return Verdict::Reached(address);
        };
        let key = (function.routing_id(), address & !0xfff, is_write);
        let walked = self.walk(root, function, address, is_write);
        let remembers = self.is_caching || matches!(walked, Verdict::Reached(_));
        let verdict = match self.remembered.get(&key) {
            Some(Verdict::Reached(page)) => Verdict::Reached((page & !0xfff) + address % 4096),
            Some(stopped) => *stopped,
            None => walked,
        };
        if remembers {
            self.remembered.entry(key).or_insert(walked);
        }
        if let Verdict::Stopped(reason) = verdict {
            self.record(function, address, is_write, reason);
        }
        verdict
    }

    fn record(&mut self, function: Address, address: u64, is_write: bool, reason: u8) {
        let at = FAULTS + 16 * self.next_record;
        let mut status = self.get(register::FSTS);
        if self.get(at + 12) & FAULT != 0 {
            status |= OVERFLOW;
        }
        if status & OVERFLOW == 0 {
            let kind = if is_write { 0 } else { OF_READ };
            self.set(at, address as u32 & !0xfff);
            self.set(at + 4, (address >> 32) as u32);
            self.set(at + 8, function.routing_id().into());
            self.set(at + 12, FAULT | kind | u32::from(reason));
            if status & PENDING == 0 {
                status = status & 0xff | (self.next_record as u32) << 8 | PENDING;
            }
            self.next_record = (self.next_record + 1) % self.records;
        }
        self.set(register::FSTS, status);
    }

    fn get(&self, offset: usize) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    fn set(&mut self, offset: usize, value: u32) {
        self.registers.insert(offset, value);
    }

    fn write(&mut self, offset: usize, value: u32) {
        let flushes = value & GO != 0 && self.get(register::GSTS) & QUEUE == 0;
        match offset {
            register::GCMD if self.dead != Some(Dead::Commands) => self.command(value),
            register::GCMD => {}
            register::PMEN => self.set(offset, value & 1 << 31 | value >> 31),
            PAGES_HIGH if flushes && self.dead != Some(Dead::Pages) => {
                self.remembered.clear();
                self.set(offset, value & !GO);
            }
            CONTEXTS_HIGH if flushes && self.dead != Some(Dead::Contexts) => {
                self.set(offset, value & !GO);
            }
            register::FSTS => {
                let status = self.get(offset);
                self.set(offset, status & !(value & OVERFLOW));
            }
            FAULTS.. if offset % 16 == 12 => {
                let record = self.get(offset);
                self.set(offset, record & !(value & FAULT));
                let is_any = (0..self.records).any(|n| self.get(FAULTS + 16 * n + 12) & FAULT != 0);
                let status = self.get(register::FSTS) & !PENDING;
                self.set(
                    register::FSTS,
                    if is_any { status | PENDING } else { status },
                );
            }
            _ => self.set(offset, value),
        }
    }

    fn command(&mut self, command: u32) {
        let status = self.get(register::GSTS);
        let one_shot = ROOT | FLUSH_WRITES;
        let changed = (status ^ command) & !one_shot | command & one_shot;
        assert!(changed.count_ones() <= 1, "one thing at a time");
        if command & ROOT != 0 {
            let [low, high] = [0, 4].map(|half| self.get(register::RTADDR + half));
            self.root = Some(u64::from(high) << 32 | u64::from(low));
        }
        assert!(
            command & TRANSLATE == 0 || self.root.is_some(),
            "without a table"
        );
        self.set(register::GSTS, command & !FLUSH_WRITES | status & ROOT);
    }
}

const PAGES_HIGH: usize = PAGES + 4;
const CONTEXTS_HIGH: usize = register::CCMD + 4;

impl Registers for Port {
    fn size(&self) -> usize {
        4096
    }

    fn read(&mut self, offset: usize) -> u32 {
        self.0.0.borrow().get(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.0.0.borrow_mut().write(offset, value);
    }

    fn pause(&mut self) {
        self.0.0.borrow_mut().pauses += 1;
    }
}

impl Frames for Memory {
    fn take(&mut self) -> Option<u64> {
        let mut model = self.0.0.borrow_mut();
        let taken = model.tables.iter().flatten().count();
        if taken == model.frames {
            return None;
        }
        model.tables.push(Some([0; 512]));
        Some(FIRST_FRAME + (model.tables.len() as u64 - 1) * 4096)
    }

    fn give_back(&mut self, frame: u64) {
        let number = (frame - FIRST_FRAME) / 4096;
        let frame = self.0.0.borrow_mut().tables[number as usize].take();
        assert!(frame.is_some(), "given back twice");
    }

    fn read(&self, frame: u64, index: usize) -> u64 {
        self.0.0.borrow().word(frame, index)
    }

    fn write(&mut self, frame: u64, index: usize, entry: u64) {
        let number = (frame - FIRST_FRAME) / 4096;
        let mut model = self.0.0.borrow_mut();
        model.tables[number as usize].as_mut().expect("a frame")[index] = entry;
    }
}
