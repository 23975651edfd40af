//! The cards: found on PCI, given to one process each, and driven through [`nic::Nic`].

use crate::arch::bus::{MachineBus, Window};
use crate::arch::messages::{Messages, Vectors};
use crate::arch::pci::Config;
use crate::dma::Arena;
use abi::ipc::{Pid, wait};
use abi::nic::{Counter, Features, Link, NicInfo, ReceivedFrame, SendOptions};
use abi::{Error, Result};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use kernel::options::{Irq, Options};
use kernel::pci::{self, Address, Driver, Function, Match};
use kernel::process::{Machine, Table};
use nic::e100::{self, E100};
use nic::igb::{self, Igb};
use nic::{Events, Nic};

type Processes = Table<crate::user_memory::UserMemory>;

/// Interrupts of a line in a row that no card claimed before the line is switched off.
const UNCLAIMED_MAX: u32 = 10_000;
/// Control/status registers of the 82559ER, in bytes (8255x OSDM §6.3).
const CSR_SIZE: usize = 64;

/// The attach table: a chip is a row here and a folder in `kernel/nic/src`.
const DRIVERS: &[Driver<Attach>] = &[
    Driver {
        name: "e100",
        // Intel 82559ER (8255x OSDM §4.1.1).
        matches: Match::Id {
            vendor: 0x8086,
            device: 0x1209,
        },
        attach: attach_e100,
    },
    Driver {
        name: "igb",
        // Intel 82576 (82576EB datasheet §9.4).
        matches: Match::Id {
            vendor: 0x8086,
            device: 0x10c9,
        },
        attach: attach_igb,
    },
];

type Attach = fn(&mut Attaching, &Function) -> core::result::Result<Attached, AttachError>;

/// What drivers need to take a card.
pub struct Attaching {
    /// Configuration space.
    pub config: Config,
    /// Vectors for its messages.
    pub messages: Messages,
    /// What the command line says.
    pub options: Options,
}

/// A card that a driver has taken.
struct Attached {
    nic: Box<dyn Nic + Send>,
    interrupts: Interrupts,
}

/// How a card interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupts {
    /// By this line of the interrupt controller.
    Line(u8),
    /// By messages.
    Messages(Vectors),
    /// Not at all: firmware routed its line nowhere. Frames come with the tick.
    None,
}

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
    interrupts: Interrupts,
    owner: Option<Pid>,
}

/// All cards, numbered in the order they were found.
pub struct Nics {
    cards: Vec<Card>,
    /// Per line, interrupts in a row that nobody claimed.
    unclaimed: [u32; 16],
    /// A frame on its way between a program and a ring.
    frame: Vec<u8>,
}

impl Nics {
    /// Attaches a driver to every function that has one, and tells the story of it.
    pub fn attach_all(functions: &[Function], mut attaching: Attaching) -> Self {
        let mut cards: Vec<Card> = Vec::new();
        for function in functions {
            for driver in pci::drivers(DRIVERS, function) {
                match function.enable(&mut attaching.config) {
                    Ok(enabled) => log::info!("{enabled}"),
                    Err(error) => {
                        log::error!("{error}");
                        continue;
                    }
                }
                match (driver.attach)(&mut attaching, function) {
                    Ok(attached) => {
                        let number = cards.len();
                        let Attached { nic, interrupts } = attached;
                        let mut card = Card {
                            nic,
                            address: function.address,
                            interrupts,
                            owner: None,
                        };
                        card.introduce(number, attaching.options.self_test);
                        cards.push(card);
                        break;
                    }
                    Err(error) => log::error!("{} at {}: {error}", driver.name, function.address),
                }
            }
        }
        let longest = cards.iter().map(|card| {
            let nic = &card.nic;
            nic.frame_max().max(nic.features().segment_max)
        });
        let longest = longest.max();
        Nics {
            frame: alloc::vec![0; longest.unwrap_or(0)],
            cards,
            unclaimed: [0; 16],
        }
    }

    /// The interrupt lines in use.
    pub fn irqs(&self) -> impl Iterator<Item = u8> {
        self.cards.iter().filter_map(|card| match card.interrupts {
            Interrupts::Line(irq) => Some(irq),
            _ => None,
        })
    }

    /// A message with this vector. Returns whether a process woke.
    pub fn message(&mut self, vector: u8, table: &mut Processes) -> bool {
        self.cards.iter_mut().any(|card| {
            let Interrupts::Messages(vectors) = card.interrupts else {
                return false;
            };
            let index = vectors.index_of(vector);
            let events = index.and_then(|index| card.nic.on_vector(index));
            events.is_some_and(|events| card.tell(events, table))
        })
    }

