//! Time sources: the time-stamp counter is the clock, the local APIC's timer interrupts at
//! the next deadline, and at no other time; the 8254 measures both at the start.

use super::cpu;
use super::paging;
use crate::mmio::Mmio;
use kernel::clock::Clock;
use kernel::random::Random;
use spin::Once;
use x86_64::PhysAddr;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// Frequency of the 8254's input (Intel 8254 data sheet; PC design), in Hz.
const PIT_HZ: u64 = 1_193_182;
const PIT_CHANNEL_2: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
/// Bit 0 gates channel 2, bit 1 is its speaker.
const PIT_GATE: u16 = 0x61;

/// Counts of the 8254 over which the clocks are measured: 4 ms, so that the microsecond
/// that reading it takes is 0.03 %.
const CALIBRATION_COUNTS: u16 = (PIT_HZ * 4 / 1000) as u16;
/// Looks at the 8254 after which it is taken to be stopped.
const CALIBRATION_LOOKS: u32 = 1_000_000;
/// Measurements that came too late before giving up: an emulator may be stopped for long.
const CALIBRATION_TRIES: u32 = 50;
/// Looks of which the quickest counts, so that an interruption in one does no harm.
const LOOKS_PER_SAMPLE: usize = 5;

/// Local APIC registers (Intel SDM vol. 3, table 11-1).
mod apic {
    pub const ID: usize = 0x20;
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

/// The clock and the timer, calibrated.
pub struct Timer {
    clock: Clock,
    apic: Mmio,
    apic_clock: Clock,
    /// The deadline the APIC's timer is set to; `u64::MAX` when it is off.
    armed: u64,
}

impl Timer {
    /// Measures the clocks. Nobody outside can know how long each look at them takes, so `random` absorbs
    /// these times.
    ///
    /// # Errors
    /// In words, if the machine has no working 8254 or no memory to map the APIC.
    pub fn start(random: &mut Random) -> Result<Self, &'static str> {
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
        apic.write(
            apic::SPURIOUS_VECTOR,
            SPURIOUS_ENABLE | u32::from(SPURIOUS_VECTOR),
        );
        // Virtual wire mode (MultiProcessor Specification 1.4, §3.6.2.2).
        apic.write(apic::LVT_LINT0, EXT_INT);
        apic.write(apic::LVT_LINT1, NMI);
        apic.write(apic::DIVIDE, DIVIDE_BY_16);
        apic.write(apic::LVT_TIMER, u32::from(DEADLINE_VECTOR));

        apic.write(apic::INITIAL_COUNT, u32::MAX);
        let (first, last) = calibrate(&mut apic, random)?;
        apic.write(apic::INITIAL_COUNT, 0u32);
        let elapsed_ns = u64::from(first.pit - last.pit) * 1_000_000_000 / PIT_HZ;
        let apic_counts = u64::from(first.apic.wrapping_sub(last.apic));

        let clock = Clock::calibrated(first.tsc, last.tsc - first.tsc, elapsed_ns);
        Ok(Timer {
            clock: *CLOCK.call_once(|| clock),
            apic,
            apic_clock: Clock::calibrated(0, apic_counts, elapsed_ns),
            armed: u64::MAX,
        })
    }

    /// The clock, to be told to programs.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Monotonic nanoseconds since the clock was started.
    pub fn now(&self) -> u64 {
        self.clock.ns(cpu::timestamp())
    }

    /// Frequency of the time-stamp counter in MHz.
    pub fn mhz(&self) -> u32 {
        self.clock.counts(1_000)
    }

    /// The time-stamp counter's value at `ns` of [`Timer::now`].
    pub fn count_at(&self, ns: u64) -> u64 {
        self.clock.count_at(ns)
    }

    /// Asks for an interrupt at `deadline`, unless one is due that is not later: an early
    /// wake-up costs little, arming costs a device access. The counter may end before a
    /// deadline that is minutes away: then it is early, too.
    pub fn arm(&mut self, deadline: u64, now: u64) {
        if deadline >= self.armed {
            return;
        }
        let counts = self.apic_clock.counts(deadline.saturating_sub(now));
        self.apic.write(apic::INITIAL_COUNT, counts.max(1));
        self.armed = deadline;
    }

    /// Asks for an interrupt at `deadline` instead of the one that is due, if that is earlier.
    pub fn put_off(&mut self, deadline: u64, now: u64) {
        if deadline > self.armed {
            self.armed = u64::MAX;
            self.arm(deadline, now);
        }
    }

