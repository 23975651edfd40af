//! A network of the benchmark's own: a namespace with a loopback and a tap device in which
//! nothing else is, so that no traffic of this machine meets the guest, nor the other way
//! round. It ends with the benchmark.

use crate::{During, Failure, Outcome, ensure};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The tap device.
pub const TAP: &str = "tap0";

/// Says that this process is inside.
const INSIDE: &str = "WHARF_BENCH_INSIDE";

/// Starts this program again inside a new namespace, unless this is that start.
///
/// # Errors
/// If it cannot be made. Otherwise it only returns inside.
pub fn enter() -> Outcome {
    if std::env::var_os(INSIDE).is_some() {
        return set_up();
    }
    let mut command = Command::new("unshare");
    command.arg("--net");
    if nix::unistd::geteuid().as_raw() != 0 {
        // Root of a namespace of users may make devices in its namespace of networks.
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--").arg(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let error = command.exec();
    Err(Failure(format!(
        "no network namespace for the tap: unshare: {error}; run scripts/setup --bench"
    )))
}

fn set_up() -> Outcome {
    for line in [
        "link set lo up",
        "tuntap add dev tap0 mode tap",
        "addr add 10.0.2.2/24 dev tap0",
        "link set tap0 up",
        // Whom raw frames are sent to: the guest's card, but not its stack.
        "neigh add 10.0.2.77 lladdr 52:54:00:12:34:56 dev tap0 nud permanent",
    ] {
        let output = Command::new("ip")
            .args(line.split(' '))
            .output()
            .during("ip (scripts/setup --bench installs it)")?;
        ensure(output.status.success(), || {
            format!("ip {line}: {}", String::from_utf8_lossy(&output.stderr))
        })?;
    }
    for (name, value) in [
        // Thousands of connections a second from one address to one port.
        ("ipv4/ip_local_port_range", "1024 65535"),
        ("ipv4/tcp_tw_reuse", "1"),
        // No neighbour discovery beside what is measured.
        ("ipv6/conf/all/disable_ipv6", "1"),
        // Connections of a guest that was switched off: what is sent again for them is not
        // lost by the next one.
        ("ipv4/tcp_orphan_retries", "1"),
    ] {
        // Where the kernel has none of it, it does without.
        let _ = std::fs::write(format!("/proc/sys/net/{name}"), value);
    }
    Ok(())
}

/// Frames that the guest has sent to the tap, and that it was sent from there.
///
/// # Errors
/// If there is no such device.
pub fn tap_frames() -> Outcome<(u64, u64)> {
    // `/sys` shows the devices of the namespace it was mounted in; `/proc/net` ours.
    let table = std::fs::read_to_string("/proc/net/dev")?;
    device_frames(&table, TAP).ok_or_else(|| Failure(format!("/proc/net/dev has no {TAP}")))
}

/// Frames received and sent, from a device's line: received bytes, frames and six more,
/// then the same for sent.
fn device_frames(table: &str, device: &str) -> Option<(u64, u64)> {
    let counts = table
        .lines()
        .find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'))?;
    let counts: Vec<u64> = counts
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    Some((*counts.get(1)?, *counts.get(9)?))
}

/// TCP segments that this machine, in its namespace, had to send again so far.
///
/// # Errors
/// If the kernel does not count them.
pub fn segments_resent() -> Outcome<u64> {
    let table = std::fs::read_to_string("/proc/net/snmp")?;
    resent(&table).ok_or_else(|| Failure("/proc/net/snmp has no RetransSegs".into()))
}

/// From the two lines `Tcp:`, of which the first has the names.
fn resent(table: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, counts) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|name| name == "RetransSegs")?;
    counts.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_the_kernels_tables() {
        let table = "Inter-|   Receive    |  Transmit\n face |bytes packets errs\n    lo: 1 2 0 0 0 0 0 0 1 2 0 0 0 0 0 0\n  tap0: 640 10 0 0 0 0 0 0 1280 20 0 3 0 0 0 0\n";
        assert_eq!(device_frames(table, "tap0"), Some((10, 20)));
        assert_eq!(device_frames(table, "tap1"), None);
        let table =
            "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm RtoMin RetransSegs InErrs\nTcp: 1 200 17 0\n";
        assert_eq!(resent(table), Some(17));
        assert_eq!(resent("Tcp: RtoMin\nTcp: 1\n"), None);
        assert!(segments_resent().is_ok());
    }
}
