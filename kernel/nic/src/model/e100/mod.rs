//! The 82559ER in software, as strict as its manual (see [`crate::e100`]) or as odd as QEMU's.
//!
//! What it checks, by panic: register widths, commands before the last one was taken, START and
//! RESUME in the wrong state, a RESUME without new work, the 10 us after a reset, EEPROM timing,
//! blocks and descriptors touched while they are the card's, blocks executed twice, unread frames
//! overwritten, transmission before set-up, zero-length frames, a base that was never loaded.

mod bus;
mod eeprom;
mod units;

pub use self::bus::E100Bus;

use self::eeprom::Eeprom;
use self::units::{CommandUnit, CuState, ReceiveUnit, RuState};
use super::{Memory, Pace, Rng};
use crate::e100::ARENA_SIZE;
use crate::{BusAddr, MacAddress};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{RefCell, RefMut};
use core::mem::take;

/// Whose habits the model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The manual's: data before status; S looked at again on RESUME; end-of-frame bits set.
    Silicon,
    /// QEMU 10's: status before data; a synchronous command unit that stops after 16 blocks and
    /// replays old ones if told to; a line that stays up until all causes are acknowledged.
    Qemu,
}

impl Behaviour {
    /// Both.
    pub const ALL: [Behaviour; 2] = [Behaviour::Silicon, Behaviour::Qemu];
}

/// What can be broken about a card.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defects {
    /// A reset never ends.
    pub reset_hangs: bool,
    /// Frames that are too short are stored all the same.
    pub keeps_short: bool,
    /// A reset takes so long.
    pub reset_us: u64,
    /// The command byte keeps its value.
    pub command_sticks: bool,
    /// A command is taken no sooner than so long after it was written.
    pub command_us: u64,
    /// The command unit takes commands but does nothing.
    pub command_unit_dead: bool,
    /// The command unit completes blocks without OK.
    pub blocks_fail: bool,
    /// The management interface is never ready.
    pub mdi_sticks: bool,
    /// The card is gone: all reads are ones.
    pub gone: bool,
    /// Causes come up, but the line stays low.
    pub line_cut: bool,
}

#[derive(Debug)]
struct Incoming {
    bytes: Vec<u8>,
    good: bool,
}

/// The card's inside.
#[derive(Debug)]
struct Card {
    behaviour: Behaviour,
    pace: Pace,
    rng: Rng,
    memory: Memory,
    now_us: u64,
    /// Moments for which it will do nothing.
    frozen: u64,
    reset_at_us: Option<u64>,
    busy_until_us: u64,
    cu: CommandUnit,
    ru: ReceiveUnit,
    cu_base: Option<u32>,
    ru_base: Option<u32>,
    dump_address: Option<u32>,
    ack: u8,
    mask: u8,
    /// QEMU's line, which is a memory of its own.
    latched_line: bool,
    pending_command: u8,
    commanded_at_us: u64,
    pointer: u32,
    eeprom: Eeprom,
    mdi: u32,
    mdi_ready_at_us: u64,
    link_up: bool,
    /// What the partner at the cable's other end offers, if it negotiates (ANLPAR), and how the
    /// transceiver is set for one that does not (BMCR).
    offered: Option<u16>,
    control: u16,
    /// BMSR latches "down" until it is read.
    link_was_down: bool,
    defects: Defects,
    counters: [u32; 16],
    incoming: VecDeque<Incoming>,
    /// Steps until the next of them begins.
    gap: usize,
    delivered: Vec<Vec<u8>>,
    dropped: u64,
    register_reads: u64,
    register_writes: u64,
}

impl Card {
    fn moves_by_itself(&self) -> bool {
        self.pace != Pace::Doorbell
    }