    /// When an interrupt is due, in nanoseconds of [`Timer::now`]; `u64::MAX` if none is.
    pub fn armed(&self) -> u64 {
        self.armed
    }

    /// The APIC's timer has fired.
    pub fn on_deadline(&mut self) {
        self.armed = u64::MAX;
        self.end_of_interrupt();
    }

    /// Tells the APIC that an interrupt of its own, or one that came as a message, is done.
    pub fn end_of_interrupt(&mut self) {
        self.apic.write(apic::EOI, 0u32);
    }

    /// The id by which messages name this processor's APIC.
    pub fn apic_id(&mut self) -> u8 {
        (self.apic.read::<u32>(apic::ID) >> 24) as u8
    }
}

/// Waits at least `us` microseconds, for a device. Before [`Timer::start`] it does not wait.
/// No pause: an emulator takes it as an invitation to leave, and comes back by its lock, for
/// which the device may be waiting.
pub fn delay_us(us: u32) {
    let Some(clock) = CLOCK.get() else { return };
    let end = clock.ns(cpu::timestamp()) + u64::from(us) * 1_000;
    while clock.ns(cpu::timestamp()) < end {}
}

/// All three counters at one moment.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    /// Counts down.
    pit: u16,
    /// Counts down.
    apic: u32,
    /// The 8254 has counted to its end, so `pit` says nothing.
    over: bool,
}

impl Sample {
    /// Looks several times and keeps the look that took the least time.
    fn take(apic: &mut Mmio, random: &mut Random) -> Self {
        let looks = [(); LOOKS_PER_SAMPLE].map(|()| Self::look(apic));
        random.absorb_words(&looks.map(|(sample, took)| sample.tsc ^ took.rotate_left(32)));
        let quickest = looks.into_iter().min_by_key(|(_, took)| *took);
        quickest.unwrap_or(looks[0]).0
    }

    /// One look, and how many counts of the time-stamp counter it took.
    fn look(apic: &mut Mmio) -> (Self, u64) {
        // Read-back: latch status and count of channel 2.
        const READ_BACK: u8 = 0xc8;
        const OUTPUT: u8 = 0x80;
        let mut command = Port::<u8>::new(PIT_COMMAND);
        let mut channel = Port::<u8>::new(PIT_CHANNEL_2);
        let before = cpu::timestamp();
        // SAFETY: latching a counter changes nothing.
        unsafe { command.write(READ_BACK) };
        let apic = apic.read(apic::CURRENT_COUNT);
        let took = cpu::timestamp() - before;
        // SAFETY: what was latched is read: the status, the count's low and high byte.
        let [status, low, high] = [(); 3].map(|()| unsafe { channel.read() });
        let sample = Sample {
            tsc: before + took / 2,
            pit: u16::from_le_bytes([low, high]),
            apic,
            over: status & OUTPUT != 0,
        };
        (sample, took)
    }
}

/// Two samples at least [`CALIBRATION_COUNTS`] apart, in one run of the 8254's channel 2.
fn calibrate(apic: &mut Mmio, random: &mut Random) -> Result<(Sample, Sample), &'static str> {
    for _ in 0..CALIBRATION_TRIES {
        start_channel_2();
        let first = Sample::take(apic, random);
        for _ in 0..CALIBRATION_LOOKS {
            let last = Sample::take(apic, random);
            if first.over || last.over {
                break;
            }
            if first.pit.saturating_sub(last.pit) >= CALIBRATION_COUNTS {
                return Ok((first, last));
            }
        }
    }
    Err("the 8254 timer does not count, or the machine stands still too often to measure it")
}

/// Lets channel 2 count down from its largest count, 55 ms, without sound.
fn start_channel_2() {
    let mut command = Port::<u8>::new(PIT_COMMAND);
    let mut channel = Port::<u8>::new(PIT_CHANNEL_2);
    let mut gate = Port::<u8>::new(PIT_GATE);
    // SAFETY: these are the PC's timer ports; channel 2 raises no interrupt.
    unsafe {
        let idle = gate.read() & !0b11;
        gate.write(idle);
        command.write(0xb0); // channel 2, both bytes, mode 0
        channel.write(0xff);
        channel.write(0xff);
        gate.write(idle | 1);
    }
}
