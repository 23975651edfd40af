//! The 82576 in software, as strict as its manual (see [`crate::igb`]) or as odd as QEMU's.
//!
//! What it checks, by panic: registers it does not know, rings that are not aligned or whose head is
//! not their start, tails outside the ring, descriptors and buffers touched while they are the
//! card's or given twice, descriptors without buffer, frames without checksum command, contexts that
//! do not fit their frame, sums of pseudo headers, segments with FIN, frames no card takes, resets of
//! a card that is not at rest, and registers touched before it has recovered from one.
//!
//! As silicon, its registers are written late: a write may be on its way until any register is read.

mod bus;
mod frames;
mod functions;
mod interrupts;
mod mailbox;
mod pools;
mod receive;
mod resets;
mod rings;
mod transmit;

pub use self::bus::IgbBus;
pub use self::functions::Function;

use self::frames::Incoming;
use self::functions::{Arena, POOLS, Vf};
use self::interrupts::Interrupts;
use self::mailbox::Mailboxes;
use self::receive::RxQueue;
use self::resets::Resets;
use self::transmit::TxQueue;
use super::{Pace, Rng};
use crate::igb::{InterruptMode, QUEUES};
use crate::{BusAddr, MacAddress};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{RefCell, RefMut};
use core::mem::take;

/// Whose habits the model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// The manual's: late writes, causes that messages mask, short frames padded, FIN and PSH in the
    /// last segment, sums that start where the driver says.
    Silicon,
    /// QEMU 10's: writes at once, no masking by messages, no padding, no FIN and PSH in segments,
    /// headers and sums found by itself, bits that never come.
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
    /// The card's requests on the bus never end.
    pub requests_hang: bool,
    /// A queue is never enabled.
    pub queue_sticks: bool,
    /// The EEPROM never answers.
    pub eeprom_sticks: bool,
    /// The management interface is never ready.
    pub mdi_sticks: bool,
    /// Nobody answers on the management interface.
    pub mdi_error: bool,
    /// The card is gone: all reads are ones.
    pub gone: bool,
    /// Causes come up, but no line and no message.
    pub line_cut: bool,
    /// Transmit queues take descriptors but do nothing.
    pub transmit_dead: bool,
    /// What is sent in loopback comes back changed.
    pub loopback_spoils: bool,
    /// Heads read as this: those of the transmit queues, or else of the receive queues.
    pub head: Option<(u32, bool)>,
    /// The next frame is stored with a lie.
    pub lie: Option<Lie>,
}

/// What can be wrong in a receive descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A length beyond the buffer.
    Long,
    /// A last piece of nothing.
    Empty,
    /// A piece that does not fill its buffer, though more follow.
    Gap,
    /// Full pieces without end.
    Endless,
    /// All bits set.
    Ones,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 5] = [Lie::Long, Lie::Empty, Lie::Gap, Lie::Endless, Lie::Ones];
}

/// A frame that the card has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// By which queue.
    pub queue: usize,
    /// What is on the wire, without checksum.
    pub bytes: Vec<u8>,
}

/// The card's inside.
#[derive(Debug)]
struct Card {
    behaviour: Behaviour,
    pace: Pace,
    rng: Rng,
    pf: Arena,
    vf_arenas: Vec<Arena>,
    vfs: Vec<Vf>,
    now_us: u64,
    /// Moments for which it will do nothing.
    frozen: u64,
    /// Registers without life of their own, by offset / 4.
    registers: Box<[u32]>,
    /// Writes on their way.
    posted: VecDeque<(Function, u32, u32)>,
    resets: Resets,
    mac: MacAddress,
    eeprom: Vec<u16>,
    eerd: u32,
    eerd_ready_at_us: u64,
    mdic: u32,
    mdic_ready_at_us: u64,
    phy_id: u16,
    is_second_port: bool,
    cable: bool,
    /// What the partner at the cable's other end agrees to: bits of STATUS.
    agreed: u32,
    link_up: bool,
    negotiated_at_us: Option<u64>,
    negotiations: u64,
    interrupts: Interrupts,
    mailbox: Mailboxes,
    tx: Vec<TxQueue>,
    rx: Vec<RxQueue>,
    incoming: VecDeque<Incoming>,
    /// Steps until the next of them begins.
    gap: usize,
    sent: Vec<Sent>,
    delivered: Vec<Vec<u8>>,
    dropped: u64,
    defects: Defects,
    /// Counters of 32 bits, by (offset - 0x4000) / 4, and of 64 bits.
    counters: [u32; 0x44],
    octets: [u64; 4],
    pool_counters: [pools::Counters; POOLS],
    spoofed: u64,
    /// Transmit descriptors written back.
    reports: u64,
    register_reads: u64,
    register_writes: u64,
}