    /// Time passes: the card may act.
    fn moments(&mut self, moments: u64) {
        if !self.moves_by_itself() || self.defects.gone {
            return;
        }
        let thawed = moments.saturating_sub(self.frozen);
        self.frozen -= moments.min(self.frozen);
        for _ in 0..thawed.min(64) {
            if self.pace == Pace::Stalling && self.rng.one_in(64) {
                self.frozen = self.rng.below(400) as u64;
                return;
            }
            if self.pending_command != 0 && self.rng.one_in(3) {
                self.take_command();
            }
            // Mostly a little; now and then much at once, as when the driver's own thread stands.
            let most = if self.rng.one_in(100) { 400 } else { 4 };
            for _ in 0..self.rng.below(most) {
                self.step();
            }
        }
    }

    fn before_register(&mut self) {
        if let Some(at) = self.reset_at_us {
            assert!(
                self.now_us >= at + 10,
                "register access within 10 us of a PORT reset (OSDM 6.3.3)"
            );
            self.reset_at_us = None;
        }
        self.moments(1);
        if self.behaviour == Behaviour::Qemu {
            self.finish_frame();
        }
    }

    fn status(&self) -> u8 {
        let cu = match self.cu.state {
            CuState::Idle if self.defects.reset_hangs || self.now_us < self.busy_until_us => 0x80,
            CuState::Idle => 0,
            CuState::Suspended => 0x40,
            CuState::Active => 0x80,
        };
        let ru = match self.ru.state {
            RuState::Idle => 0,
            RuState::NoResources => 0x08,
            RuState::Ready => 0x10,
        };
        cu | ru
    }

    fn take_command(&mut self) {
        let taken_at_us = self.commanded_at_us + self.defects.command_us;
        if self.defects.command_sticks || self.now_us < taken_at_us {
            return;
        }
        let pointer = self.pointer;
        let command = take(&mut self.pending_command);
        if !matches!(command, 0x40 | 0x60 | 0x06) {
            assert_eq!(self.cu_base, Some(0), "command before LOAD CU BASE");
            assert_eq!(self.ru_base, Some(0), "command before LOAD RU BASE");
        }
        match command {
            0x10 | 0x20 if self.defects.command_unit_dead => {}
            0x10 => self.cu_start(pointer),
            0x20 => self.cu_resume(),
            0x40 => self.dump_address = Some(pointer),
            0x60 => self.cu_base = Some(pointer),
            0x70 => self.dump(),
            0x01 => self.ru_start(pointer),
            0x06 => self.ru_base = Some(pointer),
            other => panic!("command {other:#04x} is not modelled"),
        }
    }

    fn dump(&mut self) {
        let address = self.dump_address.expect("dump before LOAD DUMP ADDRESS");
        let offset = self.memory.offset(address.into(), 84);
        for (index, counter) in take(&mut self.counters).iter().enumerate() {
            self.memory.store32(offset + 4 * index, *counter);
        }
        self.memory.store32(offset + 64, 0xa007);
    }

    fn raise(&mut self, causes: u8) {
        self.ack |= causes;
        self.evaluate_line();
    }

    fn wanted_line(&self) -> bool {
        let through = !self.mask | 0x0f;
        self.mask & 1 == 0 && self.ack & through != 0
    }

    fn evaluate_line(&mut self) {
        self.latched_line = self.wanted_line();
    }

    fn acknowledge(&mut self, causes: u8) {
        self.ack &= !causes;
        if self.ack == 0 {
            self.latched_line = false;
        }
    }

    fn line(&self) -> bool {
        if self.defects.line_cut || self.defects.gone {
            return false;
        }
        match self.behaviour {
            Behaviour::Silicon => self.wanted_line(),
            Behaviour::Qemu => self.latched_line,
        }
    }

    fn reset(&mut self, kind: u32) {
        assert!(matches!(kind, 0 | 2), "PORT command {kind} is not modelled");
        assert!(
            kind == 2 || self.cu.state != CuState::Active && self.ru.state != RuState::Ready,
            "a software reset while a unit is at work (OSDM 6.3.3)"
        );
        self.reset_at_us = Some(self.now_us);
        self.busy_until_us = self.now_us + self.defects.reset_us;
        self.pending_command = 0;
        self.ru = ReceiveUnit::default();
        self.cu.state = CuState::Idle;
        self.mask = 0;
        self.ack = 0;
        if kind == 0 && self.behaviour == Behaviour::Silicon {
            self.cu_base = None;
            self.ru_base = None;
            self.dump_address = None;
            self.cu.configured = false;
            self.cu.mac = None;
            self.counters = [0; 16];
        }
    }

