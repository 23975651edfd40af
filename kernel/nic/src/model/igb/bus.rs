//! The driver's side of the model: the registers, and what is checked on the way.

use super::functions::{Arena, Function, POOLS, VFRE, VFTE};
use super::resets::RST;
use super::rings::queue_of;
use super::{Behaviour, Card, IgbModel};
use crate::{Bus, BusAddr};
use alloc::rc::Rc;
use core::cell::RefMut;

const EERD_DONE: u32 = 1 << 1;
const MDIC_READY: u32 = 1 << 28;
const MDIC_ERROR: u32 = 1 << 30;
/// How long the EEPROM takes for a word, and a management cycle, but for QEMU's.
const EERD_US: u64 = 20;
const MDIC_US: u64 = 64;

/// The side of an [`IgbModel`] that the driver of one of its functions has.
#[derive(Clone)]
pub struct IgbBus {
    model: IgbModel,
    function: Function,
    /// What goes on while the driver waits.
    meanwhile: Option<Rc<dyn Fn()>>,
}

impl IgbBus {
    pub(super) fn new(model: IgbModel, function: Function) -> Self {
        IgbBus {
            model,
            function,
            meanwhile: None,
        }
    }

    /// The same, but something goes on while the driver waits: with one processor, the driver of the PF must
    /// do its work while that of a VF waits for it.
    pub fn meanwhile(self, work: impl Fn() + 'static) -> Self {
        IgbBus {
            meanwhile: Some(Rc::new(work)),
            ..self
        }
    }

    /// This function's memory, after a moment in which the card may act.
    fn arena(&mut self) -> RefMut<'_, Arena> {
        let mut card = self.model.card();
        card.moments(1);
        RefMut::map(card, |card| card.arena_mut(self.function))
    }

    /// The card, at an access to a register.
    fn at_register(&mut self) -> RefMut<'_, Card> {
        let mut card = self.model.card();
        card.moments(1);
        card.arena_mut(self.function).memory.order_loads();
        card
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        let mut arena = self.arena();
        arena.owners.check(offset, bytes.len());
        arena.memory.driver_store(offset, bytes);
    }
}

impl Card {
    fn status(&self) -> u32 {
        let master = u32::from(self.has_requests()) << 19;
        let port = u32::from(self.is_second_port) << 2;
        let link = u32::from(self.link_up) << 1;
        0x8000_0400 | master | port | self.agreed | link
    }

    /// Whether this is a VF that is not there.
    fn is_off(&self, function: Function) -> bool {
        matches!(function, Function::Virtual(vf) if vf >= self.vfs.len())
    }

    fn read(&mut self, function: Function, register: u32) -> u32 {
        if let Some((base, offset)) = Self::seen_by(function, register) {
            return match offset {
                0x10 => match self.defects.head {
                    Some((head, transmit)) if transmit == (base >= 0xe000) => head,
                    _ => self.head(base),
                },
                0x28 => self.register(base + 0x28),
                other => panic!("read of {other:#x} of a queue"),
            };
        }
        if let Some(value) = self.read_mailbox(function, register) {
            return value;
        }
        if let Function::Virtual(vf) = function {
            let counter = self.pool_counters[vf].read(register);
            return match register {
                0x08 => self.status(),
                other => {
                    counter.unwrap_or_else(|| panic!("a VF reads {other:#x}, which is the PF's"))
                }
            };
        }
        match register {
            0x18 | 0x3590 => self.register(register),
            0x00 => self.control(),
            0x10 => self.eeprom_control(),
            0x100 | 0x400 => self.register(register),
            0x08 => self.status(),
            0x14 => self.after(self.eerd, self.eerd_ready_at_us, EERD_DONE),
            0x20 => self.after(self.mdic, self.mdic_ready_at_us, MDIC_READY),
            0xc0 => self.read_icr(),
            0x1580 => self.read_eicr(),
            0x5400 | 0x5404 => self.register(register),
            0x4000..=0x410c => self.read_counter(register),
            other => panic!("read of {other:#x}"),
        }
    }

    /// What reads as this once it is ready, and until then is neither ready nor right.
    fn after(&self, value: u32, ready_at_us: u64, ready: u32) -> u32 {
        match self.now_us >= ready_at_us {
            true => value,
            false => !value & !ready,
        }
    }

    /// When what begins now is ready.
    fn ready_at_us(&self, us: u64) -> u64 {
        match self.behaviour {
            Behaviour::Silicon => self.now_us + us,
            Behaviour::Qemu => self.now_us,
        }
    }

    fn head(&self, base: u32) -> u32 {
        let queue = queue_of(base);
        if base >= 0xe000 {
            self.tx[queue].head
        } else {
            self.rx[queue].head
        }
    }

