//! Reset, EEPROM, transceiver and link: what the card is before its rings turn.
//!
//! Each wait here has a bound. QEMU never sets some of the bits that silicon's manual has us wait
//! for; where that is known, the end of the wait is no failure.

use super::mail;
use super::regs;
use crate::{Bus, Error, FrameArea, Link, MacAddress};

/// Bound of the wait for the card's own requests on the bus to end (§5.2.3.3).
const MASTER_BOUND_US: u32 = 80_000;
/// The card must be left alone so long after a reset (§4.2.1.6.1).
const RESET_US: u32 = 1_000;
/// Bound of the wait for the end of a reset.
const RESET_BOUND_US: u32 = 20_000;
/// Bound of the wait for the card to load itself from the EEPROM. QEMU's never says so.
const LOAD_BOUND_US: u32 = 10_000;
/// Bound of the wait for a word of the EEPROM.
const EEPROM_BOUND_US: u32 = 5_000;
/// Bound of the wait for a cycle on the management interface.
const MDI_BOUND_US: u32 = 5_000;
/// Length of a wait between two looks.
const POLL_US: u32 = 50;

/// The words that are summed up, and what they add up to (§6.2.24).
const EEPROM_WORDS: u32 = 0x40;
const EEPROM_SUM: u16 = 0xbaba;

/// Address of the built-in transceiver.
const PHY: u32 = 1;
/// Its control register (IEEE 802.3 clause 22): negotiate (12), restart that (9), and 1000 Mb/s full
/// duplex (6, 8), which negotiation overrides.
const BMCR: u32 = 0;
const BMCR_RESTART: u16 = 0x1340;
/// The first half of its identity.
const PHY_ID: u32 = 2;

/// The card's registers, and its memory.
pub struct Csr<B> {
    pub bus: B,
    /// Where the buffers are.
    pub frames: FrameArea,
}

impl<B: Bus> Csr<B> {
    /// Reads a register of which all ones cannot be the value.
    pub fn read(&mut self, register: u32) -> Result<u32, Error> {
        match self.bus.read32(register) {
            u32::MAX => Err(Error::DeviceGone),
            value => Ok(value),
        }
    }

    pub fn write(&mut self, register: u32, value: u32) {
        self.bus.write32(register, value);
    }

    /// State of the card. A read, so all writes before it have arrived after it.
    pub fn status(&mut self) -> Result<u32, Error> {
        self.read(regs::STATUS)
    }

    /// The card's address of an offset, low and high half.
    pub fn address(&self, offset: usize) -> [u32; 2] {
        let address = self.bus.bus_addr(offset).0;
        [address as u32, (address >> 32) as u32]
    }

    /// Puts an address into a receive address register, with these bits of pools, or takes it out.
    pub fn set_address(&mut self, number: u32, address: Option<MacAddress>, pools: u32) {
        let [low, high] = address.map_or([0; 2], |address| {
            let [low, high] = mail::address_words(address);
            [low, high | pools | regs::RAH_AV]
        });
        // Never half an address that counts.
        self.write(regs::rah(number), 0);
        self.write(regs::ral(number), low);
        self.write(regs::rah(number), high);
    }

    /// Masks all interrupts.
    pub fn mask_all(&mut self) {
        self.write(regs::IMC, u32::MAX);
        self.write(regs::EIMC, u32::MAX);
    }

    /// Resets the card and leaves it silent, with its link on the way up (§4.2.1.6.1, §4.5.3).
    pub fn reset(&mut self) -> Result<(), Error> {
        self.mask_all();
        self.write(regs::RCTL, 0);
        self.write(regs::TCTL, regs::TCTL_PSP);
        let control = self.read(regs::CTRL)? | regs::CTRL_GIO_MASTER_DISABLE;
        self.write(regs::CTRL, control);
        // Requests under way would be answered into a card that has forgotten them. One that does
        // not end them is reset all the same.
        self.poll(regs::STATUS, MASTER_BOUND_US, |status| {
            status & regs::STATUS_GIO_MASTER == 0
        })?;
        self.write(regs::CTRL, control | regs::CTRL_RST);
        self.bus.delay_us(RESET_US);
        let control = self
            .poll(regs::CTRL, RESET_BOUND_US, |control| {
                control & regs::CTRL_RST == 0
            })?
            .ok_or(Error::ResetTimeout)?;
        self.poll(regs::EECD, LOAD_BOUND_US, |eecd| {
            eecd & regs::EECD_AUTO_RD != 0
        })?;
        self.mask_all();
        self.write(regs::CTRL, control & !regs::CTRL_FORCE | regs::CTRL_SLU);
        // On QEMU nothing else brings the link up, and it takes 500 ms: so at once.
        self.mdi(regs::MDIC_WRITE, BMCR, BMCR_RESTART)?;
        Ok(())
    }