const REGISTERS: usize = 0x1_0000;
/// Negotiation takes so long.
const NEGOTIATION_US: u64 = 500_000;
const PHY_ID: u16 = 0x02a8;
/// Full duplex, 1000 Mb/s; in STATUS.
const GIGABIT: u32 = 0x81;

impl Card {
    fn moves_by_itself(&self) -> bool {
        self.pace != Pace::Doorbell
    }

    /// Time passes: the card may act.
    fn moments(&mut self, moments: u64) {
        self.negotiate();
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
            if self.rng.one_in(3) {
                self.apply_one();
            }
            // Mostly a little; now and then much at once, as when the driver's own thread stands.
            let most = if self.rng.one_in(100) { 400 } else { 4 };
            for _ in 0..self.rng.below(most) {
                self.step();
            }
        }
    }

    /// One thing that the card does by itself; false if there is nothing to do.
    fn step(&mut self) -> bool {
        let send_first = self.rng.one_in(2);
        send_first && self.transmit_step() || self.receive_step() || self.transmit_step()
    }

    fn run(&mut self) {
        while self.transmit_step() || self.receive_step() {}
    }

    fn elapse(&mut self, us: u64) {
        self.now_us += us;
        self.negotiate();
    }

    fn negotiate(&mut self) {
        if self.negotiated_at_us.is_some_and(|at| self.now_us >= at) {
            self.negotiated_at_us = None;
            if self.cable && !self.link_up && self.lets_link_up() {
                self.link_up = true;
                self.raise(interrupts::LSC);
            }
        }
    }

    fn restart_negotiation(&mut self) {
        self.negotiations += 1;
        if self.link_up {
            self.link_up = false;
            self.raise(interrupts::LSC);
        }
        self.negotiated_at_us = Some(self.now_us + NEGOTIATION_US);
    }

    fn register(&self, offset: u32) -> u32 {
        self.registers[offset as usize / 4]
    }

    fn register_mut(&mut self, offset: u32) -> &mut u32 {
        &mut self.registers[offset as usize / 4]
    }

    /// CTRL.RST, and power.
    fn reset(&mut self) {
        self.posted.clear();
        self.registers.fill(0);
        // An EEPROM may have speed and duplex forced (§8.2.1), say to 10 Mb/s.
        *self.register_mut(0) = match self.behaviour {
            Behaviour::Silicon => 0x0010_1809,
            Behaviour::Qemu => 0x0010_0209,
        };
        *self.register_mut(0x10) = 0x0000_1110;
        *self.register_mut(0x400) = 0xa404_00f8;
        *self.register_mut(0x5000) = 0x300;
        *self.register_mut(0x5004) = 0x2600;
        *self.register_mut(0xc028) = 0x0201_0000;
        *self.register_mut(0xe028) = 0x0200_0000;
        let [a, b, c, d, e, f] = self.mac;
        *self.register_mut(0x5400) = u32::from_le_bytes([a, b, c, d]);
        *self.register_mut(0x5404) = u32::from_le_bytes([e, f, 0, 0x80]);
        self.interrupts.reset();
        self.tx = (0..QUEUES).map(|_| TxQueue::default()).collect();
        self.rx = (0..QUEUES).map(|_| RxQueue::default()).collect();
        for arena in self.all_arenas() {
            arena.owners.release_all();
        }
        for vf in &mut self.vfs {
            vf.is_lost = true;
        }
        self.mailbox = Mailboxes::new();
        self.pool_counters = Default::default();
        for allows in [functions::VFRE, functions::VFTE] {
            *self.register_mut(allows) = 0xff;
        }
        // Of each pool: the checksum is taken off, and no frame is longer than usual.
        for pool in 0..POOLS as u32 {
            *self.register_mut(0x5ad0 + 4 * pool) = 0x8000_2600;
        }
        *self.register_mut(0x5af0) = 0x8000_0000;
        self.link_up = false;
        self.negotiated_at_us = None;
        self.counters = [0; 0x44];
        self.octets = [0; 4];
        if self.behaviour == Behaviour::Silicon {
            // Without a link, noise on the wire counts as errors.
            self.count(0x4004, 3);
        }
    }

    /// All that any driver has stored is there.
    fn fence(&mut self) {
        self.all_arenas().for_each(|arena| arena.memory.fence());
    }

    /// What any driver loads from now on is not older than this.
    fn order_loads(&mut self) {
        self.all_arenas()
            .for_each(|arena| arena.memory.order_loads());
    }

    fn count(&mut self, register: u32, by: u32) {
        let counter = &mut self.counters[(register as usize - 0x4000) / 4];
        *counter = counter.saturating_add(by);
    }
}

