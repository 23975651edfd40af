//! The serial EEPROM, a 93C46 or 93C66, clocked by hand (OSDM §6.3.4).
//!
//! ```text
//!   CS  __/-----------------------------------------------------------\__
//!   SK  ____/\__/\__/\__/\__ ... __/\__/\__/\__ ... __/\________________
//!   DI     1   1   0   A5  ...     A0
//!   DO  ------------------------------\__0__ D15 D14 ... D0
//! ```
//!
//! The EEPROM answers the last address bit with a 0. How many bits that takes is its address width:
//! 6 bits for 64 words, 8 for 256. The words add up to 0xbaba.

use super::regs::{EECS, EEDI, EEDO, EEPROM, EESK};
use crate::{Bus, Error, MacAddress};

/// Half a clock period.
const EDGE_US: u32 = 4;
/// Start bit, and the operation code of a read.
const READ: [bool; 3] = [true, true, false];
/// The sum of all words, modulo 2^16.
const SUM: u16 = 0xbaba;

/// Reads the whole EEPROM, verifies its sum, and returns the station address in it.
pub fn mac_address(bus: &mut impl Bus) -> Result<MacAddress, Error> {
    let width = address_width(bus)?;
    let mut sum = 0u16;
    let mut mac = [0; 6];
    for address in 0..1u16 << width {
        let word = read(bus, width, address);
        sum = sum.wrapping_add(word);
        // Words 0 to 2 hold the address, its first byte in the low half of word 0.
        if let Some(bytes) = mac.chunks_exact_mut(2).nth(address.into()) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
    if sum != SUM {
        return Err(Error::EepromChecksum { found: sum });
    }
    if mac == [0; 6] || mac[0] & 1 != 0 {
        return Err(Error::BadMacAddress { found: mac });
    }
    Ok(mac)
}

/// Sends address bits until the EEPROM answers.
fn address_width(bus: &mut impl Bus) -> Result<u32, Error> {
    for bit in READ {
        clock(bus, bit);
    }
    let width = (1..=8).find(|_| !clock(bus, false));
    deselect(bus);
    // A bus that floats low answers at once: that is no EEPROM.
    width.filter(|&bits| bits >= 6).ok_or(Error::NoEeprom)
}

fn read(bus: &mut impl Bus, width: u32, address: u16) -> u16 {
    for bit in READ {
        clock(bus, bit);
    }
    for bit in (0..width).rev() {
        clock(bus, address >> bit & 1 != 0);
    }
    let word = (0..16).fold(0, |word, _| word << 1 | u16::from(clock(bus, false)));
    deselect(bus);
    word
}

fn deselect(bus: &mut impl Bus) {
    pins(bus, 0);
}

/// One clock, the first of which selects the EEPROM: puts a bit in, returns the bit that comes out.
fn clock(bus: &mut impl Bus, bit: bool) -> bool {
    let data = if bit { EEDI } else { 0 };
    pins(bus, EECS | data);
    pins(bus, EECS | data | EESK);
    bus.read16(EEPROM) & EEDO != 0
}

fn pins(bus: &mut impl Bus, pins: u16) {
    bus.write16(EEPROM, pins);
    bus.delay_us(EDGE_US);
}
