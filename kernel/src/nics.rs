//! The cards: found on PCI, given to one process each, and driven through [`nic::Nic`].

use crate::arch::bus::{MachineBus, Window};
use crate::arch::pci::Config;
use crate::dma::Arena;
use abi::ipc::{Pid, wait};
use abi::nic::{Counter, Link, NicInfo};
use abi::{Error, Result};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use kernel::pci::{self, Address, Driver, Function, Match};
use kernel::process::{Machine, Table};
use nic::e100::{self, E100};
use nic::{Events, Nic};

type Processes = Table<crate::user_memory::UserMemory>;

/// Interrupts of a line in a row that no card claimed before the line is switched off.
const UNCLAIMED_MAX: u32 = 10_000;
/// Longest frame any card here sends or receives.
const FRAME_MAX: usize = 1536;

/// Control/status registers of the 82559ER, in bytes (8255x OSDM §6.3).
const CSR_SIZE: usize = 64;

/// The attach table: a chip is a row here and a folder in `kernel/nic/src`.
const DRIVERS: &[Driver<Attach>] = &[Driver {
    name: "e100",
    // Intel 82559ER (8255x OSDM §4.1.1).
    matches: Match::Id {
        vendor: 0x8086,
        device: 0x1209,
    },
    attach: attach_e100,
}];

type Attach = fn(&Function) -> core::result::Result<Box<dyn Nic + Send>, AttachError>;

/// Why a card was not attached.
enum AttachError {
    NoRegisters,
    NoMemory { bytes: usize },
    Driver(nic::Error),
}

impl Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NoRegisters => f.write_str("firmware gave its registers no address"),
            AttachError::NoMemory { bytes } => {
                write!(f, "no {bytes} bytes of contiguous memory: start with more")
            }
            AttachError::Driver(error) => error.fmt(f),
        }
    }
}

/// One card.
struct Card {
    nic: Box<dyn Nic + Send>,
    address: Address,
    irq: Option<u8>,
    owner: Option<Pid>,
}

/// All cards, numbered in the order they were found.
pub struct Nics {
    cards: Vec<Card>,
    /// Per line, interrupts in a row that nobody claimed.
    unclaimed: [u32; 16],
    /// A frame on its way between a program and a ring.
    frame: Box<[u8; FRAME_MAX]>,
}

impl Nics {
    /// Attaches a driver to every function that has one, and tells the story of it.
    pub fn attach_all(config: &mut Config, functions: &[Function]) -> Self {
        let mut cards = Vec::new();
        for function in functions {
            for driver in pci::drivers(DRIVERS, function) {
                match function.enable(config) {
                    Ok(enabled) => log::info!("{enabled}"),
                    Err(error) => {
                        log::error!("{error}");
                        continue;
                    }
                }
                match (driver.attach)(function) {
                    Ok(nic) => {
                        let number = cards.len();
                        log::info!(
                            "card {number}: {}, MAC {}, {}; rings of {} and {} frames",
                            nic.name(),
                            DisplayMac(nic.mac()),
                            DisplayLink(nic.link()),
                            nic.transmit_ring(),
                            nic.receive_ring(),
                        );
                        cards.push(Card {
                            nic,
                            address: function.address,
                            irq: function.irq().filter(|irq| *irq < 16),
                            owner: None,
                        });
                        break;
                    }
                    Err(error) => log::error!("{} at {}: {error}", driver.name, function.address),
                }
            }
        }
        Nics {
            cards,
            unclaimed: [0; 16],
            frame: Box::new([0; FRAME_MAX]),
        }
    }

    /// The interrupt lines in use.
    pub fn irqs(&self) -> impl Iterator<Item = u8> {
        self.cards.iter().filter_map(|card| card.irq)
    }

    /// An interrupt of line `irq`, which any number of cards may share. Returns whether a
    /// process woke.
    pub fn interrupt(&mut self, irq: u8, table: &mut Processes) -> bool {
        let mut claimed = false;
        let mut woke = false;
        for card in &mut self.cards {
            if card.irq == Some(irq)
                && let Some(events) = card.nic.on_interrupt()
            {
                claimed = true;
                woke |= card.tell(events, table);
            }
        }
        let unclaimed = &mut self.unclaimed[usize::from(irq & 15)];
        *unclaimed = if claimed { 0 } else { *unclaimed + 1 };
        woke
    }