/// A model of the card: the wire's end, and the test's. Clones are the same card.
#[derive(Clone, Debug)]
pub struct IgbModel(Rc<RefCell<Card>>);

impl IgbModel {
    /// Where the arena starts for the card: beyond 4 GiB, and so far from zero.
    pub const ARENA_BASE: BusAddr = BusAddr(0x12_fe00_0000);

    /// A card just powered on, with this station address, so much memory, and these interrupts.
    pub fn new(
        behaviour: Behaviour,
        pace: Pace,
        seed: u64,
        mac: MacAddress,
        arena: usize,
        mode: InterruptMode,
    ) -> Self {
        let mut card = Card {
            behaviour,
            pace,
            rng: Rng::new(seed),
            pf: Arena::new(Self::ARENA_BASE, arena, pace, seed),
            vf_arenas: Vec::new(),
            vfs: Vec::new(),
            now_us: 0,
            frozen: 0,
            registers: vec![0; REGISTERS / 4].into_boxed_slice(),
            posted: VecDeque::new(),
            resets: Resets::default(),
            mac,
            eeprom: eeprom(mac),
            eerd: 0,
            eerd_ready_at_us: 0,
            mdic: 0,
            mdic_ready_at_us: 0,
            phy_id: PHY_ID,
            is_second_port: false,
            cable: true,
            agreed: GIGABIT,
            link_up: false,
            negotiated_at_us: None,
            negotiations: 0,
            interrupts: Interrupts::new(mode),
            mailbox: Mailboxes::new(),
            tx: Vec::new(),
            rx: Vec::new(),
            incoming: VecDeque::new(),
            gap: 0,
            sent: Vec::new(),
            delivered: Vec::new(),
            dropped: 0,
            defects: Defects::default(),
            counters: [0; 0x44],
            octets: [0; 4],
            pool_counters: Default::default(),
            spoofed: 0,
            reports: 0,
            register_reads: 0,
            register_writes: 0,
        };
        card.reset();
        // Left by another driver, say a boot ROM: interrupts, both directions, and the bus.
        card.interrupts.leave_unmasked();
        *card.register_mut(0) |= resets::MASTER_DISABLE;
        *card.register_mut(0x100) = resets::ENABLE;
        *card.register_mut(0x400) |= resets::ENABLE;
        IgbModel(Rc::new(RefCell::new(card)))
    }

