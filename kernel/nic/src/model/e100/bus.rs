//! The driver's side of the model: which register takes which width, and what is checked on the way.

use super::{Behaviour, Card, E100Model};
use crate::model::Pace;
use crate::{Bus, BusAddr};
use core::cell::RefMut;

/// The driver's side of an [`E100Model`].
#[derive(Debug)]
pub struct E100Bus(E100Model);

impl E100Bus {
    pub(super) fn new(model: E100Model) -> Self {
        E100Bus(model)
    }

    fn read(&mut self) -> RefMut<'_, Card> {
        let mut card = self.0.card();
        card.before_register();
        card.register_reads += 1;
        card.memory.order_loads();
        card
    }

    fn write(&mut self) -> RefMut<'_, Card> {
        let mut card = self.0.card();
        card.before_register();
        card.register_writes += 1;
        card.memory.order_loads();
        card
    }

    fn memory(&mut self) -> RefMut<'_, Card> {
        let mut card = self.0.card();
        card.moments(1);
        card
    }
}

impl Bus for E100Bus {
    fn read8(&mut self, register: u32) -> u8 {
        let card = self.read();
        match register {
            _ if card.defects.gone => 0xff,
            0 => card.status(),
            2 => card.pending_command,
            other => panic!("8-bit read at {other:#x}"),
        }
    }

    fn read16(&mut self, register: u32) -> u16 {
        let card = self.read();
        match register {
            _ if card.defects.gone => 0xffff,
            0 => u16::from_le_bytes([card.status(), card.ack]),
            0x0e => card.eeprom.read(),
            other => panic!("16-bit read at {other:#x}"),
        }
    }

    fn read32(&mut self, register: u32) -> u32 {
        let card = self.read();
        match register {
            _ if card.defects.gone => u32::MAX,
            0x10 => {
                let ready = card.now_us >= card.mdi_ready_at_us && !card.defects.mdi_sticks;
                card.mdi | u32::from(ready) << 28
            }
            other => panic!("32-bit read at {other:#x}"),
        }
    }

    fn write8(&mut self, register: u32, value: u8) {
        let mut card = self.write();
        match register {
            _ if card.defects.gone => {}
            1 => card.acknowledge(value),
            2 => {
                assert_eq!(
                    card.pending_command, 0,
                    "command before the last one was taken (OSDM 6.3.2.2)"
                );
                card.pending_command = value;
                card.commanded_at_us = card.now_us;
                if card.pace != Pace::Stalling || card.behaviour == Behaviour::Qemu {
                    card.take_command();
                }
            }
            3 => {
                card.mask = value;
                card.evaluate_line();
            }
            other => panic!("8-bit write at {other:#x}"),
        }
    }

    fn write16(&mut self, register: u32, value: u16) {
        let mut card = self.write();
        let now_us = card.now_us;
        match register {
            _ if card.defects.gone => {}
            0x0e => card.eeprom.write(value, now_us),
            other => panic!("16-bit write at {other:#x}"),
        }
    }

    fn write32(&mut self, register: u32, value: u32) {
        let mut card = self.write();
        match register {
            _ if card.defects.gone => {}
            4 => {
                assert_eq!(
                    card.pending_command, 0,
                    "general pointer before the last command was taken (OSDM 6.3.2.2)"
                );
                card.pointer = value;
            }
            8 => card.reset(value),
            0x10 => card.mdi_cycle(value),
            other => panic!("32-bit write at {other:#x}"),
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
        let mut card = self.memory();
        card.check_store(offset, 2);
        card.memory.driver_store(offset, &value.to_le_bytes());
        card.seldom_check_end_of_list();
    }

    fn store32(&mut self, offset: usize, value: u32) {
        let mut card = self.memory();
        card.check_store(offset, 4);
        card.memory.driver_store(offset, &value.to_le_bytes());
    }

    fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        let mut card = self.memory();
        card.check_store(offset, bytes.len());
        card.memory.driver_store(offset, bytes);
    }

    fn copy_out(&mut self, offset: usize, bytes: &mut [u8]) {
        self.memory().memory.driver_copy_out(offset, bytes);
    }

    fn fence(&mut self) {
        self.memory().memory.fence();
    }

    fn delay_us(&mut self, us: u32) {
        let mut card = self.0.card();
        card.now_us += u64::from(us);
        if card.pending_command != 0 && card.defects.command_us > 0 {
            card.take_command();
        }
        card.moments(us.into());
        card.memory.order_loads();
    }
}
