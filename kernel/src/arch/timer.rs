//! Time sources: the 8254 ticks at 100 Hz, the time-stamp counter is the clock, and the
//! local APIC's timer wakes at deadlines finer than a tick.

use super::cpu;
use super::paging;
use crate::mmio::Mmio;
use kernel::clock::{Clock, TICK_NS, TICKS_PER_SECOND};
use spin::Once;
use x86_64::PhysAddr;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// Frequency of the 8254's input (Intel 8254 data sheet; PC design), in Hz.
const PIT_HZ: u64 = 1_193_182;
const PIT_CHANNEL_0: u16 = 0x40;
const PIT_CHANNEL_2: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
/// Bit 0 gates channel 2, bit 1 its speaker, bit 5 is its output.
const PIT_GATE: u16 = 0x61;

/// How long the clock is measured against the 8254. Long enough that a microsecond of
/// port access is 0.03 %, short enough not to be noticed in the boot.
const CALIBRATION_NS: u64 = 4_000_000;
/// Reads of the gate port after which the 8254 is taken to be stopped.
const CALIBRATION_READS: u32 = 10_000_000;

/// Local APIC registers (Intel SDM vol. 3, table 11-1).
mod apic {
    pub const EOI: usize = 0xb0;
    pub const SPURIOUS_VECTOR: usize = 0xf0;
    pub const LVT_TIMER: usize = 0x320;
    pub const LVT_LINT0: usize = 0x350;
    pub const LVT_LINT1: usize = 0x360;
    pub const INITIAL_COUNT: usize = 0x380;
    pub const CURRENT_COUNT: usize = 0x390;
    pub const DIVIDE: usize = 0x3e0;
    pub const WINDOW: usize = 0x400;
}
const APIC_BASE: u32 = 0x1b;
const APIC_ENABLE: u64 = 1 << 11;
const SPURIOUS_ENABLE: u32 = 1 << 8;
/// Delivery modes of a local vector: by the 8259A, and as NMI.
const EXT_INT: u32 = 7 << 8;
const NMI: u32 = 4 << 8;
const DIVIDE_BY_16: u32 = 3;

/// Vector of the local APIC's timer.
pub const DEADLINE_VECTOR: u8 = 48;
/// Vector of the local APIC's spurious interrupt, which needs no end of interrupt.
pub const SPURIOUS_VECTOR: u8 = 255;

/// The time-stamp counter as a clock, once it is measured.
static CLOCK: Once<Clock> = Once::new();

/// All of it, calibrated and ticking.
pub struct Timer {
    clock: Clock,
    apic: Mmio,
    apic_clock: Clock,
    /// The deadline the APIC's timer is set to; `u64::MAX` when it is off.
    armed: u64,
}

impl Timer {
    /// Starts the tick and measures the clocks.
    ///
    /// # Errors
    /// In words, if the machine has no working 8254 or no memory to map the APIC.
    pub fn start() -> Result<Self, &'static str> {
        let mut base = Msr::new(APIC_BASE);
        // SAFETY: every x86_64 processor has a local APIC; enabling it keeps the 8259A
        // connected by LINT0 below.
        let address = unsafe {
            let value = base.read() | APIC_ENABLE;
            base.write(value);
            value & 0x000f_ffff_ffff_f000
        };
        let mut apic = paging::map_device(PhysAddr::new(address), apic::WINDOW)
            .ok_or("no memory to map the local APIC")?;
        apic.write32(
            apic::SPURIOUS_VECTOR,
            SPURIOUS_ENABLE | u32::from(SPURIOUS_VECTOR),
        );
        // Virtual wire mode (MultiProcessor Specification 1.4, §3.6.2.2).
        apic.write32(apic::LVT_LINT0, EXT_INT);
        apic.write32(apic::LVT_LINT1, NMI);
        apic.write32(apic::DIVIDE, DIVIDE_BY_16);
        apic.write32(apic::LVT_TIMER, u32::from(DEADLINE_VECTOR));

        apic.write32(apic::INITIAL_COUNT, u32::MAX);
        let start = cpu::timestamp();
        wait_calibration()?;
        let counts = cpu::timestamp() - start;
        let apic_counts = u32::MAX - apic.read32(apic::CURRENT_COUNT);
        apic.write32(apic::INITIAL_COUNT, 0);

        start_tick();
        Ok(Timer {
            clock: *CLOCK.call_once(|| Clock::calibrated(start, counts, CALIBRATION_NS)),
            apic,
            apic_clock: Clock::calibrated(0, u64::from(apic_counts), CALIBRATION_NS),
            armed: u64::MAX,
        })
    }

    /// Monotonic nanoseconds since the clock was started.
    pub fn now(&self) -> u64 {
        self.clock.ns(cpu::timestamp())
    }

    /// Frequency of the time-stamp counter in MHz.
    pub fn mhz(&self) -> u32 {
        self.clock.counts(1_000)
    }

    /// Asks for an interrupt at `deadline`, unless the tick comes first anyway or one is
    /// due that is not later: an early wake-up costs little, arming costs a device access.
    pub fn arm(&mut self, deadline: u64, now: u64) {
        if deadline >= self.armed || deadline > now + TICK_NS {
            return;
        }
        let counts = self.apic_clock.counts(deadline.saturating_sub(now));
        self.apic.write32(apic::INITIAL_COUNT, counts.max(1));
        self.armed = deadline;
    }

    /// The APIC's timer has fired.
    pub fn on_deadline(&mut self) {
        self.armed = u64::MAX;
        self.apic.write32(apic::EOI, 0);
    }
}

/// Waits at least `us` microseconds, for a device. Before [`Timer::start`] it does not wait.
pub fn delay_us(us: u32) {
    let Some(clock) = CLOCK.get() else { return };
    let end = clock.ns(cpu::timestamp()) + u64::from(us) * 1_000;
    while clock.ns(cpu::timestamp()) < end {
        core::hint::spin_loop();
    }
}

/// Channel 0 as a rate generator.
fn start_tick() {
    let divisor = ((PIT_HZ + TICKS_PER_SECOND / 2) / TICKS_PER_SECOND) as u16;
    let mut command = Port::<u8>::new(PIT_COMMAND);
    let mut channel = Port::<u8>::new(PIT_CHANNEL_0);
    // SAFETY: these are the PC's timer ports; the interrupt it raises has a handler.
    unsafe {
        command.write(0x34); // channel 0, both bytes, mode 2
        channel.write(divisor as u8);
        channel.write((divisor >> 8) as u8);
    }
}

/// Waits [`CALIBRATION_NS`] by channel 2, whose output can be read.
fn wait_calibration() -> Result<(), &'static str> {
    let count = (PIT_HZ * CALIBRATION_NS / 1_000_000_000) as u16;
    let mut command = Port::<u8>::new(PIT_COMMAND);
    let mut channel = Port::<u8>::new(PIT_CHANNEL_2);
    let mut gate = Port::<u8>::new(PIT_GATE);
    // SAFETY: these are the PC's timer ports; channel 2 raises no interrupt.
    unsafe {
        let idle = gate.read() & !0b11;
        gate.write(idle);
        command.write(0xb0); // channel 2, both bytes, mode 0
        channel.write(count as u8);
        channel.write((count >> 8) as u8);
        gate.write(idle | 1);
        for _ in 0..CALIBRATION_READS {
            if gate.read() & 0x20 != 0 {
                return Ok(());
            }
        }
    }
    Err("the 8254 timer does not count")
}