    fn card(&self) -> RefMut<'_, Card> {
        self.0.borrow_mut()
    }

    /// The card's bus, for its driver.
    pub fn bus(&self) -> IgbBus {
        IgbBus::new(self.clone(), Function::Physical)
    }

    /// A frame comes in from the wire. At [`Pace::Doorbell`] it is stored at once.
    pub fn arrive(&self, frame: &[u8]) {
        let mut card = self.card();
        let incoming = Incoming::new(frame, false);
        card.incoming.push_back(incoming);
        if !card.moves_by_itself() {
            card.run();
        }
    }

    /// A frame comes in damaged, and the card stores it all the same.
    pub fn arrive_damaged(&self, frame: &[u8]) {
        let mut card = self.card();
        let incoming = Incoming::new(frame, true);
        card.incoming.push_back(incoming);
        if !card.moves_by_itself() {
            card.run();
        }
    }

    /// Moves the arena.
    pub fn replace_arena(&self, base: BusAddr, len: usize) {
        let mut card = self.card();
        let seed = card.rng.next();
        card.pf = Arena::new(base, len, card.pace, seed);
    }

    /// Time passes without the driver: so many moments in which the card may act.
    pub fn idle(&self, moments: u64) {
        let mut card = self.card();
        card.fence();
        card.moments(moments);
        card.order_loads();
    }

    /// So many microseconds pass.
    pub fn elapse(&self, us: u64) {
        self.card().elapse(us);
    }

    /// Lets the card do all that it has to do: writes, descriptors, frames.
    pub fn settle(&self) {
        let mut card = self.card();
        if card.defects.gone {
            return;
        }
        card.frozen = 0;
        card.fence();
        card.apply_all();
        card.run();
        card.order_loads();
    }

    /// The frames that the card has sent since the last call.
    pub fn take_sent(&self) -> Vec<Sent> {
        take(&mut self.card().sent)
    }

    /// The frames that the card has stored since the last call.
    pub fn take_delivered(&self) -> Vec<Vec<u8>> {
        take(&mut self.card().delivered)
    }

    /// Frames that came in and are not stored yet.
    pub fn arriving(&self) -> usize {
        self.card().incoming.len()
    }

    /// Frames that the card did not want, or dropped because it had no buffer.
    pub fn dropped(&self) -> u64 {
        self.card().dropped
    }

    /// Counts octets of frames that nobody has to make: received, or else sent.
    pub fn count_octets(&self, received: u64, sent: u64) {
        let mut card = self.card();
        for (sum, by) in card.octets.iter_mut().zip([received, sent, received, sent]) {
            *sum += by;
        }
    }

    /// Transmit descriptors that the card has written back so far.
    pub fn reports(&self) -> u64 {
        self.card().reports
    }

    /// Whether the card asserts its interrupt line.
    pub fn line(&self) -> bool {
        let mut card = self.card();
        // Whoever is interrupted has done nothing early.
        card.pf.memory.order_loads();
        !card.defects.line_cut && !card.defects.gone && card.interrupts.line()
    }

    /// The next message that the card has sent.
    pub fn take_message(&self) -> Option<u16> {
        let mut card = self.card();
        card.pf.memory.order_loads();
        card.interrupts.take_message()
    }

    /// Breaks or mends the card.
    pub fn set_defects(&self, defects: Defects) {
        self.card().defects = defects;
    }

    /// Pulls the cable, or plugs it in.
    pub fn set_link(&self, up: bool) {
        let mut card = self.card();
        card.cable = up;
        if up {
            card.negotiated_at_us = Some(card.now_us + NEGOTIATION_US);
        } else if card.link_up {
            card.link_up = false;
            card.raise(interrupts::LSC);
        }
    }

    /// What negotiation comes to from now on: 10, 100 or 1000 Mb/s, and whether in full duplex.
    pub fn set_partner(&self, speed_mbps: u16, full_duplex: bool) {
        let speed = match speed_mbps {
            10 => 0,
            100 => 1 << 6,
            // Both values mean this (§8.2.2).
            1000 if full_duplex => 2 << 6,
            _ => 3 << 6,
        };
        self.card().agreed = speed | u32::from(full_duplex);
    }

    /// Makes this the second port of its chip.
    pub fn be_second_port(&self) {
        self.card().is_second_port = true;
    }

    /// Has the transceiver say that it is another, or none.
    pub fn replace_transceiver(&self, id: u16) {
        self.card().phy_id = id;
    }

    /// Whether there is a link.
    pub fn link_up(&self) -> bool {
        self.card().link_up
    }

    /// How often the driver has had the link negotiated.
    pub fn negotiations(&self) -> u64 {
        self.card().negotiations
    }

    /// Changes a word of the EEPROM without mending the sum.
    pub fn spoil_eeprom(&self, word: usize, value: u16) {
        self.card().eeprom[word] = value;
    }

    /// Gives the card an EEPROM with this station address; the registers keep theirs.
    pub fn replace_eeprom(&self, mac: MacAddress) {
        self.card().eeprom = eeprom(mac);
    }

    /// The same, and the registers have it too.
    pub fn replace_mac(&self, mac: MacAddress) {
        let mut card = self.card();
        card.mac = mac;
        card.eeprom = eeprom(mac);
    }

    /// Reads and writes of registers so far.
    pub fn register_accesses(&self) -> (u64, u64) {
        let card = self.card();
        (card.register_reads, card.register_writes)
    }

    /// Microseconds that have passed so far.
    pub fn now_us(&self) -> u64 {
        self.card().now_us
    }

    /// A register as the driver left it.
    pub fn register(&self, offset: u32) -> u32 {
        let mut card = self.card();
        card.apply_all();
        card.register(offset)
    }

    /// The moderation of a vector.
    pub fn moderation(&self, vector: usize) -> u32 {
        let mut card = self.card();
        card.apply_all();
        card.interrupts.moderation(vector)
    }

    /// Whether the card neither sends nor receives, and all interrupts are masked.
    pub fn is_quiet(&self) -> bool {
        let mut card = self.card();
        card.apply_all();
        card.register(0x100) & 2 == 0
            && card.register(0x400) & 2 == 0
            && card.interrupts.masked(card.vfs.len())
    }
}

/// An EEPROM with this address, whose first 64 words add up.
fn eeprom(mac: MacAddress) -> Vec<u16> {
    let mut words = vec![0; 1024];
    for (word, bytes) in words.iter_mut().zip(mac.as_chunks::<2>().0) {
        *word = u16::from_le_bytes(*bytes);
    }
    words[11] = 0x10c9;
    words[13] = 0x10c9;
    let sum = words.iter().fold(0u16, |sum, &word| sum.wrapping_add(word));
    words[0x3f] = 0xbaba_u16.wrapping_sub(sum);
    words
}