    /// Whether a line interrupts without end and nobody knows why. Says so, once.
    pub fn is_stuck(&mut self, irq: u8) -> bool {
        let unclaimed = &mut self.unclaimed[usize::from(irq & 15)];
        let stuck = *unclaimed == UNCLAIMED_MAX;
        if stuck {
            log::error!("irq {irq}: {UNCLAIMED_MAX} interrupts that no card asked for; line off");
        }
        stuck
    }

    /// Once a second: links and watchdogs.
    pub fn tick(&mut self, table: &mut Processes) {
        for (number, card) in self.cards.iter_mut().enumerate() {
            if card.owner.is_none() {
                continue;
            }
            let events = card.nic.tick();
            if events.contains(Events::LINK) {
                log::info!("card {number}: {}", DisplayLink(card.nic.link()));
            }
            card.tell(events, table);
        }
    }

    /// `Syscall::NicAttach`.
    pub fn attach(&mut self, number: u64, pid: Pid) -> Result<()> {
        let card = self.card(number).ok_or(Error::NotFound)?;
        if card.owner.is_some() {
            return Err(Error::Busy);
        }
        card.nic.start().map_err(|error| {
            log::error!("{}: {error}", card.nic.name());
            Error::DeviceFailed
        })?;
        card.owner = Some(pid);
        Ok(())
    }

    /// Takes all cards of a process away, as when it has ended.
    pub fn release(&mut self, pid: Pid) {
        for card in &mut self.cards {
            if card.owner == Some(pid) {
                card.nic.stop();
                card.owner = None;
            }
        }
    }

    /// `Syscall::NicInfo`.
    pub fn info(&mut self, number: u64, pid: Pid, table: &Processes, to: u64) -> Result<u64> {
        let card = self.owned(number, pid)?;
        let mut driver = [0; 8];
        let name = card.nic.name().as_bytes();
        let len = name.len().min(driver.len());
        driver[..len].copy_from_slice(&name[..len]);
        let address = card.address;
        let info = NicInfo {
            driver,
            pci_address: u16::from(address.bus()) << 8
                | u16::from(address.device()) << 3
                | u16::from(address.function()),
            mac: card.nic.mac(),
            link: card.nic.link(),
            frame_max: card.nic.frame_max() as u16,
            transmit_ring: card.nic.transmit_ring() as u16,
            receive_ring: card.nic.receive_ring() as u16,
        };
        write(table, pid, to, &info.to_bytes())?;
        Ok(0)
    }

    /// `Syscall::NicSend`.
    pub fn send(
        &mut self,
        number: u64,
        pid: Pid,
        table: &mut Processes,
        (from, len): (u64, u64),
        more: bool,
    ) -> Result<u64> {
        let card = owned(&mut self.cards, number, pid)?;
        if len == 0 || len > card.nic.frame_max() as u64 {
            return Err(Error::BadFrame);
        }
        let frame = self.frame.get_mut(..len as usize).ok_or(Error::BadFrame)?;
        let space = table.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
        table.machine().read(space, from, frame)?;
        let sent = card.nic.send(frame, more).map_err(to_abi);
        card.tell_own_events(table);
        sent.map(|()| 0)
    }

    /// `Syscall::NicReceive`.
    pub fn receive(
        &mut self,
        number: u64,
        pid: Pid,
        table: &mut Processes,
        (to, capacity): (u64, u64),
    ) -> Result<u64> {
        let card = owned(&mut self.cards, number, pid)?;
        let received = card.nic.receive(&mut self.frame[..]).map_err(to_abi);
        card.tell_own_events(table);
        let len = received?;
        if len as u64 > capacity {
            return Err(Error::TooLong);
        }
        write(table, pid, to, &self.frame[..len])?;
        Ok(len as u64)
    }

