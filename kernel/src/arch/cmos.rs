//! The real-time clock in the CMOS memory (Motorola MC146818 data sheet; PC design).

use x86_64::instructions::port::Port;

/// Index port; its bit 7 would stop NMIs.
const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

/// Seconds, minutes, hours, day, month, year, and register A, as the clock has them, perhaps while they
/// change: they are good only for being unlike those of the boot before.
pub fn date() -> [u8; 7] {
    let mut index = Port::<u8>::new(INDEX);
    let mut data = Port::<u8>::new(DATA);
    [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x0a].map(|register| {
        // SAFETY: the PC has its clock at these ports, and reading these registers changes
        // nothing.
        unsafe {
            index.write(register);
            data.read()
        }
    })
}
