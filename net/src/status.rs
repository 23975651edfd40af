//! The server's state as text, for people and for `key value` parsers.

use crate::config::Config;
use crate::stack::Figures;
use crate::verdict::DropReason;
use alloc::string::String;
use core::fmt::Write;

/// Lines of the form "name value".
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
        ("neighbors_silent", figures.asking.silent),
        ("neighbors_evicted", figures.asking.evicted),
        ("arp_asked", figures.asking.asked),
        ("arp_answered", figures.arp.answered),
        ("arp_conflicts", figures.arp.conflicts),
        ("arp_defended", figures.arp.defended),
        ("arp_moved", figures.arp.moved),
        ("arp_sender_differs", figures.arp.sender_differs),
        ("icmp_echoes", figures.icmp.echoes),
        ("icmp_errors", figures.icmp.errors),
        ("icmp_errors_withheld", figures.icmp.errors_withheld),
        ("icmp_errors_limited", figures.icmp.errors_limited),
        ("icmp_errors_lost", figures.icmp.errors_lost),
        ("tcp_accepted", figures.tcp.accepted),
        ("tcp_connects", figures.tcp.connected),
        ("tcp_syns_dropped", figures.tcp.syns_dropped),
        ("tcp_half_open_expired", figures.tcp.half_open_expired),
        ("tcp_syn_acks_repeated", figures.tcp.syn_acks_repeated),
        ("tcp_cookies_sent", figures.tcp.cookies_sent),
        ("tcp_cookies_accepted", figures.tcp.cookies_accepted),
        ("tcp_cookies_refused", figures.tcp.cookies_refused),
        ("tcp_resets_received", figures.tcp.resets_received),
        ("tcp_timeouts", figures.tcp.timeouts),
        ("tcp_orphans_aborted", figures.tcp.orphans_aborted),
        ("tcp_resets_sent", figures.tcp.resets_sent),
        ("tcp_resets_held", figures.tcp.resets_held),
        ("tcp_paths_narrowed", figures.tcp.paths_narrowed),
        ("tcp_challenges_sent", figures.tcp.challenges_sent),
        ("tcp_challenges_held", figures.tcp.challenges_held),
        ("tcp_gave_way", figures.tcp.gave_way),
        ("tcp_wakes_refused", figures.tcp.wakes_refused),
        ("udp_sent", figures.udp.sent),
        ("udp_received", figures.udp.received),
        ("udp_dropped_unresolved", figures.udp.dropped_unresolved),
        ("udp_dropped_closed", figures.udp.dropped_closed),
    ];
    for (name, value) in server.iter().chain(&numbers) {
        let _ = writeln!(text, "{name} {value}");
    }
    for &reason in DropReason::ALL {
        let (name, value) = (reason.name(), verdicts.dropped(reason));
        let _ = writeln!(text, "drop_{name} {value}");
    }
    text
}
