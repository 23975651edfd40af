//! Cards, endpoints and their owners over models of cards and of programs' memory.

mod attach;
mod between;
mod calls;
pub mod frames;
mod many;

use super::memory::Shared;
use super::{Attached, Cards, Interrupts, Refusal};
use crate::account::{Accounts, Counter as Clock};
use crate::limits::Rights;
use crate::no_memory::sheltered;
use crate::pci::Address;
use crate::process::{Machine, Registers, Start, State, Table};
use crate::runs::Runs;
use crate::space::{Region, Shown};
use abi::endpoint::Filter;
use abi::exchange::{self, Received, Send, WORDS};
use abi::ipc::{self, Exit, FOREVER, Pid, wait};
use abi::limits::{Limits, Resource};
use abi::nic::{Counter, Filters, FrameMemory, MacAddress};
use abi::{Error, Result};
use nic::e100::E100;
use nic::igb::{Config, Igb, InterruptMode};
use nic::model::{Model, Pace, e100, igb};
use nic::{Bus, BusAddr, Nic};
use placement::Places;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The card's own station.
pub const MAC: MacAddress = [2, 0, 0, 0, 0, 1];
const IRQ: u8 = 11;
const BASE: u64 = 0x40_0000;
const SIZE: usize = 16 * 1024;
/// Where a process keeps what it passes to the kernel, and the event that it waits for.
pub const HERE: u64 = BASE + 1024;
const EVENT: u64 = BASE;
/// Where the card's arena is in physical memory.
const ARENA: u64 = 1 << 40;
/// Bytes of the ramdisk. The models reach their arenas only: it is in there, among received frames.
const RAMDISK: usize = 1 << 15;

