//! Interrupts as messages: MSI and MSI-X (PCI 3.0 §6.8), which are writes of a word to an
//! address that the local APIC listens to.
//!
//! Each message is an edge and belongs to one function alone: there is no line to share, no
//! routing for firmware to get wrong. An MSI-X function has a table of messages in one of
//! its memory ranges, which the caller writes; the rest is in configuration space.

use super::capability::CapabilityId;
use super::config::{Address, Command, ConfigSpace};
use super::function::Function;

/// What a function writes, and where, to interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Bus address of the write.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

impl Message {
    /// A message that raises `vector`, edge triggered, fixed delivery, at the local APIC
    /// with this id (Intel SDM vol. 3, §11.11).
    pub const fn to_local_apic(apic: u8, vector: u8) -> Self {
        Message {
            address: 0xfee0_0000 | (apic as u64) << 12,
            data: vector as u32,
        }
    }
}

/// Message control of MSI, in the upper half of the first register.
mod msi_control {
    pub const ENABLE: u32 = 1 << 16;
    /// How many messages are in use, as a power of two.
    pub const IN_USE: u32 = 7 << 20;
    pub const IS_64_BIT: u32 = 1 << 23;
}

/// Message control of MSI-X, in the upper half of the first register.
mod msi_x_control {
    pub const LAST_ENTRY: u32 = 0x7ff << 16;
    pub const MASK_ALL: u32 = 1 << 30;
    pub const ENABLE: u32 = 1 << 31;
}

/// A function's MSI capability, used with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    function: Address,
    offset: u16,
}

impl Msi {
    /// The capability, if the function has it.
    pub fn of(function: &Function) -> Option<Self> {
        let capability = function.capability(CapabilityId::MSI)?;
        Some(Msi {
            function: function.address,
            offset: capability.offset,
        })
    }

    /// Has the function send `message` instead of using its INTx line.
    pub fn enable(&self, config: &mut impl ConfigSpace, message: Message) {
        let control = config.read32(self.function, self.offset) & !msi_control::IN_USE;
        config.write32(self.function, self.offset, control & !msi_control::ENABLE);
        config.write32(self.function, self.offset + 4, message.address as u32);
        let data = if control & msi_control::IS_64_BIT != 0 {
            let upper = (message.address >> 32) as u32;
            config.write32(self.function, self.offset + 8, upper);
            self.offset + 12
        } else {
            self.offset + 8
        };
        config.write32(self.function, data, message.data);
        disable_intx(config, self.function);
        config.write32(self.function, self.offset, control | msi_control::ENABLE);
    }
}

/// A function's MSI-X capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiX {
    function: Address,
    offset: u16,
    /// Entries of the table.
    pub entries: u16,
    /// Which BAR the table is in.
    pub bar: u8,
    /// Byte offset of the table in that range.
    pub table: u32,
}

impl MsiX {
    /// Bytes of one entry of the table.
    pub const ENTRY_SIZE: u32 = 16;

    /// The capability, if the function has it.
    pub fn of(config: &mut impl ConfigSpace, function: &Function) -> Option<Self> {
        let offset = function.capability(CapabilityId::MSI_X)?.offset;
        let control = config.read32(function.address, offset);
        let table = config.read32(function.address, offset + 4);
        Some(MsiX {
            function: function.address,
            offset,
            entries: ((control & msi_x_control::LAST_ENTRY) >> 16) as u16 + 1,
            bar: (table & 7) as u8,
            table: table & !7,
        })
    }

    /// Has the function send messages instead of using its INTx line, all of them still
    /// masked. The table may be written only after this (82576 datasheet §7.3.1: settings
    /// made before do not stick).
    pub fn enable_masked(&self, config: &mut impl ConfigSpace) {
        let control = config.read32(self.function, self.offset);
        disable_intx(config, self.function);
        let control = control | msi_x_control::ENABLE | msi_x_control::MASK_ALL;
        config.write32(self.function, self.offset, control);
    }

