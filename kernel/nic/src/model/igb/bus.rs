//! The driver's side of the model: the registers, and what is checked on the way.

use super::{Behaviour, Card, IgbModel};
use crate::{Bus, BusAddr};
use core::cell::RefMut;

const EERD_DONE: u32 = 1 << 1;
const MDIC_READY: u32 = 1 << 28;
const MDIC_ERROR: u32 = 1 << 30;
/// How long the EEPROM takes for a word, and a management cycle, but for QEMU's.
const EERD_US: u64 = 20;
const MDIC_US: u64 = 64;

/// The driver's side of an [`IgbModel`].
#[derive(Debug)]
pub struct IgbBus(IgbModel);

impl IgbBus {
    pub(super) fn new(model: IgbModel) -> Self {
        IgbBus(model)
    }

    fn memory(&mut self) -> RefMut<'_, Card> {
        let mut card = self.0.card();
        card.moments(1);
        card
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        let mut card = self.memory();
        card.owners.check(offset, bytes.len());
        card.memory.driver_store(offset, bytes);
    }
}

/// Which register of a queue this is: the queue's base, and the offset from it.
fn of_queue(register: u32) -> Option<(u32, u32)> {
    let base = register & !0x3f;
    matches!(register, 0xc000..=0xc3ff | 0xe000..=0xe3ff).then_some((base, register - base))
}

impl Card {
    fn status(&self) -> u32 {
        let master = u32::from(self.has_requests()) << 19;
        let port = u32::from(self.is_second_port) << 2;
        let link = u32::from(self.link_up) << 1;
        0x8000_0400 | master | port | self.agreed | link
    }

    fn read(&mut self, register: u32) -> u32 {
        if let Some((base, offset)) = of_queue(register) {
            return match offset {
                0x10 => match self.defects.head {
                    Some((head, transmit)) if transmit == (base >= 0xe000) => head,
                    _ => self.head(base),
                },
                0x28 => self.register(register),
                other => panic!("read of {other:#x} of a queue"),
            };
        }
        match register {
            0x00 => self.control(),
            0x10 => self.eeprom_control(),
            0x400 => self.register(register),
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
        let queue = (base as usize & 0xfff) / 0x40;
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
    fn apply(&mut self, register: u32, value: u32) {
        if self.write_interrupts(register, value) {
            return;
        }
        if let Some((base, offset)) = of_queue(register) {
            self.write_queue(base, offset, value);
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

    fn write_queue(&mut self, base: u32, offset: u32, value: u32) {
        let queue = (base as usize & 0xfff) / 0x40;
        let enabled = self.register(base + 0x28) & 1 << 25 != 0;
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
            }
            0x28 if enabled => self.disable(base),
            0x28 => {}
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
        if let Some((register, value)) = self.posted.pop_front() {
            self.apply(register, value);
        }
    }

    /// All writes on their way arrive.
    pub(super) fn apply_all(&mut self) {
        while let Some((register, value)) = self.posted.pop_front() {
            self.apply(register, value);
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
        let mut card = self.0.card();
        card.moments(1);
        card.register_reads += 1;
        card.memory.order_loads();
        if card.defects.gone {
            return u32::MAX;
        }
        card.check_recovered(register);
        card.apply_all();
        card.read(register)
    }

    fn write8(&mut self, register: u32, _: u8) {
        panic!("8-bit write at {register:#x}");
    }

    fn write16(&mut self, register: u32, _: u16) {
        panic!("16-bit write at {register:#x}");
    }

    fn write32(&mut self, register: u32, value: u32) {
        let mut card = self.0.card();
        card.moments(1);
        card.register_writes += 1;
        card.memory.order_loads();
        if card.defects.gone {
            return;
        }
        card.check_recovered(register);
        if let Some((base, 0x18)) = of_queue(register) {
            let set_up = |&(register, _): &(u32, u32)| {
                of_queue(register).is_some_and(|(other, offset)| other == base && offset != 0x18)
            };
            if card.posted.iter().any(set_up) {
                card.apply_all();
            }
            if card.register(base + 0x28) & 1 << 25 != 0 {
                card.tail_written(base, value);
            }
        }
        if card.behaviour == Behaviour::Silicon && card.moves_by_itself() {
            card.posted.push_back((register, value));
            return;
        }
        card.apply(register, value);
        if !card.moves_by_itself() {
            card.run();
        }
    }

    fn arena_len(&self) -> usize {
        self.0.card().memory.len()
    }

    fn bus_addr(&self, offset: usize) -> BusAddr {
        self.0.card().memory.bus_addr(offset)
    }

    fn load16(&mut self, offset: usize) -> u16 {
        u16::from_le_bytes(self.memory().memory.driver_load(offset))
    }

    fn load32(&mut self, offset: usize) -> u32 {
        u32::from_le_bytes(self.memory().memory.driver_load(offset))
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
        let mut card = self.memory();
        card.owners.check(offset, bytes.len());
        card.memory.driver_copy_out(offset, bytes);
    }

    fn fence(&mut self) {
        self.memory().memory.fence();
    }

    fn delay_us(&mut self, us: u32) {
        let mut card = self.0.card();
        // No write is on its way for so long.
        if us >= 1000 {
            card.apply_all();
        }
        card.elapse(us.into());
        card.moments(us.into());
        card.memory.order_loads();
    }
}