thread_local! {
    /// The kernel's memory that programs are shown, by physical address.
    static MEMORY: RefCell<BTreeMap<u64, Vec<u8>>> = RefCell::default();
    /// How many more pieces of it there are.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Lets so many more pieces of memory be allocated.
pub fn leave(pieces: usize) {
    LEFT.set(pieces);
}

/// Pieces of memory that somebody has.
pub fn pieces() -> usize {
    MEMORY.with_borrow(BTreeMap::len)
}

/// Memory that the kernel shares: with a program, by its address, or with a card.
pub enum Area {
    Own(u64),
    Arena(Rc<dyn Model>),
}

impl Area {
    fn own<R>(at: u64, access: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        MEMORY.with_borrow_mut(|all| access(all.get_mut(&at).expect("its own")))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if let Area::Own(at) = self {
            let freed = || MEMORY.with_borrow_mut(|all| all.remove(at));
            sheltered(|| drop(freed()));
        }
    }
}

impl Shared for Area {
    fn allocate(len: usize) -> Option<Self> {
        let left = LEFT.get().checked_sub(1)?;
        LEFT.set(left);
        // What the test allocates is no heap of the kernel's.
        sheltered(|| {
            MEMORY.with_borrow_mut(|all| {
                let last = all.last_key_value().map_or(1 << 20, |(last, _)| *last);
                let address = last + (1 << 24);
                all.insert(address, vec![0; len]);
                Some(Area::Own(address))
            })
        })
    }

    fn address(&self) -> u64 {
        match self {
            Area::Own(at) => *at,
            Area::Arena(_) => ARENA,
        }
    }

    fn size(&self) -> usize {
        match self {
            Area::Own(at) => Area::own(*at, |bytes| bytes.len()),
            Area::Arena(_) => panic!("nobody asks"),
        }
    }

    fn load_words<const N: usize>(&self, offset: usize) -> [u32; N] {
        assert!(offset.is_multiple_of(4));
        let mut bytes = [[0; 4]; N];
        self.get(offset, bytes.as_flattened_mut());
        bytes.map(u32::from_le_bytes)
    }

    fn store_words<const N: usize>(&mut self, offset: usize, words: [u32; N]) {
        assert!(offset.is_multiple_of(4));
        self.put(offset, words.map(u32::to_le_bytes).as_flattened());
    }

    fn put(&mut self, offset: usize, from: &[u8]) {
        match self {
            Area::Own(at) => Area::own(*at, |bytes| {
                bytes[offset..offset + from.len()].copy_from_slice(from);
            }),
            Area::Arena(card) => sheltered(|| card.copy_in(offset, from)),
        }
    }

    fn get(&self, offset: usize, to: &mut [u8]) {
        match self {
            Area::Own(at) => Area::own(*at, |bytes| {
                to.copy_from_slice(&bytes[offset..offset + to.len()]);
            }),
            Area::Arena(card) => sheltered(|| card.copy_out(offset, to)),
        }
    }

    fn copy(&mut self, offset: usize, from: &Self, start: usize, len: usize) {
        sheltered(|| {
            let mut bytes = vec![0; len];
            from.get(start, &mut bytes);
            self.put(offset, &bytes);
        });
    }
}

/// A program's memory: some bytes of its own, and what it is shown.
pub struct Space {
    bytes: RefCell<Vec<u8>>,
    shown: Vec<Shown>,
    charged: u64,
    limit: u64,
}

pub struct Host;

fn range(address: u64, len: usize) -> Result<std::ops::Range<usize>> {
    let start = address.checked_sub(BASE).ok_or(Error::BadAddress)?;
    let end = start.checked_add(len as u64).ok_or(Error::BadAddress)?;
    let range = start as usize..end as usize;
    (end <= SIZE as u64)
        .then_some(range)
        .ok_or(Error::BadAddress)
}

impl Machine for Host {
    type Space = Space;

    fn new_space(&self) -> Result<Space> {
        Err(Error::NoMemory)
    }

    fn add_memory(&self, _: &mut Space, _: &Region) -> Result<()> {
        Err(Error::NoMemory)
    }

    fn entry_registers(&self, _: u64, _: u64) -> Registers {
        Registers::default()
    }

    fn read(&self, space: &Space, address: u64, buffer: &mut [u8]) -> Result<()> {
        let range = range(address, buffer.len())?;
        buffer.copy_from_slice(&space.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, space: &Space, address: u64, bytes: &[u8]) -> Result<()> {
        let range = range(address, bytes.len())?;
        space.bytes.borrow_mut()[range].copy_from_slice(bytes);
        Ok(())
    }

    fn can_write(&self, _: &Space, address: u64, len: usize) -> Result<()> {
        range(address, len).map(drop)
    }

    fn copy(&self, _: (&Space, u64), _: (&Space, u64), _: usize) -> Result<()> {
        Err(Error::BadAddress)
    }

    fn memory(&self, space: &Space) -> u64 {
        SIZE as u64 + space.charged
    }

    fn set_limit(&self, space: &mut Space, bytes: u64) {
        space.limit = bytes;
    }

    fn show(&self, space: &mut Space, pieces: [Shown; 3]) -> Result<()> {
        space.shown.extend(pieces);
        Ok(())
    }

    fn charge(&self, space: &mut Space, bytes: u64) -> Result<()> {
        if self.memory(space) + bytes > space.limit {
            return Err(Error::QuotaExceeded);
        }
        space.charged += bytes;
        Ok(())
    }
}

pub struct NoClock;

impl Clock for NoClock {
    fn now() -> u64 {
        0
    }
}

/// What a program writes into its exchange area.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub returns: Vec<u16>,
    pub sends: Vec<Send>,
    pub small: u32,
    pub large: u32,
    pub receive: u32,
    pub arm: bool,
    pub wake: u32,
}

/// What it finds there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub sent: u32,
    pub taken: Vec<u16>,
    pub received: Vec<Received>,
    pub woken: bool,
}