    fn phy_register(&mut self, register: u32) -> u16 {
        match register {
            0 => self.control,
            1 => {
                let up = self.link_up && !take(&mut self.link_was_down);
                let link = if up { 1 << 2 } else { 0 };
                let negotiated = up && self.offered.is_some();
                0x7809 | link | u16::from(negotiated) << 5
            }
            4 => 0x05e1,
            5 => self.offered.unwrap_or(0),
            other => panic!("transceiver register {other} is not modelled"),
        }
    }

    fn mdi_cycle(&mut self, cycle: u32) {
        assert!(
            self.now_us >= self.mdi_ready_at_us,
            "management cycle before the last one was over"
        );
        assert_eq!(cycle >> 26, 2, "only read cycles are modelled");
        let value = match cycle >> 21 & 0x1f {
            1 => self.phy_register(cycle >> 16 & 0x1f),
            _ => 0xffff,
        };
        self.mdi = cycle & 0xffff_0000 | u32::from(value);
        if self.behaviour == Behaviour::Qemu {
            // Without looking at the line, but the next event will.
            self.ack |= 0x08;
        } else {
            self.mdi_ready_at_us = self.now_us + 26;
        }
    }
}

/// A model of the card: the wire's end, and the test's. Clones are the same card.
#[derive(Clone, Debug)]
pub struct E100Model(Rc<RefCell<Card>>);

impl E100Model {
    /// Where the arena starts for the card: far from zero, and near the end of what it reaches.
    pub const ARENA_BASE: BusAddr = BusAddr(0xfe00_0000);

    /// A card just powered on, with this station address in an EEPROM of 64 words.
    pub fn new(behaviour: Behaviour, pace: Pace, seed: u64, mac: MacAddress) -> Self {
        let qemu = behaviour == Behaviour::Qemu;
        // QEMU keeps over a reset what another driver, say a boot ROM, has left there.
        let left = qemu.then_some(0x1000);
        E100Model(Rc::new(RefCell::new(Card {
            behaviour,
            pace,
            rng: Rng::new(seed),
            memory: Memory::paced(Self::ARENA_BASE, ARENA_SIZE, pace, seed),
            now_us: 0,
            frozen: 0,
            reset_at_us: None,
            busy_until_us: 0,
            cu: CommandUnit::default(),
            ru: ReceiveUnit::default(),
            cu_base: left,
            ru_base: left,
            dump_address: left,
            ack: 0,
            mask: 0,
            latched_line: qemu,
            pending_command: 0,
            commanded_at_us: 0,
            pointer: 0,
            eeprom: Eeprom::new(mac, 6),
            mdi: 0,
            mdi_ready_at_us: 0,
            link_up: true,
            offered: Some(0x41e1),
            control: 0x3000,
            link_was_down: false,
            defects: Defects::default(),
            counters: [if qemu { 7 } else { 0 }; 16],
            incoming: VecDeque::new(),
            gap: 0,
            delivered: Vec::new(),
            dropped: 0,
            register_reads: 0,
            register_writes: 0,
        })))
    }