    /// Verifies the EEPROM and the transceiver, and returns the station address.
    pub fn identify(&mut self) -> Result<MacAddress, Error> {
        let mut sum = 0u16;
        let mut eeprom = [0; 6];
        for address in 0..EEPROM_WORDS {
            let word = self.eeprom_word(address)?;
            sum = sum.wrapping_add(word);
            // Words 0 to 2 hold the address, its first byte in the low half of word 0.
            if let Some(bytes) = eeprom.chunks_exact_mut(2).nth(address as usize) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
        if sum != EEPROM_SUM {
            return Err(Error::EepromChecksum { found: sum });
        }
        if self.status()? & regs::STATUS_LAN_B != 0 {
            // The second port of a chip has the next address (§6.2.1).
            eeprom[5] ^= 1;
        }
        let registers = self.station_address()?;
        if registers != eeprom {
            return Err(Error::MacMismatch { registers, eeprom });
        }
        if registers == [0; 6] || registers[0] & 1 != 0 {
            return Err(Error::BadMacAddress { found: registers });
        }
        match self.mdi(regs::MDIC_READ, PHY_ID, 0)? {
            0 | 0xffff => Err(Error::MdiTimeout),
            _ => Ok(registers),
        }
    }

    fn station_address(&mut self) -> Result<MacAddress, Error> {
        let [a, b, c, d] = self.read(regs::ral(0))?.to_le_bytes();
        let [e, f, ..] = self.read(regs::rah(0))?.to_le_bytes();
        Ok([a, b, c, d, e, f])
    }

    fn eeprom_word(&mut self, address: u32) -> Result<u16, Error> {
        self.write(regs::EERD, address << 2 | regs::EERD_START);
        let value = self.poll(regs::EERD, EEPROM_BOUND_US, |eerd| {
            eerd & regs::EERD_DONE != 0
        })?;
        value.map(|eerd| (eerd >> 16) as u16).ok_or(Error::NoEeprom)
    }

    /// A cycle on the management interface (§8.2.4).
    fn mdi(&mut self, operation: u32, register: u32, data: u16) -> Result<u16, Error> {
        let cycle = operation | PHY << 21 | register << 16 | u32::from(data);
        self.write(regs::MDIC, cycle);
        match self.poll(regs::MDIC, MDI_BOUND_US, |mdic| {
            mdic & regs::MDIC_READY != 0
        })? {
            Some(mdic) if mdic & regs::MDIC_ERROR == 0 => Ok(mdic as u16),
            _ => Err(Error::MdiTimeout),
        }
    }

    /// The link as the card reports it. QEMU's transceiver claims one before there is any.
    pub fn link(&mut self) -> Result<Link, Error> {
        let status = self.status()?;
        if status & regs::STATUS_LU == 0 {
            return Ok(Link::default());
        }
        Ok(Link {
            up: true,
            speed_mbps: match status >> regs::STATUS_SPEED_SHIFT & 3 {
                0 => 10,
                1 => 100,
                _ => 1000,
            },
            full_duplex: status & regs::STATUS_FD != 0,
        })
    }

    /// Reads until `done`, at most about so long; `None` if it never was.
    pub fn poll(
        &mut self,
        register: u32,
        bound_us: u32,
        done: impl Fn(u32) -> bool,
    ) -> Result<Option<u32>, Error> {
        for _ in 0..=bound_us / POLL_US {
            let value = self.read(register)?;
            if done(value) {
                return Ok(Some(value));
            }
            self.bus.delay_us(POLL_US);
        }
        Ok(None)
    }
}