    /// An interrupt of line `irq`, which any number of cards may share. Returns whether a
    /// process woke.
    pub fn interrupt(&mut self, irq: u8, table: &mut Processes) -> bool {
        let mut claimed = false;
        let mut woke = false;
        for card in &mut self.cards {
            if card.interrupts == Interrupts::Line(irq)
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
        let features = card.nic.features();
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
            features: Features {
                checksums: features.checksums,
                segment_max: features.segment_max as u32,
                receive_queues: features.receive_queues as u8,
                transmit_queues: features.transmit_queues as u8,
            },
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
        options: SendOptions,
    ) -> Result<u64> {
        let card = owned(&mut self.cards, number, pid)?;
        let longest = match options.segment_size {
            0 => card.nic.frame_max(),
            _ => card.nic.features().segment_max,
        };
        if len == 0 || len > longest as u64 {
            return Err(Error::BadFrame);
        }
        let frame = self.frame.get_mut(..len as usize).ok_or(Error::BadFrame)?;
        let space = table.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
        table.machine().read(space, from, frame)?;
        let work = nic::SendOptions {
            checksums: options.checksums,
            segment_size: options.segment_size,
            vlan: None,
        };
        let sent = card.nic.send_with(frame, &work, options.more);
        let sent = sent.map_err(to_abi);
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
        let received = card.nic.receive_with(&mut self.frame[..]);
        card.tell_own_events(table);
        let (len, info) = received.map_err(to_abi)?;
        if len as u64 > capacity {
            return Err(Error::TooLong);
        }
        write(table, pid, to, &self.frame[..len])?;
        let frame = ReceivedFrame {
            len: len as u32,
            checksums_right: info.ipv4_checksum && info.transport_checksum,
        };
        Ok(frame.to_register())
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
    /// Tells of a new card, and tries it if asked to.
    fn introduce(&mut self, number: usize, self_test: bool) {
        let nic = &mut self.nic;
        log::info!(
            "card {number}: {}, MAC {}, {}; rings of {} and {} frames; {}",
            nic.name(),
            DisplayMac(nic.mac()),
            DisplayLink(nic.link()),
            nic.transmit_ring(),
            nic.receive_ring(),
            self.interrupts,
        );
        if self_test {
            match nic.self_test() {
                Ok(()) => log::info!("card {number}: self-test passed"),
                Err(error) => log::error!("card {number}: self-test: {error}"),
            }
        }
    }

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
        nic::Error::BadHeaders => Error::BadFrame,
        nic::Error::Unsupported => Error::NotSupported,
        other => {
            log::error!("{other}");
            Error::DeviceFailed
        }
    }
}

fn attach_e100(
    _: &mut Attaching,
    function: &Function,
) -> core::result::Result<Attached, AttachError> {
    let bus = bus(function, CSR_SIZE, e100::ARENA_SIZE)?;
    let nic = E100::new(bus).map_err(AttachError::Driver)?;
    Ok(Attached {
        nic: Box::new(nic),
        interrupts: line(function),
    })
}

fn attach_igb(
    attaching: &mut Attaching,
    function: &Function,
) -> core::result::Result<Attached, AttachError> {
    let (interrupts, mode) = attaching.interrupts(function, igb::VECTORS);
    let config = igb::Config::new(mode);
    let bytes = config.arena_size().map_err(AttachError::Driver)?;
    let bus = bus(function, igb::REGISTERS, bytes)?;
    let nic = Igb::new(bus, config).map_err(AttachError::Driver)?;
    Ok(Attached {
        nic: Box::new(nic),
        interrupts,
    })
}

/// A function's registers and an arena.
fn bus(
    function: &Function,
    registers: usize,
    bytes: usize,
) -> core::result::Result<MachineBus, AttachError> {
    let window = Window::of(function, registers).ok_or(AttachError::NoRegisters)?;
    let arena = Arena::new(bytes).ok_or(AttachError::NoMemory { bytes })?;
    Ok(MachineBus::new(window, arena))
}

fn line(function: &Function) -> Interrupts {
    match function.irq() {
        Some(irq) if irq < 16 => Interrupts::Line(irq),
        _ => Interrupts::None,
    }
}

impl Attaching {
    /// Gives a function the best kind of interrupt that it has and the options allow.
    fn interrupts(&mut self, function: &Function, wanted: u16) -> (Interrupts, igb::InterruptMode) {
        let Attaching {
            config,
            messages,
            options,
        } = self;
        if options.irq <= Irq::MsiX
            && let Some(vectors) = messages.msi_x(config, function, wanted)
        {
            let mode = igb::InterruptMode::MsiX {
                vectors: vectors.count.into(),
            };
            return (Interrupts::Messages(vectors), mode);
        }
        if options.irq <= Irq::Msi
            && let Some(vectors) = messages.msi(config, function)
        {
            return (Interrupts::Messages(vectors), igb::InterruptMode::Msi);
        }
        (line(function), igb::InterruptMode::Intx)
    }
}

impl Display for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interrupts::Line(irq) => write!(f, "irq {irq}"),
            Interrupts::Messages(vectors) if vectors.count == 1 => f.write_str("1 message"),
            Interrupts::Messages(vectors) => write!(f, "{} messages", vectors.count),
            Interrupts::None => f.write_str("no interrupt"),
        }
    }
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