    /// `Syscall::NicFlush`.
    pub fn flush(&mut self, number: u64, pid: Pid, table: &mut Processes) -> Result<u64> {
        let card = self.owned(number, pid)?;
        let flushed = card.nic.flush().map_err(to_abi);
        card.tell_own_events(table);
        flushed.map(|()| 0)
    }

    /// `Syscall::NicStatistics`.
    pub fn statistics(
        &mut self,
        number: u64,
        pid: Pid,
        table: &Processes,
        (to, capacity): (u64, u64),
    ) -> Result<u64> {
        let card = self.owned(number, pid)?;
        let mut count = 0;
        let mut result = Ok(());
        card.nic.statistics(&mut |name, value| {
            let fits = count < capacity && count < Counter::COUNT_MAX as u64;
            if fits && result.is_ok() {
                let bytes = Counter::new(name, value).to_bytes();
                let offset = count * Counter::SIZE as u64;
                result = to
                    .checked_add(offset)
                    .ok_or(Error::BadAddress)
                    .and_then(|to| write(table, pid, to, &bytes));
                count += 1;
            }
        });
        result.map(|()| count)
    }

    fn card(&mut self, number: u64) -> Option<&mut Card> {
        self.cards.get_mut(usize::try_from(number).ok()?)
    }

    fn owned(&mut self, number: u64, pid: Pid) -> Result<&mut Card> {
        owned(&mut self.cards, number, pid)
    }
}

/// The card `number`, if it is this process's.
fn owned(cards: &mut [Card], number: u64, pid: Pid) -> Result<&mut Card> {
    usize::try_from(number)
        .ok()
        .and_then(|number| cards.get_mut(number))
        .filter(|card| card.owner == Some(pid))
        .ok_or(Error::BadHandle)
}

impl Card {
    /// Turns events into notification bits of the owner; returns whether it woke.
    fn tell(&self, events: Events, table: &mut Processes) -> bool {
        let bits = [
            (Events::RECEIVE, wait::NIC_RECEIVE),
            (Events::TRANSMIT_SPACE, wait::NIC_TRANSMIT),
            (Events::LINK, wait::NIC_LINK),
        ];
        let bits = bits.iter().filter(|(event, _)| events.contains(*event));
        let bits = bits.fold(0, |all, (_, bit)| all | bit);
        match self.owner {
            Some(owner) if bits != 0 => table.notify(owner, bits, true).unwrap_or(false),
            _ => false,
        }
    }

    fn tell_own_events(&mut self, table: &mut Processes) {
        let events = self.nic.take_events();
        if !events.is_empty() {
            self.tell(events, table);
        }
    }
}

fn write(table: &Processes, pid: Pid, to: u64, bytes: &[u8]) -> Result<()> {
    let space = table.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
    table.machine().write(space, to, bytes)
}

fn to_abi(error: nic::Error) -> Error {
    match error {
        nic::Error::WouldBlock => Error::WouldBlock,
        nic::Error::BadLength { .. } => Error::BadFrame,
        nic::Error::BufferTooSmall { .. } => Error::TooLong,
        other => {
            log::error!("{other}");
            Error::DeviceFailed
        }
    }
}

fn attach_e100(function: &Function) -> core::result::Result<Box<dyn Nic + Send>, AttachError> {
    let window = Window::of(function, CSR_SIZE).ok_or(AttachError::NoRegisters)?;
    let bytes = e100::ARENA_SIZE;
    let arena = Arena::new(bytes).ok_or(AttachError::NoMemory { bytes })?;
    let nic = E100::new(MachineBus::new(window, arena)).map_err(AttachError::Driver)?;
    Ok(Box::new(nic))
}

struct DisplayMac([u8; 6]);

impl Display for DisplayMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

struct DisplayLink(Link);

impl Display for DisplayLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.up {
            return f.write_str("link down");
        }
        let duplex = if self.0.full_duplex { "full" } else { "half" };
        write!(f, "link up, {} Mb/s, {duplex} duplex", self.0.speed_mbps)
    }
}
