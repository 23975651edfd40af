//! The cards: found on PCI, given to one process each, and driven through [`nic::Nic`].

mod attach;
mod exchange;
mod words;

pub use attach::Attaching;

use crate::arch::paging;
use crate::arch::pic::Pic;
use crate::dma::Arena;
use abi::ipc::{Pid, wait};
use abi::layout::PAGE_SIZE;
use abi::nic::{Counter, Filters, NicInfo, ReceivedFrame, SendOptions};
use abi::{Error, Result};
use alloc::vec::Vec;
use kernel::pci::{Address, Function};
use kernel::process::{Machine, Table};
use kernel::runs::Runs;
use nic::{Events, Nic};
use x86_64::PhysAddr;

use attach::{Attached, Interrupts};
use words::{DisplayLink, DisplayMac};

type Processes = Table<crate::user_memory::UserMemory>;

/// Interrupts of a line in a row that no card claimed before the line is switched off.
const UNCLAIMED_MAX: u32 = 10_000;

/// One card.
struct Card {
    number: usize,
    nic: &'static mut (dyn Nic + Send),
    /// The chip's name.
    chip: &'static str,
    address: Address,
    interrupts: Interrupts,
    owner: Option<Pid>,
    /// Where its arena starts.
    memory: PhysAddr,
    /// What it and its owner exchange; it is elsewhere while that is done.
    exchange: Option<Arena>,
    /// The owner has been shown its buffers.
    is_shown: bool,
    /// The owner, if asleep, expects frames with the wake-up.
    wakes_with_frames: bool,
    /// No interrupt will tell the owner of frames yet.
    is_unarmed: bool,
    /// It was said that the card is broken, and not yet that it works again.
    broken: bool,
    /// Why it did not start, when that was last told.
    unstartable: Option<nic::Error>,
}

/// All cards, numbered in the order they were found.
pub struct Nics {
    cards: Vec<Card>,
    /// Per line, interrupts in a row that nobody claimed.
    unclaimed: [u32; 16],
    /// A frame on its way between a program and a ring, of any card.
    frame: Vec<u8>,
    /// Where the ramdisk is, for cards.
    ramdisk: Runs,
}

impl Nics {
    /// Attaches a driver to every function that has one, and tells the story of it. A card for
    /// which there is no memory is left out.
    pub fn attach_all(
        functions: &[Function],
        mut attaching: Attaching,
        ramdisk: &'static [u8],
    ) -> Self {
        attach::say_what_lacks(functions);
        let mut nics = Nics {
            cards: Vec::new(),
            unclaimed: [0; 16],
            frame: Vec::new(),
            ramdisk: paging::physical_runs(ramdisk),
        };
        for function in functions {
            if let Some((chip, attached)) = attaching.attach(function)
                && nics
                    .add(function, chip, attached, attaching.options.self_test)
                    .is_none()
            {
                log::error!(
                    "{chip} at {}: {}: start with more",
                    function.address,
                    Error::NoMemory
                );
            }
        }
        nics
    }

    /// Adds a card that a driver has taken; `None` if there is no memory for it.
    fn add(
        &mut self,
        function: &Function,
        chip: &'static str,
        attached: Attached,
        self_test: bool,
    ) -> Option<()> {
        let Attached {
            nic,
            memory,
            interrupts,
        } = attached;
        let segmentation = nic.features().segmentation;
        let longest = nic.frame_max().max(segmentation.frame_max as usize);
        let longer = longest.saturating_sub(self.frame.len());
        self.frame.try_reserve_exact(longer).ok()?;
        self.cards.try_reserve(1).ok()?;
        let exchange = Arena::new(PAGE_SIZE as usize)?;
        self.frame.resize(self.frame.len() + longer, 0);
        let mut card = Card {
            number: self.cards.len(),
            nic,
            chip,
            address: function.address,
            interrupts,
            owner: None,
            memory,
            exchange: Some(exchange),
            is_shown: false,
            wakes_with_frames: false,
            is_unarmed: false,
            broken: false,
            unstartable: None,
        };
        card.introduce(self_test);
        self.cards.push(card);
        Some(())
    }

