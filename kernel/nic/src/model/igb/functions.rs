//! The functions of the card: the physical one, and virtual ones when they are on (datasheet §7.8).
//!
//! Each has an arena of its own. A queue belongs to one function: queues n and n + 8 to VF n, if that is
//! on, and all others to the PF (§7.10.2).

use super::rings::{Owners, rx_base, tx_base};
use super::{Card, IgbBus, IgbModel, TxQueue};
use crate::model::{Memory, Pace};
use crate::{BusAddr, MacAddress};
use alloc::collections::VecDeque;

/// Entries of a VF's, and the bits of EICR that are its own.
pub(super) const VF_VECTORS: u32 = 3;
/// Pools of queues, and VFs that there can be.
pub(super) const POOLS: usize = 8;
/// How far the arenas of two functions are from each other on the bus.
const APART: u64 = 0x10_0000_0000;

/// Who accesses the card, or has a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The physical function.
    Physical,
    /// A virtual one.
    Virtual(usize),
}

/// The memory of a function, and whose each part of it is.
#[derive(Debug)]
pub(super) struct Arena {
    pub memory: Memory,
    pub owners: Owners,
}

impl Arena {
    pub fn new(base: BusAddr, len: usize, pace: Pace, seed: u64) -> Self {
        Arena {
            memory: Memory::paced(base, len, pace, seed),
            owners: Owners::new(len),
        }
    }
}

/// A VF that is on.
#[derive(Debug)]
pub(super) struct Vf {
    /// Its own command register lets it read and write memory.
    pub is_master: bool,
    /// Somebody else has reset it, or the whole card: it cannot know yet.
    pub is_lost: bool,
    pub messages: VecDeque<u16>,
}

impl Card {
    /// Whose a queue is.
    pub(super) fn owner(&self, queue: usize) -> Function {
        match queue % POOLS {
            pool if pool < self.vfs.len() => Function::Virtual(pool),
            _ => Function::Physical,
        }
    }

    pub(super) fn arena(&self, function: Function) -> &Arena {
        match function {
            Function::Physical => &self.pf,
            Function::Virtual(vf) => &self.vf_arenas[vf],
        }
    }

    pub(super) fn arena_mut(&mut self, function: Function) -> &mut Arena {
        match function {
            Function::Physical => &mut self.pf,
            Function::Virtual(vf) => &mut self.vf_arenas[vf],
        }
    }

    /// The arena of a queue.
    pub(super) fn of(&mut self, queue: usize) -> &mut Arena {
        self.arena_mut(self.owner(queue))
    }

    /// Whether a queue's function may read and write memory.
    pub(super) fn is_master(&self, queue: usize) -> bool {
        match self.owner(queue) {
            Function::Physical => true,
            Function::Virtual(vf) => self.vfs[vf].is_master,
        }
    }

    pub(super) fn all_arenas(&mut self) -> impl Iterator<Item = &mut Arena> {
        core::iter::once(&mut self.pf).chain(&mut self.vf_arenas)
    }

    /// A VF is reset: by itself, by a function level reset, or as it is turned on. Its queues are off,
    /// and the PF hears of it. What else its registers hold stays (SRRCTL, TXCTRL, TDWBAL).
    pub(super) fn reset_vf(&mut self, vf: usize) {
        for queue in [vf, vf + POOLS] {
            for base in [rx_base(queue), tx_base(queue)] {
                *self.register_mut(base + 0x28) &= !(1 << 25);
            }
            self.tx[queue] = TxQueue::default();
            self.rx[queue] = super::RxQueue::default();
        }
        self.vf_arenas[vf].owners.release_all();
        self.vfs[vf].messages.clear();
        for allows in [VFRE, VFTE] {
            *self.register_mut(allows) &= !(1 << vf);
        }
        self.reset_vf_interrupts(vf);
        self.mailbox.note_reset(vf);
        self.mail_for_pf();
    }
}

/// Which pools receive, and which send.
pub(super) const VFRE: u32 = 0xc8c;
pub(super) const VFTE: u32 = 0xc90;

impl IgbModel {
    /// Turns this many VFs on, as by NumVFs and VF enable in configuration space, each with an arena of so
    /// many bytes; 0 turns all off.
    pub fn set_vfs(&self, count: usize, arena: usize) {
        assert!(count < POOLS, "the PF has no queues left");
        let mut card = self.card();
        card.apply_all();
        for vf in 0..card.vfs.len() {
            card.reset_vf(vf);
        }
        let (pace, seed) = (card.pace, card.rng.next());
        for vf in 0..count as u64 {
            let base = BusAddr(Self::ARENA_BASE.0 + (vf + 1) * APART);
            let memory = Arena::new(base, arena, pace, seed.wrapping_add(vf));
            // Memory stays, whether or not the VF is on that was given it.
            match card.vf_arenas.get_mut(vf as usize) {
                Some(place) => *place = memory,
                None => card.vf_arenas.push(memory),
            }
        }
        let make = |_| Vf {
            is_master: false,
            is_lost: false,
            messages: VecDeque::new(),
        };
        card.vfs = (0..count).map(make).collect();
        for vf in 0..count {
            card.reset_vf(vf);
        }
    }

    /// Lets a VF read and write memory, by its command register, or forbids it.
    pub fn set_vf_master(&self, vf: usize, is_master: bool) {
        self.card().vfs[vf].is_master = is_master;
    }

    /// The bus of a VF, for its driver.
    pub fn vf_bus(&self, vf: usize) -> IgbBus {
        IgbBus::new(self.clone(), Function::Virtual(vf))
    }

    /// The next message that a VF has sent.
    pub fn take_vf_message(&self, vf: usize) -> Option<u16> {
        let mut card = self.card();
        card.vf_arenas[vf].memory.order_loads();
        let message = card.vfs[vf].messages.pop_front();
        assert!(message.is_none_or(|vector| vector < VF_VECTORS as u16));
        message
    }

    /// A function level reset of a VF (PCIe 6.0 §6.6.2), whose driver is not told.
    pub fn vf_flr(&self, vf: usize) {
        let mut card = self.card();
        card.apply_all();
        card.reset_vf(vf);
        card.vfs[vf].is_lost = true;
        card.vfs[vf].is_master = false;
    }

    /// The vectors of the PF that are not masked, one bit each.
    pub fn unmasked(&self) -> u32 {
        let mut card = self.card();
        card.apply_all();
        card.interrupts.unmasked() & ((1 << (25 - VF_VECTORS * card.vfs.len() as u32)) - 1)
    }

    /// Frames of a pool that pretended to come from another station or VLAN.
    pub fn spoofed(&self) -> u64 {
        self.card().spoofed
    }

    /// The pools that receive frames to this station.
    pub fn pools_of(&self, mac: MacAddress) -> u32 {
        let mut card = self.card();
        card.apply_all();
        card.matching_pools(&mac)
    }
}