/// A machine with one card.
pub struct World {
    pub table: Table<Host>,
    pub cards: Cards<Area>,
    accounts: Accounts<NoClock>,
    pub model: Rc<dyn Model>,
    line: Box<dyn Fn() -> bool>,
}

pub const PLENTY: Limits = Limits::PROGRAM
    .with(Resource::Memory, 1 << 30)
    .with(Resource::Handles, 100);

impl World {
    pub fn e100(pace: Pace, seed: u64) -> Self {
        let behaviour = match seed % 2 {
            0 => e100::Behaviour::Silicon,
            _ => e100::Behaviour::Qemu,
        };
        let model = e100::E100Model::new(behaviour, pace, seed, MAC);
        World::of(&model)
    }

    pub fn of(model: &e100::E100Model) -> Self {
        let nic = E100::new(model.bus()).expect("a sound card");
        let line = model.clone();
        World::new(
            Box::leak(Box::new(nic)),
            model.bus().bus_addr(0),
            model.clone(),
            move || line.line(),
        )
    }

    pub fn igb(pace: Pace, seed: u64) -> Self {
        World::igb_of(Config::small(InterruptMode::Intx), pace, seed)
    }

    pub fn igb_of(config: Config, pace: Pace, seed: u64) -> Self {
        let arena = config.arena_size().expect("a sound configuration");
        let (behaviour, mode) = (igb::Behaviour::Silicon, config.interrupts);
        let model = igb::IgbModel::new(behaviour, pace, seed, MAC, arena, mode);
        let nic = Igb::new(model.bus(), config).expect("a sound card");
        let line = model.clone();
        World::new(
            Box::leak(Box::new(nic)),
            model.bus().bus_addr(0),
            model,
            move || line.line(),
        )
    }

    pub fn new(
        nic: &'static mut dyn Nic,
        ramdisk_at: BusAddr,
        model: impl Model + 'static,
        line: impl Fn() -> bool + 'static,
    ) -> Self {
        leave(usize::MAX);
        let model: Rc<dyn Model> = Rc::new(model);
        let mut ramdisk = Runs::default();
        ramdisk.push(ramdisk_at.0, RAMDISK);
        let mut cards = Cards::new(ramdisk);
        let attached = Attached {
            nic,
            chip: "a model",
            address: Address::new(0, 3, 0),
            memory: Area::Arena(model.clone()),
            interrupts: Interrupts::Line(IRQ),
        };
        cards.add(attached, false).expect("memory");
        World {
            table: Table::new(Host, 1000),
            cards,
            accounts: Accounts::new(),
            model,
            line: Box::new(line),
        }
    }

    pub fn start(&mut self, limits: Limits) -> Pid {
        let space = Space {
            bytes: RefCell::new(vec![0; SIZE]),
            shown: Vec::new(),
            charged: 0,
            limit: 0,
        };
        let started = self.table.add(Start {
            name: "test",
            space,
            registers: Registers::default(),
            places: Places::FIXED,
            parent: None,
            limits,
            rights: Rights::all(),
            is_mute: false,
        });
        started.expect("room in the table")
    }

    pub fn end(&mut self, pid: Pid) {
        self.cards.release(pid, &mut self.table);
        self.table.end(pid, Exit::Killed).expect("alive");
    }

    pub fn attach(&mut self, pid: Pid, filters: &[Filter]) -> core::result::Result<u8, Refusal> {
        let allowed = self.table.check_card(pid, 0, filters.is_empty());
        allowed.map_err(Refusal::Wrong)?;
        let attached = self.cards.attach(0, pid, filters, &mut self.table, |_| ());
        if attached.is_ok() {
            self.model.settle();
        }
        attached
    }

    pub fn refilter(&mut self, pid: Pid, filters: &[Filter]) -> core::result::Result<(), Refusal> {
        self.cards.refilter(0, pid, &self.table, filters)
    }

