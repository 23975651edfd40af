//! The reset, and what must come before and after it (datasheet §4.2.1.6.1, §4.5.4, §5.2.3.3).

use super::{Behaviour, Card, interrupts};

/// CTRL: no more requests on the bus.
pub(super) const MASTER_DISABLE: u32 = 1 << 2;
/// RCTL, TCTL: this direction is on.
pub(super) const ENABLE: u32 = 1 << 1;
const SET_LINK_UP: u32 = 1 << 6;
const FORCE: u32 = 3 << 11;
/// CTRL: reset.
pub(super) const RST: u32 = 1 << 26;
/// EECD: the card has loaded itself.
const AUTO_RD: u32 = 1 << 9;

/// Requests on the bus take so long to end.
const REQUESTS_US: u64 = 300;
/// A driver need not wait longer for them.
const REQUESTS_BOUND_US: u64 = 80_000;
/// No register may be touched for so long after a reset.
const ALONE_US: u64 = 1_000;
/// The reset takes so long, and the card has loaded itself then.
const RESET_US: u64 = 1_500;
const LOADED_US: u64 = 4_000;

/// When what has happened last.
#[derive(Debug, Default)]
pub(super) struct Resets {
    disabled_at_us: u64,
    reset_at_us: Option<u64>,
}

impl Card {
    fn is_silicon(&self) -> bool {
        self.behaviour == Behaviour::Silicon
    }

    /// Microseconds since the last reset.
    fn since_reset(&self) -> u64 {
        let since = self.resets.reset_at_us.map(|at| self.now_us - at);
        since.unwrap_or(u64::MAX)
    }

    /// Whether requests of the card as bus master are under way, or may come.
    pub(super) fn has_requests(&self) -> bool {
        let until = self.resets.disabled_at_us + REQUESTS_US;
        let ending = self.is_silicon() && self.now_us < until;
        self.register(0) & MASTER_DISABLE == 0 || ending || self.defects.requests_hang
    }

    /// CTRL as it reads.
    pub(super) fn control(&self) -> u32 {
        let resets = self.is_silicon() && self.since_reset() < RESET_US;
        self.register(0) | if resets { RST } else { 0 }
    }

    /// EECD as it reads. QEMU's never says that it is done.
    pub(super) fn eeprom_control(&self) -> u32 {
        let loaded = self.is_silicon() && self.since_reset() >= LOADED_US;
        self.register(0x10) | if loaded { AUTO_RD } else { 0 }
    }

    pub(super) fn write_control(&mut self, value: u32) {
        if value & RST != 0 {
            self.check_at_rest(value);
            if !self.defects.reset_hangs {
                self.reset();
                self.resets.reset_at_us = Some(self.now_us);
                if self.is_silicon() {
                    self.interrupts.leave_unmasked();
                    self.raise(interrupts::LSC);
                }
                return;
            }
        }
        let disabled = value & !self.register(0) & MASTER_DISABLE != 0;
        if disabled {
            self.resets.disabled_at_us = self.now_us;
        }
        *self.register_mut(0) = value;
    }

    fn check_at_rest(&self, control: u32) {
        assert!(
            self.interrupts.masked(self.vfs.len()),
            "a reset with interrupts on (4.5.4)"
        );
        let on = (self.register(0x100) | self.register(0x400)) & ENABLE != 0;
        assert!(!on, "a reset while the card receives or sends");
        let waited = self.now_us - self.resets.disabled_at_us;
        let patient = waited >= REQUESTS_BOUND_US;
        assert!(
            control & self.register(0) & MASTER_DISABLE != 0 && (patient || !self.has_requests()),
            "a reset while the card has requests on the bus (5.2.3.3)"
        );
    }

    /// Panics if the driver may not touch this register yet.
    pub(super) fn check_recovered(&self, register: u32) {
        let since = self.since_reset();
        assert!(
            since >= ALONE_US,
            "a register touched within 1 ms of a reset (4.2.1.6.1)"
        );
        let loads = self.is_silicon() && since < LOADED_US;
        assert!(
            !loads || matches!(register, 0x00 | 0x08 | 0x10),
            "a register touched before the card has loaded itself from its EEPROM"
        );
    }

    /// Whether the driver lets the transceiver choose, and bring the link up (§3.5.4).
    pub(super) fn lets_link_up(&self) -> bool {
        !self.is_silicon() || self.register(0) & (SET_LINK_UP | FORCE) == SET_LINK_UP
    }
}
