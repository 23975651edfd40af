//! The serial EEPROM of the model: 93C46 (6 address bits) or 93C66 (8), read only.

use alloc::vec;
use alloc::vec::Vec;

const SK: u16 = 1;
const CS: u16 = 2;
const DI: u16 = 4;
const DO: u16 = 8;
/// Shortest half period of the clock, in microseconds.
const EDGE_US: u64 = 3;

/// The device on the four pins.
#[derive(Debug)]
pub struct Eeprom {
    /// The contents; `2^width` words.
    pub words: Vec<u16>,
    /// Whether it is there at all.
    pub present: bool,
    width: u32,
    pins: u16,
    changed_at_us: u64,
    /// Bits taken in since the start bit.
    bits: Vec<bool>,
    /// What is still to come out, most significant bit first, and how many bits.
    out: u32,
    out_bits: u32,
    data_out: bool,
}

impl Eeprom {
    /// An EEPROM with this station address and a right sum.
    pub fn new(mac: [u8; 6], width: u32) -> Self {
        let mut words = vec![0; 1 << width];
        for (word, pair) in words.iter_mut().zip(mac.chunks(2)) {
            *word = u16::from_le_bytes([pair[0], pair[1]]);
        }
        words[5] = 0x4000;
        words[6] = 0x0001;
        let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
        let last = words.len() - 1;
        words[last] = 0xbaba_u16.wrapping_sub(sum);
        Eeprom {
            words,
            present: true,
            width,
            pins: 0,
            changed_at_us: 0,
            bits: Vec::new(),
            out: 0,
            out_bits: 0,
            data_out: true,
        }
    }

    /// The pins as the driver reads them.
    pub fn read(&self) -> u16 {
        let data_out = self.present && self.data_out;
        self.pins & !DO | if data_out { DO } else { 0 }
    }

    /// The driver sets the pins.
    pub fn write(&mut self, pins: u16, now_us: u64) {
        let rising = pins & SK != 0 && self.pins & SK == 0;
        if (pins ^ self.pins) & (SK | CS) != 0 {
            let elapsed_us = now_us - self.changed_at_us;
            assert!(
                elapsed_us >= EDGE_US || self.pins & CS == 0,
                "EEPROM clocked too fast: {elapsed_us} us between edges"
            );
            self.changed_at_us = now_us;
        }
        self.pins = pins;
        if pins & CS == 0 {
            self.bits.clear();
            self.out_bits = 0;
            self.data_out = true;
        } else if rising {
            self.clock(pins & DI != 0);
        }
    }

    fn clock(&mut self, bit: bool) {
        if self.out_bits > 0 {
            self.out_bits -= 1;
            self.data_out = self.out >> self.out_bits & 1 != 0;
            return;
        }
        if self.bits.is_empty() && !bit {
            return;
        }
        self.bits.push(bit);
        if self.bits.len() as u32 == 3 + self.width {
            assert!(self.bits[1] && !self.bits[2], "EEPROM operation not READ");
            let address = self.bits[3..]
                .iter()
                .fold(0, |address, &bit| address << 1 | usize::from(bit));
            self.out = self.words[address].into();
            self.out_bits = 16;
            self.data_out = false;
        }
    }
}