    fn read_counter(&mut self, register: u32) -> u32 {
        let wide = match register & !7 {
            0x4088 => Some(0),
            0x4090 => Some(1),
            0x40c0 => Some(2),
            0x40c8 => Some(3),
            _ => None,
        };
        match wide {
            // The high half must be read last: it clears both.
            Some(sum) if register & 4 == 0 => self.octets[sum] as u32,
            Some(sum) => (core::mem::take(&mut self.octets[sum]) >> 32) as u32,
            None => core::mem::take(&mut self.counters[(register as usize - 0x4000) / 4]),
        }
    }

    /// A write has arrived.
    fn apply(&mut self, function: Function, register: u32, value: u32) {
        if self.is_off(function) {
            return;
        }
        if let Some((base, offset)) = Self::seen_by(function, register) {
            self.write_queue(function, base, offset, value);
            return;
        }
        if self.write_mailbox(function, register, value) {
            return;
        }
        if let Function::Virtual(vf) = function {
            let is_reset = register == 0 && value & RST != 0;
            if is_reset {
                self.vfs[vf].is_lost = false;
                self.reset_vf(vf);
            }
            let is_known = is_reset || self.write_vf_interrupts(vf, register, value);
            assert!(
                is_known,
                "a VF writes {value:#x} to {register:#x}, which is the PF's"
            );
            return;
        }
        if self.write_interrupts(register, value) || self.write_pools(register, value) {
            return;
        }
        match register {
            0x00 => self.write_control(value),
            0x14 => self.read_eeprom(value),
            0x20 => self.management(value),
            0x100 => {
                if value & 2 != 0 {
                    assert!(
                        value & 1 << 26 != 0,
                        "without SECRC lengths are 4 too long on QEMU"
                    );
                }
                *self.register_mut(register) = value;
            }
            0x38 | 0x400 | 0x5000 | 0x5004 | 0x5818 => *self.register_mut(register) = value,
            0x5200..=0x547f | 0x54e0..=0x551f | 0x5600..=0x57ff | 0x5c00..=0x5ca7 => {
                *self.register_mut(register) = value;
            }
            other => panic!("write of {value:#x} to {other:#x}"),
        }
    }

    fn write_queue(&mut self, function: Function, base: u32, offset: u32, value: u32) {
        let queue = queue_of(base);
        let enabled = self.register(base + 0x28) & 1 << 25 != 0;
        if let Function::Virtual(vf) = function
            && self.vfs[vf].is_lost
        {
            // Somebody else has reset it, and nothing that it does starts a queue before it has noticed.
            return;
        }
        if function != self.owner(queue) {
            let cleans = value == 0 && matches!(offset, 0x0c | 0x14 | 0x38 | 0x3c);
            assert!(cleans && !enabled, "{offset:#x} of a VF's queue, by the PF");
        }
        match offset {
            0x00 | 0x04 | 0x08 | 0x0c | 0x10 => {
                assert!(!enabled, "a ring changed while it is in use");
                if offset == 0x10 {
                    assert_eq!(value, 0, "heads start at 0");
                }
            }
            0x18 if enabled => {
                if base >= 0xe000 {
                    self.tx[queue].tail = value;
                } else {
                    self.rx[queue].tail = value;
                }
            }
            0x18 => assert_eq!(value, 0, "tails start at 0"),
            0x28 if value & 1 << 25 != 0 => {
                if self.defects.queue_sticks {
                    return;
                }
                self.check_ring(base);
                let allows = if base < 0xe000 { VFRE } else { VFTE };
                let may = !self.has_pools() || self.register(allows) >> (queue % POOLS) & 1 != 0;
                assert!(
                    may || function == Function::Physical,
                    "a queue enabled before the PF lets its pool work"
                );
            }
            0x28 if enabled => self.disable(base),
            0x28 | 0x14 | 0x38 | 0x3c => {}
            other => panic!("write to {other:#x} of a queue"),
        }
        *self.register_mut(base + offset) = value;
    }

    fn read_eeprom(&mut self, value: u32) {
        assert!(
            self.now_us >= self.eerd_ready_at_us,
            "a word of the EEPROM was asked for before the last one came"
        );
        self.eerd_ready_at_us = self.ready_at_us(EERD_US);
        self.eerd = value & 0xfffc;
        let word = self.eeprom.get((value >> 2 & 0x3fff) as usize);
        if let (Some(word), false, true) = (word, self.defects.eeprom_sticks, value & 1 != 0) {
            self.eerd |= u32::from(*word) << 16 | EERD_DONE;
        }
    }

