//! `/status.json`: the server and the system below it, as they are now.

use alloc::string::String;
use core::fmt::Write;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Requests answered, well or not.
    pub requests: u64,
    /// Of those, by the first digit of their status, from 2 to 5.
    pub responses: [u64; 4],
    /// Bytes handed to the network, heads and contents.
    pub bytes_sent: u64,
    /// Connections ended for being slow or idle.
    pub timed_out: u64,
    /// Idle connections ended to make room for new ones.
    pub evicted: u64,
}

/// The report. `network` are the network server's lines of "name value"; they become
/// members of an object, numbers as numbers.
pub fn json(counters: &Counters, open: usize, uptime_ns: u64, network: &str) -> String {
    let mut out = String::with_capacity(512 + 2 * network.len());
    let [ok, redirected, refused, failed] = counters.responses;
    // Writing to memory does not fail.
    let _ = write!(
        out,
        "{{\"system\":\"Wharf\",\"version\":\"{}\",\"uptime_ms\":{},\
         \"http\":{{\"requests\":{},\"2xx\":{ok},\"3xx\":{redirected},\"4xx\":{refused},\
         \"5xx\":{failed},\"accepted\":{},\"open\":{open},\"bytes_sent\":{},\
         \"timed_out\":{},\"evicted\":{}}},\"network\":{{",
        env!("CARGO_PKG_VERSION"),
        uptime_ns / 1_000_000,
        counters.requests,
        counters.accepted,
        counters.bytes_sent,
        counters.timed_out,
        counters.evicted,
    );
    let mut separator = "";
    for line in network.lines() {
        let Some((name, value)) = line.trim().split_once(' ') else {
            continue;
        };
        out.push_str(separator);
        separator = ",";
        string(&mut out, name);
        out.push(':');
        let value = value.trim();
        match value.parse::<u64>() {
            Ok(number) => {
                let _ = write!(out, "{number}");
            }
            Err(_) => string(&mut out, value),
        }
    }
    out.push_str("}}\n");
    out
}

/// A JSON string (RFC 8259 §7).
fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_json() {
        let counters = Counters {
            accepted: 3,
            requests: 10,
            responses: [7, 1, 2, 0],
            bytes_sent: 4096,
            timed_out: 1,
            evicted: 0,
        };
        let network = "ip 10.0.2.15/24\nframes_in 12\nodd\n\nname a \"quoted\\\" \u{1}\n";
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            json(&counters, 2, 1_234_567_890, network),
            format!(
                "{{\"system\":\"Wharf\",\"version\":\"{version}\",\"uptime_ms\":1234,\
                 \"http\":{{\"requests\":10,\"2xx\":7,\"3xx\":1,\"4xx\":2,\"5xx\":0,\
                 \"accepted\":3,\"open\":2,\"bytes_sent\":4096,\"timed_out\":1,\"evicted\":0}},\
                 \"network\":{{\"ip\":\"10.0.2.15/24\",\"frames_in\":12,\
                 \"name\":\"a \\\"quoted\\\\\\\" \\u0001\"}}}}\n"
            )
        );
        assert!(json(&counters, 0, 0, "").ends_with("\"network\":{}}\n"));
    }
}