    fn card(&self) -> RefMut<'_, Card> {
        self.0.borrow_mut()
    }

    /// The card's bus, for its driver.
    pub fn bus(&self) -> E100Bus {
        E100Bus::new(self.clone())
    }

    /// A frame comes in from the wire. At [`Pace::Doorbell`] it is stored at once.
    pub fn arrive(&self, frame: &[u8]) {
        self.arrive_as(frame, true);
    }

    /// A frame with a wrong checksum comes in, and the card stores it all the same.
    pub fn arrive_bad(&self, frame: &[u8]) {
        self.arrive_as(frame, false);
    }

    fn arrive_as(&self, frame: &[u8], good: bool) {
        let mut bytes = frame.to_vec();
        let mut card = self.card();
        if card.behaviour == Behaviour::Qemu && bytes.len() < 60 {
            bytes.resize(60, 0);
        }
        card.incoming.push_back(Incoming { bytes, good });
        if !card.moves_by_itself() {
            while card.receive_step() {}
        }
    }

    /// Moves the arena.
    pub fn replace_arena(&self, base: BusAddr, len: usize) {
        let mut card = self.card();
        let seed = card.rng.next();
        card.memory = Memory::paced(base, len, card.pace, seed);
    }

    /// Time passes without the driver: so many moments in which the card may act.
    pub fn idle(&self, moments: u64) {
        let mut card = self.card();
        card.memory.fence();
        card.moments(moments);
        card.memory.order_loads();
    }

    /// Lets the card do all that it has to do: commands, blocks, frames.
    pub fn settle(&self) {
        let mut card = self.card();
        if card.defects.gone {
            return;
        }
        card.frozen = 0;
        card.memory.fence();
        if card.pending_command != 0 {
            card.take_command();
        }
        while card.step() {}
        card.memory.order_loads();
    }

    /// The frames that the card has sent since the last call.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        take(&mut self.card().cu.frames)
    }

    /// The frames that the card has stored without error since the last call.
    pub fn take_delivered(&self) -> Vec<Vec<u8>> {
        take(&mut self.card().delivered)
    }

    /// Frames that came in and are not stored yet.
    pub fn arriving(&self) -> usize {
        let card = self.card();
        card.incoming.len()
    }

    /// Frames that the card dropped because it had no descriptor.
    pub fn dropped(&self) -> u64 {
        self.card().dropped
    }

    /// Whether the card asserts its interrupt line.
    pub fn line(&self) -> bool {
        let mut card = self.card();
        // Whoever is interrupted has done nothing early.
        card.memory.order_loads();
        card.line()
    }

    /// Breaks or mends the card.
    pub fn set_defects(&self, defects: Defects) {
        self.card().defects = defects;
    }

    /// Pulls the cable, or plugs it in.
    pub fn set_link(&self, up: bool) {
        let mut card = self.card();
        card.link_up = up;
        card.link_was_down |= !up;
    }

    /// What the cable's other end offers from now on (ANLPAR), if it negotiates; how the transceiver
    /// is set (BMCR) if not.
    pub fn set_partner(&self, offered: Option<u16>, control: u16) {
        let mut card = self.card();
        (card.offered, card.control) = (offered, control);
    }

    /// Causes come up that nobody asked for.
    pub fn raise(&self, causes: u8) {
        self.card().raise(causes);
    }

    /// Replaces the EEPROM by one with another address and address width.
    pub fn replace_eeprom(&self, mac: MacAddress, width: u32) {
        self.card().eeprom = Eeprom::new(mac, width);
    }

    /// Takes the EEPROM out.
    pub fn remove_eeprom(&self) {
        self.card().eeprom.present = false;
    }

    /// Changes a word of the EEPROM without mending the sum.
    pub fn spoil_eeprom(&self, word: usize, value: u16) {
        self.card().eeprom.words[word] = value;
    }

    /// The station address that the driver has set.
    pub fn station_address(&self) -> Option<MacAddress> {
        self.card().cu.mac
    }

    /// The codes of the commands executed, in order, since the last call.
    pub fn take_executed(&self) -> Vec<u16> {
        take(&mut self.card().cu.executed)
    }

    /// Reads and writes of registers so far.
    pub fn register_accesses(&self) -> (u64, u64) {
        let card = self.card();
        (card.register_reads, card.register_writes)
    }

    /// Microseconds that the driver has waited so far.
    pub fn waited_us(&self) -> u64 {
        self.card().now_us
    }

    /// Whether both units are idle and all interrupts masked.
    pub fn is_quiet(&self) -> bool {
        let card = self.card();
        card.status() == 0 && card.mask & 1 != 0
    }
}
