//! Which driver takes which function, and what it is given: registers, an arena of memory
//! for DMA, and a way to interrupt.

use crate::arch::bus::{MachineBus, Window};
use crate::arch::messages::Messages;
use crate::arch::pci::Config;
use crate::arch::{iommu, paging};
use crate::dma::Arena;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use kernel::endpoint::{Attached, Cards, Interrupts};
use kernel::options::{Irq, Options};
use kernel::pci::{self, Driver, Drives, Function, NoDriver};
use nic::Nic;
use nic::e100::{self, E100};
use nic::igb::{self, Host, Igb, SharedHost};
use spin::Mutex;

mod virtual_functions;

/// Control/status registers of the 82559ER, in bytes (8255x OSDM §6.3).
const CSR_SIZE: usize = 64;

/// The attach table: a chip is a row here and a folder in `kernel/nic/src`.
const DRIVERS: &[Driver<Attach>] = &[
    Driver {
        name: "e100",
        chip: "Intel 82559ER",
        qemu: "i82559er",
        // 8255x OSDM §4.1.1.
        id: (0x8086, 0x1209),
        attach: attach_e100,
    },
    Driver {
        name: "igb",
        chip: "Intel 82576",
        qemu: "igb",
        // 82576EB datasheet §9.4.
        id: (0x8086, 0x10c9),
        attach: attach_igb,
    },
];

type Attach = fn(&mut Attaching, &Function) -> Result<Taken, AttachError>;

/// A driver that has taken a card, its arena, and how it interrupts.
struct Taken {
    nic: &'static mut (dyn Nic + Send),
    memory: Arena,
    interrupts: Interrupts,
    /// What serves the card's virtual functions, if it has any.
    host: Option<SharedHost<MachineBus>>,
}

/// What drivers need to take a card.
pub struct Attaching {
    /// Configuration space.
    pub config: Config,
    /// Vectors for its messages.
    pub messages: Messages,
    /// What the command line says.
    pub options: Options,
    /// Whether there is a controller for interrupt lines.
    pub has_lines: bool,
    /// No card is attached yet: the first one gets memory as long as there is any.
    pub is_first: bool,
    /// How many virtual functions the card has that is attached next.
    pub vfs: usize,
}

/// Why a card was not attached.
enum AttachError {
    NoRegisters,
    NoMemory { bytes: usize },
    Iommu(kernel::iommu::Error),
    Driver(nic::Error),
}

/// Attaches a driver to every function that has one, and tells the story of it. A card for which there
/// is no memory is left out. `ramdisk` is where cards may send from besides their buffers.
pub fn attach_all(
    functions: &[Function],
    mut attaching: Attaching,
    ramdisk: &'static [u8],
) -> Cards<Arena> {
    say_what_lacks(functions);
    let mut cards = Cards::new(paging::physical_runs(ramdisk));
    let self_test = attaching.options.self_test;
    let (mut physical, mut hosted) = (Vec::new(), Vec::new());
    for function in functions {
        let Some(driver) = pci::driver(DRIVERS, function) else {
            continue;
        };
        let virtuals = attaching.turn_on_virtual(functions, function);
        attaching.vfs = virtuals.len();
        let (names, mut take) = ((driver.name, driver.chip), driver.attach);
        let Some((attached, host)) = attaching.attach(function, names, &mut take) else {
            continue;
        };
        attaching.is_first = false;
        physical.push(attached);
        if let Some(host) = host {
            hosted.extend(virtuals.into_iter().map(|function| (function, host)));
        }
    }
    let virtuals = hosted.into_iter();
    let virtuals: Vec<_> = virtuals
        .filter_map(|(function, host)| attaching.attach_virtual(&function, host))
        .collect();
    let (first, then) = match attaching.options.vfs_first {
        true => (virtuals, physical),
        false => (physical, virtuals),
    };
    for attached in first.into_iter().chain(then) {
        let (chip, address) = (attached.chip, attached.address);
        if let Err(error) = cards.add(attached, self_test) {
            log::error!("{chip} at {address}: {error}: start with more");
        }
    }
    cards
}

/// Says which network controllers have no driver, or that there is none at all; and which
/// cards have one.
fn say_what_lacks(functions: &[Function]) {
    let has_driver = |function: &&Function| pci::driver(DRIVERS, function).is_some();
    let mut cards = functions
        .iter()
        .filter(|function| function.class == pci::NETWORK)
        .peekable();
    let mut lacks = cards.peek().is_none();
    if lacks {
        log::warn!("no network controller was found");
    }
    for function in cards.filter(|function| !has_driver(function)) {
        log::warn!("{}", NoDriver(function));
        lacks = true;
    }
    if lacks {
        log::info!("the cards that Wharf drives:");
        for driver in DRIVERS {
            log::info!("    {}", Drives(driver));
        }
    }
}

