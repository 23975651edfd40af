//! Interrupts as messages: vectors are handed out and written into cards.

use super::paging;
use super::pci::Config;
use kernel::endpoint::Vectors;
use kernel::pci::{Function, Message, Msi, MsiX};
use x86_64::PhysAddr;

/// The vectors for messages: above those of lines and of the local APIC itself.
const FIRST: u8 = 64;
const END: u8 = 192;

/// Hands out vectors. They are never given back, as cards are never detached.
pub struct Messages {
    apic: u8,
    next: u8,
}

impl Messages {
    /// All messages go to the local APIC with this id.
    pub fn new(apic: u8) -> Self {
        Messages { apic, next: FIRST }
    }

    /// Whether `vector` is one of a message.
    pub fn is_message(vector: u64) -> bool {
        (u64::from(FIRST)..u64::from(END)).contains(&vector)
    }

    /// Has the function interrupt by one message; `None` if it has no MSI.
    pub fn msi(&mut self, config: &mut Config, function: &Function) -> Option<Vectors> {
        let msi = Msi::of(function)?;
        let vectors = self.take(1)?;
        let message = Message::to_local_apic(self.apic, vectors.first);
        msi.enable(config, message);
        Some(vectors)
    }

    /// Has the function interrupt by up to `wanted` messages of its table; `None` if it has no
    /// MSI-X, or its table cannot be reached.
    pub fn msi_x(
        &mut self,
        config: &mut Config,
        function: &Function,
        wanted: u16,
    ) -> Option<Vectors> {
        let msi_x = MsiX::of(config, function)?;
        let bar = function.bars.get(usize::from(msi_x.bar))?.as_ref()?;
        let count = wanted.min(msi_x.entries);
        let len = u64::from(count) * u64::from(MsiX::ENTRY_SIZE);
        let inside = u64::from(msi_x.table) + len <= bar.size;
        if bar.is_io() || !bar.is_assigned() || !inside || count == 0 {
            return None;
        }
        let address = PhysAddr::try_new(bar.address).ok()?;
        let mut table = paging::map_device(address, bar.size as usize)?;
        let vectors = self.take(u8::try_from(count).ok()?)?;
        msi_x.enable_masked(config);
        for index in 0..count {
            let message = Message::to_local_apic(self.apic, vectors.first + index as u8);
            for (offset, word) in msi_x.entry(index, message) {
                table.write(offset as usize, word);
            }
        }
        msi_x.unmask(config);
        Some(vectors)
    }

    fn take(&mut self, count: u8) -> Option<Vectors> {
        let first = self.next;
        let next = first.checked_add(count).filter(|next| *next <= END)?;
        self.next = next;
        Some(Vectors { first, count })
    }
}