    fn management(&mut self, value: u32) {
        assert!(
            self.now_us >= self.mdic_ready_at_us,
            "management cycle before the last one was over"
        );
        self.mdic_ready_at_us = self.ready_at_us(MDIC_US);
        let (phy, register) = (value >> 21 & 0x1f, value >> 16 & 0x1f);
        self.mdic = value & 0x0fff_ffff;
        if self.defects.mdi_sticks {
            return;
        }
        if phy != 1 || self.defects.mdi_error {
            // The data of a cycle that failed are any.
            self.mdic |= MDIC_READY | MDIC_ERROR | 0x1234;
            return;
        }
        self.mdic |= MDIC_READY;
        match (value >> 26 & 3, register) {
            (1, 0) => {
                if value & 0x1200 == 0x1200 {
                    self.restart_negotiation();
                }
            }
            (2, 2) => self.mdic = self.mdic & !0xffff | u32::from(self.phy_id),
            (operation, register) => {
                panic!("management operation {operation} on register {register}")
            }
        }
    }

    /// The oldest write on its way arrives.
    pub(super) fn apply_one(&mut self) {
        if let Some((function, register, value)) = self.posted.pop_front() {
            self.apply(function, register, value);
        }
    }

    /// All writes on their way arrive.
    pub(super) fn apply_all(&mut self) {
        while let Some((function, register, value)) = self.posted.pop_front() {
            self.apply(function, register, value);
        }
    }
}

impl Bus for IgbBus {
    fn read8(&mut self, register: u32) -> u8 {
        panic!("8-bit read at {register:#x}");
    }

    fn read16(&mut self, register: u32) -> u16 {
        panic!("16-bit read at {register:#x}");
    }

    fn read32(&mut self, register: u32) -> u32 {
        let function = self.function;
        let mut card = self.at_register();
        if card.defects.gone || card.is_off(function) {
            card.register_reads += 1;
            return u32::MAX;
        }
        if function == Function::Physical {
            card.register_reads += 1;
            card.check_recovered(register);
        }
        card.apply_all();
        card.read(function, register)
    }

    fn write8(&mut self, register: u32, _: u8) {
        panic!("8-bit write at {register:#x}");
    }

    fn write16(&mut self, register: u32, _: u16) {
        panic!("16-bit write at {register:#x}");
    }

    fn write32(&mut self, register: u32, value: u32) {
        let function = self.function;
        let mut card = self.at_register();
        if card.defects.gone || card.is_off(function) {
            card.register_writes += 1;
            return;
        }
        if function == Function::Physical {
            card.register_writes += 1;
            card.check_recovered(register);
        }
        if let Some((base, 0x18)) = Card::seen_by(function, register) {
            let set_up = |&(by, register, _): &(Function, u32, u32)| {
                Card::seen_by(by, register)
                    .is_some_and(|(other, offset)| other == base && offset != 0x18)
                    || register == 0
            };
            if card.posted.iter().any(set_up) {
                card.apply_all();
            }
            if card.register(base + 0x28) & 1 << 25 != 0 {
                card.tail_written(base, value);
            }
        }
        if card.behaviour == Behaviour::Silicon && card.moves_by_itself() {
            card.posted.push_back((function, register, value));
            return;
        }
        card.apply(function, register, value);
        if !card.moves_by_itself() {
            card.run();
        }
    }

    fn arena_len(&self) -> usize {
        self.model.card().arena(self.function).memory.len()
    }

    fn bus_addr(&self, offset: usize) -> BusAddr {
        self.model
            .card()
            .arena(self.function)
            .memory
            .bus_addr(offset)
    }

    fn load16(&mut self, offset: usize) -> u16 {
        u16::from_le_bytes(self.arena().memory.driver_load(offset))
    }

    fn load32(&mut self, offset: usize) -> u32 {
        u32::from_le_bytes(self.arena().memory.driver_load(offset))
    }

    fn store16(&mut self, offset: usize, value: u16) {
        self.store(offset, &value.to_le_bytes());
    }

    fn store32(&mut self, offset: usize, value: u32) {
        self.store(offset, &value.to_le_bytes());
    }

    fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        self.store(offset, bytes);
    }

    fn copy_out(&mut self, offset: usize, bytes: &mut [u8]) {
        let mut arena = self.arena();
        arena.owners.check(offset, bytes.len());
        arena.memory.driver_copy_out(offset, bytes);
    }

    fn fence(&mut self) {
        self.arena().memory.fence();
    }

    fn delay_us(&mut self, us: u32) {
        let mut card = self.model.card();
        // No write is on its way for so long.
        if us >= 1000 {
            card.apply_all();
        }
        card.elapse(us.into());
        card.moments(us.into());
        card.arena_mut(self.function).memory.order_loads();
        drop(card);
        if let Some(work) = &self.meanwhile {
            work();
        }
    }
}
