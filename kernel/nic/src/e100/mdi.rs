//! The link, as the built-in transceiver tells it over the management interface (OSDM §6.3.5, §7;
//! registers: IEEE 802.3 clause 22).

use super::csr::Csr;
use super::regs;
use crate::{Bus, Error, Link};

/// Address of the built-in transceiver.
const PHY: u32 = 1;
/// A cycle takes 64 bit times at 2.5 MHz, 26 us.
const POLL_US: u32 = 10;
/// Bound of the wait for a cycle.
const BOUND_US: u32 = 2_000;

/// Basic control: speed 100 (13), full duplex (8).
const BMCR: u32 = 0;
/// Basic status: negotiation complete (5), link up (2).
const BMSR: u32 = 1;
/// What we offer: 100 full (8), 100 half (7), 10 full (6).
const ANAR: u32 = 4;
/// What the partner offers.
const ANLPAR: u32 = 5;

/// Asks for the state of the link.
pub fn link<B: Bus>(csr: &mut Csr<B>) -> Result<Link, Error> {
    let link = ask(csr);
    // QEMU raises this cause for each cycle, though the cycles did not ask for an interrupt.
    csr.acknowledge(regs::MDI_DONE);
    link
}

fn ask<B: Bus>(csr: &mut Csr<B>) -> Result<Link, Error> {
    // "Down" is latched until read: the first read tells the past, the second the present.
    read(csr, BMSR)?;
    let status = read(csr, BMSR)?;
    if status & 1 << 2 == 0 {
        return Ok(Link::default());
    }
    let (fast, full_duplex) = if status & 1 << 5 != 0 {
        let common = read(csr, ANAR)? & read(csr, ANLPAR)?;
        let fast = common & (1 << 8 | 1 << 7) != 0;
        (fast, common & if fast { 1 << 8 } else { 1 << 6 } != 0)
    } else {
        let control = read(csr, BMCR)?;
        (control & 1 << 13 != 0, control & 1 << 8 != 0)
    };
    Ok(Link {
        up: true,
        speed_mbps: if fast { 100 } else { 10 },
        full_duplex,
    })
}

fn read<B: Bus>(csr: &mut Csr<B>, register: u32) -> Result<u16, Error> {
    let cycle = regs::MDI_READ | PHY << regs::MDI_PHY_SHIFT | register << regs::MDI_REGISTER_SHIFT;
    csr.bus.write32(regs::MDI, cycle);
    for _ in 0..BOUND_US / POLL_US {
        let value = csr.bus.read32(regs::MDI);
        if value == u32::MAX {
            return Err(Error::DeviceGone);
        }
        if value & regs::MDI_READY != 0 {
            return Ok(value as u16);
        }
        csr.bus.delay_us(POLL_US);
    }
    Err(Error::MdiTimeout)
}
