//! What a test does to a card behind its driver's back, as a loose connector or a broken
//! chip would.

use crate::nic::Nic;
use crate::qtest::{Function, Qtest};
use crate::{Failure, Outcome, ensure};
use std::path::Path;

/// Registers of a function's configuration space (PCI Local Bus Specification 3.0, §6.1).
const COMMAND: u8 = 0x04;
const BAR0: u8 = 0x10;
const BAR1: u8 = 0x14;
const ROM: u8 = 0x30;
/// Of the command register.
const IO: u32 = 1 << 0;
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
/// Of the base address of a ROM.
const ROM_ENABLE: u32 = 1;

/// Bytes of a ROM that hides the registers of a card: those of the 82576's.
const ROM_LEN: usize = 128 * 1024;

/// The 82576's transmit control (82576EB datasheet §8.12.1), and its enable bit.
const IGB_TCTL: u64 = 0x400;
const IGB_TCTL_EN: u32 = 1 << 1;
/// Its device status (§8.2.2).
const IGB_STATUS: u64 = 0x08;

/// The 82576's receive queues (§8.10): how many, registers of the first, and bytes to the next; of these the
/// ring's address and the descriptor that is filled next.
const IGB_QUEUES: u64 = 16;
const IGB_RDBAL: u64 = 0xc000;
const IGB_RDH: u64 = 0xc010;
const IGB_QUEUE: u64 = 0x40;
const IGB_DESCRIPTOR: u64 = 16;

/// The card of a machine that was started with `qtest`, in the lab's slot.
pub struct Card {
    nic: &'static Nic,
    function: Function,
    /// The command register, as the kernel has set it up.
    command: u32,
    /// Base addresses of the registers and of the ROM.
    bars: [u32; 2],
}

impl Card {
    /// Takes hold of the card in the lab's slot.
    ///
    /// # Errors
    /// If the machine has another card.
    pub fn of(qtest: &mut Qtest, nic: &'static Nic) -> Outcome<Card> {
        Card::at(qtest, nic, Function(0, 3, 0))
    }

    /// Takes hold of the card that is this function.
    ///
    /// # Errors
    /// If the machine has another card.
    pub fn at(qtest: &mut Qtest, nic: &'static Nic, function: Function) -> Outcome<Card> {
        let id = qtest.config_read(function, 0)?;
        let id = format!("{:04x}:{:04x}", id & 0xffff, id >> 16);
        ensure(id == nic.id, || format!("in the slot is {id}"))?;
        let command = qtest.config_read(function, COMMAND)? & 0xffff;
        let bars = [BAR0, ROM].map(|bar| qtest.config_read(function, bar));
        let [registers, rom] = bars;
        Ok(Card {
            command,
            bars: [registers?, rom?],
            nic,
            function,
        })
    }

    /// The contents of a ROM that a machine needs whose card shall vanish, in a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn rom(dir: &Path) -> Outcome<std::path::PathBuf> {
        let path = dir.join("ones.rom");
        std::fs::write(&path, vec![0xff; ROM_LEN])?;
        Ok(path)
    }

    /// Makes all registers read as ones and takes no writes, as if the card were not there;
    /// or has them back.
    ///
    /// Ports that nobody decodes read as ones. Memory that nobody decodes reads as zeros in
    /// QEMU: there, a ROM full of ones takes the registers' place.
    ///
    /// # Errors
    /// If QEMU does not do so.
    pub fn vanish(&self, qtest: &mut Qtest, gone: bool) -> Outcome {
        if self.nic.name == "e100" {
            self.set_command(
                qtest,
                if gone {
                    self.command & !IO
                } else {
                    self.command
                },
            )?;
            let port = qtest.config_read(self.function, BAR1)? as u16 & !3;
            let status = qtest.in8(port)?;
            return self.check((status == 0xff) == gone, "E100 status", status);
        }
        let [registers, rom] = self.bars;
        self.set_command(qtest, self.command & !MEMORY)?;
        let places = match gone {
            true => [(BAR0, rom & !ROM_ENABLE), (ROM, registers | ROM_ENABLE)],
            false => [(BAR0, registers), (ROM, rom)],
        };
        for (bar, value) in places {
            qtest.config_write(self.function, bar, value)?;
        }
        self.set_command(qtest, self.command)?;
        let status = qtest.read32(u64::from(registers) + IGB_STATUS)?;
        self.check((status == u32::MAX) == gone, "82576 status", status)
    }

    /// Hides the registers of a card that has them in memory: they read as zeros.
    ///
    /// # Errors
    /// If QEMU does not do so.
    pub fn hide(&self, qtest: &mut Qtest, hidden: bool) -> Outcome {
        self.set_command(
            qtest,
            match hidden {
                true => self.command & !MEMORY,
                false => self.command,
            },
        )?;
        let status = qtest.read32(u64::from(self.bars[0]) + IGB_STATUS)?;
        self.check((status == 0) == hidden, "82576 status", status)
    }

    /// Lets the card reach memory, or not.
    ///
    /// # Errors
    /// If QEMU does not do so.
    pub fn master(&self, qtest: &mut Qtest, on: bool) -> Outcome {
        self.set_command(
            qtest,
            match on {
                true => self.command,
                false => self.command & !BUS_MASTER,
            },
        )
    }

    /// Stops the 82576's transmitter.
    ///
    /// # Errors
    /// If it runs on.
    pub fn stop_transmitter(&self, qtest: &mut Qtest) -> Outcome {
        let control = u64::from(self.bars[0]) + IGB_TCTL;
        let value = qtest.read32(control)?;
        self.check(value & IGB_TCTL_EN != 0, "82576 TCTL", value)?;
        qtest.write32(control, value & !IGB_TCTL_EN)?;
        let value = qtest.read32(control)?;
        self.check(value & IGB_TCTL_EN == 0, "82576 TCTL", value)
    }

    /// Has the 82576 receive to `target` what comes next into any of its queues that have rings.
    ///
    /// # Errors
    /// If the first has none.
    pub fn misdirect(&self, qtest: &mut Qtest, target: u64) -> Outcome {
        for number in 0..IGB_QUEUES {
            let queue = u64::from(self.bars[0]) + number * IGB_QUEUE;
            let ring = qtest.read32(queue + IGB_RDBAL)?;
            self.check(ring != 0 || number > 0, "82576 RDBAL", ring)?;
            if ring == 0 {
                continue;
            }
            let next = u64::from(qtest.read32(queue + IGB_RDH)?);
            // The buffer's address is the first of a descriptor (§7.1.5).
            let descriptor = u64::from(ring) + next * IGB_DESCRIPTOR;
            qtest.write32(descriptor, target as u32)?;
            qtest.write32(descriptor + 4, (target >> 32) as u32)?;
        }
        Ok(())
    }

    fn set_command(&self, qtest: &mut Qtest, command: u32) -> Outcome {
        qtest.config_write(self.function, COMMAND, command)?;
        let now = qtest.config_read(self.function, COMMAND)? & 0xffff;
        self.check(now == command, "PCI command", now)
    }

    fn check(&self, holds: bool, what: &str, value: u32) -> Outcome {
        match holds {
            true => Ok(()),
            false => Err(Failure(format!("QEMU's {what} reads {value:#x}"))),
        }
    }
}
