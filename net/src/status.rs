//! The server's state as text, for people and for `key value` parsers.

use crate::config::Config;
use crate::stack::Figures;
use alloc::string::String;
use core::fmt::Write;

/// Lines of the form "name value".
pub(crate) fn text(config: &Config, figures: &Figures, server: &[(&str, u64)]) -> String {
    let mut text = String::new();
    let [a, b, c, d, e, f] = config.mac;
    // Writing to a String does not fail.
    let _ = writeln!(text, "mac {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let _ = writeln!(text, "address {}/{}", config.address, config.prefix_len);
    if let Some(gateway) = config.gateway {
        let _ = writeln!(text, "gateway {gateway}");
    }
    let numbers = [
        ("frames_received", figures.frames_received),
        ("frames_joined", figures.frames_joined),
        ("frames_refused", figures.frames_refused),
        ("frames_damaged", figures.frames_damaged),
        ("reassembly_failed", figures.reassembly_failed),
        ("socket_looks", figures.socket_looks),
        ("connections", figures.connections as u64),
        ("half_open", figures.half_open as u64),
        ("orphans", figures.orphans as u64),
        ("time_wait", figures.time_wait as u64),
        ("datagram_ports", figures.datagram_ports as u64),
        ("buffer_octets", figures.buffer_octets as u64),
        ("tcp_accepted", figures.tcp.accepted),
        ("tcp_connects", figures.tcp.connected),
        ("tcp_syns_dropped", figures.tcp.syns_dropped),
        ("tcp_half_open_expired", figures.tcp.half_open_expired),
        ("tcp_resets_received", figures.tcp.resets_received),
        ("tcp_timeouts", figures.tcp.timeouts),
        ("tcp_orphans_aborted", figures.tcp.orphans_aborted),
        ("tcp_resets_sent", figures.tcp.resets_sent),
        ("tcp_out_of_window", figures.tcp.out_of_window),
        ("tcp_inexact_resets", figures.tcp.inexact_resets),
        ("tcp_syns_ignored", figures.tcp.syns_ignored),
        ("tcp_without_ack", figures.tcp.without_ack),
        ("tcp_bad_acks", figures.tcp.bad_acks),
        ("tcp_challenges_sent", figures.tcp.challenges_sent),
        ("tcp_challenges_held", figures.tcp.challenges_held),
        ("udp_sent", figures.udp.sent),
        ("udp_received", figures.udp.received),
        ("udp_dropped_unresolved", figures.udp.dropped_unresolved),
    ];
    for (name, value) in server.iter().chain(&numbers) {
        let _ = writeln!(text, "{name} {value}");
    }
    text
}
