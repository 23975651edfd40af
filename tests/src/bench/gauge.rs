//! What else the machine did while something was measured. Two cores are shared by QEMU,
//! the client and whatever else runs; what else runs spoils the figure.

use crate::machine::cpu_time;
use crate::{Failure, Outcome};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::time::{Duration, Instant};

/// CPU time used so far, by whom.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    machine: f64,
    qemu: f64,
    own: f64,
}

/// Runs from [`Gauge::start`] to [`Gauge::read`].
pub struct Gauge {
    qemu: u32,
    start: Instant,
    before: Used,
}

/// What a gauge has read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Seconds that passed.
    pub wall: f64,
    /// CPU seconds of QEMU.
    pub qemu: f64,
    /// Cores busy with something else than QEMU and the client.
    pub foreign: f64,
}

impl Gauge {
    /// Starts to look at the QEMU with this process number.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn start(qemu: u32) -> Outcome<Gauge> {
        Ok(Gauge {
            qemu,
            before: used(qemu)?,
            start: Instant::now(),
        })
    }

    /// What was used since the start.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub fn read(&self) -> Outcome<Reading> {
        let wall = self.start.elapsed().as_secs_f64();
        let after = used(self.qemu)?;
        let before = self.before;
        let qemu = after.qemu - before.qemu;
        let others = after.machine - before.machine - qemu - (after.own - before.own);
        Ok(Reading {
            wall,
            qemu,
            foreign: (others / wall).max(0.0),
        })
    }
}

/// Waits until the machine is quiet but for the QEMU, for at most `patience`.
///
/// # Errors
/// If QEMU has ended.
pub fn wait_quiet(qemu: u32, limit: f64, patience: Duration) -> Outcome {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let gauge = Gauge::start(qemu)?;
        std::thread::sleep(Duration::from_millis(500));
        // The tick in which CPU time is counted makes half a second inexact.
        if gauge.read()?.foreign < limit + 0.05 {
            break;
        }
    }
    Ok(())
}

fn used(qemu: u32) -> Outcome<Used> {
    let own = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| Failure(error.to_string()))?;
    let own = own.user_time() + own.system_time();
    let stat = std::fs::read_to_string("/proc/stat")?;
    let machine = busy(&stat).ok_or_else(|| Failure("/proc/stat has no line of it".into()))?;
    Ok(Used {
        machine,
        qemu: process(qemu)?.as_secs_f64(),
        own: own.num_microseconds() as f64 / 1e6,
    })
}

/// CPU time that a process has used.
///
/// # Errors
/// If there is none.
pub fn process(pid: u32) -> Outcome<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path)?;
    cpu_time(&stat).ok_or_else(|| Failure(format!("{path} reads {stat:?}")))
}

/// Seconds that all processors together were neither idle nor waiting for a disk, from the
/// first line of `/proc/stat` (proc(5)): what a hypervisor took away counts as busy.
fn busy(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let (idle, waiting) = (ticks.get(3)?, ticks.get(4)?);
    Some((ticks.iter().sum::<u64>() - idle - waiting) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        let stat = "cpu  100 2 30 4000 500 6 7 8 9 10\ncpu0 1 2 3 4\n";
        assert_eq!(busy(stat), Some(1.53));
        assert_eq!(busy("cpu0 1 2 3 4 5 6 7 8"), None);
        assert_eq!(busy(""), None);
    }

    #[test]
    fn a_busy_test_is_its_own_and_a_busy_child_is_qemus() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let gauge = Gauge::start(child.id()).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        let mut reading = Reading::default();
        while reading.qemu < 0.05 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            reading = gauge.read().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(reading.qemu >= 0.05, "{reading:?}");
        assert!(reading.qemu <= reading.wall + 0.03, "{reading:?}");
        assert!(Gauge::start(child.id()).is_err());
    }
}