    /// What to write for entry `index`: offsets in the table's range, and words, in order.
    /// The last one takes the entry's mask off.
    pub fn entry(&self, index: u16, message: Message) -> [(u32, u32); 4] {
        let at = self.table + u32::from(index) * Self::ENTRY_SIZE;
        [
            (at, message.address as u32),
            (at + 4, (message.address >> 32) as u32),
            (at + 8, message.data),
            (at + 12, 0),
        ]
    }

    /// Lets the entries through whose own mask is off.
    pub fn unmask(&self, config: &mut impl ConfigSpace) {
        let control = config.read32(self.function, self.offset);
        config.write32(
            self.function,
            self.offset,
            control & !msi_x_control::MASK_ALL,
        );
    }
}

fn disable_intx(config: &mut impl ConfigSpace, function: Address) {
    let command = Command::read(config, function) | Command::INTX_DISABLE;
    command.write(config, function);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const CARD: Address = Address::new(1, 0, 0);
    const COMMAND: u16 = 4;
    const INTX_DISABLE: u32 = 1 << 10;

    /// Registers that keep what is written, and in which order that was.
    #[derive(Default)]
    struct Registers {
        values: BTreeMap<u16, u32>,
        written: Vec<(u16, u32)>,
    }

    impl ConfigSpace for Registers {
        fn read32(&mut self, address: Address, offset: u16) -> u32 {
            assert_eq!(address, CARD);
            self.values.get(&offset).copied().unwrap_or(0)
        }

        fn write32(&mut self, address: Address, offset: u16, value: u32) {
            assert_eq!(address, CARD);
            self.written.push((offset, value));
            self.values.insert(offset, value);
        }
    }

    fn registers(values: &[(u16, u32)]) -> Registers {
        Registers {
            values: values.iter().copied().collect(),
            written: Vec::new(),
        }
    }

    #[test]
    fn a_message_names_the_apic_and_the_vector() {
        let message = Message::to_local_apic(3, 0x41);
        assert_eq!((message.address, message.data), (0xfee0_3000, 0x41));
    }

    #[test]
    fn msi_is_written_whole_before_it_is_enabled() {
        // As QEMU's 82576 has it at 0x50: 64 bits wide, maskable, one message.
        let mut config = registers(&[(0x50, 0x0180_7005), (COMMAND, 0x0010_0006)]);
        let msi = Msi {
            function: CARD,
            offset: 0x50,
        };
        msi.enable(&mut config, Message::to_local_apic(0, 0x50));
        assert_eq!(
            config.written,
            [
                (0x50, 0x0180_7005),
                (0x54, 0xfee0_0000),
                (0x58, 0),
                (0x5c, 0x50),
                // STATUS stays untouched: zeros are written to its half.
                (COMMAND, 0x0006 | INTX_DISABLE),
                (0x50, 0x0181_7005),
            ]
        );
    }

    #[test]
    fn a_32_bit_msi_has_its_data_earlier_and_gets_one_message() {
        let mut config = registers(&[(0x50, 0x0035_0005)]);
        let msi = Msi {
            function: CARD,
            offset: 0x50,
        };
        msi.enable(&mut config, Message::to_local_apic(0, 0x51));
        assert_eq!(config.values[&0x58], 0x51);
        assert_eq!(config.values.get(&0x5c), None);
        assert_eq!(config.values[&0x50], 0x0005_0005);
    }

    #[test]
    fn msi_x_is_enabled_masked_and_its_entries_are_in_its_range() {
        let mut config = registers(&[(0x70, 0x0009_a011), (0x74, 0x0000_2003)]);
        let msi_x = MsiX {
            function: CARD,
            offset: 0x70,
            entries: 10,
            bar: 3,
            table: 0x2000,
        };
        msi_x.enable_masked(&mut config);
        assert_eq!(config.values[&0x70], 0xc009_a011);
        assert_eq!(config.values[&COMMAND], INTX_DISABLE);
        let message = Message::to_local_apic(0, 0x60);
        assert_eq!(
            msi_x.entry(9, message),
            [
                (0x2090, 0xfee0_0000),
                (0x2094, 0),
                (0x2098, 0x60),
                (0x209c, 0)
            ]
        );
        msi_x.unmask(&mut config);
        assert_eq!(config.values[&0x70], 0x8009_a011);
    }
}
