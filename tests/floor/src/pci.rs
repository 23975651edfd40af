//! PCI configuration mechanism 1 (PCI Local Bus 3.0, §3.2.2.3.2), as much as it takes to find
//! the card. Firmware has given it its addresses.

use x86_64::instructions::port::Port;

/// What can be driven.
pub enum Card {
    /// Intel 82559ER.
    E100,
    /// Intel 82576.
    Igb,
}

/// Base address registers 0 and 1, without their flags.
pub struct Bars {
    /// Of memory.
    pub memory: u64,
    /// Of ports.
    pub ports: u16,
}

fn select(slot: u32, register: u32) {
    // SAFETY: CONFIG_ADDRESS only chooses what CONFIG_DATA shows.
    unsafe { Port::new(0xcf8).write(0x8000_0000 | slot << 11 | register) };
}

fn read(slot: u32, register: u32) -> u32 {
    select(slot, register);
    // SAFETY: the registers that are read here have no read side effects.
    unsafe { Port::new(0xcfc).read() }
}

/// Looks for the first card on bus 0, and lets it use ports, memory and the bus.
pub fn find() -> Option<(Card, Bars)> {
    let (slot, card) = (0..32).find_map(|slot| match read(slot, 0) {
        0x1209_8086 => Some((slot, Card::E100)),
        0x10c9_8086 => Some((slot, Card::Igb)),
        _ => None,
    })?;
    let bars = Bars {
        memory: u64::from(read(slot, 0x10) & !0xf),
        ports: (read(slot, 0x14) & !0x3) as u16,
    };
    select(slot, 0x04);
    // SAFETY: the card is at rest: it does nothing until it is told to.
    unsafe { Port::new(0xcfc).write(0x7_u32) };
    Some((card, bars))
}