    pub fn filter(&mut self, pid: Pid, filters: &Filters<'_>) -> Result<u64> {
        let mut bytes = [0; 4096];
        let len = filters.write(&mut bytes)?;
        self.table.write(pid, HERE, &bytes[..len])?;
        self.cards.filter(0, pid, &self.table, (HERE, len as u64))
    }

    /// Starts a program that attaches and maps.
    pub fn owner(&mut self, filters: &[Filter]) -> Pid {
        let pid = self.start(PLENTY);
        self.attach(pid, filters).expect("nobody has it");
        self.map(pid, 0);
        // That the link is up is no news.
        self.settle();
        self.table
            .wait(pid, wait::NOTIFICATIONS, 0, EVENT, 0)
            .expect("a good buffer");
        pid
    }

    pub fn map(&mut self, pid: Pid, number: u64) -> FrameMemory {
        let mapped = self.cards.map(number, pid, &mut self.table, HERE);
        mapped.expect("attached");
        let mut bytes = [0; FrameMemory::SIZE];
        self.table.read(pid, HERE, &mut bytes).expect("its own");
        FrameMemory::from_bytes(&bytes).expect("well formed")
    }

    fn shown(&self, pid: Pid, which: usize) -> Shown {
        let process = self.table.get(pid).expect("alive");
        process.space.as_ref().expect("alive").shown[which]
    }

    /// Does something with the kernel's memory at a physical address; `None` if that is the card's arena.
    fn at<R>(address: u64, len: usize, access: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        MEMORY.with_borrow_mut(|all| {
            let (start, bytes) = all.range_mut(..=address).next_back()?;
            let offset = (address - start) as usize;
            Some(access(bytes.get_mut(offset..offset + len)?))
        })
    }

    fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        Self::at(address, len, |bytes| bytes.to_vec()).unwrap_or_else(|| {
            let mut bytes = vec![0; len];
            self.model.copy_out((address - ARENA) as usize, &mut bytes);
            bytes
        })
    }

    fn poke(&self, address: u64, from: &[u8]) {
        let poked = Self::at(address, from.len(), |bytes| bytes.copy_from_slice(from));
        poked.unwrap_or_else(|| self.model.copy_in((address - ARENA) as usize, from));
    }

    pub fn words(&self, pid: Pid) -> Vec<u32> {
        let bytes = self.peek(self.shown(pid, 0).memory, 4 * WORDS);
        let (words, _) = bytes.as_chunks();
        words.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    pub fn set_words(&self, pid: Pid, at: usize, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.poke(self.shown(pid, 0).memory + 4 * at as u64, &bytes);
    }

    pub fn ask(&self, pid: Pid, ask: &Ask) {
        for (index, send) in ask.sends.iter().enumerate() {
            self.set_words(pid, exchange::send_at(index), &send.to_words());
        }
        let returns: Vec<u32> = ask.returns.iter().map(|&it| it.into()).collect();
        self.set_words(pid, exchange::return_at(0), &returns);
        let head = [
            ask.sends.len() as u32,
            returns.len() as u32,
            ask.small,
            ask.large,
            ask.receive,
            ask.arm.into(),
            ask.wake,
        ];
        self.set_words(pid, exchange::SEND_COUNT, &head);
    }

    pub fn done(&self, pid: Pid) -> Done {
        let words = self.words(pid);
        let taken = 0..words[exchange::TAKEN] as usize;
        let received = 0..words[exchange::RECEIVED] as usize;
        Done {
            sent: words[exchange::SENT],
            taken: taken
                .map(|at| words[exchange::taken_at(at)] as u16)
                .collect(),
            received: received
                .map(|at| {
                    let (words, _) = words[exchange::received_at(at)..].as_chunks();
                    Received::from_words(words[0])
                })
                .collect(),
            woken: words[exchange::WOKEN] != 0,
        }
    }

    pub fn exchange_as_it_stands(&mut self, pid: Pid) -> Result<u64> {
        let (table, accounts) = (&mut self.table, &mut self.accounts);
        self.cards.exchange(0, (pid, false), table, accounts)
    }

    pub fn exchange(&mut self, pid: Pid, ask: &Ask) -> (Result<u64>, Done) {
        self.ask(pid, ask);
        let result = self.exchange_as_it_stands(pid);
        (result, self.done(pid))
    }

    /// As ring 0 does it: exchanges, and then waits for whatever a card can tell.
    pub fn wait(&mut self, pid: Pid, exchanges: bool) -> Option<ipc::Received> {
        let mut deadline = FOREVER;
        if exchanges {
            let (table, accounts) = (&mut self.table, &mut self.accounts);
            let received = self.cards.exchange(0, (pid, true), table, accounts);
            if received.ok()? > 0 {
                deadline = 0;
            }
        }
        let mask = wait::NIC_RECEIVE | wait::NIC_TRANSMIT | wait::NIC_LINK;
        let event = self.table.wait(pid, mask, deadline, EVENT, 0);
        if event.expect("a good buffer").is_some() {
            return self.event(pid);
        }
        let exchanged = exchanges.then_some(0);
        self.cards.sleeps(pid, exchanged, &self.table);
        None
    }

    /// What a process was told of with its wake-up; `None` if it sleeps.
    pub fn event(&self, pid: Pid) -> Option<ipc::Received> {
        if self.table.get(pid).expect("alive").state != State::Ready {
            return None;
        }
        let mut bytes = [0; ipc::Received::SIZE];
        self.table.read(pid, EVENT, &mut bytes).expect("its own");
        Some(ipc::Received::from_bytes(&bytes).expect("well formed"))
    }

    /// What it was told of, in bits.
    pub fn bits(&self, pid: Pid) -> u32 {
        match self.event(pid) {
            Some(ipc::Received::Notification(bits)) => bits,
            _ => 0,
        }
    }

    /// The card does what it has to do, and the kernel hears of it.
    pub fn settle(&mut self) {
        self.model.settle();
        for _ in 0..100 {
            if !(self.line)() {
                break;
            }
            self.cards.interrupt(IRQ, &mut self.table);
            self.model.settle();
        }
    }

    /// Nobody runs: the kernel looks, and then arms the card.
    pub fn idle(&mut self) {
        if self.cards.silence(&mut self.table) {
            self.model.settle();
            self.cards.poll(&mut self.table);
        }
        if self.cards.is_unarmed() {
            self.cards.arm(&mut self.table);
        }
        self.settle();
    }

    /// A frame as it is in the memory that a program is shown.
    pub fn frame(&self, pid: Pid, received: &Received) -> Vec<u8> {
        let start = self.shown(pid, 2).memory + u64::from(received.offset);
        self.peek(start, received.len as usize)
    }

    /// Builds a frame in a buffer that a program has.
    pub fn build(&self, pid: Pid, memory: &FrameMemory, buffer: u16, frame: &[u8]) -> Send {
        let (offset, room) = memory.buffer(buffer).expect("one of its own");
        assert!(frame.len() <= room);
        self.poke(self.shown(pid, 1).memory + offset as u64, frame);
        Send {
            buffer,
            len: frame.len() as u32,
            ..Send::default()
        }
    }

    /// A counter of an endpoint or of its card.
    pub fn count(&mut self, pid: Pid, name: &str) -> u64 {
        let (to, room) = (HERE, 128);
        let count = self.cards.statistics(0, pid, &self.table, (to, room));
        let mut found = 0;
        for at in 0..count.expect("attached") {
            let mut bytes = [0; Counter::SIZE];
            let from = HERE + at * Counter::SIZE as u64;
            self.table.read(pid, from, &mut bytes).expect("its own");
            let counter = Counter::from_bytes(&bytes).expect("well formed");
            if counter.name.as_str() == name {
                found += counter.value;
            }
        }
        found
    }
}
