//! The status of the server as text, for people and for programs.

use crate::config::Config;
use crate::stack::Figures;
use crate::verdict::DropReason;
use alloc::string::String;
use core::fmt::Write;

/// The status: lines of the form "name value". `server`: the numbers of the server itself.
pub(crate) fn text(config: &Config, figures: &Figures, server: &[(&str, u64)]) -> String {
    let mut text = String::new();
    let [a, b, c, d, e, f] = config.mac;
    // Writing to a String does not fail.
    let _ = writeln!(text, "mac {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    match figures.network {
        Some(network) => {
            let _ = writeln!(text, "address {}/{}", network.address, network.prefix_len);
        }
        None => text.push_str("address none\n"),
    }
    if let Some(gateway) = figures.network.and_then(|network| network.gateway) {
        let _ = writeln!(text, "gateway {gateway}");
    }
    for address in &figures.addresses_v6 {
        let _ = writeln!(text, "ipv6_address {address}");
    }
    let verdicts = &figures.verdicts;
    let numbers = [
        ("frames_received", figures.frames_received),
        ("frames_joined", figures.frames_joined),
        ("frames_delivered", verdicts.delivered),
        ("frames_kept", verdicts.kept),
        ("frames_dropped", verdicts.all_dropped()),
        ("reassembly_failed", figures.reassembly_failed),
        ("reassembly_timeouts", figures.reassembly_timeouts),
        ("socket_looks", figures.socket_looks),
        ("connections", figures.connections as u64),
        ("half_open", figures.half_open as u64),
        ("orphans", figures.orphans as u64),
        ("dormant", figures.dormant as u64),
        ("time_wait", figures.time_wait as u64),
        ("datagram_ports", figures.datagram_ports as u64),
        ("buffer_octets", figures.buffer_octets as u64),
        ("neighbors", figures.neighbors as u64),
    ];
    let of_ip = figures.asking.iter().chain(figures.arp.iter());
    let of_ip = of_ip.chain(figures.icmp.iter()).chain(figures.ipv6.iter());
    let counters = of_ip.chain(figures.tcp.iter()).chain(figures.udp.iter());
    for (name, value) in server.iter().chain(&numbers) {
        let _ = writeln!(text, "{name} {value}");
    }
    for (name, value) in counters {
        let _ = writeln!(text, "{name} {value}");
    }
    for &reason in DropReason::ALL {
        let (name, value) = (reason.name(), verdicts.dropped(reason));
        let _ = writeln!(text, "drop_{name} {value}");
    }
    text
}
