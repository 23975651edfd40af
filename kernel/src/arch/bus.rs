//! [`nic::Bus`] on the machine: a card's registers and its DMA arena.

use super::paging;
use super::ports::PortWindow;
use super::timer;
use crate::dma::Arena;
use crate::mmio::{Mmio, Register};
use kernel::pci::{Bar, Function};
use nic::igb::SharedHost;
use nic::{Bus, BusAddr};
use x86_64::PhysAddr;

/// A card's registers. Some cards decode the same ones as memory and as I/O ports.
pub enum Window {
    /// I/O ports.
    Ports(PortWindow),
    /// Memory.
    Memory(Mmio),
}

impl Window {
    /// The first range of the function that has `needed` bytes of registers; I/O ports
    /// before memory, since under emulation they cost a third and on silicon as much.
    /// `None` if there is none, or no memory to map it.
    pub fn of(function: &Function, needed: usize) -> Option<Self> {
        let bars = || function.bars.iter().flatten();
        let fits = |bar: &&Bar| bar.is_assigned() && bar.size >= needed as u64;
        if let Some(bar) = bars().filter(fits).find(|bar| bar.is_io()) {
            let base = u16::try_from(bar.address).ok()?;
            let len = u16::try_from(bar.size).ok()?;
            // SAFETY: the function decodes these ports, and is given to one driver only;
            // its DMA goes where that driver's arena is.
            return Some(Window::Ports(unsafe { PortWindow::new(base, len) }));
        }
        let bar = bars().filter(fits).find(|bar| !bar.is_io())?;
        let memory = paging::map_device(PhysAddr::try_new(bar.address).ok()?, needed)?;
        Some(Window::Memory(memory))
    }

    /// The same registers once more.
    fn again(&self) -> Self {
        match self {
            Window::Ports(ports) => Window::Ports(ports.again()),
            Window::Memory(memory) => Window::Memory(memory.again()),
        }
    }

    fn read<T: Register>(&mut self, register: u32) -> T {
        match self {
            Window::Ports(ports) => ports.read(register),
            Window::Memory(memory) => memory.read(register as usize),
        }
    }

    fn write<T: Register>(&mut self, register: u32, value: T) {
        match self {
            Window::Ports(ports) => ports.write(register, value),
            Window::Memory(memory) => memory.write(register as usize, value),
        }
    }
}

/// A card as its driver sees it.
pub struct MachineBus {
    window: Window,
    arena: Arena,
    /// Of a virtual function: what serves it.
    host: Option<SharedHost<MachineBus>>,
}

impl MachineBus {
    /// Registers and arena of one card.
    pub fn new(window: Window, arena: Arena) -> Self {
        MachineBus {
            window,
            arena,
            host: None,
        }
    }

    /// The same of a virtual function. While its driver waits, this host works.
    pub fn hosted_by(self, host: SharedHost<MachineBus>) -> Self {
        MachineBus {
            host: Some(host),
            ..self
        }
    }

    /// The same registers once more, for another part of the card's driver, with no memory.
    pub fn registers(&self) -> Self {
        MachineBus::new(self.window.again(), Arena::none())
    }

    /// Its arena, for whoever copies frames: never freed from now on.
    pub fn arena(&mut self) -> Arena {
        self.arena.for_ever()
    }
}

impl Bus for MachineBus {
    fn read8(&mut self, register: u32) -> u8 {
        self.window.read(register)
    }

    fn read16(&mut self, register: u32) -> u16 {
        self.window.read(register)
    }

    fn read32(&mut self, register: u32) -> u32 {
        self.window.read(register)
    }

    fn write8(&mut self, register: u32, value: u8) {
        self.window.write(register, value);
    }

    fn write16(&mut self, register: u32, value: u16) {
        self.window.write(register, value);
    }

    fn write32(&mut self, register: u32, value: u32) {
        self.window.write(register, value);
    }

    fn arena_len(&self) -> usize {
        self.arena.len()
    }

    fn bus_addr(&self, offset: usize) -> BusAddr {
        BusAddr(self.arena.bus_address(offset))
    }

    fn load16(&mut self, offset: usize) -> u16 {
        self.arena.load(offset)
    }

    fn load32(&mut self, offset: usize) -> u32 {
        self.arena.load(offset)
    }

    fn store16(&mut self, offset: usize, value: u16) {
        self.arena.store(offset, value);
    }

    fn store32(&mut self, offset: usize, value: u32) {
        self.arena.store(offset, value);
    }

    fn load_quads<const N: usize>(&mut self, offset: usize) -> [u64; N] {
        self.arena.load_all(offset)
    }

    fn store_quads<const N: usize>(&mut self, offset: usize, quads: [u64; N]) {
        self.arena.store_all(offset, quads);
    }

    fn copy_quads<const N: usize>(&mut self, from: usize, to: usize) {
        self.arena.copy_all::<u64, N>(from, to);
    }

    fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        self.arena.copy_in(offset, bytes);
    }

    fn copy_out(&mut self, offset: usize, bytes: &mut [u8]) {
        self.arena.copy_out(offset, bytes);
    }

    fn fence(&mut self) {
        self.arena.fence();
    }

    fn delay_us(&mut self, us: u32) {
        timer::delay_us(us);
        if let Some(mut host) = self.host.and_then(|host| host.try_lock()) {
            host.attend();
        }
    }
}