impl Attaching {
    /// Has a driver take the function. `None`, after a line that says why, if it could not.
    fn attach(
        &mut self,
        function: &Function,
        (driver, chip): (&str, &'static str),
        take: &mut dyn FnMut(&mut Self, &Function) -> Result<Taken, AttachError>,
    ) -> Option<(Attached<Arena>, Option<SharedHost<MachineBus>>)> {
        if let Err(error) = function.enable(&mut self.config) {
            log::error!("PCI function {} not enabled: {error}", function.label());
            return None;
        }
        log::info!("PCI function {} enabled", function.label());
        match take(self, function) {
            Ok(taken) => {
                let attached = Attached {
                    nic: taken.nic,
                    chip,
                    address: function.address,
                    memory: taken.memory,
                    interrupts: taken.interrupts,
                };
                Some((attached, taken.host))
            }
            Err(error) => {
                iommu::take_back(function.address);
                log::error!("{driver} at {}: {error}", function.address);
                None
            }
        }
    }

    /// A function's registers and an arena. Any card but the first leaves three quarters of the memory,
    /// and what servers need, to programs, or is not taken.
    fn bus(
        &self,
        function: &Function,
        registers: usize,
        bytes: usize,
    ) -> Result<MachineBus, AttachError> {
        let affordable = self.is_first || Arena::is_affordable(bytes);
        let arena = affordable.then(|| Arena::new(bytes)).flatten();
        let arena = arena.ok_or(AttachError::NoMemory { bytes })?;
        let window = Window::of(function, registers).ok_or(AttachError::NoRegisters)?;
        iommu::give(function.address, arena.bus_address(0), bytes).map_err(AttachError::Iommu)?;
        Ok(MachineBus::new(window, arena))
    }

    /// Gives a function the best kind of interrupt that it has and the options allow, with
    /// up to `wanted` messages.
    fn interrupts(&mut self, function: &Function, wanted: u16) -> Interrupts {
        let Attaching {
            config,
            messages,
            options,
            ..
        } = self;
        if options.irq <= Irq::MsiX
            && let Some(vectors) = messages.msi_x(config, function, wanted)
        {
            return Interrupts::MsiX(vectors);
        }
        if options.irq <= Irq::Msi
            && let Some(vectors) = messages.msi(config, function)
        {
            return Interrupts::Msi(vectors);
        }
        self.line(function)
    }

    /// The function's line, which it says so of if it leads nowhere.
    fn line(&self, function: &Function) -> Interrupts {
        match function.irq() {
            Some(irq) if irq < 16 && self.has_lines => Interrupts::Line(irq),
            _ if !self.has_lines => {
                let address = function.address;
                log::warn!(
                    "{address} has no way to interrupt: this machine has no 8259A for its line, so \
                     that it is looked after once a second only (QEMU: -M ...,pic=on)"
                );
                Interrupts::None
            }
            _ => Interrupts::None,
        }
    }
}

fn attach_e100(attaching: &mut Attaching, function: &Function) -> Result<Taken, AttachError> {
    let bus = attaching.bus(function, CSR_SIZE, e100::ARENA_SIZE)?;
    let mut nic = E100::new(bus).map_err(AttachError::Driver)?;
    let memory = nic.bus().arena();
    Ok(Taken {
        nic: for_ever(nic)?,
        memory,
        interrupts: attaching.line(function),
        host: None,
    })
}

fn attach_igb(attaching: &mut Attaching, function: &Function) -> Result<Taken, AttachError> {
    let interrupts = attaching.interrupts(function, igb::VECTORS);
    let mode = match interrupts {
        Interrupts::MsiX(vectors) => igb::InterruptMode::MsiX {
            vectors: vectors.count.into(),
        },
        Interrupts::Msi(_) => igb::InterruptMode::Msi,
        Interrupts::Line(_) | Interrupts::None => igb::InterruptMode::Intx,
    };
    let Options {
        jumbo,
        moderation_us,
        ..
    } = attaching.options;
    // All queues want 10 MiB; where that is much, fewer buffers or one queue must do.
    let (all, some, one) = (
        igb::Config::new(mode),
        igb::Config::medium(mode),
        igb::Config::small(mode),
    );
    let mut config = affordable(&[all, some, one], igb::Config::least(mode));
    config.moderation_us = moderation_us;
    if jumbo {
        config.frame_max = igb::FRAME_JUMBO;
    }
    config.vfs = attaching.vfs;
    if config.vfs > 0 {
        // The other queues are theirs.
        config.queues = config.queues.min(2);
    }
    let bytes = config.arena_size().map_err(AttachError::Driver)?;
    let bus = attaching.bus(function, igb::REGISTERS, bytes)?;
    let (nic, host) = match config.vfs {
        0 => (Igb::new(bus, config), None),
        _ => {
            let host = Host::new(bus.registers(), &config).map_err(AttachError::Driver)?;
            let host: SharedHost<_> = for_ever(Mutex::new(host))?;
            (Igb::hosting(bus, config, host), Some(host))
        }
    };
    let mut nic = nic.map_err(AttachError::Driver)?;
    let memory = nic.bus().arena();
    Ok(Taken {
        nic: for_ever(nic)?,
        memory,
        interrupts,
        host,
    })
}

/// The first of these whose arena leaves enough memory to programs, or else `least`.
fn affordable(configs: &[igb::Config], least: igb::Config) -> igb::Config {
    let is_affordable = |config: &&igb::Config| config.arena_size().is_ok_and(Arena::is_affordable);
    *configs.iter().find(is_affordable).unwrap_or(&least)
}

/// The memory of a driver, or of what it shares. Cards are never detached, so it is not given back.
fn for_ever<T: Send + 'static>(value: T) -> Result<&'static mut T, AttachError> {
    let mut place = Vec::new();
    let reserved = place.try_reserve_exact(1);
    reserved.map_err(|_| AttachError::Driver(nic::Error::NoMemory))?;
    place.push(value);
    let [value] = place.leak() else {
        return Err(AttachError::Driver(nic::Error::NoMemory));
    };
    Ok(value)
}

impl Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NoRegisters => f.write_str("firmware gave its registers no address"),
            AttachError::NoMemory { bytes } => {
                write!(
                    f,
                    "left out: no {bytes} bytes of contiguous memory for it beside the programs: \
                     start with more"
                )
            }
            AttachError::Iommu(error) => write!(f, "left out by the IOMMU: {error}"),
            AttachError::Driver(error) => error.fmt(f),
        }
    }
}