    /// The cards' addresses.
    pub fn macs(&self) -> impl Iterator<Item = [u8; 6]> {
        self.cards.iter().map(|card| card.nic.mac())
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
            let vectors = card.interrupts.vectors();
            let index = vectors.and_then(|vectors| vectors.index_of(vector));
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
    pub fn tick(&mut self, table: &mut Processes, pic: &mut Pic) {
        for card in &mut self.cards {
            if card.owner.is_none() {
                continue;
            }
            let was_broken = card.broken;
            let events = card.nic.tick();
            card.tell(events, table);
            if was_broken && !card.broken {
                let line = card.interrupts;
                line_on(line, &mut self.unclaimed, pic);
            }
        }
    }

    /// `Syscall::NicAttach`.
    pub fn attach(&mut self, number: u64, pid: Pid, pic: &mut Pic) -> Result<()> {
        let card = self.card(number).ok_or(Error::NotFound)?;
        if card.owner.is_some() {
            return Err(Error::Busy);
        }
        if let Err(error) = card.nic.start() {
            // Its program tries again and again: that is no news.
            if card.unstartable.replace(error) != Some(error) {
                let name = card.nic.name();
                log::error!("card {number}: {name} cannot start it: {error}");
            }
            return Err(Error::DeviceFailed);
        }
        card.unstartable = None;
        card.owner = Some(pid);
        let line = card.interrupts;
        line_on(line, &mut self.unclaimed, pic);
        Ok(())
    }

    /// Takes all cards of a process away, as when it has ended.
    pub fn release(&mut self, pid: Pid) {
        for card in &mut self.cards {
            if card.owner == Some(pid) {
                card.nic.stop();
                // The next owner starts as the first one did. A card without filters has
                // none to take back.
                let _ = card.nic.set_filters(&Filters::default());
                card.owner = None;
                card.is_shown = false;
                card.wakes_with_frames = false;
                card.is_unarmed = false;
                card.broken = false;
            }
        }
    }

    /// `Syscall::NicInfo`.
    pub fn info(&mut self, number: u64, pid: Pid, table: &Processes, to: u64) -> Result<u64> {
        let card = self.owned(number, pid)?;
        let address = card.address;
        let info = NicInfo {
            driver: padded(card.nic.name()),
            chip: padded(card.chip),
            pci_address: u16::from(address.bus()) << 8
                | u16::from(address.device()) << 3
                | u16::from(address.function()),
            mac: card.nic.mac(),
            link: card.nic.link(),
            frame_max: card.nic.frame_max() as u16,
            transmit_ring: card.nic.transmit_ring() as u16,
            receive_ring: card.nic.receive_ring() as u16,
            features: card.nic.features(),
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
        (options, more): (SendOptions, bool),
    ) -> Result<u64> {
        let card = owned(&mut self.cards, number, pid)?;
        let longest = match options.segment_size {
            0 => card.nic.frame_max(),
            _ => card.nic.features().segmentation.frame_max as usize,
        };
        if len == 0 || len > longest as u64 {
            return Err(Error::BadFrame);
        }
        let frame = self.frame.get_mut(..len as usize).ok_or(Error::BadFrame)?;
        let space = table.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
        table.machine().read(space, from, frame)?;
        let sent = card.nic.send_with(frame, &options, more);
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
        // A frame that is too long for the caller's buffer is lost, and the driver counts it.
        let room = self.frame.len().min(capacity as usize);
        let received = card.nic.receive_with(&mut self.frame[..room]);
        let received = received.map_err(to_abi);
        card.tell_own_events(table);
        let (len, info) = received?;
        write(table, pid, to, &self.frame[..len])?;
        let frame = ReceivedFrame {
            len: len as u32,
            checksums_right: info.ipv4_checksum && info.transport_checksum,
            vlan: info.vlan,
        };
        Ok(frame.to_register())
    }

    /// `Syscall::NicFlush`.
    pub fn flush(&mut self, number: u64, pid: Pid, table: &mut Processes) -> Result<u64> {
        let card = self.owned(number, pid)?;
        let flushed = card.nic.flush();
        let flushed = flushed.map_err(to_abi);
        card.tell_own_events(table);
        flushed.map(|()| 0)
    }

    /// `Syscall::NicFilter`.
    pub fn filter(
        &mut self,
        number: u64,
        pid: Pid,
        table: &Processes,
        (from, len): (u64, u64),
    ) -> Result<u64> {
        let card = self.owned(number, pid)?;
        if len > Filters::ARGUMENT_MAX as u64 {
            return Err(Error::TooLong);
        }
        let mut bytes = [0; Filters::ARGUMENT_MAX];
        let bytes = &mut bytes[..len as usize];
        let space = table.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
        table.machine().read(space, from, bytes)?;
        let mut numbers = [0; Filters::VLANS_MAX];
        let filters = Filters::parse(bytes, &mut numbers)?;
        let set = card.nic.set_filters(&filters);
        set.map_err(to_abi).map(|()| 0)
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

/// Switches a line on again that was stuck: a card that went away while it asked for an
/// interrupt holds its line until it is reset, which it was now.
fn line_on(interrupts: Interrupts, unclaimed: &mut [u32; 16], pic: &mut Pic) {
    if let Interrupts::Line(irq) = interrupts {
        let unclaimed = &mut unclaimed[usize::from(irq & 15)];
        if *unclaimed >= UNCLAIMED_MAX {
            log::info!("irq {irq}: line on again");
            pic.set_enabled(irq, true);
        }
        *unclaimed = 0;
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
    fn introduce(&mut self, self_test: bool) {
        let Card { number, nic, .. } = self;
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
    fn tell(&mut self, events: Events, table: &mut Processes) -> bool {
        if events.contains(Events::LINK) {
            self.log_state();
        }
        let bits = [
            (Events::RECEIVE, wait::NIC_RECEIVE),
            (Events::TRANSMIT_SPACE, wait::NIC_TRANSMIT),
            (Events::LINK, wait::NIC_LINK),
        ];
        let bits = bits.iter().filter(|(event, _)| events.contains(*event));
        let bits = bits.fold(0, |all, (_, bit)| all | bit);
        if bits & wait::NIC_RECEIVE != 0 {
            self.give_to_sleeper(false, table);
        }
        match self.owner {
            Some(owner) if bits != 0 => table.notify(owner, bits, true).unwrap_or(false),
            _ => false,
        }
    }

    /// Says how the link is, or that the card broke or works again: once, however often it
    /// is tried to mend it meanwhile.
    fn log_state(&mut self) {
        let (number, link) = (self.number, DisplayLink(self.nic.link()));
        let was_broken = self.broken;
        let fault = self.nic.fault();
        self.broken = fault.is_some();
        match fault {
            Some(fault) if !was_broken => log::error!("card {number}: {fault}"),
            Some(_) => {}
            None if was_broken => log::info!("card {number}: works again, {link}"),
            None => log::info!("card {number}: {link}"),
        }
    }

    fn tell_own_events(&mut self, table: &mut Processes) {
        let events = self.nic.take_events();
        if !events.is_empty() {
            self.tell(events, table);
        }
    }
}

/// A name, cut or padded with zeros.
fn padded<const LEN: usize>(name: &str) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

fn write(table: &Processes, pid: Pid, to: u64, bytes: &[u8]) -> Result<()> {
    let space = table.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
    table.machine().write(space, to, bytes)
}

fn to_abi(error: nic::Error) -> Error {
    match error {
        nic::Error::WouldBlock => Error::WouldBlock,
        nic::Error::BadLength { .. } | nic::Error::BadHeaders => Error::BadFrame,
        nic::Error::BufferTooSmall { .. } | nic::Error::TooMany { .. } => Error::TooLong,
        nic::Error::Unsupported => Error::NotSupported,
        nic::Error::BadVlan { .. } => Error::InvalidArgument,
        nic::Error::BadBuffer { .. } => Error::BadHandle,
        // The card said why when it broke.
        _ => Error::DeviceFailed,
    }
}
